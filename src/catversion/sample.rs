//! Pictures of prompts, with or without concepts (see `prompt`): the residual embeddings of all that a prompt names stand
//! side by side in front of the keys and values.

use std::cell::OnceCell;
use std::ops::ControlFlow;
use std::path::Path;

use candle_core::Tensor;
use image::RgbImage;

use super::checkpoint::Checkpoint;
use super::embeddings::ResidualEmbeddings;
use super::error::Result;
use super::prompt::Reading;
use crate::diffusion::{
    self, BaseModel, Decoder, Denoising, PictureNoise, Prefix, Texts, Vae, check_finite, denoise, emphasize, to_images,
};
use crate::protocol::{PictureConfig, SampleConfig};

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

/// A prompt as the UNet reads it.
#[derive(Clone)]
pub struct Encoded {
    /// With the concepts that it names; contexts are [1, T, D].
    texts: Texts,
    /// The part of the denoising in which that is read, and what is read before and after.
    otherwise: Option<([f64; 2], Texts)>,
}

/// Reads prompts for pictures that agree in what is learned, its strength, and what the unconditional branch reads.
pub struct Sampler<'a> {
    model: &'a BaseModel,
    class_word: String,
    config: SampleConfig,
    learned: Option<Learned>,
    /// As many as the config's concepts.
    others: Vec<Learned>,
    /// What the unconditional branch reads without and with concepts, once it has been read.
    uncond: [OnceCell<Tensor>; 2],
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
        let uncond = [OnceCell::new(), OnceCell::new()];
        Ok(Self { model, class_word: class_word.to_owned(), config, learned, others, uncond })
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
    fn hidden(&self, reading: &Reading, prefix: &Prefix) -> Result<Tensor> {
        let learned = if prefix.layers.is_empty() { "" } else { " with what was learned" };
        let prefix = (!prefix.layers.is_empty()).then_some(prefix);
        let hidden = self.model.text_encoder.forward(&self.model.token_ids(&reading.text)?, prefix)?.value().clone();
        let hidden = emphasize(&hidden, &self.model.tokenizer.weights(&reading.pieces)?)?;
        check_finite(&hidden, || format!("the text encoder{learned}, reading {:?}", reading.text))?;
        Ok(hidden)
    }

    /// What a picture of `reading` reads, with the concepts that it names, or without any.
    fn texts(&self, reading: &Reading, with_concepts: bool) -> Result<Texts> {
        let prefix_of = |own: bool, others: &[usize]| {
            if with_concepts { self.prefix(own, others) } else { Ok(Prefix::default()) }
        };
        let known = &self.uncond[usize::from(with_concepts)];
        let uncond_context = if let Some(known) = known.get() {
            known.clone()
        } else {
            let negative = self.read(&self.config.negative_prompt)?;
            let all: Vec<usize> = (0..self.others.len()).collect();
            let prefix = if self.config.uncond_prefix { prefix_of(true, &all)? } else { Prefix::default() };
            let hidden = self.hidden(&negative, &prefix)?;
            known.get_or_init(|| hidden).clone()
        };
        // A prompt that does not name the concept is the base model's, unless every prompt is the concept's.
        let own = reading.own.is_some() || self.config.every_prompt;
        let context = self.hidden(reading, &prefix_of(own, &reading.others)?)?;
        Ok(Texts { context, uncond_context })
    }

    /// Read `prompt`.
    pub fn encode(&self, prompt: &str) -> Result<Encoded> {
        let reading = self.read(prompt)?;
        let otherwise =
            self.config.concept_steps.map(|part| Ok::<_, super::Error>((part, self.texts(&reading, false)?)));
        Ok(Encoded { texts: self.texts(&reading, true)?, otherwise: otherwise.transpose()? })
    }
}

/// Denoise a batch of pictures, which agree in noise, sampler, steps, in the part of the steps with concepts, and in whether
/// they are guided at all: scaled latents [1, C, h, w] of each. What one becomes depends on how many there are, because sums are rounded otherwise, but on nothing
/// else of the others. `progress` is told (denoising steps done, all) and may break off; then the result is none.
pub fn denoise_batch(
    model: &BaseModel,
    batch: &[(&Encoded, &PictureConfig)],
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Option<Vec<Tensor>>> {
    let Some((text, first)) = batch.first() else { return Ok(Some(Vec::new())) };
    let all =
        |of: &dyn Fn(&Encoded) -> Tensor| Tensor::cat(&batch.iter().map(|(text, _)| of(text)).collect::<Vec<_>>(), 0);
    let texts = Texts {
        context: all(&|text| text.texts.context.clone())?,
        uncond_context: all(&|text| text.texts.uncond_context.clone())?,
    };
    let plain = |text: &Encoded| text.otherwise.as_ref().map_or(&text.texts, |(_, texts)| texts).clone();
    let otherwise = text.otherwise.as_ref().map(|(part, _)| {
        let context = all(&|text| plain(text).context)?;
        Ok::<_, super::Error>((*part, Texts { context, uncond_context: all(&|text| plain(text).uncond_context)? }))
    });
    let otherwise = otherwise.transpose()?;
    let guidance_scales: Vec<f64> = batch.iter().map(|(_, picture)| picture.guidance_scale).collect();
    let job = Denoising {
        texts: &texts,
        otherwise: otherwise.as_ref().map(|(part, texts)| (*part, texts)),
        guidance_scales: &guidance_scales,
        steps: first.steps,
        sampler: first.sampler,
        karras: first.karras,
        eta: first.eta,
    };
    let seeds: Vec<u64> = batch.iter().map(|(_, picture)| picture.seed).collect();
    let mut noise = PictureNoise::new(first.noise, &seeds);
    let start = model.initial_latents(&mut noise)?;
    let Some(latents) = denoise(model, &start, &mut noise, &job, progress)? else { return Ok(None) };
    let each = (0..batch.len()).map(|i| latents.narrow(0, i, 1)?.contiguous());
    Ok(Some(each.collect::<candle_core::Result<_>>()?))
}

/// The picture of scaled `latents` [1, C, h, w].
pub fn decode(vae: &Vae, decoder: &Decoder, latents: &Tensor) -> Result<RgbImage> {
    let pixels = decoder.decode(&vae.unscale(latents)?)?;
    Ok(to_images(&pixels)?.pop().ok_or_else(|| diffusion::Error::Setting("no picture".into()))?)
}
