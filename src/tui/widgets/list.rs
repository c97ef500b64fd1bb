//! A choice among items in rows and columns, and how keys and the wheel move it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::tui::canvas::{Canvas, Target};
use crate::tui::keymap::Action;
use crate::tui::theme;

/// Which item is chosen, and how the items lay when they were last drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Its index.
    pub index: usize,
    /// Items in a row.
    pub columns: usize,
    /// Rows that are seen.
    pub rows: usize,
    /// The first row that is seen.
    top: usize,
}

/// The first line that is seen of what has no choice but scrolls, after `action`; none where that does not scroll it. The last
/// line is cut to what there is when it is drawn.
pub fn scrolled(top: usize, action: Action) -> Option<usize> {
    match action {
        Action::Up => Some(top.saturating_sub(1)),
        Action::Down => Some(top.saturating_add(1)),
        Action::PageUp => Some(top.saturating_sub(5)),
        Action::PageDown => Some(top.saturating_add(5)),
        Action::First => Some(0),
        Action::Last => Some(usize::MAX),
        _ => None,
    }
}

impl Default for Choice {
    fn default() -> Self {
        Self { index: 0, columns: 1, rows: 1, top: 0 }
    }
}

impl Choice {
    /// The chosen item of `len`; none of none.
    pub fn of(&self, len: usize) -> Option<usize> {
        len.checked_sub(1).map(|last| self.index.min(last))
    }

    /// Move among `len` items; whether `action` does that.
    pub fn step(&mut self, action: Action, len: usize) -> bool {
        let Some(at) = self.of(len) else { return false };
        let (last, columns, page) = (len - 1, self.columns.max(1), (self.columns * self.rows).max(1));
        let grid = columns > 1;
        self.index = match action {
            Action::Left if grid => at.saturating_sub(1),
            Action::Right if grid => (at + 1).min(last),
            Action::Up => at.checked_sub(columns).unwrap_or(at),
            Action::Down if at + columns <= last => at + columns,
            // From the last whole row into one that is not full.
            Action::Down if at / columns < last / columns => last,
            Action::Down => at,
            Action::PageUp => at.saturating_sub(page),
            Action::PageDown => (at + page).min(last),
            Action::First => 0,
            Action::Last => last,
            _ => return false,
        };
        true
    }

    /// The items seen of `len` in `rows` rows of `columns`, scrolled no further than the chosen one asks for.
    pub fn seen(&mut self, len: usize, columns: usize, rows: usize) -> std::ops::Range<usize> {
        (self.columns, self.rows) = (columns.max(1), rows.max(1));
        let row = self.of(len).unwrap_or(0) / self.columns;
        let all = len.div_ceil(self.columns);
        self.top = self.top.clamp((row + 1).saturating_sub(self.rows), row).min(all.saturating_sub(self.rows));
        let first = self.top * self.columns;
        first..(first + self.columns * self.rows).min(len)
    }
}

/// Draw the lines of a list that are seen: `line` makes the one of an item, for a width. The chosen one is marked, and
/// stands out where the pane has the focus. Clicks choose.
pub fn draw(
    canvas: &mut Canvas,
    area: Rect,
    pane: usize,
    choice: &mut Choice,
    len: usize,
    focused: bool,
    line: impl Fn(usize, usize) -> Line<'static>,
) {
    let seen = choice.seen(len, 1, area.height as usize);
    let chosen = choice.of(len);
    let first = seen.start;
    for index in seen.clone() {
        let row = Rect { y: area.y + (index - first) as u16, height: 1, ..area };
        let is_chosen = chosen == Some(index);
        let mark = if is_chosen { Span::styled("▸", theme::focus()) } else { Span::raw(" ") };
        canvas.buffer.set_line(row.x, row.y, &Line::from(mark), row.width);
        let rest = row.width.saturating_sub(1);
        canvas.buffer.set_line(row.x + 1, row.y, &line(index, rest as usize), rest);
        if is_chosen && focused {
            canvas.buffer.set_style(row, theme::chosen());
        }
        canvas.target(row, Target::Item { pane, index });
    }
    scrollbar(canvas.buffer, area, len, seen);
}

/// At the right edge, where of all the seen part is.
pub fn scrollbar(buffer: &mut Buffer, area: Rect, len: usize, seen: std::ops::Range<usize>) {
    if seen.len() >= len || area.width < 4 || area.height < 3 {
        return;
    }
    let height = area.height as usize;
    let size = (height * seen.len() / len).max(1);
    let top = (height - size) * seen.start / (len - seen.len()).max(1);
    for y in 0..size {
        buffer.set_string(area.right() - 1, area.y + (top + y) as u16, "▐", theme::rule());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_move_and_stop_at_the_ends() {
        let mut choice = Choice::default();
        assert!(!choice.step(Action::Down, 0), "there is nothing to choose");
        choice.seen(10, 3, 2);
        for (action, index) in [
            (Action::Left, 0),
            (Action::Down, 3),
            (Action::Right, 4),
            (Action::PageDown, 9),
            (Action::Down, 9),
            (Action::Up, 6),
            (Action::Down, 9),
            (Action::First, 0),
            (Action::Last, 9),
        ] {
            choice.step(action, 10);
            assert_eq!(choice.index, index, "{action:?}");
        }
        assert_eq!(choice.of(4), Some(3), "of fewer items the last one");
        choice.step(Action::Up, 8);
        assert_eq!(choice.index, 4);
        choice.step(Action::Right, 8);
        choice.step(Action::Down, 8);
        assert_eq!(choice.index, 7, "into a row that is not full");
    }

    #[test]
    fn the_list_scrolls_no_further_than_it_must() {
        let mut choice = Choice::default();
        assert_eq!(choice.seen(100, 1, 10), 0..10);
        choice.index = 10;
        assert_eq!(choice.seen(100, 1, 10), 1..11);
        choice.index = 5;
        assert_eq!(choice.seen(100, 1, 10), 1..11);
        choice.index = 0;
        assert_eq!(choice.seen(100, 1, 10), 0..10);
        choice.index = 99;
        assert_eq!(choice.seen(100, 1, 10), 90..100);
        assert_eq!(choice.seen(5, 1, 10), 0..5);
    }
}
