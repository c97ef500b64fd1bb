//! Whole files or nothing: write to a temporary name beside the target, sync, rename. And what is in them, as a hash, and
//! whose they are.

mod owner;

use std::fmt::{self, Write as _};
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

pub use owner::{own_uid, owned_by, user, user_name, why};

/// Write `bytes` to `path` so that a reader, or a crash at any moment, sees the old file or the new one, never a part.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| io::Error::other("a path without a file name"))?;
    let temporary = folder.join(temporary_name(&name.to_string_lossy()));
    let written = (|| {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        // The rename itself is durable once the folder is synced.
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// The name of a temporary file beside one called `name`: hidden, ending in `.tmp`, of this process, and never longer than a name
/// may be.
fn temporary_name(name: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let end = format!(".{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let room = LONGEST_NAME - end.len() - 1;
    let cut = (0..=room.min(name.len())).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
    format!(".{}{end}", &name[..cut])
}

/// Bytes of a name of a file, on all file systems that are common.
const LONGEST_NAME: usize = 255;

/// Make `folder` and those above it, but not `root` or what is above that: a `root` that was moved is not begun anew where it
/// was.
pub fn create_below(root: &Path, folder: &Path) -> io::Result<()> {
    let mut path = root.to_path_buf();
    for part in folder.strip_prefix(root).map_err(io::Error::other)? {
        path.push(part);
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            created => created?,
        }
    }
    Ok(())
}

/// Whether the open `file` is still the one at `path`: it may have been moved or removed, or another put in its place.
pub fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: &Metadata| (metadata.ino(), metadata.dev());
    matches!((file.metadata(), std::fs::metadata(path)), (Ok(own), Ok(there)) if id(&own) == id(&there))
}

/// Paths as people are shown them.
pub trait Show {
    /// What a terminal would obey or not show at all, and bytes that are no text, stand as in a string of Rust, such as `\u{1b}` or
    /// `\xff`.
    fn shown(&self) -> Shown<'_>;
}

impl Show for Path {
    fn shown(&self) -> Shown<'_> {
        Shown(self)
    }
}

/// See [`Show`].
pub struct Shown<'p>(&'p Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.as_os_str().as_bytes().utf8_chunks() {
            for c in part.valid().chars() {
                if is_shown(c) { f.write_char(c) } else { write!(f, "{}", c.escape_default()) }?;
            }
            part.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

/// Whether `c` is seen where it stands: no control character, and none that turns the direction of writing.
fn is_shown(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// SHA-256 of the file at `path`, in lower-case hexadecimal. What is no file is refused: a pipe would be waited for, and a
/// device has no end.
pub fn sha256(path: &Path) -> io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("this is no file"));
    }
    let mut hash = Sha256::new();
    io::copy(&mut std::fs::File::open(path)?, &mut hash)?;
    Ok(format!("{:x}", hash.finalize()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_path_is_shown_without_what_a_terminal_obeys() {
        use std::ffi::OsStr;
        let name = |bytes: &[u8]| Path::new(OsStr::from_bytes(bytes)).shown().to_string();
        assert_eq!(name("photos/é 猫 (1).png".as_bytes()), "photos/é 猫 (1).png");
        assert_eq!(name(b"a\x1b[2J\nb.png"), "a\\u{1b}[2J\\nb.png");
        assert_eq!(name(b"a\xff\xc3.png"), "a\\xff\\xc3.png");
        assert_eq!(name("gnp.\u{202e}exe".as_bytes()), "gnp.\\u{202e}exe");
    }

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
    fn folders_are_made_below_a_root_but_never_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let (root, below) = (folder.path().join("run"), folder.path().join("run/samples/masks"));
        assert_eq!(create_below(&root, &below).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!root.exists());
        std::fs::create_dir(&root).unwrap();
        for _ in 0..2 {
            create_below(&root, &below).unwrap();
            assert!(below.is_dir());
        }
        std::fs::write(root.join("file"), "").unwrap();
        assert!(create_below(&root, &root.join("file/x")).is_err());
    }
}
