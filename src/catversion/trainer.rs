//! Training (section 3.3 of the paper): the mean squared error of the predicted noise, at uniform timesteps, moves the
//! residual embeddings and nothing else.
//!
//! What depends on nothing trained is computed once: the latent distribution of every (photo, flip), and the hidden state
//! that enters the first concatenated layer. It stays on the device, as do the learned numbers and the optimizer's moments.
//! Random numbers come from the CPU (see [`Noise`]), a picture's worth a step.
//!
//! A graphics card works behind the program: a step is [launched](Trainer::launch), and its loss, the only number that
//! comes back, is [read](Launched::read) when the next step is under way.

use std::path::Path;

use candle_core::{D, DType, Device, Tensor};
use image::imageops::flip_horizontal;
use image::{GrayImage, RgbImage};
use sha2::{Digest, Sha256};

use super::checkpoint::{Checkpoint, CheckpointMeta};
use super::embeddings::ResidualEmbeddings;
use super::error::{Error, Result};
use super::optimizer::AdamW;
use crate::diffusion::{
    self, BaseModel, Encoder, Noise, Stream, Tape, UNetOptions, check_finite, finite_flag, is_finite, to_tensor,
};
use crate::protocol::{Init, TrainConfig};

/// (photo, t, noise) triples behind the loss at fixed noise.
pub const FIXED_NOISE: usize = 16;

/// A photo as the model sees it: square, at the model's resolution.
#[derive(Debug, Clone)]
pub struct TrainingPhoto {
    /// Its file's name, by which it can be held out.
    pub name: String,
    /// The picture.
    pub image: RgbImage,
    /// White where the concept is, same size.
    pub mask: Option<GrayImage>,
}

/// The latent distribution of one photo, and its mask at latent size.
struct CachedPhoto {
    /// (mean, std) [C, h, w]: as it is, then mirrored.
    moments: Vec<(Tensor, Tensor)>,
    /// [1, h, w]: as it is, then mirrored.
    masks: Option<[Tensor; 2]>,
}

/// What one step is about; a function of (seed, step) alone.
pub struct Draw {
    /// Scaled latents [B, C, h, w].
    pub latents: Tensor,
    /// The noise to add [B, C, h, w].
    pub noise: Tensor,
    /// One a sample.
    pub timesteps: Vec<u32>,
    /// Loss weights [B, 1, h, w].
    pub masks: Option<Tensor>,
}

/// The loss of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepLoss {
    /// Mean over the batch.
    pub loss: f64,
    /// Mean over the samples in each quarter of the timestep range.
    pub by_quarter: [Option<f64>; 4],
}

/// The loss at fixed noise: two values differ only by what was learned in between.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FixedNoiseLoss {
    /// Mean squared error of the photos that are trained on.
    pub loss: f64,
    /// Of the photo that is held out, where one is, at the same timesteps with the same noise.
    pub held_out: Option<f64>,
}

/// A step that is done or being done, whose loss has not been looked at yet.
pub struct Launched {
    step: usize,
    learning_rate: f64,
    timesteps: Vec<u32>,
    /// Timesteps in each quarter of their range.
    quarter: usize,
    /// The loss of each sample, then a number that is 0 if the gradient is finite; one after the other on the device.
    numbers: Tensor,
}

impl Launched {
    /// Steps done with this one.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Wait for the step to be done, and give its loss.
    ///
    /// # Errors
    /// A loss or a gradient that is not finite: what was learned is lost from this step on.
    pub fn read(self) -> Result<StepLoss> {
        let mut losses: Vec<f64> = self.numbers.to_dtype(DType::F64)?.to_vec1()?;
        let gradient = losses.pop();
        let loss = StepLoss::of(&losses, &self.timesteps, self.quarter);
        if !loss.loss.is_finite() || gradient != Some(0.0) {
            let what = if loss.loss.is_finite() { "the gradient" } else { "the loss" };
            return Err(not_finite(what, self.step, self.step - 1, self.learning_rate));
        }
        Ok(loss)
    }
}

/// `what` is not finite at `step`, with what was learned in the `learned` steps before. Where that is nothing, it is the model's
/// fault.
fn not_finite(what: &'static str, step: usize, learned: usize, learning_rate: f64) -> Error {
    if learned == 0 {
        let part = format!("the UNet, before anything was learned ({what} at step {step}),");
        return diffusion::Error::NotFinite { part }.into();
    }
    Error::NotFinite { what, step, learning_rate, checkpoint: None }
}

