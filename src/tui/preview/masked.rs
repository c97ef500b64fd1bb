//! A picture with its mask over it: what the mask leaves out stands back, behind a line that is seen without colour.

use ::image::{GrayImage, Rgb, RgbImage};

/// The line is a pixel wide, and one more for each of this many pixels of the picture's shorter side.
const LINE: u32 = 256;

/// A pixel that the mask takes in by `inside` of 255: a cold grey outside, so that the shape is seen on any photo.
pub fn stand_back(Rgb([r, g, b]): Rgb<u8>, inside: u8) -> Rgb<u8> {
    let left = u32::from(255 - inside) * 3 / 4;
    let mix = |value: u8, tint: u32| ((u32::from(value) * (255 - left) + tint * left) / 255) as u8;
    Rgb([mix(r, 40), mix(g, 48), mix(b, 72)])
}

/// Lay `mask`, which has the size of `picture`, over it.
pub fn lay_over(picture: &mut RgbImage, mask: &GrayImage) {
    let (width, height) = mask.dimensions();
    let line = 1 + width.min(height) / LINE;
    let is_in = |x: u32, y: u32| mask.get_pixel(x, y).0[0] >= 128;
    let around = |at: u32, of: u32| at.saturating_sub(line)..(at + line + 1).min(of);
    let beside = GrayImage::from_fn(width, height, |x, y| [u8::from(around(x, width).any(|x| is_in(x, y)))].into());
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let is_line = !is_in(x, y) && around(y, height).any(|y| beside.get_pixel(x, y).0[0] > 0);
        *pixel = if is_line { Rgb([255; 3]) } else { stand_back(*pixel, mask.get_pixel(x, y).0[0]) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_stands_back_behind_a_line() {
        let mask =
            GrayImage::from_fn(9, 9, |x, y| [if (3..6).contains(&x) && (3..6).contains(&y) { 255 } else { 0 }].into());
        for value in [0, 128, 255] {
            let mut picture = RgbImage::from_pixel(9, 9, Rgb([value; 3]));
            lay_over(&mut picture, &mask);
            let at = |x, y| picture.get_pixel(x, y).0;
            assert_eq!((at(4, 4), at(3, 5)), ([value; 3], [value; 3]), "what it takes in stays");
            assert_eq!((at(2, 2), at(4, 2), at(6, 5)), ([255; 3], [255; 3], [255; 3]), "a line around it");
            assert!(at(1, 4).iter().all(|&value| value < 120), "{:?}", at(1, 4));
        }
        let mut picture = RgbImage::from_pixel(9, 9, Rgb([200; 3]));
        lay_over(&mut picture, &GrayImage::new(9, 9));
        assert!(picture.iter().all(|&value| value < 120), "nothing is taken in: all stands back");
    }
}
