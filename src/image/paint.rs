//! A mask that is being drawn: brush, rectangle, lasso, magic wand, and what is done to the whole of it; each can
//! be taken back.

use std::collections::VecDeque;

use ::image::{GrayImage, Luma, RgbImage, imageops};

/// Bytes that the steps to be taken back may hold; the oldest go first.
const UNDO: usize = 128 << 20;

/// What a step has changed: the pixels as they were, in the least rectangle that holds them.
struct Step {
    x: u32,
    y: u32,
    before: GrayImage,
}

/// A mask and the steps that led to it. White is the concept.
pub struct MaskCanvas {
    mask: GrayImage,
    undo: Vec<Step>,
    redo: Vec<Step>,
    /// While a stroke is drawn: the mask as it was before it.
    stroke: Option<GrayImage>,
}

impl MaskCanvas {
    /// Begin with `mask`.
    pub fn new(mask: GrayImage) -> Self {
        Self { mask, undo: Vec::new(), redo: Vec::new(), stroke: None }
    }

    /// The mask as it is.
    pub fn mask(&self) -> &GrayImage {
        &self.mask
    }

    /// Begin a stroke: all that is painted until it ends is one step.
    pub fn begin_stroke(&mut self) {
        if self.stroke.is_none() {
            self.stroke = Some(self.mask.clone());
        }
    }

    /// End the stroke.
    pub fn end_stroke(&mut self) {
        if let Some(before) = self.stroke.take() {
            self.keep(&before);
        }
    }

    /// Change the mask as one step, or as part of the stroke that is drawn.
    fn change(&mut self, change: impl FnOnce(&mut GrayImage)) {
        if self.stroke.is_some() {
            return change(&mut self.mask);
        }
        let before = self.mask.clone();
        change(&mut self.mask);
        self.keep(&before);
    }

    /// Keep what has changed since `before`, to be taken back.
    fn keep(&mut self, before: &GrayImage) {
        let Some((x, y, width, height)) = difference(before, &self.mask) else { return };
        self.undo.push(Step { x, y, before: imageops::crop_imm(before, x, y, width, height).to_image() });
        self.redo.clear();
        let mut held: usize = self.undo.iter().map(|step| step.before.len()).sum();
        while held > UNDO && self.undo.len() > 1 {
            held -= self.undo.remove(0).before.len();
        }
    }

    /// Take the last step back. Whether there was one.
    pub fn undo(&mut self) -> bool {
        self.end_stroke();
        let step = self.undo.pop();
        self.swap(step, false)
    }

    /// Do the step again that was taken back last. Whether there was one.
    pub fn redo(&mut self) -> bool {
        let step = self.redo.pop();
        self.swap(step, true)
    }

    fn swap(&mut self, step: Option<Step>, forwards: bool) -> bool {
        let Some(Step { x, y, before }) = step else { return false };
        let (width, height) = before.dimensions();
        let now = imageops::crop_imm(&self.mask, x, y, width, height).to_image();
        imageops::replace(&mut self.mask, &before, i64::from(x), i64::from(y));
        let other = Step { x, y, before: now };
        (if forwards { &mut self.undo } else { &mut self.redo }).push(other);
        true
    }

    /// Paint `value` in a round line of this radius, in pixels, from one point to another.
    pub fn line(&mut self, from: (f32, f32), to: (f32, f32), radius: f32, value: u8) {
        let (width, height) = self.mask.dimensions();
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = (dx * dx + dy * dy).max(1e-6);
        let near = |a: f32, b: f32, most: u32| {
            let least = (a.min(b) - radius).floor().max(0.0) as u32;
            least..((a.max(b) + radius).ceil() as i64 + 1).clamp(0, i64::from(most)) as u32
        };
        let (columns, rows) = (near(from.0, to.0, width), near(from.1, to.1, height));
        // A brush of no size still paints the pixel under it.
        let reach = radius.max(0.5).powi(2);
        self.change(|mask| {
            for y in rows {
                for x in columns.clone() {
                    let (px, py) = (x as f32 - from.0, y as f32 - from.1);
                    let along = ((px * dx + py * dy) / length).clamp(0.0, 1.0);
                    let (rx, ry) = (px - along * dx, py - along * dy);
                    if rx * rx + ry * ry <= reach {
                        mask.put_pixel(x, y, Luma([value]));
                    }
                }
            }
        });
    }

    /// Fill the rectangle between two corners, both in it.
    pub fn rectangle(&mut self, a: (u32, u32), b: (u32, u32), value: u8) {
        let (width, height) = self.mask.dimensions();
        let columns = a.0.min(b.0)..(a.0.max(b.0) + 1).min(width);
        let rows = a.1.min(b.1)..(a.1.max(b.1) + 1).min(height);
        self.change(|mask| {
            for y in rows {
                for x in columns.clone() {
                    mask.put_pixel(x, y, Luma([value]));
                }
            }
        });
    }

