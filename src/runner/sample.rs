//! A sampling job: every prompt with every seed, each picture a PNG that says how it was made, its mask beside it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::{Error, Outcome, Progress, SampleJob, StopFlag, estimate, load_model, warn_of_cut_prompts};
use crate::catversion::{Checkpoint, Picture, PictureRequest, Sampler};
use crate::diffusion::BaseModel;
use crate::image::write_png;
use crate::protocol::{EmbeddingFile, Event, Phase, SampleConfig};
use crate::workspace::{self, EventLog};

/// File name of one picture: what it shows, its seed.
pub(super) fn sample_path(what: &str, seed: u64) -> PathBuf {
    PathBuf::from(format!("{what}-seed-{seed}.png"))
}

/// Write `picture` to `path` in `root` with its provenance, and its mask to `masks/` beside it.
pub(super) fn write_picture(
    root: &Path,
    path: &Path,
    picture: &Picture,
    request: &PictureRequest,
    config: &SampleConfig,
    base_model: &str,
    step: usize,
) -> Result<(), Error> {
    let path = root.join(path);
    let mask = mask_path(&path);
    if let Some(folder) = mask.parent() {
        std::fs::create_dir_all(folder).map_err(workspace::Error::io("create", folder))?;
    }
    let mut settings = vec![
        ("prompt", request.prompt.clone()),
        ("negative_prompt", config.negative_prompt.clone()),
        ("seed", request.seed.to_string()),
        ("sampler", config.sampler.word().into()),
        ("karras", config.karras.to_string()),
        ("noise", config.noise.word().into()),
        ("steps", config.steps.to_string()),
        ("guidance_scale", config.guidance_scale.to_string()),
        ("eta", config.eta.to_string()),
        ("strength", config.strength.to_string()),
        ("uncond_prefix", config.uncond_prefix.to_string()),
        ("device", config.device.to_string()),
        ("dtype", config.dtype.to_string()),
        ("trained_steps", step.to_string()),
        ("base_model", base_model.to_owned()),
    ];
    if !config.embeddings.is_empty() {
        let files: Vec<String> = config.embeddings.iter().map(embedding_text).collect();
        settings.push(("embeddings", files.join(", ")));
    }
    let text: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    write_png(&path, &picture.image, &text)?;
    Ok(write_png(&mask, &picture.mask, &[])?)
}

/// File, word where one was given, and hash: `cat-toy.pt = <toy> (sha256 ab12..)`.
fn embedding_text(file: &EmbeddingFile) -> String {
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    let word = file.token.as_ref().map_or(String::new(), |token| format!(" = {token}"));
    format!("{name}{word} (sha256 {})", file.sha256)
}

/// `masks/<name>.png` beside a picture.
pub(super) fn mask_path(picture: &Path) -> PathBuf {
    let folder = picture.parent().unwrap_or(Path::new(""));
    folder.join("masks").join(picture.file_name().unwrap_or_default())
}

/// One prompt list to sample.
pub(super) struct Sampling<'a> {
    pub model: &'a BaseModel,
    pub class_word: &'a str,
    pub config: &'a SampleConfig,
    pub learned: Option<(&'a Checkpoint, &'a Path)>,
    /// The job's folder, which events' paths start from.
    pub root: &'a Path,
    /// Where the pictures go, in `root`.
    pub folder: &'a Path,
    pub phase: Phase,
}

/// A picture that [`Sampling::run`] wrote.
pub(super) struct Sampled {
    pub request: PictureRequest,
    pub picture: Picture,
}

impl Sampling<'_> {
    /// Make all pictures; none when stopped.
    pub fn run(&self, log: &mut EventLog, stop: &StopFlag) -> Result<Option<Vec<Sampled>>, Error> {
        let config = self.config;
        let prompts = config.prompts.iter().chain([&config.negative_prompt]);
        warn_of_cut_prompts(prompts, self.class_word, &config.concepts, self.model, log)?;
        let sampler = Sampler::new(self.model, self.class_word, config.clone(), self.learned)?;
        let step = self.learned.map_or(0, |(checkpoint, _)| checkpoint.meta.step);
        let requests: Vec<(usize, PictureRequest)> = config
            .prompts
            .iter()
            .enumerate()
            .flat_map(|(i, prompt)| {
                (0..config.images_per_prompt as u64)
                    .map(move |k| (i, PictureRequest { prompt: prompt.clone(), seed: config.seed + k }))
            })
            .collect();
        let total = requests.len() * config.steps;
        let (mut sampled, mut steps_done) = (Vec::with_capacity(requests.len()), 0);
        for batch in requests.chunks(config.batch_size.max(1)) {
            let batch_requests: Vec<PictureRequest> = batch.iter().map(|(_, request)| request.clone()).collect();
            let mut progress = Progress::new(log, self.phase);
            let mut told = Ok(());
            let made = sampler.pictures(&batch_requests, &mut |done, _| {
                told = progress.tell(steps_done + done * batch.len(), total);
                if told.is_err() || stop.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            told?;
            let Some(made) = made else { return Ok(None) };
            steps_done += config.steps * batch.len();
            for ((i, request), picture) in batch.iter().zip(made) {
                let path = self.folder.join(sample_path(&format!("{:03}", i + 1), request.seed));
                write_picture(self.root, &path, &picture, request, config, &self.model.hash, step)?;
                log.write(Event::Sample {
                    step,
                    path,
                    prompt: request.prompt.clone(),
                    seed: request.seed,
                    learned: self.learned.is_some(),
                })?;
                sampled.push(Sampled { request: request.clone(), picture });
            }
        }
        Ok(Some(sampled))
    }
}

/// Do the job.
pub(super) fn run(job: &SampleJob, log: &mut EventLog, stop: &StopFlag) -> Result<Outcome, Error> {
    let config = &job.spec.sample;
    let learned =
        config.checkpoint.as_deref().map(|path| Ok::<_, Error>((Checkpoint::load(path)?, path))).transpose()?;
    let class_word = &job.spec.class_word;
    let needs = estimate::Job { class_word, train: None, sample: config, photos: 0, score_model: None };
    let model = load_model(&job.models, &job.spec.base_model, &job.concept, &needs, log)?;
    let sampling = Sampling {
        model: &model,
        class_word: &job.spec.class_word,
        config,
        learned: learned.as_ref().map(|(checkpoint, path)| (checkpoint, *path)),
        root: job.folder.path(),
        folder: Path::new(""),
        phase: Phase::Sample,
    };
    Ok(match sampling.run(log, stop)? {
        Some(_) => Outcome::Finished,
        None => Outcome::Stopped { step: 0 },
    })
}
