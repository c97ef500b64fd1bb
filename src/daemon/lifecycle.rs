//! The daemon's socket, how it is ended, and what may end it against the user's will.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::Error;
use super::log::log;
use crate::fs::{own_uid, user_name};
use crate::workspace::Home;

/// How long the daemon may take to end in order.
const END: Duration = Duration::from_secs(3);
/// How long is waited at first after a client could not be taken, and at most.
const WAIT: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];
/// Clients are taken again once none could not be for so long.
const QUIET: Duration = Duration::from_secs(5);

/// The word that the daemon ends, and why.
#[derive(Clone)]
pub struct Leaving(watch::Sender<Option<&'static str>>);

impl Leaving {
    /// Not yet; from now on when a signal says so. A lost terminal is nothing to a daemon.
    pub fn on_signal() -> std::io::Result<Self> {
        let leaving = Self(watch::Sender::new(None));
        let told = leaving.clone();
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        std::thread::spawn(move || {
            for signal in signals.forever().filter(|signal| *signal != SIGHUP) {
                told.leave(if signal == SIGTERM { "SIGTERM" } else { "SIGINT" });
            }
        });
        Ok(leaving)
    }

    /// End in order, or after [`END`] without: the disk, or whoever reads what this process says, may not answer. Nothing is
    /// lost by it, because all that counts is on disk before it is said.
    pub fn leave(&self, why: &'static str) {
        if self.0.send_replace(Some(why)).is_none() {
            std::thread::spawn(|| {
                std::thread::sleep(END);
                signal_hook::low_level::exit(0);
            });
        }
    }

    /// The word, to be waited for.
    pub fn heard(&self) -> watch::Receiver<Option<&'static str>> {
        self.0.subscribe()
    }
}

/// The daemon's socket, removed when it ends.
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Which file it is.
    file: Option<(u64, u64)>,
    /// How often no client could be taken, and when last; until that is some time ago.
    failures: u32,
    failed: Option<Instant>,
}

impl Socket {
    /// Listen, with the lock taken: a socket that is there was left by a daemon that died.
    pub fn open(home: &Home) -> Result<Self, Error> {
        let listener = UnixListener::from_std(home.listen()?)?;
        let path = home.socket();
        let file = id(&path);
        Ok(Self { listener, path, file, failures: 0, failed: None })
    }

    /// The next client. Where none can be taken, as without a free file descriptor, that is said once, and tried again.
    pub async fn client(&mut self) -> UnixStream {
        let mut wait = WAIT[0];
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    if self.failed.is_some_and(|last| last.elapsed() > QUIET) {
                        log(&format!("takes clients again: could not {} times", self.failures));
                        (self.failures, self.failed) = (0, None);
                    }
                    return stream;
                }
                Err(error) => {
                    if self.failed.is_none() {
                        log(&format!("cannot take a client: {error}"));
                    }
                    (self.failures, self.failed) = (self.failures.saturating_add(1), Some(Instant::now()));
                    tokio::time::sleep(wait).await;
                    wait = (2 * wait).min(WAIT[1]);
                }
            }
        }
    }

    /// Asks, on any thread, whether clients still find it: whatever cleans up may have removed it.
    pub fn is_in_place(&self) -> impl Fn() -> bool + Send + 'static {
        let (file, path) = (self.file, self.path.clone());
        move || file.is_some() && file == id(&path)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Whoever comes now starts another daemon.
        if self.is_in_place()() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Which file is at `path`.
fn id(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().ok().map(|found: Metadata| (found.ino(), found.dev()))
}

/// What the user should know of whose home this is: that it is another's, whom what this process makes is closed to.
pub fn owner_warning(home: &Home) -> Option<String> {
    let owner = home.other_owner().filter(|_| own_uid() == 0)?;
    Some(format!(
        "this daemon runs as root in a home of {owner}, who cannot use what it makes: catbench daemon stop, and run \
         catbench as {owner}"
    ))
}

/// What the user should know of how this process was started: nothing, or that the system ends it with the session.
pub fn logout_warning() -> Option<String> {
    let cgroup = crate::fs::read_text(Path::new("/proc/self/cgroup"), crate::fs::SETTINGS).unwrap_or_default();
    let folders = ["/etc/systemd", "/run/systemd", "/usr/lib/systemd"].map(PathBuf::from);
    kills_at_logout(&cgroup, &folders, &user_name(own_uid()).unwrap_or_default()).then(|| {
        "this system ends your processes when you log out (KillUserProcesses), this daemon and its jobs too. To keep them: \
         catbench daemon stop; systemd-run --user --scope --unit=catbench catbench daemon run & \
         (and once: loginctl enable-linger)"
            .into()
    })
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
    let text = crate::fs::read_text(path, crate::fs::SETTINGS).ok()?;
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
