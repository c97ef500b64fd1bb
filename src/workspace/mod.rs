//! The files of a concept: where they are, how they are read and written. Files are the truth; whatever else the
//! program keeps can be rebuilt from them.
//!
//! ```text
//! <home>/.catbench/
//!   models/<name>.toml  hashes/
//! <home>/<concept>/
//!   concept.toml  images/  masks/  prompts/
//!   runs/<run id>/       run.toml    events.jsonl  checkpoints/  samples/  evaluation/  scores.jsonl
//!   samples/<batch id>/  batch.toml  events.jsonl  *.png  masks/
//! ```

mod concept;
mod error;
mod events;
mod graphics;
mod hashes;
mod home;
mod id;
mod job;
mod memory;
mod models;
mod preflight;

pub use concept::{Concept, ConceptFile};
pub use error::Error;
pub use events::EventReader;
pub use graphics::{GraphicsCard, graphics_cards};
pub use hashes::HashCache;
pub use home::Home;
pub use id::new_id;
pub use job::{BatchSpec, Imported, JobFolder, JobKind, RunSpec, ScoreSpec};
pub use memory::free_memory;
pub use preflight::{Photo, Preflight, effective_settings, preflight};