impl StepLoss {
    /// From the loss of each sample and its timestep.
    fn of(losses: &[f64], timesteps: &[u32], quarter: usize) -> Self {
        let by_quarter = std::array::from_fn(|q| {
            let of: Vec<f64> = losses
                .iter()
                .zip(timesteps)
                .filter(|(_, t)| **t as usize / quarter == q)
                .map(|(loss, _)| *loss)
                .collect();
            (!of.is_empty()).then(|| of.iter().sum::<f64>() / of.len() as f64)
        });
        Self { loss: losses.iter().sum::<f64>() / losses.len() as f64, by_quarter }
    }
}

/// A training between two steps.
pub struct Trainer<'a> {
    model: &'a BaseModel,
    config: TrainConfig,
    class_word: String,
    photos: Vec<CachedPhoto>,
    /// The photo that is never trained on.
    held_out: Option<CachedPhoto>,
    photos_hash: String,
    /// What enters the first concatenated layer, [1, T, D].
    hidden: Tensor,
    first_layer: usize,
    embeddings: ResidualEmbeddings,
    optimizer: AdamW,
    step: usize,
}

/// The layers that are concatenated in a text encoder of `count`: those `chosen`, else the last three.
///
/// # Errors
/// A layer that it does not have.
pub fn concatenated_layers(chosen: Option<&[usize]>, count: usize) -> Result<Vec<usize>> {
    let layers = chosen.map_or_else(|| (count.saturating_sub(3)..count).collect(), <[usize]>::to_vec);
    match layers.iter().find(|&&layer| layer >= count) {
        None => Ok(layers),
        Some(odd) => Err(Error::Setting {
            setting: "layers",
            value: odd.to_string(),
            cause: format!("the text encoder has layers 0 to {}", count.saturating_sub(1)),
        }),
    }
}

impl<'a> Trainer<'a> {
    /// Encode the photos and set up step 0. `progress` is told (photos done, photos).
    pub fn new(
        model: &'a BaseModel,
        photos: &[TrainingPhoto],
        class_word: &str,
        config: TrainConfig,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        config.check()?;
        if class_word.trim().is_empty() {
            return Err(Error::Setting {
                setting: "class_word",
                value: "\"\"".into(),
                cause: "say what kind of thing the concept is, such as \"teapot\"".into(),
            });
        }
        if photos.is_empty() {
            return Err(Error::Setting {
                setting: "images",
                value: "none".into(),
                cause: "add a photo or more".into(),
            });
        }
        let names: Vec<String> = photos.iter().map(|photo| photo.name.clone()).collect();
        let held_out_at = config.held_out(&names)?;
        let layers = concatenated_layers(config.layers.as_deref(), model.text_encoder.num_layers())?;
        let caption = config.caption.replace("{class}", class_word);
        let embeddings = match config.init {
            Init::ClassWord => ResidualEmbeddings::class_word(
                model,
                layers.clone(),
                config.prefix_length,
                &caption,
                class_word,
                config.seed,
            )?,
            Init::Normal => ResidualEmbeddings::normal(model, layers.clone(), config.prefix_length, config.seed)?,
        };
        let first_layer = layers[0];
        let hidden = model.text_encoder.hidden_before(first_layer, &model.token_ids(&caption)?)?;
        let device = model.compute.device();
        let embeddings = embeddings.on(device)?;
        let optimizer = AdamW::new(embeddings.count(), config.learning_rate, config.weight_decay)?.on(device)?;
        let (mut cached, mut held_out) = (Vec::with_capacity(photos.len()), None);
        let encoder = model.vae.encoder()?;
        for (i, photo) in photos.iter().enumerate() {
            if held_out_at == Some(i) {
                held_out = Some(CachedPhoto::new(model, &encoder, photo, false)?);
            } else {
                cached.push(CachedPhoto::new(model, &encoder, photo, config.flip_probability > 0.0)?);
            }
            progress(i + 1, photos.len());
        }
        drop(encoder);
        model.unet.read()?;
        let trainer = Self {
            model,
            class_word: class_word.to_owned(),
            photos: cached,
            held_out,
            photos_hash: photos_hash(photos, &config)?,
            hidden,
            first_layer,
            embeddings,
            optimizer,
            step: 0,
            config,
        };
        check_finite(&trainer.context()?, || format!("the text encoder, reading {caption:?}"))?;
        Ok(trainer)
    }

