//! Job folders: what a job is told, and where it puts what it makes.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::concept::{read_toml, write_toml};
use super::inside::is_file_inside;
use super::{Concept, Error, Home, inside, new_id};
use crate::fs::Show;
use crate::json;
use crate::protocol::{
    Axis, DeviceName, JobKind, MaskConfig, MaskMaker, MaskQuality, ModelSpec, PhotoReading, PictureConfig, Preset,
    SampleConfig, ScoreConfig, ScoreTask, TrainConfig, check_prompt, path_or_table,
};

/// The settings file of a kind of job.
fn file_name(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Train => "run.toml",
        JobKind::Sample => "batch.toml",
        JobKind::Score => "score.toml",
        JobKind::Mask => "mask.toml",
    }
}

/// The folder of jobs that belong to no run, in the concept's.
pub(super) const JOBS: &str = "jobs";
/// The folder of a run's separate scoring, in the run's.
const EVALUATION: &str = "evaluation";

/// Where the embeddings of a run come from that was not trained here.
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
    /// Set when nothing was trained here: the settings are then those of the authors' code, which the file does not carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
    /// The frozen diffusion model, absolute.
    #[serde(with = "path_or_table")]
    pub base_model: ModelSpec,
    /// The layout of its checkpoints. A run goes on in that in which it began, so that it ends at the same bytes.
    #[serde(default = "first_format", skip_serializing_if = "is_first_format")]
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_first_format(format: &u32) -> bool {
    *format == first_format()
}

impl RunSpec {
    /// A training of `concept` as it is now. Its pictures are made where it trains.
    pub fn new(concept: &Concept, train: TrainConfig, mut evaluation: ScoreConfig) -> Result<Self, Error> {
        concept.check_masks_by(evaluation.sample.masks)?;
        concept.check_hold_out(&train)?;
        evaluation.sample.device = train.device;
        evaluation.sample.dtype = train.dtype;
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

/// `batch.toml`: one sampling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchSpec {
    /// The concept's name.
    pub concept: String,
    /// Its class word.
    pub class_word: String,
    /// The run whose embeddings are used; none samples the base model.
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
    /// A sampling of `concept` as it is now, with the embeddings of `run`.
    pub fn new(concept: &Concept, run: Option<&JobFolder>, sample: SampleConfig) -> Result<Self, Error> {
        concept.check_masks_by(sample.masks)?;
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

/// `score.toml`: one scoring.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreSpec {
    /// The concept's name.
    pub concept: String,
    /// Its class word.
    pub class_word: String,
    /// The CLIP model of the scores, absolute.
    pub score_model: PathBuf,
    /// The DINO model of the scores, absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dino_model: Option<PathBuf>,
    /// The run that is scored; none for pictures that are of no run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The frozen diffusion model, absolute.
    #[serde(with = "path_or_table")]
    pub base_model: ModelSpec,
    /// When it was asked for; a folder that is scored again is asked for again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<jiff::Timestamp>,
    /// What is measured.
    #[serde(default)]
    pub task: ScoreTask,
    /// Settings of the scoring; its checkpoint is absolute.
    pub score: ScoreConfig,
}

impl ScoreSpec {
    /// A scoring of `concept`, of `run` where it is one of a run.
    pub fn new(concept: &Concept, run: Option<&JobFolder>, task: ScoreTask, score: ScoreConfig) -> Result<Self, Error> {
        let score_model = concept.score_model().ok_or_else(|| {
            let path = concept.folder.join("concept.toml");
            Error::invalid(&path, "score_model is missing", "name the folder of a CLIP model")
        })?;
        concept.check_masks_by(score.sample.masks)?;
        Ok(Self {
            concept: concept.id.clone(),
            class_word: concept.file.class_word.clone(),
            base_model: concept.base_model()?,
            score_model,
            dino_model: concept.dino_model(),
            run: run.map(|run| run.id().to_owned()),
            asked: Some(jiff::Timestamp::now()),
            task,
            score,
        })
    }
}

/// `mask.toml`: masks to make, or makers of masks to compare.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskSpec {
    /// The concept's name.
    pub concept: String,
    /// Its class word, which is looked for.
    pub class_word: String,
    /// The pictures, absolute; those of a bench are in it.
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

/// Where a run keeps its checkpoint after `step` steps, from its folder.
pub fn checkpoint_path(step: usize) -> PathBuf {
    PathBuf::from(format!("checkpoints/step-{step:06}.safetensors"))
}

/// The folder of one job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobFolder {
    path: PathBuf,
}

impl JobFolder {
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

    /// Begin a training of `concept`: its folder and `run.toml`.
    pub fn new_run(concept: &Concept, train: TrainConfig, evaluation: ScoreConfig) -> Result<Self, Error> {
        let spec = RunSpec::new(concept, train, evaluation)?;
        Self::create(new_id(&concept.folder.join("runs"))?, "run.toml", &spec)
    }

