//! Reading the prompts of pictures, and remembering what was read.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::Sampling;
use crate::personalize::{Checkpoint, Encoded, Sampler};
use crate::protocol::{PictureConfig, UsedCheckpoint};
use crate::runner::Error;
use crate::workspace;

/// Prompts whose encodings are kept: they come back with other seeds and settings soon or never.
const TEXTS: usize = 64;
/// Readers of prompts that are kept.
const SAMPLERS: usize = 8;

/// A checkpoint in memory, with what pictures record of it.
pub(super) struct Learned {
    checkpoint: Checkpoint,
    pub used: UsedCheckpoint,
}

/// Reads prompts, and remembers what it has read.
pub(super) struct Texts<'a> {
    sampling: &'a Sampling<'a>,
    checkpoints: HashMap<PathBuf, Arc<Learned>>,
    samplers: Vec<(Reader, Sampler<'a>)>,
    encoded: Vec<((Reader, String), Encoded)>,
}

/// What a reader of prompts depends on, of what may differ from one picture to the next.
#[derive(Clone, PartialEq)]
struct Reader {
    negative_prompt: String,
    checkpoint: Option<PathBuf>,
    strength: f32,
}

impl<'a> Texts<'a> {
    pub fn new(sampling: &'a Sampling<'a>) -> Self {
        Self { sampling, checkpoints: HashMap::new(), samplers: Vec::new(), encoded: Vec::new() }
    }

    /// The checkpoint of `picture`.
    pub fn learned(&mut self, picture: &PictureConfig) -> Result<Option<Arc<Learned>>, Error> {
        let Some(path) = &picture.checkpoint else { return Ok(None) };
        if let Some(known) = self.checkpoints.get(path) {
            return Ok(Some(Arc::clone(known)));
        }
        let checkpoint = Checkpoint::load(path)?;
        let sha256 = crate::fs::sha256(path).map_err(workspace::Error::io("read", path))?;
        let used = UsedCheckpoint { path: path.clone(), sha256: Some(sha256), step: checkpoint.meta.step };
        let learned = Arc::new(Learned { checkpoint, used });
        self.checkpoints.insert(path.clone(), Arc::clone(&learned));
        Ok(Some(learned))
    }

    /// The prompt of `picture`, read.
    pub fn encode(&mut self, picture: &PictureConfig) -> Result<Encoded, Error> {
        let reader = Reader {
            negative_prompt: picture.negative_prompt.clone(),
            checkpoint: picture.checkpoint.clone(),
            strength: picture.strength,
        };
        let key = (reader, picture.prompt.clone());
        if let Some((_, known)) = self.encoded.iter().find(|(known, _)| *known == key) {
            return Ok(known.clone());
        }
        let encoded = self.sampler(&key.0, picture)?.encode(&picture.prompt)?;
        remember(&mut self.encoded, (key, encoded.clone()), TEXTS);
        Ok(encoded)
    }

    fn sampler(&mut self, reader: &Reader, picture: &PictureConfig) -> Result<&Sampler<'a>, Error> {
        let known = self.samplers.iter().position(|(known, _)| known == reader);
        let place = if let Some(place) = known {
            place
        } else {
            let learned = self.learned(picture)?;
            let learned = learned.as_ref().map(|learned| (&learned.checkpoint, learned.used.path.as_path()));
            let Sampling { subject, shared, .. } = self.sampling;
            let sampler = Sampler::new(subject.model, subject.class_word, (picture, shared), learned)?;
            remember(&mut self.samplers, (reader.clone(), sampler), SAMPLERS);
            self.samplers.len() - 1
        };
        Ok(&self.samplers[place].1)
    }
}

/// Keep `value` as the last, and forget the oldest where there are too many.
fn remember<T>(values: &mut Vec<T>, value: T, most: usize) {
    if values.len() == most {
        values.remove(0);
    }
    values.push(value);
}
