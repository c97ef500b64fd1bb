//! What a job needs, before it starts: memory, time, and what of its prompts is not read.

use std::collections::HashSet;

use super::{Error, words};
use crate::catversion::{Checkpoint, Reading};
use crate::diffusion::{Compute, Cost, Outline, Speed};
use crate::protocol::{
    CutPrompt, DeviceName, Estimate, FloatType, ModelSpec, PartReport, PictureConfig, SampleConfig, TimeEstimate,
    TrainConfig,
};
use crate::workspace::free_memory;

/// Bytes of the process itself: code, tokenizer, stacks, what the allocator keeps.
const PROCESS: u64 = 24 << 20;
/// Bytes a graphics card's driver and libraries keep there for the process.
const CONTEXT: u64 = 500 << 20;
/// How far the peak may be off. What would not fit even if it were that much too high is refused.
const TOLERANCE: f64 = 0.15;
/// (image, t, noise) triples behind a validation loss.
const VALIDATION: usize = 16;

/// A job to estimate.
pub(super) struct Job<'a> {
    pub class_word: &'a str,
    /// A training with the pictures on its way; none for a sampling alone.
    pub train: Option<&'a TrainConfig>,
    pub sample: &'a SampleConfig,
    /// The pictures that are sampled.
    pub pictures: &'a [PictureConfig],
    /// Photos to encode.
    pub photos: usize,
    /// The score model that is loaded beside the base model.
    pub score_model: Option<PartReport>,
}

