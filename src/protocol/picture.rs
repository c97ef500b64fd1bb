//! One picture: its settings, and the record of how it was made.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{
    DeviceName, EmbeddingFile, FloatType, ModelSpec, NoiseKind, OtherConcept, SampleConfig, SamplerKind, SeedRule,
    SettingError, check_prompt,
};

/// All settings that may differ from one picture of a sampling to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PictureConfig {
    /// What it shows; `{concept}` stands for the learned concept.
    pub prompt: String,
    /// What the unconditional branch reads.
    #[serde(default)]
    pub negative_prompt: String,
    /// Its noise.
    pub seed: u64,
    /// Where the noise of the seed comes from.
    pub noise: NoiseKind,
    /// What takes the noise out.
    pub sampler: SamplerKind,
    /// The noise levels of Karras et al. 2022 in place of the base model's own.
    pub karras: bool,
    /// Denoising steps.
    pub steps: usize,
    /// Classifier-free guidance; 1 switches the unconditional branch off.
    pub guidance_scale: f64,
    /// DDIM's η.
    pub eta: f64,
    /// How strongly the embeddings act: 0 is the base model, 1 as trained.
    pub strength: f32,
    /// Checkpoint of the residual embeddings, absolute; none samples the base model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<PathBuf>,
}

impl PictureConfig {
    /// Whether there is an unconditional branch.
    pub fn is_guided(&self) -> bool {
        (self.guidance_scale - 1.0).abs() > f64::EPSILON
    }
}

impl SampleConfig {
    /// A picture of `prompt` with these settings.
    pub fn picture(&self, prompt: String, seed: u64) -> PictureConfig {
        PictureConfig {
            prompt,
            negative_prompt: self.negative_prompt.clone(),
            seed,
            noise: self.noise,
            sampler: self.sampler,
            karras: self.karras,
            steps: self.steps,
            guidance_scale: self.guidance_scale,
            eta: self.eta,
            strength: self.strength,
            checkpoint: self.checkpoint.clone(),
        }
    }

    /// The seed of the first image of `prompt`.
    pub fn first_seed(&self, prompt: &str) -> u64 {
        self.seed.wrapping_add(self.seeds.offset(prompt))
    }

    /// Every prompt with every seed.
    pub fn pictures(&self) -> Vec<PictureConfig> {
        let each = |prompt: &String| {
            let first = self.first_seed(prompt);
            let seeds = (0..self.images_per_prompt as u64).map(|i| first.wrapping_add(i));
            seeds.map(|seed| self.picture(prompt.clone(), seed)).collect::<Vec<_>>()
        };
        self.prompts.iter().flat_map(each).collect()
    }

    /// The settings of a sampling of `picture` alone.
    #[must_use]
    pub fn of(&self, picture: &PictureConfig) -> Self {
        Self { prompts: vec![picture.prompt.clone()], embeddings: self.embeddings.clone(), ..self.settings_of(picture) }
    }

    /// The same without prompts and embeddings.
    fn settings_of(&self, picture: &PictureConfig) -> Self {
        Self {
            prompts: Vec::new(),
            negative_prompt: picture.negative_prompt.clone(),
            images_per_prompt: 1,
            seed: picture.seed,
            // The seed is the picture's own as it stands.
            seeds: SeedRule::Shared,
            noise: picture.noise,
            sampler: picture.sampler,
            karras: picture.karras,
            steps: picture.steps,
            guidance_scale: picture.guidance_scale,
            eta: picture.eta,
            strength: picture.strength,
            checkpoint: picture.checkpoint.clone(),
            concept_steps: self.concept_steps,
            uncond_prefix: self.uncond_prefix,
            every_prompt: self.every_prompt,
            batch_size: self.batch_size,
            masks: self.masks,
            mask_quality: self.mask_quality,
            device: self.device,
            dtype: self.dtype,
            embeddings: Vec::new(),
            concepts: self.concepts.clone(),
        }
    }

    /// Refuse settings of `picture` that cannot work, whatever the base model.
    pub fn check_picture(&self, picture: &PictureConfig) -> Result<(), SettingError> {
        check_prompt("prompt", &picture.prompt)?;
        // Without the prompts of the others, which may be thousands.
        self.settings_of(picture).check()
    }
}

