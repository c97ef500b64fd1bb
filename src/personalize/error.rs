//! What can go wrong in training and sampling a concept.

use std::path::PathBuf;

use crate::diffusion;
use crate::fs::Show;
use crate::protocol::SettingError;

/// What, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The base model.
    #[error(transparent)]
    Model(#[from] diffusion::Error),
    /// A setting that cannot work.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A checkpoint file is missing or unreadable.
    #[error("cannot read checkpoint {path}: {}", crate::fs::why(path, source), path = path.shown())]
    ReadCheckpoint {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A checkpoint cannot be written.
    #[error("cannot write checkpoint {path}: {}", crate::fs::why(path, source), path = path.shown())]
    WriteCheckpoint {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is no checkpoint, or a damaged one.
    #[error("checkpoint {path}: {cause}", path = path.shown())]
    BadCheckpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A file of another program that is none, does not fit, or cannot be made.
    #[error("{what} {}: {cause}", path.shown())]
    OtherFile {
        /// What it should be: "adapter", "embedding".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        cause: String,
    },
    /// A checkpoint made on another base model.
    #[error("checkpoint {path} was made on another base model (hash {found:.12}, this one is {expected:.12}): choose the base \
         model it was trained on", path = path.shown())]
    OtherBaseModel {
        /// The checkpoint.
        path: PathBuf,
        /// The hash it records.
        found: String,
        /// The hash of the base model at hand.
        expected: String,
    },
    /// A resumed training would not be the same training.
    #[error("cannot resume from {path}: {cause}", path = path.shown())]
    NotTheSameRun {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        cause: String,
    },
    /// A number of the training is NaN or infinite.
    #[error(
        "{what} is not a finite number at step {step}: training stopped, {}. A lower learning_rate (now {learning_rate:?}) usually \
         helps", good(*.checkpoint)
    )]
    NotFinite {
        /// Which number.
        what: &'static str,
        /// The step that failed.
        step: usize,
        /// As configured.
        learning_rate: f64,
        /// Steps of the last checkpoint, which is good; none where nothing was saved.
        checkpoint: Option<usize>,
    },
}

fn good(checkpoint: Option<usize>) -> String {
    checkpoint.map_or_else(
        || "nothing was saved".into(),
        |steps| format!("the checkpoint of step {steps} was saved before and is good"),
    )
}

impl Error {
    /// The same, with the last checkpoint of the training, where one was saved.
    #[must_use]
    pub fn after(self, saved: Option<usize>) -> Self {
        match self {
            Self::NotFinite { what, step, learning_rate, .. } => {
                Self::NotFinite { what, step, learning_rate, checkpoint: saved }
            }
            other => other,
        }
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Model(error.into())
    }
}

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;
