//! What a job needs, before it starts: memory, time, and what of its prompts is not read.

use std::collections::HashSet;
use std::path::Path;

use super::sample::count_batches;
use super::train::captions;
use super::{Error, words};
use crate::diffusion::{Compute, Cost, Outline, Speed, TextOutline, TextsRead, odd_text, other_syntax, part_of};
use crate::metrics::LOOKS;
use crate::personalize::{Checkpoint, FIXED_NOISE, Reading, WordLengths};
use crate::protocol::{
    CutPrompt, DeviceName, Estimate, EstimateRequest, FloatType, MaskConfig, MaskWork, Memory, ModelSpec, OddPrompt,
    OtherSyntax, PartReport, PictureConfig, SampleConfig, ScoreWork, SharedConfig, TimeEstimate, TrainConfig,
    device_of,
};
use crate::workspace::{free_memory, own_memory, total_memory};

/// Bytes of the process itself: code, tokenizer, stacks, what the allocator keeps.
const PROCESS: u64 = 24 << 20;
/// Bytes a graphics card's driver and libraries keep there for the process.
const CONTEXT: u64 = 500 << 20;
/// How far the peak may be off. What would not fit even if it were that much too high is refused.
const TOLERANCE: f64 = 0.15;

/// A job to estimate.
pub(super) struct Job<'a> {
    pub class_word: &'a str,
    /// A training with the pictures on its way; none for a sampling alone.
    pub train: Option<&'a TrainConfig>,
    pub sample: &'a SampleConfig,
    /// The pictures that are sampled.
    pub pictures: &'a [PictureConfig],
    /// Photos to encode, and to measure against.
    pub photos: usize,
    /// What is measured, alone or at the end.
    pub score: Option<Scoring>,
    /// Masks to make; nothing else is done then.
    pub masks: Option<&'a MaskWork>,
}

/// What is measured, and by what.
#[derive(Clone)]
pub(super) struct Scoring {
    /// The models that are loaded beside the base model.
    models: Vec<PartReport>,
    /// Floating point operations of all of them on one image.
    flops: f64,
    /// How often the pictures are sampled.
    sides: usize,
    /// Pictures that are there already.
    files: usize,
}

impl Scoring {
    /// Look at the score models in these folders.
    pub fn read(score_model: &Path, dino_model: Option<&Path>, sides: usize, files: usize) -> Result<Self, Error> {
        let (mut models, mut flops) = (Vec::new(), 0.0);
        for (name, folder) in [("score_model", Some(score_model)), ("dino_model", dino_model)] {
            let Some(folder) = folder else { continue };
            models.push(part_of(folder, name)?);
            flops += image_flops(folder);
        }
        Ok(Self { models, flops, sides, files })
    }

    fn memory_bytes(&self) -> u64 {
        self.models.iter().map(|part| part.memory_bytes(FloatType::F32)).sum()
    }
}

/// Floating point operations of the image model in `folder` on one image, as far as its config tells them.
fn image_flops(folder: &Path) -> f64 {
    let text = crate::fs::read(&folder.join("config.json"), crate::fs::SETTINGS).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let vision = if config["vision_config"].is_object() { &config["vision_config"] } else { &config };
    // As in ViT-B/32, where it does not say.
    let number = |name: &str, usual: u64| vision[name].as_u64().unwrap_or(usual).max(1) as f64;
    let (width, inner) = (number("hidden_size", 768), number("intermediate_size", 3072));
    let tokens = (number("image_size", 224) / number("patch_size", 32)).powi(2) + 1.0;
    let products = 4.0 * width * width + 2.0 * width * inner + 2.0 * tokens * width;
    2.0 * number("num_hidden_layers", 12) * tokens * products
}

