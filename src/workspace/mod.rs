//! The files of a concept: where they are, how they are read and written. Files are the truth; whatever else the
//! program keeps can be rebuilt from them.
//!
//! ```text
//! <home>/.catbench/
//!   models/<name>.toml  hashes/  queue/<number>.toml  settings.toml
//!   plans/<name>.toml  embeddings/<model>.bin
//!   trash/<concept>~<time>/  trash/samples/<concept>/<path>~<time>
//!   store/  socket  daemon.lock  daemon.log  origin.toml
//! <home>/<concept>/
//!   concept.toml  ratings.toml  images/  masks/  prompts/
//!   runs/<run id>/       run.toml    events.jsonl  checkpoints/  samples/  evaluation/  scores.jsonl
//!   samples/<batch id>/  batch.toml  pictures.jsonl  events.jsonl  *.png  masks/
//!   jobs/<id>/           score.toml or mask.toml  events.jsonl  *.png  scores.jsonl
//! ```

mod bundle;
mod concept;
mod conditions;
pub mod copies;
mod demo;
mod error;
mod event_log;
mod events;
mod graphics;
mod hashes;
mod history;
mod holder;
mod home;
mod id;
mod inside;
mod job;
mod library;
mod masks;
mod memory;
mod models;
mod origin;
pub mod plan;
mod preflight;
mod private;
mod prompt_list;
pub mod queue;
mod ratings;
mod records;
mod scores;
mod settings;
mod sheets;
mod socket;
mod state;

pub use concept::{Concept, ConceptFile, left_out, photo_name};
pub use conditions::{own_conditions, take_on};
pub use error::Error;
pub use event_log::EventLog;
pub use events::{EventLines, EventReader, LineReader};
pub use graphics::{GraphicsCard, all_cards, graphics_cards, shown_cards};
pub use hashes::HashCache;
pub use history::{End, History, Picture, Point};
pub use holder::{BEAT, Held, Holder, HomeLock};
pub use home::Home;
pub use id::new_id;
pub use inside::{Links, inside};
pub use job::{
    BatchSpec, BenchLine, Imported, JobFolder, Kind, MaskBench, MaskSpec, MaskWay, RunSpec, ScoreSpec, Spec,
    TruePicture, checkpoint_path,
};
pub use masks::{MaskImport, MaskProblem, look_at_mask, look_at_masks, sample_mask};
pub use memory::{free_disk, free_memory, own_memory, total_memory};
pub use models::Copying;
pub use preflight::{Photo, Preflight, effective_settings, preflight, preflight_of};
pub use private::{check_private, make_private};
pub use prompt_list::{LineCount, ListError, ListNames, Listed, MAX_PICTURES, Place, PromptList, Values, values_of};
pub use ratings::{Ratings, RemovedSample, read_ratings};
pub use records::{
    JobContents, KnownMasks, RunSummary, fingerprint, masks_at, masks_changed, modified, rate, read_details,
    scoring_of, standing, state_now,
};
pub use scores::{
    BestCheckpoint, CheckpointScores, Curve, ScoreLine, checkpoint_scores, difference_of_runs, last_curve, last_scored,
    lines_with, read_scores, scores_of_run, unread_scores,
};
pub use settings::{Settings, Theme, XAxis};
pub use sheets::{SheetPlan, plan_sheets};
pub use state::state;
