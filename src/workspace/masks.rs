//! Masks of a concept brought in from elsewhere, and looked over.

use std::path::{Path, PathBuf};

use ::image::{GrayImage, RgbImage};
use rayon::prelude::*;

use super::{Concept, Error, modified};
use crate::image::{self, LeftOut};
use crate::protocol::{MaskRecord, SampleRecord, doubt, two_digits};

/// What came of bringing masks in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MaskImport {
    /// Photos that have got a mask.
    pub imported: Vec<String>,
    /// Photos that had one and kept it.
    pub kept: Vec<String>,
    /// Files of masks that belong to no photo.
    pub without_photo: Vec<String>,
    /// Photos that have no mask now.
    pub without_mask: Vec<String>,
    /// Files that cannot be masks, and why.
    pub refused: Vec<(String, String)>,
}

/// What is to be said of the mask of a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct MaskProblem {
    /// The photo or sample.
    pub picture: PathBuf,
    /// What of its mask.
    pub problem: String,
    /// Whether it can be scored with it all the same.
    pub usable: bool,
    /// What the mask says of its own worth, where it says that.
    pub confidence: Option<f64>,
}

/// What is in a folder of masks and is none: masks are PNGs.
pub(super) fn no_masks(folder: &Path) -> Result<Vec<LeftOut>, Error> {
    let mut left_out = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_file() && !hidden && !is_png(&path) {
            left_out.push(LeftOut { path, why: NO_MASK.into() });
        }
    }
    left_out.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(left_out)
}

/// Why a file in a folder of masks is none.
const NO_MASK: &str = "not a PNG, as masks are (JPEG blurs their edges): save it as one";

fn is_png(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png"))
}

/// Where the mask of a sample is: in `masks` beside it.
pub fn sample_mask(picture: &Path) -> PathBuf {
    image::mask_path(&picture.with_file_name("masks"), picture)
}

/// The mask in the file at `path` as it is now; the file is opened only where it is another than the `known` one.
pub fn look_at_mask(path: &Path, known: Option<MaskRecord>) -> Option<MaskRecord> {
    let modified = modified(path)?;
    let same = known.filter(|known| known.modified == modified);
    Some(same.unwrap_or_else(|| MaskRecord { modified, confidence: image::mask_confidence(path) }))
}

/// Have the masks of `samples` of the concept in `folder` as their files are now.
pub fn look_at_masks(folder: &Path, samples: &mut [SampleRecord]) {
    samples.par_iter_mut().with_min_len(64).for_each(|sample| {
        sample.mask = look_at_mask(&sample_mask(&folder.join(&sample.path)), sample.mask);
    });
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Concept {
    /// Bring in the masks of the photos from the PNGs in `folder`, matched by name. A photo that has a mask keeps it unless
    /// `replace`. Each mask says where it came from, and what its source says of how it was made.
    ///
    /// # Errors
    /// A folder that cannot be read, a photo that cannot, a mask that cannot be written.
    pub fn import_masks(&self, folder: &Path, replace: bool) -> Result<MaskImport, Error> {
        let folder = std::path::absolute(folder).map_err(Error::io("find", folder))?;
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
            let path = entry.map_err(Error::io("read", &folder))?.path();
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if path.is_file() && !hidden {
                files.push(path);
            }
        }
        files.sort();
        let photos = self.photos()?;
        let mut report = MaskImport::default();
        for file in &files {
            match photos.iter().find(|photo| photo.file_stem() == file.file_stem()) {
                _ if !is_png(file) => report.refused.push((name(file), NO_MASK.into())),
                None => report.without_photo.push(name(file)),
                Some(photo) if !replace && self.mask_path(photo).is_file() => report.kept.push(name(photo)),
                Some(photo) => {
                    let size = image::read_photo(photo)?.dimensions();
                    match image::read_mask(file, size) {
                        Ok(mask) => {
                            write_imported(&self.mask_of(photo), &mask, file)?;
                            report.imported.push(name(photo));
                        }
                        Err(problem) => report.refused.push((name(file), problem.to_string())),
                    }
                }
            }
        }
        self.say_what_lacks(&photos, &mut report);
        Ok(report)
    }

    /// Make the masks of photos with transparency from it.
    ///
    /// # Errors
    /// A photo that cannot be read, a mask that cannot be written.
    pub fn masks_from_alpha(&self, replace: bool) -> Result<MaskImport, Error> {
        let photos = self.photos()?;
        let mut report = MaskImport::default();
        for photo in &photos {
            if !replace && self.mask_path(photo).is_file() {
                report.kept.push(name(photo));
                continue;
            }
            match image::read_alpha(photo)? {
                None => report.refused.push((name(photo), "it has no transparency".into())),
                Some(mask) if mask.iter().all(|&value| value == 255) => {
                    report.refused.push((name(photo), "it is opaque everywhere".into()));
                }
                Some(mask) if mask.iter().all(|&value| value < 128) => {
                    report.refused.push((name(photo), "it is transparent everywhere".into()));
                }
                Some(mask) => {
                    self.write_mask(photo, &mask, &[("mask_made_by", "alpha"), ("source", &name(photo))])?;
                    report.imported.push(name(photo));
                }
            }
        }
        self.say_what_lacks(&photos, &mut report);
        Ok(report)
    }

    fn say_what_lacks(&self, photos: &[PathBuf], report: &mut MaskImport) {
        let lacking = photos.iter().filter(|photo| !self.mask_path(photo).is_file());
        report.without_mask = lacking.map(|photo| name(photo)).collect();
    }

    /// Where the mask of any picture goes: among the concept's for a photo of it, else in `masks` beside it.
    pub fn mask_of(&self, picture: &Path) -> PathBuf {
        match picture.parent() {
            Some(folder) if folder != self.images() => sample_mask(picture),
            _ => self.mask_path(picture),
        }
    }

    /// Write the mask of `picture`, a photo or any other, with how it was made as text in it.
    ///
    /// # Errors
    /// The file system refused.
    pub fn write_mask(&self, picture: &Path, mask: &GrayImage, how: &[(&str, &str)]) -> Result<PathBuf, Error> {
        let path = self.mask_of(picture);
        let folder = path.parent().unwrap_or(&self.folder);
        // The folder of the photos' masks may be a link of this user's own; one of samples never is.
        if !(folder == self.folder.join("masks") && folder.is_dir()) {
            crate::fs::create_below(folder.parent().unwrap_or(folder), folder).map_err(Error::io("create", folder))?;
        }
        image::write_png(&path, mask, how)?;
        Ok(path)
    }

    /// What is to be said of the masks of all photos and of all samples, also of runs and scorings: masks that are missing,
    /// empty, full, of another size, coloured or doubtful.
    ///
    /// # Errors
    /// A photo or sample that cannot be read.
    pub fn check_masks(&self) -> Result<Vec<MaskProblem>, Error> {
        let mut problems = Vec::new();
        for photo in self.photos()? {
            let picture = image::read_photo(&photo)?;
            problems.extend(check(&photo, &picture, &self.mask_path(&photo), true));
        }
        let mut folders: Vec<PathBuf> = self.batches()?.iter().map(|batch| batch.path().to_owned()).collect();
        for run in self.runs()? {
            folders.push(run.path().join("samples"));
            folders.extend(sides(&run.evaluation()));
        }
        for job in self.jobs() {
            folders.extend(sides(job.path()));
        }
        for folder in folders {
            for file in Self::picture_files(&folder).into_iter().filter(|file| file.whole) {
                let path = folder.join(&file.name);
                let picture = image::read_photo(&path)?;
                problems.extend(check(&path, &picture, &sample_mask(&path), false));
            }
        }
        Ok(problems)
    }
}

