//! Scores before and after, with their intervals.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::client::words::{Change, score_rows};
use crate::protocol::{Score, Scores};
use crate::tui::theme;

/// Rows the table takes.
pub const HEIGHT: u16 = 4;

fn style(change: Change) -> Style {
    match change {
        Change::Up => theme::good(),
        Change::Down => theme::warn(),
        Change::Unclear => theme::faint(),
    }
}

/// Draw the table, and beside it, where there is room, the intervals on one axis.
pub fn draw(buffer: &mut Buffer, area: Rect, before: &Scores, after: &Scores) {
    let rows = score_rows(before, after);
    let interval = |score: &Score| Span::styled(format!(" {:.3}–{:.3}", score.low, score.high), theme::faint());
    let value = |score: &Score| Span::styled(format!("{:.3}", score.value), theme::strong());
    for (i, (name, before, after)) in rows.into_iter().enumerate().take(area.height as usize) {
        let y = area.y + i as u16;
        let change = Change::between(before, after);
        let line = Line::from(vec![
            Span::raw(format!(" {name:<14} ")),
            value(before),
            interval(before),
            Span::styled("  →  ", theme::faint()),
            value(after),
            interval(after),
            Span::styled(format!("   {}", change.words()), style(change)),
        ]);
        buffer.set_line(area.x, y, &line, area.width);
        let table = 79;
        if area.width > table + 24 {
            let axis = Rect { x: area.x + table, y, width: area.width - table - 1, height: 1 };
            lane(buffer, axis, before, after, &rows.map(|(_, before, after)| (before, after)));
        }
    }
}

/// Both intervals on one axis, which is the same in every row.
fn lane(buffer: &mut Buffer, area: Rect, before: &Score, after: &Score, all: &[(&Score, &Score)]) {
    let low = all.iter().map(|(b, a)| b.low.min(a.low)).fold(f64::INFINITY, f64::min);
    let high = all.iter().map(|(b, a)| b.high.max(a.high)).fold(f64::NEG_INFINITY, f64::max);
    let at = |value: f64| {
        let share = ((value - low) / (high - low).max(1e-9)).clamp(0.0, 1.0);
        area.x + (share * f64::from(area.width - 1)).round() as u16
    };
    buffer.set_string(area.x, area.y, "·".repeat(area.width as usize), theme::rule());
    for (score, dash, dot, style) in [(before, "─", "○", theme::faint()), (after, "━", "●", theme::accent())] {
        for x in at(score.low)..=at(score.high) {
            buffer.set_string(x, area.y, dash, style);
        }
        buffer.set_string(at(score.value), area.y, dot, style);
    }
}
