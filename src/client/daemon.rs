//! The daemon as its clients see it: found by its answer, started where none answers.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Error;
use crate::fs::own_uid;
use crate::json;
use crate::programs;
use crate::protocol::{DaemonReply, DaemonRequest, DaemonStatus, Envelope, Hello, MAX_REPLY, PROTOCOL};
use crate::workspace::{self, Held, Home};

/// How long a daemon may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// How long one may take to start.
const START: Duration = Duration::from_secs(15);
/// How long one that was asked to end may take.
const END: Duration = Duration::from_secs(15);
/// How long one whose socket was removed may take to listen again.
const LISTENS: Duration = Duration::from_secs(4);
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
    /// It must show that it lives after so long without an answer.
    patience: Duration,
}

impl Daemon {
    /// The daemon of `home`; none when nobody answers there. Nothing is sent to one of another user.
    pub fn connect(home: &Home) -> Result<Option<Self>, Error> {
        let Some(stream) = home.connect()? else { return Ok(None) };
        // Another folder may have been put in the place of the one that was looked at: who listens is asked of the system.
        let user =
            crate::sys::peer_user(&stream).map_err(workspace::Error::io("ask who listens at", &home.socket()))?;
        if user != own_uid() {
            return Err(Error::Stranger { socket: home.socket(), user: crate::fs::user(user) });
        }
        let hello = Hello::new();
        let (partial, scanned, next_id) = (Vec::new(), 0, 1);
        let (hello_of_it, home_of_it, patience) = (hello.clone(), home.clone(), ANSWER);
        let mut daemon = Self { stream, partial, scanned, next_id, hello: hello_of_it, home: home_of_it, patience };
        // One that ends at this very moment is none.
        if daemon.write(&hello).is_err() {
            return Ok(None);
        }
        match daemon.read::<Hello>(Some(ANSWER)) {
            Ok(Some(hello)) => daemon.hello = hello,
            Ok(None) => return Err(Error::silent(home)),
            Err(Error::HungUp) => return Ok(None),
            Err(error) => return Err(error),
        }
        Ok(Some(daemon))
    }

    /// The daemon of `home`; none when the home is not served.
    ///
    /// # Errors
    /// It is served, and who does so cannot be reached from here.
    pub fn find(home: &Home) -> Result<Option<Self>, Error> {
        let deadline = Instant::now() + LISTENS;
        loop {
            if let Some(daemon) = Self::connect(home)? {
                return Ok(Some(daemon));
            }
            match home.held() {
                Held::No => return Ok(None),
                Held::Elsewhere(holder) => return Err(Error::Elsewhere(holder)),
                Held::Here(_) if Instant::now() > deadline => return Err(Error::unreachable(home)),
                Held::Here(_) => std::thread::sleep(LOOK),
            }
        }
    }

    /// The daemon of `home`, started if none answers. One of another protocol is replaced by one of this program, unless it
    /// has a job running.
    ///
    /// # Errors
    /// It does not start: the home cannot be written to. One of another protocol has a job running. One on another machine
    /// serves the home.
    pub fn start(home: &Home) -> Result<Self, Error> {
        if let Some(daemon) = Self::connect(home)? {
            return daemon.of_this_protocol();
        }
        if let Held::Elsewhere(holder) = home.held() {
            return Err(Error::Elsewhere(holder));
        }
        // One starts it, the others wait for that one.
        let path = home.make_internal()?.join("start.lock");
        let lock = crate::fs::open_lock(&path).map_err(workspace::Error::io("create", &path))?;
        lock.lock().map_err(workspace::Error::io("lock", &path))?;
        Self::start_locked(home, &lock)?.of_this_protocol()
    }

    fn start_locked(home: &Home, _lock: &File) -> Result<Self, Error> {
        if let Some(daemon) = Self::connect(home)? {
            return Ok(daemon);
        }
        let path = home.daemon_log();
        let log = crate::fs::open_append(&path).map_err(workspace::Error::io("write", &path))?;
        let written = log.metadata().map_or(0, |metadata| metadata.len());
        let deadline = Instant::now() + START;
        let mut child: Option<Child> = None;
        loop {
            if let Some(daemon) = Self::connect(home)? {
                // Someone has to take note of its end as long as this process lives.
                child.map(|mut child| std::thread::spawn(move || child.wait()));
                return Ok(daemon);
            }
            let ended = child.as_mut().map(Child::try_wait).transpose().map_err(Error::Start)?.flatten();
            let failed = ended.is_some_and(|status| !status.success());
            let held = home.held();
            match &held {
                Held::Elsewhere(holder) => return Err(Error::Elsewhere(holder.clone())),
                // One that is on its way out holds the lock, or one that does not answer yet: no other can begin.
                Held::Here(_) => child = child.filter(|_| !failed),
                Held::No if failed => return Err(Error::no_daemon(&path, written)),
                Held::No if child.is_none() => child = Some(Self::spawn(home, &log)?),
                Held::No => {}
            }
            if Instant::now() > deadline {
                return Err(match held {
                    Held::Here(_) => Error::unreachable(home),
                    _ => Error::no_daemon(&path, written),
                });
            }
            std::thread::sleep(LOOK);
        }
    }

