//! Masks from points. A client starts a runner process (`catbench runner --segment`), writes one request a line to its
//! stdin, and reads one reply a line from its stdout, until it hangs up: the runner keeps the model and the last photo's
//! features, so that a second point on it is quick.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A point on a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskPoint {
    /// Pixels from the left, of the picture's own size.
    pub x: u32,
    /// Pixels from the top.
    pub y: u32,
    /// Whether it lies on the concept; else on what is not to be in the mask.
    pub concept: bool,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentRequest {
    /// The weights of SAM or MobileSAM, absolute.
    pub model: PathBuf,
    /// The picture, absolute.
    pub picture: PathBuf,
    /// One or more that lie on the concept, and others that do not.
    pub points: Vec<MaskPoint>,
    /// How likely the concept must be for a pixel to be white, above 0 and below 1.
    pub threshold: f64,
    /// Parts and holes smaller than this share of the largest part are cleaned away.
    pub smallest_part: f64,
}

impl SegmentRequest {
    /// With the usual threshold and cleaning.
    pub fn new(model: PathBuf, picture: PathBuf, points: Vec<MaskPoint>) -> Self {
        Self { model, picture, points, threshold: 0.5, smallest_part: 0.1 }
    }
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum SegmentReply {
    /// The mask.
    Mask {
        /// In pixels: the picture's.
        width: u32,
        /// In pixels.
        height: u32,
        /// Line by line, how many pixels are black, then white, then black, and so on.
        runs: Vec<u32>,
        /// How it was made, as the mask's file is to say.
        how: Vec<(String, String)>,
    },
    /// None, and why.
    Failed {
        /// What to tell the user.
        message: String,
    },
}
