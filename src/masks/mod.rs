//! Masks of a concept in finished pictures, photos and samples alike, by means that nothing learned can bend: the **untrained**
//! base model looks at the picture with the text "a photo of a {class}" (`diffusion::Looking`), what its attention sees becomes a
//! map of where the concept is (`soft`), and the picture's colours give that its border (`refine`).
//!
//! A mask's confidence is how far the masks agree that independent parts of the evidence give.

pub mod agreement;
mod colours;
mod max_flow;
mod refine;
mod sam;
mod soft;

use std::ops::ControlFlow;

use image::{GrayImage, RgbImage};

use self::agreement::iou;
pub use self::refine::SMALLEST_PART;
use self::refine::{Refined, Refining, refine};
pub use self::sam::sam_mask;
use self::soft::{Part, SoftMap, soft_maps};
use crate::diffusion::{BaseModel, Conditioning, Encoder, Error, Looking, Result, to_tensor};
use crate::image::resize_bicubic;
use crate::protocol::{MaskConfig, MaskMaker};

/// A mask, and what it is worth.
#[derive(Debug, Clone)]
pub struct Mask {
    /// White where the concept is, of the picture's size; all black where the model sees none.
    pub mask: GrayImage,
    /// How far independent parts of the evidence agree, 0 to 1; 0 for an empty mask.
    pub confidence: f64,
}

/// The base model as a maker of masks.
pub struct BaseModelMasks<'a> {
    model: &'a BaseModel,
    encoder: Encoder,
    config: MaskConfig,
    /// What it reads.
    caption: String,
    /// Positions of the class word's tokens in the caption.
    class: Vec<usize>,
    /// What the caption tells it.
    conditioning: Conditioning,
}

impl<'a> BaseModelMasks<'a> {
    /// A maker of masks of `class_word`.
    ///
    /// # Errors
    /// A caption in which the class word was cut off, a failing computation.
    pub fn new(model: &'a BaseModel, class_word: &str, config: &MaskConfig) -> Result<Self> {
        let caption = config.caption.replace("{class}", class_word);
        // Where it was put: the caption may hold the same word before it.
        let start = config.caption.find("{class}").unwrap_or(0);
        let class = model.tokenizer().positions_at(&caption, start..start + class_word.len())?;
        if class.is_empty() {
            let cause = format!("the caption {caption:?} of masks has no tokens of the class word {class_word:?}");
            return Err(Error::Setting(cause));
        }
        let conditioning = model.encode(&model.tokenize(&caption, &[], &[])?, &[])?;
        conditioning.check(|| format!("the text encoder, reading {caption:?} for masks"))?;
        Ok(Self { model, encoder: model.vae.encoder()?, config: config.clone(), caption, class, conditioning })
    }

    /// What a mask says of how it was made.
    pub fn how(&self) -> Vec<(&'static str, String)> {
        let list = |numbers: &[usize]| numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        let MaskConfig { timesteps, draws, threshold, smallest_part, seed, .. } = &self.config;
        vec![
            ("mask_made_by", MaskMaker::BaseModel.word().into()),
            ("caption", self.caption.clone()),
            ("tokens", list(&self.class)),
            ("timesteps", list(timesteps)),
            ("draws", draws.to_string()),
            ("threshold", threshold.map_or("otsu".into(), |threshold| threshold.to_string())),
            ("refined_by", "grabcut".into()),
            ("smallest_part", smallest_part.to_string()),
            ("seed", seed.to_string()),
            ("base_model", self.model.hash.clone()),
        ]
    }

    /// The mask of `picture`, which is seen squeezed to the model's square. `progress` is told (looks taken, all) and may
    /// break off; then the result is none. The same picture gives the same mask, whatever it was made with.
    ///
    /// # Errors
    /// A failing computation.
    pub fn mask(
        &self,
        picture: &RgbImage,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Option<Mask>> {
        let side = self.model.resolution() as u32;
        let pixels = to_tensor(&[resize_bicubic(picture, side, side)])?;
        let latents = self.model.compute.run(|| {
            let (mean, _) = self.encoder.encode(&pixels)?;
            self.model.vae.scale(&mean)
        })?;
        let MaskConfig { timesteps, draws, seed, .. } = &self.config;
        let looking =
            Looking { conditioning: &self.conditioning, class: &self.class, timesteps, draws: *draws, seed: *seed };
        let Some(looks) = looking.look(self.model, &latents, progress)? else { return Ok(None) };
        let (threshold, smallest_part) = (self.config.threshold, self.config.smallest_part);
        let refining = Refining { threshold, smallest_part, ..Refining::default() };
        let soft = self.model.compute.run(|| soft_maps(&looks, &PARTS))?;
        let Some(whole) = &soft[0] else {
            let (width, height) = picture.dimensions();
            return Ok(Some(Mask { mask: GrayImage::new(width, height), confidence: 0.0 }));
        };
        let refined = refine(picture, &whole.map, whole.size, &refining);
        let empty = refined.mask.iter().all(|&value| value == 0);
        let confidence = if empty { 0.0 } else { confidence(picture, &soft, &refined, &refining) };
        Ok(Some(Mask { mask: refined.mask, confidence }))
    }
}

/// All of the evidence, and its halves side by side.
const PARTS: [Part; 7] =
    [Part::All, Part::Heads(0), Part::Heads(1), Part::Looks(0), Part::Looks(1), Part::Own(0), Part::Own(1)];

/// How far a mask can be trusted, 0 to 1: the product of the agreements (intersection over union) of what even and odd heads
/// give, the first and the last looks, even and odd layers of self-attention, and attention alone with attention and colours; times how
/// clearly the map falls in two. Each is low for another kind of failure.
fn confidence(picture: &RgbImage, soft: &[Option<SoftMap>], whole: &Refined, refining: &Refining) -> f64 {
    // One round shows as well where they differ, in a third of the time.
    let refining = Refining { side: HALVES_SIDE, rounds: 1, ..*refining };
    let mask =
        |part: usize| Some(refine(picture, &soft[part].as_ref()?.map, soft[part].as_ref()?.size, &refining).mask);
    let agreement = |a: usize, b: usize| Some(iou(&mask(a)?, &mask(b)?));
    let of_halves = [(1, 2), (3, 4), (5, 6)].map(|(a, b)| agreement(a, b).unwrap_or(0.0)).iter().product::<f64>();
    let clear = soft[0].as_ref().map_or(0.0, |soft| soft.separability);
    of_halves * iou(&whole.rough, &whole.mask) * clear
}

/// The longer side, in pixels, at which halves are compared.
const HALVES_SIDE: u32 = 128;
