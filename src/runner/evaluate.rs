//! A scoring job: the prompt list sampled without the concept, with it or at every checkpoint, or pictures that are there
//! already, measured against the photos.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::judge::{Judge, Made};
use super::sample::{Sampled, Sampling, Subject, plan};
use super::{Error, Outcome, ScoreJob, StopFlag, estimate, load_model};
use crate::diffusion::{BaseModel, Compute};
use crate::image::{Provenance, mask_says, read_any_mask, read_photo, read_provenance};
use crate::json;
use crate::metrics::{ScoredMask, ScoredSample};
use crate::personalize::{Checkpoint, prompt_text, scene_text};
use crate::protocol::{FloatType, ModelSpec, Phase, PictureRecord, SampleConfig, ScoreConfig, ScoreTask};
use crate::workspace::{self, Concept, EventLog, History, JobFolder, read_scores, sample_mask};

/// A scoring that samples its pictures: of a finished run, or at the end of its training.
pub(super) struct Evaluation<'a> {
    pub concept: &'a Concept,
    pub class_word: &'a str,
    pub base_model: &'a ModelSpec,
    pub model: &'a BaseModel,
    /// The CLIP model, and a DINO model beside it.
    pub score_models: (&'a Path, Option<&'a Path>),
    /// The job's folder, which events' paths start from.
    pub job: &'a JobFolder,
    /// Where the pictures go, in it.
    pub folder: PathBuf,
}

impl Evaluation<'_> {
    /// Sample and measure what `task` says.
    pub fn run(
        &self,
        task: &ScoreTask,
        config: &ScoreConfig,
        log: &mut EventLog,
        stop: &StopFlag,
    ) -> Result<Outcome, Error> {
        let config = &ScoreConfig {
            sample: SampleConfig { prompts: once(&config.sample.prompts), ..config.sample.clone() },
            ..config.clone()
        };
        let device = self.model.compute.device();
        let judge = Judge::load(self.concept, self.score_models, config, device, self.job, log)?;
        let texts: Vec<String> =
            config.sample.prompts.iter().map(|prompt| prompt_text(prompt, self.class_word)).collect();
        judge.check_prompts(&texts)?;
        let last = config.sample.picture.checkpoint.clone();
        let sides: Vec<(PathBuf, Option<PathBuf>)> = match task {
            ScoreTask::Both => vec![("before".into(), None), ("after".into(), last)],
            ScoreTask::Learned => vec![("after".into(), last)],
            ScoreTask::Untrained => vec![("before".into(), None)],
            ScoreTask::Checkpoints => self.checkpoints()?,
            ScoreTask::Pictures { .. } => Vec::new(),
        };
        // One that cannot be read is said before anything is sampled.
        sides.iter().filter_map(|(_, checkpoint)| checkpoint.as_ref()).try_for_each(|path| {
            Checkpoint::load(path)?;
            Ok::<_, Error>(())
        })?;
        let (mut done, mut before) = (0, None);
        for (name, checkpoint) in sides {
            let learned = checkpoint.is_some();
            let mut settings = config.sample.clone();
            settings.picture.checkpoint = checkpoint;
            let sampling = Sampling {
                subject: Subject {
                    concept: &self.concept.id,
                    class_word: self.class_word,
                    base_model: self.base_model,
                    model: self.model,
                },
                concept: self.concept,
                shared: &settings.shared,
                plan: plan(&self.folder.join(&name), &settings.pictures(), settings.shared.batch_size, false),
                made: &HashSet::new(),
                root: self.job.path(),
                phase: if learned { Phase::Sample } else { Phase::SampleBefore },
            };
            clear(&self.job.path().join(&self.folder).join(&name))?;
            let mut samples = Vec::new();
            let mut made = Made {
                learned,
                strength: learned.then_some(settings.picture.strength),
                sample: json::to_value(&settings).ok(),
                ..Made::default()
            };
            let whole = sampling.run(log, stop, &mut |sampled| {
                (made.step, made.checkpoint) = (sampled.step, sampled.checkpoint.clone());
                samples.push(self.scored(sampled));
            })?;
            if !whole {
                return Ok(Outcome::Stopped { step: done });
            }
            let record = judge.measure(&samples, &made, before.as_ref(), log)?;
            before = Some(record).filter(|_| !learned).or(before);
            done = made.step;
        }
        Ok(Outcome::Finished)
    }

    fn scored(&self, Sampled { planned, picture, mask, .. }: Sampled) -> ScoredSample {
        // What the mask says of itself stands in its file, which has just been written.
        let says = || mask_says(&sample_mask(&self.job.path().join(&planned.path)));
        ScoredSample {
            image: picture,
            mask: mask.map(|made| ScoredMask { pixels: made.mask, says: says() }),
            prompt_text: prompt_text(&planned.config.prompt, self.class_word),
            scene_text: scene_text(&planned.config.prompt),
            seed: Some(planned.config.seed),
            noise: Some(planned.config.noise),
        }
    }

    /// A folder and a checkpoint for every checkpoint of the run, and for the start without one; but for those that an
    /// earlier runner of this job has measured.
    fn checkpoints(&self) -> Result<Vec<(PathBuf, Option<PathBuf>)>, Error> {
        let run = self.job.score_spec()?.run.unwrap_or_default();
        let run = self.concept.run(&run)?;
        let measured: Vec<usize> = read_scores(self.job)?.iter().map(|line| line.step).collect();
        let start = (0, None);
        let trained = History::read(&run)?.checkpoints.into_iter().map(|(step, path)| (step, Some(path)));
        let mut all: Vec<(usize, Option<PathBuf>)> = std::iter::once(start).chain(trained).collect();
        all.retain(|(step, path)| !measured.contains(step) && path.as_ref().is_none_or(|path| path.is_file()));
        Ok(all.into_iter().map(|(step, path)| (PathBuf::from(format!("step-{step:06}")), path)).collect())
    }
}

