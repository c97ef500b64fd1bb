//! How good a learned concept is: masked CLIP-I, CLIP-I, CLIP-T and their balance, DINO masked and whole. Knows pictures,
//! masks and prompts; nothing of processes, files of a workspace or screens. What the values say is asked of `statistics`.

mod cache;
mod clip;
mod dino;
mod error;
mod file;
mod masked;
mod measure;
mod model;
mod preprocess;
mod transformer;

pub use cache::EmbeddingCache;
pub use clip::ClipScorer;
pub use dino::DinoScorer;
pub use error::Error;
pub use masked::{ScoredMask, fill_colour};
pub use measure::{LOOKS, Measuring, ScoredPhoto, ScoredSample};
pub use model::PictureModel;
pub use preprocess::Preprocessor;

pub(crate) use measure::is_one_colour;
