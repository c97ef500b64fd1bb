//! The tape and the operations once more, on values that are known only by their sizes: what each allocates, keeps for the
//! backward pass and multiplies. Buffers live as long as the real ones, because the code that holds them is shaped alike.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::diffusion::kernels::{AttnShape, ConvShape};
use crate::diffusion::ops::ATTENTION_TILE;

/// Bytes of a float32.
const FLOAT: u64 = 4;

/// How the operations that are counted compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Bytes of a number.
    pub size: u64,
    /// By candle's tensor operations, whose convolutions lay out all their patches (cuDNN's do not), whose norms and
    /// slopes keep some copies in float32, and whose attention has larger tiles.
    pub tensor_operations: bool,
    /// Whether cuDNN convolves.
    pub cudnn: bool,
}

impl Numbers {
    /// Float32 by the CPU kernels.
    pub const CPU: Self = Self { size: FLOAT, tensor_operations: false, cudnn: false };
}

/// Copies in float32 that a norm's or an activation's tensor operations hold at once, forward and backward.
const COPIES: [u64; 2] = [3, 5];
/// Tiles of scores in float32 that attention by tensor operations holds at once in the backward pass.
const TILES: u64 = 5;

/// Bytes that tensor operations write for each that is allocated here: what lives for one operation only is not. Counted of training steps
/// and a guided step of Stable Diffusion 1.5, where it is 2.9 to 3.9 (`tests/cuda/full.rs`).
const WRITTEN: f64 = 3.3;

/// What has been used so far.
struct Counters {
    numbers: Numbers,
    live: Cell<u64>,
    peak: Cell<u64>,
    /// The largest scratch of a kernel so far: threads keep it.
    kept: Cell<u64>,
    /// Bytes of all allocations so far.
    allocated: Cell<u64>,
    /// Floating point operations in matrix products.
    flops: Cell<f64>,
}

/// Counts what operations allocate and compute.
#[derive(Clone)]
pub(super) struct Meter(Rc<Counters>);

/// An allocation. Freed when its last holder is.
struct Buffer {
    bytes: u64,
    meter: Meter,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.meter.0.live.set(self.meter.0.live.get() - self.bytes);
    }
}

impl Meter {
    pub(super) fn new(numbers: Numbers) -> Self {
        let (live, peak, kept, allocated, flops) = Default::default();
        Self(Rc::new(Counters { numbers, live, peak, kept, allocated, flops }))
    }

    fn bytes(&self, dims: &[usize]) -> u64 {
        dims.iter().fold(self.0.numbers.size, |bytes, &n| bytes.saturating_mul(n as u64))
    }

    /// Scratch beside `elements` numbers in the forward and the backward pass of a norm or an activation.
    fn pointwise_scratch(&self, elements: usize) -> [u64; 2] {
        let copies = if self.0.numbers.tensor_operations { COPIES } else { [0; 2] };
        copies.map(|copies| copies * FLOAT * elements as u64)
    }

    /// Scratch of a convolution in the forward and the backward pass.
    fn conv_scratch(&self, shape: &ConvShape) -> [u64; 2] {
        let Numbers { size, tensor_operations, cudnn } = self.0.numbers;
        if !tensor_operations {
            return [shape.scratch() as u64 * FLOAT; 2];
        }
        let taps = shape.kernel * shape.kernel;
        let kernel = taps * shape.in_channels * shape.out_channels;
        let (inputs, outputs) =
            (shape.batch * shape.height * shape.width, shape.batch * shape.out_height() * shape.out_width());
        // Patches, and the product before it is put channels first.
        let patches = |pixels: usize, from: usize, to: usize| if cudnn { 0 } else { pixels * (taps * from + to) };
        let forward = patches(outputs, shape.in_channels, shape.out_channels);
        let backward = 2 * kernel + patches(inputs, shape.out_channels, shape.in_channels);
        [forward as u64 * size, backward as u64 * size]
    }

    /// Scratch of attention in the backward pass.
    fn attention_scratch(&self, shape: &AttnShape) -> u64 {
        if !self.0.numbers.tensor_operations {
            return shape.backward_scratch() as u64 * FLOAT;
        }
        let scores = shape.batch * shape.heads * shape.queries * shape.keys;
        TILES * FLOAT * scores.min(ATTENTION_TILE) as u64
    }

    fn buffer(&self, bytes: u64) -> Rc<Buffer> {
        let live = self.0.live.get() + bytes;
        self.0.live.set(live);
        self.0.allocated.set(self.0.allocated.get() + bytes);
        self.0.peak.set(self.0.peak.get().max(live));
        Rc::new(Buffer { bytes, meter: self.clone() })
    }

