//! Who makes masks, how, and what a mask is worth.

use serde::{Deserialize, Serialize};

use super::device::{DeviceName, FloatType};
use super::names::check_prompt;
use super::settings::{SettingError, words};

words! {
    /// What makes the masks of samples and photos.
    #[derive(Default)]
    pub enum MaskMaker {
        /// The untrained base model: where its denoiser sees the class word in the finished picture, refined by the picture's colours.
        #[default]
        #[serde(alias = "attention")]
        BaseModel = "base_model",
        /// Segment Anything, asked with points and a box from the base model's mask.
        Sam = "sam",
        /// A network that was trained on masks of one world: concept.toml's `segmenter`.
        Segmenter = "segmenter",
        /// Nobody: pictures are made without masks and scored whole.
        Nobody = "nobody",
    }
}

impl MaskMaker {
    /// Whether it looks at pictures with the base model.
    pub fn looks(self) -> bool {
        matches!(self, Self::BaseModel | Self::Sam)
    }
}

words! {
    /// How much evidence the base model gathers for a mask.
    #[derive(Default)]
    pub enum MaskQuality {
        /// Few looks at the picture: at most a tenth of the time that sampling it took.
        #[default]
        Fast = "fast",
        /// More looks.
        Best = "best",
    }
}

/// A mask whose confidence, 0 to 1, is lower is doubtful. On pictures of the demo world 1 of 20 right masks is called so, on small,
/// noisy and hidden objects 4 of 5 wrong ones (`catbench mask bench`).
pub const DOUBTFUL_BELOW: f64 = 0.5;

/// Whether a mask of this confidence is doubtful. One that says nothing of its worth, as one drawn by hand, is not.
pub fn is_doubtful(confidence: Option<f64>) -> bool {
    confidence.is_some_and(|confidence| confidence < DOUBTFUL_BELOW)
}

/// Settings of masks. All but `maker` say how the untrained base model looks at a picture: it is noised to a few timesteps, and
/// where the denoiser sees the class word is where the concept is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskConfig {
    /// Who makes them.
    pub maker: MaskMaker,
    /// What the denoiser reads; `{class}` stands for the class word.
    pub caption: String,
    /// The timesteps that the photo is noised to, of the schedule's.
    pub timesteps: Vec<usize>,
    /// Draws of noise at each.
    pub draws: usize,
    /// Where the map, 0 to 1, is cut; none for where its two classes are best apart (Otsu).
    pub threshold: Option<f64>,
    /// Parts of the mask smaller than this share of its largest, and holes smaller than it, are filled up with what is around.
    pub smallest_part: f64,
    /// Seed of the noise.
    pub seed: u64,
    /// What computes: `cpu`, `cuda:N` or `metal`.
    pub device: DeviceName,
    /// Type of the weights and of activations.
    pub dtype: FloatType,
}

impl Default for MaskConfig {
    fn default() -> Self {
        Self::of(MaskMaker::default(), MaskQuality::Best)
    }
}

impl MaskConfig {
    /// Masks by `maker`, which looks as `quality` says.
    pub fn of(maker: MaskMaker, quality: MaskQuality) -> Self {
        let (timesteps, draws) = match quality {
            MaskQuality::Fast => (vec![100, 200, 400], 1),
            MaskQuality::Best => (vec![100, 200, 300, 400], 3),
        };
        Self {
            maker,
            caption: "a photo of a {class}".into(),
            timesteps,
            draws,
            threshold: None,
            smallest_part: 0.1,
            seed: 0,
            device: DeviceName::Cpu,
            dtype: FloatType::F32,
        }
    }

    /// How often each picture is looked at.
    pub fn looks(&self) -> usize {
        if self.maker.looks() { self.timesteps.len() * self.draws } else { 1 }
    }

    /// Refuse settings that cannot work, whatever the base model.
    pub fn check(&self) -> Result<(), SettingError> {
        self.device.check(self.dtype)?;
        if self.timesteps.is_empty() {
            return Err(SettingError::new("timesteps", "none", "must be one or more"));
        }
        if self.draws == 0 {
            return Err(SettingError::new("draws", 0, "must be 1 or more"));
        }
        check_prompt("caption", &self.caption)?;
        if !self.caption.contains("{class}") {
            let value = format!("\"{}\"", self.caption);
            return Err(SettingError::new("caption", value, "must contain {class}, the class word's place"));
        }
        if let Some(threshold) = self.threshold.filter(|threshold| !(0.0..1.0).contains(threshold)) {
            return Err(SettingError::new("threshold", threshold, "must be in 0..1"));
        }
        if !(0.0..=1.0).contains(&self.smallest_part) {
            return Err(SettingError::new("smallest_part", self.smallest_part, "must be in 0..=1"));
        }
        Ok(())
    }
}
