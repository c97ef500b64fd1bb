//! `catbench doctor`: how this terminal and machine are used.

use serde_json::json;

use super::open::ScreenArgs;
use super::{Error, print_json};
use crate::tui;
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
    let (pictures, _) = tui::choose_images(args.screen.images);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let concepts = home.concepts()?;
    let term = std::env::var("TERM").unwrap_or_default();
    let size = crossterm::terminal::size().ok();
    if args.json {
        print_json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "home": home.path(), "concepts": concepts, "cores": cores, "device": "cpu",
            "terminal": { "term": term, "size": size, "pictures": pictures.backend.word(), "why": pictures.why },
            "logs": "<job folder>/runner.log",
        }));
        return Ok(());
    }
    let rows = [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("home", format!("{} ({} concepts)", home.path().display(), concepts.len())),
        (
            "terminal",
            match size {
                Some((width, height)) => format!("{term}, {width} × {height}"),
                None => "none".into(),
            },
        ),
        ("pictures", format!("{}: {}", pictures.backend.word(), pictures.why)),
        ("device", format!("cpu, {cores} cores")),
        ("logs", "runner.log in each job's folder".into()),
    ];
    for (name, value) in rows {
        println!("{name:<10} {value}");
    }
    Ok(())
}
