//! Attention in tiles of queries, forward and backward: the scores are never all in memory, and the backward pass
//! computes its tile again (as FlashAttention does, Dao et al. 2022, arXiv 2205.14135). With the feature `flash-attn`, its
//! CUDA kernel makes the forward pass where it can: half precision, no mask.

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::product::{Read, in_float};
use crate::diffusion::kernels::{AttnMask, AttnShape};

/// Numbers in one tile of scores of all heads: 64 MiB in float32. The backward pass holds about five such tiles.
pub(crate) const TILE: usize = 1 << 24;

/// Sizes of a tiled attention: [`AttnShape`] with the queries of all pictures that share their keys side by side.
struct Tiles {
    /// Products side by side: key batches times heads.
    parts: usize,
    /// Queries of each.
    queries: usize,
    /// Queries of one picture: where positions start again.
    picture: usize,
    keys: usize,
    heads: usize,
    head_dim: usize,
    /// Numbers in one tile of scores of all heads.
    tile: usize,
}

impl Tiles {
    fn new(shape: &AttnShape, tile: usize) -> Self {
        let AttnShape { batch, kv_batch, queries, keys, heads, head_dim } = *shape;
        let (parts, all) = (kv_batch * heads, batch / kv_batch * queries);
        Self { parts, queries: all, picture: queries, keys, heads, head_dim, tile }
    }

    /// (first query, queries) of every tile.
    fn each(&self) -> impl Iterator<Item = (usize, usize)> {
        let tile = (self.tile / (self.parts * self.keys).max(1)).clamp(1, self.queries.max(1));
        let queries = self.queries;
        (0..queries).step_by(tile).map(move |first| (first, tile.min(queries - first)))
    }

    /// Tokens [.., heads · d] → [parts, rows, d], of `rows` rows a key batch.
    fn split(&self, x: &Tensor, rows: usize) -> Result<Tensor> {
        let kv_batch = self.parts / self.heads;
        let x = x.contiguous()?.reshape((kv_batch, rows, self.heads, self.head_dim))?;
        x.transpose(1, 2)?.contiguous()?.reshape((self.parts, rows, self.head_dim))
    }

    /// The inverse of [`split`](Self::split), in the shape and type of `like`.
    fn join(&self, x: &Tensor, like: &Tensor) -> Result<Tensor> {
        let (_, rows, _) = x.dims3()?;
        let x = x.reshape((self.parts / self.heads, self.heads, rows, self.head_dim))?;
        x.transpose(1, 2)?.contiguous()?.reshape(like.dims())?.to_dtype(like.dtype())
    }

    /// q, and a factor for its products where one is left: together they scale by 1 / √d. On a graphics card the products are scaled, which
    /// are in float32: a scaled q would be rounded once more.
    fn scaled(&self, q: &Tensor) -> Result<(Tensor, Option<f64>)> {
        let scale = self.scale();
        let (q, scale) = if q.device().is_cuda() { (q.clone(), Some(scale)) } else { (q.affine(scale, 0.0)?, None) };
        Ok((self.split(&q, self.queries)?, scale))
    }

    /// The slopes by q, from those by its scores.
    fn query_slopes(&self, ds: &Tensor, k: &Tensor) -> Result<Tensor> {
        if ds.device().is_cuda() {
            return in_float(ds, k, Read::AsTheyAre, Some(self.scale()))?.to_dtype(ds.dtype());
        }
        ds.matmul(k)?.affine(self.scale(), 0.0)
    }

    fn scale(&self) -> f64 {
        1.0 / (self.head_dim as f64).sqrt()
    }

    /// What is added to the scores of `n` queries from `first` on, [n, keys].
    fn mask(&self, mask: &AttnMask, first: usize, n: usize, device: &Device) -> Result<Tensor> {
        let biases = &mask.row_biases;
        let picture = self.picture;
        let numbers: Vec<f32> = (first..first + n)
            .flat_map(|query| {
                let visible = biases.len() + query % picture + 1;
                (0..self.keys).map(move |key| match key {
                    key if key < biases.len() => biases[key],
                    key if key < visible => 0.0,
                    _ => f32::NEG_INFINITY,
                })
            })
            .collect();
        Tensor::from_vec(numbers, (n, self.keys), device)
    }

    /// The probabilities of `n` queries from `first` on in float32, [parts, n, keys]; q comes [`scaled`](Self::scaled).
    fn probabilities(
        &self,
        (q, scale): &(Tensor, Option<f64>),
        k: &Tensor,
        mask: Option<&AttnMask>,
        (first, n): (usize, usize),
    ) -> Result<Tensor> {
        let mut scores = in_float(&q.narrow(1, first, n)?, k, Read::SecondTransposed, *scale)?;
        if let Some(mask) = mask {
            scores = scores.broadcast_add(&self.mask(mask, first, n, scores.device())?)?;
        }
        softmax_last_dim(&scores)
    }
}

/// softmax(q kᵀ / √d + mask) v, shaped like q. `tile`: numbers in one tile of scores, such as [`TILE`].
pub(super) fn forward(
    [q, k, v]: &[Tensor; 3],
    shape: &AttnShape,
    mask: Option<&AttnMask>,
    tile: usize,
) -> Result<Tensor> {
    #[cfg(feature = "flash-attn")]
    if fused::can(q, shape, mask) {
        return fused::forward([q, k, v], shape);
    }
    let tiles = Tiles::new(shape, tile);
    let like = q;
    let q = tiles.scaled(q)?;
    let (k, v) = (tiles.split(k, tiles.keys)?, tiles.split(v, tiles.keys)?);
    let parts = tiles
        .each()
        .map(|tile| tiles.probabilities(&q, &k, mask, tile)?.to_dtype(v.dtype())?.matmul(&v))
        .collect::<Result<Vec<_>>>()?;
    tiles.join(&Tensor::cat(&parts, 1)?, like)
}

