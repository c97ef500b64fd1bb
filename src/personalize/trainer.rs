//! A training (Rombach et al. 2022, arXiv 2112.10752, section 3.3): the mean squared error of the predicted noise, at uniform timesteps,
//! moves what is learned and nothing else.
//!
//! What depends on nothing learned is computed once: the latent distribution of every (photo, flip), and of each text the part that nothing
//! learned changes. It stays on the device, as do the learned numbers and the optimizer's moments. Random numbers come from the CPU (see
//! [`Noise`]), two latents' worth for each sample of a step.
//!
//! A graphics card computes later than the program asks. So a step is [launched](Trainer::launch), the random numbers of the next are drawn
//! while the card is busy, and the losses, with a flag the only numbers that come back, are [read](Launched::read) when the next step is
//! under way.

use std::path::Path;

use candle_core::{DType, Tensor};

use super::checkpoint::{Checkpoint, CheckpointMeta};
use super::draw::{Draw, captions_drawn, photos_drawn};
use super::error::{Error, Result};
use super::learned::Learned;
use super::loss::{FixedNoiseLoss, Launched, StepLoss, losses, not_finite};
use super::optimizer::{AdamW, learning_rate};
use super::photos::{CachedPhoto, TrainingPhoto, photos_hash};
use super::prompt::Caption;
use crate::diffusion::{
    Additions, BaseModel, BegunTexts, Conditioning, Noise, Stream, Tape, TokenIds, Tracked, Transfers, UNetOptions,
    finite_flag, is_finite,
};
use crate::method::Task;
use crate::protocol::{SettingError, TrainConfig};

/// (photo, t, noise) triples behind the loss at fixed noise.
pub const FIXED_NOISE: usize = 16;

/// A sample of a batch: its photo, whether that is mirrored, its timestep, and its caption's number.
struct Sample<P> {
    photo: P,
    flip: usize,
    timestep: u32,
    caption: usize,
}

/// All that is random about a step, still on the CPU.
struct Drawn {
    step: usize,
    /// Photos by their places.
    samples: Vec<Sample<usize>>,
    noise: Tensor,
}

/// The captions, read as far as they depend on nothing learned.
enum Captions {
    /// One for all photos.
    One(BegunTexts),
    /// A step reads the latents of its photos.
    Several(Vec<TokenIds>),
}

