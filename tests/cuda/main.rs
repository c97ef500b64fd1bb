//! The program for graphics cards, on a card or on the software device that stands for one (see `README.md`): candle's operations, the
//! models and trainings held to PyTorch, and the commands of a user. The last are for the software device alone: they set its memory, let
//! allocations fail, and look at what it counted.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod full;
mod jobs;
mod operations;
#[path = "../parity/mod.rs"]
mod parity;
#[path = "../suite/sam.rs"]
mod sam;
mod soft;
