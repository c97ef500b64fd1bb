//! The noise schedule of a base model, and forward diffusion (DDPM, Ho et al. 2020, arXiv 2006.11239).

use std::path::Path;

use candle_core::{Device, Tensor};
use serde::Deserialize;
use serde_json::Value;

use super::error::{Error, Result};
use super::weights::{check_sizes, read_json};

/// What the UNet predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// The noise ε.
    Epsilon,
    /// v = √ᾱ ε - √(1-ᾱ) x₀ (Salimans and Ho 2022, arXiv 2202.00512).
    VPrediction,
}

/// How the betas grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BetaSchedule {
    Linear,
    ScaledLinear,
}

/// Which of the training timesteps a short sampling visits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TimestepSpacing {
    Leading,
    Trailing,
    Linspace,
}

/// `scheduler_config.json`, with diffusers' defaults.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
struct Config {
    num_train_timesteps: usize,
    beta_start: f64,
    beta_end: f64,
    beta_schedule: BetaSchedule,
    prediction_type: PredictionType,
    steps_offset: usize,
    /// Like the next, its default depends on the sampler.
    set_alpha_to_one: Option<bool>,
    timestep_spacing: Option<TimestepSpacing>,
    clip_sample: bool,
    thresholding: bool,
    rescale_betas_zero_snr: bool,
    trained_betas: Option<Vec<f64>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: 0.000_85,
            beta_end: 0.012,
            beta_schedule: BetaSchedule::ScaledLinear,
            prediction_type: PredictionType::Epsilon,
            steps_offset: 0,
            set_alpha_to_one: None,
            timestep_spacing: None,
            clip_sample: false,
            thresholding: false,
            rescale_betas_zero_snr: false,
            trained_betas: None,
        }
    }
}

/// The noise schedule of a base model.
#[derive(Debug, Clone)]
pub struct Schedule {
    config: Config,
    /// ᾱ_t of every t.
    alphas_cumprod: Vec<f64>,
}

