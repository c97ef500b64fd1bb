//! PNDM (Liu et al. 2022, arXiv 2202.09778) by its linear multistep method alone, without the Runge-Kutta warm-up: PLMS, as
//! Stable Diffusion 1.x ships with (`skip_prk_steps`).

use candle_core::Tensor;

use super::{Solver, evenly};
use crate::diffusion::error::Result;
use crate::diffusion::scheduler::{PredictionType, Schedule, TimestepSpacing};

/// One PNDM sampling. Its second timestep is visited twice: the first step is taken again with the mean of both ends.
pub(super) struct Pndm<'a> {
    schedule: &'a Schedule,
    timesteps: Vec<usize>,
    visited: Vec<f32>,
    /// Training timesteps between two visited ones.
    jump: usize,
    done: usize,
    /// The last outputs, newest last; at most four.
    outputs: Vec<Tensor>,
    /// Where the first step started.
    start: Option<Tensor>,
}

impl<'a> Pndm<'a> {
    pub fn new(schedule: &'a Schedule, steps: usize) -> Self {
        let mut timesteps = evenly(schedule, schedule.timestep_spacing(TimestepSpacing::Leading), steps);
        if let Some(&second) = timesteps.get(1) {
            timesteps.insert(1, second);
        }
        let visited = timesteps.iter().map(|&t| t as f32).collect();
        let jump = schedule.num_train_timesteps() / steps;
        Self { schedule, timesteps, visited, jump, done: 0, outputs: Vec::new(), start: None }
    }

    /// Equation 9: x at `previous` from x at `t`; `previous` is none before the first training timestep.
    fn transfer(&self, output: &Tensor, t: usize, previous: Option<usize>, x: &Tensor) -> Result<Tensor> {
        let alpha = self.schedule.alpha_cumprod(t);
        let alpha_prev = match previous {
            Some(previous) => self.schedule.alpha_cumprod(previous),
            None => self.schedule.final_alpha_cumprod(false),
        };
        let (beta, beta_prev) = (1.0 - alpha, 1.0 - alpha_prev);
        let noise = match self.schedule.prediction_type() {
            PredictionType::Epsilon => output.clone(),
            PredictionType::VPrediction => (output.affine(alpha.sqrt(), 0.0)? + x.affine(beta.sqrt(), 0.0)?)?,
        };
        let denominator = alpha * beta_prev.sqrt() + (alpha * beta * alpha_prev).sqrt();
        let towards = noise.affine((alpha_prev - alpha) / denominator, 0.0)?;
        Ok((x.affine((alpha_prev / alpha).sqrt(), 0.0)? - towards)?)
    }
}

/// Σ weight · tensor.
fn combine(parts: &[(f64, &Tensor)]) -> Result<Tensor> {
    let mut sum = parts[0].1.affine(parts[0].0, 0.0)?;
    for (weight, tensor) in &parts[1..] {
        sum = (sum + tensor.affine(*weight, 0.0)?)?;
    }
    Ok(sum)
}

impl Solver for Pndm<'_> {
    fn timesteps(&self) -> &[f32] {
        &self.visited
    }

    fn step(&mut self, model_output: &Tensor, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let (count, t) = (self.done, self.timesteps[self.done]);
        self.done += 1;
        if let (1, Some(start)) = (count, self.start.take()) {
            let output = combine(&[(0.5, model_output), (0.5, &self.outputs[0])])?;
            let from = (t + self.jump).min(self.schedule.num_train_timesteps() - 1);
            return self.transfer(&output, from, Some(t), &start);
        }
        if self.outputs.len() == 4 {
            self.outputs.remove(0);
        }
        self.outputs.push(model_output.clone());
        // Adams and Bashforth's weights, as far as there are outputs.
        let output = match self.outputs.as_slice() {
            [a, b] => combine(&[(1.5, b), (-0.5, a)])?,
            [a, b, c] => combine(&[(23.0 / 12.0, c), (-16.0 / 12.0, b), (5.0 / 12.0, a)])?,
            [a, b, c, d] => combine(&[(55.0 / 24.0, d), (-59.0 / 24.0, c), (37.0 / 24.0, b), (-9.0 / 24.0, a)])?,
            _ => {
                self.start = Some(x.clone());
                model_output.clone()
            }
        };
        self.transfer(&output, t, t.checked_sub(self.jump), x)
    }
}
