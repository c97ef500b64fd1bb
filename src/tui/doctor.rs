//! How this terminal and machine are used: what `catbench doctor` prints and the workbench shows.

use std::path::PathBuf;

use serde_json::json;

use super::preview::Choice;
use crate::client::{cuda_build, words};
use crate::fs::Show;
use crate::programs::{BUILD_CUDA, CUDA};
use crate::protocol::{Build, DeviceName, UsualDevice};
use crate::workspace::{self, GraphicsCard, Home, Theme, graphics_cards};

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
    /// What the program for graphics cards was built with, where there is one; or why it cannot be used.
    cuda: Result<Option<Build>, String>,
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
            cuda: usable_cuda(),
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
            let mut said = format!("{}, {}, {free} of {total} free", DeviceName::Cuda(card.number), card.name);
            let told = [(card.busy, "% busy"), (card.temperature, " °C"), (card.power, " W")];
            told.iter()
                .filter_map(|(value, unit)| Some(format!(", {}{unit}", (*value)?)))
                .for_each(|more| said += &more);
            rows.push(("device", said));
        }
        let metal = if DeviceName::Metal.is_built_in() {
            "built in"
        } else {
            "not in this build: `--features metal` when building on a Mac adds it"
        };
        let UsualDevice { device, .. } = UsualDevice::get();
        rows.push(("usual", format!("{device} in {}, where nobody names a device", device.usual_dtype())));
        rows.extend([
            ("cuda", cuda_in_words(&self.cuda, self.cards.is_empty())),
            ("metal", metal.into()),
            ("logs", "runner.log in each job's folder".into()),
            ("", format!("{} (the daemon's)", self.daemon_log.shown())),
            ("settings", self.settings.shown().to_string()),
        ]);
        rows
    }

    /// The same for programs.
    pub fn json(&self) -> serde_json::Value {
        let cuda = self.cuda.as_ref().ok().and_then(Option::as_ref);
        let card = |card: &GraphicsCard| {
            json!({ "device": DeviceName::Cuda(card.number), "name": card.name, "free": card.free, "total": card.total,
            "busy_percent": card.busy, "celsius": card.temperature, "watts": card.power })
        };
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "home": self.home, "concepts": self.concepts, "cores": self.cores,
            "devices": {
                "usual": UsualDevice::get().device, "cpu": true, "cuda": cuda.is_some(), "metal": DeviceName::Metal.is_built_in(),
                "cuda_problem": self.cuda.as_ref().err(),
                "cudnn": cuda.is_some_and(|build| build.cudnn), "flash_attn": cuda.is_some_and(|build| build.flash_attn), "cards": self.cards.iter().map(card).collect::<Vec<_>>(),
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

/// What the program for graphics cards was built with, where there is one.
///
/// # Errors
/// It does not start, or does not fit this program.
fn usable_cuda() -> Result<Option<Build>, String> {
    let build = cuda_build().map_err(|error| format!("cannot be used: {error}"))?;
    let (own, remedy) = (Build::own().version, "build both again, together");
    match build {
        Some(build) if !build.cuda => Err(format!("was built without the feature cuda: {remedy}")),
        Some(build) if build.version != own => {
            Err(format!("is of version {}, this program of {own}: {remedy}", build.version))
        }
        build => Ok(build),
    }
}

/// What there is of CUDA, and whether the machine has its part.
fn cuda_in_words(cuda: &Result<Option<Build>, String>, no_cards: bool) -> String {
    match cuda {
        Ok(None) => format!("no {CUDA} beside this program: `{BUILD_CUDA}` makes it"),
        Ok(Some(build)) => {
            let with = |name: &str, with: bool| format!("{} {name}", if with { "with" } else { "without" });
            let missing = if no_cards { ", no graphics card or no driver here" } else { "" };
            let parts = [with("cudnn", build.cudnn), with("flash-attn", build.flash_attn)].join(", ");
            format!("{CUDA}, {parts}{missing}")
        }
        Err(problem) => format!("✗ {CUDA} {problem}"),
    }
}
