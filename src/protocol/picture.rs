//! One picture: its settings, and the record of how it was made.

use std::path::PathBuf;

use serde::de::{Deserializer, Error};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::settings::{self, Kind, Range, SettingError, settings};
use super::{DeviceName, EmbeddingFile, FloatType, ModelSpec, NoiseKind, OtherConcept, SamplerKind, check_prompt};

settings! {
    /// All settings that may differ from one picture of a sampling to the next. In a list those that stand first change slowest, but for
    /// the seed, which changes fastest.
    pub struct PictureConfig {
        /// What the unconditional branch reads; nothing if not given.
        negative_prompt: String = String::new(), Kind::Text, short: Some("negative");
        /// Seed of the pictures; 0 if not given. `sample` gives image i of every prompt the seed SEED + i. Without it, and in scorings
        /// always, each prompt has seeds of its own: they follow from its text, and SEED is added.
        seed: u64 = 0, Kind::Whole(0, u64::MAX), web: Some("Seed"), may_differ: true;
        /// Where the noise of a seed comes from: catbench, or torch for the pictures that diffusers makes of the same seeds; catbench if
        /// not given.
        noise: NoiseKind = NoiseKind::Catbench, Kind::Word(NoiseKind::WORDS);
        /// What takes the noise out; ddim if not given.
        sampler: SamplerKind = SamplerKind::Ddim, Kind::Word(SamplerKind::WORDS), web: Some("Sampler");
        /// Karras noise levels in place of the base model's own, which euler, dpmpp_2m and unipc have.
        karras: bool = false, Kind::Truth, web: Some("Schedule type");
        /// Denoising steps; 50 if not given.
        steps: usize = 50, Kind::Whole(1, 1000), web: Some("Steps");
        /// DDIM's eta: 0 is deterministic, 1 is DDPM-like; 0 if not given.
        eta: f64 = 0.0, Kind::Number(Range::ZeroToOne), web: Some("Eta");
        /// Classifier-free guidance; 1 switches it off. As the run's preset has it if not given, else as the concept, else 7.5.
        guidance_scale: f64 = 7.5, Kind::Number(Range::Finite), short: Some("guidance"), web: Some("CFG scale");
        /// How strongly what was learned acts: 0 is the base model, 1 as trained; 1 if not given.
        strength: f32 = 1.0, Kind::Number(Range::ZeroOrMore), of_learned: true;
        also
            /// What it shows; `{concept}` stands for the learned concept.
            prompt: String = String::new();
            /// What was learned, absolute; none samples the base model.
            checkpoint: Option<PathBuf> = None, left_out: true;
    }
}

/// What a table of a picture's settings may leave out.
const UNSAID: &str = "negative_prompt";

impl PictureConfig {
    /// Whether there is an unconditional branch.
    pub fn is_guided(&self) -> bool {
        (self.guidance_scale - 1.0).abs() > f64::EPSILON
    }

    /// Refuse settings that cannot work, whatever the base model.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), SettingError> {
        self.check_rows()?;
        check_prompt("prompt", &self.prompt)?;
        check_prompt("negative_prompt", &self.negative_prompt)?;
        if self.karras && !self.sampler.has_karras() {
            let cause = "only the samplers euler, dpmpp_2m and unipc have Karras noise levels";
            return Err(SettingError::new("karras", true, cause));
        }
        if self.eta > 0.0 && self.sampler != SamplerKind::Ddim {
            return Err(SettingError::new("eta", self.eta, "only the sampler ddim has an eta: must be 0"));
        }
        Ok(())
    }
}

impl Serialize for PictureConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let mut names = ["prompt"].into_iter().chain(Self::ROWS.iter().map(|row| row.name)).chain(["checkpoint"]);
        names.try_for_each(|name| self.entry(name, &mut map))?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for PictureConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let said: Map<String, Value> = Map::deserialize(deserializer)?;
        let mut needed = Self::ROWS.iter().map(|row| row.name).chain(["prompt"]).filter(|name| *name != UNSAID);
        if let Some(missing) = needed.find(|name| !said.contains_key(*name)) {
            return Err(D::Error::missing_field(missing));
        }
        settings::read(Self::default(), said, Self::put)
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
    /// Whether the unconditional branch was read with what was learned too.
    pub uncond_prefix: bool,
    /// Whether a prompt that does not name the concept was read with it too; none of earlier versions was.
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
