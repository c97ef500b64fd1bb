//! The operations in candle's own tensor operations: for CUDA, Metal, half precision, and the CPU where asked. Candle's
//! graph is not used: each backward pass is written out here.
//!
//! **Layout.** Shapes are channels last, as everywhere; memory is as the last operation left it. Convolutions, group norms,
//! upsampling and concatenation of pictures work on channels-first memory, which candle and cuDNN want, and hand on a
//! permuted view of it, so within residual blocks nothing is copied. Linear maps and attention work on tokens in rows. So
//! the numbers are brought into another order only where a transformer begins and ends, as in diffusers.
//!
//! **Precision.** Norms, softmax and slopes of activations are computed in float32 whatever the values are in, and scale
//! and shift of norms are kept in it. Products are in the values' type; a graphics card keeps the scores of attention in float32. cuBLAS
//! and the CPU sum all products in float32.

mod attention;
mod product;

use candle_core::{D, DType, Result, Tensor, bail};
use candle_nn::ops::sigmoid;

pub(crate) use self::attention::TILE as ATTENTION_TILE;
use super::{AttnBackward, Backward, Computation, ConvWeights, LinearWeights, NormWeights};
use crate::diffusion::kernels::{Activation, AttnMask, AttnShape, ConvShape};

/// Candle's operations.
pub(super) struct Tensors;

/// [B, H, W, C] → [B, C, H, W], a view.
fn channels_first(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 3, 1, 2))
}

/// [B, C, H, W] → [B, H, W, C], a view.
fn channels_last(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 2, 3, 1))
}

/// Rows of the last dimension's length.
fn rows(x: &Tensor) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    x.contiguous()?.reshape((x.elem_count() / width.max(1), width))
}

/// `x`'s rows in the shape of `like`, but for the last dimension.
fn shaped_like(x: &Tensor, like: &Tensor) -> Result<Tensor> {
    let mut shape = like.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = x.dim(D::Minus1)?;
    }
    x.reshape(shape)
}

fn float(x: &Tensor) -> Result<Tensor> {
    x.to_dtype(DType::F32)
}

/// Mean over the last dimension, which is kept.
fn mean(x: &Tensor) -> Result<Tensor> {
    let n = x.dim(D::Minus1)?;
    x.sum_keepdim(D::Minus1)?.affine(1.0 / n as f64, 0.0)
}

/// (x - mean over the last dimension, 1 / σ)
fn centred(x: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
    let centred = x.broadcast_sub(&mean(x)?)?;
    let rstd = mean(&centred.sqr()?)?.affine(1.0, eps)?.sqrt()?.recip()?;
    Ok((centred, rstd))
}

/// The gradient of x from the gradient of `normed` = (x - mean) / σ over the last dimension.
fn norm_backward(normed: &Tensor, rstd: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let along = normed.broadcast_mul(&mean(&(grad * normed)?)?)?;
    (grad.broadcast_sub(&mean(grad)?)? - along)?.broadcast_mul(rstd)
}

/// σ(x) (1 + x (1 - σ(x))) with σ at `scale` · x: the slope of x · σ(scale · x).
fn swish_slope(x: &Tensor, scale: f64) -> Result<Tensor> {
    let x = x.affine(scale, 0.0)?;
    let s = sigmoid(&x)?;
    &s * ((&x * s.affine(-1.0, 1.0)?)? + 1.0)?
}

/// Φ(x) + x φ(x)
fn gelu_slope(x: &Tensor) -> Result<Tensor> {
    let phi = x.affine(std::f64::consts::FRAC_1_SQRT_2, 0.0)?.erf()?.affine(0.5, 0.5)?;
    let density = x.sqr()?.affine(-0.5, 0.0)?.exp()?.affine(GAUSS, 0.0)?;
    phi + (x * density)?
}

const QUICK: f64 = 1.702;
/// 1/√(2π)
const GAUSS: f64 = 0.398_942_280_401_432_7;

/// Zeros put around a picture [B, C, H, W].
fn pad(x: &Tensor, before: usize, after: (usize, usize)) -> Result<Tensor> {
    x.pad_with_zeros(2, before, after.0)?.pad_with_zeros(3, before, after.1)
}