    /// Go on from a checkpoint of the same training: the rest is as if it had never stopped.
    pub fn resume(&mut self, checkpoint: &Checkpoint, path: &Path) -> Result<()> {
        checkpoint.check_base_model(&self.model.hash, path)?;
        checkpoint.check_training(path, &self.photos_hash, &self.class_word, &self.config)?;
        let differs = |cause: &str| Err(Error::NotTheSameRun { path: path.to_owned(), cause: cause.into() });
        if checkpoint.embeddings.layers() != self.embeddings.layers() {
            return differs("the settings differ from the run's; start a new run");
        }
        if checkpoint.embeddings.count() != self.embeddings.count() {
            return differs("the embeddings have another size");
        }
        self.step = checkpoint.meta.step;
        let device = self.model.compute.device();
        self.embeddings = checkpoint.embeddings.on(device)?;
        self.optimizer = checkpoint.optimizer.on(device)?;
        Ok(())
    }

    /// Steps done.
    pub fn steps_done(&self) -> usize {
        self.step
    }

    /// The learned numbers as they stand.
    pub fn embeddings(&self) -> &ResidualEmbeddings {
        &self.embeddings
    }

    /// Refuse to keep what was learned if it, or what the text encoder makes of it, is not finite.
    ///
    /// # Errors
    /// Just that.
    pub fn check_learned(&self) -> Result<()> {
        let wrong = |what| Err(not_finite(what, self.step, self.step, self.config.learning_rate));
        if !is_finite(self.embeddings.tensor())? {
            return wrong("what was learned");
        }
        let (first, second) = self.optimizer.moments()?;
        if first.iter().chain(&second).any(|moment| !moment.is_finite()) {
            return wrong("a moment of the optimizer");
        }
        if !is_finite(&self.context()?)? {
            return wrong("what the text encoder makes of what was learned");
        }
        Ok(())
    }

    /// What the UNet reads of the caption with what was learned, [1, T, D].
    fn context(&self) -> Result<Tensor> {
        let prefix = self.embeddings.prefix(self.config.prefix_bias, 1.0)?;
        let hidden = &(&self.hidden).into();
        Ok(self.model.text_encoder.forward_from(self.first_layer, hidden, Some(&prefix))?.value().clone())
    }