/// The checkpoint that a picture was made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedCheckpoint {
    /// Where it was, absolute.
    pub path: PathBuf,
    /// SHA-256 of the file; none for a picture made on the way of a training, before the file was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Steps it was trained.
    pub step: usize,
}

/// A concept of another workspace that a picture could show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UsedConcept {
    /// What prompts could name.
    #[serde(flatten)]
    pub concept: OtherConcept,
    /// SHA-256 of its checkpoint.
    pub sha256: String,
}

/// All that made a picture, as its PNG carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PictureRecord {
    /// Version of this layout.
    pub format: u32,
    /// Version of the program.
    pub version: String,
    /// The concept's name.
    pub concept: String,
    /// Its class word.
    pub class_word: String,
    /// The base model.
    #[serde(with = "super::path_or_table")]
    pub base_model: ModelSpec,
    /// SHA-256 of its content.
    pub base_model_sha256: String,
    /// What was learned; none where nothing of it was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<UsedCheckpoint>,
    /// Its own settings.
    pub picture: PictureConfig,
    /// Whether the unconditional branch was read with the residual embeddings too.
    pub uncond_prefix: bool,
    /// Whether a prompt that does not name the concept was read with them too; none of earlier versions was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub every_prompt: bool,
    /// Concepts that prompts could name besides the learned one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub concepts: Vec<UsedConcept>,
    /// The part of the denoising in which concepts acted, as fractions of its steps; none is all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concept_steps: Option<[f64; 2]>,
    /// Words that prompts could use besides the text encoder's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub embeddings: Vec<EmbeddingFile>,
    /// Pictures that were denoised together: the sums of more of them are rounded otherwise.
    pub batch_size: usize,
    /// What computed.
    pub device: DeviceName,
    /// Type of the weights and of activations.
    pub dtype: FloatType,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

impl PictureRecord {
    /// The layout that this program writes.
    pub const FORMAT: u32 = 1;

    /// Steps that what it shows was trained; 0 without anything learned.
    pub fn trained_steps(&self) -> usize {
        self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.step)
    }
}

/// A setting along which the pictures of a sheet differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// What they show.
    Prompt,
    /// Their noise.
    Seed,
    /// How strongly the embeddings act.
    Strength,
    /// How long the embeddings were trained.
    Checkpoint,
    /// Classifier-free guidance.
    Guidance,
    /// Denoising steps.
    Steps,
    /// What takes the noise out, and over which noise levels.
    Sampler,
    /// What the unconditional branch reads.
    Negative,
    /// DDIM's η.
    Eta,
}

impl Axis {
    /// All, with their words in settings and on command lines.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Prompt, "prompt"),
        (Self::Seed, "seed"),
        (Self::Strength, "strength"),
        (Self::Checkpoint, "checkpoint"),
        (Self::Guidance, "guidance"),
        (Self::Steps, "steps"),
        (Self::Sampler, "sampler"),
        (Self::Negative, "negative"),
        (Self::Eta, "eta"),
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        Self::ALL.into_iter().find(|(axis, _)| *axis == self).map_or("", |(_, word)| word)
    }

    /// Its value of `picture`, as a sheet says it.
    pub fn label(self, picture: &PictureConfig) -> String {
        match self {
            Self::Prompt => picture.prompt.clone(),
            Self::Seed => format!("seed {}", picture.seed),
            Self::Strength => format!("strength {}", picture.strength),
            Self::Checkpoint => match &picture.checkpoint {
                Some(path) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
                None => "untrained".into(),
            },
            Self::Guidance => format!("guidance {}", picture.guidance_scale),
            Self::Steps => format!("{} steps", picture.steps),
            Self::Sampler => format!("{}{}", picture.sampler.word(), if picture.karras { " karras" } else { "" }),
            Self::Negative if picture.negative_prompt.is_empty() => "no negative prompt".into(),
            Self::Negative => format!("without {}", picture.negative_prompt),
            Self::Eta => format!("eta {}", picture.eta),
        }
    }
}

impl FromStr for Axis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|(_, word)| *word == text).map(|(axis, _)| axis);
        let words = || Self::ALL.map(|(_, word)| word).join(", ");
        found.ok_or_else(|| format!("{text:?} is none of {}", words()))
    }
}
