//! The one way to make files, and the one way to open what is appended to or locked. In a folder that others can write too, a
//! name that can be guessed may be a link to any file of this user: a new file has a name that nobody can foresee and must not
//! be there yet, and what is there is opened only if it is a file of this user and no link.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::folder::open_folder;
use super::owner::{INTERNAL, WORKSHOP};
use super::read::check_kind;
use super::trust;

/// Bytes of a name of a file, on all file systems that are common.
const LONGEST_NAME: usize = 255;

/// Write `bytes` to `path` so that a reader, or a crash at any moment, sees the old file or the new one, never a part.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = NewFile::at(path)?;
    file.write_all(bytes)?;
    file.put()
}

/// Copy the file at `from` to `to`. A reader sees the old file or the new one, never a part.
///
/// # Errors
/// Those of [`super::open`], and the system's.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = super::open(from)?;
    let mut target = NewFile::at(to)?;
    io::copy(&mut source, &mut target.file)?;
    target.put_soon()
}

/// A file that is being written, beside the place where it will be. Dropped before it is [`NewFile::put`] there, it is gone.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    folder: File,
    temporary: OsString,
    name: OsString,
}

impl NewFile {
    /// Begin a file that will be at `path`, in the place of whatever is there then.
    ///
    /// # Errors
    /// The system's; a path without a name.
    pub fn at(path: &Path) -> io::Result<Self> {
        let (folder, name) = open_above(path)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let temporary = temporary_name(name);
            match rustix::fs::openat(&folder, &temporary, flags, mode(path)) {
                Ok(file) => return Ok(Self { file: file.into(), folder, temporary, name: name.to_owned() }),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// When it was written last, by the disk's own clock.
    pub fn modified(&self) -> io::Result<SystemTime> {
        self.file.metadata()?.modified()
    }

    /// Put it in its place, once it is on the disk.
    pub fn put(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        self.rename()?;
        // The rename itself is durable once the folder is synced.
        self.folder.sync_all()
    }

    /// Put it in its place without waiting for the disk: for copies, which can be made again.
    pub fn put_soon(mut self) -> io::Result<()> {
        self.rename()
    }

    fn rename(&mut self) -> io::Result<()> {
        rustix::fs::renameat(&self.folder, &self.temporary, &self.folder, &self.name)?;
        self.temporary.clear();
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.temporary.is_empty() {
            // What stays is hidden, and nobody takes it for a file.
            let _ = rustix::fs::unlinkat(&self.folder, &self.temporary, AtFlags::empty());
        }
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for NewFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// The name of a temporary file beside one called `name`: hidden, ending in `.tmp`, not to be foreseen, and never longer than a
/// name may be.
fn temporary_name(name: &OsStr) -> OsString {
    let name = name.to_string_lossy();
    let end = format!(".{}.tmp", unforeseen());
    let room = LONGEST_NAME - end.len() - 1;
    let cut = (0..=room.min(name.len())).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
    format!(".{}{end}", &name[..cut]).into()
}

/// 16 digits that nobody can foresee.
pub fn unforeseen() -> String {
    // Its keys are the system's random numbers, other ones each time.
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// Who may use a new file at `path`: only this user in the folder of the program's own files, elsewhere whom the umask lets.
fn mode(path: &Path) -> Mode {
    Mode::from(if is_internal(path) { 0o600 } else { 0o666 })
}

/// Whether `path` is the program's own, and not only in its workshop until it is whole.
fn is_internal(path: &Path) -> bool {
    let mut below = path.iter().skip_while(|part| *part != INTERNAL);
    below.next().is_some() && below.next().is_none_or(|part| part != WORKSHOP)
}

/// Make `folder` and those above it that are not there yet. Those of the program's own are closed to others.
pub fn create_folders(folder: &Path) -> io::Result<()> {
    folders(folder).recursive(true).create(folder)
}

/// How `folder` is made.
pub(super) fn folders(folder: &Path) -> DirBuilder {
    let mut how = DirBuilder::new();
    how.mode(if is_internal(folder) { 0o700 } else { 0o777 });
    how
}

/// Open the file at `path` to append to it and to read it, or make it.
///
/// # Errors
/// The system's; a link; something else than a file; a file of somebody whom this user does not trust.
pub fn open_append(path: &Path) -> io::Result<File> {
    open_own(path, OFlags::APPEND, mode(path))
}

/// Open the file at `path` to hold a lock on it and to write into it, or make it, for this user alone: whoever can open it
/// can hold it.
///
/// # Errors
/// Those of [`open_append`].
pub fn open_lock(path: &Path) -> io::Result<File> {
    open_own(path, OFlags::empty(), Mode::from(0o600))
}

/// The folder that `path` is in, and its name there.
fn open_above(path: &Path) -> io::Result<(File, &OsStr)> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| io::Error::other("a path without a file name"))?;
    Ok((open_folder(folder)?, name))
}

/// Why nothing is written by way of a link that stands for a `what`, and what to do.
pub(super) fn through_a_link(what: &str) -> String {
    format!("this is a link, and nothing is written through links here: put the {what} itself in its place")
}

/// That something is not what it has to be.
pub(super) fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why.to_owned())
}

fn open_own(path: &Path, how: OFlags, mode: Mode) -> io::Result<File> {
    let (folder, name) = open_above(path)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = match rustix::fs::openat(&folder, name, flags | how, mode) {
        Ok(file) => File::from(file),
        Err(Errno::LOOP) => return Err(refused(&through_a_link("file"))),
        // A socket, or a device without a driver.
        Err(Errno::NXIO) => return Err(refused("this is no file: remove it")),
        Err(error) => return Err(error.into()),
    };
    let found = file.metadata()?;
    check_kind(&found)?;
    trust::check_file(&found)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_is_written_whatever_the_length_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a".repeat(255), "é".repeat(127), "short".into()] {
            let path = folder.path().join(&name);
            write_atomic(&path, b"whole").unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"whole", "{name}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing else is left");
    }

    #[test]
    fn a_file_that_is_not_put_in_its_place_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("concept.toml");
        write_atomic(&path, b"old").unwrap();
        let mut new = NewFile::at(&path).unwrap();
        new.write_all(b"half").unwrap();
        let there = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let is_temporary = |name: &OsString| name.as_bytes().starts_with(b".") && name.as_bytes().ends_with(b".tmp");
        assert_eq!(there.filter(is_temporary).count(), 1);
        drop(new);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (victim, link) = (folder.path().join("victim"), folder.path().join("link"));
        std::fs::write(&victim, "mine").unwrap();
        symlink(&victim, &link).unwrap();
        for opened in [open_append(&link), open_lock(&link)] {
            assert!(opened.unwrap_err().to_string().contains("this is a link"));
        }
        // One that leads nowhere yet would be a new file there.
        let nowhere = folder.path().join("nowhere");
        std::fs::remove_file(&link).unwrap();
        symlink(&nowhere, &link).unwrap();
        assert!(open_append(&link).is_err() && !nowhere.exists());
        // What is put in the place of a link replaces it.
        write_atomic(&link, b"new").unwrap();
        assert!(link.symlink_metadata().unwrap().is_file() && !nowhere.exists());
        assert_eq!(std::fs::read(&victim).unwrap(), b"mine");
    }

    #[test]
    fn what_lies_behind_a_link_of_another_user_is_not_written_to() {
        // Only root can give a link away.
        if super::super::own_uid() != 0 {
            return;
        }
        let outer = tempfile::tempdir().unwrap();
        let [own, concept] = ["own", "concept"].map(|name| outer.path().join(name));
        [&own, &concept].iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
        let (masks, mask) = (concept.join("masks"), concept.join("masks/a.png"));
        for target in [own.as_path(), Path::new("../own")] {
            symlink(target, &masks).unwrap();
            write_atomic(&mask, b"by a link of one's own").unwrap();
            assert!(own.join("a.png").is_file());
            std::fs::remove_file(own.join("a.png")).unwrap();
            std::os::unix::fs::lchown(&masks, Some(12_345), Some(12_345)).unwrap();
            for refused in [write_atomic(&mask, b""), open_append(&mask).map(drop), open_lock(&mask).map(drop)] {
                let said = refused.unwrap_err().to_string();
                assert!(said.contains("masks is a link that 12345 has made"), "{said}");
            }
            assert_eq!(std::fs::read_dir(&own).unwrap().count(), 0);
            std::fs::remove_file(&masks).unwrap();
        }
        symlink("loop", concept.join("loop")).unwrap();
        assert!(write_atomic(&concept.join("loop/a.png"), b"").is_err());
    }

    #[test]
    fn what_is_the_programs_own_and_what_is_locked_is_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(INTERNAL)).unwrap();
        let mode_of = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let (settings, log) = (folder.path().join(".catbench/settings.toml"), folder.path().join(".catbench/log"));
        write_atomic(&settings, b"").unwrap();
        open_append(&log).unwrap();
        let lock = folder.path().join("runner.lock");
        open_lock(&lock).unwrap();
        assert_eq!([&settings, &log, &lock].map(|path| mode_of(path)), [0o600; 3]);
        let store = folder.path().join(".catbench/store");
        create_folders(&store.join("blobs")).unwrap();
        assert_eq!([store.clone(), store.join("blobs")].map(|path| mode_of(&path)), [0o700; 2]);
        // What is made in the workshop is moved out of it.
        let (made, usual) = (folder.path().join(".catbench/workshop/1-mug"), folder.path().join("usual"));
        create_folders(&made).unwrap();
        create_folders(&usual).unwrap();
        write_atomic(&made.join("concept.toml"), b"").unwrap();
        write_atomic(&usual.join("concept.toml"), b"").unwrap();
        assert_eq!(mode_of(&made), mode_of(&usual));
        assert_eq!(mode_of(&made.join("concept.toml")), mode_of(&usual.join("concept.toml")));
    }
}
