//! What leads from noise to picture, and what makes the noise.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What leads from noise to picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplerName {
    /// DDIM.
    #[default]
    Ddim,
}

/// What makes the noise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseKind {
    /// This program's own generator.
    #[default]
    Catbench,
}

impl FromStr for SamplerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "ddim" { Ok(Self::Ddim) } else { Err("one of ddim".into()) }
    }
}

impl SamplerName {
    /// Its words in settings, for errors.
    pub fn words() -> String {
        "ddim".into()
    }

    /// As web UIs call it.
    pub fn title(self) -> &'static str {
        "DDIM"
    }
}
