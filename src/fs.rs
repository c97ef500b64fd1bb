//! Whole files or nothing: write to a temporary name beside the target, sync, rename. And what is in them, as a hash, and
//! whose they are.

mod owner;

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

pub use owner::{own_uid, owned_by, user, user_name, why};

/// Write `bytes` to `path` so that a reader, or a crash at any moment, sees the old file or the new one, never a part.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| io::Error::other("a path without a file name"))?;
    let temporary = folder.join(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
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
