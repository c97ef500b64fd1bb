//! Asking what only the code of the models knows, through a runner process: whatever happens in there, the asker lives on.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Error;
use crate::json;
use crate::programs;
use crate::protocol::{Build, DeviceName, Estimate, EstimateRequest, Format, ModelSpec, Reply, Request};
use crate::workspace::{Concept, Home, JobFolder};

/// What each of these jobs would need.
pub(super) fn estimates(jobs: Vec<EstimateRequest>) -> Result<Vec<Estimate>, Error> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let own = programs::own().map_err(Error::Start)?;
    // A program that computes on another device computes on the processor too.
    let elsewhere = jobs.iter().map(EstimateRequest::device).find(|device| *device != DeviceName::Cpu);
    let program = elsewhere.and_then(|device| device.program(&own)).unwrap_or(own);
    match ask_of(&program, &Request::Estimate { jobs })? {
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
pub(super) fn check_resume(run: &JobFolder) -> Result<(), Error> {
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

/// Ask the program for graphics cards what it was built with. None if this installation has no such program.
///
/// # Errors
/// It does not start, or is not of this version.
pub fn cuda_build() -> Result<Option<Build>, Error> {
    let own = programs::own().map_err(Error::Start)?;
    match programs::with_cuda(&own).map(|program| ask_of(&program, &Request::Build)).transpose()? {
        None => Ok(None),
        Some(Reply::Build { build }) => Ok(Some(build)),
        Some(other) => Err(unexpected(other)),
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
    ask_of(&programs::own().map_err(Error::Start)?, request)
}

fn ask_of(program: &Path, request: &Request) -> Result<Reply, Error> {
    let wrong = |problem: &dyn std::fmt::Display| Error::Answer(problem.to_string());
    let question = json::to_vec(request).map_err(|error| wrong(&error))?;
    let mut runner = Command::new(program)
        .arg("runner")
        .envs(programs::for_cards(|name| std::env::var_os(name).is_some()))
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
        let mut said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        // The loader's own status: a library is missing.
        if output.status.code() == Some(127) {
            said += ": install CUDA's libraries, or name their folder in LD_LIBRARY_PATH";
        }
        Error::EndedAtOnce { status: output.status, log: said }
    })
}
