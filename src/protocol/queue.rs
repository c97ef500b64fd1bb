//! Jobs as the queue knows them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::settings::words;
use super::{Conditions, Phase};

words! {
    /// The kinds of job. The settings file in its folder says which it is.
    pub enum JobKind {
        /// A training: `run.toml`.
        Train = "train",
        /// A sampling: `batch.toml`.
        Sample = "sample",
        /// A scoring: `score.toml`.
        Score = "score",
        /// Masks made by the base model's attention: `mask.toml`.
        Mask = "mask",
    }
}

/// A job that is handed to the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Its folder, absolute.
    pub job: PathBuf,
    /// Where it computes: a device, or `any` for the first that is free.
    pub device: String,
    /// Higher goes first; 0 is usual.
    pub priority: i32,
    /// Numbers of the jobs that have to finish before it.
    pub after: Vec<u64>,
    /// Those of the command that asks for it.
    pub conditions: Conditions,
}

words! {
    /// How a job in the queue is.
    pub enum JobState {
        /// Its turn has not come.
        Queued = "queued",
        /// A runner is at work on it.
        Running = "running",
        /// Held back by the user, after a checkpoint where it had begun.
        Paused = "paused",
        /// All is done.
        Finished = "finished",
        /// Cancelled after it had begun; a training can be resumed from its checkpoint.
        Stopped = "stopped",
        /// Cancelled before it began.
        Cancelled = "cancelled",
        /// Ended with an error, or its runner died.
        Failed = "failed",
    }
}

impl JobState {
    /// Whether nothing more happens unless somebody asks for it again.
    pub fn is_over(self) -> bool {
        self == Self::Finished || self.can_be_retried()
    }

    /// Whether it is over but not done, and can be queued again.
    pub fn can_be_retried(self) -> bool {
        matches!(self, Self::Stopped | Self::Cancelled | Self::Failed)
    }
}

/// A job in the queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobInfo {
    /// What commands know it by.
    pub number: u64,
    /// Its folder, absolute.
    pub job: PathBuf,
    /// Its concept.
    pub concept: String,
    /// What kind of job it is; none when its folder is gone.
    pub kind: Option<JobKind>,
    /// How it is.
    pub state: JobState,
    /// Why it failed, or what it waits for.
    pub cause: Option<String>,
    /// Where it computes, or will: a device, or `any`.
    pub device: String,
    /// Higher goes first.
    pub priority: i32,
    /// The jobs that have to finish before it.
    pub after: Vec<u64>,
    /// When it was handed to the queue.
    pub submitted: jiff::Timestamp,
    /// Optimizer steps done, of a training that runs.
    pub step: Option<usize>,
    /// What else one that runs is busy with.
    #[serde(default)]
    pub progress: Option<PhaseProgress>,
}

/// How far the phase is that a job is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseProgress {
    /// Which phase.
    pub phase: Phase,
    /// How much of it is done.
    pub done: usize,
    /// How much there is.
    pub total: usize,
}

/// What is asked of a job in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum JobChange {
    /// Stop it, or take it out of the queue. With `kill` its runner gets no time for a checkpoint.
    Cancel {
        /// Do not wait for the end of its step.
        kill: bool,
    },
    /// Hold it back; one that runs writes a checkpoint and leaves its device.
    Pause,
    /// Let a paused one go on.
    Resume,
    /// Queue one that failed or was stopped again; a training goes on from its last checkpoint.
    Retry,
    /// Set its priority.
    Priority {
        /// Higher goes first.
        priority: i32,
    },
    /// Put it before another of the same priority, or with none behind all.
    Move {
        /// The other's number.
        before: Option<u64>,
    },
}

/// What a runner that has ended a job is handed next, one JSON object a line on its stdin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The job's folder, absolute.
    pub job: PathBuf,
    /// How many events the job has before this attempt. With more, another runner has had it.
    pub from_seq: u64,
}

/// The variable by which a runner is told the conditions it works under, as JSON.
pub const CONDITIONS: &str = "CATBENCH_CONDITIONS";

/// How a runner exits for which a full disk had no room to say so.
pub const DISK_FULL: u8 = 28;
