//! Pictures on a slow line come a piece at a time, so that a key never waits for more than one. How much makes a piece is
//! learned from the terminal: after each it is asked for its status, and the next one waits for the answer. What a program
//! writes lies in buffers of the system and of SSH long before a terminal sees it; only the terminal knows when it has.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ratatui::layout::Rect;

/// How long a key may wait for pictures.
const A_PIECE: Duration = Duration::from_millis(20);
/// For how long an answer is waited for. A terminal that never gave one is not asked again; one that did gave it together
/// with a key.
const SILENCE: Duration = Duration::from_secs(1);

/// How long the terminal takes for a unit of pictures: a pixel or a half block.
pub struct Pace {
    seconds: f64,
    /// What an answer takes without any pictures before it: the least that one took.
    way: Duration,
    /// So many units are on their way since then.
    asked: Option<(usize, Instant)>,
    silent: bool,
}

impl Pace {
    /// As if the line were slow, until it is known: `seconds` for each unit.
    pub fn new(seconds: f64) -> Self {
        Self { seconds, way: Duration::MAX, asked: None, silent: false }
    }

    /// How many units make up a piece: one at least, or nothing more would come and nothing be learned.
    pub fn piece(&self) -> usize {
        if self.silent { usize::MAX } else { ((A_PIECE.as_secs_f64() / self.seconds.max(1e-12)) as usize).max(1) }
    }

    /// So many units were written, or something else that pictures wait for. Whether the terminal is to be asked.
    pub fn wrote(&mut self, units: usize) -> bool {
        let ask = !self.silent && self.asked.is_none();
        if ask {
            self.asked = Some((units, Instant::now()));
        }
        ask
    }

    /// The terminal has answered.
    pub fn answered(&mut self) {
        if let Some((units, asked)) = self.asked.take() {
            self.took(units, asked.elapsed());
        }
    }

    fn took(&mut self, units: usize, time: Duration) {
        self.way = self.way.min(time);
        if units == 0 {
            return;
        }
        let seconds = time.saturating_sub(self.way).as_secs_f64() / units as f64;
        self.seconds = f64::midpoint(self.seconds, seconds);
    }

    /// Until when an answer is waited for before the next piece.
    pub fn waits(&mut self) -> Option<Instant> {
        let until = self.asked?.1 + SILENCE;
        if until <= Instant::now() {
            (self.silent, self.asked) = (self.way == Duration::MAX, None);
            return None;
        }
        Some(until)
    }
}

/// Half blocks that come to the screen row by row.
pub struct Reveal {
    pace: Pace,
    /// The rows of each picture that are there, and whether this frame has it.
    rows: HashMap<(Rect, u64), (u16, bool)>,
    /// Cells of this frame that the one before did not have.
    new: usize,
    /// Rows are missing.
    more: bool,
    /// Pictures have their place in this frame, and come once the terminal has drawn it.
    awaits: bool,
}

impl Default for Reveal {
    fn default() -> Self {
        // 1 Mbit/s.
        Self { pace: Pace::new(300e-6), rows: HashMap::new(), new: 0, more: false, awaits: false }
    }
}

impl Reveal {
    /// Begin a frame.
    pub fn begin(&mut self) {
        (self.new, self.more, self.awaits) = (0, false, false);
        self.rows.values_mut().for_each(|(_, seen)| *seen = false);
    }

    /// How many rows of this picture the frame has. One that is more than a piece has none in its first: a key must not wait
    /// for it beside what else is new on the screen.
    pub fn rows(&mut self, area: Rect, hash: u64) -> u16 {
        let waits = self.pace.waits().is_some();
        let width = usize::from(area.width.max(1));
        let left = self.pace.piece().saturating_sub(self.new);
        let is_large = width * usize::from(area.height) > left;
        let known = self.rows.insert((area, hash), (0, true));
        let (rows, _) = known.unwrap_or_default();
        self.awaits |= known.is_none() && is_large;
        // One row at least, so that it ends.
        let most = match left {
            _ if waits || (known.is_none() && is_large) => 0,
            0 => 0,
            left => (left / width).max(1),
        };
        let more = most.min(usize::from(area.height - rows)) as u16;
        self.rows.insert((area, hash), (rows + more, true));
        self.new += usize::from(more) * width;
        self.more |= rows + more < area.height;
        rows + more
    }

    /// End the frame: of what it did not have nothing is there any more.
    pub fn end(&mut self) {
        self.rows.retain(|_, (_, seen)| *seen);
    }

    /// When the next frame with more rows is due, if there are any: at once, or once the terminal has answered.
    pub fn due(&mut self) -> Option<Instant> {
        self.more.then(|| self.pace.waits().unwrap_or_else(Instant::now))
    }

    /// The frame was written. Whether the terminal is to be asked.
    pub fn wrote(&mut self) -> bool {
        let new = std::mem::take(&mut self.new);
        (new > 0 || std::mem::take(&mut self.awaits)) && self.pace.wrote(new)
    }

    /// The terminal has answered.
    pub fn answered(&mut self) {
        self.pace.answered();
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
    fn the_next_rows_wait_for_the_terminal() {
        let mut reveal = Reveal::default();
        assert_eq!(frame(&mut reveal), (0, 0), "their places alone");
        assert!(reveal.wrote());
        assert_eq!(frame(&mut reveal), (0, 0), "no answer yet");
        assert!(reveal.due().unwrap() > Instant::now() + SILENCE / 2);
        reveal.answered();
        assert_eq!(frame(&mut reveal), (1, 0), "100 cells of 20 ms");
        assert!(reveal.wrote());
        reveal.answered();
        let mut frames = 0;
        while frame(&mut reveal) != (30, 10) {
            assert!(reveal.wrote() && frames < 30);
            reveal.answered();
            frames += 1;
        }
        assert_eq!(reveal.due(), None);
    }

    #[test]
    fn on_a_fast_line_pictures_are_there_at_once() {
        let mut reveal = Reveal { pace: Pace::new(1e-7), ..Reveal::default() };
        assert_eq!(frame(&mut reveal), (30, 10));
        assert_eq!(reveal.due(), None);
    }

    #[test]
    fn the_pace_of_a_line_is_learned_whatever_its_way_takes() {
        // A line of 300 µs a unit, and one that takes none; both take 80 ms to answer.
        for (each, least, most) in [(300e-6, 60, 400), (0.0, 10_000, usize::MAX)] {
            let mut pace = Pace::new(300e-6);
            for _ in 0..20 {
                let units = pace.piece();
                pace.took(units, Duration::from_secs_f64(0.08 + each * units as f64));
            }
            assert!((least..=most).contains(&pace.piece()), "{each}: {}", pace.piece());
        }
    }

    #[test]
    fn after_slow_answers_pictures_still_come() {
        let mut reveal = Reveal::default();
        for _ in 0..8 {
            // A busy terminal: a second for ten cells.
            reveal.pace.took(10, Duration::from_millis(5));
            reveal.pace.took(10, Duration::from_secs(1));
        }
        frame(&mut reveal);
        for rows in 1..=3 {
            reveal.answered();
            assert_eq!(frame(&mut reveal), (rows, 0));
            assert!(reveal.wrote());
        }
    }

    #[test]
    fn a_picture_that_was_away_comes_anew() {
        let mut reveal = Reveal::default();
        while frame(&mut reveal) != (30, 10) {}
        reveal.begin();
        reveal.end();
        assert_eq!(frame(&mut reveal), (0, 0));
    }
}