    /// All that exact resume needs.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            meta: CheckpointMeta {
                format: Checkpoint::FORMAT,
                step: self.step,
                class_word: self.class_word.clone(),
                base_model: self.model.hash.clone(),
                photos: self.photos_hash.clone(),
                layers: self.embeddings.layers().to_vec(),
                config: self.config.clone(),
            },
            embeddings: self.embeddings.clone(),
            optimizer: self.optimizer.clone(),
        }
    }

    /// What the next step is about.
    pub fn draw(&self) -> Result<Draw> {
        let batch = self.config.batch_size;
        let mut noise = Noise::new(self.config.seed, Stream::Train, self.step as u64);
        let drawn = photos_drawn(&self.config, self.photos.len(), self.step * batch, batch);
        let mut picks = Vec::with_capacity(batch);
        for photo in drawn {
            let flip = usize::from(noise.uniform() < self.config.flip_probability);
            let timestep = noise.below(self.model.schedule.num_train_timesteps()) as u32;
            picks.push((&self.photos[photo], flip, timestep));
        }
        self.assemble(&picks, &mut noise)
    }

    /// The batch of (photo, flip, t) picks, with noise from `noise`.
    fn assemble(&self, picks: &[(&CachedPhoto, usize, u32)], noise: &mut Noise) -> Result<Draw> {
        let (mut latents, mut masks) = (Vec::new(), Vec::new());
        let any_mask = self.config.masked_loss && picks.iter().any(|(photo, ..)| photo.masks.is_some());
        for &(photo, flip, _) in picks {
            let (mean, std) = &photo.moments[flip];
            latents.push((mean + (std * noise.normal(mean.dims())?.to_device(std.device())?)?)?);
            if any_mask {
                let (_, h, w) = mean.dims3()?;
                masks.push(match &photo.masks {
                    Some(masks) => masks[flip].clone(),
                    None => Tensor::ones((1, h, w), DType::F32, mean.device())?,
                });
            }
        }
        let latents = self.model.vae.scale(&Tensor::stack(&latents, 0)?)?;
        Ok(Draw {
            noise: noise.normal(latents.dims())?.to_device(latents.device())?,
            latents,
            timesteps: picks.iter().map(|p| p.2).collect(),
            masks: if any_mask { Some(Tensor::stack(&masks, 0)?) } else { None },
        })
    }

    /// Hand the next step to the device. The learned numbers are those after it from now on.
    pub fn launch(&mut self) -> Result<Launched> {
        let draw = self.draw()?;
        self.launch_on(&draw)
    }

    /// Hand a step on a given draw to the device.
    pub fn launch_on(&mut self, draw: &Draw) -> Result<Launched> {
        let (losses, grad) = self.model.compute.run(|| self.losses_and_gradient(draw))?;
        let finite = finite_flag(&grad)?.to_dtype(losses.dtype())?;
        let learned = self.optimizer.step(self.embeddings.tensor(), &grad)?;
        self.embeddings = self.embeddings.with(&learned)?;
        self.step += 1;
        Ok(Launched {
            step: self.step,
            learning_rate: self.config.learning_rate,
            timesteps: draw.timesteps.clone(),
            quarter: self.quarter(),
            numbers: Tensor::cat(&[losses, finite], 0)?,
        })
    }

    /// One optimizer step.
    pub fn step(&mut self) -> Result<StepLoss> {
        self.launch()?.read()
    }

    /// One optimizer step on a given draw.
    pub fn step_on(&mut self, draw: &Draw) -> Result<StepLoss> {
        self.launch_on(draw)?.read()
    }

    /// Timesteps in each quarter of their range.
    fn quarter(&self) -> usize {
        self.model.schedule.num_train_timesteps().div_ceil(4)
    }

    /// The loss of each sample of a draw, and the gradient of their mean with respect to the flat numbers of the embeddings.
    fn losses_and_gradient(&self, draw: &Draw) -> Result<(Tensor, Tensor)> {
        let tape = Tape::default();
        let (prefix, leaves) = self.embeddings.tracked(&tape, self.config.prefix_bias)?;
        let context = self.model.text_encoder.forward_from(self.first_layer, &(&self.hidden).into(), Some(&prefix))?;
        let noisy = self.model.schedule.add_noise(&draw.latents, &draw.noise, &draw.timesteps)?;
        let options =
            UNetOptions { gradient_checkpointing: self.config.gradient_checkpointing, ..UNetOptions::default() };
        let noise_pred = self.model.unet.forward(&noisy, &draw.timesteps, &context, options)?;
        let (losses, slope) = self.losses(noise_pred.value(), draw)?;
        let batch = draw.timesteps.len();
        let scale = self.model.compute.gradient_scale(slope.elem_count() / batch);
        let mut grads = tape.backward(&noise_pred, slope.affine(2.0 * scale / batch as f64, 0.0)?)?;
        let flat: Vec<Tensor> = leaves
            .iter()
            .map(|leaf| grads.take(leaf).map_or_else(|| leaf.value().zeros_like(), Ok)?.flatten_all())
            .collect::<candle_core::Result<_>>()?;
        Ok((losses, Tensor::cat(&flat, 0)?.affine(1.0 / scale, 0.0)?))
    }

    /// Each sample's (weighted) mean squared error `[B]`, and half its slope by `noise_pred`.
    fn losses(&self, noise_pred: &Tensor, draw: &Draw) -> Result<(Tensor, Tensor)> {
        let target = self.model.schedule.target(&draw.latents, &draw.noise, &draw.timesteps)?;
        let batch = draw.timesteps.len();
        let channels = noise_pred.dims4()?.1;
        let error = (noise_pred - target)?;
        // Weights of each number: they sum to 1 over a sample.
        let weighted = if let Some(masks) = &draw.masks {
            let sums = masks.sum_keepdim((1, 2, 3))?.affine(channels as f64, 0.0)?;
            error.broadcast_mul(&masks.broadcast_div(&sums)?)?
        } else {
            error.affine(batch as f64 / error.elem_count() as f64, 0.0)?
        };
        let losses = (&weighted * &error)?.flatten_from(1)?.to_dtype(self.model.compute.sum_dtype())?.sum(D::Minus1)?;
        Ok((losses, weighted))
    }

    /// The loss at fixed noise: on a frozen set of (photo, t, noise), the same numbers whenever it is asked, so that two values
    /// differ only by what was learned. Timesteps are spread evenly. Of the photos that are trained on it is a training loss;
    /// of the one that is held out it is a validation.
    ///
    /// # Errors
    /// A loss that is not finite, a failing computation.
    pub fn fixed_noise_loss(&self) -> Result<FixedNoiseLoss> {
        Ok(FixedNoiseLoss {
            loss: self.loss_at_fixed_noise(&|i| &self.photos[i % self.photos.len()])?,
            held_out: self.held_out.as_ref().map(|photo| self.loss_at_fixed_noise(&|_| photo)).transpose()?,
        })
    }

    /// The mean loss of the photos that `photo` gives for 0, 1, ...; for each the same timestep and noise whatever it is.
    fn loss_at_fixed_noise<'p>(&self, photo: &dyn Fn(usize) -> &'p CachedPhoto) -> Result<f64> {
        let n = self.model.schedule.num_train_timesteps();
        let picks: Vec<(&CachedPhoto, usize, u32)> =
            (0..FIXED_NOISE).map(|i| (photo(i), 0, ((2 * i + 1) * n / (2 * FIXED_NOISE)) as u32)).collect();
        let context = (&self.context()?).into();
        let mut noise = Noise::new(self.config.seed, Stream::FixedNoise, 0);
        let mut losses = Vec::new();
        for picks in picks.chunks(self.config.batch_size) {
            let draw = self.assemble(picks, &mut noise)?;
            let noisy = self.model.schedule.add_noise(&draw.latents, &draw.noise, &draw.timesteps)?;
            let noise_pred = self.model.unet.forward(&noisy, &draw.timesteps, &context, UNetOptions::default())?;
            losses.push(self.losses(noise_pred.value(), &draw)?.0);
        }
        // Read last, so that the device never waits.
        let losses: Vec<f64> = Tensor::cat(&losses, 0)?.to_dtype(DType::F64)?.to_vec1()?;
        let mean = losses.iter().sum::<f64>() / FIXED_NOISE as f64;
        if !mean.is_finite() {
            return Err(not_finite("the loss at fixed noise", self.step, self.step, self.config.learning_rate));
        }
        Ok(mean)
    }
}

