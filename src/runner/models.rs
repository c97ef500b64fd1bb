//! Base models as files: loading one, looking at one.

use std::cell::RefCell;
use std::rc::Rc;

use super::Error;
use crate::diffusion::{self, BaseModel, Compute, Embedding, ModelFiles};
use crate::protocol::{DeviceName, FloatType, ModelReport, ModelSpec};
use crate::workspace::{HashCache, Home};

/// Keeps the base model of the last job for the next one.
#[derive(Clone, Default)]
pub struct Models(Rc<RefCell<Option<Kept>>>);

struct Kept {
    spec: ModelSpec,
    /// What its weights are on, and are read as.
    place: (DeviceName, FloatType),
    /// Of its files when they were read.
    fingerprint: String,
    /// Bytes of the weights there.
    bytes: u64,
    model: Rc<BaseModel>,
}

impl std::fmt::Debug for Models {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kept = self.0.borrow();
        f.debug_tuple("Models").field(&kept.as_ref().map(|kept| &kept.spec)).finish()
    }
}

impl Models {
    /// Bytes of what is kept on a graphics card.
    pub(super) fn kept_bytes(&self) -> u64 {
        self.0.borrow().as_ref().filter(|kept| kept.place.0 != DeviceName::Cpu).map_or(0, |kept| kept.bytes)
    }

    /// The base model with these words added, whose weights take this many `bytes`; read unless it is the last job's and its files have not changed since. What
    /// is wrong with it is told before its content is hashed, which takes longer than all else.
    pub(super) fn load(
        &self,
        spec: &ModelSpec,
        words: &[Embedding],
        cache: &HashCache,
        (device, dtype, compute): &(DeviceName, FloatType, Compute),
        bytes: u64,
    ) -> Result<Rc<BaseModel>, Error> {
        let place = (*device, *dtype);
        let files = ModelFiles::open(spec)?;
        let fingerprint = files.fingerprint()?;
        // Whatever is kept leaves its memory before another is read.
        if let Some(kept) = self.0.take()
            && (&kept.spec, kept.place) == (spec, place)
            && Some(&kept.fingerprint) == fingerprint.as_ref()
            && words.is_empty()
        {
            let model = Rc::clone(&kept.model);
            self.0.replace(Some(kept));
            return Ok(model);
        }
        files.check()?;
        let hash = content_hash(&files, cache, &mut |_, _| {})?;
        let mut model = BaseModel::from_files(&files, hash, compute)?;
        for word in words {
            model.add_word(word)?;
        }
        let model = Rc::new(model);
        // One with words of its own is this job's alone.
        if let Some(fingerprint) = fingerprint.filter(|_| words.is_empty()) {
            self.0.replace(Some(Kept { spec: spec.clone(), place, fingerprint, bytes, model: Rc::clone(&model) }));
        }
        Ok(model)
    }
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
        match ModelFiles::open(spec).and_then(|files| files.not_finite()) {
            Ok(found) => report.problems.extend(found),
            Err(problem) => report.problems.push(problem.to_string()),
        }
    }
    report
}
