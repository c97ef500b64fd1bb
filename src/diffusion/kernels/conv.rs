//! 2-d convolution, channels last, with frozen weights [out, kh · kw · in] that serve both directions as they are.
//!
//! In wide pictures nothing is laid out: with a border of zeros, the pixels under one row of the kernel follow one another
//! in memory, so a matrix whose rows overlap is multiplied in place, once for each row (forward) or tap (backward) of the
//! kernel. Where a line of pixels ends, that computes a few sums of no meaning, which are left out; in narrow pictures
//! they would be too many, and patches are laid out as rows (im2col). All of it a slab at a time: memory stays bounded.

use super::gemm::{Mat, gemm, multiply_by_weight};
use super::{for_rows, simd, with_scratch};

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

/// From this width on, what is computed in vain (kernel - 1 sums a line) costs less than laying patches out.
const WIDE: usize = 24;

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

    /// Whether matrices with overlapping rows pay.
    fn is_wide(&self) -> bool {
        self.stride == 1 && self.kernel > 1 && self.out_width() >= WIDE && self.width >= WIDE
    }

    /// Numbers beside input and output that a convolution holds at once.
    pub fn scratch(&self) -> usize {
        if self.is_pointwise() {
            return 0;
        }
        if self.is_wide() {
            let lines = self.lines_a_slab();
            return ((lines + self.kernel - 1) * self.in_channels + lines * self.out_channels) * self.bordered_width();
        }
        self.rows_a_slab().min(self.batch * self.out_height()) * self.out_width() * self.patch()
    }

    /// Pixels in a line with the border that its outputs read.
    fn bordered_width(&self) -> usize {
        self.out_width() + self.kernel - 1
    }

    /// Output lines a slab of overlapping rows.
    fn lines_a_slab(&self) -> usize {
        (SLAB / (self.bordered_width() * self.in_channels.max(self.out_channels))).clamp(1, self.out_height())
    }

    /// With stride 1, the convolution that takes gradients back: from y to x.
    fn turned(&self) -> Self {
        Self {
            height: self.out_height(),
            width: self.out_width(),
            in_channels: self.out_channels,
            out_channels: self.in_channels,
            pad_before: self.kernel - 1 - self.pad_before,
            pad_after: self.kernel - 1 - self.pad_after,
            ..*self
        }
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

/// A convolution of stride 1 by products with overlapping rows of a bordered copy of `x`, a slab of output lines at a
/// time. `multiply(bordered, wide)` writes `wide`, whose lines are as wide as the lines of `bordered`;
/// `finish(first pixel, wide line, y line)` takes the part with a meaning over.
fn overlapping(
    x: &[f32],
    y: &mut [f32],
    shape: &ConvShape,
    multiply: impl Fn(&[f32], &mut [f32]),
    finish: impl Fn(usize, &[f32], &mut [f32]) + Sync,
) {
    let (c, out, border) = (shape.in_channels, shape.out_channels, shape.kernel - 1);
    let (out_height, out_width, width) = (shape.out_height(), shape.out_width(), shape.bordered_width());
    let lines_each = shape.lines_a_slab();
    let bordered_each = (lines_each + border) * width * c;
    with_scratch(bordered_each + lines_each * width * out, |scratch| {
        let (bordered, wide) = scratch.split_at_mut(bordered_each);
        for (b, first) in (0..shape.batch).flat_map(|b| (0..out_height).step_by(lines_each).map(move |y| (b, y))) {
            let lines = lines_each.min(out_height - first);
            let bordered = &mut bordered[..(lines + border) * width * c];
            copy_with_border(x, shape, b, first, bordered);
            let wide = &mut wide[..lines * width * out];
            multiply(bordered, wide);
            let start = (b * out_height + first) * out_width;
            for_rows(&mut y[start * out..(start + lines * out_width) * out], out_width * out, |line, y| {
                let wide = wide[line * width * out..].chunks(width * out);
                for (i, (y, wide)) in y.chunks_exact_mut(out_width * out).zip(wide).enumerate() {
                    finish(start + (line + i) * out_width, &wide[..out_width * out], y);
                }
            });
        }
    });
}

/// The lines of picture `b` that output lines from `first` on read, with zeros around the picture.
fn copy_with_border(x: &[f32], shape: &ConvShape, b: usize, first: usize, bordered: &mut [f32]) {
    let (c, width) = (shape.in_channels, shape.bordered_width());
    let inside = shape.pad_before * c..(shape.pad_before + shape.width).min(width) * c;
    for_rows(bordered, width * c, |line, bordered| {
        for (i, bordered) in bordered.chunks_exact_mut(width * c).enumerate() {
            match shape.input_row(first + line + i, 0) {
                Some(y) => {
                    let from = (b * shape.height + y) * shape.width * c;
                    bordered[..inside.start].fill(0.0);
                    bordered[inside.clone()].copy_from_slice(&x[from..from + inside.len()]);
                    bordered[inside.end..].fill(0.0);
                }
                None => bordered.fill(0.0),
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
    if shape.is_wide() {
        forward_overlapping(x, weight, bias, residual, shape)
    } else {
        forward_by_patches(x, weight, bias, residual, shape)
    }
}

/// The bias of picture `b`.
fn bias_of(bias: &[f32], b: usize, out: usize) -> &[f32] {
    if bias.len() == out { bias } else { &bias[b * out..(b + 1) * out] }
}

fn forward_overlapping(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    residual: Option<&[f32]>,
    shape: &ConvShape,
) -> Vec<f32> {
    let (c, k, out) = (shape.in_channels, shape.kernel, shape.out_channels);
    let pixels = shape.out_height() * shape.out_width();
    let mut y = vec![0f32; shape.batch * pixels * out];
    let width = shape.bordered_width();
    overlapping(
        x,
        &mut y,
        shape,
        |bordered, wide| {
            let rows = wide.len() / out + 1 - k;
            for ky in 0..k {
                let patches = Mat { cols: k * c, ..Mat::strided(&bordered[ky * width * c..], rows, c, c) };
                let weight = Mat::strided(&weight[ky * k * c..], out, k * c, shape.patch());
                gemm(wide, out, ky > 0, patches, weight.t(), 1.0, true);
            }
        },
        |first, wide, y| {
            let bias = bias_of(bias, first / pixels, out);
            simd(
                #[inline(always)]
                || match residual {
                    None => {
                        for (y, wide) in y.chunks_exact_mut(out).zip(wide.chunks_exact(out)) {
                            for i in 0..out {
                                y[i] = wide[i] + bias[i];
                            }
                        }
                    }
                    Some(residual) => {
                        let residual = residual[first * out..].chunks_exact(out);
                        for ((y, wide), residual) in y.chunks_exact_mut(out).zip(wide.chunks_exact(out)).zip(residual) {
                            for i in 0..out {
                                y[i] = wide[i] + (residual[i] + bias[i]);
                            }
                        }
                    }
                },
            );
        },
    );
    y
}

fn forward_by_patches(
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
                    y.iter_mut().zip(bias_of(bias, (first + i) / picture, out)).for_each(|(y, &b)| *y += b);
                }
            },
        );
    });
    if shape.is_pointwise() {
        multiply_by_weight(&mut y, true, Mat::new(x, shape.batch * picture, patch), weight, out);
        return y;
    }
    let rows_each = shape.rows_a_slab();
    with_scratch(rows_each.min(shape.batch * shape.out_height()) * shape.out_width() * patch, |columns| {
        for (slab, y) in y.chunks_mut(rows_each * shape.out_width() * out).enumerate() {
            let pixels = y.len() / out;
            let columns = &mut columns[..pixels * patch];
            im2col(x, shape, slab * rows_each, columns);
            multiply_by_weight(y, true, Mat::new(columns, pixels, patch), weight, out);
        }
    });
    y
}

