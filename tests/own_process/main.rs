//! What its own process matters to; see `tests/README.md`. Files of strangers are read in little memory, which is the process's:
//! such a test starts a process for itself. The workbench starts its own program as `runner`, and here that is this one, to which
//! the word means all tests that have it in their name: none here may.
#![allow(clippy::unwrap_used, missing_docs)]

mod alone;
#[path = "../common/mod.rs"]
mod common;
mod files;
mod fuzz;
mod screen;
mod screens;
