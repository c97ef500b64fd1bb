//! Where a model computes, in which numbers, and by which form of the operations.

use std::fmt;

use candle_core::{DType, Device, Tensor};

use super::error::{Error, Result};
use super::ops::Form;
use crate::protocol::{DeviceName, FloatType};

/// Numbers in the largest activation of a small batch: 4 MiB, a few times what a core's own cache holds.
const SMALL: usize = 1 << 20;

/// How many of `batches` to compute at once, each on its share of the threads. One has them all, unless the CPU kernels compute
/// it and its largest `activation` is of fewer than [`SMALL`] numbers: then most operations are too short to be parted, and
/// several batches side by side are faster (1.2 times with the demo's model on 2 threads).
pub(super) fn batches_at_once(by_kernels: bool, activation: usize, batches: usize) -> usize {
    let threads = rayon::current_num_threads();
    // With fewer, the threads that find no last batch would lose what the others gain.
    if by_kernels && activation < SMALL && batches >= 2 * threads { threads } else { 1 }
}

/// A share of the threads that the CPU kernels compute on.
pub struct Threads(Option<rayon::ThreadPool>);

impl Threads {
    /// Run `f`, whose kernels use these threads only. What they compute is the same to the last bit on any number of them.
    pub fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        match &self.0 {
            Some(pool) => pool.install(f),
            None => f(),
        }
    }
}

/// What a model's weights are put on and read as.
#[derive(Debug, Clone)]
pub struct Compute {
    device: Device,
    dtype: DType,
    form: Form,
}

impl fmt::Display for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.form {
            Form::Kernels => "kernels",
            Form::Tensors => "tensor operations",
        };
        write!(f, "{:?} in {:?} by {form}", self.device.location(), self.dtype)
    }
}

impl Compute {
    /// Float32 by the kernels for the CPU.
    pub fn cpu() -> Self {
        Self::new(Device::Cpu, DType::F32)
    }

    /// The device `name`, with weights and activations in `dtype`.
    ///
    /// # Errors
    /// A device that this program was built without or that is not there; numbers it does not compute with.
    pub fn open(name: DeviceName, dtype: FloatType) -> Result<Self> {
        name.check(dtype).map_err(|error| Error::Setting(error.to_string()))?;
        let device = match name {
            DeviceName::Cpu => Ok(Device::Cpu),
            DeviceName::Cuda(number) => Device::new_cuda(number),
            DeviceName::Metal => Device::new_metal(0),
        };
        let device = device.map_err(|source| Error::NoDevice { device: name.to_string(), source })?;
        #[cfg(feature = "cuda")]
        if let (Device::Cuda(card), FloatType::Bf16) = (&device, dtype) {
            let capability = card.cuda_stream().context().compute_capability().map_err(candle_core::Error::wrap)?;
            if capability < (8, 0) {
                let cause =
                    "this card does not compute in bf16, which cards do from compute capability 8.0 on: use f16 or f32";
                return Err(Error::Setting(format!("dtype = bf16: {cause}")));
            }
        }
        let dtype = match dtype {
            FloatType::F32 => DType::F32,
            FloatType::Bf16 => DType::BF16,
            FloatType::F16 => DType::F16,
        };
        Ok(Self::new(device, dtype))
    }

    fn new(device: Device, dtype: DType) -> Self {
        Self { form: Form::of(&device, dtype), device, dtype }
    }

    /// The same, but by candle's tensor operations even where the CPU kernels would do. That form is what computes on
    /// graphics cards: so it can be tried where there is none.
    #[must_use]
    pub fn by_tensor_operations(self) -> Self {
        Self { form: Form::Tensors, ..self }
    }

    /// The same device, in float32.
    #[must_use]
    pub fn in_float32(&self) -> Self {
        Self::new(self.device.clone(), DType::F32)
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The type of the weights.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Wait until the device has done what this thread asked of it. Each thread has a stream of its own on a graphics card: what
    /// one has computed or uploaded another may use, or free, only after this.
    pub fn synchronize(&self) -> Result<()> {
        Ok(self.device.synchronize()?)
    }

    /// Run `f`, which computes with the model: for the CPU kernels on a thread of their pool, so that the many small ones
    /// need not wake one each.
    pub fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        match self.form {
            Form::Kernels => rayon::scope(|_| f()),
            Form::Tensors => f(),
        }
    }

    /// The threads of the CPU kernels in `count` equal shares; one share is all of them.
    pub fn shares(&self, count: usize) -> Result<Vec<Threads>> {
        if count < 2 {
            return Ok(vec![Threads(None)]);
        }
        let threads = (rayon::current_num_threads() / count).max(1);
        let pool = || rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let share = |_| pool().map(|pool| Threads(Some(pool)));
        (0..count).map(share).collect::<Result<_, _>>().map_err(|error| {
            Error::Setting(format!("cannot start {threads} threads: {error}; set RAYON_NUM_THREADS to fewer"))
        })
    }

    /// Whether the CPU kernels compute.
    pub(super) fn is_by_kernels(&self) -> bool {
        self.form == Form::Kernels
    }

    /// Whether work is only handed to the device, which does it later.
    pub fn is_asynchronous(&self) -> bool {
        !self.device.is_cpu()
    }

    /// The type of the sums that become a loss: the longest that the device has.
    pub fn sum_dtype(&self) -> DType {
        if self.device.is_metal() { DType::F32 } else { DType::F64 }
    }

    /// What the gradient of a loss of `count` numbers is multiplied by on its way back, a power of two: without, most of
    /// it is too small for f16, whose range ends at 6e-8.
    pub fn gradient_scale(&self, count: usize) -> f64 {
        if self.dtype == DType::F16 { count.next_power_of_two() as f64 } else { 1.0 }
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// A weight, brought to the device.
    pub(super) fn weight(&self, weight: &Tensor) -> candle_core::Result<Tensor> {
        weight.to_dtype(self.dtype)?.to_device(&self.device)
    }

    /// A scale or shift of a norm, which are computed in float32.
    pub(super) fn norm(&self, weight: &Tensor) -> candle_core::Result<Tensor> {
        weight.to_dtype(DType::F32)?.to_device(&self.device)
    }

    /// An input as the network takes it.
    pub(super) fn input(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        x.to_device(&self.device)?.to_dtype(self.dtype)
    }
}
