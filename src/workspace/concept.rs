//! One concept: its folder and `concept.toml`.

use std::path::{Path, PathBuf};

use ::image::{GrayImage, RgbImage};
use serde::{Deserialize, Serialize};

use super::error::is_there;
use super::job::JOBS;
use super::masks::no_masks;
use super::{Error, Home, JobFolder, Kind, ListNames, PromptList};
use crate::fs::Show;
use crate::image::{self, LeftOut, PhotoFolder, ReadPhoto};
use crate::protocol::{
    JobKind, MaskMaker, ModelSpec, PhotoReading, Preset, SampleConfig, ScoreConfig, TrainConfig, TrainStart, check_word,
};

/// `concept.toml`, edited by hand too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConceptFile {
    /// What the screens call it.
    pub name: String,
    /// The word the concept is learned on top of: "teapot", "dog".
    pub class_word: String,
    /// The frozen diffusion model: the name of a registered one, else a path, relative to the concept's folder or absolute.
    pub base_model: PathBuf,
    /// The CLIP model of the scores: a path, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_model: Option<PathBuf>,
    /// A DINO model that judges beside it; likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dino_model: Option<PathBuf>,
    /// The weights of Segment Anything or MobileSAM, which make masks from points: a file; likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sam_model: Option<PathBuf>,
    /// A network that was trained on masks of one world, which makes masks of its pictures: a folder; likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segmenter: Option<PathBuf>,
    /// Classifier-free guidance of its samples, where the base model likes another than the usual 7.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guidance_scale: Option<f64>,
    /// Free words to find it by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Free text.
    #[serde(default)]
    pub notes: String,
    /// What its trainings start from.
    #[serde(default, skip_serializing_if = "TrainStart::is_empty")]
    pub train: TrainStart,
}

/// One concept and its folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Concept {
    /// The name commands know it by: the folder's name.
    pub id: String,
    /// Its folder, absolute.
    pub folder: PathBuf,
    /// Its `concept.toml`.
    pub file: ConceptFile,
}

