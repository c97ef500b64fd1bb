//! Settings of samplings, scorings and masks. Every setting has a default, so a config file may name only what differs.

use std::path::PathBuf;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::device::{DeviceName, FloatType};
use super::masks::{MaskMaker, MaskQuality};
use super::sampling::{NoiseKind, OtherConcept, SamplerKind, SeedRule};
use super::settings::{Preset, SettingError};
use super::start::with_text;

fn refuse(setting: &'static str, value: &impl ToString, cause: &'static str) -> Result<(), SettingError> {
    Err(SettingError::new(setting, value.to_string(), cause))
}

/// The most characters of a prompt, negative prompt or caption: base models read some hundred.
pub const MAX_PROMPT: usize = 16 << 10;
/// The most characters of a word that stands in prompts.
pub const MAX_WORD: usize = 200;

/// Refuse a prompt that no base model reads, and that takes long to be cut into words.
pub fn check_prompt(setting: &'static str, prompt: &str) -> Result<(), SettingError> {
    check_length(setting, prompt, MAX_PROMPT, "no base model reads so much: at most 16384 characters")
}

/// Refuse a class word that is too long to be one.
pub fn check_word(setting: &'static str, word: &str) -> Result<(), SettingError> {
    check_length(setting, word, MAX_WORD, "that is no word: at most 200 characters")
}

fn check_length(setting: &'static str, text: &str, most: usize, cause: &'static str) -> Result<(), SettingError> {
    match text.char_indices().nth(most) {
        Some(_) => refuse(setting, &format!("{} characters", text.chars().count()), cause),
        None => Ok(()),
    }
}

/// What stands outside the mask when a masked score is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// (0, 0, 0)
    Black,
    /// (255, 255, 255)
    White,
    /// (128, 128, 128)
    Grey,
    /// The mean colour of the model's preprocessing.
    Mean,
}

impl Fill {
    /// As in settings files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Black => "black",
            Self::White => "white",
            Self::Grey => "grey",
            Self::Mean => "mean",
        }
    }
}

/// What of a masked picture is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreCrop {
    /// All of it, so that the concept's place and size count.
    #[default]
    Whole,
    /// The smallest box around the mask's pixels above half, in the middle of a square of the fill: the concept alone, as
    /// large as can be. Where the mask has no such pixel, all of the picture.
    MaskBox,
}

impl ScoreCrop {
    /// As in settings files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::MaskBox => "mask_box",
        }
    }
}

/// Which text the CLIP-T of the balance is measured with; both are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClipText {
    /// The prompt, the class word in place of the concept.
    #[default]
    ClassWord,
    /// The prompt without the concept, as the evaluation of Textual Inversion and CatVersion has it.
    Scene,
}

impl ClipText {
    /// As in settings files.
    pub fn word(self) -> &'static str {
        match self {
            Self::ClassWord => "class_word",
            Self::Scene => "scene",
        }
    }

    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// A textual-inversion embedding: a word that a file adds to the text encoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingFile {
    /// The file, absolute.
    pub path: PathBuf,
    /// The word in prompts; none means the name that the file gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// SHA-256 of the file when the job was made.
    pub sha256: String,
}

/// Settings of one sampling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SampleConfig {
    /// Prompts; `{concept}` stands for the learned concept (its class word, read with the residual embeddings).
    pub prompts: Vec<String>,
    /// What the unconditional branch reads.
    pub negative_prompt: String,
    /// Images a prompt.
    pub images_per_prompt: usize,
    /// What the seeds of all images start from, see `seeds`.
    pub seed: u64,
    /// Whether prompts share their seeds.
    #[serde(default = "SeedRule::unsaid")]
    pub seeds: SeedRule,
    /// Denoising steps.
    pub steps: usize,
    /// Classifier-free guidance; 1 switches the unconditional branch off.
    pub guidance_scale: f64,
    /// What takes the noise out.
    pub sampler: SamplerKind,
    /// The noise levels of Karras et al. 2022 in place of the base model's own.
    pub karras: bool,
    /// Where the noise of a seed comes from.
    pub noise: NoiseKind,
    /// DDIM's η: 0 is deterministic, 1 is DDPM-like.
    pub eta: f64,
    /// Checkpoint of the residual embeddings; none samples the base model.
    pub checkpoint: Option<PathBuf>,
    /// How strongly the embeddings act: 0 is the base model, 1 as trained.
    pub strength: f32,
    /// The part of the denoising in which concepts act, as fractions of its steps; before and after, the same prompt is read
    /// without any. None is all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concept_steps: Option<[f64; 2]>,
    /// Whether the unconditional branch is read with the residual embeddings too; the authors' code does not.
    pub uncond_prefix: bool,
    /// Whether prompts that do not name the concept are read with the residual embeddings too; the authors' code does.
    pub every_prompt: bool,
    /// Images denoised at once.
    pub batch_size: usize,
    /// Who makes the pictures' masks.
    pub masks: MaskMaker,
    /// How closely the base model looks for them.
    pub mask_quality: MaskQuality,
    /// What computes: `cpu`, `cuda:N` or `metal`.
    pub device: DeviceName,
    /// Type of the weights and of activations.
    pub dtype: FloatType,
    /// Words that prompts may use besides the text encoder's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub embeddings: Vec<EmbeddingFile>,
    /// Concepts that prompts may name besides the learned one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub concepts: Vec<OtherConcept>,
}

