//! Masks a little larger and a little smaller.
//!
//! What a mask marks are its pixels above half. A disc of a whole radius is moved along them: a pixel is reached when one of
//! them lies within the radius of it, measured between the centres of pixels. Beyond the border of a picture nothing is known, so a mask is not shrunk from there.

use ::image::{GrayImage, Luma};

/// `mask` with everything within `radius` pixels of what it marks made white too; its grey elsewhere stays.
pub fn grow_mask(mask: &GrayImage, radius: u32) -> GrayImage {
    let mut grown = mask.clone();
    let reached = within(mask, radius, |value| value >= 128);
    grown.pixels_mut().zip(reached).filter(|(_, reached)| *reached).for_each(|(pixel, _)| *pixel = Luma([255]));
    grown
}

/// `mask` with everything within `radius` pixels of what it does not mark made black; none where nothing marked would be left.
pub fn shrink_mask(mask: &GrayImage, radius: u32) -> Option<GrayImage> {
    let mut shrunk = mask.clone();
    let reached = within(mask, radius, |value| value < 128);
    shrunk.pixels_mut().zip(reached).filter(|(_, reached)| *reached).for_each(|(pixel, _)| *pixel = Luma([0]));
    shrunk.iter().any(|&value| value >= 128).then_some(shrunk)
}

/// For each pixel, row by row, whether one of those that `is` so lies within `radius` pixels.
///
/// The nearest one in its own column, `d` rows away, reaches `sqrt(radius² − d²)` pixels to either side in a pixel's row: a
/// pixel is within the disc where it lies in the reach of any column. So the time does not depend on the radius.
fn within(mask: &GrayImage, radius: u32, is: impl Fn(u8) -> bool) -> Vec<bool> {
    let (width, height) = (mask.width() as usize, mask.height() as usize);
    let distances = column_distances(mask, is);
    // How far a column reaches if its nearest pixel is this many rows away.
    let radius = u64::from(radius);
    let reach: Vec<usize> = (0..=radius).map(|d| (radius * radius - d * d).isqrt() as usize).collect();
    let mut reached = vec![false; width * height];
    // How many reaches begin at a pixel, less those that ended before it.
    let mut changes = vec![0_i32; width + 1];
    for (row, reached) in distances.chunks_exact(width.max(1)).zip(reached.chunks_exact_mut(width.max(1))) {
        changes.fill(0);
        for (x, &distance) in row.iter().enumerate() {
            if let Some(reach) = reach.get(distance as usize) {
                changes[x.saturating_sub(*reach)] += 1;
                changes[(x + reach + 1).min(width)] -= 1;
            }
        }
        let mut open = 0;
        for (reached, change) in reached.iter_mut().zip(&changes) {
            open += change;
            *reached = open > 0;
        }
    }
    reached
}

/// For each pixel how many rows away the nearest one of its column is that `is` so; `u32::MAX` where there is none.
fn column_distances(mask: &GrayImage, is: impl Fn(u8) -> bool) -> Vec<u32> {
    let width = mask.width() as usize;
    let mut distances: Vec<u32> = mask.iter().map(|&value| if is(value) { 0 } else { u32::MAX }).collect();
    for at in width..distances.len() {
        distances[at] = distances[at].min(distances[at - width].saturating_add(1));
    }
    for at in (0..distances.len().saturating_sub(width)).rev() {
        distances[at] = distances[at].min(distances[at + width].saturating_add(1));
    }
    distances
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// The definition, pixel by pixel.
    fn slowly(mask: &GrayImage, radius: u32, is: impl Fn(u8) -> bool) -> Vec<bool> {
        let near = |x: u32, y: u32| {
            mask.enumerate_pixels()
                .any(|(a, b, value)| is(value.0[0]) && a.abs_diff(x).pow(2) + b.abs_diff(y).pow(2) <= radius * radius)
        };
        mask.enumerate_pixels().map(|(x, y, _)| near(x, y)).collect()
    }

    proptest! {
        #[test]
        fn masks_grow_and_shrink_as_the_definition_has_it(
            (width, height, values) in (1_u32..14, 1_u32..14).prop_flat_map(|(width, height)| {
                // Few marked, many marked, and every grey.
                let value = prop_oneof![6 => Just(0_u8), 3 => Just(255), 1 => any::<u8>()];
                let values = prop::collection::vec(value, (width * height) as usize);
                (Just(width), Just(height), values, any::<bool>()).prop_map(|(width, height, values, invert)| {
                    (width, height, values.into_iter().map(|v| if invert { 255 - v } else { v }).collect::<Vec<_>>())
                })
            }),
            radius in 0_u32..7,
        ) {
            let mask = GrayImage::from_raw(width, height, values).unwrap();
            let grown: Vec<u8> = mask.iter().zip(slowly(&mask, radius, |value| value >= 128))
                .map(|(&value, near)| if near { 255 } else { value }).collect();
            prop_assert_eq!(grow_mask(&mask, radius).into_raw(), grown);
            let shrunk: Vec<u8> = mask.iter().zip(slowly(&mask, radius, |value| value < 128))
                .map(|(&value, near)| if near { 0 } else { value }).collect();
            let left = shrunk.iter().any(|&value| value >= 128);
            prop_assert_eq!(shrink_mask(&mask, radius).map(GrayImage::into_raw), left.then_some(shrunk));
        }
    }

    #[test]
    fn a_mask_is_not_shrunk_from_the_border_and_never_to_nothing() {
        let left = GrayImage::from_fn(9, 5, |x, _| Luma([if x < 4 { 255 } else { 0 }]));
        let columns = |mask: &GrayImage| (0..9).filter(|&x| mask.get_pixel(x, 2).0 == [255]).count();
        assert_eq!((columns(&grow_mask(&left, 2)), columns(&shrink_mask(&left, 2).unwrap())), (6, 2));
        assert_eq!(shrink_mask(&left, 4), None);
        let full = GrayImage::from_pixel(9, 5, Luma([255]));
        assert_eq!((grow_mask(&full, 3), shrink_mask(&full, 3)), (full.clone(), Some(full)));
        let empty = GrayImage::new(9, 5);
        assert_eq!((grow_mask(&empty, 3), shrink_mask(&empty, 3)), (empty, None));
    }
}
