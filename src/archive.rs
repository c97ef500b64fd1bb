//! The directory of a zip archive whose entries are stored as they are, as `torch.save` and `concept export` write it (PKWARE's
//! APPNOTE 6.3.9, sections 4.3.7 to 4.3.16). Nothing is unpacked: an entry is a range of bytes of the file.
//!
//! Our own rather than the `zip` crate, which reserves memory by the number of entries that a directory claims to have:
//! one damaged byte in a file of 4 GB can ask for more than there is, which ends the process.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// What an archive starts with.
pub const MAGIC: &[u8] = b"PK\x03\x04";
/// The most entries of an archive: a model has a few thousand tensors, a concept some ten thousand pictures.
pub const MAX_ENTRIES: usize = 100_000;
/// The most bytes of an entry's name.
pub const MAX_NAME: usize = 1024;

/// The most bytes of a directory.
const MAX_DIRECTORY: usize = 32 << 20;
const END: &[u8] = b"PK\x05\x06";
const END_LEN: usize = 22;
const END64: &[u8] = b"PK\x06\x06";
const END64_LEN: usize = 56;
const LOCATOR64: &[u8] = b"PK\x06\x07";
const LOCATOR64_LEN: usize = 20;
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_LEN: usize = 46;
const LOCAL_LEN: usize = 30;
const LONGEST_COMMENT: usize = 0xffff;
/// The bits of a Unix mode that name the kind of a file, and their value for a link.
const KIND: usize = 0o170_000;
const LINK: usize = 0o120_000;

/// One file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where its bytes are.
    pub range: Range<usize>,
    /// CRC-32 of its bytes.
    pub checksum: u32,
    /// Whether it is compressed or encrypted, so that its bytes have to be unpacked.
    pub is_packed: bool,
    /// Whether it is a link.
    pub is_link: bool,
}

/// Where an archive's bytes come from.
pub trait Source {
    /// How many there are.
    fn length(&self) -> io::Result<usize>;
    /// `len` of them from `at` on; none beyond the end.
    fn bytes(&self, at: usize, len: usize) -> Option<Vec<u8>>;
}

impl Source for [u8] {
    fn length(&self) -> io::Result<usize> {
        Ok(self.len())
    }

    fn bytes(&self, at: usize, len: usize) -> Option<Vec<u8>> {
        self.get(at..at.checked_add(len)?).map(<[u8]>::to_vec)
    }
}

impl Source for File {
    fn length(&self) -> io::Result<usize> {
        Ok(usize::try_from(self.metadata()?.len()).unwrap_or(usize::MAX))
    }

    fn bytes(&self, at: usize, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.read_exact_at(&mut bytes, at as u64).ok()?;
        Some(bytes)
    }
}

/// Numbers at an offset, little endian; none beyond the end.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn u16(&self, at: usize) -> Option<usize> {
        self.bytes(at).map(|bytes| usize::from(u16::from_le_bytes(bytes)))
    }

    fn u32(&self, at: usize) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.bytes(at)?)).ok()
    }

    fn u64(&self, at: usize) -> Option<usize> {
        usize::try_from(u64::from_le_bytes(self.bytes(at)?)).ok()
    }
}

/// `len` bytes at `at` that begin with `magic`.
fn record<'a>(bytes: &'a [u8], at: usize, len: usize, magic: &[u8]) -> Option<Fields<'a>> {
    let record = bytes.get(at..at.checked_add(len)?)?;
    record.starts_with(magic).then_some(Fields(record))
}

/// The entries of an archive by name.
///
/// # Errors
/// No archive, or a damaged one; two entries of a name; more or longer names than [`MAX_ENTRIES`] and [`MAX_NAME`].
pub fn entries(archive: &(impl Source + ?Sized)) -> Result<HashMap<String, Entry>, String> {
    let length = archive.length().map_err(|error| error.to_string())?;
    let damaged = || "a zip file with a damaged directory".to_owned();
    let place = directory(archive, length)?;
    if place.count > MAX_ENTRIES || place.range.len() > MAX_DIRECTORY {
        return Err(format!("a zip file of {} entries, where {MAX_ENTRIES} are the most that is read", place.count));
    }
    let directory = archive.bytes(place.range.start, place.range.len()).ok_or_else(damaged)?;
    let mut entries = HashMap::new();
    let (mut at, mut count) = (0, 0);
    while at < directory.len() {
        let (name, entry, len) = entry(archive, &directory, at, place.range.start).ok_or_else(damaged)?;
        if name.len() > MAX_NAME {
            return Err(format!("a zip file with a name of {} bytes, where {MAX_NAME} are the most", name.len()));
        }
        if entries.insert(name.clone(), entry).is_some() {
            return Err(format!("a zip file with two entries {name:?}"));
        }
        (at, count) = (at + len, count + 1);
        if count > place.count {
            return Err(damaged());
        }
    }
    if at != directory.len() || count != place.count {
        return Err(damaged());
    }
    Ok(entries)
}

