//! Whose a file is. Where the system denies something, that is what the user has to know: after one `sudo catbench` the
//! files it made are root's.

use super::Show;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The folder in a home that is the program's own.
pub(super) const INTERNAL: &str = ".catbench";
/// The folder in that one in which concepts are made.
pub(super) const WORKSHOP: &str = "workshop";

/// Why something at `path` failed, in words. For want of permission: also whose it is, and what helps.
pub fn why(path: &Path, error: &Error) -> String {
    let denied = error.kind() == ErrorKind::PermissionDenied;
    denied.then(|| owned_by(path)).flatten().map_or_else(|| error.to_string(), |whose| format!("{error}: {whose}"))
}

/// The name of a user as `/etc/passwd` has it; none where the user is known elsewhere.
pub fn user_name(uid: u32) -> Option<String> {
    name_of(uid, "/etc/passwd")
}

/// The name that `file`, like `/etc/passwd` or `/etc/group`, has for a number.
pub(super) fn name_of(number: u32, file: &str) -> Option<String> {
    let number = number.to_string();
    let found = entries(file).into_iter().find(|fields| fields.get(2) == Some(&number));
    found.map(|mut fields| fields.swap_remove(0))
}

/// The lines of a file like `/etc/passwd`, cut into their fields.
pub(super) fn entries(file: &str) -> Vec<Vec<String>> {
    let text = super::read_text(Path::new(file), super::SETTINGS).unwrap_or_default();
    text.lines().map(|line| line.split(':').map(str::to_owned).collect()).collect()
}

/// A user in words, and as `chown` takes it: the name, else the number.
pub fn user(uid: u32) -> String {
    user_name(uid).unwrap_or_else(|| uid.to_string())
}

/// This process's user.
pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whose `path` is, or the folder in which it is to be, and what to do about it; nothing where that is no hindrance.
pub fn owned_by(path: &Path) -> Option<String> {
    let there = path.ancestors().find(|path| path.symlink_metadata().is_ok())?;
    let home = home_of(path);
    let above = there.parent().filter(|above| home.as_ref().is_some_and(|home| above.starts_with(home)));
    let owner = |path: &Path| path.metadata().or_else(|_| path.symlink_metadata()).map(|found| found.uid()).ok();
    let own = own_uid();
    let foreign = [Some(there), above].into_iter().flatten().find_map(|path| {
        let uid = owner(path).filter(|uid| *uid != own)?;
        Some((path, uid))
    });
    let quoted = |path: &Path| shell_words::quote(&path.to_string_lossy()).into_owned();
    let Some((path, uid)) = foreign else {
        let is_closed = there.metadata().is_ok_and(|found| found.mode() & 0o400 == 0 || found.mode() & 0o200 == 0);
        return is_closed.then(|| format!("it is yours, but closed to you: chmod u+rwX {}", quoted(there)));
    };
    let remedy = match (own, uid, home) {
        (0, ..) => format!("run it as {}", user(uid)),
        (_, 0, Some(home)) => format!("sudo chown -R {} {}", user(own), quoted(&home)),
        // In a folder of this user it is there by mistake.
        (_, 0, None) if path.parent().and_then(owner) == Some(own) => {
            format!("sudo chown -R {} {}", user(own), quoted(path))
        }
        (_, 0, None) => "ask root for it".into(),
        // A file of another user in a home of this one: by a group that shares it, or from an archive that root has unpacked.
        (.., Some(home)) if owner(&home) == Some(own) => format!("sudo chown {} {}", user(own), quoted(path)),
        _ => format!("run it as {}, or set CATBENCH_HOME to a folder of your own", user(uid)),
    };
    Some(format!("{} belongs to {}, and you are {}: {remedy}", path.shown(), user(uid), user(own)))
}

/// The home that `path` is in, or is.
fn home_of(path: &Path) -> Option<PathBuf> {
    if let Some(inside) = path.ancestors().find(|folder| folder.ends_with(INTERNAL)) {
        return inside.parent().map(Path::to_owned);
    }
    let is_home = |folder: &&Path| folder.join(INTERNAL).symlink_metadata().is_ok();
    path.ancestors().find(is_home).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_want_of_permission_is_explained_and_what_is_ones_own_can_be_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("events.jsonl");
        std::fs::write(&file, "").unwrap();
        let said = |kind: ErrorKind| why(&file, &Error::from(kind));
        assert_eq!(said(ErrorKind::PermissionDenied), Error::from(ErrorKind::PermissionDenied).to_string());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
        assert!(said(ErrorKind::PermissionDenied).contains("chmod u+rwX"));
        assert_eq!(said(ErrorKind::NotFound), Error::from(ErrorKind::NotFound).to_string());
    }

    #[test]
    fn a_file_of_another_user_says_whose_it_is() {
        // Only root can give a file away.
        if own_uid() != 0 {
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let inside = home.path().join(INTERNAL);
        std::fs::create_dir(&inside).unwrap();
        std::os::unix::fs::chown(&inside, Some(12_345), None).unwrap();
        let said = why(&inside.join("socket"), &Error::from(ErrorKind::PermissionDenied));
        assert!(said.contains("belongs to 12345, and you are root: run it as 12345"), "{said}");
        assert_eq!(home_of(&inside.join("socket")), Some(home.path().to_owned()));
        assert_eq!((user(0).as_str(), user(12_345).as_str()), ("root", "12345"));
    }
}