    /// A run of `concept` that is finished from the start: `fill` makes what is in its folder. It is seen by others once
    /// all is there; on an error nothing is left.
    pub fn new_imported<E: From<Error>>(
        concept: &Concept,
        spec: &RunSpec,
        fill: impl FnOnce(&Self) -> Result<(), E>,
    ) -> Result<Self, E> {
        let job = Self { path: new_id(&concept.folder.join("runs"))? };
        let made = fill(&job).and_then(|()| Ok(job.write_run_spec(spec)?));
        if let Err(error) = made {
            // Whatever cannot be removed is not seen as a run: it has no run.toml.
            let _ = std::fs::remove_dir_all(&job.path);
            return Err(error);
        }
        Ok(job)
    }

    /// Begin a sampling of `concept`: its `pictures.jsonl`, then its `batch.toml`, by which others see it.
    pub fn new_batch(concept: &Concept, spec: &BatchSpec, pictures: &[PictureConfig]) -> Result<Self, Error> {
        let job = Self { path: new_id(&concept.folder.join("samples"))? };
        let written = job.write_pictures(pictures).and_then(|()| write_toml(&job.path.join("batch.toml"), spec));
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

    /// Begin a scoring of `run`, in the run's `evaluation` folder.
    pub fn new_score(concept: &Concept, run: &JobFolder, score: ScoreConfig) -> Result<Self, Error> {
        let spec = ScoreSpec::new(concept, Some(run), ScoreTask::Both, score)?;
        let folder = run.evaluation();
        std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        Self::create(folder, "score.toml", &spec)
    }

    /// Begin a scoring on demand, in a folder of its own.
    pub fn new_scoring(concept: &Concept, spec: &ScoreSpec) -> Result<Self, Error> {
        Self::create(new_id(&concept.folder.join(JOBS))?, "score.toml", spec)
    }

    /// Begin making masks, in a folder of its own.
    pub fn new_masks(concept: &Concept, pictures: Vec<PathBuf>, mask: MaskConfig) -> Result<Self, Error> {
        let spec = MaskSpec {
            concept: concept.id.clone(),
            class_word: concept.file.class_word.clone(),
            base_model: concept.base_model()?,
            pictures,
            mask,
            bench: None,
        };
        Self::create(new_id(&concept.folder.join(JOBS))?, "mask.toml", &spec)
    }

    /// The folder of a new comparison of makers of masks, on the device of `mask`.
    pub fn new_mask_bench(concept: &Concept, bench: MaskBench, mask: MaskConfig) -> Result<Self, Error> {
        let spec = MaskSpec {
            concept: concept.id.clone(),
            class_word: concept.file.class_word.clone(),
            base_model: concept.base_model()?,
            pictures: Vec::new(),
            mask,
            bench: Some(bench),
        };
        Self::create(new_id(&concept.folder.join(JOBS))?, "mask.toml", &spec)
    }

    /// Where a bench of masks writes its lines.
    pub fn bench_lines(&self) -> PathBuf {
        self.path.join("bench.jsonl")
    }

    fn create<T: Serialize>(path: PathBuf, file_name: &str, spec: &T) -> Result<Self, Error> {
        write_toml(&path.join(file_name), spec)?;
        Ok(Self { path })
    }

    /// All jobs in `parent` that have `file_name`, sorted by id.
    pub(super) fn list(parent: &Path, file_name: &str) -> Result<Vec<Self>, Error> {
        if !parent.is_dir() {
            return Ok(Vec::new());
        }
        let mut jobs = Vec::new();
        for entry in std::fs::read_dir(parent).map_err(Error::io("read", parent))? {
            let path = entry.map_err(Error::io("read", parent))?.path();
            if path.join(file_name).symlink_metadata().is_ok() {
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

    /// What kind of job it is.
    pub fn kind(&self) -> Result<JobKind, Error> {
        [JobKind::Train, JobKind::Sample, JobKind::Score, JobKind::Mask]
            .into_iter()
            // Whatever it is: one that is no file is told of when it is read.
            .find(|kind| self.path.join(file_name(*kind)).symlink_metadata().is_ok())
            .ok_or_else(|| {
                let remedy = "a job's folder holds run.toml, batch.toml, score.toml or mask.toml";
                Error::invalid(&self.path, "this is not a job's folder", remedy)
            })
    }

    /// The folder of the concept it belongs to.
    pub fn concept_folder(&self) -> Result<&Path, Error> {
        let own = self.path.parent().is_some_and(|parent| parent.ends_with(JOBS));
        let depth = if self.kind()? == JobKind::Score && !own { 3 } else { 2 };
        self.path.ancestors().nth(depth).ok_or_else(|| {
            Error::invalid(&self.path, "this job is in no concept's folder", "move it back under <concept>/runs")
        })
    }

    /// The name of the concept it belongs to; none where its folder is gone or has no readable name.
    pub fn concept(&self) -> Option<&str> {
        self.concept_folder().ok()?.file_name()?.to_str()
    }

    /// The base model its settings name.
    pub fn base_model(&self) -> Result<ModelSpec, Error> {
        Ok(match self.kind()? {
            JobKind::Train => self.run_spec()?.base_model,
            JobKind::Sample => self.batch_spec()?.base_model,
            JobKind::Score => self.score_spec()?.base_model,
            JobKind::Mask => self.mask_spec()?.base_model,
        })
    }

    /// Where its settings have it computed.
    pub fn device(&self) -> Result<DeviceName, Error> {
        Ok(match self.kind()? {
            JobKind::Train => self.run_spec()?.train.device,
            JobKind::Sample => self.batch_spec()?.sample.device,
            JobKind::Score => self.score_spec()?.score.sample.device,
            JobKind::Mask => self.mask_spec()?.mask.device,
        })
    }

    /// Have it computed there.
    pub fn set_device(&self, device: DeviceName) -> Result<(), Error> {
        if self.device()? == device {
            return Ok(());
        }
        let path = self.path.join(file_name(self.kind()?));
        match self.kind()? {
            JobKind::Train => {
                let mut spec = self.run_spec()?;
                (spec.train.device, spec.evaluation.sample.device) = (device, device);
                write_toml(&path, &spec)
            }
            JobKind::Sample => {
                let mut spec = self.batch_spec()?;
                spec.sample.device = device;
                write_toml(&path, &spec)
            }
            JobKind::Score => {
                let mut spec = self.score_spec()?;
                spec.score.sample.device = device;
                write_toml(&path, &spec)
            }
            JobKind::Mask => {
                let mut spec = self.mask_spec()?;
                spec.mask.device = device;
                write_toml(&path, &spec)
            }
        }
    }

    /// The preset that a run was trained with; the usual one of no run.
    pub fn preset_of(run: Option<&Self>) -> Result<&'static Preset, Error> {
        Ok(run.map_or_else(|| Ok(TrainConfig::default()), |run| Ok::<_, Error>(run.run_spec()?.train))?.preset()?)
    }

    /// Its `run.toml`.
    pub fn run_spec(&self) -> Result<RunSpec, Error> {
        read_toml(&self.path.join("run.toml"))
    }

    /// Write its `run.toml` anew.
    pub fn write_run_spec(&self, spec: &RunSpec) -> Result<(), Error> {
        write_toml(&self.path.join("run.toml"), spec)
    }

    /// Its `batch.toml`.
    pub fn batch_spec(&self) -> Result<BatchSpec, Error> {
        read_toml(&self.path.join("batch.toml"))
    }

    /// Its `score.toml`.
    pub fn score_spec(&self) -> Result<ScoreSpec, Error> {
        read_toml(&self.path.join("score.toml"))
    }

    /// Write its `score.toml` anew.
    pub fn write_score_spec(&self, spec: &ScoreSpec) -> Result<(), Error> {
        write_toml(&self.path.join("score.toml"), spec)
    }

    /// Its `mask.toml`.
    pub fn mask_spec(&self) -> Result<MaskSpec, Error> {
        read_toml(&self.path.join("mask.toml"))
    }

    /// The `scores.jsonl` that a scoring writes to: its run's, else its own. One that trains writes its own.
    pub fn scores(&self) -> Result<PathBuf, Error> {
        let of_run = match self.kind()? {
            JobKind::Score => self.score_spec()?.run,
            _ => None,
        };
        let folder = match of_run {
            Some(run) if Path::new(&run).file_name().is_none_or(|name| name != run.as_str()) => {
                let problem = format!("its score.toml names a run {run:?}, which is no run's id");
                return Err(Error::invalid(&self.path, problem, "the file was changed by hand: score anew"));
            }
            Some(run) => self.concept_folder()?.join("runs").join(run),
            None => self.path.clone(),
        };
        Ok(folder.join("scores.jsonl"))
    }

    /// When a scoring was asked for, by which lines of scores name it; none of other jobs, or where it was not recorded.
    pub fn asked(&self) -> Result<Option<jiff::Timestamp>, Error> {
        match self.kind()? {
            JobKind::Score => Ok(self.score_spec()?.asked),
            _ => Ok(None),
        }
    }

    /// Its folder from the concept's, by which lines of scores name it.
    pub fn in_concept(&self) -> Result<PathBuf, Error> {
        let concept = self.concept_folder()?;
        Ok(self.path.strip_prefix(concept).unwrap_or(&self.path).to_owned())
    }

    /// What its settings file says, with its defaults, to be compared with others'.
    pub fn settings(&self) -> Result<serde_json::Value, Error> {
        let settings = match self.kind()? {
            JobKind::Train => json::to_value(&self.run_spec()?),
            JobKind::Sample => json::to_value(&self.batch_spec()?),
            JobKind::Score => json::to_value(&self.score_spec()?),
            JobKind::Mask => json::to_value(&self.mask_spec()?),
        };
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

    /// The checkpoint of a run after `step` steps.
    pub fn checkpoint(&self, step: usize) -> PathBuf {
        self.path.join(checkpoint_path(step))
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

    /// Where a run's evaluation is.
    pub fn evaluation(&self) -> PathBuf {
        self.path.join(EVALUATION)
    }
}
