//! Photos of a folder and the masks that belong to them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Error;
use super::kind::{Fate, LeftOut, fate, was_photo};
use crate::protocol::PhotoReading;

/// What is in a folder of photos.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PhotoFolder {
    /// The photos, sorted by path.
    pub photos: Vec<PathBuf>,
    /// What is none, and why.
    pub left_out: Vec<LeftOut>,
}

impl PhotoFolder {
    /// What is in `folder`: photos are files that end in jpg, jpeg, jfif, png or webp, in any case, and are nothing else by their
    /// content. Names that begin with a dot are not looked at (temporary files, and the `._` files macOS leaves). Subfolders
    /// are not entered.
    ///
    /// # Errors
    /// The folder cannot be read, or two photos differ in nothing but the ending (they would share a mask).
    pub fn read(folder: &Path, reading: PhotoReading) -> Result<Self, Error> {
        let unreadable = |source| Error::Read { path: folder.to_path_buf(), source };
        let mut found = Self::default();
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            match fate(&path) {
                _ if reading.is_stored() => found.photos.extend(was_photo(&path).then_some(path)),
                Fate::Photo => found.photos.push(path),
                Fate::LeftOut(why) => found.left_out.push(LeftOut { path, why }),
                Fate::Hidden => {}
            }
        }
        found.photos.sort();
        found.left_out.sort_by(|a, b| a.path.cmp(&b.path));
        let mut by_stem: HashMap<OsString, &PathBuf> = HashMap::new();
        for photo in &found.photos {
            let stem = photo.file_stem().unwrap_or_default().to_os_string();
            if let Some(first) = by_stem.insert(stem, photo) {
                return Err(Error::SameStem { first: first.clone(), second: photo.clone() });
            }
        }
        Ok(found)
    }

    /// The same, where there is a photo in it.
    ///
    /// # Errors
    /// There is none.
    pub fn with_photos(self, folder: &Path) -> Result<Self, Error> {
        if self.photos.is_empty() {
            return Err(Error::NoPhotos { folder: folder.to_path_buf(), left_out: self.left_out });
        }
        Ok(self)
    }
}

/// The photos of `folder`, sorted by path.
///
/// # Errors
/// Those of [`PhotoFolder::read`], and none.
pub fn list_photos(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    Ok(PhotoFolder::read(folder, PhotoReading::Converted)?.with_photos(folder)?.photos)
}

/// Where the mask of `photo` lies in the folder of masks: `images/beach.jpg` has `masks/beach.png`. The file need not exist.
pub fn mask_path(masks: &Path, photo: &Path) -> PathBuf {
    let mut name = photo.file_stem().unwrap_or_default().to_os_string();
    name.push(".png");
    masks.join(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn folder_with(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(folder.path().join(name), b"content is not looked at").unwrap();
        }
        folder
    }

    #[test]
    fn photos_are_sorted_and_hidden_files_are_not_photos() {
        let folder = folder_with(&["snow.webp", "Beach.JPG", "city.png", "._city.png", "notes.txt"]);
        std::fs::create_dir(folder.path().join("old.png")).unwrap();
        let names: Vec<_> = list_photos(folder.path())
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["Beach.JPG", "city.png", "snow.webp"]);
    }

    #[test]
    fn a_folder_without_photos_says_what_lies_there_instead() {
        let folder = folder_with(&["IMG_1.HEIC", "IMG_2.HEIC"]);
        let message = list_photos(folder.path()).unwrap_err().to_string();
        assert!(
            message.contains("holds no photos") && message.contains("IMG_1.HEIC (no picture) and 1 more"),
            "{message}"
        );
        let message = list_photos(folder_with(&[]).path()).unwrap_err().to_string();
        assert!(message.ends_with("put JPEG, PNG or WebP files there"), "{message}");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let message = list_photos(Path::new("/nowhere/images")).unwrap_err().to_string();
        assert!(message.starts_with("cannot read /nowhere/images:"), "{message}");
    }

    #[test]
    fn two_photos_cannot_share_a_mask() {
        let folder = folder_with(&["cat.jpg", "cat.png", "dog.png"]);
        let message = list_photos(folder.path()).unwrap_err().to_string();
        assert!(message.contains("cat.jpg") && message.contains("cat.png"), "{message}");
        assert_eq!(mask_path(Path::new("masks"), Path::new("images/cat.v2.jpg")), Path::new("masks/cat.v2.png"));
    }
}
