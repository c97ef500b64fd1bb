//! How good a learned concept is: masked CLIP-I, CLIP-I, CLIP-T and their balance, with intervals, and records that say what
//! was measured on what and how. Knows pictures, masks and prompts; nothing of processes, files of a workspace or screens.

mod clip;
mod error;
mod file;
mod masked;
mod preprocess;
mod scores;
mod statistics;

pub use clip::ClipScorer;
pub use error::Error;
pub use masked::{fill_colour, fill_outside};
pub use preprocess::Preprocessor;
pub use scores::{Backbone, Comparison, PhotoRecord, SampleRecord, ScoreRecord, ScoredSample, compare, measure};
pub use statistics::{Bootstrap, balance};
