//! Decoding and shrinking pictures on a thread of their own, with a cache bounded by its bytes.
//!
//! The drawing thread never waits: it asks, draws something else, and is told. What it has not asked for again in a
//! frame since has been scrolled away, and is not decoded any more.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ::image::{RgbImage, imageops};

use super::masked;

/// Bytes of shrunk pictures kept.
const KEPT: usize = 64 << 20;
/// For how long it is believed that a file has not changed.
const BELIEVED: Duration = Duration::from_secs(1);
/// Files, and when they changed.
const STAMPS: usize = 4096;

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

/// A picture that has come: shrunk, or not readable.
pub struct Loaded {
    key: Key,
    picture: Result<Arc<RgbImage>, ()>,
}

/// What is known of a key.
struct Entry {
    /// None while it is on its way.
    picture: Option<Result<Arc<RgbImage>, ()>>,
    /// The frame in which it was last asked for.
    used: u64,
}

impl Entry {
    fn bytes(&self) -> usize {
        // What cannot be read is not free either.
        self.picture.as_ref().map_or(0, |picture| picture.as_ref().map_or(0, |picture| picture.as_raw().len()) + 256)
    }
}

/// What is still to be decoded; the last is decoded first.
type Wanted = Arc<Mutex<Vec<Key>>>;

/// The cache and its thread, which ends with it.
pub struct Loader {
    wanted: Wanted,
    wake: Sender<()>,
    entries: HashMap<Key, Entry>,
    stamps: HashMap<PathBuf, (Instant, Option<SystemTime>)>,
    frame: u64,
    bytes: usize,
}

impl Loader {
    /// A loader that calls `loaded` on its thread for every picture.
    pub fn new(loaded: impl Fn(Loaded) + Send + 'static) -> Self {
        let wanted = Wanted::default();
        let (wake, woken) = channel::<()>();
        let list = Arc::clone(&wanted);
        std::thread::spawn(move || {
            while woken.recv().is_ok() {
                let next = || list.lock().unwrap_or_else(PoisonError::into_inner).pop();
                while let Some(key) = next() {
                    let picture = load(&key).map(Arc::new);
                    loaded(Loaded { key, picture });
                }
            }
        });
        Self { wanted, wake, entries: HashMap::new(), stamps: HashMap::new(), frame: 0, bytes: 0 }
    }

    /// A frame begins.
    pub fn begin(&mut self) {
        self.frame += 1;
    }

    /// The frame is complete: what waits and was not asked for in it has been scrolled away.
    pub fn end(&mut self) {
        let frame = self.frame;
        let mut gone = Vec::new();
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).retain(|key| {
            let stays = self.entries.get(key).is_some_and(|entry| entry.used == frame);
            if !stays {
                gone.push(key.clone());
            }
            stays
        });
        for key in gone {
            self.entries.remove(&key);
        }
    }

    /// The key of the picture at `path` with its mask, to fit into `width` × `height` pixels.
    pub fn key(&mut self, path: &Path, mask: Option<&Path>, width: u32, height: u32) -> Key {
        let modified = [self.stamp(path), mask.and_then(|mask| self.stamp(mask))];
        Key { path: path.to_path_buf(), mask: mask.map(Path::to_path_buf), modified, width, height }
    }

    /// When the file was last written; asked of the disk once a second.
    fn stamp(&mut self, path: &Path) -> Option<SystemTime> {
        if let Some((asked, modified)) = self.stamps.get(path)
            && asked.elapsed() < BELIEVED
        {
            return *modified;
        }
        if self.stamps.len() >= STAMPS {
            self.stamps.clear();
        }
        let modified = path.metadata().and_then(|metadata| metadata.modified()).ok();
        self.stamps.insert(path.to_path_buf(), (Instant::now(), modified));
        modified
    }

    /// The picture of `key`, if it has come; else it is asked for, before all others.
    pub fn get(&mut self, key: &Key) -> Option<Result<Arc<RgbImage>, ()>> {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.used = self.frame;
            return entry.picture.clone();
        }
        self.entries.insert(key.clone(), Entry { picture: None, used: self.frame });
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).push(key.clone());
        // The thread lives as long as this sender.
        let _ = self.wake.send(());
        None
    }

    /// Keep a picture that has come; what was not seen for longest goes.
    pub fn take(&mut self, loaded: Loaded) {
        let Some(entry) = self.entries.get_mut(&loaded.key) else { return };
        self.bytes -= entry.bytes();
        entry.picture = Some(loaded.picture);
        self.bytes += entry.bytes();
        while self.bytes > KEPT {
            let here = self.entries.iter().filter(|(_, entry)| entry.picture.is_some() && entry.used < self.frame);
            let Some(oldest) = here.min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone()) else { break };
            self.bytes -= self.entries.remove(&oldest).map_or(0, |entry| entry.bytes());
        }
    }

    /// Whether everything asked for has come.
    pub fn is_settled(&self) -> bool {
        self.entries.values().all(|entry| entry.picture.is_some())
    }
}

