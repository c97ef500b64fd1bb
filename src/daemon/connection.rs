//! One client: its requests, one after the other, and what it follows. A client that does not read waits here, alone:
//! events come from the job's file when it is ready for them, and changes it is too slow for become one word, `resync`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Semaphore, watch};

use super::Error;
use super::library::Library;
use super::log::log;
use super::shared::{Change, PATIENCE, Shared};
use crate::json;
use crate::protocol::{DaemonReply, DaemonRequest, Envelope, Hello, MAX_REQUEST, PROTOCOL};
use crate::workspace::{EventLines, JobFolder, LineReader};

/// Bytes of events that are read from a file at once.
const CHUNK: u64 = 256 << 10;
/// A followed job is looked at again after this long, should the system have told nothing.
const AGAIN: Duration = Duration::from_millis(500);
/// Changes that come this close together are told together.
const TOGETHER: Duration = Duration::from_millis(20);
/// Lines up to here each client may be in the middle of; longer ones have to come in one go.
const SHORT: usize = 16 << 10;
/// The longest name or path that a client may ask about for long.
const LONGEST_NAME: usize = 4096;

/// Serve one client until it hangs up.
pub async fn serve(stream: UnixStream, shared: Arc<Shared>) {
    let user = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == user => {}
        peer => return log(&format!("a client is not of user {user}: {peer:?}")),
    }
    let client = shared.count_client();
    let (reader, writer) = stream.into_split();
    let leaving = shared.leaving();
    let mut connection = Connection { reader: BufReader::new(reader), writer, shared, leaving };
    // Whatever goes wrong here is a client that is gone.
    let _ = match client {
        Some(_) => connection.converse().await,
        None => connection.turn_away().await,
    };
}

struct Connection {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    shared: Arc<Shared>,
    leaving: watch::Receiver<Option<&'static str>>,
}

/// Why a conversation ended.
enum Gone {
    /// The client hung up.
    HungUp,
    /// It could not be written to or read from.
    Broken,
}

impl From<std::io::Error> for Gone {
    fn from(_: std::io::Error) -> Self {
        Self::Broken
    }
}

impl Connection {
    /// Say that there are too many.
    async fn turn_away(&mut self) -> Result<(), Gone> {
        self.write(&Hello::new()).await?;
        self.refuse(0, "as many clients are connected as this daemon serves at once: end some, then try again").await
    }

    async fn converse(&mut self) -> Result<(), Gone> {
        self.write(&Hello::new()).await?;
        let hello: Hello = match serde_json::from_slice(&read_line(&mut self.reader, &self.shared.long_lines).await?) {
            Ok(hello) => hello,
            Err(error) => return self.refuse(0, &format!("not a hello: {error}")).await,
        };
        loop {
            let line = tokio::select! {
                line = read_line(&mut self.reader, &self.shared.long_lines) => line?,
                () = ends(&mut self.leaving) => return Ok(()),
            };
            let asked = serde_json::from_slice::<Envelope<DaemonRequest>>(&line);
            // What is asked may take as long as a job.
            drop(line);
            match asked {
                Ok(Envelope { id, message }) => self.answer(id, message, hello.protocol).await?,
                // A client of another version may ask what this one does not know.
                Err(error) => self.refuse(0, &format!("not a request that this daemon knows: {error}")).await?,
            }
        }
    }

