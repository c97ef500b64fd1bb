//! Small questions that only the code of the models can answer. A client starts a runner process, writes one request to
//! its stdin, and reads one reply from its stdout.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{DeviceName, Estimate, FloatType, MaskConfig, ModelSpec, PictureConfig, SampleConfig, TrainConfig};

/// The job that [`Request::Estimate`] asks about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EstimateRequest {
    /// The base model.
    pub base_model: ModelSpec,
    /// The concept's class word.
    pub class_word: String,
    /// A training, and the pictures made on its way; none for a sampling alone.
    pub train: Option<TrainConfig>,
    /// How pictures are sampled.
    pub sample: SampleConfig,
    /// The pictures of a sampling; none for every prompt of `sample` with every seed.
    #[serde(default)]
    pub pictures: Option<Vec<PictureConfig>>,
    /// Photos to encode.
    pub photos: usize,
    /// A scoring, by itself or at the end of the training.
    #[serde(default)]
    pub score: Option<ScoreWork>,
    /// Masks to make; nothing else is done then.
    #[serde(default)]
    pub masks: Option<MaskWork>,
}

impl EstimateRequest {
    /// Where it computes.
    pub fn device(&self) -> DeviceName {
        device_of(self.train.as_ref(), &self.sample).0
    }
}

/// Where a job computes, and in which numbers: the pictures of a training are made where it trains.
pub fn device_of(train: Option<&TrainConfig>, sample: &SampleConfig) -> (DeviceName, FloatType) {
    train.map_or((sample.shared.device, sample.shared.dtype), |train| (train.device, train.dtype))
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoreWork {
    /// The CLIP model, absolute.
    pub score_model: PathBuf,
    /// A DINO model beside it, absolute.
    pub dino_model: Option<PathBuf>,
    /// How often the pictures are sampled: without the concept, with it, at every checkpoint. Without any the base model is not
    /// loaded.
    pub sides: usize,
    /// Pictures that are there already.
    pub files: usize,
}

/// Masks to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MaskWork {
    /// Pictures.
    pub pictures: usize,
    /// How.
    pub mask: MaskConfig,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// What jobs would need. Loads no weights.
    Estimate {
        /// The jobs.
        jobs: Vec<EstimateRequest>,
    },
    /// Make a run of a file of another program.
    Import {
        /// The concept's folder.
        concept: PathBuf,
        /// The file.
        file: PathBuf,
        /// Its [format](super::Format).
        format: String,
    },
    /// Write a checkpoint as a file of another program.
    Export {
        /// The checkpoint.
        checkpoint: PathBuf,
        /// The concept's name.
        concept: String,
        /// The file to write.
        out: PathBuf,
        /// Its [format](super::Format).
        format: String,
        /// Whether to write over a file of another kind.
        force: bool,
    },
    /// Whether a run can go on from its last checkpoint with the photos and the class word that there are now.
    CheckResume {
        /// The run's folder.
        run: PathBuf,
    },
    /// How many layers the text encoder has.
    TextLayers {
        /// The base model.
        #[serde(with = "super::path_or_table")]
        base_model: ModelSpec,
    },
    /// The hash of a base model's content.
    ModelHash {
        /// The base model.
        #[serde(with = "super::path_or_table")]
        base_model: ModelSpec,
        /// The home, which remembers hashes.
        home: PathBuf,
    },
    /// What the program was built with.
    Build,
}

/// What a program was built with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The program's version.
    pub version: String,
    /// NVIDIA graphics cards.
    pub cuda: bool,
    /// cuDNN for convolutions there.
    pub cudnn: bool,
    /// Fused attention there.
    pub flash_attn: bool,
    /// Graphics processors of Apple computers.
    pub metal: bool,
}

impl Build {
    /// Of this program.
    pub fn own() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            cuda: cfg!(feature = "cuda"),
            cudnn: cfg!(feature = "cudnn"),
            flash_attn: cfg!(feature = "flash-attn"),
            metal: cfg!(feature = "metal"),
        }
    }
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Estimate`].
    Estimates {
        /// In the order of the jobs.
        estimates: Vec<Estimate>,
    },
    /// To [`Request::Import`].
    Imported {
        /// The folder of the new run.
        run: PathBuf,
    },
    /// To [`Request::Export`].
    Exported {
        /// What was written.
        files: Vec<PathBuf>,
        /// What the user should know though it stops nothing.
        warnings: Vec<String>,
    },
    /// To [`Request::CheckResume`]: it can.
    CanResume,
    /// To [`Request::TextLayers`].
    TextLayers {
        /// How many.
        count: usize,
    },
    /// To [`Request::ModelHash`].
    ModelHash {
        /// SHA-256.
        sha256: String,
    },
    /// To [`Request::Build`].
    Build {
        /// What it was built with.
        build: Build,
    },
    /// To any: it cannot be done.
    Failed {
        /// What, where, what to do.
        message: String,
        /// The picture it is about, by its place among the pictures of the job; none where it is about none, or about them all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        picture: Option<usize>,
    },
}
