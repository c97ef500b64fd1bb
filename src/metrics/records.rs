//! What a scoring leaves behind: every value, and what was measured on what and how.

use serde::{Deserialize, Serialize};

use super::statistics::{Bootstrap, balance};
use crate::protocol::{Backbone, DinoJudge, Fill, Score, ScoreCrop, Scores};

/// A photo that was measured against. The hashes are of the decoded pixels, so that they survive another encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhotoRecord {
    /// SHA-256 of width and height (32-bit little-endian) and the RGB bytes.
    pub image: String,
    /// The same of its mask; none when the photo counted whole.
    pub mask: Option<String>,
}

/// A sample that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleRecord {
    /// The text it was compared with.
    pub prompt: String,
    /// Its seed.
    pub seed: u64,
    /// As in [`PhotoRecord`].
    pub image: String,
    /// As in [`PhotoRecord`].
    pub mask: Option<String>,
    /// Whether the mask marks nothing, so that the masked sample is all fill.
    pub mask_empty: bool,
    /// Whether the mask marks everything, so that the masked sample is the whole one.
    #[serde(default)]
    pub mask_full: bool,
    /// Mean over the photos.
    pub masked_clip_i: f64,
    /// Mean over the photos.
    pub clip_i: f64,
    /// Cosine with the prompt.
    pub clip_t: f64,
    /// Mean over the photos, where a DINO model judged too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masked_dino: Option<f64>,
    /// As above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dino: Option<f64>,
}

/// Everything that was measured in one scoring, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreRecord {
    /// Masked CLIP-I, CLIP-I and DINO are means over all photo × sample pairs, CLIP-T over the samples, all in −1..1; balance
    /// is of the two means, in 0..1.
    #[serde(flatten)]
    pub scores: Scores,
    /// The model that judged.
    pub backbone: Backbone,
    /// What stood outside the masks.
    pub fill: Fill,
    /// The same as a colour.
    pub fill_colour: [u8; 3],
    /// What of the masked pictures was measured.
    #[serde(default)]
    pub crop: ScoreCrop,
    /// What was done to the pictures before they were embedded.
    pub preprocessing: String,
    /// The DINO model that judged too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dino_judge: Option<DinoJudge>,
    /// How the 95 % intervals were drawn: bootstrap resamples of prompts.
    pub resamples: usize,
    /// Seed of those draws.
    pub bootstrap_seed: u64,
    /// How many prompts they are drawn from; with a single prompt its samples. Few make the intervals rough.
    #[serde(default)]
    pub resampled: usize,
    /// SHA-256 of the prompts in the order of the samples, each ended by a zero byte.
    pub prompts: String,
    /// Photos without a mask, which counted whole.
    pub photos_unmasked: usize,
    /// Samples without a mask, which counted whole.
    pub samples_unmasked: usize,
    /// Samples with an empty mask, which were all fill.
    pub samples_empty: usize,
    /// Samples whose mask marks everything.
    #[serde(default)]
    pub samples_full: usize,
    /// In the order they were given.
    pub photos: Vec<PhotoRecord>,
    /// In the order they were given.
    pub samples: Vec<SampleRecord>,
}

impl ScoreRecord {
    /// How its intervals were drawn.
    pub(super) fn bootstrap(&self) -> Bootstrap {
        Bootstrap { resamples: self.resamples, seed: self.bootstrap_seed }
    }
}

/// The values of one sample, in the order of [`Scores`]; NaN where DINO did not judge.
pub(super) fn row(sample: &SampleRecord) -> [f64; 5] {
    let dino = [sample.masked_dino, sample.dino].map(|value| value.unwrap_or(f64::NAN));
    [sample.masked_clip_i, sample.clip_i, sample.clip_t, dino[0], dino[1]]
}

/// The scores of grouped rows of [`row`].
pub(super) fn scores(bootstrap: Bootstrap, groups: &[Vec<[f64; 5]>]) -> Scores {
    let statistics = |[masked, whole, text, masked_dino, dino]: [f64; 5]| {
        [masked, whole, text, balance(masked, text), masked_dino, dino]
    };
    named(bootstrap.intervals(groups, statistics))
}

/// Six scores by name; the last two where they are numbers.
pub(super) fn named([masked_clip_i, clip_i, clip_t, balance, masked_dino, dino]: [Score; 6]) -> Scores {
    let given = |score: Score| Some(score).filter(|score| score.value.is_finite());
    Scores { masked_clip_i, clip_i, clip_t, balance, masked_dino: given(masked_dino), dino: given(dino) }
}
