//! Whom this user lets write where its files are: itself, root, and whom `CATBENCH_TRUST` names. A folder that anybody else can
//! write to is no place for a home, because what is in it may be exchanged at any moment.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use super::Show;
use super::owner::{INTERNAL, entries, name_of, own_uid, user};
use super::write::refused;

/// The variable that names groups and users, by name or number, with commas between.
pub const TRUST: &str = "CATBENCH_TRUST";

/// The bit of a folder's mode by which only its own files can be removed or renamed by whoever can write to it.
const STICKY: u32 = 0o1000;

/// Groups and users that are trusted besides this user and root.
#[derive(Debug, Default)]
struct Trusted {
    groups: Vec<u32>,
    users: Vec<u32>,
    /// What this system's files do not know by name, and is no number.
    unknown: Vec<String>,
    /// Whom the system shows where it does not say whose something is: root outside of this container, most often.
    outside: Option<u32>,
}

/// Whom this process trusts.
fn trusted() -> &'static Trusted {
    static TRUSTED: OnceLock<Trusted> = OnceLock::new();
    TRUSTED.get_or_init(|| {
        let named = std::env::var(TRUST).unwrap_or_default();
        let mut trusted = Trusted { outside: outside_user(), ..Trusted::default() };
        for name in named.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let (group, user) = (number(&entries("/etc/group"), name), number(&entries("/etc/passwd"), name));
            if group.or(user).is_none() {
                trusted.unknown.push(name.to_owned());
            }
            trusted.groups.extend(group);
            trusted.users.extend(user);
        }
        trusted
    })
}

/// The number of the group or user called `name`, or which is that number.
fn number(entries: &[Vec<String>], name: &str) -> Option<u32> {
    let known = entries.iter().find(|fields| fields[0] == name);
    known.and_then(|fields| fields.get(2)?.parse().ok()).or_else(|| name.parse().ok())
}

/// The user that stands for those who are not known in this container; none outside of one.
fn outside_user() -> Option<u32> {
    let read = |path: &str| super::read_text(Path::new(path), 4096).ok();
    let map = read("/proc/self/uid_map")?;
    let all = map.split_whitespace().eq(["0", "0", "4294967295"]);
    if all { None } else { read("/proc/sys/kernel/overflowuid")?.trim().parse().ok() }
}

/// Check that a file was written by this user, by root or by one who is trusted.
pub(super) fn check_file(found: &Metadata) -> io::Result<()> {
    if is_trusted(found) {
        return Ok(());
    }
    Err(refused(&format!("it belongs to {}, not to you: remove it", user(found.uid()))))
}

/// Whether `found` belongs to this user, to root or to one who is trusted.
fn is_trusted(found: &Metadata) -> bool {
    trusts(found.uid(), found.gid())
}

/// Whether what belongs to these is this user's, root's or of one who is trusted.
pub(super) fn trusts(uid: u32, gid: u32) -> bool {
    let trusted = trusted();
    [own_uid(), 0].contains(&uid) || trusted.users.contains(&uid) || trusted.groups.contains(&gid)
}

/// Who can put something into a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    Everybody,
    Group(u32),
    User(u32),
}

impl Writer {
    fn is_trusted(self) -> bool {
        match self {
            Self::Everybody => false,
            Self::Group(gid) => {
                let (groups, users) = (entries("/etc/group"), entries("/etc/passwd"));
                trusted().groups.contains(&gid) || is_own_group(gid, own_uid(), &groups, &users)
            }
            Self::User(uid) => [own_uid(), 0].contains(&uid) || trusted().users.contains(&uid),
        }
    }
}

/// Who else can put something into the folder at `path`, and is not trusted.
fn who_else_writes(path: &Path, found: &Metadata) -> Option<Writer> {
    if found.mode() & 0o002 != 0 {
        return Some(Writer::Everybody);
    }
    if found.mode() & 0o020 == 0 {
        return None;
    }
    // Where there is a list, the group's bit says only what the list can give at most.
    let writers = list(path).unwrap_or_else(|| vec![(GROUP_OF_FILE, 0)]);
    let mut named = writers.into_iter().filter_map(|(tag, id)| match tag {
        USER => Some(Writer::User(id)),
        GROUP_OF_FILE => Some(Writer::Group(found.gid())),
        GROUP => Some(Writer::Group(id)),
        _ => None,
    });
    named.find(|writer| !writer.is_trusted())
}

/// What an entry of a list of those who may use a file is about, as Linux writes it.
const USER: u16 = 0x02;
const GROUP_OF_FILE: u16 = 0x04;
const GROUP: u16 = 0x08;

