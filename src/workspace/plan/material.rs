//! What a cell of a plan stands on besides its settings: the content of models, photos and masks. Numbers of other models or
//! photos are other numbers, whatever the settings say.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::workspace::{Concept, Error, HashCache, Home};

/// SHA-256 of each; empty where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Material {
    /// The class word itself.
    pub class_word: String,
    /// Of the base model.
    pub base_model: String,
    /// Of the CLIP model of the scores.
    pub score_model: String,
    /// Of the DINO model.
    pub dino_model: String,
    /// Of the photos.
    pub photos: String,
    /// Of their masks, where these are not made by the plan itself.
    pub masks: String,
}

impl Material {
    /// That of `concept` as it is now, whose base model has this hash.
    pub fn of(home: &Home, concept: &Concept, base_model: String, with_masks: bool) -> Result<Self, Error> {
        let judge = |folder: Option<PathBuf>| folder.map_or(Ok(String::new()), |folder| weights(home, &folder));
        let photos = concept.photos()?;
        let masks: Vec<PathBuf> =
            photos.iter().map(|photo| concept.mask_path(photo)).filter(|mask| with_masks && mask.is_file()).collect();
        Ok(Self {
            class_word: concept.file.class_word.clone(),
            base_model,
            score_model: judge(concept.score_model())?,
            dino_model: judge(concept.dino_model())?,
            photos: files(&photos)?,
            masks: if masks.is_empty() { String::new() } else { files(&masks)? },
        })
    }

    /// In what it is another than `other`.
    pub fn differs_in(&self, other: &Self) -> Option<&'static str> {
        let differences = [
            ("class word", self.class_word != other.class_word),
            ("base model", self.base_model != other.base_model),
            ("CLIP model of the scores", self.score_model != other.score_model),
            ("DINO model", self.dino_model != other.dino_model),
            ("photos", self.photos != other.photos),
            ("masks", self.masks != other.masks),
        ];
        differences.into_iter().find(|(_, differs)| *differs).map(|(what, _)| what)
    }
}

/// Of files with their names.
pub fn files(paths: &[PathBuf]) -> Result<String, Error> {
    let mut hasher = Sha256::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let content = crate::fs::sha256(path).map_err(Error::io("read", path))?;
        hasher.update(format!("{name}\0{content}\n"));
    }
    Ok(format!("{:x}", hasher.finalize()))
}

/// Of the weights of a score model in `folder`, which `home` remembers.
pub fn weights(home: &Home, folder: &Path) -> Result<String, Error> {
    let read = Error::io("read", folder);
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(read)?;
    let is_weights = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "safetensors");
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(is_weights).collect();
    paths.sort();
    let mut seen = Sha256::new();
    for path in &paths {
        let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
        let (time, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
        seen.update(format!("{}\0{} {time} {nanoseconds}\n", path.to_string_lossy(), metadata.len()));
    }
    let (cache, fingerprint) = (HashCache::of(home), format!("{:x}", seen.finalize()));
    if let Some(known) = cache.get(&fingerprint) {
        return Ok(known);
    }
    let hash = files(&paths)?;
    cache.put(&fingerprint, &hash)?;
    Ok(hash)
}