/// A training between two steps.
pub struct Trainer<'a> {
    model: &'a BaseModel,
    config: TrainConfig,
    class_word: String,
    /// The layout of its checkpoints.
    format: u32,
    photos: Vec<CachedPhoto>,
    /// The photo that is never trained on.
    held_out: Option<CachedPhoto>,
    photos_hash: String,
    captions: Captions,
    learned: Learned,
    optimizer: AdamW,
    step: usize,
    transfers: Transfers,
    /// The next step, drawn while the device was busy.
    ahead: Option<Drawn>,
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
            let cause = "say what kind of thing the concept is, such as \"teapot\"";
            return Err(SettingError::new("class_word", "\"\"", cause).into());
        }
        if photos.is_empty() {
            return Err(SettingError::new("images", "none", "add a photo or more").into());
        }
        let names: Vec<String> = photos.iter().map(|photo| photo.name.clone()).collect();
        let held_out_at = config.held_out(&names)?;
        let task = Task { model, class_word, config: &config };
        let device = model.compute.device();
        let learned = config.method.start(&task)?.on(device)?;
        let captions = Captions::read(&task, &learned)?;
        let optimizer = AdamW::new(learned.count(), config.weight_decay)?.on(device)?;
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
            format: Checkpoint::FORMAT,
            photos: cached,
            held_out,
            photos_hash: photos_hash(photos, &config)?,
            captions,
            learned,
            optimizer,
            step: 0,
            transfers: Transfers::new(device),
            ahead: None,
            config,
        };
        let first = &trainer.task().captions()[0].text;
        trainer.told(&[0])?.check(|| format!("the text encoder, reading {first:?}"))?;
        Ok(trainer)
    }

    /// Go on from a checkpoint of the same training: the rest is as if it had never stopped.
    pub fn resume(&mut self, checkpoint: &Checkpoint, path: &Path) -> Result<()> {
        checkpoint.check_base_model(&self.model.hash, path)?;
        checkpoint.check_training(path, &self.photos_hash, &self.class_word, &self.config)?;
        if checkpoint.learned.shapes() != self.learned.shapes() {
            let cause = "what it has learned has other names or sizes; start a new run".into();
            return Err(Error::NotTheSameRun { path: path.to_owned(), cause });
        }
        self.step = checkpoint.meta.step;
        let device = self.model.compute.device();
        self.learned = checkpoint.learned.on(device)?;
        self.optimizer = checkpoint.optimizer.on(device)?;
        Ok(())
    }

    /// Write checkpoints in the layout `format`: a run goes on in that in which it began.
    #[must_use]
    pub fn in_format(self, format: u32) -> Self {
        Self { format, ..self }
    }

    /// Steps done.
    pub fn steps_done(&self) -> usize {
        self.step
    }

    /// What is learned as it stands.
    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    fn task(&self) -> Task<'_> {
        Task { model: self.model, class_word: &self.class_word, config: &self.config }
    }

    /// Refuse to keep what was learned if it, or what the text encoders make of it, is not finite.
    ///
    /// # Errors
    /// Just that.
    pub fn check_learned(&self) -> Result<()> {
        let wrong = |what| Err(not_finite(what, self.step, self.step, self.config.learning_rate));
        if !is_finite(self.learned.flat())? {
            return wrong("what was learned");
        }
        let (first, second) = self.optimizer.moments()?;
        if first.iter().chain(&second).any(|moment| !moment.is_finite()) {
            return wrong("a moment of the optimizer");
        }
        if !is_finite(self.told(&[0])?.hidden.value())? {
            return wrong("what the text encoder makes of what was learned");
        }
        Ok(())
    }

    /// What the UNet is told by these captions with what was learned.
    fn told(&self, captions: &[usize]) -> Result<Conditioning> {
        let additions = self.config.method.enter(&self.task(), &self.learned.constants()?, 1.0)?;
        self.captions.told(self.model, captions, &additions)
    }

    /// All that exact resume needs.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            meta: CheckpointMeta {
                format: self.format,
                step: self.step,
                class_word: self.class_word.clone(),
                base_model: self.model.hash.clone(),
                photos: self.photos_hash.clone(),
                config: self.config.clone(),
            },
            learned: self.learned.clone(),
            optimizer: self.optimizer.clone(),
        }
    }

    /// What the next step is about.
    pub fn draw(&self) -> Result<Draw> {
        self.of_drawn(self.drawn()?)
    }

    /// Draw the next step.
    fn drawn(&self) -> Result<Drawn> {
        let batch = self.config.batch_size;
        let mut noise = Noise::new(self.config.seed, Stream::Train, self.step as u64);
        let drawn = photos_drawn(&self.config, self.photos.len(), self.step * batch, batch);
        let captions = captions_drawn(self.config.seed, self.step, batch, self.captions.count());
        let mut samples = Vec::with_capacity(batch);
        for (photo, caption) in drawn.into_iter().zip(captions) {
            let flip = usize::from(noise.uniform() < self.config.flip_probability);
            let timestep = noise.below(self.model.schedule.num_train_timesteps()) as u32;
            samples.push(Sample { photo, flip, timestep, caption });
        }
        Ok(Drawn { step: self.step, noise: self.noise_of(batch, &mut noise)?, samples })
    }

    fn of_drawn(&self, drawn: Drawn) -> Result<Draw> {
        let sample = |Sample { photo, flip, timestep, caption }| {
            let photo: &CachedPhoto = &self.photos[photo];
            Sample { photo, flip, timestep, caption }
        };
        self.assemble(&drawn.samples.into_iter().map(sample).collect::<Vec<_>>(), &drawn.noise)
    }

    /// Standard normal numbers for `batch` samples [2, B, C, h, w], on the CPU: those that make latents of the photos' moments, and those
    /// that are added.
    fn noise_of(&self, batch: usize, noise: &mut Noise) -> Result<Tensor> {
        let (mean, _) = &self.photos[0].moments[0];
        let of_moments = (0..batch).map(|_| noise.normal(mean.dims())).collect::<candle_core::Result<Vec<_>>>()?;
        let of_moments = Tensor::stack(&of_moments, 0)?;
        let added = noise.normal(of_moments.dims())?;
        Ok(Tensor::stack(&[of_moments, added], 0)?)
    }

    /// The batch of these samples with the noise of [`Self::noise_of`].
    fn assemble(&self, samples: &[Sample<&CachedPhoto>], noise: &Tensor) -> Result<Draw> {
        let (mut latents, mut masks) = (Vec::new(), Vec::new());
        let any_mask = self.config.masked_loss && samples.iter().any(|sample| sample.photo.masks.is_some());
        let noise = self.transfers.upload(noise)?;
        let (of_moments, added) = (noise.get(0)?, noise.get(1)?);
        for (i, sample) in samples.iter().enumerate() {
            let (mean, std) = &sample.photo.moments[sample.flip];
            latents.push((mean + (std * of_moments.get(i)?)?)?);
            if any_mask {
                masks.push(sample.photo.weights(sample.flip)?);
            }
        }
        Ok(Draw {
            latents: self.model.vae.scale(&Tensor::stack(&latents, 0)?)?,
            noise: added,
            timesteps: samples.iter().map(|sample| sample.timestep).collect(),
            captions: samples.iter().map(|sample| sample.caption).collect(),
            masks: if any_mask { Some(Tensor::stack(&masks, 0)?) } else { None },
        })
    }

    /// Hand the next step to the device. The learned numbers are those after it from now on.
    pub fn launch(&mut self) -> Result<Launched> {
        let ahead = self.ahead.take().filter(|drawn| drawn.step == self.step);
        let drawn = ahead.map_or_else(|| self.drawn(), Ok)?;
        let launched = self.launch_on(&self.of_drawn(drawn)?)?;
        // The device is busy with that.
        if self.model.compute.is_asynchronous() && self.step < self.config.steps {
            self.ahead = Some(self.drawn()?);
        }
        Ok(launched)
    }

    /// Hand a step on a given draw to the device.
    pub fn launch_on(&mut self, draw: &Draw) -> Result<Launched> {
        let (losses, grad) = self.model.compute.run(|| self.losses_and_gradient(draw))?;
        let finite = finite_flag(&grad)?.to_dtype(losses.dtype())?;
        let rate = learning_rate(&self.config, self.step);
        self.learned = self.learned.with(self.optimizer.step(self.learned.flat(), &grad, rate)?);
        self.step += 1;
        Ok(Launched {
            step: self.step,
            learning_rate: self.config.learning_rate,
            timesteps: draw.timesteps.clone(),
            quarter: self.quarter(),
            numbers: self.transfers.download(&Tensor::cat(&[losses, finite], 0)?)?,
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

    /// The loss of each sample of a draw, and the gradient of their mean with respect to the flat learned numbers.
    pub fn losses_and_gradient(&self, draw: &Draw) -> Result<(Tensor, Tensor)> {
        let tape = Tape::default();
        let leaves = self.learned.leaves(&tape)?;
        let additions = self.config.method.enter(&self.task(), &leaves, 1.0)?;
        let told = self.captions.told(self.model, &draw.captions, &additions)?;
        let noisy = self.model.schedule.add_noise(&draw.latents, &draw.noise, &draw.timesteps)?;
        let gradient_checkpointing = self.config.gradient_checkpointing.then_some(&tape);
        let options = UNetOptions { gradient_checkpointing, ..UNetOptions::default() };
        let noise_pred = self.model.unet.forward(&noisy, &draw.timesteps, &told, options)?;
        let (losses, slope) = losses(self.model, noise_pred.value(), draw)?;
        let batch = draw.timesteps.len();
        let scale = self.model.compute.gradient_scale(slope.elem_count() / batch);
        let mut grads = tape.backward(&noise_pred, slope.affine(2.0 * scale / batch as f64, 0.0)?)?;
        let mut flat = |(_, leaf): &(String, Tracked)| {
            grads.take(leaf).map_or_else(|| leaf.value().zeros_like(), Ok)?.flatten_all()
        };
        let flat = leaves.iter().map(&mut flat).collect::<candle_core::Result<Vec<Tensor>>>()?;
        Ok((losses, Tensor::cat(&flat, 0)?.affine(1.0 / scale, 0.0)?))
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

    /// The mean loss of the photos that `photo` gives for 0, 1, ...; for each the same timestep, noise and caption whatever it is.
    fn loss_at_fixed_noise<'p>(&self, photo: &dyn Fn(usize) -> &'p CachedPhoto) -> Result<f64> {
        let n = self.model.schedule.num_train_timesteps();
        let timestep = |i: usize| ((2 * i + 1) * n / (2 * FIXED_NOISE)) as u32;
        let sample =
            |i: usize| Sample { photo: photo(i), flip: 0, timestep: timestep(i), caption: i % self.captions.count() };
        let samples: Vec<Sample<&CachedPhoto>> = (0..FIXED_NOISE).map(sample).collect();
        let mut noise = Noise::new(self.config.seed, Stream::FixedNoise, 0);
        let mut all = Vec::new();
        let one = if self.captions.count() == 1 { Some(self.told(&[0])?) } else { None };
        for samples in samples.chunks(self.config.batch_size) {
            let draw = self.assemble(samples, &self.noise_of(samples.len(), &mut noise)?)?;
            let told = one.clone().map_or_else(|| self.told(&draw.captions), Ok)?;
            let noisy = self.model.schedule.add_noise(&draw.latents, &draw.noise, &draw.timesteps)?;
            let noise_pred = self.model.unet.forward(&noisy, &draw.timesteps, &told, UNetOptions::default())?;
            all.push(losses(self.model, noise_pred.value(), &draw)?.0);
        }
        // Read last, so that the device never waits.
        let losses: Vec<f64> = Tensor::cat(&all, 0)?.to_dtype(DType::F64)?.to_vec1()?;
        let mean = losses.iter().sum::<f64>() / FIXED_NOISE as f64;
        if !mean.is_finite() {
            return Err(not_finite("the loss at fixed noise", self.step, self.step, self.config.learning_rate));
        }
        Ok(mean)
    }
}

impl Task<'_> {
    /// The captions of the training.
    fn captions(&self) -> Vec<Caption> {
        let method = &self.config.method;
        let read = |text: &String| Caption::of(text, self.class_word, method.word_length() > 0);
        method.captions(self.config).iter().map(read).collect()
    }
}

impl Captions {
    /// Those of `task`, with what is learned as it starts.
    fn read(task: &Task<'_>, learned: &Learned) -> Result<Self> {
        let additions = task.config.method.enter(task, &learned.constants()?, 1.0)?;
        let captions = task.captions();
        for caption in &captions {
            let length = task.config.method.word_length();
            task.model.texts.iter().try_for_each(|text| caption.cut(length, &text.tokenizer).map(drop))?;
        }
        let ids = |caption: &Caption| task.model.tokenize(&caption.text, &caption.words(), &additions);
        let texts = captions.iter().map(ids).collect::<crate::diffusion::Result<Vec<_>>>()?;
        Ok(match &texts[..] {
            [one] => Self::One(task.model.begin(one, &additions)?),
            _ => Self::Several(texts),
        })
    }

    fn count(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Several(texts) => texts.len(),
        }
    }

    /// What the UNet is told by the captions `wanted`, one a sample; by the only one for all samples together.
    fn told(&self, model: &BaseModel, wanted: &[usize], additions: &[Additions]) -> Result<Conditioning> {
        Ok(match self {
            Self::One(begun) => model.finish(begun, additions)?,
            Self::Several(texts) => {
                let batch = TokenIds::cat(wanted.iter().filter_map(|&caption| texts.get(caption)))?;
                model.encode(&batch, additions)?
            }
        })
    }
}
