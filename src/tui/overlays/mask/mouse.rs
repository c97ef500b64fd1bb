//! What the mouse does: draws, takes away, pans and zooms.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};

use super::{Held, MaskEditor, Tool};
use crate::tui::deeds::Effect;

impl MaskEditor {
    /// What the mouse did; none where that is nothing.
    pub(super) fn follow(&mut self, mouse: MouseEvent) -> Option<Effect> {
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
