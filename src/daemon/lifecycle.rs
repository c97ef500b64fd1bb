//! One daemon a home: its lock, its socket, its end, and what may end it against the user's will.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use super::Error;
use crate::workspace::{self, Home, make_private};

/// Held by the daemon of a home as long as it lives.
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Take the lock; none when another daemon has it.
    pub fn take(home: &Home) -> Result<Option<Self>, Error> {
        let path = home.make_internal()?.join("daemon.lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(workspace::Error::io("create", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file, path })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(workspace::Error::io("lock", &path)(error).into()),
        }
    }

    /// Whether the home is still the one that was locked, and not gone or another.
    pub fn is_in_place(&self) -> bool {
        let same = |a: &std::fs::Metadata, b: &std::fs::Metadata| a.ino() == b.ino() && a.dev() == b.dev();
        matches!((self.file.metadata(), std::fs::metadata(&self.path)), (Ok(held), Ok(there)) if same(&held, &there))
    }
}

/// The daemon's socket, removed when it ends.
pub struct Socket {
    /// Where clients are heard.
    pub listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listen, with the lock taken: a socket that is there was left by a daemon that died.
    pub fn open(home: &Home) -> Result<Self, Error> {
        let path = home.socket();
        if let Some(folder) = path.parent() {
            make_private(folder)?;
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(workspace::Error::io("replace", &path)(error).into());
            }
            _ => {}
        }
        let listen = UnixListener::bind(&path).and_then(|listener| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        });
        let listener = listen.map_err(workspace::Error::io("listen at", &path))?;
        Ok(Self { listener, path })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Whoever comes now starts another daemon.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What the user should know of how this process was started: nothing, or that the system ends it with the session.
pub fn logout_warning() -> Option<String> {
    let cgroup = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let folders = ["/etc/systemd", "/run/systemd", "/usr/lib/systemd"].map(PathBuf::from);
    kills_at_logout(&cgroup, &folders).then(|| {
        "this system ends your processes when you log out (KillUserProcesses), this daemon and its jobs too. To keep them: \
         catbench daemon stop; systemd-run --user --scope --unit=catbench catbench daemon run & \
         (and once: loginctl enable-linger)"
            .into()
    })
}

/// Whether a process in the control group `cgroup` belongs to a login session, and logind, as set up in `folders` (the
/// first counts most), ends the processes of a session with it.
fn kills_at_logout(cgroup: &str, folders: &[PathBuf]) -> bool {
    let in_session =
        cgroup.lines().any(|line| line.rsplit('/').next().is_some_and(|unit| unit.starts_with("session-")));
    in_session && setting(folders).unwrap_or(false)
}

/// `KillUserProcesses` of logind: the last word of the drop-ins, sorted by name, else of the first `logind.conf`.
fn setting(folders: &[PathBuf]) -> Option<bool> {
    let mut drop_ins: Vec<PathBuf> = Vec::new();
    for folder in folders {
        let files = std::fs::read_dir(folder.join("logind.conf.d")).into_iter().flatten().flatten();
        drop_ins.extend(files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|e| e == "conf")));
    }
    drop_ins.sort_by_key(|path| path.file_name().map(std::ffi::OsStr::to_owned));
    let main = folders.iter().map(|folder| folder.join("logind.conf"));
    drop_ins.into_iter().rev().chain(main).find_map(|path| said(&path))
}

/// What the file at `path` says of it.
fn said(path: &Path) -> Option<bool> {
    let text = std::fs::read_to_string(path).ok()?;
    let values = text.lines().filter_map(|line| line.trim().strip_prefix("KillUserProcesses"));
    let value = values.filter_map(|rest| rest.trim_start().strip_prefix('=')).next_back()?;
    Some(["yes", "true", "on", "1"].contains(&value.trim().to_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_a_session_of_a_system_that_ends_its_processes_is_warned() {
        let folder = tempfile::tempdir().unwrap();
        let folders = ["etc", "usr"].map(|name| folder.path().join(name));
        folders.iter().for_each(|folder| std::fs::create_dir_all(folder.join("logind.conf.d")).unwrap());
        let session = "0::/user.slice/user-1000.slice/session-3.scope\n";
        let service = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/catbench.scope\n";
        assert!(!kills_at_logout(session, &folders), "off unless it is switched on");
        std::fs::write(folders[1].join("logind.conf"), "[Login]\n#KillUserProcesses=no\nKillUserProcesses=yes\n")
            .unwrap();
        assert!(kills_at_logout(session, &folders));
        assert!(!kills_at_logout(service, &folders));
        std::fs::write(folders[0].join("logind.conf.d/50-site.conf"), "[Login]\nKillUserProcesses = no\n").unwrap();
        assert!(!kills_at_logout(session, &folders), "a drop-in has the last word");
    }
}
