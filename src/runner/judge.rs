//! Measuring samples against the photos of a concept, and writing down what came of it.

use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::Serialize;

use super::{Error, Progress};
use crate::image::mask_says;
use crate::metrics::{
    ClipScorer, DinoScorer, EmbeddingCache, Measuring, ScoreRecord, ScoredMask, ScoredPhoto, ScoredSample,
};
use crate::protocol::{Event, Phase, SampleConfig, ScoreConfig, is_doubtful};
use crate::workspace::{self, Concept, EventLog, JobFolder};

/// What measures the pictures of one job.
pub(super) struct Judge<'a> {
    clip: ClipScorer,
    dino: Option<DinoScorer>,
    cache: EmbeddingCache,
    photos: Vec<ScoredPhoto>,
    config: &'a ScoreConfig,
    /// The `scores.jsonl` that is written to.
    scores: PathBuf,
    /// The job's folder from the concept's.
    job: PathBuf,
}

/// What made the pictures that are measured together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Made {
    /// Whether the residual embeddings were used.
    pub learned: bool,
    /// Optimizer steps of the checkpoint.
    pub step: usize,
    /// How strongly they acted; none without them.
    pub strength: Option<f32>,
    /// SHA-256 of the checkpoint, where it is known.
    pub checkpoint: Option<String>,
}

/// One line of `scores.jsonl`.
#[derive(Serialize)]
struct ScoreLine<'a> {
    time: jiff::Timestamp,
    job: &'a Path,
    /// Whether the residual embeddings were used.
    learned: bool,
    step: usize,
    /// How strongly the residual embeddings acted; none for the base model.
    strength: Option<f32>,
    /// SHA-256 of the checkpoint.
    checkpoint: Option<&'a str>,
    /// How the pictures were sampled; none for pictures that were there.
    sample: Option<&'a SampleConfig>,
    #[serde(flatten)]
    record: &'a ScoreRecord,
}

impl<'a> Judge<'a> {
    /// Load the models and read the photos. Warns of photos whose masks do nothing.
    pub fn load(
        concept: &Concept,
        (score_model, dino_model): (&Path, Option<&Path>),
        config: &'a ScoreConfig,
        job: &JobFolder,
        log: &mut EventLog,
    ) -> Result<Self, Error> {
        let paths = concept.photos()?;
        let read = |path: &PathBuf| {
            let (photo, mask) = concept.read_photo(path)?;
            let says = || mask_says(&concept.mask_path(path));
            Ok::<ScoredPhoto, Error>((photo, mask.map(|pixels| ScoredMask { pixels, says: says() })))
        };
        let photos = paths.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let names = |is: &dyn Fn(Option<&ScoredMask>) -> bool| {
            let of_kind = paths.iter().zip(&photos).filter(|(_, (_, mask))| is(mask.as_ref()));
            of_kind.map(|(path, _)| file_name(path)).collect::<Vec<_>>()
        };
        warn(log, "photo", "has no mask and is scored whole", &names(&|mask| mask.is_none()), "")?;
        warn(log, "photo", "has a mask that marks everything and is scored whole", &names(&is_full), "")?;
        let remedy = "; correct it by hand, for all masked scores rest on the photos";
        warn(log, "photo", "has a doubtful mask", &names(&has_doubts), remedy)?;
        Ok(Self {
            clip: ClipScorer::load(score_model, &Device::Cpu)?,
            dino: dino_model.map(|folder| DinoScorer::load(folder, &Device::Cpu)).transpose()?,
            cache: EmbeddingCache::of(&concept.home()?.internal().join("embeddings")),
            photos,
            config,
            scores: job.scores()?,
            job: job.in_concept()?,
        })
    }

    /// Refuse prompts that the score model cannot read: before hours of sampling, not after.
    pub fn check_prompts(&self, texts: &[String]) -> Result<(), Error> {
        self.clip.text_embeds(texts)?;
        Ok(())
    }

    /// Measure `samples`, write the line and tell the scores. Warns of samples whose masks do nothing.
    pub fn measure(
        &self,
        samples: &[ScoredSample],
        made: &Made,
        sample: Option<&SampleConfig>,
        log: &mut EventLog,
    ) -> Result<(), Error> {
        let names = |is: &dyn Fn(Option<&ScoredMask>) -> bool| {
            let of_kind = samples.iter().filter(|sample| is(sample.mask.as_ref()));
            of_kind.map(|sample| format!("\"{}\" seed {}", sample.prompt_text, sample.seed)).collect::<Vec<_>>()
        };
        warn(log, "sample", "has no mask and is scored whole", &names(&|mask| mask.is_none()), "")?;
        warn(log, "sample", "has an empty mask and is scored as all fill", &names(&is_empty), "")?;
        warn(log, "sample", "has a mask that marks everything and is scored whole", &names(&is_full), "")?;
        let doubtful = names(&has_doubts);
        let rest = if doubtful.len() < samples.len() {
            "; the scores without such samples stand beside"
        } else {
            "; without such samples none is left"
        };
        warn(log, "sample", "has a doubtful mask", &doubtful, rest)?;
        let measuring = Measuring {
            clip: &self.clip,
            dino: self.dino.as_ref(),
            fill: self.config.fill,
            crop: self.config.crop,
            resamples: self.config.resamples,
            cache: Some(&self.cache),
        };
        let mut progress = Progress::new(log, Phase::Score);
        let mut told = Ok(());
        let record = measuring.measure(&self.photos, samples, &mut |done, total| {
            if told.is_ok() {
                told = progress.tell(done, total);
            }
        })?;
        told?;
        let (learned, checkpoint) = (made.learned, made.checkpoint.as_deref());
        let (time, job, strength, step) = (jiff::Timestamp::now(), self.job.as_path(), made.strength, made.step);
        let line = ScoreLine { time, job, learned, step, strength, checkpoint, sample, record: &record };
        append(&self.scores, &line)?;
        Ok(log.write(Event::Scored { learned, scores: record.scores })?)
    }
}

/// Whether there is a mask with all pixels as `is` says.
fn all(mask: Option<&ScoredMask>, is: impl Fn(u8) -> bool) -> bool {
    mask.is_some_and(|mask| mask.pixels.iter().all(|&value| is(value)))
}

fn is_full(mask: Option<&ScoredMask>) -> bool {
    all(mask, |value| value == 255)
}

fn is_empty(mask: Option<&ScoredMask>) -> bool {
    all(mask, |value| value == 0)
}

fn has_doubts(mask: Option<&ScoredMask>) -> bool {
    is_doubtful(mask.and_then(|mask| mask.says.confidence))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Say of how many pictures, and which, something is so, and what follows from it; nothing where there are none.
fn warn(log: &mut EventLog, kind: &str, what: &str, names: &[String], follows: &str) -> Result<(), Error> {
    let which = match names {
        [] => return Ok(()),
        [one] => format!("1 {kind} {what}: {one}"),
        [first, second] => format!("2 {kind}s, each {what}: {first}, {second}"),
        [first, second, rest @ ..] => {
            format!("{} {kind}s, each {what}: {first}, {second} and {} more", names.len(), rest.len())
        }
    };
    Ok(log.write(Event::Warning { message: which + follows })?)
}

fn append(path: &Path, line: &ScoreLine) -> Result<(), Error> {
    use std::io::Write;
    let written = serde_json::to_vec(line).map_err(std::io::Error::from).and_then(|mut bytes| {
        bytes.push(b'\n');
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
        file.write_all(&bytes)?;
        file.sync_data()
    });
    Ok(written.map_err(workspace::Error::io("write", path))?)
}
