//! The measurement itself.
//!
//! - *Masked CLIP-I*: photo and sample with the declared fill outside their masks, then CLIP's preprocessing, the cosine of their
//!   embeddings, the mean over all photo × sample pairs. How well the samples show the concept.
//! - *CLIP-I*: the same of the whole pictures, scene included. Always beside it.
//! - *CLIP-T*: the cosine of a whole sample and its prompt, the class word in place of the concept's own word. How well the
//!   samples follow the prompts.
//! - *CLIP-T of the scene*: the same with what the prompt says besides the concept, as the evaluation of Textual Inversion has it.
//!   The class word in a text pulls towards any object of the class: as a concept is learned, CLIP-T falls and this rises.
//! - *Balance*: [`balance`](crate::statistics::balance) of masked CLIP-I and one of the two.
//! - *Masked DINO*, *DINO*: as masked CLIP-I and CLIP-I, by a DINO model where one is given.
//!
//! How far the masked scores hang on their masks is measured too: all masks, of samples and photos, are grown and shrunk by
//! [`MASK_MARGIN`](crate::protocol::MASK_MARGIN), and the masked scores computed with each.
//!
//! The photos are measured too, each against the others, CLIP-T with the prompt that fits it best: what samples can be expected to
//! reach.
//!
//! A picture without a mask counts whole, and the record says so (`mask` is none). A sample whose mask is empty, since nothing of
//! the concept was found in it, has masked scores of 0: all fill is like no photo. It is not left out, which would reward
//! failing altogether; the record marks it (`mask_empty`), as it marks a mask that leaves nothing out (`mask_full`). A picture of one
//! colour shows nothing: all its scores are 0 (`one_colour`).

use candle_core::{Device, Tensor};
use image::{GrayImage, RgbImage};
use sha2::{Digest, Sha256};

use super::cache::{EmbeddingCache, Key};
use super::file::sha256;
use super::masked::{ScoredMask, crop_to_mask, fill_colour, fill_outside, grown, is_too_thin, shrunk};
use super::model::{BATCH, PictureModel};
use super::{ClipScorer, DinoScorer, Error};
use crate::protocol::{ClipText, DinoJudge, Fill, MaskDependence, NoiseKind, ScoreCrop, is_doubtful};
use crate::statistics::{PhotoRecord, SampleRecord, ScoreRecord, UNSAID, makers, of_photos};

/// How often a picture is embedded by each model: whole, masked, and with its mask grown and shrunk. Where no picture has a mask,
/// only whole and masked.
pub const LOOKS: usize = 4;

/// A photo and its mask, where it has one.
pub type ScoredPhoto = (RgbImage, Option<ScoredMask>);

/// A sample to be measured.
#[derive(Debug, Clone)]
pub struct ScoredSample {
    /// The picture.
    pub image: RgbImage,
    /// Where the concept is in it, white, of the same size; none if nobody knows.
    pub mask: Option<ScoredMask>,
    /// What the sample should show, the class word in place of the concept's own word.
    pub prompt_text: String,
    /// What it should show besides the concept; none where its prompt says nothing else.
    pub scene_text: Option<String>,
    /// Its seed, where it is known.
    pub seed: Option<u64>,
    /// Where the noise of the seed comes from, where it is known.
    pub noise: Option<NoiseKind>,
}

/// What measures, and how.
pub struct Measuring<'a> {
    /// The CLIP model.
    pub clip: &'a ClipScorer,
    /// A DINO model that judges too.
    pub dino: Option<&'a DinoScorer>,
    /// What stands outside the masks.
    pub fill: Fill,
    /// What of the masked pictures is measured.
    pub crop: ScoreCrop,
    /// Which CLIP-T stands in the balance.
    pub clip_text: ClipText,
    /// Embeddings of earlier scorings.
    pub cache: Option<&'a EmbeddingCache>,
}

/// A picture and its mask.
type Masked<'a> = (&'a RgbImage, Option<&'a GrayImage>);

