//! The daemon's socket: in the home's own folder, whatever the length of its path, so that it is found by whoever knows the
//! home, from whichever session.

use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Error, Home, check_private};

/// The longest path of a unix socket, in bytes, that every system takes (macOS 104, Linux 108, both with an end mark).
const LONGEST: usize = 103;

impl Home {
    /// Where its daemon listens.
    pub fn socket(&self) -> PathBuf {
        self.internal().join("socket")
    }

    /// Connect to what answers on the socket; none where nobody does. Whose it is has still to be asked: the folder may be
    /// exchanged at any moment.
    pub fn connect(&self) -> Result<Option<UnixStream>, Error> {
        let path = self.socket();
        match by_short_path(&path, |short| UnixStream::connect(short)) {
            Ok(stream) => {
                check_private(&self.internal())?;
                Ok(Some(stream))
            }
            Err(error) if [ErrorKind::NotFound, ErrorKind::ConnectionRefused].contains(&error.kind()) => {
                Ok(self.connect_to_earlier())
            }
            Err(error) => Err(Error::io("connect to", &path)(error)),
        }
    }

    /// Listen on the socket, in the place of whatever is there.
    ///
    /// # Errors
    /// The file system holds no sockets, or cannot be written to.
    pub fn listen(&self) -> Result<UnixListener, Error> {
        let path = self.socket();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io("replace", &path)(error)),
            _ => {}
        }
        let listen = by_short_path(&path, |short| UnixListener::bind(short)).and_then(|listener| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        listen.map_err(|error| {
            if holds_no_sockets(&error) {
                let problem = format!("this file system holds no sockets ({error})");
                Error::invalid(&path, problem, "set CATBENCH_HOME to a folder on another disk")
            } else {
                Error::io("listen at", &path)(error)
            }
        })
    }

    /// Connect to a daemon of an earlier version, which listened elsewhere where the path was too long: in the runtime folder of
    /// the session that started it, or without one in /tmp.
    fn connect_to_earlier(&self) -> Option<UnixStream> {
        if self.socket().as_os_str().len() <= LONGEST || !self.internal().exists() {
            return None;
        }
        let hash = format!("{:x}", Sha256::digest(self.path().as_os_str().as_encoded_bytes()));
        let user = crate::fs::own_uid();
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(|folder| PathBuf::from(folder).join("catbench"));
        let usual = [format!("/run/user/{user}/catbench"), format!("/tmp/catbench-{user}")].map(PathBuf::from);
        let folders = runtime.into_iter().chain(usual).filter(|folder| check_private(folder).is_ok());
        folders.into_iter().find_map(|folder| UnixStream::connect(folder.join(&hash[..16])).ok())
    }
}

/// What systems say of a socket on a file system without such: vfat, some network disks and those in user space.
fn holds_no_sockets(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL]
        .iter()
        .any(|no| error.raw_os_error() == Some(no.raw_os_error()))
}

/// Do `act` with the socket at `path` by a path that is short enough for one.
fn by_short_path<T>(path: &Path, act: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return act(path) };
    if path.as_os_str().len() <= LONGEST {
        return act(path);
    }
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;

        use rustix::fs::{Mode, OFlags, open};
        // The system's own short name of an open folder, where /proc is there.
        let opened = open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let short = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
        if short.is_dir() {
            return act(&short.join(name));
        }
    }
    let link = Link::to(folder)?;
    act(&link.0.join(name))
}

/// A short link to a folder, for a moment.
struct Link(PathBuf);

impl Link {
    fn to(folder: &Path) -> io::Result<Self> {
        // That the folder is there is found out before anything is made.
        folder.metadata()?;
        for number in 0..u16::MAX {
            // In this folder nobody can put another in its place.
            let path = PathBuf::from(format!("/tmp/.catbench-{}-{number}", std::process::id()));
            match std::os::unix::fs::symlink(folder, &path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => return made.map(|()| Self(path)),
            }
        }
        Err(io::Error::other("no name is free in /tmp"))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // One that stays is in nobody's way.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A home whose path has this many bytes.
    fn home_of_length(length: usize) -> (tempfile::TempDir, Home) {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let mut path = folder.path().canonicalize().unwrap();
        while path.as_os_str().len() + 1 < length {
            let left = length - path.as_os_str().len() - 1;
            path.push("x".repeat(left.min(40)));
        }
        std::fs::create_dir_all(&path).unwrap();
        (folder, Home::at(&path).unwrap())
    }

    #[test]
    fn a_home_with_a_path_of_any_length_has_its_socket_inside() {
        for length in [60, 92, 93, 120, 210, 1000] {
            let (_folder, home) = home_of_length(length);
            assert!(home.connect().unwrap().is_none(), "{length}: nobody is there");
            home.make_internal().unwrap();
            assert!(home.connect().unwrap().is_none(), "{length}: nobody listens");
            let listener = home.listen().unwrap();
            assert!(home.socket().symlink_metadata().is_ok(), "{length}");
            assert!(home.connect().unwrap().is_some(), "{length}");
            drop(listener);
            assert!(home.connect().unwrap().is_none(), "{length}: nobody listens any more");
            drop(home.listen().unwrap());
        }
    }

    #[test]
    fn a_daemon_of_an_earlier_version_is_found_where_that_listened() {
        let (_folder, home) = home_of_length(150);
        home.make_internal().unwrap();
        let folder = PathBuf::from(format!("/tmp/catbench-{}", crate::fs::own_uid()));
        crate::workspace::make_private(&folder).unwrap();
        let hash = format!("{:x}", Sha256::digest(home.path().as_os_str().as_encoded_bytes()));
        let socket = folder.join(&hash[..16]);
        let listener = UnixListener::bind(&socket).unwrap();
        assert!(home.connect().unwrap().is_some());
        drop(listener);
        assert!(home.connect().unwrap().is_none());
        std::fs::remove_file(socket).unwrap();
    }

    #[test]
    fn a_link_is_short_and_gone_after_its_use() {
        let (_folder, home) = home_of_length(300);
        let internal = home.make_internal().unwrap();
        let link = Link::to(&internal).unwrap();
        let (other, short) = (Link::to(&internal).unwrap(), link.0.clone());
        assert!(short != other.0 && short.join("socket").as_os_str().len() < LONGEST);
        let listener = UnixListener::bind(short.join("socket")).unwrap();
        assert!(home.connect().unwrap().is_some());
        drop((link, other, listener));
        assert!(short.symlink_metadata().is_err());
    }
}
