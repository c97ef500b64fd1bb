//! 2-d convolution, channels last, with frozen weights: patches are laid out as rows (im2col) a slab at a time, so that
//! one slab stays in cache and memory stays bounded, then multiplied. The weight is [out, kh · kw · in], and serves both
//! directions as it is.

use super::gemm::{Mat, gemm};
use super::{for_rows, simd};

/// Sizes of a convolution: x is [batch, height, width, in], y is [batch, out_height, out_width, out].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConvShape {
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub in_channels: usize,
    pub out_channels: usize,
    pub kernel: usize,
    pub stride: usize,
    /// Zeros before the first row and column.
    pub pad_before: usize,
    /// Zeros after the last row and column.
    pub pad_after: usize,
}

/// Numbers in one slab of patches (16 MiB).
const SLAB: usize = 1 << 22;

impl ConvShape {
    pub fn out_height(&self) -> usize {
        (self.height + self.pad_before + self.pad_after - self.kernel) / self.stride + 1
    }

    pub fn out_width(&self) -> usize {
        (self.width + self.pad_before + self.pad_after - self.kernel) / self.stride + 1
    }

    fn patch(&self) -> usize {
        self.kernel * self.kernel * self.in_channels
    }

    /// Output rows (one row of one picture) a slab.
    fn rows_a_slab(&self) -> usize {
        (SLAB / (self.patch() * self.out_width())).max(1)
    }

    /// Numbers in the patches that are laid out at once.
    pub fn scratch(&self) -> usize {
        let rows = self.rows_a_slab().min(self.batch * self.out_height());
        if self.is_pointwise() { 0 } else { rows * self.out_width() * self.patch() }
    }

    /// Whether the patches are the pixels themselves.
    fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.pad_before == 0 && self.pad_after == 0
    }

    /// For kernel row `ky` of output row `oy`: the input row, if it is not padding.
    fn input_row(&self, oy: usize, ky: usize) -> Option<usize> {
        (oy * self.stride + ky).checked_sub(self.pad_before).filter(|&y| y < self.height)
    }

    /// For output column `ox`: (first kernel column inside the picture, first input column, columns).
    fn input_run(&self, ox: usize) -> (usize, usize, usize) {
        let start = (ox * self.stride) as isize - self.pad_before as isize;
        let first = (-start).max(0);
        let last = (self.width as isize - start).min(self.kernel as isize);
        ((first as usize).min(self.kernel), (start + first).max(0) as usize, (last - first).max(0) as usize)
    }
}

/// Patches of the output rows from `first` on (rows counted over the whole batch).
fn im2col(x: &[f32], shape: &ConvShape, first: usize, columns: &mut [f32]) {
    let (c, k, patch) = (shape.in_channels, shape.kernel, shape.patch());
    let (out_h, out_w) = (shape.out_height(), shape.out_width());
    for_rows(columns, patch * out_w, |row, columns| {
        for (i, columns) in columns.chunks_exact_mut(patch * out_w).enumerate() {
            let (b, oy) = ((first + row + i) / out_h, (first + row + i) % out_h);
            for (ox, column) in columns.chunks_exact_mut(patch).enumerate() {
                let (kx, ix, n) = shape.input_run(ox);
                for (ky, part) in column.chunks_exact_mut(k * c).enumerate() {
                    if let Some(iy) = shape.input_row(oy, ky) {
                        let from = ((b * shape.height + iy) * shape.width + ix) * c;
                        part[..kx * c].fill(0.0);
                        part[kx * c..(kx + n) * c].copy_from_slice(&x[from..from + n * c]);
                        part[(kx + n) * c..].fill(0.0);
                    } else {
                        part.fill(0.0);
                    }
                }
            }
        }
    });
}

