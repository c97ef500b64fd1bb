//! DPM-Solver++ of second order, multistep (Lu et al. 2022, arXiv 2211.01095, algorithm 2), with the midpoint rule and a last
//! step of first order.

use candle_core::Tensor;

use super::sigmas::Sigmas;
use super::{Level, Solver};
use crate::diffusion::error::Result;
use crate::diffusion::scheduler::Schedule;

/// One sampling by DPM-Solver++.
pub(super) struct DpmPlusPlus2m<'a> {
    schedule: &'a Schedule,
    levels: Sigmas,
    done: usize,
    /// The prediction of x₀ one step ago.
    before: Option<Tensor>,
}

impl<'a> DpmPlusPlus2m<'a> {
    pub fn new(schedule: &'a Schedule, karras: bool, steps: usize) -> Result<Self> {
        Ok(Self { schedule, levels: Sigmas::of_multistep(schedule, karras, steps)?, done: 0, before: None })
    }
}

impl Solver for DpmPlusPlus2m<'_> {
    fn timesteps(&self) -> &[f32] {
        &self.levels.timesteps
    }

    fn step(&mut self, model_output: &Tensor, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let i = self.done;
        self.done += 1;
        let level = |i: usize| Level::of(self.levels.sigmas[i]);
        let (here, next) = (level(i), level(i + 1));
        let x0 = here.x0(self.schedule.prediction_type(), model_output, x)?;
        let h = next.lambda - here.lambda;
        // α (e^(-h) - 1)
        let factor = next.alpha * (-h).exp_m1();
        let mut target = x0.clone();
        if let Some(before) = self.before.replace(x0.clone()).filter(|_| i + 1 < self.levels.timesteps.len()) {
            let ratio = (here.lambda - level(i - 1).lambda) / h;
            target = (target + (x0 - before)?.affine(0.5 / ratio, 0.0)?)?;
        }
        Ok((x.affine(next.sigma / here.sigma, 0.0)? - target.affine(factor, 0.0)?)?)
    }
}
