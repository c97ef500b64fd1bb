//! What a job reports, one JSON object a line in its `events.jsonl`. The file is the truth: screens and progress
//! bars only follow it. A reader tolerates a torn last line (the writer was killed) and waits for the rest.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Scores;

/// One line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// 0, 1, 2, ... without a gap, across resumes too.
    pub seq: u64,
    /// When it was written.
    pub time: jiff::Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What a job is busy with outside its training steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Reading the base model.
    Load,
    /// Encoding the photos to latents.
    Cache,
    /// Optimizer steps.
    Train,
    /// Sampling without what was learned.
    SampleBefore,
    /// Sampling with it.
    Sample,
    /// Measuring.
    Score,
    /// Looking at photos for their masks.
    Mask,
}

/// What was drawn at random, whose spread an interval speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Pictures of a single prompt.
    Image,
    /// Prompts, each of whose pictures has a seed of its own.
    Prompt,
    /// Prompts and the seeds that they share.
    PromptAndSeed,
    /// Subjects.
    Subject,
    /// Trainings that differ in their seed.
    Training,
}

impl Unit {
    /// Several of it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Image => "pictures",
            Self::Prompt => "prompts",
            Self::PromptAndSeed => "prompts and shared seeds",
            Self::Subject => "subjects",
            Self::Training => "trainings",
        }
    }
}

/// One measured value with its 95 % interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Mean.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Samples measured.
    pub n: usize,
    /// Units that the interval is drawn from, see [`Unit`]; none in what versions before wrote, by a bootstrap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<usize>,
}

impl Score {
    /// Whether the interval says anything: of fewer than three units there is none, and its ends are the value.
    pub fn has_interval(&self) -> bool {
        self.units.map_or(self.n > 1, |units| units > 2)
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A runner has taken up the job. Written again at each resume.
    Started {
        /// Process id of the runner.
        pid: u32,
        /// Optimizer steps in all (0 for jobs that train nothing).
        steps: usize,
        /// Last step already done (the checkpoint resumed from); events of later steps that stand before this line are void.
        resumed_from: usize,
    },
    /// Progress of the current phase.
    Progress {
        /// The phase.
        phase: Phase,
        /// Done so far.
        done: usize,
        /// In all.
        total: usize,
    },
    /// One optimizer step.
    Step {
        /// 1-based.
        step: usize,
        /// Mean squared error of the batch.
        loss: f64,
        /// The same by quarter of the timestep range, none where the batch has no such timestep.
        loss_by_quarter: [Option<f64>; 4],
        /// Wall time of the step.
        seconds: f64,
    },
    /// The loss at fixed noise after `step` steps: of the photos that are trained on, at the same timesteps with the same
    /// noise each time. Earlier versions called it `validation`.
    #[serde(alias = "validation")]
    FixedNoise {
        /// Steps done.
        step: usize,
        /// Mean squared error.
        loss: f64,
        /// The same of the photo that is held out of the training, where one is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held_out: Option<f64>,
    },
    /// A picture was written.
    Sample {
        /// Steps done when it was made (0: without the concept).
        step: usize,
        /// Relative to the job's folder.
        path: PathBuf,
        /// As given.
        prompt: String,
        /// Its seed.
        seed: u64,
        /// Whether what was learned was used.
        learned: bool,
    },
    /// A checkpoint was written.
    Checkpoint {
        /// Steps done.
        step: usize,
        /// Relative to the job's folder.
        path: PathBuf,
    },
    /// A mask was made.
    Masked {
        /// Whose, absolute.
        picture: PathBuf,
        /// The file, absolute.
        mask: PathBuf,
    },
    /// Scores were measured.
    Scored {
        /// Whether what was learned was used (after) or not (before).
        learned: bool,
        /// What was measured.
        #[serde(flatten)]
        scores: Box<Scores>,
        /// After minus before, pair by pair, where both sides are of one scoring.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        difference: Option<Box<Scores>>,
        /// What the photos themselves are worth, each against the others.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        photos: Option<Box<Scores>>,
    },
    /// Something the user should know; the job goes on.
    Warning {
        /// What, where, what to do.
        message: String,
    },
    /// The job stopped as asked, after a checkpoint; it can be resumed.
    Stopped {
        /// Steps done.
        step: usize,
    },
    /// The job ended with an error.
    Failed {
        /// What, where, what to do.
        message: String,
    },
    /// The job is done.
    Finished {
        /// Wall time of this runner.
        seconds: f64,
    },
}

impl Event {
    /// Whether nothing follows this event unless the job is resumed.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Stopped { .. } | Self::Failed { .. } | Self::Finished { .. })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_loss_at_fixed_noise_is_read_under_its_old_name_too() {
        let read = |line: &str| serde_json::from_str::<EventRecord>(line).unwrap().event;
        let at = |rest: &str| format!("{{\"seq\":7,\"time\":\"2026-11-23T13:45:01Z\",{rest}}}");
        let old = read(&at("\"type\":\"validation\",\"step\":50,\"loss\":0.25"));
        assert_eq!(old, Event::FixedNoise { step: 50, loss: 0.25, held_out: None });
        let new = serde_json::to_string(&Event::FixedNoise { step: 50, loss: 0.25, held_out: Some(0.5) }).unwrap();
        assert_eq!(new, "{\"type\":\"fixed_noise\",\"step\":50,\"loss\":0.25,\"held_out\":0.5}");
        assert_eq!(read(&at(&new[1..new.len() - 1])), Event::FixedNoise { step: 50, loss: 0.25, held_out: Some(0.5) });
    }
}
