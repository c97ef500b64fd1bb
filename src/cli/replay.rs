//! `catbench replay`: a picture made again from what its PNG says.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::diff::Pixels;
use super::{Error, PlacementArgs, follow, print_json};
use crate::client::{self, Asked};
use crate::fs::Show;
use crate::fs::sha256;
use crate::image::{Provenance, png_size, read_photo, read_provenance};
use crate::protocol::{
    DeviceName, ModelSpec, PictureConfig, PictureRecord, SampleConfig, SeedRule, SharedConfig, check_prompt, check_word,
};
use crate::workspace::{self, BatchSpec, Concept, History};

/// Options of `replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A PNG that this program made.
    file: PathBuf,
    /// The concept it is of. Without: the one in whose folder the picture is, else the one of the name it says.
    #[arg(long, value_name = "NAME")]
    concept: Option<String>,
    /// Also write the picture to this file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Keep what was made as samples of the concept, also when it is the same picture.
    #[arg(long)]
    keep: bool,
    /// Refuse a picture that says it was made together with more: as many have to be made again.
    #[arg(long, value_name = "PICTURES", default_value_t = 64)]
    max_batch: usize,
    #[command(flatten)]
    placement: PlacementArgs,
    /// Print one JSON object last.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let refuse = |problem: String, remedy: &str| Err(workspace::Error::invalid(&args.file, problem, remedy).into());
    let record = match read_provenance(&args.file)? {
        Provenance::Record(record) => *record,
        Provenance::Parameters(_) => {
            return refuse(
                "another program made it, or this one before it kept records".into(),
                "`catbench show` prints what it says: sample with those settings",
            );
        }
        Provenance::Unread(keywords) => {
            let problem =
                format!("another program made it: it has text that is not read here ({})", keywords.join(", "));
            return refuse(problem, "only pictures of catbench say all of it");
        }
        Provenance::Nothing => {
            return refuse("it does not say how it was made".into(), "only pictures of catbench say it");
        }
    };
    // Before anything reads them: they come with the picture.
    check_prompt("prompt", &record.picture.prompt)?;
    check_prompt("negative_prompt", &record.picture.negative_prompt)?;
    check_word("class_word", &record.class_word)?;
    let (width, height) = png_size(&args.file)?;
    if (width, height) != (record.width, record.height) {
        let problem = format!("it has {width} × {height} pixels, its record says {} × {}", record.width, record.height);
        return refuse(problem, "it was scaled or cut after it was made: take the original");
    }
    if !(1..=args.max_batch).contains(&record.batch_size) {
        let problem = format!("its record says that {} pictures were made together", record.batch_size);
        let remedy = format!("up to {} are made again as then: raise --max-batch if it is true", args.max_batch);
        return refuse(problem, &remedy);
    }
    let concept = concept(args, &record)?;
    let (spec, picture) = batch(args, &record, &concept)?;
    // As many are denoised as then, though only one is kept.
    let needs = vec![picture.clone(); spec.sample.shared.batch_size];
    let ready = Asked::sample(&concept, spec, vec![picture], needs)?.estimate()?;
    ready.refuse()?;
    let resolution = ready.estimate.resolution;
    if [width, height].iter().any(|side| *side as usize != resolution) {
        let problem = format!("it has {width} × {height} pixels, and its base model makes {resolution} × {resolution}");
        return refuse(problem, "the record is forged or damaged");
    }
    let before = read_photo(&args.file)?;
    let (batch, job) = ready.begin(args.placement.placement(None))?;
    if !follow::quietly(&concept, &batch, Some(&job))? {
        return Ok(());
    }
    let made = History::read(&batch)?.pictures.pop().map(|picture| picture.path);
    let made =
        made.ok_or_else(|| Error::Job(format!("{}: the picture is not there any more", batch.path().shown())))?;
    if let Some(out) = &args.out {
        crate::fs::copy(&made, out).map_err(workspace::Error::io("write", out))?;
    }
    let pixels = Pixels::compare(&before, &read_photo(&made)?);
    let same = pixels.is_some_and(|pixels| pixels.different == 0);
    let kept = args.keep || !same;
    if !kept {
        // There is the same picture already, and many replays must not bury the samples. The job's own files stay: the queue
        // knows it.
        std::fs::remove_file(&made).map_err(workspace::Error::io("remove", &made))?;
        let masks = batch.path().join("masks");
        if masks.is_dir() {
            std::fs::remove_dir_all(&masks).map_err(workspace::Error::io("remove", &masks))?;
        }
        client::refresh(&concept.home()?, &concept)?;
    }
    let path = args.out.as_ref().or(kept.then_some(&made));
    if args.json {
        let batch = kept.then(|| batch.path());
        print_json(&json!({ "path": path, "batch": batch, "same": same, "pixels": pixels }));
    } else if let Some(path) = path {
        outln!("{}", path.shown());
    }
    if same {
        if !args.json {
            outln!("the same picture: all {} pixels are equal", before.pixels().len());
        }
        return Ok(());
    }
    let how = pixels.map_or("another size".into(), |pixels| pixels.words());
    let why = match record.device {
        DeviceName::Cpu => "another processor or version of catbench rounds otherwise",
        _ => "graphics cards do not promise equal sums",
    };
    let path = path.unwrap_or(&made);
    Err(Error::Job(format!("{} is not the same picture: {how} ({why})", path.shown())))
}

