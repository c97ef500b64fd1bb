//! The operations by the CPU kernels, on the slices of contiguous float32 tensors.

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, Device, Result, Storage, Tensor, bail};

use super::{AttnBackward, Backward, Computation, ConvWeights, LinearWeights, NormWeights};
use crate::diffusion::kernels::{self, Activation, AttnMask, AttnShape, ConvShape, Mat, NormShape};

/// The numbers of a contiguous float32 tensor on the CPU.
struct Numbers<G> {
    storage: G,
    range: Range<usize>,
}

impl<G: Deref<Target = Storage>> Deref for Numbers<G> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(numbers)) => &numbers[self.range.clone()],
            _ => &[],
        }
    }
}

fn numbers(x: &Tensor) -> Result<impl Deref<Target = [f32]> + '_> {
    let (storage, layout) = x.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("a tensor of {:?} has gaps", x.dims()) };
    if !matches!(&*storage, Storage::Cpu(CpuStorage::F32(_))) {
        bail!("the CPU kernels take float32, not {:?}", x.dtype());
    }
    Ok(Numbers { storage, range: start..end })
}

fn tensor(numbers: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(numbers, shape, &Device::Cpu)
}

/// `x`'s shape with `last` as its last dimension.
fn with_last(x: &Tensor, last: usize) -> Vec<usize> {
    let mut shape = x.dims().to_vec();
    if let Some(n) = shape.last_mut() {
        *n = last;
    }
    shape
}

/// A kernel as PyTorch has it, [out, in, k, k] → [out, k, k, in].
pub(super) fn channels_last_kernel(weight: &Tensor) -> Result<Tensor> {
    let (out, inner, height, width) = weight.dims4()?;
    let taps = height * width;
    let mut y = vec![0f32; weight.elem_count()];
    {
        let weight = numbers(weight)?;
        let weight = &*weight;
        kernels::for_rows(&mut y, inner * taps, |first, y| {
            let kernels = weight[first * inner * taps..].chunks_exact(inner * taps);
            for (y, kernel) in y.chunks_exact_mut(inner * taps).zip(kernels) {
                for (tap, y) in y.chunks_exact_mut(inner).enumerate() {
                    y.iter_mut().zip(kernel[tap..].iter().step_by(taps)).for_each(|(y, &x)| *y = x);
                }
            }
        });
    }
    tensor(y, &[out, height, width, inner])
}

/// The CPU kernels.
pub(super) struct Kernels;

impl Computation for Kernels {
    fn sum(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        tensor(kernels::add(&numbers(a)?, &numbers(b)?), a.dims())
    }

    fn activate(&self, kind: Activation, x: &Tensor) -> Result<Tensor> {
        tensor(kernels::activate(kind, &numbers(x)?), x.dims())
    }

    fn activate_backward(&self, kind: Activation, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        tensor(kernels::activate_backward(kind, &numbers(x)?, &numbers(grad)?), x.dims())
    }

    fn geglu(&self, x: &Tensor) -> Result<Tensor> {
        let half = x.dims().last().copied().unwrap_or(0) / 2;
        tensor(kernels::geglu(&numbers(x)?, half), &with_last(x, half))
    }

    fn geglu_backward(&self, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let half = x.dims().last().copied().unwrap_or(0) / 2;
        tensor(kernels::geglu_backward(&numbers(x)?, &numbers(grad)?, half), x.dims())
    }

    fn linear(&self, x: &Tensor, weights: &LinearWeights, residual: Option<&Tensor>) -> Result<Tensor> {
        let (out, inner) = weights.weight.dims2()?;
        let rows = x.elem_count() / inner;
        let bias = weights.bias.as_ref().map(numbers).transpose()?;
        let residual = residual.map(numbers).transpose()?;
        let y = {
            let (x, weight) = (numbers(x)?, numbers(&weights.weight)?);
            kernels::linear_forward(Mat::new(&x, rows, inner), &weight, out, bias.as_deref(), residual.as_deref())
        };
        tensor(y, &with_last(x, out))
    }

    fn linear_backward(&self, weight: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let (out, inner) = weight.dims2()?;
        let rows = grad.elem_count() / out;
        let dx = kernels::product(Mat::new(&numbers(grad)?, rows, out), Mat::new(&numbers(weight)?, out, inner));
        tensor(dx, &with_last(grad, inner))
    }

    fn conv2d(
        &self,
        x: &Tensor,
        weights: &ConvWeights,
        shape: &ConvShape,
        shift: Option<&Tensor>,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let bias = match shift {
            Some(shift) => shift.broadcast_add(&weights.bias)?,
            None => weights.bias.clone(),
        };
        let y = {
            let residual = residual.map(numbers).transpose()?;
            let (x, weight, bias) = (numbers(x)?, numbers(&weights.weight)?, numbers(&bias)?);
            kernels::conv2d_forward(&x, &weight, &bias, residual.as_deref(), shape)
        };
        tensor(y, &[shape.batch, shape.out_height(), shape.out_width(), shape.out_channels])
    }

    fn conv2d_backward(&self, weight: &Tensor, shape: &ConvShape, grad: &Tensor) -> Result<Tensor> {
        let dx = kernels::conv2d_backward(&numbers(grad)?, &numbers(weight)?, shape);
        tensor(dx, &[shape.batch, shape.height, shape.width, shape.in_channels])
    }

