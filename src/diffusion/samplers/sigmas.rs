//! Noise levels σ = √(1-ᾱ)/√ᾱ and the timesteps that belong to them (Karras et al. 2022, arXiv 2206.00364), as diffusers'
//! samplers choose them.

use crate::diffusion::error::{Error, Result};
use crate::diffusion::scheduler::{Schedule, TimestepSpacing};

/// ρ of equation 5.
const RHO: f64 = 7.0;

/// The levels that a sampling visits.
pub(super) struct Sigmas {
    /// One more than timesteps: down to 0. Of float32, as diffusers keeps them.
    pub sigmas: Vec<f64>,
    pub timesteps: Vec<f32>,
}

/// Of every training timestep.
fn of_training(schedule: &Schedule) -> Vec<f32> {
    let of = |t| {
        let alpha = schedule.alpha_cumprod(t) as f32;
        ((1.0 - alpha) / alpha).sqrt()
    };
    (0..schedule.num_train_timesteps()).map(of).collect()
}

/// Between the values of `all` at the whole numbers below and above `t`.
fn interpolate(all: &[f32], t: f64) -> f64 {
    let t = t.clamp(0.0, (all.len() - 1) as f64);
    let (low, share) = (t as usize, t.fract());
    let (below, above) = (f64::from(all[low]), f64::from(all[(low + 1).min(all.len() - 1)]));
    below + share * (above - below)
}

/// `steps` levels from `max` to `min`, evenly spaced in their ρ-th root.
fn karras(min: f64, max: f64, steps: usize) -> Vec<f64> {
    let (min, max) = (min.powf(1.0 / RHO), max.powf(1.0 / RHO));
    let ramp = |i: usize| i as f64 / (steps - 1).max(1) as f64;
    (0..steps).map(|i| (max + ramp(i) * (min - max)).powf(RHO)).collect()
}

/// The timestep of a level, between whole ones.
fn timestep_of(sigma: f64, log_sigmas: &[f32]) -> f64 {
    let log_sigma = sigma.max(1e-10).ln();
    let reached = log_sigmas.partition_point(|&level| f64::from(level) <= log_sigma);
    let low = reached.saturating_sub(1).min(log_sigmas.len() - 2);
    let (below, above) = (log_sigmas[low], log_sigmas[low + 1]);
    let share = ((f64::from(below) - log_sigma) / f64::from(below - above)).clamp(0.0, 1.0);
    (1.0 - share) * low as f64 + share * (low + 1) as f64
}

impl Sigmas {
    /// Of Euler's method: timesteps may lie between whole ones, and Karras levels reach from the first to the last visited.
    pub fn of_euler(schedule: &Schedule, use_karras: bool, steps: usize) -> Result<Self> {
        let all = of_training(schedule);
        let n = all.len();
        let timesteps: Vec<f64> = match schedule.timestep_spacing(TimestepSpacing::Linspace) {
            TimestepSpacing::Linspace => {
                let step = (n - 1) as f64 / (steps - 1).max(1) as f64;
                let of = |i: usize| f64::from((i as f64 * step) as f32);
                (0..steps).rev().map(of).collect()
            }
            spacing => super::evenly(schedule, spacing, steps).into_iter().map(|t| t as f64).collect(),
        };
        let sigmas: Vec<f64> = timesteps.iter().map(|&t| interpolate(&all, t)).collect();
        if use_karras {
            let logs: Vec<f32> = all.iter().map(|sigma| sigma.ln()).collect();
            let sigmas = karras(sigmas[steps - 1], sigmas[0], steps);
            let timesteps = sigmas.iter().map(|&sigma| timestep_of(sigma, &logs)).collect();
            return Self::new(sigmas, timesteps);
        }
        Self::new(sigmas, timesteps)
    }

    /// Of the multistep samplers: one level more is laid out than visited, timesteps are whole, and Karras levels reach over
    /// all training timesteps.
    pub fn of_multistep(schedule: &Schedule, use_karras: bool, steps: usize) -> Result<Self> {
        let all = of_training(schedule);
        let n = all.len();
        if use_karras {
            let logs: Vec<f32> = all.iter().map(|sigma| sigma.ln()).collect();
            let sigmas = karras(f64::from(all[0]), f64::from(all[n - 1]), steps);
            let timesteps = sigmas.iter().map(|&sigma| timestep_of(sigma, &logs).round_ties_even()).collect();
            return Self::new(sigmas, timesteps);
        }
        let timesteps: Vec<usize> = match schedule.timestep_spacing(TimestepSpacing::Linspace) {
            TimestepSpacing::Linspace => {
                let step = (n - 1) as f64 / steps as f64;
                (1..=steps).rev().map(|i| (i as f64 * step).round_ties_even() as usize).collect()
            }
            TimestepSpacing::Leading => {
                let (jump, offset) = (n / (steps + 1), schedule.steps_offset());
                (1..=steps).rev().map(|i| (i * jump + offset).min(n - 1)).collect()
            }
            TimestepSpacing::Trailing => super::evenly(schedule, TimestepSpacing::Trailing, steps),
        };
        let sigmas = timesteps.iter().map(|&t| f64::from(all[t])).collect();
        Self::new(sigmas, timesteps.into_iter().map(|t| t as f64).collect())
    }

    fn new(mut sigmas: Vec<f64>, timesteps: Vec<f64>) -> Result<Self> {
        sigmas.push(0.0);
        sigmas.iter_mut().for_each(|sigma| *sigma = f64::from(*sigma as f32));
        if sigmas.windows(2).any(|pair| pair[0] <= pair[1]) {
            let steps = timesteps.len();
            return Err(Error::Setting(format!("{steps} denoising steps: some have the same noise level: take fewer")));
        }
        Ok(Self { sigmas, timesteps: timesteps.into_iter().map(|t| t as f32).collect() })
    }
}