/// The concept that the picture is of: as asked for, else by its own place, else by the name that it says.
fn concept(args: &Args, record: &PictureRecord) -> Result<Concept, Error> {
    if let Some(name) = &args.concept {
        return super::concept(name);
    }
    let file = std::path::absolute(&args.file).map_err(workspace::Error::io("find", &args.file))?;
    // A concept in the trash is none: nothing is made there.
    let removed = file.components().any(|part| part.as_os_str() == ".catbench");
    let own = file.ancestors().find(|folder| folder.join("concept.toml").is_file());
    if let Some(folder) = own.filter(|_| !removed) {
        return Ok(Concept::open(folder)?);
    }
    super::concept(&record.concept)
        .map_err(|error| Error::Job(format!("{error}; if it has another name now, say --concept NAME")))
}

/// The sampling that makes the picture again, once all it needs has been found unchanged.
fn batch(args: &Args, record: &PictureRecord, concept: &Concept) -> Result<(BatchSpec, PictureConfig), Error> {
    let base_model = base_model(record, concept)?;
    let mut picture = record.picture.clone();
    picture.checkpoint = checkpoint(record, concept)?;
    let home = concept.home()?;
    let mut embeddings = record.embeddings.clone();
    for file in &mut embeddings {
        let name = file.path.file_name().unwrap_or_default();
        let folders = [args.file.parent().unwrap_or(Path::new("")), &concept.folder, home.path(), Path::new("")];
        let places = std::iter::once(file.path.clone()).chain(folders.map(|folder| folder.join(name)));
        let found = Found::of(places, Some(&file.sha256))?;
        let found = found.path(&file.path, "this embedding")?;
        file.path = std::path::absolute(&found).map_err(workspace::Error::io("find", &found))?;
    }
    let mut concepts: Vec<_> = record.concepts.iter().map(|used| used.concept.clone()).collect();
    for (other, used) in concepts.iter_mut().zip(&record.concepts) {
        let mut places = vec![other.checkpoint.clone()];
        // Under its name first; a concept may have another by now.
        let mut names = home.concepts()?;
        names.sort_by_key(|name| *name != other.name);
        for concept in names.iter().filter_map(|name| home.concept(name).ok()) {
            places.extend(checkpoints(&concept, &other.checkpoint));
        }
        let found = Found::of(places, Some(&used.sha256))?;
        other.checkpoint = found.path(&used.concept.checkpoint, &format!("this checkpoint of {}", other.name))?;
    }
    let shared = SharedConfig {
        concepts,
        concept_steps: record.concept_steps,
        uncond_prefix: record.uncond_prefix,
        every_prompt: record.every_prompt,
        embeddings,
        batch_size: record.batch_size,
        device: record.device,
        dtype: record.dtype,
        ..SharedConfig::default()
    };
    let sample = SampleConfig {
        prompts: vec![picture.prompt.clone()],
        images_per_prompt: 1,
        // The seed is the picture's own as it stands.
        seeds: SeedRule::Shared,
        picture: picture.clone(),
        shared,
    };
    sample.check()?;
    let class_word = record.class_word.clone();
    Ok((BatchSpec { class_word, base_model, fill_batches: true, ..BatchSpec::new(concept, None, sample)? }, picture))
}

