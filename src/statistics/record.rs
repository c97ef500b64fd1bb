//! What a scoring leaves behind: every value, and what was measured on what and how.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use super::estimate::{Design, Estimate, balance, bare};
use crate::protocol::{
    Backbone, ClipText, DinoJudge, Fill, MaskDependence, MaskReport, NoiseKind, Score, ScoreCrop, Scores, Unit,
    is_doubtful,
};

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
    /// Whether all of it is one colour, so that nothing can be like it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub one_colour: bool,
}

/// What made the masks of records that do not say it: they are from before there was another maker of samples' masks.
const BEFORE_MAKERS: &str = "attention";
/// What made a mask that does not say it.
pub const UNSAID: &str = "unknown";

/// A sample that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleRecord {
    /// The text it was compared with.
    pub prompt: String,
    /// Its seed, where it says one.
    #[serde(default)]
    pub seed: Option<u64>,
    /// As in [`PhotoRecord`].
    pub image: String,
    /// As in [`PhotoRecord`].
    pub mask: Option<String>,
    /// Whether all of it is one colour: it shows nothing, and its scores are 0.
    #[serde(default, skip_serializing_if = "is_false")]
    pub one_colour: bool,
    /// Whether the mask marks nothing: the concept was not found, and its masked scores are 0.
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
    /// Cosine with the prompt, the class word in place of the concept.
    pub clip_t: f64,
    /// Cosine with what the prompt says besides the concept; none where it says nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_t_scene: Option<f64>,
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

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !value
}

impl SampleRecord {
    /// Whether little is to be given on its masked scores: its mask is doubtful, or marks nothing or everything, or the picture
    /// shows nothing.
    pub(super) fn is_doubtful(&self) -> bool {
        is_doubtful(self.mask_confidence) || self.mask_empty || self.mask_full || self.one_colour
    }

    /// What made its mask; none where it has none.
    fn mask_maker(&self) -> Option<&str> {
        self.mask.as_ref().map(|_| self.mask_made_by.as_deref().unwrap_or(BEFORE_MAKERS))
    }
}

/// What made the masks of those `samples` that have one, each once, in order.
pub fn makers<'a>(samples: impl IntoIterator<Item = &'a SampleRecord>) -> BTreeSet<&'a str> {
    samples.into_iter().filter_map(SampleRecord::mask_maker).collect()
}

/// Everything that was measured in one scoring, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreRecord {
    /// Masked CLIP-I, CLIP-I and DINO are means over all photo × sample pairs, CLIP-T over the samples, all in −1..1; balance
    /// is of the two means, in 0..1. They follow from the samples, see [`Self::scores_of`].
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
    /// SHA-256 of the prompts in the order of the samples, each ended by a zero byte.
    pub prompts: String,
    /// Photos without a mask, which counted whole.
    pub photos_unmasked: usize,
    /// Samples without a mask, which counted whole.
    pub samples_unmasked: usize,
    /// Samples of one colour, whose scores are 0.
    #[serde(default)]
    pub samples_one_colour: usize,
    /// Samples with an empty mask, whose masked scores are 0.
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
    /// What the photos themselves are worth, each against the others: the most that a sample can be expected to reach. None
    /// with a single photo, or where it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photo_scores: Option<Box<Scores>>,
    /// Which text stands in the balance.
    #[serde(default)]
    pub clip_text: ClipText,
    /// Where the noise of the samples' seeds comes from; none where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<NoiseKind>,
    /// Width and height of the samples in pixels; none where they differ, or where it was not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<(u32, u32)>,
    /// In the order they were given.
    pub photos: Vec<PhotoRecord>,
    /// In the order they were given.
    pub samples: Vec<SampleRecord>,
}

impl ScoreRecord {
    /// The scores of its samples, with their intervals by today's rule, whatever wrote the record.
    pub fn scores_of(&self) -> Scores {
        let of = |samples: &[&SampleRecord]| {
            let design = design(samples);
            named(&Estimates::of(samples, self.clip_text), design.unit(), |estimate| design.score(estimate))
        };
        let [all, certain] = [false, true].map(|certain| self.distinct_samples(certain));
        with_certain(of(&all), all.len(), certain.len(), || of(&certain))
    }

    /// Its samples, each once: the same picture twice is one picture. With `certain` only those whose mask is not doubtful.
    pub(super) fn distinct_samples(&self, certain: bool) -> Vec<&SampleRecord> {
        let mut seen = HashSet::new();
        let mut samples: Vec<&SampleRecord> = self.samples.iter().collect();
        samples.retain(|&sample| seen.insert((&sample.prompt, sample.seed, &sample.image, &sample.mask)));
        samples.retain(|sample| !(certain && sample.is_doubtful()));
        samples
    }
}

/// Which of these pictures were drawn together.
pub(super) fn design(samples: &[&SampleRecord]) -> Design {
    Design::of_pictures(samples.iter().map(|sample| (sample.prompt.as_str(), sample.seed)))
}

