//! The mask editor: a photo or a sample, as large as the terminal, and its mask drawn over it with keys and mouse. What is
//! saved is a grey PNG at the picture's own size.

use std::path::PathBuf;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use image::{GrayImage, Rgb, RgbImage};
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Widget};

use super::picture::Shot;
use super::points::Points;
use super::{Overlay, Reply};
use crate::image::{self as files, MaskCanvas};
use crate::protocol::MaskPoint;
use crate::tui::canvas::Canvas;
use crate::tui::deeds::{self, Effect};
use crate::tui::theme;
use crate::tui::world::World;
use crate::workspace::Concept;

/// What the pointer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Brush,
    Eraser,
    Rectangle,
    Lasso,
    Wand,
    /// A point of Segment Anything on the concept.
    Anything,
    /// One on what is not to be in the mask.
    Not,
}

impl Tool {
    const ALL: [(Self, char, &'static str); 7] = [
        (Self::Brush, 'b', "brush"),
        (Self::Eraser, 'e', "eraser"),
        (Self::Rectangle, 'r', "rectangle"),
        (Self::Lasso, 'o', "lasso"),
        (Self::Wand, 'w', "wand"),
        (Self::Anything, 'a', "point"),
        (Self::Not, 'x', "not"),
    ];
}

/// How the mask is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
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
struct Look {
    middle: (f32, f32),
    scale: f32,
}

/// What the button does that is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Puts this value down.
    Draw(u8),
    /// Moves what is seen; the cell where it was last.
    Pan(u16, u16),
}

/// A picture whose mask is drawn.
pub struct MaskEditor {
    /// All that are stepped through.
    shots: Vec<Shot>,
    index: usize,
    /// The picture, or why it cannot be read.
    picture: Result<RgbImage, String>,
    canvas: MaskCanvas,
    /// As it was when it was read or saved last.
    saved: GrayImage,
    /// What its file says of how it was made; none where there is no file, or one that cannot be read.
    text: Option<Vec<(String, String)>>,
    tool: Tool,
    /// Tools take away what they would put down.
    subtract: bool,
    held: Option<Held>,
    shown: Shown,
    radius: f32,
    tolerance: u8,
    /// Where the pointer is, in pixels of the picture.
    pointer: (f32, f32),
    /// The first corner of a rectangle, or the corners of a lasso.
    corners: Vec<(u32, u32)>,
    points: Points,
    /// With none all of the picture is seen.
    zoom: Option<Look>,
    /// Where the picture was drawn, and how it was seen.
    drawn: Option<(Rect, Look, (u32, u32))>,
    /// What was said last, and a second Esc drops what is not saved.
    said: Option<String>,
    dropping: bool,
    /// A second S is for a mask that marks nothing.
    emptying: bool,
    /// Pictures without a mask.
    lacking: usize,
}

/// Where the mask of the picture at `path` is: for a photo beside the photos' folder, for a sample in `masks` beside it.
pub fn mask_path(path: &std::path::Path) -> PathBuf {
    let folder = path.parent().unwrap_or(path);
    let masks = if folder.ends_with("images") { folder.with_file_name("masks") } else { folder.join("masks") };
    files::mask_path(&masks, path)
}

impl MaskEditor {
    /// Begin with the picture at `index`; `sam_model` is for masks from points.
    pub fn new(shots: Vec<Shot>, index: usize, sam_model: Option<PathBuf>) -> Self {
        let mut editor = Self {
            shots,
            index,
            picture: Err(String::new()),
            canvas: MaskCanvas::new(GrayImage::new(1, 1)),
            saved: GrayImage::new(1, 1),
            text: None,
            tool: Tool::Brush,
            subtract: false,
            held: None,
            shown: Shown::Overlay,
            radius: 8.0,
            tolerance: 24,
            pointer: (0.0, 0.0),
            corners: Vec::new(),
            points: Points::new(sam_model),
            zoom: None,
            drawn: None,
            said: None,
            dropping: false,
            emptying: false,
            lacking: 0,
        };
        editor.read();
        editor
    }

    fn read(&mut self) {
        self.points.leave();
        (self.corners, self.zoom, self.drawn, self.said) = (Vec::new(), None, None, None);
        (self.text, self.held, self.emptying) = (None, None, false);
        self.count_lacking();
        let Some(shot) = self.shots.get(self.index) else { return };
        self.picture = files::read_photo(&shot.path).map_err(|error| error.to_string());
        let (width, height) = self.picture.as_ref().map_or((1, 1), RgbImage::dimensions);
        let path = mask_path(&shot.path);
        let mut mask = GrayImage::new(width, height);
        if path.is_file() {
            match read_mask(&shot.path, &path, (width, height)) {
                Ok(there) => {
                    mask = there;
                    // Only a PNG says how it was made.
                    self.text = Some(files::read_png_text(&path).unwrap_or_default());
                }
                Err(error) => self.said = Some(format!("{error}: an empty one is begun")),
            }
        }
        self.pointer = (width as f32 / 2.0, height as f32 / 2.0);
        self.radius = (width.min(height) as f32 / 16.0).max(1.0);
        self.saved.clone_from(&mask);
        self.canvas = MaskCanvas::new(mask);
    }

