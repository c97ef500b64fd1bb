//! Settings with several values.

use std::path::PathBuf;

use serde_json::Value;

use super::{MAX_PICTURES, template};
use crate::protocol::PictureConfig;
use crate::protocol::settings::value_of;

/// Settings with several values, for lines that do not say their own; an empty list leaves a setting as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values {
    /// Seeds; then each has one image unless a number of them is asked for.
    pub seeds: Vec<u64>,
    /// Guidance scales.
    pub guidance_scales: Vec<f64>,
    /// Strengths.
    pub strengths: Vec<f32>,
    /// Checkpoints, absolute.
    pub checkpoints: Vec<PathBuf>,
    /// Images of each prompt with each seed; none for one with each of `seeds`, or of several of a line, else as many as is
    /// usual.
    pub images_per_prompt: Option<usize>,
}

impl Values {
    /// How many values of the setting `name` there are.
    pub(super) fn count_of(&self, name: &str) -> usize {
        match name {
            "seed" => self.seeds.len(),
            "guidance_scale" => self.guidance_scales.len(),
            "strength" => self.strengths.len(),
            _ => 0,
        }
    }

    /// The values of the setting `name`.
    pub(super) fn of(&self, name: &str) -> Vec<Value> {
        match name {
            "seed" => self.seeds.iter().map(value_of).collect(),
            "guidance_scale" => self.guidance_scales.iter().map(value_of).collect(),
            "strength" => self.strengths.iter().map(value_of).collect(),
            _ => Vec::new(),
        }
    }
}

/// Each picture with each value.
pub(super) fn each<T>(
    pictures: &[PictureConfig],
    values: &[T],
    set: impl Fn(&mut PictureConfig, &T),
) -> Vec<PictureConfig> {
    let with = |picture: &PictureConfig, value: &T| {
        let mut picture = picture.clone();
        set(&mut picture, value);
        picture
    };
    pictures.iter().flat_map(|picture| values.iter().map(move |value| with(picture, value))).collect()
}

/// The values that `text` stands for: those of a range, `1..5` or `0..1..0.25`, or itself.
pub fn values_of(text: &str) -> Result<Vec<String>, String> {
    let range = match template::Range::parse(text, 0) {
        None => return Ok(vec![text.to_owned()]),
        Some(range) => range.map_err(|wrong| format!("{}: {}", wrong.problem, wrong.remedy))?,
    };
    if range.count() > MAX_PICTURES {
        return Err(format!("{text} is {} values: {MAX_PICTURES} at most", range.count()));
    }
    Ok((0..range.count()).map(|index| range.number(index)).collect())
}
