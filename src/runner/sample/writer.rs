//! A picture on disk: with its record, and its mask beside it.

use std::path::{Path, PathBuf};

use crate::catversion::{Picture, SMALLEST_PART};
use crate::image;
use crate::protocol::PictureRecord;
use crate::runner::Error;
use crate::workspace;

/// Write `picture` to `path` in `root` with its record, and its mask to `masks/` beside it, which says how it was made. Where
/// nobody knows where the concept is, there is no mask.
pub fn write_picture(root: &Path, path: &Path, picture: &Picture, record: &PictureRecord) -> Result<(), Error> {
    let path = root.join(path);
    let mask = mask_path(&path);
    if let Some(folder) = mask.parent() {
        crate::fs::create_below(root, folder).map_err(workspace::Error::io("create", folder))?;
    }
    image::write_picture(&path, &picture.image, record)?;
    let Some(pixels) = &picture.mask else {
        // That of an earlier picture of this name is not its.
        return match std::fs::remove_file(&mask) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(workspace::Error::io("remove", &mask)(error).into())
            }
            _ => Ok(()),
        };
    };
    let how = how(picture, record);
    let how: Vec<(&str, &str)> = how.iter().map(|(key, value)| (*key, value.as_str())).collect();
    Ok(image::write_png(&mask, pixels, &how)?)
}

/// What the mask of a sample says of itself.
fn how(picture: &Picture, record: &PictureRecord) -> Vec<(&'static str, String)> {
    let tokens: Vec<String> = picture.tokens.iter().map(usize::to_string).collect();
    let mut how = vec![
        ("mask_made_by", "attention".to_owned()),
        ("caption", record.picture.prompt.clone()),
        ("tokens", tokens.join(", ")),
        ("steps", record.picture.steps.to_string()),
        ("threshold", "otsu".into()),
        ("smallest_part", SMALLEST_PART.to_string()),
        ("seed", record.picture.seed.to_string()),
        ("base_model", record.base_model_sha256.clone()),
    ];
    how.extend(record.checkpoint.as_ref().and_then(|used| Some(("checkpoint", used.sha256.clone()?))));
    how
}

/// `masks/<name>.png` beside a picture.
pub fn mask_path(picture: &Path) -> PathBuf {
    let folder = picture.parent().unwrap_or(Path::new(""));
    folder.join("masks").join(picture.file_name().unwrap_or_default())
}