impl Job<'_> {
    /// Where it computes, and in which numbers: the pictures of a training are made where it trains.
    pub fn device(&self) -> (DeviceName, FloatType) {
        self.train.map_or((self.sample.device, self.sample.dtype), |train| (train.device, train.dtype))
    }

    /// Whether the prompt list is sampled, and how often.
    fn samplings(&self) -> usize {
        match (self.train, &self.score_model) {
            (Some(_), None) => 0,
            (_, Some(_)) => 2,
            (None, None) => 1,
        }
    }

    /// Branches that are denoised for a picture.
    fn guided(&self) -> usize {
        if self.pictures.is_empty() || self.pictures.iter().any(PictureConfig::is_guided) { 2 } else { 1 }
    }

    /// Images denoised at once.
    fn pictures_at_once(&self) -> usize {
        self.sample.batch_size.min(self.pictures.len()).max(1)
    }

    /// What is done, by name, with its cost.
    fn work(&self, model: &Outline) -> Vec<(&'static str, Cost)> {
        let mut work = Vec::new();
        let mut pictures = 0;
        if let Some(train) = self.train {
            work.push(("encoding a photo", model.encoding(1)));
            work.push(("a training step", model.training_step(train.batch_size, train.gradient_checkpointing)));
            if train.validate_every > 0 {
                work.push(("a validation", model.denoising_step(train.batch_size)));
            }
            pictures = usize::from(train.sample_every > 0);
        }
        if self.samplings() > 0 {
            pictures = pictures.max(self.pictures_at_once());
        }
        if pictures > 0 {
            // One is decoded while the next are denoised.
            let (mut denoising, decoding) =
                (model.picture_step(pictures.saturating_mul(self.guided())), model.decoding(1));
            if self.samplings() > 0 {
                denoising.peak_bytes += decoding.peak_bytes;
            }
            work.push(("denoising pictures", denoising));
            work.push(("decoding a picture", decoding));
        }
        work
    }

    /// (bytes at the highest point, what they are reached in)
    fn peak(&self, model: &Outline) -> (u64, &'static str) {
        // Scores are computed on the CPU, whatever samples.
        let (own, score_model) = match self.device().0 {
            DeviceName::Cpu => (PROCESS, self.score_model.as_ref().map_or(0, |part| part.memory_bytes(FloatType::F32))),
            DeviceName::Cuda(_) | DeviceName::Metal => (CONTEXT, 0),
        };
        let weights = model.weights_bytes() + score_model;
        let highest = self.work(model).into_iter().max_by_key(|(_, cost)| cost.peak_bytes);
        let (name, bytes) = highest.map_or(("loading", 0), |(name, cost)| (name, cost.peak_bytes));
        (own + weights + bytes, name)
    }

    fn time(&self, model: &Outline, speed: Speed) -> TimeEstimate {
        let seconds = |cost: Cost| cost.seconds(speed);
        let (decoding, alone) = (seconds(model.decoding(1)), seconds(model.denoising_step(1)));
        let guided = seconds(model.denoising_step(2));
        let one = |steps: usize, is_guided: bool| steps as f64 * if is_guided { guided } else { alone } + decoding;
        let listed: f64 = self.pictures.iter().map(|picture| one(picture.steps, picture.is_guided())).sum();
        let picture = match self.pictures.len() {
            0 => one(self.sample.steps, true),
            count => listed / count as f64,
        };
        let mut total = listed * self.samplings() as f64;
        let step = self.train.map(|train| {
            let step = seconds(model.training_step(train.batch_size, train.gradient_checkpointing));
            let times = |every: usize| if every > 0 { 1 + train.steps.div_ceil(every) } else { 0 };
            total += train.steps as f64 * step
                + if train.flip_probability > 0.0 { 2.0 } else { 1.0 }
                    * self.photos as f64
                    * seconds(model.encoding(1))
                + times(train.sample_every) as f64 * picture
                + (times(train.validate_every) * VALIDATION) as f64 * seconds(model.denoising_step(1));
            step
        });
        let how = format!(
            "from its arithmetic and the speed of {} just now ({:.0} GFLOP/s, {:.1} GB/s)",
            match self.device().0 {
                DeviceName::Cpu => "this machine".to_owned(),
                other => other.to_string(),
            },
            speed.flops / 1e9,
            speed.bytes / 1e9
        );
        TimeEstimate { step_seconds: step, picture_seconds: picture, total_seconds: total, how }
    }

    /// Why a job with so much memory cannot be done, and the setting that would fit.
    fn refusal(&self, model: &Outline, free: u64, limit: &str) -> Option<String> {
        let fits = |job: &Job| job.peak(model).0 as f64 <= free as f64;
        let (peak, name) = self.peak(model);
        if peak as f64 * (1.0 - TOLERANCE) <= free as f64 {
            return None;
        }
        let (needs, has) = (gib(peak), gib(free));
        let problem = format!("needs {needs} of memory in {name}, {limit} has {has} free");
        Some(match self.smaller().find(|(_, train, sample)| fits(&self.with(train.as_ref(), sample))) {
            Some((settings, ..)) => format!("{problem}: {settings} would fit"),
            None => format!("{problem}: no setting makes it fit; close other programs or use a larger machine"),
        })
    }

    /// The job with settings that take less, most like it first, in words too.
    fn smaller(&self) -> impl Iterator<Item = (String, Option<TrainConfig>, SampleConfig)> {
        let halves = |n: usize| std::iter::successors(Some(n), |n| (*n > 1).then_some(n / 2)).collect::<Vec<_>>();
        let samples: Vec<SampleConfig> = match self.samplings() {
            0 => vec![self.sample.clone()],
            _ => halves(self.pictures_at_once())
                .into_iter()
                .map(|batch_size| SampleConfig { batch_size, ..self.sample.clone() })
                .collect(),
        };
        let trains: Vec<Option<TrainConfig>> = match self.train {
            None => vec![None],
            Some(train) => halves(train.batch_size)
                .into_iter()
                .flat_map(|batch_size| {
                    [train.gradient_checkpointing, true].map(|gradient_checkpointing| {
                        Some(TrainConfig { batch_size, gradient_checkpointing, ..train.clone() })
                    })
                })
                .collect(),
        };
        let (before, sample_before) = (self.train.cloned(), self.sample.batch_size);
        let all =
            trains.into_iter().flat_map(move |train| samples.clone().into_iter().map(move |s| (train.clone(), s)));
        all.map(move |(train, sample)| {
            let mut settings = Vec::new();
            if let (Some(train), Some(before)) = (&train, &before) {
                if train.batch_size != before.batch_size {
                    settings.push(format!("batch_size = {}", train.batch_size));
                }
                if train.gradient_checkpointing != before.gradient_checkpointing {
                    settings.push("gradient_checkpointing = true".into());
                }
            }
            if sample.batch_size != sample_before {
                let whose = if train.is_some() { "a sampling " } else { "" };
                settings.push(format!("{whose}batch_size = {}", sample.batch_size));
            }
            (settings.join(" with "), train, sample)
        })
    }

    fn with<'a>(&'a self, train: Option<&'a TrainConfig>, sample: &'a SampleConfig) -> Job<'a> {
        Job { train, sample, score_model: self.score_model.clone(), ..*self }
    }

    /// Refuse pictures that cannot be sampled as they say, and concepts that cannot be put together.
    fn check_sampling(&self, model: &Outline) -> Result<(), Error> {
        let mut seen = HashSet::new();
        for picture in self.pictures.iter().filter(|_| self.samplings() > 0) {
            let PictureConfig { sampler, karras, steps, eta, .. } = *picture;
            if seen.insert((sampler, karras, steps, eta.to_bits())) {
                model.schedule.solver(sampler, karras, steps, eta)?;
            }
        }
        let mut base_model: Option<String> = None;
        let others = self.sample.concepts.iter().map(|other| &other.checkpoint);
        let own = self.sample.checkpoint.iter().filter(|_| !self.sample.concepts.is_empty());
        for path in own.chain(others) {
            let checkpoint = Checkpoint::load(path)?;
            checkpoint.check_base_model(base_model.get_or_insert_with(|| checkpoint.meta.base_model.clone()), path)?;
        }
        Ok(())
    }

    fn cut_prompts(&self, model: &Outline) -> Result<Vec<CutPrompt>, Error> {
        let read = |prompt: &str| Ok::<_, Error>(Reading::of(prompt, self.class_word, &self.sample.concepts)?.text);
        let mut prompts: Vec<String> = Vec::new();
        let mut seen = HashSet::new();
        if let Some(train) = self.train {
            prompts.push(train.caption.replace("{class}", self.class_word));
            if train.sample_every > 0 {
                prompts.push(read(&train.sample_prompt)?);
            }
        }
        if self.samplings() > 0 {
            let listed = self.pictures.iter().flat_map(|picture| [&picture.prompt, &picture.negative_prompt]);
            for prompt in listed.filter(|prompt| seen.insert(*prompt)) {
                prompts.push(read(prompt)?);
            }
        }
        let mut cut_prompts = Vec::new();
        for prompt in prompts {
            let cut = model.tokenizer.tokens(&prompt)?.cut;
            if !cut.is_empty() {
                cut_prompts.push(CutPrompt { prompt, cut, limit: model.text_length() });
            }
        }
        Ok(cut_prompts)
    }
}

