//! Model files: every form they come in, what is told of them, and what must happen to broken ones.

mod damaged;
mod folder;
mod original;
mod tokenizer;
mod torch;
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
