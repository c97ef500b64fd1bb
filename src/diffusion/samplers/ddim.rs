//! DDIM (Song et al. 2020, arXiv 2010.02502).

use candle_core::Tensor;

use super::{Solver, evenly};
use crate::diffusion::error::{Error, Result};
use crate::diffusion::scheduler::{PredictionType, Schedule, TimestepSpacing};

/// One DDIM sampling.
pub(super) struct Ddim<'a> {
    schedule: &'a Schedule,
    timesteps: Vec<usize>,
    visited: Vec<f32>,
    /// Training timesteps between two visited ones.
    jump: usize,
    eta: f64,
    done: usize,
}

impl<'a> Ddim<'a> {
    pub fn new(schedule: &'a Schedule, steps: usize, eta: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&eta) {
            return Err(Error::Setting(format!("eta {eta}: must be in 0..=1")));
        }
        let n = schedule.num_train_timesteps();
        let timesteps = evenly(schedule, schedule.timestep_spacing(TimestepSpacing::Leading), steps);
        let visited = timesteps.iter().map(|&t| t as f32).collect();
        Ok(Self { schedule, timesteps, visited, jump: n / steps, eta, done: 0 })
    }
}

impl Solver for Ddim<'_> {
    fn timesteps(&self) -> &[f32] {
        &self.visited
    }

    fn needs_noise(&self) -> bool {
        self.eta > 0.0
    }

    /// Equation 12.
    fn step(&mut self, model_output: &Tensor, x: &Tensor, noise: Option<&Tensor>) -> Result<Tensor> {
        let t = self.timesteps[self.done];
        self.done += 1;
        let alpha = self.schedule.alpha_cumprod(t);
        let alpha_prev = match t.checked_sub(self.jump) {
            Some(previous) => self.schedule.alpha_cumprod(previous),
            None => self.schedule.final_alpha_cumprod(true),
        };
        let (signal, sigma) = (alpha.sqrt(), (1.0 - alpha).sqrt());
        let (x0, direction) = match self.schedule.prediction_type() {
            PredictionType::Epsilon => {
                let x0 = (x - model_output.affine(sigma, 0.0)?)?.affine(1.0 / signal, 0.0)?;
                (x0, model_output.clone())
            }
            PredictionType::VPrediction => {
                let x0 = (x.affine(signal, 0.0)? - model_output.affine(sigma, 0.0)?)?;
                let direction = (model_output.affine(signal, 0.0)? + x.affine(sigma, 0.0)?)?;
                (x0, direction)
            }
        };
        let variance = (1.0 - alpha_prev) / (1.0 - alpha) * (1.0 - alpha / alpha_prev);
        let std = self.eta * variance.max(0.0).sqrt();
        let direction = direction.affine((1.0 - alpha_prev - std * std).max(0.0).sqrt(), 0.0)?;
        let previous = (x0.affine(alpha_prev.sqrt(), 0.0)? + direction)?;
        if !self.needs_noise() {
            return Ok(previous);
        }
        let noise = noise.ok_or_else(|| Error::Setting(format!("eta {} needs noise at every step", self.eta)))?;
        Ok((previous + noise.affine(std, 0.0)?)?)
    }
}
