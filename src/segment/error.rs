use std::path::{Path, PathBuf};

use crate::diffusion;
use crate::fs::Show;

/// What can keep Segment Anything from making a mask.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot read {}: {}", path.shown(), crate::fs::why(path, source))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file of the weights is none of tensors, or damaged.
    #[error("sam_model: {0}")]
    File(#[from] diffusion::Error),
    /// It holds something else.
    #[error("sam_model: {}: {reason}", path.shown())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A file of a segmenter of one world is missing or damaged.
    #[error("segmenter: {0}")]
    NetworkFile(Box<diffusion::Error>),
    /// The folder of one holds something else.
    #[error("segmenter: {}: {cause}", path.shown())]
    Network {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A point beside the photo.
    #[error(
        "the point {},{} is outside of the photo, which is {} x {} pixels: points are counted from its upper left corner, \
         from 0,0",
        point.0, point.1, size.0, size.1
    )]
    Outside {
        /// Across and down.
        point: (u32, u32),
        /// Width and height of the photo.
        size: (u32, u32),
    },
    /// Only points that the concept is not at.
    #[error("no point shows the concept: give one that lies on it")]
    NoPoint,
    /// A threshold that is no share.
    #[error("threshold = {0}: it must be above 0 and below 1")]
    Threshold(f64),
    /// The computation failed.
    #[error("Segment Anything failed: {0}")]
    Compute(#[from] candle_core::Error),
}

impl Error {
    pub(super) fn network_file(error: diffusion::Error) -> Self {
        Self::NetworkFile(Box::new(error))
    }

    pub(super) fn model(path: &Path, reason: String) -> Self {
        Self::Model { path: path.to_owned(), reason }
    }
}
