//! Where a home's own files come from. A home that was unpacked, cloned or copied may bring a queue that somebody else has
//! filled: what its jobs are to do, and with which variables set, is then nothing that this user asked for. So the daemon that
//! first serves a home here leaves a mark, `<home>/.catbench/origin.toml`, of what no archive or clone can carry, and a token that
//! each file of the queue repeats. Where there is no true mark, jobs that wait are held until the user says so, and what can be made
//! again from the files is; a file of the queue without the token, unpacked over a home that has its mark, is held alone.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::concept::{read_toml, write_toml};
use super::queue::{QueueEntry, QueueFiles, Wanted};
use super::{Error, Home};
use crate::fs::{SETTINGS, own_uid, read_text, unforeseen};

/// How many marks are kept: as many machines may serve a home on a shared disk by turns.
const MARKS: usize = 64;

/// The file of marks.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Origin {
    #[serde(default)]
    served: Vec<Mark>,
    /// What the files of the queue repeat.
    #[serde(default)]
    token: String,
}

/// That a daemon has served this home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// The machine, whatever it was started for; empty where it has no id, `any` of a disk that machines share: a job that ends on one
    /// node of a cluster goes on on another, and whose a file is the disk's server says.
    machine: String,
    /// The user.
    uid: u32,
    /// The folder of the program's own files: when it was made, to the nanosecond; which on its disk, where the disk keeps no such time.
    folder: String,
}

impl Mark {
    /// What is true of `folder` here and now.
    fn of(path: &Path) -> Result<Self, Error> {
        let found = path.symlink_metadata().map_err(Error::io("read", path))?;
        let made = found.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
        let folder = match made {
            Some(made) => format!("made {}", made.as_nanos()),
            None => format!("file {}", found.ino()),
        };
        Ok(Self { machine: machine_of(path), uid: own_uid(), folder })
    }
}

/// What a mark says of the machine, where `path` is what it marks.
fn machine_of(path: &Path) -> String {
    if is_shared(path) {
        return "any".into();
    }
    let machine = read_text(Path::new("/etc/machine-id"), SETTINGS).unwrap_or_default();
    machine.trim().to_owned()
}

/// Whether `path` is on a disk that a server gives to several machines.
fn is_shared(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        /// The numbers of NFS, Lustre, GPFS, BeeGFS, Ceph, SMB 2, CIFS, AFS and PanFS, as `statfs` gives them.
        const SHARED: [u64; 9] = [
            0x6969,
            0x0bd0_0bd0,
            0x4750_4653,
            0x1983_0326,
            0x00c3_6400,
            0xfe53_4d42,
            0xff53_4d42,
            0x5346_414f,
            0xaad7_aaea,
        ];
        rustix::fs::statfs(path).is_ok_and(|disk| SHARED.contains(&(disk.f_type as u64 & 0xffff_ffff)))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        false
    }
}

impl Home {
    fn origin(&self) -> PathBuf {
        self.internal().join("origin.toml")
    }

    /// Have nothing of this home act by itself that no daemon of this user has left on this machine. Called with the home's lock
    /// held, before the queue and the store are used. What files of the queue are to repeat, and what the user should know.
    ///
    /// # Errors
    /// The queue cannot be read, or not be written: then nothing of it may run.
    pub fn distrust_what_came(&self) -> Result<(String, Option<String>), Error> {
        let mark = Mark::of(&self.internal())?;
        // A damaged one says nothing that could be believed.
        let mut origin: Origin = read_toml(&self.origin()).unwrap_or_default();
        if origin.served.contains(&mark) && !origin.token.is_empty() {
            let came = self.hold_queue(&origin.token, |entry| entry.token != origin.token)?;
            return Ok((origin.token, held_words(came)));
        }
        origin.token = unforeseen() + &unforeseen();
        let held = self.hold_queue(&origin.token, |_| true)?;
        self.forget_what_can_be_made_again()?;
        origin.served.retain(|served| *served != mark);
        origin.served.push(mark);
        let first = origin.served.len().saturating_sub(MARKS);
        origin.served.drain(..first);
        // Last, so that whatever ends this before leaves a home that is not trusted yet.
        let unmarked = write_toml(&self.origin(), &origin).err();
        let unmarked = unmarked.map(|error| format!("jobs will be held when this daemon is started again: {error}"));
        Ok((origin.token, held_words(held).or(unmarked)))
    }