    /// Scratch of an operation, until what this gives is dropped.
    fn scratch(&self, bytes: u64) -> Option<Rc<Buffer>> {
        if self.0.numbers.tensor_operations {
            return Some(self.buffer(bytes));
        }
        self.0.kept.set(self.0.kept.get().max(bytes));
        self.0.allocated.set(self.0.allocated.get() + bytes);
        None
    }

    /// Bytes at the highest point.
    pub(super) fn peak(&self) -> u64 {
        self.0.peak.get() + self.0.kept.get()
    }

    /// Bytes that are written; each is read about once.
    pub(super) fn written(&self) -> u64 {
        let allocated = self.0.allocated.get();
        if self.0.numbers.tensor_operations { (allocated as f64 * WRITTEN) as u64 } else { allocated }
    }

    /// Floating point operations in matrix products.
    pub(super) fn flops(&self) -> f64 {
        self.0.flops.get()
    }

    fn compute(&self, flops: f64) {
        self.0.flops.set(self.0.flops.get() + flops);
    }

    /// A value that no tape follows.
    pub(super) fn constant(&self, dims: &[usize]) -> Value {
        Value { _buffer: self.buffer(self.bytes(dims)), dims: dims.to_vec(), meter: self.clone(), node: None }
    }
}

/// Stands for [`Tracked`](crate::diffusion::Tracked).
#[derive(Clone)]
pub(super) struct Value {
    _buffer: Rc<Buffer>,
    dims: Vec<usize>,
    meter: Meter,
    node: Option<(Tape, usize)>,
}

/// How the gradient of one input comes about.
enum Gradient {
    /// There is none.
    None,
    /// Its own buffer of this many bytes.
    New(u64),
    /// The gradient of the result itself.
    Same,
}

type Rerun = Box<dyn FnOnce(&Rc<Buffer>) -> Vec<Option<Rc<Buffer>>>>;

enum Backward {
    /// Gradients of the inputs, bytes of scratch meanwhile, floating point operations.
    Plain { gradients: Vec<Gradient>, scratch: u64, flops: f64 },
    /// A checkpoint: what was not kept is computed again.
    Rerun(Rerun),
}

struct Step {
    output: usize,
    inputs: Vec<Option<usize>>,
    saved: Vec<Value>,
    backward: Backward,
}

#[derive(Default)]
struct Recording {
    values: usize,
    steps: Vec<Step>,
}

/// Stands for [`Tape`](crate::diffusion::Tape).
#[derive(Clone, Default)]
pub(super) struct Tape(Rc<RefCell<Recording>>);

impl Tape {
    /// A value to differentiate by.
    pub(super) fn leaf(&self, value: &Value) -> Value {
        let mut recording = self.0.borrow_mut();
        recording.values += 1;
        Value { node: Some((self.clone(), recording.values - 1)), ..value.clone() }
    }

    /// Differentiate `output`.
    pub(super) fn backward(&self, output: &Value) {
        self.gradients(output, output.meter.buffer(output.meter.bytes(&output.dims)));
    }

    fn gradients(&self, output: &Value, gradient: Rc<Buffer>) -> Vec<Option<Rc<Buffer>>> {
        let meter = &output.meter;
        let (values, mut steps) = {
            let mut recording = self.0.borrow_mut();
            (recording.values, std::mem::take(&mut recording.steps))
        };
        let mut gradients: Vec<Option<Rc<Buffer>>> = vec![None; values];
        if let Some((_, id)) = &output.node {
            gradients[*id] = Some(gradient);
        }
        while let Some(Step { output, inputs, saved, backward }) = steps.pop() {
            let Some(gradient) = gradients[output].take() else { continue };
            let of_inputs: Vec<Option<Rc<Buffer>>> = match backward {
                Backward::Plain { gradients, scratch, flops } => {
                    let _scratch = meter.scratch(scratch);
                    meter.compute(flops);
                    let of = |how| match how {
                        Gradient::None => None,
                        Gradient::New(bytes) => Some(meter.buffer(bytes)),
                        Gradient::Same => Some(gradient.clone()),
                    };
                    gradients.into_iter().map(of).collect()
                }
                Backward::Rerun(rerun) => rerun(&gradient),
            };
            drop(saved);
            for (input, of_input) in inputs.into_iter().zip(of_inputs) {
                let (Some(input), Some(of_input)) = (input, of_input) else { continue };
                gradients[input] = Some(match gradients[input].take() {
                    Some(sum) => meter.buffer(sum.bytes),
                    None => of_input,
                });
            }
        }
        gradients
    }
}

impl Value {
    pub(super) fn dims(&self) -> &[usize] {
        &self.dims
    }

    fn is_tracked(&self) -> bool {
        self.node.is_some()
    }