/// The folders of pictures that a scoring in `folder` has sampled, sorted.
fn sides(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut sides: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    sides.sort();
    sides
}

/// Write to `target` the mask that was read from `source`, with what the source says of how it was made, and with its path and
/// hash.
pub(super) fn write_imported(target: &Path, mask: &GrayImage, source: &Path) -> Result<(), Error> {
    let folder = target.parent().unwrap_or(target);
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let sha256 = crate::fs::sha256(source).map_err(Error::io("read", source))?;
    // One that is no PNG says nothing.
    let mut text = image::read_png_text(source).unwrap_or_default();
    text.retain(|(key, _)| !["source", "source_sha256"].contains(&key.as_str()));
    if !text.iter().any(|(key, _)| key == "mask_made_by") {
        text.insert(0, ("mask_made_by".into(), "import".into()));
    }
    text.push(("source".into(), source.to_string_lossy().into_owned()));
    text.push(("source_sha256".into(), sha256));
    let text: Vec<(&str, &str)> = text.iter().map(|(key, value)| (&**key, &**value)).collect();
    Ok(image::write_png(target, mask, &text)?)
}

/// What is to be said of one mask. That of a sample may be empty: nothing of the concept is in it.
fn check(path: &Path, picture: &RgbImage, mask: &Path, is_photo: bool) -> Option<MaskProblem> {
    let confidence = image::mask_confidence(mask);
    let problem = |problem: String, usable| Some(MaskProblem { picture: path.to_owned(), problem, usable, confidence });
    if !mask.is_file() {
        return problem("it has no mask and is scored whole".into(), true);
    }
    let read = if is_photo { image::read_mask(mask, picture.dimensions()) } else { image::read_any_mask(mask) };
    match read {
        Err(error) => problem(error.to_string(), false),
        Ok(found) if found.dimensions() != picture.dimensions() => {
            let (found, expected) = (found.dimensions(), picture.dimensions());
            problem(image::Error::MaskSize { path: mask.to_owned(), found, expected }.to_string(), false)
        }
        Ok(found) if found.iter().all(|&value| value == 0) => {
            problem("its mask is empty and it is scored as all fill".into(), true)
        }
        Ok(found) if found.iter().all(|&value| value == 255) => {
            problem("its mask marks everything and it is scored whole".into(), true)
        }
        Ok(_) => doubt(confidence).and_then(|confidence| {
            let said = format!("its mask is doubtful ({}): look at it, or draw it by hand", two_digits(confidence));
            problem(said, true)
        }),
    }
}
