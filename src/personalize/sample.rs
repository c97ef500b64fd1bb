//! Pictures of prompts, with or without concepts (see `prompt`): what was learned of all that a prompt names enters the text encoders side
//! by side.

use std::cell::OnceCell;
use std::ops::ControlFlow;
use std::path::Path;

use candle_core::Tensor;
use image::RgbImage;

use super::checkpoint::Checkpoint;
use super::error::Result;
use super::learned::Learned;
use super::prompt::Reading;
use crate::diffusion::{
    self, Additions, BaseModel, Conditioning, Decoder, Denoising, LearnedWord, PictureNoise, Texts, Vae, denoise,
    emphasize, to_images,
};
use crate::method::Task;
use crate::protocol::{PictureConfig, SharedConfig, TrainConfig};

/// What was learned of one concept.
struct Concept {
    class_word: String,
    config: TrainConfig,
    learned: Learned,
}

impl Concept {
    fn of(model: &BaseModel, checkpoint: &Checkpoint, path: &Path) -> Result<Self> {
        checkpoint.check_base_model(&model.hash, path)?;
        let learned = checkpoint.learned.on(model.compute.device())?;
        Ok(Self { class_word: checkpoint.meta.class_word.clone(), config: checkpoint.meta.config.clone(), learned })
    }

    /// What enters each text encoder at `strength`; nothing at 0, which is exactly the base model.
    fn enter(&self, model: &BaseModel, strength: f32) -> Result<Vec<Additions>> {
        if strength <= 0.0 {
            return Ok(Vec::new());
        }
        let task = Task { model, class_word: &self.class_word, config: &self.config };
        self.config.method.enter(&task, &self.learned.constants()?, strength)
    }
}

/// What the concepts that a prompt names bring.
#[derive(Default)]
struct Entered {
    additions: Vec<Additions>,
    /// The number of each concept's word among the words of the additions: the learned one's, and those of others by their number.
    words: Vec<(Option<usize>, usize)>,
}

impl Entered {
    fn add(&mut self, whose: Option<usize>, additions: Vec<Additions>) {
        self.additions.resize_with(self.additions.len().max(additions.len()), Additions::default);
        let count = self.additions.first().map_or(0, |first| first.words.len());
        if additions.iter().any(|additions| !additions.words.is_empty()) {
            self.words.push((whose, count));
        }
        for (all, own) in self.additions.iter_mut().zip(additions) {
            all.rows.extend(own.rows);
            all.words.extend(own.words);
        }
    }

    /// Where in `reading` learned words stand.
    fn places(&self, reading: &Reading) -> Vec<LearnedWord> {
        let word = |whose: Option<usize>| self.words.iter().find(|(known, _)| *known == whose).map(|(_, word)| *word);
        let place = |(range, whose): &(std::ops::Range<usize>, Option<usize>)| {
            Some(LearnedWord { range: range.clone(), word: word(*whose)? })
        };
        reading.places.iter().filter_map(place).collect()
    }

    fn is_nothing(&self) -> bool {
        self.additions.iter().all(|additions| additions.rows.is_empty() && additions.words.is_empty())
    }
}

/// A prompt as the UNet is told it.
#[derive(Clone)]
pub struct Encoded {
    /// With the concepts that it names; one text each.
    texts: Texts,
    /// The part of the denoising in which that is read, and what is read before and after.
    otherwise: Option<([f64; 2], Texts)>,
}

/// Reads prompts for pictures that agree in what is learned, its strength, and what the unconditional branch reads.
pub struct Sampler<'a> {
    model: &'a BaseModel,
    class_word: String,
    negative_prompt: String,
    /// Of what was learned.
    strength: f32,
    shared: SharedConfig,
    learned: Option<Concept>,
    /// As many as the concepts that prompts may name besides.
    others: Vec<Concept>,
    /// What the unconditional branch reads without and with concepts, once it has been read.
    uncond: [OnceCell<Conditioning>; 2],
}