    fn spawn(home: &Home, log: &File) -> Result<Child, Error> {
        let copy = || log.try_clone().map_err(Error::Start);
        Command::new(programs::own().map_err(Error::Start)?)
            .args(["daemon", "run", "--background"])
            .env("CATBENCH_HOME", home.path())
            // It must keep no folder from being unmounted but its own.
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(copy()?)
            .stderr(copy()?)
            .spawn()
            .map_err(Error::Start)
    }

    /// This one, if it speaks this program's protocol. Else one that does, unless a job runs under this one.
    fn of_this_protocol(mut self) -> Result<Self, Error> {
        if self.hello.protocol == PROTOCOL {
            return Ok(self);
        }
        let DaemonStatus { running, queued, .. } = self.status()?;
        // What waits under a newer one may not be known to this program.
        if running > 0 || queued > 0 && self.hello.protocol > PROTOCOL {
            return Err(Error::OtherVersion { version: self.hello.version, running, queued });
        }
        let home = self.home.clone();
        self.stop()?;
        Self::start(&home)
    }

    /// How it is.
    pub fn status(&mut self) -> Result<DaemonStatus, Error> {
        match self.ask(DaemonRequest::Status)? {
            DaemonReply::Status(status) => Ok(status),
            other => Err(Error::odd(&other)),
        }
    }

    /// Have it end, and wait until it has. Jobs go on.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(mut self) -> Result<(), Error> {
        let (home, pid) = (self.home.clone(), self.status()?.pid);
        self.ask(DaemonRequest::Stop)?;
        drop(self);
        let deadline = Instant::now() + END;
        while home.held() != Held::No {
            // The lock may be another's by now.
            if let Some(mut other) = Self::connect(&home)?
                && other.status().is_ok_and(|status| status.pid != pid)
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Error::silent(&home));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Ask, and wait for the one reply.
    pub fn ask(&mut self, request: DaemonRequest) -> Result<DaemonReply, Error> {
        let id = self.send(request)?;
        loop {
            let reply: Envelope<DaemonReply> = match self.read(Some(self.patience))? {
                Some(reply) => reply,
                // It looks through thousands of files, and greets others meanwhile.
                None if Self::connect(&self.home)?.is_some() => continue,
                None => return Err(Error::silent(&self.home)),
            };
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
        let line = json::to_line(message).map_err(|error| Error::Answer(error.to_string()))?;
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
                // By a signal, or as this process was stopped and goes on: it is waited for as long as was said all the same.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Error::HungUp),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A daemon of this protocol that answers the first question of each client after `takes` and no other, but greets
    /// everybody at once.
    fn slow_daemon(home: &Home, takes: Duration) -> UnixListener {
        home.make_internal().unwrap();
        let listener = home.listen().unwrap();
        listener.set_nonblocking(false).unwrap();
        let heard = listener.try_clone().unwrap();
        std::thread::spawn(move || {
            for mut stream in heard.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let hello = serde_json::to_string(&Hello::new()).unwrap() + "\n";
                    // The client may be gone.
                    let _ = stream.write_all(hello.as_bytes());
                    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    for (i, line) in lines.map_while(Result::ok).skip(1).enumerate() {
                        if i > 0 {
                            continue;
                        }
                        let asked: Envelope<DaemonRequest> = serde_json::from_str(&line).unwrap();
                        std::thread::sleep(takes);
                        let reply = Envelope { id: asked.id, message: DaemonReply::Done };
                        let _ = stream.write_all((serde_json::to_string(&reply).unwrap() + "\n").as_bytes());
                    }
                });
            }
        });
        listener
    }

    #[test]
    fn a_daemon_that_takes_long_is_waited_for_as_long_as_it_greets() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        let listener = slow_daemon(&home, Duration::from_millis(300));
        let mut daemon = Daemon::connect(&home).unwrap().unwrap();
        daemon.patience = Duration::from_millis(50);
        assert_eq!(daemon.ask(DaemonRequest::Ping).unwrap(), DaemonReply::Done);
        // Nobody greets any more: what it does then may take for ever.
        std::fs::remove_file(home.socket()).unwrap();
        assert!(matches!(daemon.ask(DaemonRequest::Ping), Err(Error::Silent(_))));
        drop(listener);
    }
}
