//! Activations and sums, number by number.

use super::math::{erf, exp, sigmoid};
use super::{for_rows, simd};

/// The activation functions of the models, by the names of their configs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// x · σ(x)
    Silu,
    /// x · σ(1.702 x), of the first CLIP
    QuickGelu,
    /// x · Φ(x), with the exact error function
    Gelu,
}

const QUICK: f32 = 1.702;
/// 1/√(2π)
const GAUSS: f32 = 0.398_942_3;

impl Activation {
    #[inline(always)]
    pub(crate) fn value(self, x: f32) -> f32 {
        match self {
            Self::Silu => x * sigmoid(x),
            Self::QuickGelu => x * sigmoid(QUICK * x),
            Self::Gelu => x * phi(x),
        }
    }

    #[inline(always)]
    pub(crate) fn slope(self, x: f32) -> f32 {
        match self {
            Self::Silu => {
                let s = sigmoid(x);
                s * (1.0 + x * (1.0 - s))
            }
            Self::QuickGelu => {
                let s = sigmoid(QUICK * x);
                s * (1.0 + QUICK * x * (1.0 - s))
            }
            Self::Gelu => gelu_slope(x),
        }
    }
}

/// Φ(x), the normal distribution function.
#[inline(always)]
fn phi(x: f32) -> f32 {
    0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

#[inline(always)]
fn gelu_slope(x: f32) -> f32 {
    phi(x) + x * GAUSS * exp(-0.5 * x * x)
}

/// y = f(x)
pub(crate) fn activate(activation: Activation, x: &[f32]) -> Vec<f32> {
    let mut y = vec![0f32; x.len()];
    for_rows(&mut y, 1, |first, y| {
        let x = &x[first..first + y.len()];
        macro_rules! run {
            ($a:expr) => {
                simd(
                    #[inline(always)]
                    || y.iter_mut().zip(x).for_each(|(y, &x)| *y = $a.value(x)),
                )
            };
        }
        match activation {
            Activation::Silu => run!(Activation::Silu),
            Activation::QuickGelu => run!(Activation::QuickGelu),
            Activation::Gelu => run!(Activation::Gelu),
        }
    });
    y
}

/// dx = dy · f'(x)
pub(crate) fn activate_backward(activation: Activation, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let mut dx = dy.to_vec();
    for_rows(&mut dx, 1, |first, dx| {
        let x = &x[first..first + dx.len()];
        macro_rules! run {
            ($a:expr) => {
                simd(
                    #[inline(always)]
                    || dx.iter_mut().zip(x).for_each(|(d, &x)| *d *= $a.slope(x)),
                )
            };
        }
        match activation {
            Activation::Silu => run!(Activation::Silu),
            Activation::QuickGelu => run!(Activation::QuickGelu),
            Activation::Gelu => run!(Activation::Gelu),
        }
    });
    dx
}

/// GEGLU (Shazeer 2020, arXiv 2002.05202): x is rows of [a | g], y = a · gelu(g).
pub(crate) fn geglu(x: &[f32], half: usize) -> Vec<f32> {
    let mut y = vec![0f32; x.len() / 2];
    for_rows(&mut y, half, |first, y| {
        let x = &x[first * 2 * half..];
        simd(
            #[inline(always)]
            || {
                for (y, x) in y.chunks_exact_mut(half).zip(x.chunks_exact(2 * half)) {
                    let (a, g) = x.split_at(half);
                    for ((y, &a), &g) in y.iter_mut().zip(a).zip(g) {
                        *y = a * (g * phi(g));
                    }
                }
            },
        );
    });
    y
}

/// Gradient of [`geglu`]: rows of [da | dg].
pub(crate) fn geglu_backward(x: &[f32], dy: &[f32], half: usize) -> Vec<f32> {
    let mut dx = vec![0f32; x.len()];
    for_rows(&mut dx, 2 * half, |first, dx| {
        let (x, dy) = (&x[first * 2 * half..], &dy[first * half..]);
        simd(
            #[inline(always)]
            || {
                let rows = dx.chunks_exact_mut(2 * half).zip(x.chunks_exact(2 * half)).zip(dy.chunks_exact(half));
                for ((dx, x), dy) in rows {
                    let (a, g) = x.split_at(half);
                    let (da, dg) = dx.split_at_mut(half);
                    for i in 0..half {
                        da[i] = dy[i] * (g[i] * phi(g[i]));
                        dg[i] = dy[i] * a[i] * gelu_slope(g[i]);
                    }
                }
            },
        );
    });
    dx
}

/// a + b
pub(crate) fn add(a: &[f32], b: &[f32]) -> Vec<f32> {
    let mut y = a.to_vec();
    for_rows(&mut y, 1, |first, y| {
        let b = &b[first..first + y.len()];
        simd(
            #[inline(always)]
            || y.iter_mut().zip(b).for_each(|(y, &b)| *y += b),
        );
    });
    y
}
