//! Pictures as score models were shown them: transformers' `CLIPImageProcessor` and `ViTImageProcessor` (their Pillow
//! forms) down to the last bit of uint8, as `preprocessor_config.json` describes it.

use std::path::Path;

use candle_core::{Device, Tensor};
use image::{RgbImage, imageops};
use rayon::prelude::*;
use serde::Deserialize;

use super::Error;
use super::file::read_json;
use crate::image::{Filter, resize, resize_part};

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
    do_center_crop: Option<bool>,
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

/// What a file without a setting means by that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Clip,
    Vit,
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
        Self::load_as(folder, Kind::Clip)
    }

    /// The same for a ViT: a single number is both sides of the picture, nothing is cut off unless it says so, and a folder
    /// without such a file means 224 x 224, bilinear, mean and deviation 0.5.
    ///
    /// # Errors
    /// As [`Self::load`], but for the missing file.
    pub fn load_vit(folder: &Path) -> Result<Self, Error> {
        if !folder.join("preprocessor_config.json").is_file() && !folder.join("processor_config.json").is_file() {
            return Ok(Self {
                resize: Some((Target::Exact { width: 224, height: 224 }, Filter::Bilinear)),
                crop: None,
                scale: 1.0 / 255.0,
                mean: [0.5; 3],
                deviation: [0.5; 3],
            });
        }
        Self::load_as(folder, Kind::Vit)
    }

    fn load_as(folder: &Path, kind: Kind) -> Result<Self, Error> {
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

        let crop = match (config.do_center_crop.unwrap_or(kind == Kind::Clip), config.crop_size) {
            (false, _) => None,
            (true, Some(Size::Number(side))) => Some((side, side)),
            (true, Some(Size::Named { height: Some(height), width: Some(width), .. })) => Some((width, height)),
            (true, _) => return Err(missing("crop_size (a number, or height and width)")),
        };
        let resize = if config.do_resize {
            let target = match config.size {
                Some(Size::Number(side)) if kind == Kind::Vit => Target::Exact { width: side, height: side },
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
                "without do_center_crop, size must be height and width: the model takes one size only".into(),
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

    /// Refuse preprocessing that gives other pictures than the model in `folder` takes: `side` x `side`.
    pub(super) fn check_side(&self, folder: &Path, side: usize) -> Result<(), Error> {
        let (width, height) = self.size();
        if (width as usize, height as usize) == (side, side) {
            return Ok(());
        }
        let reason = format!("makes pictures of {width} x {height}, the model's config.json asks for {side} x {side}");
        Err(Error::Model { path: folder.join("preprocessor_config.json"), reason })
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
        let ((to_width, to_height), filter) = match self.resize {
            None => ((width, height), Filter::Bicubic),
            Some((Target::Exact { width, height }, filter)) => ((width, height), filter),
            Some((Target::ShortestEdge(edge), filter)) => {
                // Python's `int(size * long / short)`.
                let long = |long: u32, short: u32| (f64::from(edge) * f64::from(long) / f64::from(short.max(1))) as u32;
                let size = if width <= height { (edge, long(height, width)) } else { (long(width, height), edge) };
                (size, filter)
            }
        };
        let Some((crop_width, crop_height)) = self.crop else {
            return resize(picture, to_width, to_height, filter);
        };
        if to_width < crop_width || to_height < crop_height {
            return center_crop(&resize(picture, to_width, to_height, filter), crop_width, crop_height);
        }
        // Only what stays is made.
        let (x, y) = ((to_width - crop_width) / 2, (to_height - crop_height) / 2);
        resize_part(picture, (to_width, to_height), filter, x..x + crop_width, y..y + crop_height)
    }

    /// What each byte becomes, channel by channel.
    fn table(&self) -> [[f32; 256]; 3] {
        std::array::from_fn(|channel| {
            std::array::from_fn(|byte| {
                let rescaled = (byte as f64 * self.scale) as f32;
                (rescaled - self.mean[channel]) / self.deviation[channel]
            })
        })
    }

    /// `pictures` as the vision tower takes them: float32 [N, 3, height, width].
    pub fn tensor(&self, pictures: &[RgbImage], device: &Device) -> Result<Tensor, Error> {
        let (width, height) = self.size();
        let plane = (width * height) as usize;
        let mut values = vec![0_f32; pictures.len() * 3 * plane];
        let table = self.table();
        pictures.par_iter().zip(values.par_chunks_exact_mut(3 * plane)).for_each(|(picture, values)| {
            let pixels = self.pixels(picture);
            for (channel, (values, table)) in values.chunks_exact_mut(plane).zip(&table).enumerate() {
                let bytes = pixels.iter().skip(channel).step_by(3);
                values.iter_mut().zip(bytes).for_each(|(value, &byte)| *value = table[usize::from(byte)]);
            }
        });
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
