//! Measuring samples against the photos of a concept, and writing down what came of it.

use std::path::{Path, PathBuf};

use candle_core::Device;

use super::{Error, Progress};
use crate::image::mask_says;
use crate::json;
use crate::metrics::{
    ClipScorer, DinoScorer, EmbeddingCache, Measuring, ScoredMask, ScoredPhoto, ScoredSample, is_one_colour,
};
use crate::protocol::{Event, Phase, ScoreConfig, is_doubtful};
use crate::statistics::{ScoreRecord, compare};
use crate::workspace::{self, Concept, EventLog, JobFolder, ScoreLine};

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
    /// When the job was asked for.
    asked: Option<jiff::Timestamp>,
}

/// What made the pictures that are measured together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Made {
    /// Whether what was learned was used.
    pub learned: bool,
    /// Optimizer steps of the checkpoint.
    pub step: usize,
    /// How strongly they acted; none without them.
    pub strength: Option<f32>,
    /// SHA-256 of the checkpoint, where it is known.
    pub checkpoint: Option<String>,
    /// The settings of the sampling that make a picture what it is, where they are known.
    pub sample: Option<serde_json::Value>,
}

impl<'a> Judge<'a> {
    /// Load the models onto `device` and read the photos. Warns of photos whose masks do nothing, and of photos of one colour.
    pub fn load(
        concept: &Concept,
        (score_model, dino_model): (&Path, Option<&Path>),
        config: &'a ScoreConfig,
        device: &Device,
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
        let one_colour = paths.iter().zip(&photos).filter(|(_, (photo, _))| is_one_colour(photo));
        let one_colour: Vec<String> = one_colour.map(|(path, _)| file_name(path)).collect();
        warn(log, "photo", "is one colour", &one_colour, "; take it out, for all scores rest on the photos")?;
        warn(log, "photo", "has no mask and is scored whole", &names(&|mask| mask.is_none()), "")?;
        warn(log, "photo", "has a mask that marks everything and is scored whole", &names(&is_full), "")?;
        let remedy = "; correct it by hand, for all masked scores rest on the photos";
        warn(log, "photo", "has a doubtful mask", &names(&has_doubts), remedy)?;
        Ok(Self {
            clip: ClipScorer::load(score_model, device)?,
            dino: dino_model.map(|folder| DinoScorer::load(folder, device)).transpose()?,
            cache: EmbeddingCache::of(&concept.home()?.internal().join("embeddings")),
            photos,
            config,
            scores: job.scores()?,
            job: job.in_concept()?,
            asked: job.asked()?,
        })
    }

    /// Refuse prompts that the score model cannot read: before hours of sampling, not after.
    pub fn check_prompts(&self, texts: &[String]) -> Result<(), Error> {
        self.clip.text_embeds(texts)?;
        Ok(())
    }

    /// Measure `samples`, write the line and tell the scores, with the difference from `before` where that is the other side of them.
    /// Warns of samples that show nothing, and of masks that do nothing.
    pub fn measure(
        &self,
        samples: &[ScoredSample],
        made: &Made,
        before: Option<&ScoreRecord>,
        log: &mut EventLog,
    ) -> Result<ScoreRecord, Error> {
        let named = |sample: &ScoredSample| match sample.seed {
            Some(seed) => format!("\"{}\" seed {seed}", sample.prompt_text),
            None => format!("\"{}\"", sample.prompt_text),
        };
        let one_colour = samples.iter().filter(|sample| is_one_colour(&sample.image)).map(named);
        warn(log, "sample", "is one colour and its scores are 0", &one_colour.collect::<Vec<_>>(), "")?;
        let names = |is: &dyn Fn(Option<&ScoredMask>) -> bool| {
            let of_kind = samples.iter().filter(|sample| is(sample.mask.as_ref()));
            of_kind.map(named).collect::<Vec<_>>()
        };
        warn(log, "sample", "has no mask and is scored whole", &names(&|mask| mask.is_none()), "")?;
        warn(log, "sample", "has an empty mask and its masked scores are 0", &names(&is_empty), "")?;
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
            clip_text: self.config.clip_text,
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
        let line = ScoreLine {
            time: jiff::Timestamp::now(),
            job: self.job.clone(),
            asked: self.asked,
            learned: made.learned,
            step: made.step,
            strength: made.strength,
            checkpoint: made.checkpoint.clone(),
            sample: made.sample.clone(),
            record,
        };
        append(&self.scores, &line)?;
        let (learned, record) = (line.learned, line.record);
        let difference = before.and_then(|before| compare(before, &record).ok());
        log.write(Event::Scored {
            learned,
            scores: Box::new(record.scores.clone()),
            difference: difference.map(|difference| Box::new(difference.scores)),
            photos: record.photo_scores.clone(),
        })?;
        Ok(record)
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
    let written = json::to_line(line).map_err(std::io::Error::from).and_then(|mut bytes| {
        let mut file = crate::fs::open_append(path)?;
        if !ends_a_line(&mut file)? {
            // What a runner that was killed has left: its end is on a line of its own, which no reader takes.
            bytes.insert(0, b'\n');
        }
        file.write_all(&bytes)?;
        file.sync_data()
    });
    Ok(written.map_err(workspace::Error::io("write", path))?)
}

/// Whether what is in `file` ends with a whole line.
fn ends_a_line(file: &mut std::fs::File) -> std::io::Result<bool> {
    use std::io::{Read, Seek, SeekFrom};
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
