//! What a job needs, reckoned before it starts.

use serde::{Deserialize, Serialize};

use super::{FloatType, ModelSpec, PartReport};

/// How much memory a process may still take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreeMemory {
    /// In bytes.
    pub bytes: u64,
    /// What sets the limit: "this machine", "this control group" or the device.
    pub limit: String,
}

/// A prompt that the text encoder cannot read whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutPrompt {
    /// As given.
    pub prompt: String,
    /// The part that is not read.
    pub cut: String,
    /// Tokens the text encoder reads.
    pub limit: usize,
}

/// Expected time, and how it was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimeEstimate {
    /// One optimizer step; none for a sampling alone.
    pub step_seconds: Option<f64>,
    /// One picture.
    pub picture_seconds: f64,
    /// All steps and pictures of the job.
    pub total_seconds: f64,
    /// How it was found.
    pub how: String,
}

/// What a job needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The base model.
    pub base_model: ModelSpec,
    /// Where it computes.
    pub device: String,
    /// The type of the weights there, and of activations.
    pub dtype: FloatType,
    /// What is loaded.
    pub parts: Vec<PartReport>,
    /// Width and height of its pictures, in pixels.
    pub resolution: usize,
    /// Peak memory of the process, in bytes.
    pub peak_bytes: u64,
    /// What the peak is reached in.
    pub peak_in: String,
    /// Memory that is free; none where the system does not tell.
    pub free: Option<FreeMemory>,
    /// Expected time.
    pub time: TimeEstimate,
    /// Prompts that are cut.
    pub cut_prompts: Vec<CutPrompt>,
    /// Why it cannot be done here, with the setting that would fit; none when it can.
    pub refusal: Option<String>,
}