    /// The gradient of a new buffer as large as this value, if it is followed.
    fn gradient(&self) -> Gradient {
        if self.is_tracked() { Gradient::New(self.meter.bytes(&self.dims)) } else { Gradient::None }
    }

    fn record(&self, dims: &[usize], inputs: &[&Value], saved: Vec<Value>, backward: Backward) -> Value {
        let value = self.meter.constant(dims);
        value.recorded(inputs, saved, backward)
    }

    fn recorded(mut self, inputs: &[&Value], saved: Vec<Value>, backward: Backward) -> Value {
        if let Some(tape) = inputs.iter().find_map(|x| x.node.as_ref().map(|(tape, _)| tape.clone())) {
            let output = {
                let mut recording = tape.0.borrow_mut();
                recording.values += 1;
                let output = recording.values - 1;
                let inputs = inputs.iter().map(|x| x.node.as_ref().map(|(_, id)| *id)).collect();
                recording.steps.push(Step { output, inputs, saved, backward });
                output
            };
            self.node = Some((tape, output));
        }
        self
    }
}

/// x Wᵀ + b, plus `residual`.
pub(super) fn linear(x: &Value, out: usize, residual: Option<&Value>) -> Value {
    let mut dims = x.dims.clone();
    let inner = dims.last_mut().map_or(0, |last| std::mem::replace(last, out));
    let flops = 2.0 * dims.iter().map(|&n| n as f64).product::<f64>() * inner as f64;
    product(x, &dims, flops, [0; 2], residual)
}

/// A product with a frozen weight, plus `residual`: what it computes forward it computes backward too.
fn product(x: &Value, dims: &[usize], flops: f64, scratch: [u64; 2], residual: Option<&Value>) -> Value {
    x.meter.compute(flops);
    let [forward, scratch] = scratch;
    let mut gradients = vec![x.gradient()];
    let mut inputs = vec![x];
    if let Some(residual) = residual {
        inputs.push(residual);
        gradients.push(Gradient::Same);
    }
    let flops = if x.is_tracked() { flops } else { 0.0 };
    let y = x.record(dims, &inputs, Vec::new(), Backward::Plain { gradients, scratch, flops });
    drop(x.meter.scratch(forward));
    y
}

/// A convolution of `stride` with a `kernel` × `kernel` kernel, plus `residual`. `padding`: zeros before and after.
pub(super) fn conv2d(
    x: &Value,
    out: usize,
    kernel: usize,
    stride: usize,
    padding: (usize, usize),
    residual: Option<&Value>,
) -> Value {
    let [batch, height, width, in_channels] = x.dims[..] else { return x.clone() };
    let (pad_before, pad_after) = padding;
    let shape =
        ConvShape { batch, height, width, in_channels, out_channels: out, kernel, stride, pad_before, pad_after };
    let dims = [batch, shape.out_height(), shape.out_width(), out];
    let flops = 2.0 * dims.iter().map(|&n| n as f64).product::<f64>() * (kernel * kernel * in_channels) as f64;
    product(x, &dims, flops, x.meter.conv_scratch(&shape), residual)
}

/// A norm or an activation: as large as its input, which it keeps.
pub(super) fn same_size(x: &Value) -> Value {
    pointwise(x, &x.dims)
}

/// [.., 2 F] → [.., F].
pub(super) fn geglu(x: &Value) -> Value {
    let mut dims = x.dims.clone();
    if let Some(last) = dims.last_mut() {
        *last /= 2;
    }
    pointwise(x, &dims)
}

/// What is computed number by number, or nearly so, from `x`, which is kept.
fn pointwise(x: &Value, dims: &[usize]) -> Value {
    let [forward, scratch] = x.meter.pointwise_scratch(x.dims.iter().product());
    let backward = Backward::Plain { gradients: vec![x.gradient()], scratch, flops: 0.0 };
    let y = x.record(dims, &[x], vec![x.clone()], backward);
    drop(x.meter.scratch(forward));
    y
}

/// q [B, N, width]; k and v [B or 1, S, width].
pub(super) fn attention(q: &Value, k: &Value, v: &Value, heads: usize) -> Value {
    let ([batch, queries, width], [kv_batch, keys, _]) = (&q.dims[..], &k.dims[..]) else { return q.clone() };
    let (batch, queries, width, kv_batch, keys) = (*batch, *queries, *width, *kv_batch, *keys);
    let shape = AttnShape { batch, kv_batch, queries, keys, heads, head_dim: width / heads.max(1) };
    // Scores, then values; backward: scores again, and four products.
    let product = 2.0 * (batch * queries) as f64 * keys as f64 * width as f64;
    q.meter.compute(2.0 * product);
    let out = q.meter.constant(&q.dims);
    let saved = vec![q.clone(), k.clone(), v.clone(), out.clone()];
    let gradients = vec![q.gradient(), k.gradient(), v.gradient()];
    let scratch = q.meter.attention_scratch(&shape);
    out.recorded(&[q, k, v], saved, Backward::Plain { gradients, scratch, flops: 5.0 * product })
}

