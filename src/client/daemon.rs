//! The daemon as its clients see it: found by its answer, started where none answers.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Error;
use crate::protocol::{DaemonReply, DaemonRequest, DaemonStatus, Envelope, Hello, MAX_REPLY, PROTOCOL};
use crate::workspace::{self, Home, check_private};

/// How long a daemon may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// How long one may take to start.
const START: Duration = Duration::from_secs(15);
/// How often is looked whether it has.
const LOOK: Duration = Duration::from_millis(2);
/// How much is read at once, in bytes.
const PIECE: usize = 1 << 16;

/// A connection to the daemon of a home.
pub struct Daemon {
    stream: UnixStream,
    /// What has been read of the next line.
    partial: Vec<u8>,
    /// Whole lines are cut from here.
    scanned: usize,
    next_id: u64,
    /// Who answers.
    hello: Hello,
    home: Home,
}

impl Daemon {
    /// The daemon of `home`; none when nobody answers there.
    pub fn connect(home: &Home) -> Result<Option<Self>, Error> {
        let path = home.socket();
        let folder = path.parent().unwrap_or(Path::new("/"));
        if !folder.exists() {
            return Ok(None);
        }
        let stream = match UnixStream::connect(&path) {
            Ok(stream) => stream,
            Err(error) if [ErrorKind::NotFound, ErrorKind::ConnectionRefused].contains(&error.kind()) => {
                return Ok(None);
            }
            Err(error) => return Err(workspace::Error::io("connect to", &path)(error).into()),
        };
        // What answers in a folder that only this user may enter is this user's.
        check_private(folder)?;
        let hello = Hello::new();
        let (partial, scanned, next_id) = (Vec::new(), 0, 1);
        let mut daemon = Self { stream, partial, scanned, next_id, hello: hello.clone(), home: home.clone() };
        // One that ends at this very moment is none.
        if daemon.write(&hello).is_err() {
            return Ok(None);
        }
        match daemon.read::<Hello>(Some(ANSWER)) {
            Ok(Some(hello)) => daemon.hello = hello,
            Ok(None) => return Err(Error::Silent(home.daemon_log())),
            Err(Error::HungUp) => return Ok(None),
            Err(error) => return Err(error),
        }
        Ok(Some(daemon))
    }

