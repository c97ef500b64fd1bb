//! What a job needs, reckoned before it starts.

use serde::{Deserialize, Serialize};

/// One part of a base model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// `text_encoder`, `unet` or `vae`.
    pub name: String,
    /// Numbers in its weights.
    pub parameters: u64,
    /// The float type they are stored in: "F32", "F16", "BF16", or several of them.
    pub stored_as: String,
    /// Bytes of its weights on disk.
    pub disk_bytes: u64,
    /// Bytes of its weights in memory, where they are float32.
    pub memory_bytes: u64,
}

/// How much memory a process may still take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreeMemory {
    /// In bytes.
    pub bytes: u64,
    /// What sets the limit: "this machine" or "this control group".
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
    /// Where it computes.
    pub device: String,
    /// What is loaded.
    pub parts: Vec<Part>,
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