/// Decode and fit.
fn load(key: &Key) -> Result<RgbImage, ()> {
    let picture = crate::image::read_photo(&key.path).map_err(|_| ())?;
    let (width, height) = picture.dimensions();
    // A mask that cannot be read, or does not fit, is shown as none: the checks of masks say what is wrong with it.
    let mask = key.mask.as_ref().and_then(|mask| crate::image::read_any_mask(mask).ok());
    let mask = mask.filter(|mask| mask.dimensions() == (width, height));
    let scale = (f64::from(key.width) / f64::from(width)).min(f64::from(key.height) / f64::from(height));
    let fit = |side: u32, most: u32| ((f64::from(side) * scale).round() as u32).clamp(1, most.max(1));
    let (to_width, to_height) = (fit(width, key.width), fit(height, key.height));
    // Far smaller: an average first, which is fast, then a good filter.
    let near = (to_width * 3, to_height * 3);
    let picture =
        if width > near.0 && height > near.1 { imageops::thumbnail(&picture, near.0, near.1) } else { picture };
    let mut picture = imageops::resize(&picture, to_width, to_height, imageops::FilterType::CatmullRom);
    if let Some(mask) = mask {
        // At the size that is seen, its line is as wide as it should be.
        let mask = imageops::resize(&mask, to_width, to_height, imageops::FilterType::Triangle);
        masked::lay_over(&mut picture, &mask);
    }
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        assert!(RgbImage::from_pixel(64, 64, ::image::Rgb([1, 2, 3])).save(&path).is_ok());
        path
    }

    #[test]
    fn pictures_come_from_the_thread_and_what_was_scrolled_away_does_not() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let (sender, come) = channel();
        let mut loader = Loader::new(move |loaded| drop(sender.send(loaded)));
        let paths: Vec<PathBuf> = (0..40).map(|i| picture(folder.path(), &format!("{i}.png"))).collect();
        loader.begin();
        for path in &paths {
            let key = loader.key(path, None, 512, 512);
            assert!(loader.get(&key).is_none());
        }
        loader.end();
        // The next frame shows only the first one.
        loader.begin();
        let first = loader.key(&paths[0], None, 512, 512);
        loader.get(&first);
        loader.end();
        let mut count = 0;
        while !loader.is_settled() {
            let Ok(loaded) = come.recv_timeout(Duration::from_secs(20)) else { break };
            loader.take(loaded);
            count += 1;
        }
        assert!(matches!(loader.get(&first), Some(Ok(_))));
        assert!(count < paths.len(), "{count} were decoded");
        Ok(())
    }

    #[test]
    fn the_cache_is_bounded_by_bytes() {
        let (sender, _come) = channel();
        let mut loader = Loader::new(move |loaded| drop(sender.send(loaded)));
        let side = 2048;
        for i in 0..20u32 {
            loader.begin();
            let key = loader.key(Path::new(&format!("/nowhere/{i}.png")), None, side, side);
            loader.get(&key);
            loader.take(Loaded { key, picture: Ok(Arc::new(RgbImage::new(side, side))) });
        }
        assert!(loader.bytes <= KEPT && loader.bytes > KEPT / 2, "{}", loader.bytes);
    }
}
