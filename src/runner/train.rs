//! A training job: steps, and between them the loss at fixed noise, checkpoints, sample pictures; the evaluation afterwards.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::mask_makers::MaskMakers;
use super::sample::{Subject, write_picture};
use super::{
    Error, Outcome, Progress, StopFlag, TrainJob, estimate, evaluate, last_checkpoint, load_model, warn_of_prompts,
};
use crate::diffusion::{BaseModel, Outline};
use crate::fs::sha256;
use crate::image::square;
use crate::personalize::{
    Caption, Checkpoint, FixedNoiseLoss, Launched, Sampler, Trainer, TrainingPhoto, decode, denoise_batch, photos_hash,
};
use crate::protocol::{Event, Phase, PictureConfig, ScoreTask, TrainConfig, UsedCheckpoint};
use crate::workspace::{self, Concept, EventLog, EventReader, JobFolder, RunSpec, checkpoint_path};

/// Photos and masks of a concept as the base model sees them: squares of its resolution.
fn training_photos(concept: &Concept, spec: &RunSpec, size: u32) -> Result<Vec<TrainingPhoto>, Error> {
    let mut photos = Vec::new();
    for path in concept.photos_of(spec.photos)? {
        let (photo, mask) = concept.look_at_photo(&path, spec.photos)?;
        photos.push(TrainingPhoto {
            name: workspace::photo_name(&path),
            image: square(&photo.pixels, size, spec.train.crop),
            mask: mask.map(|mask| square(&mask, size, spec.train.crop)),
        });
    }
    Ok(photos)
}

/// Refuse to go on with `run` where its training would refuse to: what can be told without reading the base model's weights.
pub(super) fn check_resume(run: &JobFolder) -> Result<(), Error> {
    let events = EventReader::new(&run.events()).read_new()?;
    let Some(resume) = last_checkpoint(run, &events) else { return Ok(()) };
    let (concept, spec) = (Concept::open(run.concept_folder()?)?, run.run_spec()?);
    let size = Outline::read(&spec.base_model)?.resolution() as u32;
    let photos = photos_hash(&training_photos(&concept, &spec, size)?, &spec.train)?;
    Ok(Checkpoint::load(&resume.path)?.check_training(&resume.path, &photos, &spec.class_word, &spec.train)?)
}

/// Tells the losses of steps in the order they were launched.
struct StepTeller {
    /// The step that has not been told yet.
    launched: Option<Launched>,
    /// When the step before was told, or training went on.
    last: Instant,
}

impl StepTeller {
    /// Tell the step before `launched`, if it has not been told yet.
    fn next(&mut self, launched: Launched, log: &mut EventLog) -> Result<(), Error> {
        let before = self.launched.replace(launched);
        before.map_or(Ok(()), |before| self.tell(before, log))
    }

    /// Tell the last step too.
    fn catch_up(&mut self, log: &mut EventLog) -> Result<(), Error> {
        let last = self.launched.take();
        last.map_or(Ok(()), |last| self.tell(last, log))
    }

    fn tell(&mut self, launched: Launched, log: &mut EventLog) -> Result<(), Error> {
        let step = launched.step();
        let loss = launched.read()?;
        let seconds = self.last.elapsed().as_secs_f64();
        self.last = Instant::now();
        Ok(log.write(Event::Step { step, loss: loss.loss, loss_by_quarter: loss.by_quarter, seconds })?)
    }
}

/// The captions of a training, with class words in them.
pub(super) fn captions(config: &TrainConfig, class_word: &str) -> Vec<String> {
    let read = |caption: String| Caption::of(&caption, class_word, config.method.is_word()).text;
    config.method.captions(config).into_iter().map(read).collect()
}

