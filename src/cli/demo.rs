//! `catbench demo`: the first five minutes. The demo is brought into the home where it is not there yet.

use super::open::ScreenArgs;
use super::{Error, train};
use crate::fs::Show;
use crate::workspace::Home;

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
    let home = Home::locate()?;
    let new = home.concept("demo").is_err();
    let concept = home.demo()?;
    if new && !args.json {
        outln!("the demo is now in {}", concept.folder.shown());
    }
    if !args.json && super::open::why_not().is_none() {
        return super::open::open(Some("demo"), &args.screen);
    }
    train::demo(args.json)
}
