//! The differentiable operations of the models, each with its backward pass beside it. Pictures are
//! [batch, height, width, channels], tokens [batch, tokens, width]: the same numbers in the same order.
//!
//! Weights are frozen: they are captured, not differentiated.

use std::ops::{Deref, Range};
use std::sync::Arc;

use candle_core::{CpuStorage, Device, Result, Storage, Tensor, bail};

use super::kernels::{self, Activation, AttnMask, AttnShape, ConvShape, Mat, NormShape};
use super::tape::Tracked;

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

/// a + b of plain tensors of one shape.
pub(crate) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    tensor(kernels::add(&numbers(a)?, &numbers(b)?), a.dims())
}

fn activation(kind: Activation, x: &Tracked) -> Result<Tracked> {
    let value = tensor(kernels::activate(kind, &numbers(x.value())?), x.value().dims())?;
    let saved = x.value().clone();
    Ok(Tracked::record(value, &[x], move |grad| {
        let dx = kernels::activate_backward(kind, &numbers(&saved)?, &numbers(grad)?);
        Ok(vec![Some(tensor(dx, saved.dims())?)])
    }))
}

/// x · σ(x)
pub fn silu(x: &Tracked) -> Result<Tracked> {
    activation(Activation::Silu, x)
}

/// x · σ(1.702 x)
pub fn quick_gelu(x: &Tracked) -> Result<Tracked> {
    activation(Activation::QuickGelu, x)
}

/// x · Φ(x)
pub fn gelu(x: &Tracked) -> Result<Tracked> {
    activation(Activation::Gelu, x)
}

/// [.., 2 F] → [.., F]: the first half times the GELU of the second.
pub fn geglu(x: &Tracked) -> Result<Tracked> {
    let mut shape = x.value().dims().to_vec();
    let half = shape.last().copied().unwrap_or(0) / 2;
    if let Some(last) = shape.last_mut() {
        *last = half;
    }
    let value = tensor(kernels::geglu(&numbers(x.value())?, half), &shape)?;
    let saved = x.value().clone();
    Ok(Tracked::record(value, &[x], move |grad| {
        let dx = kernels::geglu_backward(&numbers(&saved)?, &numbers(grad)?, half);
        Ok(vec![Some(tensor(dx, saved.dims())?)])
    }))
}

/// A frozen linear map: weight `[out, in]`, bias `[out]` or none.
#[derive(Clone)]
pub(crate) struct LinearWeights {
    pub weight: Tensor,
    pub bias: Option<Tensor>,
}

/// x Wᵀ + b, plus `residual` where given: [.., in] → [.., out].
pub(crate) fn linear(x: &Tracked, weights: &LinearWeights, residual: Option<&Tracked>) -> Result<Tracked> {
    let (out, inner) = weights.weight.dims2()?;
    let mut shape = x.value().dims().to_vec();
    match shape.last_mut() {
        Some(last) if *last == inner => *last = out,
        _ => bail!("a linear map of {inner} inputs is given {:?}", x.value().dims()),
    }
    let rows = x.value().elem_count() / inner;
    let mut y = match residual {
        Some(residual) => numbers(residual.value())?.to_vec(),
        None => vec![0f32; rows * out],
    };
    if let Some(bias) = &weights.bias {
        let bias = numbers(bias)?;
        kernels::for_rows(&mut y, out, |_, y| {
            for y in y.chunks_exact_mut(out) {
                y.iter_mut().zip(bias.iter()).for_each(|(y, &b)| *y += b);
            }
        });
    }
    {
        let (x, weight) = (numbers(x.value())?, numbers(&weights.weight)?);
        let accumulate = residual.is_some() || weights.bias.is_some();
        kernels::multiply_by_weight(&mut y, accumulate, Mat::new(&x, rows, inner), &weight, out);
    }
    let value = tensor(y, &shape)?;
    let weight = weights.weight.clone();
    let (x_tracked, x_shape) = (x.is_tracked(), x.value().dims().to_vec());
    let mut inputs = vec![x];
    inputs.extend(residual);
    let with_residual = residual.is_some();
    Ok(Tracked::record(value, &inputs, move |grad| {
        let mut grads = vec![None];
        if x_tracked {
            let (dy, weight) = (numbers(grad)?, numbers(&weight)?);
            let mut dx = vec![0f32; rows * inner];
            kernels::gemm(&mut dx, inner, false, Mat::new(&dy, rows, out), Mat::new(&weight, out, inner), 1.0, true);
            grads[0] = Some(tensor(dx, &x_shape)?);
        }
        if with_residual {
            grads.push(Some(grad.clone()));
        }
        Ok(grads)
    }))
}

/// A frozen convolution: weight [out, k, k, in], bias `[out]`.
#[derive(Clone)]
pub(crate) struct ConvWeights {
    pub weight: Tensor,
    pub bias: Tensor,
    pub kernel: usize,
    pub stride: usize,
    pub pad_before: usize,
    pub pad_after: usize,
}

