//! `catbench completions` and `catbench manual`: what shells, `man` and readers are given. A topic of the manual is a text in `manual/`
//! and a line in [`TOPICS`]; the topic `settings` is made from the rows of the settings.

mod settings;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Command, CommandFactory};

use super::table::Format;
use super::{Cli, Error, out};
use crate::method::MethodSettings;
use crate::workspace;

/// The topics that are texts: name, what it is about, text.
const TOPICS: &[(&str, &str, &str)] = &[
    ("trainings", "presets, [train], loss curves, layers", include_str!("manual/trainings.md")),
    ("prompts", "prompt lists, seeds, weights, and what a picture records", include_str!("manual/prompts.md")),
    ("scores", "what scores are, and what their intervals tell", include_str!("manual/scores.md")),
    ("masks", "who makes masks, what they are worth, Segment Anything", include_str!("manual/masks.md")),
    ("plans", "sweeps and protocols", include_str!("manual/plans.md")),
    ("jobs", "the queue, the daemon, and a connection that is cut", include_str!("manual/jobs.md")),
    ("files", "what is in a home, and which photos are read", include_str!("manual/files.md")),
    ("trust", "a home that others can write to, or that came from elsewhere", include_str!("manual/trust.md")),
    ("models", "base models, devices, and what is checked before a job", include_str!("manual/models.md")),
    ("programs", "files of other programs, packed concepts", include_str!("manual/programs.md")),
    ("workbench", "screens, pictures and keys of the workbench", include_str!("manual/workbench.md")),
    ("measurements", "what was measured on the demo world", include_str!("manual/measurements.md")),
];

/// The topic that is made from rows.
const SETTINGS: (&str, &str) =
    ("settings", "every setting of trainings, samplings and scorings: what it can be and usually is");

/// Options of `completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionArgs {
    /// For which shell.
    shell: clap_complete::Shell,
}

/// Options of `manual`.
#[derive(Debug, clap::Args)]
pub struct ManualArgs {
    /// What to read about; without one, a terminal gets the list of topics, and a file or a pipe the page for `man` with all
    /// commands.
    #[arg(value_parser = topics())]
    topic: Option<String>,
    /// Only the settings of this method.
    #[arg(long, value_parser = PossibleValuesParser::new(MethodSettings::NAMES), requires = "topic")]
    method: Option<String>,
    /// How settings are printed: text or markdown. The other topics are Markdown that is read as text.
    #[arg(long = "format", value_name = "FORMAT", default_value = "text", value_parser = layouts())]
    layout: Format,
    /// Write a page for each command into this folder, instead of the main one to stdout.
    #[arg(long, value_name = "DIR", conflicts_with = "topic")]
    out: Option<PathBuf>,
}

/// What can be read about.
fn topics() -> PossibleValuesParser {
    let texts = TOPICS.iter().map(|(name, about, _)| (*name, *about));
    PossibleValuesParser::new(
        [SETTINGS].into_iter().chain(texts).map(|(name, about)| PossibleValue::new(name).help(about)),
    )
}

/// How settings can be printed.
fn layouts() -> impl TypedValueParser<Value = Format> {
    let words = PossibleValuesParser::new(["text", "markdown"]);
    words.map(|word| if word == "markdown" { Format::Markdown } else { Format::Text })
}

pub fn completions(args: &CompletionArgs) -> Result<(), Error> {
    out::bytes(&super::complete::script(&args.shell.to_string())?);
    Ok(())
}

pub fn manual(args: &ManualArgs) -> Result<(), Error> {
    match args.topic.as_deref() {
        None if args.out.is_none() && io::stdout().is_terminal() => {
            contents();
            Ok(())
        }
        None => pages(args),
        Some(topic) if topic == SETTINGS.0 => {
            let is_asked = |name: &str| args.method.as_deref().is_none_or(|asked| asked == name);
            let methods: Vec<_> = MethodSettings::ALL.iter().copied().filter(|method| is_asked(method.name)).collect();
            out!("{}", settings::reference(&methods, args.layout));
            Ok(())
        }
        Some(topic) if args.method.is_some() => {
            Err(Error::Job(format!("{topic} is the same for all methods: leave out --method")))
        }
        Some(topic) => {
            let found = TOPICS.iter().find(|(name, ..)| *name == topic);
            found.iter().for_each(|(.., text)| out!("{text}"));
            Ok(())
        }
    }
}

/// The topics, a line each, and how the page for `man` is read.
fn contents() {
    out!("Topics, read with `catbench manual TOPIC`:\n\n");
    let texts = TOPICS.iter().map(|(name, about, _)| (*name, *about));
    [SETTINGS].into_iter().chain(texts).for_each(|(name, about)| out!("  {name:<14}{about}\n"));
    out!("\nThe page for `man`, with all commands: `catbench manual | man -l -`\n");
}

/// The page for `man`, or a folder of them.
fn pages(args: &ManualArgs) -> Result<(), Error> {
    match &args.out {
        None => {
            let mut page = Vec::new();
            page_of(Cli::command()).render(&mut page)?;
            out::bytes(&page);
        }
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(workspace::Error::io("create", folder))?;
            let mut program = Cli::command().disable_help_subcommand(true);
            program.build();
            write_pages(&program, folder).map_err(workspace::Error::io("write", folder))?;
        }
    }
    Ok(())
}

/// When these pages last changed.
const DATE: &str = "2026-11-30";

fn page_of(command: Command) -> clap_mangen::Man {
    clap_mangen::Man::new(command).date(DATE)
}

/// Write a page for `command` and one for each command below it.
fn write_pages(command: &Command, folder: &Path) -> io::Result<()> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set()).try_for_each(|sub| write_pages(sub, folder))?;
    page_of(command.clone()).generate_to(folder).map(drop)
}
