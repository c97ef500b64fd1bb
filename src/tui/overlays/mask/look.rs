//! What of the picture and its mask is seen, and where.

use image::{Rgb, RgbImage};

use super::{MaskEditor, Tool};
use crate::tui::preview::stand_back;

/// How the mask is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// What it leaves out stands back.
    Overlay,
    /// What it leaves out is black: as masked scores see it.
    CutOut,
    /// The mask itself.
    Mask,
    /// The picture alone.
    Picture,
}

/// What of the picture is seen: the pixel in the middle, and how many pixels of the screen each of its pixels has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Look {
    pub(super) middle: (f32, f32),
    pub(super) scale: f32,
}

impl Shown {
    /// The next way round.
    pub(super) fn next(self) -> Self {
        match self {
            Self::Overlay => Self::CutOut,
            Self::CutOut => Self::Mask,
            Self::Mask => Self::Picture,
            Self::Picture => Self::Overlay,
        }
    }
}

impl MaskEditor {
    /// All of the picture in `pixels` of the screen.
    pub(super) fn whole(&self, pixels: (u32, u32)) -> Look {
        let (width, height) = self.size();
        let scale = (pixels.0 as f32 / width).min(pixels.1 as f32 / height);
        Look { middle: (width / 2.0, height / 2.0), scale }
    }

    /// The middle of this cell in pixels of the screen from the middle of what is seen.
    pub(super) fn on_screen(&self, column: u16, row: u16) -> Option<(f32, f32)> {
        let (area, _, pixels) = self.drawn?;
        let place = |at: u16, from: u16, cells: u16, of: u32| {
            (f32::from(at) - f32::from(from) + 0.5) * of as f32 / f32::from(cells) - of as f32 / 2.0
        };
        Some((place(column, area.x, area.width, pixels.0), place(row, area.y, area.height, pixels.1)))
    }

    /// The pixel of the picture that is at this cell, also beyond what is seen and beyond the picture.
    pub(super) fn beyond(&self, column: u16, row: u16) -> Option<(f32, f32)> {
        let ((_, look, _), (x, y)) = (self.drawn?, self.on_screen(column, row)?);
        Some((x / look.scale + look.middle.0 - 0.5, y / look.scale + look.middle.1 - 0.5))
    }

    /// The pixel of the picture that is nearest to this cell.
    pub(super) fn nearest(&self, column: u16, row: u16) -> Option<(f32, f32)> {
        let ((x, y), (width, height)) = (self.beyond(column, row)?, self.size());
        Some((x.clamp(0.0, width - 1.0), y.clamp(0.0, height - 1.0)))
    }

    /// The pixel of the picture that is seen at this cell.
    pub(super) fn at(&self, column: u16, row: u16) -> Option<(f32, f32)> {
        let (area, ..) = self.drawn?;
        let ((x, y), (width, height)) = (self.beyond(column, row)?, self.size());
        let seen = area.contains(ratatui::layout::Position::new(column, row));
        (seen && x > -1.0 && y > -1.0 && x < width && y < height)
            .then(|| (x.clamp(0.0, width - 1.0), y.clamp(0.0, height - 1.0)))
    }

    /// Show the picture larger or smaller; what is seen this many pixels of the screen from the middle stays there.
    pub(super) fn zoom(&mut self, factor: f32, (x, y): (f32, f32)) {
        let Some((_, look, pixels)) = self.drawn else { return };
        let whole = self.whole(pixels);
        let scale = (look.scale * factor).min(whole.scale.max(8.0) * 4.0);
        let stays = |middle: f32, at: f32| middle + at / look.scale - at / scale;
        let zoomed = Look { middle: (stays(look.middle.0, x), stays(look.middle.1, y)), scale };
        self.zoom = (scale > whole.scale * 1.01).then_some(zoomed);
        self.see(self.zoom.unwrap_or(whole));
    }

    /// The pointer in pixels of the screen from the middle of what is seen.
    pub(super) fn pointer_on_screen(&self) -> (f32, f32) {
        let Some((_, look, _)) = self.drawn else { return (0.0, 0.0) };
        let place = |at: f32, middle: f32| (at + 0.5 - middle) * look.scale;
        (place(self.pointer.0, look.middle.0), place(self.pointer.1, look.middle.1))
    }

    /// Move what is seen by this many pixels of the screen.
    pub(super) fn pan(&mut self, x: f32, y: f32) {
        let Some(look) = self.zoom else { return };
        self.see(Look { middle: (look.middle.0 + x / look.scale, look.middle.1 + y / look.scale), ..look });
    }

    /// What is seen from now on; events that come before it is drawn are of it too.
    pub(super) fn see(&mut self, look: Look) {
        let (width, height) = self.size();
        let look = Look { middle: (look.middle.0.clamp(0.0, width), look.middle.1.clamp(0.0, height)), ..look };
        if self.zoom.is_some() {
            self.zoom = Some(look);
        }
        if let Some((_, seen, _)) = &mut self.drawn {
            *seen = look;
        }
    }

    /// Move what is seen by these shares of it.
    pub(super) fn pan_by(&mut self, x: f32, y: f32) {
        if let Some((_, _, (width, height))) = self.drawn {
            self.pan(x * width as f32, y * height as f32);
        }
    }

