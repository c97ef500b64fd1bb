//! What can be known about a training before it starts, so that bad input is refused while nothing is written yet.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::concept::photo_name;
use super::{Concept, Error};
use crate::image::{self, Colours, PhotoFolder};
use crate::protocol::{Crop, LrScheduler, PhotoReading, TrainConfig, class_word_problem};

/// A photo that can be trained on.
#[derive(Debug, Clone, PartialEq)]
pub struct Photo {
    /// Where it is.
    pub path: PathBuf,
    /// Width and height in pixels, as shown (after EXIF rotation).
    pub size: (u32, u32),
    /// How its EXIF or XMP turned it, in words.
    pub turned: Option<&'static str>,
    /// What became of its colour profile.
    pub colours: Colours,
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

impl Photo {
    /// What of the photo is trained on, in words: "1856 × 2475, the middle 1856 × 1856".
    pub fn how_cropped(&self, crop: Crop) -> String {
        let (width, height) = self.size;
        let side = width.min(height);
        let turned = self.turned.map(|turned| format!("{turned} by its EXIF"));
        let converted = match &self.colours {
            Colours::Converted(name) => Some(format!("{name} to sRGB")),
            _ => None,
        };
        let done: Vec<String> = turned.into_iter().chain(converted).collect();
        let size = match done.join(", ") {
            done if !done.is_empty() => format!("{width} × {height} ({done})"),
            _ => format!("{width} × {height}"),
        };
        match crop {
            _ if width == height => format!("{size}, whole"),
            Crop::Center => format!("{size}, the middle {side} × {side}"),
            Crop::Squash => format!("{size}, whole, squashed to a square"),
        }
    }
}

impl Preflight {
    /// Refuse a training with `config` that cannot be with these photos.
    ///
    /// # Errors
    /// A photo to be held out that is not there, or too few of them.
    pub fn check_training(&self, config: &TrainConfig) -> Result<(), Error> {
        let names: Vec<String> = self.photos.iter().map(|photo| photo_name(&photo.path)).collect();
        config.held_out(&names)?;
        Ok(())
    }

