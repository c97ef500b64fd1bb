//! CatVersion (Zhao et al. 2023, arXiv 2311.14631): a concept learned as a few rows in front of the keys and values of the
//! text encoder's last self-attention layers, everything else frozen.
//!
//! | file | what it holds |
//! |---|---|
//! | `embeddings` | the residual embeddings: the only trained numbers |
//! | `trainer` | the training loop's steps, the loss at fixed noise |
//! | `optimizer` | AdamW |
//! | `checkpoint` | the embeddings plus all that exact resume needs, as a safetensors file |
//! | `adapter` | the embeddings as the file of the authors' released code |
//! | `diffusers` | the embeddings as a file for diffusers, with its loader |
//! | `prompt` | which concepts a prompt names, and what is read for them |
//! | `sample` | pictures of prompts, with or without the concept |

pub mod adapter;
mod checkpoint;
pub mod diffusers;
mod embeddings;
mod error;
mod optimizer;
mod prompt;
mod sample;
mod trainer;

pub use checkpoint::{Checkpoint, CheckpointMeta};
pub use embeddings::ResidualEmbeddings;
pub use error::{Error, Result};
pub use optimizer::AdamW;
pub use prompt::{Reading, prompt_text, scene_text};
pub use sample::{Encoded, Sampler, decode, denoise_batch};
pub use trainer::{
    Draw, FIXED_NOISE, FixedNoiseLoss, Launched, StepLoss, Trainer, TrainingPhoto, concatenated_layers, photos_hash,
};
