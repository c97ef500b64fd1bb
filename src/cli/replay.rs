//! `catbench replay`: a picture made again from what its PNG says.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::diff::Pixels;
use super::{Error, PlacementArgs, follow, preflight, print_json};
use crate::client;
use crate::image::{Provenance, read_photo, read_provenance};
use crate::protocol::{DeviceName, ModelSpec, PictureConfig, PictureRecord, SampleConfig};
use crate::workspace::{self, BatchSpec, Concept, History, Home, JobFolder};

/// Options of `replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A PNG that this program made.
    file: PathBuf,
    /// Also write the picture to this file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    placement: PlacementArgs,
    /// Print one JSON object last.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let refuse = |problem: &str, remedy: &str| Err(workspace::Error::invalid(&args.file, problem, remedy).into());
    let record = match read_provenance(&args.file)? {
        Provenance::Record(record) => *record,
        Provenance::Parameters(_) => {
            return refuse(
                "another program made it, or this one before it kept records",
                "`catbench show` prints what it says: sample with those settings",
            );
        }
        Provenance::Nothing => return refuse("it does not say how it was made", "only pictures of catbench say it"),
    };
    let before = read_photo(&args.file)?;
    let concept = Home::locate()?.concept(&record.concept)?;
    let (spec, picture) = batch(&record, &concept)?;
    let pictures = [picture];
    // As many are denoised as then, though only one is kept.
    let needs = vec![pictures[0].clone(); spec.sample.batch_size];
    preflight::refuse(&client::estimate(&concept, None, &spec.sample, Some(&needs), false)?)?;
    client::check_writable(&concept.home()?)?;
    let batch = JobFolder::new_batch(&concept, &spec, &pictures)?;
    let job = client::submit_new(&batch, args.placement.placement(None))?;
    if !follow::quietly(&concept, &batch, Some(&job))? {
        return Ok(());
    }
    let made = History::read(&batch)?.pictures.pop().map(|picture| picture.path);
    let made =
        made.ok_or_else(|| Error::Job(format!("{}: the picture is not there any more", batch.path().display())))?;
    let path = match &args.out {
        Some(out) => {
            std::fs::copy(&made, out).map_err(workspace::Error::io("write", out))?;
            out
        }
        None => &made,
    };
    let pixels = Pixels::compare(&before, &read_photo(&made)?);
    let same = pixels.is_some_and(|pixels| pixels.different == 0);
    if args.json {
        print_json(&json!({ "path": path, "batch": batch.path(), "same": same, "pixels": pixels }));
    } else {
        println!("{}", path.display());
    }
    if same {
        if !args.json {
            println!("the same picture: all {} pixels are equal", before.pixels().len());
        }
        return Ok(());
    }
    let how = pixels.map_or("another size".into(), |pixels| pixels.words());
    let why = match record.device {
        DeviceName::Cpu => "another processor or version of catbench rounds otherwise",
        _ => "graphics cards do not promise equal sums",
    };
    Err(Error::Job(format!("{} is not the same picture: {how} ({why})", path.display())))
}

/// The sampling that makes the picture again, once all it needs has been found unchanged.
fn batch(record: &PictureRecord, concept: &Concept) -> Result<(BatchSpec, PictureConfig), Error> {
    let base_model = base_model(record, concept)?;
    let mut picture = record.picture.clone();
    picture.checkpoint = checkpoint(record, concept)?;
    for file in &record.embeddings {
        if crate::fs::sha256(&file.path).map_err(workspace::Error::io("read", &file.path))? != file.sha256 {
            let problem = "this embedding is not the one that the picture was made with";
            return Err(workspace::Error::invalid(&file.path, problem, "put that one back").into());
        }
    }
    for used in &record.concepts {
        let path = &used.concept.checkpoint;
        if crate::fs::sha256(path).map_err(workspace::Error::io("read", path))? != used.sha256 {
            let problem =
                format!("this checkpoint of {} is not the one that the picture was made with", used.concept.name);
            return Err(workspace::Error::invalid(path, problem, "put that one back").into());
        }
    }
    if !(1..=MAX_BATCH).contains(&record.batch_size) {
        let problem = format!("its record says that {} pictures were made together", record.batch_size);
        return Err(Error::Job(format!("{problem}: up to {MAX_BATCH} can be made again as then")));
    }
    let sample = SampleConfig {
        concepts: record.concepts.iter().map(|used| used.concept.clone()).collect(),
        concept_steps: record.concept_steps,
        uncond_prefix: record.uncond_prefix,
        embeddings: record.embeddings.clone(),
        batch_size: record.batch_size,
        device: record.device,
        dtype: record.dtype,
        ..SampleConfig::default()
    };
    let sample = sample.of(&picture);
    sample.check()?;
    let class_word = record.class_word.clone();
    Ok((BatchSpec { class_word, base_model, fill_batches: true, ..BatchSpec::new(concept, None, sample)? }, picture))
}

/// A record of more pictures in a batch is forged, or its picture not worth so much work.
const MAX_BATCH: usize = 1024;

/// The base model of the picture: where it was, else the concept's.
fn base_model(record: &PictureRecord, concept: &Concept) -> Result<ModelSpec, Error> {
    let home = concept.home()?;
    let mut found = Vec::new();
    let own = concept.base_model().ok();
    for spec in std::iter::once(&record.base_model).chain(&own) {
        if !spec.path.exists() {
            continue;
        }
        let hash = client::model_hash(spec, &home)?;
        if hash == record.base_model_sha256 {
            return Ok(spec.clone());
        }
        found.push(format!("{} is another (sha256 {hash:.12})", spec.path.display()));
    }
    if found.is_empty() {
        found.push("it is not there any more".into());
    }
    let problem =
        format!("the base model of the picture, sha256 {:.12}: {}", record.base_model_sha256, found.join("; "));
    Err(workspace::Error::invalid(&record.base_model.path, problem, "put it back there").into())
}

/// The checkpoint of the picture: where it was, else at the same place of the concept.
fn checkpoint(record: &PictureRecord, concept: &Concept) -> Result<Option<PathBuf>, Error> {
    let Some(used) = &record.checkpoint else { return Ok(None) };
    let refuse = |problem: String, remedy: &str| Err(workspace::Error::invalid(&used.path, problem, remedy).into());
    let run = |path: &Path| {
        let parts: Vec<_> = path.components().rev().take(4).collect();
        parts.into_iter().rev().collect::<PathBuf>()
    };
    let places = [used.path.clone(), concept.folder.join(run(&used.path))];
    let Some(path) = places.iter().find(|path| path.is_file()) else {
        let remedy = "put it back there: the picture was made with what it had learned";
        return refuse(format!("this checkpoint of step {} is missing", used.step), remedy);
    };
    let hash = crate::fs::sha256(path).map_err(workspace::Error::io("read", path))?;
    match &used.sha256 {
        Some(expected) if *expected != hash => refuse(
            format!(
                "this checkpoint has another hash (sha256 {hash:.12}) than the picture was made with ({expected:.12})"
            ),
            "put that one back",
        ),
        _ => Ok(Some(path.clone())),
    }
}
