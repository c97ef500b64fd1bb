//! AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), number for number as `torch.optim.AdamW`, in float32 and on the
//! device that trains.

use candle_core::{Device, Result, Tensor};

/// Moments of the gradient so far.
#[derive(Debug, Clone)]
pub struct AdamW {
    /// Learning rate.
    pub learning_rate: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    first: Tensor,
    second: Tensor,
    steps: usize,
}

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPS: f64 = 1e-8;

impl AdamW {
    /// For `count` numbers.
    pub fn new(count: usize, learning_rate: f64, weight_decay: f64) -> Result<Self> {
        Self::resume(learning_rate, weight_decay, vec![0.0; count], vec![0.0; count], 0)
    }

    /// With the state of an earlier one after `steps` steps, on the CPU.
    pub fn resume(
        learning_rate: f64,
        weight_decay: f64,
        first: Vec<f32>,
        second: Vec<f32>,
        steps: usize,
    ) -> Result<Self> {
        let tensor = |numbers: Vec<f32>| Tensor::new(numbers, &Device::Cpu);
        Ok(Self { learning_rate, weight_decay, first: tensor(first)?, second: tensor(second)?, steps })
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
    pub fn step(&mut self, numbers: &Tensor, grad: &Tensor) -> Result<Tensor> {
        self.steps += 1;
        let t = self.steps as i32;
        let scaled = |x: &Tensor, by: f64| x.affine(by, 0.0);
        let step_size = self.learning_rate / (1.0 - BETA1.powi(t));
        let root_correction = (1.0 - BETA2.powi(t)).sqrt();
        let decay = 1.0 - self.learning_rate * self.weight_decay;
        self.first = (&self.first + scaled(&(grad - &self.first)?, 1.0 - BETA1)?)?;
        self.second = (scaled(&self.second, BETA2)? + (scaled(grad, 1.0 - BETA2)? * grad)?)?;
        // Divided, not multiplied by the inverse: as torch rounds it.
        let root_correction = Tensor::new(root_correction as f32, numbers.device())?;
        let root = self.second.sqrt()?.broadcast_div(&root_correction)?.affine(1.0, EPS)?;
        scaled(numbers, decay)? - scaled(&(&self.first / root)?, step_size)?
    }
}
