use std::path::PathBuf;

/// What can keep a score from being measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of the score model that does not say what it must.
    #[error("{}: {reason}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A weight that is not there.
    #[error("{} has no tensor {tensor} (of shape {expected:?}): it does not fit its config.json", path.display())]
    MissingTensor {
        /// The weights file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape config.json asks for.
        expected: Vec<usize>,
    },
    /// A weight of another shape.
    #[error(
        "{}: tensor {tensor} has the shape {found:?}, but config.json asks for {expected:?}: take both from the same model",
        path.display()
    )]
    TensorShape {
        /// The weights file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape config.json asks for.
        expected: Vec<usize>,
    },
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
    /// Two records that measured different things.
    #[error("the two scores cannot be compared: {0}")]
    NotComparable(String),
    /// The computation failed.
    #[error("the score model failed: {0}")]
    Compute(#[from] candle_core::Error),
}
