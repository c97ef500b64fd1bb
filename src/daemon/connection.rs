//! One client: its requests, one after the other, and what it follows. A client that does not read waits here, alone:
//! events come from the job's file when it is ready for them, and changes it is too slow for become one word, `resync`.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::watch;

use super::Error;
use super::library::Library;
use super::server::{Change, Shared, log};
use crate::json;
use crate::protocol::{DaemonReply, DaemonRequest, Envelope, Hello, MAX_REQUEST, PROTOCOL};
use crate::workspace::{EventLines, JobFolder, LineReader};

/// Bytes of events that are read from a file at once.
const CHUNK: u64 = 256 << 10;
/// A followed job is looked at again after this long, should the system have told nothing.
const AGAIN: Duration = Duration::from_millis(500);
/// Changes that come this close together are told together.
const TOGETHER: Duration = Duration::from_millis(20);

/// Serve one client until it hangs up.
pub async fn serve(stream: UnixStream, shared: Arc<Shared>) {
    let user = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == user => {}
        peer => return log(&format!("a client is not of user {user}: {peer:?}")),
    }
    let _client = shared.count_client();
    let (reader, writer) = stream.into_split();
    let leaving = shared.leaving();
    let mut connection = Connection { reader: BufReader::new(reader), writer, shared, leaving };
    // Whatever goes wrong here is a client that is gone.
    let _ = connection.converse().await;
}

struct Connection {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    shared: Arc<Shared>,
    leaving: watch::Receiver<bool>,
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
    async fn converse(&mut self) -> Result<(), Gone> {
        self.write(&Hello::new()).await?;
        let hello: Hello = match serde_json::from_slice(&read_line(&mut self.reader).await?) {
            Ok(hello) => hello,
            Err(error) => return self.refuse(0, &format!("not a hello: {error}")).await,
        };
        loop {
            let line = tokio::select! {
                line = read_line(&mut self.reader) => line?,
                () = ends(&mut self.leaving) => return Ok(()),
            };
            match serde_json::from_slice::<Envelope<DaemonRequest>>(&line) {
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
            DaemonRequest::Status => Ok(DaemonReply::Status(shared.status())),
            DaemonRequest::Stop => {
                self.reply(id, DaemonReply::Done).await?;
                shared.leave();
                return Ok(());
            }
            DaemonRequest::Submit(submission) => {
                shared.submit(&submission).await.map(|job| DaemonReply::Job(Box::new(job)))
            }
            DaemonRequest::Jobs => Ok(DaemonReply::Jobs { jobs: shared.jobs() }),
            DaemonRequest::Change { number, change } => {
                shared.change(number, &change).await.map(|job| DaemonReply::Job(Box::new(job)))
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
                    Ok(None) => shared.no_concept(&name),
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
            DaemonRequest::Rename { concept, to } => shared.rename(&concept, &to).map(|()| DaemonReply::Done),
            DaemonRequest::Remove { concept } => shared.remove(&concept).map(|path| DaemonReply::Removed { path }),
            DaemonRequest::Follow { job, since_seq } => return self.follow(id, &job, since_seq).await,
            DaemonRequest::Watch { concept } => return self.watch(id, concept).await,
        };
        match reply {
            Ok(reply) => self.reply(id, reply).await,
            Err(error) => self.refuse(id, &error.to_string()).await,
        }
    }

    /// Send the events of a job from `since_seq` on, until it is over.
    async fn follow(&mut self, id: u64, path: &Path, since_seq: u64) -> Result<(), Gone> {
        let mut changes = self.shared.changes();
        let job = match JobFolder::at(path) {
            Ok(job) => job,
            Err(error) => return self.refuse(id, &error.to_string()).await,
        };
        let concept = job.concept().map(str::to_owned);
        let mut lines = LineReader::new(&job.events());
        let mut events = EventLines::after(since_seq);
        let mut left = since_seq;
        loop {
            // Asked before the last look, or its last event could be missed.
            let over = self.shared.is_over(path);
            if let Err(error) = self.send_events(id, (&mut lines, &mut events), &mut left).await? {
                return self.refuse(id, &error.to_string()).await;
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

    /// Send the whole lines that are there, `left` of them passed over.
    async fn send_events(
        &mut self,
        id: u64,
        (lines, events): (&mut LineReader, &mut EventLines),
        left: &mut u64,
    ) -> Result<Result<(), Error>, Gone> {
        match lines.skip(*left) {
            Ok(skipped) => *left -= skipped,
            Err(error) => return Ok(Err(error.into())),
        }
        loop {
            let read = match lines.read(CHUNK) {
                Ok(read) if read.is_empty() || *left > 0 => return Ok(Ok(())),
                Ok(read) => read,
                Err(error) => return Ok(Err(error.into())),
            };
            let mut bytes = Vec::new();
            for line in read {
                let reply = Envelope { id, message: DaemonReply::Event { record: events.read(&line) } };
                bytes.extend(json::to_line(&reply).map_err(std::io::Error::from)?);
            }
            self.writer.write_all(&bytes).await?;
        }
    }

    /// Tell of changes until the client hangs up.
    async fn watch(&mut self, id: u64, concept: Option<String>) -> Result<(), Gone> {
        let mut changes = self.shared.changes();
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
async fn ends(leaving: &mut watch::Receiver<bool>) {
    // An error is its end too.
    let _ = leaving.wait_for(|leaving| *leaving).await;
}

/// Wait until the client says something, without reading it.
async fn asks(reader: &mut BufReader<OwnedReadHalf>) -> Result<(), Gone> {
    if reader.fill_buf().await?.is_empty() { Err(Gone::HungUp) } else { Ok(()) }
}

/// One line, without its end mark.
async fn read_line(reader: &mut BufReader<OwnedReadHalf>) -> Result<Vec<u8>, Gone> {
    let mut line = Vec::new();
    reader.take(MAX_REQUEST as u64 + 1).read_until(b'\n', &mut line).await?;
    match line.pop() {
        Some(b'\n') => Ok(line),
        // Half a line is no request, and one that does not end is none either.
        Some(_) if line.len() >= MAX_REQUEST => Err(Gone::Broken),
        _ => Err(Gone::HungUp),
    }
}
