//! The noise schedule and its samplers: forward diffusion (DDPM, Ho et al. 2020, arXiv 2006.11239) and DDIM (Song et al.
//! 2020, arXiv 2010.02502), step for step as diffusers computes them.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
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
enum TimestepSpacing {
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
    set_alpha_to_one: bool,
    timestep_spacing: TimestepSpacing,
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
            set_alpha_to_one: true,
            timestep_spacing: TimestepSpacing::Leading,
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
    /// ᾱ_t, the share of signal left after t steps.
    alphas_cumprod: Vec<f64>,
}

impl Schedule {
    /// Read `scheduler_config.json` in `folder`. Whatever sampler it names, its schedule is what counts: sampling is DDIM.
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

    /// The DDIM sampling in `steps` steps.
    pub fn ddim(&self, steps: usize, eta: f64) -> Result<Ddim<'_>> {
        let n = self.config.num_train_timesteps;
        if steps == 0 || steps > n {
            return Err(Error::Setting(format!("{steps} denoising steps: must be in 1..={n}")));
        }
        if !(0.0..=1.0).contains(&eta) {
            return Err(Error::Setting(format!("eta {eta}: must be in 0..=1")));
        }
        let last = (n - 1) as f64;
        let timesteps: Vec<usize> = match self.config.timestep_spacing {
            TimestepSpacing::Leading => {
                (0..steps).rev().map(|i| (i * (n / steps) + self.config.steps_offset).min(n - 1)).collect()
            }
            TimestepSpacing::Trailing => (0..steps)
                .map(|i| ((n as f64 - i as f64 * n as f64 / steps as f64).round_ties_even() as usize).max(1) - 1)
                .collect(),
            TimestepSpacing::Linspace if steps == 1 => vec![0],
            TimestepSpacing::Linspace => {
                (0..steps).rev().map(|i| (i as f64 * last / (steps - 1) as f64).round_ties_even() as usize).collect()
            }
        };
        Ok(Ddim { schedule: self, timesteps, jump: n / steps, eta })
    }
}

/// One DDIM sampling: the timesteps it visits and its update.
pub struct Ddim<'a> {
    schedule: &'a Schedule,
    timesteps: Vec<usize>,
    /// Training timesteps between two visited ones.
    jump: usize,
    eta: f64,
}

impl Ddim<'_> {
    /// The timesteps, from noise to image.
    pub fn timesteps(&self) -> &[usize] {
        &self.timesteps
    }

    /// x_{t-1} from x_t and the UNet's output at t (DDIM, equation 12). `variance_noise` is needed where η > 0.
    pub fn step(&self, model_output: &Tensor, t: usize, x: &Tensor, variance_noise: Option<&Tensor>) -> Result<Tensor> {
        let alphas = &self.schedule.alphas_cumprod;
        let alpha = alphas[t];
        let alpha_prev = match t.checked_sub(self.jump) {
            Some(previous) => alphas[previous],
            None if self.schedule.config.set_alpha_to_one => 1.0,
            None => alphas[0],
        };
        let (signal, sigma) = (alpha.sqrt(), (1.0 - alpha).sqrt());
        let (x0, noise) = match self.schedule.config.prediction_type {
            PredictionType::Epsilon => {
                let x0 = (x - model_output.affine(sigma, 0.0)?)?.affine(1.0 / signal, 0.0)?;
                (x0, model_output.clone())
            }
            PredictionType::VPrediction => {
                let x0 = (x.affine(signal, 0.0)? - model_output.affine(sigma, 0.0)?)?;
                let noise = (model_output.affine(signal, 0.0)? + x.affine(sigma, 0.0)?)?;
                (x0, noise)
            }
        };
        let variance = (1.0 - alpha_prev) / (1.0 - alpha) * (1.0 - alpha / alpha_prev);
        let std = self.eta * variance.max(0.0).sqrt();
        let direction = noise.affine((1.0 - alpha_prev - std * std).max(0.0).sqrt(), 0.0)?;
        let mut previous = (x0.affine(alpha_prev.sqrt(), 0.0)? + direction)?;
        if self.eta > 0.0 {
            let noise =
                variance_noise.ok_or_else(|| Error::Setting(format!("eta {} needs noise at every step", self.eta)))?;
            previous = (previous + noise.affine(std, 0.0)?)?;
        }
        Ok(previous.to_dtype(DType::F32)?)
    }
}
