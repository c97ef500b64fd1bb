//! The folder that only this user may enter, and the daemon's socket in it.

use crate::fs::Show;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Error, Home};

/// The longest path of a unix socket, in bytes, that every system takes (macOS 104, Linux 108, both with an end mark).
const LONGEST_SOCKET: usize = 103;

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
        let closed = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(folder, closed).map_err(Error::io("close to others", folder))?;
    }
    Ok(())
}

/// Check that `folder` is a folder of this user and not a link. Its mode.
fn check_owner(folder: &Path) -> Result<u32, Error> {
    let found = std::fs::symlink_metadata(folder).map_err(Error::io("read", folder))?;
    if !found.is_dir() {
        let remedy = "remove it: catbench follows no link there";
        return Err(Error::invalid(folder, "this must be a folder of its own", remedy));
    }
    let user = rustix::process::geteuid().as_raw();
    if found.uid() != user {
        let problem = format!("this folder belongs to user {}, not to you ({user})", found.uid());
        return Err(Error::invalid(folder, problem, "set CATBENCH_HOME to a folder of your own"));
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
        Ok(folder)
    }

    /// Where the daemon of this home listens: in its own folder, or where the path would be too long for a socket, in
    /// the user's runtime folder under a name made of the home's path.
    pub fn socket(&self) -> PathBuf {
        let own = self.internal().join("socket");
        if own.as_os_str().len() <= LONGEST_SOCKET {
            return own;
        }
        let hash = format!("{:x}", Sha256::digest(self.path().as_os_str().as_encoded_bytes()));
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
        let folder = match runtime {
            Some(runtime) if runtime.as_os_str().len() < LONGEST_SOCKET - 40 => runtime.join("catbench"),
            _ => PathBuf::from(format!("/tmp/catbench-{}", rustix::process::geteuid().as_raw())),
        };
        folder.join(&hash[..16])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

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

    #[test]
    fn a_home_whose_path_is_too_long_for_a_socket_has_it_elsewhere() {
        let near = Home::at(Path::new("/home/mia/concepts")).unwrap();
        assert_eq!(near.socket(), Path::new("/home/mia/concepts/.catbench/socket"));
        let homes = ["x", "y"].map(|end| Home::at(&Path::new("/").join("long".repeat(40)).join(end)).unwrap());
        let far = homes.map(|home| home.socket());
        assert!(far[0] != far[1] && far.iter().all(|path| path.as_os_str().len() <= LONGEST_SOCKET), "{far:?}");
    }
}