/// Gradient of [`conv2d_forward`] with respect to x. With stride 1 each tap of the kernel adds its product of the shifted
/// `dy`, with the weight as it is; with other strides the patches' gradients are scattered.
pub(crate) fn conv2d_backward(dy: &[f32], weight: &[f32], shape: &ConvShape) -> Vec<f32> {
    match shape {
        _ if shape.is_wide() => backward_overlapping(dy, weight, shape),
        ConvShape { stride: 1, .. } => backward_by_taps(dy, weight, shape),
        _ => backward_by_scattering(dy, weight, shape),
    }
}

fn backward_overlapping(dy: &[f32], weight: &[f32], shape: &ConvShape) -> Vec<f32> {
    let (c, k, out) = (shape.in_channels, shape.kernel, shape.out_channels);
    let mut dx = vec![0f32; shape.batch * shape.height * shape.width * c];
    let back = shape.turned();
    let width = back.bordered_width();
    overlapping(
        dy,
        &mut dx,
        &back,
        |bordered, wide| {
            let rows = wide.len() / c + 1 - k;
            for tap in 0..k * k {
                // The first tap of the kernel came from the pixel after, the last from the pixel before.
                let (ky, kx) = (k - 1 - tap / k, k - 1 - tap % k);
                let shifted = Mat::new(&bordered[(ky * width + kx) * out..], rows, out);
                let weight = Mat::strided(&weight[tap * c..], out, c, shape.patch());
                gemm(wide, c, tap > 0, shifted, weight, 1.0, true);
            }
        },
        |_, wide, dx| dx.copy_from_slice(wide),
    );
    dx
}

fn backward_by_taps(dy: &[f32], weight: &[f32], shape: &ConvShape) -> Vec<f32> {
    let (c, out, width) = (shape.in_channels, shape.out_channels, shape.width);
    let mut dx = vec![0f32; shape.batch * shape.height * width * c];
    let rows_each = (SHIFTED / (out * width)).max(1);
    with_scratch(rows_each.min(shape.batch * shape.height) * width * out, |shifted| {
        for (slab, dx) in dx.chunks_mut(rows_each * width * c).enumerate() {
            let pixels = dx.len() / c;
            let shifted = &mut shifted[..pixels * out];
            for tap in 0..shape.kernel * shape.kernel {
                shift(dy, shape, tap, slab * rows_each, shifted);
                let weight = Mat::strided(&weight[tap * c..], out, c, shape.patch());
                gemm(dx, c, tap > 0, Mat::new(shifted, pixels, out), weight, 1.0, true);
            }
        }
    });
    dx
}