impl Schedule {
    /// Read `scheduler_config.json` in `folder`. Whatever sampler it names, its schedule is what counts.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join("scheduler_config.json");
        Self::parse(read_json(&path)?, &path)
    }

    /// The schedule of a config; `path` is where it is from.
    pub(crate) fn parse(config: Value, path: &Path) -> Result<Self> {
        check_sizes(&config, path)?;
        let format = |e: serde_json::Error| Error::Format { path: path.to_owned(), cause: e.to_string() };
        let config: Config = serde_json::from_value(config).map_err(format)?;
        let unsupported = |setting: &str, value: &str, supported: &str| Error::Unsupported {
            path: path.to_owned(),
            setting: setting.into(),
            value: value.into(),
            supported: supported.into(),
        };
        if config.num_train_timesteps == 0 {
            return Err(unsupported("num_train_timesteps", "0", "1 or more"));
        }
        let (first, last) = (config.beta_start, config.beta_end);
        if !(0.0 < first && first <= last && last < 1.0) {
            return Err(unsupported("beta_start and beta_end", &format!("{first} and {last}"), "0 < start ≤ end < 1"));
        }
        if config.steps_offset >= config.num_train_timesteps {
            let supported = format!("less than num_train_timesteps {}", config.num_train_timesteps);
            return Err(unsupported("steps_offset", &config.steps_offset.to_string(), &supported));
        }
        if config.rescale_betas_zero_snr {
            return Err(unsupported("rescale_betas_zero_snr", "true", "false"));
        }
        if config.thresholding || config.clip_sample {
            return Err(unsupported("thresholding or clip_sample", "true", "false (latent diffusion)"));
        }
        if config.trained_betas.is_some() {
            return Err(unsupported("trained_betas", "a list", "null"));
        }
        Ok(Self::new(config))
    }

    fn new(config: Config) -> Self {
        let n = config.num_train_timesteps;
        // In float32 where PyTorch computes in float32, so that ᾱ agrees with diffusers to its last digits.
        let line = |from: f64, to: f64, i: usize| {
            let step = (to as f32 - from as f32) / (n.max(2) - 1) as f32;
            if i < n / 2 { from as f32 + step * i as f32 } else { to as f32 - step * (n - 1 - i) as f32 }
        };
        let mut product = 1f32;
        let alphas_cumprod = (0..n)
            .map(|i| {
                let beta = match config.beta_schedule {
                    BetaSchedule::Linear => line(config.beta_start, config.beta_end, i),
                    BetaSchedule::ScaledLinear => line(config.beta_start.sqrt(), config.beta_end.sqrt(), i).powi(2),
                };
                product *= 1.0 - beta;
                f64::from(product)
            })
            .collect();
        Self { config, alphas_cumprod }
    }

    /// How many timesteps the model was trained on; t is in `0..` this.
    pub fn num_train_timesteps(&self) -> usize {
        self.config.num_train_timesteps
    }

    /// What the UNet predicts.
    pub fn prediction_type(&self) -> PredictionType {
        self.config.prediction_type
    }

    /// ᾱ_t, the share of signal left after t steps.
    pub(super) fn alpha_cumprod(&self, t: usize) -> f64 {
        self.alphas_cumprod[t]
    }

    /// ᾱ after the last step of a sampler that by itself sets it to 1 (`to_one`), or to ᾱ_0.
    pub(super) fn final_alpha_cumprod(&self, to_one: bool) -> f64 {
        if self.config.set_alpha_to_one.unwrap_or(to_one) { 1.0 } else { self.alphas_cumprod[0] }
    }

    /// Which of the training timesteps a short sampling visits; `usual` where the base model does not say.
    pub(super) fn timestep_spacing(&self, usual: TimestepSpacing) -> TimestepSpacing {
        self.config.timestep_spacing.unwrap_or(usual)
    }

    /// Added to timesteps that are spaced from the first on.
    pub(super) fn steps_offset(&self) -> usize {
        self.config.steps_offset
    }

    /// (√ᾱ_t, √(1-ᾱ_t)), one a sample, shaped to scale `like` [B, ..].
    fn coefficients(&self, timesteps: &[u32], like: &Tensor) -> Result<(Tensor, Tensor)> {
        let mut shape = vec![1; like.rank()];
        shape[0] = timesteps.len();
        let of = |f: fn(f64) -> f64| {
            let numbers: Vec<f32> = timesteps.iter().map(|&t| f(self.alphas_cumprod[t as usize]) as f32).collect();
            Tensor::from_vec(numbers, shape.as_slice(), &Device::Cpu)?.to_device(like.device())
        };
        Ok((of(f64::sqrt)?, of(|a| (1.0 - a).sqrt())?))
    }

    /// x_t = √ᾱ_t x₀ + √(1-ᾱ_t) ε, each sample of the batch at its own t.
    pub fn add_noise(&self, x0: &Tensor, noise: &Tensor, timesteps: &[u32]) -> Result<Tensor> {
        let (signal, sigma) = self.coefficients(timesteps, x0)?;
        Ok(x0.broadcast_mul(&signal)?.add(&noise.broadcast_mul(&sigma)?)?)
    }

    /// v = √ᾱ_t ε - √(1-ᾱ_t) x₀, each sample of the batch at its own t.
    pub fn velocity(&self, x0: &Tensor, noise: &Tensor, timesteps: &[u32]) -> Result<Tensor> {
        let (signal, sigma) = self.coefficients(timesteps, x0)?;
        Ok(noise.broadcast_mul(&signal)?.sub(&x0.broadcast_mul(&sigma)?)?)
    }

    /// What the UNet should say: the noise, or the velocity.
    pub fn target(&self, x0: &Tensor, noise: &Tensor, timesteps: &[u32]) -> Result<Tensor> {
        match self.config.prediction_type {
            PredictionType::Epsilon => Ok(noise.clone()),
            PredictionType::VPrediction => self.velocity(x0, noise, timesteps),
        }
    }
}