struct Directory {
    range: Range<usize>,
    count: usize,
}

/// Where the directory is, by the record at the end, or by the 64-bit one before it.
fn directory(archive: &(impl Source + ?Sized), length: usize) -> Result<Directory, String> {
    let cut = || "a zip file without its directory: it is cut short".to_owned();
    let from = length.saturating_sub(END_LEN + LONGEST_COMMENT + LOCATOR64_LEN);
    let tail = archive.bytes(from, length - from).ok_or_else(cut)?;
    let last = tail.len().checked_sub(END_LEN).ok_or_else(cut)?;
    let end_at = (last.saturating_sub(LONGEST_COMMENT)..=last)
        .rev()
        .find(|&at| record(&tail, at, END_LEN, END).and_then(|end| end.u16(20)) == Some(last - at))
        .ok_or_else(cut)?;
    let place = || {
        let end = record(&tail, end_at, END_LEN, END)?;
        let (count, len, start) = (end.u16(10)?, end.u32(12)?, end.u32(16)?);
        let locator = end_at.checked_sub(LOCATOR64_LEN).and_then(|at| record(&tail, at, LOCATOR64_LEN, LOCATOR64));
        let (count, len, start, limit) = match locator {
            Some(locator) => {
                let at = locator.u64(8)?;
                let end64 = archive.bytes(at, END64_LEN)?;
                let end64 = record(&end64, 0, END64_LEN, END64)?;
                (end64.u64(32)?, end64.u64(40)?, end64.u64(48)?, at)
            }
            None => (count, len, start, from + end_at),
        };
        let end = start.checked_add(len)?;
        (end <= limit && limit <= length).then_some(Directory { range: start..end, count })
    };
    place().ok_or_else(|| "a zip file with a damaged directory".to_owned())
}

/// Name, place and directory length of the entry at `at` of the directory; none where it makes no sense.
fn entry(
    archive: &(impl Source + ?Sized),
    directory: &[u8],
    at: usize,
    data_end: usize,
) -> Option<(String, Entry, usize)> {
    let fields = record(directory, at, ENTRY_LEN, ENTRY)?;
    let (flags, method) = (fields.u16(8)?, fields.u16(10)?);
    let checksum = u32::from_le_bytes(fields.bytes(16)?);
    let (mut packed, mut size, mut local) = (fields.u32(20)?, fields.u32(24)?, fields.u32(42)?);
    let (name_len, extra_len, comment_len) = (fields.u16(28)?, fields.u16(30)?, fields.u16(32)?);
    // The upper half of what the system that made it says of the file.
    let mode = fields.u16(40)?;
    let name_at = at + ENTRY_LEN;
    let name = std::str::from_utf8(directory.get(name_at..name_at + name_len)?).ok()?.to_owned();
    let extra = directory.get(name_at + name_len..name_at + name_len + extra_len)?;
    // Sizes beyond 32 bits are in an extra field, in this order.
    let mut wide = 0;
    for value in [&mut size, &mut packed, &mut local] {
        if *value == 0xffff_ffff {
            *value = Fields(extra_field(extra, 1)?).u64(8 * wide)?;
            wide += 1;
        }
    }
    let header = archive.bytes(local, LOCAL_LEN)?;
    let header = record(&header, 0, LOCAL_LEN, MAGIC)?;
    let start = local.checked_add(LOCAL_LEN + header.u16(26)? + header.u16(28)?)?;
    let end = start.checked_add(packed)?;
    let len = ENTRY_LEN + name_len + extra_len + comment_len;
    let is_packed = method != 0 || flags & 1 != 0 || packed != size;
    let entry = Entry { range: start..end, checksum, is_packed, is_link: mode & KIND == LINK };
    (end <= data_end).then_some((name, entry, len))
}

/// The content of the extra field `id`.
fn extra_field(extra: &[u8], id: usize) -> Option<&[u8]> {
    let (mut at, fields) = (0, Fields(extra));
    loop {
        let (found, len) = (fields.u16(at)?, fields.u16(at + 2)?);
        let content = extra.get(at + 4..at + 4 + len)?;
        if found == id {
            return Some(content);
        }
        at += 4 + len;
    }
}
