//! Lines of a `scores.jsonl` as clients need them, and questions about several of them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Fill, ScoreCrop, Scores};

/// A model that judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backbone {
    /// Name of its folder.
    pub name: String,
    /// SHA-256 of its weights file.
    pub sha256: String,
}

/// What is to be said of a DINO model beside CLIP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DinoJudge {
    /// The model.
    pub backbone: Backbone,
    /// The fill as a colour.
    pub fill_colour: [u8; 3],
    /// What was done to the pictures before they were embedded.
    pub preprocessing: String,
}

/// One line of a `scores.jsonl` without its single samples and photos.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreSummary {
    /// When it was measured.
    pub time: jiff::Timestamp,
    /// The folder of the job that measured it, from the concept's.
    #[serde(default)]
    pub job: PathBuf,
    /// Whether the residual embeddings were used.
    pub learned: bool,
    /// Optimizer steps of the checkpoint.
    pub step: usize,
    /// How strongly the embeddings acted, where it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strength: Option<f32>,
    /// SHA-256 of the checkpoint, where it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// The values.
    #[serde(flatten)]
    pub scores: Scores,
    /// The CLIP model that judged.
    pub backbone: Backbone,
    /// The DINO model that judged too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dino_judge: Option<DinoJudge>,
    /// What stood outside the masks.
    pub fill: Fill,
    /// What of the masked pictures was measured.
    #[serde(default)]
    pub crop: ScoreCrop,
    /// What was done to the pictures before they were embedded.
    pub preprocessing: String,
    /// How many prompts the intervals are drawn from, where it was recorded; with a single prompt its samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resampled: Option<usize>,
    /// Photos without a mask, which counted whole.
    pub photos_unmasked: usize,
    /// Samples without a mask, which counted whole.
    pub samples_unmasked: usize,
    /// Samples with an empty mask, which were all fill.
    pub samples_empty: usize,
    /// Samples whose mask marks everything.
    #[serde(default)]
    pub samples_full: usize,
}

/// Where a line of scores is: the last one of its job that fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoresAt {
    /// The folder of the job that measured it, absolute.
    pub job: PathBuf,
    /// With or without the residual embeddings.
    pub learned: bool,
    /// Of the checkpoint after so many steps; none for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
}

/// Two sides compared, pair by pair of prompt and seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The first side.
    pub first: Scores,
    /// The second side.
    pub second: Scores,
    /// Second minus first; an interval that leaves out 0 speaks of a difference.
    pub difference: Scores,
    /// Samples of either side that had no partner.
    pub unpaired: usize,
}