/// y = conv(x) + bias, where `bias` is `[out]` or, one a picture, `[batch, out]`; `residual` (like y) is added where given.
pub(crate) fn conv2d_forward(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    residual: Option<&[f32]>,
    shape: &ConvShape,
) -> Vec<f32> {
    let (out, patch) = (shape.out_channels, shape.patch());
    let picture = shape.out_height() * shape.out_width();
    let mut y = match residual {
        Some(residual) => residual.to_vec(),
        None => vec![0f32; shape.batch * picture * out],
    };
    for_rows(&mut y, out, |first, y| {
        simd(
            #[inline(always)]
            || {
                for (i, y) in y.chunks_exact_mut(out).enumerate() {
                    let b = if bias.len() == out { 0 } else { (first + i) / picture };
                    y.iter_mut().zip(&bias[b * out..(b + 1) * out]).for_each(|(y, &b)| *y += b);
                }
            },
        );
    });
    let weight = Mat::new(weight, out, patch).t();
    if shape.is_pointwise() {
        gemm(&mut y, out, true, Mat::new(x, shape.batch * picture, patch), weight, 1.0, true);
        return y;
    }
    let rows_each = shape.rows_a_slab();
    let mut columns = vec![0f32; rows_each.min(shape.batch * shape.out_height()) * shape.out_width() * patch];
    for (slab, y) in y.chunks_mut(rows_each * shape.out_width() * out).enumerate() {
        let pixels = y.len() / out;
        let columns = &mut columns[..pixels * patch];
        im2col(x, shape, slab * rows_each, columns);
        gemm(y, out, true, Mat::new(columns, pixels, patch), weight, 1.0, true);
    }
    y
}

/// Gradient of [`conv2d_forward`] with respect to x: a convolution of `dy` with the flipped kernel (stride 1), or the
/// scattered product (other strides).
pub(crate) fn conv2d_backward(dy: &[f32], weight: &[f32], flipped: &[f32], shape: &ConvShape) -> Vec<f32> {
    let (c, out, patch) = (shape.in_channels, shape.out_channels, shape.patch());
    if shape.stride == 1 {
        let back = ConvShape {
            height: shape.out_height(),
            width: shape.out_width(),
            in_channels: out,
            out_channels: c,
            pad_before: shape.kernel - 1 - shape.pad_before,
            pad_after: shape.kernel - 1 - shape.pad_after,
            ..*shape
        };
        return conv2d_forward(dy, flipped, &vec![0f32; c], None, &back);
    }
    let (out_h, out_w) = (shape.out_height(), shape.out_width());
    let mut dx = vec![0f32; shape.batch * shape.height * shape.width * c];
    let mut columns = vec![0f32; out_h * out_w * patch];
    let pictures = dx.chunks_exact_mut(shape.height * shape.width * c).zip(dy.chunks_exact(out_h * out_w * out));
    for (dx, dy) in pictures {
        gemm(&mut columns, patch, false, Mat::new(dy, out_h * out_w, out), Mat::new(weight, out, patch), 1.0, true);
        for (pixel, column) in columns.chunks_exact(patch).enumerate() {
            let (oy, ox) = (pixel / out_w, pixel % out_w);
            let (kx, ix, n) = shape.input_run(ox);
            for (ky, part) in column.chunks_exact(shape.kernel * c).enumerate() {
                if let Some(iy) = shape.input_row(oy, ky) {
                    let to = (iy * shape.width + ix) * c;
                    let from = &part[kx * c..(kx + n) * c];
                    dx[to..to + n * c].iter_mut().zip(from).for_each(|(d, &f)| *d += f);
                }
            }
        }
    }
    dx
}

/// [out, k, k, in] → [in, k, k, out] turned by 180°: the kernel of the backward convolution.
pub(crate) fn flip_kernel(weight: &[f32], out: usize, kernel: usize, c: usize) -> Vec<f32> {
    let taps = kernel * kernel;
    let mut flipped = vec![0f32; weight.len()];
    for o in 0..out {
        for tap in 0..taps {
            for i in 0..c {
                flipped[(i * taps + (taps - 1 - tap)) * out + o] = weight[(o * taps + tap) * c + i];
            }
        }
    }
    flipped
}