    fn size(&self) -> (f32, f32) {
        let (width, height) = self.canvas.mask().dimensions();
        (width as f32, height as f32)
    }

    fn is_changed(&self) -> bool {
        *self.canvas.mask() != self.saved
    }

    fn count_lacking(&mut self) {
        self.lacking = self.shots.iter().filter(|shot| !mask_path(&shot.path).is_file()).count();
    }

    /// What tools put down.
    fn value(&self) -> u8 {
        if self.tool == Tool::Eraser || self.subtract { 0 } else { 255 }
    }

    /// By how many pixels the whole mask is grown or shrunk: as the brush is large.
    fn reach(&self) -> u32 {
        (self.radius / 8.0).round().max(1.0) as u32
    }

    /// Over how many pixels its edge is softened.
    fn softness(&self) -> f32 {
        (self.radius / 2.0).max(2.0)
    }

    /// All of the picture in `pixels` of the screen.
    fn whole(&self, pixels: (u32, u32)) -> Look {
        let (width, height) = self.size();
        let scale = (pixels.0 as f32 / width).min(pixels.1 as f32 / height);
        Look { middle: (width / 2.0, height / 2.0), scale }
    }

    /// The middle of this cell in pixels of the screen from the middle of what is seen.
    fn on_screen(&self, column: u16, row: u16) -> Option<(f32, f32)> {
        let (area, _, pixels) = self.drawn?;
        let place = |at: u16, from: u16, cells: u16, of: u32| {
            (f32::from(at) - f32::from(from) + 0.5) * of as f32 / f32::from(cells) - of as f32 / 2.0
        };
        Some((place(column, area.x, area.width, pixels.0), place(row, area.y, area.height, pixels.1)))
    }

    /// The pixel of the picture that is at this cell, also beyond what is seen and beyond the picture.
    fn beyond(&self, column: u16, row: u16) -> Option<(f32, f32)> {
        let ((_, look, _), (x, y)) = (self.drawn?, self.on_screen(column, row)?);
        Some((x / look.scale + look.middle.0 - 0.5, y / look.scale + look.middle.1 - 0.5))
    }

    /// The pixel of the picture that is nearest to this cell.
    fn nearest(&self, column: u16, row: u16) -> Option<(f32, f32)> {
        let ((x, y), (width, height)) = (self.beyond(column, row)?, self.size());
        Some((x.clamp(0.0, width - 1.0), y.clamp(0.0, height - 1.0)))
    }

    /// The pixel of the picture that is seen at this cell.
    fn at(&self, column: u16, row: u16) -> Option<(f32, f32)> {
        let (area, ..) = self.drawn?;
        let ((x, y), (width, height)) = (self.beyond(column, row)?, self.size());
        let seen = area.contains(ratatui::layout::Position::new(column, row));
        (seen && x > -1.0 && y > -1.0 && x < width && y < height)
            .then(|| (x.clamp(0.0, width - 1.0), y.clamp(0.0, height - 1.0)))
    }

    fn pointed(&self) -> (u32, u32) {
        let (width, height) = self.canvas.mask().dimensions();
        ((self.pointer.0.round() as u32).min(width - 1), (self.pointer.1.round() as u32).min(height - 1))
    }

    /// Put a point down where the pointer is.
    fn point(&mut self, concept: bool) -> Effect {
        let ((x, y), Some(shot)) = (self.pointed(), self.shots.get(self.index)) else { return Effect::None };
        if self.picture.is_err() {
            return Effect::None;
        }
        self.points.put(&shot.path, self.canvas.mask(), MaskPoint { x, y, concept }).unwrap_or_else(|why| {
            self.said = Some(why);
            Effect::Draw
        })
    }

    /// Take in what points have made.
    fn take(&mut self) {
        if let Some(shot) = self.shots.get(self.index)
            && let Some(said) = self.points.take(&shot.path, &mut self.canvas)
        {
            self.said = Some(said);
        }
    }

    /// What the tool does where the pointer is, putting `value` down.
    fn apply(&mut self, value: u8) -> Effect {
        let at = self.pointed();
        match self.tool {
            Tool::Brush | Tool::Eraser => self.canvas.line(self.pointer, self.pointer, self.radius, value),
            Tool::Rectangle => match self.corners.pop() {
                Some(corner) => self.canvas.rectangle(corner, at, value),
                None => self.corners.push(at),
            },
            Tool::Lasso => self.corners.push(at),
            Tool::Wand => {
                if let Ok(picture) = &self.picture {
                    self.canvas.wand(picture, at, self.tolerance, value);
                }
            }
            Tool::Anything | Tool::Not => return self.point(self.tool == Tool::Anything),
        }
        Effect::Draw
    }

