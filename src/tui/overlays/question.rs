//! A question before something that cannot be taken back at once.

use crossterm::event::KeyEvent;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::{Overlay, Reply, frame, place};
use crate::tui::canvas::{Canvas, Target};
use crate::tui::deeds::Effect;
use crate::tui::keymap::Action;
use crate::tui::keymap::overlays::{self, Layer};
use crate::tui::theme;
use crate::tui::widgets::text;
use crate::tui::world::World;

/// A question that `y` answers with a deed, and `n` with none.
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
    fn layer(&self) -> &'static Layer {
        &overlays::QUESTION
    }

    fn place(&self, area: Rect) -> Rect {
        place(area, 62, self.lines.len() as u16 + 4)
    }

    fn draw(&mut self, canvas: &mut Canvas, area: Rect, _: &World) {
        let inner = frame(canvas, area, &self.title);
        for (line, y) in self.lines.iter().zip(inner.top()..inner.bottom()) {
            canvas.buffer.set_stringn(inner.x + 1, y, line, inner.width as usize - 1, Style::new());
        }
        let row = Rect { y: inner.bottom().saturating_sub(1), height: 1, ..inner };
        let mut x = row.x;
        for (index, (key, word)) in [(" y ", self.yes.0), ("n ", self.no)].into_iter().enumerate() {
            let answer = Line::from(vec![Span::styled(key, theme::focus()), Span::raw(word)]);
            let (width, left) = (answer.width() as u16, row.right().saturating_sub(x));
            canvas.buffer.set_line(x, row.y, &answer, left);
            canvas.target(Rect { x, width: width.min(left), ..row }, Target::Item { pane: 0, index });
            x += width + 4;
        }
    }

    fn act(&mut self, action: Action, _: KeyEvent, _: &World) -> Reply {
        match action {
            Action::Yes => self.yes.1.take().map_or(Reply::Close, Reply::Then),
            _ => Reply::Close,
        }
    }

    fn choose(&mut self, index: usize, _: bool, _: &World) -> Reply {
        if index == 0 { self.yes.1.take().map_or(Reply::Close, Reply::Then) } else { Reply::Close }
    }
}
