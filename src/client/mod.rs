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
mod reader;
mod sampling;
mod segment;
mod watch;
pub mod words;

pub use ask::estimate;
pub use daemon::Daemon;
pub use error::Error;
pub use follow::Follow;
pub use jobs::{change, score, stop, submit, warnings};
pub use library::{pack, rebuild, refresh, remove, rename};
pub use reader::{concept, jobs};
pub use sampling::checkpoints;
pub use segment::Segmenter;
pub use watch::Watch;

pub(crate) use ask::{
    check_resume, estimate_of, estimates, export, import, mask_request, model_hash, run_request, score_request,
    text_layers,
};
#[cfg(feature = "hub")]
pub use hub::download_model;
pub(crate) use jobs::{Placement, submit_new};
pub(crate) use reader::{Reader, check_writable};
pub(crate) use sampling::{Reckoned, checkpoint_after, last_checkpoint, other_concept};
pub(crate) use segment::Segmented;