    /// Move the pointer by this many pixels; what is seen follows.
    fn step(&mut self, dx: f32, dy: f32) {
        let (width, height) = self.size();
        let (x, y) = self.pointer;
        self.pointer = ((x + dx).clamp(0.0, width - 1.0), (y + dy).clamp(0.0, height - 1.0));
        if let (Some(look), Some((_, seen, pixels))) = (&mut self.zoom, &mut self.drawn) {
            let follow = |middle: f32, at: f32, of: u32| {
                let half = of as f32 / look.scale / 2.0;
                middle.clamp(at - half * 0.9, at + half * 0.9)
            };
            look.middle =
                (follow(look.middle.0, self.pointer.0, pixels.0), follow(look.middle.1, self.pointer.1, pixels.1));
            *seen = *look;
        }
    }

    /// Show the picture larger or smaller; what is seen so many pixels of the screen from the middle stays there.
    fn zoom(&mut self, factor: f32, (x, y): (f32, f32)) {
        let Some((_, look, pixels)) = self.drawn else { return };
        let whole = self.whole(pixels);
        let scale = (look.scale * factor).min(whole.scale.max(8.0) * 4.0);
        let stays = |middle: f32, at: f32| middle + at / look.scale - at / scale;
        let zoomed = Look { middle: (stays(look.middle.0, x), stays(look.middle.1, y)), scale };
        self.zoom = (scale > whole.scale * 1.01).then_some(zoomed);
        self.see(self.zoom.unwrap_or(whole));
    }

    /// The pointer in pixels of the screen from the middle of what is seen.
    fn pointer_on_screen(&self) -> (f32, f32) {
        let Some((_, look, _)) = self.drawn else { return (0.0, 0.0) };
        let place = |at: f32, middle: f32| (at + 0.5 - middle) * look.scale;
        (place(self.pointer.0, look.middle.0), place(self.pointer.1, look.middle.1))
    }

    /// Move what is seen by so many pixels of the screen.
    fn pan(&mut self, x: f32, y: f32) {
        let Some(look) = self.zoom else { return };
        self.see(Look { middle: (look.middle.0 + x / look.scale, look.middle.1 + y / look.scale), ..look });
    }

    /// What is seen from now on; events that come before it is drawn are of it too.
    fn see(&mut self, look: Look) {
        let (width, height) = self.size();
        let look = Look { middle: (look.middle.0.clamp(0.0, width), look.middle.1.clamp(0.0, height)), ..look };
        if self.zoom.is_some() {
            self.zoom = Some(look);
        }
        if let Some((_, seen, _)) = &mut self.drawn {
            *seen = look;
        }
    }

