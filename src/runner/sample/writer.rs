//! A picture on disk: with its record, and its mask beside it.

use std::path::Path;

use ::image::RgbImage;

use crate::image;
use crate::protocol::PictureRecord;
use crate::runner::Error;
use crate::runner::mask_makers::MadeMask;
use crate::workspace::{self, sample_mask};

/// Write `picture` to `path` in `root` with its record, and its mask, if it has one, to `masks/` beside it.
pub fn write_picture(
    root: &Path,
    path: &Path,
    (picture, made): (&RgbImage, Option<&MadeMask>),
    record: &PictureRecord,
) -> Result<(), Error> {
    let path = root.join(path);
    let mask = sample_mask(&path);
    if let Some(folder) = mask.parent() {
        crate::fs::create_below(root, folder).map_err(workspace::Error::io("create", folder))?;
    }
    image::write_picture(&path, picture, record)?;
    match made {
        Some(made) => made.write(&mask),
        // That of an earlier picture of this name is not its.
        None => match std::fs::remove_file(&mask) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(workspace::Error::io("remove", &mask)(error).into())
            }
            _ => Ok(()),
        },
    }
}
