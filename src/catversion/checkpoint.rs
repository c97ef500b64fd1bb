//! A checkpoint: the residual embeddings plus all that exact resume needs, one safetensors file. The random numbers of a
//! step are a function of (seed, step), so their whole state is in the config and the step.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::{Deserialize, Serialize};

use super::embeddings::ResidualEmbeddings;
use super::error::{Error, Result};
use super::optimizer::AdamW;
use crate::json;
use crate::protocol::TrainConfig;

/// The one key of the file's metadata. One key, because the order of several is not fixed.
const KEY: &str = "catbench";
const FORMAT: u32 = 1;
/// The most bytes of a file: the rows of all layers and two moments of each number, of thousands of rows.
const MAX_BYTES: u64 = 1 << 30;

/// What a checkpoint says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointMeta {
    /// Version of this layout.
    pub format: u32,
    /// Steps done.
    pub step: usize,
    /// What the embeddings stand beside.
    pub class_word: String,
    /// SHA-256 of the base model.
    pub base_model: String,
    /// SHA-256 of the photos and masks as trained on.
    pub photos: String,
    /// Concatenated layers, bottom up.
    pub layers: Vec<usize>,
    /// Settings of the training.
    pub config: TrainConfig,
}

/// A tensor's name, shape and bytes.
type TensorBytes = (String, Vec<usize>, Vec<u8>);

fn little_endian(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// The keys and values of `embeddings`, `layers.<i>.key` and `layers.<i>.value` [n, D] each.
pub(super) fn tensor_bytes(embeddings: &ResidualEmbeddings) -> Result<Vec<TensorBytes>, String> {
    let (rows, width) = (embeddings.rows(), embeddings.width());
    let part = rows * width;
    let numbers = embeddings.numbers().map_err(|e| e.to_string())?;
    let mut tensors = Vec::new();
    for (i, layer) in embeddings.layers().iter().enumerate() {
        for (j, kind) in ["key", "value"].into_iter().enumerate() {
            let from = (2 * i + j) * part;
            let bytes = little_endian(&numbers[from..from + part]);
            tensors.push((format!("layers.{layer}.{kind}"), vec![rows, width], bytes));
        }
    }
    Ok(tensors)
}

/// `tensors` as a file takes them.
pub(super) fn views(tensors: &[TensorBytes]) -> Result<Vec<(&String, TensorView<'_>)>, String> {
    tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|e| e.to_string())
}

/// One checkpoint in memory.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// What it says of itself.
    pub meta: CheckpointMeta,
    /// The learned numbers.
    pub embeddings: ResidualEmbeddings,
    /// The optimizer's state.
    pub optimizer: AdamW,
}

impl Checkpoint {
    pub(super) const FORMAT: u32 = FORMAT;

    /// The file's bytes: the same for the same state.
    fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let (first, second) = self.optimizer.moments().map_err(|e| e.to_string())?;
        let mut tensors = vec![
            ("optimizer.exp_avg".to_owned(), vec![first.len()], little_endian(&first)),
            ("optimizer.exp_avg_sq".to_owned(), vec![second.len()], little_endian(&second)),
        ];
        tensors.extend(tensor_bytes(&self.embeddings)?);
        let meta = json::to_string(&self.meta).map_err(|e| e.to_string())?;
        serialize(views(&tensors)?, Some(HashMap::from([(KEY.to_owned(), meta)]))).map_err(|e| e.to_string())
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
        let meta = header
            .metadata()
            .as_ref()
            .and_then(|m| m.get(KEY))
            .ok_or("no Catbench checkpoint: its metadata does not say what it is")?;
        let meta: CheckpointMeta = serde_json::from_str(meta).map_err(|e| format!("its metadata is damaged: {e}"))?;
        if meta.format != FORMAT {
            return Err(format!("has format {}, this program reads {FORMAT}", meta.format));
        }
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        let read = |name: &str| {
            let view = tensors.tensor(name).map_err(|_| format!("has no tensor {name}"))?;
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
        let mut numbers = Vec::new();
        let mut size: Option<Vec<usize>> = None;
        for layer in &meta.layers {
            for kind in ["key", "value"] {
                let name = format!("layers.{layer}.{kind}");
                let (shape, part) = read(&name)?;
                if shape.len() != 2 || size.get_or_insert_with(|| shape.clone()) != &shape {
                    return Err(format!("tensor {name} is {shape:?}, the first one is {size:?}"));
                }
                numbers.extend(part);
            }
        }
        let size = size.ok_or("names no layers")?;
        let count = numbers.len();
        let embeddings = ResidualEmbeddings::from_numbers(meta.layers.clone(), size[0], size[1], numbers)
            .ok_or_else(|| format!("{count} numbers do not fill {size:?} rows"))?;
        let ((_, first), (_, second)) = (read("optimizer.exp_avg")?, read("optimizer.exp_avg_sq")?);
        if first.len() != count || second.len() != count {
            return Err(format!("{} and {} optimizer moments for {count} numbers", first.len(), second.len()));
        }
        let config = &meta.config;
        let optimizer = AdamW::resume(config.learning_rate, config.weight_decay, first, second, meta.step)
            .map_err(|e| e.to_string())?;
        Ok(Self { meta, embeddings, optimizer })
    }

    /// Refuse to go on from this checkpoint, read from `path`, with other photos, another class word, or settings by which a step
    /// computes something else. How long to go on, how often to look, and where, may change.
    pub fn check_training(&self, path: &Path, photos: &str, class_word: &str, config: &TrainConfig) -> Result<()> {
        let meta = &self.meta;
        let same = TrainConfig { steps: config.steps, ..meta.config.clone().looked_at_as(config) };
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

    fn checkpoint() -> Checkpoint {
        let config = TrainConfig::default();
        let numbers: Vec<f32> = (0..12).map(|i| i as f32).collect();
        Checkpoint {
            meta: CheckpointMeta {
                format: FORMAT,
                step: 40,
                class_word: "teapot".into(),
                base_model: "ab".into(),
                photos: "cd".into(),
                layers: vec![3, 5],
                config: config.clone(),
            },
            embeddings: ResidualEmbeddings::from_numbers(vec![3, 5], 1, 3, numbers.clone()).unwrap(),
            optimizer: AdamW::resume(config.learning_rate, config.weight_decay, numbers.clone(), numbers, 40).unwrap(),
        }
    }

    #[test]
    fn what_is_saved_comes_back_and_bytes_repeat() {
        let bytes = checkpoint().to_bytes().unwrap();
        assert_eq!(bytes, checkpoint().to_bytes().unwrap());
        let read = Checkpoint::from_bytes(&bytes).unwrap();
        assert_eq!(read.meta, checkpoint().meta);
        assert_eq!(read.to_bytes().unwrap(), bytes);
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
