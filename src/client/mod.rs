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

pub use begin::Asked;
pub use daemon::Daemon;
pub use error::Error;
pub use follow::Follow;
pub use jobs::{change, stop, warnings};
pub use library::{pack, rebuild, refresh, remove, rename};
pub use reader::{concept, jobs};
pub use sampling::checkpoints;
pub use segment::Segmenter;
pub use watch::Watch;

pub(crate) use ask::{cuda_build, export, import, model_hash, text_layers};
pub(crate) use begin::Ready;
#[cfg(feature = "hub")]
pub use hub::download_model;
pub(crate) use jobs::Placement;
pub(crate) use reader::{Reader, check_writable};
pub(crate) use sampling::{Reckoned, Sampling, checkpoint_after, last_checkpoint, other_concept, steps_done};
pub(crate) use segment::Segmented;
