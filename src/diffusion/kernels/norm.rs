//! Layer norm (Ba et al. 2016) over rows, and group norm (Wu and He 2018) over channels-last pictures with the SiLU
//! that follows it in every residual block.

use rayon::prelude::*;

use super::math::sum_by;
use super::pointwise::Activation;
use super::{for_rows, simd};

/// Sizes of a group norm: x is [B, pixels, channels].
#[derive(Debug, Clone, Copy)]
pub(crate) struct NormShape {
    pub pixels: usize,
    pub channels: usize,
    pub groups: usize,
}

/// Mean and 1/σ of each (picture, group).
pub(crate) struct GroupStats(Vec<(f32, f32)>);

/// Rows summed in float32 before they join a float64 sum: keeps 1e-7 accuracy on the largest pictures.
const ROWS_A_BLOCK: usize = 64;
/// Rows a task sums. Fixed, so that the sums do not depend on the number of threads.
const ROWS_A_TASK: usize = 512;

/// Per-channel sums over the rows of a picture, in float64: `add(rows, sums)` adds up a few rows in float32. Each of `N`
/// quantities has `channels` sums.
fn channel_sums<const N: usize>(
    pixels: usize,
    channels: usize,
    add: impl Fn(std::ops::Range<usize>, &mut [Vec<f32>; N]) + Sync,
) -> [Vec<f64>; N] {
    let task = |first: usize| {
        let mut total: [Vec<f64>; N] = std::array::from_fn(|_| vec![0f64; channels]);
        let mut block: [Vec<f32>; N] = std::array::from_fn(|_| vec![0f32; channels]);
        let last = pixels.min(first + ROWS_A_TASK);
        for start in (first..last).step_by(ROWS_A_BLOCK) {
            block.iter_mut().for_each(|b| b.fill(0.0));
            add(start..last.min(start + ROWS_A_BLOCK), &mut block);
            for (total, block) in total.iter_mut().zip(&block) {
                total.iter_mut().zip(block).for_each(|(t, &b)| *t += f64::from(b));
            }
        }
        total
    };
    let firsts: Vec<usize> = (0..pixels).step_by(ROWS_A_TASK).collect();
    let parts: Vec<_> = if firsts.len() > 1 {
        firsts.into_par_iter().map(task).collect()
    } else {
        firsts.into_iter().map(task).collect()
    };
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_else(|| std::array::from_fn(|_| vec![0f64; channels]));
    for part in parts {
        for (total, part) in total.iter_mut().zip(&part) {
            total.iter_mut().zip(part).for_each(|(t, &p)| *t += p);
        }
    }
    total
}

fn group_totals(per_channel: &[f64], groups: usize) -> Vec<f64> {
    per_channel.chunks_exact(per_channel.len() / groups).map(|g| g.iter().sum()).collect()
}

/// `f(picture, its part of y)` for every picture, side by side where that is worth it.
fn for_pictures<R: Send>(y: &mut [f32], picture: usize, f: impl Fn(usize, &mut [f32]) -> R + Sync + Send) -> Vec<R> {
    let alike = 1.max((1 << 15) / picture.max(1));
    y.par_chunks_mut(picture).enumerate().with_min_len(alike).map(|(b, y)| f(b, y)).collect()
}

/// y = γ (x - mean) / σ + β, then SiLU where asked.
pub(crate) fn group_norm_forward(
    x: &[f32],
    shape: NormShape,
    gamma: &[f32],
    beta: &[f32],
    eps: f64,
    silu: bool,
) -> (Vec<f32>, GroupStats) {
    let NormShape { pixels, channels, groups, .. } = shape;
    let each = channels / groups;
    let n = (pixels * each) as f64;
    let mut y = vec![0f32; x.len()];
    let stats = for_pictures(&mut y, pixels * channels, |b, y| {
        let x = &x[b * pixels * channels..][..pixels * channels];
        let rows =
            |range: std::ops::Range<usize>| x[range.start * channels..range.end * channels].chunks_exact(channels);
        let [sums] = channel_sums(pixels, channels, |range, [sums]| {
            simd(
                #[inline(always)]
                || rows(range).for_each(|row| sums.iter_mut().zip(row).for_each(|(s, &x)| *s += x)),
            );
        });
        let means: Vec<f64> = group_totals(&sums, groups).into_iter().map(|sum| sum / n).collect();
        let centre: Vec<f32> = (0..channels).map(|c| means[c / each] as f32).collect();
        let [squares] = channel_sums(pixels, channels, |range, [sums]| {
            simd(
                #[inline(always)]
                || {
                    for row in rows(range) {
                        for ((sum, x), centre) in sums.iter_mut().zip(row).zip(&centre) {
                            *sum += (x - centre) * (x - centre);
                        }
                    }
                },
            );
        });
        let rstd: Vec<f32> =
            group_totals(&squares, groups).into_iter().map(|sum| (1.0 / (sum / n + eps).sqrt()) as f32).collect();
        let scale: Vec<f32> = (0..channels).map(|c| gamma[c] * rstd[c / each]).collect();
        for_rows(y, channels, |first, y| {
            simd(
                #[inline(always)]
                || {
                    let (centre, scale, beta) = (&centre[..channels], &scale[..channels], &beta[..channels]);
                    for (y, x) in y.chunks_exact_mut(channels).zip(x[first * channels..].chunks_exact(channels)) {
                        for c in 0..channels {
                            y[c] = (x[c] - centre[c]) * scale[c] + beta[c];
                        }
                        if silu {
                            for y in y.iter_mut() {
                                *y = Activation::Silu.value(*y);
                            }
                        }
                    }
                },
            );
        });
        means.into_iter().map(|m| m as f32).zip(rstd).collect::<Vec<_>>()
    });
    (y, GroupStats(stats.concat()))
}

