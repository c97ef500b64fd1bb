//! The user's word on samples: their ratings, and which of them are gone. `ratings.toml` in a concept's folder holds a line
//! a rated picture, its path from there and a number from 1 (bad) to 5; it is edited by hand too. A removed picture is in
//! the home's trash, under the same path and the time of its removal, and the events that tell of it stay as they are.

use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::concept::{read_toml, write_toml};
use super::error::is_there;
use super::inside::{is_file_inside, leads_inside};
use super::{Concept, Error, JobFolder, inside};

/// How long the ratings of another client are waited for: writing them takes a moment.
const LOCKED: Duration = Duration::from_secs(1);

/// A sample in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedSample {
    /// Where it was, from the concept's folder.
    pub picture: PathBuf,
    /// Where it is now.
    pub path: PathBuf,
    /// When it was removed, as `20261123-134501.123456`.
    pub when: String,
}

/// Ratings by picture: its path from the concept's folder.
pub type Ratings = BTreeMap<String, u8>;

/// The ratings in the concept's folder `folder`; none without a file.
///
/// # Errors
/// The file holds something else than paths and numbers from 1 to 5.
pub fn read_ratings(folder: &Path) -> Result<Ratings, Error> {
    let path = folder.join("ratings.toml");
    if !is_there(&path)? {
        return Ok(Ratings::new());
    }
    let ratings: Ratings = read_toml(&path)?;
    ratings.iter().try_for_each(|(picture, rating)| check(&path, picture, *rating))?;
    Ok(ratings)
}

fn check(path: &Path, picture: &str, rating: u8) -> Result<(), Error> {
    if (1..=5).contains(&rating) {
        return Ok(());
    }
    Err(Error::invalid(path, format!("{rating} is no rating of {picture:?}"), "give a number from 1 (bad) to 5"))
}

