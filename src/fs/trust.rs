//! Whom this user lets write where its files are: itself, root, and whom `CATBENCH_TRUST` names. A folder that anybody else can
//! write to is no place for a home, because what is in it may be exchanged at any moment.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use super::Show;
use super::owner::{own_uid, user, user_name};

/// The variable that names groups and users, by name or number, with commas between.
pub const TRUST: &str = "CATBENCH_TRUST";

/// The bit of a folder's mode by which only its own files can be removed or renamed by whoever can write to it.
const STICKY: u32 = 0o1000;

/// Groups and users that are trusted besides this user and root.
#[derive(Debug, Default)]
struct Trusted {
    groups: Vec<u32>,
    users: Vec<u32>,
    /// Whom the system shows where it does not say whose something is: root outside of this container, most often.
    unknown: Option<u32>,
}

/// Whom this process trusts.
fn trusted() -> &'static Trusted {
    static TRUSTED: OnceLock<Trusted> = OnceLock::new();
    TRUSTED.get_or_init(|| {
        let names = std::env::var(TRUST).unwrap_or_default();
        let names: Vec<&str> = names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        let numbers = |file: &str| {
            let there = entries(file);
            let number = |name: &&str| {
                let known =
                    there.iter().find(|fields| fields[0] == **name).and_then(|fields| fields.get(2)?.parse().ok());
                known.or_else(|| name.parse().ok())
            };
            names.iter().filter_map(number).collect()
        };
        Trusted { groups: numbers("/etc/group"), users: numbers("/etc/passwd"), unknown: unknown_user() }
    })
}

/// The lines of a file like `/etc/passwd`, cut into their fields.
fn entries(file: &str) -> Vec<Vec<String>> {
    let text = super::read_text(Path::new(file), super::SETTINGS).unwrap_or_default();
    text.lines().map(|line| line.split(':').map(str::to_owned).collect()).collect()
}

/// The user that stands for those who are not known in this container; none outside of one.
fn unknown_user() -> Option<u32> {
    let read = |path: &str| super::read_text(Path::new(path), 4096).ok();
    let map = read("/proc/self/uid_map")?;
    let all = map.split_whitespace().eq(["0", "0", "4294967295"]);
    if all { None } else { read("/proc/sys/kernel/overflowuid")?.trim().parse().ok() }
}

/// Whether `found` belongs to this user, to root or to one who is trusted.
pub(super) fn is_trusted(found: &Metadata) -> bool {
    trusts(found.uid(), found.gid())
}

/// Whether what belongs to these is this user's, root's or of one who is trusted.
pub(super) fn trusts(uid: u32, gid: u32) -> bool {
    let trusted = trusted();
    [own_uid(), 0].contains(&uid)
        || trusted.users.contains(&uid)
        || trusted.groups.contains(&gid)
        || trusted.unknown == Some(uid)
}

/// Whose it is, as `CATBENCH_TRUST` takes it.
pub(super) fn owner(found: &Metadata) -> String {
    user(found.uid())
}

/// Who else can put something into the folder at `path`, in words; none where nobody can who is not trusted.
fn who_else_writes(path: &Path, found: &Metadata) -> Option<String> {
    if found.mode() & 0o002 != 0 {
        return Some("everybody on this machine".into());
    }
    let by_group = found.mode() & 0o020 != 0;
    let trusted = trusted().groups.contains(&found.gid());
    (by_group && !trusted && (!is_own_group(found.gid()) || has_list(path)))
        .then(|| format!("group {}", group(found.gid())))
}

/// A group's name, else its number.
fn group(gid: u32) -> String {
    let number = gid.to_string();
    let found = entries("/etc/group").into_iter().find(|fields| fields.get(2) == Some(&number));
    found.map_or(number, |mut fields| fields.swap_remove(0))
}

/// Whether nobody but this user is in the group, as on systems that give each user a group of its own.
fn is_own_group(gid: u32) -> bool {
    let (number, own) = (gid.to_string(), user_name(own_uid()).unwrap_or_default());
    match entries("/etc/group").into_iter().find(|fields| fields.get(2) == Some(&number)) {
        Some(fields) => {
            let members = fields.get(3).map(String::as_str).unwrap_or_default();
            fields[0] == own && members.split(',').all(|member| member.is_empty() || member == own)
        }
        // The users of a network are in no file.
        None => gid == own_uid(),
    }
}