    /// Delete the mask's file.
    fn delete(&mut self) -> Reply {
        let Some(shot) = self.shots.get(self.index) else { return Reply::Stay };
        let path = mask_path(&shot.path);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                self.said = Some(format!("cannot delete {}: {error}", path.display()));
                return Reply::Stay;
            }
            _ => {}
        }
        let taken_up = deeds::taken_up(&shot.path);
        self.text = None;
        self.saved.clone_from(self.canvas.mask());
        self.said = Some(format!("deleted: {}", path.display()));
        self.count_lacking();
        Reply::Also(taken_up)
    }

    /// Save the mask, and say so. One that marks nothing only when asked `again`.
    fn save(&mut self, again: bool) -> Reply {
        let Some(shot) = self.shots.get(self.index) else { return Reply::Stay };
        let path = mask_path(&shot.path);
        if self.canvas.mask().iter().all(|&value| value < 128) {
            let there = path.is_file();
            match (is_photo(&shot.path), again) {
                (true, _) if !there => {
                    self.said = Some("nothing is marked: there is nothing to save".into());
                    return Reply::Stay;
                }
                (true, true) => return self.delete(),
                (true, false) => {
                    self.said = Some("nothing is marked, as no photo's mask can be: S again deletes the file".into());
                    self.emptying = true;
                    return Reply::Stay;
                }
                (false, false) => {
                    let what = "nothing is marked: S again saves that the concept is not in it, D deletes the file";
                    self.said = Some(what.into());
                    self.emptying = true;
                    return Reply::Stay;
                }
                (false, true) => {}
            }
        }
        if !self.is_changed() && self.text.is_some() && path.is_file() {
            self.said = Some(format!("✓ unchanged: {}", path.display()));
            return Reply::Stay;
        }
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(|error| error.to_string());
        let text = self.points.how(self.canvas.mask(), self.text.as_deref());
        let how: Vec<(&str, &str)> = text.iter().map(|(key, value)| (&**key, &**value)).collect();
        let written =
            written.and_then(|()| files::write_png(&path, self.canvas.mask(), &how).map_err(|error| error.to_string()));
        if let Err(error) = written {
            self.said = Some(error);
            return Reply::Stay;
        }
        let taken_up = deeds::taken_up(&shot.path);
        self.text = Some(text);
        self.saved.clone_from(self.canvas.mask());
        self.said = Some(format!("✓ {}", path.display()));
        self.count_lacking();
        Reply::Also(taken_up)
    }

    /// Go to the next picture without a mask, or before the first one round to it; with `any` simply to the next.
    fn next(&mut self, any: bool, forwards: bool) {
        let count = self.shots.len();
        let order = (1..=count).map(|i| if forwards { self.index + i } else { self.index + count - i } % count);
        let lacks = |index: &usize| any || !mask_path(&self.shots[*index].path).is_file();
        match order.into_iter().find(lacks) {
            Some(index) if index != self.index => {
                self.index = index;
                self.read();
            }
            _ => self.said = Some("no other lacks a mask: N and P go through all".into()),
        }
    }

    /// The picture as it is shown, at the pixels of the screen.
    fn compose(&self, picture: &RgbImage, look: Look, pixels: (u32, u32)) -> RgbImage {
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
            // The pointer: its brush as a ring, a cross at its middle, the rectangle that is being drawn as a frame.
            let (dx, dy) = (fx - self.pointer.0, fy - self.pointer.1);
            let pixel = 1.0 / look.scale;
            let brush = matches!(self.tool, Tool::Brush | Tool::Eraser);
            let ring = brush && ((dx * dx + dy * dy).sqrt() - self.radius).abs() < 0.75 * pixel.max(1.0);
            let cross = (dx.abs() < 0.6 * pixel.max(1.0) && dy.abs() < 3.0 * pixel)
                || (dy.abs() < 0.6 * pixel.max(1.0) && dx.abs() < 3.0 * pixel);
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

/// Whether a picture is a photo of a concept, not a sample.
fn is_photo(path: &std::path::Path) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with("images"))
}

/// The mask of a picture. That of a sample may mark nothing: nothing of the concept is in it.
fn read_mask(picture: &std::path::Path, mask: &std::path::Path, size: (u32, u32)) -> Result<GrayImage, files::Error> {
    if is_photo(picture) {
        return files::read_mask(mask, size);
    }
    let read = files::read_any_mask(mask)?;
    if read.dimensions() == size {
        return Ok(read);
    }
    Err(files::Error::MaskSize { path: mask.to_owned(), found: read.dimensions(), expected: size })
}

impl Overlay for MaskEditor {
    fn place(&self, area: Rect) -> Rect {
        area
    }

