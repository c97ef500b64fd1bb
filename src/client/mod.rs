//! Jobs as clients see them: start one, follow it, ask how it is, stop it. Everything is read from the job's folder,
//! so a client can come and go at any time, and several can look at once.

mod ask;
mod history;
#[cfg(feature = "hub")]
mod hub;
mod jobs;
mod watch;
pub mod words;

pub use ask::{estimate, export_adapter, import_adapter};
pub use history::{End, History, Picture, Point, Scores};
#[cfg(feature = "hub")]
pub use hub::download_model;
pub use jobs::{Error, State, start_job, state, stop};
pub use watch::{Follow, Watch};