/// What is measured of a sample: the scores of [`Scores`] but for balance, then masked CLIP-I with masks grown and shrunk, and
/// masked DINO so; NaN where something was not measured.
fn values(sample: &SampleRecord) -> [f64; VALUES] {
    let (clip, dino) = (sample.mask_dependence, sample.dino_mask_dependence);
    let or_nan = |value: Option<f64>| value.unwrap_or(f64::NAN);
    [
        sample.masked_clip_i,
        sample.clip_i,
        sample.clip_t,
        or_nan(sample.clip_t_scene),
        or_nan(sample.masked_dino),
        or_nan(sample.dino),
        or_nan(clip.map(|with| with.grown)),
        or_nan(clip.map(|with| with.shrunk)),
        or_nan(dino.map(|with| with.grown)),
        or_nan(dino.map(|with| with.shrunk)),
    ]
}

const VALUES: usize = 10;
/// Those of [`values`], and balance.
pub(super) const SCORES: usize = VALUES + 1;
/// Places among the scores.
pub(super) const MASKED_CLIP_I: usize = 0;
/// With the class word; with the scene alone is the next.
const CLIP_T: usize = 2;
pub(super) const BALANCE: usize = VALUES;

/// An estimate of each score.
#[derive(Debug, Clone)]
pub(super) struct Estimates(pub [Estimate; SCORES]);

impl Estimates {
    /// Of `samples`, whose balance is with `text`; where no prompt says anything besides the concept, it is with the class word.
    pub fn of(samples: &[&SampleRecord], text: ClipText) -> Self {
        let rows: Vec<[f64; VALUES]> = samples.iter().map(|sample| values(sample)).collect();
        let column = |at: usize| Estimate::mean(&rows.iter().map(|row| row[at]).collect::<Vec<_>>());
        let (class_word, scene) = (column(CLIP_T), column(CLIP_T + 1));
        let has_scene = text == ClipText::Scene && scene.rows > 0;
        let clip_t = if has_scene { scene } else { class_word };
        let balance = Estimate::balance(&column(MASKED_CLIP_I), &clip_t);
        Self(std::array::from_fn(|at| if at == BALANCE { balance.clone() } else { column(at) }))
    }

    /// They without `other`, of the same rows.
    pub fn minus(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at].minus(&other.0[at])))
    }

    /// Their values.
    pub fn values(&self) -> [f64; SCORES] {
        std::array::from_fn(|at| self.0[at].value)
    }
}

/// `scores` of `all` rows, with the scores of the `certain` rows beside them, if some but not all rows are certain.
pub(super) fn with_certain(mut scores: Scores, all: usize, certain: usize, of: impl FnOnce() -> Scores) -> Scores {
    scores.masks.samples_doubtful = all - certain;
    if (1..all).contains(&certain) {
        scores.masks.without_doubtful = Some(Box::new(of()));
    }
    scores
}

/// Scores by name, each as `score` makes it of its estimate; what is no number was not measured.
pub(super) fn named(Estimates(all): &Estimates, unit: Unit, score: impl Fn(&Estimate) -> Score) -> Scores {
    by_name(all.each_ref().map(score), unit)
}

/// The scores of the photos, each against the others: means without an interval, as the photos define the concept. `clip` and
/// `dino` are masked and whole, one value a photo; `clip_t` is with the class word and with the scene alone, NaN where there is none.
pub fn of_photos<T: AsRef<[f64]>>(clip: [T; 2], clip_t: [T; 2], dino: Option<[T; 2]>, text: ClipText) -> Scores {
    let n = clip_t[0].as_ref().len();
    let mean = |values: &[f64]| Estimate::mean(values).value;
    let (clip, dino) =
        (clip.map(|values| mean(values.as_ref())), dino.map(|dino| dino.map(|values| mean(values.as_ref()))));
    let [masked_dino, dino] = dino.unwrap_or([f64::NAN; 2]);
    let [clip_t, scene] = clip_t.map(|values| mean(values.as_ref()));
    let has_scene = text == ClipText::Scene && scene.is_finite();
    let balance = balance(clip[0], if has_scene { scene } else { clip_t });
    let nothing = f64::NAN;
    let all = [clip[0], clip[1], clip_t, scene, masked_dino, dino, nothing, nothing, nothing, nothing, balance];
    by_name(all.map(|value| bare(value, n, n)), Unit::Image)
}

/// Scores by name.
pub(super) fn by_name(all: [Score; SCORES], unit: Unit) -> Scores {
    let [masked_clip_i, clip_i, clip_t, scene, masked_dino, dino, grown, shrunk, dino_grown, dino_shrunk, balance] =
        all;
    let given = |score: Score| Some(score).filter(|score| score.value.is_finite());
    let dependence = |grown: Score, shrunk: Score| {
        let (grown, shrunk) = (grown.value, shrunk.value);
        (grown + shrunk).is_finite().then_some(MaskDependence { grown, shrunk })
    };
    let masks = MaskReport {
        mask_dependence: dependence(grown, shrunk),
        dino_mask_dependence: dependence(dino_grown, dino_shrunk),
        ..MaskReport::default()
    };
    Scores {
        masked_clip_i,
        clip_i,
        clip_t,
        clip_t_scene: given(scene),
        balance,
        masked_dino: given(masked_dino),
        dino: given(dino),
        unit: Some(unit),
        masks,
    }
}
