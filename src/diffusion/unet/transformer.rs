//! The transformer between the residual blocks: self-attention over the pixels, cross-attention to the text, GEGLU
//! (diffusers' `Transformer2DModel`; Rombach et al. 2022, arXiv 2112.10752, section 3.3).

use std::cell::RefCell;

use candle_core::{Result, Tensor};

use crate::diffusion::error;
use crate::diffusion::ops::{self, LinearWeights, NormWeights};
use crate::diffusion::tape::Tracked;
use crate::diffusion::weights::Scope;

/// Collects where the picture looks at chosen tokens: the cross-attention probabilities, averaged over heads.
pub struct AttentionMaps {
    /// For each picture of the batch, the token positions to follow.
    positions: Vec<Vec<usize>>,
    /// (height, width, map [B, height · width]) of every cross-attention passed.
    maps: RefCell<Vec<(usize, usize, Tensor)>>,
}

impl AttentionMaps {
    /// Follow `positions[b]` in picture b. Pictures beyond the list are not followed.
    pub fn new(positions: Vec<Vec<usize>>) -> Self {
        Self { positions, maps: RefCell::default() }
    }

    /// What was collected: (height, width, map [B, height · width]) of every cross-attention passed.
    pub fn into_maps(self) -> Vec<(usize, usize, Tensor)> {
        self.maps.into_inner()
    }

    /// `q` [B, H · W, heads · d] of pictures of `size`, `k` [B or 1, T, heads · d].
    fn collect(&self, q: &Tracked, k: &Tracked, heads: usize, size: (usize, usize)) -> Result<()> {
        self.maps.borrow_mut().push((size.0, size.1, ops::attention_map(q, k, heads, &self.positions)?));
        Ok(())
    }
}

#[derive(Clone)]
struct Attention {
    q: LinearWeights,
    k: LinearWeights,
    v: LinearWeights,
    out: LinearWeights,
    heads: usize,
}

impl Attention {
    fn load(scope: &Scope<'_>, width: usize, context: usize, heads: usize) -> error::Result<Self> {
        Ok(Self {
            q: scope.at("to_q").linear_no_bias(width, width)?,
            k: scope.at("to_k").linear_no_bias(context, width)?,
            v: scope.at("to_v").linear_no_bias(context, width)?,
            out: scope.at("to_out.0").linear(width, width)?,
            heads,
        })
    }
}

#[derive(Clone)]
struct Block {
    norm1: NormWeights,
    self_attention: Attention,
    norm2: NormWeights,
    cross_attention: Attention,
    norm3: NormWeights,
    feed_forward_in: LinearWeights,
    feed_forward_out: LinearWeights,
}

#[derive(Clone)]
pub(super) struct Transformer {
    norm: NormWeights,
    groups: usize,
    proj_in: LinearWeights,
    blocks: Vec<Block>,
    proj_out: LinearWeights,
    upcast: bool,
}

/// Sizes of one transformer.
pub(super) struct TransformerOptions {
    pub channels: usize,
    pub context: usize,
    pub heads: usize,
    pub layers: usize,
    pub groups: usize,
    pub linear_projection: bool,
    /// Whether attention is in float32 whatever the values are in.
    pub upcast: bool,
}

impl Transformer {
    pub fn load(scope: &Scope<'_>, options: &TransformerOptions) -> error::Result<Self> {
        let &TransformerOptions { channels: c, context, heads, layers, groups, linear_projection, upcast } = options;
        let projection = |name| {
            let scope = scope.at(name);
            if linear_projection { scope.linear(c, c) } else { scope.pointwise_conv(c, c) }
        };
        let block = |i| {
            let scope = scope.at("transformer_blocks").at(i);
            Ok(Block {
                norm1: scope.at("norm1").norm(c, 1e-5)?,
                self_attention: Attention::load(&scope.at("attn1"), c, c, heads)?,
                norm2: scope.at("norm2").norm(c, 1e-5)?,
                cross_attention: Attention::load(&scope.at("attn2"), c, context, heads)?,
                norm3: scope.at("norm3").norm(c, 1e-5)?,
                feed_forward_in: scope.at("ff.net.0.proj").linear(c, 8 * c)?,
                feed_forward_out: scope.at("ff.net.2").linear(4 * c, c)?,
            })
        };
        Ok(Self {
            norm: scope.at("norm").norm(c, 1e-6)?,
            groups,
            proj_in: projection("proj_in")?,
            blocks: (0..layers).map(block).collect::<error::Result<_>>()?,
            proj_out: projection("proj_out")?,
            upcast,
        })
    }

    fn attend(&self, q: &Tracked, k: &Tracked, v: &Tracked, heads: usize) -> Result<Tracked> {
        if self.upcast { ops::attention_in_float(q, k, v, heads) } else { ops::attention(q, k, v, heads, None) }
    }

    /// [B, H, W, C] and the text [B or 1, T, context] → [B, H, W, C].
    pub fn forward(&self, x: &Tracked, context: &Tracked, maps: Option<&AttentionMaps>) -> Result<Tracked> {
        let (b, height, width, c) = x.value().dims4()?;
        let normed = ops::group_norm(x, &self.norm, self.groups, false)?;
        let mut h = ops::reshape(&ops::linear(&normed, &self.proj_in, None)?, &[b, height * width, c])?;
        for block in &self.blocks {
            let Block { self_attention: own, cross_attention: cross, .. } = block;
            let normed = ops::layer_norm(&h, &block.norm1)?;
            let q = ops::linear(&normed, &own.q, None)?;
            let k = ops::linear(&normed, &own.k, None)?;
            let v = ops::linear(&normed, &own.v, None)?;
            let attended = self.attend(&q, &k, &v, own.heads)?;
            h = ops::linear(&attended, &own.out, Some(&h))?;

            let q = ops::linear(&ops::layer_norm(&h, &block.norm2)?, &cross.q, None)?;
            let k = ops::linear(context, &cross.k, None)?;
            let v = ops::linear(context, &cross.v, None)?;
            if let Some(maps) = maps {
                maps.collect(&q, &k, cross.heads, (height, width))?;
            }
            let attended = self.attend(&q, &k, &v, cross.heads)?;
            h = ops::linear(&attended, &cross.out, Some(&h))?;

            let inner = ops::linear(&ops::layer_norm(&h, &block.norm3)?, &block.feed_forward_in, None)?;
            h = ops::linear(&ops::geglu(&inner)?, &block.feed_forward_out, Some(&h))?;
        }
        let h = ops::reshape(&h, &[b, height, width, c])?;
        ops::linear(&h, &self.proj_out, Some(x))
    }
}
