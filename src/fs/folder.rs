//! The way to a folder that is written to. A link on it counts only if this user, root or one who is trusted has made it: in a
//! folder that others can write too, one in the place of `masks` would lead what is written to any folder of this user.

use std::fs::File;
use std::io;
use std::path::Path;

/// Open the folder at `path`, to lock it or to name what is in it.
///
/// # Errors
/// The system's; a link that somebody else has made.
#[cfg(target_os = "linux")]
pub fn open_folder(path: &Path) -> io::Result<File> {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStringExt;
    use std::path::Component;

    use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, readlinkat, statat};
    use rustix::io::Errno;

    use super::owner::user;
    use super::write::refused;
    use super::{Show, trust};

    /// Links on one way, as the system counts them.
    const LINKS: usize = 40;

    fn names(path: &Path) -> Vec<OsString> {
        // The root too: what comes after it begins there.
        path.components().rev().map(Component::as_os_str).map(OsStr::to_owned).collect()
    }

    // Where each part is looked up is held open, so nobody can exchange what was looked at.
    let on_the_way = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(".", on_the_way, Mode::empty())?;
    let (mut left, mut links) = (names(path), 0);
    while let Some(name) = left.pop() {
        let found = statat(&at, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
            at = openat(&at, &name, on_the_way, Mode::empty())?;
            continue;
        }
        if !trust::trusts(found.st_uid, found.st_gid) {
            let (name, user) = (Path::new(&name), user(found.st_uid));
            let why = format!(
                "{} is a link that {user} has made, and nothing is written through it: remove it",
                name.shown()
            );
            return Err(refused(&why));
        }
        links += 1;
        if links > LINKS {
            return Err(Errno::LOOP.into());
        }
        let target = OsString::from_vec(readlinkat(&at, &name, Vec::new())?.into_bytes());
        left.extend(names(Path::new(&target)));
    }
    Ok(File::from(openat(&at, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
}

/// Open the folder at `path`, to lock it or to name what is in it.
///
/// # Errors
/// The system's.
#[cfg(not(target_os = "linux"))]
pub fn open_folder(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}
