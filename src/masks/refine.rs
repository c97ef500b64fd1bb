//! From a map of where the concept is to its border in the picture: GrabCut (Rother, Kolmogorov and Blake 2004), bounded.
//!
//! GrabCut leaks where scene and concept share colours. So it may move the border only within a band around the map's own, the
//! map has a say in each pixel, and a cut of quite another area is not taken.

use image::{GrayImage, Luma, RgbImage};

use super::colours::{Colour, Mixture};
use super::max_flow::{Grid, NEIGHBOURS};
use crate::image::{clean_mask, clean_parts_and_holes, otsu, resize_bicubic, resize_map};

/// Parts and holes smaller than this share of the largest part are cleaned away.
pub const SMALLEST_PART: f64 = 0.1;

/// The smallest hole of a cut, as a share of the smallest part: it is drawn by the picture's colours.
const SMALLEST_HOLE: f64 = 0.1;

/// What it costs that neighbours of one colour are parted: less than the 50 of the paper, with which thin parts of small pictures
/// are lost.
const SMOOTHNESS: f64 = 4.0;

/// Whole numbers to a unit of cost.
const PRECISION: f64 = 1024.0;

/// The most that the colour of one pixel says, so that the map and the neighbours have a say too.
const MOST_EVIDENCE: f64 = 5.0;

/// How a border is sought.
#[derive(Debug, Clone, Copy)]
pub struct Refining {
    /// The longer side, in pixels, that a border is sought at; a larger picture's mask is enlarged from it.
    pub side: u32,
    /// Rounds of learning the colours and cutting.
    pub rounds: usize,
    /// The band outside of the map's border, as a share of the picture's longer side.
    pub band: f64,
    /// The share of the map's area, its highest values, that is surely concept.
    pub sure: f64,
    /// How much the map's value counts against the colours.
    pub prior: f64,
    /// What the cut's area may be, as shares of the map's.
    pub area: (f64, f64),
    /// Where the map is cut in two; none for where its classes are best apart (Otsu).
    pub threshold: Option<f64>,
    /// Parts and holes smaller than this share of the largest part are cleaned away.
    pub smallest_part: f64,
}

impl Default for Refining {
    fn default() -> Self {
        Self {
            side: 256,
            rounds: 3,
            band: 1.0 / 12.0,
            sure: 0.2,
            prior: 1.0,
            area: (0.1, 2.0),
            threshold: None,
            smallest_part: SMALLEST_PART,
        }
    }
}

/// What a map becomes.
pub struct Refined {
    /// White where the concept is, of the picture's size.
    pub mask: GrayImage,
    /// The map's own mask, before the picture's colours were asked.
    pub rough: GrayImage,
}

/// The mask in `picture` of the map `soft` of height and width `size`, 0 to 1.
pub fn refine(picture: &RgbImage, soft: &[f32], size: (usize, usize), how: &Refining) -> Refined {
    let (width, height) = picture.dimensions();
    let scale = (f64::from(how.side) / f64::from(width.max(height))).min(1.0);
    let scaled = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
    let (w, h) = (scaled(width), scaled(height));
    let small = if scale < 1.0 { resize_bicubic(picture, w, h) } else { picture.clone() };
    let map = resize_map(soft, size, (h as usize, w as usize));
    let threshold = how.threshold.map_or_else(|| otsu(&map).0, |threshold| threshold as f32);
    let rough = to_mask(&map.iter().map(|&x| x >= threshold).collect::<Vec<_>>(), w, h);
    let rough = clean_mask(&rough, how.smallest_part);
    let mask = cut(&small, &map, &rough, how).unwrap_or_else(|| rough.clone());
    Refined { mask: enlarge(&mask, width, height), rough: enlarge(&rough, width, height) }
}

fn to_mask(white: &[bool], width: u32, height: u32) -> GrayImage {
    let mut mask = GrayImage::new(width, height);
    mask.pixels_mut().zip(white).for_each(|(pixel, &white)| *pixel = Luma([if white { 255 } else { 0 }]));
    mask
}