    fn draw(&mut self, canvas: &mut Canvas, area: Rect, _: &World) {
        self.take();
        Clear.render(area, canvas.buffer);
        let place = Rect { height: area.height.saturating_sub(3), ..area };
        let name = self
            .shots
            .get(self.index)
            .map(|shot| shot.path.file_name().unwrap_or_default().to_string_lossy().into_owned());
        let (width, height) = self.canvas.mask().dimensions();
        match (&self.picture, canvas.surface.pixels(place)) {
            (Ok(picture), Some(pixels)) => {
                let look = self.zoom.unwrap_or_else(|| self.whole(pixels));
                let drawn = self.compose(picture, look, pixels);
                canvas.surface.paint(canvas.buffer, place, drawn);
                self.drawn = Some((place, look, pixels));
            }
            (Err(wrong), _) => crate::tui::widgets::text::empty(canvas.buffer, place, wrong),
            (_, None) => {
                crate::tui::widgets::text::empty(canvas.buffer, place, "pictures are off: --images blocks shows them");
            }
        }
        let white = self.canvas.mask().iter().filter(|&&value| value >= 128).count();
        let share = 100.0 * white as f64 / f64::from((width * height).max(1));
        let (x, y) = self.pointed();
        let mut spans = vec![Span::styled(format!(" {} ", name.unwrap_or_default()), theme::strong())];
        spans.push(Span::styled(
            format!(
                "{width} × {height}, {share:.1} % marked{}   {} of {} without a mask   ",
                if self.is_changed() { ", not saved" } else { "" },
                self.lacking,
                self.shots.len()
            ),
            theme::faint(),
        ));
        spans.push(Span::raw(format!("{x}, {y}  ")));
        if self.subtract {
            spans.push(Span::styled("subtract  ", theme::warn()));
        }
        spans.push(match self.tool {
            Tool::Wand => Span::raw(format!("tolerance {}", self.tolerance)),
            Tool::Brush | Tool::Eraser => Span::raw(format!("size {:.0}", 2.0 * self.radius + 1.0)),
            Tool::Lasso => Span::raw(format!("{} corners, Enter closes it", self.corners.len())),
            Tool::Anything | Tool::Not => Span::raw(format!("{} points", self.points.down().len())),
            Tool::Rectangle => Span::raw(if self.corners.is_empty() { "first corner" } else { "second corner" }),
        });
        canvas.buffer.set_line(area.x, place.bottom(), &Line::from(spans), area.width);
        let mut spans = Vec::new();
        for (tool, key, word) in Tool::ALL {
            let here = tool == self.tool;
            spans.push(Span::styled(if here { "▸" } else { " " }, theme::focus()));
            spans.push(Span::styled(key.to_string(), theme::strong()));
            spans.push(Span::styled(format!(" {word} "), if here { theme::focus() } else { theme::faint() }));
        }
        for (key, word) in [("S", "save"), ("u U", "undo redo"), ("[ ]", "size"), ("Space", "put"), ("n", "next")] {
            spans.push(Span::styled(format!("  {key}"), theme::strong()));
            spans.push(Span::styled(format!(" {word}"), theme::faint()));
        }
        canvas.buffer.set_line(area.x, place.bottom() + 1, &Line::from(spans), area.width);
        let keys = [
            ("+ -", "zoom"),
            ("g s", "grow shrink"),
            ("f", "feather"),
            ("i", "invert"),
            ("v", "view"),
            ("c", "clear"),
            ("Esc", "back"),
        ];
        let hints = keys.iter().flat_map(|(key, word)| {
            [Span::styled(format!(" {key}"), theme::strong()), Span::styled(format!(" {word} "), theme::faint())]
        });
        let line = match &self.said {
            None if self.points.is_busy() => Line::raw(" segmenting…"),
            Some(said) => Line::from(vec![Span::styled(" ! ", theme::warn()), Span::raw(said.clone())]),
            None => Line::from(hints.collect::<Vec<_>>()),
        };
        canvas.buffer.set_line(area.x, place.bottom() + 2, &line, area.width);
    }

    fn key(&mut self, key: KeyEvent, _: &World) -> Reply {
        self.said = None;
        self.take();
        let dropping = std::mem::take(&mut self.dropping);
        let emptying = std::mem::take(&mut self.emptying);
        // A cell of the screen, or with Shift or a capital four.
        let (cell_x, cell_y) = match self.drawn {
            Some((area, look, pixels)) => (
                (pixels.0 as f32 / f32::from(area.width.max(1)) / look.scale).max(1.0),
                (pixels.1 as f32 / f32::from(area.height.max(1)) / look.scale / 2.0).max(1.0),
            ),
            None => (1.0, 1.0),
        };
        let far = if key.modifiers.contains(KeyModifiers::SHIFT) { 4.0 } else { 1.0 };
        match key.code {
            KeyCode::Esc if !self.corners.is_empty() => self.corners.clear(),
            KeyCode::Esc if self.is_changed() && !dropping => {
                self.said = Some("not saved: S saves it, Esc again drops it".into());
                self.dropping = true;
            }
            KeyCode::Esc => return Reply::Close,
            KeyCode::Left | KeyCode::Right | KeyCode::Up | KeyCode::Down
                if key.modifiers.contains(KeyModifiers::CONTROL) =>
            {
                let (x, y) = match key.code {
                    KeyCode::Left => (-0.25, 0.0),
                    KeyCode::Right => (0.25, 0.0),
                    KeyCode::Up => (0.0, -0.25),
                    _ => (0.0, 0.25),
                };
                if let Some((_, _, pixels)) = self.drawn {
                    self.pan(x * pixels.0 as f32, y * pixels.1 as f32);
                }
            }
            KeyCode::Left | KeyCode::Char('h' | 'H') => self.step(-cell_x * far, 0.0),
            KeyCode::Right | KeyCode::Char('l' | 'L') => self.step(cell_x * far, 0.0),
            KeyCode::Up | KeyCode::Char('k' | 'K') => self.step(0.0, -cell_y * far),
            KeyCode::Down | KeyCode::Char('j' | 'J') => self.step(0.0, cell_y * far),
            KeyCode::Enter if self.tool == Tool::Lasso && self.corners.len() > 2 => {
                let corners = std::mem::take(&mut self.corners);
                self.canvas.lasso(&corners, self.value());
            }
            KeyCode::Enter | KeyCode::Char(' ') => return Reply::Also(self.apply(self.value())),
            KeyCode::Char('t') => self.subtract = !self.subtract,
            KeyCode::Char('[') if self.tool == Tool::Wand => self.tolerance = self.tolerance.saturating_sub(4),
            KeyCode::Char(']') if self.tool == Tool::Wand => self.tolerance = self.tolerance.saturating_add(4),
            KeyCode::Char('[') => self.radius = (self.radius / 1.5).max(0.5),
            KeyCode::Char(']') => self.radius = (self.radius * 1.5).min(self.size().0),
            KeyCode::Char('+' | '=') => self.zoom(1.5, self.pointer_on_screen()),
            KeyCode::Char('-') => self.zoom(1.0 / 1.5, self.pointer_on_screen()),
            KeyCode::Char('u') => {
                self.said = (!self.canvas.undo()).then(|| "nothing to take back".into());
            }
            KeyCode::Char('U') => {
                self.said = (!self.canvas.redo()).then(|| "nothing to do again".into());
            }
            KeyCode::Char(which @ ('g' | 's')) => {
                self.canvas.grow(which == 'g', self.reach());
                let done = if which == 'g' { "grown" } else { "shrunk" };
                self.said = Some(format!("{done} by {} px: [ and ] set how much, as the brush", self.reach()));
            }
            KeyCode::Char('f') => {
                self.canvas.feather(self.softness());
                self.said =
                    Some(format!("feathered over {:.0} px: [ and ] set how much, as the brush", self.softness()));
            }
            KeyCode::Char('i') => self.canvas.invert(),
            KeyCode::Char('c') => self.canvas.fill(0),
            KeyCode::Char('v') => {
                self.shown = match self.shown {
                    Shown::Overlay => Shown::CutOut,
                    Shown::CutOut => Shown::Mask,
                    Shown::Mask => Shown::Picture,
                    Shown::Picture => Shown::Overlay,
                }
            }
            KeyCode::Char('S') => return self.save(emptying),
            KeyCode::Char('D') if emptying => return self.delete(),
            KeyCode::Char(go @ ('n' | 'N' | 'p' | 'P')) => {
                if self.is_changed() && !dropping {
                    self.said = Some("not saved: S saves it, the same key again drops it".into());
                    self.dropping = true;
                } else {
                    self.next(go.is_uppercase(), matches!(go, 'n' | 'N'));
                }
            }
            KeyCode::Char(letter) => {
                if let Some((tool, ..)) = Tool::ALL.into_iter().find(|(_, key, _)| *key == letter) {
                    self.tool = tool;
                    self.corners.clear();
                    if !matches!(tool, Tool::Anything | Tool::Not) {
                        self.points.lift();
                    }
                }
            }
            _ => {}
        }
        Reply::Stay
    }

