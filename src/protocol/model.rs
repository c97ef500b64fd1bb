//! Base models as settings name them, and what a look at their files tells.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::FloatType;
use super::settings::words;

words! {
    /// What a UNet predicts.
    pub enum Prediction {
        /// The noise ε.
        Epsilon = "epsilon",
        /// The velocity v, as Stable Diffusion 2.x at 768 pixels.
        V = "v",
    }
}

/// Where a base model is, and what its files do not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// A diffusers folder, or one file in the original naming; absolute.
    pub path: PathBuf,
    /// The VAE to use instead of its own: a diffusers folder with `config.json`, or one file; absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vae: Option<PathBuf>,
    /// A folder as diffusers writes it, whose configs and tokenizer count instead of the model's own; absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
    /// What the UNet predicts, where the files do not say it or say it wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Prediction>,
}

impl ModelSpec {
    /// The model at `path`, as its files are.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), vae: None, config: None, prediction: None }
    }
}

/// A model in a settings file: its path where that says all, else a table.
pub mod path_or_table {
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::ModelSpec;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Path(PathBuf),
        Table(ModelSpec),
    }

    /// A string or a table.
    pub fn serialize<S: Serializer>(spec: &ModelSpec, serializer: S) -> Result<S::Ok, S::Error> {
        if *spec == ModelSpec::at(&spec.path) { spec.path.serialize(serializer) } else { spec.serialize(serializer) }
    }

    /// From a string or a table.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ModelSpec, D::Error> {
        Ok(match Either::deserialize(deserializer)? {
            Either::Path(path) => ModelSpec::at(&path),
            Either::Table(spec) => spec,
        })
    }
}

/// One part of a base model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartReport {
    /// `text_encoder`, `unet` or `vae`.
    pub name: String,
    /// Its weights: a file, or the folder of the shards.
    pub path: PathBuf,
    /// Numbers that are used.
    pub parameters: usize,
    /// Bytes they take in the files.
    pub bytes: usize,
    /// The types they are stored in: "F16", ...
    pub types: Vec<String>,
}

impl PartReport {
    /// Bytes of its weights in memory, as `dtype`.
    pub fn memory_bytes(&self, dtype: FloatType) -> u64 {
        dtype.size() * self.parameters as u64
    }
}

/// What a report says of what could not be told.
pub const UNKNOWN: &str = "unknown";

/// Tensors of a base model's files that are not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IgnoredTensors {
    /// What they are.
    pub what: String,
    /// How many.
    pub tensors: usize,
}

/// What a look at the files of a base model tells.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelReport {
    /// Which model.
    pub model: ModelSpec,
    /// What kind of model it is.
    pub family: String,
    /// What its UNet predicts: "epsilon" or "`v_prediction`".
    pub prediction: String,
    /// Side of the pictures it was trained on, in pixels.
    pub resolution: usize,
    /// Whose tokenizer is used.
    pub tokenizer: String,
    /// What its files do not say.
    pub assumed: Vec<String>,
    /// Its parts, as far as they could be read.
    pub parts: Vec<PartReport>,
    /// Tensors that are not used.
    pub ignored: Vec<IgnoredTensors>,
    /// Everything that is missing, misshapen or not supported; none in a model that can be used.
    pub problems: Vec<String>,
    /// All files that are read of it.
    pub files: Vec<PathBuf>,
    /// SHA-256 of its content, as runs record it; none when it was not asked for or could not be read.
    pub hash: Option<String>,
}
