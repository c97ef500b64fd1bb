//! The jobs after the first: what the daemon hands to a runner that has its base model loaded.

use std::io::BufRead;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::StopFlag;
use crate::protocol::Assignment;

/// How long a runner keeps its base model for a job that may come.
const KEEP: Duration = Duration::from_secs(30);
/// How often it looks whether it should stop waiting.
const LOOK: Duration = Duration::from_millis(100);

/// What comes on stdin, read by a thread of its own.
pub(super) struct Assignments {
    lines: Receiver<Assignment>,
}

impl Assignments {
    pub fn listen() -> Self {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // The end of stdin, like a line that is none, is the end of the daemon: nothing more will come.
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                let Ok(assignment) = serde_json::from_str(&line) else { return };
                if sender.send(assignment).is_err() {
                    return;
                }
            }
        });
        Self { lines }
    }

    /// The next job, or none when none will come.
    pub fn next(&mut self, stop: &StopFlag) -> Option<Assignment> {
        let deadline = Instant::now() + KEEP;
        while !stop.is_set() && Instant::now() < deadline {
            match self.lines.recv_timeout(LOOK) {
                // Asked to stop meanwhile, it leaves the job to another.
                Ok(assignment) => return Some(assignment).filter(|_| !stop.is_set()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        None
    }
}
