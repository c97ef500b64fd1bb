//! Answers to small questions: see [`Request`].

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use super::{Error, estimate, models, train};
use crate::diffusion::{Outline, TextOutline};
use crate::fs::sha256;
use crate::json;
use crate::method::{Export, MethodSettings};
use crate::personalize::Checkpoint;
use crate::protocol::{Build, Declaration, Event, Format, Reply, Request, SettingError};
use crate::workspace::{self, Concept, EventLog, HashCache, Home, Imported, JobFolder, RunSpec};

/// Read one request from stdin and write its reply to stdout.
pub fn answer() -> ExitCode {
    let mut text = Vec::new();
    let request = std::io::stdin().read_to_end(&mut text).and_then(|_| Ok(serde_json::from_slice(&text)?));
    let reply = match request {
        Ok(request) => reply(request)
            .unwrap_or_else(|error| Reply::Failed { message: error.to_string(), picture: error.picture() }),
        Err(error) => Reply::Failed { message: format!("not a request: {error}"), picture: None },
    };
    let written = json::to_vec(&reply).map_err(std::io::Error::from).and_then(|reply| {
        let mut stdout = std::io::stdout();
        stdout.write_all(&reply)?;
        stdout.flush()
    });
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn reply(request: Request) -> Result<Reply, Error> {
    Ok(match request {
        Request::Estimate { jobs } => {
            let mut estimator = estimate::Estimator::default();
            let estimates = jobs.into_iter().map(|job| estimator.estimate(job)).collect::<Result<_, _>>()?;
            Reply::Estimates { estimates }
        }
        Request::Import { concept, file, format } => {
            Reply::Imported { run: import(&Concept::open(&concept)?, &file, &format)?.path().to_owned() }
        }
        Request::Export { checkpoint, concept, out, format, force } => {
            let checkpoint = Checkpoint::load(&checkpoint)?;
            let method = &checkpoint.meta.config.method;
            let format = format_of(method.declaration(), &format)?;
            let export = Export { path: &out, checkpoint: &checkpoint, concept: &concept, force };
            let (files, warnings) = method.export(format, &export)?;
            Reply::Exported { files, warnings }
        }
        Request::CheckResume { run } => {
            train::check_resume(&JobFolder::at(&run)?)?;
            Reply::CanResume
        }
        Request::TextLayers { base_model } => {
            let texts = Outline::read(&base_model)?.texts;
            Reply::TextLayers { count: texts.first().map_or(0, TextOutline::layers) }
        }
        Request::Build => Reply::Build { build: Build::own() },
        Request::ModelHash { base_model, home } => {
            Reply::ModelHash { sha256: models::hash(&base_model, &HashCache::of(&Home::at(&home)?))? }
        }
    })
}

/// The format `name` of a method.
///
/// # Errors
/// It has no such.
fn format_of(method: &'static Declaration, name: &str) -> Result<&'static Format, Error> {
    let missing = || {
        let known: Vec<String> = method.formats.iter().map(|format| format!("export-{}", format.name)).collect();
        SettingError::new("export", name, format!("a run by {} has {}", method.title, known.join(" and ")))
    };
    Ok(method.formats.iter().find(|format| format.name == name).ok_or_else(missing)?)
}

/// A finished run of what is in `file`, which is of `format`.
fn import(concept: &Concept, file: &Path, format: &str) -> Result<JobFolder, Error> {
    let reads = |method: &&&'static Declaration| {
        method.formats.iter().any(|known| known.name == format && known.import.is_some())
    };
    let method = MethodSettings::ALL.iter().find(reads).map_or(MethodSettings::ALL[0], |method| *method);
    let format = format_of(method, format)?;
    let file = std::path::absolute(file).map_err(workspace::Error::io("find", file))?;
    let sha256 = sha256(&file).map_err(workspace::Error::io("read", &file))?;
    let model = concept.base_model()?;
    let outline = Outline::read(&model)?;
    let own = MethodSettings::named(method.name)?;
    let mut checkpoint = own.import(format, &file, &outline, &concept.file.class_word)?;
    // Last, because it reads the whole model.
    checkpoint.meta.base_model = models::hash(&model, &HashCache::of(&concept.home()?))?;
    let spec = RunSpec {
        base_model_hash: Some(checkpoint.meta.base_model.clone()),
        imported: Some(Imported { file, sha256 }),
        ..RunSpec::new(concept, checkpoint.meta.config.clone(), concept.evaluation(checkpoint.meta.config.preset()?)?)?
    };
    JobFolder::new_imported(concept, &spec, |job| {
        let (mut log, _) = EventLog::open(&job.events())?;
        log.write(Event::Started { pid: std::process::id(), steps: 0, resumed_from: 0 })?;
        train::save(job, &checkpoint, &mut log)?;
        Ok::<_, Error>(log.write(Event::Finished { seconds: 0.0 })?)
    })
}
