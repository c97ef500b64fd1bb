//! Pictures of prompts, with or without the concept. In a prompt `{concept}` stands for it: it is read as the class word,
//! with the residual embeddings in front of the keys and values.

use std::ops::ControlFlow;
use std::path::Path;

use candle_core::Tensor;
use image::{GrayImage, RgbImage};

use super::checkpoint::Checkpoint;
use super::error::Result;
use crate::diffusion::{BaseModel, Decoder, Denoising, Prefix, attention_mask, denoise, to_images};
use crate::protocol::SampleConfig;

/// `prompt` with the class word in place of `{concept}`.
pub fn prompt_text(prompt: &str, class_word: &str) -> String {
    prompt.replace("{concept}", class_word)
}

/// One picture to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureRequest {
    /// May contain `{concept}`.
    pub prompt: String,
    /// Its noise.
    pub seed: u64,
}

/// One picture made.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The picture.
    pub image: RgbImage,
    /// White where it looked at the class word; all black where it never did.
    pub mask: GrayImage,
}

/// Makes pictures with fixed settings.
pub struct Sampler<'a> {
    model: &'a BaseModel,
    decoder: Decoder,
    class_word: String,
    config: SampleConfig,
    prefix: Option<Prefix>,
    uncond: Tensor,
}

impl<'a> Sampler<'a> {
    /// `learned` is a checkpoint and where it was read from; none samples the base model.
    pub fn new(
        model: &'a BaseModel,
        class_word: &str,
        config: SampleConfig,
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
        let decoder = model.vae.decoder()?;
        Ok(Self { model, decoder, class_word: class_word.to_owned(), config, prefix, uncond })
    }

    /// Make the pictures of one batch. `progress` is told (denoising steps done, all) and may break off; then the result
    /// is none.
    pub fn pictures(
        &self,
        requests: &[PictureRequest],
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Option<Vec<Picture>>> {
        let seeds: Vec<u64> = requests.iter().map(|r| r.seed).collect();
        let (mut contexts, mut positions) = (Vec::new(), Vec::new());
        for request in requests {
            let text = prompt_text(&request.prompt, &self.class_word);
            // A prompt that does not name the concept is the base model's.
            let prefix = self.prefix.as_ref().filter(|_| request.prompt.contains("{concept}"));
            contexts.push(self.model.text_encoder.forward(&self.model.token_ids(&text)?, prefix)?.value().clone());
            positions.push(self.model.tokenizer.positions_of(&text, &self.class_word)?);
        }
        let job = Denoising {
            context: &Tensor::cat(&contexts, 0)?,
            uncond_context: &self.uncond,
            guidance_scale: self.config.guidance_scale,
            steps: self.config.steps,
            eta: self.config.eta,
            seeds: &seeds,
            mask_positions: positions.clone(),
        };
        let start = self.model.initial_latents(&seeds)?;
        let Some(result) = denoise(self.model, &start, &job, progress)? else { return Ok(None) };
        let images = to_images(&self.decoder.decode(&self.model.vae.unscale(&result.latents)?)?)?;
        let mut pictures = Vec::with_capacity(images.len());
        for (i, image) in images.into_iter().enumerate() {
            let mask = match &result.attention {
                Some(maps) if !positions[i].is_empty() => attention_mask(&maps.get(i)?, image.dimensions(), None)?,
                _ => GrayImage::new(image.width(), image.height()),
            };
            pictures.push(Picture { image, mask });
        }
        Ok(Some(pictures))
    }
}
