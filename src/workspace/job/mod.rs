//! Job folders: what a job is told, and where it puts what it makes. A kind of job is a file here, with all that is particular
//! to it, and a line in [`KINDS`].

mod mask;
mod sample;
mod score;
mod train;

use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use super::concept::{read_toml, write_toml};
use super::inside::is_file_inside;
use super::{Concept, Error, Home, inside, new_id};
use crate::fs::Show;
use crate::json;
use crate::protocol::{DeviceName, JobKind, ModelSpec};

pub use mask::{BenchLine, MaskBench, MaskSpec, MaskWay, TruePicture};
pub use sample::BatchSpec;
pub use score::ScoreSpec;
pub use train::{Imported, RunSpec, checkpoint_path};

/// The kinds of job.
static KINDS: [&Kind; 4] = [&train::KIND, &sample::KIND, &score::KIND, &mask::KIND];

/// Reads something of a job.
type ReadFrom<T> = fn(&JobFolder) -> Result<T, Error>;

/// What is particular to a kind of job.
pub struct Kind {
    /// What processes call it.
    pub word: JobKind,
    /// Its settings file.
    pub file: &'static str,
    /// The folder of its jobs, in the concept's.
    pub folder: &'static str,
    /// What it does: "training".
    pub doing: &'static str,
    /// What doing it again comes to: "does it again".
    pub again: &'static str,
    /// The same as a request: "do it again".
    pub do_again: &'static str,
    /// Whether pictures are what it makes: they are what is counted of it and listed.
    pub makes_pictures: bool,
    /// Whether it writes beside pictures that may be anywhere.
    pub writes_anywhere: bool,
    /// Whether it is never done anew once it has finished, whoever asks for it again.
    pub once: bool,
    /// What the user can do about a job that has not finished, given its number in the queue.
    pub remedy: fn(&JobFolder, Option<u64>) -> String,
    /// Read its settings file, at this path.
    read: fn(&Path) -> Result<Box<dyn Spec>, Error>,
    /// The file that it writes scores to, where that is not its own.
    scores: Option<ReadFrom<PathBuf>>,
    /// When it was asked for, where its lines of scores say that.
    asked: Option<ReadFrom<Option<jiff::Timestamp>>>,
}

impl Kind {
    /// That of the jobs called `kind`.
    pub fn of(kind: JobKind) -> &'static Self {
        KINDS[kind as usize]
    }
}

/// `catbench jobs retry` and what that does to `job`.
pub(super) fn retry(job: &JobFolder, number: Option<u64>) -> String {
    let command = number
        .map_or("`catbench jobs retry` with its number".into(), |number| format!("`catbench jobs retry {number}`"));
    format!("{command} {}", job.about().map_or("does it again", |kind| kind.again))
}

/// What a job is told: its settings file.
pub trait Spec: Stored + Send {
    /// What is particular to its kind.
    fn about(&self) -> &'static Kind;
    /// The base model it names.
    fn base_model(&self) -> &ModelSpec;
    /// Where it is computed.
    fn device(&self) -> DeviceName;
    /// Have it computed there.
    fn set_device(&mut self, device: DeviceName);
}

/// What is kept as TOML.
pub trait Stored {
    /// Write it to a file.
    fn write(&self, path: &Path) -> Result<(), Error>;
    /// As JSON has it.
    fn value(&self) -> Result<serde_json::Value, json::Error>;
}

impl<T: Serialize> Stored for T {
    fn write(&self, path: &Path) -> Result<(), Error> {
        write_toml(path, self)
    }

    fn value(&self) -> Result<serde_json::Value, json::Error> {
        json::to_value(self)
    }
}

/// The folder of jobs that belong to no run, in the concept's.
pub(super) const JOBS: &str = "jobs";
/// The folder of a run's separate scoring, in the run's.
const EVALUATION: &str = "evaluation";

/// The folder of one job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobFolder {
    path: PathBuf,
}

