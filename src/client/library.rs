//! Changes to the library.

use std::path::{Path, PathBuf};

use super::{Daemon, Error, model_hash};
use crate::protocol::{DaemonReply, DaemonRequest, StoreCounts};
use crate::workspace::{Concept, Home, Links};

fn ask(home: &Home, request: DaemonRequest) -> Result<DaemonReply, Error> {
    Daemon::start(home)?.ask(request)
}

/// Have the daemon take up at once what this process has changed in the folder of `concept`. It is changed whatever comes of
/// this: an error is to be told as a warning.
pub fn refresh(home: &Home, concept: &Concept) -> Result<(), Error> {
    match ask(home, DaemonRequest::Refresh { concept: concept.id.clone() })? {
        DaemonReply::Done => Ok(()),
        other => Err(Error::odd(&other)),
    }
}

/// Give a concept another name; refused while it has a job that is not over.
pub fn rename(home: &Home, concept: &str, to: &str) -> Result<(), Error> {
    match ask(home, DaemonRequest::Rename { concept: concept.to_owned(), to: to.to_owned() })? {
        DaemonReply::Done => Ok(()),
        other => Err(Error::odd(&other)),
    }
}

/// Put a concept into the trash; refused while it has a job that is not over. Where it is there.
pub fn remove(home: &Home, concept: &str) -> Result<PathBuf, Error> {
    match ask(home, DaemonRequest::Remove { concept: concept.to_owned() })? {
        DaemonReply::Removed { path } => Ok(path),
        other => Err(Error::odd(&other)),
    }
}

/// Pack `concept` into the file `out`. Gives why the hash of its base model is not in it, if it is not: the model may be gone, or
/// on another machine.
pub fn pack(home: &Home, concept: &Concept, out: &Path, links: Links) -> Result<Option<Error>, Error> {
    let hash = concept.base_model().map_err(Error::from).and_then(|model| model_hash(&model, home));
    concept.pack(out, hash.as_ref().ok().cloned(), links)?;
    Ok(hash.err())
}

/// Make the store anew from the files. What it holds then.
pub fn rebuild(home: &Home) -> Result<StoreCounts, Error> {
    match ask(home, DaemonRequest::Rebuild)? {
        DaemonReply::Rebuilt(counts) => Ok(counts),
        other => Err(Error::odd(&other)),
    }
}
