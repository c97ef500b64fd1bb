//! What can go wrong in training and sampling a concept.

use std::path::PathBuf;

use crate::diffusion;
use crate::protocol::SettingError;

/// What, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The base model.
    #[error(transparent)]
    Model(#[from] diffusion::Error),
    /// A setting that cannot work, whatever the base model.
    #[error(transparent)]
    Config(#[from] SettingError),
    /// A setting that cannot work here.
    #[error("{setting} = {value}: {cause}")]
    Setting {
        /// As in the config.
        setting: &'static str,
        /// What it is.
        value: String,
        /// What it should be.
        cause: String,
    },
    /// A checkpoint file is missing or unreadable.
    #[error("cannot read checkpoint {path}: {}", crate::fs::why(path, source))]
    ReadCheckpoint {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A checkpoint cannot be written.
    #[error("cannot write checkpoint {path}: {}", crate::fs::why(path, source))]
    WriteCheckpoint {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is no checkpoint, or a damaged one.
    #[error("checkpoint {path}: {cause}")]
    BadCheckpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A `pytorch_adapter.bin` that is none, does not fit, or cannot be made; a file for diffusers that cannot be made.
    #[error("adapter {}: {cause}", path.display())]
    BadAdapter {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        cause: String,
    },
    /// A checkpoint made on another base model.
    #[error(
        "checkpoint {path} was made on another base model (hash {found:.12}, this one is {expected:.12}): choose the base \
         model it was trained on"
    )]
    OtherBaseModel {
        /// The checkpoint.
        path: PathBuf,
        /// The hash it records.
        found: String,
        /// The hash of the base model at hand.
        expected: String,
    },
    /// A resumed training would not be the same training.
    #[error("cannot resume from {path}: {cause}")]
    NotTheSameRun {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        cause: String,
    },
    /// The loss or a gradient is not a number.
    #[error(
        "the loss is not a finite number at step {step}: training stopped, the last checkpoint is good. A lower \
         learning_rate (now {learning_rate}) usually helps"
    )]
    NotFinite {
        /// The step that failed.
        step: usize,
        /// As configured.
        learning_rate: f64,
    },
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Model(error.into())
    }
}

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;