impl CachedPhoto {
    fn new(model: &BaseModel, encoder: &Encoder, photo: &TrainingPhoto, flips: bool) -> Result<Self> {
        let size = model.resolution() as u32;
        if photo.image.dimensions() != (size, size) {
            return Err(Error::Setting {
                setting: "images",
                value: format!("{} × {}", photo.image.width(), photo.image.height()),
                cause: format!("the base model takes {size} × {size}"),
            });
        }
        // One after the other: encoding, not training, would need the most memory.
        let encode = |image| {
            let (mean, std) = encoder.encode(&to_tensor(&[image])?)?;
            Ok::<_, Error>((mean.get(0)?, std.get(0)?))
        };
        let mut moments = vec![encode(photo.image.clone())?];
        if flips {
            moments.push(encode(flip_horizontal(&photo.image))?);
        }
        let masks = photo
            .mask
            .as_ref()
            .map(|mask| {
                let factor = model.vae.factor();
                let masks = [latent_mask(mask, factor)?, latent_mask(&flip_horizontal(mask), factor)?];
                let [plain, mirrored] = masks.map(|mask| mask.to_device(model.compute.device()));
                Ok::<_, Error>([plain?, mirrored?])
            })
            .transpose()?;
        Ok(Self { moments, masks })
    }
}

/// The mask at latent size, [1, h, w]: the share of each latent's pixels that is concept.
fn latent_mask(mask: &GrayImage, factor: usize) -> Result<Tensor> {
    let (w, h) = (mask.width() as usize / factor, mask.height() as usize / factor);
    let mut sums = vec![0f32; w * h];
    for (x, y, pixel) in mask.enumerate_pixels() {
        let (x, y) = (x as usize / factor, y as usize / factor);
        if x < w && y < h {
            sums[y * w + x] += f32::from(pixel.0[0]) / 255.0;
        }
    }
    if sums.iter().sum::<f32>() < 1.0 {
        return Err(Error::Setting {
            setting: "masks",
            value: "empty".into(),
            cause: "a mask is black all over; draw the concept in white or remove the mask".into(),
        });
    }
    sums.iter_mut().for_each(|s| *s /= (factor * factor) as f32);
    Ok(Tensor::from_vec(sums, (1, h, w), &Device::Cpu)?)
}

