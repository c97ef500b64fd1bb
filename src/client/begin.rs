//! The one door into the queue: what is asked for is checked, then estimated, then refused where it cannot be done here; only
//! then its folder is made and handed over. Commands, the workbench and plans go through it.

use std::path::PathBuf;

use super::jobs::{is_refused, submit};
use super::sampling::Room;
use super::{Error, Placement, ask, check_writable, jobs, steps_done};
use crate::protocol::{
    Estimate, EstimateRequest, JobInfo, MaskConfig, MaskMaker, MaskQuality, MaskWork, ModelSpec, PictureConfig,
    SampleConfig, ScoreConfig, ScoreTask, ScoreWork, SharedConfig, TrainConfig,
};
use crate::workspace::{
    self, BatchSpec, Concept, History, JobFolder, MaskBench, MaskSpec, MaskWay, Preflight, RunSpec, ScoreSpec, Spec,
    preflight, preflight_of,
};

/// A job that was asked for, and has been checked.
pub struct Asked {
    concept: Concept,
    what: What,
    /// The photos of a training, where they have been looked at.
    pub photos: Option<Preflight>,
    /// The question what it needs.
    pub request: EstimateRequest,
    /// The disk that its pictures need.
    pub(super) room: Option<Room>,
}

/// What is made of it.
enum What {
    /// A folder of its own.
    New(Box<dyn Spec>),
    /// One of a sampling.
    Batch(Box<BatchSpec>, Vec<PictureConfig>),
    /// The separate scoring of a run.
    Evaluation(JobFolder, Box<ScoreSpec>),
    /// Nothing: it is there, and goes on.
    Again(JobFolder),
}

impl Asked {
    fn new(concept: &Concept, what: What, request: EstimateRequest) -> Self {
        Self { concept: concept.clone(), what, photos: None, request, room: None }
    }

    /// A training of `concept`, scored as usual. Every photo is looked at.
    pub fn train(concept: &Concept, config: TrainConfig) -> Result<Self, Error> {
        config.check().map_err(workspace::Error::from)?;
        let photos = preflight(concept)?;
        photos.check_training(&config)?;
        Ok(Self { photos: Some(photos), ..Self::train_of_checked(concept, config)? })
    }

    /// The same where the photos have been looked at.
    pub fn train_of_checked(concept: &Concept, config: TrainConfig) -> Result<Self, Error> {
        let evaluation = concept.evaluation(config.preset().map_err(workspace::Error::from)?)?;
        evaluation.sample.check().map_err(workspace::Error::from)?;
        Self::run(concept, RunSpec::new(concept, config, evaluation)?)
    }

    /// A training and its scoring with these settings, of photos that have been looked at.
    pub fn run(concept: &Concept, spec: RunSpec) -> Result<Self, Error> {
        let request = run_request(concept, &spec, 0)?;
        Ok(Self::new(concept, What::New(Box::new(spec)), request))
    }

    /// What is left of the training of `run`.
    pub fn resume(concept: &Concept, run: &JobFolder) -> Result<Self, Error> {
        let (spec, done) = (run.run_spec()?, steps_done(run)?);
        let photos = preflight_of(concept, spec.photos)?;
        photos.check_training(&spec.train)?;
        ask::check_resume(run)?;
        let request = run_request(concept, &spec, done)?;
        Ok(Self { photos: Some(photos), ..Self::new(concept, What::Again(run.clone()), request) })
    }

    /// A sampling of these pictures. `needs` are those that are denoised for them.
    pub fn sample(
        concept: &Concept,
        spec: BatchSpec,
        pictures: Vec<PictureConfig>,
        needs: Vec<PictureConfig>,
    ) -> Result<Self, Error> {
        let job = job_on(concept, spec.base_model.clone(), spec.sample.clone())?;
        let request = EstimateRequest { class_word: spec.class_word.clone(), pictures: Some(needs), ..job };
        Ok(Self::new(concept, What::Batch(Box::new(spec), pictures), request))
    }

