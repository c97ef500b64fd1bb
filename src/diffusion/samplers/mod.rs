//! Samplers: from noise to latents in few steps, step for step as diffusers computes them from a base model's scheduler
//! config. The paper of each is named in its file.

mod ddim;
mod dpm_plus_plus;
mod euler;
mod pndm;
mod sigmas;
mod unipc;

use candle_core::Tensor;

use super::error::{Error, Result};
use super::scheduler::{PredictionType, Schedule, TimestepSpacing};
use crate::protocol::SamplerKind;

/// One sampling under way: what is asked of the UNet, and what is made of its answers, one step after the other.
pub trait Solver {
    /// The timesteps at which the UNet is asked, from noise to image. PNDM has one more than steps.
    fn timesteps(&self) -> &[f32];

    /// What standard normal noise is multiplied with to be the start.
    fn init_noise_sigma(&self) -> f64 {
        1.0
    }

    /// What the UNet is given for `x` at the step that comes next.
    fn scale_model_input(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.clone())
    }

    /// Whether each step needs new noise.
    fn needs_noise(&self) -> bool {
        false
    }

    /// The next x, from `x` and what the UNet says there, both [B, C, h, w]. Call it as often as there are timesteps.
    fn step(&mut self, model_output: &Tensor, x: &Tensor, noise: Option<&Tensor>) -> Result<Tensor>;
}

impl Schedule {
    /// A sampling by `kind` in `steps` steps; `karras` where diffusers has it, `eta` for DDIM alone.
    pub fn solver(&self, kind: SamplerKind, karras: bool, steps: usize, eta: f64) -> Result<Box<dyn Solver + '_>> {
        let n = self.num_train_timesteps();
        if steps == 0 || steps > n {
            return Err(Error::Setting(format!("{steps} denoising steps: must be in 1..={n}")));
        }
        if karras && !kind.has_karras() {
            return Err(Error::Setting(format!("the sampler {} has no Karras noise levels", kind.word())));
        }
        Ok(match kind {
            SamplerKind::Ddim => Box::new(ddim::Ddim::new(self, steps, eta)?),
            SamplerKind::Pndm => Box::new(pndm::Pndm::new(self, steps)),
            SamplerKind::Euler => Box::new(euler::Euler::new(self, karras, false, steps)?),
            SamplerKind::EulerAncestral => Box::new(euler::Euler::new(self, false, true, steps)?),
            SamplerKind::DpmPlusPlus2m => Box::new(dpm_plus_plus::DpmPlusPlus2m::new(self, karras, steps)?),
            SamplerKind::UniPc => Box::new(unipc::UniPc::new(self, karras, steps)?),
        })
    }
}

/// `steps` whole timesteps from noise to image, evenly spaced (Lin et al. 2023, arXiv 2305.08891, table 2).
fn evenly(schedule: &Schedule, spacing: TimestepSpacing, steps: usize) -> Vec<usize> {
    let n = schedule.num_train_timesteps();
    match spacing {
        TimestepSpacing::Leading => {
            (0..steps).rev().map(|i| (i * (n / steps) + schedule.steps_offset()).min(n - 1)).collect()
        }
        TimestepSpacing::Trailing => (0..steps)
            .map(|i| ((n as f64 - i as f64 * n as f64 / steps as f64).round_ties_even() as usize).max(1) - 1)
            .collect(),
        TimestepSpacing::Linspace => {
            let step = (n - 1) as f64 / (steps - 1).max(1) as f64;
            (0..steps).rev().map(|i| (i as f64 * step).round_ties_even() as usize).collect()
        }
    }
}

/// A noise level, as variance-preserving samplers count it: x = α x₀ + σ ε.
#[derive(Clone, Copy)]
struct Level {
    alpha: f64,
    sigma: f64,
    /// Half the logarithm of the signal-to-noise ratio, ln α - ln σ; ∞ at the end.
    lambda: f64,
}

impl Level {
    /// Of a level `sigma` / `alpha`.
    fn of(ratio: f64) -> Self {
        let alpha = 1.0 / (ratio * ratio + 1.0).sqrt();
        Self { alpha, sigma: ratio * alpha, lambda: -ratio.ln() }
    }

    /// x₀ as the UNet's output at `x` says.
    fn x0(self, prediction: PredictionType, model_output: &Tensor, x: &Tensor) -> Result<Tensor> {
        let noise = model_output.affine(self.sigma, 0.0)?;
        Ok(match prediction {
            PredictionType::Epsilon => (x - noise)?.affine(1.0 / self.alpha, 0.0)?,
            PredictionType::VPrediction => (x.affine(self.alpha, 0.0)? - noise)?,
        })
    }
}
