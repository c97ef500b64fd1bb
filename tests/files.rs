//! Model files: every form they come in, what is told of them, and what must happen to broken ones.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "files/damaged.rs"]
mod damaged;
#[path = "files/folder.rs"]
mod folder;
#[path = "files/original.rs"]
mod original;
#[path = "files/tokenizer.rs"]
mod tokenizer;
#[path = "files/torch.rs"]
mod torch;
#[path = "files/write.rs"]
mod write;

use std::path::{Path, PathBuf};

use catbench::protocol::ModelSpec;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The file at `path`, whose configs and tokenizer are those of the fixture `config`.
fn spec(path: &Path, config: &str) -> ModelSpec {
    ModelSpec { config: Some(fixture(config)), ..ModelSpec::at(path) }
}
