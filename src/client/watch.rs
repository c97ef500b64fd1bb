//! Taking note of what changes in job folders.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use notify::{RecursiveMode, Watcher as _};

use super::{Error, History, State, state};
use crate::protocol::EventRecord;
use crate::workspace::{EventReader, JobFolder};

/// Calls back, on its own thread, when something in a folder changes. Where the system cannot watch (some network
/// disks, no inotify watches left), it looks twice a second instead.
pub struct Watch {
    _watcher: Box<dyn notify::Watcher + Send>,
}

impl Watch {
    /// Watch everything under `folder`.
    pub fn new(folder: &Path, changed: impl Fn() + Send + Clone + 'static) -> Result<Self, Error> {
        let handler = |changed: Box<dyn Fn() + Send>| {
            move |event: notify::Result<notify::Event>| {
                // Reading a file is an event too: it changes nothing.
                if !event.is_ok_and(|event| event.kind.is_access()) {
                    changed();
                }
            }
        };
        if let Ok(mut watcher) = notify::recommended_watcher(handler(Box::new(changed.clone())))
            && watcher.watch(folder, RecursiveMode::Recursive).is_ok()
        {
            return Ok(Self { _watcher: Box::new(watcher) });
        }
        let config = notify::Config::default().with_poll_interval(Duration::from_millis(500));
        let mut watcher = notify::PollWatcher::new(handler(Box::new(changed)), config)?;
        watcher.watch(folder, RecursiveMode::Recursive)?;
        Ok(Self { _watcher: Box::new(watcher) })
    }
}

/// The events of a job from its first to its last, waiting for those to come. Ends after the job's last event, or when
/// its runner is gone.
pub struct Follow {
    job: JobFolder,
    reader: EventReader,
    history: History,
    ready: std::vec::IntoIter<EventRecord>,
    changes: Receiver<()>,
    _watch: Watch,
}

impl Follow {
    /// Follow `job`, which has been started.
    pub fn new(job: &JobFolder) -> Result<Self, Error> {
        let (sender, changes) = channel();
        let watch = Watch::new(job.path(), move || {
            // The receiver is gone only when nobody follows any more.
            let _ = sender.send(());
        })?;
        Ok(Self {
            job: job.clone(),
            reader: EventReader::new(&job.events()),
            history: History::new(job),
            ready: Vec::new().into_iter(),
            changes,
            _watch: watch,
        })
    }

    /// What the events given out so far say.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The next event; `Ok(None)` when nothing comes within `wait`, and [`Follow::over`] tells whether anything will.
    pub fn next(&mut self, wait: Duration) -> Result<Option<EventRecord>, Error> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(event) = self.ready.next() {
                self.history.apply(&event);
                return Ok(Some(event));
            }
            self.ready = self.reader.read_new()?.into_iter();
            if self.ready.len() > 0 {
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.changes.recv_timeout(left) {
                Ok(()) => while self.changes.try_recv().is_ok() {},
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    /// Whether the next event is there already.
    pub fn is_behind(&self) -> bool {
        self.ready.len() > 0
    }

    /// Whether the job has ended, and how; none while its runner lives. Events may still wait to be read right after it.
    pub fn over(&self) -> Option<State> {
        Some(state(&self.job, &self.history)).filter(|state| *state != State::Running)
    }
}
