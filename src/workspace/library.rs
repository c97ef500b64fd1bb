//! Concepts made, edited, renamed, put into the trash and taken out again, imported. Each change happens at once, by renaming,
//! or not at all.

use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};
use toml_edit::{DocumentMut, value};

use super::bundle;
use super::concept::write_toml;
use super::home::PROTOCOLS;
use super::masks::write_imported;
use super::{Concept, ConceptFile, Error, Home, Links};
use crate::image;
use crate::protocol::class_word_problem;

/// The longest name of a concept in bytes: what file systems take, less what is put after it in the trash.
const LONGEST_NAME: usize = 200;

/// Folders of a home that are no concepts: protocols, and words that prompt lists of all concepts name.
const OTHERS: &[&str] = &[PROTOCOLS, "prompts"];

impl Home {
    /// Refuse a name that no concept can have, or one has.
    fn check_new_concept(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path().join(name);
        let plain = !name.is_empty() && !name.starts_with(['.', '-']) && !name.contains(['/', '\\', '~']);
        if !plain || name.trim() != name || name.contains(char::is_control) {
            let remedy = "a concept's name is a folder's name: it does not begin with . or -, has no / \\ ~ or control \
                          character, and no space at its ends";
            return Err(Error::invalid(self.path(), format!("{name:?} cannot be a concept's name"), remedy));
        }
        if name.len() > LONGEST_NAME {
            let problem = format!("{name:?} is too long for a concept's name: it takes {} bytes", name.len());
            return Err(Error::invalid(self.path(), problem, format!("choose one of at most {LONGEST_NAME}")));
        }
        if OTHERS.contains(&name) {
            let problem = format!("{name:?} cannot be a concept's name: the home's {name} are in this folder");
            return Err(Error::invalid(&path, problem, "choose another"));
        }
        if path.symlink_metadata().is_ok() {
            return Err(Error::invalid(&path, "there is something of this name", "choose another"));
        }
        Ok(path)
    }

