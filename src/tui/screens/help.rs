//! All keys.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::tui::keymap::BINDINGS;
use crate::tui::theme;
use crate::tui::widgets::pane;

/// Draw the page over `area`.
pub fn draw(buffer: &mut Buffer, area: Rect, facts: &[(&str, String)]) {
    let inner = pane::draw(buffer, area, "Keys", &Line::styled("Esc goes back", theme::faint()), true);
    // Facts at the right where there is room, else below as far as it goes.
    let wide = inner.width >= 120;
    for (i, binding) in BINDINGS.iter().enumerate().take(inner.height as usize) {
        let line = Line::from(vec![
            Span::styled(format!("  {:<11}", binding.shown), theme::strong()),
            Span::raw(binding.help),
        ]);
        buffer.set_line(inner.x, inner.y + i as u16, &line, if wide { 90.min(inner.width) } else { inner.width });
    }
    let (x, mut y) = if wide { (inner.x + 92, inner.y) } else { (inner.x + 2, inner.y + BINDINGS.len() as u16 + 1) };
    for (name, value) in facts {
        if y >= inner.bottom() {
            break;
        }
        let line = Line::from(vec![Span::styled(format!("{name:<10} "), theme::faint()), Span::raw(value.clone())]);
        buffer.set_line(x, y, &line, inner.right().saturating_sub(x));
        y += 1;
    }
}
