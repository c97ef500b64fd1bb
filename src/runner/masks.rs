//! A masking job: for each picture a mask from where the base model looks at the class word in it.

use std::ops::ControlFlow;

use super::{Error, MaskJob, Outcome, Progress, StopFlag, estimate, load_model, warn_of_prompts};
use crate::diffusion::{BaseModel, Encoder, Looking, attention_mask, look, to_tensor};
use crate::image::{clean_mask, read_photo, resize_bicubic};
use crate::protocol::{Event, MaskConfig, MaskWork, Phase, SampleConfig};
use crate::workspace::EventLog;

/// Do the job.
pub(super) fn run(job: &MaskJob, log: &mut EventLog, stop: &StopFlag) -> Result<Outcome, Error> {
    let (spec, config) = (&job.spec, &job.spec.mask);
    config.check().map_err(crate::catversion::Error::from)?;
    let caption = config.caption.replace("{class}", &spec.class_word);
    let sample = SampleConfig { device: config.device, dtype: config.dtype, ..SampleConfig::default() };
    let masks = MaskWork { pictures: spec.pictures.len(), mask: config.clone() };
    let needs = estimate::Job {
        class_word: &spec.class_word,
        train: None,
        sample: &sample,
        pictures: &[],
        photos: 0,
        score: None,
        masks: Some(&masks),
    };
    let model = load_model(&job.models, &spec.base_model, &job.concept, &needs, log)?;
    check_timesteps(&config.timesteps, model.schedule.num_train_timesteps())?;
    warn_of_prompts([&caption], &spec.class_word, &[], &model, log)?;
    let positions = model.tokenizer.positions_of(&caption, &spec.class_word)?;
    let context = model.text_encoder.forward(&model.token_ids(&caption)?, None)?.value().clone();
    let encoder = model.vae.encoder()?;
    let looks = config.timesteps.len() * config.draws;
    let total = spec.pictures.len() * looks;
    for (done, path) in spec.pictures.iter().enumerate() {
        let photo = read_photo(path)?;
        let latents = latents(&model, &encoder, &photo)?;
        let (timesteps, draws) = (config.timesteps.as_slice(), config.draws);
        let looking = Looking { context: &context, positions: &positions, timesteps, draws, seed: config.seed };
        let mut progress = Progress::new(log, Phase::Mask);
        let mut told = Ok(());
        let map = look(&model, &latents, &looking, &mut |taken, _| {
            told = progress.tell(done * looks + taken, total);
            if told.is_err() || stop.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        told?;
        let Some(map) = map else { return Ok(Outcome::Stopped { step: 0 }) };
        let mask = attention_mask(&map, photo.dimensions(), config.threshold)?;
        let mask = clean_mask(&mask, config.smallest_part);
        if mask.iter().all(|&value| value == 0) {
            let message = format!("{}: the model sees no {} in it: no mask was made", path.display(), spec.class_word);
            log.write(Event::Warning { message })?;
            continue;
        }
        let made = how(config, &caption, &positions, &model.hash);
        let text: Vec<(&str, &str)> = made.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let target = job.concept.write_mask(path, &mask, &text)?;
        log.write(Event::Masked { picture: path.clone(), mask: target })?;
    }
    Ok(Outcome::Finished)
}

/// Refuse timesteps that a base model with so many does not have.
pub(super) fn check_timesteps(timesteps: &[usize], limit: usize) -> Result<(), Error> {
    match timesteps.iter().find(|&&timestep| timestep >= limit) {
        None => Ok(()),
        Some(late) => {
            let cause = format!("the base model's timesteps are 0 to {}", limit.saturating_sub(1));
            let value = late.to_string();
            Err(crate::catversion::Error::Setting { setting: "timesteps", value, cause }.into())
        }
    }
}

/// The whole photo at the model's resolution as scaled latents [1, C, h, w].
fn latents(model: &BaseModel, encoder: &Encoder, photo: &image::RgbImage) -> Result<candle_core::Tensor, Error> {
    let side = model.resolution() as u32;
    let pixels = to_tensor(&[resize_bicubic(photo, side, side)])?;
    let (mean, _) = encoder.encode(&pixels)?;
    Ok(model.vae.scale(&mean)?)
}

/// What the mask says of itself.
fn how(config: &MaskConfig, caption: &str, tokens: &[usize], base_model: &str) -> Vec<(&'static str, String)> {
    let list = |numbers: &[usize]| numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    vec![
        ("mask_made_by", "attention".into()),
        ("caption", caption.to_owned()),
        ("tokens", list(tokens)),
        ("timesteps", list(&config.timesteps)),
        ("draws", config.draws.to_string()),
        ("threshold", config.threshold.map_or("otsu".into(), |threshold| threshold.to_string())),
        ("smallest_part", config.smallest_part.to_string()),
        ("seed", config.seed.to_string()),
        ("base_model", base_model.to_owned()),
    ]
}
