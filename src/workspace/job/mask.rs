//! Makings of masks, and comparisons of their makers: `mask.toml`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Concept, Error, JOBS, JobFolder, Kind, Spec, read_toml};
use crate::protocol::{DeviceName, JobKind, MaskConfig, MaskMaker, MaskQuality, ModelSpec, path_or_table};

/// `mask.toml`: masks to make, or makers of masks to compare.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskSpec {
    /// The concept's name.
    pub concept: String,
    /// Its class word, which is looked for.
    pub class_word: String,
    /// The pictures, absolute; a bench has its pictures in it.
    pub pictures: Vec<PathBuf>,
    /// The frozen diffusion model, absolute.
    #[serde(with = "path_or_table")]
    pub base_model: ModelSpec,
    /// How.
    pub mask: MaskConfig,
    /// Makers that are to be compared; then nothing is written beside the pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bench: Option<MaskBench>,
}

impl MaskSpec {
    /// Masks of `pictures`, made by `concept` as it is now.
    pub fn new(concept: &Concept, pictures: Vec<PathBuf>, mask: MaskConfig) -> Result<Self, Error> {
        Ok(Self {
            concept: concept.id.clone(),
            class_word: concept.file.class_word.clone(),
            base_model: concept.base_model()?,
            pictures,
            mask,
            bench: None,
        })
    }
}

/// What is particular to makings of masks.
pub(super) static KIND: Kind = Kind {
    word: JobKind::Mask,
    file: "mask.toml",
    folder: JOBS,
    doing: "making masks",
    again: "does it again",
    do_again: "do it again",
    makes_pictures: false,
    writes_anywhere: true,
    once: false,
    remedy: super::retry,
    read: |path| Ok(Box::new(read_toml::<MaskSpec>(path)?)),
    scores: None,
    asked: None,
};

impl Spec for MaskSpec {
    fn about(&self) -> &'static Kind {
        &KIND
    }

    fn base_model(&self) -> &ModelSpec {
        &self.base_model
    }

    fn device(&self) -> DeviceName {
        self.mask.device
    }

    fn set_device(&mut self, device: DeviceName) {
        self.mask.device = device;
    }
}

/// Makers of masks, compared on pictures whose true masks are known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskBench {
    /// The makers.
    pub ways: Vec<MaskWay>,
    /// The pictures.
    pub pictures: Vec<TruePicture>,
}

/// A way of making masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskWay {
    /// Who makes them.
    pub maker: MaskMaker,
    /// How closely the base model looks.
    pub quality: MaskQuality,
}

/// A picture whose true mask is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TruePicture {
    /// The picture, absolute.
    pub picture: PathBuf,
    /// Its true mask, absolute.
    pub mask: PathBuf,
    /// What it shows.
    pub class_word: String,
}

/// A line of a bench's `bench.jsonl`: one mask against the true one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchLine {
    /// The way's place among the bench's.
    pub way: usize,
    /// The picture.
    pub picture: PathBuf,
    /// Intersection over union, 0 to 1.
    pub iou: f64,
    /// Boundary F, 0 to 1.
    pub boundary_f: f64,
    /// What the mask says of its own worth.
    pub confidence: Option<f64>,
    /// What making it took.
    pub seconds: f64,
}

impl JobFolder {
    /// Where a bench of masks writes its lines.
    pub fn bench_lines(&self) -> PathBuf {
        self.path.join("bench.jsonl")
    }

    /// Its `mask.toml`.
    pub fn mask_spec(&self) -> Result<MaskSpec, Error> {
        read_toml(&self.path.join(KIND.file))
    }
}
