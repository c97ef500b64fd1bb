//! One daemon a home: its lock, its socket, its end, and what may end it against the user's will.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::net::UnixListener;

use super::Error;
use crate::workspace::{self, Home, make_private};

/// How long a lock that is only looked at by clients may seem to be held.
const LOOKED_AT: Duration = Duration::from_millis(100);

/// Held by the daemon of a home as long as it lives.
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Take the lock; none when another daemon has it.
    pub fn take(home: &Home) -> Result<Option<Self>, Error> {
        home.make_internal()?;
        let path = home.daemon_lock();
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(workspace::Error::io("create", &path))?;
        let deadline = Instant::now() + LOOKED_AT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Self { file, path })),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(workspace::Error::io("lock", &path)(error).into()),
            }
        }
    }

    /// Whether the home is still the one that was locked, and not gone or another.
    pub fn is_in_place(&self) -> bool {
        crate::fs::is_at(&self.file, &self.path)
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
    kills_at_logout(&cgroup, &folders, &user()).then(|| {
        "this system ends your processes when you log out (KillUserProcesses), this daemon and its jobs too. To keep them: \
         catbench daemon stop; systemd-run --user --scope --unit=catbench catbench daemon run & \
         (and once: loginctl enable-linger)"
            .into()
    })
}

/// The name of this process's user; empty where it is not known.
fn user() -> String {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    fields.find(|fields| fields.get(2) == Some(&&*uid)).map_or_else(String::new, |fields| fields[0].to_owned())
}

/// Whether a process of `user` in the control group `cgroup` belongs to a login session, and logind, as set up in `folders`
/// (the first counts most), ends the processes of a session with it.
fn kills_at_logout(cgroup: &str, folders: &[PathBuf], user: &str) -> bool {
    let in_session =
        cgroup.lines().any(|line| line.rsplit('/').next().is_some_and(|unit| unit.starts_with("session-")));
    let setting = |name| setting(folders, name).filter(|value| !value.is_empty());
    let names_user = |value: &str| value.split_whitespace().any(|name| name == user);
    let kills = setting("KillUserProcesses");
    let kills = kills.is_some_and(|value| ["yes", "true", "on", "1"].contains(&value.to_lowercase().as_str()));
    in_session
        && kills
        && setting("KillOnlyUsers").is_none_or(|only| names_user(&only))
        // Unless it says otherwise, logind leaves root alone.
        && !names_user(setting("KillExcludeUsers").as_deref().unwrap_or("root"))
}

/// A setting of logind: the last word of the drop-ins, sorted by name, else of the first `logind.conf`.
fn setting(folders: &[PathBuf], name: &str) -> Option<String> {
    let mut drop_ins: Vec<PathBuf> = Vec::new();
    for folder in folders {
        let files = std::fs::read_dir(folder.join("logind.conf.d")).into_iter().flatten().flatten();
        drop_ins.extend(files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|e| e == "conf")));
    }
    drop_ins.sort_by_key(|path| path.file_name().map(std::ffi::OsStr::to_owned));
    let main = folders.iter().map(|folder| folder.join("logind.conf"));
    drop_ins.into_iter().rev().chain(main).find_map(|path| said(&path, name))
}

/// What the file at `path` says of the setting `name`.
fn said(path: &Path, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let values = text.lines().filter_map(|line| line.trim().strip_prefix(name));
    let value = values.filter_map(|rest| rest.trim_start().strip_prefix('=')).next_back()?;
    Some(value.trim().to_owned())
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
        assert!(!kills_at_logout(session, &folders, "mia"), "off unless it is switched on");
        std::fs::write(folders[1].join("logind.conf"), "[Login]\n#KillUserProcesses=no\nKillUserProcesses=yes\n")
            .unwrap();
        assert!(kills_at_logout(session, &folders, "mia"));
        assert!(!kills_at_logout(service, &folders, "mia"));
        assert!(!kills_at_logout(session, &folders, "root"), "left alone unless it is set otherwise");
        let conf = folders[1].join("logind.conf.d/10-users.conf");
        std::fs::write(&conf, "[Login]\nKillExcludeUsers=mia\n").unwrap();
        assert!(!kills_at_logout(session, &folders, "mia") && kills_at_logout(session, &folders, "root"));
        std::fs::remove_file(conf).unwrap();
        std::fs::write(folders[0].join("logind.conf.d/50-site.conf"), "[Login]\nKillUserProcesses = no\n").unwrap();
        assert!(!kills_at_logout(session, &folders, "mia"), "a drop-in has the last word");
    }
}