    fn mouse(&mut self, mouse: MouseEvent) -> Option<Effect> {
        self.take();
        // Before anything is drawn nothing can be pointed at.
        Some(self.follow(mouse).unwrap_or(Effect::None))
    }
}

impl MaskEditor {
    /// What the mouse did; none where that is nothing.
    fn follow(&mut self, mouse: MouseEvent) -> Option<Effect> {
        let (column, row) = (mouse.column, mouse.row);
        let brush = matches!(self.tool, Tool::Brush | Tool::Eraser);
        match (mouse.kind, self.held) {
            (MouseEventKind::ScrollUp | MouseEventKind::ScrollDown, _) => {
                let factor = if mouse.kind == MouseEventKind::ScrollUp { 1.25 } else { 0.8 };
                self.zoom(factor, self.on_screen(column, row)?);
            }
            (MouseEventKind::Down(MouseButton::Middle), _) => self.held = Some(Held::Pan(column, row)),
            (MouseEventKind::Drag(_), Some(Held::Pan(before_column, before_row))) => {
                let (before, now) = (self.on_screen(before_column, before_row)?, self.on_screen(column, row)?);
                self.pan(before.0 - now.0, before.1 - now.1);
                self.held = Some(Held::Pan(column, row));
            }
            (MouseEventKind::Down(button), _) => {
                self.pointer = self.at(column, row)?;
                let at = self.pointer;
                self.said = None;
                let takes_away = button == MouseButton::Right;
                let value = if takes_away { 0 } else { self.value() };
                self.held = Some(Held::Draw(value));
                if brush {
                    self.canvas.begin_stroke();
                    self.canvas.line(at, at, self.radius, value);
                } else if self.tool == Tool::Anything && takes_away {
                    return Some(self.point(false));
                } else {
                    return Some(self.apply(value));
                }
            }
            // Past the edge of the picture it goes on along the edge.
            (MouseEventKind::Drag(_), Some(Held::Draw(value))) => {
                let at = self.nearest(column, row)?;
                let before = std::mem::replace(&mut self.pointer, at);
                if brush {
                    self.canvas.line(before, at, self.radius, value);
                } else if self.tool == Tool::Lasso {
                    return Some(self.apply(value));
                }
            }
            (MouseEventKind::Up(_), Some(Held::Draw(value))) => {
                self.pointer = self.nearest(column, row)?;
                self.let_go();
                match self.tool {
                    // Dragged from corner to corner.
                    Tool::Rectangle if self.corners.first().is_some_and(|corner| *corner != self.pointed()) => {
                        return Some(self.apply(value));
                    }
                    Tool::Lasso if self.corners.len() > 2 => {
                        let corners = std::mem::take(&mut self.corners);
                        self.canvas.lasso(&corners, value);
                    }
                    _ => {}
                }
            }
            (MouseEventKind::Up(_), _) => self.let_go(),
            // With a button down it would be a drag: the terminal has not told that it was let go.
            (MouseEventKind::Moved, _) => {
                self.let_go();
                self.pointer = self.at(column, row)?;
            }
            _ => return None,
        }
        Some(Effect::Draw)
    }

