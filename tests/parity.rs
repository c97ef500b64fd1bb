//! The models and the training, held to what PyTorch, diffusers and transformers compute (see `tests/parity/README.md`).

#![allow(clippy::unwrap_used, clippy::float_cmp)]

#[path = "parity/diffusers.rs"]
mod diffusers;
#[path = "parity/embeddings.rs"]
mod embeddings;
#[path = "parity/fixture.rs"]
mod fixture;
#[path = "parity/gradient.rs"]
mod gradient;
#[path = "parity/models.rs"]
mod models;
#[path = "parity/precision.rs"]
mod precision;
#[path = "parity/samplers.rs"]
mod samplers;
#[path = "parity/sampling.rs"]
mod sampling;
#[path = "parity/training.rs"]
mod training;
