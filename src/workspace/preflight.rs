//! What can be known about a training before it starts, so that bad input is refused while nothing is written yet.

use std::path::{Path, PathBuf};

use super::{Concept, Error};

/// A photo that can be trained on.
#[derive(Debug, Clone, PartialEq)]
pub struct Photo {
    /// Where it is.
    pub path: PathBuf,
    /// Width and height in pixels, as shown (after EXIF rotation).
    pub size: (u32, u32),
    /// Its mask, where there is one.
    pub mask: Option<PathBuf>,
}

/// A concept that can be trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Preflight {
    /// Its photos.
    pub photos: Vec<Photo>,
    /// What the user should know though it stops nothing.
    pub warnings: Vec<String>,
}

/// Read every photo and mask of `concept` whole, and look for its base model.
pub fn preflight(concept: &Concept) -> Result<Preflight, Error> {
    let mut warnings = Vec::new();
    let model = concept.base_model();
    if !model.join("model_index.json").is_file() && !model.is_file() {
        let remedy = "set base_model in concept.toml to a diffusers folder";
        return Err(Error::invalid(&model, "the base model is not there", remedy));
    }
    let images = concept.images();
    let paths = concept.photos()?;
    if paths.is_empty() {
        return Err(Error::invalid(&images, "no photo in this folder", "put a few jpg, png or webp files there"));
    }
    let mut photos = Vec::new();
    for path in paths {
        let size = read(&path, "replace or remove this photo")?;
        let mask = Some(concept.mask_path(&path)).filter(|mask| mask.is_file());
        if let Some(mask) = &mask {
            let mask_size = read(mask, "draw it again or remove it")?;
            if mask_size != size {
                let problem =
                    format!("the mask is {} × {}, its photo {} × {}", mask_size.0, mask_size.1, size.0, size.1);
                return Err(Error::invalid(mask, problem, "draw it at the photo's size"));
            }
        }
        photos.push(Photo { path, size, mask });
    }
    let bare = photos.iter().filter(|photo| photo.mask.is_none()).count();
    if bare > 0 && bare < photos.len() {
        warnings.push(format!("{bare} of {} photos have no mask: they are scored whole", photos.len()));
    }
    Ok(Preflight { photos, warnings })
}

/// Decode the picture at `path`; its size as shown.
fn read(path: &Path, remedy: &str) -> Result<(u32, u32), Error> {
    use ::image::{DynamicImage, ImageDecoder as _, ImageReader};
    let failed = |error: &dyn std::fmt::Display| {
        Error::invalid(path, format!("this is not a picture that can be read ({error})"), remedy)
    };
    let mut decoder = ImageReader::open(path)
        .map_err(Error::io("read", path))?
        .with_guessed_format()
        .map_err(Error::io("read", path))?
        .into_decoder()
        .map_err(|error| failed(&error))?;
    let orientation = decoder.orientation().map_err(|error| failed(&error))?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|error| failed(&error))?;
    picture.apply_orientation(orientation);
    Ok((picture.width(), picture.height()))
}
