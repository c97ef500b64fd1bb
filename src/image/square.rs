//! Photos and masks as squares, cut the same way so that they stay on top of each other.

use ::image::{ImageBuffer, Pixel, imageops};

use super::{Filter, resize};
use crate::protocol::Crop;

/// `image` as a square of `size` pixels: the largest centred square, or the whole squashed, resampled with Pillow's bicubic.
/// The spare pixel of an odd margin falls to the right and the bottom, as Python's `//` has it.
pub fn square<P>(image: &ImageBuffer<P, Vec<u8>>, size: u32, crop: Crop) -> ImageBuffer<P, Vec<u8>>
where
    P: Pixel<Subpixel = u8> + 'static,
{
    match crop {
        Crop::Squash => resize(image, size, size, Filter::Bicubic),
        Crop::Center => {
            let (width, height) = image.dimensions();
            let side = width.min(height);
            let middle = imageops::crop_imm(image, (width - side) / 2, (height - side) / 2, side, side).to_image();
            resize(&middle, size, size, Filter::Bicubic)
        }
    }
}

#[cfg(test)]
mod tests {
    use ::image::{GrayImage, Luma, Rgb, RgbImage};

    use super::*;

    /// Black, with a white square in the middle third of a 90 x 30 picture.
    fn marked(x: u32) -> u8 {
        if (30..60).contains(&x) { 255 } else { 0 }
    }

    #[test]
    fn the_centre_is_cut_and_the_whole_is_squashed() {
        let photo = RgbImage::from_fn(90, 30, |x, _| Rgb([marked(x); 3]));
        let centre = square(&photo, 15, Crop::Center);
        assert!(centre.pixels().all(|pixel| pixel.0 == [255; 3]), "the middle third is all there is");
        let squashed = square(&photo, 15, Crop::Squash);
        assert_eq!(squashed.dimensions(), (15, 15));
        assert_eq!((squashed.get_pixel(1, 7).0, squashed.get_pixel(7, 7).0), ([0; 3], [255; 3]));
    }

    #[test]
    fn a_mask_stays_on_its_photo() {
        let photo = RgbImage::from_fn(91, 34, |x, y| Rgb([if y > 20 { marked(x) } else { 0 }; 3]));
        let mask = GrayImage::from_fn(91, 34, |x, y| Luma([if y > 20 { marked(x) } else { 0 }]));
        for crop in [Crop::Center, Crop::Squash] {
            let (photo, mask) = (square(&photo, 16, crop), square(&mask, 16, crop));
            assert!(photo.pixels().zip(mask.pixels()).all(|(photo, mask)| photo.0[0] == mask.0[0]));
        }
    }
}
