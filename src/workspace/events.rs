//! Reading `events.jsonl` while it grows.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::Error;
use crate::protocol::EventRecord;

/// Reads the events of a job from the start, then whatever is new at each call. A torn last line waits until it is
/// whole: either its writer goes on, or a resumed job cuts it off before it writes.
#[derive(Debug)]
pub struct EventReader {
    path: PathBuf,
    /// Bytes of whole lines read so far.
    offset: u64,
}

impl EventReader {
    /// A reader of the file at `path`, which need not exist yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf(), offset: 0 }
    }

    /// Bytes of whole lines read so far: where a torn last line begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The events that have come since the last call, in order.
    pub fn read_new(&mut self) -> Result<Vec<EventRecord>, Error> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("read", &self.path)(error)),
        };
        let mut bytes = Vec::new();
        // Only what there is now: a writer that is faster than this reader would keep it here for ever.
        let read = file.metadata().and_then(|metadata| {
            file.seek(SeekFrom::Start(self.offset))?;
            file.take(metadata.len().saturating_sub(self.offset)).read_to_end(&mut bytes)
        });
        read.map_err(Error::io("read", &self.path))?;
        let mut events = Vec::new();
        for line in bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            let event = serde_json::from_slice(line).map_err(|error| {
                let problem = format!("the line at byte {} is not an event ({error})", self.offset);
                Error::invalid(&self.path, problem, "the file was changed by hand: remove that line")
            })?;
            events.push(event);
            self.offset += line.len() as u64;
        }
        Ok(events)
    }
}