    /// Fill what is inside of the line through `corners`, closed from the last to the first: by the even-odd rule, at
    /// the middle of each pixel. The line itself is in it.
    pub fn lasso(&mut self, corners: &[(u32, u32)], value: u8) {
        let (width, height) = self.mask.dimensions();
        let points: Vec<(f32, f32)> = corners.iter().map(|&(x, y)| (x as f32, y as f32)).collect();
        let edges: Vec<_> = points.iter().copied().zip(points.iter().copied().cycle().skip(1)).collect();
        self.begin_stroke();
        self.change(|mask| {
            for y in 0..height {
                let row = y as f32;
                let mut crossings: Vec<f32> = edges
                    .iter()
                    .filter(|((_, a), (_, b))| (*a <= row) != (*b <= row))
                    .map(|((ax, ay), (bx, by))| ax + (row - ay) / (by - ay) * (bx - ax))
                    .collect();
                crossings.sort_by(f32::total_cmp);
                for pair in crossings.chunks_exact(2) {
                    for x in
                        pair[0].ceil().max(0.0) as u32..=(pair[1].floor() as i64).clamp(-1, i64::from(width) - 1) as u32
                    {
                        if x < width {
                            mask.put_pixel(x, y, Luma([value]));
                        }
                    }
                }
            }
        });
        for (from, to) in edges {
            self.line(from, to, 0.0, value);
        }
        self.end_stroke();
    }

    /// Fill what hangs together with the pixel at `seed` and is like it in `picture`: no channel differs by more than
    /// `tolerance`. `picture` is as large as the mask.
    pub fn wand(&mut self, picture: &RgbImage, seed: (u32, u32), tolerance: u8, value: u8) {
        let (width, height) = self.mask.dimensions();
        if picture.dimensions() != (width, height) || seed.0 >= width || seed.1 >= height {
            return;
        }
        let wanted = *picture.get_pixel(seed.0, seed.1);
        let like = |x: u32, y: u32| {
            let pixel = picture.get_pixel(x, y);
            pixel.0.iter().zip(&wanted.0).all(|(a, b)| a.abs_diff(*b) <= tolerance)
        };
        self.change(|mask| {
            let mut seen = vec![false; width as usize * height as usize];
            let mut open = vec![seed];
            while let Some((x, y)) = open.pop() {
                let at = y as usize * width as usize + x as usize;
                if seen[at] || !like(x, y) {
                    continue;
                }
                seen[at] = true;
                mask.put_pixel(x, y, Luma([value]));
                open.extend((x > 0).then(|| (x - 1, y)));
                open.extend((x + 1 < width).then(|| (x + 1, y)));
                open.extend((y > 0).then(|| (x, y - 1)));
                open.extend((y + 1 < height).then(|| (x, y + 1)));
            }
        });
    }

    /// Make the white larger by this many pixels on every side, or smaller.
    pub fn grow(&mut self, larger: bool, pixels: u32) {
        self.change(|mask| {
            let (width, height) = mask.dimensions();
            let mut line = Vec::new();
            for y in 0..height {
                line.clear();
                line.extend((0..width).map(|x| mask.get_pixel(x, y).0[0]));
                let spread = spread(&line, pixels as usize, larger);
                (0..width).zip(spread).for_each(|(x, value)| mask.put_pixel(x, y, Luma([value])));
            }
            for x in 0..width {
                line.clear();
                line.extend((0..height).map(|y| mask.get_pixel(x, y).0[0]));
                let spread = spread(&line, pixels as usize, larger);
                (0..height).zip(spread).for_each(|(y, value)| mask.put_pixel(x, y, Luma([value])));
            }
        });
    }

    /// Soften the edge over about this many pixels.
    pub fn feather(&mut self, pixels: f32) {
        self.change(|mask| *mask = imageops::blur(mask, pixels / 2.0));
    }

    /// Make black white and white black.
    pub fn invert(&mut self) {
        self.change(imageops::invert);
    }

    /// Put `mask`, of the same size, in its place.
    pub fn replace(&mut self, mask: GrayImage) {
        self.change(|own| *own = mask);
    }

    /// Make all of it black, or white.
    pub fn fill(&mut self, value: u8) {
        self.change(|mask| mask.fill(value));
    }
}

/// Of every place of `line` the highest value up to `reach` places away, or the lowest.
fn spread(line: &[u8], reach: usize, highest: bool) -> Vec<u8> {
    // Places whose values can still win, the best first.
    let mut open: VecDeque<usize> = VecDeque::new();
    let wins = |a: u8, b: u8| if highest { a >= b } else { a <= b };
    let mut next = 0;
    (0..line.len())
        .map(|at| {
            while next < line.len() && next <= at + reach {
                while open.back().is_some_and(|&last| wins(line[next], line[last])) {
                    open.pop_back();
                }
                open.push_back(next);
                next += 1;
            }
            while open.front().is_some_and(|&first| first + reach < at) {
                open.pop_front();
            }
            open.front().map_or(line[at], |&best| line[best])
        })
        .collect()
}

