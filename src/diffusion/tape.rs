//! Reverse-mode differentiation for frozen networks: only what leads to what is learned is recorded, and what a backward step has
//! used is freed at once.
//!
//! Candle's own graph is left unused: it differentiates frozen weights too, starts every gradient as a tensor of zeros,
//! and keeps all activations until the end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{Result, Tensor};

use super::ops::{self, Form};

type Backward = Box<dyn FnOnce(&Tensor) -> Result<Vec<Option<Tensor>>> + Send>;

/// What is left of a part of the forward pass that is run again: its inputs, with the places of those that are tracked.
type Again = Box<dyn FnOnce(&[Option<usize>]) -> Result<Tracked> + Send>;

enum Step {
    /// An operation.
    Operation { form: Form, output: usize, inputs: Vec<Option<usize>>, backward: Backward },
    /// A part of the forward pass that was recorded by nothing but its inputs.
    Again { form: Form, output: usize, inputs: Vec<Option<usize>>, again: Again },
    /// The gradients of such a part's inputs are whole: each `.0` belongs to `.1`.
    Whole { form: Form, places: Vec<(usize, usize)> },
}

#[derive(Default)]
struct Recording {
    values: usize,
    steps: Vec<Step>,
    /// Nothing is recorded now.
    is_paused: bool,
    /// Since it is paused, something would have been.
    is_missed: bool,
}

impl Recording {
    fn place(&mut self) -> usize {
        self.values += 1;
        self.values - 1
    }
}

/// Records what is computed from its [leaves](Tape::leaf).
#[derive(Clone, Default)]
pub struct Tape(Arc<Mutex<Recording>>);

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
        backward: impl FnOnce(&Tensor) -> Result<Vec<Option<Tensor>>> + Send + 'static,
    ) -> Self {
        let Some(tape) = inputs.iter().find_map(|x| x.node.as_ref().map(|(tape, _)| tape.clone())) else {
            return Self { value, form, node: None };
        };
        let mut recording = tape.recording();
        if recording.is_paused {
            recording.is_missed = true;
            return Self { value, form, node: None };
        }
        let output = recording.place();
        let inputs = inputs.iter().map(|x| x.place()).collect();
        recording.steps.push(Step::Operation { form, output, inputs, backward: Box::new(backward) });
        drop(recording);
        Self { value, form, node: Some((tape, output)) }
    }

    fn place(&self) -> Option<usize> {
        self.node.as_ref().map(|(_, place)| *place)
    }
}

/// Gradients of the leaves of a tape.
pub struct Gradients(Vec<Option<Tensor>>);

impl Gradients {
    /// The gradient of `leaf`; none where the result does not depend on it.
    pub fn take(&mut self, leaf: &Tracked) -> Option<Tensor> {
        leaf.place().and_then(|place| self.0[place].take())
    }
}

impl Tape {
    fn recording(&self) -> MutexGuard<'_, Recording> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A value to differentiate by.
    pub fn leaf(&self, value: Tensor) -> Tracked {
        Tracked { node: Some((self.clone(), self.recording().place())), ..value.into() }
    }

    /// Differentiate `output`, whose own gradient is `grad`. The tape is empty afterwards.
    pub fn backward(&self, output: &Tracked, grad: Tensor) -> Result<Gradients> {
        let mut grads = Gradients(Vec::new());
        if let Some(place) = output.place() {
            grads.add(output.form, place, grad)?;
        }
        // What is run again records more steps.
        while let Some(step) = self.next() {
            match step {
                Step::Operation { form, output, inputs, backward } => {
                    let Some(grad) = grads.take_at(output) else { continue };
                    for (input, grad) in inputs.into_iter().zip(backward(&grad)?) {
                        if let (Some(input), Some(grad)) = (input, grad) {
                            grads.add(form, input, grad)?;
                        }
                    }
                }
                Step::Again { form, output, inputs, again } => {
                    let Some(grad) = grads.take_at(output) else { continue };
                    // Its inputs have places of their own: their gradients are summed up there first, in the order of the part.
                    let own: Vec<Option<usize>> = {
                        let mut recording = self.recording();
                        let own: Vec<_> = inputs.iter().map(|input| input.map(|_| recording.place())).collect();
                        let places = own.iter().zip(&inputs).filter_map(|(own, input)| own.zip(*input)).collect();
                        recording.steps.push(Step::Whole { form, places });
                        own
                    };
                    let output = again(&own)?;
                    if let Some(place) = output.place() {
                        grads.add(form, place, grad)?;
                    }
                }
                Step::Whole { form, places } => {
                    for (own, input) in places {
                        if let Some(grad) = grads.take_at(own) {
                            grads.add(form, input, grad)?;
                        }
                    }
                }
            }
        }
        Ok(grads)
    }

    fn next(&self) -> Option<Step> {
        self.recording().steps.pop()
    }
}

impl Gradients {
    fn take_at(&mut self, place: usize) -> Option<Tensor> {
        self.0.get_mut(place).and_then(Option::take)
    }

