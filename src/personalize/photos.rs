//! Photos as a training sees them: the latent distribution of each, computed once, and its mask at latent size.

use candle_core::{DType, Device, Tensor};
use image::imageops::flip_horizontal;
use image::{GrayImage, RgbImage};
use sha2::{Digest, Sha256};

use super::error::Result;
use crate::diffusion::{BaseModel, Encoder, to_tensor};
use crate::protocol::{SettingError, TrainConfig};

/// A photo as the model sees it: square, at the model's resolution.
#[derive(Debug, Clone)]
pub struct TrainingPhoto {
    /// Its file's name, by which it can be held out.
    pub name: String,
    /// The picture.
    pub image: RgbImage,
    /// White where the concept is, same size.
    pub mask: Option<GrayImage>,
}

/// The latent distribution of one photo, and its mask at latent size.
pub(super) struct CachedPhoto {
    /// (mean, std) [C, h, w]: as it is, then mirrored.
    pub moments: Vec<(Tensor, Tensor)>,
    /// [1, h, w]: as it is, then mirrored.
    pub masks: Option<[Tensor; 2]>,
}

impl CachedPhoto {
    pub fn new(model: &BaseModel, encoder: &Encoder, photo: &TrainingPhoto, flips: bool) -> Result<Self> {
        let size = model.resolution() as u32;
        if photo.image.dimensions() != (size, size) {
            let value = format!("{} × {}", photo.image.width(), photo.image.height());
            return Err(SettingError::new("images", value, format!("the base model takes {size} × {size}")).into());
        }
        // One after the other: encoding, not training, would need the most memory.
        let encode = |image| {
            let (mean, std) = encoder.encode(&to_tensor(&[image])?)?;
            Ok::<_, super::Error>((mean.get(0)?, std.get(0)?))
        };
        let mut moments = vec![encode(photo.image.clone())?];
        if flips {
            moments.push(encode(flip_horizontal(&photo.image))?);
        }
        let masks = photo
            .mask
            .as_ref()
            .map(|mask| {
                let factor = model.vae.factor();
                let masks = [latent_mask(mask, factor)?, latent_mask(&flip_horizontal(mask), factor)?];
                let [plain, mirrored] = masks.map(|mask| mask.to_device(model.compute.device()));
                Ok::<_, super::Error>([plain?, mirrored?])
            })
            .transpose()?;
        Ok(Self { moments, masks })
    }

    /// Its mask as loss weights [1, h, w], 1 everywhere without one.
    pub fn weights(&self, flip: usize) -> Result<Tensor> {
        let mean = &self.moments[flip].0;
        let (_, h, w) = mean.dims3()?;
        Ok(match &self.masks {
            Some(masks) => masks[flip].clone(),
            None => Tensor::ones((1, h, w), DType::F32, mean.device())?,
        })
    }
}

/// The mask at latent size, [1, h, w]: the share of each latent's pixels that is concept.
fn latent_mask(mask: &GrayImage, factor: usize) -> Result<Tensor> {
    let (w, h) = (mask.width() as usize / factor, mask.height() as usize / factor);
    let mut sums = vec![0f32; w * h];
    for (x, y, pixel) in mask.enumerate_pixels() {
        let (x, y) = (x as usize / factor, y as usize / factor);
        if x < w && y < h {
            sums[y * w + x] += f32::from(pixel.0[0]) / 255.0;
        }
    }
    if sums.iter().sum::<f32>() < 1.0 {
        let cause = "a mask is black all over; draw the concept in white or remove the mask";
        return Err(SettingError::new("masks", "empty", cause).into());
    }
    sums.iter_mut().for_each(|s| *s /= (factor * factor) as f32);
    Ok(Tensor::from_vec(sums, (1, h, w), &Device::Cpu)?)
}

/// SHA-256 of the photos and masks as trained on with `config`, then of the one that is held out.
///
/// # Errors
/// The one to be held out is not there.
pub fn photos_hash(photos: &[TrainingPhoto], config: &TrainConfig) -> Result<String> {
    let names: Vec<String> = photos.iter().map(|photo| photo.name.clone()).collect();
    let held_out = config.held_out(&names)?;
    let mut hash = Sha256::new();
    let mut add = |photo: &TrainingPhoto| {
        hash.update(photo.image.as_raw());
        match &photo.mask {
            Some(mask) => hash.update(mask.as_raw()),
            None => hash.update([0]),
        }
    };
    photos.iter().enumerate().filter(|(i, _)| held_out != Some(*i)).for_each(|(_, photo)| add(photo));
    if let Some(photo) = held_out.and_then(|i| photos.get(i)) {
        add(photo);
    }
    Ok(format!("{:x}", hash.finalize()))
}
