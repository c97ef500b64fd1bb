//! What a scoring leaves behind: every value, and what was measured on what and how.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::compare::by_prompt;
use super::statistics::{Bootstrap, balance};
use crate::protocol::{Backbone, DinoJudge, Fill, MaskDependence, MaskReport, Score, ScoreCrop, Scores, is_doubtful};

/// A photo that was measured against. The hashes are of the decoded pixels, so that they survive another encoding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhotoRecord {
    /// SHA-256 of width and height (32-bit little-endian) and the RGB bytes.
    pub image: String,
    /// The same of its mask; none when the photo counted whole.
    pub mask: Option<String>,
    /// What made the mask, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_made_by: Option<String>,
    /// How sure its maker is of it, 0 to 1, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_confidence: Option<f64>,
}

/// What made the masks of records that do not say it: they are from before there was another maker of samples' masks.
const BEFORE_MAKERS: &str = "attention";
/// What made a mask that does not say it.
pub(super) const UNSAID: &str = "unknown";

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
    /// What made the mask; `unknown` where it does not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_made_by: Option<String>,
    /// As in [`PhotoRecord`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_confidence: Option<f64>,
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
    /// Masked CLIP-I with all masks grown and shrunk; none where no picture has a mask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_dependence: Option<MaskDependence>,
    /// The same of masked DINO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dino_mask_dependence: Option<MaskDependence>,
}

impl SampleRecord {
    /// What made its mask; none where it has none.
    fn mask_maker(&self) -> Option<&str> {
        self.mask.as_ref().map(|_| self.mask_made_by.as_deref().unwrap_or(BEFORE_MAKERS))
    }
}

/// What made the masks of those `samples` that have one, each once, in order.
pub(super) fn makers<'a>(samples: impl IntoIterator<Item = &'a SampleRecord>) -> BTreeSet<&'a str> {
    samples.into_iter().filter_map(SampleRecord::mask_maker).collect()
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
    /// Photos whose mask is doubtful.
    #[serde(default)]
    pub photos_doubtful: usize,
    /// Masks, of samples and photos, that are too thin to be shrunk: they were kept as they are.
    #[serde(default)]
    pub masks_too_thin: usize,
    /// What made the masks of the samples, each once, in order.
    #[serde(default)]
    pub mask_makers: Vec<String>,
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

/// Values of a sample: those of [`Scores`] but for balance, then masked CLIP-I with masks grown and shrunk, and masked DINO so.
pub(super) const VALUES: usize = 9;
/// Scores of the means of values: the six of [`Scores`], then as in [`VALUES`].
pub(super) const SCORES: usize = VALUES + 1;

/// What is averaged as one: the values of a sample, or of a pair of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<const C: usize> {
    /// NaN where something was not measured.
    pub values: [f64; C],
    /// Whether a mask behind them is doubtful.
    pub is_doubtful: bool,
}

impl Row<VALUES> {
    /// Of one sample.
    pub fn of(sample: &SampleRecord) -> Self {
        let (clip, dino) = (sample.mask_dependence, sample.dino_mask_dependence);
        let measured = [
            sample.masked_dino,
            sample.dino,
            clip.map(|with| with.grown),
            clip.map(|with| with.shrunk),
            dino.map(|with| with.grown),
            dino.map(|with| with.shrunk),
        ];
        let [masked_dino, dino, grown, shrunk, dino_grown, dino_shrunk] =
            measured.map(|value| value.unwrap_or(f64::NAN));
        let (masked, whole, text) = (sample.masked_clip_i, sample.clip_i, sample.clip_t);
        Self {
            values: [masked, whole, text, masked_dino, dino, grown, shrunk, dino_grown, dino_shrunk],
            is_doubtful: is_doubtful(sample.mask_confidence),
        }
    }
}

/// The scores of the means of values.
pub(super) fn statistics([masked, whole, text, masked_dino, dino, with_masks @ ..]: [f64; VALUES]) -> [f64; SCORES] {
    let [grown, shrunk, dino_grown, dino_shrunk] = with_masks;
    let balance = balance(masked, text);
    [masked, whole, text, balance, masked_dino, dino, grown, shrunk, dino_grown, dino_shrunk]
}

/// The scores of `samples`, whose prompts are the groups.
pub(super) fn scores_by_prompt(bootstrap: Bootstrap, samples: &[SampleRecord]) -> Scores {
    let rows = samples.iter().map(|sample| (sample.prompt.clone(), Row::of(sample)));
    scores(bootstrap, &by_prompt(rows), statistics)
}

/// The scores of grouped rows, and where some are doubtful, those of the others.
pub(super) fn scores<const C: usize>(
    bootstrap: Bootstrap,
    groups: &[Vec<Row<C>>],
    statistics: impl Fn([f64; C]) -> [f64; SCORES],
) -> Scores {
    let of = |counts: &dyn Fn(&Row<C>) -> bool| {
        let values = |group: &Vec<Row<C>>| group.iter().filter(|row| counts(row)).map(|row| row.values).collect();
        let groups: Vec<Vec<[f64; C]>> = groups.iter().map(values).collect();
        named(bootstrap.intervals(&groups, &statistics))
    };
    let mut scores = of(&|_| true);
    let doubtful = groups.iter().flatten().filter(|row| row.is_doubtful).count();
    scores.masks.samples_doubtful = doubtful;
    if (1..scores.masked_clip_i.n).contains(&doubtful) {
        scores.masks.without_doubtful = Some(Box::new(of(&|row| !row.is_doubtful)));
    }
    scores
}

/// Scores by name; what is no number was not measured.
fn named([masked_clip_i, clip_i, clip_t, balance, masked_dino, dino, with_masks @ ..]: [Score; SCORES]) -> Scores {
    let given = |score: Score| Some(score).filter(|score| score.value.is_finite());
    let [grown, shrunk, dino_grown, dino_shrunk] = with_masks.map(|score| score.value);
    let dependence = |grown: f64, shrunk: f64| (grown + shrunk).is_finite().then_some(MaskDependence { grown, shrunk });
    let masks = MaskReport {
        mask_dependence: dependence(grown, shrunk),
        dino_mask_dependence: dependence(dino_grown, dino_shrunk),
        ..MaskReport::default()
    };
    Scores { masked_clip_i, clip_i, clip_t, balance, masked_dino: given(masked_dino), dino: given(dino), masks }
}