    /// What a training with `config` should know of them: also that it asks for masks where there are none.
    pub fn training_warnings(&self, config: &TrainConfig) -> Vec<String> {
        let mut warnings = self.warnings.clone();
        if config.masked_loss && self.photos.iter().all(|photo| photo.mask.is_none()) {
            warnings.push("masked_loss is of no use: no photo has a mask, so whole pictures count".into());
        }
        if config.hold_out.is_some() && config.validate_every == 0 {
            let said = "hold_out: the loss of the photo that is held out is never measured, as validate_every is 0";
            warnings.push(said.into());
        }
        warnings
    }
}

/// The settings a training will use, by name, as people read them.
pub fn effective_settings(config: &TrainConfig) -> Vec<(&'static str, String)> {
    let falls = config.lr_scheduler != LrScheduler::Constant;
    let falls = if falls { format!(" ({} to 0)", config.text("lr_scheduler")) } else { String::new() };
    let warmup = config.lr_warmup_steps;
    let warmup = if warmup > 0 { format!(", {warmup} steps of warm-up") } else { String::new() };
    let adam = format!("learning rate {}{falls}{warmup}, weight decay {}", config.learning_rate, config.weight_decay);
    let mut rows = vec![
        ("method", format!("{}, preset {}", config.declaration().title, config.preset)),
        ("steps", format!("{} × {} images", config.steps, config.batch_size)),
        ("AdamW", adam),
    ];
    rows.extend(config.method.in_words());
    if config.method.captions(config) == [config.caption.as_str()] {
        rows.push(("caption", config.caption.clone()));
    }
    rows.extend([
        ("flips", config.flip_probability.to_string()),
        ("seed", config.seed.to_string()),
        ("numbers", format!("{}, the learned ones and the loss f32", config.dtype)),
    ]);
    if config.photo_repeats > 1 {
        rows.push(("passes", format!("each photo {} times in a pass, which is shuffled", config.photo_repeats)));
    }
    if let Some(name) = &config.hold_out {
        let measured =
            if config.validate_every > 0 { "its loss is measured" } else { "nor measured, as validate_every is 0" };
        rows.push(("held out", format!("{name}: not trained on, {measured}; scores are against it too")));
    }
    let mut extra = Vec::new();
    if config.masked_loss {
        extra.push("masked loss");
    }
    if config.gradient_checkpointing {
        extra.push("gradient checkpointing");
    }
    if config.evaluate {
        extra.push("scores at the end");
    }
    if !extra.is_empty() {
        rows.push(("with", extra.join(", ")));
    }
    let own = config.declaration().settings;
    let rest = config.rows().into_iter().filter(|row| !own.contains(row) && !IN_WORDS.contains(&row.name));
    let rest = rest.map(|row| format!("{} {}", row.name, config.text(row.name)));
    rows.push(("besides", rest.collect::<Vec<_>>().join(", ")));
    rows
}

/// The common settings that [`effective_settings`] has words for; it lists all others.
const IN_WORDS: [&str; 17] = [
    "method",
    "preset",
    "steps",
    "batch_size",
    "learning_rate",
    "lr_scheduler",
    "lr_warmup_steps",
    "weight_decay",
    "caption",
    "flip_probability",
    "seed",
    "dtype",
    "photo_repeats",
    "hold_out",
    "masked_loss",
    "gradient_checkpointing",
    "evaluate",
];

/// What is to be said of a photo that teaches little because of its size.
fn size_warning(name: &str, (width, height): (u32, u32)) -> Option<String> {
    let (side, longer) = (width.min(height), width.max(height));
    if side < SMALL {
        return Some(format!("{name}: {width} × {height} is very small: what is learned of it is a blur"));
    }
    (longer > LONG * side)
        .then(|| format!("{name}: {width} × {height} is very long: most of it is cut off, or squashed, for training"))
}

/// Pixels of a side below which a photo shows next to nothing.
const SMALL: u32 = 32;
/// How often longer than wide a photo may be before most of it is lost.
const LONG: u32 = 3;

/// Read every photo and mask of `concept` whole, and look for its base model.
pub fn preflight(concept: &Concept) -> Result<Preflight, Error> {
    preflight_of(concept, PhotoReading::Converted)
}

/// The same with its photos as `reading` has them.
pub fn preflight_of(concept: &Concept, reading: PhotoReading) -> Result<Preflight, Error> {
    if let Some(problem) = class_word_problem(&concept.file.class_word) {
        let (path, remedy) = (concept.folder.join("concept.toml"), "write a plain word there: teapot, dog");
        return Err(Error::invalid(&path, format!("class_word = {:?} {problem}", concept.file.class_word), remedy));
    }
    let mut seen: Vec<(String, String)> = Vec::new();
    concept.base_model()?;
    let images = concept.images();
    if !images.is_dir() {
        return Err(Error::invalid(&images, "no such folder", "put a few JPEG, PNG or WebP photos there"));
    }
    let mut photos = Vec::new();
    let mut warnings = image::left_out_words(&concept.left_out()?);
    for path in PhotoFolder::read(&images, reading)?.with_photos(&images)?.photos {
        let (photo, mask) = concept.look_at_photo(&path, reading)?;
        let mask = mask.map(|_| concept.mask_path(&path));
        let name = photo_name(&path);
        if let (Colours::Left(_), Some(words)) = (&photo.colours, photo.colours.words()) {
            warnings.push(format!("{name}: {words}"));
        }
        let size = photo.pixels.dimensions();
        warnings.extend(size_warning(&name, size));
        let pixels = format!("{size:?} {:x}", Sha256::digest(photo.pixels.as_raw()));
        match seen.iter().find(|(known, _)| *known == pixels) {
            Some((_, same)) => warnings.push(format!("{name}: the same picture as {same}: it counts twice")),
            None => seen.push((pixels, name)),
        }
        photos.push(Photo { path, size, turned: photo.turned, colours: photo.colours, mask });
    }
    let bare = photos.iter().filter(|photo| photo.mask.is_none()).count();
    if bare > 0 && bare < photos.len() {
        warnings.push(format!("{bare} of {} photos have no mask: they are scored whole", photos.len()));
    }
    Ok(Preflight { photos, warnings })
}
