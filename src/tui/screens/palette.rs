//! The command palette and the question before a stop: boxes over the screen.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear, Widget};

use crate::tui::keymap::Binding;
use crate::tui::theme;

/// Where a box of this size goes.
pub fn place(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 3, width, height }
}

fn frame(buffer: &mut Buffer, area: Rect, title: &str) -> Rect {
    Clear.render(area, buffer);
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(theme::accent())
        .title(Span::styled(format!(" {title} "), theme::focus()));
    let inner = block.inner(area);
    block.render(area, buffer);
    inner
}

/// Draw the palette: what is typed, and the commands that match.
pub fn draw(buffer: &mut Buffer, area: Rect, typed: &str, found: &[&Binding], chosen: usize) {
    let inner = frame(buffer, area, "Command");
    let line = Line::from(vec![
        Span::styled(" : ", theme::focus()),
        Span::raw(typed.to_owned()),
        Span::styled("▏", theme::accent()),
    ]);
    buffer.set_line(inner.x, inner.y, &line, inner.width);
    if found.is_empty() {
        buffer.set_string(inner.x + 3, inner.y + 2, "nothing of that name can be done now", theme::faint());
    }
    for (i, binding) in found.iter().enumerate().take(inner.height.saturating_sub(2) as usize) {
        let y = inner.y + 2 + i as u16;
        let mark = if i == chosen { "▸" } else { " " };
        let line = Line::from(vec![
            Span::styled(format!(" {mark} {:<13}", binding.command.unwrap_or_default()), theme::strong()),
            Span::styled(format!("{:<3} ", binding.shown), theme::faint()),
            Span::raw(binding.help),
        ]);
        buffer.set_line(inner.x, y, &line, inner.width);
        if i == chosen {
            buffer.set_style(Rect { x: inner.x, y, width: inner.width, height: 1 }, theme::chosen());
        }
    }
}

/// Draw a question with its answers.
pub fn draw_question(buffer: &mut Buffer, area: Rect, title: &str, lines: &[&str], answers: &[(&str, &str)]) {
    let inner = frame(buffer, area, title);
    for (i, line) in lines.iter().enumerate() {
        buffer.set_stringn(inner.x + 1, inner.y + i as u16, line, inner.width as usize - 1, Style::new());
    }
    let mut spans = vec![Span::raw(" ")];
    for (key, what) in answers {
        spans.push(Span::styled(format!("{key} "), theme::focus()));
        spans.push(Span::raw(format!("{what}    ")));
    }
    buffer.set_line(inner.x, inner.bottom().saturating_sub(1), &Line::from(spans), inner.width);
}
