//! Decoding and shrinking pictures on a thread of their own, with a bounded cache.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::time::SystemTime;

use ::image::{RgbImage, imageops};

/// Shrunk pictures kept.
const KEPT: usize = 256;
/// Requests that may wait; older ones are no longer on the screen, and are asked for again if they come back.
const WAITING: usize = 64;

/// A picture at a size.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    path: PathBuf,
    /// Of the photo, to be shown over it.
    mask: Option<PathBuf>,
    /// When the file was last written: a new picture under an old name is another picture.
    modified: [Option<SystemTime>; 2],
    width: u32,
    height: u32,
}

impl Key {
    /// The picture at `path` with its mask, to fit into `width` × `height` pixels.
    pub fn new(path: &Path, mask: Option<&Path>, width: u32, height: u32) -> Self {
        let modified = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
        let modified = [modified(path), mask.and_then(modified)];
        Self { path: path.to_path_buf(), mask: mask.map(Path::to_path_buf), modified, width, height }
    }
}

/// A picture that has come: shrunk, or not readable; none when it was given up.
pub struct Loaded {
    key: Key,
    picture: Option<Result<RgbImage, ()>>,
}

/// What is known of a key.
struct Entry {
    /// None while it is on its way.
    picture: Option<Result<RgbImage, ()>>,
    /// When it was last asked for.
    used: u64,
}

/// The cache and its thread, which ends with it.
pub struct Loader {
    requests: Sender<Key>,
    entries: HashMap<Key, Entry>,
    clock: u64,
}

impl Loader {
    /// A loader that calls `loaded` on its thread for every picture.
    pub fn new(loaded: impl Fn(Loaded) + Send + 'static) -> Self {
        let (requests, receiver) = channel::<Key>();
        std::thread::spawn(move || {
            let mut waiting = Vec::new();
            while let Some(key) = waiting.pop().or_else(|| receiver.recv().ok()) {
                let picture = Some(load(&key));
                loaded(Loaded { key, picture });
                waiting.extend(receiver.try_iter());
                // The newest are on the screen: they come first.
                let old = waiting.len().saturating_sub(WAITING);
                for key in waiting.drain(..old) {
                    loaded(Loaded { key, picture: None });
                }
            }
        });
        Self { requests, entries: HashMap::new(), clock: 0 }
    }

    /// The picture of `key`, if it has come; else it is asked for.
    pub fn get(&mut self, key: Key) -> Option<Result<&RgbImage, ()>> {
        self.clock += 1;
        let used = self.clock;
        let requests = &self.requests;
        let entry = self.entries.entry(key).or_insert_with_key(|key| {
            // The thread lives as long as this sender.
            let _ = requests.send(key.clone());
            Entry { picture: None, used }
        });
        entry.used = used;
        entry.picture.as_ref().map(|picture| picture.as_ref().map_err(|&()| ()))
    }

    /// Keep a picture that has come.
    pub fn take(&mut self, loaded: Loaded) {
        if loaded.picture.is_none() {
            self.entries.remove(&loaded.key);
        } else if let Some(entry) = self.entries.get_mut(&loaded.key) {
            entry.picture = loaded.picture;
        }
        while self.entries.len() > KEPT {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.entries.remove(&key));
        }
    }

    /// Whether everything asked for has come.
    pub fn is_settled(&self) -> bool {
        self.entries.values().all(|entry| entry.picture.is_some())
    }
}

/// Decode and fit.
fn load(key: &Key) -> Result<RgbImage, ()> {
    let mut picture = crate::image::read_photo(&key.path).map_err(|_| ())?;
    // A mask that cannot be read is shown as none: the preflight says what is wrong with it.
    if let Some(Ok(mask)) = key.mask.as_ref().map(|mask| crate::image::read_mask(mask, picture.dimensions())) {
        for (pixel, mask) in picture.pixels_mut().zip(mask.pixels()) {
            // A cold grey outside, as it is inside: the shape is seen on any photo.
            let left = 255 - u32::from(mask.0[0]);
            let mix =
                |value: u8, tint: u32| ((u32::from(value) * (255 - left * 3 / 4) + tint * (left * 3 / 4)) / 255) as u8;
            let [r, g, b] = pixel.0;
            pixel.0 = [mix(r, 40), mix(g, 48), mix(b, 72)];
        }
    }
    let (width, height) = picture.dimensions();
    let scale = (f64::from(key.width) / f64::from(width)).min(f64::from(key.height) / f64::from(height));
    let fit = |side: u32, most: u32| ((f64::from(side) * scale).round() as u32).clamp(1, most.max(1));
    let (to_width, to_height) = (fit(width, key.width), fit(height, key.height));
    // Far smaller: an average first, which is fast, then a good filter.
    let near = (to_width * 3, to_height * 3);
    let picture =
        if width > near.0 && height > near.1 { imageops::thumbnail(&picture, near.0, near.1) } else { picture };
    Ok(imageops::resize(&picture, to_width, to_height, imageops::FilterType::CatmullRom))
}