/// The entries of the list at `path` that say who may write, by what they are about and whom; none where there is no list.
fn list(path: &Path) -> Option<Vec<(u16, u32)>> {
    #[cfg(target_os = "linux")]
    {
        let mut bytes = vec![0; 1 << 16];
        let length = rustix::fs::getxattr(path, "system.posix_acl_access", bytes.as_mut_slice()).ok()?;
        // A version, then for each a tag, what it may, and a number.
        let entries = bytes.get(4..length)?.chunks_exact(8);
        let number = |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]);
        let writes = entries.filter(|entry| number(&entry[2..]) & 0o2 != 0);
        Some(
            writes.map(|entry| (number(entry), u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]))).collect(),
        )
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        None
    }
}

/// A group's name, else its number.
fn group(gid: u32) -> String {
    name_of(gid, "/etc/group").unwrap_or_else(|| gid.to_string())
}

/// Whether nobody but user `uid` is in group `gid`, as on systems that give each user a group of its own; given what
/// `/etc/group` and `/etc/passwd` say.
fn is_own_group(gid: u32, uid: u32, groups: &[Vec<String>], users: &[Vec<String>]) -> bool {
    if gid == 0 {
        // Whoever is in it is as good as root, who is trusted; there are systems with accounts of services in it.
        return uid == 0;
    }
    let own = users.iter().find(|fields| fields.get(2) == Some(&uid.to_string())).map(|fields| fields[0].as_str());
    let number = gid.to_string();
    let is_others = |fields: &Vec<String>| fields.get(3) == Some(&number) && fields.get(2) != Some(&uid.to_string());
    if users.iter().any(is_others) {
        return false;
    }
    match groups.iter().find(|fields| fields.get(2) == Some(&number)) {
        Some(fields) => {
            let mut members = fields.get(3).map(String::as_str).unwrap_or_default().split(',');
            own == Some(fields[0].as_str()) && members.all(|member| member.is_empty() || own == Some(member))
        }
        // The users of a network are in no file.
        None => gid == uid,
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
/// above it, up to one that this user alone can write to; root has all of them judged. In one with the sticky bit each can only
/// move what is theirs. One that is not there yet is judged by those above it. `path` has no links in it.
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
        let is_above = folder != path;
        if !(is_trusted(&found) || is_above && trusted().outside == Some(found.uid())) {
            return Ok(Err(of_another(folder, &found)));
        }
        let keeps_each_his_own = is_above && found.mode() & STICKY != 0;
        if let Some(writer) = who_else_writes(folder, &found).filter(|_| !keeps_each_his_own) {
            return Ok(Err(open_to(writer, folder, &found)));
        }
        // What is above the home itself can be exchanged with it, whoever made it. Root's own folders may be in folders of others.
        if is_above && found.uid() == own_uid() && own_uid() != 0 {
            return Ok(Ok(()));
        }
    }
    Ok(Ok(()))
}

/// What is said of a `folder` that belongs to one who is not trusted.
fn of_another(folder: &Path, found: &Metadata) -> Untrusted {
    let owner = user(found.uid());
    // The program's own files in a home are one user's, whoever trusts whom.
    let is_served = folder.join(INTERNAL).symlink_metadata().is_ok();
    let trust = (!is_served).then(|| format!("; or, if you trust {owner}, set {}", setting(&owner)));
    Untrusted {
        problem: format!("{} belongs to {owner}, who can put anything in its place", folder.shown()),
        remedy: format!(
            "run catbench as {owner}, or set CATBENCH_HOME to a folder of your own{}",
            trust.unwrap_or_default()
        ),
    }
}

/// What is said of a `folder` that `writer` can write to, who is not trusted.
fn open_to(writer: Writer, folder: &Path, found: &Metadata) -> Untrusted {
    let (who, trust) = match writer {
        Writer::Everybody => ("everybody on this machine".to_owned(), None),
        Writer::Group(gid) => (format!("group {}", group(gid)), Some(("it", group(gid)))),
        Writer::User(uid) => (format!("user {}", user(uid)), Some(("this user", user(uid)))),
    };
    let quoted = shell_words::quote(&folder.to_string_lossy()).shown().to_string();
    let close = match writer {
        _ if ![found.uid(), 0].contains(&own_uid()) => "use a home in a folder of your own (CATBENCH_HOME)".to_owned(),
        Writer::Everybody => format!("chmod o-w {quoted}"),
        Writer::Group(gid) if gid == found.gid() => format!("chmod g-w {quoted}"),
        Writer::Group(gid) => format!("setfacl -x g:{} {quoted}", group(gid)),
        Writer::User(uid) => format!("setfacl -x u:{} {quoted}", user(uid)),
    };
    let trust = trust.map(|(whom, name)| format!("; or, if you trust {whom}, set {}", setting(&name)));
    Untrusted {
        problem: format!("{who} can put anything into {}", folder.shown()),
        remedy: close + &trust.unwrap_or_default(),
    }
}

