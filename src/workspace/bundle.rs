//! A concept as one file: a zip archive, uncompressed, of everything in its folder, and last a manifest that says what else is
//! in it. On the way in the files are held to the manifest: their names and sizes before anything is written, their hashes as
//! they are.

mod packed;

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::packed::Archive;
use super::inside::FolderFiles;
use super::{Concept, Error, Links};
use crate::archive::{MAX_ENTRIES, MAX_NAME};
use crate::fs::{NewFile, Show};

/// The manifest's name in an archive.
const MANIFEST: &str = "manifest.toml";
const FORMAT: u32 = 1;
/// The most bytes of a manifest: three hundred for each file that an archive may have.
const MAX_MANIFEST: u64 = 32 << 20;
/// The most bytes of a manifest for each file there is, and besides: the longest name, written with escapes, and a hash.
const MANIFEST_OF_FILE: u64 = 8 << 10;
/// The most brackets of a manifest for each file: four, and the brackets of its name. Each could be a table, which takes fifty times
/// its bytes.
const BRACKETS_OF_FILE: usize = 64;
/// Files of a kind that an error names.
const NAMED: usize = 5;

/// What is in a packed concept.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    /// Version of this layout.
    format: u32,
    /// Version of the program that packed it.
    version: String,
    /// The concept's name.
    concept: String,
    /// Its class word.
    class_word: String,
    /// SHA-256 of its base model, where that was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base_model_sha256: Option<String>,
    /// All files but this one.
    files: Vec<PackedFile>,
}

/// A file of a packed concept.
#[derive(Debug, Serialize, Deserialize)]
struct PackedFile {
    /// From the concept's folder, with `/` between folders.
    path: String,
    /// Its size.
    bytes: u64,
    /// Its hash.
    sha256: String,
}

impl Concept {
    /// Pack it into one file with all that was made from it. `base_model_sha256` is the hash of its base model, where known.
    ///
    /// # Errors
    /// What is no file in its folder, links that lead out unless they are followed, more than an archive takes; the system's.
    pub fn pack(&self, out: &Path, base_model_sha256: Option<String>, links: Links) -> Result<(), Error> {
        let files = FolderFiles::read(&self.folder, links)?;
        // One of an earlier bundle, unpacked by hand.
        let packed = files.files.iter().filter(|(path, _)| path != Path::new(MANIFEST));
        let names: Vec<_> = packed.map(|(path, _)| (path, path.to_string_lossy().into_owned())).collect();
        if names.len() >= MAX_ENTRIES {
            let problem = format!("it has {} files, and {MAX_ENTRIES} are the most of an archive", names.len());
            return Err(Error::invalid(&self.folder, problem, "copy the folder itself, and import that"));
        }
        if let Some((_, long)) = names.iter().find(|(_, name)| name.len() > MAX_NAME) {
            let problem = format!("its path from the concept's folder has over {MAX_NAME} bytes");
            return Err(Error::invalid(&self.folder.join(long), problem, "give it or its folders shorter names"));
        }
        let mut manifest = Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            concept: self.id.clone(),
            class_word: self.file.class_word.clone(),
            base_model_sha256,
            files: Vec::new(),
        };
        let packed = (|| {
            let mut archive = zip::ZipWriter::new(Target { file: NewFile::at(out)?, failed: false });
            // Pictures and weights do not get smaller.
            let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
            let options = options.large_file(true);
            for (from, path) in names {
                archive.start_file(&path, options)?;
                // Of what is packed, whatever becomes of the file meanwhile.
                let mut hashing = Hashing { out: &mut archive, hash: Sha256::new(), bytes: 0 };
                io::copy(&mut files.open(from).map_err(named(from))?, &mut hashing)?;
                let (bytes, sha256) = (hashing.bytes, format!("{:x}", hashing.hash.finalize()));
                manifest.files.push(PackedFile { path, bytes, sha256 });
            }
            archive.start_file(MANIFEST, options)?;
            archive.write_all(toml::to_string_pretty(&manifest).map_err(io::Error::other)?.as_bytes())?;
            archive.finish()?.file.put()
        })();
        packed.map_err(Error::io("write", out))
    }
}

