//! A checkpoint: what was learned plus all that exact resume needs, one safetensors file. The random numbers of a step are a function of
//! (seed, step), so their whole state is in the config and the step.
//!
//! | tensor | what |
//! |---|---|
//! | `text_encoder.layers.9.key`, ... | what was learned, by the part of the base model that it enters |
//! | `optimizer.exp_avg`, `optimizer.exp_avg_sq` | the moments of all its numbers, in the order of the names in the metadata |

mod format1;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::learned::Learned;
use super::optimizer::AdamW;
use crate::json;
use crate::protocol::{LrScheduler, TrainConfig};

/// The one key of the file's metadata. One key, because the order of several is not fixed.
const KEY: &str = "catbench";
/// The most bytes of a file that is read.
const MAX_BYTES: u64 = 1 << 30;

/// What a checkpoint says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointMeta {
    /// Version of the file's layout.
    pub format: u32,
    /// Steps done.
    pub step: usize,
    /// What kind of thing the concept is.
    pub class_word: String,
    /// SHA-256 of the base model.
    pub base_model: String,
    /// SHA-256 of the photos and masks as trained on.
    pub photos: String,
    /// Settings of the training.
    pub config: TrainConfig,
}

/// The metadata of the layout that new runs have.
#[derive(Serialize, Deserialize)]
struct Said {
    format: u32,
    step: usize,
    class_word: String,
    base_model: String,
    photos: String,
    /// The names of what was learned, in the order of the optimizer's numbers.
    learned: Vec<String>,
    config: TrainConfig,
}

/// The version of a layout.
#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

/// A tensor's name, shape and bytes.
pub(crate) type TensorBytes = (String, Vec<usize>, Vec<u8>);

fn little_endian(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// What a file takes of named tensors.
pub(crate) fn tensor_bytes(tensors: &[(String, Tensor)]) -> Result<Vec<TensorBytes>, String> {
    let bytes = |(name, tensor): &(String, Tensor)| {
        let numbers: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
        Ok((name.clone(), tensor.dims().to_vec(), little_endian(&numbers)))
    };
    tensors.iter().map(bytes).collect::<candle_core::Result<_>>().map_err(|e| e.to_string())
}

/// `tensors` as a file, with `metadata` under one key.
pub(crate) fn file_bytes(tensors: &[TensorBytes], metadata: Option<(&str, String)>) -> Result<Vec<u8>, String> {
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|e| e.to_string())?;
    let metadata = metadata.map(|(key, text)| HashMap::from([(key.to_owned(), text)]));
    serialize(views, metadata).map_err(|e| e.to_string())
}

/// One checkpoint in memory.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// What it says of itself.
    pub meta: CheckpointMeta,
    /// What was learned.
    pub learned: Learned,
    /// The optimizer's state.
    pub optimizer: AdamW,
}

impl Checkpoint {
    /// The layout of new runs' checkpoints.
    pub const FORMAT: u32 = 2;

    /// What a file of another program says was learned, as if a training with `config` had just ended: the caller fills in the base
    /// model.
    ///
    /// # Errors
    /// The CPU refuses.
    pub fn of_file(learned: Learned, class_word: &str, config: TrainConfig) -> Result<Self> {
        let moments = || vec![0.0; learned.count()];
        let optimizer = AdamW::resume(config.weight_decay, moments(), moments(), config.steps)?;
        let meta = CheckpointMeta {
            format: Self::FORMAT,
            step: config.steps,
            class_word: class_word.to_owned(),
            base_model: String::new(),
            photos: String::new(),
            config,
        };
        Ok(Self { meta, learned, optimizer })
    }

