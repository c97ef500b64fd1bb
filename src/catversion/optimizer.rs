//! AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), number for number as `torch.optim.AdamW`.

/// Moments of the gradient so far.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub learning_rate: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    first: Vec<f32>,
    second: Vec<f32>,
    steps: usize,
}

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPS: f64 = 1e-8;

impl AdamW {
    /// For `count` numbers.
    pub fn new(count: usize, learning_rate: f64, weight_decay: f64) -> Self {
        Self::resume(learning_rate, weight_decay, vec![0.0; count], vec![0.0; count], 0)
    }

    /// With the state of an earlier one after `steps` steps.
    pub fn resume(learning_rate: f64, weight_decay: f64, first: Vec<f32>, second: Vec<f32>, steps: usize) -> Self {
        Self { learning_rate, weight_decay, first, second, steps }
    }

    /// First and second moment, one number a parameter.
    pub fn moments(&self) -> (&[f32], &[f32]) {
        (&self.first, &self.second)
    }

    /// One update of `numbers` by their gradient.
    pub fn step(&mut self, numbers: &mut [f32], grad: &[f32]) {
        self.steps += 1;
        let t = self.steps as i32;
        let step_size = (self.learning_rate / (1.0 - BETA1.powi(t))) as f32;
        let root_correction = (1.0 - BETA2.powi(t)).sqrt() as f32;
        let decay = (1.0 - self.learning_rate * self.weight_decay) as f32;
        let (blend1, beta2, blend2) = ((1.0 - BETA1) as f32, BETA2 as f32, (1.0 - BETA2) as f32);
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((number, &g), (first, second)) in numbers.iter_mut().zip(grad).zip(moments) {
            *first += blend1 * (g - *first);
            *second = *second * beta2 + blend2 * g * g;
            *number = *number * decay - step_size * (*first / (second.sqrt() / root_correction + EPS as f32));
        }
    }
}
