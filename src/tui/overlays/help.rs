//! All keys: of a screen, and of what lies over one.

use crossterm::event::KeyEvent;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Widget};

use super::{Overlay, Reply};
use crate::tui::canvas::Canvas;
use crate::tui::keymap::overlays::{self, Layer};
use crate::tui::keymap::{Action, BINDINGS, Binding, ScreenName};
use crate::tui::theme;
use crate::tui::widgets::{list, pane, text};
use crate::tui::world::World;

/// Keys, section by section.
pub struct Help {
    sections: Vec<(&'static str, Vec<&'static Binding>)>,
    top: usize,
    page: usize,
}

impl Help {
    /// The keys of `place`, of all screens, and of what lies over screens.
    pub fn of_screen(place: ScreenName) -> Self {
        let here = |everywhere: bool| {
            let shown = move |b: &&Binding| !b.shown.is_empty() && b.is_at(place) && b.places.is_empty() == everywhere;
            BINDINGS.iter().filter(shown).collect()
        };
        let mut sections = vec![(place.word(), here(false)), ("Everywhere", here(true))];
        sections.extend(overlays::ALL.map(section));
        Self { sections, top: 0, page: 1 }
    }

    /// The keys of one overlay, and those with which text is typed.
    pub fn of_layer(layer: &'static Layer) -> Self {
        let sections = [layer, &overlays::TEXT, &overlays::HELP].map(section).into();
        Self { sections, top: 0, page: 1 }
    }

    fn lines(&self, width: usize) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        for (name, bindings) in &self.sections {
            lines.push(Line::styled(format!(" {name}"), theme::focus()));
            for binding in bindings {
                // The text goes on under itself.
                let parts = text::wrap(binding.help, width.saturating_sub(13));
                lines.extend(parts.into_iter().enumerate().map(|(i, part)| {
                    let shown = if i == 0 { binding.shown } else { "" };
                    Line::from(vec![Span::styled(format!("  {shown:<11}"), theme::strong()), Span::raw(part)])
                }));
            }
        }
        lines.push(Line::styled(" `:doctor` says how this terminal and machine are used", theme::faint()));
        lines
    }
}

fn section(layer: &'static Layer) -> (&'static str, Vec<&'static Binding>) {
    (layer.name, layer.keys.iter().collect())
}

impl Overlay for Help {
    fn layer(&self) -> &'static Layer {
        &overlays::HELP
    }

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

    fn act(&mut self, action: Action, _: KeyEvent, _: &World) -> Reply {
        self.top = match action {
            Action::Down => self.top + 1,
            Action::Up => self.top.saturating_sub(1),
            Action::PageDown => self.top + self.page,
            Action::PageUp => self.top.saturating_sub(self.page),
            Action::First => 0,
            // Drawing brings it back to what there is.
            Action::Last => usize::MAX / 2,
            _ => return Reply::Close,
        };
        Reply::Stay
    }
}
