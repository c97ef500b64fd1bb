//! The files of a concept: where they are, how they are read and written. Files are the truth; whatever else the
//! program keeps can be rebuilt from them.
//!
//! ```text
//! <home>/.catbench/
//!   models/<name>.toml  hashes/  queue/<number>.toml  settings.toml
//!   plans/<name>.toml  embeddings/<model>.bin
//!   trash/<concept>~<time>/  trash/samples/<concept>/<path>~<time>
//!   store/  socket  daemon.lock  daemon.log  origin.toml
//! <home>/protocols/<name>.toml
//! <home>/prompts/words/*.txt
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

pub use concept::{Concept, left_out, photo_name};
pub use error::Error;
pub use event_log::EventLog;
pub use events::EventReader;
pub use history::{End, History, Point};
pub use holder::Held;
pub use home::Home;
pub use inside::{Links, inside};
pub use job::{JobFolder, RunSpec};
pub use preflight::Photo;
pub use prompt_list::{ListNames, Position, PromptList, Values};
pub use ratings::read_ratings;
pub use records::{fingerprint, modified, rate, read_details};
pub use scores::{Curve, ScoreLine, difference_of_runs, scores_of_run};
pub use settings::HomeSettings;
pub use state::state;

pub(crate) use concept::ConceptFile;
pub(crate) use conditions::{own_conditions, take_on};
pub(crate) use events::{EventLines, LineReader};
pub(crate) use graphics::{GraphicsCard, all_cards, graphics_cards, shown_cards, usual_device};
pub(crate) use hashes::HashCache;
pub(crate) use history::Picture;
pub(crate) use holder::{Holder, HomeLock};
pub(crate) use id::new_id;
pub(crate) use job::{
    BatchSpec, BenchLine, Imported, Kind, MaskBench, MaskSpec, MaskWay, ScoreSpec, Spec, TruePicture, checkpoint_path,
};
pub(crate) use masks::{MaskProblem, look_at_mask, look_at_masks, sample_mask};
pub(crate) use memory::{free_disk, free_memory, own_memory, process_memory, total_memory};
pub(crate) use models::Copying;
pub(crate) use preflight::{Preflight, effective_settings, preflight, preflight_of};
pub(crate) use private::{check_private, make_private};
pub(crate) use prompt_list::{LineCount, ListError, values_of};
pub(crate) use ratings::{Ratings, RemovedSample};
pub(crate) use records::{
    JobContents, KnownMasks, RunSummary, masks_at, masks_changed, scoring_of, standing, state_now,
};
pub(crate) use scores::{
    CheckpointScores, checkpoint_scores, last_curve, last_scored, lines_with, read_scores, unread_scores,
};
pub(crate) use settings::{Theme, XAxis};
pub(crate) use sheets::plan_sheets;