impl Default for SampleConfig {
    fn default() -> Self {
        Self {
            prompts: vec!["a {concept}".into()],
            negative_prompt: String::new(),
            images_per_prompt: 4,
            seed: 0,
            seeds: SeedRule::Own,
            steps: 50,
            guidance_scale: 7.5,
            sampler: SamplerKind::Ddim,
            karras: false,
            noise: NoiseKind::Catbench,
            eta: 0.0,
            checkpoint: None,
            strength: 1.0,
            concept_steps: None,
            uncond_prefix: false,
            every_prompt: false,
            batch_size: 4,
            masks: MaskMaker::default(),
            mask_quality: MaskQuality::default(),
            device: DeviceName::Cpu,
            dtype: FloatType::F32,
            embeddings: Vec::new(),
            concepts: Vec::new(),
        }
    }
}

impl SampleConfig {
    /// The same with what `preset` says of the sampling, which goes before what is here: as those sample who made it.
    #[must_use]
    pub fn as_preset(self, preset: &Preset) -> Self {
        // Words of its own, which a test sets.
        preset.sample.iter().fold(self, |config, (name, text)| with_text(&config, name, text).unwrap_or(config))
    }

    /// How the pictures' masks are made.
    pub fn mask_config(&self) -> MaskConfig {
        let (device, dtype) = (self.device, self.dtype);
        MaskConfig { device, dtype, ..MaskConfig::of(self.masks, self.mask_quality) }
    }

    /// Refuse settings that cannot work, whatever the base model.
    pub fn check(&self) -> Result<(), SettingError> {
        if self.batch_size == 0 {
            return refuse("batch_size", &0, "must be 1 or more");
        }
        self.device.check(self.dtype)?;
        self.prompts.iter().try_for_each(|prompt| check_prompt("prompt", prompt))?;
        check_prompt("negative_prompt", &self.negative_prompt)?;
        if !self.guidance_scale.is_finite() {
            return refuse("guidance_scale", &self.guidance_scale, "must be a finite number");
        }
        if !(self.strength.is_finite() && self.strength >= 0.0) {
            return refuse("strength", &self.strength, "must be 0 or more");
        }
        if self.karras && !self.sampler.has_karras() {
            return refuse("karras", &"true", "only the samplers euler, dpmpp_2m and unipc have Karras noise levels");
        }
        if !(0.0..=1.0).contains(&self.eta) {
            return refuse("eta", &self.eta, "must be in 0..=1");
        }
        if self.eta > 0.0 && self.sampler != SamplerKind::Ddim {
            return refuse("eta", &self.eta, "only the sampler ddim has an eta: must be 0");
        }
        if let Some([from, to]) = self.concept_steps.filter(|[from, to]| !(0.0 <= *from && from < to && *to <= 1.0)) {
            let cause = "must be two fractions of the steps in 0..=1, the lower first";
            return refuse("concept_steps", &format!("{from}..{to}"), cause);
        }
        self.check_concepts()
    }

    fn check_concepts(&self) -> Result<(), SettingError> {
        for (i, other) in self.concepts.iter().enumerate() {
            if !(other.strength.is_finite() && other.strength >= 0.0) {
                let value = format!("{} in {}", other.strength, other.name);
                return refuse("concepts", &value, "its strength must be 0 or more");
            }
            check_word("class_word", &other.class_word)?;
            if self.concepts[..i].iter().any(|earlier| earlier.name == other.name) {
                return refuse("concepts", &other.name, "is given twice: each concept once");
            }
            let plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
            if other.name.is_empty() || !other.name.chars().all(plain) {
                let cause = "prompts can name concepts of letters, digits, -, _ and . only: rename its folder";
                return refuse("concepts", &other.name, cause);
            }
            if ["concept", "class"].contains(&other.name.as_str()) {
                let cause =
                    "{concept} and {class} are this workspace's own: a concept of that name cannot be put beside it";
                return refuse("concepts", &other.name, cause);
            }
        }
        Ok(())
    }
}

