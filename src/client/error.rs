//! What a client can fail at.

use std::path::{Path, PathBuf};

use crate::fs::Show;
use crate::protocol::ConditionsError;
use crate::workspace::{self, Held, Holder, Home};

/// What a client can fail at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The files of the job.
    #[error(transparent)]
    Workspace(#[from] workspace::Error),
    /// What goes with a job.
    #[error(transparent)]
    Conditions(#[from] ConditionsError),
    /// A process did not start.
    #[error("cannot start catbench: {0}")]
    Start(#[source] std::io::Error),
    /// The runner ended before it answered.
    #[error("the runner ended at once ({status}): {log}")]
    EndedAtOnce {
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of what it wrote to its log.
        log: String,
    },
    /// Somebody else listens where the daemon should.
    #[error(
        "{}: {user} listens here, who is not you, and was told nothing: `ls -la` shows who can write to this folder and those \
         above it; set CATBENCH_HOME to one that only you can write to", socket.shown()
    )]
    Stranger {
        /// Where.
        socket: PathBuf,
        /// Who.
        user: String,
    },
    /// The daemon did not start.
    #[error("the daemon does not start: {said} (its log is {})", .log.shown())]
    NoDaemon {
        /// Its log.
        log: PathBuf,
        /// What it said there.
        said: String,
    },
    /// The daemon takes connections but says nothing.
    #[error("the daemon does not answer: {0}")]
    Silent(String),
    /// The daemon holds the home, but takes no connections here.
    #[error("the daemon cannot be reached: {0}")]
    Unreachable(String),
    /// The home is served on another machine.
    #[error(
        "{0} serves this home: until it ends, this machine can only read; to change anything use catbench there, or end it \
         there with `catbench daemon stop`"
    )]
    Elsewhere(Holder),
    /// The daemon has ended.
    #[error("the daemon hung up")]
    HungUp,
    /// The daemon is of another version and cannot be replaced now.
    #[error(
        "the daemon is of catbench {version} and has jobs ({running} running, {queued} queued): until they end this \
         catbench {} can only read; use that version to change anything", env!("CARGO_PKG_VERSION")
    )]
    OtherVersion {
        /// Its version.
        version: String,
        /// Jobs that run under it.
        running: usize,
        /// Jobs that wait for their turn.
        queued: usize,
    },
    /// What was asked cannot be done.
    #[error("{0}")]
    Refused(String),
    /// A picture cannot be made as it was asked for.
    #[error("{message}")]
    Picture {
        /// Its place among those that were asked about.
        at: usize,
        /// What, where, what to do.
        message: String,
    },
    /// Something else was answered than was asked.
    #[error("an odd answer: {0} (this is a bug)")]
    Answer(String),
    /// One scoring of a run at a time.
    #[error(
        "{run} is being scored by job {number}, or will be: `catbench wait {number}`, or `catbench jobs cancel {number}`"
    )]
    Scored {
        /// The run.
        run: String,
        /// The scoring.
        number: u64,
    },
    /// There is nothing to stop.
    #[error("{0} is not running")]
    NotRunning(String),
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

impl Error {
    /// No daemon has started; what it said is in the log at `path` after `written` bytes.
    pub(super) fn no_daemon(path: &Path, written: u64) -> Self {
        let log = crate::fs::read(path, crate::fs::LINES).unwrap_or_default();
        let said = String::from_utf8_lossy(log.get(written as usize..).unwrap_or_default()).trim().to_owned();
        let said = if said.is_empty() { "it says nothing: another may hold its lock".into() } else { said };
        Self::NoDaemon { log: path.to_owned(), said }
    }

    /// The daemon of `home` is connected, but silent.
    pub(super) fn silent(home: &Home) -> Self {
        Self::Silent(holder(home))
    }

    /// The daemon of `home` is there, but not where clients look for it.
    pub(super) fn unreachable(home: &Home) -> Self {
        Self::Unreachable(holder(home))
    }

    /// Another answer than belongs to the question.
    pub(super) fn odd(answer: &impl std::fmt::Debug) -> Self {
        Self::Answer(format!("{answer:?}"))
    }
}

/// Who serves `home`, and what can be done about it.
fn holder(home: &Home) -> String {
    let (lock, log) = (home.daemon_lock(), home.daemon_log());
    let (lock, log) = (lock.shown(), log.shown());
    match home.held() {
        Held::Here(Some(holder)) | Held::Elsewhere(holder) => format!(
            "{holder} serves this home: `kill -9 {}` on {} ends it, its jobs go on, and the next command starts another (its \
             log is {log})",
            holder.pid, holder.host
        ),
        Held::Here(None) => format!(
            "a process of an earlier catbench serves this home: `fuser {lock}` names it, `kill -9` with that number ends it, its \
             jobs go on, and the next command starts another (its log is {log})"
        ),
        Held::No => format!("it has ended by now (its log is {log}): try again"),
    }
}
