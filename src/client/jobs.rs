//! Starting and stopping runners.

use std::fs::{File, OpenOptions, TryLockError};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde::Serialize;

use super::History;
use crate::workspace::{self, JobFolder};

/// What a client can fail at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The files of the job.
    #[error(transparent)]
    Workspace(#[from] workspace::Error),
    /// The runner did not start.
    #[error("cannot start a runner: {0}")]
    Start(#[source] std::io::Error),
    /// The runner ended before it took up the job.
    #[error("the runner ended at once ({status}): {log}")]
    EndedAtOnce {
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of what it wrote to its log.
        log: String,
    },
    /// What was asked of a runner cannot be done.
    #[error("{0}")]
    Refused(String),
    /// A runner answered something else than was asked.
    #[error("a runner gave an odd answer: {0} (this is a bug)")]
    Answer(String),
    /// There is nothing to stop.
    #[error("{0} is not running")]
    NotRunning(String),
    /// The runner could not be signalled.
    #[error("cannot stop {id}: {source}")]
    Signal {
        /// The job.
        id: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A model could not be downloaded.
    #[cfg(feature = "hub")]
    #[error("cannot download {repo}: {cause}")]
    Hub {
        /// Which.
        repo: String,
        /// Why not.
        cause: String,
    },
    /// Files could not be watched or read.
    #[error("cannot watch the job: {0}")]
    Watch(#[from] notify::Error),
}

/// How a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has a folder but no runner has taken it up.
    New,
    /// A runner is at work.
    Running,
    /// All is done.
    Finished,
    /// Stopped as asked; can be resumed.
    Stopped,
    /// Ended with an error.
    Failed,
    /// Its runner died without a word: killed, out of memory, power cut. Can be resumed.
    Interrupted,
}

impl State {
    /// One word for screens.
    pub fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// How `job` is, given its events so far.
pub fn state(job: &JobFolder, history: &History) -> State {
    if is_held(job) {
        return State::Running;
    }
    match &history.end {
        Some(super::End::Finished { .. }) => State::Finished,
        Some(super::End::Stopped { .. }) => State::Stopped,
        Some(super::End::Failed { .. }) => State::Failed,
        None if history.pid.is_some() => State::Interrupted,
        None => State::New,
    }
}

/// Whether a runner holds the job's lock.
fn is_held(job: &JobFolder) -> bool {
    let Ok(file) = File::open(job.lock()) else { return false };
    // Shared, and let go at once: two who look at the same moment do not take each other for a runner.
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Start a runner on `job`, and return once it has taken the job up. It is in its own session and goes on whatever
/// becomes of this process.
pub fn start_job(job: &JobFolder) -> Result<(), Error> {
    let path = job.log();
    let log = OpenOptions::new().append(true).create(true).open(&path);
    let log = log.map_err(workspace::Error::io("write", &path))?;
    let written = log.metadata().map_or(0, |metadata| metadata.len());
    let errors = log.try_clone().map_err(Error::Start)?;
    let program = std::env::current_exe().map_err(Error::Start)?;
    let (variable, huge_pages) = crate::sys::HUGE_PAGES;
    let mut runner = Command::new(program)
        .arg("runner")
        .arg(job.path())
        .env(variable, huge_pages)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(Error::Start)?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline && !is_held(job) {
        if let Some(status) = runner.try_wait().map_err(Error::Start)? {
            if status.success() || job.events().is_file() {
                // It was quick: whatever it had to say is in its events.
                return Ok(());
            }
            let log = std::fs::read(&path).unwrap_or_default();
            let said = log.get(written as usize..).unwrap_or_default();
            return Err(Error::EndedAtOnce { status, log: String::from_utf8_lossy(said).trim().to_owned() });
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    // Someone has to take note of its end as long as this process lives.
    std::thread::spawn(move || runner.wait());
    Ok(())
}

/// Ask the runner of `job` to finish its step, write a checkpoint and end.
pub fn stop(job: &JobFolder) -> Result<(), Error> {
    let id = job.id().to_owned();
    // The runner wrote its process id when it took the lock.
    let pid = std::fs::read_to_string(job.lock()).ok().filter(|_| is_held(job));
    let pid = pid.and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    let Some(pid) = pid else { return Err(Error::NotRunning(id)) };
    rustix::process::kill_process(pid, Signal::TERM).map_err(|error| Error::Signal { id, source: error.into() })
}
