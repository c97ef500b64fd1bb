//! What comes from the terminal: keys, and its answers.
//!
//! One thread reads all of it, from before the first question to the end, and nothing else does: so no answer is taken for
//! keys and no key for an answer, whenever they come. [`bytes`] cuts, [`keys`] knows what the pieces mean, [`Line`] knows which
//! answers are still to come.

mod bytes;
mod keys;

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Message, drop_send};
use bytes::Bytes;
pub use keys::{Answer, Sent};

/// What asks a terminal for its attributes. All answer it, and after what they were asked before: so it comes last.
pub const ATTRIBUTES: &str = "\x1b[c";
/// For how long a terminal that has never answered may owe an answer.
const SILENT: Duration = Duration::from_millis(2500);
/// For one that has: this many times what its slowest answer took, within these.
const TIMES: u32 = 4;
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(8);
/// While bytes come, no answer is given up.
const COMING: Duration = Duration::from_millis(500);
/// How long an Escape waits for the rest of a sequence: on a line without gaps, and at most.
const ESCAPE: Duration = Duration::from_millis(50);
const ESCAPE_MOST: Duration = Duration::from_millis(400);

/// A question that every terminal answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Is it well?
    Status,
    /// Which attributes has it?
    Attributes,
}

/// What is known of the way to the terminal and back.
#[derive(Clone, Default)]
pub struct Line(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// What was asked and not answered, and when.
    owed: VecDeque<(Question, Instant)>,
    /// What the slowest answer took; none where none has come.
    delay: Option<Duration>,
    /// The longest time between two bytes of a sequence.
    gap: Duration,
    /// When something was last heard, and whether it is not whole yet.
    heard: Option<(Instant, bool)>,
    /// The terminal is gone.
    gone: bool,
}

impl Line {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The terminal is about to be asked this.
    pub fn asks(&self, question: Question) {
        self.known().owed.push_back((question, Instant::now()));
    }

    /// How much longer the answers that the terminal owes are to be waited for; none where it owes none, or none will come.
    pub fn waits(&self) -> Option<Duration> {
        self.known().waits(Instant::now())
    }

    /// How long an Escape waits for more.
    fn escape(&self) -> Duration {
        let known = self.known();
        if known.waits(Instant::now()).is_some() { ESCAPE_MOST } else { (known.gap * 8).clamp(ESCAPE, ESCAPE_MOST) }
    }
}

impl Known {
    fn waits(&self, now: Instant) -> Option<Duration> {
        if self.gone {
            return None;
        }
        let since = |then: Instant| now.saturating_duration_since(then);
        let left = |limit: Duration, then| limit.saturating_sub(since(then));
        let owed = self.owed.back().map_or(Duration::ZERO, |(_, asked)| {
            let limit = self.delay.map_or(SILENT, |delay| (delay * TIMES).clamp(LEAST, MOST));
            left(limit, *asked)
        });
        let coming = self.heard.map_or(Duration::ZERO, |(heard, begun)| {
            // What is late is still an answer, and a sequence that has begun is still to end.
            let late = self.owed.front().is_some_and(|(_, asked)| heard > *asked);
            if begun || late { left(COMING, heard) } else { Duration::ZERO }
        });
        Some(owed.max(coming)).filter(|left| !left.is_zero())
    }

    fn answered(&mut self, question: Question, now: Instant) {
        // Answers come in the order of their questions: what was asked before will not be answered any more.
        let Some(at) = self.owed.iter().position(|(owed, _)| *owed == question) else { return };
        if let Some((_, asked)) = self.owed.drain(..=at).next_back() {
            self.delay = self.delay.max(Some(now.saturating_duration_since(asked)));
        }
    }
}

/// What reads the terminal.
pub struct Reader {
    line: Line,
    bytes: Bytes,
}

impl Reader {
    /// One that tells `line` what it hears.
    pub fn new(line: Line) -> Self {
        Self { line, bytes: Bytes::new(Instant::now()) }
    }

