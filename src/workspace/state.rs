//! How a job is: whether its runner lives, and what its events say.

use std::fs::TryLockError;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::{End, Error, EventReader, History, JobFolder};
use crate::protocol::{EventRecord, State};

/// How `job` is, given its events so far.
pub fn state(job: &JobFolder, history: &History) -> State {
    if job.is_held() {
        return State::Running;
    }
    match &history.end {
        Some(End::Finished { .. }) => State::Finished,
        Some(End::Stopped { .. }) => State::Stopped,
        Some(End::Failed { .. }) => State::Failed,
        None if history.pid.is_some() => State::Interrupted,
        None => State::New,
    }
}

impl JobFolder {
    /// How the job is, with its history. Its lock is asked first: the events of a runner that has let go of it are all there,
    /// and one that is in its last event is still at work.
    ///
    /// # Errors
    /// Its events cannot be read.
    pub fn look(&self) -> Result<(State, History), Error> {
        let held = self.is_held();
        let history = History::read(self)?;
        Ok((if held { State::Running } else { state(self, &history) }, history))
    }

    /// Whether a runner holds the job's lock.
    pub fn is_held(&self) -> bool {
        let Ok(file) = crate::fs::open(&self.lock()) else { return false };
        // Shared, and let go at once: two who look at the same moment do not take each other for a runner.
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }

    /// Wait until no runner holds the job's lock.
    pub fn wait_until_free(&self) -> Result<(), Error> {
        let path = self.lock();
        match crate::fs::open(&path) {
            Ok(file) => file.lock_shared().map_err(Error::io("lock", &path)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::io("open", &path)(error)),
        }
    }

    /// The last whole event, found from the end of the file; none before the first.
    pub fn last_event(&self) -> Result<Option<EventRecord>, Error> {
        let bytes = self.tail()?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
        let line = bytes[..whole].rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
        match serde_json::from_slice(line) {
            Ok(event) => Ok(Some(event)),
            Err(_) if bytes.is_empty() || !bytes.contains(&b'\n') && (bytes.len() as u64) < TAIL => Ok(None),
            // A line longer than the tail, or no event: the reader of all lines says which and where.
            Err(_) => {
                let mut last = None;
                EventReader::new(&self.events()).each_new(|event| last = Some(event))?;
                Ok(last)
            }
        }
    }

    /// The whole events among the last bytes of the file, oldest first.
    pub fn last_events(&self) -> Result<Vec<EventRecord>, Error> {
        let bytes = self.tail()?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
        // The first may be cut.
        Ok(bytes[..whole].split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }

    /// The last bytes of the events.
    fn tail(&self) -> Result<Vec<u8>, Error> {
        end_of(&self.events(), TAIL)
    }

    /// What its runner wrote, or the end of it; nothing where it has written nothing.
    pub fn log_text(&self) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&end_of(&self.log(), LOG)?).into_owned())
    }

    /// How many events there are.
    pub fn event_count(&self) -> Result<u64, Error> {
        Ok(self.last_event()?.map_or(0, |event| event.seq.saturating_add(1)))
    }
}

/// The last bytes, at most `most`, of the file at `path`; none where there is no such file.
fn end_of(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    let mut file = match crate::fs::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let mut bytes = Vec::new();
    let read = file.metadata().and_then(|metadata| {
        let start = metadata.len().saturating_sub(most);
        file.seek(SeekFrom::Start(start))?;
        file.take(metadata.len() - start).read_to_end(&mut bytes)
    });
    read.map_err(Error::io("read", path))?;
    Ok(bytes)
}

/// Bytes of a runner's log that are shown: it writes a few lines, unless something in it goes wrong again and again.
const LOG: u64 = 1 << 20;
/// Bytes at the end of `events.jsonl` among which the last event is looked for.
const TAIL: u64 = 64 << 10;