    /// Take away what is made again from the files.
    fn forget_what_can_be_made_again(&self) -> Result<(), Error> {
        for name in ["store", "hashes"] {
            let path = self.internal().join(name);
            let is_folder = path.symlink_metadata().map(|found| found.is_dir());
            let removed = is_folder.and_then(|is_folder| {
                if is_folder { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) }
            });
            match removed {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io("remove", &path)(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Hold each of the jobs that `came` and would run, forget what it was to work under, and take its file for one of the daemon's
    /// own, which has this `token`. How many are held.
    fn hold_queue(&self, token: &str, came: impl Fn(&QueueEntry) -> bool) -> Result<usize, Error> {
        let mut held = 0;
        for entry in QueueFiles::read(self)?.entries.into_values().filter(|entry| came(entry)) {
            let may_run = match entry.wanted {
                // Where its files do not tell how it is, they may come yet.
                Wanted::Run => entry.how(self).map_or(true, |(state, _)| !state.is_over()),
                Wanted::Resume => true,
                Wanted::Pause | Wanted::Ask | Wanted::Cancel => false,
            };
            let wanted = if may_run { Wanted::Ask } else { entry.wanted };
            held += usize::from(may_run);
            if may_run || entry.conditions.is_some() {
                QueueEntry { wanted, conditions: None, token: token.to_owned(), ..entry }.write(self)?;
            }
        }
        Ok(held)
    }
}

/// How many jobs are held, and what to do; nothing if none is.
fn held_words(held: usize) -> Option<String> {
    let (jobs, them) = match held {
        0 => return None,
        1 => ("1 job that waits".to_owned(), "it"),
        held => (format!("{held} jobs that wait"), "them"),
    };
    Some(format!(
        "{jobs} came with this home, and nobody has asked for {them} on this machine: `catbench jobs` shows {them}, `catbench \
         jobs resume N` runs one, `catbench jobs cancel N` gives it up"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::protocol::Conditions;

    /// A home with a job that waits, with its variables, and a store.
    fn home() -> (tempfile::TempDir, Home) {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home")).unwrap();
        home.make_internal().unwrap();
        std::fs::create_dir(home.queue()).unwrap();
        std::fs::create_dir_all(home.internal().join("store/blobs")).unwrap();
        let conditions = Some(Conditions::default());
        let entry = QueueEntry { conditions, ..QueueEntry::new(7, "mug/runs/x".into(), "cpu".into()) };
        entry.write(&home).unwrap();
        (folder, home)
    }

    /// What the user is told when a daemon begins.
    fn begin(home: &Home) -> Option<String> {
        home.distrust_what_came().unwrap().1
    }

    fn entry(home: &Home) -> QueueEntry {
        QueueEntry::read(&QueueEntry::path(home, 7)).unwrap()
    }

    #[test]
    fn what_came_with_a_home_is_held_once_and_what_is_asked_for_then_is_not() {
        let (_folder, home) = home();
        let said = begin(&home).unwrap();
        assert!(said.contains("1 job that waits came with this home"), "{said}");
        assert_eq!((entry(&home).wanted, entry(&home).conditions), (Wanted::Ask, None));
        assert!(!home.internal().join("store").exists());
        QueueEntry { wanted: Wanted::Run, conditions: Some(Conditions::default()), ..entry(&home) }
            .write(&home)
            .unwrap();
        std::fs::create_dir(home.internal().join("store")).unwrap();
        assert_eq!(begin(&home), None);
        assert!(entry(&home).wanted == Wanted::Run && entry(&home).conditions.is_some());
        assert!(home.internal().join("store").exists());
    }

    #[test]
    fn a_home_keeps_its_mark_where_it_is_moved_and_loses_it_where_it_is_copied() {
        let (folder, home) = home();
        begin(&home);
        QueueEntry { wanted: Wanted::Run, ..entry(&home) }.write(&home).unwrap();
        let moved = Home::at(&folder.path().join("moved")).unwrap();
        std::fs::rename(home.path(), moved.path()).unwrap();
        assert_eq!(begin(&moved), None);
        // As an archive or `cp -a` brings it, mark and all.
        home.make_internal().unwrap();
        std::fs::create_dir(home.queue()).unwrap();
        std::fs::copy(moved.origin(), home.origin()).unwrap();
        entry(&moved).write(&home).unwrap();
        assert!(begin(&home).is_some());
        assert_eq!(entry(&home).wanted, Wanted::Ask);
    }

    #[test]
    fn a_file_that_is_unpacked_into_the_queue_of_a_home_of_ones_own_is_held_alone() {
        let (_folder, home) = home();
        let (token, _) = home.distrust_what_came().unwrap();
        QueueEntry { wanted: Wanted::Run, ..entry(&home) }.write(&home).unwrap();
        let conditions = Some(Conditions::default());
        let new = QueueEntry { conditions, ..QueueEntry::new(8, "mug/runs/y".into(), "cpu".into()) };
        for guess in [String::new(), "0".repeat(32)] {
            QueueEntry { token: guess, ..new.clone() }.write(&home).unwrap();
            assert!(begin(&home).unwrap().contains("1 job that waits came"));
            assert_eq!(entry(&home).wanted, Wanted::Run);
            let held = QueueEntry::read(&QueueEntry::path(&home, 8)).unwrap();
            assert_eq!((held.wanted, held.conditions, held.token), (Wanted::Ask, None, token.clone()));
            assert_eq!(begin(&home), None, "said once");
        }
    }

    #[test]
    fn machines_that_serve_a_home_by_turns_do_not_take_each_others_marks() {
        let (_folder, home) = home();
        let own = Mark::of(&home.internal()).unwrap();
        let far = Mark { machine: "far".into(), ..own.clone() };
        write_toml(&home.origin(), &Origin { served: vec![far.clone()], token: "known to that machine".into() })
            .unwrap();
        assert!(begin(&home).is_some(), "a disk of that machine");
        let marks: Origin = read_toml(&home.origin()).unwrap();
        assert_eq!(marks.served, [far, own]);
    }

    #[test]
    fn a_new_home_is_marked_without_a_word_and_a_queue_that_cannot_be_written_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let new = Home::at(folder.path()).unwrap();
        new.make_internal().unwrap();
        assert_eq!(begin(&new), None);
        assert!(new.origin().exists());
        let (_folder, home) = home();
        // In the place of the queue's folder nothing can be read.
        std::fs::remove_dir_all(home.queue()).unwrap();
        std::fs::write(home.queue(), "").unwrap();
        assert!(home.distrust_what_came().is_err() && !home.origin().exists());
    }
}
