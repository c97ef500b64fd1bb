//! The mask editor: a photo or a sample, as large as the terminal, and its mask drawn over it with keys and mouse. What is
//! saved is a grey PNG at the picture's own size.

mod look;
mod mouse;
mod on_disk;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseEvent};
use image::{GrayImage, RgbImage};
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Widget};

use look::{Look, Shown};

use super::picture::Shot;
use super::points::Points;
use super::{Overlay, Reply, hints};
use crate::image::MaskCanvas;
use crate::protocol::MaskPoint;
use crate::tui::canvas::{Canvas, Target};
use crate::tui::deeds::Effect;
use crate::tui::keymap::Action;
use crate::tui::keymap::overlays::{self, Layer};
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

/// Which key takes which.
const TOOLS: [(Action, Tool); 7] = [
    (Action::Brush, Tool::Brush),
    (Action::Eraser, Tool::Eraser),
    (Action::Rectangle, Tool::Rectangle),
    (Action::Lasso, Tool::Lasso),
    (Action::Wand, Tool::Wand),
    (Action::Point, Tool::Anything),
    (Action::NotPoint, Tool::Not),
];

impl Tool {
    fn word(self) -> &'static str {
        match self {
            Self::Brush => "brush",
            Self::Eraser => "eraser",
            Self::Rectangle => "rectangle",
            Self::Lasso => "lasso",
            Self::Wand => "wand",
            Self::Anything => "point",
            Self::Not => "not",
        }
    }
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

    fn size(&self) -> (f32, f32) {
        let (width, height) = self.canvas.mask().dimensions();
        (width as f32, height as f32)
    }

    fn is_changed(&self) -> bool {
        *self.canvas.mask() != self.saved
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
}

