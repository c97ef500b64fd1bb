//! Reading where the disk may not answer: a network disk that is gone, a file system whose program stands still. Each reading has a
//! thread of its own and is waited for only so long; one that takes longer goes on, and is not begun again until it is over.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::Error;
use crate::fs::Show;

/// How long the files of one concept or of one job are waited for.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What is read for the store, by one thread that waits for it.
pub struct Readings<T> {
    /// Those that have taken too long, by what they read.
    late: HashMap<PathBuf, Receiver<T>>,
}

impl<T: Send + 'static> Readings<T> {
    /// None yet.
    pub fn new() -> Self {
        Self { late: HashMap::new() }
    }

    /// What `read` makes of the files at `path`; or what an earlier reading, which took too long, has made of them since.
    ///
    /// # Errors
    /// It takes longer than [`PATIENCE`], or broke.
    pub fn read(&mut self, path: &Path, read: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let late = || Error::Late { what: format!("reading {}", path.shown()), after: PATIENCE };
        if let Some(reading) = self.late.remove(path) {
            match reading.try_recv() {
                Ok(read) => return Ok(read),
                Err(TryRecvError::Empty) => {
                    self.late.insert(path.to_owned(), reading);
                    return Err(late());
                }
                Err(TryRecvError::Disconnected) => {}
            }
        }
        let (sender, reading) = channel();
        // Nobody waits for it any more when the daemon ends.
        std::thread::spawn(move || drop(sender.send(read())));
        match reading.recv_timeout(PATIENCE) {
            Ok(read) => Ok(read),
            Err(RecvTimeoutError::Timeout) => {
                self.late.insert(path.to_owned(), reading);
                Err(late())
            }
            Err(RecvTimeoutError::Disconnected) => Err(Error::Broke),
        }
    }
}

/// What is read for clients, by tasks of the event loop.
#[derive(Default)]
pub struct ClientReadings {
    /// Those that have taken too long, by what they read; alive as long as they last.
    late: Mutex<HashMap<PathBuf, Weak<()>>>,
}

impl ClientReadings {
    /// What `read` makes of the file at `path`.
    ///
    /// # Errors
    /// It takes longer than `patience`, one before it does, or it broke.
    pub async fn read<T: Send + 'static>(
        &self,
        path: &Path,
        patience: Duration,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let late = || Error::Late { what: format!("reading {}", path.shown()), after: patience };
        if self.late.lock().unwrap_or_else(PoisonError::into_inner).get(path).is_some_and(|one| one.strong_count() > 0)
        {
            return Err(late());
        }
        let lasts = Arc::new(());
        let reading = Arc::downgrade(&lasts);
        let task = tokio::task::spawn_blocking(move || {
            let read = read();
            drop(lasts);
            read
        });
        if let Ok(read) = tokio::time::timeout(patience, task).await {
            return read.map_err(|_| Error::Broke);
        }
        let mut all = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, one| one.strong_count() > 0);
        all.insert(path.to_owned(), reading);
        Err(late())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_takes_too_long_is_not_begun_again_and_its_end_is_not_lost() {
        let mut readings = Readings::new();
        let path = Path::new("/mug");
        let (go, wait) = channel::<()>();
        let waits = move || wait.recv().map_or(1, |()| 1);
        assert!(readings.read(path, waits).unwrap_err().to_string().contains("/mug takes longer than 5 s"));
        assert!(readings.read(path, || 2).is_err(), "the first one lasts");
        assert_eq!(readings.read(Path::new("/cup"), || 3).unwrap(), 3);
        go.send(()).unwrap();
        let again = std::iter::repeat_with(|| readings.read(path, || 2)).find_map(Result::ok);
        assert_eq!(again, Some(1));
        assert_eq!(readings.read(path, || 2).unwrap(), 2);
    }
}