/// What `job` needs on `base_model`.
pub(super) fn estimate(base_model: ModelSpec, job: &Job) -> Result<Estimate, Error> {
    let (device, dtype) = job.device();
    let compute = Compute::open(device, dtype)?;
    let mut model = Outline::read(&base_model)?.on(device, dtype);
    for embedding in words::read(job)? {
        model.add_word(&embedding)?;
    }
    job.check_sampling(&model)?;
    let (peak_bytes, peak_in) = job.peak(&model);
    let free = free_memory(device);
    let refusal = free.as_ref().and_then(|free| job.refusal(&model, free.bytes, &free.limit));
    Ok(Estimate {
        base_model,
        device: match device {
            DeviceName::Cpu => format!("cpu, {} threads", rayon::current_num_threads()),
            other => other.to_string(),
        },
        dtype,
        parts: model.parts.iter().chain(&job.score_model).cloned().collect(),
        resolution: model.resolution(),
        peak_bytes,
        peak_in: peak_in.into(),
        free,
        time: job.time(&model, Speed::measure(&compute)?),
        cut_prompts: job.cut_prompts(&model)?,
        refusal,
    })
}

/// Refuse a job that cannot fit, before its model is loaded.
pub(super) fn check_memory(model: &Outline, job: &Job) -> Result<(), Error> {
    let refusal = free_memory(job.device().0).and_then(|free| job.refusal(model, free.bytes, &free.limit));
    refusal.map_or(Ok(()), |refusal| Err(Error::DoesNotFit(refusal)))
}

/// As people read it.
fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}