    async fn answer(&mut self, id: u64, request: DaemonRequest, protocol: u32) -> Result<(), Gone> {
        let simple = matches!(request, DaemonRequest::Ping | DaemonRequest::Status | DaemonRequest::Stop);
        if protocol != PROTOCOL && !simple {
            return self.refuse(id, &format!("this daemon speaks protocol {PROTOCOL}, not {protocol}")).await;
        }
        let shared = Arc::clone(&self.shared);
        let reply = match request {
            DaemonRequest::Ping => Ok(DaemonReply::Done),
            DaemonRequest::Status => Ok(DaemonReply::Status(shared.status().await)),
            DaemonRequest::Stop => {
                self.reply(id, DaemonReply::Done).await?;
                shared.leave();
                return Ok(());
            }
            DaemonRequest::Submit(submission) => {
                shared.submit(submission).await.map(|job| DaemonReply::Job(Box::new(job)))
            }
            DaemonRequest::Jobs => shared.jobs(PATIENCE).await.map(|jobs| DaemonReply::Jobs { jobs }),
            DaemonRequest::Change { number, change } => {
                shared.change(number, change).await.map(|job| DaemonReply::Job(Box::new(job)))
            }
            DaemonRequest::Concepts { tag, matching } => {
                let find = move |library: &mut Library| library.concepts(tag.as_deref(), matching.as_deref());
                shared.librarian.ask(find).await.map(|concepts| DaemonReply::Concepts { concepts })
            }
            DaemonRequest::Concept { name, samples } => {
                let asked = name.clone();
                match shared.librarian.ask(move |library| library.concept(&asked, samples)).await {
                    Ok(Some(concept)) => Ok(DaemonReply::Concept(Box::new(concept))),
                    // The home says what there is instead.
                    Ok(None) => shared.no_concept(name).await,
                    Err(error) => Err(error),
                }
            }
            DaemonRequest::Runs { concept, state } => {
                let asked = shared.librarian.ask(move |library| library.runs(concept.as_deref(), state)).await;
                asked.map(|runs| DaemonReply::Runs { runs })
            }
            DaemonRequest::Refresh { concept } => {
                shared.librarian.ask(move |library| library.refresh(&concept)).await.map(|()| DaemonReply::Done)
            }
            DaemonRequest::Rebuild => shared.librarian.ask(Library::rebuild).await.map(DaemonReply::Rebuilt),
            DaemonRequest::News => Ok(DaemonReply::News { news: shared.news() }),
            DaemonRequest::Rename { concept, to } => shared.rename(concept, to).await.map(|()| DaemonReply::Done),
            DaemonRequest::Remove { concept } => shared.remove(concept).await.map(|path| DaemonReply::Removed { path }),
            DaemonRequest::Follow { job, since_seq } => return self.follow(id, job, since_seq).await,
            DaemonRequest::Watch { concept } => return self.watch(id, concept).await,
        };
        match reply {
            Ok(reply) => self.reply(id, reply).await,
            Err(error) => self.refuse(id, &error.to_string()).await,
        }
    }

    /// Send the events of a job from `since_seq` on, until it is over.
    async fn follow(&mut self, id: u64, path: PathBuf, since_seq: u64) -> Result<(), Gone> {
        let mut changes = self.shared.changes();
        if path.as_os_str().len() > LONGEST_NAME {
            return self.refuse(id, "no path is as long as this one").await;
        }
        let job = match self.shared.job(path).await {
            Ok(job) => job,
            Err(error) => return self.refuse(id, &error.to_string()).await,
        };
        let concept = job.concept().map(str::to_owned);
        let mut lines = Lines::of(&job, id, since_seq);
        loop {
            // Asked before the last look, or its last event could be missed.
            let over = self.shared.is_over(&job).await;
            loop {
                let read = self.shared.readings.read(job.path(), PATIENCE, move || {
                    let read = lines.next();
                    (lines, read)
                });
                let bytes = match read.await {
                    Ok((back, Ok(bytes))) => {
                        lines = back;
                        bytes
                    }
                    Ok((_, Err(error))) | Err(error) => return self.refuse(id, &error.to_string()).await,
                };
                if bytes.is_empty() {
                    break;
                }
                self.writer.write_all(&bytes).await?;
            }
            if over {
                return self.reply(id, DaemonReply::Over).await;
            }
            let again = tokio::time::sleep(AGAIN);
            tokio::pin!(again);
            loop {
                tokio::select! {
                    change = changes.recv() => match change {
                        Ok(Change::Files(changed)) if Some(&changed) != concept.as_ref() => {}
                        Ok(Change::Concept(_)) => {}
                        Ok(_) | Err(RecvError::Lagged(_)) => break,
                        Err(RecvError::Closed) => return Err(Gone::Broken),
                    },
                    () = &mut again => break,
                    // It asks for something else, or is gone.
                    asks = asks(&mut self.reader) => return asks,
                    () = ends(&mut self.leaving) => return self.reply(id, DaemonReply::Leaving).await,
                }
            }
        }
    }