    /// Wait for what comes next, for as long as `limit` says. What it tells; none where the terminal is gone.
    pub fn read(&mut self, limit: Option<Duration>) -> Option<Vec<Sent>> {
        let patience = self.bytes.patience(Instant::now(), self.line.escape());
        let wait = patience.into_iter().chain(limit).min();
        let (mut pieces, mut came) = (Vec::new(), false);
        match wait_for_input(wait) {
            Input::Gone => {
                self.line.known().gone = true;
                return None;
            }
            Input::None => {
                let now = Instant::now();
                if self.bytes.patience(now, self.line.escape()) == Some(Duration::ZERO) {
                    self.bytes.expire(&mut pieces);
                }
            }
            Input::Some => {
                let mut buffer = [0; 4096];
                let count = match rustix::io::read(io::stdin(), &mut buffer) {
                    // Another process has read it.
                    Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Some(Vec::new()),
                    Ok(0) | Err(_) => {
                        self.line.known().gone = true;
                        return None;
                    }
                    Ok(count) => count,
                };
                came = true;
                let now = Instant::now();
                buffer[..count].iter().for_each(|byte| self.bytes.take(*byte, now, &mut pieces));
            }
        }
        let told: Vec<Sent> = pieces.into_iter().flat_map(keys::told).collect();
        let now = Instant::now();
        let mut known = self.line.known();
        // Of silence nothing is heard.
        known.heard =
            if came { Some(now) } else { known.heard.map(|(then, _)| then) }.map(|then| (then, self.bytes.has_begun()));
        known.gap = self.bytes.gap();
        for told in &told {
            match told {
                Sent::Answer(Answer::Status) => known.answered(Question::Status, now),
                Sent::Answer(Answer::Attributes(_)) => known.answered(Question::Attributes, now),
                _ => {}
            }
        }
        Some(told)
    }
}

/// Send what comes to the thread that draws, on a thread of its own.
pub fn listen(to: Sender<Message>, line: Line) {
    std::thread::spawn(move || {
        let mut reader = Reader::new(line);
        while let Some(told) = reader.read(None) {
            for told in told {
                drop_send(
                    &to,
                    match told {
                        Sent::Event(event) => Message::Input(event),
                        Sent::Foreign(typed, latin) => Message::Foreign(typed, latin),
                        Sent::Answer(Answer::Status) => Message::Answered,
                        Sent::Answer(answer) => Message::Answer(answer),
                    },
                );
            }
        }
        drop_send(&to, Message::End);
    });
}

enum Input {
    Some,
    /// Not in this time.
    None,
    /// There never will be any.
    Gone,
}

/// Wait until there is input to read, for as long as `limit` says.
fn wait_for_input(limit: Option<Duration>) -> Input {
    let stdin = io::stdin();
    let limit =
        limit.map(|limit| Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) });
    let mut descriptors = [PollFd::new(&stdin, PollFlags::IN)];
    match poll(&mut descriptors, limit.as_ref()) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Input::None,
        Ok(_) if descriptors[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) => Input::Gone,
        Ok(_) => Input::Some,
        Err(_) => Input::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn an_answer_is_waited_for_as_long_as_the_line_is_slow() {
        let start = Instant::now();
        let mut known = Known::default();
        assert_eq!(known.waits(start), None, "nothing was asked");
        known.owed.push_back((Question::Attributes, start));
        assert_eq!(known.waits(start + ms(500)), Some(ms(2000)));
        assert_eq!(known.waits(start + SILENT), None, "it never answers");
        // Its bytes come slowly.
        known.heard = Some((start + SILENT, true));
        assert_eq!(known.waits(start + SILENT + ms(100)), Some(ms(400)));
        known.heard = Some((start + ms(1500), false));
        known.answered(Question::Attributes, start + ms(1500));
        assert_eq!(known.waits(start + ms(1500)), None);
        // From now on it is known to be slow.
        known.owed.push_back((Question::Status, start + ms(2000)));
        assert_eq!(known.waits(start + ms(2000)), Some(ms(6000)));
        known.gone = true;
        assert_eq!(known.waits(start + ms(2000)), None);
    }

    #[test]
    fn a_later_answer_tells_that_earlier_ones_will_not_come() {
        let start = Instant::now();
        let mut known = Known::default();
        for question in [Question::Status, Question::Attributes, Question::Status] {
            known.owed.push_back((question, start));
        }
        known.answered(Question::Attributes, start);
        assert_eq!(known.owed, [(Question::Status, start)]);
        known.answered(Question::Attributes, start);
        assert_eq!(known.owed.len(), 1, "nobody asked for it");
    }
}
