//! What a masked score sees: the concept on a declared colour, so that the scene does not count.

use image::{GrayImage, Rgb, RgbImage, imageops};

use super::{Error, Preprocessor};
use crate::image::{MaskSays, grow_mask, mask_bounds, shrink_mask};
use crate::protocol::{Fill, MASK_MARGIN};

/// A mask, and what it says of itself.
#[derive(Debug, Clone)]
pub struct ScoredMask {
    /// White where the concept is, of the size of its picture.
    pub pixels: GrayImage,
    /// What made it, and how sure that is of it.
    pub says: MaskSays,
}

impl From<GrayImage> for ScoredMask {
    /// One that says nothing of itself.
    fn from(pixels: GrayImage) -> Self {
        Self { pixels, says: MaskSays::default() }
    }
}

/// The colour of a fill; `mean` is what `preprocessor`'s normalisation takes to 0.
pub fn fill_colour(fill: Fill, preprocessor: &Preprocessor) -> [u8; 3] {
    match fill {
        Fill::Black => [0; 3],
        Fill::White => [255; 3],
        Fill::Grey => [128; 3],
        Fill::Mean => preprocessor.mean_colour(),
    }
}

/// `picture` where `mask` is white, `colour` where it is black, a linear blend of both (rounded) in between. `what` names
/// the picture in the error for a mask of another size.
pub fn fill_outside(picture: &RgbImage, mask: &GrayImage, colour: [u8; 3], what: &str) -> Result<RgbImage, Error> {
    if mask.dimensions() != picture.dimensions() {
        let (found, expected) = (mask.dimensions(), picture.dimensions());
        return Err(Error::MaskSize { what: what.to_owned(), found, expected });
    }
    let mut filled = picture.clone();
    for (Rgb(pixel), mask) in filled.pixels_mut().zip(mask.pixels()) {
        let inside = u32::from(mask.0[0]);
        for (value, fill) in pixel.iter_mut().zip(colour) {
            *value = ((u32::from(*value) * inside + u32::from(fill) * (255 - inside) + 127) / 255) as u8;
        }
    }
    Ok(filled)
}

/// The smallest box around what `mask` marks, (x, y, width, height); none where that is nothing.
fn mask_box(mask: &GrayImage) -> Option<(u32, u32, u32, u32)> {
    mask_bounds(mask).map(|[left, top, right, bottom]| (left, top, right - left + 1, bottom - top + 1))
}

/// Pixels by which `mask` is grown and shrunk, at least 1; none where it marks nothing.
fn margin(mask: &GrayImage) -> Option<u32> {
    let (_, _, width, height) = mask_box(mask)?;
    Some((MASK_MARGIN * (f64::from(width) * f64::from(height)).sqrt()).round().max(1.0) as u32)
}

/// `mask` grown by [`MASK_MARGIN`] of its box; as it is where it marks nothing.
pub(super) fn grown(mask: &GrayImage) -> GrayImage {
    margin(mask).map_or_else(|| mask.clone(), |margin| grow_mask(mask, margin))
}

/// `mask` shrunk by [`MASK_MARGIN`] of its box; as it is where that would leave nothing.
pub(super) fn shrunk(mask: &GrayImage) -> GrayImage {
    margin(mask).and_then(|margin| shrink_mask(mask, margin)).unwrap_or_else(|| mask.clone())
}

/// Whether `mask` marks something, and would mark nothing if it were shrunk.
pub(super) fn is_too_thin(mask: &GrayImage) -> bool {
    margin(mask).is_some_and(|margin| shrink_mask(mask, margin).is_none())
}

/// The box of `mask` cut out of `filled`, in the middle of a square of `colour` (the spare pixel of an odd margin after it);
/// `filled` itself where the mask marks nothing.
pub fn crop_to_mask(filled: RgbImage, mask: &GrayImage, colour: [u8; 3]) -> RgbImage {
    let Some((x, y, width, height)) = mask_box(mask) else { return filled };
    let side = width.max(height);
    let mut square = RgbImage::from_pixel(side, side, Rgb(colour));
    let part = imageops::crop_imm(&filled, x, y, width, height).to_image();
    imageops::replace(&mut square, &part, i64::from((side - width) / 2), i64::from((side - height) / 2));
    square
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use image::Luma;

    use super::*;

    #[test]
    fn the_fill_stands_outside_the_mask_and_blends_under_grey() {
        let picture = RgbImage::from_pixel(3, 1, Rgb([200, 100, 0]));
        let mask = GrayImage::from_fn(3, 1, |x, _| Luma([[255, 51, 0][x as usize]]));
        let filled = fill_outside(&picture, &mask, [0, 255, 10], "sample 1").unwrap();
        // 51 of 255 is one fifth.
        let expected = [[200, 100, 0], [40, 224, 8], [0, 255, 10]];
        assert_eq!(filled.pixels().map(|pixel| pixel.0).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_box_of_a_mask_stands_in_a_square_of_the_fill() {
        let picture = RgbImage::from_fn(7, 5, |x, y| Rgb([10 * x as u8, 10 * y as u8, 1]));
        let mask =
            GrayImage::from_fn(7, 5, |x, y| Luma([if (2..5).contains(&x) && (1..3).contains(&y) { 200 } else { 90 }]));
        let square = crop_to_mask(picture.clone(), &mask, [9; 3]);
        assert_eq!(square.dimensions(), (3, 3));
        assert_eq!((square.get_pixel(0, 0).0, square.get_pixel(2, 1).0), ([20, 10, 1], [40, 20, 1]));
        assert_eq!(square.get_pixel(1, 2).0, [9; 3], "the spare row comes after");
        assert_eq!(crop_to_mask(picture.clone(), &GrayImage::new(7, 5), [9; 3]), picture);
    }

    #[test]
    fn a_mask_grows_and_shrinks_by_a_part_of_its_box_and_a_thin_one_is_kept() {
        let block = |width: u32, height: u32| {
            let inside = |x: u32, y: u32| (20..20 + width).contains(&x) && (20..20 + height).contains(&y);
            GrayImage::from_fn(100, 100, |x, y| Luma([if inside(x, y) { 255 } else { 0 }]))
        };
        let size = |mask: &GrayImage| mask_box(mask).map(|(_, _, width, height)| (width, height)).unwrap();
        // 0.05 · sqrt(40 · 60) = 2.4, 0.05 · sqrt(50 · 50) = 2.5, 0.05 · sqrt(9 · 9) = 0.45
        for ((width, height), margin) in [((40, 60), 2), ((50, 50), 3), ((9, 9), 1)] {
            let mask = block(width, height);
            assert_eq!(size(&grown(&mask)), (width + 2 * margin, height + 2 * margin));
            assert_eq!(size(&shrunk(&mask)), (width - 2 * margin, height - 2 * margin));
            assert!(!is_too_thin(&mask));
        }
        let line = block(70, 2);
        assert!(is_too_thin(&line) && shrunk(&line) == line && size(&grown(&line)) == (72, 4));
        let empty = GrayImage::new(9, 9);
        assert!(!is_too_thin(&empty) && grown(&empty) == empty && shrunk(&empty) == empty);
    }

    #[test]
    fn a_mask_of_another_size_is_named() {
        let message =
            fill_outside(&RgbImage::new(4, 3), &GrayImage::new(3, 4), [0; 3], "photo 2").unwrap_err().to_string();
        assert_eq!(message, "the mask of photo 2 is 3 x 4 pixels, the picture 4 x 3");
    }
}