impl Concept {
    /// Read the concept in `folder`.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let folder = std::path::absolute(folder).map_err(Error::io("find", folder))?;
        let path = folder.join("concept.toml");
        if path.symlink_metadata().is_err() {
            let remedy = "write one with name, class_word and base_model";
            return Err(Error::invalid(&folder, "no concept.toml in this folder", remedy));
        }
        let file: ConceptFile = read_toml(&path)?;
        if file.class_word.trim().is_empty() {
            let remedy = "name what the concept is a kind of, as in class_word = \"teapot\"";
            return Err(Error::invalid(&path, "class_word is empty", remedy));
        }
        check_word("class_word", &file.class_word)
            .map_err(|error| Error::invalid(&path, error.to_string(), "name what the concept is a kind of"))?;
        let id = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { id, folder, file })
    }

    /// The home it is in.
    pub fn home(&self) -> Result<Home, Error> {
        Home::at(self.folder.parent().unwrap_or(&self.folder))
    }

    /// The base model, absolute: the registered one where that is the name of one, else what is at that path.
    pub fn base_model(&self) -> Result<ModelSpec, Error> {
        let (path, home) = (self.folder.join(&self.file.base_model), self.home()?);
        if path.exists() && home.named_model(&self.file.base_model)?.is_none() {
            return Ok(ModelSpec::at(&path));
        }
        let name = self.file.base_model.to_string_lossy();
        let spec = home.model(&name).map_err(|error| match error {
            Error::NoModel { hint, .. } => {
                let problem = format!("the base model {name:?} is not there ({}), nor registered", path.shown());
                Error::invalid(&self.folder.join("concept.toml"), problem, hint)
            }
            other => other,
        })?;
        if !spec.path.exists() {
            let remedy = format!("put it back, or `catbench model remove {name}` and add it anew");
            return Err(Error::invalid(&spec.path, format!("the base model {name:?} is not there any more"), remedy));
        }
        Ok(spec)
    }

    /// The CLIP model of the scores, absolute.
    pub fn score_model(&self) -> Option<PathBuf> {
        self.file.score_model.as_ref().map(|path| self.folder.join(path))
    }

    /// The DINO model of the scores, absolute.
    pub fn dino_model(&self) -> Option<PathBuf> {
        self.file.dino_model.as_ref().map(|path| self.folder.join(path))
    }

    /// The weights of Segment Anything, absolute.
    ///
    /// # Errors
    /// `concept.toml` names none.
    pub fn sam_model(&self) -> Result<PathBuf, Error> {
        let missing = || {
            let remedy = "name the file of its weights there: sam_model = \"mobile_sam-tiny-vitt.safetensors\" (MobileSAM, 40 MB) \
                          or \"sam_vit_b_01ec64.safetensors\" (SAM, 375 MB, slower); both are at huggingface.co/lmz/candle-sam";
            Error::invalid(&self.folder.join("concept.toml"), "sam_model is missing", remedy)
        };
        self.file.sam_model.as_ref().map(|path| self.folder.join(path)).ok_or_else(missing)
    }

    /// The folder of its segmenter, absolute.
    ///
    /// # Errors
    /// `concept.toml` names none.
    pub fn segmenter(&self) -> Result<PathBuf, Error> {
        let missing = || {
            let remedy = "only worlds that one was trained for have such a network, as the demo has: take the masks of base_model or sam";
            Error::invalid(&self.folder.join("concept.toml"), "segmenter is missing", remedy)
        };
        self.file.segmenter.as_ref().map(|path| self.folder.join(path)).ok_or_else(missing)
    }

    /// Refuse a maker of masks whose model `concept.toml` does not name, or that is not there.
    ///
    /// # Errors
    /// Such a maker.
    pub fn check_masks_by(&self, maker: MaskMaker) -> Result<(), Error> {
        match maker {
            MaskMaker::Sam => {
                let path = self.sam_model()?;
                if path.is_file() { Ok(()) } else { Err(Error::invalid(&path, "sam_model is no file", "name one")) }
            }
            MaskMaker::Segmenter => {
                let path = self.segmenter()?;
                let remedy = "name the folder that has its config.json and model.safetensors";
                if path.join("config.json").is_file() {
                    Ok(())
                } else {
                    Err(Error::invalid(&path, "segmenter is no folder of a network", remedy))
                }
            }
            MaskMaker::BaseModel | MaskMaker::Nobody => Ok(()),
        }
    }

    /// The folder of its photos.
    pub fn images(&self) -> PathBuf {
        self.folder.join("images")
    }

    /// The folder of the photos' masks.
    pub fn masks(&self) -> PathBuf {
        self.folder.join("masks")
    }

    /// Its photos, sorted by name; empty without an `images` folder.
    pub fn photos(&self) -> Result<Vec<PathBuf>, Error> {
        self.photos_of(PhotoReading::Converted)
    }

    /// Its photos as `reading` finds them.
    pub fn photos_of(&self, reading: PhotoReading) -> Result<Vec<PathBuf>, Error> {
        let folder = self.images();
        let there = is_there(&folder)? && folder.is_dir();
        if there { Ok(PhotoFolder::read(&folder, reading)?.photos) } else { Ok(Vec::new()) }
    }

    /// What is among its photos and masks and is neither, and why.
    pub fn left_out(&self) -> Result<Vec<LeftOut>, Error> {
        let (images, masks) = (self.images(), self.masks());
        let mut left_out = if images.is_dir() { left_out(&images, None)? } else { Vec::new() };
        if masks.is_dir() {
            left_out.extend(no_masks(&masks)?);
        }
        Ok(left_out)
    }

    /// Where the mask of `photo` would be: `masks/<image name>.png`.
    pub fn mask_path(&self, photo: &Path) -> PathBuf {
        image::mask_path(&self.masks(), photo)
    }

    /// The photo at `path` and its mask, where it has one.
    pub fn read_photo(&self, path: &Path) -> Result<(RgbImage, Option<GrayImage>), Error> {
        let (photo, mask) = self.look_at_photo(path, PhotoReading::Converted)?;
        Ok((photo.pixels, mask))
    }

    /// The photo at `path` as `reading` has it, what was done to it, and its mask.
    pub fn look_at_photo(&self, path: &Path, reading: PhotoReading) -> Result<(ReadPhoto, Option<GrayImage>), Error> {
        let photo = image::look_at_photo(path, reading)?;
        let (mask_path, size) = (self.mask_path(path), photo.pixels.dimensions());
        let mask = if mask_path.is_file() { Some(image::read_mask(&mask_path, size)?) } else { None };
        Ok((photo, mask))
    }

    /// What the names in its prompt lists mean: words are looked for beside its lists, then in `prompts/words` of the home.
    pub fn list_names(&self) -> ListNames {
        let home = self.folder.parent().unwrap_or(&self.folder);
        ListNames {
            class_word: self.file.class_word.clone(),
            concepts: Vec::new(),
            folders: [self.folder.as_path(), home].map(|folder| folder.join("prompts/words")).into(),
        }
    }

    /// The prompts of the list at `path`, which all are sampled alike.
    ///
    /// # Errors
    /// Those of [`PromptList`], and lines with settings of their own.
    pub fn read_prompts(&self, path: &Path) -> Result<Vec<String>, Error> {
        Ok(PromptList::read(path, &self.list_names())?.prompts()?)
    }

    /// Its prompt list `name`: `prompts/<name>.txt`.
    pub fn named_list(&self, name: &str) -> Result<PathBuf, Error> {
        let folder = self.folder.join("prompts");
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
        let path = folder.join(format!("{}.txt", name.strip_suffix(".txt").unwrap_or(name)));
        if plain && path.is_file() {
            return Ok(path);
        }
        let names: Vec<String> =
            self.lists()?.iter().filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
        let there =
            if names.is_empty() { "there is none yet".into() } else { format!("there is {}", names.join(", ")) };
        Err(Error::invalid(&folder, format!("no prompt list {name:?}"), there))
    }

    /// Its prompt lists, `prompts/*.txt`, sorted by name.
    pub fn lists(&self) -> Result<Vec<PathBuf>, Error> {
        let folder = self.folder.join("prompts");
        if !is_there(&folder)? || !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut lists = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
            let path = entry.map_err(Error::io("read", &folder))?.path();
            if path.extension().is_some_and(|e| e == "txt") {
                lists.push(path);
            }
        }
        lists.sort();
        Ok(lists)
    }

    /// What a training of it starts from, unless a command names a preset.
    pub fn train_config(&self) -> TrainConfig {
        self.file.train.config().clone()
    }

    /// Refuse a training that holds out a photo which is not there, or where there are too few.
    ///
    /// # Errors
    /// Such a training.
    pub fn check_hold_out(&self, train: &TrainConfig) -> Result<(), Error> {
        if train.hold_out.is_some() {
            let names: Vec<String> = self.photos()?.iter().map(|photo| photo_name(photo)).collect();
            train.held_out(&names)?;
        }
        Ok(())
    }

    /// How what a training with `preset` has learned is sampled, unless a command says otherwise. What the preset says of it
    /// goes before concept.toml.
    pub fn sampling(&self, preset: &Preset) -> SampleConfig {
        let mut usual = SampleConfig::here();
        usual.picture.guidance_scale = self.file.guidance_scale.unwrap_or(usual.picture.guidance_scale);
        usual.as_preset(preset)
    }

    /// How that is scored: over the first of its prompt lists by name in which no line has settings of its own, where there is
    /// one.
    pub fn evaluation(&self, preset: &Preset) -> Result<ScoreConfig, Error> {
        let mut config = ScoreConfig { sample: self.sampling(preset), ..ScoreConfig::default() }.as_preset(preset);
        for path in self.lists()? {
            let list = PromptList::read(&path, &self.list_names())?;
            if !list.has_settings() {
                config.sample.prompts = list.prompts()?;
                break;
            }
        }
        Ok(config)
    }

    /// Its trainings, oldest first.
    pub fn runs(&self) -> Result<Vec<JobFolder>, Error> {
        JobFolder::list(&self.folder, Kind::of(JobKind::Train))
    }

    /// Its samplings, oldest first.
    pub fn batches(&self) -> Result<Vec<JobFolder>, Error> {
        JobFolder::list(&self.folder, Kind::of(JobKind::Sample))
    }

    /// Its scorings and mask makings on demand, oldest first.
    pub fn jobs(&self) -> Vec<JobFolder> {
        JobFolder::in_folder(&self.folder.join(JOBS))
    }

    /// One of its samplings: an id, the unambiguous start of one, or `latest`.
    pub fn batch(&self, id: &str) -> Result<JobFolder, Error> {
        let missing = || Error::NoBatch { id: id.into(), concept: self.id.clone() };
        let mut batches = self.batches()?;
        if id == "latest" {
            return batches.pop().ok_or_else(missing);
        }
        batches.retain(|batch| batch.id().starts_with(id));
        match batches.len() {
            1 => batches.pop().ok_or_else(missing),
            _ => Err(missing()),
        }
    }

    /// One of its trainings: an id, the unambiguous start of one, or `latest`.
    pub fn run(&self, id: &str) -> Result<JobFolder, Error> {
        let mut runs = self.runs()?;
        if id == "latest" || runs.is_empty() {
            return runs.pop().ok_or_else(|| Error::NoRuns { concept: self.id.clone() });
        }
        runs.retain(|run| run.id().starts_with(id));
        if runs.len() > 1 {
            let ids = runs.iter().map(JobFolder::id).collect::<Vec<_>>().join(", ");
            return Err(Error::ManyRuns { start: id.into(), ids });
        }
        runs.pop().ok_or_else(|| Error::NoRun { id: id.into(), concept: self.id.clone() })
    }
}