impl Overlay for MaskEditor {
    fn layer(&self) -> &'static Layer {
        &overlays::MASK
    }

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
                "{width} × {height}, {share:.1} % marked{}   {}   ",
                if self.is_changed() { ", not saved" } else { "" },
                match (self.shots.iter().filter(|shot| shot.doubt.is_some()).count(), self.lacking) {
                    (0, lacking) => format!("{lacking} of {} without a mask", self.shots.len()),
                    (doubtful, 0) => format!("{doubtful} of {} doubtful", self.shots.len()),
                    (doubtful, lacking) => format!("{doubtful} doubtful, {lacking} missing"),
                }
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
        let mut x = area.x;
        for (action, tool) in TOOLS {
            let Some(binding) = overlays::MASK.keys.iter().find(|binding| binding.action == action) else { continue };
            let here = tool == self.tool;
            let spans = vec![
                Span::styled(if here { "▸" } else { " " }, theme::focus()),
                Span::styled(binding.shown, theme::strong()),
                Span::styled(format!(" {} ", tool.word()), if here { theme::focus() } else { theme::faint() }),
            ];
            let line = Line::from(spans);
            let width = line.width() as u16;
            canvas.buffer.set_line(x, place.bottom() + 1, &line, area.right().saturating_sub(x));
            canvas.target(Rect { x, y: place.bottom() + 1, width, height: 1 }, Target::Action(action));
            x += width + 1;
        }
        let line = match &self.said {
            None if self.points.is_busy() => Line::raw(" segmenting…"),
            Some(said) => Line::from(vec![Span::styled(" ! ", theme::warn()), Span::raw(said.clone())]),
            None => return hints(canvas, area, self.layer()),
        };
        canvas.buffer.set_line(area.x, place.bottom() + 2, &line, area.width);
    }

    fn act(&mut self, action: Action, key: KeyEvent, _: &World) -> Reply {
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
        let capital = matches!(key.code, KeyCode::Char(letter) if letter.is_uppercase());
        let far = if capital || key.modifiers.contains(KeyModifiers::SHIFT) { 4.0 } else { 1.0 };
        match action {
            Action::Back if !self.corners.is_empty() => self.corners.clear(),
            Action::Back if self.is_changed() && !dropping => {
                self.said = Some("not saved: S saves it, Esc again drops it".into());
                self.dropping = true;
            }
            Action::Back => return Reply::Close,
            Action::PanLeft => self.pan_by(-0.25, 0.0),
            Action::PanRight => self.pan_by(0.25, 0.0),
            Action::PanUp => self.pan_by(0.0, -0.25),
            Action::PanDown => self.pan_by(0.0, 0.25),
            Action::Left => self.step(-cell_x * far, 0.0),
            Action::Right => self.step(cell_x * far, 0.0),
            Action::Up => self.step(0.0, -cell_y * far),
            Action::Down => self.step(0.0, cell_y * far),
            Action::Put if key.code == KeyCode::Enter && self.tool == Tool::Lasso && self.corners.len() > 2 => {
                let corners = std::mem::take(&mut self.corners);
                self.canvas.lasso(&corners, self.value());
            }
            Action::Put => return Reply::Also(self.apply(self.value())),
            Action::Subtract => self.subtract = !self.subtract,
            Action::Smaller if self.tool == Tool::Wand => self.tolerance = self.tolerance.saturating_sub(4),
            Action::Bigger if self.tool == Tool::Wand => self.tolerance = self.tolerance.saturating_add(4),
            Action::Smaller => self.radius = (self.radius / 1.5).max(0.5),
            Action::Bigger => self.radius = (self.radius * 1.5).min(self.size().0),
            Action::ZoomIn => self.zoom(1.5, self.pointer_on_screen()),
            Action::ZoomOut => self.zoom(1.0 / 1.5, self.pointer_on_screen()),
            Action::Undo => self.said = (!self.canvas.undo()).then(|| "nothing to take back".into()),
            Action::Redo => self.said = (!self.canvas.redo()).then(|| "nothing to do again".into()),
            Action::Grow | Action::Shrink => {
                self.canvas.grow(action == Action::Grow, self.reach());
                let done = if action == Action::Grow { "grown" } else { "shrunk" };
                self.said = Some(format!("{done} by {} px: [ and ] set how much, as the brush", self.reach()));
            }
            Action::Feather => {
                self.canvas.feather(self.softness());
                self.said =
                    Some(format!("feathered over {:.0} px: [ and ] set how much, as the brush", self.softness()));
            }
            Action::Invert => self.canvas.invert(),
            Action::Clear => self.canvas.fill(0),
            Action::View => self.shown = self.shown.next(),
            Action::Save => return self.save(emptying),
            Action::Remove if emptying => return self.delete(),
            Action::Remove => {
                self.said = Some("D deletes the file of a mask that marks nothing: c clears it, S asks".into());
            }
            Action::NextLacking | Action::PreviousLacking | Action::NextPicture | Action::PreviousPicture => {
                if self.is_changed() && !dropping {
                    self.said = Some("not saved: S saves it, the same key again drops it".into());
                    self.dropping = true;
                } else {
                    let any = matches!(action, Action::NextPicture | Action::PreviousPicture);
                    self.next(any, matches!(action, Action::NextLacking | Action::NextPicture));
                }
            }
            tool => {
                if let Some((_, tool)) = TOOLS.into_iter().find(|(action, _)| *action == tool) {
                    self.tool = tool;
                    self.corners.clear();
                    if !matches!(tool, Tool::Anything | Tool::Not) {
                        self.points.lift();
                    }
                }
            }
        }
        Reply::Stay
    }

    fn mouse(&mut self, mouse: MouseEvent) -> Option<Effect> {
        self.take();
        // Before anything is drawn nothing can be pointed at.
        Some(self.follow(mouse).unwrap_or(Effect::None))
    }
}

/// Open the editor on `shots` of `concept`, beginning with the one at `index`.
pub fn open(concept: &Concept, shots: Vec<Shot>, index: usize) -> Effect {
    if shots.is_empty() {
        return Effect::Notice("there is no picture to draw a mask for".into());
    }
    Effect::over(MaskEditor::new(shots, index, concept.sam_model().ok()))
}
