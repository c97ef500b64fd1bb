//! What commands and screens ask for: jobs handed to the daemon's queue, followed and changed there, the daemon started
//! where none answers; small questions answered by a runner. A client can come and go at any time, and several can look
//! at once.

mod ask;
mod daemon;
mod error;
mod follow;
#[cfg(feature = "hub")]
mod hub;
mod jobs;
mod library;
mod sampling;
mod segment;
mod watch;
pub mod words;

pub use ask::{compare, estimate, export_adapter, export_diffusers, import_adapter, model_hash, text_layers};
pub use daemon::Daemon;
pub use error::Error;
pub use follow::Follow;
#[cfg(feature = "hub")]
pub use hub::download_model;
pub use jobs::{Placement, change, jobs, stop, submit, submit_new, warnings};
pub use library::{concept, concepts, pack, rebuild, refresh, remove, rename, runs};
pub use sampling::{Reckoned, Room, checkpoints, last_checkpoint, other_concept};
pub use segment::{Segmented, Segmenter};
pub use watch::Watch;