/// [B, C, H, W] → [B, C, stride · H, stride · W]: each number followed by zeros.
fn dilate(x: &Tensor, stride: usize) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    let apart = x.reshape((b * c, h, 1, w, 1))?.pad_with_zeros(2, 0, stride - 1)?.pad_with_zeros(4, 0, stride - 1)?;
    apart.reshape((b, c, stride * h, stride * w))
}

/// The kernel of the backward convolution: [out, in, k, k] → [in, out, k, k], each tap at its mirrored place.
fn mirrored(weight: &Tensor) -> Result<Tensor> {
    let (out, inner, height, width) = weight.dims4()?;
    let taps = height * width;
    let order: Vec<u32> = (0..taps as u32).rev().collect();
    let order = Tensor::new(order, weight.device())?;
    let mirrored = weight.reshape((out, inner, taps))?.index_select(&order, 2)?;
    mirrored.transpose(0, 1)?.contiguous()?.reshape((inner, out, height, width))
}

impl Computation for Tensors {
    fn sum(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        a + b
    }

    fn activate(&self, kind: Activation, x: &Tensor) -> Result<Tensor> {
        match kind {
            Activation::Silu => x.silu(),
            // The factor itself would be rounded.
            Activation::QuickGelu if x.dtype() == DType::BF16 => {
                let wide = float(x)?;
                (&wide * sigmoid(&wide.affine(QUICK, 0.0)?)?)?.to_dtype(x.dtype())
            }
            Activation::QuickGelu => x * sigmoid(&x.affine(QUICK, 0.0)?)?,
            Activation::Gelu => x.gelu_erf(),
        }
    }

    fn activate_backward(&self, kind: Activation, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let wide = float(x)?;
        let slope = match kind {
            Activation::Silu => swish_slope(&wide, 1.0)?,
            Activation::QuickGelu => swish_slope(&wide, QUICK)?,
            Activation::Gelu => gelu_slope(&wide)?,
        };
        (float(grad)? * slope)?.to_dtype(x.dtype())
    }

    fn geglu(&self, x: &Tensor) -> Result<Tensor> {
        let half = x.dim(D::Minus1)? / 2;
        x.narrow(D::Minus1, 0, half)? * x.narrow(D::Minus1, half, half)?.gelu_erf()?
    }

    fn geglu_backward(&self, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let half = x.dim(D::Minus1)? / 2;
        let (a, g) = (float(&x.narrow(D::Minus1, 0, half)?)?, float(&x.narrow(D::Minus1, half, half)?)?);
        let grad = float(grad)?;
        let da = (&grad * g.gelu_erf()?)?;
        let dg = ((grad * a)? * gelu_slope(&g)?)?;
        Tensor::cat(&[da, dg], D::Minus1)?.to_dtype(x.dtype())
    }

    fn linear(&self, x: &Tensor, weights: &LinearWeights, residual: Option<&Tensor>) -> Result<Tensor> {
        let mut y = rows(x)?.matmul(&weights.weight.t()?)?;
        if let Some(bias) = &weights.bias {
            y = y.broadcast_add(bias)?;
        }
        let y = shaped_like(&y, x)?;
        residual.map_or(Ok(y.clone()), |residual| y + residual)
    }

    fn linear_backward(&self, weight: &Tensor, grad: &Tensor) -> Result<Tensor> {
        shaped_like(&rows(grad)?.matmul(weight)?, grad)
    }

    fn conv2d(
        &self,
        x: &Tensor,
        weights: &ConvWeights,
        shape: &ConvShape,
        shift: Option<&Tensor>,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let mut x = channels_first(x)?.contiguous()?;
        let mut padding = shape.pad_before;
        if shape.pad_after != padding {
            x = pad(&x, shape.pad_before, (shape.pad_after, shape.pad_after))?;
            padding = 0;
        }
        let y = x.conv2d(&weights.weight, padding, shape.stride, 1, 1)?;
        let bias = match shift {
            Some(shift) => shift.broadcast_add(&weights.bias)?,
            None => weights.bias.unsqueeze(0)?,
        };
        let y = y.broadcast_add(&bias.unsqueeze(2)?.unsqueeze(3)?)?;
        channels_last(&match residual {
            Some(residual) => (y + channels_first(residual)?)?,
            None => y,
        })
    }

