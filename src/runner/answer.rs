//! Answers to small questions: see [`Request`].

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use super::{Error, estimate, models, train};
use crate::catversion::{Checkpoint, adapter, diffusers};
use crate::diffusion::Outline;
use crate::fs::sha256;
use crate::json;
use crate::protocol::{Event, Reply, Request};
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
        Request::ImportAdapter { concept, file } => {
            Reply::Imported { run: import_adapter(&Concept::open(&concept)?, &file)?.path().to_owned() }
        }
        Request::ExportAdapter { checkpoint, out, force } => {
            if !force {
                adapter::check_target(&out)?;
            }
            let checkpoint = Checkpoint::load(&checkpoint)?;
            let files = adapter::export(&out, &checkpoint.embeddings)?;
            Reply::Exported { files, warnings: adapter::export_warnings(&checkpoint) }
        }
        Request::ExportDiffusers { checkpoint, out } => {
            let (files, warnings) = diffusers::export(&out, &Checkpoint::load(&checkpoint)?)?;
            Reply::Exported { files, warnings }
        }
        Request::CheckResume { run } => {
            train::check_resume(&JobFolder::at(&run)?)?;
            Reply::CanResume
        }
        Request::TextLayers { base_model } => Reply::TextLayers { count: Outline::read(&base_model)?.text_layers() },
        Request::ModelHash { base_model, home } => {
            Reply::ModelHash { sha256: models::hash(&base_model, &HashCache::of(&Home::at(&home)?))? }
        }
    })
}

/// A finished run of what is in `file`.
fn import_adapter(concept: &Concept, file: &Path) -> Result<JobFolder, Error> {
    let file = std::path::absolute(file).map_err(workspace::Error::io("find", file))?;
    let sha256 = sha256(&file).map_err(workspace::Error::io("read", &file))?;
    let model = concept.base_model()?;
    let outline = Outline::read(&model)?;
    let mut checkpoint = adapter::import(&file, &outline, &concept.file.class_word)?;
    // Last, because it reads the whole model.
    checkpoint.meta.base_model = models::hash(&model, &HashCache::of(&concept.home()?))?;
    let spec = RunSpec {
        base_model_hash: Some(checkpoint.meta.base_model.clone()),
        imported: Some(Imported { file, sha256 }),
        ..RunSpec::new(concept, checkpoint.meta.config.clone(), concept.evaluation(checkpoint.meta.config.preset)?)?
    };
    JobFolder::new_imported(concept, &spec, |job| {
        let (mut log, _) = EventLog::open(&job.events())?;
        log.write(Event::Started { pid: std::process::id(), steps: 0, resumed_from: 0 })?;
        train::save(job, &checkpoint, &mut log)?;
        Ok::<_, Error>(log.write(Event::Finished { seconds: 0.0 })?)
    })
}
