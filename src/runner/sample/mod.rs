//! A sampling job: a plan of pictures, each with its own settings, made in batches. Each picture becomes a PNG that says how
//! it was made, its mask beside it, and an event. What an earlier runner of the job has made is not made again.

mod batches;
mod makers;
mod sheets;
mod texts;
mod writer;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use ::image::RgbImage;

use super::mask_makers::MadeMask;
use super::{Error, Outcome, Progress, SampleJob, StopFlag, estimate, load_model, warn_of_prompts};
use crate::diffusion::BaseModel;
use crate::image::is_whole;
use crate::personalize::WordLengths;
use crate::protocol::{
    Event, EventRecord, ModelSpec, OtherConcept, Phase, PictureConfig, PictureRecord, SharedConfig, UsedCheckpoint,
    UsedConcept,
};
use crate::workspace::{self, Concept, EventLog, copies, sample_mask};
pub(super) use batches::{Planned, count as count_batches, plan};
pub(super) use writer::write_picture;

/// What pictures are of and made with.
pub(super) struct Subject<'a> {
    /// The concept's name.
    pub concept: &'a str,
    pub class_word: &'a str,
    pub base_model: &'a ModelSpec,
    pub model: &'a BaseModel,
}

impl Subject<'_> {
    /// The record of a picture that shares `shared` with others.
    pub fn record(
        &self,
        shared: &SharedConfig,
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
            uncond_prefix: shared.uncond_prefix,
            every_prompt: shared.every_prompt,
            concepts: shared.concepts.iter().map(used).collect::<Result<_, _>>()?,
            concept_steps: shared.concept_steps,
            embeddings: shared.embeddings.clone(),
            batch_size,
            device: shared.device,
            dtype: shared.dtype,
            width: side,
            height: side,
        })
    }
}

/// One plan of pictures to make.
pub(super) struct Sampling<'a> {
    pub subject: Subject<'a>,
    /// Whose models make masks.
    pub concept: &'a Concept,
    /// What all pictures share.
    pub shared: &'a SharedConfig,
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
    pub picture: RgbImage,
    pub mask: Option<MadeMask>,
    /// Steps that what it shows was trained.
    pub step: usize,
    /// SHA-256 of the checkpoint.
    pub checkpoint: Option<String>,
}

impl Sampling<'_> {
    /// Make all pictures, and give each to `keep` once it is on disk and told, in the order of the batches. False when stopped.
    pub fn run(&self, log: &mut EventLog, stop: &StopFlag, keep: &mut dyn FnMut(Sampled)) -> Result<bool, Error> {
        let model = self.subject.model;
        let prompts: HashSet<&String> =
            self.plan.iter().flat_map(|planned| [&planned.config.prompt, &planned.config.negative_prompt]).collect();
        let mut prompts: Vec<&String> = prompts.into_iter().collect();
        prompts.sort();
        let own = self.plan.iter().find_map(|planned| planned.config.checkpoint.as_deref());
        let lengths = WordLengths::of(own, &self.shared.concepts)?;
        warn_of_prompts(prompts, self.subject.class_word, &self.shared.concepts, &lengths, model, log)?;
        self.shared.check()?;
        self.plan.iter().try_for_each(|planned| planned.config.check())?;
        makers::make(self, batches::pending(&self.plan, self.made), &mut Progress::new(log, self.phase), stop, keep)
    }
}

impl Sampled {
    fn event(&self) -> Event {
        let PictureConfig { prompt, seed, checkpoint, .. } = &self.planned.config;
        let (path, prompt) = (self.planned.path.clone(), prompt.clone());
        Event::Sample { step: self.step, path, prompt, seed: *seed, learned: checkpoint.is_some() }
    }
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
        denoised.resize(spec.sample.shared.batch_size.max(pictures.len()), first.clone());
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
    let plan = plan(Path::new(""), &pictures, spec.sample.shared.batch_size, spec.fill_batches);
    let model = load_model(&job.models, &spec.base_model, &job.concept, &needs, log)?;
    let subject =
        Subject { concept: &spec.concept, class_word: &spec.class_word, base_model: &spec.base_model, model: &model };
    let concept = &job.concept;
    let sampling =
        Sampling { subject, concept, shared: &spec.sample.shared, plan, made: &made, root, phase: Phase::Sample };
    if !sampling.run(log, stop, &mut |_| {})? {
        return Ok(Outcome::Stopped { step: 0 });
    }
    sheets::write(&job.folder, &pictures, &sampling.plan, &spec.grid)?;
    if let Some(out) = &spec.out {
        let pictures: Vec<PathBuf> = sampling.plan.iter().map(|planned| root.join(&planned.path)).collect();
        copies::copy(&job.folder, &pictures, out)?;
    }
    Ok(Outcome::Finished)
}

/// The pictures that an earlier runner has told of, and that are there whole, each with its mask, if it has one: it was written
/// before it was told. What the runner was killed over is removed.
fn made(root: &Path, events: &[EventRecord]) -> HashSet<PathBuf> {
    // What a link leads to is somebody else's.
    for folder in [root.to_owned(), root.join("masks")].into_iter().filter(|folder| !folder.is_symlink()) {
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
    told.filter(|path| is_whole(&root.join(path)) && mask_fits(sample_mask(&root.join(path)))).collect()
}
