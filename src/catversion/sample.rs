//! Pictures of prompts, with or without the concept. In a prompt `{concept}` stands for it: it is read as the class word,
//! with the residual embeddings in front of the keys and values.

use std::ops::ControlFlow;
use std::path::Path;

use candle_core::Tensor;
use image::{GrayImage, RgbImage};

use super::checkpoint::Checkpoint;
use super::error::Result;
use crate::diffusion::{self, BaseModel, Decoder, Denoising, Prefix, Vae, attention_mask, denoise, to_images};
use crate::protocol::{PictureConfig, SampleConfig};

/// `prompt` with the class word in place of `{concept}`.
pub fn prompt_text(prompt: &str, class_word: &str) -> String {
    prompt.replace("{concept}", class_word)
}

/// One picture made.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The picture.
    pub image: RgbImage,
    /// White where it looked at the class word; all black where it never did.
    pub mask: GrayImage,
}

/// A prompt as the UNet reads it.
#[derive(Clone)]
pub struct Encoded {
    /// What the picture shows, [1, T, D].
    context: Tensor,
    /// What the unconditional branch reads, [1, T, D].
    uncond: Tensor,
    /// Token positions of the class word.
    positions: Vec<usize>,
}

/// Reads prompts for pictures that agree in what is learned, its strength, and what the unconditional branch reads.
pub struct Sampler<'a> {
    model: &'a BaseModel,
    class_word: String,
    prefix: Option<Prefix>,
    uncond: Tensor,
}

impl<'a> Sampler<'a> {
    /// `learned` is a checkpoint and where it was read from; none samples the base model.
    pub fn new(
        model: &'a BaseModel,
        class_word: &str,
        config: &SampleConfig,
        learned: Option<(&Checkpoint, &Path)>,
    ) -> Result<Self> {
        config.check()?;
        let mut prefix = None;
        if let Some((checkpoint, path)) = learned {
            checkpoint.check_base_model(&model.hash, path)?;
            // Strength 0 is exactly the base model, so nothing is put in front.
            if config.strength > 0.0 {
                let embeddings = checkpoint.embeddings.on(model.compute.device())?;
                prefix = Some(embeddings.prefix(checkpoint.meta.config.prefix_bias, config.strength)?);
            }
        }
        let with = prefix.as_ref().filter(|_| config.uncond_prefix);
        let uncond = model.text_encoder.forward(&model.token_ids(&config.negative_prompt)?, with)?.value().clone();
        Ok(Self { model, class_word: class_word.to_owned(), prefix, uncond })
    }

    /// Read `prompt`.
    pub fn encode(&self, prompt: &str) -> Result<Encoded> {
        let text = prompt_text(prompt, &self.class_word);
        // A prompt that does not name the concept is the base model's.
        let prefix = self.prefix.as_ref().filter(|_| prompt.contains("{concept}"));
        Ok(Encoded {
            context: self.model.text_encoder.forward(&self.model.token_ids(&text)?, prefix)?.value().clone(),
            uncond: self.uncond.clone(),
            positions: self.model.tokenizer.positions_of(&text, &self.class_word)?,
        })
    }
}

/// A denoised picture that is not decoded yet.
pub struct Undecoded {
    /// Scaled latents [1, C, h, w].
    latents: Tensor,
    /// Where it looked at the class word, [h', w'] in 0 to 1; none where it never did.
    attention: Option<Tensor>,
}

/// Denoise a batch of pictures, which agree in noise, sampler, steps, and in whether they are
/// guided at all. What one becomes depends on how many there
/// are, because sums are rounded otherwise, but on nothing else of the others. `progress` is told (denoising steps done,
/// all) and may break off; then the result is none.
pub fn denoise_batch(
    model: &BaseModel,
    batch: &[(&Encoded, &PictureConfig)],
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Option<Vec<Undecoded>>> {
    let Some((_, first)) = batch.first() else { return Ok(Some(Vec::new())) };
    let guidance_scales: Vec<f64> = batch.iter().map(|(_, picture)| picture.guidance_scale).collect();
    let seeds: Vec<u64> = batch.iter().map(|(_, picture)| picture.seed).collect();
    let all = |of: fn(&Encoded) -> &Tensor| Tensor::cat(&batch.iter().map(|(text, _)| of(text)).collect::<Vec<_>>(), 0);
    let job = Denoising {
        context: &all(|text| &text.context)?,
        uncond_context: &all(|text| &text.uncond)?,
        guidance_scales: &guidance_scales,
        steps: first.steps,
        eta: first.eta,
        seeds: &seeds,
        mask_positions: batch.iter().map(|(text, _)| text.positions.clone()).collect(),
    };
    let start = model.initial_latents(&seeds)?;
    let Some(result) = denoise(model, &start, &job, progress)? else { return Ok(None) };
    let picture = |(i, (text, _)): (usize, &(&Encoded, &PictureConfig))| {
        let attention = result.attention.as_ref().filter(|_| !text.positions.is_empty());
        Ok(Undecoded {
            latents: result.latents.narrow(0, i, 1)?.contiguous()?,
            attention: attention.map(|maps| maps.get(i)).transpose()?,
        })
    };
    batch.iter().enumerate().map(picture).collect::<Result<_>>().map(Some)
}

/// Decode a denoised picture.
pub fn decode(vae: &Vae, decoder: &Decoder, undecoded: &Undecoded) -> Result<Picture> {
    let pixels = decoder.decode(&vae.unscale(&undecoded.latents)?)?;
    let Some(image) = to_images(&pixels)?.pop() else { return Err(diffusion::Error::Setting("no picture".into()).into()) };
    let mask = match &undecoded.attention {
        Some(map) => attention_mask(map, image.dimensions(), None)?,
        None => GrayImage::new(image.width(), image.height()),
    };
    Ok(Picture { image, mask })
}