    fn conv2d_backward(&self, weight: &Tensor, shape: &ConvShape, grad: &Tensor) -> Result<Tensor> {
        let mut grad = channels_first(grad)?.contiguous()?;
        if shape.stride > 1 {
            grad = dilate(&grad, shape.stride)?;
        }
        let (_, _, h, w) = grad.dims4()?;
        let Some(before) = (shape.kernel - 1).checked_sub(shape.pad_before) else {
            bail!("a convolution with a kernel of {} is padded by {}", shape.kernel, shape.pad_before);
        };
        // What gives a gradient as large as the input.
        let (height, width) = (shape.height + shape.kernel - 1, shape.width + shape.kernel - 1);
        let after = (height.saturating_sub(before + h), width.saturating_sub(before + w));
        let mut padding = before;
        if after != (before, before) {
            grad = pad(&grad, before, after)?.narrow(2, 0, height)?.narrow(3, 0, width)?.contiguous()?;
            padding = 0;
        }
        channels_last(&grad.conv2d(&mirrored(weight)?, padding, 1, 1, 1)?)
    }

    fn group_norm(&self, x: &Tensor, weights: &NormWeights, groups: usize, silu: bool) -> Result<(Tensor, Backward)> {
        let (b, h, w, c) = x.dims4()?;
        let dtype = x.dtype();
        // [B, C, H · W] and [B, groups, C / groups · H · W]: the same memory.
        let (pictures, grouped) = ((b, c, h * w), (b, groups, c / groups * h * w));
        let in_groups = move |x: &Tensor| float(&channels_first(x)?)?.contiguous()?.reshape(grouped);
        let affine = [&weights.gamma, &weights.beta].map(|x| x.reshape((1, c, 1)));
        let [gamma, beta] = affine;
        let (gamma, beta) = (gamma?, beta?);
        let x = x.clone();

        let (centred_x, rstd) = centred(&in_groups(&x)?, weights.eps)?;
        let y = centred_x.broadcast_mul(&rstd)?.reshape(pictures)?.broadcast_mul(&gamma)?.broadcast_add(&beta)?;
        let y = if silu { y.silu()? } else { y };
        let y = channels_last(&y.to_dtype(dtype)?.reshape((b, c, h, w))?)?;

        let eps = weights.eps;
        let backward = move |grad: &Tensor| {
            let (centred_x, rstd) = centred(&in_groups(&x)?, eps)?;
            let normed = centred_x.broadcast_mul(&rstd)?;
            let mut grad = in_groups(grad)?.reshape(pictures)?;
            if silu {
                let before = normed.reshape(pictures)?.broadcast_mul(&gamma)?.broadcast_add(&beta)?;
                grad = (grad * swish_slope(&before, 1.0)?)?;
            }
            let grad = grad.broadcast_mul(&gamma)?.reshape(grouped)?;
            let dx = norm_backward(&normed, &rstd, &grad)?;
            channels_last(&dx.to_dtype(dtype)?.reshape((b, c, h, w))?)
        };
        Ok((y, Box::new(backward)))
    }

    fn layer_norm(&self, x: &Tensor, weights: &NormWeights) -> Result<Tensor> {
        let (centred, rstd) = centred(&float(x)?, weights.eps)?;
        let y = centred.broadcast_mul(&rstd)?.broadcast_mul(&weights.gamma)?.broadcast_add(&weights.beta)?;
        y.to_dtype(x.dtype())
    }

    fn layer_norm_backward(&self, x: &Tensor, weights: &NormWeights, grad: &Tensor) -> Result<Tensor> {
        let (centred, rstd) = centred(&float(x)?, weights.eps)?;
        let grad = float(grad)?.broadcast_mul(&weights.gamma)?;
        norm_backward(&centred.broadcast_mul(&rstd)?, &rstd, &grad)?.to_dtype(x.dtype())
    }

    fn attention(&self, qkv: [Tensor; 3], shape: AttnShape, mask: Option<AttnMask>) -> Result<(Tensor, AttnBackward)> {
        let out = attention::forward(&qkv, &shape, mask.as_ref(), ATTENTION_TILE)?;
        let saved = out.clone();
        let backward =
            move |grad: &Tensor| attention::backward(&qkv, &saved, &shape, mask.as_ref(), grad, ATTENTION_TILE);
        Ok((out, Box::new(backward)))
    }

