//! What a job needs, reckoned before it starts.

use serde::{Deserialize, Serialize};

use super::{FloatType, ModelSpec, OtherSyntax, PartReport};

/// How much memory there is for a process, or is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// In bytes.
    pub bytes: u64,
    /// What sets the limit: "this machine", "this control group", `ulimit` or the device.
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

/// A prompt with letters that other programs read otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OddPrompt {
    /// As given.
    pub prompt: String,
    /// What in it is read otherwise, each once.
    pub odd: Vec<String>,
}

/// Expected time, and how it was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimeEstimate {
    /// One optimizer step; none without a training.
    pub step_seconds: Option<f64>,
    /// One picture: sampled, or masked, or measured where that is all that is done with it.
    pub picture_seconds: f64,
    /// All steps and pictures of the job.
    pub total_seconds: f64,
    /// How it was found.
    pub how: String,
}

/// What is said where there is no [`TimeEstimate`].
pub const NO_TIME: &str = "not known: another process has the card for itself";

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
    /// Width and height of its pictures, in pixels; 0 when the base model is not loaded.
    pub resolution: usize,
    /// Peak memory of the process, in bytes.
    pub peak_bytes: u64,
    /// What the peak is reached in.
    pub peak_in: String,
    /// Memory that is free now; none where the system does not tell.
    pub free: Option<Memory>,
    /// All memory that there is; likewise.
    pub total: Option<Memory>,
    /// Expected time; none where another process has the graphics card for itself, so that its speed cannot be measured.
    pub time: Option<TimeEstimate>,
    /// Prompts that are cut.
    pub cut_prompts: Vec<CutPrompt>,
    /// Prompts that other programs read otherwise.
    pub odd_prompts: Vec<OddPrompt>,
    /// What is in its prompts that means something else in other programs, each kind once.
    #[serde(default)]
    pub other_syntax: Vec<OtherSyntax>,
    /// What is free now is not enough: it may be by the time it begins. With the setting that would fit now.
    pub short: Option<String>,
    /// Why it cannot be done here, with the setting that would fit; none when it can.
    pub refusal: Option<String>,
}

impl CutPrompt {
    /// In words.
    pub fn warning(&self) -> String {
        format!("prompt \"{}\" is over {} tokens: \"{}\" is not read", self.prompt, self.limit, self.cut)
    }
}

impl OddPrompt {
    /// In words.
    pub fn warning(&self) -> String {
        format!(
            "prompt \"{}\" has {}, which programs with the older CLIP tokenizer of transformers read as plain text: for the \
             same pictures there write it plainly",
            self.prompt,
            self.odd.join(" ")
        )
    }
}

impl Estimate {
    /// The same without what is told of its prompts.
    #[must_use]
    pub fn without_prompts(&self) -> Self {
        Self { cut_prompts: Vec::new(), odd_prompts: Vec::new(), other_syntax: Vec::new(), ..self.clone() }
    }

    /// What is told of its prompts.
    pub fn prompt_warnings(&self) -> Vec<String> {
        let cut = self.cut_prompts.iter().map(CutPrompt::warning);
        let odd = self.odd_prompts.iter().map(OddPrompt::warning);
        cut.chain(odd).chain(self.other_syntax.iter().map(OtherSyntax::warning)).collect()
    }
}
