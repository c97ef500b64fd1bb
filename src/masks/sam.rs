//! Segment Anything without a hand: the base model's mask gives it points and a box, and says which of its masks is meant.

use image::{GrayImage, RgbImage};

use super::agreement::iou;
use super::{Mask, SMALLEST_PART};
use crate::image::{clean_mask, depth, mask_bounds};
use crate::protocol::MaskPoint;
use crate::segment::{Error, Segmenter};

/// Points on the concept.
const POINTS: usize = 3;

/// What Segment Anything makes of `picture` where the base model has seen the concept. Its confidence is how far both agree: they have
/// nothing in common but the points. A mask that marks nothing stays as it is.
///
/// # Errors
/// A failing computation.
pub fn sam_mask(segmenter: &Segmenter, picture: &RgbImage, seen: Mask) -> Result<Mask, Error> {
    let points = inner_points(&seen.mask);
    let Some(frame) = mask_bounds(&seen.mask) else { return Ok(seen) };
    let encoded = segmenter.encode(picture)?;
    let best = segmenter.masks(&encoded, &points, frame)?.into_iter().map(|mask| {
        let mask = clean_mask(&mask, SMALLEST_PART);
        Mask { confidence: iou(&mask, &seen.mask), mask }
    });
    Ok(best.max_by(|a, b| a.confidence.total_cmp(&b.confidence)).unwrap_or(seen))
}

/// The places deepest in `mask`, each away from those before it.
fn inner_points(mask: &GrayImage) -> Vec<MaskPoint> {
    let (width, height) = mask.dimensions();
    let mut depth = depth(mask);
    let mut points = Vec::new();
    while points.len() < POINTS {
        let deepest = (0..depth.len()).max_by(|&a, &b| depth[a].total_cmp(&depth[b]));
        let Some(deepest) = deepest.filter(|&place| depth[place] > 0.0) else { break };
        let (x, y) = (deepest as u32 % width, deepest as u32 / width);
        points.push(MaskPoint { x, y, concept: true });
        let radius = 1.5 * depth[deepest].max(f64::from(width.max(height)) / 16.0);
        for (place, depth) in depth.iter_mut().enumerate() {
            let (dx, dy) =
                (f64::from(place as u32 % width) - f64::from(x), f64::from(place as u32 / width) - f64::from(y));
            if dx.hypot(dy) < radius {
                *depth = 0.0;
            }
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use image::Luma;

    use super::*;

    #[test]
    fn points_lie_deep_in_the_mask_and_apart() {
        let mask = GrayImage::from_fn(64, 64, |x, y| {
            Luma([if (8..56).contains(&x) && (20..36).contains(&y) { 255 } else { 0 }])
        });
        let points = inner_points(&mask);
        assert_eq!(points.len(), POINTS);
        for (i, point) in points.iter().enumerate() {
            assert!((14..50).contains(&point.x) && (26..30).contains(&point.y), "{points:?}");
            assert!(points[..i].iter().all(|other| other.x.abs_diff(point.x) > 8), "{points:?}");
        }
        assert!(inner_points(&GrayImage::new(9, 9)).is_empty());
    }
}
