//! Asking what only the code of the models knows, through a runner process: whatever happens in there, the asker lives on.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Error;
use crate::protocol::{
    Compared, Estimate, EstimateRequest, ModelSpec, PictureConfig, Reply, Request, SampleConfig, ScoresAt, TrainConfig,
};
use crate::workspace::{Concept, Home, JobFolder};

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
        base_model: concept.base_model()?,
        class_word: concept.file.class_word.clone(),
        train: train.cloned(),
        sample: sample.clone(),
        pictures: pictures.map(<[PictureConfig]>::to_vec),
        photos: concept.photos()?.len(),
        score_model: concept.score_model().filter(|_| scored),
    };
    match ask(&Request::Estimate(Box::new(request)))? {
        Reply::Estimate(estimate) => Ok(*estimate),
        other => Err(unexpected(other)),
    }
}

/// Make a finished run of `concept` from the authors' `pytorch_adapter.bin` in `file`.
pub fn import_adapter(concept: &Concept, file: &Path) -> Result<JobFolder, Error> {
    match ask(&Request::ImportAdapter { concept: concept.folder.clone(), file: file.to_path_buf() })? {
        Reply::Imported { run } => Ok(JobFolder::at(&run)?),
        other => Err(unexpected(other)),
    }
}

/// Write `checkpoint` as a `pytorch_adapter.bin`. Gives the files written, and warnings.
pub fn export_adapter(checkpoint: &Path, out: &Path) -> Result<(Vec<PathBuf>, Vec<String>), Error> {
    exported(&Request::ExportAdapter { checkpoint: checkpoint.to_path_buf(), out: out.to_path_buf() })
}

/// Write `checkpoint` as a file for diffusers. Gives the files written, and warnings.
pub fn export_diffusers(checkpoint: &Path, out: &Path) -> Result<(Vec<PathBuf>, Vec<String>), Error> {
    exported(&Request::ExportDiffusers { checkpoint: checkpoint.to_path_buf(), out: out.to_path_buf() })
}

fn exported(request: &Request) -> Result<(Vec<PathBuf>, Vec<String>), Error> {
    match ask(request)? {
        Reply::Exported { files, warnings } => Ok((files, warnings)),
        other => Err(unexpected(other)),
    }
}

/// Compare scores pair by pair. A row is a list of pairs: one, or those of several concepts taken together. For each row what
/// came of it, or why nothing did.
pub fn compare(rows: Vec<Vec<(ScoresAt, ScoresAt)>>) -> Result<Vec<Result<Compared, String>>, Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    match ask(&Request::Compare { rows })? {
        Reply::Compared { rows } => Ok(rows),
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
        Reply::Failed { message } => Error::Refused(message),
        other => Error::odd(&other),
    }
}

fn ask(request: &Request) -> Result<Reply, Error> {
    let wrong = |problem: &dyn std::fmt::Display| Error::Answer(problem.to_string());
    let question = serde_json::to_vec(request).map_err(|error| wrong(&error))?;
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
