//! Multiplies batches of matrices in half precision and gives float32: for the scores of attention and their slopes. Rounded to bf16, a logit of
//! 10 is off by up to 0.03, and its probability by 3 %. On a graphics card cuBLAS writes its sums as they are, times a factor; elsewhere the
//! product is rounded to the factors' type first.

use candle_core::{DType, Result, Tensor};

/// Which factor is read with rows and columns exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// Neither: [P, m, k] and [P, k, n].
    AsTheyAre,
    /// The first: [P, k, m] and [P, k, n].
    FirstTransposed,
    /// The second: [P, m, k] and [P, n, k].
    SecondTransposed,
}

/// The product of the matrices in `a` and `b`, [P, m, n] in float32; `factor` times that where one is given.
pub(super) fn in_float(a: &Tensor, b: &Tensor, read: Read, factor: Option<f64>) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if a.device().is_cuda() {
        return cuda::in_float(a, b, read, factor);
    }
    let product = match read {
        Read::AsTheyAre => a.matmul(b)?,
        Read::FirstTransposed => a.transpose(1, 2)?.matmul(b)?,
        Read::SecondTransposed => a.matmul(&b.transpose(1, 2)?)?,
    };
    let product = product.to_dtype(DType::F32)?;
    factor.map_or(Ok(product.clone()), |factor| product.affine(factor, 0.0))
}

#[cfg(feature = "cuda")]
mod cuda {
    #![allow(unsafe_code)]

    use candle_core::backend::BackendStorage;
    use candle_core::cuda_backend::cudarc::cublas::result::gemm_strided_batched_ex;
    use candle_core::cuda_backend::cudarc::cublas::sys::{
        cublasComputeType_t, cublasGemmAlgo_t, cublasOperation_t, cudaDataType_t,
    };
    use candle_core::cuda_backend::cudarc::driver::{DevicePtr, DevicePtrMut, DeviceRepr};
    use candle_core::cuda_backend::{CudaDType, WrapErr};
    use candle_core::op::BackpropOp;
    use candle_core::{CudaStorage, DType, Result, Storage, Tensor, bail};
    use half::{bf16, f16};

    use super::Read;

    pub fn in_float(a: &Tensor, b: &Tensor, read: Read, factor: Option<f64>) -> Result<Tensor> {
        match (a.dtype(), b.dtype()) {
            (DType::F32, DType::F32) => of::<f32>(a, b, read, factor, cudaDataType_t::CUDA_R_32F),
            (DType::BF16, DType::BF16) => of::<bf16>(a, b, read, factor, cudaDataType_t::CUDA_R_16BF),
            (DType::F16, DType::F16) => of::<f16>(a, b, read, factor, cudaDataType_t::CUDA_R_16F),
            (a, b) => bail!("a product of {a:?} and {b:?}"),
        }
    }

    /// Matrices whose rows follow each other without gaps, and how far a matrix is from the next: there may be a gap between two.
    fn in_rows(x: &Tensor) -> Result<(Tensor, usize)> {
        let (_, rows, columns) = x.dims3()?;
        match *x.stride() {
            [apart, across, 1] if across == columns && apart >= rows * columns => Ok((x.clone(), apart)),
            _ => Ok((x.contiguous()?, rows * columns)),
        }
    }

    fn of<T: CudaDType + DeviceRepr>(
        a: &Tensor,
        b: &Tensor,
        read: Read,
        factor: Option<f64>,
        kind: cudaDataType_t,
    ) -> Result<Tensor> {
        let ((a, apart_a), (b, apart_b)) = (in_rows(a)?, in_rows(b)?);
        let ((parts, rows_a, columns_a), (parts_b, rows_b, columns_b)) = (a.dims3()?, b.dims3()?);
        let (first, second) = (read == Read::FirstTransposed, read == Read::SecondTransposed);
        let (m, k) = if first { (columns_a, rows_a) } else { (rows_a, columns_a) };
        let (k_b, n) = if second { (columns_b, rows_b) } else { (rows_b, columns_b) };
        if parts != parts_b || k != k_b {
            bail!("a product of {:?} and {:?}, {read:?}", a.dims(), b.dims());
        }
        let number = |size: usize| i32::try_from(size).map_err(candle_core::Error::wrap);
        let ((storage_a, layout_a), (storage_b, layout_b)) = (a.storage_and_layout(), b.storage_and_layout());
        let (Storage::Cuda(storage_a), Storage::Cuda(storage_b)) = (&*storage_a, &*storage_b) else {
            bail!("factors that are not both on the card");
        };
        let device = storage_a.device();
        let (cublas, stream) = (device.cublas_handle(), device.cuda_stream());
        let operation = |transposed| {
            if transposed { cublasOperation_t::CUBLAS_OP_T } else { cublasOperation_t::CUBLAS_OP_N }
        };
        let (factor, zero) = (factor.unwrap_or(1.0) as f32, 0f32);
        // SAFETY: the product below writes all of it, and nothing reads it before.
        let mut out = unsafe { device.alloc::<f32>(parts * m * n)? };
        {
            let view_a = storage_a.as_cuda_slice::<T>()?.slice(layout_a.start_offset()..);
            let view_b = storage_b.as_cuda_slice::<T>()?.slice(layout_b.start_offset()..);
            let (at_a, _read_a) = view_a.device_ptr(&stream);
            let (at_b, _read_b) = view_b.device_ptr(&stream);
            let (at_out, _written) = out.device_ptr_mut(&stream);
            // cuBLAS has columns one after the other: rows are its columns, so it is asked for the transposed product, bᵀ aᵀ.
            // SAFETY: `parts` matrices of the sizes told, as far apart as told, lie behind each pointer: `in_rows` has it from the
            // strides, which candle keeps within the storage, and `out` was allocated for its own. All three live until they are
            // dropped, which on this stream comes after the product. Factors are in memory of the host, as cuBLAS takes them unless
            // told otherwise, and are read during the call.
            unsafe {
                gemm_strided_batched_ex(
                    *cublas.handle(),
                    operation(second),
                    operation(first),
                    number(n)?,
                    number(m)?,
                    number(k)?,
                    (&raw const factor).cast(),
                    at_b as *const _,
                    kind,
                    number(columns_b)?,
                    apart_b as i64,
                    at_a as *const _,
                    kind,
                    number(columns_a)?,
                    apart_a as i64,
                    (&raw const zero).cast(),
                    at_out as *mut _,
                    cudaDataType_t::CUDA_R_32F,
                    number(n)?,
                    (m * n) as i64,
                    number(parts)?,
                    cublasComputeType_t::CUBLAS_COMPUTE_32F,
                    cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
                )
            }
            .w()?;
        }
        let out = CudaStorage::wrap_cuda_slice(out, device.clone());
        Ok(Tensor::from_storage(Storage::Cuda(out), (parts, m, n), BackpropOp::none(), false))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::diffusion::ops::tensors::tests::random;

    #[test]
    fn a_product_is_the_same_however_its_factors_lie() {
        let (a, b) = (random(&[2, 3, 5], 1), random(&[2, 5, 4], 2));
        let want =
            in_float(&a, &b, Read::AsTheyAre, Some(0.5)).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let turned = |x: &Tensor| x.transpose(1, 2).unwrap().contiguous().unwrap();
        for (a, b, read) in [(turned(&a), b.clone(), Read::FirstTransposed), (a, turned(&b), Read::SecondTransposed)] {
            let got = in_float(&a, &b, read, Some(0.5)).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(got.iter().zip(&want).all(|(got, want)| (got - want).abs() < 1e-6), "{read:?}");
        }
    }
}