/// What has to be set for `name` to be trusted too.
fn setting(name: &str) -> String {
    let set = std::env::var(TRUST).unwrap_or_default();
    let all = if set.trim().is_empty() { name.to_owned() } else { format!("{},{name}", set.trim()) };
    let why = match trusted().unknown.as_slice() {
        [] => String::new(),
        unknown => {
            format!(" ({}: no group or user of this name is known here, give its number)", unknown.join(", ").shown())
        }
    };
    format!("{TRUST}={}{why}", shell_words::quote(&all).shown())
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
        // In one with the sticky bit each can only move what is theirs.
        for (above, mode) in [(0o755, 0o755), (0o1777, 0o700)] {
            let (_outer, inner) = folder(above, mode);
            assert_eq!(check_folder(&inner).unwrap(), Ok(()), "{above:o} {mode:o}");
            assert_eq!(check_folder(&inner.join("not/there")).unwrap(), Ok(()), "{above:o} {mode:o}");
        }
        for (above, mode) in [(0o755, 0o777), (0o755, 0o1777), (0o777, 0o755)] {
            let (_outer, inner) = folder(above, mode);
            let wrong = check_folder(&inner).unwrap().unwrap_err();
            assert!(
                wrong.problem.contains("everybody on this machine") && wrong.remedy.contains("chmod o-w"),
                "{wrong:?}"
            );
        }
        // What is in a folder of this user alone stands whatever lies over that, but not for root.
        let (_outer, inner) = folder(0o777, 0o755);
        std::fs::create_dir(inner.join("home")).unwrap();
        assert_eq!(check_folder(&inner.join("home")).unwrap().is_ok(), own_uid() != 0);
        let new = inner.with_file_name("new");
        assert!(check_folder(&new).unwrap().is_err(), "made by whoever is first");
    }

    #[test]
    fn a_group_of_one_user_is_that_user() {
        let cut = |lines: &[&str]| lines.iter().map(|line| line.split(':').map(str::to_owned).collect()).collect();
        let users: Vec<Vec<String>> = cut(&[
            "root:x:0:0",
            "sync:x:5:0",
            "mia:x:1000:1000",
            "tom:x:1001:1001",
            "eva:x:1002:100",
            "ann:x:1003:100",
        ]);
        let groups: Vec<Vec<String>> = cut(&[
            "root:x:0:",
            "mia:x:1000:",
            "tom:x:1001:tom,eva",
            "users:x:100:",
            "lab:x:2000:mia",
            "eva:x:1002:eva",
        ]);
        let is_own = |gid, uid| is_own_group(gid, uid, &groups, &users);
        assert!(is_own(0, 0) && is_own(1000, 1000) && is_own(1002, 1002));
        assert!(!is_own(0, 1000), "that of root");
        assert!(!is_own(1001, 1001), "one more is in it");
        assert!(!is_own(100, 1002), "the first group of others");
        assert!(!is_own(2000, 1000), "it is called otherwise: a network may know more of its members");
        assert!(is_own(70_000, 70_000) && !is_own(70_000, 70_001), "of a network");
    }

    #[test]
    fn who_is_on_the_list_of_a_folder_is_named() {
        let (_outer, inner) = folder(0o755, 0o755);
        // Read and written by its user, by user 12345 and group 54321.
        let entry =
            |tag: u16, may: u16, id: u32| [&tag.to_le_bytes()[..], &may.to_le_bytes(), &id.to_le_bytes()].concat();
        let list = |user: u16, group: u16| {
            let entries = [
                (1, 7, !0),
                (USER, user, 12_345),
                (GROUP_OF_FILE, 5, !0),
                (GROUP, group, 54_321),
                (16, 7, !0),
                (32, 5, !0),
            ];
            [2u32.to_le_bytes().to_vec(), entries.iter().flat_map(|&(tag, may, id)| entry(tag, may, id)).collect()]
                .concat()
        };
        for (user, group, said) in [(7, 5, Some("12345")), (5, 7, Some("54321")), (5, 5, None)] {
            let set = rustix::fs::XattrFlags::empty();
            if rustix::fs::setxattr(&inner, "system.posix_acl_access", &list(user, group), set).is_err() {
                // This file system has no lists.
                return;
            }
            let wrong = check_folder(&inner).unwrap().err();
            assert_eq!(wrong.is_some(), said.is_some(), "{wrong:?}");
            if let (Some(wrong), Some(said)) = (wrong, said) {
                assert!(wrong.problem.contains(said) && wrong.remedy.contains("setfacl -x"), "{wrong:?}");
            }
        }
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