    fn group_norm(&self, x: &Tensor, weights: &NormWeights, groups: usize, silu: bool) -> Result<(Tensor, Backward)> {
        let channels = weights.gamma.elem_count();
        let pixels = x.elem_count() / (x.dims()[0] * channels);
        let shape = NormShape { pixels, channels, groups };
        let (y, stats) = {
            let (gamma, beta) = (numbers(&weights.gamma)?, numbers(&weights.beta)?);
            kernels::group_norm_forward(&numbers(x)?, shape, &gamma, &beta, weights.eps, silu)
        };
        let y = tensor(y, x.dims())?;
        let (x, weights) = (x.clone(), weights.clone());
        let backward = move |grad: &Tensor| {
            let (gamma, beta) = (numbers(&weights.gamma)?, numbers(&weights.beta)?);
            let dx = kernels::group_norm_backward(&numbers(&x)?, &numbers(grad)?, shape, &gamma, &beta, &stats, silu);
            tensor(dx, x.dims())
        };
        Ok((y, Box::new(backward)))
    }

    fn layer_norm(&self, x: &Tensor, weights: &NormWeights) -> Result<Tensor> {
        let (gamma, beta) = (numbers(&weights.gamma)?, numbers(&weights.beta)?);
        tensor(kernels::layer_norm_forward(&numbers(x)?, &gamma, &beta, weights.eps as f32), x.dims())
    }

    fn layer_norm_backward(&self, x: &Tensor, weights: &NormWeights, grad: &Tensor) -> Result<Tensor> {
        let gamma = numbers(&weights.gamma)?;
        tensor(kernels::layer_norm_backward(&numbers(x)?, &numbers(grad)?, &gamma, weights.eps as f32), x.dims())
    }

    fn attention(
        &self,
        [q, k, v]: [Tensor; 3],
        shape: AttnShape,
        mask: Option<AttnMask>,
    ) -> Result<(Tensor, AttnBackward)> {
        let (out, normalizers) =
            kernels::attention_forward(&numbers(&q)?, &numbers(&k)?, &numbers(&v)?, &shape, mask.as_ref());
        let out = tensor(out, q.dims())?;
        let saved = out.clone();
        let backward = move |grad: &Tensor| {
            let [dq, dk, dv] = kernels::attention_backward(
                [&numbers(&q)?, &numbers(&k)?, &numbers(&v)?],
                &numbers(&saved)?,
                &normalizers,
                &numbers(grad)?,
                &shape,
                mask.as_ref(),
            );
            Ok([tensor(dq, q.dims())?, tensor(dk, k.dims())?, tensor(dv, v.dims())?])
        };
        Ok((out, Box::new(backward)))
    }

    fn concat_channels(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let last = a.rank() - 1;
        let (na, nb) = (a.dims()[last], b.dims()[last]);
        let mut y = vec![0f32; a.elem_count() + b.elem_count()];
        {
            let (a, b) = (numbers(a)?, numbers(b)?);
            let (a, b) = (&*a, &*b);
            kernels::for_rows(&mut y, na + nb, |first, y| {
                let rows = a[first * na..].chunks_exact(na).zip(b[first * nb..].chunks_exact(nb));
                for (y, (a, b)) in y.chunks_exact_mut(na + nb).zip(rows) {
                    y[..na].copy_from_slice(a);
                    y[na..].copy_from_slice(b);
                }
            });
        }
        tensor(y, &with_last(a, na + nb))
    }

    fn narrow_channels(&self, x: &Tensor, start: usize, n: usize) -> Result<Tensor> {
        x.narrow(x.rank() - 1, start, n)?.contiguous()
    }

    fn upsample2(&self, x: &Tensor) -> Result<Tensor> {
        let (b, h, w, c) = x.dims4()?;
        let mut y = vec![0f32; 4 * x.elem_count()];
        {
            let x = numbers(x)?;
            let x = &*x;
            kernels::for_rows(&mut y, 4 * w * c, |first, y| {
                for (rows, x) in y.chunks_exact_mut(4 * w * c).zip(x[first * w * c..].chunks_exact(w * c)) {
                    let (first, second) = rows.split_at_mut(2 * w * c);
                    for (pair, x) in first.chunks_exact_mut(2 * c).zip(x.chunks_exact(c)) {
                        pair[..c].copy_from_slice(x);
                        pair[c..].copy_from_slice(x);
                    }
                    second.copy_from_slice(first);
                }
            });
        }
        tensor(y, &[b, 2 * h, 2 * w, c])
    }

    fn upsample2_backward(&self, grad: &Tensor) -> Result<Tensor> {
        let (b, h2, w2, c) = grad.dims4()?;
        let (h, w) = (h2 / 2, w2 / 2);
        let mut dx = vec![0f32; b * h * w * c];
        {
            let grad = numbers(grad)?;
            let grad = &*grad;
            kernels::for_rows(&mut dx, w * c, |first, dx| {
                for (dx, rows) in dx.chunks_exact_mut(w * c).zip(grad[first * 4 * w * c..].chunks_exact(4 * w * c)) {
                    let (upper, lower) = rows.split_at(2 * w * c);
                    let pairs = upper.chunks_exact(2 * c).zip(lower.chunks_exact(2 * c));
                    for (dx, (p, q)) in dx.chunks_exact_mut(c).zip(pairs) {
                        for i in 0..c {
                            dx[i] = (p[i] + p[c + i]) + (q[i] + q[c + i]);
                        }
                    }
                }
            });
        }
        tensor(dx, &[b, h, w, c])
    }
}
