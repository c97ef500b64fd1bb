//! What screens draw on: the frame's cells, the pictures over them, and which place on the screen means what to the
//! mouse.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::keymap::{Action, ScreenName};
use super::preview::Surface;

/// What a click means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Go there.
    ScreenName(ScreenName),
    /// Do that, as its key does.
    Action(Action),
    /// The pane gets the focus.
    Pane(usize),
    /// The item of a pane is chosen; a second click opens it.
    Item {
        /// The pane, counted as Tab goes.
        pane: usize,
        /// The item.
        index: usize,
    },
}

/// One frame being drawn.
pub struct Canvas<'a> {
    /// Its cells.
    pub buffer: &'a mut Buffer,
    /// Its pictures.
    pub surface: &'a mut Surface,
    /// What can be clicked, the last drawn on top.
    targets: &'a mut Vec<(Rect, Target)>,
}

impl<'a> Canvas<'a> {
    /// An empty frame.
    pub fn new(buffer: &'a mut Buffer, surface: &'a mut Surface, targets: &'a mut Vec<(Rect, Target)>) -> Self {
        targets.clear();
        Self { buffer, surface, targets }
    }

    /// A click into `area` means this.
    pub fn target(&mut self, area: Rect, target: Target) {
        self.targets.push((area, target));
    }

    /// Nothing drawn so far can be clicked any more: something lies over it, whose own pictures are drawn, but not under
    /// what lies over that: `above` and `notice`.
    pub fn cover(&mut self, above: &[Rect], notice: Rect) {
        self.targets.clear();
        self.surface.cover(above.iter().copied().chain([notice]).collect());
    }
}

/// What a click at this place means, of what was drawn last.
pub fn target_at(targets: &[(Rect, Target)], column: u16, row: u16) -> Option<Target> {
    targets.iter().rev().find(|(area, _)| area.contains(Position::new(column, row))).map(|(_, target)| *target)
}