/// What of a picture and its mask is embedded.
type Look<'a> = dyn Fn(Masked) -> Result<RgbImage, Error> + 'a;

/// For each sample the mean over the photos, and what was the fill.
struct Likeness {
    masked: Vec<f64>,
    /// With all masks grown and shrunk; none where no picture has a mask.
    dependence: Option<Vec<MaskDependence>>,
    whole: Vec<f64>,
    /// Of the whole samples, [S, D].
    samples: Tensor,
    /// Of the photos, masked and whole, [P, D].
    photos: [Tensor; 2],
    fill_colour: [u8; 3],
}

impl Likeness {
    /// How like the others each photo is, masked and whole: the mean cosine with them.
    fn of_photos(&self) -> Result<[Vec<f64>; 2], Error> {
        let [masked, whole] = self.photos.each_ref().map(|photos| {
            let others = (photos.dim(0)? - 1) as f64;
            let own = photos.sqr()?.sum(1)?.to_vec1::<f32>()?;
            let all = mean_cosines(photos, photos)?;
            let without = |(mean, own): (f64, f32)| (mean * (others + 1.0) - f64::from(own)) / others;
            Ok::<_, Error>(all.into_iter().zip(own).map(without).collect())
        });
        Ok([masked?, whole?])
    }
}

impl Measuring<'_> {
    /// Measure `samples` against `photos` and their prompts. `progress` hears (pictures embedded, pictures in all); every
    /// picture is embedded [`LOOKS`] times by each model.
    ///
    /// # Errors
    /// No photos or no samples, a mask of another size than its picture, a prompt over the model's length, a failing computation.
    pub fn measure(
        &self,
        photos: &[ScoredPhoto],
        samples: &[ScoredSample],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<ScoreRecord, Error> {
        if photos.is_empty() {
            return Err(Error::Nothing("photos"));
        }
        if samples.is_empty() {
            return Err(Error::Nothing("samples"));
        }
        // Everything that can be refused is refused before the first embedding.
        check_sizes(photos, samples)?;
        let texts = distinct(samples);
        let text_embeds = self.clip.text_embeds(&texts)?.to_device(&Device::Cpu)?;
        let photo_pairs: Vec<Masked> = photos.iter().map(|(image, mask)| (image, pixels(mask.as_ref()))).collect();
        let sample_pairs: Vec<Masked> =
            samples.iter().map(|sample| (&sample.image, pixels(sample.mask.as_ref()))).collect();
        let masks = || photo_pairs.iter().chain(&sample_pairs).filter_map(|(_, mask)| *mask);
        let each = if masks().next().is_some() { LOOKS } else { 2 } * (photos.len() + samples.len());
        let total = if self.dino.is_some() { 2 * each } else { each };
        let clip = self.likeness(self.clip, &photo_pairs, &sample_pairs, &mut |done| progress(done, total))?;
        let dino = self
            .dino
            .map(|dino| self.likeness(dino, &photo_pairs, &sample_pairs, &mut |done| progress(each + done, total)))
            .transpose()?;
        let cosines = clip.samples.matmul(&text_embeds.t()?)?.to_vec2::<f32>()?;
        let text_at = |text: &str| texts.iter().position(|one| one == text).unwrap_or(0);
        let records: Vec<_> = samples
            .iter()
            .enumerate()
            .map(|(index, sample)| {
                let all = |is: fn(&u8) -> bool| pixels(sample.mask.as_ref()).is_some_and(|mask| mask.iter().all(is));
                let says = sample.mask.as_ref().map(|mask| &mask.says);
                let (one_colour, mask_empty) = (is_one_colour(&sample.image), all(|&value| value == 0));
                // Nothing is shown, or the concept is not: it is like no photo, however like the fill of one it is.
                let whole = |value: f64| if one_colour { 0.0 } else { value };
                let masked = |value: f64| if one_colour || mask_empty { 0.0 } else { value };
                let of = |likeness: &Likeness| {
                    let MaskDependence { grown, shrunk } = likeness.dependence.as_ref()?[index];
                    Some(MaskDependence { grown: masked(grown), shrunk: masked(shrunk) })
                };
                let clip_t = |text: &str| whole(f64::from(cosines[index][text_at(text)]));
                SampleRecord {
                    prompt: sample.prompt_text.clone(),
                    seed: sample.seed,
                    image: pixels_sha256(sample.image.dimensions(), &sample.image),
                    mask: pixels(sample.mask.as_ref()).map(|mask| pixels_sha256(mask.dimensions(), mask)),
                    one_colour,
                    mask_empty,
                    mask_full: all(|&value| value == 255),
                    // Who does not say it is not from before there was anything to say.
                    mask_made_by: says.map(|says| says.made_by.clone().unwrap_or_else(|| UNSAID.to_owned())),
                    mask_confidence: says.and_then(|says| says.confidence),
                    masked_clip_i: masked(clip.masked[index]),
                    clip_i: whole(clip.whole[index]),
                    clip_t: clip_t(&sample.prompt_text),
                    clip_t_scene: sample.scene_text.as_deref().map(clip_t),
                    masked_dino: dino.as_ref().map(|dino| masked(dino.masked[index])),
                    dino: dino.as_ref().map(|dino| whole(dino.whole[index])),
                    mask_dependence: of(&clip),
                    dino_mask_dependence: dino.as_ref().and_then(of),
                }
            })
            .collect();
        let photo_scores = if photos.len() > 1 {
            let cosines = clip.photos[1].matmul(&text_embeds.t()?)?.to_vec2::<f32>()?;
            // Photos have no prompts: each is taken for what of them fits it best.
            let fits_best = |texts: &[&str]| -> Vec<f64> {
                let best = |row: &Vec<f32>| texts.iter().map(|text| row[text_at(text)]).fold(f32::NAN, f32::max);
                cosines.iter().map(|row| f64::from(best(row))).collect()
            };
            let prompts: Vec<&str> = samples.iter().map(|sample| sample.prompt_text.as_str()).collect();
            let scenes: Vec<&str> = samples.iter().filter_map(|sample| sample.scene_text.as_deref()).collect();
            let clip_t = [fits_best(&prompts), fits_best(&scenes)];
            let of_dino = dino.as_ref().map(Likeness::of_photos).transpose()?;
            Some(Box::new(of_photos(clip.of_photos()?, clip_t, of_dino, self.clip_text)))
        } else {
            None
        };
        let shared = |of: fn(&ScoredSample) -> Option<NoiseKind>| {
            let first = of(&samples[0]);
            first.filter(|_| samples.iter().all(|sample| of(sample) == first))
        };
        let size = samples[0].image.dimensions();
        let prompts = records.iter().flat_map(|record| [record.prompt.as_bytes(), &[0]]);
        let mut record = ScoreRecord {
            // They follow from the samples, and are put in their place below.
            scores: of_photos([&[], &[]], [&[], &[]], None, self.clip_text),
            backbone: self.clip.backbone().clone(),
            fill: self.fill,
            fill_colour: clip.fill_colour,
            crop: self.crop,
            preprocessing: self.clip.preprocessor().describe(),
            dino_judge: self.dino.zip(dino).map(|(model, found)| DinoJudge {
                backbone: model.backbone().clone(),
                fill_colour: found.fill_colour,
                preprocessing: model.preprocessor().describe(),
            }),
            prompts: sha256(prompts),
            photos_unmasked: photos.iter().filter(|(_, mask)| mask.is_none()).count(),
            samples_unmasked: samples.iter().filter(|sample| sample.mask.is_none()).count(),
            samples_one_colour: records.iter().filter(|record| record.one_colour).count(),
            samples_empty: records.iter().filter(|record| record.mask_empty).count(),
            samples_full: records.iter().filter(|record| record.mask_full).count(),
            photos_doubtful: photos
                .iter()
                .flat_map(|(_, mask)| mask)
                .filter(|mask| is_doubtful(mask.says.confidence))
                .count(),
            masks_too_thin: masks().filter(|mask| is_too_thin(mask)).count(),
            mask_makers: makers(&records).into_iter().map(str::to_owned).collect(),
            photo_scores,
            clip_text: self.clip_text,
            noise: shared(|sample| sample.noise),
            size: Some(size).filter(|size| samples.iter().all(|sample| sample.image.dimensions() == *size)),
            photos: photos
                .iter()
                .map(|(image, mask)| PhotoRecord {
                    image: pixels_sha256(image.dimensions(), image),
                    mask: pixels(mask.as_ref()).map(|mask| pixels_sha256(mask.dimensions(), mask)),
                    mask_made_by: mask.as_ref().and_then(|mask| mask.says.made_by.clone()),
                    mask_confidence: mask.as_ref().and_then(|mask| mask.says.confidence),
                    one_colour: is_one_colour(image),
                })
                .collect(),
            samples: records,
        };
        record.scores = record.scores_of();
        Ok(record)
    }

    /// How like the photos each sample is to `model`.
    fn likeness(
        &self,
        model: &dyn PictureModel,
        photos: &[Masked],
        samples: &[Masked],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Likeness, Error> {
        let fill_colour = fill_colour(self.fill, model.preprocessor());
        let cut = |image: &RgbImage, mask: &GrayImage| {
            let filled = fill_outside(image, mask, fill_colour, "a picture")?;
            Ok(match self.crop {
                ScoreCrop::Whole => filled,
                ScoreCrop::MaskBox => crop_to_mask(filled, mask, fill_colour),
            })
        };
        let with_mask = |change: fn(&GrayImage) -> GrayImage| {
            move |(image, mask): Masked| mask.map_or_else(|| Ok(image.clone()), |mask| cut(image, &change(mask)))
        };
        let mut before = 0;
        let mut embed = |pictures: &[Masked], look: &Look| {
            let embeds = self.embeds(model, pictures, look, &mut |done| progress(before + done));
            before += pictures.len();
            embeds
        };
        let mut both = |look: &Look| Ok::<_, Error>((embed(samples, look)?, embed(photos, look)?));
        let cut_out = |(image, mask): Masked| mask.map_or_else(|| Ok(image.clone()), |mask| cut(image, mask));
        let (masked_samples, masked_photos) = both(&cut_out)?;
        let masked = mean_cosines(&masked_samples, &masked_photos)?;
        let has_masks = samples.iter().chain(photos).any(|(_, mask)| mask.is_some());
        let dependence = if has_masks {
            let mut like = |look: &Look| both(look).and_then(|(samples, photos)| mean_cosines(&samples, &photos));
            let (grown, shrunk) = (like(&with_mask(grown))?, like(&with_mask(shrunk))?);
            Some(grown.into_iter().zip(shrunk).map(|(grown, shrunk)| MaskDependence { grown, shrunk }).collect())
        } else {
            None
        };
        let whole = |(image, _): Masked| Ok(image.clone());
        let (whole_samples, whole_photos) = both(&whole)?;
        Ok(Likeness {
            masked,
            dependence,
            whole: mean_cosines(&whole_samples, &whole_photos)?,
            samples: whole_samples,
            photos: [masked_photos, whole_photos],
            fill_colour,
        })
    }

    /// The embeddings [N, D] of what `look` makes of `pictures`; a batch of them is in memory at a time.
    fn embeds(
        &self,
        model: &dyn PictureModel,
        pictures: &[Masked],
        look: &Look,
        done: &mut dyn FnMut(usize),
    ) -> Result<Tensor, Error> {
        let (name, width) = (&model.backbone().sha256, model.width());
        let preprocessing = model.preprocessor().describe();
        let mut rows: Vec<f32> = Vec::with_capacity(pictures.len() * width);
        for (index, batch) in pictures.chunks(BATCH).enumerate() {
            let seen = batch.iter().map(|&picture| look(picture)).collect::<Result<Vec<_>, _>>()?;
            let keys: Vec<Key> = seen.iter().map(|picture| key(model.device(), &preprocessing, picture)).collect();
            let cached = |key| self.cache.and_then(|cache| cache.get(name, width, key));
            let mut found: Vec<Option<Vec<f32>>> = keys.iter().map(cached).collect();
            let missing: Vec<usize> = (0..seen.len()).filter(|&i| found[i].is_none()).collect();
            if !missing.is_empty() {
                let pictures: Vec<RgbImage> = missing.iter().map(|&i| seen[i].clone()).collect();
                let embedded = model.embed(&pictures)?.to_vec2::<f32>()?;
                if let Some(cache) = self.cache {
                    cache.put(name, width, missing.iter().map(|&i| keys[i]).zip(embedded.clone()).collect());
                }
                missing.iter().zip(embedded).for_each(|(&i, values)| found[i] = Some(values));
            }
            rows.extend(found.into_iter().flatten().flatten());
            done(index * BATCH + batch.len());
        }
        Ok(Tensor::from_vec(rows, (pictures.len(), width), &Device::Cpu)?)
    }
}

/// The pixels of a mask, where there is one.
fn pixels(mask: Option<&ScoredMask>) -> Option<&GrayImage> {
    mask.map(|mask| &mask.pixels)
}

/// What an embedding depends on besides its model. A graphics card rounds otherwise than the CPU, whose embeddings are the same to the bit
/// wherever they come from.
fn key(device: &Device, preprocessing: &str, picture: &RgbImage) -> Key {
    let (width, height) = picture.dimensions();
    let device: &[u8] = if device.is_cpu() { b"" } else { b"graphics card" };
    let parts = [device, preprocessing.as_bytes(), &[0], &width.to_le_bytes(), &height.to_le_bytes(), picture];
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

/// Every mask must lie on its picture.
fn check_sizes(photos: &[ScoredPhoto], samples: &[ScoredSample]) -> Result<(), Error> {
    let check = |image: &RgbImage, mask: Option<&GrayImage>, what: &dyn Fn() -> String| match mask {
        Some(mask) if mask.dimensions() != image.dimensions() => {
            Err(Error::MaskSize { what: what(), found: mask.dimensions(), expected: image.dimensions() })
        }
        _ => Ok(()),
    };
    for (index, (image, mask)) in photos.iter().enumerate() {
        check(image, pixels(mask.as_ref()), &|| format!("photo {}", index + 1))?;
    }
    for sample in samples {
        let what = || match sample.seed {
            Some(seed) => format!("the sample of {:?} with seed {seed}", sample.prompt_text),
            None => format!("a sample of {:?}", sample.prompt_text),
        };
        check(&sample.image, pixels(sample.mask.as_ref()), &what)?;
    }
    Ok(())
}

/// The texts that `samples` are compared with, each once.
fn distinct(samples: &[ScoredSample]) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for text in samples.iter().flat_map(|sample| std::iter::once(&sample.prompt_text).chain(&sample.scene_text)) {
        if !texts.contains(text) {
            texts.push(text.clone());
        }
    }
    texts
}

/// Whether all pixels are the same: what NaN, a filter or a failed decoder leave behind.
pub fn is_one_colour(image: &RgbImage) -> bool {
    let first = image.pixels().next();
    image.pixels().all(|pixel| Some(pixel) == first)
}

/// For each row of `samples` [S, D] the mean of its products with the rows of `photos` [P, D].
fn mean_cosines(samples: &Tensor, photos: &Tensor) -> Result<Vec<f64>, Error> {
    let cosines = samples.matmul(&photos.t()?)?.to_vec2::<f32>()?;
    Ok(cosines.iter().map(|row| row.iter().map(|&value| f64::from(value)).sum::<f64>() / row.len() as f64).collect())
}

fn pixels_sha256((width, height): (u32, u32), pixels: &[u8]) -> String {
    sha256([&width.to_le_bytes()[..], &height.to_le_bytes(), pixels])
}
