//! Files read with a bound: what is in a home may have come from anybody. A pipe would be waited for and a device has no end,
//! so only files are opened; a file that is longer than its kind ever is would fill memory, so it is refused.

use std::fs::{File, FileType, Metadata};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags};
#[cfg(target_os = "linux")]
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::trust;
use super::write::refused;

/// The most bytes of a file of settings: somebody's notes in a `concept.toml` are long with a few thousand.
pub const SETTINGS: u64 = 4 << 20;
/// The most bytes of a file with a line for each event, picture or score: a training of a million steps has 150 million.
pub const LINES: u64 = 256 << 20;
/// The most bytes of one line of such a file: a scoring of thirty thousand pictures.
pub const LINE: u64 = 16 << 20;

/// Open the file at `path` to read it. It is never waited for.
///
/// # Errors
/// The system's; a folder, pipe, socket or device.
pub fn open(path: &Path) -> io::Result<File> {
    // Before it is opened: there are devices that act when they are.
    check_kind(&std::fs::metadata(path)?)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    // Another may have been put in its place.
    check_kind(&file.metadata()?)?;
    Ok(file)
}

/// Open the file at `path` in the open `folder` to read it. No link is followed on the way, and nothing leads out.
///
/// # Errors
/// Those of [`open`]; a link; a path that leads out.
pub fn open_within(folder: &File, path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let file = File::from(beneath(folder, path, flags)?);
    check_kind(&file.metadata()?)?;
    Ok(file)
}

#[cfg(target_os = "linux")]
fn beneath(folder: &File, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(folder, path, flags, Mode::empty(), resolve) {
        // A kernel before 5.6, or a sandbox that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => step_by_step(folder, path, flags),
        opened => Ok(opened?),
    }
}

#[cfg(not(target_os = "linux"))]
fn beneath(folder: &File, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    step_by_step(folder, path, flags)
}

/// The same, one folder after the other.
fn step_by_step(folder: &File, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let mut at = folder.try_clone()?;
    let mut parts = path.components().peekable();
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else {
            return Err(refused("a path that leads out of its folder"));
        };
        if parts.peek().is_none() {
            return Ok(rustix::fs::openat(&at, name, flags, Mode::empty())?);
        }
        let through = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        at = File::from(rustix::fs::openat(&at, name, through, Mode::empty())?);
    }
    Err(refused("a path without a file name"))
}

/// All of the file at `path`.
///
/// # Errors
/// Those of [`open`]; more than `most` bytes.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_from(&open(path)?, most)
}

/// All that is left of `file`.
///
/// # Errors
/// The system's; more than `most` bytes.
pub fn read_from(file: &File, most: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    if length > most {
        return Err(too_long(most));
    }
    // What the system makes up as it is read says 0.
    let mut bytes = Vec::with_capacity(length as usize + 1);
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_long(most)) } else { Ok(bytes) }
}

/// All of the text in the file at `path`.
///
/// # Errors
/// Those of [`read`]; bytes that are no UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    text(read(path, most)?)
}

/// All of the text in the file at `path`, which this user or one whom it trusts has written: the folder that it is in may have
/// been exchanged.
///
/// # Errors
/// Those of [`read_text`]; a file of anybody else.
pub fn read_own_text(path: &Path, most: u64) -> io::Result<String> {
    let file = open(path)?;
    trust::check_file(&file.metadata()?)?;
    text(read_from(&file, most)?)
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text (UTF-8)"))
}

/// What `most` bytes are not enough for.
pub fn too_long(most: u64) -> io::Error {
    let most = if most >= 1 << 20 { format!("{} MiB", most >> 20) } else { format!("{most} bytes") };
    io::Error::new(io::ErrorKind::InvalidData, format!("it is longer than {most}, which none of its kind is"))
}

/// SHA-256 of the file at `path`, in lower-case hexadecimal.
///
/// # Errors
/// Those of [`open`].
pub fn sha256(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut open(path)?, &mut hash)?;
    Ok(format!("{:x}", hash.finalize()))
}

/// Refuse what is no file.
pub fn check_kind(found: &Metadata) -> io::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    Err(refused(&format!("this is {}, not a file", word(found.file_type()))))
}

/// What something is that is no file.
fn word(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_dir() => "a folder",
        kind if kind.is_symlink() => "a link",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::open_folder;
    use super::*;

    #[test]
    fn a_file_is_opened_within_a_folder_and_never_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("root/a")).unwrap();
        std::fs::write(path("root/a/file"), "").unwrap();
        std::fs::write(path("outside"), "").unwrap();
        std::os::unix::fs::symlink("a", path("root/link")).unwrap();
        std::os::unix::fs::symlink("a/file", path("root/last")).unwrap();
        let root = open_folder(&path("root")).unwrap();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
        for opened in
            [open_within(&root, Path::new("a/file")), step_by_step(&root, Path::new("a/file"), flags).map(File::from)]
        {
            assert!(opened.unwrap().metadata().unwrap().is_file());
        }
        let outside = path("outside");
        for name in ["link/file", "last", "../outside", "a/../../outside", outside.to_str().unwrap(), "a", ""] {
            assert!(open_within(&root, Path::new(name)).is_err(), "{name}");
            let opened = step_by_step(&root, Path::new(name), flags);
            assert!(opened.is_err() || name == "a", "{name}");
        }
    }

    #[test]
    fn only_a_file_is_opened_and_only_so_much_of_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), rustix::fs::FileType::Fifo, Mode::from(0o600), 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("zeros")).unwrap();
        for (name, what) in [("pipe", "a pipe"), ("socket", "a socket"), ("zeros", "a device"), ("", "a folder")] {
            let said = read(&path(name), 10).unwrap_err().to_string();
            assert_eq!(said, format!("this is {what}, not a file"));
        }
        let sparse = File::create(path("sparse")).unwrap();
        sparse.set_len(40 << 30).unwrap();
        assert!(read(&path("sparse"), SETTINGS).unwrap_err().to_string().contains("longer than 4 MiB"));
        std::fs::write(path("text"), "é").unwrap();
        assert_eq!(read_text(&path("text"), 2).unwrap(), "é");
        assert!(read_text(&path("text"), 1).is_err());
        assert!(read_text(Path::new("/proc/self/status"), SETTINGS).unwrap().contains("Pid:"), "it says that it has 0");
    }
}
