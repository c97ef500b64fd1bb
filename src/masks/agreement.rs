//! How alike two masks are.

use image::GrayImage;

/// Intersection over union of two masks of one size, white above half: 1 for equal ones, also for two empty ones.
pub fn iou(a: &GrayImage, b: &GrayImage) -> f64 {
    let (mut both, mut either) = (0u64, 0u64);
    for (a, b) in a.iter().zip(b.iter()) {
        let (a, b) = (*a >= 128, *b >= 128);
        both += u64::from(a && b);
        either += u64::from(a || b);
    }
    if either == 0 { 1.0 } else { both as f64 / either as f64 }
}

/// How far apart two borders may lie and still be the same, as a share of the picture's diagonal (Perazzi et al. 2016, DAVIS).
const TOLERANCE: f64 = 0.008;

/// Boundary F of `found` against `truth` of the same size, 0 to 1: the harmonic mean of how much of each border lies on the
/// other, give or take 0.8 % of the diagonal and at least a pixel (Perazzi et al. 2016, "A benchmark dataset and evaluation methodology for video
/// object segmentation", section 4). 1 where neither has a border.
pub fn boundary_f(found: &GrayImage, truth: &GrayImage) -> f64 {
    let (width, height) = truth.dimensions();
    let radius = (TOLERANCE * f64::from(width * width + height * height).sqrt()).ceil().max(1.0) as i32;
    let (found, truth) = (border(found), border(truth));
    let on = |of: &[bool], other: &[bool]| {
        let places: Vec<usize> = (0..of.len()).filter(|&i| of[i]).collect();
        let near = |&&place: &&usize| {
            let (x, y) = ((place % width as usize) as i32, (place / width as usize) as i32);
            (-radius..=radius).any(|dy| {
                (-radius..=radius).filter(|dx| dx * dx + dy * dy <= radius * radius).any(|dx| {
                    let (x, y) = (x + dx, y + dy);
                    x >= 0
                        && y >= 0
                        && x < width as i32
                        && y < height as i32
                        && other[(y as u32 * width + x as u32) as usize]
                })
            })
        };
        (places.iter().filter(near).count() as f64, places.len() as f64)
    };
    let ((hits, found_len), (hit, truth_len)) = (on(&found, &truth), on(&truth, &found));
    if found_len == 0.0 && truth_len == 0.0 {
        return 1.0;
    }
    let (precision, recall) = (hits / found_len.max(1.0), hit / truth_len.max(1.0));
    if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
}

/// The white pixels beside a black one.
fn border(mask: &GrayImage) -> Vec<bool> {
    let (width, height) = mask.dimensions();
    let white = |x: u32, y: u32| mask.get_pixel(x, y).0[0] >= 128;
    mask.enumerate_pixels()
        .map(|(x, y, _)| {
            let beside = [
                x > 0 && !white(x - 1, y),
                y > 0 && !white(x, y - 1),
                x + 1 < width && !white(x + 1, y),
                y + 1 < height && !white(x, y + 1),
            ];
            white(x, y) && beside.contains(&true)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use image::Luma;

    use super::*;

    fn square(left: u32, side: u32) -> GrayImage {
        let inside = |at: u32| at >= left && at < left + side;
        GrayImage::from_fn(40, 40, |x, y| Luma([if inside(x) && inside(y) { 255 } else { 0 }]))
    }

    #[test]
    fn squares_agree_as_their_areas_overlap() {
        assert!((iou(&square(10, 10), &square(10, 20)) - 0.25).abs() < 1e-12);
        assert!((iou(&square(10, 10), &square(15, 10)) - 25.0 / 175.0).abs() < 1e-12);
        assert!((iou(&GrayImage::new(4, 4), &GrayImage::new(4, 4)) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn borders_a_pixel_apart_are_the_same_and_others_are_not() {
        // But for the corners, which lie a diagonal apart.
        assert!(boundary_f(&square(10, 20), &square(11, 18)) > 0.9);
        assert!(boundary_f(&square(5, 30), &square(12, 16)) < 1e-12);
        assert!((boundary_f(&square(0, 40), &square(0, 40)) - 1.0).abs() < 1e-12, "no border at all");
        assert!(boundary_f(&GrayImage::new(40, 40), &square(10, 9)) < 1e-12);
    }
}