impl Job<'_> {
    /// Where it computes, and in which numbers.
    pub fn device(&self) -> (DeviceName, FloatType) {
        device_of(self.train, self.sample)
    }

    /// Whether the prompt list is sampled, and how often.
    fn samplings(&self) -> usize {
        match (self.train, &self.score) {
            _ if self.masks.is_some() => 0,
            (_, Some(score)) => score.sides,
            (Some(_), None) => 0,
            (None, None) => 1,
        }
    }

    /// Whether the base model is loaded: not to measure pictures that are there.
    fn loads_base_model(&self) -> bool {
        let looks = self.masks.is_some_and(|masks| masks.mask.maker.looks());
        self.train.is_some() || looks || self.samplings() > 0
    }

    /// Images that are measured.
    fn measured(&self) -> usize {
        let count = |score: &Scoring| score.sides * self.pictures.len() + score.files + self.photos;
        self.score.as_ref().map_or(0, count)
    }

    /// Branches that are denoised for a picture.
    fn guided(&self) -> usize {
        if self.pictures.is_empty() || self.pictures.iter().any(PictureConfig::is_guided) { 2 } else { 1 }
    }

    /// Images denoised at once.
    fn pictures_at_once(&self) -> usize {
        self.sample.shared.batch_size.min(self.pictures.len()).max(1)
    }

    /// What is done, by name, with its cost.
    fn work(&self, model: &Outline) -> Vec<(&'static str, Cost)> {
        let mut work = Vec::new();
        let mut pictures = 0;
        if let Some(masks) = self.masks.filter(|masks| masks.mask.maker.looks()) {
            work.push(("encoding a picture", model.encoding_beside_unet(1)));
            work.push(("looking at a picture", model.looking_step(masks.mask.looks())));
        }
        if let Some(train) = self.train {
            work.push(("encoding a photo", model.encoding(1)));
            work.push(("a training step", training_step(model, train)));
            if train.validate_every > 0 {
                work.push(("measuring the loss", model.denoising_step(train.batch_size)));
            }
            pictures = usize::from(train.sample_every > 0);
        }
        let mut batches = 1;
        if self.samplings() > 0 {
            pictures = pictures.max(self.pictures_at_once());
            batches = count_batches(self.pictures, pictures);
        }
        if pictures > 0 {
            let pictures = pictures.saturating_mul(self.guided());
            let at_once = model.batches_at_once(pictures, batches);
            let (denoising, decoding) = (model.picture_step(pictures, at_once), model.decoding(at_once));
            if self.sample.shared.masks.looks() {
                let looks = self.sample.shared.mask_config().looks();
                work.push(("denoising pictures", model.beside_encoder(denoising)));
                work.push(("decoding pictures", model.beside_encoder(decoding)));
                work.push(("looking at pictures", model.looking_beside_decoder(looks, at_once)));
            } else {
                work.push(("denoising pictures", denoising));
                work.push(("decoding pictures", decoding));
            }
        }
        work
    }

    /// (bytes at the highest point, what they are reached in)
    fn peak(&self, model: &Outline) -> (u64, &'static str) {
        let score_models = self.score.as_ref().map_or(0, Scoring::memory_bytes);
        let (own, weights) = (own_bytes(self.device().0), model.weights_bytes() + score_models);
        let highest = self.work(model).into_iter().max_by_key(|(_, cost)| cost.peak_bytes);
        let (name, bytes) = highest.map_or(("loading", 0), |(name, cost)| (name, cost.peak_bytes));
        (own + weights + bytes, name)
    }

    /// At `speed`; scores, which are computed in float32, at `score_speed`.
    fn time(&self, model: &Outline, speed: Speed, score_speed: Speed) -> TimeEstimate {
        let seconds = |cost: Cost| cost.seconds(speed);
        let (decoding, alone) = (seconds(model.decoding(1)), seconds(model.denoising_step(1)));
        let guided = seconds(model.denoising_step(2));
        let looking = |mask: &MaskConfig| {
            let looks = mask.looks() as f64;
            if mask.maker.looks() { seconds(model.encoding_beside_unet(1)) + looks * alone } else { 0.0 }
        };
        let masking = looking(&self.sample.shared.mask_config());
        let one =
            |steps: usize, is_guided: bool| steps as f64 * if is_guided { guided } else { alone } + decoding + masking;
        let listed: f64 = self.pictures.iter().map(|picture| one(picture.steps, picture.is_guided())).sum();
        let mask = self.masks.map(|masks| looking(&masks.mask));
        let picture = match (mask, self.pictures.len()) {
            (Some(mask), _) => mask,
            (None, 0) => one(self.sample.picture.steps, true),
            (None, count) => listed / count as f64,
        };
        let mut total = listed * self.samplings() as f64
            + self.measured() as f64 * self.measuring(score_speed)
            + self.masks.map_or(0.0, |masks| masks.pictures as f64 * picture);
        let step = self.train.map(|train| {
            let step = seconds(training_step(model, train));
            let times = |every: usize| if every > 0 { 1.0 + train.steps.div_ceil(every) as f64 } else { 0.0 };
            let held_out = usize::from(train.hold_out.is_some());
            // The photo that is held out is encoded as it is alone.
            let mirrored = if train.flip_probability > 0.0 { self.photos.saturating_sub(held_out) } else { 0 };
            total += train.steps as f64 * step
                + (self.photos + mirrored) as f64 * seconds(model.encoding(1))
                + times(train.sample_every) * picture
                + times(train.validate_every)
                    * ((1 + held_out) * FIXED_NOISE) as f64
                    * seconds(model.denoising_step(1));
            step
        });
        TimeEstimate { step_seconds: step, picture_seconds: picture, total_seconds: total, how: self.how(speed) }
    }

    fn how(&self, speed: Speed) -> String {
        format!(
            "from its arithmetic and the speed of {} just now ({:.0} GFLOP/s, {:.1} GB/s)",
            match self.device().0 {
                DeviceName::Cpu => "this machine".to_owned(),
                other => other.to_string(),
            },
            speed.flops / 1e9,
            speed.bytes / 1e9
        )
    }

    /// Seconds to measure one image, in all its looks.
    fn measuring(&self, speed: Speed) -> f64 {
        self.score.as_ref().map_or(0.0, |score| LOOKS as f64 * score.flops / speed.flops)
    }

    /// Why a job cannot be done in so much memory, and the setting that would fit. `left`: as in "has 2.0 GiB free".
    fn refusal(&self, model: &Outline, memory: &Memory, left: &str) -> Option<String> {
        let room = memory.bytes as f64;
        let fits = |job: &Job| job.peak(model).0 as f64 <= room;
        let (peak, name) = self.peak(model);
        if peak as f64 * (1.0 - TOLERANCE) <= room {
            return None;
        }
        let (needs, has) = (gib(peak), gib(memory.bytes));
        let problem = format!("needs {needs} of memory in {name}, {} has {has}{left}", memory.limit);
        Some(match self.smaller().find(|(_, train, sample)| fits(&self.with(train.as_ref(), sample))) {
            Some((settings, ..)) => format!("{problem}: {settings} would fit"),
            None if left.is_empty() => format!("{problem}: no setting makes it fit; use a larger machine"),
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
                .map(|batch_size| {
                    let shared = SharedConfig { batch_size, ..self.sample.shared.clone() };
                    SampleConfig { shared, ..self.sample.clone() }
                })
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
        let (before, sample_before) = (self.train.cloned(), self.sample.shared.batch_size);
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
            if sample.shared.batch_size != sample_before {
                let whose = if train.is_some() { "a sampling " } else { "" };
                settings.push(format!("{whose}batch_size = {}", sample.shared.batch_size));
            }
            (settings.join(" with "), train, sample)
        })
    }

    fn with<'a>(&'a self, train: Option<&'a TrainConfig>, sample: &'a SampleConfig) -> Job<'a> {
        Job { train, sample, score: self.score.clone(), ..*self }
    }

    /// Refuse a training that the base model cannot do.
    fn check_training(&self, model: &Outline) -> Result<(), Error> {
        if let Some(train) = self.train {
            train.method.check_model(model)?;
        }
        Ok(())
    }

    /// Refuse pictures that cannot be sampled as they say, and concepts that cannot be put together.
    fn check_sampling(&self, model: &Outline) -> Result<(), Error> {
        let mut seen = HashSet::new();
        for (at, picture) in self.pictures.iter().enumerate().filter(|_| self.samplings() > 0) {
            let PictureConfig { sampler, karras, steps, eta, .. } = *picture;
            if seen.insert((sampler, karras, steps, eta.to_bits())) {
                let solver = model.schedule.solver(sampler, karras, steps, eta);
                solver.map_err(|error| Error::from(error).of_picture(at))?;
            }
        }
        let mut base_model: Option<String> = None;
        let others = self.sample.shared.concepts.iter().map(|other| &other.checkpoint);
        // One that is still to be trained is looked at by its job.
        let own = self
            .sample
            .picture
            .checkpoint
            .iter()
            .filter(|path| !self.sample.shared.concepts.is_empty() && path.is_file());
        for path in own.chain(others) {
            let checkpoint = Checkpoint::load(path)?;
            checkpoint.check_base_model(base_model.get_or_insert_with(|| checkpoint.meta.base_model.clone()), path)?;
        }
        Ok(())
    }

    /// Refuse timesteps that the base model does not have.
    fn check_masks(&self, model: &Outline) -> Result<(), Error> {
        let limit = model.schedule.num_train_timesteps();
        let timesteps = self.masks.map_or(&[][..], |masks| &masks.mask.timesteps);
        super::masks::check_timesteps(timesteps, limit)
    }

    /// All that the text encoder reads, with what is told of it.
    fn prompt_findings(&self, model: &Outline) -> Result<PromptFindings, Error> {
        let Some(text) = model.texts.first() else { return Ok(PromptFindings::default()) };
        let concepts = &self.sample.shared.concepts;
        let checkpoint = self.pictures.iter().find_map(|picture| picture.checkpoint.as_deref());
        let mut lengths = WordLengths::of(checkpoint, concepts)?;
        if let Some(train) = self.train {
            lengths.own = train.method.word_length();
        }
        // What is read, and what of it is cut.
        let read = |prompt: &str| {
            let reading = Reading::of(prompt, self.class_word, concepts)?;
            let cut = reading.cut(&lengths, &text.tokenizer)?;
            Ok::<_, Error>((reading.text, cut))
        };
        let (mut prompts, mut given): (Vec<(String, String)>, Vec<&String>) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        if let Some(masks) = self.masks {
            let caption = masks.mask.caption.replace("{class}", self.class_word);
            let cut = text.tokenizer.tokens(&caption)?.cut;
            prompts.push((caption, cut));
        }
        if let Some(train) = self.train {
            for caption in captions(train, self.class_word) {
                let cut = caption.cut(lengths.own, &text.tokenizer)?;
                prompts.push((caption.text, cut));
            }
            given.push(&train.caption);
            if train.sample_every > 0 {
                given.push(&train.sample_prompt);
                prompts.push(read(&train.sample_prompt)?);
            }
        }
        if self.samplings() > 0 {
            let listed = self.pictures.iter().enumerate();
            let listed = listed.flat_map(|(at, picture)| [(at, &picture.prompt), (at, &picture.negative_prompt)]);
            for (at, prompt) in listed.filter(|(_, prompt)| seen.insert(*prompt)) {
                given.push(prompt);
                prompts.push(read(prompt).map_err(|error| error.of_picture(at))?);
            }
        }
        let (mut cut_prompts, mut odd_prompts) = (Vec::new(), Vec::new());
        for (prompt, cut) in prompts {
            let odd = odd_text(&prompt);
            if !odd.is_empty() {
                odd_prompts.push(OddPrompt { prompt: prompt.clone(), odd });
            }
            if !cut.is_empty() {
                cut_prompts.push(CutPrompt { prompt, cut, limit: text.length() });
            }
        }
        Ok(PromptFindings { cut_prompts, odd_prompts, other_syntax: other_syntax(given) })
    }
}

