//! Numbers on their way between the processor and a graphics card, while the card goes on.
//!
//! A copy from or to ordinary memory waits until the card has done all that it was given before. A copy by way of page-locked memory
//! (CUDA C++ Programming Guide, "Page-Locked Host Memory") takes its place between the kernels, and is waited for alone. On other devices
//! copies are made as ever.

use candle_core::{DType, Device, Tensor};

use super::error::Result;

/// Copies to and from one device.
pub struct Transfers {
    device: Device,
    #[cfg(feature = "cuda")]
    pinned: cuda::Pinned,
}

/// Numbers that come back from the device.
pub struct Coming(Whence);

enum Whence {
    Tensor(Tensor),
    #[cfg(feature = "cuda")]
    Pinned(cuda::Coming),
}

impl Transfers {
    /// To and from `device`.
    pub fn new(device: &Device) -> Self {
        Self {
            device: device.clone(),
            #[cfg(feature = "cuda")]
            pinned: cuda::Pinned::default(),
        }
    }

    /// A float32 tensor of the processor, on the device.
    ///
    /// # Errors
    /// A device without memory for it.
    pub fn upload(&self, tensor: &Tensor) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if let Device::Cuda(device) = &self.device {
            return Ok(self.pinned.upload(device, tensor)?);
        }
        Ok(tensor.to_device(&self.device)?)
    }

    /// Have the numbers of `tensor`, which are float64 where the device has that, come to the processor: those that it has after
    /// what the device was given so far.
    ///
    /// # Errors
    /// A copy that cannot be begun.
    pub fn download(&self, tensor: &Tensor) -> Result<Coming> {
        #[cfg(feature = "cuda")]
        if let Device::Cuda(device) = &self.device {
            return Ok(Coming(Whence::Pinned(self.pinned.download(device, tensor)?)));
        }
        Ok(Coming(Whence::Tensor(tensor.clone())))
    }
}

impl Coming {
    /// Wait for the numbers.
    ///
    /// # Errors
    /// What failed on the device since.
    pub fn wait(self) -> Result<Vec<f64>> {
        Ok(match self.0 {
            Whence::Tensor(tensor) => tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?,
            #[cfg(feature = "cuda")]
            Whence::Pinned(coming) => coming.wait()?,
        })
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex, PoisonError};

    use candle_core::backend::BackendStorage;
    use candle_core::cuda_backend::WrapErr;
    use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, PinnedHostSlice, ValidAsZeroBits};
    use candle_core::op::BackpropOp;
    use candle_core::{CudaDevice, CudaStorage, DType, Result, Storage, Tensor};

    use crate::sys;

    /// Page-locked memory, kept: the driver takes long to lock a page.
    #[derive(Default)]
    pub struct Pinned {
        up: Pool<f32>,
        down: Arc<Pool<f64>>,
    }

    /// Memory that is kept, in the order in which copies with it were begun.
    struct Pool<T>(Mutex<VecDeque<PinnedHostSlice<T>>>);

    pub struct Coming {
        memory: PinnedHostSlice<f64>,
        pool: Arc<Pool<f64>>,
    }

    impl<T> Default for Pool<T> {
        fn default() -> Self {
            Self(Mutex::new(VecDeque::new()))
        }
    }

    impl<T: DeviceRepr + ValidAsZeroBits> Pool<T> {
        /// Memory for `count` numbers. The last `busy` that are kept may still be copied from, and are left alone.
        fn take(&self, device: &CudaDevice, count: usize, busy: usize) -> Result<PinnedHostSlice<T>> {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.retain(|memory| memory.len() == count);
            let known = if kept.len() > busy { kept.pop_front() } else { None };
            known.map_or_else(|| sys::pinned(device.cuda_stream().context(), count).w(), Ok)
        }

        fn give_back(&self, memory: PinnedHostSlice<T>) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(memory);
        }
    }

    impl Pinned {
        pub fn upload(&self, device: &CudaDevice, tensor: &Tensor) -> Result<Tensor> {
            // Of another type it is an error.
            let numbers = tensor.flatten_all()?.to_vec1::<f32>()?;
            // One step is under way while the next is handed over.
            let mut memory = self.up.take(device, numbers.len(), 2)?;
            memory.as_mut_slice().w()?.copy_from_slice(&numbers);
            let there = CudaStorage::wrap_cuda_slice(device.clone_htod(&memory)?, device.clone());
            self.up.give_back(memory);
            Ok(Tensor::from_storage(Storage::Cuda(there), tensor.shape(), BackpropOp::none(), false))
        }

        pub fn download(&self, device: &CudaDevice, tensor: &Tensor) -> Result<Coming> {
            let tensor = tensor.to_dtype(DType::F64)?.contiguous()?;
            let mut memory = self.down.take(device, tensor.elem_count(), 0)?;
            let (storage, layout) = tensor.storage_and_layout();
            let Storage::Cuda(storage) = &*storage else {
                return Err(candle_core::Error::msg(format!(
                    "numbers on {:?}, not on the card",
                    tensor.device().location()
                )));
            };
            let first = layout.start_offset();
            let numbers = storage.as_cuda_slice::<f64>()?.slice(first..first + tensor.elem_count());
            storage.device().memcpy_dtoh(&numbers, &mut memory)?;
            Ok(Coming { memory, pool: self.down.clone() })
        }
    }

    impl Coming {
        pub fn wait(self) -> Result<Vec<f64>> {
            let numbers = self.memory.as_slice().w()?.to_vec();
            self.pool.give_back(self.memory);
            Ok(numbers)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn numbers_go_there_and_come_back() {
        let transfers = Transfers::new(&Device::Cpu);
        let there = transfers.upload(&Tensor::new(&[[1f32, -2.5], [0.0, 3.0]], &Device::Cpu).unwrap()).unwrap();
        assert_eq!(there.dims(), [2, 2]);
        assert_eq!(transfers.download(&there).unwrap().wait().unwrap(), [1.0, -2.5, 0.0, 3.0]);
    }
}
