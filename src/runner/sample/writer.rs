//! Decoding pictures and writing them, while others are denoised.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender};

use super::{Planned, Sampled};
use crate::catversion::{Picture, Undecoded, decode};
use crate::diffusion::{Compute, Decoder, Vae};
use crate::image;
use crate::protocol::PictureRecord;
use crate::runner::Error;
use crate::workspace;

/// A denoised picture.
pub(super) struct Made {
    pub planned: Planned,
    pub undecoded: Undecoded,
    pub record: PictureRecord,
}

/// Decodes and writes.
pub(super) struct Writer<'a> {
    pub root: &'a Path,
    pub vae: &'a Vae,
    pub decoder: &'a Decoder,
    pub compute: &'a Compute,
}

impl Writer<'_> {
    /// Write what comes until nothing more does, nobody listens any more, or something goes wrong.
    pub fn run(&self, batches: &Receiver<Vec<Made>>, told: &Sender<Result<Sampled, Error>>) {
        for made in batches.iter().flatten() {
            let sampled = self.write(made);
            let failed = sampled.is_err();
            if told.send(sampled).is_err() || failed {
                return;
            }
        }
    }

    fn write(&self, made: Made) -> Result<Sampled, Error> {
        let Made { planned, undecoded, record } = made;
        let picture = self.compute.run(|| decode(self.vae, self.decoder, &undecoded))?;
        write_picture(self.root, &planned.path, &picture, &record)?;
        Ok(Sampled { planned, picture, step: record.trained_steps() })
    }
}

/// Write `picture` to `path` in `root` with its record, and its mask to `masks/` beside it.
pub fn write_picture(root: &Path, path: &Path, picture: &Picture, record: &PictureRecord) -> Result<(), Error> {
    let path = root.join(path);
    let mask = mask_path(&path);
    if let Some(folder) = mask.parent() {
        std::fs::create_dir_all(folder).map_err(workspace::Error::io("create", folder))?;
    }
    image::write_picture(&path, &picture.image, record)?;
    Ok(image::write_png(&mask, &picture.mask, &[])?)
}

/// `masks/<name>.png` beside a picture.
pub fn mask_path(picture: &Path) -> PathBuf {
    let folder = picture.parent().unwrap_or(Path::new(""));
    folder.join("masks").join(picture.file_name().unwrap_or_default())
}
