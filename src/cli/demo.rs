//! `catbench demo`: the first five minutes.

use std::io::IsTerminal;

use super::open::ScreenArgs;
use super::{Error, train};

/// Options of the demo.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    screen: ScreenArgs,
    /// Train and score without the workbench, and print one JSON object last.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if terminal && !args.json {
        return super::open::open(Some("demo"), &args.screen);
    }
    train::demo(args.json)
}
