//! Scaled dot-product attention in tiles of queries: the score matrix never exists whole, and the backward pass
//! recomputes its tile (as FlashAttention does, Dao et al. 2022, arXiv 2205.14135).
//!
//! Tokens are rows of [heads · head_dim], as the projections make them: no transposition.

use rayon::prelude::*;

use super::gemm::{Mat, gemm};
use super::math::{exp, max, sum_by};
use super::simd;

/// Sizes of an attention: q is [batch, queries, heads · head_dim], k and v are [kv_batch, keys, heads · head_dim].
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttnShape {
    pub batch: usize,
    /// `batch`, or 1: the same keys and values for every element of the batch.
    pub kv_batch: usize,
    pub queries: usize,
    pub keys: usize,
    pub heads: usize,
    pub head_dim: usize,
}

/// The CLIP text encoder's mask with `prefix` learned rows in front: every query sees the prefix, with `prefix_bias`
/// added to its logits, and of the rest the keys up to its own position.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttnMask {
    pub prefix: usize,
    pub prefix_bias: f32,
}

/// Numbers in one tile of scores (1 MiB).
const TILE: usize = 1 << 18;

impl AttnShape {
    fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Numbers beside the gradients in the backward pass: their parts by head, and the tiles.
    pub fn backward_scratch(&self) -> usize {
        let tiles = 2 * rayon::current_num_threads() * self.queries_a_tile().min(self.queries) * self.keys;
        (self.batch * self.queries + 2 * self.kv_batch * self.keys) * self.width() + tiles
    }

    fn queries_a_tile(&self) -> usize {
        (TILE / self.keys).clamp(1, 256)
    }

