//! All keys of a screen.

use crossterm::event::KeyEvent;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Widget};

use super::{Overlay, Reply};
use crate::tui::canvas::Canvas;
use crate::tui::keymap::{self, Action, BINDINGS, Binding, Place};
use crate::tui::theme;
use crate::tui::widgets::{list, pane, text};
use crate::tui::world::World;

/// The keys of `place`, those of all screens after its own.
pub struct Help {
    place: Place,
    facts: Vec<(&'static str, String)>,
    top: usize,
    page: usize,
}

impl Help {
    /// With facts at its end.
    pub fn new(place: Place, facts: Vec<(&'static str, String)>) -> Self {
        Self { place, facts, top: 0, page: 1 }
    }

    fn lines(&self, width: usize) -> Vec<Line<'static>> {
        let row = |binding: &Binding| {
            Line::from(vec![
                Span::styled(format!("  {:<11}", binding.shown), theme::strong()),
                Span::raw(text::fit(binding.help, width.saturating_sub(13))),
            ])
        };
        let shown = |binding: &&Binding| !binding.shown.is_empty() && binding.is_at(self.place);
        let own = BINDINGS.iter().filter(shown).filter(|binding| !binding.places.is_empty());
        let everywhere = BINDINGS.iter().filter(shown).filter(|binding| binding.places.is_empty());
        let mut lines = vec![Line::styled(format!(" {}", self.place.word()), theme::focus())];
        lines.extend(own.map(row));
        lines.push(Line::styled(" Everywhere", theme::focus()));
        lines.extend(everywhere.map(row));
        lines.push(Line::styled(" This program", theme::focus()));
        for (name, value) in &self.facts {
            lines.extend(text::rows(name, value, 12, width.saturating_sub(2), theme::text()).into_iter().map(|line| {
                let mut spans = vec![Span::raw("  ")];
                spans.extend(line.spans);
                Line::from(spans)
            }));
        }
        lines
    }
}

impl Overlay for Help {
    fn place(&self, area: Rect) -> Rect {
        area
    }

    fn draw(&mut self, canvas: &mut Canvas, area: Rect, _: &World) {
        Clear.render(area, canvas.buffer);
        let aside = Line::styled("↑ ↓ scroll   Esc goes back", theme::faint());
        let inner = pane::draw(canvas.buffer, area, "Keys", &aside, true);
        // Two columns where there is room.
        let columns = if inner.width >= 130 { 2 } else { 1 };
        let width = inner.width as usize / columns;
        let lines = self.lines(width.saturating_sub(1));
        let rows = inner.height as usize;
        self.page = rows * columns;
        self.top = self.top.min(lines.len().saturating_sub(self.page));
        for (i, line) in lines.iter().skip(self.top).take(self.page).enumerate() {
            let x = inner.x + (i / rows * width) as u16;
            canvas.buffer.set_line(x, inner.y + (i % rows) as u16, line, width as u16);
        }
        list::scrollbar(canvas.buffer, inner, lines.len(), self.top..(self.top + self.page).min(lines.len()));
    }

    fn key(&mut self, key: KeyEvent, _: &World) -> Reply {
        self.top = match keymap::action(key, self.place) {
            Some(Action::Down) => self.top + 1,
            Some(Action::Up) => self.top.saturating_sub(1),
            Some(Action::PageDown) => self.top + self.page,
            Some(Action::PageUp) => self.top.saturating_sub(self.page),
            _ => return Reply::Close,
        };
        Reply::Stay
    }
}
