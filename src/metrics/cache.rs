//! Embeddings kept between scorings, by the content of what was embedded: the photos of a concept are embedded once, not
//! at every checkpoint. One file a model, of records that each carry a checksum; losing it loses nothing but time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Bytes that a file may have before its older half is dropped: 30,000 embeddings of CLIP.
const LIMIT: u64 = 64 << 20;
/// Bytes of a record's checksum.
const CHECK: usize = 8;

/// What was embedded and how, as a hash.
pub(super) type Key = [u8; 32];

/// The embeddings kept in a folder. Whatever goes wrong with its files is as if they held nothing: a score must not fail for
/// want of a cache.
#[derive(Debug)]
pub struct EmbeddingCache {
    folder: PathBuf,
    limit: u64,
    /// What has been read, by model.
    known: RefCell<HashMap<String, HashMap<Key, Vec<f32>>>>,
}

impl EmbeddingCache {
    /// Those in `folder`, which need not exist.
    pub fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), limit: LIMIT, known: RefCell::default() }
    }

    fn path(&self, model: &str) -> PathBuf {
        self.folder.join(format!("{model}.bin"))
    }

    /// The embedding kept for `key` by `model`, of `width` numbers.
    pub(super) fn get(&self, model: &str, width: usize, key: &Key) -> Option<Vec<f32>> {
        let mut known = self.known.borrow_mut();
        let of_model = known.entry(model.to_owned()).or_insert_with(|| read(&self.path(model), width));
        of_model.get(key).cloned()
    }

    /// Keep these embeddings by `model`, all of `width` numbers.
    pub(super) fn put(&self, model: &str, width: usize, embeddings: Vec<(Key, Vec<f32>)>) {
        let mut bytes = Vec::with_capacity(embeddings.len() * size(width));
        for (key, values) in embeddings.iter().filter(|(_, values)| values.len() == width) {
            let start = bytes.len();
            bytes.extend(key);
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            let check = Sha256::digest(&bytes[start..]);
            bytes.extend(&check[..CHECK]);
        }
        // Without it the next scoring computes them again.
        let _ = self.append(model, width, &bytes);
        self.known.borrow_mut().entry(model.to_owned()).or_default().extend(embeddings);
    }

    fn append(&self, model: &str, width: usize, bytes: &[u8]) -> std::io::Result<()> {
        crate::fs::create_folders(&self.folder)?;
        let path = self.path(model);
        let mut file = crate::fs::open_append(&path)?;
        // Other runners append too; one that was killed may have left a part of a record.
        file.lock()?;
        let length = file.metadata()?.len();
        let whole = length - length % size(width) as u64;
        if whole + bytes.len() as u64 > self.limit {
            let mut kept = Vec::new();
            file.read_to_end(&mut kept)?;
            let keep = (self.limit as usize / 2).min(whole as usize) / size(width) * size(width);
            kept.truncate(whole as usize);
            let newest = kept.split_off(kept.len() - keep);
            file.set_len(0)?;
            file.write_all(&newest)?;
        } else if whole != length {
            file.set_len(whole)?;
        }
        file.write_all(bytes)
    }
}

/// Bytes of a record.
fn size(width: usize) -> usize {
    size_of::<Key>() + 4 * width + CHECK
}

/// All whole records of a file.
fn read(path: &Path, width: usize) -> HashMap<Key, Vec<f32>> {
    let bytes = crate::fs::open(path).and_then(|file| {
        file.lock_shared()?;
        crate::fs::read_from(&file, 2 * LIMIT)
    });
    let mut embeddings = HashMap::new();
    let Ok(bytes) = bytes else { return embeddings };
    for record in bytes.chunks_exact(size(width)) {
        let (content, check) = record.split_at(record.len() - CHECK);
        let (key, values) = content.split_at(size_of::<Key>());
        if Sha256::digest(content)[..CHECK] == *check
            && let Ok(key) = key.try_into()
        {
            let values =
                values.chunks_exact(4).map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]]));
            let values: Vec<f32> = values.collect();
            // Versions before kept NaN too.
            if values.iter().all(|value| value.is_finite()) {
                embeddings.insert(key, values);
            }
        }
    }
    embeddings
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn key(n: u8) -> Key {
        [n; 32]
    }

    #[test]
    fn what_was_put_is_there_for_the_next_process_and_for_its_model_only() {
        let folder = tempfile::tempdir().unwrap();
        let cache = EmbeddingCache::of(&folder.path().join("embeddings"));
        assert_eq!(cache.get("clip", 3, &key(1)), None);
        cache.put("clip", 3, vec![(key(1), vec![1.0, -2.5, 0.125]), (key(2), vec![0.0; 3])]);
        cache.put("clip", 3, vec![(key(3), vec![3.0; 3])]);
        let next = EmbeddingCache::of(&folder.path().join("embeddings"));
        assert_eq!(next.get("clip", 3, &key(1)), Some(vec![1.0, -2.5, 0.125]));
        assert_eq!(next.get("clip", 3, &key(3)), Some(vec![3.0; 3]));
        assert_eq!(next.get("dino", 3, &key(1)), None);
    }

    #[test]
    fn a_damaged_record_is_forgotten_and_a_torn_one_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.bin");
        EmbeddingCache::of(folder.path()).put("clip", 2, vec![(key(1), vec![1.0; 2]), (key(2), vec![2.0; 2])]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[33] ^= 1;
        bytes.extend([7; 20]);
        std::fs::write(&path, bytes).unwrap();
        let cache = EmbeddingCache::of(folder.path());
        assert_eq!(cache.get("clip", 2, &key(1)), None);
        assert_eq!(cache.get("clip", 2, &key(2)), Some(vec![2.0; 2]));
        cache.put("clip", 2, vec![(key(4), vec![4.0; 2])]);
        assert_eq!(EmbeddingCache::of(folder.path()).get("clip", 2, &key(4)), Some(vec![4.0; 2]));
    }

    #[test]
    fn a_file_does_not_grow_for_ever_and_keeps_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let cache = EmbeddingCache { limit: 10 * size(1) as u64, ..EmbeddingCache::of(folder.path()) };
        (0..60).for_each(|n| cache.put("clip", 1, vec![(key(n), vec![f32::from(n)])]));
        assert!(std::fs::metadata(cache.path("clip")).unwrap().len() <= 10 * size(1) as u64);
        let next = EmbeddingCache::of(folder.path());
        assert_eq!(next.get("clip", 1, &key(59)), Some(vec![59.0]));
        assert_eq!(next.get("clip", 1, &key(0)), None);
    }
}
