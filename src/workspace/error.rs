//! What can be wrong with the files of a concept.

use crate::fs::Show;
use std::path::{Path, PathBuf};

/// What is wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("{}: cannot {action}: {}", path.shown(), crate::fs::why(path, source))]
    Io {
        /// What was tried: "read", "write", "create", ...
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A photo or mask.
    #[error(transparent)]
    Image(#[from] crate::image::Error),
    /// A settings file is not valid TOML or holds a wrong value.
    #[error("{}: {message}", path.shown())]
    Toml {
        /// The file.
        path: PathBuf,
        /// The parser's message: what and where in the file.
        message: String,
    },
    /// A setting that cannot be with the files there are.
    #[error(transparent)]
    Setting(#[from] crate::protocol::SettingError),
    /// Something in a prompt list.
    #[error(transparent)]
    List(#[from] super::ListError),
    /// A plan.
    #[error(transparent)]
    Plan(#[from] super::plan::PlanError),
    /// No concept of that name.
    #[error("no concept {name:?} in {}: {hint}", home.shown())]
    NoConcept {
        /// As asked for.
        name: String,
        /// Where it was looked for.
        home: PathBuf,
        /// What to do.
        hint: String,
    },
    /// No registered model of that name.
    #[error("no model {name:?}: {hint}")]
    NoModel {
        /// As asked for.
        name: String,
        /// What to do.
        hint: String,
    },
    /// No run at all.
    #[error("concept {concept:?} has no run yet: `catbench train` with it makes one")]
    NoRuns {
        /// The concept.
        concept: String,
    },
    /// The start of several ids.
    #[error("{start:?} begins the ids of several runs: {ids}")]
    ManyRuns {
        /// As asked for.
        start: String,
        /// Those runs.
        ids: String,
    },
    /// No run of that id.
    #[error("no run {id:?} of concept {concept:?}: `catbench runs {concept}` lists them")]
    NoRun {
        /// As asked for.
        id: String,
        /// The concept.
        concept: String,
    },
    /// No sampling of that id.
    #[error("no samples {id:?} of concept {concept:?}: they are the folders of {concept}/samples")]
    NoBatch {
        /// As asked for.
        id: String,
        /// The concept.
        concept: String,
    },
    /// A folder or file that must be there is not, or is empty, or holds something else.
    #[error("{}: {problem}: {remedy}", path.shown())]
    Invalid {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
}

impl Error {
    /// For `map_err`: an I/O error of `action` on `path`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// Something wrong with the content of `path`, with what to do about it.
    pub fn invalid(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Invalid { path: path.to_path_buf(), problem: problem.into(), remedy: remedy.into() }
    }
}

/// Whether there is something at `path`: what may not be looked at is not taken for what is not there.
pub(super) fn is_there(path: &Path) -> Result<bool, Error> {
    match path.try_exists() {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(Error::io("look at", path)(error)),
        there => Ok(there.unwrap_or(false)),
    }
}
