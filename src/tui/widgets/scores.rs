//! Scores before and after, with their intervals.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::client::words::{Change, MaskRow, OfMasks, change, mask_rows, photos, score_rows};
use crate::protocol::{BothScores, MaskDependence, Score};
use crate::tui::theme;

/// Rows the table takes without DINO.
pub const HEIGHT: u16 = 4;
/// Columns it takes with whole intervals.
const WIDTH: u16 = 79;

/// How a score is written with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// With both ends: `0.812 0.792–0.832`.
    Ends,
    /// With the wider side of the interval: `0.812 ±.020`.
    Wider,
    /// The same as close as it can be read: `.812±.020`.
    Close,
}

impl Form {
    /// From the one that says most.
    pub const ALL: [Self; 3] = [Self::Ends, Self::Wider, Self::Close];

    /// Columns it takes.
    pub fn width(self) -> usize {
        match self {
            Self::Ends => 17,
            Self::Wider => 11,
            Self::Close => 9,
        }
    }

    /// `score` so.
    pub fn write(self, score: &Score) -> String {
        // It is seldom as wide on both sides, and is not to seem narrower than it is.
        let wider = format!("{:.3}", (score.high - score.value).max(score.value - score.low));
        let wider = wider.trim_start_matches('0');
        match self {
            _ if !score.has_interval() => format!("{:.3}", score.value),
            Self::Ends => format!("{:.3} {:.3}–{:.3}", score.value, score.low, score.high),
            Self::Wider => format!("{:.3} ±{wider}", score.value),
            Self::Close => format!("{}±{wider}", format!("{:.3}", score.value).trim_start_matches('0')),
        }
    }
}

/// Rows the table of these takes, at least and with what is to be said of the masks.
pub fn heights(BothScores { before, after, .. }: &BothScores) -> [u16; 2] {
    let scores = score_rows(before, after).len();
    [scores, scores + mask_rows(before, after).len()].map(|rows| rows as u16)
}

fn style(change: Change) -> Style {
    match change {
        Change::Up => theme::good(),
        Change::Down => theme::warn(),
        Change::Unclear | Change::Few => theme::faint(),
    }
}

/// Draw the table, beneath it what is to be said of the masks, as far as there is room, and beside it, where there is room, the
/// intervals on one axis. `◇` is what the photos are worth, each against the others.
pub fn draw(buffer: &mut Buffer, area: Rect, both: &BothScores) {
    let BothScores { before, after, .. } = both;
    let rows = score_rows(before, after);
    let form = if area.width >= WIDTH - 2 { Form::Ends } else { Form::Wider };
    let write = |score: &Score| {
        let text = form.write(score);
        let (value, rest) = text.split_at(text.find(' ').unwrap_or(text.len()));
        [Span::styled(value.to_owned(), theme::strong()), Span::styled(rest.to_owned(), theme::faint())]
    };
    let below = (area.y + rows.len() as u16)..area.bottom();
    for (MaskRow { name, sides, remark }, y) in mask_rows(before, after).iter().zip(below) {
        let [before, after] = sides.each_ref().map(|side| match side {
            OfMasks::Dependence(dependence) => between(*dependence),
            OfMasks::Score(score) => form.write(score),
            OfMasks::Nothing => "–".into(),
        });
        let width = form.width();
        let text = format!(" {name:<14} {before:<width$}  →  {after:<width$}   {remark}");
        buffer.set_stringn(area.x, y, text, area.width as usize, theme::faint());
    }
    for (i, &(name, before, after)) in rows.iter().enumerate().take(area.height as usize) {
        let y = area.y + i as u16;
        let change = change(both, name, before, after);
        let mut spans = vec![Span::raw(format!(" {name:<14} "))];
        spans.extend(write(before));
        spans.push(Span::styled("  →  ", theme::faint()));
        spans.extend(write(after));
        spans.push(Span::styled(format!("   {:<9}", change.words()), style(change)));
        if let Some(photos) = photos(both, name) {
            spans.push(Span::styled(format!(" ◇{photos:.3}"), theme::faint()));
        }
        buffer.set_line(area.x, y, &Line::from(spans), area.width);
        if area.width > WIDTH + 24 {
            let axis = Rect { x: area.x + WIDTH, y, width: area.width - WIDTH - 1, height: 1 };
            lane(buffer, axis, before, after, &rows);
        }
    }
}

/// From the smaller to the larger of a masked score with all masks grown and shrunk.
fn between(dependence: MaskDependence) -> String {
    let (low, high) = dependence.ends();
    format!("{low:.3}–{high:.3}")
}

/// Both intervals on one axis, which is the same in every row.
fn lane(buffer: &mut Buffer, area: Rect, before: &Score, after: &Score, all: &[(&str, &Score, &Score)]) {
    let low = all.iter().map(|(_, b, a)| b.low.min(a.low)).fold(f64::INFINITY, f64::min);
    let high = all.iter().map(|(_, b, a)| b.high.max(a.high)).fold(f64::NEG_INFINITY, f64::max);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_takes_as_many_columns_as_its_form_says() {
        let score = Score { value: 0.812, low: 0.792, high: 0.832, n: 10, units: Some(5) };
        let written = Form::ALL.map(|form| form.write(&score));
        assert_eq!(written, ["0.812 0.792–0.832", "0.812 ±.020", ".812±.020"]);
        assert_eq!(written.map(|text| text.chars().count()), Form::ALL.map(Form::width));
        let lopsided = Score { high: 0.912, ..score };
        assert_eq!(Form::Wider.write(&lopsided), "0.812 ±.100");
        let few = Score { units: Some(2), ..lopsided };
        assert_eq!(Form::Ends.write(&few), "0.812", "of two prompts there is no interval");
    }
}
