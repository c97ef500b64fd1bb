//! The files of an archive, read where they lie in it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use flate2::Crc;

use super::Source;
use crate::archive::{self, Entry};
use crate::workspace::Error;
use crate::workspace::inside::MAX_DEPTH;

/// The most folders of an archive. Each takes a block of the disk: a run has eight.
const MAX_FOLDERS: usize = 50_000;

/// The most bytes of one part of a path, on all file systems that are common.
const LONGEST_PART: usize = 255;

/// A packed concept, whose entries all are files that can be written below a folder.
pub(super) struct Archive {
    file: File,
    files: HashMap<String, Entry>,
}

impl Archive {
    /// Open the one at `path`.
    ///
    /// # Errors
    /// No archive, or one of more than a concept has; entries that lead out, are links or compressed, or that are more bytes than
    /// there are.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let wrong = |error: String| {
            Error::invalid(path, format!("this is no packed concept ({error})"), "`catbench concept export` makes one")
        };
        let file = crate::fs::open(path).map_err(Error::io("read", path))?;
        let length = file.metadata().map_err(Error::io("read", path))?.len();
        let mut files = archive::entries(&file).map_err(wrong)?;
        for (name, entry) in &files {
            check(path, name, entry)?;
        }
        let mut folders = HashSet::new();
        for name in files.keys() {
            folders.extend(name.match_indices('/').map(|(end, _)| &name[..end]));
            if folders.len() > MAX_FOLDERS {
                let problem = format!("it has more than {MAX_FOLDERS} folders");
                return Err(Error::invalid(path, problem, "it was made to fill the disk: do not trust it"));
            }
        }
        // Entries that lie over each other would come to more than there is: nothing is written of those.
        if files.values().map(|entry| entry.range.len() as u64).fold(0, u64::saturating_add) > length {
            let problem = format!("its files are said to be more than its own {length} bytes");
            return Err(Error::invalid(path, problem, "it was made to fill the disk: do not trust it"));
        }
        files.retain(|name, _| !name.ends_with('/'));
        Ok(Self { file, files })
    }
}

/// Refuse an entry that is no file below a folder.
fn check(archive: &Path, name: &str, entry: &Entry) -> Result<(), Error> {
    let refuse = |problem: String, remedy: &str| Err(Error::invalid(archive, problem, remedy));
    let parts: Vec<&str> = name.strip_suffix('/').unwrap_or(name).split('/').collect();
    if parts.iter().any(|part| ["", ".", ".."].contains(part) || part.contains('\0')) {
        return refuse(format!("it would write to {name:?}, outside of its folder"), "do not trust it");
    }
    if parts.len() > MAX_DEPTH || parts.iter().any(|part| part.len() > LONGEST_PART) {
        let problem = format!("{name:?} in it is in too many folders, or its name is too long");
        return refuse(problem, "give it a shorter name, and pack it again");
    }
    if entry.is_link {
        let problem = format!("{name:?} in it is a link, which leads out of it");
        return refuse(problem, "pack what it leads to: `catbench concept export --follow-links` does");
    }
    if entry.is_packed {
        return refuse(format!("{name:?} in it is compressed or encrypted"), "unpack it, and import the folder");
    }
    Ok(())
}

impl Source for Archive {
    fn sizes(&self) -> BTreeMap<PathBuf, u64> {
        self.files.iter().map(|(name, entry)| (PathBuf::from(name), entry.range.len() as u64)).collect()
    }

    fn open(&self, name: &Path) -> io::Result<Box<dyn Read + '_>> {
        let Entry { range, checksum, .. } =
            name.to_str().and_then(|name| self.files.get(name)).ok_or(io::ErrorKind::NotFound)?.clone();
        Ok(Box::new(Piece { file: &self.file, range, crc: Crc::new(), checksum }))
    }
}

/// The bytes of one entry. At their end they are held to their checksum.
struct Piece<'a> {
    file: &'a File,
    /// Those that are left.
    range: Range<usize>,
    crc: Crc,
    checksum: u32,
}

impl Read for Piece<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let wanted = bytes.len().min(self.range.len());
        let read = self.file.read_at(&mut bytes[..wanted], self.range.start as u64)?;
        if read == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.crc.update(&bytes[..read]);
        self.range.start += read;
        if self.range.is_empty() && self.crc.sum() != self.checksum {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is damaged: its checksum does not fit"));
        }
        Ok(read)
    }
}