/// A kernel as PyTorch has it, [out, in, k, k] → [out, k, k, in].
pub(crate) fn channels_last_kernel(weight: &Tensor) -> Result<Tensor> {
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

impl ConvWeights {
    fn shape(&self, x: &Tensor) -> Result<ConvShape> {
        let (batch, height, width, in_channels) = x.dims4()?;
        let (out_channels, _, _, expected) = self.weight.dims4()?;
        if in_channels != expected {
            bail!("a convolution of {expected} channels is given {:?}", x.dims());
        }
        Ok(ConvShape {
            batch,
            height,
            width,
            in_channels,
            out_channels,
            kernel: self.kernel,
            stride: self.stride,
            pad_before: self.pad_before,
            pad_after: self.pad_after,
        })
    }
}

/// conv(x) + bias, plus `shift` [batch, out] (constant) and `residual` where given: [B, H, W, in] → [B, H', W', out].
pub(crate) fn conv2d(
    x: &Tracked,
    weights: &ConvWeights,
    shift: Option<&Tensor>,
    residual: Option<&Tracked>,
) -> Result<Tracked> {
    let shape = weights.shape(x.value())?;
    let bias = match shift {
        Some(shift) => shift.broadcast_add(&weights.bias)?,
        None => weights.bias.clone(),
    };
    let y = {
        let residual = residual.map(|r| numbers(r.value())).transpose()?;
        let (x, weight, bias) = (numbers(x.value())?, numbers(&weights.weight)?, numbers(&bias)?);
        kernels::conv2d_forward(&x, &weight, &bias, residual.as_deref(), &shape)
    };
    let value = tensor(y, &[shape.batch, shape.out_height(), shape.out_width(), shape.out_channels])?;
    let weight = weights.weight.clone();
    let (x_tracked, with_residual, x_shape) = (x.is_tracked(), residual.is_some(), x.value().dims().to_vec());
    let mut inputs = vec![x];
    inputs.extend(residual);
    Ok(Tracked::record(value, &inputs, move |grad| {
        let mut grads = vec![None];
        if x_tracked {
            let dx = kernels::conv2d_backward(&numbers(grad)?, &numbers(&weight)?, &shape);
            grads[0] = Some(tensor(dx, &x_shape)?);
        }
        if with_residual {
            grads.push(Some(grad.clone()));
        }
        Ok(grads)
    }))
}

/// Frozen scale and shift of a norm.
#[derive(Clone)]
pub(crate) struct NormWeights {
    pub gamma: Tensor,
    pub beta: Tensor,
    pub eps: f64,
}

/// Group norm over [B, .., C] with `groups` groups of channels, followed by SiLU where asked.
pub(crate) fn group_norm(x: &Tracked, weights: &NormWeights, groups: usize, silu: bool) -> Result<Tracked> {
    let dims = x.value().dims().to_vec();
    let (batch, channels) = (dims[0], *dims.last().unwrap_or(&0));
    if channels == 0 || groups == 0 || channels % groups != 0 || channels != weights.gamma.elem_count() {
        bail!("a group norm of {} channels in {groups} groups is given {dims:?}", weights.gamma.elem_count());
    }
    let pixels = x.value().elem_count() / (batch * channels);
    let shape = NormShape { pixels, channels, groups };
    let (y, stats) = kernels::group_norm_forward(
        &numbers(x.value())?,
        shape,
        &numbers(&weights.gamma)?,
        &numbers(&weights.beta)?,
        weights.eps,
        silu,
    );
    let (saved, weights) = (x.value().clone(), weights.clone());
    Ok(Tracked::record(tensor(y, &dims)?, &[x], move |grad| {
        let (gamma, beta) = (numbers(&weights.gamma)?, numbers(&weights.beta)?);
        let dx = kernels::group_norm_backward(&numbers(&saved)?, &numbers(grad)?, shape, &gamma, &beta, &stats, silu);
        Ok(vec![Some(tensor(dx, &dims)?)])
    }))
}

/// Layer norm over the last dimension.
pub(crate) fn layer_norm(x: &Tracked, weights: &NormWeights) -> Result<Tracked> {
    let dims = x.value().dims().to_vec();
    if dims.last() != Some(&weights.gamma.elem_count()) {
        bail!("a layer norm of width {} is given {dims:?}", weights.gamma.elem_count());
    }
    let eps = weights.eps as f32;
    let y = kernels::layer_norm_forward(&numbers(x.value())?, &numbers(&weights.gamma)?, &numbers(&weights.beta)?, eps);
    let (saved, gamma) = (x.value().clone(), weights.gamma.clone());
    Ok(Tracked::record(tensor(y, &dims)?, &[x], move |grad| {
        let dx = kernels::layer_norm_backward(&numbers(&saved)?, &numbers(grad)?, &numbers(&gamma)?, eps);
        Ok(vec![Some(tensor(dx, &dims)?)])
    }))
}

/// Multi-head scaled dot-product attention. q [B, N, heads · d]; k and v [B or 1, S, heads · d]; result like q.
pub(crate) fn attention(
    q: &Tracked,
    k: &Tracked,
    v: &Tracked,
    heads: usize,
    mask: Option<AttnMask>,
) -> Result<Tracked> {
    let (batch, queries, width) = q.value().dims3()?;
    let (kv_batch, keys, _) = k.value().dims3()?;
    if heads == 0 || width % heads != 0 || k.value().dims() != v.value().dims() || k.value().dims()[2] != width {
        bail!("attention in {heads} heads is given q {:?}, k {:?}", q.value().dims(), k.value().dims());
    }
    if kv_batch != batch && kv_batch != 1 {
        bail!("attention is given keys for {kv_batch} pictures and queries for {batch}");
    }
    let shape = AttnShape { batch, kv_batch, queries, keys, heads, head_dim: width / heads };
    let out =
        kernels::attention_forward(&numbers(q.value())?, &numbers(k.value())?, &numbers(v.value())?, &shape, mask);
    let out = tensor(out, q.value().dims())?;
    let saved = Arc::new([q.value().clone(), k.value().clone(), v.value().clone(), out.clone()]);
    let tracked = [q.is_tracked(), k.is_tracked(), v.is_tracked()];
    Ok(Tracked::record(out, &[q, k, v], move |grad| {
        let [q, k, v, out] = &*saved;
        let (dq, dk, dv) = kernels::attention_backward(
            &numbers(q)?,
            &numbers(k)?,
            &numbers(v)?,
            &numbers(out)?,
            &numbers(grad)?,
            &shape,
            mask,
        );
        [(dq, q), (dk, k), (dv, v)]
            .into_iter()
            .zip(tracked)
            .map(|((d, like), tracked)| tracked.then(|| tensor(d, like.dims())).transpose())
            .collect()
    }))
}

/// Rows put in front: prefix [n, D] and x [B, T, D] → [B, n + T, D].
pub(crate) fn prepend_rows(prefix: &Tracked, x: &Tracked) -> Result<Tracked> {
    let (n, width) = prefix.value().dims2()?;
    let (batch, rows, _) = x.value().dims3()?;
    let expanded = prefix.value().unsqueeze(0)?.expand((batch, n, width))?;
    let value = Tensor::cat(&[&expanded, x.value()], 1)?.contiguous()?;
    Ok(Tracked::record(value, &[prefix, x], move |grad| {
        let of_prefix = grad.narrow(1, 0, n)?.sum(0)?;
        let of_x = grad.narrow(1, n, rows)?.contiguous()?;
        Ok(vec![Some(of_prefix), Some(of_x)])
    }))
}

/// Channels side by side: [.., A] and [.., B] → [.., A + B].
pub(crate) fn concat_channels(a: &Tracked, b: &Tracked) -> Result<Tracked> {
    let last = a.value().rank() - 1;
    let (na, nb) = (a.value().dims()[last], b.value().dims()[last]);
    let mut shape = a.value().dims().to_vec();
    shape[last] = na + nb;
    let mut y = vec![0f32; a.value().elem_count() + b.value().elem_count()];
    {
        let (a, b) = (numbers(a.value())?, numbers(b.value())?);
        let (a, b) = (&*a, &*b);
        kernels::for_rows(&mut y, na + nb, |first, y| {
            let rows = a[first * na..].chunks_exact(na).zip(b[first * nb..].chunks_exact(nb));
            for (y, (a, b)) in y.chunks_exact_mut(na + nb).zip(rows) {
                y[..na].copy_from_slice(a);
                y[na..].copy_from_slice(b);
            }
        });
    }
    let tracked = [a.is_tracked(), b.is_tracked()];
    Ok(Tracked::record(tensor(y, &shape)?, &[a, b], move |grad| {
        [(0, na), (na, nb)]
            .into_iter()
            .zip(tracked)
            .map(|((start, n), tracked)| tracked.then(|| grad.narrow(last, start, n)?.contiguous()).transpose())
            .collect()
    }))
}

/// Every pixel doubled in both directions: [B, H, W, C] → [B, 2 H, 2 W, C].
pub(crate) fn upsample2(x: &Tracked) -> Result<Tracked> {
    let (b, h, w, c) = x.value().dims4()?;
    let mut y = vec![0f32; 4 * x.value().elem_count()];
    {
        let x = numbers(x.value())?;
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
    Ok(Tracked::record(tensor(y, &[b, 2 * h, 2 * w, c])?, &[x], move |grad| {
        let grad = numbers(grad)?;
        let grad = &*grad;
        let mut dx = vec![0f32; b * h * w * c];
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
        Ok(vec![Some(tensor(dx, &[b, h, w, c])?)])
    }))
}

/// The same numbers in another shape.
pub(crate) fn reshape(x: &Tracked, shape: &[usize]) -> Result<Tracked> {
    let before = x.value().dims().to_vec();
    Ok(Tracked::record(x.value().reshape(shape)?, &[x], move |grad| Ok(vec![Some(grad.reshape(before)?)])))
}

/// [B, H, W, C] → [B, C, H, W], the layout of files and of the noise.
pub(crate) fn channels_first(x: &Tracked) -> Result<Tracked> {
    let value = x.value().permute((0, 3, 1, 2))?.contiguous()?;
    Ok(Tracked::record(value, &[x], |grad| Ok(vec![Some(grad.permute((0, 2, 3, 1))?.contiguous()?)])))
}
