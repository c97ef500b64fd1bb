//! Who serves a home. Its daemon holds the lock file as long as it lives, and has written into it which process on which
//! machine it is: that holds where no socket can be reached, as on a second machine that has the same disk.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Error, Home};
use crate::fs::NewFile;

/// How long a lock that is only looked at by clients may seem to be held.
const LOOKED_AT: Duration = Duration::from_millis(100);
/// A daemon of another machine that has shown nothing for so long is gone. It shows that it lives by the time of its lock file:
/// there are network disks that do not tell other machines of locks.
const SILENT: Duration = Duration::from_secs(45);

/// The process that serves a home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its machine.
    pub host: String,
    /// Its number there.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Which start of the machine it belongs to, where the system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
}

/// Whether a home is served, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// By nobody.
    No,
    /// From this machine; by whom, unless that is an earlier version, which does not say.
    Here(Option<Holder>),
    /// From another machine.
    Elsewhere(Holder),
}

impl Holder {
    /// This process.
    fn own() -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let boot = crate::fs::read_text(Path::new("/proc/sys/kernel/random/boot_id"), crate::fs::SETTINGS)
            .ok()
            .map(|id| id.trim().to_owned());
        Self { host, pid: std::process::id(), version: env!("CARGO_PKG_VERSION").into(), boot }
    }

    /// Whether it is of this machine, since it was started: containers on it have names of their own.
    fn is_here(&self) -> bool {
        let own = Self::own();
        match (&self.boot, &own.boot) {
            (Some(boot), Some(own)) => boot == own,
            _ => self.host == own.host,
        }
    }

    fn read(file: &File) -> Option<Self> {
        let text = crate::fs::read_from(file, crate::fs::SETTINGS).ok()?;
        toml::from_str(std::str::from_utf8(&text).ok()?).ok()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {} (catbench {})", self.pid, self.host, self.version)
    }
}

impl Home {
    /// Who serves it. Nothing is waited for.
    pub fn held(&self) -> Held {
        let Ok(file) = crate::fs::open(&self.daemon_lock()) else { return Held::No };
        let is_held = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
        // Let go at once: a daemon that begins now must not take this for another.
        let _ = file.unlock();
        match Holder::read(&file) {
            Some(holder) if is_held && !holder.is_here() => Held::Elsewhere(holder),
            holder if is_held => Held::Here(holder),
            Some(holder) if self.beats_elsewhere(&holder, &file) => Held::Elsewhere(holder),
            _ => Held::No,
        }
    }

    /// Whether the process that has written the lock file is of another machine and has shown lately that it lives, though
    /// its lock is not seen here.
    fn beats_elsewhere(&self, holder: &Holder, file: &File) -> bool {
        if holder.is_here() || holder.host == Holder::own().host {
            return false;
        }
        // The disk's clock, which may differ from this machine's.
        let now = NewFile::at(&self.internal().join("now")).and_then(|file| file.modified());
        let beat = file.metadata().and_then(|metadata| metadata.modified());
        let Ok(beat) = beat else { return false };
        // A clock that was set back a little makes it one of the future.
        let age = now.unwrap_or_else(|_| std::time::SystemTime::now()).duration_since(beat);
        age.unwrap_or_else(|ahead| ahead.duration()) < SILENT
    }
}

/// Held by the daemon of a home as long as it lives.
pub struct HomeLock {
    file: File,
    path: PathBuf,
}

