//! The layout of checkpoints that versions wrote which had one method and one text encoder: the metadata has no method but the layers,
//! and rows are `layers.9.key` where they are `text_encoder.layers.9.key` now. A run that began so goes on so, and ends at the same bytes.

use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use super::{CheckpointMeta, TensorBytes};
use crate::json;
use crate::protocol::TrainConfig;

pub(super) const FORMAT: u32 = 1;
/// The part of the base model that all rows entered.
const PART: &str = "text_encoder.";

#[derive(Serialize, Deserialize)]
struct Said {
    format: u32,
    step: usize,
    class_word: String,
    base_model: String,
    photos: String,
    layers: Vec<usize>,
    #[serde(serialize_with = "without_method")]
    config: TrainConfig,
}

fn without_method<S: Serializer>(config: &TrainConfig, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    config.entries(&["method"], &mut map)?;
    map.end()
}

/// What the metadata says, and the names of what was learned, here and in the file.
pub(super) fn read(text: &str) -> serde_json::Result<(CheckpointMeta, Vec<(String, String)>)> {
    let Said { format, step, class_word, base_model, photos, layers, config } = serde_json::from_str(text)?;
    let rows = layers.iter().flat_map(|layer| ["key", "value"].map(|side| format!("layers.{layer}.{side}")));
    let names = rows.map(|name| (format!("{PART}{name}"), name)).collect();
    Ok((CheckpointMeta { format, step, class_word, base_model, photos, config }, names))
}

/// The metadata; `tensors` get their names of then.
pub(super) fn write(meta: &CheckpointMeta, tensors: &mut [TensorBytes]) -> Result<String, String> {
    let mut layers = Vec::new();
    for (name, ..) in tensors {
        let Some(rows) = name.strip_prefix(PART).map(str::to_owned) else { continue };
        if let Some(layer) = rows.strip_prefix("layers.").and_then(|rest| rest.strip_suffix(".key")?.parse().ok()) {
            layers.push(layer);
        }
        *name = rows;
    }
    let CheckpointMeta { format, step, class_word, base_model, photos, config } = meta.clone();
    json::to_string(&Said { format, step, class_word, base_model, photos, layers, config }).map_err(|e| e.to_string())
}