impl Concept {
    /// Rate the sample `picture`, a path from the concept's folder, 1 (bad) to 5; none takes its rating away.
    pub fn rate(&self, picture: &Path, rating: Option<u8>) -> Result<(), Error> {
        let picture = self.in_jobs(picture)?;
        let path = self.folder.join("ratings.toml");
        rating.map_or(Ok(()), |rating| check(&path, &picture, rating))?;
        // Two clients that rate at once do not undo each other's. Where a folder cannot be locked (some network disks, somebody who
        // may read it holds it), the later one wins.
        let folder = crate::fs::open_folder(&self.folder).map_err(Error::io("open", &self.folder))?;
        let deadline = Instant::now() + LOCKED;
        while matches!(folder.try_lock(), Err(TryLockError::WouldBlock)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut ratings = read_ratings(&self.folder)?;
        match rating {
            Some(_) if !self.has_sample(Path::new(&picture)) => {
                let remedy = format!("`catbench concept show {} --json` lists the samples", self.id);
                return Err(Error::invalid(&self.folder.join(picture), "there is no such sample", remedy));
            }
            Some(rating) => drop(ratings.insert(picture, rating)),
            None => drop(ratings.remove(&picture)),
        }
        write_toml(&path, &ratings)
    }

    /// Put the sample `picture`, a path from the concept's folder, into the trash. Where it is there.
    pub fn remove_sample(&self, picture: &Path) -> Result<PathBuf, Error> {
        let picture = self.in_jobs(picture)?;
        let home = self.home()?;
        home.make_internal()?;
        let now = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S%.6f");
        let target = home.removed_samples(&self.id).join(format!("{picture}~{now}"));
        let parent = target.parent().unwrap_or(&target);
        crate::fs::create_folders(parent).map_err(Error::io("create", parent))?;
        let source = self.folder.join(picture);
        std::fs::rename(&source, &target).map_err(Error::io("remove", &source))?;
        Ok(target)
    }

    /// The samples of `job` that are in the trash, by their paths from its folder.
    pub fn removed_of(&self, job: &JobFolder) -> Result<Vec<PathBuf>, Error> {
        let Ok(own) = job.path().strip_prefix(&self.folder) else { return Ok(Vec::new()) };
        let there = std::fs::read_dir(self.home()?.removed_samples(&self.id).join(own)).into_iter().flatten().flatten();
        let names = there.filter_map(|entry| entry.file_name().to_str().map(str::to_owned));
        // One that was restored is both there and, as it was before, perhaps here.
        let removed = names.filter_map(|name| Some(PathBuf::from(name.rsplit_once('~')?.0)));
        Ok(removed.filter(|path| !job.path().join(path).exists()).collect())
    }

    /// Take the sample `picture`, a path from the concept's folder, out of the trash, as it was removed last.
    pub fn restore_sample(&self, picture: &Path) -> Result<PathBuf, Error> {
        let picture = self.in_jobs(picture)?;
        let target = self.folder.join(&picture);
        let place = self.home()?.removed_samples(&self.id).join(&picture);
        let name = format!("{}~", place.file_name().unwrap_or_default().to_string_lossy());
        let there = std::fs::read_dir(place.parent().unwrap_or(&place)).into_iter().flatten().flatten();
        let removed = there.map(|entry| entry.path());
        let of_it = removed.filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&name)));
        let Some(last) = of_it.max() else {
            let remedy = "only what `catbench concept remove-sample` has removed can be restored";
            return Err(Error::invalid(&target, "this picture is not in the trash", remedy));
        };
        if target.exists() {
            return Err(Error::invalid(&target, "there is a picture of this name again", "remove it first"));
        }
        std::fs::rename(&last, &target).map_err(Error::io("restore", &last))?;
        Ok(target)
    }

    /// Its samples in the trash, the last removed one first.
    pub fn removed_samples(&self) -> Result<Vec<RemovedSample>, Error> {
        let trash = self.home()?.removed_samples(&self.id);
        let mut found = Vec::new();
        let mut folders = vec![trash.clone()];
        while let Some(folder) = folders.pop() {
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io("read", &folder)(error)),
            };
            for path in entries.flatten().map(|entry| entry.path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if let Some((picture, when)) =
                    path.strip_prefix(&trash).ok().and_then(Path::to_str).and_then(|path| path.rsplit_once('~'))
                {
                    found.push(RemovedSample { picture: picture.into(), when: when.to_owned(), path });
                }
            }
        }
        found.sort_by(|a, b| b.when.cmp(&a.when));
        Ok(found)
    }

    /// The folder of the job that `picture` is of, and its path from there.
    fn job_of<'a>(&self, picture: &'a Path) -> Option<(PathBuf, &'a Path)> {
        let job = picture.ancestors().filter(|path| path.iter().count() == 2).last()?;
        Some((self.folder.join(job), picture.strip_prefix(job).ok()?))
    }

    fn has_sample(&self, picture: &Path) -> bool {
        self.job_of(picture).is_some_and(|(job, path)| is_file_inside(&job, path))
    }

    /// `picture` as text, if it is the path of a picture of one of the concept's jobs.
    fn in_jobs(&self, picture: &Path) -> Result<String, Error> {
        let plain = inside(&self.folder, picture).is_some();
        let of_job = picture.starts_with("runs") || picture.starts_with("samples");
        let is_picture = picture.extension().is_some_and(|ending| ending == "png");
        // Folders of the job may be links: what is moved is a file of the job all the same.
        let place = self.folder.join(picture).with_file_name("");
        let is_own = || crate::fs::open_folder(&place).is_ok();
        let is_of_job = || self.job_of(picture).is_some_and(|(job, _)| leads_inside(&job, &place));
        let leads_out = || place.exists() && !(is_own() && is_of_job());
        match picture.to_str() {
            Some(text) if plain && of_job && is_picture && !leads_out() => Ok(text.to_owned()),
            _ => {
                let remedy = "a sample is runs/.../NAME.png or samples/.../NAME.png, from the concept's folder";
                Err(Error::invalid(&self.folder.join(picture), "this is no sample of the concept", remedy))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn concept(home: &Path) -> Concept {
        let folder = home.join("mug");
        std::fs::create_dir_all(folder.join("samples/one")).unwrap();
        std::fs::write(folder.join("concept.toml"), "name = \"mug\"\nclass_word = \"cup\"\nbase_model = \"x\"\n")
            .unwrap();
        std::fs::write(folder.join("samples/one/a.png"), "a picture").unwrap();
        Concept::open(&folder).unwrap()
    }

    #[test]
    fn a_rating_is_a_line_that_a_hand_can_edit_and_a_wrong_one_is_named() {
        let home = tempfile::tempdir().unwrap();
        let concept = concept(home.path());
        let file = concept.folder.join("ratings.toml");
        concept.rate(Path::new("samples/one/a.png"), Some(4)).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "\"samples/one/a.png\" = 4\n");
        assert!(concept.rate(Path::new("samples/one/a.png"), Some(6)).is_err());
        for other in ["samples/one/b.png", "../x.png", "concept.toml", "/etc/x.png", "images/a.png"] {
            assert!(concept.rate(Path::new(other), Some(1)).is_err(), "{other}");
        }
        for (text, named) in [("\"a.png\" = 9\n", "a.png"), ("\"a.png\" = \"good\"\n", "line 1"), ("what\n", "line 1")]
        {
            std::fs::write(&file, text).unwrap();
            let message = read_ratings(&concept.folder).unwrap_err().to_string();
            assert!(message.contains("ratings.toml") && message.contains(named), "{message}");
            assert!(concept.rate(Path::new("samples/one/a.png"), None).is_err(), "nothing is written over it");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
    }

    #[test]
    fn a_removed_sample_comes_back_as_it_was_removed_last() {
        let home = tempfile::tempdir().unwrap();
        let concept = concept(home.path());
        let (picture, path) = (Path::new("samples/one/a.png"), concept.folder.join("samples/one/a.png"));
        concept.remove_sample(picture).unwrap();
        assert!(!path.exists() && concept.remove_sample(picture).is_err());
        std::fs::write(&path, "a later one").unwrap();
        assert!(concept.restore_sample(picture).unwrap_err().to_string().contains("again"));
        concept.remove_sample(picture).unwrap();
        let removed = concept.removed_samples().unwrap();
        assert!(removed.len() == 2 && removed.iter().all(|removed| removed.picture == picture), "{removed:?}");
        assert_eq!(std::fs::read_to_string(&removed[0].path).unwrap(), "a later one", "the last one first");
        concept.restore_sample(picture).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a later one");
        assert_eq!(concept.home().unwrap().removed_concepts().unwrap(), [], "it is no concept");
    }
}