/// Whether a list says who may write to `path`: then its mode does not tell.
fn has_list(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        let mut nothing: [u8; 0] = [];
        rustix::fs::getxattr(path, "system.posix_acl_access", &mut nothing).is_ok_and(|length| length > 0)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        false
    }
}

/// Why something is no place for this user's files.
#[derive(Debug, PartialEq, Eq)]
pub struct Untrusted {
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

/// Check that nobody whom this user does not trust can exchange the folder at `path`, or what is in it: neither it nor those
/// above it, up to one in which each can only move what is theirs, or one that this user alone can write to. One that is not
/// there yet is judged by those above it. `path` has no links in it.
///
/// # Errors
/// The system's; the inner one says who can.
pub fn check_folder(path: &Path) -> io::Result<Result<(), Untrusted>> {
    for folder in path.ancestors() {
        let found = match folder.symlink_metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let is_itself = folder == path;
        let shown = folder.shown();
        if !is_trusted(&found) {
            let owner = owner(&found);
            return Ok(Err(Untrusted {
                problem: format!("{shown} belongs to {owner}, who can put anything in its place"),
                remedy: format!(
                    "run catbench as {owner}, use a home of your own (CATBENCH_HOME), or say {TRUST}={owner}"
                ),
            }));
        }
        let others = who_else_writes(folder, &found);
        if found.mode() & STICKY != 0 && !is_itself {
            return Ok(Ok(()));
        }
        if let Some(others) = others {
            let quoted = shell_words::quote(&folder.to_string_lossy()).into_owned();
            let close = if found.mode() & 0o002 != 0 { "o-w" } else { "g-w" };
            let share =
                others.strip_prefix("group ").map(|group| format!(", or, if you trust all of it, say {TRUST}={group}"));
            return Ok(Err(Untrusted {
                problem: format!("{others} can put anything into {shown}"),
                remedy: format!("chmod {close} {quoted}{}", share.unwrap_or_default()),
            }));
        }
        if found.uid() == own_uid() {
            return Ok(Ok(()));
        }
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;

    /// A folder of this mode in another, whose mode is `above`.
    fn folder(above: u32, mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().canonicalize().unwrap().join("home");
        std::fs::create_dir(&inner).unwrap();
        std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::set_permissions(outer.path(), std::fs::Permissions::from_mode(above)).unwrap();
        (outer, inner)
    }

    #[test]
    fn a_folder_is_taken_where_nobody_else_can_exchange_it() {
        // One of this user's stands above what lies over it, and in one with the sticky bit each moves what is theirs.
        for (above, mode) in [(0o755, 0o755), (0o1777, 0o700), (0o777, 0o755)] {
            let (_outer, inner) = folder(above, mode);
            assert_eq!(check_folder(&inner).unwrap(), Ok(()), "{above:o} {mode:o}");
        }
        for mode in [0o777, 0o1777] {
            let (_outer, inner) = folder(0o755, mode);
            let wrong = check_folder(&inner).unwrap().unwrap_err();
            assert!(
                wrong.problem.contains("everybody on this machine") && wrong.remedy.contains("chmod o-w"),
                "{wrong:?}"
            );
        }
        let (_outer, inner) = folder(0o777, 0o755);
        assert!(check_folder(&inner.join("not/there")).unwrap().is_ok());
        let (outer, _) = folder(0o777, 0o755);
        assert!(
            check_folder(&outer.path().canonicalize().unwrap().join("new")).unwrap().is_err(),
            "made by whoever is first"
        );
    }

    #[test]
    fn a_folder_of_another_or_of_a_group_is_not_taken() {
        // Only root can give a folder away.
        if own_uid() != 0 {
            return;
        }
        let (_outer, inner) = folder(0o755, 0o755);
        chown(&inner, Some(12_345), None).unwrap();
        let wrong = check_folder(&inner).unwrap().unwrap_err();
        assert!(
            wrong.problem.contains("belongs to 12345") && wrong.remedy.contains("CATBENCH_TRUST=12345"),
            "{wrong:?}"
        );
        let (_outer, inner) = folder(0o755, 0o775);
        chown(&inner, None, Some(12_345)).unwrap();
        let wrong = check_folder(&inner).unwrap().unwrap_err();
        assert!(wrong.problem.contains("group 12345 can put") && wrong.remedy.contains("chmod g-w"), "{wrong:?}");
    }
}
