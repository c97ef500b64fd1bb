//! A fast index over the files of a home: sled behind typed trees. It holds nothing that is not in the files, so it is
//! made anew whenever it does not open, is of another schema or is asked to be. Only the daemon opens it; sled allows one
//! process.
//!
//! Keys are the parts of a name with a zero byte after each, numbers big-endian, so that what belongs together lies
//! together and in order. Values are JSON after one byte that says their version.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::os::unix::fs::PermissionsExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::fs::Show;
use crate::json;
use crate::protocol::{CheckpointRecord, ConceptRecord, FileRecord, JobKind, RunRecord, SampleRecord, Scores};

/// Raised when trees, keys or fields of records change their meaning or their name.
const SCHEMA: &[u8] = b"4";
/// The version of the records that this program writes.
const VERSION: u8 = 1;
/// What sled may keep in memory, in bytes.
const CACHE: u64 = 16 << 20;
/// For how long another process may hold the store: a daemon that was stopped still writes what it knows.
const LOCKED: Duration = Duration::from_secs(5);

/// What can be wrong with the store. None of it loses anything: the files hold it all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// sled.
    #[error("{}: {source}", path.shown())]
    Sled {
        /// The store's folder.
        path: PathBuf,
        /// What it says.
        source: sled::Error,
    },
    /// sled broke on what is in its files.
    #[error("{}: its files are damaged", .0.shown())]
    Damaged(PathBuf),
    /// Written by a program that keeps other things.
    #[error("{}: of another schema", .0.shown())]
    Schema(PathBuf),
    /// A record that cannot be read.
    #[error("a record in {tree} cannot be read")]
    Record {
        /// Which tree.
        tree: &'static str,
    },
    /// A damaged store could not be put aside.
    #[error("{}: cannot put it aside: {}", path.shown(), crate::fs::why(path, source))]
    Aside {
        /// The store's folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether the store itself is to blame, and not the disk it is on or another process that has it open.
    fn is_damage(&self) -> bool {
        match self {
            Self::Sled { source: sled::Error::Io(_), .. } | Self::Aside { .. } => false,
            Self::Sled { .. } | Self::Damaged(_) | Self::Schema(_) | Self::Record { .. } => true,
        }
    }
}

/// A job whose files have been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// What kind of job it is.
    pub kind: JobKind,
    /// What told its files from others when they were read.
    pub fingerprint: String,
    /// When its events, and the masks of its samples, had changed last by then.
    pub changed: jiff::Timestamp,
    /// When a mask of its samples had come or gone last, by the time that they were looked at.
    #[serde(default)]
    pub masks: Option<jiff::Timestamp>,
}

/// All trees.
pub struct Store {
    db: sled::Db,
    path: PathBuf,
    /// By concept.
    pub concepts: Tree<ConceptRecord>,
    /// By tag and concept.
    pub tags: Tree<()>,
    /// Free text, by concept.
    pub notes: Tree<String>,
    /// The user's ratings of a concept's pictures, by concept.
    pub ratings: Tree<BTreeMap<String, u8>>,
    /// By concept and file.
    pub photos: Tree<FileRecord>,
    /// By concept and file.
    pub masks: Tree<FileRecord>,
    /// Prompt lists and lists of words, by concept and file.
    pub prompts: Tree<FileRecord>,
    /// By concept and run.
    pub runs: Tree<RunRecord>,
    /// By concept, run and step.
    pub checkpoints: Tree<CheckpointRecord>,
    /// By concept, job folder and number.
    pub samples: Tree<SampleRecord>,
    /// By concept, job folder and side: 0 before, 1 after.
    pub scores: Tree<Scores>,
    /// By concept and job folder: as what is indexed was read.
    pub jobs: Tree<JobRecord>,
    /// By concept and job folder, also of a run's scoring: what its settings file says, with its defaults.
    pub settings: Tree<serde_json::Value>,
}