/// Gradient of [`group_norm_forward`] with respect to x.
pub(crate) fn group_norm_backward(
    x: &[f32],
    dy: &[f32],
    shape: NormShape,
    gamma: &[f32],
    beta: &[f32],
    stats: &GroupStats,
    silu: bool,
) -> Vec<f32> {
    let NormShape { pixels, channels, groups, .. } = shape;
    let each = channels / groups;
    let n = (pixels * each) as f64;
    let picture = pixels * channels;
    let mut dx = vec![0f32; dy.len()];
    for_pictures(&mut dx, picture, |b, dx| {
        let (x, dy) = (&x[b * picture..][..picture], &dy[b * picture..][..picture]);
        let stats = &stats.0[b * groups..(b + 1) * groups];
        let centre: Vec<f32> = (0..channels).map(|c| stats[c / each].0).collect();
        let rstd: Vec<f32> = (0..channels).map(|c| stats[c / each].1).collect();
        // dx becomes dy · silu'(y) · γ, the gradient of the normalised value.
        for_rows(dx, channels, |first, dx| {
            let (x, dy) = (&x[first * channels..], &dy[first * channels..]);
            simd(
                #[inline(always)]
                || {
                    let (centre, rstd) = (&centre[..channels], &rstd[..channels]);
                    let (gamma, beta) = (&gamma[..channels], &beta[..channels]);
                    let rows =
                        dx.chunks_exact_mut(channels).zip(x.chunks_exact(channels)).zip(dy.chunks_exact(channels));
                    for ((dx, x), dy) in rows {
                        for c in 0..channels {
                            dx[c] = dy[c] * gamma[c];
                        }
                        if silu {
                            for c in 0..channels {
                                let normalised = (x[c] - centre[c]) * rstd[c];
                                dx[c] *= Activation::Silu.slope(normalised * gamma[c] + beta[c]);
                            }
                        }
                    }
                },
            );
        });
        let [sum_g, sum_gx] = channel_sums(pixels, channels, |range, [sum_g, sum_gx]| {
            let part = range.start * channels..range.end * channels;
            simd(
                #[inline(always)]
                || {
                    let (centre, rstd) = (&centre[..channels], &rstd[..channels]);
                    let (sum_g, sum_gx) = (&mut sum_g[..channels], &mut sum_gx[..channels]);
                    for (g, x) in dx[part.clone()].chunks_exact(channels).zip(x[part.clone()].chunks_exact(channels)) {
                        for c in 0..channels {
                            sum_g[c] += g[c];
                            sum_gx[c] += g[c] * ((x[c] - centre[c]) * rstd[c]);
                        }
                    }
                },
            );
        });
        let mean_of = |sums: &[f64]| -> Vec<f32> {
            let totals = group_totals(sums, groups);
            (0..channels).map(|c| (totals[c / each] / n) as f32).collect()
        };
        let (mean_g, mean_gx) = (mean_of(&sum_g), mean_of(&sum_gx));
        for_rows(dx, channels, |first, dx| {
            simd(
                #[inline(always)]
                || {
                    let (centre, rstd) = (&centre[..channels], &rstd[..channels]);
                    let (mean_g, mean_gx) = (&mean_g[..channels], &mean_gx[..channels]);
                    for (dx, x) in dx.chunks_exact_mut(channels).zip(x[first * channels..].chunks_exact(channels)) {
                        for c in 0..channels {
                            let normalised = (x[c] - centre[c]) * rstd[c];
                            dx[c] = (dx[c] - mean_g[c] - normalised * mean_gx[c]) * rstd[c];
                        }
                    }
                },
            );
        });
    });
    dx
}

#[inline(always)]
fn row_stats(x: &[f32], eps: f32) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = sum_by(x.len(), |i| x[i]) / n;
    let variance = sum_by(x.len(), |i| (x[i] - mean) * (x[i] - mean)) / n;
    (mean, 1.0 / (variance + eps).sqrt())
}

/// y = γ (x - mean) / σ + β over rows of γ's length.
pub(crate) fn layer_norm_forward(x: &[f32], gamma: &[f32], beta: &[f32], eps: f32) -> Vec<f32> {
    let width = gamma.len();
    let mut y = vec![0f32; x.len()];
    for_rows(&mut y, width, |first, y| {
        let x = &x[first * width..];
        simd(
            #[inline(always)]
            || {
                for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    let (mean, rstd) = row_stats(x, eps);
                    for c in 0..width {
                        y[c] = (x[c] - mean) * rstd * gamma[c] + beta[c];
                    }
                }
            },
        );
    });
    y
}

/// Gradient of [`layer_norm_forward`] with respect to x.
pub(crate) fn layer_norm_backward(x: &[f32], dy: &[f32], gamma: &[f32], eps: f32) -> Vec<f32> {
    let width = gamma.len();
    let mut dx = vec![0f32; x.len()];
    for_rows(&mut dx, width, |first, dx| {
        let (x, dy) = (&x[first * width..], &dy[first * width..]);
        simd(
            #[inline(always)]
            || {
                let rows = dx.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(dy.chunks_exact(width));
                for ((dx, x), dy) in rows {
                    let (mean, rstd) = row_stats(x, eps);
                    let n = width as f32;
                    let mean_g = sum_by(width, |c| dy[c] * gamma[c]) / n;
                    let mean_gx = sum_by(width, |c| dy[c] * gamma[c] * ((x[c] - mean) * rstd)) / n;
                    for c in 0..width {
                        let normalised = (x[c] - mean) * rstd;
                        dx[c] = (dy[c] * gamma[c] - mean_g - normalised * mean_gx) * rstd;
                    }
                }
            },
        );
    });
    dx
}