/// Numbers of `dy` that are shifted at a time (4 MiB).
const SHIFTED: usize = 1 << 20;

/// For the input rows from `first` on (counted over the batch): the `dy` of the pixel that `tap` took this pixel into.
fn shift(dy: &[f32], shape: &ConvShape, tap: usize, first: usize, shifted: &mut [f32]) {
    let (out, out_h, out_w) = (shape.out_channels, shape.out_height(), shape.out_width());
    let (ky, kx) = (tap / shape.kernel, tap % shape.kernel);
    // Output pixel (y + pad - ky, x + pad - kx) read input pixel (y, x) with this tap.
    let begin = kx.saturating_sub(shape.pad_before).min(shape.width);
    let end = (out_w + kx).saturating_sub(shape.pad_before).min(shape.width).max(begin);
    for_rows(shifted, shape.width * out, |row, shifted| {
        for (i, line) in shifted.chunks_exact_mut(shape.width * out).enumerate() {
            let (b, y) = ((first + row + i) / shape.height, (first + row + i) % shape.height);
            match (y + shape.pad_before).checked_sub(ky).filter(|&oy| oy < out_h) {
                Some(oy) => {
                    let from = ((b * out_h + oy) * out_w + begin + shape.pad_before - kx) * out;
                    line[..begin * out].fill(0.0);
                    line[begin * out..end * out].copy_from_slice(&dy[from..from + (end - begin) * out]);
                    line[end * out..].fill(0.0);
                }
                None => line.fill(0.0),
            }
        }
    });
}

fn backward_by_scattering(dy: &[f32], weight: &[f32], shape: &ConvShape) -> Vec<f32> {
    let (c, out, patch) = (shape.in_channels, shape.out_channels, shape.patch());
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ConvShape, WIDE, conv2d_backward, conv2d_forward};

    /// Numbers that look random.
    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 1009.0 - 0.5).collect()
    }

    /// Calls `f(pixel of y, pixel of x, tap)` for every product of a convolution.
    fn products(s: &ConvShape, mut f: impl FnMut(usize, usize, usize)) {
        for b in 0..s.batch {
            for (oy, ox) in (0..s.out_height()).flat_map(|y| (0..s.out_width()).map(move |x| (y, x))) {
                for tap in 0..s.kernel * s.kernel {
                    let y = (oy * s.stride + tap / s.kernel).checked_sub(s.pad_before).filter(|&y| y < s.height);
                    let x = (ox * s.stride + tap % s.kernel).checked_sub(s.pad_before).filter(|&x| x < s.width);
                    if let (Some(y), Some(x)) = (y, x) {
                        let of_y = (b * s.out_height() + oy) * s.out_width() + ox;
                        f(of_y, (b * s.height + y) * s.width + x, tap);
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        /// Narrow and wide pictures, all strides and paddings: the definition, both ways.
        #[test]
        fn a_convolution_is_its_definition(
            batch in 1usize..3, height in 3usize..9, wide: bool, extra in 0usize..4, c in 1usize..6, out in 1usize..6,
            kernel in prop::sample::select(vec![1usize, 3]), stride in 1usize..3, pad_before in 0usize..2,
            pad_after in 0usize..2, with_residual: bool,
        ) {
            let width = if wide { WIDE + 2 } else { 3 } + extra;
            let (pad_before, pad_after) = if kernel == 1 { (0, 0) } else { (pad_before, pad_after) };
            let shape = ConvShape {
                batch, height, width, in_channels: c, out_channels: out, kernel, stride, pad_before, pad_after,
            };
            let y_len = batch * shape.out_height() * shape.out_width() * out;
            let (x, weight) = (numbers(batch * height * width * c, 1), numbers(out * kernel * kernel * c, 2));
            let (bias, residual, dy) = (numbers(batch * out, 3), numbers(y_len, 4), numbers(y_len, 5));
            let picture = shape.out_height() * shape.out_width();
            let mut y: Vec<f32> = (0..y_len).map(|i| bias[i / out / picture * out + i % out]).collect();
            if with_residual {
                y.iter_mut().zip(&residual).for_each(|(y, r)| *y += r);
            }
            let mut dx = vec![0f32; x.len()];
            products(&shape, |py, px, tap| {
                for (o, i) in (0..out).flat_map(|o| (0..c).map(move |i| (o, i))) {
                    let w = weight[(o * kernel * kernel + tap) * c + i];
                    y[py * out + o] += x[px * c + i] * w;
                    dx[px * c + i] += dy[py * out + o] * w;
                }
            });
            let close = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
            let got = conv2d_forward(&x, &weight, &bias, with_residual.then_some(&residual[..]), &shape);
            prop_assert!(close(&got, &y), "forward {shape:?}");
            prop_assert!(close(&conv2d_backward(&dy, &weight, &shape), &dx), "backward {shape:?}");
        }
    }
}
