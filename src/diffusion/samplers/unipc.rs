//! UniPC (Zhao et al. 2023, arXiv 2302.04867) of second order with B₂(h) = e^h - 1, predicting x₀: each step first corrects
//! the one before it with what the UNet says now, then predicts the next. Its last step is of first order.

use candle_core::Tensor;

use super::sigmas::Sigmas;
use super::{Level, Solver};
use crate::diffusion::error::Result;
use crate::diffusion::scheduler::Schedule;

/// The highest order of a step.
const ORDER: usize = 2;

/// One sampling by UniPC.
pub(super) struct UniPc<'a> {
    schedule: &'a Schedule,
    levels: Sigmas,
    done: usize,
    last: Option<Last>,
}

/// What the corrector needs of the step before.
struct Last {
    /// Where it started, corrected.
    x: Tensor,
    /// The prediction of x₀ there.
    x0: Tensor,
    /// The prediction of x₀ one step further back.
    x0_before: Option<Tensor>,
    order: usize,
}

impl<'a> UniPc<'a> {
    pub fn new(schedule: &'a Schedule, karras: bool, steps: usize) -> Result<Self> {
        Ok(Self { schedule, levels: Sigmas::of_multistep(schedule, karras, steps)?, done: 0, last: None })
    }

    fn level(&self, i: usize) -> Level {
        Level::of(self.levels.sigmas[i])
    }

    /// UniC: x at step `i` again, now that x₀ is predicted from there too (algorithm 1).
    fn correct(&self, i: usize, last: &Last, x0: &Tensor) -> Result<Tensor> {
        let (from, to) = (self.level(i - 1), self.level(i));
        let h = to.lambda - from.lambda;
        let b = (-h).exp_m1();
        let newest = (x0 - &last.x0)?;
        let correction = match &last.x0_before {
            Some(before) if last.order == ORDER => {
                let ratio = (self.level(i - 2).lambda - from.lambda) / h;
                // ρ of equation 5, two unknowns: ρ₁ + ρ₂ = b₁, r ρ₁ + ρ₂ = b₂
                let phi = b / -h - 1.0;
                let b1 = phi / b;
                let b2 = 2.0 * (phi / -h - 0.5) / b;
                let rho = (b2 - b1) / (ratio - 1.0);
                let older = (before - &last.x0)?.affine(rho / ratio, 0.0)?;
                (older + newest.affine(b1 - rho, 0.0)?)?
            }
            _ => newest.affine(0.5, 0.0)?,
        };
        from.towards(to, &last.x, &last.x0, Some(&correction))
    }
}

impl Level {
    /// x at `to` from `x` here: equation 3 with `x0` and what is added to it.
    fn towards(self, to: Self, x: &Tensor, x0: &Tensor, more: Option<&Tensor>) -> Result<Tensor> {
        let factor = to.alpha * (self.lambda - to.lambda).exp_m1();
        let x = (x.affine(to.sigma / self.sigma, 0.0)? - x0.affine(factor, 0.0)?)?;
        Ok(match more {
            Some(more) => (x - more.affine(factor, 0.0)?)?,
            None => x,
        })
    }
}

impl Solver for UniPc<'_> {
    fn timesteps(&self) -> &[f32] {
        &self.levels.timesteps
    }

    fn step(&mut self, model_output: &Tensor, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let i = self.done;
        self.done += 1;
        let x0 = self.level(i).x0(self.schedule.prediction_type(), model_output, x)?;
        let last = self.last.take();
        let x = match &last {
            Some(last) => self.correct(i, last, &x0)?,
            None => x.clone(),
        };
        let order = ORDER.min(self.levels.timesteps.len() - i).min(i + 1);
        let (here, next) = (self.level(i), self.level(i + 1));
        let more = match &last {
            Some(last) if order == ORDER => {
                let ratio = (self.level(i - 1).lambda - here.lambda) / (next.lambda - here.lambda);
                Some((&last.x0 - &x0)?.affine(0.5 / ratio, 0.0)?)
            }
            _ => None,
        };
        let next = here.towards(next, &x, &x0, more.as_ref())?;
        self.last = Some(Last { x, x0, x0_before: last.map(|last| last.x0), order });
        Ok(next)
    }
}
