//! Scaled dot-product attention in tiles: the score matrix never exists whole, the softmax is carried from one block of
//! keys to the next, and the backward pass recomputes the probabilities from their saved normalizers (FlashAttention,
//! Dao et al. 2022, arXiv 2205.14135, algorithms 1 and 4).
//!
//! A tile has a row a key, and its queries side by side: a query is a lane of the vector registers, so both products with
//! the tile read it as it lies, and maxima and sums need no reduction across lanes.
//!
//! Tokens are rows of [heads · head_dim], as the projections make them: no transposition.

use std::sync::Arc;

use rayon::prelude::*;

use super::gemm::{Mat, gemm};
use super::math::exp;
use super::{for_rows, simd};

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

/// The CLIP text encoder's mask with learned rows in front: every query sees this prefix, with a bias of its own added to
/// the logits of each row, and of the rest the keys up to its own position.
#[derive(Debug, Clone)]
pub(crate) struct AttnMask {
    /// One a row of the prefix.
    pub row_biases: Arc<[f32]>,
}

/// Lanes that are computed together: one AVX-512 register.
const LANES: usize = 16;

/// Queries of a tile: four registers, a whole row of what the matrix product makes at a time.
const QUERIES: usize = 64;

/// Keys of a tile: with [`QUERIES`] lanes 128 KiB of scores, so two tiles and their operands stay in the L2 cache.
const KEYS: usize = 512;

