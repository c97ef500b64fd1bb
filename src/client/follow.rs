//! Following a job: every event from its first to its last, through the daemon, whatever becomes of that on the way.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::jobs::home_of;
use super::{Daemon, Error, Watch};
use crate::protocol::{DaemonReply, DaemonRequest, EventRecord, State};
use crate::workspace::queue::QueueFiles;
use crate::workspace::{EventReader, History, JobFolder, state};

/// Daemons that may die one after the other without a word before following gives up.
const PATIENCE: usize = 5;

/// The events of a job from its first to its last, waiting for those to come. Ends after the job's last event.
pub struct Follow {
    job: JobFolder,
    history: History,
    source: Source,
    /// Number of the next event.
    next_seq: u64,
    /// Daemons that died since the last event.
    deaths: usize,
    over: bool,
}

/// Where the events come from.
enum Source {
    Daemon(Box<Daemon>),
    /// The job's file, when the daemon must not or cannot be asked.
    File(FileSource),
}

struct FileSource {
    reader: EventReader,
    ready: VecDeque<EventRecord>,
    changes: Receiver<()>,
    /// Why it is not the daemon.
    why: String,
    _watch: Watch,
}

impl Follow {
    /// Follow `job`. The daemon is started if it is not there; where it is of another version and busy, on another machine,
    /// or cannot be started, the job's file is read without it.
    pub fn new(job: &JobFolder) -> Result<Self, Error> {
        let source = match Self::subscribe(job, 0) {
            Ok(daemon) => Source::Daemon(Box::new(daemon)),
            Err(why) => Source::File(FileSource::new(job, 0, why.to_string())?),
        };
        Ok(Self { job: job.clone(), history: History::new(job), source, next_seq: 0, deaths: 0, over: false })
    }

    fn subscribe(job: &JobFolder, since_seq: u64) -> Result<Daemon, Error> {
        let mut daemon = Daemon::start(&home_of(job)?)?;
        daemon.send(DaemonRequest::Follow { job: job.path().to_owned(), since_seq })?;
        Ok(daemon)
    }

    /// What the events given out so far say.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Why the daemon is not asked, where it is not.
    pub fn without_daemon(&self) -> Option<&str> {
        match &self.source {
            Source::Daemon(_) => None,
            Source::File(file) => Some(&file.why),
        }
    }

    /// The next event; `Ok(None)` when nothing comes within `wait`, and [`Follow::over`] tells whether anything will.
    pub fn next(&mut self, wait: Duration) -> Result<Option<EventRecord>, Error> {
        let deadline = Instant::now() + wait;
        while !self.over {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = match &mut self.source {
                Source::File(file) => {
                    let event = file.next(left)?;
                    // Asked before that look, by `over`.
                    let Some(event) = event else { return Ok(None) };
                    event
                }
                Source::Daemon(daemon) => match daemon.next(Some(left)) {
                    Ok(None) => return Ok(None),
                    Ok(Some(DaemonReply::Event { record })) => record,
                    Ok(Some(DaemonReply::Over)) => {
                        self.over = true;
                        return Ok(None);
                    }
                    Ok(Some(DaemonReply::Leaving)) => {
                        let why = "the daemon was stopped".to_owned();
                        self.source = Source::File(FileSource::new(&self.job, self.next_seq, why)?);
                        continue;
                    }
                    Ok(Some(other)) => return Err(Error::odd(&other)),
                    Err(Error::HungUp) => {
                        self.subscribe_again()?;
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            self.deaths = 0;
            self.next_seq = event.seq + 1;
            self.history.apply(&event);
            return Ok(Some(event));
        }
        Ok(None)
    }

    /// The daemon died: from the next one, the events from the next one on.
    fn subscribe_again(&mut self) -> Result<(), Error> {
        self.deaths += 1;
        if self.deaths > PATIENCE {
            return Err(Error::HungUp);
        }
        self.source = match Self::subscribe(&self.job, self.next_seq) {
            Ok(daemon) => Source::Daemon(Box::new(daemon)),
            Err(Error::HungUp) => return self.subscribe_again(),
            Err(why) => Source::File(FileSource::new(&self.job, self.next_seq, why.to_string())?),
        };
        Ok(())
    }

    /// Whether the next event is there already.
    pub fn is_behind(&self) -> bool {
        match &self.source {
            Source::Daemon(daemon) => daemon.has_next(),
            Source::File(file) => !file.ready.is_empty(),
        }
    }

    /// Whether the job has ended, and how; none while more may come. Events may still wait to be read right after it.
    pub fn over(&self) -> Option<State> {
        let state = state(&self.job, &self.history);
        match &self.source {
            Source::Daemon(_) => self.over.then_some(state),
            Source::File(_) => {
                let goes_on = state == State::Running || state != State::Finished && self.is_queued();
                (!goes_on).then_some(state)
            }
        }
    }

    /// Whether the job waits for its turn, as the files of the queue say.
    fn is_queued(&self) -> bool {
        let jobs = home_of(&self.job).and_then(|home| Ok(QueueFiles::read(&home)?.list(&home)));
        jobs.is_ok_and(|jobs| jobs.iter().any(|job| job.job == self.job.path() && !job.state.is_over()))
    }
}

impl FileSource {
    fn new(job: &JobFolder, next_seq: u64, why: String) -> Result<Self, Error> {
        let (sender, changes) = channel();
        let watch = Watch::new(job.path(), move || {
            // The receiver is gone only when nobody follows any more.
            let _ = sender.send(());
        })?;
        let mut source =
            Self { reader: EventReader::new(&job.events()), ready: VecDeque::new(), changes, why, _watch: watch };
        source.ready.extend(source.reader.read_new()?.into_iter().filter(|event| event.seq >= next_seq));
        Ok(source)
    }

    fn next(&mut self, wait: Duration) -> Result<Option<EventRecord>, Error> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            self.ready.extend(self.reader.read_new()?);
            if !self.ready.is_empty() {
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.changes.recv_timeout(left) {
                Ok(()) => while self.changes.try_recv().is_ok() {},
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }
}