/// The photos, of `photos`, that stand at `count` places from `first` on in passes over them. A pass holds each as often as
/// `config` says, and is shuffled as a whole: a function of (seed, pass) alone, so that a resumed training draws the same.
fn photos_drawn(config: &TrainConfig, photos: usize, first: usize, count: usize) -> Vec<usize> {
    let length = photos * config.photo_repeats;
    let mut shuffled: Option<(usize, Vec<usize>)> = None;
    let mut drawn = Vec::with_capacity(count);
    for at in first..first + count {
        let pass = at / length;
        let order = match shuffled.take() {
            Some((known, order)) if known == pass => order,
            _ => Noise::new(config.seed, Stream::Order, pass as u64).permutation(length),
        };
        drawn.push(order[at % length] % photos);
        shuffled = Some((pass, order));
    }
    drawn
}

/// SHA-256 of the photos and masks as trained on with `config`, then of the one that is held out.
///
/// # Errors
/// The one to be held out is not there.
pub fn photos_hash(photos: &[TrainingPhoto], config: &TrainConfig) -> Result<String> {
    let names: Vec<String> = photos.iter().map(|photo| photo.name.clone()).collect();
    let held_out = config.held_out(&names)?;
    let mut hash = Sha256::new();
    let mut add = |photo: &TrainingPhoto| {
        hash.update(photo.image.as_raw());
        match &photo.mask {
            Some(mask) => hash.update(mask.as_raw()),
            None => hash.update([0]),
        }
    };
    photos.iter().enumerate().filter(|(i, _)| held_out != Some(*i)).for_each(|(_, photo)| add(photo));
    if let Some(photo) = held_out.and_then(|i| photos.get(i)) {
        add(photo);
    }
    Ok(format!("{:x}", hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(config: &TrainConfig, photos: usize, count: usize) -> Vec<usize> {
        photos_drawn(config, photos, 0, count)
    }

    #[test]
    fn in_each_pass_every_photo_comes_as_often_as_it_is_repeated() {
        for repeats in [1, 100] {
            let config = TrainConfig { photo_repeats: repeats, ..TrainConfig::default() };
            let all = drawn(&config, 5, 3 * 5 * repeats);
            for pass in all.chunks(5 * repeats) {
                let counts: Vec<usize> = (0..5).map(|photo| pass.iter().filter(|at| **at == photo).count()).collect();
                assert_eq!(counts, [repeats; 5]);
            }
            assert_ne!(all[..5 * repeats], all[5 * repeats..10 * repeats], "passes differ");
            let other = TrainConfig { seed: 1, ..config.clone() };
            assert_ne!(drawn(&other, 5, 3 * 5 * repeats), all, "seeds differ");
        }
        let config = TrainConfig { photo_repeats: 100, ..TrainConfig::default() };
        let first = drawn(&config, 5, 100);
        assert!(first.windows(2).any(|pair| pair[0] == pair[1]), "a pass is shuffled as a whole: {first:?}");
    }

    #[test]
    fn what_a_step_draws_depends_on_no_step_before_it() {
        let config = TrainConfig { photo_repeats: 100, seed: 7, ..TrainConfig::default() };
        let all = drawn(&config, 3, 700);
        for first in [0, 299, 300, 599] {
            assert_eq!(photos_drawn(&config, 3, first, 4), all[first..first + 4]);
        }
    }

    #[test]
    fn photos_that_come_once_a_pass_are_drawn_as_ever() {
        // Pinned by the rule that earlier versions had: a resumed training must draw what it would have drawn.
        let config = TrainConfig { seed: 3, ..TrainConfig::default() };
        let ever = |at: usize| Noise::new(3, Stream::Order, (at / 4) as u64).permutation(4)[at % 4];
        assert_eq!(drawn(&config, 4, 40), (0..40).map(ever).collect::<Vec<_>>());
    }
}
