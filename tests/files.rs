//! Files of tensors: every form that models come in, and what must happen to broken ones.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "files/torch.rs"]
mod torch;

use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}
