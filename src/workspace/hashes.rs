//! Content hashes of base models, kept so that files of gigabytes are not read anew at each start. Losing them loses
//! nothing but time.

use std::path::PathBuf;

use super::{Error, Home};

/// The hashes that a home knows, by a fingerprint of paths, sizes and times: one small file each.
#[derive(Debug, Clone)]
pub struct HashCache {
    folder: PathBuf,
}

impl HashCache {
    /// Those of `home`.
    pub fn of(home: &Home) -> Self {
        Self { folder: home.internal().join("hashes") }
    }

    /// The hash that was kept for `fingerprint`.
    pub fn get(&self, fingerprint: &str) -> Option<String> {
        let text = crate::fs::read_text(&self.folder.join(fingerprint), crate::fs::SETTINGS).ok()?;
        let hash = text.trim();
        (hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| hash.to_owned())
    }

    /// Keep `hash` for `fingerprint`.
    pub fn put(&self, fingerprint: &str, hash: &str) -> Result<(), Error> {
        crate::fs::create_folders(&self.folder).map_err(Error::io("create", &self.folder))?;
        let path = self.folder.join(fingerprint);
        crate::fs::write_atomic(&path, format!("{hash}\n").as_bytes()).map_err(Error::io("write", &path))
    }
}
