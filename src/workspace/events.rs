//! Reading `events.jsonl` while it grows.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{Error, inside};
use crate::fs::{LINE, LINES, Show, too_long};
use crate::protocol::{Event, EventRecord};

/// Bytes that are read at once.
const PIECE: u64 = 4 << 20;

/// Reads the whole lines of a file that is appended to, from the start, then whatever is new at each call. A torn last
/// line waits until it is whole.
#[derive(Debug)]
pub struct LineReader {
    path: PathBuf,
    /// Bytes of whole lines read so far.
    offset: u64,
}

impl LineReader {
    /// A reader of the file at `path`, which need not exist yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf(), offset: 0 }
    }

    /// Bytes of whole lines read so far: where a torn last line begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Pass over the next `count` lines, or as many as there are. How many that were.
    pub fn skip(&mut self, count: u64) -> Result<u64, Error> {
        let Some(file) = self.open()? else { return Ok(0) };
        let mut lines = BufReader::new(file);
        let mut line = Vec::new();
        for skipped in 0..count {
            line.clear();
            let read = (&mut lines).take(LINE + 1).read_until(b'\n', &mut line);
            read.map_err(Error::io("read", &self.path))?;
            if !line.ends_with(b"\n") {
                self.check_line(line.len())?;
                return Ok(skipped);
            }
            self.offset += line.len() as u64;
        }
        Ok(count)
    }

    /// Some of the lines that have come since the last call, each with its end mark: about `most` bytes, but at least one
    /// line if there is a whole one.
    ///
    /// # Errors
    /// The system's; what is no file, or longer than [`LINES`]; a line longer than [`LINE`].
    pub fn read(&mut self, most: u64) -> Result<Vec<Vec<u8>>, Error> {
        let Some(mut file) = self.open()? else { return Ok(Vec::new()) };
        // Only what there is now: a writer that is faster than this reader would keep it here for ever.
        let there = file.metadata().map_err(Error::io("read", &self.path))?.len().saturating_sub(self.offset);
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < there {
            let more = most.min(PIECE).min(there - bytes.len() as u64);
            if file.by_ref().take(more).read_to_end(&mut bytes).map_err(Error::io("read", &self.path))? == 0 {
                break;
            }
            let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
            self.check_line(bytes.len() - end)?;
            if end > 0 && bytes.len() as u64 >= most {
                break;
            }
        }
        let lines = bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
        let lines: Vec<Vec<u8>> = lines.map(<[u8]>::to_vec).collect();
        self.offset += lines.iter().map(Vec::len).sum::<usize>() as u64;
        Ok(lines)
    }

    /// The next of the lines that there are, a few megabytes at once; none where there are no more.
    fn next_piece(&mut self) -> Result<Option<Vec<Vec<u8>>>, Error> {
        Ok(Some(self.read(PIECE)?).filter(|lines| !lines.is_empty()))
    }

    /// Refuse a line with `length` bytes and no end.
    fn check_line(&self, length: usize) -> Result<(), Error> {
        if length as u64 <= LINE {
            return Ok(());
        }
        let problem = format!("a line after byte {} is longer than {} MiB: it is damaged", self.offset, LINE >> 20);
        Err(Error::invalid(&self.path, problem, "take the file away, or cut it there"))
    }

    /// The file from where it has been read to; none when it does not exist yet.
    fn open(&self) -> Result<Option<File>, Error> {
        match crate::fs::open(&self.path) {
            Ok(mut file) => {
                let length = file.metadata().map_err(Error::io("read", &self.path))?.len();
                if length > LINES {
                    return Err(Error::io("read", &self.path)(too_long(LINES)));
                }
                file.seek(SeekFrom::Start(self.offset)).map_err(Error::io("read", &self.path))?;
                Ok(Some(file))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &self.path)(error)),
        }
    }
}

/// Reads the events of a job from the start, then whatever is new at each call. A torn last line waits until it is
/// whole: either its writer goes on, or a resumed job cuts it off before it writes. A whole line that is no event costs that
/// line: a warning stands in its place, see [`EventLines`].
#[derive(Debug)]
pub struct EventReader {
    lines: LineReader,
    events: EventLines,
}

/// Makes events of lines, one of each.
#[derive(Debug, Default)]
pub struct EventLines {
    /// Lines so far.
    count: u64,
    /// When the last event was written.
    time: Option<jiff::Timestamp>,
}

impl EventLines {
    /// After `count` lines that were passed over.
    pub fn after(count: u64) -> Self {
        Self { count, time: None }
    }

    /// The event in the next `line`, or a warning that it holds none, or one of a file outside of the job's folder. Versions
    /// before wrote `null` for a loss that was not a number.
    pub fn read(&mut self, line: &[u8]) -> EventRecord {
        self.count = self.count.saturating_add(1);
        let warning = |what: String| Event::Warning { message: format!("line {} of events.jsonl {what}", self.count) };
        let mut record: EventRecord = serde_json::from_slice(line).unwrap_or_else(|error| EventRecord {
            seq: self.count - 1,
            time: self.time.unwrap_or_else(jiff::Timestamp::now),
            event: warning(format!("cannot be read and is passed over ({error})")),
        });
        if let Event::Sample { path, .. } | Event::Checkpoint { path, .. } = &record.event
            && inside(Path::new(""), path).is_none()
        {
            let out = path.shown();
            record.event = warning(format!("names a file outside of the job's folder ({out}) and is passed over"));
        }
        self.time = Some(record.time);
        record
    }
}

impl EventReader {
    /// A reader of the file at `path`, which need not exist yet.
    pub fn new(path: &Path) -> Self {
        Self { lines: LineReader::new(path), events: EventLines::default() }
    }

    /// Bytes of whole lines read so far: where a torn last line begins.
    pub fn offset(&self) -> u64 {
        self.lines.offset()
    }

    /// The events that have come since the last call, in order.
    pub fn read_new(&mut self) -> Result<Vec<EventRecord>, Error> {
        let mut events = Vec::new();
        self.each_new(|event| events.push(event))?;
        Ok(events)
    }

    /// Hand on the events that have come since the last call, in order, without keeping them: there may be millions.
    pub fn each_new(&mut self, mut take: impl FnMut(EventRecord)) -> Result<(), Error> {
        while let Some(lines) = self.lines.next_piece()? {
            lines.iter().for_each(|line| take(self.events.read(line)));
        }
        Ok(())
    }
}
