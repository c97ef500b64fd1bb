//! How photos are taken in.

use serde::{Deserialize, Serialize};

/// How photos are found and read. A run goes on as it began, so that it ends at the same bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhotoReading {
    /// As runs that do not say it had it: files ending in jpg, jpeg, png or webp, colours as they are stored, turned by the EXIF
    /// of the format alone.
    #[default]
    Stored,
    /// By their content, with colours converted to sRGB, turned as Pillow does.
    Converted,
}

impl PhotoReading {
    /// Whether it is the one of runs that do not say it.
    pub fn is_stored(&self) -> bool {
        *self == Self::Stored
    }
}
