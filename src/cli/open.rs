//! `catbench open`: the workbench.

use clap::{CommandFactory, Parser, ValueEnum};

use super::{Cli, Error};
use crate::tui::{self, Images, Place, Verb};
use crate::workspace::Home;

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
    let home = Home::locate()?;
    if let Some(name) = concept {
        // A name that is none is told before the screen is taken.
        home.concept(name)?;
    }
    let start = tui::Start {
        concept: concept.map(str::to_owned),
        place: if concept.is_some() { Place::Concept } else { Place::Library },
        images: screen.images,
        verbs: verbs(),
        explained: explained(),
    };
    if let Some(goes_on) = tui::run(&home, start)? {
        println!("{goes_on}");
    }
    Ok(())
}

/// Every verb of the command line, and those under it, for the palette.
fn verbs() -> Vec<Verb> {
    let mut verbs = Vec::new();
    for verb in Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let below: Vec<_> = verb.get_subcommands().collect();
        let about = |command: &clap::Command| command.get_about().map(ToString::to_string).unwrap_or_default();
        if below.is_empty() {
            verbs.push(Verb { name: verb.get_name().to_owned(), about: about(verb) });
        }
        verbs.extend(
            below
                .into_iter()
                .map(|under| Verb { name: format!("{} {}", verb.get_name(), under.get_name()), about: about(under) }),
        );
    }
    verbs
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
