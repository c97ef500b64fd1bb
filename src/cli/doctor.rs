//! `catbench doctor`: how this terminal and machine are used.

use serde_json::json;

use super::open::ScreenArgs;
use super::{Error, print_json};
use crate::client::words;
use crate::protocol::DeviceName;
use crate::tui;
use crate::workspace::{Home, Theme, graphics_cards};

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
    let pictures = tui::choose_images(args.screen.images, Some(Theme::Dark)).choice;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let concepts = home.concepts()?;
    let term = std::env::var("TERM").unwrap_or_default();
    let size = crossterm::terminal::size().ok();
    let cards = graphics_cards();
    let (cuda, metal) = (DeviceName::Cuda(0).is_built_in(), DeviceName::Metal.is_built_in());
    if args.json {
        let cards: Vec<_> = cards
            .iter()
            .map(|card| json!({ "device": DeviceName::Cuda(card.number), "name": card.name, "free": card.free, "total": card.total }))
            .collect();
        print_json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "home": home.path(), "concepts": concepts, "cores": cores,
            "devices": {
                "cpu": true, "cuda": cuda, "metal": metal, "cudnn": cfg!(feature = "cudnn"),
                "flash_attn": cfg!(feature = "flash-attn"), "cards": cards,
            },
            "terminal": { "term": term, "size": size, "pictures": pictures.backend.word(), "why": pictures.why },
            "logs": "<job folder>/runner.log", "daemon_log": home.daemon_log(),
        }));
        return Ok(());
    }
    let mut rows = vec![
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
    ];
    for card in &cards {
        let (free, total) = (words::bytes(card.free), words::bytes(card.total));
        rows.push(("device", format!("{}, {}, {free} of {total} free", DeviceName::Cuda(card.number), card.name)));
    }
    rows.push(("cuda", cuda_row(cuda, cards.is_empty())));
    rows.push(("metal", if metal { "built in".into() } else { not_built_in("metal") }));
    rows.push(("logs", format!("{}, runner.log in each job's folder", home.daemon_log().display())));
    for (name, value) in rows {
        println!("{name:<10} {value}");
    }
    Ok(())
}

/// What this build has of CUDA, and whether the machine has its part.
fn cuda_row(built_in: bool, no_cards: bool) -> String {
    if !built_in {
        return not_built_in("cuda");
    }
    let mut parts = vec!["built in".to_owned()];
    for feature in [("cudnn", cfg!(feature = "cudnn")), ("flash-attn", cfg!(feature = "flash-attn"))] {
        parts.push(if feature.1 { format!("with {}", feature.0) } else { format!("without {}", feature.0) });
    }
    if no_cards {
        parts.push("no graphics card or no driver here".into());
    }
    parts.join(", ")
}

fn not_built_in(feature: &str) -> String {
    format!("not in this build: `--features {feature}` when building adds it")
}
