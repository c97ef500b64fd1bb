//! Trainings: `run.toml`, and what is in a run's folder.

use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Concept, EVALUATION, Error, JobFolder, Kind, Spec, new_id, read_toml};
use crate::fs::shell;
use crate::protocol::{DeviceName, JobKind, ModelSpec, PhotoReading, Preset, ScoreConfig, TrainConfig, path_or_table};

/// Where a run comes from that was not trained here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imported {
    /// The file, absolute, as it was then.
    pub file: PathBuf,
    /// Its SHA-256.
    pub sha256: String,
}

/// `run.toml`: one training, with all that it depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    /// The concept's name.
    pub concept: String,
    /// Its class word when the run began.
    pub class_word: String,
    /// SHA-256 of the base model, once the runner has read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model_hash: Option<String>,
    /// The CLIP model of the scores, absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_model: Option<PathBuf>,
    /// The DINO model of the scores, absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dino_model: Option<PathBuf>,
    /// Set when nothing was trained here: the settings are then a preset's, which the file does not carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
    /// The frozen diffusion model, absolute.
    #[serde(with = "path_or_table")]
    pub base_model: ModelSpec,
    /// The layout of its checkpoints. A run goes on in that in which it began, so that it ends at the same bytes.
    #[serde(default = "first_format", deserialize_with = "known_format", skip_serializing_if = "is_first_format")]
    pub checkpoint_format: u32,
    /// How its photos are found and read.
    #[serde(default, skip_serializing_if = "PhotoReading::is_stored")]
    pub photos: PhotoReading,
    /// Settings of the training.
    pub train: TrainConfig,
    /// Settings of the scoring that follows when `train.evaluate` is set.
    pub evaluation: ScoreConfig,
}

/// The layout of the checkpoints of new runs.
const CHECKPOINT_FORMAT: u32 = 2;

/// That of runs that do not say it.
fn first_format() -> u32 {
    1
}

/// A run that a newer program began cannot go on here.
fn known_format<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let format = u32::deserialize(from)?;
    if (first_format()..=CHECKPOINT_FORMAT).contains(&format) {
        return Ok(format);
    }
    let known = format!("this program writes checkpoints of the formats 1 to {CHECKPOINT_FORMAT}");
    Err(D::Error::custom(format!("checkpoint_format = {format}: {known}; a run of a newer program goes on with that")))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_first_format(format: &u32) -> bool {
    *format == first_format()
}

impl RunSpec {
    /// A training of `concept` as it is now. Its pictures are made where it trains.
    pub fn new(concept: &Concept, train: TrainConfig, mut evaluation: ScoreConfig) -> Result<Self, Error> {
        concept.check_masks_by(evaluation.sample.shared.masks)?;
        concept.check_hold_out(&train)?;
        evaluation.sample.shared.device = train.device;
        evaluation.sample.shared.dtype = train.dtype;
        Ok(Self {
            concept: concept.id.clone(),
            class_word: concept.file.class_word.clone(),
            base_model: concept.base_model()?,
            base_model_hash: None,
            score_model: concept.score_model(),
            dino_model: concept.dino_model(),
            imported: None,
            checkpoint_format: CHECKPOINT_FORMAT,
            photos: PhotoReading::Converted,
            train,
            evaluation,
        })
    }
}

/// What is particular to trainings.
pub(super) static KIND: Kind = Kind {
    word: JobKind::Train,
    file: "run.toml",
    folder: "runs",
    doing: "training",
    again: "goes on from its last checkpoint",
    do_again: "go on with it from its last checkpoint",
    makes_pictures: false,
    writes_anywhere: false,
    once: true,
    remedy: resume,
    read: |path| Ok(Box::new(read_toml::<RunSpec>(path)?)),
    scores: None,
    asked: None,
};

impl Spec for RunSpec {
    fn about(&self) -> &'static Kind {
        &KIND
    }

    fn base_model(&self) -> &ModelSpec {
        &self.base_model
    }

    fn device(&self) -> DeviceName {
        self.train.device
    }

    fn set_device(&mut self, device: DeviceName) {
        (self.train.device, self.evaluation.sample.shared.device) = (device, device);
    }
}

/// How a training goes on, whose concept and id the command takes.
fn resume(run: &JobFolder, _: Option<u64>) -> String {
    let concept = shell(run.concept().unwrap_or_default());
    format!("`catbench train {concept} --resume {}` goes on from the last checkpoint", run.id())
}

/// Where a run keeps its checkpoint after `step` steps, from its folder.
pub fn checkpoint_path(step: usize) -> PathBuf {
    PathBuf::from(format!("checkpoints/step-{step:06}.safetensors"))
}

impl JobFolder {
    /// A run of `concept` that is finished from the start: `fill` makes what is in its folder. It is seen by others once
    /// all is there; on an error nothing is left.
    pub fn new_imported<E: From<Error>>(
        concept: &Concept,
        spec: &RunSpec,
        fill: impl FnOnce(&Self) -> Result<(), E>,
    ) -> Result<Self, E> {
        let job = Self { path: new_id(&concept.folder.join(KIND.folder))? };
        let made = fill(&job).and_then(|()| Ok(job.write(spec)?));
        if let Err(error) = made {
            // Whatever cannot be removed is not seen as a run: it has no run.toml.
            let _ = std::fs::remove_dir_all(&job.path);
            return Err(error);
        }
        Ok(job)
    }

    /// The preset that a run was trained with; the usual one of no run.
    pub fn preset_of(run: Option<&Self>) -> Result<&'static Preset, Error> {
        Ok(run.map_or_else(|| Ok(TrainConfig::default()), |run| Ok::<_, Error>(run.run_spec()?.train))?.preset()?)
    }

    /// Its `run.toml`.
    pub fn run_spec(&self) -> Result<RunSpec, Error> {
        read_toml(&self.path.join(KIND.file))
    }

    /// The checkpoint of a run after `step` steps.
    pub fn checkpoint(&self, step: usize) -> PathBuf {
        self.path.join(checkpoint_path(step))
    }

    /// Where a run's evaluation is.
    pub fn evaluation(&self) -> PathBuf {
        self.path.join(EVALUATION)
    }
}