/// The least rectangle that holds all pixels in which two masks of one size differ: x, y, width, height.
fn difference(a: &GrayImage, b: &GrayImage) -> Option<(u32, u32, u32, u32)> {
    let mut bounds: Option<(u32, u32, u32, u32)> = None;
    for (y, (a, b)) in a.rows().zip(b.rows()).enumerate() {
        for (x, _) in a.zip(b).enumerate().filter(|(_, (a, b))| a != b) {
            let (x, y) = (x as u32, y as u32);
            let (left, top, right, bottom) = bounds.unwrap_or((x, y, x, y));
            bounds = Some((left.min(x), top.min(y), right.max(x), bottom.max(y)));
        }
    }
    bounds.map(|(left, top, right, bottom)| (left, top, right - left + 1, bottom - top + 1))
}

#[cfg(test)]
mod tests {
    use ::image::Rgb;

    use super::*;

    fn canvas() -> MaskCanvas {
        MaskCanvas::new(GrayImage::new(12, 8))
    }

    fn white(canvas: &MaskCanvas) -> usize {
        canvas.mask().pixels().filter(|pixel| pixel.0[0] == 255).count()
    }

    fn is_white(canvas: &MaskCanvas, x: u32, y: u32) -> bool {
        canvas.mask().get_pixel(x, y).0[0] == 255
    }

    #[test]
    fn a_brush_paints_a_round_line_and_stays_inside() {
        let mut canvas = canvas();
        canvas.line((5.0, 4.0), (5.0, 4.0), 0.0, 255);
        assert_eq!(white(&canvas), 1);
        canvas.line((5.0, 4.0), (5.0, 4.0), 2.0, 255);
        assert_eq!(white(&canvas), 13, "a disc of radius 2");
        canvas.line((-4.0, 1.0), (30.0, 1.0), 0.5, 255);
        assert!((0..12).all(|x| is_white(&canvas, x, 1)));
        canvas.line((5.0, 4.0), (5.0, 4.0), 9.0, 0);
        assert!(!is_white(&canvas, 5, 4));
    }

    #[test]
    fn a_lasso_fills_what_is_inside_with_its_line() {
        let mut canvas = canvas();
        canvas.lasso(&[(1, 1), (9, 1), (9, 6), (1, 6)], 255);
        assert_eq!(white(&canvas), 9 * 6);
        canvas.undo();
        canvas.lasso(&[(0, 0), (6, 0), (0, 6)], 255);
        assert!(is_white(&canvas, 3, 3) && !is_white(&canvas, 4, 4) && is_white(&canvas, 1, 1));
    }

    #[test]
    fn the_wand_takes_what_is_alike_and_hangs_together() {
        let picture =
            RgbImage::from_fn(12, 8, |x, _| if x == 6 { Rgb([255, 0, 0]) } else { Rgb([10 + x as u8, 10, 10]) });
        let mut canvas = canvas();
        canvas.wand(&picture, (0, 0), 20, 255);
        assert_eq!(white(&canvas), 6 * 8, "up to the red column");
        canvas.wand(&picture, (11, 0), 2, 255);
        assert_eq!(white(&canvas), 6 * 8 + 3 * 8);
        canvas.wand(&picture, (99, 0), 2, 255);
    }

    #[test]
    fn growing_and_shrinking_move_the_edge_by_a_pixel_and_feathering_softens_it() {
        let mut canvas = canvas();
        canvas.rectangle((6, 5), (4, 3), 255);
        assert_eq!(white(&canvas), 9);
        canvas.grow(true, 1);
        assert_eq!(white(&canvas), 25);
        canvas.grow(false, 1);
        assert_eq!(white(&canvas), 9);
        canvas.grow(true, 2);
        assert_eq!(white(&canvas), 7 * 7, "the lower edge is the picture's");
        canvas.grow(false, 2);
        assert_eq!(white(&canvas), 3 * 5, "what has met the edge of the picture stays there");
        canvas.undo();
        canvas.undo();
        canvas.invert();
        assert_eq!(white(&canvas), 12 * 8 - 9);
        canvas.feather(2.0);
        assert!(canvas.mask().iter().any(|&value| value > 0 && value < 255));
    }

    #[test]
    fn every_step_can_be_taken_back_and_done_again_and_a_stroke_is_one() {
        let mut canvas = canvas();
        canvas.begin_stroke();
        canvas.line((1.0, 1.0), (4.0, 1.0), 1.0, 255);
        canvas.line((4.0, 1.0), (4.0, 5.0), 1.0, 255);
        canvas.end_stroke();
        let stroke = canvas.mask().clone();
        canvas.invert();
        assert!(canvas.undo());
        assert_eq!(*canvas.mask(), stroke);
        assert!(canvas.undo() && white(&canvas) == 0 && !canvas.undo());
        assert!(canvas.redo());
        assert_eq!(*canvas.mask(), stroke);
        canvas.fill(0);
        assert!(!canvas.redo(), "what was done since cannot be done again over");
        canvas.fill(0);
        canvas.undo();
        assert_eq!(*canvas.mask(), stroke, "what changes nothing is no step");
    }
}
