//! `catbench open`: the workbench.

use clap::ValueEnum;

use super::Error;
use crate::tui::{self, Images};

/// Options of the workbench.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The concept: a folder of the home.
    concept: String,
    #[command(flatten)]
    screen: ScreenArgs,
}

/// How the workbench uses the terminal.
#[derive(Debug, Clone, clap::Args)]
pub struct ScreenArgs {
    /// How pictures are drawn; `auto` asks the terminal.
    #[arg(long, value_enum, default_value = "auto", env = "CATBENCH_IMAGES")]
    pub images: Images,
}

pub fn run(args: &Args) -> Result<(), Error> {
    open(&args.concept, &args.screen)
}

/// Open the workbench on `concept`, and when it is left say what goes on.
pub fn open(concept: &str, screen: &ScreenArgs) -> Result<(), Error> {
    let concept = super::concept(concept)?;
    if let Some(goes_on) = tui::run(concept, screen.images)? {
        println!("{goes_on}");
    }
    Ok(())
}

impl ValueEnum for Images {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.word()))
    }
}