    /// Tell of changes until the client hangs up.
    async fn watch(&mut self, id: u64, concept: Option<String>) -> Result<(), Gone> {
        let mut changes = self.shared.changes();
        if concept.as_ref().is_some_and(|concept| concept.len() > LONGEST_NAME) {
            return self.refuse(id, "no concept has a name as long as this one").await;
        }
        self.reply(id, DaemonReply::Done).await?;
        loop {
            let first = tokio::select! {
                change = changes.recv() => change,
                asks = asks(&mut self.reader) => return asks,
                () = ends(&mut self.leaving) => return self.reply(id, DaemonReply::Leaving).await,
            };
            tokio::time::sleep(TOGETHER).await;
            let (mut concepts, mut queue, mut resync) = (BTreeSet::new(), false, false);
            let mut note = |change: Change| match change {
                Change::Concept(changed) if concept.as_ref().is_none_or(|concept| *concept == changed) => {
                    concepts.insert(changed);
                }
                // Files count once they have been taken up.
                Change::Concept(_) | Change::Files(_) => {}
                Change::Queue => queue = true,
            };
            match first {
                Ok(change) => note(change),
                Err(RecvError::Lagged(_)) => resync = true,
                Err(RecvError::Closed) => return Err(Gone::Broken),
            }
            loop {
                match changes.try_recv() {
                    Ok(change) => note(change),
                    Err(TryRecvError::Lagged(_)) => resync = true,
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
            if resync {
                self.reply(id, DaemonReply::Resync).await?;
            } else if queue || !concepts.is_empty() {
                self.reply(id, DaemonReply::Changed { concepts: concepts.into_iter().collect() }).await?;
            }
        }
    }

    async fn reply(&mut self, id: u64, message: DaemonReply) -> Result<(), Gone> {
        self.write(&Envelope { id, message }).await
    }

    async fn refuse(&mut self, id: u64, message: &str) -> Result<(), Gone> {
        self.reply(id, DaemonReply::Refused { message: message.to_owned() }).await
    }

    async fn write<T: serde::Serialize>(&mut self, message: &T) -> Result<(), Gone> {
        let line = json::to_line(message).map_err(std::io::Error::from)?;
        Ok(self.writer.write_all(&line).await?)
    }
}

/// Wait until the daemon ends.
async fn ends(leaving: &mut watch::Receiver<Option<&'static str>>) {
    // An error is its end too.
    let _ = leaving.wait_for(Option::is_some).await;
}

/// Wait until the client says something, without reading it.
async fn asks(reader: &mut BufReader<OwnedReadHalf>) -> Result<(), Gone> {
    if reader.fill_buf().await?.is_empty() { Err(Gone::HungUp) } else { Ok(()) }
}

/// The events of a followed job, as replies.
struct Lines {
    reader: LineReader,
    events: EventLines,
    /// What they answer.
    id: u64,
    /// How many lines are still to be passed over.
    left: u64,
}

impl Lines {
    fn of(job: &JobFolder, id: u64, since_seq: u64) -> Self {
        let (reader, events) = (LineReader::new(&job.events()), EventLines::after(since_seq));
        Self { reader, events, id, left: since_seq }
    }

    /// Some of the whole lines that have come; nothing where there are no more.
    fn next(&mut self) -> Result<Vec<u8>, Error> {
        self.left -= self.reader.skip(self.left)?;
        let mut bytes = Vec::new();
        if self.left > 0 {
            return Ok(bytes);
        }
        for line in self.reader.read(CHUNK)? {
            let reply = Envelope { id: self.id, message: DaemonReply::Event { record: self.events.read(&line) } };
            bytes.extend(json::to_line(&reply).map_err(std::io::Error::from)?);
        }
        Ok(bytes)
    }
}

/// One line, without its end mark. One that is not short has to come within [`PATIENCE`], and needs one of the places in `long`:
/// clients that stop in the middle of theirs must not fill the memory.
async fn read_line(reader: &mut BufReader<OwnedReadHalf>, long: &Semaphore) -> Result<Vec<u8>, Gone> {
    let mut line = Vec::new();
    reader.take(SHORT as u64).read_until(b'\n', &mut line).await?;
    if line.len() == SHORT && !line.ends_with(b"\n") {
        let rest = async {
            let _place = long.acquire().await;
            reader.take((MAX_REQUEST + 1 - SHORT) as u64).read_until(b'\n', &mut line).await
        };
        tokio::time::timeout(PATIENCE, rest).await.map_err(|_| Gone::Broken)??;
    }
    match line.pop() {
        Some(b'\n') => Ok(line),
        // Half a line is no request, and one that does not end is none either.
        Some(_) if line.len() >= MAX_REQUEST => Err(Gone::Broken),
        _ => Err(Gone::HungUp),
    }
}