/// One step of a training: with the captions that are read anew, as far as what is learned makes a difference to them.
fn training_step(model: &Outline, train: &TrainConfig) -> Cost {
    let captions = train.method.captions(train).len();
    let layers = model.texts.iter().map(TextOutline::layers).max().unwrap_or(0);
    let texts = if captions == 1 { 1 } else { train.batch_size };
    let read = TextsRead { texts, first_layer: train.method.first_layer(layers) };
    model.training_step(train.batch_size, train.gradient_checkpointing, read)
}

/// What is told of prompts.
#[derive(Default)]
struct PromptFindings {
    cut_prompts: Vec<CutPrompt>,
    odd_prompts: Vec<OddPrompt>,
    other_syntax: Vec<OtherSyntax>,
}

/// Reckons what jobs need; what many have in common is looked at once.
#[derive(Default)]
pub(super) struct Estimator {
    speeds: Vec<((DeviceName, FloatType), Speed)>,
    /// The base model of the last job.
    last: Option<(ModelSpec, Outline)>,
}

impl Estimator {
    /// What the job needs.
    pub fn estimate(&mut self, request: EstimateRequest) -> Result<Estimate, Error> {
        let EstimateRequest { base_model, class_word, train, sample, pictures, photos, score, masks } = request;
        let pictures = pictures.unwrap_or_else(|| sample.pictures());
        let score = score.map(|ScoreWork { score_model, dino_model, sides, files }| {
            Scoring::read(&score_model, dino_model.as_deref(), sides, files)
        });
        let job = Job {
            class_word: &class_word,
            train: train.as_ref(),
            sample: &sample,
            pictures: &pictures,
            photos,
            score: score.transpose()?,
            masks: masks.as_ref(),
        };
        if job.loads_base_model() { self.of_base_model(base_model, &job) } else { self.of_measuring(base_model, &job) }
    }

