//! Where in its picture a mask marks something.

use image::GrayImage;

/// Left, top, right and bottom of the smallest box around the pixels of `mask` above half, all in it; none where there are none.
pub fn mask_bounds(mask: &GrayImage) -> Option<[u32; 4]> {
    let marked = mask.enumerate_pixels().filter(|(_, _, value)| value.0[0] >= 128);
    marked.fold(None, |bounds, (x, y, _)| {
        let [left, top, right, bottom] = bounds.unwrap_or([x, y, x, y]);
        Some([left.min(x), top.min(y), right.max(x), bottom.max(y)])
    })
}

#[cfg(test)]
mod tests {
    use image::Luma;

    use super::*;

    #[test]
    fn bounds_are_of_what_is_above_half() {
        let inside = |x: u32, y: u32| (8..56).contains(&x) && (20..36).contains(&y);
        let mask = GrayImage::from_fn(64, 64, |x, y| Luma([if inside(x, y) { 128 } else { 127 }]));
        assert_eq!(mask_bounds(&mask), Some([8, 20, 55, 35]));
        assert_eq!(mask_bounds(&GrayImage::new(9, 9)), None);
    }
}