impl Store {
    /// Open the store at `path`, or begin one. One that is damaged is put aside, beside it, and told of.
    ///
    /// # Errors
    /// The disk cannot be read or written: then the store is left as it is, and may be opened later.
    pub fn open(path: &Path) -> Result<(Self, Option<String>), Error> {
        let problem = match Self::open_whole(path) {
            Ok(store) => return Ok((store, None)),
            Err(problem) if !problem.is_damage() => return Err(problem),
            Err(problem) => problem,
        };
        let now = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S%.6f");
        let aside = path.with_extension(format!("broken-{now}"));
        let aside_error = |source| Error::Aside { path: path.to_owned(), source };
        std::fs::rename(path, &aside).map_err(aside_error)?;
        match Self::open_whole(path) {
            Ok(store) => Ok((
                store,
                Some(format!("the store could not be used ({problem}): put aside as {} and rebuilt", aside.shown())),
            )),
            // A new one cannot be used either, so it may have been the disk all along.
            Err(error) => {
                std::fs::remove_dir_all(path).and_then(|()| std::fs::rename(&aside, path)).map_err(aside_error)?;
                Err(error)
            }
        }
    }

    /// Open it, and read every record once.
    fn open_whole(path: &Path) -> Result<Self, Error> {
        // sled panics on some damage.
        let opened = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let store = Self::open_as_it_is(path)?;
            store.verify()?;
            Ok(store)
        }));
        opened.unwrap_or_else(|_| Err(Error::Damaged(path.to_owned())))
    }

    fn open_as_it_is(path: &Path) -> Result<Self, Error> {
        let wrong = |source| Error::Sled { path: path.to_owned(), source };
        // sled makes them with all above them, also where that was removed with the home just now.
        let home = path.parent().unwrap_or(path);
        crate::fs::create_below(home, &path.join("blobs")).map_err(|error| wrong(error.into()))?;
        let open = || sled::Config::new().path(path).cache_capacity(CACHE).open();
        let is_locked = |error: &sled::Error| error.to_string().contains("could not acquire lock");
        let deadline = Instant::now() + LOCKED;
        let mut opened = open();
        while opened.as_ref().is_err_and(is_locked) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
            opened = open();
        }
        let db = opened.map_err(wrong)?;
        close_to_others(path).map_err(|error| wrong(error.into()))?;
        match db.get("schema").map_err(wrong)? {
            Some(schema) if schema != SCHEMA => return Err(Error::Schema(path.to_owned())),
            Some(_) => {}
            None => drop(db.insert("schema", SCHEMA).map_err(wrong)?),
        }
        Ok(Self {
            concepts: Tree::open(&db, "concepts", path)?,
            tags: Tree::open(&db, "tags", path)?,
            notes: Tree::open(&db, "notes", path)?,
            ratings: Tree::open(&db, "ratings", path)?,
            photos: Tree::open(&db, "photos", path)?,
            masks: Tree::open(&db, "masks", path)?,
            prompts: Tree::open(&db, "prompts", path)?,
            runs: Tree::open(&db, "runs", path)?,
            checkpoints: Tree::open(&db, "checkpoints", path)?,
            samples: Tree::open(&db, "samples", path)?,
            scores: Tree::open(&db, "scores", path)?,
            jobs: Tree::open(&db, "jobs", path)?,
            settings: Tree::open(&db, "settings", path)?,
            path: path.to_owned(),
            db,
        })
    }

    /// The trees whose keys begin with a concept: all but the tags.
    fn by_concept(&self) -> [&dyn Records; 12] {
        [
            &self.concepts,
            &self.notes,
            &self.ratings,
            &self.photos,
            &self.masks,
            &self.prompts,
            &self.runs,
            &self.checkpoints,
            &self.samples,
            &self.scores,
            &self.jobs,
            &self.settings,
        ]
    }

    fn trees(&self) -> impl Iterator<Item = &dyn Records> {
        self.by_concept().into_iter().chain([&self.tags as &dyn Records])
    }

    fn verify(&self) -> Result<(), Error> {
        self.trees().try_for_each(Records::verify)
    }

    /// Forget everything.
    pub fn clear(&self) -> Result<(), Error> {
        self.trees().try_for_each(|tree| tree.remove_under(b""))
    }

    /// Forget a concept.
    pub fn remove_concept(&self, concept: &str) -> Result<(), Error> {
        let key = key(&[concept]);
        if let Some(record) = self.concepts.get(&key)? {
            for tag in &record.tags {
                self.tags.remove(&self::key(&[tag, concept]))?;
            }
        }
        self.by_concept().into_iter().try_for_each(|tree| tree.remove_under(&key))
    }

    /// Wait until all is on disk.
    pub fn flush(&self) -> Result<(), Error> {
        self.db.flush().map(drop).map_err(|source| Error::Sled { path: self.path.clone(), source })
    }
}

