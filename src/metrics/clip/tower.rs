//! The two towers of CLIP (Radford et al. 2021, arXiv 2103.00020, section 2.4), for inference. candle-transformers has
//! them for quick-GELU, one epsilon and an end token that is the largest id; score models are not all like that.

use candle_core::{D, Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, Embedding, LayerNorm, Linear, Module, ops};

use super::config::{Activation, TextConfig, TowerConfig, VisionConfig};
use crate::metrics::Error;
use crate::metrics::file::Weights;

/// A part of the weights file: the tensors whose names begin with a prefix.
#[derive(Clone)]
pub(super) struct Scope<'a> {
    weights: &'a Weights,
    prefix: String,
}

impl<'a> Scope<'a> {
    pub(super) fn new(weights: &'a Weights) -> Self {
        Self { weights, prefix: String::new() }
    }

    pub(super) fn of(&self, name: impl std::fmt::Display) -> Self {
        Self { weights: self.weights, prefix: format!("{}{name}.", self.prefix) }
    }

    fn get(&self, name: &str, shape: &[usize]) -> std::result::Result<Tensor, Error> {
        self.weights.get(&format!("{}{name}", self.prefix), shape)
    }

    pub(super) fn linear(&self, name: &str, from: usize, to: usize, bias: bool) -> std::result::Result<Linear, Error> {
        let scope = self.of(name);
        let bias = if bias { Some(scope.get("bias", &[to])?) } else { None };
        Ok(Linear::new(scope.get("weight", &[to, from])?, bias))
    }

    fn norm(&self, name: &str, size: usize, eps: f64) -> std::result::Result<LayerNorm, Error> {
        let scope = self.of(name);
        Ok(LayerNorm::new(scope.get("weight", &[size])?, scope.get("bias", &[size])?, eps))
    }

    fn embedding(&self, name: &str, count: usize, size: usize) -> std::result::Result<Embedding, Error> {
        Ok(Embedding::new(self.of(name).get("weight", &[count, size])?, size))
    }
}

struct Layer {
    norm1: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
    activation: Activation,
}

impl Layer {
    fn load(scope: &Scope, config: &TowerConfig) -> std::result::Result<Self, Error> {
        let (size, inner, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let (attention, mlp) = (scope.of("self_attn"), scope.of("mlp"));
        Ok(Self {
            norm1: scope.norm("layer_norm1", size, eps)?,
            query: attention.linear("q_proj", size, size, true)?,
            key: attention.linear("k_proj", size, size, true)?,
            value: attention.linear("v_proj", size, size, true)?,
            out: attention.linear("out_proj", size, size, true)?,
            norm2: scope.norm("layer_norm2", size, eps)?,
            fc1: mlp.linear("fc1", size, inner, true)?,
            fc2: mlp.linear("fc2", inner, size, true)?,
            heads: config.num_attention_heads,
            activation: config.hidden_act,
        })
    }

    /// [B, T, D] to the same.
    fn forward(&self, hidden: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let hidden = (hidden + self.attention(&self.norm1.forward(hidden)?, mask)?)?;
        let inner = self.fc1.forward(&self.norm2.forward(&hidden)?)?;
        let inner = match self.activation {
            Activation::QuickGelu => (&inner * ops::sigmoid(&(&inner * 1.702)?)?)?,
            Activation::Gelu => inner.gelu_erf()?,
            Activation::GeluTanh => inner.gelu()?,
        };
        hidden + self.fc2.forward(&inner)?
    }

    fn attention(&self, hidden: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let (batch, length, size) = hidden.dims3()?;
        let width = size / self.heads;
        let split = |projection: &Linear| {
            projection.forward(hidden)?.reshape((batch, length, self.heads, width))?.transpose(1, 2)?.contiguous()
        };
        let query = (split(&self.query)? * (width as f64).powf(-0.5))?;
        let mut logits = query.matmul(&split(&self.key)?.t()?)?;
        if let Some(mask) = mask {
            logits = logits.broadcast_add(mask)?;
        }
        let mixed = ops::softmax_last_dim(&logits)?.matmul(&split(&self.value)?)?;
        self.out.forward(&mixed.transpose(1, 2)?.reshape((batch, length, size))?)
    }
}

fn layers(scope: &Scope, config: &TowerConfig) -> std::result::Result<Vec<Layer>, Error> {
    let scope = scope.of("encoder").of("layers");
    (0..config.num_hidden_layers).map(|index| Layer::load(&scope.of(index), config)).collect()
}

pub(super) struct TextTower {
    tokens: Embedding,
    positions: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
    projection: Linear,
}

impl TextTower {
    pub(super) fn load(root: &Scope, config: &TextConfig, projection: usize) -> std::result::Result<Self, Error> {
        let (scope, size) = (root.of("text_model"), config.tower.hidden_size);
        let embeddings = scope.of("embeddings");
        Ok(Self {
            tokens: embeddings.embedding("token_embedding", config.vocab_size, size)?,
            positions: embeddings.of("position_embedding").get("weight", &[config.max_position_embeddings, size])?,
            layers: layers(&scope, &config.tower)?,
            norm: scope.norm("final_layer_norm", size, config.tower.layer_norm_eps)?,
            projection: root.linear("text_projection", size, projection, false)?,
        })
    }

