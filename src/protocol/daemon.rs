//! What clients and the daemon say to each other over its socket: one JSON message a line. Each side greets with a
//! [`Hello`]; then the client asks, one [`Envelope`] of a [`DaemonRequest`] at a time, and reads the replies that carry
//! its id: one, or after `follow` and `watch` one after the other until the client hangs up or the job is over.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    ConceptDetails, ConceptRecord, EventRecord, JobChange, JobInfo, RunRecord, State, StoreCounts, Submission,
};

/// Raised when either side would misread the other. [`Hello`], `ping`, `status` and `stop` stay as they are for ever, so
/// that a program of another version can be told and replaced.
pub const PROTOCOL: u32 = 4;

/// The longest line a client may send, in bytes.
pub const MAX_REQUEST: usize = 1 << 20;
/// The longest line a daemon may send, in bytes.
pub const MAX_REPLY: usize = 64 << 20;

/// The first line of each side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the speaker.
    pub protocol: u32,
    /// The speaker's version.
    pub version: String,
}

impl Hello {
    /// That of this program.
    pub fn new() -> Self {
        Self { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").into() }
    }
}

impl Default for Hello {
    fn default() -> Self {
        Self::new()
    }
}

/// A message and what it belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// Chosen by the client; replies repeat it.
    pub id: u64,
    /// The message.
    pub message: T,
}

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum DaemonRequest {
    /// Whether it lives.
    Ping,
    /// How it is.
    Status,
    /// End. Jobs go on.
    Stop,
    /// Queue a job. A job that is queued or runs already keeps its number.
    Submit(Submission),
    /// All jobs in the queue, in the order of their turn, those that are over last.
    Jobs,
    /// Change a job.
    Change {
        /// Which.
        number: u64,
        /// How.
        #[serde(flatten)]
        change: JobChange,
    },
    /// Every event of a job from `since_seq` on, as they come, until it is over.
    Follow {
        /// The job's folder, absolute.
        job: PathBuf,
        /// The number of the first event that is wanted.
        since_seq: u64,
    },
    /// All concepts with this tag, or all.
    Concepts {
        /// A tag.
        tag: Option<String>,
        /// Text that their name, class word or notes contain, in any case.
        matching: Option<String>,
    },
    /// One concept with all that belongs to it.
    Concept {
        /// Its name.
        name: String,
        /// Its samples too, which may be many.
        samples: bool,
    },
    /// The runs of one concept or of all, in one state or in any.
    Runs {
        /// The concept.
        concept: Option<String>,
        /// The state.
        state: Option<State>,
    },
    /// Take up at once what has been changed in the folder of a concept.
    Refresh {
        /// The concept.
        concept: String,
    },
    /// Give a concept another name. Refused while it has a job that is not over.
    Rename {
        /// Its name.
        concept: String,
        /// The new one.
        to: String,
    },
    /// Put a concept into the trash. Refused while it has a job that is not over.
    Remove {
        /// Its name.
        concept: String,
    },
    /// Make the store anew from the files.
    Rebuild,
    /// What has become of the store that nobody has been told of yet.
    News,
    /// Tell when something changes, in the queue or in the files of a concept.
    Watch {
        /// Only this concept, and the queue; none for all.
        concept: Option<String>,
    },
}

/// What the daemon answers. Its content stands beside its tag, so that lists of thousands are read in one go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", content = "with", rename_all = "snake_case")]
pub enum DaemonReply {
    /// It is done, or it lives.
    Done,
    /// To `status`.
    Status(DaemonStatus),
    /// To `submit` and `change`: on disk before it is said.
    Job(Box<JobInfo>),
    /// To `jobs`.
    Jobs {
        /// In the order of their turn.
        jobs: Vec<JobInfo>,
    },
    /// One event of the followed job.
    Event {
        /// As in its file; its `seq` is the line's number.
        record: EventRecord,
    },
    /// To `concepts`, by name.
    Concepts {
        /// By name.
        concepts: Vec<ConceptRecord>,
    },
    /// To `concept`.
    Concept(Box<ConceptDetails>),
    /// To `runs`.
    Runs {
        /// By concept and id.
        runs: Vec<RunRecord>,
    },
    /// To `remove`.
    Removed {
        /// Where it is in the trash.
        path: PathBuf,
    },
    /// To `rebuild`.
    Rebuilt(StoreCounts),
    /// To `news`: each is told once.
    News {
        /// For the user.
        news: Vec<String>,
    },
    /// The followed job is over and all its events have been sent.
    Over,
    /// Something has changed.
    Changed {
        /// The concepts in whose folders it did; none for the queue alone.
        concepts: Vec<String>,
    },
    /// The daemon was asked to end. Jobs go on, and so do their files.
    Leaving,
    /// More has changed than a reader this slow can be told: look at everything.
    Resync,
    /// It cannot be done.
    Refused {
        /// What, where, what to do.
        message: String,
    },
}

/// How a daemon is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Its protocol.
    pub protocol: u32,
    /// Its home.
    pub home: PathBuf,
    /// Where it listens.
    pub socket: PathBuf,
    /// Its log.
    pub log: PathBuf,
    /// When it started.
    pub since: jiff::Timestamp,
    /// Connected clients.
    pub clients: usize,
    /// Jobs that run.
    pub running: usize,
    /// Jobs that wait for their turn.
    pub queued: usize,
    /// What the user should know.
    pub warnings: Vec<String>,
}
