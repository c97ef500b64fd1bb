//! Catbench: a terminal workbench for text-to-image personalization with CatVersion
//! (Zhao et al. 2023, arXiv 2311.14631).
//!
//! # Map
//!
//! | module | what it holds |
//! |---|---|
//! | [`protocol`] | what travels between processes: job settings and events; plain data |
//! | [`image`] | photos, masks, Pillow-exact resampling, contact sheets, PNG with text |
//! | [`metrics`] | CLIP scores of samples against photos and prompts, with their intervals |
//! | [`fs`] | atomic file writes |
//!
//! # Dependency rule
//!
//! `tui`, `cli` → `client` → `protocol`, `workspace`. Only `runner` uses `catversion`, `diffusion` and `metrics`, and
//! those three know nothing of processes or screens. `tests/architecture.rs` checks it.

pub mod fs;
pub mod image;
pub mod metrics;
pub mod protocol;