/// The base model of the picture: where it was, else the concept's.
fn base_model(record: &PictureRecord, concept: &Concept) -> Result<ModelSpec, Error> {
    let home = concept.home()?;
    let mut found = Vec::new();
    let own = concept.base_model().ok();
    for spec in std::iter::once(&record.base_model).chain(&own) {
        // A device has no end, and a pipe would be waited for.
        let readable = |path: &PathBuf| path.is_file() || path.is_dir();
        if ![Some(&spec.path), spec.vae.as_ref(), spec.config.as_ref()].into_iter().flatten().all(readable) {
            continue;
        }
        let hash = client::model_hash(spec, &home)?;
        if hash == record.base_model_sha256 {
            return Ok(spec.clone());
        }
        found.push(format!("{} is another (sha256 {hash:.12})", spec.path.shown()));
    }
    if found.is_empty() {
        found.push("it is not there any more".into());
    }
    let problem =
        format!("the base model of the picture, sha256 {:.12}: {}", record.base_model_sha256, found.join("; "));
    Err(workspace::Error::invalid(&record.base_model.path, problem, "put it back there").into())
}

/// The checkpoint of the picture: in the concept's folder, else where it was, else any of the concept's with its hash.
fn checkpoint(record: &PictureRecord, concept: &Concept) -> Result<Option<PathBuf>, Error> {
    let Some(used) = &record.checkpoint else { return Ok(None) };
    let mut places = checkpoints(concept, &used.path);
    places.insert(1, used.path.clone());
    if used.sha256.is_none() {
        // A file of the same step tells nothing without a hash: only the one of this run is it.
        places.truncate(2);
    }
    let found = Found::of(places, used.sha256.as_ref())?;
    Ok(Some(found.path(&used.path, &format!("this checkpoint of step {}", used.step))?))
}

/// Where a checkpoint that was at `path` may be in `concept`: at the same place of its folder first.
fn checkpoints(concept: &Concept, path: &Path) -> Vec<PathBuf> {
    // runs/<run>/checkpoints/<file>
    let parts: Vec<_> = path.components().rev().take(4).collect();
    let mut places = vec![concept.folder.join(parts.into_iter().rev().collect::<PathBuf>())];
    for run in concept.runs().unwrap_or_default() {
        let there = std::fs::read_dir(run.path().join("checkpoints")).into_iter().flatten().flatten();
        places.extend(there.map(|entry| entry.path()));
    }
    places
}

/// What a search for a file by its hash has found.
enum Found {
    /// It.
    It(PathBuf),
    /// Another in its place, and that one's hash.
    Another(PathBuf, String),
    /// None.
    Nothing,
}

impl Found {
    /// The first of `places` with the hash `expected`; without one the first that is a file.
    fn of(places: impl IntoIterator<Item = PathBuf>, expected: Option<&String>) -> Result<Self, Error> {
        let mut another = Self::Nothing;
        for path in places.into_iter().filter(|path| path.is_file()) {
            let Some(expected) = expected else { return Ok(Self::It(path)) };
            let hash = sha256(&path).map_err(workspace::Error::io("read", &path))?;
            if hash == *expected {
                return Ok(Self::It(path));
            }
            if matches!(another, Self::Nothing) {
                another = Self::Another(path, hash);
            }
        }
        Ok(another)
    }

    /// It, which was at `was`.
    fn path(self, was: &Path, what: &str) -> Result<PathBuf, Error> {
        let remedy = "put it back there, or into the concept's folder: the picture was made with it";
        match self {
            Self::It(path) => Ok(path),
            Self::Another(path, hash) => {
                let problem = format!("{what} has another hash (sha256 {hash:.12}) than the picture was made with");
                Err(workspace::Error::invalid(&path, problem, "put that one back").into())
            }
            Self::Nothing => Err(workspace::Error::invalid(was, format!("{what} is missing"), remedy).into()),
        }
    }
}
