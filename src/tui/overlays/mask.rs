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
    tool: Tool,
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
            tool: Tool::Brush,
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
        };
        editor.read();
        editor
    }

    fn read(&mut self) {
        self.points.leave();
        (self.corners, self.zoom, self.drawn, self.said) = (Vec::new(), None, None, None);
        let Some(shot) = self.shots.get(self.index) else { return };
        self.picture = files::read_photo(&shot.path).map_err(|error| error.to_string());
        let (width, height) = self.picture.as_ref().map_or((1, 1), RgbImage::dimensions);
        let path = mask_path(&shot.path);
        let mut mask = GrayImage::new(width, height);
        if path.is_file() {
            match files::read_mask(&path, (width, height)) {
                Ok(there) => mask = there,
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

    /// What brush and eraser put down.
    fn value(&self) -> u8 {
        if self.tool == Tool::Eraser { 0 } else { 255 }
    }

    /// All of the picture in `pixels` of the screen.
    fn whole(&self, pixels: (u32, u32)) -> Look {
        let (width, height) = self.size();
        let scale = (pixels.0 as f32 / width).min(pixels.1 as f32 / height);
        Look { middle: (width / 2.0, height / 2.0), scale }
    }

    /// The pixel of the picture that is seen at this cell.
    fn at(&self, column: u16, row: u16) -> Option<(f32, f32)> {
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

    /// What the tool does where the pointer is.
    fn apply(&mut self) -> Effect {
        let (at, value) = (self.pointed(), self.value());
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
        if let (Some(look), Some((_, _, pixels))) = (&mut self.zoom, self.drawn) {
            let follow = |middle: f32, at: f32, of: u32| {
                let half = of as f32 / look.scale / 2.0;
                middle.clamp(at - half * 0.9, at + half * 0.9)
            };
            look.middle =
                (follow(look.middle.0, self.pointer.0, pixels.0), follow(look.middle.1, self.pointer.1, pixels.1));
        }
    }

    fn zoom(&mut self, factor: f32) {
        let Some((_, look, pixels)) = self.drawn else { return };
        let whole = self.whole(pixels).scale;
        let scale = look.scale * factor;
        self.zoom = (scale > whole * 1.01).then(|| Look { middle: self.pointer, scale: scale.min(32.0) });
    }

    /// Save the mask. What to say of it.
    fn save(&mut self) -> Reply {
        let Some(shot) = self.shots.get(self.index) else { return Reply::Stay };
        let path = mask_path(&shot.path);
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(|error| error.to_string());
        let how = self.points.how(self.canvas.mask());
        let how: Vec<(&str, &str)> = how.iter().map(|(key, value)| (&**key, &**value)).collect();
        let written =
            written.and_then(|()| files::write_png(&path, self.canvas.mask(), &how).map_err(|error| error.to_string()));
        if let Err(error) = written {
            self.said = Some(error);
            return Reply::Stay;
        }
        self.saved.clone_from(self.canvas.mask());
        self.said = Some(format!("✓ {}", path.display()));
        Reply::Also(deeds::taken_up(&shot.path))
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
        RgbImage::from_fn(pixels.0, pixels.1, |px, py| {
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

impl Overlay for MaskEditor {
    fn place(&self, area: Rect) -> Rect {
        area
    }

    fn draw(&mut self, canvas: &mut Canvas, area: Rect, _: &World) {
        self.take();
        Clear.render(area, canvas.buffer);
        let place = Rect { height: area.height.saturating_sub(3), ..area };
        let lacking = self.shots.iter().filter(|shot| !mask_path(&shot.path).is_file()).count();
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
                "{width} × {height}, {share:.1} % marked{}   {lacking} of {} without a mask   ",
                if self.is_changed() { ", not saved" } else { "" },
                self.shots.len()
            ),
            theme::faint(),
        ));
        spans.push(Span::raw(format!("{x}, {y}  ")));
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
            KeyCode::Left | KeyCode::Char('h' | 'H') => self.step(-cell_x * far, 0.0),
            KeyCode::Right | KeyCode::Char('l' | 'L') => self.step(cell_x * far, 0.0),
            KeyCode::Up | KeyCode::Char('k' | 'K') => self.step(0.0, -cell_y * far),
            KeyCode::Down | KeyCode::Char('j' | 'J') => self.step(0.0, cell_y * far),
            KeyCode::Enter if self.tool == Tool::Lasso && self.corners.len() > 2 => {
                let corners = std::mem::take(&mut self.corners);
                self.canvas.lasso(&corners, 255);
            }
            KeyCode::Enter | KeyCode::Char(' ') => return Reply::Also(self.apply()),
            KeyCode::Char('[') if self.tool == Tool::Wand => self.tolerance = self.tolerance.saturating_sub(4),
            KeyCode::Char(']') if self.tool == Tool::Wand => self.tolerance = self.tolerance.saturating_add(4),
            KeyCode::Char('[') => self.radius = (self.radius / 1.5).max(0.5),
            KeyCode::Char(']') => self.radius = (self.radius * 1.5).min(self.size().0),
            KeyCode::Char('+' | '=') => self.zoom(1.5),
            KeyCode::Char('-') => self.zoom(1.0 / 1.5),
            KeyCode::Char('u') => {
                self.said = (!self.canvas.undo()).then(|| "nothing to take back".into());
            }
            KeyCode::Char('U') => {
                self.said = (!self.canvas.redo()).then(|| "nothing to do again".into());
            }
            KeyCode::Char('g') => self.canvas.grow(true),
            KeyCode::Char('s') => self.canvas.grow(false),
            KeyCode::Char('f') => self.canvas.feather(4.0),
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
            KeyCode::Char('S') => return self.save(),
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
        let Some(at) = self.at(mouse.column, mouse.row) else {
            self.canvas.end_stroke();
            return Some(Effect::Draw);
        };
        let before = std::mem::replace(&mut self.pointer, at);
        let erases = |button| button == MouseButton::Right;
        match mouse.kind {
            MouseEventKind::Down(button) => {
                self.said = None;
                if matches!(self.tool, Tool::Brush | Tool::Eraser) {
                    let value = if erases(button) { 0 } else { self.value() };
                    self.canvas.begin_stroke();
                    self.canvas.line(at, at, self.radius, value);
                } else if self.tool == Tool::Anything && erases(button) {
                    return Some(self.point(false));
                } else {
                    return Some(self.apply());
                }
            }
            MouseEventKind::Drag(button) if matches!(self.tool, Tool::Brush | Tool::Eraser) => {
                let value = if erases(button) { 0 } else { self.value() };
                self.canvas.line(before, at, self.radius, value);
            }
            MouseEventKind::Drag(_) if self.tool == Tool::Lasso => return Some(self.apply()),
            MouseEventKind::Up(_) => {
                self.canvas.end_stroke();
                match self.tool {
                    // Dragged from corner to corner.
                    Tool::Rectangle if self.corners.first().is_some_and(|corner| *corner != self.pointed()) => {
                        return Some(self.apply());
                    }
                    Tool::Lasso if self.corners.len() > 2 => {
                        let corners = std::mem::take(&mut self.corners);
                        self.canvas.lasso(&corners, 255);
                    }
                    _ => {}
                }
            }
            MouseEventKind::ScrollUp => self.zoom(1.25),
            MouseEventKind::ScrollDown => self.zoom(0.8),
            _ => return Some(Effect::None),
        }
        Some(Effect::Draw)
    }
}

/// Open the editor on `shots` of `concept`, beginning with the one at `index`.
pub fn open(concept: &Concept, shots: Vec<Shot>, index: usize) -> Effect {
    if shots.is_empty() {
        return Effect::Notice("there is no picture to draw a mask for".into());
    }
    Effect::over(MaskEditor::new(shots, index, concept.sam_model().ok()))
}
