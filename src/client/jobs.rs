//! Handing jobs to the queue, and changing them there.

use super::{Daemon, Error, jobs};
use crate::protocol::{DaemonReply, DaemonRequest, JobChange, JobInfo, Submission};
use crate::workspace::{Concept, Home, JobFolder, own_conditions};

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
pub(super) fn submit(job: &JobFolder, placement: Placement) -> Result<JobInfo, Error> {
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

/// Whether a job was not taken. A daemon that has not answered may have taken it.
pub(super) fn is_refused(error: &Error) -> bool {
    !matches!(error, Error::HungUp | Error::Silent(_) | Error::Answer(_))
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