    /// A scoring of `concept`, of `run` where it is one of a run. Every photo is looked at.
    pub fn score(
        concept: &Concept,
        run: Option<&JobFolder>,
        task: ScoreTask,
        config: ScoreConfig,
    ) -> Result<Self, Error> {
        config.sample.check().map_err(workspace::Error::from)?;
        preflight(concept)?;
        Self::score_of_checked(concept, run, task, config)
    }

    /// The same where the photos have been looked at.
    pub fn score_of_checked(
        concept: &Concept,
        run: Option<&JobFolder>,
        task: ScoreTask,
        config: ScoreConfig,
    ) -> Result<Self, Error> {
        let (files, sides) = match (&task, run) {
            (ScoreTask::Pictures { files, .. }, _) => (files.len(), 0),
            (ScoreTask::Checkpoints, Some(run)) => {
                let checkpoints = History::read(run)?.checkpoints.iter().filter(|(_, path)| path.is_file()).count();
                // The start without one too.
                (0, checkpoints + 1)
            }
            (ScoreTask::Both, _) => (0, 2),
            _ => (0, 1),
        };
        let spec = ScoreSpec::new(concept, run, task, config)?;
        let (score_model, dino_model) = (spec.score_model.clone(), spec.dino_model.clone());
        let score = Some(ScoreWork { score_model, dino_model, sides, files });
        let job = job_on(concept, spec.base_model.clone(), spec.score.sample.clone())?;
        let request = EstimateRequest { score, ..job };
        let spec = Box::new(spec);
        let what = match (run, &spec.task) {
            (Some(run), ScoreTask::Both) => What::Evaluation(run.clone(), spec),
            _ => What::New(spec),
        };
        Ok(Self::new(concept, what, request))
    }

    /// Masks of `pictures`.
    pub fn masks(concept: &Concept, pictures: Vec<PathBuf>, config: MaskConfig) -> Result<Self, Error> {
        concept.check_masks_by(config.maker)?;
        config.check().map_err(workspace::Error::from)?;
        let request = mask_request(concept, pictures.len(), config.clone())?;
        Ok(Self::new(concept, What::New(Box::new(MaskSpec::new(concept, pictures, config)?)), request))
    }

    /// A comparison of makers of masks, computed as `mask` says.
    pub fn mask_bench(concept: &Concept, bench: MaskBench, mask: MaskConfig) -> Result<Self, Error> {
        let of = |way: &MaskWay| MaskConfig::of(way.maker, way.quality);
        let most = bench.ways.iter().map(of).max_by_key(MaskConfig::looks);
        let most = most.unwrap_or_else(|| MaskConfig::of(MaskMaker::Segmenter, MaskQuality::Fast));
        let needs = MaskConfig { device: mask.device, dtype: mask.dtype, ..most };
        let request = mask_request(concept, bench.pictures.len() * bench.ways.len(), needs)?;
        let spec = MaskSpec { bench: Some(bench), ..MaskSpec::new(concept, Vec::new(), mask)? };
        Ok(Self::new(concept, What::New(Box::new(spec)), request))
    }

    /// With what it needs.
    ///
    /// # Errors
    /// What its models or prompts have against it. That it needs too much is part of the estimate.
    pub fn estimate(self) -> Result<Ready, Error> {
        let mut estimates = estimates(std::slice::from_ref(&self))?;
        let estimate = estimates.pop().ok_or_else(|| Error::Answer("no estimate".into()))?;
        Ok(Ready { asked: self, estimate })
    }

    /// Make its folder. It is in no queue yet.
    pub(super) fn make(&self) -> Result<JobFolder, Error> {
        Ok(match &self.what {
            What::New(spec) => JobFolder::new(&self.concept, &**spec)?,
            What::Batch(spec, pictures) => JobFolder::new_batch(&self.concept, spec, pictures)?,
            What::Evaluation(run, spec) => JobFolder::new_evaluation(run, spec)?,
            What::Again(job) => job.clone(),
        })
    }
}

