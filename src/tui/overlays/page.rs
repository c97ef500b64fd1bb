//! A page of text that can be scrolled: a log, a report, what a command says.

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::{Overlay, Reply, frame};
use crate::tui::canvas::Canvas;
use crate::tui::theme;
use crate::tui::widgets::{list, text};
use crate::tui::world::World;

/// A page of text.
pub struct Page {
    title: String,
    lines: Vec<String>,
    /// The first line that is seen; none for the last ones, as they come.
    top: Option<usize>,
    /// Rows and columns it had when it was drawn last.
    size: (usize, usize),
}

impl Page {
    /// With these lines, from the first.
    pub fn new(title: &str, lines: Vec<String>) -> Self {
        Self { title: title.into(), lines, top: Some(0), size: (1, 80) }
    }

    /// With these lines, and those that will come, from the last.
    pub fn growing(title: &str, lines: Vec<String>) -> Self {
        Self { top: None, ..Self::new(title, lines) }
    }

    fn wrapped(&self) -> Vec<String> {
        // A line of a table is not broken at its spaces.
        let cut = |line: &String| -> Vec<String> {
            if line.chars().count() <= self.size.1 { vec![line.clone()] } else { text::wrap(line, self.size.1) }
        };
        self.lines.iter().flat_map(cut).collect()
    }
}

impl Overlay for Page {
    fn place(&self, area: Rect) -> Rect {
        let wide = self.lines.iter().map(|line| line.chars().count()).max().unwrap_or(0) as u16 + 4;
        let wide = wide.clamp(60, 120);
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
        let lines = self.wrapped();
        let last = lines.len().saturating_sub(rows);
        let top = self.top.unwrap_or(last).min(last);
        for (line, y) in lines.iter().skip(top).zip(inner.top()..inner.bottom().saturating_sub(1)) {
            canvas.buffer.set_stringn(inner.x + 1, y, line, self.size.1, theme::text());
        }
        let body = Rect { height: rows as u16, ..inner };
        list::scrollbar(canvas.buffer, body, lines.len(), top..(top + rows).min(lines.len()));
        let hint = Line::from(Span::styled(" ↑ ↓ scroll   Esc back", theme::faint()));
        canvas.buffer.set_line(inner.x, inner.bottom().saturating_sub(1), &hint, inner.width);
    }

    fn key(&mut self, key: KeyEvent, _: &World) -> Reply {
        let page = self.size.0;
        let last = self.wrapped().len().saturating_sub(page);
        let top = self.top.unwrap_or(last).min(last);
        let to = match key.code {
            KeyCode::Esc | KeyCode::Char('q') | KeyCode::Enter => return Reply::Close,
            KeyCode::Up | KeyCode::Char('k') => top.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => top + 1,
            KeyCode::PageUp => top.saturating_sub(page),
            KeyCode::PageDown | KeyCode::Char(' ') => top + page,
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => last,
            _ => top,
        };
        self.top = (to < last || last == 0).then_some(to);
        Reply::Stay
    }

    fn tell(&mut self, lines: Vec<String>) {
        self.lines.extend(lines);
    }
}
