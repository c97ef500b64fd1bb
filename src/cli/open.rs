//! `catbench open`: the workbench.

use std::io::IsTerminal;

use clap::{CommandFactory, Parser, ValueEnum};

use super::{Cli, Error};
use crate::tui::{self, Images, ScreenName, Verb};
use crate::workspace::{Home, Theme};

/// Options of the workbench.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The concept: a folder of the home. Without: the library, or where the workbench was left last.
    concept: Option<String>,
    #[command(flatten)]
    screen: ScreenArgs,
}

/// How the workbench uses the terminal.
#[derive(Debug, Clone, clap::Parser)]
pub struct ScreenArgs {
    /// How pictures are drawn; `auto` asks the terminal.
    #[arg(long, value_enum, default_value = "auto", env = "CATBENCH_IMAGES")]
    pub images: Images,
    /// The colours of the screens; `auto` takes those set in the workbench, else asks the terminal for its background.
    #[arg(long, value_enum, default_value = "auto", env = "CATBENCH_THEME")]
    theme: ThemeArg,
}

/// Which colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ThemeArg {
    /// Those that suit the terminal.
    Auto,
    /// Light on dark.
    Dark,
    /// Dark on light.
    Light,
}

impl ScreenArgs {
    /// The colours that are asked for, if some are.
    pub fn theme(&self) -> Option<Theme> {
        match self.theme {
            ThemeArg::Auto => None,
            ThemeArg::Dark => Some(Theme::Dark),
            ThemeArg::Light => Some(Theme::Light),
        }
    }
}

pub fn run(args: &Args) -> Result<(), Error> {
    open(args.concept.as_deref(), &args.screen)
}

/// `catbench` without a verb.
pub fn alone() -> Result<(), Error> {
    open(None, &ScreenArgs::parse_from([""]))
}

/// Open the workbench, on `concept` where one is named, and when it is left say what goes on.
pub fn open(concept: Option<&str>, screen: &ScreenArgs) -> Result<(), Error> {
    if let Some(why) = why_not() {
        return Err(Error::Job(why));
    }
    let home = Home::locate()?;
    if let Some(name) = concept {
        // A name that is none is told before the screen is taken.
        home.concept(name)?;
    }
    let start = tui::Start {
        concept: concept.map(str::to_owned),
        place: if concept.is_some() { ScreenName::Concept } else { ScreenName::Library },
        images: screen.images,
        theme: screen.theme(),
        verbs: verbs(),
        explained: explained(),
    };
    if let Some(goes_on) = tui::run(&home, start)? {
        outln!("{goes_on}");
    }
    Ok(())
}

/// Why the workbench cannot be opened here, if it cannot.
pub fn why_not() -> Option<String> {
    let ends = [("stdin", std::io::stdin().is_terminal()), ("stdout", std::io::stdout().is_terminal())];
    if let Some((end, _)) = ends.iter().find(|(_, is_terminal)| !is_terminal) {
        return Some(format!(
            "the workbench needs a terminal, and {end} is none: open it without a pipe or a file there (`ssh -t` gives one), or \
             use the verbs of `catbench --help`"
        ));
    }
    let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
    dumb.then(|| {
        "the workbench needs a terminal that moves its cursor, and TERM is \"dumb\": set TERM to what the terminal is, or use \
         the verbs of `catbench --help`"
            .into()
    })
}

/// Every verb of the command line, and those under it, for the palette.
fn verbs() -> Vec<Verb> {
    let mut command = Cli::command();
    // What an argument takes is known then.
    command.build();
    let mut verbs = Vec::new();
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
        if verb.get_subcommands().next().is_none() {
            verbs.push(described(verb, verb.get_name().to_owned()));
        }
        let below = verb.get_subcommands().filter(|below| below.get_name() != "help");
        verbs.extend(below.map(|below| described(below, format!("{} {}", verb.get_name(), below.get_name()))));
    }
    verbs
}

/// What the palette says of a verb, and what it must be given.
fn described(command: &clap::Command, name: String) -> Verb {
    let takes = |argument: &&clap::Arg| argument.is_positional() || argument.is_required_set();
    let arguments: Vec<_> = command.get_arguments().filter(takes).collect();
    Verb {
        name,
        about: command.get_about().map(ToString::to_string).unwrap_or_default(),
        words: arguments.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        takes_concept: arguments.first().is_some_and(|first| first.is_positional() && first.get_id() == "concept"),
        needs_words: arguments.iter().any(|argument| argument.is_required_set()),
    }
}

/// What the command line says of each setting of a training.
fn explained() -> Vec<(String, String)> {
    let command = Cli::command();
    let train = command.get_subcommands().find(|verb| verb.get_name() == "train");
    let arguments = train.into_iter().flat_map(clap::Command::get_arguments);
    let help = |argument: &clap::Arg| argument.get_help().map(ToString::to_string).unwrap_or_default();
    arguments.map(|argument| (argument.get_id().to_string(), help(argument))).collect()
}

impl ValueEnum for Images {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.word()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_palette_knows_what_a_verb_must_be_given() {
        let verbs = verbs();
        let verb = |name: &str| verbs.iter().find(|verb| verb.name == name).unwrap();
        for name in ["jobs list", "doctor", "runs", "model list"] {
            assert!(!verb(name).needs_words, "{name}");
        }
        for name in ["train", "watch", "concept tag"] {
            assert!(verb(name).needs_words && verb(name).takes_concept, "{name}");
        }
        assert!(verb("jobs cancel").needs_words && !verb("jobs cancel").takes_concept);
        assert!(verb("concept tag").words.starts_with("<CONCEPT>"), "{}", verb("concept tag").words);
    }
}