    fn concat_channels(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        channels_last(&Tensor::cat(&[channels_first(a)?.contiguous()?, channels_first(b)?.contiguous()?], 1)?)
    }

    fn narrow_channels(&self, x: &Tensor, start: usize, n: usize) -> Result<Tensor> {
        x.narrow(D::Minus1, start, n)
    }

    fn upsample2(&self, x: &Tensor) -> Result<Tensor> {
        let (_, h, w, _) = x.dims4()?;
        channels_last(&channels_first(x)?.contiguous()?.upsample_nearest2d(2 * h, 2 * w)?)
    }

    fn upsample2_backward(&self, grad: &Tensor) -> Result<Tensor> {
        channels_last(&channels_first(grad)?.contiguous()?.avg_pool2d(2)?.affine(4.0, 0.0)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::Form;
    use super::*;

    /// Numbers that look random, from -1 to 1.
    pub(super) fn random(shape: &[usize], seed: usize) -> Tensor {
        let numbers: Vec<f32> = (0..shape.iter().product())
            .map(|i: usize| (((i + 1) * (2 * seed + 7919)) as f32 * 0.618_034).sin())
            .collect();
        Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
    }

    fn apart(a: &Tensor, b: &Tensor) -> f32 {
        assert_eq!(a.dims(), b.dims());
        (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
    }

    #[test]
    fn convolutions_of_any_stride_and_padding_are_those_of_the_cpu_kernels() {
        for (side, stride, pad_before, pad_after) in [
            ((6, 5), 1, 1, 1),
            ((6, 8), 2, 1, 1),
            ((7, 5), 2, 1, 1),
            ((6, 8), 2, 0, 1),
            ((7, 9), 2, 0, 1),
            ((5, 5), 1, 0, 0),
        ] {
            let (inner, out, kernel) = (3, 4, 3);
            let shape = ConvShape {
                batch: 2,
                height: side.0,
                width: side.1,
                in_channels: inner,
                out_channels: out,
                kernel,
                stride,
                pad_before,
                pad_after,
            };
            let weight = random(&[out, inner, kernel, kernel], 1);
            let weights = |form: Form| ConvWeights {
                weight: form.conv_kernel(weight.clone()).unwrap(),
                bias: random(&[out], 2),
                kernel,
                stride,
                pad_before,
                pad_after,
                form,
            };
            let x = random(&[2, side.0, side.1, inner], 3);
            let y_dims = [2, shape.out_height(), shape.out_width(), out];
            let (shift, residual, grad) = (random(&[2, out], 4), random(&y_dims, 5), random(&y_dims, 6));
            let [one, other] = [Form::Kernels, Form::Tensors].map(|form| {
                let (weights, computation) = (weights(form), form.computation());
                let y = computation.conv2d(&x, &weights, &shape, Some(&shift), Some(&residual)).unwrap();
                (y, computation.conv2d_backward(&weights.weight, &shape, &grad).unwrap())
            });
            assert!(apart(&one.0, &other.0) < 1e-5, "{shape:?}: {}", apart(&one.0, &other.0));
            assert!(apart(&one.1, &other.1) < 1e-5, "{shape:?} backward: {}", apart(&one.1, &other.1));
        }
    }

    #[test]
    fn activations_and_their_slopes_are_those_of_the_cpu_kernels() {
        let (x, grad) = (random(&[3, 40], 1).affine(6.0, 0.0).unwrap(), random(&[3, 40], 2));
        let half = random(&[3, 20], 3);
        let [kernels, tensors] = [Form::Kernels, Form::Tensors].map(Form::computation);
        for kind in [Activation::Silu, Activation::QuickGelu, Activation::Gelu] {
            assert!(apart(&kernels.activate(kind, &x).unwrap(), &tensors.activate(kind, &x).unwrap()) < 2e-6);
            let slopes = [kernels, tensors].map(|form| form.activate_backward(kind, &x, &grad).unwrap());
            assert!(apart(&slopes[0], &slopes[1]) < 2e-6, "{kind:?}");
        }
        let slopes = [kernels, tensors].map(|form| form.geglu_backward(&x, &half).unwrap());
        assert!(apart(&slopes[0], &slopes[1]) < 1e-5);
    }
}
