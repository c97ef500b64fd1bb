//! A masking job: a mask for each picture, or makers of masks compared on pictures whose true masks are known.

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Instant;

use super::mask_makers::{MadeMask, MaskMakers};
use super::{Error, MaskJob, Outcome, Progress, StopFlag, estimate, load_model, warn_of_prompts};
use crate::diffusion::BaseModel;
use crate::fs::{NewFile, Show};
use crate::image::{read_mask, read_photo};
use crate::json;
use crate::masks::agreement::{boundary_f, iou};
use crate::protocol::{Event, MaskConfig, MaskWork, Phase, SampleConfig, SettingError, SharedConfig};
use crate::workspace::{self, BenchLine, EventLog, MaskBench, MaskWay, TruePicture};

/// Do the job.
pub(super) fn run(job: &MaskJob, log: &mut EventLog, stop: &StopFlag) -> Result<Outcome, Error> {
    let config = &job.spec.mask;
    config.check()?;
    match &job.spec.bench {
        Some(bench) => compare(job, bench, log, stop),
        None => make(job, log, stop),
    }
}

/// The base model, if one of `configs` looks with it. `pictures`: how many masks are made, for the estimate.
fn base_model(
    job: &MaskJob,
    configs: &[MaskConfig],
    pictures: usize,
    log: &mut EventLog,
) -> Result<Option<Rc<BaseModel>>, Error> {
    let Some(most) = configs.iter().filter(|config| config.maker.looks()).max_by_key(|config| config.looks()) else {
        return Ok(None);
    };
    let shared = SharedConfig { device: most.device, dtype: most.dtype, ..SharedConfig::default() };
    let sample = SampleConfig { shared, ..SampleConfig::default() };
    let masks = MaskWork { pictures, mask: most.clone() };
    let needs = estimate::Job {
        class_word: &job.spec.class_word,
        train: None,
        sample: &sample,
        pictures: &[],
        photos: 0,
        score: None,
        masks: Some(&masks),
    };
    let model = load_model(&job.models, &job.spec.base_model, &job.concept, &needs, log)?;
    check_timesteps(&most.timesteps, model.schedule.num_train_timesteps())?;
    Ok(Some(model))
}

/// A mask for each picture.
fn make(job: &MaskJob, log: &mut EventLog, stop: &StopFlag) -> Result<Outcome, Error> {
    let (spec, config) = (&job.spec, &job.spec.mask);
    let model = base_model(job, std::slice::from_ref(config), spec.pictures.len(), log)?;
    if let Some(model) = &model {
        let caption = config.caption.replace("{class}", &spec.class_word);
        warn_of_prompts([&caption], &spec.class_word, &[], model, log)?;
    }
    let makers = MaskMakers::load(config, &spec.class_word, &job.concept, model.as_deref())?;
    let (looks, total) = (config.looks(), spec.pictures.len() * config.looks());
    for (done, path) in spec.pictures.iter().enumerate() {
        let picture = read_photo(path)?;
        let Some(made) = mask(&makers, &picture, (done * looks, total), log, stop)? else {
            return Ok(Outcome::Stopped { step: 0 });
        };
        if made.mask.iter().all(|&value| value == 0) {
            let message = format!("{}: no {} is seen in it: no mask was made", path.shown(), spec.class_word);
            log.write(Event::Warning { message })?;
            continue;
        }
        let target = job.concept.write_mask(path, &made.mask, &made.text())?;
        log.write(Event::Masked { picture: path.clone(), mask: target })?;
    }
    Ok(Outcome::Finished)
}

/// The mask of `picture`, with progress told from `done` of `total` looks on. None when stopped.
fn mask(
    makers: &MaskMakers<'_>,
    picture: &::image::RgbImage,
    (done, total): (usize, usize),
    log: &mut EventLog,
    stop: &StopFlag,
) -> Result<Option<MadeMask>, Error> {
    let mut progress = Progress::new(log, Phase::Mask);
    let mut told = Ok(());
    if stop.is_set() {
        return Ok(None);
    }
    let made = makers.mask(picture, &mut |taken, _| {
        told = progress.tell(done + taken, total);
        if told.is_err() || stop.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    told.map(|()| made)
}

/// Every way on every picture, a line of `bench.jsonl` each, and the masks themselves in a folder a way.
fn compare(job: &MaskJob, bench: &MaskBench, log: &mut EventLog, stop: &StopFlag) -> Result<Outcome, Error> {
    let (device, dtype) = (job.spec.mask.device, job.spec.mask.dtype);
    let of = |way: &MaskWay| MaskConfig { device, dtype, ..MaskConfig::of(way.maker, way.quality) };
    let configs: Vec<MaskConfig> = bench.ways.iter().map(of).collect();
    let model = base_model(job, &configs, bench.pictures.len() * bench.ways.len(), log)?;
    let path = job.folder.bench_lines();
    let mut lines = BufWriter::new(NewFile::at(&path).map_err(workspace::Error::io("write", &path))?);
    let total = configs.iter().map(MaskConfig::looks).sum::<usize>() * bench.pictures.len();
    let mut done = 0;
    for (way, config) in configs.iter().enumerate() {
        let mut makers = HashMap::new();
        let folder = job.folder.path().join("masks").join(format!("{way}-{}", config.maker.word()));
        crate::fs::create_below(job.folder.path(), &folder).map_err(workspace::Error::io("create", &folder))?;
        for (number, TruePicture { picture: path, mask: truth, class_word }) in bench.pictures.iter().enumerate() {
            if !makers.contains_key(class_word) {
                let made = MaskMakers::load(config, class_word, &job.concept, model.as_deref())?;
                makers.insert(class_word, made);
            }
            let picture = read_photo(path)?;
            let truth = read_mask(truth, picture.dimensions())?;
            let begin = Instant::now();
            let made = mask(&makers[class_word], &picture, (done, total), log, stop)?;
            let Some(made) = made else { return Ok(Outcome::Stopped { step: 0 }) };
            let seconds = begin.elapsed().as_secs_f64();
            done += config.looks();
            made.write(&folder.join(format!("{number:05}.png")))?;
            let (iou, boundary_f) = (iou(&made.mask, &truth), boundary_f(&made.mask, &truth));
            let line = BenchLine { way, picture: path.clone(), iou, boundary_f, confidence: made.confidence, seconds };
            let written = json::to_line(&line).map_err(std::io::Error::from).and_then(|line| lines.write_all(&line));
            written.map_err(workspace::Error::io("write", &job.folder.bench_lines()))?;
        }
    }
    let put = lines.into_inner().map_err(std::io::Error::from).and_then(NewFile::put);
    put.map_err(workspace::Error::io("write", &path))?;
    Ok(Outcome::Finished)
}

/// Refuse timesteps that a base model with this many does not have.
pub(super) fn check_timesteps(timesteps: &[usize], limit: usize) -> Result<(), Error> {
    match timesteps.iter().find(|&&timestep| timestep >= limit) {
        None => Ok(()),
        Some(late) => {
            let cause = format!("the base model's timesteps are 0 to {}", limit.saturating_sub(1));
            Err(SettingError::new("timesteps", late, cause).into())
        }
    }
}
