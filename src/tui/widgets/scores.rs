//! Scores before and after, with their intervals.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::client::Scores;
use crate::protocol::Score;
use crate::tui::theme;

/// Rows the table takes.
pub const HEIGHT: u16 = 4;

/// How a score changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The intervals lie apart, upwards.
    Up,
    /// The intervals lie apart, downwards.
    Down,
    /// They overlap.
    Unclear,
}

impl Change {
    /// From one score to another.
    pub fn between(before: &Score, after: &Score) -> Self {
        if after.low > before.high {
            Self::Up
        } else if after.high < before.low {
            Self::Down
        } else {
            Self::Unclear
        }
    }

    fn words(self) -> (&'static str, Style) {
        match self {
            Self::Up => ("▲ clearly up", theme::GOOD),
            Self::Down => ("▼ clearly down", theme::WARN),
            Self::Unclear => ("= no clear change", theme::FAINT),
        }
    }
}

/// Draw the table, and beside it, where there is room, the intervals on one axis.
pub fn draw(buffer: &mut Buffer, area: Rect, before: &Scores, after: &Scores) {
    let rows = [
        ("masked CLIP-I", &before.masked_clip_i, &after.masked_clip_i),
        ("CLIP-I", &before.clip_i, &after.clip_i),
        ("CLIP-T", &before.clip_t, &after.clip_t),
        ("balance", &before.balance, &after.balance),
    ];
    let interval = |score: &Score| Span::styled(format!(" {:.3}–{:.3}", score.low, score.high), theme::FAINT);
    let value = |score: &Score| Span::styled(format!("{:.3}", score.value), theme::STRONG);
    for (i, (name, before, after)) in rows.into_iter().enumerate().take(area.height as usize) {
        let y = area.y + i as u16;
        let (words, style) = Change::between(before, after).words();
        let line = Line::from(vec![
            Span::raw(format!(" {name:<14} ")),
            value(before),
            interval(before),
            Span::styled("  →  ", theme::FAINT),
            value(after),
            interval(after),
            Span::styled(format!("   {words}"), style),
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
    buffer.set_string(area.x, area.y, "·".repeat(area.width as usize), theme::RULE);
    for (score, dash, dot, style) in [(before, "─", "○", theme::FAINT), (after, "━", "●", theme::ACCENT)] {
        for x in at(score.low)..=at(score.high) {
            buffer.set_string(x, area.y, dash, style);
        }
        buffer.set_string(at(score.value), area.y, dot, style);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_clear_only_when_the_intervals_lie_apart() {
        let score = |low, high| Score { value: f64::midpoint(low, high), low, high, n: 10 };
        assert_eq!(Change::between(&score(0.1, 0.2), &score(0.3, 0.4)), Change::Up);
        assert_eq!(Change::between(&score(0.3, 0.4), &score(0.1, 0.2)), Change::Down);
        assert_eq!(Change::between(&score(0.1, 0.25), &score(0.2, 0.4)), Change::Unclear);
    }
}
