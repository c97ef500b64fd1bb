//! What is learned: named tensors of float32. Where each belongs stands in its name, which begins with the part of the base model that
//! it enters, as `text_encoder.layers.9.key`.

use candle_core::{Device, Tensor};

use crate::diffusion::{Tape, Tracked};

use super::error::Result;

/// Named tensors, whose numbers are one flat run: an optimizer's step is then one for all. They are on the device that trains them, or
/// on the CPU.
#[derive(Debug, Clone)]
pub struct Learned {
    tensors: Vec<(String, Vec<usize>)>,
    numbers: Tensor,
}

impl Learned {
    /// Of tensors with their names.
    ///
    /// # Errors
    /// They are on different devices.
    pub fn new(tensors: &[(String, Tensor)]) -> Result<Self> {
        let flat = tensors.iter().map(|(_, tensor)| tensor.flatten_all()).collect::<candle_core::Result<Vec<_>>>()?;
        let tensors = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())).collect();
        Ok(Self { tensors, numbers: Tensor::cat(&flat, 0)?.contiguous()? })
    }

    /// The same numbers on `device`.
    pub fn on(&self, device: &Device) -> Result<Self> {
        Ok(self.with(self.numbers.to_device(device)?))
    }

    /// The same tensors with the flat `numbers`, as many as before.
    pub(super) fn with(&self, numbers: Tensor) -> Self {
        Self { numbers, tensors: self.tensors.clone() }
    }

    /// How many numbers.
    pub fn count(&self) -> usize {
        self.numbers.elem_count()
    }

    /// Names and shapes, in their order.
    pub fn shapes(&self) -> &[(String, Vec<usize>)] {
        &self.tensors
    }

    /// All numbers, flat, read from where they are.
    pub fn numbers(&self) -> Result<Vec<f32>> {
        Ok(self.numbers.to_vec1()?)
    }

    /// All numbers, flat, where they are.
    pub(super) fn flat(&self) -> &Tensor {
        &self.numbers
    }

    /// The tensors with their names.
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let mut first = 0;
        let mut next = |(name, shape): &(String, Vec<usize>)| {
            let count = shape.iter().product();
            let tensor = self.numbers.narrow(0, first, count)?.reshape(shape.as_slice())?;
            first += count;
            Ok((name.clone(), tensor))
        };
        self.tensors.iter().map(&mut next).collect()
    }

    /// The same for use without a gradient.
    pub fn constants(&self) -> Result<Vec<(String, Tracked)>> {
        Ok(self.tensors()?.into_iter().map(|(name, tensor)| (name, tensor.into())).collect())
    }

    /// The same as leaves of `tape`.
    pub fn leaves(&self, tape: &Tape) -> Result<Vec<(String, Tracked)>> {
        Ok(self.tensors()?.into_iter().map(|(name, tensor)| (name, tape.leaf(tensor))).collect())
    }
}
