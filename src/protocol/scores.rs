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

/// By how much masks are grown and shrunk to see how far a masked score depends on them: the radius of a disc as a part of
/// sqrt(width · height) of a mask's box.
pub const MASK_MARGIN: f64 = 0.05;

/// A masked score measured again with all masks, of samples and photos, a little larger and a little smaller: [`MASK_MARGIN`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MaskDependence {
    /// With all masks grown; −1..1, of a difference −2..2.
    pub grown: f64,
    /// With all masks shrunk, likewise.
    pub shrunk: f64,
}

impl MaskDependence {
    /// The smaller and the larger of the two.
    pub fn ends(self) -> (f64, f64) {
        (self.grown.min(self.shrunk), self.grown.max(self.shrunk))
    }
}

/// What scores owe to the masks they were measured with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MaskReport {
    /// Masked CLIP-I with other masks; none where no picture has a mask, or where it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_dependence: Option<MaskDependence>,
    /// The same of masked DINO, where a DINO model judged too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dino_mask_dependence: Option<MaskDependence>,
    /// Samples whose mask is doubtful: its confidence is below [`DOUBTFUL_BELOW`](super::DOUBTFUL_BELOW). Of a difference the pairs
    /// in which either mask is.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub samples_doubtful: usize,
    /// The scores without them; none where there are none, or where nothing else is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_doubtful: Option<Box<Scores>>,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &usize) -> bool {
    *count == 0
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
    /// Photos whose mask is doubtful.
    #[serde(default)]
    pub photos_doubtful: usize,
    /// Masks, of samples and photos, that are too thin to be shrunk: they were kept as they are.
    #[serde(default)]
    pub masks_too_thin: usize,
    /// What made the masks of the samples, each once, in order; empty where no sample has one, or where it was not recorded.
    #[serde(default)]
    pub mask_makers: Vec<String>,
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
    /// Second minus first, also with other masks and without pairs of doubtful ones; an interval that leaves out 0 speaks of a
    /// difference.
    pub difference: Scores,
    /// Samples of either side that had no partner.
    pub unpaired: usize,
}
