//! The daemon of a home: owns its store, its queue and the watch over its files, starts runners, and answers clients. It
//! links no model code, so whatever a model does, it lives; and it keeps nothing that is not on disk, so killed at any
//! moment it loses nothing: the next one reads the queue and adopts the runners that live.

mod connection;
mod devices;
mod librarian;
mod library;
mod lifecycle;
mod log;
mod look;
mod queue;
mod readings;
mod runners;
mod server;
mod shared;
mod watcher;

use std::path::PathBuf;
use std::time::Duration;

use lifecycle::Leaving;

use crate::fs::Show;
use crate::protocol::ConditionsError;
use crate::workspace::{self, Holder, Home, HomeLock};

/// What a daemon can fail at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The files of the home.
    #[error(transparent)]
    Workspace(#[from] workspace::Error),
    /// Its event loop.
    #[error("cannot serve: {0}")]
    Serve(#[from] std::io::Error),
    /// There is one.
    #[error(
        "{}: another daemon serves this home{}: `catbench daemon status` shows it",
        home.shown(),
        holder.as_ref().map(|holder| format!(", {holder}")).unwrap_or_default()
    )]
    Taken {
        /// The home.
        home: PathBuf,
        /// Who it is, unless it is an earlier version, which does not say.
        holder: Option<Holder>,
    },
    /// No job of that number.
    #[error("there is no job {0}: `catbench jobs` lists them")]
    NoJob(u64),
    /// It cannot be done to a job as it is.
    #[error("job {number} is {state}: cannot {to}")]
    NotNow {
        /// Which.
        number: u64,
        /// How it is.
        state: &'static str,
        /// What was asked.
        to: &'static str,
    },
    /// It is in the queue, and other than it was asked for now.
    #[error(
        "job {0} is in the queue already: `catbench jobs priority {0}` changes its priority; to have it wait for another \
         job, cancel it first"
    )]
    Queued(u64),
    /// It came with the home, and says itself where it writes.
    #[error(
        "job {0} came with this home and would write masks beside whatever pictures it names: `catbench jobs cancel {0}`, and \
         make them anew with `catbench mask make`"
    )]
    Came(u64),
    /// It would wait for itself.
    #[error("job {number} cannot come after job {other}, which {}", if number == other { "it is" } else { "waits for it" })]
    Circle {
        /// The one that was to wait.
        number: u64,
        /// The one it was to wait for.
        other: u64,
    },
    /// It would go before itself.
    #[error("job {0} cannot go before itself: name another")]
    BeforeItself(u64),
    /// The order of two jobs is settled by their priorities.
    #[error(
        "job {other} has priority {priority}, job {number} another: give them the same first, `catbench jobs priority`"
    )]
    OtherPriority {
        /// The one to be moved.
        number: u64,
        /// The one it was to be moved before.
        other: u64,
        /// Of the other.
        priority: i32,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// There is no store.
    #[error("there is no store: `catbench daemon status` says why")]
    NoStore,
    /// A concept that came while it was looked for.
    #[error("{0} has just come: ask again")]
    NewConcept(String),
    /// A concept is in use.
    #[error("{concept} has job {number} in the queue: wait for it, or `catbench jobs cancel {number}`")]
    InUse {
        /// The concept.
        concept: String,
        /// The job.
        number: u64,
    },
    /// The disk was waited for long enough.
    #[error(
        "{what} takes longer than {} s: the disk does not answer. Ask again once it does; what has begun by now is done then",
        after.as_secs()
    )]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        after: Duration,
    },
    /// An error of this program.
    #[error("this broke in the daemon, whose log says more: `catbench doctor` names it. Please report it")]
    Broke,
    /// A name that a concept cannot have.
    #[error("{:?} is no name of a concept", .0.chars().take(200).collect::<String>())]
    NoName(String),
    /// What goes with a job.
    #[error(transparent)]
    Conditions(#[from] ConditionsError),
    /// No such device.
    #[error("there is no device {device:?}: there is {there}, or `any`")]
    NoDevice {
        /// As asked for.
        device: String,
        /// What there is.
        there: String,
    },
}

/// How a daemon is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// End after this long without a client and without a job that runs or could; none for never.
    pub idle: Option<Duration>,
    /// Leave the terminal it was started from.
    pub background: bool,
}

/// Serve `home` until asked to end: the whole life of a daemon process.
///
/// # Errors
/// Another daemon serves it already; the socket cannot be opened.
pub fn run(home: &Home, settings: Options) -> Result<(), Error> {
    if settings.background {
        // This fails only for a process that already leads a session, which is as good.
        let _ = rustix::process::setsid();
    }
    let lock = HomeLock::take(home)?.map_err(|holder| Error::Taken { home: home.path().to_owned(), holder })?;
    if settings.background {
        log::keep_short(home.daemon_log());
    }
    // Before anything is waited for: whatever that is, the daemon can be ended.
    let leaving = Leaving::on_signal()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(server::serve(home, lock, leaving, settings));
    // Threads that wait for runners must not keep it.
    runtime.shutdown_background();
    served
}