fn enlarge(mask: &GrayImage, width: u32, height: u32) -> GrayImage {
    if mask.dimensions() == (width, height) {
        return mask.clone();
    }
    let from: Vec<f32> = mask.iter().map(|&value| f32::from(value) / 255.0).collect();
    let (w, h) = mask.dimensions();
    let large = resize_map(&from, (h as usize, w as usize), (height as usize, width as usize));
    to_mask(&large.iter().map(|&x| x >= 0.5).collect::<Vec<_>>(), width, height)
}

/// What a pixel is allowed to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allowed {
    Scene,
    Either,
    Concept,
}

/// The cut; none where it cannot be trusted.
fn cut(picture: &RgbImage, map: &[f32], rough: &GrayImage, how: &Refining) -> Option<GrayImage> {
    let (width, height) = picture.dimensions();
    let mut concept: Vec<bool> = rough.iter().map(|&value| value >= 128).collect();
    let area = concept.iter().filter(|white| **white).count();
    if area == 0 || area == concept.len() {
        return None;
    }
    let radius = (f64::from(width.max(height)) * how.band).round().max(1.0) as u32;
    let near = grown(&concept, width as usize, radius as usize);
    let mut inside: Vec<f32> = map.iter().zip(&concept).filter(|(_, white)| **white).map(|(x, _)| *x).collect();
    inside.sort_by(f32::total_cmp);
    let least = inside[((1.0 - how.sure) * inside.len() as f64) as usize % inside.len()];
    let allowed: Vec<Allowed> = (0..concept.len())
        .map(|i| match (near[i], concept[i] && map[i] >= least) {
            (false, _) => Allowed::Scene,
            (true, true) => Allowed::Concept,
            (true, false) => Allowed::Either,
        })
        .collect();
    let colours: Vec<Colour> = picture.pixels().map(|pixel| pixel.0.map(f64::from)).collect();
    let joins = joins(&colours, width as usize, height as usize);
    for _ in 0..how.rounds {
        let of = |side: bool| {
            let chosen = colours.iter().zip(&concept).filter(|(_, concept)| **concept == side);
            Mixture::of(&chosen.map(|(colour, _)| (*colour, 1.0)).collect::<Vec<_>>())
        };
        let (own, scene) = (of(true)?, of(false)?);
        let mut grid = Grid::new(width as usize, height as usize);
        for (place, colour) in colours.iter().enumerate() {
            let says = match allowed[place] {
                Allowed::Scene => -1e4,
                Allowed::Concept => 1e4,
                Allowed::Either => {
                    let x = f64::from(map[place]).clamp(0.01, 0.99);
                    let colours =
                        (own.log_density(colour) - scene.log_density(colour)).clamp(-MOST_EVIDENCE, MOST_EVIDENCE);
                    colours + how.prior * (x / (1.0 - x)).ln()
                }
            };
            grid.join_terminals(place, (says * PRECISION) as i32);
        }
        for (place, joins) in joins.iter().enumerate() {
            joins.iter().enumerate().for_each(|(d, cost)| grid.join(place, d + 4, (cost * PRECISION) as i32));
        }
        concept = grid.cut();
    }
    let share = concept.iter().filter(|white| **white).count() as f64 / area as f64;
    if share < how.area.0 || share > how.area.1 {
        return None;
    }
    let hole = how.smallest_part * SMALLEST_HOLE;
    Some(clean_parts_and_holes(&to_mask(&concept, width, height), how.smallest_part, hole))
}

/// What it costs to part each place from its neighbours 4 to 7 (the others are theirs): less, the less alike they are.
fn joins(colours: &[Colour], width: usize, height: usize) -> Vec<[f64; 4]> {
    let grid = Grid::new(width, height);
    let apart = |a: usize, b: usize| (0..3).map(|i| (colours[a][i] - colours[b][i]).powi(2)).sum::<f64>();
    let (mut sum, mut count) = (0.0, 0.0);
    let each = |visit: &mut dyn FnMut(usize, usize, usize)| {
        for place in 0..colours.len() {
            for d in 4..8 {
                if let Some(other) = grid.neighbour(place, d) {
                    visit(place, d, other);
                }
            }
        }
    };
    each(&mut |place, _, other| {
        sum += apart(place, other);
        count += 1.0;
    });
    let beta = if sum > 0.0 { count / (2.0 * sum) } else { 0.0 };
    let mut joins = vec![[0.0; 4]; colours.len()];
    each(&mut |place, d, other| {
        let (dx, dy) = NEIGHBOURS[d];
        let distance = f64::from(dx * dx + dy * dy).sqrt();
        joins[place][d - 4] = SMOOTHNESS / distance * (-beta * apart(place, other)).exp();
    });
    joins
}

