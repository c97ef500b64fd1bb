//! A page of text that can be scrolled: a log, a report, what a command says.

use crossterm::event::KeyEvent;
use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use super::{Overlay, Reply, frame, hints};
use crate::tui::canvas::Canvas;
use crate::tui::deeds::Effect;
use crate::tui::keymap::Action;
use crate::tui::keymap::overlays::{self, Layer};
use crate::tui::theme;
use crate::tui::widgets::{list, text};
use crate::tui::world::World;

/// How far rows of columns are shifted at once.
const SHIFT: usize = 16;

/// A page of text.
pub struct Page {
    title: String,
    lines: Vec<String>,
    /// The first line that is seen; none for the last ones, as they come.
    top: Option<usize>,
    /// How many columns rows of columns are shifted to the left.
    left: usize,
    /// Rows and columns it had when it was drawn last.
    size: (usize, usize),
}

impl Page {
    /// With these lines, from the first.
    pub fn new(title: &str, lines: Vec<String>) -> Self {
        Self { title: title.into(), lines, top: Some(0), left: 0, size: (1, 80) }
    }

    /// With these lines, and those that will come, from the last.
    pub fn growing(title: &str, lines: Vec<String>) -> Self {
        Self { top: None, ..Self::new(title, lines) }
    }

    /// The lines as they are seen: prose is broken at the page's edge, rows of columns stay rows.
    fn laid_out(&self) -> Vec<String> {
        let cut = |line: &String| -> Vec<String> {
            if line.width() <= self.size.1 || has_columns(line) {
                return vec![line.clone()];
            }
            let indent = line.len() - line.trim_start().len();
            let parts = text::wrap(line, self.size.1.saturating_sub(indent));
            parts.into_iter().map(|part| format!("{:indent$}{part}", "")).collect()
        };
        self.lines.iter().flat_map(cut).collect()
    }

    /// How far rows of columns can be shifted.
    fn widest_shift(&self) -> usize {
        let rows = self.lines.iter().filter(|line| has_columns(line));
        rows.map(|line| line.width().saturating_sub(self.size.1)).max().unwrap_or(0)
    }
}

/// Whether something in it stands under something else: two spaces after its first word.
fn has_columns(line: &str) -> bool {
    line.trim().contains("  ")
}

impl Overlay for Page {
    fn layer(&self) -> &'static Layer {
        &overlays::PAGE
    }

    fn place(&self, area: Rect) -> Rect {
        let wide = self.lines.iter().map(|line| line.chars().count()).max().unwrap_or(0) as u16 + 4;
        let wide = wide.clamp(60, 140);
        if area.width < wide + 8 {
            return area;
        }
        let high = (self.lines.len() as u16 + 3).clamp(10, area.height.saturating_sub(4).max(10));
        super::place(area, wide, high)
    }

    fn draw(&mut self, canvas: &mut Canvas, area: Rect, _: &World) {
        let inner = frame(canvas, area, &self.title);
        let rows = inner.height.saturating_sub(1) as usize;
        self.size = (rows.max(1), inner.width.saturating_sub(2) as usize);
        let lines = self.laid_out();
        self.left = self.left.min(self.widest_shift());
        let last = lines.len().saturating_sub(rows);
        let top = self.top.unwrap_or(last).min(last);
        for (line, y) in lines.iter().skip(top).zip(inner.top()..inner.bottom().saturating_sub(1)) {
            let seen = if has_columns(line) { line.chars().skip(self.left).collect() } else { line.clone() };
            // What goes on at the right has a mark.
            let seen = if seen.width() > self.size.1 { text::fit(&seen, self.size.1) } else { seen };
            canvas.buffer.set_stringn(inner.x + 1, y, seen, self.size.1, theme::text());
        }
        let body = Rect { height: rows as u16, ..inner };
        list::scrollbar(canvas.buffer, body, lines.len(), top..(top + rows).min(lines.len()));
        hints(canvas, inner, self.layer());
    }

    fn act(&mut self, action: Action, _: KeyEvent, _: &World) -> Reply {
        let page = self.size.0;
        let last = self.laid_out().len().saturating_sub(page);
        let top = self.top.unwrap_or(last).min(last);
        let to = match action {
            Action::Back => return Reply::Close,
            Action::Up => top.saturating_sub(1),
            Action::Down => top + 1,
            Action::PageUp => top.saturating_sub(page),
            Action::PageDown => top + page,
            Action::First => 0,
            Action::Last => last,
            Action::Left | Action::Right => {
                let to = if action == Action::Right { self.left + SHIFT } else { self.left.saturating_sub(SHIFT) };
                self.left = to.min(self.widest_shift());
                return Reply::Stay;
            }
            _ => top,
        };
        self.top = (to < last || last == 0).then_some(to);
        Reply::Stay
    }

    fn tell(&mut self, lines: Vec<String>) -> Effect {
        self.lines.extend(lines);
        Effect::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_columns_stay_rows_and_prose_is_broken() {
        let table = "1     train  teapot     running  step 230 of 500      cpu";
        let mut page = Page::new("x", vec![table.into(), "  what is said of it in some more words".into()]);
        page.size = (5, 24);
        assert_eq!(page.laid_out(), [table, "  what is said of it in", "  some more words"]);
        assert_eq!(page.widest_shift(), table.len() - 24);
    }
}
