//! Measuring samples against the photos of a concept, and writing down what came of it.

use std::path::{Path, PathBuf};

use candle_core::Device;
use image::{GrayImage, RgbImage};
use serde::Serialize;

use super::{Error, Progress};
use crate::metrics::{ClipScorer, DinoScorer, EmbeddingCache, Measuring, ScoreRecord, ScoredSample};
use crate::protocol::{Event, Phase, SampleConfig, ScoreConfig};
use crate::workspace::{self, Concept, EventLog, JobFolder};

/// What measures the pictures of one job.
pub(super) struct Judge<'a> {
    clip: ClipScorer,
    dino: Option<DinoScorer>,
    cache: EmbeddingCache,
    photos: Vec<(RgbImage, Option<GrayImage>)>,
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
        let photos = paths.iter().map(|path| concept.read_photo(path)).collect::<Result<Vec<_>, _>>()?;
        let names = |is: &dyn Fn(&Option<GrayImage>) -> bool| {
            let of_kind = paths.iter().zip(&photos).filter(|(_, (_, mask))| is(mask));
            of_kind.map(|(path, _)| file_name(path)).collect::<Vec<_>>()
        };
        warn(log, "photo", "has no mask and is scored whole", &names(&Option::is_none))?;
        let full = |mask: &Option<GrayImage>| mask.as_ref().is_some_and(is_full);
        warn(log, "photo", "has a mask that marks everything and is scored whole", &names(&full))?;
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
        let names = |is: &dyn Fn(&Option<GrayImage>) -> bool| {
            let of_kind = samples.iter().filter(|sample| is(&sample.mask));
            of_kind.map(|sample| format!("\"{}\" seed {}", sample.prompt_text, sample.seed)).collect::<Vec<_>>()
        };
        let empty = |mask: &Option<GrayImage>| mask.as_ref().is_some_and(|mask| mask.iter().all(|&value| value == 0));
        let full = |mask: &Option<GrayImage>| mask.as_ref().is_some_and(is_full);
        warn(log, "sample", "has no mask and is scored whole", &names(&Option::is_none))?;
        warn(log, "sample", "has an empty mask and is scored as all fill", &names(&empty))?;
        warn(log, "sample", "has a mask that marks everything and is scored whole", &names(&full))?;
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

fn is_full(mask: &GrayImage) -> bool {
    mask.iter().all(|&value| value == 255)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Say of how many pictures, and which, something is so; nothing where there are none.
fn warn(log: &mut EventLog, kind: &str, what: &str, names: &[String]) -> Result<(), Error> {
    let message = match names {
        [] => return Ok(()),
        [one] => format!("1 {kind} {what}: {one}"),
        [first, second] => format!("2 {kind}s, each {what}: {first}, {second}"),
        [first, second, rest @ ..] => {
            format!("{} {kind}s, each {what}: {first}, {second} and {} more", names.len(), rest.len())
        }
    };
    Ok(log.write(Event::Warning { message })?)
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
