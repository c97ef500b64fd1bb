//! Reading the files of a score model.

use std::path::Path;

use candle_core::{Device, Tensor};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::Error;
use crate::diffusion;

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = crate::fs::read(path, crate::fs::SETTINGS);
    let text = text.map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    serde_json::from_slice(&text).map_err(|error| Error::Model { path: path.to_path_buf(), reason: error.to_string() })
}

/// Lower-case hexadecimal SHA-256 of the parts in order.
pub(super) fn sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    parts.into_iter().for_each(|part| hasher.update(part));
    format!("{:x}", hasher.finalize())
}

/// The tensors of a score model in float32, and what tells its files from others.
pub(super) struct Weights {
    tensors: diffusion::Weights,
    device: Device,
    /// Of all bytes of its files.
    pub(super) sha256: String,
}

impl Weights {
    /// Open the weights in `folder`, one file or shards.
    pub(super) fn open(folder: &Path, device: &Device) -> Result<Self, Error> {
        let tensors = diffusion::Weights::open(folder)?;
        let mut hasher = Sha256::new();
        for path in diffusion::Weights::files(folder)? {
            let read = |source| Error::Read { path: path.clone(), source };
            std::io::copy(&mut crate::fs::open(&path).map_err(read)?, &mut hasher).map_err(read)?;
        }
        Ok(Self { tensors, device: device.clone(), sha256: format!("{:x}", hasher.finalize()) })
    }

    /// Whether there is a tensor `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.has(name)
    }

    /// The tensor `name`, which must have the shape `expected`.
    pub(super) fn get(&self, name: &str, expected: &[usize]) -> Result<Tensor, Error> {
        Ok(self.tensors.tensor(name, expected)?.to_device(&self.device)?)
    }
}

/// What records call the model in `folder`: the folder's name.
pub(super) fn name_of(folder: &Path) -> String {
    let name = folder.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    name.unwrap_or_default()
}
