//! The optimizer and its learning rate. AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), number for number as `torch.optim.AdamW`, in float32 and on the
//! device that trains.

use candle_core::{Device, Result, Tensor};

use crate::protocol::{LrScheduler, TrainConfig};

/// Moments of the gradient so far.
#[derive(Debug, Clone)]
pub struct AdamW {
    /// Decoupled weight decay.
    pub weight_decay: f64,
    first: Tensor,
    second: Tensor,
    steps: usize,
}

/// The learning rate of the step that follows `done` steps: what diffusers' `get_scheduler` gives for the scheduler of that name, but
/// that a constant one is warmed up too.
pub fn learning_rate(config: &TrainConfig, done: usize) -> f64 {
    let (warmup, steps) = (config.lr_warmup_steps, config.steps);
    if done < warmup {
        return config.learning_rate * done as f64 / warmup as f64;
    }
    let share = (done - warmup) as f64 / steps.saturating_sub(warmup).max(1) as f64;
    match config.lr_scheduler {
        LrScheduler::Constant => config.learning_rate,
        LrScheduler::Linear => config.learning_rate * (1.0 - share).max(0.0),
        LrScheduler::Cosine => config.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * share).cos()).max(0.0),
    }
}

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPS: f64 = 1e-8;

impl AdamW {
    /// For `count` numbers.
    pub fn new(count: usize, weight_decay: f64) -> Result<Self> {
        Self::resume(weight_decay, vec![0.0; count], vec![0.0; count], 0)
    }

    /// With the state of an earlier one after `steps` steps, on the CPU.
    pub fn resume(weight_decay: f64, first: Vec<f32>, second: Vec<f32>, steps: usize) -> Result<Self> {
        let tensor = |numbers: Vec<f32>| Tensor::new(numbers, &Device::Cpu);
        Ok(Self { weight_decay, first: tensor(first)?, second: tensor(second)?, steps })
    }

    /// The same state on `device`.
    pub fn on(&self, device: &Device) -> Result<Self> {
        Ok(Self { first: self.first.to_device(device)?, second: self.second.to_device(device)?, ..self.clone() })
    }

    /// First and second moment, one number a parameter, read from where they are.
    pub fn moments(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        Ok((self.first.to_vec1()?, self.second.to_vec1()?))
    }

    /// `numbers` after one update by their gradient.
    pub fn step(&mut self, numbers: &Tensor, grad: &Tensor, learning_rate: f64) -> Result<Tensor> {
        self.steps += 1;
        let t = self.steps as i32;
        let scaled = |x: &Tensor, by: f64| x.affine(by, 0.0);
        let step_size = learning_rate / (1.0 - BETA1.powi(t));
        let root_correction = (1.0 - BETA2.powi(t)).sqrt();
        let decay = 1.0 - learning_rate * self.weight_decay;
        self.first = (&self.first + scaled(&(grad - &self.first)?, 1.0 - BETA1)?)?;
        self.second = (scaled(&self.second, BETA2)? + (scaled(grad, 1.0 - BETA2)? * grad)?)?;
        // Divided, not multiplied by the inverse: as torch rounds it.
        let root_correction = Tensor::new(root_correction as f32, numbers.device())?;
        let root = self.second.sqrt()?.broadcast_div(&root_correction)?.affine(1.0, EPS)?;
        scaled(numbers, decay)? - scaled(&(&self.first / root)?, step_size)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learning_rates_go_as_those_of_diffusers() {
        let of = |lr_scheduler, lr_warmup_steps, done| {
            let config =
                TrainConfig { lr_scheduler, lr_warmup_steps, steps: 10, learning_rate: 1.0, ..TrainConfig::default() };
            learning_rate(&config, done)
        };
        // diffusers.optimization.get_scheduler(name, optimizer, num_warmup_steps=2, num_training_steps=10), steps 0, 1, 2, 6 and 9.
        let steps = [0, 1, 2, 6, 9];
        let expected = [
            (LrScheduler::Linear, [0.0, 0.5, 1.0, 0.5, 0.125]),
            (LrScheduler::Cosine, [0.0, 0.5, 1.0, 0.5, 0.038_060_233_744_356_63]),
            (LrScheduler::Constant, [0.0, 0.5, 1.0, 1.0, 1.0]),
        ];
        for (scheduler, rates) in expected {
            for (step, rate) in steps.into_iter().zip(rates) {
                assert!((of(scheduler, 2, step) - rate).abs() < 1e-12, "{scheduler:?} {step}");
            }
        }
        assert_eq!(
            of(LrScheduler::Constant, 0, 0).to_bits(),
            1f64.to_bits(),
            "without a warm-up nothing is multiplied"
        );
        assert!(of(LrScheduler::Linear, 0, 0) > 0.0 && of(LrScheduler::Cosine, 10, 10) >= 0.0);
    }
}