    /// A folder on the same disk in which something is made before it is moved into place.
    fn workshop(&self, name: &str) -> Result<PathBuf, Error> {
        let workshop = self.make_internal()?.join("workshop");
        for left in std::fs::read_dir(&workshop).into_iter().flatten().flatten() {
            let maker = left.file_name().to_string_lossy().split('-').next().and_then(|pid| pid.parse().ok());
            // What a process that was killed has left.
            if maker.and_then(Pid::from_raw).is_none_or(|pid| test_kill_process(pid).is_err()) {
                let _ = std::fs::remove_dir_all(left.path());
            }
        }
        let folder = workshop.join(format!("{}-{name}", std::process::id()));
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(Error::io("empty", &folder))?;
        }
        crate::fs::create_folders(&folder).map_err(Error::io("create", &folder))?;
        Ok(folder)
    }

    /// Make something in a folder by `fill`, then move it into place as concept `name`. On an error nothing is left.
    pub(super) fn make_concept(
        &self,
        name: &str,
        fill: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<Concept, Error> {
        let target = self.check_new_concept(name)?;
        let folder = self.workshop(name)?;
        let made = fill(&folder).and_then(|()| {
            Concept::open(&folder)?;
            std::fs::rename(&folder, &target).map_err(Error::io("create", &target))
        });
        if made.is_err() {
            // What cannot be removed is in the workshop, where nobody takes it for a concept.
            let _ = std::fs::remove_dir_all(&folder);
        }
        made.and_then(|()| Concept::open(&target))
    }

    /// Make a concept of copies of the photos in `images` and, where given, the masks in `masks`. What is left out of both is in
    /// what [`image::PhotoFolder::read`] and [`Concept::import_masks`] tell of these folders.
    pub fn new_concept(
        &self,
        name: &str,
        file: &ConceptFile,
        images: &Path,
        masks: Option<&Path>,
    ) -> Result<Concept, Error> {
        if let Some(problem) = class_word_problem(&file.class_word) {
            let problem = format!("the class word {:?} of {name:?} {problem}", file.class_word);
            return Err(Error::invalid(self.path(), problem, "name what the concept is a kind of: teapot, dog"));
        }
        let photos = image::list_photos(images)?;
        if let Some(masks) = masks {
            // A folder that is not there would be one without masks.
            std::fs::read_dir(masks).map_err(Error::io("read", masks))?;
        }
        self.make_concept(name, |folder| {
            write_toml(&folder.join("concept.toml"), file)?;
            std::fs::create_dir_all(folder.join("prompts")).map_err(Error::io("create", folder))?;
            for photo in &photos {
                let size = image::read_photo(photo)?.dimensions();
                copy(photo, &folder.join("images"))?;
                let mask = masks.map(|masks| image::mask_path(masks, photo)).filter(|mask| mask.is_file());
                if let Some(mask) = mask {
                    let source = std::path::absolute(&mask).map_err(Error::io("find", &mask))?;
                    let pixels = image::read_mask(&mask, size)?;
                    write_imported(&image::mask_path(&folder.join("masks"), photo), &pixels, &source)?;
                }
            }
            Ok(())
        })
    }

    /// Give a concept another name.
    pub fn rename_concept(&self, from: &str, to: &str) -> Result<Concept, Error> {
        let concept = self.concept(from)?;
        let target = self.check_new_concept(to)?;
        std::fs::rename(&concept.folder, &target).map_err(Error::io("rename", &concept.folder))?;
        // Its removed samples go with it; there may be none.
        let _ = std::fs::rename(self.removed_samples(from), self.removed_samples(to));
        let mut concept = Concept::open(&target)?;
        if concept.file.name == from {
            concept.set(|document| document["name"] = value(to))?;
        }
        Ok(concept)
    }

    fn trash(&self) -> PathBuf {
        self.internal().join("trash")
    }

    /// Where the removed samples of `concept` are.
    pub(super) fn removed_samples(&self, concept: &str) -> PathBuf {
        self.trash().join("samples").join(concept)
    }

    /// Put a concept into the trash, also one whose `concept.toml` is broken. Where it is there.
    ///
    /// # Errors
    /// No folder of this name with a `concept.toml`, or it cannot be moved.
    pub fn remove_concept(&self, name: &str) -> Result<PathBuf, Error> {
        let folder = self.concept_folder(name)?;
        self.make_internal()?;
        let trash = self.trash();
        crate::fs::create_folders(&trash).map_err(Error::io("create", &trash))?;
        let target = trash.join(format!("{name}~{}", jiff::Zoned::now().strftime("%Y%m%d-%H%M%S%.6f")));
        std::fs::rename(&folder, &target).map_err(Error::io("remove", &folder))?;
        Ok(target)
    }

    /// What is in the trash: names and folders, oldest first.
    pub fn removed_concepts(&self) -> Result<Vec<(String, PathBuf)>, Error> {
        let trash = self.trash();
        let entries = match std::fs::read_dir(&trash) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("read", &trash)(error)),
        };
        let paths = entries.flatten().map(|entry| entry.path());
        let named = paths.filter_map(|path| Some((path.file_name()?.to_str()?.split_once('~')?.0.to_owned(), path)));
        let mut removed: Vec<(String, PathBuf)> = named.collect();
        removed.sort_by_key(|(_, path)| when(path));
        Ok(removed)
    }

    /// Take the concept that was removed last under this name out of the trash, under its own name or `to`.
    pub fn restore_concept(&self, name: &str, to: Option<&str>) -> Result<Concept, Error> {
        let removed = self.removed_concepts()?;
        let found = removed.iter().rfind(|(removed, _)| removed == name).ok_or_else(|| Error::NoConcept {
            name: name.to_owned(),
            home: self.trash(),
            hint: match removed.as_slice() {
                [] => "the trash is empty".into(),
                removed => {
                    format!("there is {}", removed.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>().join(", "))
                }
            },
        })?;
        let target = self.check_new_concept(to.unwrap_or(name))?;
        std::fs::rename(&found.1, &target).map_err(Error::io("restore", &found.1))?;
        Concept::open(&target)
    }

    /// Make a concept of a packed one, or of a folder, under its own name or `name`. The manifest of a packed one must be true of
    /// every file; one without is taken only if `unlisted`. What becomes of a folder's links is `links`. The hash of its base
    /// model is told too, where the manifest does.
    pub fn import_concept(
        &self,
        from: &Path,
        name: Option<&str>,
        unlisted: bool,
        links: Links,
    ) -> Result<(Concept, Option<String>), Error> {
        let from = std::path::absolute(from).map_err(Error::io("find", from))?;
        let own = if from.is_dir() { from.file_name() } else { from.file_stem() };
        let name = name.map_or_else(|| own.unwrap_or_default().to_string_lossy().into_owned(), str::to_owned);
        let mut base_model = None;
        let concept = self.make_concept(&name, |folder| {
            base_model = if from.is_dir() {
                bundle::copy_folder(&from, folder, links)?
            } else {
                bundle::unpack(&from, folder, unlisted)?
            };
            Ok(())
        })?;
        Ok((concept, base_model))
    }
}

/// When something was put into the trash, from its name.
fn when(path: &Path) -> String {
    path.to_string_lossy().rsplit('~').next().unwrap_or_default().to_owned()
}

impl Concept {
    /// Change tags and notes in `concept.toml`; the rest of it, comments too, stays as it is.
    pub fn edit(&mut self, tags: Option<&[String]>, notes: Option<&str>) -> Result<(), Error> {
        self.set(|document| {
            if let Some(tags) = tags {
                document["tags"] = value(tags.iter().collect::<toml_edit::Array>());
            }
            if let Some(notes) = notes {
                document["notes"] = value(notes);
            }
        })
    }

    /// Change `concept.toml` by `change`.
    fn set(&mut self, change: impl FnOnce(&mut DocumentMut)) -> Result<(), Error> {
        let path = self.folder.join("concept.toml");
        let text = crate::fs::read_text(&path, crate::fs::SETTINGS).map_err(Error::io("read", &path))?;
        let wrong = |message: String| Error::Toml { path: path.clone(), message };
        let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| wrong(error.to_string()))?;
        change(&mut document);
        crate::fs::write_atomic(&path, document.to_string().as_bytes()).map_err(Error::io("write", &path))?;
        *self = Self::open(&self.folder)?;
        Ok(())
    }
}

/// Copy a file into `folder`.
pub(super) fn copy(file: &Path, folder: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let target = folder.join(file.file_name().unwrap_or_default());
    crate::fs::copy(file, &target).map_err(Error::io("copy", file))
}
