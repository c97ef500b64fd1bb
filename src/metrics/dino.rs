//! DINO as a judge (Caron et al. 2021, arXiv 2104.14294): the class token of a self-supervised vision transformer, which
//! tells instances of one class apart better than CLIP does (Ruiz et al. 2023, arXiv 2208.12242, section 4.1). Any
//! transformers `ViTModel` folder, as `facebook/dino-vits16`: `config.json`, weights in one file or shards,
//! `preprocessor_config.json` (without it, ViT's defaults: 224 x 224, mean and deviation 0.5).

use std::path::Path;

use candle_core::{D, Device, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, LayerNorm, Module};
use image::RgbImage;
use serde::Deserialize;

use super::file::{Weights, name_of, read_json};
use super::model::{PictureModel, unit};
use super::transformer::{Activation, Layer, LayerNames, Scope, TowerConfig, through};
use super::{Error, Preprocessor};
use crate::protocol::Backbone;

/// The part of a ViT's `config.json` that decides its shapes. What transformers leaves out is the default there.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
struct Config {
    model_type: Option<String>,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    hidden_act: Activation,
    layer_norm_eps: f64,
    image_size: usize,
    patch_size: usize,
    num_channels: usize,
    qkv_bias: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            model_type: None,
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-12,
            image_size: 224,
            patch_size: 16,
            num_channels: 3,
            qkv_bias: true,
        }
    }
}

/// A DINO model, loaded for measuring.
pub struct DinoScorer {
    preprocessor: Preprocessor,
    backbone: Backbone,
    device: Device,
    width: usize,
    patches: Conv2d,
    class: Tensor,
    positions: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
}

impl DinoScorer {
    /// Load the model in `folder` on `device`. It computes in float32 whatever its weights are stored in.
    ///
    /// # Errors
    /// A missing or damaged file, a config of another kind of model, a tensor that is missing or of another shape (named with
    /// file and both shapes), preprocessing for another picture size than the model's.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, Error> {
        let path = folder.join("config.json");
        let wrong = |reason: String| Error::Model { path: path.clone(), reason };
        let config: Config = read_json(&path)?;
        if let Some(kind) = config.model_type.as_deref().filter(|kind| *kind != "vit") {
            return Err(wrong(format!("a model of the type {kind:?}, not a ViT: take one like facebook/dino-vits16")));
        }
        if config.patch_size == 0 || config.image_size < config.patch_size || config.num_channels != 3 {
            return Err(wrong("it needs 3 channels and an image_size of at least one patch_size".into()));
        }
        let tower = TowerConfig {
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            num_hidden_layers: config.num_hidden_layers,
            num_attention_heads: config.num_attention_heads,
            hidden_act: config.hidden_act,
            layer_norm_eps: config.layer_norm_eps,
        };
        if let Some(problem) = tower.problem() {
            return Err(wrong(problem));
        }
        let preprocessor = Preprocessor::load_vit(folder)?;
        preprocessor.check_side(folder, config.image_size)?;
        let weights = Weights::open(folder, device)?;
        let whole = Scope::new(&weights);
        // A classifier saved with its head has the model under a name of its own.
        let root = if whole.has("vit.embeddings.cls_token") { whole.of("vit") } else { whole };
        let (embeddings, size, patch) = (root.of("embeddings"), config.hidden_size, config.patch_size);
        let projection = embeddings.of("patch_embeddings").of("projection");
        let names = LayerNames {
            norms: ["layernorm_before", "layernorm_after"],
            projections: ["attention.attention.query", "attention.attention.key", "attention.attention.value"],
            bias: config.qkv_bias,
            out: "attention.output.dense",
            mlp: ["intermediate.dense", "output.dense"],
        };
        let layers = root.of("encoder").of("layer");
        Ok(Self {
            patches: Conv2d::new(
                projection.get("weight", &[size, config.num_channels, patch, patch])?,
                Some(projection.get("bias", &[size])?),
                Conv2dConfig { stride: patch, ..Conv2dConfig::default() },
            ),
            class: embeddings.get("cls_token", &[1, 1, size])?,
            positions: embeddings.get("position_embeddings", &[1, (config.image_size / patch).pow(2) + 1, size])?,
            layers: (0..config.num_hidden_layers)
                .map(|index| Layer::load(&layers.of(index), &tower, &names))
                .collect::<Result<_, _>>()?,
            norm: root.norm("layernorm", size, config.layer_norm_eps)?,
            width: size,
            backbone: Backbone { name: name_of(folder), sha256: weights.sha256 },
            preprocessor,
            device: device.clone(),
        })
    }

    /// [B, 3, S, S] to the class tokens [B, D].
    fn forward(&self, pixels: &Tensor) -> candle_core::Result<Tensor> {
        let batch = pixels.dim(0)?;
        let patches = self.patches.forward(pixels)?.flatten_from(2)?.transpose(1, 2)?;
        let class = self.class.broadcast_as((batch, 1, patches.dim(D::Minus1)?))?;
        let hidden = Tensor::cat(&[&class, &patches], 1)?.broadcast_add(&self.positions)?;
        let hidden = through(&self.layers, &hidden, None)?;
        self.norm.forward(&hidden.narrow(1, 0, 1)?.squeeze(1)?)
    }
}

impl PictureModel for DinoScorer {
    fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    fn preprocessor(&self) -> &Preprocessor {
        &self.preprocessor
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn width(&self) -> usize {
        self.width
    }

    fn embed(&self, pictures: &[RgbImage]) -> Result<Tensor, Error> {
        unit(&self.forward(&self.preprocessor.tensor(pictures, &self.device)?)?, &self.backbone.name)
    }
}
