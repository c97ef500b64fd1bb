//! The loss of a step, and how it is read: the mean squared error of the predicted noise, over the mask where one counts.

use candle_core::{D, Tensor};

use super::draw::Draw;
use super::error::{Error, Result};
use crate::diffusion::{self, BaseModel, Coming};

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
    pub(super) step: usize,
    pub(super) learning_rate: f64,
    pub(super) timesteps: Vec<u32>,
    /// Timesteps in each quarter of their range.
    pub(super) quarter: usize,
    /// The loss of each sample, then a number that is 0 if the gradient is finite.
    pub(super) numbers: Coming,
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
        let mut losses = self.numbers.wait()?;
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
pub(super) fn not_finite(what: &'static str, step: usize, learned: usize, learning_rate: f64) -> Error {
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

/// Each sample's (weighted) mean squared error `[B]`, and half its slope by `noise_pred`.
pub(super) fn losses(model: &BaseModel, noise_pred: &Tensor, draw: &Draw) -> Result<(Tensor, Tensor)> {
    let target = model.schedule.target(&draw.latents, &draw.noise, &draw.timesteps)?;
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
    let losses = (&weighted * &error)?.flatten_from(1)?.to_dtype(model.compute.sum_dtype())?.sum(D::Minus1)?;
    Ok((losses, weighted))
}
