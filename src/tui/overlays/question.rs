//! A question before something that cannot be taken back at once.

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::{Overlay, Reply, frame, place};
use crate::tui::canvas::Canvas;
use crate::tui::deeds::Effect;
use crate::tui::theme;
use crate::tui::widgets::text;
use crate::tui::world::World;

/// A question that `y` answers with a deed, and anything else with none.
pub struct Question {
    title: String,
    lines: Vec<String>,
    yes: (&'static str, Option<Effect>),
    no: &'static str,
}

impl Question {
    /// Ask `title`, explained by `text`; `yes` says what the deed is, `no` what not doing it is.
    pub fn new(title: &str, text: &str, yes: &'static str, no: &'static str, deed: Effect) -> Self {
        Self { title: title.into(), lines: text::wrap(text, 58), yes: (yes, Some(deed)), no }
    }
}

impl Overlay for Question {
    fn place(&self, area: Rect) -> Rect {
        place(area, 62, self.lines.len() as u16 + 4)
    }

    fn draw(&mut self, canvas: &mut Canvas, area: Rect, _: &World) {
        let inner = frame(canvas, area, &self.title);
        for (line, y) in self.lines.iter().zip(inner.top()..inner.bottom()) {
            canvas.buffer.set_stringn(inner.x + 1, y, line, inner.width as usize - 1, Style::new());
        }
        let answers = Line::from(vec![
            Span::styled(" y ", theme::focus()),
            Span::raw(format!("{}    ", self.yes.0)),
            Span::styled("n ", theme::focus()),
            Span::raw(self.no),
        ]);
        canvas.buffer.set_line(inner.x, inner.bottom().saturating_sub(1), &answers, inner.width);
    }

    fn key(&mut self, key: KeyEvent, _: &World) -> Reply {
        match key.code {
            KeyCode::Char('y') | KeyCode::Enter => self.yes.1.take().map_or(Reply::Close, Reply::Then),
            _ => Reply::Close,
        }
    }
}
