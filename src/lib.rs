//! Catbench: a terminal workbench for text-to-image personalization with CatVersion
//! (Zhao et al. 2023, arXiv 2311.14631).
//!
//! # Map
//!
//! | module | what it holds |
//! |---|---|
//! | [`protocol`] | what travels between processes: job settings and events; plain data |
//! | [`catversion`] | the method: residual embeddings, training, checkpoints, pictures of the concept |
//! | [`diffusion`] | the frozen base model, differentiable where CatVersion needs it |
//! | [`sys`] | what the system gives only through unsafe calls |
//! | [`image`] | photos, masks, Pillow-exact resampling, contact sheets, PNG with text |
//! | [`segment`] | Segment Anything: masks from points; the segmenter of a world |
//! | `masks` | masks of finished pictures by the untrained base model, and how alike masks are |
//! | [`metrics`] | CLIP and DINO scores of samples against photos and prompts |
//! | [`statistics`] | what scores say: records, intervals, differences, which of several is best |
//! | [`workspace`] | the files of a concept: settings, photos, job folders, events; of a home: queue, plans |
//! | `runner` | what does a job: a process of its own |
//! | `daemon` | the process that owns the queue, starts runners, watches files and answers clients |
//! | `store` | the daemon's index over the files: sled behind typed trees |
//! | [`client`] | what commands and screens ask of the daemon and of runners: the one door into the queue, plans |
//! | [`cli`] | the commands, one file a verb |
//! | [`tui`] | the workbench |
//! | `archive` | the directory of a zip archive of files as they are |
//! | [`fs`] | atomic file writes, hashes, whose a file is |
//! | [`json`] | JSON whose numbers are numbers |
//!
//! What is public is what tests, benches and examples use. All else is private to the crate, so that the compiler tells what
//! nothing uses.
//!
//! # Dependency rule
//!
//! `tui`, `cli` → `client` → `protocol`, `workspace` ← `daemon` → `store`. Clients and the daemon know each other only by `protocol`.
//! `statistics` is arithmetic on records: whoever has scores may ask it. Only `runner` uses `catversion`, `diffusion`, `metrics`, `segment` and `masks`, and those five know nothing of processes or screens
//! (`metrics` and `segment` read their models with the readers of `diffusion` and compute with its operations; `masks` looks with
//! `diffusion` and asks `segment`). `tests/suite/architecture.rs` checks it.

mod archive;
pub mod cli;
pub mod client;
mod daemon;
pub mod diffusion;
pub mod fs;
pub mod image;
pub mod json;
mod masks;
pub mod method;
pub mod metrics;
pub mod personalize;
pub mod protocol;
mod runner;
pub mod segment;
pub mod statistics;
mod store;
pub mod sys;
pub mod tui;
pub mod workspace;