/// Channels side by side.
pub(super) fn concat_channels(a: &Value, b: &Value) -> Value {
    let mut dims = a.dims.clone();
    if let (Some(last), Some(more)) = (dims.last_mut(), b.dims.last()) {
        *last += more;
    }
    let gradients = vec![a.gradient(), b.gradient()];
    a.record(&dims, &[a, b], Vec::new(), Backward::Plain { gradients, scratch: 0, flops: 0.0 })
}

/// Every pixel doubled in both directions.
pub(super) fn upsample2(x: &Value) -> Value {
    let mut dims = x.dims.clone();
    dims[1] *= 2;
    dims[2] *= 2;
    x.record(&dims, &[x], Vec::new(), Backward::Plain { gradients: vec![x.gradient()], scratch: 0, flops: 0.0 })
}

/// The same buffer in another shape.
pub(super) fn reshape(x: &Value, dims: &[usize]) -> Value {
    let value = Value { dims: dims.to_vec(), node: None, ..x.clone() };
    value.recorded(&[x], Vec::new(), Backward::Plain { gradients: vec![Gradient::Same], scratch: 0, flops: 0.0 })
}

/// Run `f` without keeping anything but its inputs, and again when its gradient is wanted.
pub(super) fn checkpoint(inputs: &[&Value], f: impl Fn(&[Value]) -> Value + 'static) -> Value {
    let constants: Vec<Value> = inputs.iter().map(|x| Value { node: None, ..(*x).clone() }).collect();
    let value = Value { node: None, ..f(&constants) };
    let tracked: Vec<bool> = inputs.iter().map(|x| x.is_tracked()).collect();
    let rerun = move |gradient: &Rc<Buffer>| {
        let tape = Tape::default();
        let leaves: Vec<Value> =
            constants.into_iter().zip(tracked).map(|(x, tracked)| if tracked { tape.leaf(&x) } else { x }).collect();
        let output = f(&leaves);
        let mut gradients = tape.gradients(&output, gradient.clone());
        leaves.iter().map(|leaf| leaf.node.as_ref().and_then(|(_, id)| gradients[*id].take())).collect()
    };
    value.recorded(inputs, Vec::new(), Backward::Rerun(Box::new(rerun)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_keeps_is_freed_and_what_a_tape_keeps_is_not() {
        let meter = Meter::new(Numbers::CPU);
        let x = meter.constant(&[1, 10, 100]);
        let y = linear(&same_size(&x), 100, None);
        assert_eq!((meter.peak(), meter.0.live.get()), (12_000, 8_000));
        drop(y);
        let tape = Tape::default();
        let y = linear(&same_size(&same_size(&tape.leaf(&x))), 100, None);
        // x, what the second norm kept, and y; the second norm's own result is not kept by the linear map.
        assert_eq!(meter.0.live.get(), 12_000);
        tape.backward(&y);
        assert_eq!(meter.0.live.get(), 8_000);
        assert!((meter.flops() - 3.0 * 2.0 * 10.0 * 100.0 * 100.0).abs() < 1.0);
    }

    #[test]
    fn threads_keep_the_scratch_of_the_largest_kernel() {
        let meter = Meter::new(Numbers::CPU);
        let x = meter.constant(&[1, 4, 4, 10]);
        // Patches of 9 pixels, and their results.
        drop(conv2d(&x, 5, 3, 1, (1, 1), None));
        let (whole, patches, y) = (4 * 160, 4 * 9 * 160, 4 * 80);
        assert_eq!(meter.peak(), whole + y + patches);
        drop(conv2d(&x, 1, 3, 2, (1, 1), None));
        assert_eq!(meter.peak(), whole + y + patches, "a smaller one has it too");
        drop(meter.constant(&[1000]));
        assert_eq!(meter.peak(), whole + 4000 + patches);
    }

    #[test]
    fn a_checkpoint_keeps_only_its_inputs() {
        let peak = |checkpointed: bool| {
            let (meter, tape) = (Meter::new(Numbers::CPU), Tape::default());
            let mut x = tape.leaf(&meter.constant(&[1, 1000]));
            for _ in 0..10 {
                let f = |x: &Value| (0..5).fold(x.clone(), |x, _| same_size(&x));
                x = if checkpointed { checkpoint(&[&x], move |xs| f(&xs[0])) } else { f(&x) };
            }
            tape.backward(&x);
            meter.peak() / 4000
        };
        assert!(peak(false) > 50 && peak(true) < 20, "{} {}", peak(false), peak(true));
    }
}