    fn of_base_model(&mut self, base_model: ModelSpec, job: &Job) -> Result<Estimate, Error> {
        let (device, dtype) = job.device();
        let compute = open_if_free(device, dtype)?;
        let known = self.last.take().filter(|(spec, _)| *spec == base_model).map(|(_, model)| model);
        let mut model = known.map_or_else(|| Outline::read(&base_model), Ok)?.on(device, dtype);
        let words = words::read(job)?;
        for embedding in &words {
            model.add_word(embedding)?;
        }
        job.check_training(&model)?;
        job.check_sampling(&model)?;
        job.check_masks(&model)?;
        let (peak_bytes, peak_in) = job.peak(&model);
        let (free, total) = (free_memory(device), total_memory(device));
        let refusal = total.as_ref().and_then(|total| job.refusal(&model, total, ""));
        let short = free.as_ref().filter(|_| refusal.is_none()).and_then(|free| job.refusal(&model, free, " free now"));
        let PromptFindings { cut_prompts, odd_prompts, other_syntax } = job.prompt_findings(&model)?;
        let time = compute.map(|compute| {
            let speed = self.speed((device, dtype), &compute)?;
            let score_speed = match job.score {
                Some(_) => self.speed((device, FloatType::F32), &compute.in_float32())?,
                None => speed,
            };
            Ok::<_, Error>(job.time(&model, speed, score_speed))
        });
        let estimate = Estimate {
            base_model: base_model.clone(),
            device: device_in_words(device),
            dtype,
            parts: model.parts.iter().chain(job.score.iter().flat_map(|score| &score.models)).cloned().collect(),
            resolution: model.resolution(),
            peak_bytes,
            peak_in: peak_in.into(),
            free,
            total,
            time: time.transpose()?,
            cut_prompts,
            odd_prompts,
            other_syntax,
            short,
            refusal,
        };
        if words.is_empty() {
            self.last = Some((base_model, model));
        }
        Ok(estimate)
    }

