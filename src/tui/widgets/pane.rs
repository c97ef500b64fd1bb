//! A pane: a title on a rule, and the area under it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::tui::theme;

/// Draw the title row of a pane with something faint at its right end; the area left for the content.
pub fn draw(buffer: &mut Buffer, area: Rect, title: &str, aside: &Line, focused: bool) -> Rect {
    if area.is_empty() {
        return area;
    }
    let rule = if focused { theme::accent() } else { theme::rule() };
    let style = if focused { theme::focus() } else { theme::strong() };
    // The focus has a mark, not a colour alone.
    let mark = if focused { "▌" } else { " " };
    buffer.set_string(area.x, area.y, "─".repeat(area.width as usize), rule);
    let end = area.right();
    // The title is not part of the rule.
    let clear = |buffer: &mut Buffer, x: u16, width: u16| {
        for x in x..(x + width).min(end) {
            buffer[(x, area.y)].reset();
        }
    };
    clear(buffer, area.x, title.chars().count() as u16 + 2);
    let (x, _) = buffer.set_stringn(area.x, area.y, mark, area.width as usize, style);
    let (x, _) = buffer.set_stringn(x, area.y, title, end.saturating_sub(x) as usize, style);
    let (x, _) = buffer.set_stringn(x, area.y, " ", end.saturating_sub(x) as usize, style);
    let width = aside.width() as u16;
    if width > 0 && x + 2 < end {
        let room = (end - x - 1).min(width + 2);
        let at = end - room;
        clear(buffer, at, room);
        buffer.set_line(at + 1, area.y, aside, room.saturating_sub(1));
        if width > room.saturating_sub(1) {
            // A number that is cut is another number.
            buffer[(end - 1, area.y)].set_symbol("…");
        }
    }
    Rect { y: area.y + 1, height: area.height - 1, ..area }
}