    fn add(&mut self, form: Form, place: usize, grad: Tensor) -> Result<()> {
        if place >= self.0.len() {
            self.0.resize(place + 1, None);
        }
        self.0[place] = Some(match self.0[place].take() {
            Some(sum) => ops::sum(form, &sum, &grad)?,
            None => grad,
        });
        Ok(())
    }
}

/// Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174): run `f` without keeping anything but its inputs, and run it again when
/// its gradient is wanted. What `f` holds may be learned on the same `tape`, and gets its gradient too.
pub fn checkpoint(
    tape: &Tape,
    inputs: &[&Tracked],
    f: impl Fn(&[Tracked]) -> Result<Tracked> + Send + 'static,
) -> Result<Tracked> {
    let inputs: Vec<Tracked> = inputs.iter().map(|x| (*x).clone()).collect();
    {
        let mut recording = tape.recording();
        (recording.is_paused, recording.is_missed) = (true, false);
    }
    let done = f(&inputs);
    let mut recording = tape.recording();
    recording.is_paused = false;
    let Tracked { value, form, .. } = done?;
    if !recording.is_missed {
        return Ok(Tracked { value, form, node: None });
    }
    let (output, places) = (recording.place(), inputs.iter().map(Tracked::place).collect());
    let again_on = tape.clone();
    let again: Again = Box::new(move |own| {
        let at = |(x, place): (Tracked, &Option<usize>)| Tracked { node: place.map(|p| (again_on.clone(), p)), ..x };
        f(&inputs.into_iter().zip(own).map(at).collect::<Vec<_>>())
    });
    recording.steps.push(Step::Again { form, output, inputs: places, again });
    drop(recording);
    Ok(Tracked { value, form, node: Some((tape.clone(), output)) })
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
            let y = if checkpointed { checkpoint(&tape, &[&x], move |xs| f(&xs[0])) } else { f(&x) }.unwrap();
            let mut grads = tape.backward(&y, value.clone()).unwrap();
            numbers(&grads.take(&x).unwrap())
        };
        assert_eq!(grad_of(true), grad_of(false));
    }

    /// x · w, number by number: an operation whose weight is learned.
    fn scaled(x: &Tracked, w: &Tracked) -> candle_core::Result<Tracked> {
        let (x_value, w_value) = (x.value().clone(), w.value().clone());
        Ok(Tracked::record(x.form(), (&x_value * &w_value)?, &[x, w], move |grad| {
            Ok(vec![Some((grad * &w_value)?), Some((grad * &x_value)?)])
        }))
    }

    #[test]
    fn a_weight_that_a_checkpoint_holds_gets_its_gradient_too() {
        let of = |numbers: [f32; 3]| Tensor::new(&[numbers], &Device::Cpu).unwrap();
        // x is learned or not; the weight is used in two parts; the second sees what the first gave.
        let grads_of = |checkpointed: bool, x_learned: bool| {
            let tape = Tape::default();
            let x = if x_learned { tape.leaf(of([0.3, -1.2, 2.0])) } else { of([0.3, -1.2, 2.0]).into() };
            let w = tape.leaf(of([0.5, 1.5, -0.7]));
            let mut y = x.clone();
            for _ in 0..2 {
                let (held, input) = (w.clone(), y);
                let part = move |xs: &[Tracked]| add(&scaled(&ops::silu(&xs[0])?, &held)?, &xs[0]);
                y = if checkpointed { checkpoint(&tape, &[&input], part) } else { part(&[input]) }.unwrap();
            }
            let mut grads = tape.backward(&y, of([1.0, -2.0, 0.5])).unwrap();
            let of_x = grads.take(&x).map(|grad| numbers(&grad));
            assert_eq!(of_x.is_some(), x_learned);
            (numbers(y.value()), numbers(&grads.take(&w).unwrap()), of_x)
        };
        for x_learned in [false, true] {
            let (value, of_w, of_x) = grads_of(false, x_learned);
            assert_eq!(grads_of(true, x_learned), (value, of_w.clone(), of_x));
            assert!(of_w.iter().all(|grad| *grad != 0.0));
        }
        // Finite differences of the sum of y weighted by its gradient.
        let loss = |w: [f32; 3]| -> f64 {
            let silu = |x: f64| x / (1.0 + (-x).exp());
            let y = |x: f64, w: f64| {
                let h = silu(x) * w + x;
                silu(h) * w + h
            };
            let parts = [0.3f64, -1.2, 2.0].into_iter().zip(w).zip([1.0f64, -2.0, 0.5]);
            parts.map(|((x, w), grad)| y(x, f64::from(w)) * grad).sum()
        };
        let (_, of_w, _) = grads_of(true, false);
        for (i, grad) in of_w.iter().enumerate() {
            let [mut up, mut down] = [[0.5f32, 1.5, -0.7]; 2];
            up[i] += 1e-3;
            down[i] -= 1e-3;
            let expected = (loss(up) - loss(down)) / f64::from(up[i] - down[i]);
            assert!((f64::from(*grad) - expected).abs() < 1e-4, "{grad} {expected}");
        }
    }
}