    /// The embedding [1, P] of one text: the hidden state at the position `end`. What follows it cannot reach it.
    pub(super) fn forward(&self, ids: &[u32], end: usize) -> Result<Tensor> {
        let length = end + 1;
        let device = self.positions.device();
        let ids = Tensor::from_slice(&ids[..length], (1, length), device)?;
        let mut hidden = self.tokens.forward(&ids)?.broadcast_add(&self.positions.narrow(0, 0, length)?)?;
        let future: Vec<f32> = (0..length)
            .flat_map(|to| (0..length).map(move |from| if from > to { f32::NEG_INFINITY } else { 0.0 }))
            .collect();
        let causal = Tensor::from_vec(future, (length, length), device)?;
        for layer in &self.layers {
            hidden = layer.forward(&hidden, Some(&causal))?;
        }
        let last = hidden.narrow(1, end, 1)?.squeeze(1)?;
        self.projection.forward(&self.norm.forward(&last)?)
    }
}

pub(super) struct VisionTower {
    patches: Conv2d,
    class: Tensor,
    positions: Tensor,
    pre_norm: LayerNorm,
    layers: Vec<Layer>,
    norm: LayerNorm,
    projection: Linear,
}

impl VisionTower {
    pub(super) fn load(root: &Scope, config: &VisionConfig, projection: usize) -> std::result::Result<Self, Error> {
        let (scope, size, patch) = (root.of("vision_model"), config.tower.hidden_size, config.patch_size);
        let embeddings = scope.of("embeddings");
        let positions = (config.image_size / patch).pow(2) + 1;
        let kernel = embeddings.of("patch_embedding").get("weight", &[size, config.num_channels, patch, patch])?;
        Ok(Self {
            patches: Conv2d::new(kernel, None, Conv2dConfig { stride: patch, ..Conv2dConfig::default() }),
            class: embeddings.get("class_embedding", &[size])?,
            positions: embeddings.of("position_embedding").get("weight", &[positions, size])?,
            // The typo is in the weights' own names.
            pre_norm: scope.norm("pre_layrnorm", size, config.tower.layer_norm_eps)?,
            layers: layers(&scope, &config.tower)?,
            norm: scope.norm("post_layernorm", size, config.tower.layer_norm_eps)?,
            projection: root.linear("visual_projection", size, projection, false)?,
        })
    }

    /// [B, 3, S, S] to the embeddings [B, P].
    pub(super) fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let batch = pixels.dim(0)?;
        let patches = self.patches.forward(pixels)?.flatten_from(2)?.transpose(1, 2)?;
        let class = self.class.reshape((1, 1, ()))?.broadcast_as((batch, 1, patches.dim(D::Minus1)?))?;
        let hidden = Tensor::cat(&[&class, &patches], 1)?.broadcast_add(&self.positions)?;
        let mut hidden = self.pre_norm.forward(&hidden)?;
        for layer in &self.layers {
            hidden = layer.forward(&hidden, None)?;
        }
        let class = hidden.narrow(1, 0, 1)?.squeeze(1)?;
        self.projection.forward(&self.norm.forward(&class)?)
    }
}