/// What a concept is made of: the files of an archive or of a folder.
trait Source {
    /// Their sizes by their paths.
    fn sizes(&self) -> BTreeMap<PathBuf, u64>;
    /// One of them.
    fn open(&self, name: &Path) -> io::Result<Box<dyn Read + '_>>;
}

/// Write the files of the packed concept in the file `from` to `folder`, held to the manifest among them. The hash of the base
/// model it tells of, if it does. An archive without one is refused unless `unlisted`.
pub(super) fn unpack(from: &Path, folder: &Path, unlisted: bool) -> Result<Option<String>, Error> {
    let archive = Archive::open(from)?;
    check_concept(from, &archive)?;
    if !archive.sizes().contains_key(Path::new(MANIFEST)) && !unlisted {
        let remedy = "export the concept again, or say --unlisted to take the files as they are";
        return Err(Error::invalid(from, format!("there is no {MANIFEST} in it to hold its files to"), remedy));
    }
    take_in(from, &archive, folder)
}

/// Copy what is in the folder `from` to `folder`, held to its manifest where it has one. What that tells as [`unpack`] does.
pub(super) fn copy_folder(from: &Path, folder: &Path, links: Links) -> Result<Option<String>, Error> {
    let files = FolderFiles::read(from, links)?;
    check_concept(from, &files)?;
    take_in(from, &files, folder)
}

/// Copy the files in the folder `from`, which is trusted, and what links in it lead to, to `folder`.
pub(super) fn copy_files(from: &Path, folder: &Path) -> Result<(), Error> {
    take_in(from, &FolderFiles::read(from, Links::Follow)?, folder).map(drop)
}

impl Source for FolderFiles {
    fn sizes(&self) -> BTreeMap<PathBuf, u64> {
        self.files.iter().cloned().collect()
    }

    fn open(&self, name: &Path) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(FolderFiles::open(self, name)?))
    }
}

/// Refuse what is no concept.
fn check_concept(from: &Path, source: &impl Source) -> Result<(), Error> {
    if source.sizes().contains_key(Path::new("concept.toml")) {
        return Ok(());
    }
    let remedy = "give what `catbench concept export` wrote, or the folder that concept.toml is in";
    Err(Error::invalid(from, "there is no concept.toml in it", remedy))
}

/// Write the files of `source`, which is `from`, to `folder`, but for the manifest, which they are held to.
fn take_in(from: &Path, source: &impl Source, folder: &Path) -> Result<Option<String>, Error> {
    let mut sizes = source.sizes();
    let read = |name: &Path| source.open(name).map_err(named(name)).map_err(Error::io("read", from));
    let manifest = match sizes.remove(Path::new(MANIFEST)) {
        Some(bytes) if bytes > MAX_MANIFEST.min(MANIFEST_OF_FILE * (sizes.len() as u64 + 1)) => {
            let problem = format!("its {MANIFEST} has {bytes} bytes, more than {} files need", sizes.len());
            return Err(Error::invalid(from, problem, "export the concept again"));
        }
        Some(_) => {
            let manifest = Manifest::read(from, read(Path::new(MANIFEST))?, sizes.len())?;
            manifest.check_names(from, &sizes)?;
            Some(manifest)
        }
        None => None,
    };
    let hashes: BTreeMap<&Path, &str> =
        manifest.iter().flat_map(|manifest| &manifest.files).map(PackedFile::hash).collect();
    let mut altered = Vec::new();
    for name in sizes.keys() {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        let mut file = read(name)?;
        let written = NewFile::at(&path).and_then(|out| {
            let mut hashing = Hashing { out, hash: Sha256::new(), bytes: 0 };
            io::copy(&mut file, &mut hashing)?;
            hashing.out.put_soon()?;
            Ok(format!("{:x}", hashing.hash.finalize()))
        });
        let hash = written.map_err(Error::io("write", &path))?;
        if hashes.get(name.as_path()).is_some_and(|listed| **listed != *hash) {
            altered.push(name.to_string_lossy().into_owned());
        }
    }
    refuse(from, &[("altered", altered)])?;
    Ok(manifest.and_then(|manifest| manifest.base_model_sha256))
}

