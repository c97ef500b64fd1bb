//! The files of the editor: pictures that are stepped through, masks that are read, saved and deleted.

use std::path::{Path, PathBuf};

use image::{GrayImage, RgbImage};

use super::MaskEditor;
use crate::client::words::doubtful;
use crate::fs::Show;
use crate::image::{self as files, MaskCanvas};
use crate::protocol::doubt;
use crate::tui::deeds::{self, Effect};
use crate::tui::overlays::Reply;
use crate::workspace::sample_mask;

/// Where the mask of the picture at `path` is: for a photo beside the photos' folder, for a sample in `masks` beside it.
pub(super) fn mask_path(path: &Path) -> PathBuf {
    match path.parent().filter(|_| is_photo(path)) {
        Some(folder) => files::mask_path(&folder.with_file_name("masks"), path),
        None => sample_mask(path),
    }
}

impl MaskEditor {
    /// Read the picture and its mask, and begin with them.
    pub(super) fn read(&mut self) {
        self.points.leave();
        (self.corners, self.zoom, self.drawn, self.said) = (Vec::new(), None, None, None);
        (self.text, self.held, self.emptying) = (None, None, false);
        self.count_lacking();
        let Some(shot) = self.shots.get(self.index) else { return };
        self.picture = files::read_photo(&shot.path).map_err(|error| error.to_string());
        let (width, height) = self.picture.as_ref().map_or((1, 1), RgbImage::dimensions);
        let path = mask_path(&shot.path);
        let mut mask = GrayImage::new(width, height);
        if path.is_file() {
            match read_mask(&shot.path, &path, (width, height)) {
                Ok(there) => {
                    mask = there;
                    // Only a PNG says how it was made.
                    self.text = Some(files::read_png_text(&path).unwrap_or_default());
                }
                Err(error) => self.said = Some(format!("{error}: an empty one is begun")),
            }
        }
        if let (None, Some(confidence)) = (&self.said, shot.doubt) {
            self.said = Some(format!("{}: draw it, or S keeps it as it is", doubtful(confidence)));
        }
        self.pointer = (width as f32 / 2.0, height as f32 / 2.0);
        self.radius = (width.min(height) as f32 / 16.0).max(1.0);
        self.saved.clone_from(&mask);
        self.canvas = MaskCanvas::new(mask);
    }

    /// Delete the mask's file.
    pub(super) fn delete(&mut self) -> Reply {
        let Some(shot) = self.shots.get(self.index) else { return Reply::Stay };
        let path = mask_path(&shot.path);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                self.said = Some(format!("cannot delete {}: {error}", path.shown()));
                return Reply::Stay;
            }
            _ => {}
        }
        self.text = None;
        self.said = Some(format!("deleted: {}", path.shown()));
        self.mended()
    }

    /// The mask's file is as the mask is.
    fn mended(&mut self) -> Reply {
        let Some(shot) = self.shots.get_mut(self.index) else { return Reply::Stay };
        shot.doubt = doubt(files::mask_confidence(&mask_path(&shot.path)));
        let effects = vec![Effect::Mended(shot.path.clone()), deeds::taken_up(&shot.path)];
        self.saved.clone_from(self.canvas.mask());
        self.count_lacking();
        Reply::Also(Effect::Many(effects))
    }

    /// Save the mask, and say so. One that marks nothing only when asked `again`.
    pub(super) fn save(&mut self, again: bool) -> Reply {
        let Some(shot) = self.shots.get(self.index) else { return Reply::Stay };
        let path = mask_path(&shot.path);
        if self.canvas.mask().iter().all(|&value| value < 128) {
            let there = path.is_file();
            match (is_photo(&shot.path), again) {
                (true, _) if !there => {
                    self.said = Some("nothing is marked: there is nothing to save".into());
                    return Reply::Stay;
                }
                (true, true) => return self.delete(),
                (true, false) => {
                    self.said = Some("nothing is marked, as no photo's mask can be: S again deletes the file".into());
                    self.emptying = true;
                    return Reply::Stay;
                }
                (false, false) => {
                    let what = "nothing is marked: S again saves that the concept is not in it, D deletes the file";
                    self.said = Some(what.into());
                    self.emptying = true;
                    return Reply::Stay;
                }
                (false, true) => {}
            }
        }
        // One that is doubtful is taken for one's own as it is.
        if !self.is_changed() && self.text.is_some() && path.is_file() && shot.doubt.is_none() {
            self.said = Some(format!("✓ unchanged: {}", path.shown()));
            return Reply::Stay;
        }
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(|error| error.to_string());
        let text = self.points.how(self.canvas.mask(), self.text.as_deref());
        let how: Vec<(&str, &str)> = text.iter().map(|(key, value)| (&**key, &**value)).collect();
        let written =
            written.and_then(|()| files::write_png(&path, self.canvas.mask(), &how).map_err(|error| error.to_string()));
        if let Err(error) = written {
            self.said = Some(error);
            return Reply::Stay;
        }
        self.text = Some(text);
        self.said = Some(format!("✓ {}", path.shown()));
        self.mended()
    }

    /// Go to the next picture without a mask or with a doubtful one, or before the first one round to it; with `any` simply to
    /// the next.
    pub(super) fn next(&mut self, any: bool, forwards: bool) {
        let count = self.shots.len();
        let order = (1..=count).map(|i| if forwards { self.index + i } else { self.index + count - i } % count);
        let lacks = |index: &usize| {
            let shot = &self.shots[*index];
            any || shot.doubt.is_some() || !mask_path(&shot.path).is_file()
        };
        match order.into_iter().find(lacks) {
            Some(index) if index != self.index => {
                self.index = index;
                self.read();
            }
            _ => self.said = Some("no other lacks a mask or has a doubtful one: N and P go through all".into()),
        }
    }

    /// How many of the pictures have no mask.
    fn count_lacking(&mut self) {
        self.lacking = self.shots.iter().filter(|shot| !mask_path(&shot.path).is_file()).count();
    }
}

/// Whether a picture is a photo of a concept, not a sample.
fn is_photo(path: &Path) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with("images"))
}

/// The mask of a picture. That of a sample may mark nothing: nothing of the concept is in it.
fn read_mask(picture: &Path, mask: &Path, size: (u32, u32)) -> Result<GrayImage, files::Error> {
    if is_photo(picture) {
        return files::read_mask(mask, size);
    }
    let read = files::read_any_mask(mask)?;
    if read.dimensions() == size {
        return Ok(read);
    }
    Err(files::Error::MaskSize { path: mask.to_owned(), found: read.dimensions(), expected: size })
}
