//! How a sampling denoises: the sampler, where its noise comes from, and the concepts it reads besides its own.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What takes the noise out, step by step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplerKind {
    /// DDIM (Song et al. 2020), the only one with an η.
    #[default]
    Ddim,
    /// PNDM (Liu et al. 2022) without its Runge-Kutta warm-up, as Stable Diffusion 1.x ships with.
    Pndm,
    /// Euler's method in the noise levels of Karras et al. 2022.
    Euler,
    /// Euler's method that puts new noise in at every step.
    EulerAncestral,
    /// DPM-Solver++ of second order, multistep (Lu et al. 2022).
    #[serde(rename = "dpmpp_2m")]
    DpmPlusPlus2m,
    /// The unified predictor-corrector of second order (Zhao et al. 2023).
    #[serde(rename = "unipc")]
    UniPc,
}

impl SamplerKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Ddim, Self::Pndm, Self::Euler, Self::EulerAncestral, Self::DpmPlusPlus2m, Self::UniPc];

    /// As in settings files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ddim => "ddim",
            Self::Pndm => "pndm",
            Self::Euler => "euler",
            Self::EulerAncestral => "euler_ancestral",
            Self::DpmPlusPlus2m => "dpmpp_2m",
            Self::UniPc => "unipc",
        }
    }

    /// Whether diffusers has it with the noise levels of Karras et al. 2022 (arXiv 2206.00364, equation 5).
    pub fn has_karras(self) -> bool {
        matches!(self, Self::Euler | Self::DpmPlusPlus2m | Self::UniPc)
    }
}

/// Where the noise of a seed comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseKind {
    /// Our counter-based generator.
    #[default]
    Catbench,
    /// `torch.Generator("cpu").manual_seed(seed)`, so that a seed gives the picture that diffusers gives.
    Torch,
}

impl NoiseKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Catbench, Self::Torch];

    /// As in settings files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Catbench => "catbench",
            Self::Torch => "torch",
        }
    }
}

/// Which seeds the pictures of a prompt list have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeedRule {
    /// Each prompt has seeds of its own: image `i` of a prompt has the seed `seed + offset(prompt) + i`. So prompts are the only thing that
    /// pictures share, and intervals over them hold.
    #[default]
    Own,
    /// Image `i` of every prompt has the seed `seed + i`: what versions before did.
    Shared,
}

impl SeedRule {
    /// The rule of settings that do not say one: they are of versions that had no other.
    pub fn unsaid() -> Self {
        Self::Shared
    }

    /// What `prompt` adds to the seeds of its images: the first four bytes of the SHA-256 of its text, or nothing.
    pub fn offset(self, prompt: &str) -> u64 {
        match self {
            Self::Shared => 0,
            Self::Own => {
                let hash = Sha256::digest(prompt);
                u64::from(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]))
            }
        }
    }
}

/// A concept of another workspace, which prompts may name as `{name}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherConcept {
    /// The workspace's name.
    pub name: String,
    /// What `{name}` is read as.
    pub class_word: String,
    /// Its residual embeddings, absolute.
    pub checkpoint: PathBuf,
    /// How strongly they act: 0 not at all, 1 as trained.
    pub strength: f32,
}
