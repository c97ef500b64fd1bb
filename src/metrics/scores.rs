//! The measurement itself and its record.
//!
//! - *Masked CLIP-I*: photo and sample with the declared fill outside their masks, then CLIP's preprocessing, the cosine of their
//!   embeddings, the mean over all photo × sample pairs. How well the samples show the concept.
//! - *CLIP-I*: the same of the whole pictures, scene included. Always beside it.
//! - *CLIP-T*: the cosine of a whole sample and its prompt, the class word in place of the concept's own word. How well the
//!   samples follow the prompts.
//! - *Balance*: [`balance`] of the two.
//!
//! A picture without a mask counts whole, and the record says so (`mask` is none). A sample whose mask is empty, since nothing of
//! the concept was found in it, is measured as the definition has it: it is all fill. It is not left out, which would reward
//! failing altogether, and the record marks it (`mask_empty`).

use std::collections::HashMap;

use candle_core::Tensor;
use image::{GrayImage, RgbImage};
use serde::{Deserialize, Serialize};

use super::file::sha256;
use super::masked::{fill_colour, fill_outside};
use super::statistics::{Bootstrap, balance};
use super::{ClipScorer, Error};
use crate::protocol::{Fill, Score};

/// The model that judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backbone {
    /// Name of its folder.
    pub name: String,
    /// SHA-256 of its weights file.
    pub sha256: String,
}

/// A sample to be measured.
#[derive(Debug, Clone)]
pub struct ScoredSample {
    /// The picture.
    pub image: RgbImage,
    /// Where the concept is in it, white, of the same size; none if nobody knows.
    pub mask: Option<GrayImage>,
    /// What the sample should show, the class word in place of the concept's own word.
    pub prompt_text: String,
    /// Its seed.
    pub seed: u64,
}

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
    /// Mean over the photos.
    pub masked_clip_i: f64,
    /// Mean over the photos.
    pub clip_i: f64,
    /// Cosine with the prompt.
    pub clip_t: f64,
}

/// Everything that was measured in one scoring, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreRecord {
    /// Mean over all photo × sample pairs, masked. In −1..1, as the others.
    pub masked_clip_i: Score,
    /// Mean over all photo × sample pairs, whole.
    pub clip_i: Score,
    /// Mean over the samples.
    pub clip_t: Score,
    /// Of the two means; in 0..1.
    pub balance: Score,
    /// The model that judged.
    pub backbone: Backbone,
    /// What stood outside the masks.
    pub fill: Fill,
    /// The same as a colour.
    pub fill_colour: [u8; 3],
    /// What was done to the pictures before they were embedded.
    pub preprocessing: String,
    /// How the 95 % intervals were drawn: bootstrap resamples of prompts, then of samples within each.
    pub resamples: usize,
    /// Seed of those draws.
    pub bootstrap_seed: u64,
    /// SHA-256 of the prompts in the order of the samples, each ended by a zero byte.
    pub prompts: String,
    /// Photos without a mask, which counted whole.
    pub photos_unmasked: usize,
    /// Samples without a mask, which counted whole.
    pub samples_unmasked: usize,
    /// Samples with an empty mask, which were all fill.
    pub samples_empty: usize,
    /// In the order they were given.
    pub photos: Vec<PhotoRecord>,
    /// In the order they were given.
    pub samples: Vec<SampleRecord>,
}