/// Do the job.
pub(super) fn run(job: &TrainJob, log: &mut EventLog, stop: &StopFlag) -> Result<Outcome, Error> {
    let spec = &job.spec;
    let config = &spec.train;
    config.check()?;
    job.concept.check_hold_out(config)?;
    // What the scoring at the end lacks is said before the training, not after it.
    let score_model = config.evaluate.then(|| score_model(job)).transpose()?;
    let pictures = spec.evaluation.sample.pictures();
    let needs = estimate::Job {
        class_word: &spec.class_word,
        train: Some(config),
        sample: &spec.evaluation.sample,
        pictures: &pictures,
        photos: 0,
        score: score_model
            .map(|folder| estimate::Scoring::read(folder, spec.dino_model.as_deref(), 2, 0))
            .transpose()?,
        masks: None,
    };
    let model = load_model(&job.models, &spec.base_model, &job.concept, &needs, log)?;
    let captions = captions(config, &spec.class_word);
    let pictured = (config.sample_every > 0).then_some(&config.sample_prompt);
    warn_of_prompts(pictured.into_iter().chain(&captions), &spec.class_word, &[], &model, log)?;
    if spec.base_model_hash.as_ref() != Some(&model.hash) {
        job.folder.write(&RunSpec { base_model_hash: Some(model.hash.clone()), ..spec.clone() })?;
    }
    let photos = training_photos(&job.concept, spec, model.resolution() as u32)?;
    let mut progress = Progress::new(log, Phase::Cache);
    let mut told = Ok(());
    let trainer = Trainer::new(&model, &photos, &spec.class_word, config.clone(), &mut |done, total| {
        if told.is_ok() {
            told = progress.tell(done, total);
        }
    })?;
    told?;
    let mut trainer = trainer.in_format(spec.checkpoint_format);
    if let Some(resume) = &job.resume {
        trainer.resume(&Checkpoint::load(&resume.path)?, &resume.path)?;
    }

    let mut saved = trainer.steps_done();
    let whole = steps(job, &model, &mut trainer, &mut saved, log, stop);
    if !whole.map_err(|error| error.after((saved > 0).then_some(saved)))? {
        return Ok(Outcome::Stopped { step: trainer.steps_done() });
    }
    let Some(score_model) = score_model else { return Ok(Outcome::Finished) };
    let evaluation = evaluate::Evaluation {
        concept: &job.concept,
        class_word: &spec.class_word,
        base_model: &spec.base_model,
        model: &model,
        score_models: (score_model, spec.dino_model.as_deref()),
        job: &job.folder,
        folder: PathBuf::from("evaluation"),
    };
    let checkpoint = job.folder.path().join(checkpoint_path(trainer.steps_done()));
    let mut config = spec.evaluation.clone();
    config.sample.picture.checkpoint = Some(checkpoint);
    evaluation.run(&ScoreTask::Both, &config, log, stop)
}

/// The steps that are left, and what is done between them. `false` where it stopped as asked. `saved` are the steps of the last
/// checkpoint.
fn steps(
    job: &TrainJob,
    model: &BaseModel,
    trainer: &mut Trainer<'_>,
    saved: &mut usize,
    log: &mut EventLog,
    stop: &StopFlag,
) -> Result<bool, Error> {
    let config = &job.spec.train;
    if *saved == 0 {
        measure(trainer, config.validate_every, log)?;
        picture(job, model, trainer, log)?;
    }
    // A graphics card does a step while the loss of the one before is told.
    let behind = model.compute.is_asynchronous();
    let mut steps = StepTeller { launched: None, last: Instant::now() };
    while trainer.steps_done() < config.steps {
        if stop.is_set() {
            steps.catch_up(log)?;
            if trainer.steps_done() > *saved {
                trainer.check_learned()?;
                save(&job.folder, &trainer.checkpoint(), log)?;
            }
            return Ok(false);
        }
        let launched = trainer.launch()?;
        let step = launched.step();
        steps.next(launched, log)?;
        let last = step == config.steps;
        let due = |every: usize| every > 0 && (step % every == 0 || last);
        let pause = due(config.checkpoint_every) || due(config.validate_every) || due(config.sample_every);
        if pause || !behind {
            steps.catch_up(log)?;
        }
        // Before the checkpoint: what fails here is not to be kept.
        if due(config.validate_every) {
            measure(trainer, config.validate_every, log)?;
        }
        if due(config.checkpoint_every) {
            trainer.check_learned()?;
            save(&job.folder, &trainer.checkpoint(), log)?;
            *saved = step;
        }
        if due(config.sample_every) {
            picture(job, model, trainer, log)?;
        }
        if pause {
            steps.last = Instant::now();
        }
    }
    Ok(true)
}

