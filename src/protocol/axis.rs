//! The settings along which the pictures of a contact sheet differ.

use super::PictureConfig;
use super::settings::{text_of, words};

words! {
    /// A setting along which the pictures of a sheet differ, by the shortest word for it.
    pub enum Axis {
        /// What they show.
        Prompt = "prompt",
        /// Their noise.
        Seed = "seed",
        /// How strongly what was learned acts.
        Strength = "strength",
        /// How long that was trained.
        Checkpoint = "checkpoint",
        /// Classifier-free guidance.
        Guidance = "guidance",
        /// Denoising steps.
        Steps = "steps",
        /// What takes the noise out, and over which noise levels.
        Sampler = "sampler",
        /// What the unconditional branch reads.
        Negative = "negative",
        /// DDIM's η.
        Eta = "eta",
    }
}

impl Axis {
    /// Its value of `picture`, as a sheet says it.
    pub fn label(self, picture: &PictureConfig) -> String {
        match self {
            Self::Prompt => picture.prompt.clone(),
            Self::Checkpoint => match &picture.checkpoint {
                Some(path) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
                None => "untrained".into(),
            },
            Self::Steps => format!("{} steps", picture.steps),
            Self::Sampler => format!("{}{}", picture.sampler.word(), if picture.karras { " karras" } else { "" }),
            Self::Negative if picture.negative_prompt.is_empty() => "no negative prompt".into(),
            Self::Negative => format!("without {}", picture.negative_prompt),
            Self::Guidance => format!("guidance {}", picture.guidance_scale),
            _ => format!("{} {}", self.word(), text_of(&picture.value(self.word()))),
        }
    }
}
