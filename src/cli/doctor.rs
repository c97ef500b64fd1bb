//! `catbench doctor`: how this terminal and machine are used.

use super::open::ScreenArgs;
use super::{Error, print_json};
use crate::tui::{self, Doctor};
use crate::workspace::Home;

/// Options of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    screen: ScreenArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let home = Home::locate()?;
    // One that is damaged is told of when the workbench opens.
    let set = args.screen.theme().or_else(|| home.settings().ok()?.theme);
    let terminal = tui::ask_terminal(args.screen.images, set);
    let theme = tui::theme_words(set, terminal.theme);
    let doctor = Doctor::look(&home, terminal.pictures, theme)?.with_letters(terminal.letters);
    if args.json {
        print_json(&doctor.json());
        return Ok(());
    }
    for (name, value) in doctor.rows() {
        outln!("{name:<10} {value}");
    }
    Ok(())
}
