//! Who makes masks, and what a mask is worth.

use serde::{Deserialize, Serialize};

/// What makes the masks of samples and photos.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskMaker {
    /// The untrained base model: where its denoiser sees the class word in the finished picture, refined by the picture's colours.
    #[default]
    #[serde(alias = "attention")]
    BaseModel,
    /// Segment Anything, asked with points and a box from the base model's mask.
    Sam,
    /// A network that was trained on masks of one world: concept.toml's `segmenter`.
    Segmenter,
    /// Nobody: pictures are made without masks and scored whole.
    Nobody,
}

impl MaskMaker {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::BaseModel, Self::Sam, Self::Segmenter, Self::Nobody];

    /// Whether it looks at pictures with the base model.
    pub fn looks(self) -> bool {
        matches!(self, Self::BaseModel | Self::Sam)
    }

    /// As in settings files.
    pub fn word(self) -> &'static str {
        match self {
            Self::BaseModel => "base_model",
            Self::Sam => "sam",
            Self::Segmenter => "segmenter",
            Self::Nobody => "nobody",
        }
    }
}

/// How much evidence the base model gathers for a mask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskQuality {
    /// Few looks at the picture: at most a tenth of the time that sampling it took.
    #[default]
    Fast,
    /// More looks.
    Best,
}

impl MaskQuality {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Fast, Self::Best];

    /// As in settings files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Best => "best",
        }
    }
}

/// A mask whose confidence, 0 to 1, is lower is doubtful. On pictures of the demo world 1 of 20 right masks is called so, on small,
/// noisy and hidden objects 4 of 5 wrong ones (`catbench mask bench`).
pub const DOUBTFUL_BELOW: f64 = 0.5;

/// Whether a mask of this confidence is doubtful. One that says nothing of its worth, as one drawn by hand, is not.
pub fn is_doubtful(confidence: Option<f64>) -> bool {
    confidence.is_some_and(|confidence| confidence < DOUBTFUL_BELOW)
}