impl JobFolder {
    /// Begin a job of `concept`: its folder and its settings file. A sampling has pictures too: [`Self::new_batch`].
    pub fn new(concept: &Concept, spec: &dyn Spec) -> Result<Self, Error> {
        let job = Self { path: new_id(&concept.folder.join(spec.about().folder))? };
        job.write(spec).inspect_err(|_| job.discard())?;
        Ok(job)
    }

    /// The job in the folder at `path`.
    pub fn at(path: &Path) -> Result<Self, Error> {
        let path = std::path::absolute(path).map_err(Error::io("find", path))?;
        let job = Self { path };
        job.kind()?;
        Ok(job)
    }

    /// The job of `home` in the folder at `path`: `<concept>/{runs,samples,jobs}/<id>`, or the `evaluation` of a run. A path from a
    /// client, or from a file, may lead anywhere.
    ///
    /// # Errors
    /// It is elsewhere, or not there; a link on the way that another user has made; it is no job's folder.
    pub fn in_home(home: &Home, path: &Path) -> Result<Self, Error> {
        let full = home.path().join(path);
        let is_home = |folder: &Path| folder.canonicalize().is_ok_and(|folder| folder == home.path());
        // Clients may come to the home by another way.
        let inside = [3, 4].into_iter().find_map(|depth| {
            let above = full.ancestors().nth(depth).filter(|above| is_home(above))?;
            full.strip_prefix(above).ok().filter(|inside| Self::is_place(inside))
        });
        let Some(inside) = inside else {
            let remedy = "a job is CONCEPT/runs/ID, CONCEPT/samples/ID or CONCEPT/jobs/ID in it";
            return Err(Error::invalid(path, format!("this is no job of {}", home.path().shown()), remedy));
        };
        let folder = home.path().join(inside);
        crate::fs::open_folder(&folder).map_err(Error::io("open", &folder))?;
        Self::at(&folder)
    }

