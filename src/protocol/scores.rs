//! What is to be said of scores: who judged, and what they owe to the masks.

use serde::{Deserialize, Serialize};

use super::Scores;

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
