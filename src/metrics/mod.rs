//! How good a learned concept is: masked CLIP-I, CLIP-I, CLIP-T and their balance, DINO masked and whole, with intervals,
//! and records that say what was measured on what and how. Knows pictures, masks and prompts; nothing of processes, files of
//! a workspace or screens.

mod cache;
mod clip;
mod compare;
mod dino;
mod error;
mod file;
mod masked;
mod measure;
mod model;
mod preprocess;
mod records;
mod statistics;
mod transformer;

pub use cache::EmbeddingCache;
pub use clip::ClipScorer;
pub use compare::{Comparison, Difference, compare, pool};
pub use dino::DinoScorer;
pub use error::Error;
pub use masked::{ScoredMask, crop_to_mask, fill_colour, fill_outside};
pub use measure::{LOOKS, Measuring, ScoredPhoto, ScoredSample};
pub use model::PictureModel;
pub use preprocess::Preprocessor;
pub use records::{PhotoRecord, SampleRecord, ScoreRecord};
pub use statistics::{Bootstrap, balance};
