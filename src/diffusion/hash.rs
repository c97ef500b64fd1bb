//! What a base model is, in one number: SHA-256 over everything that decides what it computes.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::error::{Error, Result};
use super::files::{INDEX, ModelFiles, Words};

/// A file that changed less long ago may change again without a new time.
const SETTLED: Duration = Duration::from_secs(2);

impl ModelFiles {
    /// The files that make the model what it is, with a name for each.
    fn contents(&self) -> Vec<(String, PathBuf)> {
        let mut contents = vec![("scheduler/scheduler_config.json".to_owned(), self.scheduler.1.clone())];
        for (name, part) in self.parts() {
            contents.push((format!("{name}/config.json"), part.path.clone()));
            for file in part.weights.opened() {
                let file_name = file.path().file_name().unwrap_or_default().to_string_lossy();
                contents.push((format!("{name}/{file_name}"), file.path().to_owned()));
            }
        }
        for text in &self.texts {
            if let Words::Folder(folder) = &text.words {
                let names = ["tokenizer.json", "vocab.json", "merges.txt"];
                let place = text.name.replace("text_encoder", "tokenizer");
                contents.extend(names.map(|name| (format!("{place}/{name}"), folder.join(name))));
            }
        }
        contents.retain(|(_, path)| path.is_file());
        // What was told from a file is named by that file.
        let mut seen = std::collections::HashSet::new();
        contents.retain(|(_, path)| seen.insert(path.clone()));
        contents
    }

    /// All files that are read of the model: those, and what says which they are.
    pub fn needed(&self) -> Vec<PathBuf> {
        let mut needed: Vec<PathBuf> = self.contents().into_iter().map(|(_, path)| path).collect();
        needed.push(self.spec.path.join(INDEX));
        let mut folders: Vec<&Path> = self.parts().into_iter().map(|(_, part)| part.weights.place()).collect();
        folders.extend(self.texts.iter().filter_map(|text| match &text.words {
            Words::Folder(folder) => Some(folder.as_path()),
            Words::BuiltIn(_) => None,
        }));
        // Lists of shards, and what the tokenizer pads with.
        for entry in folders.into_iter().flat_map(std::fs::read_dir).flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                needed.push(path);
            }
        }
        needed.retain(|path| path.is_file());
        let mut seen = std::collections::HashSet::new();
        needed.retain(|path| seen.insert(path.clone()));
        needed
    }

    /// SHA-256 in hexadecimal: of the file, where the model is that and nothing else (so it is the one that is published
    /// with it), else of the names, sizes and contents of all its files. `progress` is told bytes done and in all.
    pub fn hash(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<String> {
        let contents = self.contents();
        let mut sizes = Vec::new();
        for (_, path) in &contents {
            let size = std::fs::metadata(path).map_err(|source| Error::Read { path: path.clone(), source })?.len();
            sizes.push(size);
        }
        let alone = self.single.is_some() && contents.len() == 1 && self.other_prediction.is_none();
        let (mut hash, mut done, total) = (Sha256::new(), 0, sizes.iter().sum());
        for ((name, path), size) in contents.iter().zip(sizes) {
            if !alone {
                hash.update((name.len() as u64).to_le_bytes());
                hash.update(name);
                hash.update(size.to_le_bytes());
            }
            read_whole(path, &mut |bytes| {
                hash.update(bytes);
                done += bytes.len() as u64;
                progress(done, total);
            })?;
        }
        if let Some(prediction) = self.other_prediction {
            hash.update(format!("{prediction:?}"));
        }
        Ok(format!("{:x}", hash.finalize()))
    }

    /// A short name for the same content as far as paths, sizes and times tell; none while a file may still change
    /// without them telling.
    pub fn fingerprint(&self) -> Result<Option<String>> {
        let mut lines = format!("{:?}\n", self.other_prediction);
        for (name, path) in self.contents() {
            let read = |source| Error::Read { path: path.clone(), source };
            let metadata = std::fs::metadata(&path).map_err(read)?;
            let changed = metadata.modified().map_err(read)?;
            if SystemTime::now().duration_since(changed).is_ok_and(|age| age < SETTLED) {
                return Ok(None);
            }
            let since = changed.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
            // Writing to a String cannot fail.
            let _ = writeln!(lines, "{name}\t{}\t{}\t{since}", path.to_string_lossy(), metadata.len());
        }
        Ok(Some(format!("{:x}", Sha256::digest(lines))))
    }
}

fn read_whole(path: &Path, take: &mut dyn FnMut(&[u8])) -> Result<()> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    let mut file = crate::fs::open(path).map_err(read)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(read)? {
            0 => return Ok(()),
            len => take(&buffer[..len]),
        }
    }
}