/// What each of these jobs needs.
pub(super) fn estimates(asked: &[Asked]) -> Result<Vec<Estimate>, Error> {
    ask::estimates(asked.iter().map(|asked| asked.request.clone()).collect())
}

/// A job that has been checked and estimated. Nothing of it is made yet.
pub struct Ready {
    /// What was asked for.
    pub asked: Asked,
    /// What it needs.
    pub estimate: Estimate,
}

impl Ready {
    /// Refuse what cannot be done here.
    pub fn refuse(&self) -> Result<(), Error> {
        refuse(&self.estimate)?;
        self.asked.room.as_ref().map_or(Ok(()), Room::refuse)
    }

    /// Make its folder and hand it to the queue. One that is not taken leaves everything as it was.
    ///
    /// # Errors
    /// It cannot be done here; the home cannot be changed now; a run that is being scored already.
    pub fn begin(self, placement: Placement) -> Result<(JobFolder, JobInfo), Error> {
        self.refuse()?;
        let home = self.asked.concept.home()?;
        check_writable(&home)?;
        let mut before = None;
        if let What::Evaluation(run, _) = &self.asked.what {
            let folder = run.evaluation();
            if let Some(known) = jobs(&home)?.into_iter().find(|job| job.job == folder && !job.state.is_over()) {
                return Err(Error::Scored { run: run.id().to_owned(), number: known.number });
            }
            before = JobFolder::at(&folder).and_then(|scoring| scoring.score_spec()).ok();
        }
        let job = self.asked.make()?;
        let taken = submit(&job, placement).inspect_err(|error| match (&self.asked.what, before) {
            _ if !is_refused(error) => {}
            (What::Again(_), _) => {}
            // What cannot be put back is the next scoring's to overwrite.
            (_, Some(before)) => drop(job.write(&before)),
            (_, None) => job.discard(),
        });
        Ok((job, taken?))
    }
}

/// Refuse what cannot be done here.
pub(super) fn refuse(estimate: &Estimate) -> Result<(), Error> {
    estimate.refusal.as_ref().map_or(Ok(()), |refusal| Err(Error::Refused(refusal.clone())))
}

/// The question what the rest of a run needs; `done` steps are done.
fn run_request(concept: &Concept, spec: &RunSpec, done: usize) -> Result<EstimateRequest, Error> {
    let train = TrainConfig { steps: spec.train.steps.saturating_sub(done).max(1), ..spec.train.clone() };
    let score = spec.score_model.clone().filter(|_| train.evaluate).map(|score_model| ScoreWork {
        score_model,
        dino_model: spec.dino_model.clone(),
        sides: 2,
        files: 0,
    });
    let job = job_on(concept, spec.base_model.clone(), spec.evaluation.sample.clone())?;
    Ok(EstimateRequest { train: Some(train), score, ..job })
}

/// The question what masks of this many `pictures` need.
fn mask_request(concept: &Concept, pictures: usize, mask: MaskConfig) -> Result<EstimateRequest, Error> {
    let shared = SharedConfig { device: mask.device, dtype: mask.dtype, ..SharedConfig::default() };
    let sample = SampleConfig { shared, ..SampleConfig::default() };
    let masks = Some(MaskWork { pictures, mask });
    Ok(EstimateRequest { masks, ..job_on(concept, concept.base_model()?, sample)? })
}

fn job_on(concept: &Concept, base_model: ModelSpec, sample: SampleConfig) -> Result<EstimateRequest, Error> {
    Ok(EstimateRequest {
        base_model,
        class_word: concept.file.class_word.clone(),
        train: None,
        sample,
        pictures: None,
        photos: concept.photos()?.len(),
        score: None,
        masks: None,
    })
}