impl<'a> Sampler<'a> {
    /// For pictures that read as `picture` does, which share `shared`. `learned` is a checkpoint and where it was read from; none samples
    /// the base model. The checkpoints of other concepts are read here.
    pub fn new(
        model: &'a BaseModel,
        class_word: &str,
        (picture, shared): (&PictureConfig, &SharedConfig),
        learned: Option<(&Checkpoint, &Path)>,
    ) -> Result<Self> {
        picture.check()?;
        shared.check()?;
        let learned = learned.map(|(checkpoint, path)| Concept::of(model, checkpoint, path)).transpose()?;
        let read = |path: &Path| Concept::of(model, &Checkpoint::load(path)?, path);
        let others = shared.concepts.iter().map(|other| read(&other.checkpoint)).collect::<Result<_>>()?;
        let (class_word, negative_prompt, shared) =
            (class_word.to_owned(), picture.negative_prompt.clone(), shared.clone());
        let uncond = [OnceCell::new(), OnceCell::new()];
        Ok(Self { model, class_word, negative_prompt, strength: picture.strength, shared, learned, others, uncond })
    }

    /// What the named concepts bring.
    fn entered(&self, own: bool, others: &[usize]) -> Result<Entered> {
        let mut entered = Entered::default();
        if let Some(learned) = self.learned.as_ref().filter(|_| own) {
            entered.add(None, learned.enter(self.model, self.strength)?);
        }
        for &i in others {
            entered.add(Some(i), self.others[i].enter(self.model, self.shared.concepts[i].strength)?);
        }
        Ok(entered)
    }

    fn read(&self, prompt: &str) -> Result<Reading> {
        Reading::of(prompt, &self.class_word, &self.shared.concepts)
    }

    /// What `reading` tells the UNet with what has entered, its weights applied.
    fn told(&self, reading: &Reading, entered: &Entered) -> Result<Conditioning> {
        let (additions, words) = (&entered.additions, entered.places(reading));
        let told = self.model.encode(&self.model.tokenize(&reading.text, &words, additions)?, additions)?;
        let hidden = emphasize(told.hidden.value(), &self.model.weights(&reading.pieces, &words, additions)?)?;
        let told = told.with_hidden(hidden);
        let learned = if entered.is_nothing() { "" } else { " with what was learned" };
        told.check(|| format!("the text encoder{learned}, reading {:?}", reading.text))?;
        Ok(told)
    }

    /// What a picture of `reading` reads, with the concepts that it names, or without any.
    fn texts(&self, reading: &Reading, with_concepts: bool) -> Result<Texts> {
        let entered = |own: bool, others: &[usize]| {
            if with_concepts { self.entered(own, others) } else { Ok(Entered::default()) }
        };
        let known = &self.uncond[usize::from(with_concepts)];
        let uncond = if let Some(known) = known.get() {
            known.clone()
        } else {
            let negative = self.read(&self.negative_prompt)?;
            let all: Vec<usize> = (0..self.others.len()).collect();
            let entered = if self.shared.uncond_prefix { entered(true, &all)? } else { Entered::default() };
            let told = self.told(&negative, &entered)?;
            known.get_or_init(|| told).clone()
        };
        // A prompt that does not name the concept is the base model's, unless every prompt is the concept's.
        let own = reading.own.is_some() || self.shared.every_prompt;
        let cond = self.told(reading, &entered(own, &reading.others)?)?;
        Ok(Texts { cond, uncond })
    }

    /// Read `prompt`.
    pub fn encode(&self, prompt: &str) -> Result<Encoded> {
        let reading = self.read(prompt)?;
        let otherwise =
            self.shared.concept_steps.map(|part| Ok::<_, super::Error>((part, self.texts(&reading, false)?)));
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
    let all = |of: &dyn Fn(&Encoded) -> Texts| {
        let texts: Vec<Texts> = batch.iter().map(|(text, _)| of(text)).collect();
        let each = |of: &dyn Fn(&Texts) -> &Conditioning| {
            Conditioning::cat(&texts.iter().map(|texts| of(texts).clone()).collect::<Vec<_>>())
        };
        Ok::<_, super::Error>(Texts { cond: each(&|texts| &texts.cond)?, uncond: each(&|texts| &texts.uncond)? })
    };
    let texts = all(&|text| text.texts.clone())?;
    let plain = |text: &Encoded| text.otherwise.as_ref().map_or(&text.texts, |(_, texts)| texts).clone();
    let otherwise =
        text.otherwise.as_ref().map(|(part, _)| Ok::<_, super::Error>((*part, all(&plain)?))).transpose()?;
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
