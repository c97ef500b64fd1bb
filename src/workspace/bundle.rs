//! A concept as one file: a zip archive, uncompressed, of everything in its folder, and last a manifest that says what else is
//! in it. On the way in every file is held to the manifest.

use crate::fs::{NewFile, Show};
use std::collections::BTreeMap;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::library::copy;
use super::{Concept, Error};

/// The manifest's name in an archive.
const MANIFEST: &str = "manifest.toml";
const FORMAT: u32 = 1;
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
    pub fn pack(&self, out: &Path, base_model_sha256: Option<String>) -> Result<(), Error> {
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
            for (path, from) in concept_files(&self.folder)? {
                // One of an earlier bundle, unpacked by hand.
                if path == MANIFEST {
                    continue;
                }
                archive.start_file(&path, options)?;
                // Of what is packed, whatever becomes of the file meanwhile.
                let mut hashing = Hashing { out: &mut archive, hash: Sha256::new(), bytes: 0 };
                io::copy(&mut crate::fs::open(&from)?, &mut hashing)?;
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

/// Hold the files in `folder`, which are those of `from`, to the manifest among them, and take it away. The hash of the base
/// model it tells of, if it does. A concept's own folder has none; an archive without one is refused unless `unlisted`.
pub(super) fn check_manifest(from: &Path, folder: &Path, unlisted: bool) -> Result<Option<String>, Error> {
    let path = folder.join(MANIFEST);
    if !path.is_file() {
        if from.is_dir() || unlisted {
            return Ok(None);
        }
        let remedy = "export the concept again, or say --unlisted to take the files as they are";
        return Err(Error::invalid(from, format!("there is no {MANIFEST} in it to hold its files to"), remedy));
    }
    let text = crate::fs::read_text(&path, crate::fs::LINES).map_err(Error::io("read", &path))?;
    let damaged = |cause: &dyn std::fmt::Display| {
        let problem = format!("its {MANIFEST} is damaged ({cause})");
        Error::invalid(from, problem, "export the concept again")
    };
    // Of any version, so that a newer one is told from a damaged one.
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| damaged(&error.message()))?;
    if let Some(format) = table.get("format").and_then(toml::Value::as_integer).filter(|&it| it != i64::from(FORMAT)) {
        let problem = format!("its {MANIFEST} has format {format}, this program reads {FORMAT}");
        return Err(Error::invalid(from, problem, "import it with a newer catbench"));
    }
    let manifest: Manifest = toml::from_str(&text).map_err(|error| damaged(&error.message()))?;
    std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
    let mut found: BTreeMap<String, PathBuf> =
        files(folder, Path::new("")).map_err(Error::io("read", folder))?.into_iter().collect();
    let (mut missing, mut altered) = (Vec::new(), Vec::new());
    for listed in manifest.files {
        let Some(path) = found.remove(&listed.path) else {
            missing.push(listed.path);
            continue;
        };
        let bytes = std::fs::metadata(&path).map_err(Error::io("read", &path))?.len();
        if bytes != listed.bytes || crate::fs::sha256(&path).map_err(Error::io("read", &path))? != listed.sha256 {
            altered.push(listed.path);
        }
    }
    let unlisted: Vec<String> = found.into_keys().collect();
    let kinds = [("missing", missing), ("altered", altered), ("not listed", unlisted)];
    let told: Vec<String> = kinds.iter().filter_map(|(what, paths)| told(what, paths)).collect();
    if told.is_empty() {
        return Ok(manifest.base_model_sha256);
    }
    let remedy = if from.is_dir() {
        format!("export the concept again, or remove {MANIFEST} to take it as it is")
    } else {
        "export the concept again".into()
    };
    Err(Error::invalid(from, format!("it is not as its {MANIFEST} says: {}", told.join("; ")), remedy))
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

/// All files under `folder`, with their names from there, also those behind links.
fn files(folder: &Path, from: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder.join(from))? {
        let entry = entry?;
        let name = from.join(entry.file_name());
        let kind = std::fs::metadata(entry.path())
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", entry.path().shown())))?;
        if kind.is_dir() {
            found.extend(files(folder, &name)?);
        } else if kind.is_file() {
            found.push((name.to_string_lossy().into_owned(), entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// The files of the concept in `folder`: all but what belongs to a process.
fn concept_files(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = files(folder, Path::new(""))?;
    found.retain(|(_, path)| {
        let name = path.file_name().unwrap_or_default();
        name != "runner.lock" && !name.to_string_lossy().starts_with('.')
    });
    Ok(found)
}

/// Write the files of a packed concept to `folder`.
pub(super) fn unpack(archive: &Path, folder: &Path) -> Result<(), Error> {
    let wrong = |error: zip::result::ZipError| {
        Error::invalid(archive, format!("this is no packed concept ({error})"), "`catbench concept export` makes one")
    };
    let file = crate::fs::open(archive).map_err(Error::io("read", archive))?;
    let mut archive_files = zip::ZipArchive::new(file).map_err(wrong)?;
    // Entries that lie over each other would come to more than there is: nothing is written of those.
    let length = std::fs::metadata(archive).map_err(Error::io("read", archive))?.len();
    let mut sum = 0u64;
    for i in 0..archive_files.len() {
        let file = archive_files.by_index_raw(i).map_err(wrong)?;
        sum = sum.saturating_add(file.size().max(file.compressed_size()));
        if file.compression() == zip::CompressionMethod::Stored && sum > length {
            let problem = format!("its files are said to be more than its own {length} bytes");
            return Err(Error::invalid(archive, problem, "it was made to fill the disk: do not trust it"));
        }
    }
    for i in 0..archive_files.len() {
        let mut file = archive_files.by_index(i).map_err(wrong)?;
        let Some(name) = file.enclosed_name() else {
            let name = String::from_utf8_lossy(file.name_raw()).into_owned();
            let problem = format!("it would write to {name:?}, outside of its folder");
            return Err(Error::invalid(archive, problem, "do not trust it"));
        };
        if file.is_symlink() {
            let problem = format!("{} in it is a link, which leads out of it", name.shown());
            return Err(Error::invalid(archive, problem, "pack the file itself: `catbench concept export` does"));
        }
        if file.compression() != zip::CompressionMethod::Stored {
            let problem = format!("{} in it is compressed ({})", name.shown(), file.compression());
            return Err(Error::invalid(archive, problem, "unpack it, and import the folder"));
        }
        if file.is_file() {
            let path = folder.join(name);
            let parent = path.parent().unwrap_or(folder);
            std::fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
            let written = NewFile::at(&path).and_then(|mut out| {
                io::copy(&mut file, &mut out)?;
                out.put_soon()
            });
            written.map_err(Error::io("write", &path))?;
        }
    }
    Ok(())
}

/// Copy what is in the folder `from`.
pub(super) fn copy_folder(from: &Path, to: &Path) -> Result<(), Error> {
    for (name, path) in concept_files(from).map_err(Error::io("read", from))? {
        let target = to.join(name);
        copy(&path, target.parent().unwrap_or(to))?;
    }
    Ok(())
}
