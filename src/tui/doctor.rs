//! How this terminal and machine are used: what `catbench doctor` prints and the workbench shows.

use std::path::PathBuf;

use serde_json::json;

use super::preview::Choice;
use crate::client::words;
use crate::fs::Show;
use crate::protocol::DeviceName;
use crate::workspace::{self, GraphicsCard, Home, Theme, graphics_cards};

/// The names of what can be built in or left out.
const PARTS: [(&str, bool); 2] = [("cudnn", cfg!(feature = "cudnn")), ("flash-attn", cfg!(feature = "flash-attn"))];

/// All of it.
pub struct Doctor {
    home: PathBuf,
    concepts: Vec<String>,
    daemon_log: PathBuf,
    settings: PathBuf,
    term: String,
    /// Columns and rows.
    size: Option<(u16, u16)>,
    pictures: Choice,
    theme: String,
    /// How the terminal reads letters, where it was asked.
    letters: Option<String>,
    cores: usize,
    cards: Vec<GraphicsCard>,
}

impl Doctor {
    /// Look. It takes a moment: graphics cards are asked.
    pub fn look(home: &Home, pictures: Choice, theme: String) -> Result<Self, workspace::Error> {
        Ok(Self {
            home: home.path().to_owned(),
            concepts: home.concepts()?,
            daemon_log: home.daemon_log(),
            settings: home.internal().join("settings.toml"),
            term: std::env::var("TERM").unwrap_or_default(),
            size: crossterm::terminal::size().ok(),
            pictures,
            theme,
            letters: None,
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            cards: graphics_cards(),
        })
    }

    /// Say how the terminal reads letters, too, where it was asked.
    #[must_use]
    pub fn with_letters(self, letters: Option<String>) -> Self {
        Self { letters, ..self }
    }

    /// Names and values, for people.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let terminal = match self.size {
            Some((width, height)) => format!("{}, {width} × {height}", self.term),
            None => "none".into(),
        };
        let mut rows = vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("home", format!("{} ({})", self.home.shown(), words::count(self.concepts.len() as u64, "concept"))),
            ("terminal", terminal),
            ("pictures", format!("{}: {}", self.pictures.backend.word(), self.pictures.why)),
            ("theme", self.theme.clone()),
        ];
        rows.extend(self.letters.iter().map(|letters| ("letters", letters.clone())));
        rows.push(("device", format!("cpu, {} cores", self.cores)));
        for card in &self.cards {
            let (free, total) = (words::bytes(card.free), words::bytes(card.total));
            rows.push(("device", format!("{}, {}, {free} of {total} free", DeviceName::Cuda(card.number), card.name)));
        }
        let metal = if DeviceName::Metal.is_built_in() { "built in".into() } else { not_built_in("metal") };
        rows.extend([
            ("cuda", cuda(DeviceName::Cuda(0).is_built_in(), self.cards.is_empty())),
            ("metal", metal),
            ("logs", "runner.log in each job's folder".into()),
            ("", format!("{} (the daemon's)", self.daemon_log.shown())),
            ("settings", self.settings.shown().to_string()),
        ]);
        rows
    }

    /// The same for programs.
    pub fn json(&self) -> serde_json::Value {
        let card = |card: &GraphicsCard| json!({ "device": DeviceName::Cuda(card.number), "name": card.name, "free": card.free, "total": card.total });
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "home": self.home, "concepts": self.concepts, "cores": self.cores,
            "devices": {
                "cpu": true, "cuda": DeviceName::Cuda(0).is_built_in(), "metal": DeviceName::Metal.is_built_in(),
                "cudnn": PARTS[0].1, "flash_attn": PARTS[1].1, "cards": self.cards.iter().map(card).collect::<Vec<_>>(),
            },
            "terminal": {
                "term": self.term, "size": self.size, "theme": self.theme,
                "pictures": self.pictures.backend.word(), "why": self.pictures.why, "letters": self.letters,
            },
            "logs": "<job folder>/runner.log", "daemon_log": self.daemon_log, "settings": self.settings,
        })
    }
}

/// Which colours, and why.
pub fn theme_words(set: Option<Theme>, told: Theme) -> String {
    match set {
        Some(theme) => format!("{}: as set", theme.word()),
        None => format!("{}: as the terminal's background asks, where it tells", told.word()),
    }
}

/// What this build has of CUDA, and whether the machine has its part.
fn cuda(built_in: bool, no_cards: bool) -> String {
    if !built_in {
        return not_built_in("cuda");
    }
    let with = PARTS.map(|(name, with)| format!("{} {name}", if with { "with" } else { "without" }));
    let missing = if no_cards { ", no graphics card or no driver here" } else { "" };
    format!("built in, {}{missing}", with.join(", "))
}

fn not_built_in(feature: &str) -> String {
    format!("not in this build: `--features {feature}` when building adds it")
}
