//! Doing plans: what their jobs need, handing them to the queue, waiting for them. Nothing here says anything: whoever waits is
//! told how far they are.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use super::begin::{self, Asked};
use super::jobs::submit;
use super::{Error, Placement, change, jobs, model_hash};
use crate::protocol::{Estimate, JobChange, JobInfo, JobState, ScoreTask, State};
use crate::workspace::plan::{Material, Part, Plan};
use crate::workspace::{Concept, Home, JobFolder, RunSpec};

/// What the jobs of a plan need that are not finished.
pub struct Needs {
    /// How many of them train.
    pub trainings: usize,
    /// What each needs.
    pub estimates: Vec<Estimate>,
    /// The cell of each.
    cells: Vec<String>,
}

impl Needs {
    /// Refuse what cannot be done here.
    ///
    /// # Errors
    /// The first job that cannot, with its cell.
    pub fn refuse(&self) -> Result<(), Error> {
        let named = |(cell, estimate): (&String, &Estimate)| {
            begin::refuse(estimate).map_err(|error| Error::Refused(format!("{cell}: {error}")))
        };
        self.cells.iter().zip(&self.estimates).try_for_each(named)
    }
}

/// How far the jobs of a plan are.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// How many are over.
    pub over: usize,
    /// How many there are.
    pub total: usize,
    /// One that runs.
    pub running: Option<JobInfo>,
}

/// What `concept` gives a cell of a plan, as it is now.
pub fn material(home: &Home, concept: &Concept, with_masks: bool) -> Result<Material, Error> {
    Ok(Material::of(home, concept, model_hash(&concept.base_model()?, home)?, with_masks)?)
}

/// What the jobs need that are not finished. Nothing is made.
pub fn needs(plan: &Plan) -> Result<Needs, Error> {
    let (mut asked, mut of) = (Vec::new(), Vec::new());
    for (index, cell) in plan.cells.iter().enumerate() {
        // Masks are made in no time beside the rest, but must be what there is a model for.
        ask(plan, index, Part::Masking, None)?;
        for part in [Part::Training, Part::Untrained, Part::Scoring] {
            let is_shared = |(other, at): &(Part, usize)| *other == part && part.is_shared(cell, &plan.cells[*at]);
            let known = plan.known(index, part)?;
            if of.iter().any(is_shared) || known.map_or(Ok(false), |job| finished(&job))? {
                continue;
            }
            asked.extend(ask(plan, index, part, None)?);
            of.push((part, index));
        }
    }
    Ok(Needs {
        trainings: of.iter().filter(|(part, _)| *part == Part::Training).count(),
        estimates: begin::estimates(&asked)?,
        cells: of.iter().map(|(_, index)| plan.cells[*index].name()).collect(),
    })
}

/// The job of a cell for `part`, which measures `run`; none where every photo has a mask, or is to have none.
fn ask(plan: &Plan, index: usize, part: Part, run: Option<&JobFolder>) -> Result<Option<Asked>, Error> {
    let cell = &plan.cells[index];
    let concept = plan.concept(cell)?;
    let asked = match part {
        Part::Masking => {
            let Some(config) = cell.photo_masks.clone() else { return Ok(None) };
            let lacks = |photo: &PathBuf| !concept.mask_path(photo).is_file();
            let photos: Vec<PathBuf> = concept.photos()?.into_iter().filter(lacks).collect();
            if photos.is_empty() {
                return Ok(None);
            }
            Asked::masks(&concept, photos, config)
        }
        Part::Training => Asked::run(&concept, RunSpec::new(&concept, cell.train.clone(), cell.score.clone())?),
        Part::Untrained => Asked::score_of_checked(&concept, None, ScoreTask::Untrained, cell.untrained()),
        Part::Scoring => {
            let mut score = cell.score.clone();
            score.sample.picture.checkpoint = run.map(|run| run.checkpoint(cell.train.steps));
            Asked::score_of_checked(&concept, run, ScoreTask::Learned, score)
        }
    };
    asked.map(Some)
}

/// The job of a cell for `part`, made where it is not there.
fn job_of(plan: &mut Plan, index: usize, part: Part, run: Option<&JobFolder>) -> Result<Option<JobFolder>, Error> {
    let job = match plan.known(index, part)? {
        Some(job) => Some(job),
        None => ask(plan, index, part, run)?.map(|asked| asked.make()).transpose()?,
    };
    if let Some(job) = &job {
        plan.set(index, part, job)?;
    }
    Ok(job)
}

/// Hand every job that is not finished to the queue. The numbers of those.
pub fn begin(plan: &mut Plan, priority: i32, any_device: bool) -> Result<Vec<u64>, Error> {
    let mut queued: HashMap<PathBuf, u64> = HashMap::new();
    // None for what is finished.
    let mut hand = |job: &Option<JobFolder>, after: &[Option<u64>]| -> Result<Option<u64>, Error> {
        let Some(job) = job else { return Ok(None) };
        if let Some(number) = queued.get(job.path()) {
            return Ok(Some(*number));
        }
        if finished(job)? {
            return Ok(None);
        }
        let after = after.iter().copied().flatten().collect();
        let number = submit(job, Placement { any_device, priority, after })?.number;
        queued.insert(job.path().to_owned(), number);
        Ok(Some(number))
    };
    for index in 0..plan.cells.len() {
        let run = job_of(plan, index, Part::Training, None)?;
        let masking = job_of(plan, index, Part::Masking, None)?;
        let untrained = job_of(plan, index, Part::Untrained, None)?;
        let scoring = job_of(plan, index, Part::Scoring, run.as_ref())?;
        let is_done = |job: &Option<JobFolder>| job.as_ref().map_or(Ok(true), finished);
        let is_scored = is_done(&scoring)?;
        if is_scored && is_done(&untrained)? {
            continue;
        }
        let masking = hand(&masking, &[])?;
        hand(&untrained, &[masking])?;
        if is_scored {
            continue;
        }
        let before_training = masking.filter(|_| plan.cells[index].train.masked_loss);
        let run = hand(&run, &[before_training])?;
        hand(&scoring, &[run, masking])?;
    }
    let mut numbers: Vec<u64> = queued.into_values().collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Wait until all these jobs of `home` are over. `told` is told again and again how far they are, and says whether to wait on; false
/// where it does not, and they go on. A job whose forerunner has not finished will never start: it is cancelled.
pub fn wait(home: &Home, numbers: &[u64], mut told: impl FnMut(Progress) -> bool) -> Result<bool, Error> {
    loop {
        let all = jobs(home)?;
        let ours: Vec<&JobInfo> = all.iter().filter(|job| numbers.contains(&job.number)).collect();
        for job in ours.iter().filter(|job| never_starts(job, &all)) {
            match change(home, job.number, JobChange::Cancel { kill: false }) {
                // It may just have been cancelled by another.
                Ok(_) | Err(Error::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let (over, total) = (ours.iter().filter(|job| job.state.is_over()).count(), ours.len());
        let running = ours.into_iter().find(|job| job.state == JobState::Running).cloned();
        let wait_on = told(Progress { over, total, running });
        if over == total {
            return Ok(true);
        }
        if !wait_on {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Whether one of the jobs that `job` waits for will never finish by itself.
fn never_starts(job: &JobInfo, all: &[JobInfo]) -> bool {
    let failed = |number: &u64| {
        all.iter().any(|other| other.number == *number && other.state.is_over() && other.state != JobState::Finished)
    };
    !job.state.is_over() && job.after.iter().any(failed)
}

fn finished(job: &JobFolder) -> Result<bool, Error> {
    Ok(job.look()?.0 == State::Finished)
}
