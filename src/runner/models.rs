//! Base models as files: loading one, looking at one.

use super::Error;
use crate::diffusion::{self, BaseModel, Compute, ModelFiles};
use crate::protocol::{ModelReport, ModelSpec};
use crate::workspace::{HashCache, Home};

/// Read the base model. What is wrong with it is told before its content is hashed, which takes longer than all else.
pub(super) fn load(spec: &ModelSpec, cache: &HashCache, compute: &Compute) -> Result<BaseModel, Error> {
    let files = ModelFiles::open(spec)?;
    files.check()?;
    let hash = content_hash(&files, cache, &mut |_, _| {})?;
    Ok(BaseModel::from_files(&files, hash, compute)?)
}

/// The content hash of the base model `spec`.
pub(super) fn hash(spec: &ModelSpec, cache: &HashCache) -> Result<String, Error> {
    content_hash(&ModelFiles::open(spec)?, cache, &mut |_, _| {})
}

/// The content hash, from the cache where nothing has changed since.
fn content_hash(files: &ModelFiles, cache: &HashCache, progress: &mut dyn FnMut(u64, u64)) -> Result<String, Error> {
    let fingerprint = files.fingerprint()?;
    if let Some(hash) = fingerprint.as_deref().and_then(|fingerprint| cache.get(fingerprint)) {
        return Ok(hash);
    }
    let hash = files.hash(progress)?;
    // Asked again: what changed while it was read must not be known by what it was.
    if let Some(fingerprint) = fingerprint.filter(|before| files.fingerprint().ok().flatten().as_ref() == Some(before))
    {
        cache.put(&fingerprint, &hash)?;
    }
    Ok(hash)
}

/// What a look at the files of a model tells. Its hash, kept in `home`, is part of it where `progress` (bytes done, bytes
/// in all) is given and the model can be used.
pub fn check_model(spec: &ModelSpec, home: &Home, progress: Option<&mut dyn FnMut(u64, u64)>) -> ModelReport {
    let mut report = diffusion::check(spec);
    if let Some(progress) = progress.filter(|_| report.problems.is_empty()) {
        let hashed = ModelFiles::open(spec)
            .map_err(Error::from)
            .and_then(|files| content_hash(&files, &HashCache::of(home), progress));
        match hashed {
            Ok(hash) => report.hash = Some(hash),
            Err(problem) => report.problems.push(problem.to_string()),
        }
    }
    report
}
