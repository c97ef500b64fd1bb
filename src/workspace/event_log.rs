//! Writing `events.jsonl`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Error, EventReader};
use crate::json;
use crate::protocol::{Event, EventRecord};

/// Appends to a job's events. Each event is one write of one whole line, handed to the system at once, so it outlives
/// the process; checkpoints and last events also wait for the disk.
#[derive(Debug)]
pub struct EventLog {
    file: File,
    path: PathBuf,
    next_seq: u64,
    /// Bytes of whole lines.
    length: u64,
}

impl EventLog {
    /// Open the log at `path`, or begin one, and return it with the events already there. A torn last line, left by
    /// a writer that was killed, is cut off; numbering goes on where it stopped.
    pub fn open(path: &Path) -> Result<(Self, Vec<EventRecord>), Error> {
        let mut reader = EventReader::new(path);
        let events = reader.read_new()?;
        let next_seq = events.last().map_or(0, |event| event.seq.saturating_add(1));
        let file = crate::fs::open_append(path).map_err(Error::io("open", path))?;
        file.set_len(reader.offset()).map_err(Error::io("repair", path))?;
        Ok((Self { file, path: path.to_path_buf(), next_seq, length: reader.offset() }, events))
    }

    /// The number of the next event.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Refuse to go on where the file is no longer where it was: the job's folder was moved or removed.
    ///
    /// # Errors
    /// Just that.
    pub fn check_in_place(&self) -> Result<(), Error> {
        if crate::fs::is_at(&self.file, &self.path) {
            return Ok(());
        }
        let problem = "the folder of this job was moved or removed while it was done";
        Err(Error::invalid(&self.path, problem, "put the folder back where it was, then retry the job"))
    }

    /// Append `event`.
    ///
    /// # Errors
    /// The system's; and that the file is no longer where it was, but for the last event, which is written to it wherever
    /// it is now.
    pub fn write(&mut self, event: Event) -> Result<(), Error> {
        if !event.is_last() {
            self.check_in_place()?;
        }
        let durable = event.is_last() || matches!(event, Event::Checkpoint { .. });
        let record = EventRecord { seq: self.next_seq, time: jiff::Timestamp::now(), event };
        let written = json::to_line(&record).map_err(std::io::Error::from).and_then(|line| {
            self.file.write_all(&line)?;
            self.length += line.len() as u64;
            if durable { self.file.sync_data() } else { Ok(()) }
        });
        if written.is_err() {
            // A full disk may have taken half a line; what is written once there is room must not be glued to it.
            let _ = self.file.set_len(self.length);
        }
        written.map_err(Error::io("write", &self.path))?;
        self.next_seq = self.next_seq.saturating_add(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn step(step: usize) -> Event {
        Event::Step { step, loss: 0.25, loss_by_quarter: [None; 4], seconds: 0.1 }
    }

    #[test]
    fn numbering_goes_on_when_the_log_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        for first in [1, 3] {
            let (mut log, _) = EventLog::open(&path).unwrap();
            log.write(step(first)).unwrap();
            log.write(step(first + 1)).unwrap();
        }
        let events = EventReader::new(&path).read_new().unwrap();
        assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(events[2].event, step(3));
    }

    #[test]
    fn a_torn_last_line_waits_for_a_reader_and_is_cut_off_by_the_next_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let (mut log, _) = EventLog::open(&path).unwrap();
        log.write(step(1)).unwrap();
        drop(log);
        File::options().append(true).open(&path).unwrap().write_all(b"{\"seq\":1,\"ti").unwrap();

        let mut reader = EventReader::new(&path);
        assert_eq!(reader.read_new().unwrap().len(), 1);
        assert_eq!(reader.read_new().unwrap().len(), 0);

        let (mut log, before) = EventLog::open(&path).unwrap();
        assert_eq!(before.len(), 1);
        log.write(step(2)).unwrap();
        let after = reader.read_new().unwrap();
        assert_eq!(after.len(), 1);
        assert_eq!((after[0].seq, &after[0].event), (1, &step(2)));
    }

    #[test]
    fn a_line_that_is_no_event_costs_that_line_and_is_told_with_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let at = |rest: &str| format!("{{\"time\":\"2026-11-29T20:00:48Z\",{rest}}}\n");
        let step = |seq, loss| {
            let quarters = "\"loss_by_quarter\":[null,null,null,null],\"seconds\":0.1";
            at(&format!("\"seq\":{seq},\"type\":\"step\",\"step\":{},\"loss\":{loss},{quarters}", seq + 1))
        };
        let null = at("\"seq\":2,\"type\":\"validation\",\"step\":2,\"loss\":null");
        std::fs::write(&path, format!("{}{}{null}not json\n", step(0, 0.5), step(1, 0.25))).unwrap();
        let (mut log, events) = EventLog::open(&path).unwrap();
        let told = |number: usize| {
            let Event::Warning { message } = &events[number].event else { unreachable!("{:?}", events[number]) };
            message.starts_with(&format!("line {} of events.jsonl cannot be read", number + 1))
        };
        assert!(matches!(events[1].event, Event::Step { step: 2, .. }) && told(2) && told(3));
        assert_eq!((events[3].seq, events[3].time), (3, events[1].time));
        log.write(Event::Stopped { step: 2 }).unwrap();
        assert_eq!(EventReader::new(&path).read_new().unwrap().last().unwrap().seq, 4);
    }

    #[test]
    fn a_number_that_is_none_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let (mut log, _) = EventLog::open(&path).unwrap();
        let error = log.write(Event::FixedNoise { step: 2, loss: f64::NAN, held_out: None }).unwrap_err().to_string();
        assert!(error.contains("loss is NaN, not a finite number"), "{error}");
        log.write(step(1)).unwrap();
        assert_eq!(EventReader::new(&path).read_new().unwrap()[0].event, step(1));
    }
}