    /// The picture as it is shown, at the pixels of the screen.
    pub(super) fn compose(&self, picture: &RgbImage, look: Look, pixels: (u32, u32)) -> RgbImage {
        let (width, height) = picture.dimensions();
        let mask = self.canvas.mask();
        let place = |at: u32, of: u32, middle: f32| (at as f32 + 0.5 - of as f32 / 2.0) / look.scale + middle - 0.5;
        let corner = self.corners.first().filter(|_| self.tool == Tool::Rectangle).copied();
        let mut drawn = RgbImage::from_fn(pixels.0, pixels.1, |px, py| {
            let (fx, fy) = (place(px, pixels.0, look.middle.0), place(py, pixels.1, look.middle.1));
            let (x, y) = (fx.round(), fy.round());
            if x < 0.0 || y < 0.0 || x >= width as f32 || y >= height as f32 {
                return Rgb([24, 24, 24]);
            }
            let (x, y) = (x as u32, y as u32);
            let Rgb([r, g, b]) = *picture.get_pixel(x, y);
            let inside = mask.get_pixel(x, y).0[0];
            // The pointer: its brush as a ring a pixel of the screen wide, a cross at its middle where that is not all of
            // the ring, the rectangle that is being drawn as a frame.
            let (dx, dy) = (fx - self.pointer.0, fy - self.pointer.1);
            let pixel = 1.0 / look.scale;
            let brush = matches!(self.tool, Tool::Brush | Tool::Eraser);
            let ring = brush && ((dx * dx + dy * dy).sqrt() - self.radius).abs() < 0.5 * pixel;
            let arm = if brush { 0.5 * pixel } else { 2.5 * pixel };
            let room = !brush || self.radius > 2.0 * pixel;
            let cross =
                room && ((dx.abs() < 0.5 * pixel && dy.abs() < arm) || (dy.abs() < 0.5 * pixel && dx.abs() < arm));
            let near = |a: f32, b: f32| (a - b).abs() < 0.6 * pixel.max(1.0);
            let between = |v: f32, a: f32, b: f32| v >= a.min(b) && v <= a.max(b);
            let frame = corner.is_some_and(|(cx, cy)| {
                let (cx, cy) = (cx as f32, cy as f32);
                (between(fx, cx, self.pointer.0) && (near(fy, cy) || near(fy, self.pointer.1)))
                    || (between(fy, cy, self.pointer.1) && (near(fx, cx) || near(fx, self.pointer.0)))
            });
            let point = self.points.down().iter().find(|point| {
                let (dx, dy) = (fx - point.x as f32, fy - point.y as f32);
                (dx * dx + dy * dy).sqrt() < 1.5 * pixel.max(1.0)
            });
            if let Some(point) = point {
                return if point.concept { Rgb([64, 220, 96]) } else { Rgb([240, 72, 72]) };
            }
            if ring || cross || frame {
                return against(Rgb([r, g, b]));
            }
            match self.shown {
                Shown::Picture => Rgb([r, g, b]),
                Shown::Mask => Rgb([inside; 3]),
                Shown::CutOut => Rgb([r, g, b].map(|value| (u16::from(value) * u16::from(inside) / 255) as u8)),
                Shown::Overlay => stand_back(Rgb([r, g, b]), inside),
            }
        });
        if self.tool == Tool::Lasso {
            let corners = self.corners.iter().map(|&(x, y)| (x as f32, y as f32));
            let corners: Vec<(f32, f32)> = corners.chain([self.pointer]).collect();
            corners.windows(2).for_each(|ends| outline(&mut drawn, look, (ends[0], ends[1])));
        }
        drawn
    }
}

/// What is seen on this ground, whatever it is.
fn against(Rgb([r, g, b]): Rgb<u8>) -> Rgb<u8> {
    Rgb(if u32::from(r) + u32::from(g) + u32::from(b) > 380 { [0; 3] } else { [255; 3] })
}

/// Draw the line between two pixels of the picture.
fn outline(drawn: &mut RgbImage, look: Look, (from, to): ((f32, f32), (f32, f32))) {
    let (width, height) = drawn.dimensions();
    let place = |at: f32, middle: f32, of: u32| (at + 0.5 - middle) * look.scale + of as f32 / 2.0;
    let on_screen = |(x, y): (f32, f32)| (place(x, look.middle.0, width), place(y, look.middle.1, height));
    let ((ax, ay), (bx, by)) = (on_screen(from), on_screen(to));
    let steps = (bx - ax).abs().max((by - ay).abs()).ceil().max(1.0);
    let mut last = None;
    for step in 0..=steps as u32 {
        let share = step as f32 / steps;
        let (x, y) = ((ax + (bx - ax) * share).floor(), (ay + (by - ay) * share).floor());
        let inside = x >= 0.0 && y >= 0.0 && x < width as f32 && y < height as f32;
        let pixel = (x as u32, y as u32);
        if inside && last != Some(pixel) {
            let ground = *drawn.get_pixel(pixel.0, pixel.1);
            drawn.put_pixel(pixel.0, pixel.1, against(ground));
            last = Some(pixel);
        }
    }
}
