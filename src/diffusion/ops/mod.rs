//! The differentiable operations of the models, each with its backward pass beside it. Pictures are
//! [batch, height, width, channels], tokens [batch, tokens, width]: the same numbers in the same order.
//!
//! Weights are frozen: they are captured, not differentiated. What is learned is an input.
//!
//! Here shapes are checked and steps recorded; what is computed is in [`Computation`], which has a form for each kind of
//! device.

mod cpu;
mod tensors;

use candle_core::{DType, Device, Result, Tensor, bail};

pub(crate) use self::tensors::ATTENTION_TILE;
use super::kernels::{Activation, AttnMask, AttnShape, ConvShape};
use super::tape::Tracked;

/// What computes the operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The CPU kernels: float32 on the CPU.
    Kernels,
    /// Candle's tensor operations: any device, any float type that it has.
    Tensors,
}

impl Form {
    /// What computes on numbers of `dtype` on `device`.
    pub fn of(device: &Device, dtype: DType) -> Self {
        if device.is_cpu() && dtype == DType::F32 { Self::Kernels } else { Self::Tensors }
    }

    fn computation(self) -> &'static dyn Computation {
        match self {
            Self::Kernels => &cpu::Kernels,
            Self::Tensors => &tensors::Tensors,
        }
    }
}

/// The gradient of an input from the gradient of the result. It holds what the form keeps for it.
type Backward = Box<dyn FnOnce(&Tensor) -> Result<Tensor> + Send>;

/// The gradients of q, k and v from the gradient of the result.
type AttnBackward = Box<dyn FnOnce(&Tensor) -> Result<[Tensor; 3]> + Send>;

/// What the operations compute, forward and backward, on shapes that fit.
trait Computation {
    fn sum(&self, a: &Tensor, b: &Tensor) -> Result<Tensor>;
    fn activate(&self, kind: Activation, x: &Tensor) -> Result<Tensor>;
    fn activate_backward(&self, kind: Activation, x: &Tensor, grad: &Tensor) -> Result<Tensor>;
    fn geglu(&self, x: &Tensor) -> Result<Tensor>;
    fn geglu_backward(&self, x: &Tensor, grad: &Tensor) -> Result<Tensor>;
    fn linear(&self, x: &Tensor, weights: &LinearWeights, residual: Option<&Tensor>) -> Result<Tensor>;
    fn linear_backward(&self, weight: &Tensor, grad: &Tensor) -> Result<Tensor>;
    fn conv2d(
        &self,
        x: &Tensor,
        weights: &ConvWeights,
        shape: &ConvShape,
        shift: Option<&Tensor>,
        residual: Option<&Tensor>,
    ) -> Result<Tensor>;
    fn conv2d_backward(&self, weight: &Tensor, shape: &ConvShape, grad: &Tensor) -> Result<Tensor>;
    fn group_norm(&self, x: &Tensor, weights: &NormWeights, groups: usize, silu: bool) -> Result<(Tensor, Backward)>;
    fn layer_norm(&self, x: &Tensor, weights: &NormWeights) -> Result<Tensor>;
    fn layer_norm_backward(&self, x: &Tensor, weights: &NormWeights, grad: &Tensor) -> Result<Tensor>;
    fn attention(&self, qkv: [Tensor; 3], shape: AttnShape, mask: Option<AttnMask>) -> Result<(Tensor, AttnBackward)>;
    fn concat_channels(&self, a: &Tensor, b: &Tensor) -> Result<Tensor>;
    /// The channels `start..start + n`.
    fn narrow_channels(&self, x: &Tensor, start: usize, n: usize) -> Result<Tensor>;
    fn upsample2(&self, x: &Tensor) -> Result<Tensor>;
    fn upsample2_backward(&self, grad: &Tensor) -> Result<Tensor>;
}

/// a + b of plain tensors of one shape.
pub(crate) fn sum(form: Form, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    form.computation().sum(a, b)
}