    /// The rows `first..first + n` of one head of one picture.
    fn head<'a>(&self, x: &'a [f32], rows: usize, b: usize, h: usize, first: usize, n: usize) -> Mat<'a> {
        let start = (b * rows + first) * self.width() + h * self.head_dim;
        Mat::strided(&x[start..], n, self.head_dim, self.width())
    }

    fn kv(&self, b: usize) -> usize {
        if self.kv_batch == 1 { 0 } else { b }
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// Scores to probabilities, in place, a row a query; `first` is the position of the first row.
#[inline(always)]
fn softmax_rows(scores: &mut [f32], keys: usize, first: usize, mask: Option<AttnMask>) {
    for (i, row) in scores.chunks_exact_mut(keys).enumerate() {
        let mut visible = keys;
        if let Some(mask) = mask {
            row[..mask.prefix].iter_mut().for_each(|x| *x += mask.prefix_bias);
            visible = mask.prefix + first + i + 1;
        }
        let (seen, hidden) = row.split_at_mut(visible);
        let largest = max(seen);
        seen.iter_mut().for_each(|x| *x = exp(*x - largest));
        let total = sum_by(seen.len(), |i| seen[i]);
        let scale = 1.0 / total;
        seen.iter_mut().for_each(|x| *x *= scale);
        hidden.fill(0.0);
    }
}

/// softmax(q kᵀ / √d + mask) v, shaped like q.
pub(crate) fn attention_forward(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    shape: &AttnShape,
    mask: Option<AttnMask>,
) -> Vec<f32> {
    let AttnShape { queries, keys, heads, head_dim, .. } = *shape;
    let width = shape.width();
    let tile = shape.queries_a_tile().min(queries.div_ceil(2));
    let mut out = vec![0f32; q.len()];
    let tiles: Vec<(usize, usize, &mut [f32])> = out
        .chunks_exact_mut(queries * width)
        .enumerate()
        .flat_map(|(b, picture)| picture.chunks_mut(tile * width).enumerate().map(move |(t, rows)| (b, t * tile, rows)))
        .collect();
    tiles.into_par_iter().for_each_init(
        || vec![0f32; tile * keys],
        |scores, (b, first, out)| {
            let n = out.len() / width;
            let scores = &mut scores[..n * keys];
            for h in 0..heads {
                let q = shape.head(q, queries, b, h, first, n);
                let k = shape.head(k, keys, shape.kv(b), h, 0, keys);
                let v = shape.head(v, keys, shape.kv(b), h, 0, keys);
                gemm(scores, keys, false, q, k.t(), shape.scale(), false);
                simd(
                    #[inline(always)]
                    || softmax_rows(scores, keys, first, mask),
                );
                gemm(&mut out[h * head_dim..], width, false, Mat::new(scores, n, keys), v, 1.0, false);
            }
        },
    );
    out
}

/// Gradients of [`attention_forward`] with respect to q, k and v; `out` is its result.
pub(crate) fn attention_backward(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &[f32],
    dout: &[f32],
    shape: &AttnShape,
    mask: Option<AttnMask>,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let AttnShape { batch, kv_batch, queries, keys, heads, head_dim: d } = *shape;
    let tile = shape.queries_a_tile().min(queries);
    // One task a (key batch, head) owns its part of dk and dv; parts are put side by side afterwards.
    let parts: Vec<_> = (0..kv_batch * heads)
        .into_par_iter()
        .map(|task| {
            let (kv, h) = (task / heads, task % heads);
            let batches = if kv_batch == 1 { 0..batch } else { kv..kv + 1 };
            let mut dq = vec![0f32; batches.len() * queries * d];
            let (mut dk, mut dv) = (vec![0f32; keys * d], vec![0f32; keys * d]);
            let (mut p, mut dp) = (vec![0f32; tile * keys], vec![0f32; tile * keys]);
            let (k, v) = (shape.head(k, keys, kv, h, 0, keys), shape.head(v, keys, kv, h, 0, keys));
            for (i, b) in batches.enumerate() {
                for first in (0..queries).step_by(tile) {
                    let n = tile.min(queries - first);
                    let (p, dp) = (&mut p[..n * keys], &mut dp[..n * keys]);
                    let q = shape.head(q, queries, b, h, first, n);
                    let o = shape.head(out, queries, b, h, first, n);
                    let g = shape.head(dout, queries, b, h, first, n);
                    gemm(p, keys, false, q, k.t(), shape.scale(), false);
                    simd(
                        #[inline(always)]
                        || softmax_rows(p, keys, first, mask),
                    );
                    gemm(&mut dv, d, true, Mat::new(p, n, keys).t(), g, 1.0, false);
                    gemm(dp, keys, false, g, v.t(), 1.0, false);
                    simd(
                        #[inline(always)]
                        || {
                            for (r, (dp, p)) in dp.chunks_exact_mut(keys).zip(p.chunks_exact(keys)).enumerate() {
                                let (o, g) = (&o.data[r * o.row_stride..][..d], &g.data[r * g.row_stride..][..d]);
                                let delta = sum_by(d, |c| o[c] * g[c]);
                                dp.iter_mut().zip(p).for_each(|(dp, &p)| *dp = p * (*dp - delta));
                            }
                        },
                    );
                    let ds = Mat::new(dp, n, keys);
                    let from = (i * queries + first) * d;
                    gemm(&mut dq[from..from + n * d], d, false, ds, k, shape.scale(), false);
                    gemm(&mut dk, d, true, ds.t(), q, shape.scale(), false);
                }
            }
            (dq, dk, dv)
        })
        .collect();
    let width = shape.width();
    let (mut dq, mut dk, mut dv) = (vec![0f32; q.len()], vec![0f32; k.len()], vec![0f32; v.len()]);
    for (task, (part_q, part_k, part_v)) in parts.into_iter().enumerate() {
        let (kv, h) = (task / heads, task % heads);
        let place = |whole: &mut [f32], part: &[f32], first_row: usize| {
            for (r, row) in part.chunks_exact(d).enumerate() {
                whole[(first_row + r) * width + h * d..][..d].copy_from_slice(row);
            }
        };
        place(&mut dq, &part_q, kv * queries);
        place(&mut dk, &part_k, kv * keys);
        place(&mut dv, &part_v, kv * keys);
    }
    (dq, dk, dv)
}
