//! Euler's method, and with new noise at every step ("ancestral"), in the noise levels of Karras et al. 2022
//! (arXiv 2206.00364, algorithm 2).

use candle_core::Tensor;

use super::Solver;
use super::sigmas::Sigmas;
use crate::diffusion::error::{Error, Result};
use crate::diffusion::scheduler::{PredictionType, Schedule, TimestepSpacing};

/// One sampling by Euler's method.
pub(super) struct Euler<'a> {
    schedule: &'a Schedule,
    levels: Sigmas,
    ancestral: bool,
    done: usize,
}

impl<'a> Euler<'a> {
    pub fn new(schedule: &'a Schedule, karras: bool, ancestral: bool, steps: usize) -> Result<Self> {
        Ok(Self { schedule, levels: Sigmas::of_euler(schedule, karras, steps)?, ancestral, done: 0 })
    }
}

impl Solver for Euler<'_> {
    fn timesteps(&self) -> &[f32] {
        &self.levels.timesteps
    }

    fn init_noise_sigma(&self) -> f64 {
        let largest = self.levels.sigmas[0];
        match self.schedule.timestep_spacing(TimestepSpacing::Linspace) {
            TimestepSpacing::Leading => (largest * largest + 1.0).sqrt(),
            TimestepSpacing::Linspace | TimestepSpacing::Trailing => largest,
        }
    }

    fn scale_model_input(&self, x: &Tensor) -> Result<Tensor> {
        let sigma = self.levels.sigmas[self.done];
        Ok(x.affine(1.0 / (sigma * sigma + 1.0).sqrt(), 0.0)?)
    }

    fn needs_noise(&self) -> bool {
        self.ancestral
    }

    fn step(&mut self, model_output: &Tensor, x: &Tensor, noise: Option<&Tensor>) -> Result<Tensor> {
        let (sigma, next) = (self.levels.sigmas[self.done], self.levels.sigmas[self.done + 1]);
        self.done += 1;
        // dx/dσ = (x - x₀) / σ
        let slope = match self.schedule.prediction_type() {
            PredictionType::Epsilon => model_output.clone(),
            PredictionType::VPrediction => {
                let square = sigma * sigma + 1.0;
                (model_output.affine(1.0 / square.sqrt(), 0.0)? + x.affine(sigma / square, 0.0)?)?
            }
        };
        if !self.ancestral {
            return Ok((x + slope.affine(next - sigma, 0.0)?)?);
        }
        let up = next * ((sigma * sigma - next * next) / (sigma * sigma)).sqrt();
        let down = (next * next - up * up).max(0.0).sqrt();
        let noise = noise.ok_or_else(|| Error::Setting("euler_ancestral needs noise at every step".into()))?;
        let x = (x + slope.affine(down - sigma, 0.0)?)?;
        Ok((x + noise.affine(up, 0.0)?)?)
    }
}
