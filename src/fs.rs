//! Files, by the doors through which the program reads and writes them; whose they are, and how their names are shown.
//!
//! | module | what it is for |
//! |---|---|
//! | `read` | what is read: only files, only so much of them |
//! | `write` | what is made: whole or nothing; what is appended to or locked: no links, nobody else's |
//! | `folder` | the way to a folder, by no link of another user |
//! | `trust` | who may write where this user's files are |
//! | `owner` | whose a file is, in words |
//! | `show` | names and texts without what a terminal obeys |

mod folder;
mod owner;
mod read;
mod show;
mod trust;
mod write;

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub use owner::{user, why};
pub use read::{open, read, sha256};
pub use show::{Show, is_shown, shell};
pub use write::{NewFile, copy, open_append, open_lock, write_atomic};

pub(crate) use folder::open_folder;
pub(crate) use owner::{own_uid, owned_by, user_name};
pub(crate) use read::{LINE, LINES, SETTINGS, check_kind, open_within, read_from, read_own_text, read_text, too_long};
pub(crate) use show::write_escaped;
pub(crate) use trust::check_folder;
pub(crate) use write::{create_folders, unforeseen};

/// Make `folder` and those above it, but not `root` or what is above that: a `root` that was moved is not begun anew where it
/// was. Links below `root` are refused: clones and archives carry them.
pub fn create_below(root: &Path, folder: &Path) -> io::Result<()> {
    let mut path = root.to_path_buf();
    for part in folder.strip_prefix(root).map_err(io::Error::other)? {
        path.push(part);
        match write::folders(&path).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = path.symlink_metadata()?;
                if found.is_symlink() {
                    return Err(write::refused(&format!("{}: {}", path.shown(), write::through_a_link("folder"))));
                }
                if !found.is_dir() {
                    return Err(error);
                }
            }
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
        std::os::unix::fs::symlink(folder.path(), root.join("link")).unwrap();
        for inside in ["link", "link/masks"] {
            let said = create_below(&root, &root.join(inside)).unwrap_err().to_string();
            assert!(said.contains("this is a link"), "{said}");
        }
        assert!(!folder.path().join("masks").exists());
    }
}
