//! Samplings: `batch.toml` and `pictures.jsonl`, and the contact sheets in a sampling's folder.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Concept, Error, JobFolder, Kind, Spec, new_id, read_toml};
use crate::json;
use crate::protocol::{Axis, DeviceName, JobKind, ModelSpec, PictureConfig, SampleConfig, check_prompt, path_or_table};

/// `batch.toml`: one sampling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchSpec {
    /// The concept's name.
    pub concept: String,
    /// Its class word.
    pub class_word: String,
    /// The run that has learned what is sampled; none samples the base model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The frozen diffusion model, absolute.
    #[serde(with = "path_or_table")]
    pub base_model: ModelSpec,
    /// The settings of its sheets' columns and rows; none makes no sheets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grid: Vec<Axis>,
    /// Whether batches that are not full are filled with copies, so that every picture is as one among `batch_size`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fill_batches: bool,
    /// Where copies of the pictures go, absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<PathBuf>,
    /// Settings of the sampling; its checkpoint is absolute. What its pictures differ in is in `pictures.jsonl` beside it.
    pub sample: SampleConfig,
}

impl BatchSpec {
    /// A sampling of `concept` as it is now, with what `run` has learned.
    pub fn new(concept: &Concept, run: Option<&JobFolder>, sample: SampleConfig) -> Result<Self, Error> {
        concept.check_masks_by(sample.shared.masks)?;
        Ok(Self {
            concept: concept.id.clone(),
            class_word: concept.file.class_word.clone(),
            base_model: concept.base_model()?,
            run: run.map(|run| run.id().to_owned()),
            grid: Vec::new(),
            fill_batches: false,
            out: None,
            sample,
        })
    }
}

/// What is particular to samplings.
pub(super) static KIND: Kind = Kind {
    word: JobKind::Sample,
    file: "batch.toml",
    folder: "samples",
    doing: "sampling",
    again: "makes the pictures that are missing",
    do_again: "make the pictures that are missing",
    makes_pictures: true,
    writes_anywhere: false,
    once: false,
    remedy: super::retry,
    read: |path| Ok(Box::new(read_toml::<BatchSpec>(path)?)),
    scores: None,
    asked: None,
};

impl Spec for BatchSpec {
    fn about(&self) -> &'static Kind {
        &KIND
    }

    fn base_model(&self) -> &ModelSpec {
        &self.base_model
    }

    fn device(&self) -> DeviceName {
        self.sample.shared.device
    }

    fn set_device(&mut self, device: DeviceName) {
        self.sample.shared.device = device;
    }
}

impl JobFolder {
    /// Begin a sampling of `concept`: its `pictures.jsonl`, then its `batch.toml`, by which others see it.
    pub fn new_batch(concept: &Concept, spec: &BatchSpec, pictures: &[PictureConfig]) -> Result<Self, Error> {
        let job = Self { path: new_id(&concept.folder.join(KIND.folder))? };
        let written = job.write_pictures(pictures).and_then(|()| job.write(spec));
        if let Err(error) = written {
            job.discard();
            return Err(error);
        }
        Ok(job)
    }

    fn write_pictures(&self, pictures: &[PictureConfig]) -> Result<(), Error> {
        let path = self.pictures_file();
        let mut lines = Vec::new();
        for picture in pictures {
            let line = json::to_line(picture);
            let odd = |error: json::Error| Error::invalid(&path, error.to_string(), "its paths must be valid text");
            lines.extend(line.map_err(odd)?);
        }
        crate::fs::write_atomic(&path, &lines).map_err(Error::io("write", &path))
    }

    fn pictures_file(&self) -> PathBuf {
        self.path.join("pictures.jsonl")
    }

    /// The pictures of a sampling, in their order. A sampling made before there was a file of them has every prompt with
    /// every seed.
    pub fn pictures(&self) -> Result<Vec<PictureConfig>, Error> {
        let path = self.pictures_file();
        let text = match crate::fs::read_text(&path, crate::fs::LINES) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(self.batch_spec()?.sample.pictures());
            }
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let read = |(i, line): (usize, &str)| {
            let wrong = |error: &dyn std::fmt::Display| {
                let problem = format!("line {} is not the settings of a picture ({error})", i + 1);
                Error::invalid(&path, problem, "the file was changed by hand: sample anew")
            };
            let picture: PictureConfig = serde_json::from_str(line).map_err(|error| wrong(&error))?;
            check_prompt("prompt", &picture.prompt).map_err(|error| wrong(&error))?;
            check_prompt("negative_prompt", &picture.negative_prompt).map_err(|error| wrong(&error))?;
            Ok(picture)
        };
        text.lines().enumerate().map(read).collect()
    }

    /// Its `batch.toml`.
    pub fn batch_spec(&self) -> Result<BatchSpec, Error> {
        read_toml(&self.path.join(KIND.file))
    }

    /// Where the contact sheet of that number goes, from 1.
    pub fn sheet(&self, number: usize) -> PathBuf {
        self.path.join(format!("grid-{number:03}.png"))
    }

    /// What stands on its contact sheets as "prompt 2" and the like, where there is such.
    pub fn legend(&self) -> PathBuf {
        self.path.join("grid.txt")
    }

    /// Its contact sheets that are there, in their order.
    pub fn sheets(&self) -> Vec<PathBuf> {
        (1..=usize::MAX).map(|number| self.sheet(number)).take_while(|path| self.has(path)).collect()
    }
}