    /// The daemon of `home`, started if none answers. One of another protocol is replaced by one of this program, unless it
    /// has a job running.
    ///
    /// # Errors
    /// It does not start: the home cannot be written to. One of another protocol has a job running.
    pub fn start(home: &Home) -> Result<Self, Error> {
        if let Some(daemon) = Self::connect(home)? {
            return daemon.of_this_protocol();
        }
        // One starts it, the others wait for that one.
        let path = home.make_internal()?.join("start.lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let lock = lock.map_err(workspace::Error::io("create", &path))?;
        lock.lock().map_err(workspace::Error::io("lock", &path))?;
        Self::start_locked(home, &lock)?.of_this_protocol()
    }

    fn start_locked(home: &Home, _lock: &File) -> Result<Self, Error> {
        if let Some(daemon) = Self::connect(home)? {
            return Ok(daemon);
        }
        let path = home.daemon_log();
        let log = OpenOptions::new().append(true).create(true).open(&path);
        let log = log.map_err(workspace::Error::io("write", &path))?;
        let written = log.metadata().map_or(0, |metadata| metadata.len());
        let program = std::env::current_exe().map_err(Error::Start)?;
        let mut child = Command::new(program)
            .args(["daemon", "run", "--background"])
            .env("CATBENCH_HOME", home.path())
            // It must keep no folder from being unmounted but its own.
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(Error::Start)?)
            .stderr(log)
            .spawn()
            .map_err(Error::Start)?;
        let deadline = Instant::now() + START;
        loop {
            if let Some(daemon) = Self::connect(home)? {
                // Someone has to take note of its end as long as this process lives.
                std::thread::spawn(move || child.wait());
                return Ok(daemon);
            }
            let ended = child.try_wait().map_err(Error::Start)?.filter(|status| !status.success());
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read(&path).unwrap_or_default();
                let said = String::from_utf8_lossy(log.get(written as usize..).unwrap_or_default()).trim().to_owned();
                return Err(Error::NoDaemon { log: path, said });
            }
            std::thread::sleep(LOOK);
        }
    }

    /// This one, if it speaks this program's protocol. Else one that does, unless a job runs under this one.
    fn of_this_protocol(mut self) -> Result<Self, Error> {
        if self.hello.protocol == PROTOCOL {
            return Ok(self);
        }
        let status = self.status()?;
        if status.running > 0 {
            return Err(Error::OtherVersion { version: self.hello.version, running: status.running });
        }
        let home = self.home.clone();
        self.stop()?;
        Self::start(&home)
    }

    /// Who answers.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// How it is.
    pub fn status(&mut self) -> Result<DaemonStatus, Error> {
        match self.ask(DaemonRequest::Status)? {
            DaemonReply::Status(status) => Ok(status),
            other => Err(Error::odd(&other)),
        }
    }

    /// Have it end, and wait until it has. Jobs go on.
    pub fn stop(mut self) -> Result<(), Error> {
        let lock = self.home.internal().join("daemon.lock");
        self.ask(DaemonRequest::Stop)?;
        drop(self);
        match File::open(&lock) {
            Ok(file) => file.lock_shared().map_err(workspace::Error::io("lock", &lock))?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(workspace::Error::io("open", &lock)(error).into()),
        }
        Ok(())
    }

    /// Ask, and wait for the one reply.
    pub fn ask(&mut self, request: DaemonRequest) -> Result<DaemonReply, Error> {
        let id = self.send(request)?;
        loop {
            let reply: Envelope<DaemonReply> =
                self.read(Some(ANSWER))?.ok_or_else(|| Error::Silent(self.home.daemon_log()))?;
            match reply.message {
                DaemonReply::Refused { message } if [0, id].contains(&reply.id) => return Err(Error::Refused(message)),
                message if reply.id == id => return Ok(message),
                // Of something asked before.
                _ => {}
            }
        }
    }

    /// Ask for something that has several replies; [`Daemon::next`] gives them.
    pub fn send(&mut self, request: DaemonRequest) -> Result<u64, Error> {
        let id = self.next_id;
        self.next_id += 1;
        self.write(&Envelope { id, message: request })?;
        Ok(id)
    }

    /// The next reply; none when none comes within `wait`.
    pub fn next(&mut self, wait: Option<Duration>) -> Result<Option<DaemonReply>, Error> {
        match self.read::<Envelope<DaemonReply>>(wait)?.map(|reply| reply.message) {
            Some(DaemonReply::Refused { message }) => Err(Error::Refused(message)),
            reply => Ok(reply),
        }
    }

    /// Whether the next reply has been read already.
    pub fn has_next(&self) -> bool {
        self.partial[self.scanned..].contains(&b'\n')
    }

    fn write<T: Serialize>(&mut self, message: &T) -> Result<(), Error> {
        let mut line = serde_json::to_vec(message).map_err(|error| Error::Answer(error.to_string()))?;
        line.push(b'\n');
        self.stream.write_all(&line).map_err(|_| Error::HungUp)
    }

    fn read<T: DeserializeOwned>(&mut self, wait: Option<Duration>) -> Result<Option<T>, Error> {
        let deadline = wait.map(|wait| Instant::now() + wait);
        // Up to here there is no end of a line: a long one is not searched anew with each part of it that comes.
        let mut searched = self.scanned;
        loop {
            if let Some(end) = self.partial[searched..].iter().position(|&byte| byte == b'\n') {
                let end = searched - self.scanned + end;
                let line = &self.partial[self.scanned..self.scanned + end];
                let message = serde_json::from_slice(line);
                let message =
                    message.map_err(|error| Error::Answer(format!("{error}: {}", String::from_utf8_lossy(line))));
                self.scanned += end + 1;
                return message.map(Some);
            }
            self.partial.drain(..self.scanned);
            self.scanned = 0;
            searched = self.partial.len();
            if self.partial.len() > MAX_REPLY {
                return Err(Error::Answer("a line without an end".into()));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            // A timeout of zero would be none at all.
            let left = left.map(|left| left.max(Duration::from_millis(1)));
            self.stream.set_read_timeout(left).map_err(|_| Error::HungUp)?;
            let filled = self.partial.len();
            self.partial.resize(filled + PIECE, 0);
            let read = self.stream.read(&mut self.partial[filled..]);
            self.partial.truncate(filled + read.as_ref().map_or(0, |&n| n));
            match read {
                Ok(0) => return Err(Error::HungUp),
                Ok(_) => {}
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(None),
                Err(_) => return Err(Error::HungUp),
            }
        }
    }
}
