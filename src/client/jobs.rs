//! Handing jobs to the queue, and changing them there.

use super::{Daemon, Error, check_writable, jobs};
use crate::protocol::{DaemonReply, DaemonRequest, JobChange, JobInfo, ScoreConfig, ScoreTask, Submission};
use crate::workspace::{Concept, Home, JobFolder, ScoreSpec, own_conditions};

/// Where and when a job is done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// On the first device that is free, whatever its settings say.
    pub any_device: bool,
    /// Higher goes first.
    pub priority: i32,
    /// Numbers of the jobs that have to finish before it.
    pub after: Vec<u64>,
}

/// Hand `job` to the queue of its home. It is on disk there when this returns, and begins when its turn has come,
/// whatever becomes of this process.
pub fn submit(job: &JobFolder, placement: Placement) -> Result<JobInfo, Error> {
    let Placement { any_device, priority, after } = placement;
    let device = if any_device { "any".into() } else { job.device()?.to_string() };
    let conditions = own_conditions()?;
    let submission = Submission { job: job.path().to_owned(), device, priority, after, conditions };
    let mut daemon = Daemon::start(&home_of(job)?)?;
    match daemon.ask(DaemonRequest::Submit(submission))? {
        DaemonReply::Job(job) => Ok(*job),
        other => Err(Error::odd(&other)),
    }
}

/// Hand `job`, which was just made, to the queue. One that it does not take leaves nothing behind.
pub fn submit_new(job: &JobFolder, placement: Placement) -> Result<JobInfo, Error> {
    submit(job, placement).inspect_err(|error| {
        if is_refused(error) {
            job.discard();
        }
    })
}

/// Whether a job was not taken. A daemon that has not answered may have taken it.
fn is_refused(error: &Error) -> bool {
    !matches!(error, Error::HungUp | Error::Silent(_) | Error::Answer(_))
}

/// Hand a scoring of `run` to the queue, in the run's own folder. One that is not taken leaves that as it was.
///
/// # Errors
/// The run is being scored already, or waits for it.
pub fn score(
    concept: &Concept,
    run: &JobFolder,
    config: ScoreConfig,
    placement: Placement,
) -> Result<(JobFolder, JobInfo), Error> {
    let home = concept.home()?;
    check_writable(&home)?;
    let folder = run.evaluation();
    if let Some(known) = jobs(&home)?.into_iter().find(|job| job.job == folder && !job.state.is_over()) {
        return Err(Error::Scored { run: run.id().to_owned(), number: known.number });
    }
    let before = JobFolder::at(&folder).and_then(|scoring| scoring.score_spec()).ok();
    let scoring = JobFolder::new_evaluation(run, &ScoreSpec::new(concept, Some(run), ScoreTask::Both, config)?)?;
    let taken = submit(&scoring, placement).inspect_err(|error| {
        if is_refused(error) {
            match &before {
                // What cannot be put back is the next scoring's to overwrite.
                Some(before) => drop(scoring.write(before)),
                None => scoring.discard(),
            }
        }
    });
    Ok((scoring, taken?))
}

/// Change job `number` of `home`.
pub fn change(home: &Home, number: u64, change: JobChange) -> Result<JobInfo, Error> {
    match Daemon::start(home)?.ask(DaemonRequest::Change { number, change })? {
        DaemonReply::Job(job) => Ok(*job),
        other => Err(Error::odd(&other)),
    }
}

/// Ask for the end of `job`: after its step and with a checkpoint where it runs, at once where it waits for its turn.
pub fn stop(job: &JobFolder) -> Result<JobInfo, Error> {
    let home = home_of(job)?;
    let known = jobs(&home)?.into_iter().find(|known| known.job == job.path() && !known.state.is_over());
    match known {
        Some(known) => change(&home, known.number, JobChange::Cancel { kill: false }),
        None => Err(Error::NotRunning(job.id().to_owned())),
    }
}

/// What the daemon of `job` wants the user to know, as that the system will end it at logout.
pub fn warnings(job: &JobFolder) -> Result<Vec<String>, Error> {
    let status = Daemon::connect(&home_of(job)?)?.map(|mut daemon| daemon.status()).transpose()?;
    Ok(status.map(|status| status.warnings).unwrap_or_default())
}

/// The home a job is in.
pub(super) fn home_of(job: &JobFolder) -> Result<Home, Error> {
    Ok(Concept::open(job.concept_folder()?)?.home()?)
}
