//! Pictures as CLIP was shown them: transformers' `CLIPImageProcessor` (its Pillow form) down to the last bit of uint8,
//! as `preprocessor_config.json` describes it.

use std::path::Path;

use candle_core::{Device, Tensor};
use image::{RgbImage, imageops};
use serde::Deserialize;

use super::Error;
use super::file::read_json;
use crate::image::{Filter, resize};

/// A size as the config writes it, in any of the ways it had over the years.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Size {
    Number(u32),
    Named { shortest_edge: Option<u32>, height: Option<u32>, width: Option<u32> },
}

/// The names are transformers'.
#[derive(Debug, Deserialize)]
#[allow(clippy::struct_excessive_bools)]
struct Config {
    #[serde(default = "yes")]
    do_resize: bool,
    size: Option<Size>,
    resample: Option<u32>,
    #[serde(default = "yes")]
    do_center_crop: bool,
    crop_size: Option<Size>,
    #[serde(default = "yes")]
    do_rescale: bool,
    rescale_factor: Option<f64>,
    #[serde(default = "yes")]
    do_normalize: bool,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
}

fn yes() -> bool {
    true
}

/// The target of the resize.
#[derive(Debug, Clone, Copy)]
enum Target {
    ShortestEdge(u32),
    Exact { width: u32, height: u32 },
}

/// From a picture of any size to the tensor CLIP's vision tower takes.
#[derive(Debug, Clone)]
pub struct Preprocessor {
    resize: Option<(Target, Filter)>,
    crop: Option<(u32, u32)>,
    scale: f64,
    mean: [f32; 3],
    deviation: [f32; 3],
}

impl Preprocessor {
    /// Read `preprocessor_config.json` in `folder`, or the `image_processor` part of `processor_config.json`.
    ///
    /// # Errors
    /// Neither file, a missing value (guessing would shift every score), a filter other than bilinear and bicubic, or
    /// settings whose pictures would not all have one size.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let newer = folder.join("processor_config.json");
        let older = folder.join("preprocessor_config.json");
        let (path, value) = if !older.is_file() && newer.is_file() {
            let mut value: serde_json::Value = read_json(&newer)?;
            (newer, value["image_processor"].take())
        } else {
            let value = read_json(&older)?;
            (older, value)
        };
        let wrong = |reason: String| Error::Model { path: path.clone(), reason };
        let config: Config = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
        let missing = |name: &str| wrong(format!("{name} is missing: take the file that came with the model"));