    /// The file's bytes: the same for the same state.
    fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let (first, second) = self.optimizer.moments().map_err(|e| e.to_string())?;
        let mut tensors = vec![
            ("optimizer.exp_avg".to_owned(), vec![first.len()], little_endian(&first)),
            ("optimizer.exp_avg_sq".to_owned(), vec![second.len()], little_endian(&second)),
        ];
        tensors.extend(tensor_bytes(&self.learned.tensors().map_err(|e| e.to_string())?)?);
        let meta = if self.meta.format == format1::FORMAT {
            format1::write(&self.meta, &mut tensors)?
        } else {
            let CheckpointMeta { format, step, class_word, base_model, photos, config } = self.meta.clone();
            let learned = self.learned.shapes().iter().map(|(name, _)| name.clone()).collect();
            let said = Said { format, step, class_word, base_model, photos, learned, config };
            json::to_string(&said).map_err(|e| e.to_string())?
        };
        file_bytes(&tensors, Some((KEY, meta)))
    }

    /// Write it whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        let bytes = self.to_bytes().map_err(|cause| Error::BadCheckpoint { path: path.to_owned(), cause })?;
        crate::fs::write_atomic(path, &bytes).map_err(|source| Error::WriteCheckpoint { path: path.to_owned(), source })
    }

    /// Read it back.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = crate::fs::read(path, MAX_BYTES);
        let bytes = bytes.map_err(|source| Error::ReadCheckpoint { path: path.to_owned(), source })?;
        Self::from_bytes(&bytes).map_err(|cause| Error::BadCheckpoint { path: path.to_owned(), cause })
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (_, header) =
            crate::diffusion::header(bytes).map_err(|e| format!("not a safetensors file, or cut short ({e})"))?;
        let text = header
            .metadata()
            .as_ref()
            .and_then(|m| m.get(KEY))
            .ok_or("no Catbench checkpoint: its metadata does not say what it is")?;
        let damaged = |e: serde_json::Error| format!("its metadata is damaged: {e}");
        let (meta, names) = match serde_json::from_str::<Versioned>(text).map_err(damaged)?.format {
            format1::FORMAT => format1::read(text).map_err(damaged)?,
            Self::FORMAT => {
                let said: Said = serde_json::from_str(text).map_err(damaged)?;
                let Said { format, step, class_word, base_model, photos, learned, config } = said;
                let names = learned.into_iter().map(|name| (name.clone(), name)).collect();
                (CheckpointMeta { format, step, class_word, base_model, photos, config }, names)
            }
            other => return Err(format!("has format {other}, this program reads 1 to {}", Self::FORMAT)),
        };
        let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        let read = |name: &str| {
            let view = file.tensor(name).map_err(|_| format!("has no tensor {name}"))?;
            if view.dtype() != Dtype::F32 {
                return Err(format!("tensor {name} is {:?}, not float32", view.dtype()));
            }
            let numbers = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect::<Vec<f32>>();
            if numbers.iter().any(|number| !number.is_finite()) {
                return Err(format!(
                    "tensor {name} holds numbers that are not finite: its training broke; take an earlier checkpoint, or train \
                     again at a lower learning_rate"
                ));
            }
            Ok((view.shape().to_vec(), numbers))
        };
        let mut tensors = Vec::new();
        for (name, in_file) in names {
            let (shape, numbers) = read(&in_file)?;
            tensors.push((name, Tensor::from_vec(numbers, shape, &Device::Cpu).map_err(|e| e.to_string())?));
        }
        if tensors.is_empty() {
            return Err("names nothing that was learned".into());
        }
        let learned = Learned::new(&tensors).map_err(|e| e.to_string())?;
        meta.config.method.check_learned(learned.shapes())?;
        let count = learned.count();
        let ((_, first), (_, second)) = (read("optimizer.exp_avg")?, read("optimizer.exp_avg_sq")?);
        if first.len() != count || second.len() != count {
            return Err(format!("{} and {} optimizer moments for {count} numbers", first.len(), second.len()));
        }
        let optimizer = AdamW::resume(meta.config.weight_decay, first, second, meta.step).map_err(|e| e.to_string())?;
        Ok(Self { meta, learned, optimizer })
    }

    /// Refuse to go on from this checkpoint, read from `path`, with other photos, another class word, or settings by which a step
    /// computes something else. How long to go on, how often to look, and where, may change.
    pub fn check_training(&self, path: &Path, photos: &str, class_word: &str, config: &TrainConfig) -> Result<()> {
        let meta = &self.meta;
        // A training can go on for longer, unless its learning rate falls to 0 at its last step.
        let is_longer = config.lr_scheduler == LrScheduler::Constant;
        let steps = if is_longer { config.steps } else { meta.config.steps };
        let same = TrainConfig { steps, ..meta.config.clone().looked_at_as(config) };
        let cause = match () {
            () if meta.photos != photos => "the photos or masks have changed since; start a new run",
            () if meta.class_word != class_word => "the class word has changed since; start a new run",
            () if same != *config => "the settings differ from the run's; start a new run",
            () => return Ok(()),
        };
        Err(Error::NotTheSameRun { path: path.to_owned(), cause: cause.into() })
    }

    /// Refuse a checkpoint of another base model; `path` is named in the error.
    pub fn check_base_model(&self, hash: &str, path: &Path) -> Result<()> {
        if self.meta.base_model == hash {
            return Ok(());
        }
        Err(Error::OtherBaseModel {
            path: path.to_owned(),
            found: self.meta.base_model.clone(),
            expected: hash.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint_in(format: u32) -> Checkpoint {
        let config = TrainConfig::default();
        let numbers: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let names = [(3, "key"), (3, "value"), (5, "key"), (5, "value")];
        let tensor = |(i, (layer, side)): (usize, (usize, &str))| {
            let rows = Tensor::from_slice(&numbers[3 * i..][..3], (1, 3), &Device::Cpu).unwrap();
            (format!("text_encoder.layers.{layer}.{side}"), rows)
        };
        let tensors: Vec<_> = names.into_iter().enumerate().map(tensor).collect();
        Checkpoint {
            meta: CheckpointMeta {
                format,
                step: 40,
                class_word: "teapot".into(),
                base_model: "ab".into(),
                photos: "cd".into(),
                config: config.clone(),
            },
            learned: Learned::new(&tensors).unwrap(),
            optimizer: AdamW::resume(config.weight_decay, numbers.clone(), numbers, 40).unwrap(),
        }
    }

    fn checkpoint() -> Checkpoint {
        checkpoint_in(Checkpoint::FORMAT)
    }

    #[test]
    fn what_is_saved_comes_back_and_bytes_repeat() {
        for format in [1, 2] {
            let bytes = checkpoint_in(format).to_bytes().unwrap();
            assert_eq!(bytes, checkpoint_in(format).to_bytes().unwrap());
            let read = Checkpoint::from_bytes(&bytes).unwrap();
            assert_eq!(read.meta, checkpoint_in(format).meta);
            assert_eq!(read.to_bytes().unwrap(), bytes);
        }
    }

    #[test]
    fn any_cut_is_an_error() {
        let bytes = checkpoint().to_bytes().unwrap();
        for end in 0..bytes.len() {
            assert!(Checkpoint::from_bytes(&bytes[..end]).is_err(), "{end} bytes");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_flipped_byte_never_panics(at in 0usize..2000, to: u8) {
            let mut bytes = checkpoint().to_bytes().unwrap();
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = Checkpoint::from_bytes(&bytes);
        }
    }
}
