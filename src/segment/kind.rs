//! Which model a file of weights is of.

use super::{Error, PATCH, SIDE};
use crate::diffusion::TensorFile;

/// What decides how the encoder is built.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// MobileSAM's.
    TinyVit,
    /// SAM's.
    Vit {
        /// Of its hidden states.
        width: usize,
        /// Blocks.
        depth: usize,
        /// Attention heads.
        heads: usize,
        /// The blocks whose attention sees the whole photo, not a window.
        whole: Vec<usize>,
    },
}

impl Kind {
    pub fn of(file: &TensorFile) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::model(file.path(), reason.into());
        let shape = |name: &str| file.info(&format!("image_encoder.{name}")).map(|info| info.shape.as_slice());
        if shape("patch_embed.seq.0.c.weight").is_some() {
            return Ok(Self::TinyVit);
        }
        let Some([width, 3, PATCH, PATCH]) = shape("patch_embed.proj.weight") else {
            let has = |start: &str| file.tensors().any(|(name, _)| name.starts_with(start));
            return Err(wrong(if has("vision_encoder.") {
                "these are the names of transformers: take the authors' file, as sam_vit_b_01ec64.safetensors"
            } else if has("image_encoder.trunk.") {
                "this is SAM 2: take MobileSAM or the first SAM"
            } else {
                "this is neither SAM nor MobileSAM: it has no image_encoder.patch_embed"
            }));
        };
        let table = |block: usize| shape(&format!("blocks.{block}.attn.rel_pos_h"));
        let mut whole = Vec::new();
        let (mut depth, mut head_width) = (0, 0);
        while let Some(&[distances, of_head]) = table(depth) {
            if distances == 2 * (SIDE / PATCH) - 1 {
                whole.push(depth);
            }
            (depth, head_width) = (depth + 1, of_head);
        }
        if depth == 0 || head_width == 0 || width % head_width != 0 {
            return Err(wrong("it has an image_encoder of no known form: take the published SAM or MobileSAM"));
        }
        Ok(Self::Vit { width: *width, depth, heads: width / head_width, whole })
    }
}
