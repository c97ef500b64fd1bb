//! The transformer between the residual blocks: self-attention over the pixels, cross-attention to the text, GEGLU
//! (diffusers' `Transformer2DModel`; Rombach et al. 2022, arXiv 2112.10752, section 3.3).

use std::cell::RefCell;

use candle_core::{DType, Device, Result, Tensor, bail};

use crate::diffusion::error;
use crate::diffusion::ops::{self, LinearWeights, NormWeights};
use crate::diffusion::tape::Tracked;
use crate::diffusion::weights::Scope;

/// Collects what a picture's own pixels and its text are to each of its places, while a UNet looks at it.
pub struct Probe {
    /// Positions of the class word's tokens in the text.
    class: Vec<usize>,
    cross: RefCell<Vec<CrossSeen>>,
    own: RefCell<Vec<OwnSeen>>,
}

/// What one cross-attention saw.
pub struct CrossSeen {
    /// Height and width of its places.
    pub size: (usize, usize),
    /// How many heads it has.
    pub heads: usize,
    /// [B, H · W, heads, 2] in float32: the probability of the class word's tokens together, and of the text's first
    /// token, where attention goes that finds nothing.
    pub probabilities: Tensor,
}

/// Queries and keys of one self-attention, [B, H · W, heads · d].
#[derive(Clone)]
pub struct OwnSeen {
    /// Height and width of its places.
    pub size: (usize, usize),
    heads: usize,
    q: Tensor,
    k: Tensor,
}

impl Probe {
    /// Look for the tokens at `class`.
    pub fn new(class: Vec<usize>) -> Self {
        Self { class, cross: RefCell::default(), own: RefCell::default() }
    }

    /// What was collected: all cross-attentions passed, and the self-attentions with the most places.
    pub fn into_seen(self) -> (Vec<CrossSeen>, Vec<OwnSeen>) {
        (self.cross.into_inner(), self.own.into_inner())
    }

    /// `q` [B, H · W, heads · d] of pictures of `size`, `k` [1, T, heads · d]. Values that are 1 at the tokens in question and 0
    /// elsewhere come out of attention as their probabilities.
    fn see_text(&self, q: &Tracked, k: &Tracked, heads: usize, size: (usize, usize)) -> Result<()> {
        let (batch, places, width) = q.value().dims3()?;
        let (texts, tokens, _) = k.value().dims3()?;
        let head_dim = width / heads;
        if head_dim < 2 || self.class.iter().any(|&position| position >= tokens) {
            bail!(
                "heads of width {head_dim} and a text of {tokens} tokens cannot be asked for tokens {:?}",
                self.class
            );
        }
        let mut values = vec![0f32; texts * tokens * width];
        for (row, value) in values.chunks_exact_mut(width).enumerate() {
            let token = row % tokens;
            for head in value.chunks_exact_mut(head_dim) {
                head[0] = f32::from(u8::from(self.class.contains(&token)));
                head[1] = f32::from(u8::from(token == 0));
            }
        }
        let values = Tensor::from_vec(values, (texts, tokens, width), k.value().device())?;
        let seen = ops::attention(&in_float(q.value())?, &in_float(k.value())?, &Tracked::from(values), heads, None)?;
        let seen = seen.value().reshape((batch, places, heads, head_dim))?.narrow(3, 0, 2)?;
        let probabilities = seen.contiguous()?.to_device(&Device::Cpu)?;
        self.cross.borrow_mut().push(CrossSeen { size, heads, probabilities });
        Ok(())
    }

    /// Keep queries and keys, unless others have more places.
    fn see_itself(&self, q: &Tracked, k: &Tracked, heads: usize, size: (usize, usize)) {
        let mut own = self.own.borrow_mut();
        let most = own.first().map_or(0, |seen| seen.size.0 * seen.size.1);
        if size.0 * size.1 > most {
            own.clear();
        }
        if size.0 * size.1 >= most {
            own.push(OwnSeen { size, heads, q: q.value().clone(), k: k.value().clone() });
        }
    }
}

impl OwnSeen {
    /// S · m for each m of `maps`, [H · W]: what each place gathers of it by self-attention, averaged over pictures and heads.
    pub fn gather(&self, maps: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let (batch, places, width) = self.q.dims3()?;
        let head_dim = width / self.heads;
        let (q, k) = (in_float(&self.q)?, in_float(&self.k)?);
        let mut gathered = Vec::new();
        // A column of each head's values is a map.
        for maps in maps.chunks(head_dim) {
            let mut values = vec![0f32; places * head_dim];
            for (place, value) in values.chunks_exact_mut(head_dim).enumerate() {
                value.iter_mut().zip(maps).for_each(|(value, map)| *value = map[place]);
            }
            let values = Tensor::from_vec(values, (1, places, head_dim), self.k.device())?;
            let values = values.repeat((batch, 1, self.heads))?.contiguous()?;
            let out = ops::attention(&q, &k, &Tracked::from(values), self.heads, None)?;
            let mean = out.value().reshape((batch, places, self.heads, head_dim))?.mean((0, 2))?;
            let mean = mean.t()?.contiguous()?.to_vec2::<f32>()?;
            gathered.extend(mean.into_iter().take(maps.len()));
        }
        Ok(gathered)
    }
}

fn in_float(x: &Tensor) -> Result<Tracked> {
    Ok(Tracked::from(x.to_dtype(DType::F32)?))
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
    pub fn forward(&self, x: &Tracked, context: &Tracked, probe: Option<&Probe>) -> Result<Tracked> {
        let (b, height, width, c) = x.value().dims4()?;
        let normed = ops::group_norm(x, &self.norm, self.groups, false)?;
        let mut h = ops::reshape(&ops::linear(&normed, &self.proj_in, None)?, &[b, height * width, c])?;
        for block in &self.blocks {
            let Block { self_attention: own, cross_attention: cross, .. } = block;
            let normed = ops::layer_norm(&h, &block.norm1)?;
            let q = ops::linear(&normed, &own.q, None)?;
            let k = ops::linear(&normed, &own.k, None)?;
            let v = ops::linear(&normed, &own.v, None)?;
            if let Some(probe) = probe {
                probe.see_itself(&q, &k, own.heads, (height, width));
            }
            let attended = self.attend(&q, &k, &v, own.heads)?;
            h = ops::linear(&attended, &own.out, Some(&h))?;

            let q = ops::linear(&ops::layer_norm(&h, &block.norm2)?, &cross.q, None)?;
            let k = ops::linear(context, &cross.k, None)?;
            let v = ops::linear(context, &cross.v, None)?;
            if let Some(probe) = probe {
                probe.see_text(&q, &k, cross.heads, (height, width))?;
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
