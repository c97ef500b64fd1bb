//! How deep in a mask its pixels lie.

use ::image::GrayImage;

/// For each pixel that `mask` marks, row by row, how many steps to the nearest that it does not, corners too; what is outside of
/// the picture is not marked. 0 for the others.
pub fn depth(mask: &GrayImage) -> Vec<f64> {
    let (width, height) = (mask.width() as usize, mask.height() as usize);
    let mut depth: Vec<f64> = mask.iter().map(|&value| if value >= 128 { f64::INFINITY } else { 0.0 }).collect();
    let at = |depth: &[f64], x: usize, y: usize, dx: isize, dy: isize| {
        let (x, y) = (x.checked_add_signed(dx), y.checked_add_signed(dy));
        match (x.filter(|x| *x < width), y.filter(|y| *y < height)) {
            (Some(x), Some(y)) => depth[y * width + x],
            _ => 0.0,
        }
    };
    for place in 0..depth.len() {
        let (x, y) = (place % width, place / width);
        let before = [(-1, -1), (0, -1), (1, -1), (-1, 0)].map(|(dx, dy)| at(&depth, x, y, dx, dy));
        depth[place] = before.iter().fold(depth[place], |nearest, other| nearest.min(other + 1.0));
    }
    for place in (0..depth.len()).rev() {
        let (x, y) = (place % width, place / width);
        let after = [(1, 1), (0, 1), (-1, 1), (1, 0)].map(|(dx, dy)| at(&depth, x, y, dx, dy));
        depth[place] = after.iter().fold(depth[place], |nearest, other| nearest.min(other + 1.0));
    }
    depth
}

#[cfg(test)]
mod tests {
    use ::image::Luma;

    use super::*;

    #[test]
    fn the_middle_of_a_square_is_deepest() {
        let mask = GrayImage::from_fn(7, 6, |x, y| Luma([if (1..6).contains(&x) && y < 5 { 255 } else { 0 }]));
        let depth = depth(&mask);
        assert_eq!(depth[..7], [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0], "beside the edge of the picture");
        assert_eq!(depth[14..21], [0.0, 1.0, 2.0, 3.0, 2.0, 1.0, 0.0]);
        assert_eq!(depth[35..], [0.0; 7]);
    }
}
