//! The models and the training, held to what PyTorch, diffusers and transformers compute (see `tests/parity/README.md`).
#![allow(clippy::float_cmp)]

mod diffusers;
mod embeddings;
mod fixture;
mod gradient;
mod models;
mod precision;
mod samplers;
mod sampling;
mod textual_inversion;
mod training;