fn score_model(job: &TrainJob) -> Result<&Path, Error> {
    let missing = || {
        let path = job.concept.folder.join("concept.toml");
        workspace::Error::invalid(&path, "score_model is missing", "name the folder of a CLIP model")
    };
    Ok(job.spec.score_model.as_deref().ok_or_else(missing)?)
}

/// Write a checkpoint of `job`, and say so.
pub(super) fn save(job: &JobFolder, checkpoint: &Checkpoint, log: &mut EventLog) -> Result<(), Error> {
    let step = checkpoint.meta.step;
    let path = checkpoint_path(step);
    let folder = job.path().join("checkpoints");
    crate::fs::create_below(job.path(), &folder).map_err(workspace::Error::io("create", &folder))?;
    checkpoint.save(&job.path().join(&path))?;
    Ok(log.write(Event::Checkpoint { step, path })?)
}

/// Tell the loss at fixed noise.
fn measure(trainer: &Trainer<'_>, every: usize, log: &mut EventLog) -> Result<(), Error> {
    if every > 0 {
        let FixedNoiseLoss { loss, held_out } = trainer.fixed_noise_loss()?;
        log.write(Event::FixedNoise { step: trainer.steps_done(), loss, held_out })?;
    }
    Ok(())
}

/// One picture of the concept as learned so far, always of the same seed.
fn picture(job: &TrainJob, model: &BaseModel, trainer: &Trainer<'_>, log: &mut EventLog) -> Result<(), Error> {
    let (config, step) = (&job.spec.train, trainer.steps_done());
    if config.sample_every == 0 {
        return Ok(());
    }
    let settings = &job.spec.evaluation.sample;
    let checkpoint = trainer.checkpoint();
    let learned = (step > 0).then_some((&checkpoint, job.folder.path()));
    let file = job.folder.checkpoint(step);
    let wanted = PictureConfig {
        checkpoint: learned.map(|_| file.clone()),
        ..settings.picture(config.sample_prompt.clone(), config.seed)
    };
    let sampler = Sampler::new(model, &job.spec.class_word, (&wanted, &settings.shared), learned)?;
    let text = sampler.encode(&wanted.prompt)?;
    let denoised = denoise_batch(model, &[(&text, &wanted)], &mut |_, _| std::ops::ControlFlow::Continue(()))?;
    let decoder = model.vae.decoder()?;
    let masks = MaskMakers::load(&settings.shared.mask_config(), &job.spec.class_word, &job.concept, Some(model))?;
    for latents in denoised.into_iter().flatten() {
        let picture = decode(&model.vae, &decoder, &latents)?;
        let mask = masks.mask(&picture, &mut |_, _| std::ops::ControlFlow::Continue(()))?;
        let path = PathBuf::from(format!("samples/step-{step:06}-seed-{}.png", wanted.seed));
        let used = learned.map(|_| UsedCheckpoint { path: file.clone(), sha256: sha256(&file).ok(), step });
        let subject = Subject {
            concept: &job.spec.concept,
            class_word: &job.spec.class_word,
            base_model: &job.spec.base_model,
            model,
        };
        write_picture(
            job.folder.path(),
            &path,
            (&picture, mask.as_ref()),
            &subject.record(&settings.shared, &wanted, used, 1)?,
        )?;
        log.write(Event::Sample { step, path, prompt: wanted.prompt.clone(), seed: wanted.seed, learned: step > 0 })?;
    }
    Ok(())
}