    /// Of pictures that are there, which needs no base model.
    fn of_measuring(&mut self, base_model: ModelSpec, job: &Job) -> Result<Estimate, Error> {
        let (device, dtype) = (job.device().0, FloatType::F32);
        let time = open_if_free(device, dtype)?.map(|compute| {
            let speed = self.speed((device, dtype), &compute)?;
            let seconds = job.measuring(speed);
            let total_seconds = job.measured() as f64 * seconds;
            Ok::<_, Error>(TimeEstimate {
                step_seconds: None,
                picture_seconds: seconds,
                total_seconds,
                how: job.how(speed),
            })
        });
        Ok(Estimate {
            base_model,
            device: device_in_words(device),
            dtype,
            parts: job.score.iter().flat_map(|score| score.models.clone()).collect(),
            resolution: 0,
            peak_bytes: own_bytes(device) + job.score.as_ref().map_or(0, Scoring::memory_bytes),
            peak_in: "measuring".into(),
            free: free_memory(device),
            total: total_memory(device),
            time: time.transpose()?,
            cut_prompts: Vec::new(),
            odd_prompts: Vec::new(),
            other_syntax: Vec::new(),
            short: None,
            refusal: None,
        })
    }

    fn speed(&mut self, place: (DeviceName, FloatType), compute: &Compute) -> Result<Speed, Error> {
        if let Some((_, speed)) = self.speeds.iter().find(|(known, _)| *known == place) {
            return Ok(*speed);
        }
        let speed = Speed::measure(compute)?;
        self.speeds.push((place, speed));
        Ok(speed)
    }
}

