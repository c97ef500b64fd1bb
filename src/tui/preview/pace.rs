//! Pictures on a slow line: it is told by how long they take to be written, and then they come a piece at a time, so that
//! a key never waits for more than one piece.

use std::collections::HashMap;
use std::time::Duration;

use ratatui::layout::Rect;

/// Bytes a second below which a line is slow.
const SLOW: f64 = 500_000.0;
/// Less than this says nothing of a line.
const TELLING: usize = 3000;
/// What a half block takes, in bytes: its two colours and itself.
const HALF_BLOCK: usize = 38;
/// Half blocks that a slow line gets in a frame: a tenth of a second on one of 1 Mbit/s.
const A_FRAME: usize = 250;

/// Whether the line to the terminal is slow, until something is written as if it were.
pub struct Pace {
    slow: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self { slow: true }
    }
}

impl Pace {
    /// Whether it is slow.
    pub fn is_slow(&self) -> bool {
        self.slow
    }

    /// About so many `bytes` took so long.
    pub fn took(&mut self, bytes: usize, time: Duration) {
        if bytes >= TELLING {
            self.slow = bytes as f64 / time.as_secs_f64().max(1e-9) < SLOW;
        }
    }
}

/// Half blocks that come to the screen row by row.
#[derive(Default)]
pub struct Reveal {
    pace: Pace,
    /// The rows of each picture that are there, and whether this frame has it.
    rows: HashMap<(Rect, u64), (u16, bool)>,
    /// Cells of this frame that the one before did not have.
    new: usize,
    /// Rows are missing.
    more: bool,
}

impl Reveal {
    /// Begin a frame.
    pub fn begin(&mut self) {
        (self.new, self.more) = (0, false);
        self.rows.values_mut().for_each(|(_, seen)| *seen = false);
    }

    /// How many rows of this picture the frame has.
    pub fn rows(&mut self, area: Rect, hash: u64) -> u16 {
        let (rows, seen) = self.rows.entry((area, hash)).or_insert((0, true));
        let width = usize::from(area.width.max(1));
        // One row at least, so that it ends.
        let most = if !self.pace.is_slow() {
            area.height
        } else if self.new >= A_FRAME {
            0
        } else {
            ((A_FRAME - self.new) / width).max(1) as u16
        };
        let more = most.min(area.height - *rows);
        (*rows, *seen) = (*rows + more, true);
        self.new += usize::from(more) * width;
        self.more |= *rows < area.height;
        *rows
    }

    /// End the frame: of what it did not have nothing is there any more.
    pub fn end(&mut self) {
        self.rows.retain(|_, (_, seen)| *seen);
    }

    /// Whether another frame would have more rows.
    pub fn goes_on(&self) -> bool {
        self.more
    }

    /// The frame took so long to be written.
    pub fn took(&mut self, time: Duration) {
        self.pace.took(self.new * HALF_BLOCK, time);
    }

    /// Nothing is on the screen any more.
    pub fn forget(&mut self) {
        self.rows.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: Rect = Rect { x: 0, y: 0, width: 100, height: 30 };
    const SMALL: Rect = Rect { x: 0, y: 30, width: 20, height: 10 };

    fn frame(reveal: &mut Reveal) -> (u16, u16) {
        reveal.begin();
        let rows = (reveal.rows(LARGE, 1), reveal.rows(SMALL, 2));
        reveal.end();
        rows
    }

    #[test]
    fn a_slow_line_gets_a_few_rows_a_frame_and_a_fast_one_all_at_once() {
        let mut reveal = Reveal::default();
        let mut frames = vec![frame(&mut reveal)];
        assert_eq!(frames[0], (2, 2), "250 cells");
        while reveal.goes_on() {
            reveal.took(Duration::from_millis(80));
            frames.push(frame(&mut reveal));
        }
        assert_eq!(frames.last(), Some(&(30, 10)));
        assert!(frames.len() <= 16 && frames.is_sorted(), "{frames:?}");

        let mut reveal = Reveal::default();
        frame(&mut reveal);
        reveal.took(Duration::from_millis(3));
        assert_eq!(frame(&mut reveal), (30, 10));
        assert!(!reveal.goes_on());
    }

    #[test]
    fn a_picture_that_was_away_comes_anew() {
        let mut reveal = Reveal::default();
        while frame(&mut reveal) != (30, 10) {}
        reveal.begin();
        reveal.end();
        assert_eq!(frame(&mut reveal), (2, 2));
    }
}
