//! Copies of a sampling's pictures in a folder of the user's. The runner makes them when all pictures are made, so that they
//! come whoever follows the job, and however often it had to begin again.

use std::path::{Path, PathBuf};

use super::{Error, JobFolder};
use crate::protocol::PictureConfig;

/// The name of picture `index`, from 0, of `count`.
pub fn picture_name(index: usize, count: usize, seed: u64) -> String {
    let digits = count.to_string().len().max(3);
    format!("{:0digits$}-seed-{seed}.png", index + 1)
}

/// Make the folder `out`, and refuse one that holds files of the names that these `pictures` will have.
///
/// # Errors
/// It cannot be made; such a file.
pub fn make_room(out: &Path, pictures: &[PictureConfig]) -> Result<(), Error> {
    std::fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let names = pictures.iter().enumerate().map(|(i, picture)| picture_name(i, pictures.len(), picture.seed));
    match names.map(|name| out.join(name)).find(|path| path.symlink_metadata().is_ok()) {
        Some(there) => Err(taken(&there)),
        None => Ok(()),
    }
}

/// Copy the `pictures` of `job`, those that are there, and its sheets to `out`.
///
/// # Errors
/// The system's, and another file of the same name: it stays.
pub fn copy(job: &JobFolder, pictures: &[PathBuf], out: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let legend = Some(job.legend()).filter(|legend| legend.is_file());
    let pictures = pictures.iter().filter(|path| path.is_file()).cloned();
    for path in pictures.chain(job.sheets()).chain(legend) {
        let target = out.join(path.file_name().unwrap_or_default());
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        match std::fs::read(&target) {
            // An earlier attempt has copied it.
            Ok(there) if there == bytes => {}
            Ok(_) => return Err(taken(&target)),
            Err(_) => crate::fs::write_atomic(&target, &bytes).map_err(Error::io("write", &target))?,
        }
    }
    Ok(())
}

fn taken(path: &Path) -> Error {
    Error::invalid(path, "there is such a file already", "copy to another folder, or put it somewhere else")
}
