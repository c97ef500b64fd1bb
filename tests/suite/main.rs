//! The program against its promises, by library and by command line; see `tests/README.md`. Each file is a module here: one
//! program is linked once, with all of candle.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../parity/mod.rs"]
mod parity;

mod adapters;
mod architecture;
mod batches;
mod cli;
mod comparisons;
mod concepts;
mod crash;
mod daemon;
mod devices;
mod graph;
mod home;
mod hostile_clients;
mod image;
mod jobs;
mod library;
mod links;
mod masks;
mod methods;
mod metrics;
mod not_finite;
mod old_home;
mod other_programs;
mod output;
mod photos;
mod planted;
mod preflight;
mod preprocess;
mod prompts;
mod provenance;
mod pty;
mod queue;
mod readme;
mod runner;
mod sam;
mod scores;
mod segment;
mod statistics;
mod strangers;
mod terminal;
mod tmux;
mod trouble;
