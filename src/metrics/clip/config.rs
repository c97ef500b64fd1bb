//! The part of a CLIPModel's `config.json` that decides its shapes.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::metrics::Error;
use crate::metrics::file::read_json;
use crate::metrics::transformer::TowerConfig;

#[derive(Debug, Clone, Deserialize)]
pub(super) struct TextConfig {
    #[serde(flatten)]
    pub(super) tower: TowerConfig,
    pub(super) vocab_size: usize,
    pub(super) max_position_embeddings: usize,
    pub(super) eos_token_id: u32,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct VisionConfig {
    #[serde(flatten)]
    pub(super) tower: TowerConfig,
    pub(super) num_channels: usize,
    pub(super) image_size: usize,
    pub(super) patch_size: usize,
}

#[derive(Debug, Clone)]
pub(super) struct ClipConfig {
    pub(super) text: TextConfig,
    pub(super) vision: VisionConfig,
    pub(super) projection_dim: usize,
}

/// What transformers leaves out of a config because it is the default there.
const TEXT_DEFAULTS: &str = r#"{"vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
    "num_attention_heads": 8, "max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    "eos_token_id": 49407}"#;
const VISION_DEFAULTS: &str = r#"{"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "num_channels": 3, "image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5}"#;

impl ClipConfig {
    pub(super) fn load(path: &Path) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Model { path: path.to_path_buf(), reason };
        let value: Value = read_json(path)?;
        if value.get("vision_config").is_none() || value.get("text_config").is_none() {
            return Err(wrong("not a CLIPModel: it has no vision_config or no text_config".into()));
        }
        // The older of the two names for each part wins, as in transformers.
        let part = |defaults: &str, names: [&str; 2]| -> Result<Value, Error> {
            let mut part: Value = serde_json::from_str(defaults).map_err(|error| wrong(error.to_string()))?;
            for given in names.iter().filter_map(|name| value.get(name)?.as_object()) {
                for (key, value) in given.iter().filter(|(_, value)| !value.is_null()) {
                    part[key] = value.clone();
                }
            }
            Ok(part)
        };
        let in_part = |name: &'static str| move |error: serde_json::Error| wrong(format!("{name}: {error}"));
        let text: TextConfig = serde_json::from_value(part(TEXT_DEFAULTS, ["text_config", "text_config_dict"])?)
            .map_err(in_part("text_config"))?;
        let vision: VisionConfig =
            serde_json::from_value(part(VISION_DEFAULTS, ["vision_config", "vision_config_dict"])?)
                .map_err(in_part("vision_config"))?;
        for (name, tower) in [("text_config", &text.tower), ("vision_config", &vision.tower)] {
            if let Some(problem) = tower.problem() {
                return Err(wrong(format!("{name}: {problem}")));
            }
        }
        if vision.patch_size == 0 || vision.image_size < vision.patch_size || vision.num_channels != 3 {
            return Err(wrong(
                "vision_config: it needs 3 channels and an image_size of at least one patch_size".into(),
            ));
        }
        let projection_dim = value.get("projection_dim").and_then(Value::as_u64).unwrap_or(512) as usize;
        Ok(Self { text, vision, projection_dim })
    }
}
