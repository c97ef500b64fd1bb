//! What every method of personalization shares: a training, its files, and pictures of what was learned. What is learned, and how it
//! enters the base model, the [methods](crate::method) say.
//!
//! | file | what it holds |
//! |---|---|
//! | `photos` | photos as the model sees them, and their cached latents |
//! | `draw` | what a step is about |
//! | `trainer` | the steps of a training, the loss at fixed noise |
//! | `loss` | the loss, and how it is read |
//! | `optimizer` | AdamW, and the learning rate in the course of a training |
//! | `learned` | what is learned: named tensors |
//! | `checkpoint` | those plus all that exact resume needs, as a safetensors file |
//! | `prompt` | which concepts a prompt names, and how captions are read |
//! | `sample` | pictures of prompts, with or without concepts |

mod checkpoint;
mod draw;
mod error;
mod learned;
mod loss;
mod optimizer;
mod photos;
mod prompt;
mod sample;
mod trainer;

pub use checkpoint::{Checkpoint, CheckpointMeta};
pub(crate) use checkpoint::{file_bytes, tensor_bytes};
pub use draw::Draw;
pub use error::{Error, Result};
pub use learned::Learned;
pub use loss::{FixedNoiseLoss, Launched, StepLoss};
pub use optimizer::{AdamW, learning_rate};
pub use photos::{TrainingPhoto, photos_hash};
pub use prompt::{Caption, Reading, WordLengths, prompt_text, scene_text};
pub use sample::{Encoded, Sampler, decode, denoise_batch};
pub use trainer::{FIXED_NOISE, Trainer};
