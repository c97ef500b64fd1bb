//! The folder that only this user may enter.

use crate::fs::Show;
use std::fs::Metadata;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{Error, Home};
use crate::fs::{own_uid, owned_by, user};

/// The folders of the program's own in which it makes and moves files.
const FOLDERS: [&str; 7] = ["embeddings", "models", "plans", "queue", "trash", "trash/samples", "workshop"];

/// Make `folder`, or check the one that is there: a folder, no link to one, owned by this user, closed to all others. One
/// that is open to others is closed.
///
/// # Errors
/// It is a link, no folder, or somebody else's.
pub fn make_private(folder: &Path) -> Result<(), Error> {
    match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder) {
        Ok(()) => {}
        // Told below, with what it is.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Error::io("create", folder)(error)),
    }
    let mode = check_owner(folder)?;
    if mode & 0o077 != 0 {
        use rustix::fs::{Mode, OFlags, fchmod, open};
        // What was looked at, and not a link that was put in its place since.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let closed = open(folder, flags, Mode::empty()).and_then(|opened| fchmod(opened, Mode::RWXU));
        closed.map_err(|error| Error::io("close to others", folder)(error.into()))?;
    }
    Ok(())
}

/// Refuse what was `found` at `folder` where that is a link to one, or something else.
fn check_folder(folder: &Path, found: &Metadata) -> Result<(), Error> {
    if found.is_dir() {
        return Ok(());
    }
    Err(Error::invalid(folder, "this must be a folder of its own", "remove it: catbench follows no link there"))
}

/// Check that `folder` is a folder of this user and not a link. Its mode.
fn check_owner(folder: &Path) -> Result<u32, Error> {
    let found = std::fs::symlink_metadata(folder).map_err(Error::io("read", folder))?;
    check_folder(folder, &found)?;
    if found.uid() != own_uid() {
        let whose = owned_by(folder).unwrap_or_else(|| "set CATBENCH_HOME to a folder of your own".into());
        return Err(Error::invalid(folder, "this is not your folder", whose));
    }
    Ok(found.mode())
}

/// Whether `folder` is there and only this user's, so that what answers on a socket in it can be trusted.
///
/// # Errors
/// It is a link, no folder, somebody else's or open to others.
pub fn check_private(folder: &Path) -> Result<(), Error> {
    if check_owner(folder)? & 0o077 != 0 {
        let remedy = format!("close it: chmod 700 {}", folder.shown());
        return Err(Error::invalid(folder, "others may enter this folder", remedy));
    }
    Ok(())
}

impl Home {
    /// Make the folder of the program's own files, closed to others; the home too, if it is not there yet.
    pub fn make_internal(&self) -> Result<PathBuf, Error> {
        let folder = self.internal();
        make_private(&folder)?;
        self.check_internal()?;
        Ok(folder)
    }

    /// Refuse links in the place of the folders of the program's own: what is made, moved or emptied there would be somewhere else,
    /// and clones and archives carry links.
    pub fn check_internal(&self) -> Result<(), Error> {
        for name in FOLDERS {
            let folder = self.internal().join(name);
            if let Ok(found) = folder.symlink_metadata() {
                check_folder(&folder, &found)?;
            }
        }
        Ok(())
    }

    /// The user whose home it is, or in whose folder it will be, where that is neither this user nor root.
    pub fn other_owner(&self) -> Option<String> {
        let there = self.path().ancestors().find_map(|folder| folder.metadata().ok())?;
        (there.uid() != own_uid() && there.uid() != 0).then(|| user(there.uid()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_private_folder_is_closed_to_others_and_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("a/b");
        make_private(&made).unwrap();
        check_private(&made).unwrap();
        std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(check_private(&made).unwrap_err().to_string().contains("chmod 700"));
        make_private(&made).unwrap();
        check_private(&made).unwrap();

        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&made, &link).unwrap();
        assert!(make_private(&link).unwrap_err().to_string().contains("follows no link"));
        assert!(check_private(&link).is_err());
    }
}
