//! The library as clients see it: concepts, their runs and what came of them, in short.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::settings::words;
use super::{MaskReport, Score, Unit, is_doubtful};

words! {
    /// How a job is.
    pub enum State {
        /// It has a folder but no runner has taken it up.
        New = "new",
        /// A runner is at work.
        Running = "running",
        /// All is done.
        Finished = "finished",
        /// Stopped as asked; can be resumed.
        Stopped = "stopped",
        /// Ended with an error.
        Failed = "failed",
        /// Its runner died without a word: killed, out of memory, power cut. Can be resumed.
        Interrupted = "interrupted",
    }
}

/// The scores of one side, before or after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Masked CLIP-I.
    pub masked_clip_i: Score,
    /// CLIP-I of the whole pictures.
    pub clip_i: Score,
    /// CLIP-T, the class word in place of the concept.
    pub clip_t: Score,
    /// CLIP-T of what prompts say besides the concept; none where no prompt does, or where it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_t_scene: Option<Score>,
    /// sqrt(masked CLIP-I · CLIP-T).
    pub balance: Score,
    /// Masked DINO, where a DINO model judged too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masked_dino: Option<Score>,
    /// DINO of the whole pictures, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dino: Option<Score>,
    /// What was drawn, which the intervals speak of; none in what versions before wrote, by a bootstrap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// What they owe to the masks.
    #[serde(flatten)]
    pub masks: MaskReport,
}

/// A concept in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConceptRecord {
    /// The name commands know it by.
    pub concept: String,
    /// What the screens call it.
    pub name: String,
    /// Its base class word.
    pub class_word: String,
    /// Its base model, as written in its file.
    pub base_model: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// The settings that its trainings start from, as written in its file, where they are other than the default preset's.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub train: toml::Table,
    /// How many whole photos it has.
    pub photos: usize,
    /// How many whole masks.
    pub masks: usize,
    /// How many files in its folders are not whole (yet).
    pub incomplete: usize,
    /// The names of its prompt lists.
    pub prompts: Vec<String>,
    /// How many runs.
    pub runs: usize,
    /// How many samples.
    pub samples: usize,
    /// How its newest run is; none without a run.
    pub state: Option<State>,
    /// The scores, with what was learned, of the newest run that has any.
    pub score: Option<Scores>,
    /// The file name of its first whole photo.
    pub photo: Option<String>,
    /// The learned sample that stands for it, from the concept's folder: the best rated one, where one without a rating counts
    /// as a 3; of equals the newest one of a run, else of a sampling.
    pub sample: Option<PathBuf>,
    /// When its files or its jobs have changed last, as their times say; a job at work counts from its beginning.
    pub changed: jiff::Timestamp,
    /// What is wrong with its files; the rest is then as far as it could be read.
    pub problem: Option<String>,
}

/// A run in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its concept.
    pub concept: String,
    /// Its id.
    pub id: String,
    /// How it is.
    pub state: State,
    /// Its folder, absolute.
    pub path: PathBuf,
    /// The adapter file it was made from, if it was not trained here.
    pub imported: Option<PathBuf>,
    /// Optimizer steps done.
    pub steps: usize,
    /// Optimizer steps in all.
    pub of: usize,
    /// Loss of the last step.
    pub loss: Option<f64>,
    /// The last loss at fixed noise, of the photos that are trained on.
    pub fixed_noise_loss: Option<f64>,
    /// The same of the photo that is held out of the training, where one is.
    pub held_out_loss: Option<f64>,
    /// The last scores.
    pub scores: Option<BothScores>,
}

impl RunRecord {
    /// How far the loss of the held-out photo is above the loss of the others; none if no photo is held out.
    pub fn gap(&self) -> Option<f64> {
        Some(self.held_out_loss? - self.fixed_noise_loss?)
    }
}

/// The scores of both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BothScores {
    /// Without what was learned.
    pub before: Scores,
    /// With it.
    pub after: Scores,
    /// After minus before, pair by pair of prompt and seed; none where they have no pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Scores>,
    /// What the photos themselves are worth, each against the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photos: Option<Scores>,
}

/// A photo, mask, prompt list or list of words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Whether all of it is there.
    pub whole: bool,
    /// When it was changed last; none where the system does not tell.
    pub modified: Option<jiff::Timestamp>,
    /// What a mask says of its own worth, 0 to 1; none where it says nothing, and of what is no mask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
}

/// The mask of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MaskRecord {
    /// When it was changed last.
    pub modified: jiff::Timestamp,
    /// What it says of its own worth, 0 to 1; none where it says nothing, as one drawn by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
}

/// The `confidence` of a mask that is doubtful; none of any other.
pub fn doubt(confidence: Option<f64>) -> Option<f64> {
    confidence.filter(|confidence| is_doubtful(Some(*confidence)))
}

/// A confidence as it is written, rounded down: one below a limit does not look like the limit.
pub fn two_digits(confidence: f64) -> String {
    format!("{:.2}", (confidence * 100.0 + 1e-9).floor() / 100.0)
}

/// A checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRecord {
    /// Steps done.
    pub step: usize,
    /// Absolute.
    pub path: PathBuf,
}

/// A sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleRecord {
    /// From the concept's folder.
    pub path: PathBuf,
    /// As given.
    pub prompt: String,
    /// Its seed.
    pub seed: u64,
    /// Steps done when it was made.
    pub step: usize,
    /// Whether what was learned was used.
    pub learned: bool,
    /// The user's rating, 1 (bad) to 5.
    pub rating: Option<u8>,
    /// Its mask; none where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<MaskRecord>,
}

impl SampleRecord {
    /// The confidence of its mask where that is doubtful.
    pub fn doubt(&self) -> Option<f64> {
        doubt(self.mask?.confidence)
    }
}

/// A concept with all that belongs to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConceptDetails {
    /// In short.
    #[serde(flatten)]
    pub concept: ConceptRecord,
    /// Free text.
    pub notes: String,
    /// Its photos.
    pub photo_files: Vec<FileRecord>,
    /// Its masks.
    pub mask_files: Vec<FileRecord>,
    /// Its runs, oldest first.
    pub run_records: Vec<RunRecord>,
    /// The checkpoints of its runs.
    pub checkpoints: Vec<CheckpointRecord>,
    /// The samples of its runs, their scorings and its samplings, in the order they were made within each; none unless they
    /// were asked for.
    pub sample_records: Vec<SampleRecord>,
    /// The settings of its jobs, all of them with their defaults, by job folder: `runs/ID`, `runs/ID/evaluation`,
    /// `samples/ID`.
    pub settings: BTreeMap<String, serde_json::Value>,
}

/// What the store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreCounts {
    /// Concepts.
    pub concepts: usize,
    /// Runs.
    pub runs: usize,
    /// Samples.
    pub samples: usize,
}