/// What a concept is not made of in a folder of photos and one of masks, and why.
pub fn left_out(images: &Path, masks: Option<&Path>) -> Result<Vec<LeftOut>, Error> {
    let mut left_out = PhotoFolder::read(images, PhotoReading::Converted)?.left_out;
    if let Some(masks) = masks {
        left_out.extend(no_masks(masks)?);
    }
    Ok(left_out)
}

/// What settings call the photo at `path`: its file's name.
pub fn photo_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A settings file.
pub(super) fn read_toml<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = crate::fs::read_text(path, crate::fs::SETTINGS).map_err(Error::io("read", path))?;
    from_toml(path, &text)
}

pub(super) fn from_toml<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T, Error> {
    toml::from_str(text)
        .map_err(|error| Error::Toml { path: path.to_path_buf(), message: error.to_string().trim_end().to_owned() })
}

/// Read one that only this user, or one whom it trusts, may have written.
pub(super) fn read_own_toml<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = crate::fs::read_own_text(path, crate::fs::SETTINGS).map_err(Error::io("read", path))?;
    from_toml(path, &text)
}

/// Write a settings file whole or not at all.
pub(super) fn write_toml<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let text =
        toml::to_string(value).map_err(|error| Error::Toml { path: path.to_path_buf(), message: error.to_string() })?;
    crate::fs::write_atomic(path, text.as_bytes()).map_err(Error::io("write", path))
}
