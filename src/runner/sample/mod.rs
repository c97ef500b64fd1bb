//! A sampling job: a plan of pictures, each with its own settings, made in batches. Each picture becomes a PNG that says how
//! it was made, its mask beside it, and an event. What an earlier runner of the job has made is not made again.

mod batches;
mod sheets;
mod writer;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc;

use super::{Error, Outcome, Progress, SampleJob, StopFlag, estimate, load_model, warn_of_prompts};
use crate::catversion::{Checkpoint, Encoded, Picture, Sampler, denoise_batch};
use crate::diffusion::BaseModel;
use crate::image::is_whole;
use crate::protocol::{
    Event, EventRecord, ModelSpec, OtherConcept, Phase, PictureConfig, PictureRecord, SampleConfig, UsedCheckpoint,
    UsedConcept,
};
use crate::workspace::{self, EventLog};
pub(super) use batches::{Planned, plan};
use writer::Writer;
pub(super) use writer::{mask_path, write_picture};

/// Prompts whose encodings are kept: they come back with other seeds and settings soon or never.
const TEXTS: usize = 64;
/// Readers of prompts that are kept.
const SAMPLERS: usize = 8;

/// What pictures are of and made with.
pub(super) struct Subject<'a> {
    /// The concept's name.
    pub concept: &'a str,
    pub class_word: &'a str,
    pub base_model: &'a ModelSpec,
    pub model: &'a BaseModel,
}

impl Subject<'_> {
    /// The record of a picture made with `config`.
    pub fn record(
        &self,
        config: &SampleConfig,
        picture: &PictureConfig,
        checkpoint: Option<UsedCheckpoint>,
        batch_size: usize,
    ) -> Result<PictureRecord, Error> {
        let used = |other: &OtherConcept| {
            let sha256 =
                crate::fs::sha256(&other.checkpoint).map_err(workspace::Error::io("read", &other.checkpoint))?;
            Ok::<_, Error>(UsedConcept { concept: other.clone(), sha256 })
        };
        let side = self.model.resolution() as u32;
        Ok(PictureRecord {
            format: PictureRecord::FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            concept: self.concept.to_owned(),
            class_word: self.class_word.to_owned(),
            base_model: self.base_model.clone(),
            base_model_sha256: self.model.hash.clone(),
            checkpoint,
            picture: picture.clone(),
            uncond_prefix: config.uncond_prefix,
            concepts: config.concepts.iter().map(used).collect::<Result<_, _>>()?,
            concept_steps: config.concept_steps,
            embeddings: config.embeddings.clone(),
            batch_size,
            device: config.device,
            dtype: config.dtype,
            width: side,
            height: side,
        })
    }
}

/// One plan of pictures to make.
pub(super) struct Sampling<'a> {
    pub subject: Subject<'a>,
    /// What all pictures agree in.
    pub config: &'a SampleConfig,
    /// The pictures, where they go from `root`, and in which batches.
    pub plan: Vec<Planned>,
    /// Pictures of the plan that are there already.
    pub made: &'a HashSet<PathBuf>,
    /// The job's folder, which events' paths start from.
    pub root: &'a Path,
    pub phase: Phase,
}

/// A picture that [`Sampling::run`] made.
pub(super) struct Sampled {
    pub planned: Planned,
    pub picture: Picture,
    /// Steps that what it shows was trained.
    pub step: usize,
    /// SHA-256 of the checkpoint.
    pub checkpoint: Option<String>,
}

/// A checkpoint in memory, with what pictures record of it.
struct Learned {
    checkpoint: Checkpoint,
    used: UsedCheckpoint,
}

