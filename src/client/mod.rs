//! What commands and screens ask for: jobs handed to the daemon's queue, followed and changed there, the daemon started
//! where none answers; small questions answered by a runner. A client can come and go at any time, and several can look
//! at once.

mod ask;
mod begin;
mod daemon;
mod error;
mod follow;
#[cfg(feature = "hub")]
mod hub;
mod jobs;
mod library;
pub mod plan;
mod reader;
mod sampling;
mod segment;
mod watch;
pub mod words;

pub use ask::{export_adapter, export_diffusers, import_adapter, model_hash, set_program, text_layers};
pub use begin::{Asked, Ready};
pub use daemon::Daemon;
pub use error::Error;
pub use follow::Follow;
#[cfg(feature = "hub")]
pub use hub::download_model;
pub use jobs::{Placement, change, stop, warnings};
pub use library::{pack, rebuild, refresh, remove, rename};
pub use reader::{Reader, check_writable, concept, jobs};
pub use sampling::{
    Reckoned, Room, Sampling, checkpoint_after, checkpoints, last_checkpoint, other_concept, steps_done,
};
pub use segment::{Segmented, Segmenter};
pub use watch::Watch;