/// Measure `samples` against `photos` and their prompts. `progress` hears (pictures embedded, pictures in all); every
/// picture is embedded twice, masked and whole.
///
/// # Errors
/// No photos or no samples, a mask of another size than its picture, a prompt over the model's length, a failing computation.
pub fn measure(
    scorer: &ClipScorer,
    photos: &[(RgbImage, Option<GrayImage>)],
    samples: &[ScoredSample],
    fill: Fill,
    resamples: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<ScoreRecord, Error> {
    if photos.is_empty() {
        return Err(Error::Nothing("photos"));
    }
    if samples.is_empty() {
        return Err(Error::Nothing("samples"));
    }
    let colour = fill_colour(fill, scorer.preprocessor());
    let masked = |image: &RgbImage, mask: Option<&GrayImage>, what: &str| match mask {
        Some(mask) => fill_outside(image, mask, colour, what),
        None => Ok(image.clone()),
    };
    // Everything that can be refused is refused before the first embedding.
    let texts = distinct(samples);
    let text_embeds = scorer.text_embeds(&texts)?;
    let mut masked_photos = Vec::new();
    for (index, (image, mask)) in photos.iter().enumerate() {
        masked_photos.push(masked(image, mask.as_ref(), &format!("photo {}", index + 1))?);
    }
    let mut masked_samples = Vec::new();
    for sample in samples {
        let what = format!("the sample of {:?} with seed {}", sample.prompt_text, sample.seed);
        masked_samples.push(masked(&sample.image, sample.mask.as_ref(), &what)?);
    }
    let photo_images: Vec<_> = photos.iter().map(|(image, _)| image.clone()).collect();
    let sample_images: Vec<_> = samples.iter().map(|sample| sample.image.clone()).collect();

    let total = 2 * (photos.len() + samples.len());
    let mut before = 0;
    let mut embed = |pictures: &[RgbImage]| {
        let embeds = scorer.image_embeds(pictures, |done| progress(before + done, total));
        before += pictures.len();
        embeds
    };
    let masked_clip_i = mean_cosines(&embed(&masked_samples)?, &embed(&masked_photos)?)?;
    let whole_samples = embed(&sample_images)?;
    let clip_i = mean_cosines(&whole_samples, &embed(&photo_images)?)?;
    let cosines = whole_samples.matmul(&text_embeds.t()?)?.to_vec2::<f32>()?;

    let records: Vec<_> = samples
        .iter()
        .enumerate()
        .map(|(index, sample)| {
            let text = texts.iter().position(|text| *text == sample.prompt_text).unwrap_or(0);
            SampleRecord {
                prompt: sample.prompt_text.clone(),
                seed: sample.seed,
                image: pixels_sha256(sample.image.dimensions(), &sample.image),
                mask: sample.mask.as_ref().map(|mask| pixels_sha256(mask.dimensions(), mask)),
                mask_empty: sample.mask.as_ref().is_some_and(|mask| mask.iter().all(|&value| value == 0)),
                masked_clip_i: masked_clip_i[index],
                clip_i: clip_i[index],
                clip_t: f64::from(cosines[index][text]),
            }
        })
        .collect();
    let bootstrap = Bootstrap { resamples, seed: 0 };
    let [masked_clip_i, clip_i, clip_t, balance] = summary(bootstrap, &records);
    let prompts = records.iter().flat_map(|record| [record.prompt.as_bytes(), &[0]]);
    Ok(ScoreRecord {
        masked_clip_i,
        clip_i,
        clip_t,
        balance,
        backbone: scorer.backbone().clone(),
        fill,
        fill_colour: colour,
        preprocessing: scorer.preprocessor().describe(),
        resamples,
        bootstrap_seed: bootstrap.seed,
        prompts: sha256(prompts),
        photos_unmasked: photos.iter().filter(|(_, mask)| mask.is_none()).count(),
        samples_unmasked: samples.iter().filter(|sample| sample.mask.is_none()).count(),
        samples_empty: records.iter().filter(|record| record.mask_empty).count(),
        photos: photos
            .iter()
            .map(|(image, mask)| PhotoRecord {
                image: pixels_sha256(image.dimensions(), image),
                mask: mask.as_ref().map(|mask| pixels_sha256(mask.dimensions(), mask)),
            })
            .collect(),
        samples: records,
    })
}

/// The prompts of `samples`, each once.
fn distinct(samples: &[ScoredSample]) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for sample in samples {
        if !texts.contains(&sample.prompt_text) {
            texts.push(sample.prompt_text.clone());
        }
    }
    texts
}