impl Sampling<'_> {
    /// Make all pictures, and give each to `keep` once it is on disk and told. False when stopped.
    pub fn run(&self, log: &mut EventLog, stop: &StopFlag, keep: &mut dyn FnMut(Sampled)) -> Result<bool, Error> {
        let model = self.subject.model;
        let prompts: HashSet<&String> =
            self.plan.iter().flat_map(|planned| [&planned.config.prompt, &planned.config.negative_prompt]).collect();
        let mut prompts: Vec<&String> = prompts.into_iter().collect();
        prompts.sort();
        warn_of_prompts(prompts, self.subject.class_word, &self.config.concepts, model, log)?;
        for planned in &self.plan {
            self.config.check_picture(&planned.config).map_err(crate::catversion::Error::from)?;
        }
        let steps = |planned: &[Planned]| planned.iter().map(|planned| planned.config.steps).sum::<usize>();
        let batches = batches::pending(&self.plan, self.made);
        let total = steps(&self.plan);
        let mut done = total - batches.iter().map(|batch| steps(&batch.pictures)).sum::<usize>();
        let texts = Texts::new(self);
        let decoder = model.vae.decoder()?;
        let writer = Writer { root: self.root, vae: &model.vae, decoder: &decoder, compute: &model.compute };
        let progress = RefCell::new(Progress::new(log, self.phase));
        std::thread::scope(|scope| {
            // One batch is decoded and written while the next is denoised; a third waits for its turn.
            let (work, batches_made) = mpsc::sync_channel(0);
            let (told, written) = mpsc::channel();
            scope.spawn(move || writer.run(&batches_made, &told));
            let mut take = |written: Result<Sampled, Error>| -> Result<(), Error> {
                let sampled = written?;
                progress.borrow_mut().write(sampled.event())?;
                keep(sampled);
                Ok(())
            };
            for batch in &batches {
                let learned = batch
                    .pictures
                    .iter()
                    .map(|planned| texts.learned(&planned.config))
                    .collect::<Result<Vec<_>, _>>()?;
                let encoded = batch
                    .pictures
                    .iter()
                    .map(|planned| texts.encode(&planned.config))
                    .collect::<Result<Vec<_>, _>>()?;
                let mut all: Vec<(&Encoded, &PictureConfig)> =
                    encoded.iter().zip(&batch.pictures).map(|(text, planned)| (text, &planned.config)).collect();
                // What a picture becomes depends on how many are denoised together.
                all.resize(batch.size.max(all.len()), all[0]);
                let mut went_wrong = None;
                let denoised = denoise_batch(model, &all, &mut |step, _| {
                    let mut told = written.try_iter().try_for_each(&mut take);
                    if told.is_ok() {
                        told = progress.borrow_mut().tell(done + step * batch.pictures.len(), total);
                    }
                    went_wrong = told.err();
                    if went_wrong.is_some() || stop.is_set() {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                })?;
                if let Some(error) = went_wrong {
                    return Err(error);
                }
                let Some(denoised) = denoised else { break };
                done += steps(&batch.pictures);
                let records = batch.pictures.iter().zip(&learned).map(|(planned, learned)| {
                    let used = learned.as_ref().map(|learned| learned.used.clone());
                    self.subject.record(self.config, &planned.config, used, batch.size)
                });
                let records = records.collect::<Result<Vec<_>, _>>()?;
                let made: Vec<writer::Made> = batch
                    .pictures
                    .iter()
                    .zip(denoised)
                    .zip(records)
                    .map(|((planned, undecoded), record)| writer::Made { planned: planned.clone(), undecoded, record })
                    .collect();
                if work.send(made).is_err() {
                    break;
                }
            }
            drop(work);
            written.iter().try_for_each(&mut take)?;
            Ok(!stop.is_set() || done == total)
        })
    }
}

impl Sampled {
    fn event(&self) -> Event {
        let PictureConfig { prompt, seed, checkpoint, .. } = &self.planned.config;
        let (path, prompt) = (self.planned.path.clone(), prompt.clone());
        Event::Sample { step: self.step, path, prompt, seed: *seed, learned: checkpoint.is_some() }
    }
}

/// Reads prompts, and remembers what it has read.
struct Texts<'a> {
    sampling: &'a Sampling<'a>,
    checkpoints: RefCell<HashMap<PathBuf, Rc<Learned>>>,
    samplers: RefCell<Vec<(SampleConfig, Rc<Sampler<'a>>)>>,
    encoded: RefCell<Vec<((SampleConfig, String), Encoded)>>,
}

impl<'a> Texts<'a> {
    fn new(sampling: &'a Sampling<'a>) -> Self {
        let (checkpoints, samplers, encoded) = (RefCell::default(), RefCell::default(), RefCell::default());
        Self { sampling, checkpoints, samplers, encoded }
    }

    /// The checkpoint of `picture`.
    fn learned(&self, picture: &PictureConfig) -> Result<Option<Rc<Learned>>, Error> {
        let Some(path) = &picture.checkpoint else { return Ok(None) };
        if let Some(known) = self.checkpoints.borrow().get(path) {
            return Ok(Some(Rc::clone(known)));
        }
        let checkpoint = Checkpoint::load(path)?;
        let sha256 = crate::fs::sha256(path).map_err(workspace::Error::io("read", path))?;
        let used = UsedCheckpoint { path: path.clone(), sha256: Some(sha256), step: checkpoint.meta.step };
        let learned = Rc::new(Learned { checkpoint, used });
        self.checkpoints.borrow_mut().insert(path.clone(), Rc::clone(&learned));
        Ok(Some(learned))
    }