/// `white`, and all within a square of `radius` around.
fn grown(white: &[bool], width: usize, radius: usize) -> Vec<bool> {
    let height = white.len() / width.max(1);
    let line = |at: &dyn Fn(usize) -> bool, len: usize| -> Vec<bool> {
        let mut last = None;
        let mut near = vec![false; len];
        for (i, near) in near.iter_mut().enumerate() {
            last = if at(i) { Some(i) } else { last };
            *near = last.is_some_and(|last| i - last <= radius);
        }
        let mut next = None;
        for (i, near) in near.iter_mut().enumerate().rev() {
            next = if at(i) { Some(i) } else { next };
            *near |= next.is_some_and(|next| next - i <= radius);
        }
        near
    };
    let mut rows = Vec::with_capacity(white.len());
    for y in 0..height {
        rows.extend(line(&|x| white[y * width + x], width));
    }
    let mut all = vec![false; white.len()];
    for x in 0..width {
        for (y, near) in line(&|y| rows[y * width + x], height).into_iter().enumerate() {
            all[y * width + x] = near;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;
    use crate::masks::agreement::iou;

    /// A square of stripes on a checked ground, its true mask, and a coarse map of it.
    fn drawn(side: u32) -> (RgbImage, GrayImage, Vec<f32>) {
        let inside = |at: u32| at >= side * 5 / 16 && at < side * 11 / 16;
        let within = |x: u32, y: u32| inside(x) && inside(y);
        let stripe = side / 16;
        let picture = RgbImage::from_fn(side, side, |x, y| match within(x, y) {
            true if (x / stripe).is_multiple_of(2) => Rgb([230, 60, 30]),
            true => Rgb([240, 200, 40]),
            false if (x / stripe + y / stripe).is_multiple_of(2) => Rgb([40, 140, 60]),
            false => Rgb([60, 90, 150]),
        });
        let truth = GrayImage::from_fn(side, side, |x, y| Luma([if within(x, y) { 255 } else { 0 }]));
        let coarse = |at: usize| 1.0 - ((at as f32 - 3.5) / 4.0).abs();
        let map = (0..64).map(|i| coarse(i % 8) * coarse(i / 8)).collect();
        (picture, truth, map)
    }

    #[test]
    fn a_coarse_map_gets_the_border_that_the_colours_have_at_every_size() {
        for side in [64, 256, 400] {
            let (picture, truth, map) = drawn(side);
            let refined = refine(&picture, &map, (8, 8), &Refining::default());
            let (rough, found) = (iou(&refined.rough, &truth), iou(&refined.mask, &truth));
            assert!(found > 0.97 && rough < 0.9, "{side} pixels: {rough} before, {found} after");
        }
    }

    #[test]
    fn where_the_colours_tell_nothing_the_surest_of_the_map_stands() {
        let (_, _, map) = drawn(64);
        let flat = RgbImage::from_pixel(64, 64, Rgb([90, 90, 90]));
        let refined = refine(&flat, &map, (8, 8), &Refining::default());
        let within = |(mask, rough): (&u8, &u8)| *mask == 0 || *rough == 255;
        assert!(refined.mask.iter().zip(refined.rough.iter()).all(within), "outside of the map's own mask");
        assert_eq!(refined.mask.get_pixel(32, 32).0, [255], "the middle of the map");
        let line = RgbImage::from_pixel(3, 1, Rgb([1, 2, 3]));
        assert_eq!(refine(&line, &map, (8, 8), &Refining::default()).mask.dimensions(), (3, 1));
    }

    #[test]
    fn what_is_grown_reaches_a_square_around() {
        let mut white = vec![false; 49];
        white[24] = true;
        let near = grown(&white, 7, 2);
        assert_eq!(near.iter().filter(|near| **near).count(), 25);
        assert!(near[8] && !near[7]);
    }
}
