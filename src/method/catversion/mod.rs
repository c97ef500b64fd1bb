//! CatVersion (Zhao et al. 2023, arXiv 2311.14631): a concept learned as a few rows in front of the keys and values of the
//! text encoder's last self-attention layers, everything else frozen (section 3.2 and equation 5).
//!
//! | file | what it holds |
//! |---|---|
//! | `settings` | its settings and presets |
//! | `embeddings` | the residual embeddings: how they start, and how they enter the text encoder |
//! | `adapter` | them as the file of the authors' released code |
//! | `diffusers` | them as a file for diffusers, with its loader |

mod adapter;
mod diffusers;
mod embeddings;
mod settings;

use std::path::{Path, PathBuf};

pub use self::settings::{DECLARATION, Init, Settings};
use super::{Export, Method, Task};
use crate::diffusion::{Additions, Outline, TextOutline, Tracked};
use crate::personalize::{Checkpoint, Error, Learned, Result};
use crate::protocol::{Format, SettingError, TrainConfig};

impl Settings {
    /// The layers that are concatenated in a text encoder of `count`: those chosen, else the last three.
    ///
    /// # Errors
    /// A layer that it does not have.
    pub fn concatenated(&self, count: usize) -> Result<Vec<usize>, SettingError> {
        let layers = self.layers.clone().unwrap_or_else(|| (count.saturating_sub(3)..count).collect());
        match layers.iter().find(|&&layer| layer >= count) {
            None => Ok(layers),
            Some(odd) => {
                let cause = format!("the text encoder has layers 0 to {}", count.saturating_sub(1));
                Err(SettingError::new("layers", odd, cause))
            }
        }
    }
}

impl Method for Settings {
    fn check(&self, config: &TrainConfig) -> Result<(), SettingError> {
        if config.caption.contains("{class}") {
            return Ok(());
        }
        let value = format!("\"{}\"", config.caption);
        Err(SettingError::new("caption", value, "must contain {class}, the class word's place"))
    }

    fn check_model(&self, model: &Outline) -> Result<(), SettingError> {
        model.texts.iter().map(TextOutline::layers).try_for_each(|count| self.concatenated(count).map(drop))
    }

    fn captions(&self, config: &TrainConfig) -> Vec<String> {
        vec![config.caption.clone()]
    }

    fn first_layer(&self, layers: usize) -> usize {
        self.concatenated(layers).ok().and_then(|layers| layers.first().copied()).unwrap_or(0)
    }

    fn start(&self, task: &Task<'_>) -> Result<Learned> {
        match self.init {
            Init::ClassWord => embeddings::of_class_word(task, self),
            Init::Normal => embeddings::of_normal_draw(task, self),
        }
    }

    fn enter(&self, task: &Task<'_>, tensors: &[(String, Tracked)], strength: f32) -> Result<Vec<Additions>> {
        // The same number for every query: it weighs the rows as if each stood there `strength` times.
        embeddings::enter(task.model, tensors, self.prefix_bias + strength.ln())
    }

    fn check_learned(&self, shapes: &[(String, Vec<usize>)]) -> Result<(), String> {
        embeddings::check(shapes)
    }

    fn in_words(&self) -> Vec<(&'static str, String)> {
        let layers = self.layers.as_ref().map_or_else(
            || "the last three layers".into(),
            |layers| format!("the layers {}", layers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
        );
        let init = match self.init {
            Init::ClassWord => "from the class word",
            Init::Normal => "from a normal draw",
        };
        vec![
            ("embeddings", format!("{} in each of {layers}, {init}", self.prefix_length)),
            ("prefix bias", self.prefix_bias.to_string()),
        ]
    }

    fn import(&self, _: &Format, path: &Path, model: &Outline, class_word: &str) -> Result<Checkpoint> {
        adapter::import(path, model, class_word)
    }

    fn export(&self, format: &Format, export: &Export<'_>) -> Result<(Vec<PathBuf>, Vec<String>)> {
        match format.name {
            settings::ADAPTER => adapter::export(export, self),
            _ => diffusers::export(export, self),
        }
    }
}

/// What its files of other programs are called.
const FILE: &str = "adapter";

/// A file that is no adapter, or that cannot be one.
fn bad(path: &Path, cause: impl Into<String>) -> Error {
    Error::OtherFile { what: FILE, path: path.to_owned(), cause: cause.into() }
}
