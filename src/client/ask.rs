//! Asking what only the code of the models knows, through a runner process: whatever happens in there, the asker lives on.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Error;
use crate::json;
use crate::protocol::{
    Estimate, EstimateRequest, Format, MaskConfig, MaskWork, ModelSpec, PictureConfig, Reply, Request, SampleConfig,
    ScoreTask, ScoreWork, TrainConfig,
};
use crate::workspace::{Concept, Home, JobFolder, RunSpec, ScoreSpec};

/// What a job on `concept` would need: a training with the pictures made on its way, or with `train` none a sampling;
/// of `pictures`, or of every prompt of `sample` with every seed; `scored` when a scoring belongs to it.
pub fn estimate(
    concept: &Concept,
    train: Option<&TrainConfig>,
    sample: &SampleConfig,
    pictures: Option<&[PictureConfig]>,
    scored: bool,
) -> Result<Estimate, Error> {
    let request = EstimateRequest {
        train: train.cloned(),
        pictures: pictures.map(<[PictureConfig]>::to_vec),
        score: concept.score_model().filter(|_| scored).map(|score_model| ScoreWork {
            score_model,
            dino_model: concept.dino_model(),
            sides: 2,
            files: 0,
        }),
        ..job_on(concept, concept.base_model()?, sample.clone())?
    };
    estimate_of(request)
}

/// The question what is left of a run needs, of which `done` steps are done.
pub fn run_request(concept: &Concept, spec: &RunSpec, done: usize) -> Result<EstimateRequest, Error> {
    let train = TrainConfig { steps: spec.train.steps.saturating_sub(done).max(1), ..spec.train.clone() };
    let score = spec.score_model.clone().filter(|_| train.evaluate).map(|score_model| ScoreWork {
        score_model,
        dino_model: spec.dino_model.clone(),
        sides: 2,
        files: 0,
    });
    let job = job_on(concept, spec.base_model.clone(), spec.evaluation.sample.clone())?;
    Ok(EstimateRequest { train: Some(train), score, ..job })
}

/// The question what a scoring needs in which the pictures are sampled so many times.
pub fn score_request(concept: &Concept, spec: &ScoreSpec, sides: usize) -> Result<EstimateRequest, Error> {
    let files = if let ScoreTask::Pictures { files, .. } = &spec.task { files.len() } else { 0 };
    let (score_model, dino_model) = (spec.score_model.clone(), spec.dino_model.clone());
    let score = Some(ScoreWork { score_model, dino_model, sides, files });
    Ok(EstimateRequest { score, ..job_on(concept, spec.base_model.clone(), spec.score.sample.clone())? })
}

/// The question what masks of so many `pictures` need.
pub fn mask_request(concept: &Concept, pictures: usize, mask: MaskConfig) -> Result<EstimateRequest, Error> {
    let sample = SampleConfig { device: mask.device, dtype: mask.dtype, ..SampleConfig::default() };
    let masks = Some(MaskWork { pictures, mask });
    Ok(EstimateRequest { masks, ..job_on(concept, concept.base_model()?, sample)? })
}

fn job_on(concept: &Concept, base_model: ModelSpec, sample: SampleConfig) -> Result<EstimateRequest, Error> {
    Ok(EstimateRequest {
        base_model,
        class_word: concept.file.class_word.clone(),
        train: None,
        sample,
        pictures: None,
        photos: concept.photos()?.len(),
        score: None,
        masks: None,
    })
}

/// What a job would need.
pub fn estimate_of(request: EstimateRequest) -> Result<Estimate, Error> {
    let mut estimates = estimates(vec![request])?;
    estimates.pop().ok_or_else(|| Error::Answer("no estimate".into()))
}

/// What each of these jobs would need.
pub fn estimates(jobs: Vec<EstimateRequest>) -> Result<Vec<Estimate>, Error> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    match ask(&Request::Estimate { jobs })? {
        Reply::Estimates { estimates } => Ok(estimates),
        other => Err(unexpected(other)),
    }
}

/// Make a finished run of `concept` from `file`, of another program.
pub fn import(concept: &Concept, file: &Path, format: &Format) -> Result<JobFolder, Error> {
    let (concept, file) = (concept.folder.clone(), file.to_path_buf());
    match ask(&Request::Import { concept, file, format: format.name.into() })? {
        Reply::Imported { run } => Ok(JobFolder::at(&run)?),
        other => Err(unexpected(other)),
    }
}

/// Write `checkpoint` of `concept` as `out`, for another program; over a file of another kind only with `force`. Gives the files
/// written, and warnings.
pub fn export(
    checkpoint: &Path,
    concept: &str,
    out: &Path,
    format: &Format,
    force: bool,
) -> Result<(Vec<PathBuf>, Vec<String>), Error> {
    let (checkpoint, out, format) = (checkpoint.to_path_buf(), out.to_path_buf(), format.name.into());
    match ask(&Request::Export { checkpoint, concept: concept.into(), out, format, force })? {
        Reply::Exported { files, warnings } => Ok((files, warnings)),
        other => Err(unexpected(other)),
    }
}

/// Refuse to go on with `run` where its training would refuse to, because its photos or masks have changed since.
pub fn check_resume(run: &JobFolder) -> Result<(), Error> {
    match ask(&Request::CheckResume { run: run.path().to_owned() })? {
        Reply::CanResume => Ok(()),
        other => Err(unexpected(other)),
    }
}

/// How many layers the text encoder of `base_model` has.
pub fn text_layers(base_model: ModelSpec) -> Result<usize, Error> {
    match ask(&Request::TextLayers { base_model })? {
        Reply::TextLayers { count } => Ok(count),
        other => Err(unexpected(other)),
    }
}

/// The hash of the content of `base_model`, which `home` remembers.
pub fn model_hash(base_model: &ModelSpec, home: &Home) -> Result<String, Error> {
    match ask(&Request::ModelHash { base_model: base_model.clone(), home: home.path().to_owned() })? {
        Reply::ModelHash { sha256 } => Ok(sha256),
        other => Err(unexpected(other)),
    }
}

fn unexpected(reply: Reply) -> Error {
    match reply {
        Reply::Failed { message, picture: None } => Error::Refused(message),
        Reply::Failed { message, picture: Some(at) } => Error::Picture { at, message },
        other => Error::odd(&other),
    }
}

fn ask(request: &Request) -> Result<Reply, Error> {
    let wrong = |problem: &dyn std::fmt::Display| Error::Answer(problem.to_string());
    let question = json::to_vec(request).map_err(|error| wrong(&error))?;
    let program = std::env::current_exe().map_err(Error::Start)?;
    let mut runner = Command::new(program)
        .arg("runner")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Error::Start)?;
    if let Some(mut stdin) = runner.stdin.take() {
        // A runner that died before it read says so below.
        let _ = stdin.write_all(&question);
    }
    let output = runner.wait_with_output().map_err(Error::Start)?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Error::EndedAtOnce { status: output.status, log: said }
    })
}
