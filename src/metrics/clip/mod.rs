//! CLIP as a judge: unit-norm embeddings of pictures and texts in one space, from any transformers `CLIPModel` folder
//! (`config.json`, weights in one file or shards of any float type, `preprocessor_config.json`, `tokenizer.json` or
//! `vocab.json` and `merges.txt`).

mod config;
mod tower;

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use image::RgbImage;

use self::config::{ClipConfig, TextConfig};
use self::tower::{TextTower, VisionTower};
use super::file::{Weights, name_of};
use super::model::{PictureModel, unit};
use super::transformer::Scope;
use super::{Error, Preprocessor};
use crate::diffusion::Tokenizer;
use crate::protocol::Backbone;

/// A CLIP model, loaded for measuring.
pub struct ClipScorer {
    preprocessor: Preprocessor,
    tokenizer: Tokenizer,
    folder: PathBuf,
    config: TextConfig,
    width: usize,
    text: TextTower,
    vision: VisionTower,
    backbone: Backbone,
    device: Device,
}

impl ClipScorer {
    /// Load the model in `folder` on `device`. It computes in float32 whatever its weights are stored in.
    ///
    /// # Errors
    /// A missing or damaged file, a config without the sizes, a tensor that is missing or of another shape (named with file and both
    /// shapes), preprocessing for another picture size than the model's.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, Error> {
        let config = ClipConfig::load(&folder.join("config.json"))?;
        let preprocessor = Preprocessor::load(folder)?;
        preprocessor.check_side(folder, config.vision.image_size)?;
        let tokenizer = Tokenizer::load(folder, config.text.max_position_embeddings)?;
        let weights = Weights::open(folder, device)?;
        let root = Scope::new(&weights);
        Ok(Self {
            text: TextTower::load(&root, &config.text, config.projection_dim)?,
            vision: VisionTower::load(&root, &config.vision, config.projection_dim)?,
            backbone: Backbone { name: name_of(folder), sha256: weights.sha256 },
            width: config.projection_dim,
            config: config.text,
            preprocessor,
            tokenizer,
            folder: folder.to_owned(),
            device: device.clone(),
        })
    }

    /// Unit-norm embeddings [N, D] of texts.
    ///
    /// # Errors
    /// A text over the model's length: it would be another text if it were cut.
    pub fn text_embeds(&self, texts: &[String]) -> Result<Tensor, Error> {
        let mut parts = Vec::new();
        for text in texts {
            let (ids, end) = self.tokenize(text)?;
            parts.push(unit(&self.text.forward(&ids, end)?, &self.backbone.name)?);
        }
        if parts.is_empty() {
            return Err(Error::Nothing("prompts"));
        }
        Ok(Tensor::cat(&parts, 0)?)
    }

    /// Ids of `text` with start and end, and the position that stands for the whole.
    fn tokenize(&self, text: &str) -> Result<(Vec<u32>, usize), Error> {
        let wrong = |reason: String| Error::Model { path: self.folder.clone(), reason };
        let limit = self.config.max_position_embeddings;
        let tokens = self.tokenizer.count(text)?;
        if tokens > limit {
            return Err(Error::PromptTooLong { prompt: text.to_owned(), tokens, limit });
        }
        let ids = self.tokenizer.tokens(text)?.ids;
        if let Some(id) = ids.iter().find(|&&id| id as usize >= self.config.vocab_size) {
            let size = self.config.vocab_size;
            return Err(wrong(format!("gives {text:?} the token {id}, but config.json has only {size}")));
        }
        // Configs written before transformers 4.31 say 2, whatever the real id; the end token was the largest there.
        let end = match self.config.eos_token_id {
            2 => ids.iter().copied().max(),
            id => Some(id),
        };
        let position = end.and_then(|end| ids.iter().position(|&id| id == end));
        let position = position.ok_or_else(|| {
            wrong(format!("gives {text:?} no end token {}, which config.json names", self.config.eos_token_id))
        })?;
        Ok((ids, position))
    }
}

impl PictureModel for ClipScorer {
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
        unit(&self.vision.forward(&self.preprocessor.tensor(pictures, &self.device)?)?, &self.backbone.name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_text_tower_equals_transformers_also_for_full_length_texts() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny_clip");
        let scorer = ClipScorer::load(&folder, &Device::Cpu).unwrap();
        let reference = candle_core::safetensors::load(folder.join("reference.safetensors"), &Device::Cpu).unwrap();
        let expected = reference["text_embeds"].to_vec2::<f32>().unwrap();
        let texts = reference["text_ids"].to_vec2::<i64>().unwrap();
        for (ids, expected) in texts.iter().zip(expected) {
            let ids: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
            let end = ids.iter().position(|&id| id == scorer.config.eos_token_id).unwrap();
            let found =
                unit(&scorer.text.forward(&ids, end).unwrap(), "tiny").unwrap().to_vec2::<f32>().unwrap().concat();
            let distance = found.iter().zip(&expected).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
            assert!(distance < 1e-6, "{ids:?}: {distance}");
        }
    }
}