impl PackedFile {
    fn hash(&self) -> (&Path, &str) {
        (Path::new(&self.path), &self.sha256)
    }
}

impl Manifest {
    /// The manifest of `from` in `file`, beside which there are `files`.
    fn read(from: &Path, file: impl Read, files: usize) -> Result<Self, Error> {
        let damaged = |cause: &dyn std::fmt::Display| {
            let problem = format!("its {MANIFEST} is damaged ({cause})");
            Error::invalid(from, problem, "export the concept again")
        };
        let text = io::read_to_string(file.take(MAX_MANIFEST)).map_err(|error| damaged(&error))?;
        if text.bytes().filter(|byte| b"[{".contains(byte)).count() > BRACKETS_OF_FILE * (files + 1) {
            return Err(damaged(&"it is no list of files"));
        }
        // Of any version, so that a newer one is told from a damaged one.
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| damaged(&error.message()))?;
        let format = table.get("format").and_then(toml::Value::as_integer);
        if let Some(format) = format.filter(|&format| format != i64::from(FORMAT)) {
            let problem = format!("its {MANIFEST} has format {format}, this program reads {FORMAT}");
            return Err(Error::invalid(from, problem, "import it with a newer catbench"));
        }
        table.try_into().map_err(|error: toml::de::Error| damaged(&error.message()))
    }

    /// Refuse other files than those that are listed, or of other sizes.
    fn check_names(&self, from: &Path, found: &BTreeMap<PathBuf, u64>) -> Result<(), Error> {
        let mut unlisted = found.clone();
        let (mut missing, mut altered) = (Vec::new(), Vec::new());
        for listed in &self.files {
            match unlisted.remove(Path::new(&listed.path)) {
                None => missing.push(listed.path.clone()),
                Some(bytes) if bytes != listed.bytes => altered.push(listed.path.clone()),
                Some(_) => {}
            }
        }
        let unlisted = unlisted.into_keys().map(|path| path.to_string_lossy().into_owned()).collect();
        refuse(from, &[("missing", missing), ("altered", altered), ("not listed", unlisted)])
    }
}

/// Refuse what is not as its manifest says, if any is.
fn refuse(from: &Path, kinds: &[(&str, Vec<String>)]) -> Result<(), Error> {
    let told: Vec<String> = kinds.iter().filter_map(|(what, paths)| told(what, paths)).collect();
    if told.is_empty() {
        return Ok(());
    }
    let remedy = if from.is_dir() {
        format!("export the concept again, or remove {MANIFEST} to take it as it is")
    } else {
        "export the concept again".into()
    };
    Err(Error::invalid(from, format!("it is not as its {MANIFEST} says: {}", told.join("; ")), remedy))
}

/// An error of the file `name` among others.
fn named(name: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", name.shown()))
}

/// Which files are `what`, the first of them by name.
fn told(what: &str, paths: &[String]) -> Option<String> {
    let more = paths.len().saturating_sub(NAMED);
    let named: Vec<String> = paths.iter().take(NAMED).map(|path| format!("{path:?}")).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!paths.is_empty()).then(|| format!("{what}: {}{more}", named.join(", ")))
}

/// Hashes what it writes.
struct Hashing<W> {
    out: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The file an archive is written to. Once it has failed, what follows goes nowhere: the archive's writer would try again
/// when it is dropped, and print that it failed.
struct Target {
    file: NewFile,
    failed: bool,
}

impl Target {
    fn tell<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        self.failed |= done.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
        done
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed {
            return Ok(bytes.len());
        }
        let written = self.file.write(bytes);
        self.tell(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Target {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        if self.failed {
            return Ok(0);
        }
        let at = self.file.seek(to);
        self.tell(at)
    }
}
