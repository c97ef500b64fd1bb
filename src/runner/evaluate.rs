//! A scoring job: the prompt list sampled without and with the concept, at the same seeds, both measured against the
//! photos.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::sample::{Sampled, Sampling};
use super::{Error, Outcome, Progress, ScoreJob, StopFlag, estimate, load_model};
use crate::catversion::{Checkpoint, prompt_text};
use crate::diffusion::{BaseModel, part_of};
use crate::metrics::{ClipScorer, ScoreRecord, ScoredSample, measure};
use crate::protocol::{Event, Phase, SampleConfig, ScoreConfig};
use crate::workspace::{self, Concept, EventLog};

/// One scoring, of a finished run or at the end of its training.
pub(super) struct Evaluation<'a> {
    pub concept: &'a Concept,
    pub class_word: &'a str,
    pub model: &'a BaseModel,
    pub score_model: &'a Path,
    /// The job's folder, which events' paths start from.
    pub root: &'a Path,
    /// Where the pictures go, in `root`.
    pub folder: PathBuf,
    /// The run's `scores.jsonl`.
    pub scores: PathBuf,
}

/// One line of `scores.jsonl`.
#[derive(Serialize)]
struct ScoreLine<'a> {
    time: jiff::Timestamp,
    /// Whether the residual embeddings were used.
    learned: bool,
    step: usize,
    sample: &'a SampleConfig,
    #[serde(flatten)]
    record: &'a ScoreRecord,
}

impl Evaluation<'_> {
    pub fn run(&self, config: &ScoreConfig, log: &mut EventLog, stop: &StopFlag) -> Result<Outcome, Error> {
        let scorer = ClipScorer::load(self.score_model, &candle_core::Device::Cpu)?;
        let photos =
            self.concept.photos()?.iter().map(|path| self.concept.read_photo(path)).collect::<Result<Vec<_>, _>>()?;
        // A prompt the score model cannot read is refused before hours of sampling, not after.
        let texts: Vec<String> =
            config.sample.prompts.iter().map(|prompt| prompt_text(prompt, self.class_word)).collect();
        scorer.text_embeds(&texts)?;
        let checkpoint = config
            .sample
            .checkpoint
            .as_deref()
            .map(|path| Ok::<_, Error>((Checkpoint::load(path)?, path)))
            .transpose()?;
        let step = checkpoint.as_ref().map_or(0, |(checkpoint, _)| checkpoint.meta.step);
        let learned = checkpoint.as_ref().map(|(checkpoint, path)| (checkpoint, *path));
        for (name, learned, phase) in [("before", None, Phase::SampleBefore), ("after", learned, Phase::Sample)] {
            let settings =
                SampleConfig { checkpoint: learned.map(|(_, path)| path.to_owned()), ..config.sample.clone() };
            let sampling = Sampling {
                model: self.model,
                class_word: self.class_word,
                config: &settings,
                learned,
                root: self.root,
                folder: &self.folder.join(name),
                phase,
            };
            let Some(sampled) = sampling.run(log, stop)? else {
                return Ok(Outcome::Stopped { step });
            };
            let record = self.measure(&scorer, &photos, sampled, config, log)?;
            self.append(&record, learned.is_some(), step, &settings)?;
            log.write(Event::Scored {
                learned: learned.is_some(),
                masked_clip_i: record.masked_clip_i,
                clip_i: record.clip_i,
                clip_t: record.clip_t,
                balance: record.balance,
            })?;
        }
        Ok(Outcome::Finished)
    }

    fn measure(
        &self,
        scorer: &ClipScorer,
        photos: &[(image::RgbImage, Option<image::GrayImage>)],
        sampled: Vec<Sampled>,
        config: &ScoreConfig,
        log: &mut EventLog,
    ) -> Result<ScoreRecord, Error> {
        let samples: Vec<ScoredSample> = sampled
            .into_iter()
            .map(|Sampled { request, picture }| ScoredSample {
                image: picture.image,
                mask: Some(picture.mask),
                prompt_text: prompt_text(&request.prompt, self.class_word),
                seed: request.seed,
            })
            .collect();
        let mut progress = Progress::new(log, Phase::Score);
        let mut told = Ok(());
        let record = measure(scorer, photos, &samples, config.fill, config.resamples, &mut |done, total| {
            if told.is_ok() {
                told = progress.tell(done, total);
            }
        })?;
        told?;
        Ok(record)
    }

    /// The scores of one sampling as a line of the run's `scores.jsonl`.
    fn append(&self, record: &ScoreRecord, learned: bool, step: usize, sample: &SampleConfig) -> Result<(), Error> {
        use std::io::Write;
        let line = ScoreLine { time: jiff::Timestamp::now(), learned, step, sample, record };
        let written = serde_json::to_vec(&line).map_err(std::io::Error::from).and_then(|mut bytes| {
            bytes.push(b'\n');
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&self.scores)?;
            file.write_all(&bytes)?;
            file.sync_data()
        });
        Ok(written.map_err(workspace::Error::io("write", &self.scores))?)
    }
}

/// Do the job.
pub(super) fn run(job: &ScoreJob, log: &mut EventLog, stop: &StopFlag) -> Result<Outcome, Error> {
    let needs = estimate::Job {
        class_word: &job.spec.class_word,
        train: None,
        sample: &job.spec.score.sample,
        photos: 0,
        score_model: Some(part_of(&job.spec.score_model, "score_model")?),
    };
    let model = load_model(&job.models, &job.spec.base_model, &job.concept, &needs, log)?;
    let folder = job.folder.path();
    let run_folder = folder.parent().unwrap_or(folder);
    let evaluation = Evaluation {
        concept: &job.concept,
        class_word: &job.spec.class_word,
        model: &model,
        score_model: &job.spec.score_model,
        root: folder,
        folder: PathBuf::new(),
        scores: run_folder.join("scores.jsonl"),
    };
    evaluation.run(&job.spec.score, log, stop)
}