impl HomeLock {
    /// Take the lock, and write into it who has it. Who has it instead, where that is another.
    pub fn take(home: &Home) -> Result<Result<Self, Option<Holder>>, Error> {
        home.make_internal()?;
        let path = home.daemon_lock();
        let file = crate::fs::open_lock(&path).map_err(Error::io("create", &path))?;
        let deadline = Instant::now() + LOOKED_AT;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(TryLockError::WouldBlock) => return Ok(Err(Holder::read(&file))),
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
            }
        }
        if let Some(holder) = Holder::read(&file).filter(|holder| home.beats_elsewhere(holder, &file)) {
            return Ok(Err(Some(holder)));
        }
        let lock = Self { file, path };
        lock.name_holder();
        Ok(Ok(lock))
    }

    /// Write into it who has it. Where the disk is full it names nobody, holds all the same, and is written at a later beat.
    fn name_holder(&self) {
        let Ok(text) = toml::to_string(&Holder::own()) else { return };
        let mut file = &self.file;
        let written = file.set_len(0).and_then(|()| {
            file.rewind()?;
            file.write_all(text.as_bytes())
        });
        if written.is_err() {
            // A part of a name is worse than none.
            let _ = file.set_len(0);
        }
    }

    /// Show that its holder lives.
    pub fn beat(&self) {
        use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};
        if self.file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            self.name_holder();
        }
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        // The disk may be away for a moment.
        let _ = futimens(&self.file, &Timestamps { last_access: now, last_modification: now });
    }

    /// Whether the home is still the one that was locked, and not gone or another.
    pub fn is_in_place(&self) -> bool {
        crate::fs::is_at(&self.file, &self.path)
    }
}

impl Drop for HomeLock {
    fn drop(&mut self) {
        // What stays of one that could not be emptied counts as long as one that was killed.
        let _ = self.file.set_len(0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        home.make_internal().unwrap();
        (folder, home)
    }

    fn other(host: &str) -> Holder {
        Holder { host: host.into(), pid: 12, version: "0.0.9".into(), boot: Some("another start".into()) }
    }

    fn write(home: &Home, holder: &Holder) -> File {
        std::fs::write(home.daemon_lock(), toml::to_string(holder).unwrap()).unwrap();
        File::open(home.daemon_lock()).unwrap()
    }

    #[test]
    fn a_lock_names_its_holder_and_nobody_once_it_is_let_go() {
        let (_folder, home) = home();
        assert_eq!(home.held(), Held::No);
        let lock = HomeLock::take(&home).unwrap().ok().unwrap();
        assert_eq!(home.held(), Held::Here(Some(Holder::own())));
        assert_eq!(HomeLock::take(&home).unwrap().err().unwrap(), Some(Holder::own()));
        drop(lock);
        assert_eq!(home.held(), Held::No);
        assert_eq!(std::fs::read_to_string(home.daemon_lock()).unwrap(), "");
        assert!(HomeLock::take(&home).unwrap().is_ok());
    }

    #[test]
    fn a_lock_held_by_another_machine_is_told_from_one_held_here() {
        let (_folder, home) = home();
        let far = other("far");
        let file = write(&home, &far);
        file.lock().unwrap();
        assert_eq!(home.held(), Held::Elsewhere(far.clone()));
        assert_eq!(HomeLock::take(&home).unwrap().err().unwrap(), Some(far.clone()));
        drop(file);
        // A container has another name, and is here all the same.
        let near = Holder { boot: Holder::own().boot, ..far };
        let file = write(&home, &near);
        file.lock().unwrap();
        assert_eq!(home.held(), if near.boot.is_some() { Held::Here(Some(near)) } else { home.held() });
        drop(file);
        // Earlier versions wrote nothing.
        std::fs::write(home.daemon_lock(), "").unwrap();
        let file = File::open(home.daemon_lock()).unwrap();
        file.lock().unwrap();
        assert_eq!(home.held(), Held::Here(None));
    }

    #[test]
    fn a_lock_that_is_not_seen_from_here_counts_as_long_as_its_holder_shows_that_it_lives() {
        let (_folder, home) = home();
        let far = other("far");
        let file = write(&home, &far);
        assert_eq!(home.held(), Held::Elsewhere(far.clone()));
        assert_eq!(HomeLock::take(&home).unwrap().err().unwrap(), Some(far.clone()));
        file.set_modified(std::time::SystemTime::now() - SILENT - SILENT).unwrap();
        assert_eq!(home.held(), Held::No);
        let lock = HomeLock::take(&home).unwrap().ok().unwrap();
        file.set_modified(std::time::SystemTime::now() - SILENT).unwrap();
        lock.beat();
        assert!(file.metadata().unwrap().modified().unwrap().elapsed().unwrap() < SILENT / 2);
        drop(lock);
        // This machine, before it was started again.
        write(&home, &other(&Holder::own().host));
        assert_eq!(home.held(), Held::No);
        assert_eq!(std::fs::read_dir(home.internal()).unwrap().count(), 1, "nothing is left beside the lock");
    }
}