impl AttnShape {
    fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Numbers beside the gradients in the backward pass: their parts by head, and the tiles.
    pub fn backward_scratch(&self) -> usize {
        let tiles = 2 * rayon::current_num_threads() * KEYS.min(self.keys) * QUERIES.min(self.queries);
        (self.batch * self.queries + 2 * self.kv_batch * self.keys) * self.width() + tiles
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

impl AttnMask {
    /// Behind rows with these biases.
    pub fn behind(row_biases: &[f32]) -> Self {
        Self { row_biases: row_biases.into() }
    }

    /// Behind no rows: every query sees the keys up to its own position.
    pub fn causal() -> Self {
        Self::behind(&[])
    }

    /// Of the queries from `first_query` on, how many do not see key `key`.
    fn hidden(&self, key: usize, first_query: usize, lanes: usize) -> usize {
        key.saturating_sub(self.row_biases.len() + first_query).min(lanes)
    }

    /// To the scores of the keys from `first_key` on: the bias of the prefix, and `value` where nothing is seen.
    fn apply(mask: Option<&Self>, scores: &mut [f32], lanes: usize, first_key: usize, first_query: usize, value: f32) {
        let Some(mask) = mask else { return };
        for (key, row) in (first_key..).zip(scores.chunks_exact_mut(lanes)) {
            if let Some(bias) = mask.row_biases.get(key) {
                row.iter_mut().for_each(|x| *x += bias);
            }
            row[..mask.hidden(key, first_query, lanes)].fill(value);
        }
    }
}

/// A score that stands for one that is not seen: its probability vanishes, and differences of it are numbers.
const UNSEEN: f32 = f32::MIN / 4.0;

/// `rows` [n, d] times `factor`, as [d, lanes] with n lanes in use.
fn transpose(rows: Mat<'_>, factor: f32, lanes: usize, columns: &mut [f32]) {
    for (i, row) in rows.data.chunks(rows.row_stride).take(rows.rows).enumerate() {
        for (column, &x) in columns.chunks_exact_mut(lanes).zip(row) {
            column[i] = x * factor;
        }
    }
}

/// The softmax of a tile of queries over the keys seen so far, and the values weighted with it.
struct Running {
    lanes: usize,
    largest: Vec<f32>,
    sum: Vec<f32>,
    /// [head_dim, lanes], not yet divided by `sum`.
    values: Vec<f32>,
}

impl Running {
    fn new(lanes: usize, head_dim: usize) -> Self {
        Self { lanes, largest: vec![UNSEEN; lanes], sum: vec![0.0; lanes], values: vec![0.0; head_dim * lanes] }
    }

    fn clear(&mut self) {
        self.largest.fill(UNSEEN);
        self.sum.fill(0.0);
        self.values.fill(0.0);
    }

    /// Take up the scores of a block of keys [keys, lanes], and leave e^(score - largest) in their place.
    #[inline(always)]
    fn absorb(&mut self, scores: &mut [f32]) {
        for first in (0..self.lanes).step_by(LANES) {
            let part = first..first + LANES;
            let mut largest = [0f32; LANES];
            largest.copy_from_slice(&self.largest[part.clone()]);
            for row in scores.chunks_exact(self.lanes) {
                for (largest, &x) in largest.iter_mut().zip(&row[part.clone()]) {
                    *largest = if x > *largest { x } else { *largest };
                }
            }
            let mut shrink = [0f32; LANES];
            let mut sum = [0f32; LANES];
            for i in 0..LANES {
                shrink[i] = exp(self.largest[first + i] - largest[i]);
                sum[i] = self.sum[first + i] * shrink[i];
            }
            for row in scores.chunks_exact_mut(self.lanes) {
                let row = &mut row[part.clone()];
                for i in 0..LANES {
                    row[i] = exp(row[i] - largest[i]);
                    sum[i] += row[i];
                }
            }
            for row in self.values.chunks_exact_mut(self.lanes) {
                row[part.clone()].iter_mut().zip(&shrink).for_each(|(x, shrink)| *x *= shrink);
            }
            self.largest[part.clone()].copy_from_slice(&largest);
            self.sum[part].copy_from_slice(&sum);
        }
    }
}

/// softmax(q kᵀ / √d + mask) v, shaped like q; and for the backward pass the logarithm of each softmax's normalizer,
/// [batch, queries, heads].
pub(crate) fn attention_forward(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    shape: &AttnShape,
    mask: Option<&AttnMask>,
) -> (Vec<f32>, Vec<f32>) {
    let AttnShape { batch, queries, keys, heads, head_dim, .. } = *shape;
    let width = shape.width();
    // Even a picture of few tokens is work for two threads.
    let tile = QUERIES.min(queries.div_ceil(2));
    let lanes = tile.next_multiple_of(LANES);
    let mut out = vec![0f32; q.len()];
    let mut normalizers = vec![0f32; batch * queries * heads];
    let pictures = out.chunks_exact_mut(queries * width).zip(normalizers.chunks_exact_mut(queries * heads));
    let tiles: Vec<_> = pictures
        .enumerate()
        .flat_map(|(b, (out, normalizers))| {
            let tiles = out.chunks_mut(tile * width).zip(normalizers.chunks_mut(tile * heads));
            tiles.enumerate().map(move |(t, (out, normalizers))| (b, t * tile, out, normalizers))
        })
        .collect();
    tiles.into_par_iter().for_each_init(
        || (Running::new(lanes, head_dim), vec![0f32; head_dim * lanes], vec![0f32; KEYS.min(keys) * lanes]),
        |(running, columns, scores), (b, first, out, normalizers)| {
            let n = out.len() / width;
            for h in 0..heads {
                running.clear();
                transpose(shape.head(q, queries, b, h, first, n), shape.scale(), lanes, columns);
                for first_key in (0..keys).step_by(KEYS) {
                    let block = KEYS.min(keys - first_key);
                    let scores = &mut scores[..block * lanes];
                    let k = shape.head(k, keys, shape.kv(b), h, first_key, block);
                    let v = shape.head(v, keys, shape.kv(b), h, first_key, block);
                    gemm(scores, lanes, false, k, Mat::new(columns, head_dim, lanes), 1.0, false);
                    AttnMask::apply(mask, scores, lanes, first_key, first, UNSEEN);
                    simd(
                        #[inline(always)]
                        || running.absorb(scores),
                    );
                    gemm(&mut running.values, lanes, true, v.t(), Mat::new(scores, block, lanes), 1.0, false);
                }
                for (i, out) in out.chunks_exact_mut(width).enumerate() {
                    let scale = 1.0 / running.sum[i];
                    let values = running.values[i..].iter().step_by(lanes);
                    out[h * head_dim..][..head_dim].iter_mut().zip(values).for_each(|(out, x)| *out = x * scale);
                    normalizers[i * heads + h] = running.largest[i] + running.sum[i].ln();
                }
            }
        },
    );
    (out, normalizers)
}

/// Gradients of [`attention_forward`] with respect to q, k and v; `out` and `normalizers` are its results.
pub(crate) fn attention_backward(
    [q, k, v]: [&[f32]; 3],
    out: &[f32],
    normalizers: &[f32],
    dout: &[f32],
    shape: &AttnShape,
    mask: Option<&AttnMask>,
) -> [Vec<f32>; 3] {
    let AttnShape { batch, kv_batch, queries, keys, heads, head_dim: d } = *shape;
    let tile = QUERIES.min(queries);
    let lanes = tile.next_multiple_of(LANES);
    // One task a (key batch, head) owns its part of the gradients; parts are put side by side afterwards.
    let parts: Vec<[Vec<f32>; 3]> = (0..kv_batch * heads)
        .into_par_iter()
        .map(|task| {
            let (kv, h) = (task / heads, task % heads);
            let batches = if kv_batch == 1 { 0..batch } else { kv..kv + 1 };
            let mut dq = vec![0f32; batches.len() * queries * d];
            let (mut dk, mut dv) = (vec![0f32; keys * d], vec![0f32; keys * d]);
            let mut tiles = [vec![0f32; KEYS.min(keys) * lanes], vec![0f32; KEYS.min(keys) * lanes]];
            let [mut q_columns, mut g_columns, mut dq_columns] = [(); 3].map(|()| vec![0f32; d * lanes]);
            let (mut normalizer, mut delta) = (vec![0f32; lanes], vec![0f32; lanes]);
            let firsts =
                batches.enumerate().flat_map(|(i, b)| (0..queries).step_by(tile).map(move |first| (i, b, first)));
            for (i, b, first) in firsts {
                let n = tile.min(queries - first);
                let q = shape.head(q, queries, b, h, first, n);
                let o = shape.head(out, queries, b, h, first, n);
                let g = shape.head(dout, queries, b, h, first, n);
                transpose(q, shape.scale(), lanes, &mut q_columns);
                transpose(g, 1.0, lanes, &mut g_columns);
                dq_columns.fill(0.0);
                for r in 0..n {
                    let (o, g) = (&o.data[r * o.row_stride..][..d], &g.data[r * g.row_stride..][..d]);
                    delta[r] = o.iter().zip(g).map(|(o, g)| o * g).sum();
                    normalizer[r] = normalizers[(b * queries + first + r) * heads + h];
                }
                for first_key in (0..keys).step_by(KEYS) {
                    let block = KEYS.min(keys - first_key);
                    let [p, ds] = tiles.each_mut().map(|tile| &mut tile[..block * lanes]);
                    let k = shape.head(k, keys, kv, h, first_key, block);
                    let v = shape.head(v, keys, kv, h, first_key, block);
                    gemm(p, lanes, false, k, Mat::new(&q_columns, d, lanes), 1.0, false);
                    gemm(ds, lanes, false, v, Mat::new(&g_columns, d, lanes), 1.0, false);
                    AttnMask::apply(mask, p, lanes, first_key, first, UNSEEN);
                    simd(
                        #[inline(always)]
                        || {
                            for (p, ds) in p.chunks_exact_mut(lanes).zip(ds.chunks_exact_mut(lanes)) {
                                let p = p.iter_mut().zip(&normalizer);
                                for ((p, normalizer), (ds, delta)) in p.zip(ds.iter_mut().zip(&delta)) {
                                    *p = exp(*p - normalizer);
                                    *ds = *p * (*ds - delta);
                                }
                            }
                        },
                    );
                    let (p, ds) = (Mat::strided(p, block, n, lanes), Mat::strided(ds, block, n, lanes));
                    let rows = first_key * d..(first_key + block) * d;
                    gemm(&mut dv[rows.clone()], d, true, p, g, 1.0, false);
                    gemm(&mut dk[rows], d, true, ds, q, shape.scale(), false);
                    gemm(&mut dq_columns, lanes, true, k.t(), Mat { cols: lanes, ..ds }, 1.0, false);
                }
                for (r, row) in dq[(i * queries + first) * d..].chunks_exact_mut(d).take(n).enumerate() {
                    let column = dq_columns[r..].iter().step_by(lanes);
                    row.iter_mut().zip(column).for_each(|(x, column)| *x = column * shape.scale());
                }
            }
            [dq, dk, dv]
        })
        .collect();
    std::array::from_fn(|which| {
        let rows_each = parts[0][which].len() / d;
        let mut whole = vec![0f32; kv_batch * rows_each * heads * d];
        for_rows(&mut whole, heads * d, |first, whole| {
            for (row, whole) in (first..).zip(whole.chunks_exact_mut(heads * d)) {
                let parts = parts[row / rows_each * heads..].iter();
                for (part, whole) in parts.zip(whole.chunks_exact_mut(d)) {
                    whole.copy_from_slice(&part[which][row % rows_each * d..][..d]);
                }
            }
        });
        whole
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{AttnMask, AttnShape, KEYS, QUERIES, attention_backward, attention_forward};

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1000) as f32 / 250.0 - 2.0).collect()
    }

    /// The definition in f64: the result, and the gradients of Σ out · dout.
    fn definition([q, k, v, dout]: [&[f32]; 4], s: &AttnShape, mask: Option<&AttnMask>) -> [Vec<f64>; 4] {
        let width = s.width();
        let (mut out, mut dq) = (vec![0f64; q.len()], vec![0f64; q.len()]);
        let (mut dk, mut dv) = (vec![0f64; k.len()], vec![0f64; k.len()]);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        for (b, i, h) in
            (0..s.batch).flat_map(|b| (0..s.queries).flat_map(move |i| (0..s.heads).map(move |h| (b, i, h))))
        {
            let at = |rows: usize, b: usize, row: usize| (b * rows + row) * width + h * s.head_dim;
            let d = s.head_dim;
            let row = at(s.queries, b, i);
            let key = |j: usize| at(s.keys, s.kv(b), j);
            let scale = 1.0 / (d as f64).sqrt();
            let p: Vec<f64> = (0..s.keys)
                .map(|j| match mask {
                    Some(m) if j > m.row_biases.len() + i => 0.0,
                    Some(m) if j < m.row_biases.len() => {
                        (scale * dot(&q[row..row + d], &k[key(j)..key(j) + d]) + f64::from(m.row_biases[j])).exp()
                    }
                    _ => (scale * dot(&q[row..row + d], &k[key(j)..key(j) + d])).exp(),
                })
                .collect();
            let total: f64 = p.iter().sum();
            let p: Vec<f64> = p.iter().map(|p| p / total).collect();
            for (j, p) in p.iter().enumerate() {
                (0..d).for_each(|c| out[row + c] += p * f64::from(v[key(j) + c]));
            }
            let dp: Vec<f64> = (0..s.keys).map(|j| dot(&dout[row..row + d], &v[key(j)..key(j) + d])).collect();
            let mean: f64 = p.iter().zip(&dp).map(|(p, dp)| p * dp).sum();
            for j in 0..s.keys {
                let ds = p[j] * (dp[j] - mean) * scale;
                for c in 0..d {
                    dq[row + c] += ds * f64::from(k[key(j) + c]);
                    dk[key(j) + c] += ds * f64::from(q[row + c]);
                    dv[key(j) + c] += p[j] * f64::from(dout[row + c]);
                }
            }
        }
        [out, dq, dk, dv]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        /// Few and many queries and keys, with the text encoder's mask and without: the definition, both ways.
        #[test]
        fn attention_is_its_definition(
            batch in 1usize..3, shared: bool, queries in prop::sample::select(vec![1, 7, QUERIES, QUERIES + 13]),
            keys in prop::sample::select(vec![1, 20, KEYS, KEYS + 9]), heads in 1usize..3, head_dim in 1usize..10,
            mask in prop::option::of(prop::collection::vec(0f32..2.0, 0..4)),
        ) {
            let mask = mask.as_deref().map(AttnMask::behind);
            let mask = mask.as_ref();
            let keys = mask.map_or(keys, |mask| mask.row_biases.len() + queries);
            let kv_batch = if shared { 1 } else { batch };
            let shape = AttnShape { batch, kv_batch, queries, keys, heads, head_dim };
            let width = heads * head_dim;
            let (q, dout) = (numbers(batch * queries * width, 1), numbers(batch * queries * width, 2));
            let (k, v) = (numbers(kv_batch * keys * width, 3), numbers(kv_batch * keys * width, 4));
            let (out, normalizers) = attention_forward(&q, &k, &v, &shape, mask);
            let grads = attention_backward([&q, &k, &v], &out, &normalizers, &dout, &shape, mask);
            let wanted = definition([&q, &k, &v, &dout], &shape, mask);
            for (name, got, wanted) in [("out", &out, &wanted[0]), ("dq", &grads[0], &wanted[1]),
                ("dk", &grads[1], &wanted[2]), ("dv", &grads[2], &wanted[3])] {
                let largest = wanted.iter().fold(1.0, |a: f64, b| a.max(b.abs()));
                prop_assert_eq!(got.len(), wanted.len());
                for (got, wanted) in got.iter().zip(wanted) {
                    prop_assert!((f64::from(*got) - wanted).abs() < 1e-5 * largest, "{name}: {got} {wanted} {shape:?}");
                }
            }
        }
    }
}