        let crop = match (config.do_center_crop, config.crop_size) {
            (false, _) => None,
            (true, Some(Size::Number(side))) => Some((side, side)),
            (true, Some(Size::Named { height: Some(height), width: Some(width), .. })) => Some((width, height)),
            (true, _) => return Err(missing("crop_size (a number, or height and width)")),
        };
        let resize = if config.do_resize {
            let target = match config.size {
                Some(Size::Number(edge) | Size::Named { shortest_edge: Some(edge), .. }) => Target::ShortestEdge(edge),
                Some(Size::Named { height: Some(height), width: Some(width), .. }) => Target::Exact { width, height },
                _ => return Err(missing("size (a number, shortest_edge, or height and width)")),
            };
            let filter = match config.resample {
                Some(2) => Filter::Bilinear,
                Some(3) => Filter::Bicubic,
                Some(other) => return Err(wrong(format!("resample {other} is neither bilinear (2) nor bicubic (3)"))),
                None => return Err(missing("resample")),
            };
            Some((target, filter))
        } else {
            None
        };
        if crop.is_none() && !matches!(resize, Some((Target::Exact { .. }, _))) {
            return Err(wrong(
                "without do_center_crop, size must be height and width: CLIP takes one size only".into(),
            ));
        }
        // OpenAI's own files do without the factor: it was not an option yet.
        let scale = if config.do_rescale { config.rescale_factor.unwrap_or(1.0 / 255.0) } else { 1.0 };
        let (mean, deviation) = if config.do_normalize {
            let mean = config.image_mean.ok_or_else(|| missing("image_mean"))?;
            (mean, config.image_std.ok_or_else(|| missing("image_std"))?)
        } else {
            ([0.0; 3], [1.0; 3])
        };
        let preprocessor = Self { resize, crop, scale, mean, deviation };
        let (width, height) = preprocessor.size();
        if width == 0 || height == 0 || matches!(resize, Some((Target::ShortestEdge(0), _))) {
            return Err(wrong("a size of 0 leaves no picture".into()));
        }
        if deviation.contains(&0.0) {
            return Err(wrong("image_std has a 0".into()));
        }
        Ok(preprocessor)
    }

    /// Width and height of every picture that comes out.
    pub fn size(&self) -> (u32, u32) {
        match (self.crop, self.resize) {
            (Some(size), _) => size,
            (None, Some((Target::Exact { width, height }, _))) => (width, height),
            (None, _) => (0, 0),
        }
    }

    /// The colour that normalisation takes to 0, rounded to 8 bits.
    pub fn mean_colour(&self) -> [u8; 3] {
        self.mean.map(|mean| (f64::from(mean) / self.scale).round().clamp(0.0, 255.0) as u8)
    }

    /// What is done to a picture, in words, for the record of a score.
    pub fn describe(&self) -> String {
        let resize = match self.resize {
            Some((Target::ShortestEdge(edge), filter)) => format!("shortest edge {edge} ({filter:?}), "),
            Some((Target::Exact { width, height }, filter)) => format!("resized to {width}x{height} ({filter:?}), "),
            None => String::new(),
        };
        let crop = self.crop.map_or(String::new(), |(width, height)| format!("centre {width}x{height}, "));
        format!("{resize}{crop}x {}, mean {:?}, std {:?}", self.scale, self.mean, self.deviation).to_lowercase()
    }

    /// The resized and cropped picture, still 8-bit: equal to transformers' to the last bit.
    pub fn pixels(&self, picture: &RgbImage) -> RgbImage {
        let (width, height) = picture.dimensions();
        let resized = match self.resize {
            None => picture.clone(),
            Some((Target::Exact { width, height }, filter)) => resize(picture, width, height, filter),
            Some((Target::ShortestEdge(edge), filter)) => {
                // Python's `int(size * long / short)`.
                let long = |long: u32, short: u32| (f64::from(edge) * f64::from(long) / f64::from(short.max(1))) as u32;
                if width <= height {
                    resize(picture, edge, long(height, width), filter)
                } else {
                    resize(picture, long(width, height), edge, filter)
                }
            }
        };
        match self.crop {
            Some((width, height)) => center_crop(&resized, width, height),
            None => resized,
        }
    }

    /// `pictures` as the vision tower takes them: float32 [N, 3, height, width].
    pub fn tensor(&self, pictures: &[RgbImage], device: &Device) -> Result<Tensor, Error> {
        let (width, height) = self.size();
        let mut values = Vec::with_capacity(pictures.len() * 3 * (width * height) as usize);
        for picture in pictures {
            let pixels = self.pixels(picture);
            for channel in 0..3 {
                values.extend(pixels.pixels().map(|pixel| {
                    let rescaled = (f64::from(pixel.0[channel]) * self.scale) as f32;
                    (rescaled - self.mean[channel]) / self.deviation[channel]
                }));
            }
        }
        Ok(Tensor::from_vec(values, (pictures.len(), 3, height as usize, width as usize), device)?)
    }
}

/// The centre of `picture`. Margins are floored; what is too small stands on black, its spare pixel before it.
fn center_crop(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    let mut cropped = RgbImage::new(width, height);
    // Floor division of a possibly negative margin, as Python's `//`; for a small picture that is the padding before it.
    let margin = |have: u32, want: u32| (i64::from(have) - i64::from(want)).div_euclid(2);
    imageops::replace(&mut cropped, picture, -margin(picture.width(), width), -margin(picture.height(), height));
    cropped
}