/// Close the folder at `path` to others, and what sled has made in it, which asks for no mode of its own.
fn close_to_others(path: &Path) -> std::io::Result<()> {
    let inside = std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path()));
    for path in inside.chain([Ok(path.to_owned())]) {
        let path = path?;
        let found = path.symlink_metadata()?;
        let mode = if found.is_dir() { 0o700 } else { 0o600 };
        if !found.is_symlink() && found.permissions().mode() & 0o077 != 0 {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

/// A key of these parts, which hold no zero byte.
pub fn key(parts: &[&str]) -> Vec<u8> {
    let mut key = Vec::new();
    for part in parts {
        key.extend_from_slice(part.as_bytes());
        key.push(0);
    }
    key
}

/// A key of these parts and a number.
pub fn numbered(parts: &[&str], number: u64) -> Vec<u8> {
    let mut key = key(parts);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// What is done to all trees alike.
trait Records {
    /// Read every record once.
    fn verify(&self) -> Result<(), Error>;
    /// Forget all records whose keys begin with `prefix`.
    fn remove_under(&self, prefix: &[u8]) -> Result<(), Error>;
}

/// Records of one kind.
pub struct Tree<V> {
    records: sled::Tree,
    name: &'static str,
    path: PathBuf,
    kind: PhantomData<fn() -> V>,
}

impl<V: Serialize + DeserializeOwned> Tree<V> {
    fn open(db: &sled::Db, name: &'static str, path: &Path) -> Result<Self, Error> {
        let records = db.open_tree(name).map_err(|source| Error::Sled { path: path.to_owned(), source })?;
        Ok(Self { records, name, path: path.to_owned(), kind: PhantomData })
    }

    fn wrong(&self, source: sled::Error) -> Error {
        Error::Sled { path: self.path.clone(), source }
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, Error> {
        let record = bytes.split_first().filter(|(version, _)| **version == VERSION);
        let record = record.and_then(|(_, json)| serde_json::from_slice(json).ok());
        record.ok_or(Error::Record { tree: self.name })
    }

    /// The record at `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<V>, Error> {
        let found = self.records.get(key).map_err(|source| self.wrong(source))?;
        found.map(|bytes| self.decode(&bytes)).transpose()
    }

    /// Put a record at `key`.
    pub fn insert(&self, key: &[u8], record: &V) -> Result<(), Error> {
        let mut bytes = vec![VERSION];
        bytes.extend(json::to_vec(record).map_err(|_| Error::Record { tree: self.name })?);
        self.records.insert(key, bytes).map(drop).map_err(|source| self.wrong(source))
    }

    /// Forget the record at `key`.
    pub fn remove(&self, key: &[u8]) -> Result<(), Error> {
        self.records.remove(key).map(drop).map_err(|source| self.wrong(source))
    }

    /// Forget all records whose keys begin with `prefix`.
    pub fn remove_under(&self, prefix: &[u8]) -> Result<(), Error> {
        for key in self.records.scan_prefix(prefix).keys() {
            let key = key.map_err(|source| self.wrong(source))?;
            self.records.remove(key).map_err(|source| self.wrong(source))?;
        }
        Ok(())
    }

    /// The last record whose key begins with `prefix`.
    pub fn last_under(&self, prefix: &[u8]) -> Result<Option<V>, Error> {
        let last = self.records.scan_prefix(prefix).next_back().transpose().map_err(|source| self.wrong(source))?;
        last.map(|(_, bytes)| self.decode(&bytes)).transpose()
    }

    /// All records whose keys begin with `prefix`, with their keys, in the order of these.
    pub fn entries_under(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, V)>, Error> {
        let entry = |found: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, bytes) = found.map_err(|source| self.wrong(source))?;
            Ok((key.to_vec(), self.decode(&bytes)?))
        };
        self.records.scan_prefix(prefix).map(entry).collect()
    }

    /// All records whose keys begin with `prefix`, in the order of their keys.
    pub fn under(&self, prefix: &[u8]) -> Result<Vec<V>, Error>
    where
        V: Send + Sync,
    {
        let found = self.records.scan_prefix(prefix).values();
        let found = found.collect::<Result<Vec<_>, _>>().map_err(|source| self.wrong(source))?;
        // To decode thousands takes longer than to fetch them.
        found.par_iter().with_min_len(256).map(|bytes| self.decode(bytes)).collect()
    }

    /// The last part of all keys that begin with `prefix`.
    pub fn names_under(&self, prefix: &[u8]) -> Result<Vec<String>, Error> {
        let keys = self.records.scan_prefix(prefix).keys();
        keys.map(|key| {
            let key = key.map_err(|source| self.wrong(source))?;
            let last = key.strip_suffix(b"\0").unwrap_or(&key).rsplit(|&byte| byte == 0).next().unwrap_or_default();
            Ok(String::from_utf8_lossy(last).into_owned())
        })
        .collect()
    }

    /// How many records there are whose keys begin with `prefix`.
    pub fn count_under(&self, prefix: &[u8]) -> usize {
        self.records.scan_prefix(prefix).keys().count()
    }
}

impl<V: Serialize + DeserializeOwned> Records for Tree<V> {
    fn verify(&self) -> Result<(), Error> {
        for record in self.records.iter().values() {
            self.decode(&record.map_err(|source| self.wrong(source))?)?;
        }
        Ok(())
    }

    fn remove_under(&self, prefix: &[u8]) -> Result<(), Error> {
        Tree::remove_under(self, prefix)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn photo(name: &str) -> FileRecord {
        FileRecord { name: name.into(), bytes: 7, whole: true, modified: None, confidence: None }
    }

    #[test]
    fn records_of_one_concept_lie_together_and_numbers_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let (store, told) = Store::open(&folder.path().join("store")).unwrap();
        assert_eq!(told, None);
        for (concept, name) in [("mug", "b"), ("mugs", "x"), ("mug", "a")] {
            store.photos.insert(&key(&[concept, name]), &photo(name)).unwrap();
        }
        assert_eq!(store.photos.under(&key(&["mug"])).unwrap(), [photo("a"), photo("b")]);
        for step in [300, 20, 1000] {
            let checkpoint = CheckpointRecord { step, path: "x".into() };
            store.checkpoints.insert(&numbered(&["mug", "run"], step as u64), &checkpoint).unwrap();
        }
        let steps: Vec<usize> = store.checkpoints.under(&key(&["mug"])).unwrap().iter().map(|c| c.step).collect();
        assert_eq!(steps, [20, 300, 1000]);
        store.remove_concept("mug").unwrap();
        assert_eq!((store.photos.count_under(b""), store.checkpoints.count_under(b"")), (1, 0));
    }

    #[test]
    fn records_of_a_program_that_knew_nothing_of_masks_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&folder.path().join("store")).unwrap();
        let old = [
            ("jobs", r#"{"kind":"sample","fingerprint":"x","changed":"2026-11-23T13:45:01Z"}"#),
            ("samples", r#"{"path":"a","prompt":"b","seed":1,"step":2,"learned":true,"rating":null}"#),
            ("masks", r#"{"name":"a.png","bytes":7,"whole":true,"modified":null}"#),
        ];
        for (tree, record) in old {
            store.db.open_tree(tree).unwrap().insert("a", [&[VERSION], record.as_bytes()].concat()).unwrap();
        }
        assert_eq!(store.jobs.get(b"a").unwrap().unwrap().masks, None);
        assert_eq!(store.samples.get(b"a").unwrap().unwrap().mask, None);
        assert_eq!(store.masks.get(b"a").unwrap().unwrap().confidence, None);
    }

    #[test]
    fn a_store_of_another_schema_or_version_or_of_garbage_is_put_aside() {
        type Spoil = fn(&Path);
        // What has dropped it may hold it for a moment more.
        fn open(path: &Path) -> sled::Db {
            let deadline = Instant::now() + LOCKED;
            loop {
                match sled::open(path) {
                    Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                    opened => return opened.unwrap(),
                }
            }
        }
        let spoils: [Spoil; 3] = [
            |path| drop(open(path).insert("schema", "99").unwrap()),
            |path| drop(open(path).open_tree("photos").unwrap().insert("a", b"\x63{}").unwrap()),
            |path| {
                for file in std::fs::read_dir(path).unwrap().map(|file| file.unwrap().path()) {
                    if file.is_file() {
                        let length = std::fs::metadata(&file).unwrap().len() as usize;
                        std::fs::write(&file, vec![0xa5; length.clamp(64, 4096)]).unwrap();
                    }
                }
            },
        ];
        for spoil in spoils {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("store");
            let (store, _) = Store::open(&path).unwrap();
            store.photos.insert(b"a", &photo("a")).unwrap();
            store.flush().unwrap();
            drop(store);
            spoil(&path);
            let (store, told) = Store::open(&path).unwrap();
            assert!(told.unwrap().contains("put aside as"));
            assert_eq!(store.photos.count_under(b""), 0);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "the old one is kept");
        }
    }
}