/// The device, to measure its speed; none where another process has it for itself.
fn open_if_free(device: DeviceName, dtype: FloatType) -> Result<Option<Compute>, Error> {
    match Compute::open(device, dtype) {
        Ok(compute) => Ok(Some(compute)),
        Err(error) if error.is_taken() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Bytes on `device` of a process that computes there, beside what it computes with.
fn own_bytes(device: DeviceName) -> u64 {
    match device {
        DeviceName::Cpu => PROCESS,
        DeviceName::Cuda(_) | DeviceName::Metal => CONTEXT,
    }
}

fn device_in_words(device: DeviceName) -> String {
    match device {
        DeviceName::Cpu => format!("cpu, {} threads", rayon::current_num_threads()),
        other => other.to_string(),
    }
}

/// Refuse a job that cannot fit, before its model is loaded. `kept`: bytes that this process holds on a graphics card, and
/// gives back or uses again.
pub(super) fn check_memory(model: &Outline, job: &Job, kept: u64) -> Result<(), Error> {
    let device = job.device().0;
    let Some(free) = free_memory(device) else { return Ok(()) };
    let memory = with_own(free, device, own_memory(), kept);
    job.refusal(model, &memory, " free").map_or(Ok(()), |refusal| Err(Error::DoesNotFit(refusal)))
}

/// What is free for a process that has filled `own` bytes of the machine's memory itself, and keeps `kept` on a graphics card:
/// that is its own to fill again, and its peak counts from nothing.
fn with_own(free: Memory, device: DeviceName, own: u64, kept: u64) -> Memory {
    let more = match device {
        DeviceName::Cpu => own,
        DeviceName::Cuda(_) | DeviceName::Metal => kept,
    };
    Memory { bytes: free.bytes.saturating_add(more), ..free }
}

/// As people read it.
fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_a_runner_holds_is_not_counted_against_its_next_job() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny_sd1");
        let model = Outline::read(&ModelSpec::at(&fixture)).unwrap();
        let (train, sample) = (TrainConfig::default(), SampleConfig::default());
        let job = Job {
            class_word: "teapot",
            train: Some(&train),
            sample: &sample,
            pictures: &[],
            photos: 5,
            score: None,
            masks: None,
        };
        // Half of what it needs is free, the other half it has from the job before.
        let (half, device) = (job.peak(&model).0 / 2, DeviceName::Cpu);
        let free = Memory { bytes: half, limit: "this machine".into() };
        let refusal = job.refusal(&model, &free, " free").unwrap();
        assert!(refusal.contains("this machine has ") && refusal.contains(" free"), "{refusal}");
        assert_eq!(job.refusal(&model, &with_own(free.clone(), device, half, 0), " free"), None);
        assert!(job.refusal(&model, &with_own(free.clone(), DeviceName::Cuda(0), half, 0), " free").is_some());
        assert_eq!(job.refusal(&model, &with_own(free, DeviceName::Cuda(0), 0, half), " free"), None);
    }
}
