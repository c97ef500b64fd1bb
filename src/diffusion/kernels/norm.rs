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

/// Per-channel sums over the rows of `f(channel values)`, in float64.
#[inline(always)]
fn channel_sums(rows: &[f32], channels: usize, f: impl Fn(usize, f32) -> f32) -> Vec<f64> {
    let mut total = vec![0f64; channels];
    let mut block = vec![0f32; channels];
    for rows in rows.chunks(ROWS_A_BLOCK * channels) {
        block.fill(0.0);
        for row in rows.chunks_exact(channels) {
            for (c, (b, &x)) in block.iter_mut().zip(row).enumerate() {
                *b += f(c, x);
            }
        }
        for (t, &b) in total.iter_mut().zip(&block) {
            *t += f64::from(b);
        }
    }
    total
}

fn group_totals(per_channel: &[f64], groups: usize) -> Vec<f64> {
    per_channel.chunks_exact(per_channel.len() / groups).map(|g| g.iter().sum()).collect()
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
    let stats = y
        .par_chunks_mut(pixels * channels)
        .zip(x.par_chunks(pixels * channels))
        .with_min_len(1.max((1 << 15) / (pixels * channels)))
        .flat_map_iter(|(y, x)| {
            simd(
                #[inline(always)]
                || {
                    let means: Vec<f64> = group_totals(&channel_sums(x, channels, |_, x| x), groups)
                        .into_iter()
                        .map(|sum| sum / n)
                        .collect();
                    let centre: Vec<f32> = (0..channels).map(|c| means[c / each] as f32).collect();
                    let squares = channel_sums(x, channels, |c, x| (x - centre[c]) * (x - centre[c]));
                    let rstd: Vec<f32> = group_totals(&squares, groups)
                        .into_iter()
                        .map(|sum| (1.0 / (sum / n + eps).sqrt()) as f32)
                        .collect();
                    let scale: Vec<f32> = (0..channels).map(|c| gamma[c] * rstd[c / each]).collect();
                    for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                        for c in 0..channels {
                            y[c] = (x[c] - centre[c]) * scale[c] + beta[c];
                        }
                        if silu {
                            for y in y.iter_mut() {
                                *y = Activation::Silu.value(*y);
                            }
                        }
                    }
                    means.into_iter().map(|m| m as f32).zip(rstd).collect::<Vec<_>>()
                },
            )
        })
        .collect();
    (y, GroupStats(stats))
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
    let mut dx = dy.to_vec();
    dx.par_chunks_mut(picture)
        .zip(x.par_chunks(picture))
        .enumerate()
        .with_min_len(1.max((1 << 15) / picture))
        .for_each(|(b, (dx, x))| {
            simd(
                #[inline(always)]
                || {
                    let stats = &stats.0[b * groups..(b + 1) * groups];
                    let centre: Vec<f32> = (0..channels).map(|c| stats[c / each].0).collect();
                    let rstd: Vec<f32> = (0..channels).map(|c| stats[c / each].1).collect();
                    // dx holds dy; make it dy · silu'(y) · γ, the gradient of the normalised value.
                    let (mut sum_g, mut sum_gx) = (vec![0f64; channels], vec![0f64; channels]);
                    let (mut block_g, mut block_gx) = (vec![0f32; channels], vec![0f32; channels]);
                    for (dx, x) in dx.chunks_mut(ROWS_A_BLOCK * channels).zip(x.chunks(ROWS_A_BLOCK * channels)) {
                        block_g.fill(0.0);
                        block_gx.fill(0.0);
                        for (dx, x) in dx.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                            if silu {
                                for c in 0..channels {
                                    let normalised = (x[c] - centre[c]) * rstd[c];
                                    dx[c] *= Activation::Silu.slope(normalised * gamma[c] + beta[c]);
                                }
                            }
                            for c in 0..channels {
                                dx[c] *= gamma[c];
                                block_g[c] += dx[c];
                                block_gx[c] += dx[c] * ((x[c] - centre[c]) * rstd[c]);
                            }
                        }
                        for c in 0..channels {
                            sum_g[c] += f64::from(block_g[c]);
                            sum_gx[c] += f64::from(block_gx[c]);
                        }
                    }
                    let mean_of = |sums: &[f64]| -> Vec<f32> {
                        let totals = group_totals(sums, groups);
                        (0..channels).map(|c| (totals[c / each] / n) as f32).collect()
                    };
                    let (mean_g, mean_gx) = (mean_of(&sum_g), mean_of(&sum_gx));
                    for (dx, x) in dx.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                        for c in 0..channels {
                            let normalised = (x[c] - centre[c]) * rstd[c];
                            dx[c] = (dx[c] - mean_g[c] - normalised * mean_gx[c]) * rstd[c];
                        }
                    }
                },
            );
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
