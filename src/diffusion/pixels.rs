//! Pictures to tensors and back.

use candle_core::{Device, Tensor};
use image::RgbImage;

use super::error::{Error, Result};

/// [B, 3, H, W] in -1..1 of pictures of one size.
pub fn to_tensor(images: &[RgbImage]) -> Result<Tensor> {
    let Some(first) = images.first() else { return Err(Error::Setting("no pictures".into())) };
    let (width, height) = first.dimensions();
    if let Some(odd) = images.iter().find(|image| image.dimensions() != (width, height)) {
        let (w, h) = odd.dimensions();
        return Err(Error::Setting(format!("pictures of {width} × {height} and {w} × {h} in one batch")));
    }
    let numbers: Vec<f32> =
        images.iter().flat_map(image::ImageBuffer::as_raw).map(|&p| f32::from(p) / 127.5 - 1.0).collect();
    let shape = (images.len(), height as usize, width as usize, 3);
    Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?.permute((0, 3, 1, 2))?.contiguous()?)
}

/// Pictures of what the VAE's decoder gives, [B, 3, H, W], clamped to -1..1 and rounded to the nearest of 256 values.
///
/// # Errors
/// A number that is not finite: it would be black.
pub fn to_images(pixels: &Tensor) -> Result<Vec<RgbImage>> {
    let (batch, _, height, width) = pixels.dims4()?;
    let rows = pixels.permute((0, 2, 3, 1))?.contiguous()?.reshape((batch, height * width * 3))?.to_vec2::<f32>()?;
    if rows.iter().flatten().any(|x| !x.is_finite()) {
        return Err(Error::NotFinite { part: "the VAE's decoder".into() });
    }
    rows.into_iter()
        .map(|row| {
            let bytes = row.into_iter().map(|x| ((x / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8);
            RgbImage::from_raw(width as u32, height as u32, bytes.collect())
                .ok_or_else(|| Error::Setting(format!("a picture of {width} × {height} has the wrong size")))
        })
        .collect()
}