/// Gradients of [`forward`] with respect to q, k and v; `out` is its result. The sums over tiles are in float32.
pub(super) fn backward(
    [q, k, v]: &[Tensor; 3],
    out: &Tensor,
    shape: &AttnShape,
    mask: Option<&AttnMask>,
    grad: &Tensor,
    tile: usize,
) -> Result<[Tensor; 3]> {
    let tiles = Tiles::new(shape, tile);
    let (like_q, like_k) = (q, k);
    let dtype = q.dtype();
    let q = tiles.scaled(q)?;
    let (k, v) = (tiles.split(k, tiles.keys)?, tiles.split(v, tiles.keys)?);
    let (out, grad) = (tiles.split(out, tiles.queries)?, tiles.split(grad, tiles.queries)?);
    let delta = (out.to_dtype(DType::F32)? * grad.to_dtype(DType::F32)?)?.sum_keepdim(D::Minus1)?;
    let mut dq = Vec::new();
    let (mut dk, mut dv): (Option<Tensor>, Option<Tensor>) = (None, None);
    let add = |sum: &mut Option<Tensor>, part: Tensor| {
        *sum = Some(match sum.take() {
            Some(sum) => (sum + part)?,
            None => part,
        });
        Ok::<_, candle_core::Error>(())
    };
    for tile @ (first, n) in tiles.each() {
        let p = tiles.probabilities(&q, &k, mask, tile)?;
        let g = grad.narrow(1, first, n)?;
        add(&mut dv, in_float(&p.to_dtype(dtype)?, &g, Read::FirstTransposed, None)?)?;
        let dp = in_float(&g, &v, Read::SecondTransposed, None)?;
        let ds = (p * dp.broadcast_sub(&delta.narrow(1, first, n)?)?)?.to_dtype(dtype)?;
        dq.push(tiles.query_slopes(&ds, &k)?);
        add(&mut dk, in_float(&ds, &q.0.narrow(1, first, n)?, Read::FirstTransposed, q.1)?)?;
    }
    let dq = Tensor::cat(&dq, 1)?;
    let whole = |sum: Option<Tensor>| sum.map_or_else(|| like_k.zeros_like(), |sum| tiles.join(&sum, like_k));
    Ok([tiles.join(&dq, like_q)?, whole(dk)?, whole(dv)?])
}

/// The CUDA kernel of FlashAttention 2 (Dao 2023, arXiv 2307.08691).
#[cfg(feature = "flash-attn")]
mod fused {
    use candle_core::{DType, Result, Tensor};

    use crate::diffusion::kernels::{AttnMask, AttnShape};

    /// Whether the kernel does this attention. Its masks know no prefix.
    pub fn can(q: &Tensor, shape: &AttnShape, mask: Option<&AttnMask>) -> bool {
        let half = matches!(q.dtype(), DType::F16 | DType::BF16);
        q.device().is_cuda() && half && mask.is_none() && shape.head_dim <= 256 && shape.head_dim.is_multiple_of(8)
    }

    pub fn forward([q, k, v]: [&Tensor; 3], shape: &AttnShape) -> Result<Tensor> {
        let AttnShape { batch, queries, keys, heads, head_dim, .. } = *shape;
        let tokens = |x: &Tensor, rows| {
            let (own, _, width) = x.dims3()?;
            let x = if own == batch { x.clone() } else { x.expand((batch, rows, width))? };
            x.contiguous()?.reshape((batch, rows, heads, head_dim))
        };
        let scale = 1.0 / (head_dim as f32).sqrt();
        let out =
            candle_flash_attn::flash_attn(&tokens(q, queries)?, &tokens(k, keys)?, &tokens(v, keys)?, scale, false)?;
        out.reshape(q.dims())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::kernels;
    use crate::diffusion::ops::tensors::tests::random;

    fn numbers(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn tiles_of_any_size_give_what_the_cpu_kernels_give() {
        let prefix = AttnMask::behind(&[0.5, -1.5]);
        for (batch, kv_batch, queries, keys, mask) in
            [(2, 2, 13, 15, Some(&prefix)), (2, 2, 9, 5, None), (3, 1, 9, 5, None), (1, 1, 16, 16, None)]
        {
            let (heads, head_dim) = (2, 4);
            let shape = AttnShape { batch, kv_batch, queries, keys, heads, head_dim };
            let tokens = |batch, rows, seed| random(&[batch, rows, heads * head_dim], seed);
            let qkv = [tokens(batch, queries, 1), tokens(kv_batch, keys, 2), tokens(kv_batch, keys, 3)];
            let grad = tokens(batch, queries, 4);
            let [q, k, v] = qkv.each_ref().map(numbers);
            let (want, normalizers) = kernels::attention_forward(&q, &k, &v, &shape, mask);
            let want_grads =
                kernels::attention_backward([&q, &k, &v], &want, &normalizers, &numbers(&grad), &shape, mask);
            // One query at a time, a few, all.
            for tile in [1, 3 * kv_batch * heads * keys, TILE] {
                let out = forward(&qkv, &shape, mask, tile).unwrap();
                let grads = backward(&qkv, &out, &shape, mask, &grad, tile).unwrap();
                let all = [(&out, &want)].into_iter().chain(grads.iter().zip(&want_grads));
                for (got, want) in all {
                    let apart = numbers(got).iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(apart < 2e-6, "{shape:?}, tiles of {tile}: {apart}");
                }
            }
        }
    }
}
