//! Pixels of another kind in the place of those that there were: two copies of a large picture are more than many a machine has.

use ::image::{DynamicImage, RgbImage};

/// The high byte of each 16-bit value in `bytes`, as Pillow takes it.
pub(super) fn high_bytes(mut bytes: Vec<u8>) -> Vec<u8> {
    let high = usize::from(cfg!(target_endian = "little"));
    let count = bytes.len() / 2;
    for i in 0..count {
        bytes[i] = bytes[2 * i + high];
    }
    bytes.truncate(count);
    bytes.shrink_to_fit();
    bytes
}

/// An 8-bit picture as RGB; transparent parts show `background`.
pub(super) fn flatten(image: DynamicImage, background: u8) -> RgbImage {
    let (width, height) = (image.width(), image.height());
    let pixels = match image {
        DynamicImage::ImageRgb8(image) => return image,
        DynamicImage::ImageLuma8(image) => widen(image.into_raw(), |[grey]| [grey; 3]),
        DynamicImage::ImageLumaA8(image) => widen(image.into_raw(), |[grey, alpha]| [over(grey, alpha, background); 3]),
        image => {
            let mut pixels = image.into_rgba8().into_raw();
            let count = pixels.len() / 4;
            for i in 0..count {
                let alpha = pixels[4 * i + 3];
                for channel in 0..3 {
                    pixels[3 * i + channel] = over(pixels[4 * i + channel], alpha, background);
                }
            }
            pixels.truncate(3 * count);
            pixels.shrink_to_fit();
            pixels
        }
    };
    RgbImage::from_raw(width, height, pixels).unwrap_or_default()
}

/// Pixels of `N` bytes, at most three, as RGB. From the last one on, so that none is written over before it is read.
fn widen<const N: usize>(mut pixels: Vec<u8>, to_rgb: impl Fn([u8; N]) -> [u8; 3]) -> Vec<u8> {
    let count = pixels.len() / N;
    pixels.reserve_exact(3 * count - pixels.len());
    pixels.resize(3 * count, 0);
    for i in (0..count).rev() {
        let mut pixel = [0; N];
        pixel.copy_from_slice(&pixels[N * i..N * (i + 1)]);
        pixels[3 * i..3 * i + 3].copy_from_slice(&to_rgb(pixel));
    }
    pixels
}

/// `value` so opaque over the background.
fn over(value: u8, alpha: u8, background: u8) -> u8 {
    let [value, alpha, background] = [value, alpha, background].map(u32::from);
    ((value * alpha + background * (255 - alpha) + 127) / 255) as u8
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ::image::{GrayAlphaImage, GrayImage, RgbaImage};

    use super::*;

    #[test]
    fn pixels_are_the_same_in_their_own_place() {
        let values = |count: usize| (0..count).map(|i| (i * 37 % 256) as u8).collect::<Vec<u8>>();
        let grey = GrayImage::from_raw(5, 3, values(15)).unwrap();
        assert_eq!(flatten(grey.clone().into(), 0), DynamicImage::from(grey).into_rgb8());
        let plain = |image: &DynamicImage, background: u32| {
            let image = image.to_rgba8();
            RgbImage::from_fn(image.width(), image.height(), |x, y| {
                let [red, green, blue, alpha] = image.get_pixel(x, y).0.map(u32::from);
                let over = |value: u32| ((value * alpha + background * (255 - alpha) + 127) / 255) as u8;
                [over(red), over(green), over(blue)].into()
            })
        };
        for background in [0, 255] {
            for image in [
                DynamicImage::from(GrayAlphaImage::from_raw(5, 3, values(30)).unwrap()),
                RgbaImage::from_raw(5, 3, values(60)).unwrap().into(),
            ] {
                assert_eq!(flatten(image.clone(), background), plain(&image, background.into()));
            }
        }
        let wide: Vec<u16> = (0..40).map(|i| i * 1601).collect();
        let bytes = wide.iter().flat_map(|value| value.to_ne_bytes()).collect();
        assert_eq!(high_bytes(bytes), wide.iter().map(|value| (value >> 8) as u8).collect::<Vec<u8>>());
    }
}
