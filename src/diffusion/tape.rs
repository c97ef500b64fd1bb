//! Reverse-mode differentiation for frozen networks: only what leads to the residual embeddings is recorded, and what a
//! backward step has used is freed at once.
//!
//! Candle's own graph is left unused: it differentiates frozen weights too, starts every gradient as a tensor of zeros,
//! and keeps all activations until the end.

use std::cell::RefCell;
use std::rc::Rc;

use candle_core::{Result, Tensor};

use super::ops::{self, Form};

type Backward = Box<dyn FnOnce(&Tensor) -> Result<Vec<Option<Tensor>>>>;

struct Step {
    form: Form,
    output: usize,
    inputs: Vec<Option<usize>>,
    backward: Backward,
}

#[derive(Default)]
struct Recording {
    values: usize,
    steps: Vec<Step>,
}

/// Records what is computed from its [leaves](Tape::leaf).
#[derive(Clone, Default)]
pub struct Tape(Rc<RefCell<Recording>>);

/// A tensor, and its place on a tape if it depends on a leaf. Made `from` a plain tensor it is a constant, and what is
/// computed from constants alone is never recorded: inference and training share one code.
#[derive(Clone)]
pub struct Tracked {
    value: Tensor,
    form: Form,
    node: Option<(Tape, usize)>,
}

impl From<Tensor> for Tracked {
    fn from(value: Tensor) -> Self {
        Self { form: Form::of(value.device(), value.dtype()), value, node: None }
    }
}

impl From<&Tensor> for Tracked {
    fn from(value: &Tensor) -> Self {
        value.clone().into()
    }
}

impl Tracked {
    /// The numbers.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// What computes on it.
    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// The same numbers as a constant.
    fn constant(&self) -> Self {
        Self { node: None, ..self.clone() }
    }

    /// Whether a gradient will flow here.
    pub fn is_tracked(&self) -> bool {
        self.node.is_some()
    }

    /// The result of an operation on `inputs`, computed by `form`. `backward` takes the gradient of the result and gives one gradient an
    /// input, none where the input is constant.
    pub(crate) fn record(
        form: Form,
        value: Tensor,
        inputs: &[&Self],
        backward: impl FnOnce(&Tensor) -> Result<Vec<Option<Tensor>>> + 'static,
    ) -> Self {
        let Some(tape) = inputs.iter().find_map(|x| x.node.as_ref().map(|(tape, _)| tape.clone())) else {
            return Self { value, form, node: None };
        };
        let output = {
            let mut recording = tape.0.borrow_mut();
            let output = recording.values;
            recording.values += 1;
            let inputs = inputs.iter().map(|x| x.node.as_ref().map(|(_, id)| *id)).collect();
            recording.steps.push(Step { form, output, inputs, backward: Box::new(backward) });
            output
        };
        Self { value, form, node: Some((tape, output)) }
    }
}

/// Gradients of the leaves of a tape.
pub struct Gradients(Vec<Option<Tensor>>);

impl Gradients {
    /// The gradient of `leaf`; none where the result does not depend on it.
    pub fn take(&mut self, leaf: &Tracked) -> Option<Tensor> {
        leaf.node.as_ref().and_then(|(_, id)| self.0[*id].take())
    }
}

impl Tape {
    /// A value to differentiate by.
    pub fn leaf(&self, value: Tensor) -> Tracked {
        self.track(value.into())
    }

    fn track(&self, value: Tracked) -> Tracked {
        let mut recording = self.0.borrow_mut();
        recording.values += 1;
        Tracked { node: Some((self.clone(), recording.values - 1)), ..value }
    }

    /// Differentiate `output`, whose own gradient is `grad`. The tape is empty afterwards.
    pub fn backward(&self, output: &Tracked, grad: Tensor) -> Result<Gradients> {
        let (values, mut steps) = {
            let mut recording = self.0.borrow_mut();
            (recording.values, std::mem::take(&mut recording.steps))
        };
        let mut grads: Vec<Option<Tensor>> = vec![None; values];
        if let Some((_, id)) = &output.node {
            grads[*id] = Some(grad);
        }
        while let Some(Step { form, output, inputs, backward }) = steps.pop() {
            let Some(grad) = grads[output].take() else { continue };
            for (input, grad) in inputs.into_iter().zip(backward(&grad)?) {
                let (Some(input), Some(grad)) = (input, grad) else { continue };
                grads[input] = Some(match grads[input].take() {
                    Some(sum) => ops::sum(form, &sum, &grad)?,
                    None => grad,
                });
            }
        }
        Ok(Gradients(grads))
    }
}

/// Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174): run `f` without keeping anything but its inputs, and run
/// it again when its gradient is wanted.
pub fn checkpoint(inputs: &[&Tracked], f: impl Fn(&[Tracked]) -> Result<Tracked> + 'static) -> Result<Tracked> {
    let constants: Vec<Tracked> = inputs.iter().map(|x| x.constant()).collect();
    let Tracked { value, form, .. } = f(&constants)?;
    let tracked: Vec<bool> = inputs.iter().map(|x| x.is_tracked()).collect();
    Ok(Tracked::record(form, value, inputs, move |grad| {
        let tape = Tape::default();
        let leaves: Vec<Tracked> =
            constants.into_iter().zip(tracked).map(|(x, tracked)| if tracked { tape.track(x) } else { x }).collect();
        let output = f(&leaves)?;
        let mut grads = tape.backward(&output, grad.clone())?;
        Ok(leaves.iter().map(|leaf| grads.take(leaf)).collect())
    }))
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::super::ops;
    use super::{Tape, Tracked, checkpoint};

    fn add(a: &Tracked, b: &Tracked) -> candle_core::Result<Tracked> {
        let value = ops::sum(a.form(), a.value(), b.value())?;
        Ok(Tracked::record(a.form(), value, &[a, b], |grad| Ok(vec![Some(grad.clone()), Some(grad.clone())])))
    }

    fn numbers(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn a_value_used_twice_gets_both_gradients() {
        let tape = Tape::default();
        let x = tape.leaf(Tensor::new(&[[1f32, -2.0]], &Device::Cpu).unwrap());
        let y = add(&ops::silu(&x).unwrap(), &x).unwrap();
        let mut grads = tape.backward(&y, Tensor::new(&[[1f32, 1.0]], &Device::Cpu).unwrap()).unwrap();
        let got = numbers(&grads.take(&x).unwrap());
        for (got, x) in got.iter().zip([1f32, -2.0]) {
            let s = 1.0 / (1.0 + (-x).exp());
            assert!((got - (1.0 + s * (1.0 + x * (1.0 - s)))).abs() < 1e-6);
        }
    }

    #[test]
    fn constants_are_not_recorded() {
        let x: Tracked = Tensor::new(&[1f32], &Device::Cpu).unwrap().into();
        assert!(!ops::silu(&x).unwrap().is_tracked());
    }

    #[test]
    fn a_checkpoint_gives_the_same_gradient() {
        let value = Tensor::new(&[[0.3f32, -1.2, 2.0]], &Device::Cpu).unwrap();
        let f = |x: &Tracked| add(&ops::silu(&ops::silu(x)?)?, x);
        let grad_of = |checkpointed: bool| {
            let tape = Tape::default();
            let x = tape.leaf(value.clone());
            let y = if checkpointed { checkpoint(&[&x], move |xs| f(&xs[0])) } else { f(&x) }.unwrap();
            let mut grads = tape.backward(&y, value.clone()).unwrap();
            numbers(&grads.take(&x).unwrap())
        };
        assert_eq!(grad_of(true), grad_of(false));
    }
}