    /// The prompt of `picture`, read.
    fn encode(&self, picture: &PictureConfig) -> Result<Encoded, Error> {
        // What a reader of prompts depends on, and nothing else.
        let usual = SampleConfig::default();
        let reader = SampleConfig {
            negative_prompt: picture.negative_prompt.clone(),
            checkpoint: picture.checkpoint.clone(),
            strength: picture.strength,
            uncond_prefix: self.sampling.config.uncond_prefix,
            concepts: self.sampling.config.concepts.clone(),
            concept_steps: self.sampling.config.concept_steps,
            prompts: Vec::new(),
            ..usual
        };
        let key = (reader, picture.prompt.clone());
        if let Some((_, known)) = self.encoded.borrow().iter().find(|(known, _)| *known == key) {
            return Ok(known.clone());
        }
        let encoded = self.sampler(&key.0, picture)?.encode(&picture.prompt)?;
        remember(&mut self.encoded.borrow_mut(), (key, encoded.clone()), TEXTS);
        Ok(encoded)
    }

    fn sampler(&self, reader: &SampleConfig, picture: &PictureConfig) -> Result<Rc<Sampler<'a>>, Error> {
        if let Some((_, known)) = self.samplers.borrow().iter().find(|(known, _)| known == reader) {
            return Ok(Rc::clone(known));
        }
        let learned = self.learned(picture)?;
        let learned = learned.as_ref().map(|learned| (&learned.checkpoint, learned.used.path.as_path()));
        let subject = &self.sampling.subject;
        let sampler = Rc::new(Sampler::new(subject.model, subject.class_word, reader.clone(), learned)?);
        remember(&mut self.samplers.borrow_mut(), (reader.clone(), Rc::clone(&sampler)), SAMPLERS);
        Ok(sampler)
    }
}

/// Keep `value`, and forget the oldest where there are too many.
fn remember<T>(values: &mut Vec<T>, value: T, most: usize) {
    if values.len() == most {
        values.remove(0);
    }
    values.push(value);
}

/// Do the job, of which an earlier runner has told `events`.
pub(super) fn run(
    job: &SampleJob,
    events: &[EventRecord],
    log: &mut EventLog,
    stop: &StopFlag,
) -> Result<Outcome, Error> {
    let spec = &job.spec;
    let pictures = job.folder.pictures()?;
    let mut denoised = pictures.clone();
    if let Some(first) = pictures.first().filter(|_| spec.fill_batches) {
        // Copies fill the batch, and take as much memory.
        denoised.resize(spec.sample.batch_size.max(pictures.len()), first.clone());
    }
    let needs = estimate::Job {
        class_word: &spec.class_word,
        train: None,
        sample: &spec.sample,
        pictures: &denoised,
        photos: 0,
        score: None,
        masks: None,
    };
    let root = job.folder.path();
    let mut made = made(root, events);
    // What the user has removed is not made again.
    made.extend(job.concept.removed_of(&job.folder)?);
    let plan = plan(Path::new(""), &pictures, spec.sample.batch_size, spec.fill_batches);
    let model = load_model(&job.models, &spec.base_model, &job.concept, &needs, log)?;
    let subject =
        Subject { concept: &spec.concept, class_word: &spec.class_word, base_model: &spec.base_model, model: &model };
    let sampling = Sampling { subject, config: &spec.sample, plan, made: &made, root, phase: Phase::Sample };
    if !sampling.run(log, stop, &mut |_| {})? {
        return Ok(Outcome::Stopped { step: 0 });
    }
    sheets::write(&job.folder, &pictures, &sampling.plan, &spec.grid)?;
    Ok(Outcome::Finished)
}

/// The pictures that an earlier runner has told of, and that are there whole, each with its mask, if it has one: it was written
/// before it was told. What the runner was killed over is removed.
fn made(root: &Path, events: &[EventRecord]) -> HashSet<PathBuf> {
    for folder in [root.to_owned(), root.join("masks")] {
        for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with('.') && path.extension().is_some_and(|extension| extension == "tmp") {
                // One that cannot be removed is no picture either.
                let _ = std::fs::remove_file(path);
            }
        }
    }
    let told = events.iter().filter_map(|record| match &record.event {
        Event::Sample { path, .. } => Some(path.clone()),
        _ => None,
    });
    let mask_fits = |mask: PathBuf| !mask.exists() || is_whole(&mask);
    told.filter(|path| is_whole(&root.join(path)) && mask_fits(mask_path(&root.join(path)))).collect()
}