/// For each row of `samples` [S, D] the mean of its products with the rows of `photos` [P, D].
fn mean_cosines(samples: &Tensor, photos: &Tensor) -> Result<Vec<f64>, Error> {
    let cosines = samples.matmul(&photos.t()?)?.to_vec2::<f32>()?;
    Ok(cosines.iter().map(|row| row.iter().map(|&value| f64::from(value)).sum::<f64>() / row.len() as f64).collect())
}

fn pixels_sha256((width, height): (u32, u32), pixels: &[u8]) -> String {
    sha256([&width.to_le_bytes()[..], &height.to_le_bytes(), pixels])
}

/// The rows of one prompt after the other, prompts in order of appearance.
fn by_prompt<const C: usize>(rows: impl Iterator<Item = (String, [f64; C])>) -> Vec<Vec<[f64; C]>> {
    let mut groups: Vec<Vec<[f64; C]>> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    for (prompt, row) in rows {
        let group = *index.entry(prompt).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(row);
    }
    groups
}

fn summary(bootstrap: Bootstrap, samples: &[SampleRecord]) -> [Score; 4] {
    let rows = samples.iter().map(|one| (one.prompt.clone(), [one.masked_clip_i, one.clip_i, one.clip_t]));
    bootstrap.intervals(&by_prompt(rows), |[masked, whole, text]| [masked, whole, text, balance(masked, text)])
}

/// The difference of two scorings, second minus first, over the samples of the same prompt and seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// An interval that leaves out 0 speaks of a difference.
    pub masked_clip_i: Score,
    /// As above.
    pub clip_i: Score,
    /// As above.
    pub clip_t: Score,
    /// Difference of the two balances of means.
    pub balance: Score,
    /// Samples of either side that had no partner.
    pub unpaired: usize,
}

/// Compare `second` with `first`, pair by pair: what prompt and seed do to both cancels out, so the interval is narrower than the two on
/// their own. Resampled like a single scoring, with `first`'s settings.
///
/// # Errors
/// Records made with another model, preprocessing, fill, photos or masks, or without a common prompt and seed.
pub fn compare(first: &ScoreRecord, second: &ScoreRecord) -> Result<Comparison, Error> {
    let differ = |what: &str| Err(Error::NotComparable(format!("they differ in {what}; score both again")));
    if first.backbone.sha256 != second.backbone.sha256 {
        return differ("the score model");
    }
    if first.preprocessing != second.preprocessing {
        return differ("the preprocessing");
    }
    if first.fill_colour != second.fill_colour {
        return differ("the fill");
    }
    if first.photos != second.photos {
        return differ("the photos or their masks");
    }
    let mut partners: HashMap<(&str, u64), Vec<&SampleRecord>> = HashMap::new();
    // Reversed, so that `pop` gives samples of the same prompt and seed in their order.
    for sample in second.samples.iter().rev() {
        partners.entry((&sample.prompt, sample.seed)).or_default().push(sample);
    }
    let mut rows = Vec::new();
    for a in &first.samples {
        if let Some(b) = partners.get_mut(&(a.prompt.as_str(), a.seed)).and_then(Vec::pop) {
            let row = [a.masked_clip_i, a.clip_i, a.clip_t, b.masked_clip_i, b.clip_i, b.clip_t];
            rows.push((a.prompt.clone(), row));
        }
    }
    let pairs = rows.len();
    if pairs == 0 {
        return Err(Error::NotComparable("they share no prompt and seed".into()));
    }
    let bootstrap = Bootstrap { resamples: first.resamples, seed: first.bootstrap_seed };
    let difference = |[masked_a, whole_a, text_a, masked_b, whole_b, text_b]: [f64; 6]| {
        let balances = balance(masked_b, text_b) - balance(masked_a, text_a);
        [masked_b - masked_a, whole_b - whole_a, text_b - text_a, balances]
    };
    let [masked_clip_i, clip_i, clip_t, balance] = bootstrap.intervals(&by_prompt(rows.into_iter()), difference);
    let unpaired = first.samples.len() + second.samples.len() - 2 * pairs;
    Ok(Comparison { masked_clip_i, clip_i, clip_t, balance, unpaired })
}
