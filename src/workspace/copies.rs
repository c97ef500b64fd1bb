//! Copies of a sampling's pictures in a folder of the user's. The runner makes them when all pictures are made, so that they
//! come whoever follows the job, and however often it had to begin again.

use std::io::ErrorKind;
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
    let legend = Some(job.legend()).filter(|legend| job.has(legend));
    let pictures = pictures.iter().filter(|path| job.has(path)).cloned();
    for path in pictures.chain(job.sheets()).chain(legend) {
        let target = out.join(path.file_name().unwrap_or_default());
        match target.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                crate::fs::copy(&path, &target).map_err(Error::io("write", &target))?;
            }
            Err(error) => return Err(Error::io("look at", &target)(error)),
            // An earlier attempt has copied it.
            Ok(_) if same(&path, &target)? => {}
            Ok(_) => return Err(taken(&target)),
        }
    }
    Ok(())
}

/// Whether two files are the same bytes.
fn same(path: &Path, target: &Path) -> Result<bool, Error> {
    let hash = |path: &Path| crate::fs::sha256(path).map_err(Error::io("read", path));
    Ok(hash(path)? == hash(target)?)
}

fn taken(path: &Path) -> Error {
    Error::invalid(path, "there is such a file already", "copy to another folder, or put it somewhere else")
}