/// `prompts`, each once: a picture that is asked for again is the same picture.
fn once(prompts: &[String]) -> Vec<String> {
    let mut seen = HashSet::new();
    prompts.iter().filter(|prompt| seen.insert(*prompt)).cloned().collect()
}

/// Take away the pictures in `folder` and their masks: an earlier scoring of other prompts or seeds has left them.
fn clear(folder: &Path) -> Result<(), Error> {
    // What a link leads to is somebody else's.
    for folder in [folder.to_owned(), folder.join("masks")].into_iter().filter(|folder| !folder.is_symlink()) {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "png") {
                std::fs::remove_file(&path).map_err(workspace::Error::io("remove", &path))?;
            }
        }
    }
    Ok(())
}

/// Do the job.
pub(super) fn run(job: &ScoreJob, log: &mut EventLog, stop: &StopFlag) -> Result<Outcome, Error> {
    let spec = &job.spec;
    if let ScoreTask::Pictures { files, prompt } = &spec.task {
        return pictures(job, files, prompt.as_deref(), log);
    }
    let sampled = spec.score.sample.pictures();
    let needs = estimate::Job {
        class_word: &spec.class_word,
        train: None,
        sample: &spec.score.sample,
        pictures: &sampled,
        photos: 0,
        score: Some(estimate::Scoring::read(&spec.score_model, spec.dino_model.as_deref(), 2, 0)?),
        masks: None,
    };
    let model = load_model(&job.models, &spec.base_model, &job.concept, &needs, log)?;
    let evaluation = Evaluation {
        concept: &job.concept,
        class_word: &spec.class_word,
        base_model: &spec.base_model,
        model: &model,
        score_models: (&spec.score_model, spec.dino_model.as_deref()),
        job: &job.folder,
        folder: PathBuf::new(),
    };
    evaluation.run(&spec.task, &spec.score, log, stop)
}

/// Measure pictures that are there. Pictures of one checkpoint, strength and settings of the sampling are a group; each group has a line
/// of its own.
fn pictures(job: &ScoreJob, files: &[PathBuf], prompt: Option<&str>, log: &mut EventLog) -> Result<Outcome, Error> {
    let spec = &job.spec;
    let mut groups: Vec<(Made, Vec<ScoredSample>)> = Vec::new();
    for path in files {
        let image = read_photo(path)?;
        let mask = read_mask_of(path, image.dimensions())?;
        let said = match read_provenance(path) {
            // Whoever says what it shows needs nothing of what it says itself.
            Err(_) if prompt.is_some() => Provenance::Nothing,
            said => said?,
        };
        let Some(prompt) = prompt.or_else(|| said.prompt()) else {
            let remedy = "say it with --prompt";
            return Err(workspace::Error::invalid(path, "the picture does not say its prompt", remedy).into());
        };
        let (made, seed) = (made(&said), said.seed());
        let noise = match &said {
            Provenance::Record(record) => Some(record.picture.noise),
            _ => None,
        };
        let (prompt_text, scene_text) = (prompt_text(prompt, &spec.class_word), scene_text(prompt));
        let sample = ScoredSample { image, mask, prompt_text, scene_text, seed, noise };
        match groups.iter_mut().find(|(known, _)| *known == made) {
            Some((_, samples)) => samples.push(sample),
            None => groups.push((made, vec![sample])),
        }
    }
    let models = (spec.score_model.as_path(), spec.dino_model.as_deref());
    let compute = Compute::open(spec.score.sample.shared.device, FloatType::F32)?;
    let judge = Judge::load(&job.concept, models, &spec.score, compute.device(), &job.folder, log)?;
    for (made, samples) in &groups {
        judge.measure(samples, made, None, log)?;
    }
    Ok(Outcome::Finished)
}

/// The mask beside the picture at `path`, which has `size`; it may mark nothing.
fn read_mask_of(path: &Path, size: (u32, u32)) -> Result<Option<ScoredMask>, Error> {
    let path = sample_mask(path);
    if !path.is_file() {
        return Ok(None);
    }
    let pixels = read_any_mask(&path)?;
    if pixels.dimensions() != size {
        return Err(crate::image::Error::MaskSize { path, found: pixels.dimensions(), expected: size }.into());
    }
    Ok(Some(ScoredMask { pixels, says: mask_says(&path) }))
}

/// The settings that `record` shares with other pictures of its sampling.
fn sampled(record: &PictureRecord) -> Option<serde_json::Value> {
    let mut settings = json::to_value(&record.picture).ok()?;
    let table = settings.as_object_mut()?;
    ["prompt", "seed", "strength", "checkpoint"].iter().for_each(|own| drop(table.remove(*own)));
    table.insert("uncond_prefix".into(), record.uncond_prefix.into());
    table.insert("every_prompt".into(), record.every_prompt.into());
    Some(settings)
}

/// What a picture says made it.
fn made(said: &Provenance) -> Made {
    let step = said.trained_steps();
    match said {
        Provenance::Record(record) => {
            let used = record.checkpoint.as_ref();
            let (strength, checkpoint) =
                (used.map(|_| record.picture.strength), used.and_then(|used| used.sha256.clone()));
            Made { learned: used.is_some(), step, strength, checkpoint, sample: sampled(record) }
        }
        _ => Made { learned: step > 0, step, ..Made::default() },
    }
}
