use std::path::PathBuf;

use crate::diffusion;
use crate::fs::Show;

/// What can keep a score from being measured.
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
    /// A file of the score model that does not say what it must.
    #[error("{}: {reason}", path.shown())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// Its weights or tokenizer: missing, damaged, or of another shape than its config says.
    #[error("score model: {0}")]
    Files(#[from] diffusion::Error),
    /// A prompt the text tower cannot hold. Cutting it silently would score another prompt.
    #[error("the prompt {prompt:?} has {tokens} tokens, the score model holds {limit}: shorten it")]
    PromptTooLong {
        /// The prompt.
        prompt: String,
        /// Its tokens, with start and end.
        tokens: usize,
        /// The most there may be.
        limit: usize,
    },
    /// A mask that does not lie on its picture.
    #[error("the mask of {what} is {} x {} pixels, the picture {} x {}", found.0, found.1, expected.0, expected.1)]
    MaskSize {
        /// Which picture.
        what: String,
        /// Width and height of the mask.
        found: (u32, u32),
        /// Width and height of the picture.
        expected: (u32, u32),
    },
    /// No photos, or no samples.
    #[error("there are no {0} to measure")]
    Nothing(&'static str),
    /// It gives numbers that are none.
    #[error(
        "not finite: the score model {model} gave NaN or infinity, so nothing was scored. Its file is damaged: get it again"
    )]
    NotFinite {
        /// Its name.
        model: String,
    },
    /// The computation failed.
    #[error("the score model failed: {0}")]
    Compute(#[from] candle_core::Error),
}
