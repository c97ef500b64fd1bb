//! The directory of a zip file whose entries are stored as they are, as `torch.save` writes it (PKWARE's APPNOTE 6.3.9,
//! sections 4.3.7 to 4.3.16). Nothing is unpacked or copied: an entry is a range of bytes of the file.
//!
//! Our own rather than the `zip` crate, which reserves memory by the number of entries that a directory claims to have:
//! one damaged byte in a file of 4 GB can ask for more than there is, which ends the process.

use std::collections::HashMap;
use std::ops::Range;

/// What a zip file starts with.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";

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

/// One file in the zip.
pub(super) struct Entry {
    /// Where its bytes are.
    pub range: Range<usize>,
    /// CRC-32 of its bytes.
    pub checksum: u32,
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

/// The entries of a zip file by name.
pub(super) fn entries(bytes: &[u8]) -> Result<HashMap<String, Entry>, String> {
    let cut = || "a zip file without its directory: it is cut short".to_owned();
    let last = bytes.len().checked_sub(END_LEN).ok_or_else(cut)?;
    let end_at = (last.saturating_sub(LONGEST_COMMENT)..=last)
        .rev()
        .find(|&at| record(bytes, at, END_LEN, END).and_then(|end| end.u16(20)) == Some(last - at))
        .ok_or_else(cut)?;
    let damaged = || "a zip file with a damaged directory".to_owned();
    let directory = directory(bytes, end_at).ok_or_else(damaged)?;

    let mut entries = HashMap::new();
    let (mut at, mut count) = (directory.range.start, 0);
    while at < directory.range.end {
        let fields = record(bytes, at, ENTRY_LEN, ENTRY).ok_or_else(damaged)?;
        let (name, entry, len) = entry(bytes, at, &fields, directory.range.start).ok_or_else(damaged)??;
        if entries.insert(name.clone(), entry).is_some() {
            return Err(format!("a zip file with two entries {name:?}"));
        }
        (at, count) = (at + len, count + 1);
    }
    if at != directory.range.end || count != directory.count {
        return Err(damaged());
    }
    Ok(entries)
}

struct Directory {
    range: Range<usize>,
    count: usize,
}

/// Where the directory is, by the record at `end_at`, or by the 64-bit one before it.
fn directory(bytes: &[u8], end_at: usize) -> Option<Directory> {
    let end = record(bytes, end_at, END_LEN, END)?;
    let (count, len, start) = (end.u16(10)?, end.u32(12)?, end.u32(16)?);
    let locator = end_at.checked_sub(LOCATOR64_LEN).and_then(|at| record(bytes, at, LOCATOR64_LEN, LOCATOR64));
    let (count, len, start, limit) = match locator {
        Some(locator) => {
            let at = locator.u64(8)?;
            let end64 = record(bytes, at, END64_LEN, END64)?;
            (end64.u64(32)?, end64.u64(40)?, end64.u64(48)?, at)
        }
        None => (count, len, start, end_at),
    };
    let end = start.checked_add(len)?;
    (end <= limit).then_some(Directory { range: start..end, count })
}

/// Name, place and directory length of an entry, or what torch.save would not have written.
type Found = Result<(String, Entry, usize), String>;

/// The entry whose `fields` are at `at`; none where they make no sense.
fn entry(bytes: &[u8], at: usize, fields: &Fields<'_>, data_end: usize) -> Option<Found> {
    let (flags, method) = (fields.u16(8)?, fields.u16(10)?);
    let checksum = u32::from_le_bytes(fields.bytes(16)?);
    let (mut packed, mut size, mut local) = (fields.u32(20)?, fields.u32(24)?, fields.u32(42)?);
    let (name_len, extra_len, comment_len) = (fields.u16(28)?, fields.u16(30)?, fields.u16(32)?);
    let name_at = at + ENTRY_LEN;
    let name = std::str::from_utf8(bytes.get(name_at..name_at + name_len)?).ok()?.to_owned();
    let extra = bytes.get(name_at + name_len..name_at + name_len + extra_len)?;
    // Sizes beyond 32 bits are in an extra field, in this order.
    let mut wide = 0;
    for value in [&mut size, &mut packed, &mut local] {
        if *value == 0xffff_ffff {
            *value = Fields(extra_field(extra, 1)?).u64(8 * wide)?;
            wide += 1;
        }
    }
    if method != 0 || flags & 1 != 0 || packed != size {
        return Some(Err(format!("{name} is compressed or encrypted in the zip, which torch.save never does")));
    }
    let header = record(bytes, local, LOCAL_LEN, MAGIC)?;
    let start = local.checked_add(LOCAL_LEN + header.u16(26)? + header.u16(28)?)?;
    let end = start.checked_add(size)?;
    let len = ENTRY_LEN + name_len + extra_len + comment_len;
    (end <= data_end).then_some(Ok((name, Entry { range: start..end, checksum }, len)))
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
