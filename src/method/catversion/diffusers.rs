//! The residual embeddings as a file for diffusers, and the Python module that loads it there (`catversion_diffusers.py`,
//! whose first lines say what is in the file).

use std::path::PathBuf;

use serde_json::json;

use super::embeddings::sizes;
use super::{FILE, Settings, bad};
use crate::fs::Show;
use crate::method::{Export, write};
use crate::personalize::{Checkpoint, Result, file_bytes, tensor_bytes};

/// The loader, and how it is called beside a file.
const LOADER: &str = include_str!("catversion_diffusers.py");
const LOADER_NAME: &str = "catversion_diffusers.py";
/// The one key of the file's metadata.
const KEY: &str = "catversion";
const FORMAT: u32 = 1;

/// The part of the base model that the file's names leave out, as it is the only one.
const PART: &str = "text_encoder.";

/// Write the file, and the loader beside it. Gives both files, and what the user should know.
///
/// # Errors
/// A file that cannot be written; another kind of file in its place, unless it is forced; a loader that is there and cannot be read.
pub(super) fn export(export: &Export<'_>, settings: &Settings) -> Result<(Vec<PathBuf>, Vec<String>)> {
    let path = export.path;
    export.check_path(FILE, |file| {
        file.tensors().count() > 0 && file.tensors().all(|(name, _)| name.starts_with("layers."))
    })?;
    let bytes = bytes(export.checkpoint, settings).map_err(|cause| bad(path, cause))?;
    let loader = path.with_file_name(LOADER_NAME);
    let mut warnings = Vec::new();
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
        write(FILE, &loader, LOADER.as_bytes())?;
    }
    write(FILE, path, &bytes)?;
    Ok((vec![path.to_owned(), loader], warnings))
}

/// The file's bytes: the same for the same checkpoint.
fn bytes(checkpoint: &Checkpoint, settings: &Settings) -> Result<Vec<u8>, String> {
    let meta = &checkpoint.meta;
    let (layers, rows, width) = sizes(&checkpoint.learned);
    let text = json!({
        "format": FORMAT,
        "version": env!("CARGO_PKG_VERSION"),
        "class_word": meta.class_word,
        "layers": layers,
        "rows": rows,
        "width": width,
        "prefix_bias": settings.prefix_bias,
        "step": meta.step,
        "base_model": meta.base_model,
    });
    let mut tensors = tensor_bytes(&checkpoint.learned.tensors().map_err(|e| e.to_string())?)?;
    for (name, ..) in &mut tensors {
        if let Some(rest) = name.strip_prefix(PART) {
            *name = rest.to_owned();
        }
    }
    file_bytes(&tensors, Some((KEY, text.to_string())))
}