fn activation(kind: Activation, x: &Tracked) -> Result<Tracked> {
    let form = x.form();
    let value = form.computation().activate(kind, x.value())?;
    let saved = x.value().clone();
    Ok(Tracked::record(form, value, &[x], move |grad| {
        Ok(vec![Some(form.computation().activate_backward(kind, &saved, grad)?)])
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
    let form = x.form();
    let value = form.computation().geglu(x.value())?;
    let saved = x.value().clone();
    Ok(Tracked::record(form, value, &[x], move |grad| Ok(vec![Some(form.computation().geglu_backward(&saved, grad)?)])))
}

/// A frozen linear map: weight `[out, in]`, bias `[out]` or none.
#[derive(Clone)]
pub(crate) struct LinearWeights {
    pub weight: Tensor,
    pub bias: Option<Tensor>,
    pub form: Form,
}

/// x Wᵀ + b, plus `residual` where given: [.., in] → [.., out].
pub(crate) fn linear(x: &Tracked, weights: &LinearWeights, residual: Option<&Tracked>) -> Result<Tracked> {
    let inner = weights.weight.dims2()?.1;
    if x.value().dims().last() != Some(&inner) {
        bail!("a linear map of {inner} inputs is given {:?}", x.value().dims());
    }
    let form = weights.form;
    let value = form.computation().linear(x.value(), weights, residual.map(Tracked::value))?;
    let weight = weights.weight.clone();
    let (x_tracked, with_residual) = (x.is_tracked(), residual.is_some());
    let mut inputs = vec![x];
    inputs.extend(residual);
    Ok(Tracked::record(form, value, &inputs, move |grad| {
        let mut grads = vec![None];
        if x_tracked {
            grads[0] = Some(form.computation().linear_backward(&weight, grad)?);
        }
        if with_residual {
            grads.push(Some(grad.clone()));
        }
        Ok(grads)
    }))
}

/// A frozen convolution: weight as its form wants it, bias `[out]`.
#[derive(Clone)]
pub(crate) struct ConvWeights {
    /// [out, k, k, in] for the CPU kernels, [out, in, k, k] for tensor operations.
    pub weight: Tensor,
    pub bias: Tensor,
    pub kernel: usize,
    pub stride: usize,
    pub pad_before: usize,
    pub pad_after: usize,
    pub form: Form,
}

impl Form {
    /// A convolution's kernel as PyTorch has it, [out, in, k, k], as this form wants it.
    pub fn conv_kernel(self, weight: Tensor) -> Result<Tensor> {
        match self {
            Self::Kernels => cpu::channels_last_kernel(&weight),
            Self::Tensors => Ok(weight),
        }
    }
}

impl ConvWeights {
    fn shape(&self, x: &Tensor) -> Result<ConvShape> {
        let (batch, height, width, in_channels) = x.dims4()?;
        let (out_channels, expected) = match self.form {
            Form::Kernels => (self.weight.dim(0)?, self.weight.dim(3)?),
            Form::Tensors => (self.weight.dim(0)?, self.weight.dim(1)?),
        };
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
    let form = weights.form;
    let value = form.computation().conv2d(x.value(), weights, &shape, shift, residual.map(Tracked::value))?;
    let weight = weights.weight.clone();
    let (x_tracked, with_residual) = (x.is_tracked(), residual.is_some());
    let mut inputs = vec![x];
    inputs.extend(residual);
    Ok(Tracked::record(form, value, &inputs, move |grad| {
        let mut grads = vec![None];
        if x_tracked {
            grads[0] = Some(form.computation().conv2d_backward(&weight, &shape, grad)?);
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
    pub form: Form,
}

/// Group norm over [B, .., C] with `groups` groups of channels, followed by SiLU where asked.
pub(crate) fn group_norm(x: &Tracked, weights: &NormWeights, groups: usize, silu: bool) -> Result<Tracked> {
    let dims = x.value().dims();
    let channels = *dims.last().unwrap_or(&0);
    if channels == 0 || groups == 0 || !channels.is_multiple_of(groups) || channels != weights.gamma.elem_count() {
        bail!("a group norm of {} channels in {groups} groups is given {dims:?}", weights.gamma.elem_count());
    }
    let (value, backward) = weights.form.computation().group_norm(x.value(), weights, groups, silu)?;
    Ok(Tracked::record(weights.form, value, &[x], move |grad| Ok(vec![Some(backward(grad)?)])))
}

/// Layer norm over the last dimension.
pub(crate) fn layer_norm(x: &Tracked, weights: &NormWeights) -> Result<Tracked> {
    let dims = x.value().dims();
    if dims.last() != Some(&weights.gamma.elem_count()) {
        bail!("a layer norm of width {} is given {dims:?}", weights.gamma.elem_count());
    }
    let form = weights.form;
    let value = form.computation().layer_norm(x.value(), weights)?;
    let (saved, weights) = (x.value().clone(), weights.clone());
    Ok(Tracked::record(form, value, &[x], move |grad| {
        Ok(vec![Some(form.computation().layer_norm_backward(&saved, &weights, grad)?)])
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
    let form = q.form();
    let (out, backward) = form.computation().attention([q, k, v].map(|x| x.value().clone()), shape, mask)?;
    let tracked = [q.is_tracked(), k.is_tracked(), v.is_tracked()];
    Ok(Tracked::record(form, out, &[q, k, v], move |grad| {
        Ok(backward(grad)?.into_iter().zip(tracked).map(|(grad, tracked)| tracked.then_some(grad)).collect())
    }))
}

/// The same without a mask in float32, whatever the values are in: for products of queries and keys that half precision
/// cannot hold.
pub(crate) fn attention_in_float(q: &Tracked, k: &Tracked, v: &Tracked, heads: usize) -> Result<Tracked> {
    let dtype = q.value().dtype();
    // A graphics card has these products in float32 anyway, forward and backward (see `tensors/product`; FlashAttention's kernel too).
    if dtype == DType::F32 || q.value().device().is_cuda() {
        return attention(q, k, v, heads, None);
    }
    let float = |x| cast(x, DType::F32);
    cast(&attention(&float(q)?, &float(k)?, &float(v)?, heads, None)?, dtype)
}

/// Rows put in front: prefix [n, D], of any float type, and x [B, T, D] → [B, n + T, D], of x's type.
pub(crate) fn prepend_rows(prefix: &Tracked, x: &Tracked) -> Result<Tracked> {
    let (n, width) = prefix.value().dims2()?;
    let (batch, rows, _) = x.value().dims3()?;
    let dtype = prefix.value().dtype();
    let expanded = prefix.value().to_dtype(x.value().dtype())?.unsqueeze(0)?.expand((batch, n, width))?;
    let value = Tensor::cat(&[&expanded, x.value()], 1)?.contiguous()?;
    Ok(Tracked::record(x.form(), value, &[prefix, x], move |grad| {
        let of_prefix = grad.narrow(1, 0, n)?.to_dtype(dtype)?.sum(0)?;
        let of_x = grad.narrow(1, n, rows)?.contiguous()?;
        Ok(vec![Some(of_prefix), Some(of_x)])
    }))
}

/// Rows of a table in other rows' places: row `table[j]` of `rows` [n, D], of any float type, stands at `places` (i, j) of x [N, D].
pub(crate) fn put_rows(x: &Tracked, rows: &Tracked, places: &[(u32, u32)]) -> Result<Tracked> {
    let (count, width) = x.value().dims2()?;
    let (known, dtype, device) = (rows.value().dim(0)?, rows.value().dtype(), x.value().device());
    if places.is_empty() {
        return Ok(x.clone());
    }
    let (at, which): (Vec<u32>, Vec<u32>) = places.iter().copied().unzip();
    let mut order: Vec<u32> = (0..count as u32).collect();
    (0..).zip(&at).for_each(|(j, &i)| order[i as usize] = (count + j) as u32);
    let (at, which) = (Tensor::new(at, device)?, Tensor::new(which, device)?);
    let put = rows.value().to_dtype(x.value().dtype())?.index_select(&which, 0)?;
    let value = Tensor::cat(&[x.value(), &put], 0)?.index_select(&Tensor::new(order, device)?, 0)?;
    let tracked = x.is_tracked();
    Ok(Tracked::record(x.form(), value, &[x, rows], move |grad| {
        let put = grad.index_select(&at, 0)?;
        let of_rows =
            Tensor::zeros((known, width), dtype, grad.device())?.index_add(&which, &put.to_dtype(dtype)?, 0)?;
        // What was replaced has no part in the result.
        let of_x = tracked.then(|| grad.index_add(&at, &put.neg()?, 0)).transpose()?;
        Ok(vec![of_x, Some(of_rows)])
    }))
}

/// x plus a constant that is repeated over its first dimensions.
pub(crate) fn add_constant(x: &Tracked, constant: &Tensor) -> Result<Tracked> {
    let value = x.value().broadcast_add(constant)?.contiguous()?;
    Ok(Tracked::record(x.form(), value, &[x], |grad| Ok(vec![Some(grad.clone())])))
}

/// Channels side by side: [.., A] and [.., B] → [.., A + B].
pub(crate) fn concat_channels(a: &Tracked, b: &Tracked) -> Result<Tracked> {
    let last = a.value().rank() - 1;
    let (na, nb) = (a.value().dims()[last], b.value().dims()[last]);
    let value = a.form().computation().concat_channels(a.value(), b.value())?;
    let (form, tracked) = (a.form(), [a.is_tracked(), b.is_tracked()]);
    Ok(Tracked::record(form, value, &[a, b], move |grad| {
        [(0, na), (na, nb)]
            .into_iter()
            .zip(tracked)
            .map(|((start, n), tracked)| {
                tracked.then(|| form.computation().narrow_channels(grad, start, n)).transpose()
            })
            .collect()
    }))
}

/// Every pixel doubled in both directions: [B, H, W, C] → [B, 2 H, 2 W, C].
pub(crate) fn upsample2(x: &Tracked) -> Result<Tracked> {
    x.value().dims4()?;
    let form = x.form();
    let value = form.computation().upsample2(x.value())?;
    Ok(Tracked::record(form, value, &[x], move |grad| Ok(vec![Some(form.computation().upsample2_backward(grad)?)])))
}

/// The same numbers in another shape.
pub(crate) fn reshape(x: &Tracked, shape: &[usize]) -> Result<Tracked> {
    let before = x.value().dims().to_vec();
    let value = x.value().reshape(shape)?;
    Ok(Tracked::record(x.form(), value, &[x], move |grad| Ok(vec![Some(grad.reshape(before)?)])))
}

/// The same numbers as `dtype`.
pub(crate) fn cast(x: &Tracked, dtype: DType) -> Result<Tracked> {
    let before = x.value().dtype();
    if before == dtype {
        return Ok(x.clone());
    }
    let value = x.value().to_dtype(dtype)?;
    Ok(Tracked::record(x.form(), value, &[x], move |grad| Ok(vec![Some(grad.to_dtype(before)?)])))
}

/// [B, H, W, C] → [B, C, H, W], the layout of files and of the noise.
pub(crate) fn channels_first(x: &Tracked) -> Result<Tracked> {
    let value = x.value().permute((0, 3, 1, 2))?.contiguous()?;
    Ok(Tracked::record(x.form(), value, &[x], |grad| Ok(vec![Some(grad.permute((0, 2, 3, 1))?.contiguous()?)])))
}