    /// No button is down any more.
    fn let_go(&mut self) {
        self.held = None;
        self.canvas.end_stroke();
    }
}

/// Open the editor on `shots` of `concept`, beginning with the one at `index`.
pub fn open(concept: &Concept, shots: Vec<Shot>, index: usize) -> Effect {
    if shots.is_empty() {
        return Effect::Notice("there is no picture to draw a mask for".into());
    }
    Effect::over(MaskEditor::new(shots, index, concept.sam_model().ok()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;

    /// A home with a photo or a sample of 64 × 64 pixels, and the editor on it; 80 × 40 cells have 80 × 80 pixels.
    fn editor(folder: &Path, kind: &str) -> (PathBuf, MaskEditor) {
        let path = folder.join(kind).join("a.png");
        std::fs::create_dir_all(folder.join(kind)).unwrap();
        let half = RgbImage::from_fn(64, 64, |x, _| Rgb([if x < 32 { 10 } else { 200 }; 3]));
        files::write_png(&path, &half, &[]).unwrap();
        let shot = Shot { path: path.clone(), ..Shot::default() };
        let mut editor = MaskEditor::new(vec![shot], 0, None);
        see(&mut editor);
        (path, editor)
    }

    fn see(editor: &mut MaskEditor) {
        editor.drawn = Some((Rect::new(0, 0, 80, 40), editor.whole((80, 80)), (80, 80)));
    }

    fn mouse(editor: &mut MaskEditor, kind: MouseEventKind, (column, row): (u16, u16)) {
        editor.mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE });
    }

    fn press(editor: &mut MaskEditor, keys: &str) {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(crate::workspace::Home::at(folder.path()).unwrap());
        for key in keys.chars() {
            editor.key(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE), &world);
        }
    }

    fn drag(editor: &mut MaskEditor, button: MouseButton, cells: &[(u16, u16)]) {
        mouse(editor, MouseEventKind::Down(button), cells[0]);
        cells[1..].iter().for_each(|&cell| mouse(editor, MouseEventKind::Drag(button), cell));
        mouse(editor, MouseEventKind::Up(button), cells[cells.len() - 1]);
    }

    fn white(editor: &MaskEditor) -> usize {
        editor.canvas.mask().pixels().filter(|pixel| pixel.0[0] == 255).count()
    }

    fn said(mask: &Path, key: &str) -> Option<String> {
        files::read_png_text(mask).unwrap().into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    #[test]
    fn the_pixel_under_the_mouse_stays_there_while_it_zooms() {
        let folder = tempfile::tempdir().unwrap();
        let (_, mut editor) = editor(folder.path(), "images");
        let cell = (20, 9);
        let before = editor.beyond(cell.0, cell.1).unwrap();
        for kind in [MouseEventKind::ScrollUp; 6].into_iter().chain([MouseEventKind::ScrollDown; 2]) {
            mouse(&mut editor, kind, cell);
            let now = editor.beyond(cell.0, cell.1).unwrap();
            assert!((now.0 - before.0).abs() < 1e-3 && (now.1 - before.1).abs() < 1e-3, "{before:?} {now:?}");
        }
        let look = editor.zoom.unwrap();
        // The middle button takes the picture with it.
        drag(&mut editor, MouseButton::Middle, &[(40, 20), (50, 25)]);
        let panned = editor.zoom.unwrap();
        assert!((look.middle.0 - panned.middle.0 - 10.0 / look.scale).abs() < 1e-3, "{look:?} {panned:?}");
        assert!((look.middle.1 - panned.middle.1 - 10.0 / look.scale).abs() < 1e-3, "{look:?} {panned:?}");
        assert_eq!(white(&editor), 0, "and draws nothing");
        (0..20).for_each(|_| mouse(&mut editor, MouseEventKind::ScrollDown, cell));
        assert_eq!(editor.zoom, None);
    }

    #[test]
    fn a_drag_past_the_edge_goes_on_along_it_and_ends_where_the_button_is_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let (_, mut editor) = editor(folder.path(), "images");
        press(&mut editor, "r");
        drag(&mut editor, MouseButton::Left, &[(40, 20), (79, 20), (79, 44)]);
        let (left, top) = (32, 32);
        assert_eq!(white(&editor), (64 - left) * (64 - top), "down to the corner of the picture");
        press(&mut editor, "ub[[[[[[[[");
        // Out of the picture and in again is one stroke.
        drag(&mut editor, MouseButton::Left, &[(40, 20), (40, 45), (44, 20)]);
        assert!(white(&editor) > 45, "{}", white(&editor));
        press(&mut editor, "u");
        assert_eq!(white(&editor), 0);
    }

    #[test]
    fn every_tool_takes_away_with_the_right_button_or_when_it_subtracts() {
        let folder = tempfile::tempdir().unwrap();
        let (_, mut editor) = editor(folder.path(), "images");
        let corners = [(16, 8), (32, 8), (32, 16), (16, 16)];
        for (tool, cells) in [("r", &[corners[0], corners[2]][..]), ("o", &corners[..]), ("w", &[corners[0]][..])] {
            for (subtract, button) in [("", MouseButton::Right), ("t", MouseButton::Left)] {
                editor.canvas.fill(255);
                press(&mut editor, &format!("{tool}{subtract}"));
                drag(&mut editor, button, cells);
                press(&mut editor, subtract);
                assert!(white(&editor) < 64 * 64 - 50, "{tool} {subtract}: {}", white(&editor));
            }
        }
        assert_eq!(white(&editor), 32 * 64, "the wand takes the dark half away");
    }

    #[test]
    fn what_is_not_changed_keeps_its_file_and_what_is_says_what_it_was_drawn_over() {
        let folder = tempfile::tempdir().unwrap();
        let (path, mut editor) = editor(folder.path(), "images");
        let mask = mask_path(&path);
        std::fs::create_dir_all(mask.parent().unwrap()).unwrap();
        let text = [("mask_made_by", "attention"), ("threshold", "otsu")];
        let half = GrayImage::from_fn(64, 64, |x, _| image::Luma([if x < 32 { 255 } else { 0 }]));
        files::write_png(&mask, &half, &text).unwrap();
        let bytes = std::fs::read(&mask).unwrap();
        editor.read();
        see(&mut editor);
        press(&mut editor, "S");
        press(&mut editor, "iuS");
        assert_eq!(std::fs::read(&mask).unwrap(), bytes);
        press(&mut editor, "iS");
        let all = |key| said(&mask, key);
        assert_eq!((all("mask_made_by").as_deref(), all("drawn_over").as_deref()), (Some("hand"), Some("attention")));
        assert_eq!(all("threshold").as_deref(), Some("otsu"), "of what it was drawn over");
        editor.read();
        press(&mut editor, "gS");
        assert_eq!(all("drawn_over").as_deref(), Some("attention"), "still");
    }

    #[test]
    fn a_mask_that_marks_nothing_is_asked_about() {
        let folder = tempfile::tempdir().unwrap();
        let (photo, mut editor) = editor(folder.path(), "images");
        press(&mut editor, "S");
        assert!(!mask_path(&photo).exists(), "{:?}", editor.said);
        press(&mut editor, "b S");
        assert!(mask_path(&photo).is_file());
        press(&mut editor, "cS");
        assert!(mask_path(&photo).is_file() && editor.said.as_ref().unwrap().contains("S again deletes"));
        press(&mut editor, "S");
        assert!(!mask_path(&photo).exists());

        let (sample, mut editor) = self::editor(folder.path(), "samples");
        press(&mut editor, "b ScS");
        assert!(files::read_any_mask(&mask_path(&sample)).unwrap().iter().any(|&value| value > 0));
        press(&mut editor, "S");
        assert!(files::read_any_mask(&mask_path(&sample)).unwrap().iter().all(|&value| value == 0));
        editor.read();
        assert!(editor.text.is_some(), "that nothing is in a sample is no mistake");
        press(&mut editor, "SD");
        assert!(!mask_path(&sample).exists());
    }

    #[test]
    fn a_lasso_is_drawn_as_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let (_, mut editor) = editor(folder.path(), "images");
        press(&mut editor, "o");
        mouse(&mut editor, MouseEventKind::Down(MouseButton::Left), (12, 4));
        mouse(&mut editor, MouseEventKind::Drag(MouseButton::Left), (28, 4));
        mouse(&mut editor, MouseEventKind::Drag(MouseButton::Left), (28, 20));
        let picture = editor.picture.clone().unwrap();
        let look = editor.whole((80, 80));
        let drawn = editor.compose(&picture, look, (80, 80));
        // Half way between the first two corners, on dark ground.
        assert!((7..=10).any(|y| drawn.get_pixel(20, y).0 == [255; 3]));
    }
}
