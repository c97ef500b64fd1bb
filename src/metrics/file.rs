//! Reading the files of a score model.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, safetensors::Load};
use safetensors::SafeTensors;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::Error;

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = std::fs::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    serde_json::from_slice(&text).map_err(|error| Error::Model { path: path.to_path_buf(), reason: error.to_string() })
}

/// Lower-case hexadecimal SHA-256 of the parts in order.
pub(super) fn sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    parts.into_iter().for_each(|part| hasher.update(part));
    format!("{:x}", hasher.finalize())
}

/// The tensors of one safetensors file in float32, and the file's hash.
pub(super) struct Weights {
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
    /// Of the whole file.
    pub(super) sha256: String,
}

impl Weights {
    pub(super) fn load(path: &Path, device: &Device) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
        let damaged = |error: String| Error::Model {
            path: path.to_path_buf(),
            reason: format!("not a whole safetensors file ({error}): copy it again"),
        };
        let file = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
        let mut tensors = HashMap::new();
        for (name, view) in file.iter() {
            // Saved by old transformers, integers, and not a weight.
            if name.ends_with("position_ids") {
                continue;
            }
            let tensor = view.load(device).and_then(|tensor| tensor.to_dtype(DType::F32));
            tensors.insert(name.to_owned(), tensor.map_err(|error| damaged(format!("tensor {name}: {error}")))?);
        }
        Ok(Self { path: path.to_path_buf(), tensors, sha256: sha256([bytes.as_slice()]) })
    }

    /// The tensor `name`, which must have the shape `expected`.
    pub(super) fn get(&self, name: &str, expected: &[usize]) -> Result<Tensor, Error> {
        let Some(tensor) = self.tensors.get(name) else {
            return Err(Error::MissingTensor {
                path: self.path.clone(),
                tensor: name.to_owned(),
                expected: expected.to_vec(),
            });
        };
        if tensor.dims() != expected {
            return Err(Error::TensorShape {
                path: self.path.clone(),
                tensor: name.to_owned(),
                found: tensor.dims().to_vec(),
                expected: expected.to_vec(),
            });
        }
        Ok(tensor.clone())
    }
}
