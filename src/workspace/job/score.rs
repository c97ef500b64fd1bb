//! Scorings: `score.toml`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Concept, Error, JOBS, JobFolder, Kind, Spec, read_toml};
use crate::protocol::{DeviceName, JobKind, ModelSpec, ScoreConfig, ScoreTask, path_or_table};

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
        concept.check_masks_by(score.sample.shared.masks)?;
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

/// What is particular to scorings.
pub(super) static KIND: Kind = Kind {
    word: JobKind::Score,
    file: "score.toml",
    folder: JOBS,
    doing: "scoring",
    again: "does it again",
    do_again: "do it again",
    makes_pictures: false,
    writes_anywhere: false,
    once: false,
    remedy: super::retry,
    read: |path| Ok(Box::new(read_toml::<ScoreSpec>(path)?)),
    scores: Some(of_run),
    asked: Some(|job| Ok(job.score_spec()?.asked)),
};

impl Spec for ScoreSpec {
    fn about(&self) -> &'static Kind {
        &KIND
    }

    fn base_model(&self) -> &ModelSpec {
        &self.base_model
    }

    fn device(&self) -> DeviceName {
        self.score.sample.shared.device
    }

    fn set_device(&mut self, device: DeviceName) {
        self.score.sample.shared.device = device;
    }
}

/// The `scores.jsonl` of the run that is scored, else the scoring's own.
fn of_run(job: &JobFolder) -> Result<PathBuf, Error> {
    let Some(run) = job.score_spec()?.run else { return Ok(job.own_scores()) };
    if Path::new(&run).file_name().is_none_or(|name| name != run.as_str()) {
        let problem = format!("its score.toml names a run {run:?}, which is no run's id");
        return Err(Error::invalid(&job.path, problem, "the file was changed by hand: score anew"));
    }
    Ok(job.concept_folder()?.join("runs").join(run).join("scores.jsonl"))
}

impl JobFolder {
    /// Its `score.toml`.
    pub fn score_spec(&self) -> Result<ScoreSpec, Error> {
        read_toml(&self.path.join(KIND.file))
    }

    /// Begin the separate scoring of a run, in the folder of that.
    pub fn new_evaluation(run: &Self, spec: &ScoreSpec) -> Result<Self, Error> {
        let scoring = Self { path: run.evaluation() };
        std::fs::create_dir_all(&scoring.path).map_err(Error::io("create", &scoring.path))?;
        scoring.write(spec)?;
        Ok(scoring)
    }
}
