//! The residual embeddings as a file for diffusers, and the Python module that loads it there (`catversion_diffusers.py`,
//! whose first lines say what is in the file).

use crate::fs::Show;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::serialize;
use serde_json::json;

use super::checkpoint::{Checkpoint, tensor_bytes, views};
use super::error::{Error, Result};

/// The loader, and how it is called beside a file.
const LOADER: &str = include_str!("catversion_diffusers.py");
const LOADER_NAME: &str = "catversion_diffusers.py";
/// The one key of the file's metadata.
const KEY: &str = "catversion";
const FORMAT: u32 = 1;

/// Write `checkpoint` to `path`, and the loader beside it. Gives both files, and what the user should know.
///
/// # Errors
/// A file that cannot be written; a loader that is there and cannot be read.
pub fn export(path: &Path, checkpoint: &Checkpoint) -> Result<(Vec<PathBuf>, Vec<String>)> {
    let bad = |path: &Path, cause: String| Error::BadAdapter { path: path.to_owned(), cause };
    let bytes = bytes(checkpoint).map_err(|cause| bad(path, cause))?;
    let loader = path.with_file_name(LOADER_NAME);
    let mut warnings = Vec::new();
    let write = |path: &Path, bytes: &[u8]| {
        crate::fs::write_atomic(path, bytes).map_err(|error| bad(path, format!("cannot be written: {error}")))
    };
    if loader.exists() {
        let there = crate::fs::read(&loader, crate::fs::SETTINGS)
            .map_err(|error| bad(&loader, format!("cannot be read: {error}")))?;
        if there != LOADER.as_bytes() {
            warnings.push(format!(
                "{} is there already and is not the loader of this version: it is left as it is; remove it and export \
                 again for this one",
                loader.shown()
            ));
        }
    } else {
        write(&loader, LOADER.as_bytes())?;
    }
    write(path, &bytes)?;
    Ok((vec![path.to_owned(), loader], warnings))
}

/// The file's bytes: the same for the same checkpoint.
fn bytes(checkpoint: &Checkpoint) -> Result<Vec<u8>, String> {
    let (meta, embeddings) = (&checkpoint.meta, &checkpoint.embeddings);
    let text = json!({
        "format": FORMAT,
        "version": env!("CARGO_PKG_VERSION"),
        "class_word": meta.class_word,
        "layers": embeddings.layers(),
        "rows": embeddings.rows(),
        "width": embeddings.width(),
        "prefix_bias": meta.config.prefix_bias,
        "step": meta.step,
        "base_model": meta.base_model,
    });
    let tensors = tensor_bytes(embeddings)?;
    serialize(views(&tensors)?, Some(HashMap::from([(KEY.to_owned(), text.to_string())]))).map_err(|e| e.to_string())
}
