//! The two towers of CLIP (Radford et al. 2021, arXiv 2103.00020, section 2.4), for inference. candle-transformers has
//! them for quick-GELU, one epsilon and an end token that is the largest id; score models are not all like that.

use candle_core::{D, Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, Embedding, LayerNorm, Linear, Module};

use super::config::{TextConfig, VisionConfig};
use crate::diffusion::AttnMask;
use crate::metrics::Error;
use crate::metrics::transformer::{Layer, LayerNames, Scope, TowerConfig, through};

const NAMES: LayerNames = LayerNames {
    norms: ["layer_norm1", "layer_norm2"],
    projections: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    bias: true,
    out: "self_attn.out_proj",
    mlp: ["mlp.fc1", "mlp.fc2"],
};

fn layers(scope: &Scope, config: &TowerConfig) -> std::result::Result<Vec<Layer>, Error> {
    let scope = scope.of("encoder").of("layers");
    (0..config.num_hidden_layers).map(|index| Layer::load(&scope.of(index), config, &NAMES)).collect()
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
        let hidden = self.tokens.forward(&ids)?.broadcast_add(&self.positions.narrow(0, 0, length)?)?;
        let hidden = through(&self.layers, &hidden, Some(&AttnMask::causal()))?;
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
        let hidden = through(&self.layers, &self.pre_norm.forward(&hidden)?, None)?;
        let class = hidden.narrow(1, 0, 1)?.squeeze(1)?;
        self.projection.forward(&self.norm.forward(&class)?)
    }
}