    /// Whether a job may be at `inside` of a home.
    fn is_place(inside: &Path) -> bool {
        let names = inside.components().map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        });
        match names.collect::<Option<Vec<&str>>>().as_deref() {
            Some([concept, "runs" | "samples" | JOBS, _] | [concept, "runs", _, EVALUATION]) => {
                !concept.starts_with('.')
            }
            _ => false,
        }
    }

    /// All jobs of a kind in the folder of a concept, sorted by id.
    pub(super) fn list(concept: &Path, kind: &Kind) -> Result<Vec<Self>, Error> {
        let parent = concept.join(kind.folder);
        if !parent.is_dir() {
            return Ok(Vec::new());
        }
        let mut jobs = Vec::new();
        for entry in std::fs::read_dir(&parent).map_err(Error::io("read", &parent))? {
            let path = entry.map_err(Error::io("read", &parent))?.path();
            if path.join(kind.file).symlink_metadata().is_ok() {
                jobs.push(Self { path });
            }
        }
        jobs.sort();
        Ok(jobs)
    }

    /// All jobs in `parent`, sorted by id; none without such a folder.
    pub fn in_folder(parent: &Path) -> Vec<Self> {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let mut jobs: Vec<Self> =
            entries.map(|entry| Self { path: entry.path() }).filter(|job| job.kind().is_ok()).collect();
        jobs.sort();
        jobs
    }

    /// Remove it again, just made and not begun.
    pub fn discard(&self) {
        // What cannot be removed is seen as a new job, which does no harm.
        let _ = std::fs::remove_dir_all(&self.path);
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name, the job's id.
    pub fn id(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// What is particular to its kind.
    pub fn about(&self) -> Result<&'static Kind, Error> {
        // Whatever it is: one that is no file is told of when it is read.
        let is_there = |kind: &&&Kind| self.path.join(kind.file).symlink_metadata().is_ok();
        KINDS.iter().find(is_there).copied().ok_or_else(|| {
            let (last, others) = (KINDS[KINDS.len() - 1].file, KINDS[..KINDS.len() - 1].iter());
            let others = others.map(|kind| kind.file).collect::<Vec<_>>().join(", ");
            let remedy = format!("a job's folder holds {others} or {last}");
            Error::invalid(&self.path, "this is not a job's folder", remedy)
        })
    }

    /// What kind of job it is.
    pub fn kind(&self) -> Result<JobKind, Error> {
        Ok(self.about()?.word)
    }

    /// The folder of the concept it belongs to.
    pub fn concept_folder(&self) -> Result<&Path, Error> {
        let of_run =
            self.path.ends_with(EVALUATION) && !self.path.parent().is_some_and(|folder| folder.ends_with(JOBS));
        self.path.ancestors().nth(if of_run { 3 } else { 2 }).ok_or_else(|| {
            Error::invalid(&self.path, "this job is in no concept's folder", "move it back under <concept>/runs")
        })
    }

    /// The name of the concept it belongs to; none where its folder is gone or has no readable name.
    pub fn concept(&self) -> Option<&str> {
        self.concept_folder().ok()?.file_name()?.to_str()
    }

    /// Its settings file.
    fn spec(&self) -> Result<Box<dyn Spec>, Error> {
        let about = self.about()?;
        (about.read)(&self.path.join(about.file))
    }

    /// Write its settings file anew.
    pub fn write(&self, spec: &dyn Spec) -> Result<(), Error> {
        spec.write(&self.path.join(spec.about().file))
    }

    /// The base model its settings name.
    pub fn base_model(&self) -> Result<ModelSpec, Error> {
        Ok(self.spec()?.base_model().clone())
    }

    /// Where its settings have it computed.
    pub fn device(&self) -> Result<DeviceName, Error> {
        Ok(self.spec()?.device())
    }

    /// Have it computed there.
    pub fn set_device(&self, device: DeviceName) -> Result<(), Error> {
        let mut spec = self.spec()?;
        if spec.device() == device {
            return Ok(());
        }
        spec.set_device(device);
        self.write(&*spec)
    }

    /// The `scores.jsonl` that it writes to: of a scoring of a run the run's, else its own.
    pub fn scores(&self) -> Result<PathBuf, Error> {
        self.about()?.scores.map_or_else(|| Ok(self.own_scores()), |of| of(self))
    }

    fn own_scores(&self) -> PathBuf {
        self.path.join("scores.jsonl")
    }

    /// When a scoring was asked for, by which lines of scores name it; none of other jobs, or where it was not recorded.
    pub fn asked(&self) -> Result<Option<jiff::Timestamp>, Error> {
        self.about()?.asked.map_or(Ok(None), |asked| asked(self))
    }

    /// Its folder from the concept's, by which lines of scores name it.
    pub fn in_concept(&self) -> Result<PathBuf, Error> {
        let concept = self.concept_folder()?;
        Ok(self.path.strip_prefix(concept).unwrap_or(&self.path).to_owned())
    }

    /// What its settings file says, with its defaults, to be compared with others'.
    pub fn settings(&self) -> Result<serde_json::Value, Error> {
        let settings = self.spec()?.value();
        settings.map_err(|error| Error::invalid(&self.path, error.to_string(), "its paths must be valid text"))
    }

    /// Its events.
    pub fn events(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    /// Held by its runner for as long as that lives.
    pub fn lock(&self) -> PathBuf {
        self.path.join("runner.lock")
    }

    /// The job at `path` in `folder`, as a file names it.
    ///
    /// # Errors
    /// No job's folder; a path that leads out of `folder`.
    pub fn within(folder: &Path, path: &Path) -> Result<Self, Error> {
        let inside = inside(folder, path).ok_or_else(|| {
            let remedy =
                "a job is named by its path from the concept's folder: the file that names it was changed by hand";
            Error::invalid(&folder.join(path), "this leads out of the concept's folder", remedy)
        })?;
        Self::at(&inside)
    }

    /// Whether there is a file at `path`, and it is one in its folder: links lead elsewhere.
    pub fn has(&self, path: &Path) -> bool {
        path.strip_prefix(&self.path).is_ok_and(|path| is_file_inside(&self.path, path))
    }

    /// What its runner wrote to stdout and stderr.
    pub fn log(&self) -> PathBuf {
        self.path.join("runner.log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_what_processes_call_it() {
        for kind in KINDS {
            assert_eq!(Kind::of(kind.word).file, kind.file);
        }
    }
}
