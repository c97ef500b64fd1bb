//! Pictures of prompts, with or without concepts (see `prompt`): the residual embeddings of all that a prompt names stand
//! side by side in front of the keys and values.

use std::ops::ControlFlow;
use std::path::Path;

use candle_core::Tensor;
use image::{GrayImage, RgbImage};

use super::checkpoint::Checkpoint;
use super::embeddings::ResidualEmbeddings;
use super::error::Result;
use super::prompt::Reading;
use crate::diffusion::{
    BaseModel, Decoder, Denoising, PictureNoise, Prefix, Texts, attention_mask, denoise, emphasize, to_images,
};
use crate::protocol::SampleConfig;

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

/// What was learned of one concept.
struct Learned {
    embeddings: ResidualEmbeddings,
    prefix_bias: f32,
}

impl Learned {
    fn of(model: &BaseModel, checkpoint: &Checkpoint, path: &Path) -> Result<Self> {
        checkpoint.check_base_model(&model.hash, path)?;
        let embeddings = checkpoint.embeddings.on(model.compute.device())?;
        Ok(Self { embeddings, prefix_bias: checkpoint.meta.config.prefix_bias })
    }

    /// Strength 0 is exactly the base model, so nothing is put in front.
    fn put_in_front(&self, strength: f32, prefix: &mut Prefix) -> Result<()> {
        if strength > 0.0 {
            prefix.layers.extend(self.embeddings.prefix(self.prefix_bias, strength)?.layers);
        }
        Ok(())
    }
}

/// Makes pictures with fixed settings.
pub struct Sampler<'a> {
    model: &'a BaseModel,
    decoder: Decoder,
    class_word: String,
    config: SampleConfig,
    learned: Option<Learned>,
    /// As many as the config's concepts.
    others: Vec<Learned>,
}

impl<'a> Sampler<'a> {
    /// `learned` is a checkpoint and where it was read from; none samples the base model. The checkpoints of other concepts
    /// are read here.
    pub fn new(
        model: &'a BaseModel,
        class_word: &str,
        config: SampleConfig,
        learned: Option<(&Checkpoint, &Path)>,
    ) -> Result<Self> {
        config.check()?;
        let learned = learned.map(|(checkpoint, path)| Learned::of(model, checkpoint, path)).transpose()?;
        let read = |path: &Path| Learned::of(model, &Checkpoint::load(path)?, path);
        let others = config.concepts.iter().map(|other| read(&other.checkpoint)).collect::<Result<_>>()?;
        let decoder = model.vae.decoder()?;
        Ok(Self { model, decoder, class_word: class_word.to_owned(), config, learned, others })
    }

    /// What the named concepts put in front.
    fn prefix(&self, own: bool, others: &[usize]) -> Result<Prefix> {
        let mut prefix = Prefix::default();
        if let Some(learned) = self.learned.as_ref().filter(|_| own) {
            learned.put_in_front(self.config.strength, &mut prefix)?;
        }
        for &i in others {
            self.others[i].put_in_front(self.config.concepts[i].strength, &mut prefix)?;
        }
        Ok(prefix)
    }

    fn read(&self, prompt: &str) -> Result<Reading> {
        Reading::of(prompt, &self.class_word, &self.config.concepts)
    }

    /// The hidden state [1, T, D] of `reading`, with `prefix` in front and its weights applied.
    fn encode(&self, reading: &Reading, prefix: &Prefix) -> Result<Tensor> {
        let prefix = (!prefix.layers.is_empty()).then_some(prefix);
        let hidden = self.model.text_encoder.forward(&self.model.token_ids(&reading.text)?, prefix)?.value().clone();
        Ok(emphasize(&hidden, &self.model.tokenizer.weights(&reading.pieces)?)?)
    }

    /// What pictures of the prompts `readings` read, with the concepts that they name, or without any.
    fn texts(&self, readings: &[Reading], with_concepts: bool) -> Result<Texts> {
        let prefix_of = |own: bool, others: &[usize]| {
            if with_concepts { self.prefix(own, others) } else { Ok(Prefix::default()) }
        };
        // A prompt that does not name the concept is the base model's.
        let context = |reading: &Reading| self.encode(reading, &prefix_of(reading.own.is_some(), &reading.others)?);
        let contexts = readings.iter().map(context).collect::<Result<Vec<_>>>()?;
        let negative = self.read(&self.config.negative_prompt)?;
        let all: Vec<usize> = (0..self.others.len()).collect();
        let uncond_prefix = if self.config.uncond_prefix { prefix_of(true, &all)? } else { Prefix::default() };
        Ok(Texts { context: Tensor::cat(&contexts, 0)?, uncond_context: self.encode(&negative, &uncond_prefix)? })
    }

    /// Make the pictures of one batch. `progress` is told (denoising steps done, all) and may break off; then the result
    /// is none.
    pub fn pictures(
        &self,
        requests: &[PictureRequest],
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Option<Vec<Picture>>> {
        let seeds: Vec<u64> = requests.iter().map(|r| r.seed).collect();
        let readings = requests.iter().map(|r| self.read(&r.prompt)).collect::<Result<Vec<_>>>()?;
        let positions = readings.iter().map(|reading| self.positions(reading)).collect::<Result<Vec<_>>>()?;
        let texts = self.texts(&readings, true)?;
        let plain = self.config.concept_steps.map(|part| Ok::<_, super::Error>((part, self.texts(&readings, false)?)));
        let plain = plain.transpose()?;
        let job = Denoising {
            texts: &texts,
            otherwise: plain.as_ref().map(|(part, texts)| (*part, texts)),
            guidance_scale: self.config.guidance_scale,
            steps: self.config.steps,
            sampler: self.config.sampler,
            karras: self.config.karras,
            eta: self.config.eta,
            mask_positions: positions.clone(),
        };
        let mut noise = PictureNoise::new(self.config.noise, &seeds);
        let start = self.model.initial_latents(&mut noise)?;
        let Some(result) = denoise(self.model, &start, &mut noise, &job, progress)? else { return Ok(None) };
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

    /// The tokens whose attention makes the mask: of the concept, or else of its class word.
    fn positions(&self, reading: &Reading) -> Result<Vec<usize>> {
        let tokenizer = &self.model.tokenizer;
        Ok(match &reading.own {
            Some(own) => tokenizer.positions_at(&reading.text, own.clone())?,
            None => tokenizer.positions_of(&reading.text, &self.class_word)?,
        })
    }
}
