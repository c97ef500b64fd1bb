//! What of the picture and its mask is seen, and where.

use image::{Rgb, RgbImage};

use super::{MaskEditor, Tool};

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

    /// The pixel of the picture that is seen at this cell.
    pub(super) fn at(&self, column: u16, row: u16) -> Option<(f32, f32)> {
        let (area, look, pixels) = self.drawn?;
        if !area.contains(ratatui::layout::Position::new(column, row)) {
            return None;
        }
        let cell = (pixels.0 as f32 / f32::from(area.width), pixels.1 as f32 / f32::from(area.height));
        let x = (f32::from(column - area.x) + 0.5) * cell.0;
        let y = (f32::from(row - area.y) + 0.5) * cell.1;
        let place = |at: f32, of: u32, middle: f32| (at - of as f32 / 2.0) / look.scale + middle - 0.5;
        let (x, y) = (place(x, pixels.0, look.middle.0), place(y, pixels.1, look.middle.1));
        let (width, height) = self.size();
        (x > -1.0 && y > -1.0 && x < width && y < height)
            .then(|| (x.clamp(0.0, width - 1.0), y.clamp(0.0, height - 1.0)))
    }

    pub(super) fn zoom(&mut self, factor: f32) {
        let Some((_, look, pixels)) = self.drawn else { return };
        let whole = self.whole(pixels).scale;
        let scale = look.scale * factor;
        self.zoom = (scale > whole * 1.01).then(|| Look { middle: self.pointer, scale: scale.min(32.0) });
    }

    /// The picture as it is shown, at the pixels of the screen.
    pub(super) fn compose(&self, picture: &RgbImage, look: Look, pixels: (u32, u32)) -> RgbImage {
        let (width, height) = picture.dimensions();
        let mask = self.canvas.mask();
        let place = |at: u32, of: u32, middle: f32| (at as f32 + 0.5 - of as f32 / 2.0) / look.scale + middle - 0.5;
        let corner = self.corners.first().filter(|_| self.tool == Tool::Rectangle).copied();
        RgbImage::from_fn(pixels.0, pixels.1, |px, py| {
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
            let lasso = self.tool == Tool::Lasso
                && self.corners.iter().any(|(cx, cy)| near(fx, *cx as f32) && near(fy, *cy as f32));
            let point = self.points.down().iter().find(|point| {
                let (dx, dy) = (fx - point.x as f32, fy - point.y as f32);
                (dx * dx + dy * dy).sqrt() < 1.5 * pixel.max(1.0)
            });
            if let Some(point) = point {
                return if point.concept { Rgb([64, 220, 96]) } else { Rgb([240, 72, 72]) };
            }
            if ring || cross || frame || lasso {
                // Seen on any ground.
                return if u32::from(r) + u32::from(g) + u32::from(b) > 380 {
                    Rgb([0, 0, 0])
                } else {
                    Rgb([255, 255, 255])
                };
            }
            let mix = |value: u8, tint: u8, share: u16| {
                ((u16::from(value) * (255 - share) + u16::from(tint) * share) / 255) as u8
            };
            match self.shown {
                Shown::Picture => Rgb([r, g, b]),
                Shown::Mask => Rgb([inside; 3]),
                Shown::CutOut => Rgb([r, g, b].map(|value| mix(0, value, u16::from(inside)))),
                Shown::Overlay => {
                    let left = u16::from(255 - inside) * 3 / 4;
                    Rgb([mix(r, 40, left), mix(g, 48, left), mix(b, 72, left)])
                }
            }
        })
    }
}