/// What a scoring measures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
pub enum ScoreTask {
    /// The prompt list, sampled without and with the concept.
    #[default]
    Both,
    /// The prompt list, sampled with the concept alone: what comes without it has been measured elsewhere.
    Learned,
    /// The prompt list, sampled without the concept alone: of no run.
    Untrained,
    /// The prompt list, sampled without the concept and at every checkpoint of the run.
    Checkpoints,
    /// Pictures that are there already, each with its mask in `masks/` beside it.
    Pictures {
        /// Absolute.
        files: Vec<PathBuf>,
        /// What they show, where they do not say so themselves.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompt: Option<String>,
    },
}

/// Settings of one scoring: how pictures are sampled, and how they are measured against the photos.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScoreConfig {
    /// How the pictures to measure are sampled; its prompts are the prompt list.
    pub sample: SampleConfig,
    /// What stands outside the mask.
    pub fill: Fill,
    /// What of the masked pictures is measured.
    pub crop: ScoreCrop,
    /// Which CLIP-T stands in the balance.
    #[serde(skip_serializing_if = "ClipText::is_usual")]
    pub clip_text: ClipText,
    /// Resamples of the bootstrap that versions before drew intervals by. It is read, and means nothing any more.
    #[serde(skip_serializing)]
    pub resamples: IgnoredAny,
}

impl ScoreConfig {
    /// The same with what `preset` says of the scoring, and not of the sampling.
    #[must_use]
    pub fn as_preset(self, preset: &Preset) -> Self {
        preset.score.iter().fold(self, |config, (name, text)| with_text(&config, name, text).unwrap_or(config))
    }
}

impl Default for ScoreConfig {
    fn default() -> Self {
        Self {
            sample: SampleConfig::default(),
            fill: Fill::Black,
            crop: ScoreCrop::Whole,
            clip_text: ClipText::default(),
            resamples: IgnoredAny,
        }
    }
}

/// Settings of masks. All but `maker` say how the untrained base model looks at a picture: it is noised to a few timesteps, and
/// where the denoiser sees the class word is where the concept is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskConfig {
    /// Who makes them.
    pub maker: MaskMaker,
    /// What the denoiser reads; `{class}` stands for the class word.
    pub caption: String,
    /// The timesteps that the photo is noised to, of the schedule's.
    pub timesteps: Vec<usize>,
    /// Draws of noise at each.
    pub draws: usize,
    /// Where the map, 0 to 1, is cut; none for where its two classes are best apart (Otsu).
    pub threshold: Option<f64>,
    /// Parts of the mask smaller than this share of its largest, and holes smaller than it, are filled up with what is around.
    pub smallest_part: f64,
    /// Seed of the noise.
    pub seed: u64,
    /// What computes: `cpu`, `cuda:N` or `metal`.
    pub device: DeviceName,
    /// Type of the weights and of activations.
    pub dtype: FloatType,
}

impl Default for MaskConfig {
    fn default() -> Self {
        Self::of(MaskMaker::default(), MaskQuality::Best)
    }
}

impl MaskConfig {
    /// Masks by `maker`, which looks as `quality` says.
    pub fn of(maker: MaskMaker, quality: MaskQuality) -> Self {
        let (timesteps, draws) = match quality {
            MaskQuality::Fast => (vec![100, 200, 400], 1),
            MaskQuality::Best => (vec![100, 200, 300, 400], 3),
        };
        Self {
            maker,
            caption: "a photo of a {class}".into(),
            timesteps,
            draws,
            threshold: None,
            smallest_part: 0.1,
            seed: 0,
            device: DeviceName::Cpu,
            dtype: FloatType::F32,
        }
    }

    /// How often each picture is looked at.
    pub fn looks(&self) -> usize {
        if self.maker.looks() { self.timesteps.len() * self.draws } else { 1 }
    }

    /// Refuse settings that cannot work, whatever the base model.
    pub fn check(&self) -> Result<(), SettingError> {
        self.device.check(self.dtype)?;
        if self.timesteps.is_empty() {
            return refuse("timesteps", &"none", "must be one or more");
        }
        if self.draws == 0 {
            return refuse("draws", &0, "must be 1 or more");
        }
        check_prompt("caption", &self.caption)?;
        if !self.caption.contains("{class}") {
            let value = format!("\"{}\"", self.caption);
            return refuse("caption", &value, "must contain {class}, the class word's place");
        }
        if let Some(threshold) = self.threshold.filter(|threshold| !(0.0..1.0).contains(threshold)) {
            return refuse("threshold", &threshold, "must be in 0..1");
        }
        if !(0.0..=1.0).contains(&self.smallest_part) {
            return refuse("smallest_part", &self.smallest_part, "must be in 0..=1");
        }
        Ok(())
    }
}
