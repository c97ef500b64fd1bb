//! What can go wrong with a base model.

use crate::fs::Show;
use std::path::PathBuf;

/// What, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is missing or unreadable.
    #[error("cannot read {path}: {}", crate::fs::why(path, source), path = path.shown())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is there but is not what its name says.
    #[error("{path}: {cause}", path = path.shown())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A config asks for something this program does not build.
    #[error("{path}: {setting} = {value} is not supported; supported: {supported}", path = path.shown())]
    Unsupported {
        /// The config.
        path: PathBuf,
        /// Its key.
        setting: String,
        /// Its value.
        value: String,
        /// What would do.
        supported: String,
    },
    /// The weights lack a tensor that the config calls for.
    #[error("{path} has no tensor {tensor} (shape {expected:?} by its config): the config and the weights do not match", path = path.shown())]
    MissingTensor {
        /// The weights (a file, or the folder of the shards).
        path: PathBuf,
        /// Its name.
        tensor: String,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// A tensor has another shape than the config calls for.
    #[error("{path}: tensor {tensor} is {found:?}, its config calls for {expected:?}: the config and the weights do not match", path = path.shown())]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// Its name.
        tensor: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// Several things are wrong with a model.
    #[error("{path}: {count} problems, the first: {first}; `catbench model check` lists them all", path = path.shown())]
    Several {
        /// The model.
        path: PathBuf,
        /// How many.
        count: usize,
        /// The first.
        first: Box<Error>,
    },
    /// A prompt or caption cannot be read.
    #[error("prompt \"{prompt}\": {cause}")]
    Prompt {
        /// The prompt.
        prompt: String,
        /// Why, and what to do.
        cause: String,
    },
    /// A device cannot be used.
    #[error("device {device} cannot be used: {}", not_opened(.source))]
    NoDevice {
        /// As in the config.
        device: String,
        /// What its driver says.
        source: candle_core::Error,
    },
    /// A part of the model has computed NaN or infinity.
    #[error(
        "not finite: {part} gave NaN or infinity, so nothing was made of it. A damaged model, numbers learned at too high a \
         learning_rate, a huge guidance_scale, or a dtype of too small a range (f16; bf16 and f32 have more) do that; `catbench model check` looks \
         through the model"
    )]
    NotFinite {
        /// Which part, and where it stood.
        part: String,
    },
    /// A setting has no meaning.
    #[error("{0}")]
    Setting(String),
    /// A computation failed; a bug or too little memory.
    #[error("{}", failed(.0))]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// Whether a device cannot be used only because another process has it for itself, as cards in the mode EXCLUSIVE_PROCESS let it.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::NoDevice { source, .. } if says_taken(source))
    }
}

fn says_taken(error: &candle_core::Error) -> bool {
    error.to_string().contains("DEVICE_UNAVAILABLE")
}

/// What is said of a device that cannot be opened.
fn not_opened(error: &candle_core::Error) -> String {
    if says_taken(error) {
        return "another process has it for itself; `nvidia-smi` tells which, and `nvidia-smi -c DEFAULT` lets several in".into();
    }
    without_stack(error)
}

/// What candle says, without the stack that it adds where `RUST_BACKTRACE` is set.
fn without_stack(error: &candle_core::Error) -> String {
    let text = error.to_string();
    text.lines().take_while(|line| !line.trim_start().starts_with("0: ")).collect::<Vec<_>>().join("\n")
}

/// What is said of a computation that failed. Of a graphics card that is full, what to do.
fn failed(error: &candle_core::Error) -> String {
    let text = without_stack(error);
    if text.contains("OUT_OF_MEMORY") {
        return "the graphics card has no memory left for this: take a smaller batch_size, of a training also \
                gradient_checkpointing; `nvidia-smi` tells what else is on the card"
            .into();
    }
    format!("computation failed: {text}")
}

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_graphics_card_is_called_so_and_other_failures_by_their_own_words() {
        let said = |text: &str| Error::from(candle_core::Error::Msg(text.into())).to_string();
        let full = said("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")");
        assert!(full.contains("no memory left") && full.contains("batch_size"), "{full}");
        assert_eq!(said("shape mismatch"), "computation failed: shape mismatch");
    }
}
