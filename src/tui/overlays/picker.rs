//! Finding a folder of photos.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use crossterm::event::KeyEvent;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::entry::Input;
use super::{Overlay, Reply, frame, hints, place};
use crate::fs::Show;
use crate::image::{self, PhotoFolder, kind_of, left_out_words};
use crate::protocol::PhotoReading;
use crate::tui::canvas::{Canvas, Target};
use crate::tui::deeds::{self, Effect};
use crate::tui::keymap::Action;
use crate::tui::keymap::overlays::{self, Layer};
use crate::tui::theme;
use crate::tui::widgets::list::{self, Choice};
use crate::tui::widgets::text;
use crate::tui::world::World;

/// How long photos are checked before what was found is told, and the rest is gone on with.
const AT_ONCE: Duration = Duration::from_millis(200);

/// The photos of a folder, checked one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Photos {
    /// All of them.
    pub paths: Vec<PathBuf>,
    /// How many have been read whole.
    pub checked: usize,
    /// The names of those that cannot be read.
    pub unreadable: Vec<String>,
    /// What else is there and is no photo, a line for each reason.
    pub left_out: Vec<String>,
}

impl Photos {
    /// Read some more of them whole: what is only looked at may still be cut short.
    fn check(mut self) -> Self {
        let begun = Instant::now();
        while self.checked < self.paths.len() && begun.elapsed() < AT_ONCE {
            let path = &self.paths[self.checked];
            if image::read_photo(path).is_err() {
                self.unreadable.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
            }
            self.checked += 1;
        }
        self
    }

    /// How many there are, and which cannot be read.
    pub fn words(&self) -> String {
        let good = self.paths.len() - self.unreadable.len();
        let photos = if good == 1 { "1 photo".to_owned() } else { format!("{good} photos") };
        let photos = match self.unreadable.as_slice() {
            [] => photos,
            wrong => format!("{photos}, {} cannot be read: {}", wrong.len(), wrong.join(", ")),
        };
        std::iter::once(&photos).chain(&self.left_out).map(String::as_str).collect::<Vec<_>>().join("; ")
    }
}

/// What is in a folder.
struct Found {
    folders: Vec<String>,
    photos: Photos,
    /// Why the folder, or what is in it, cannot be taken.
    wrong: Option<String>,
}

/// What is done with the folder that is picked, and its photos as far as they have been checked.
type Deed = Box<dyn FnMut(PathBuf, Photos) -> Effect + Send>;

/// A folder, the folders in it, and the photos it holds itself.
pub struct Picker {
    title: &'static str,
    folder: PathBuf,
    found: Found,
    /// The photos with what has been found of them, when that has come.
    told: Option<Receiver<Photos>>,
    typed: Input,
    choice: Choice,
    deed: Deed,
}

impl Picker {
    /// Begin in `folder`.
    pub fn open(
        title: &'static str,
        folder: &Path,
        deed: impl FnMut(PathBuf, Photos) -> Effect + Send + 'static,
    ) -> Effect {
        let mut picker = Self {
            title,
            folder: folder.to_owned(),
            found: Found { folders: Vec::new(), photos: Photos::default(), wrong: None },
            told: None,
            typed: Input::default(),
            choice: Choice::default(),
            deed: Box::new(deed),
        };
        let check = picker.read();
        Effect::Many(vec![Effect::over(picker), check])
    }

    /// List what is in the folder, and begin to check its photos.
    fn read(&mut self) -> Effect {
        let entries = std::fs::read_dir(&self.folder);
        let mut wrong = entries.as_ref().err().map(ToString::to_string);
        let folders = entries.into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
        let mut folders: Vec<String> = folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        folders.retain(|name| !name.starts_with('.'));
        folders.sort_by_key(|name| name.to_lowercase());
        let found = PhotoFolder::read(&self.folder, PhotoReading::Converted).unwrap_or_else(|error| {
            // As that two of them would share a mask.
            wrong = wrong.take().or(Some(error.to_string()));
            PhotoFolder::default()
        });
        // A folder without a photo is one on the way.
        let left_out = if found.photos.is_empty() && found.left_out.iter().all(|one| kind_of(&one.path).is_none()) {
            Vec::new()
        } else {
            left_out_words(&found.left_out)
        };
        let photos = Photos { paths: found.photos, left_out, ..Photos::default() };
        self.found = Found { folders, photos, wrong };
        (self.choice, self.typed, self.told) = (Choice::default(), Input::default(), None);
        self.check()
    }

    /// Check some more photos on another thread.
    fn check(&mut self) -> Effect {
        let photos = self.found.photos.clone();
        if photos.checked == photos.paths.len() {
            return Effect::None;
        }
        let (tell, told) = mpsc::channel();
        self.told = Some(told);
        Effect::aside("looking at the photos", move || {
            // Nobody listens when another folder is looked at.
            let _ = tell.send(photos.check());
            Ok(Effect::Tell(Vec::new()))
        })
    }

    /// What is typed as a path, if it is one.
    fn path(&self) -> Option<PathBuf> {
        let typed = self.typed.text();
        typed.starts_with(['/', '~']).then(|| deeds::path(typed))
    }

    /// The folders whose names hold what is typed.
    fn matching(&self) -> Vec<&String> {
        let typed = self.typed.text().to_lowercase();
        let all = self.path().is_some();
        self.found.folders.iter().filter(|name| all || name.to_lowercase().contains(&typed)).collect()
    }

    fn go(&mut self, folder: PathBuf) -> Reply {
        self.folder = folder;
        Reply::Also(self.read())
    }

    /// Up, where one came from chosen.
    fn up(&mut self) -> Reply {
        let name = self.folder.file_name().map(|name| name.to_string_lossy().into_owned());
        let Some(parent) = self.folder.parent().map(Path::to_owned) else { return Reply::Stay };
        let reply = self.go(parent);
        self.choice.index = self.found.folders.iter().position(|known| Some(known) == name.as_ref()).unwrap_or(0);
        reply
    }

    fn take(&mut self) -> Reply {
        let photos = self.found.photos.clone();
        if photos.paths.is_empty() || photos.unreadable.len() == photos.paths.len() {
            return Reply::Stay;
        }
        Reply::Then((self.deed)(self.folder.clone(), photos))
    }

    fn enter(&mut self) -> Reply {
        let chosen = self.choice.of(self.matching().len()).map(|i| self.matching()[i].clone());
        match (self.path(), chosen) {
            (Some(path), _) if path.is_dir() => return self.go(path),
            (Some(path), _) => self.found.wrong = Some(format!("{}: no such folder", path.shown())),
            (None, Some(name)) => return self.go(self.folder.join(name)),
            (None, None) => return self.take(),
        }
        Reply::Stay
    }

    /// What is said of the folder.
    fn said(&self) -> (String, ratatui::style::Style) {
        let photos = &self.found.photos;
        match (&self.found.wrong, photos.paths.len()) {
            (Some(wrong), _) => (format!("✗ {wrong}"), theme::bad()),
            (None, 0) if photos.left_out.is_empty() => ("○ no photos here".into(), theme::faint()),
            (None, 0) => (format!("! no photos here; {}", photos.left_out.join("; ")), theme::warn()),
            (None, all) if photos.checked < all => {
                (format!("◌ {} here, {} of {all} looked at", photos.words(), photos.checked), theme::faint())
            }
            (None, _) if photos.unreadable.is_empty() && photos.left_out.is_empty() => {
                (format!("✓ {} here: Ctrl-S takes this folder", photos.words()), theme::good())
            }
            (None, _) => (format!("! {}; Ctrl-S takes this folder", photos.words()), theme::warn()),
        }
    }
}

impl Overlay for Picker {
    fn layer(&self) -> &'static Layer {
        &overlays::PICKER
    }

    fn place(&self, area: Rect) -> Rect {
        place(area, 92, area.height.saturating_sub(2).min(30))
    }

    fn draw(&mut self, canvas: &mut Canvas, area: Rect, _: &World) {
        let inner = frame(canvas, area, self.title);
        let width = inner.width.saturating_sub(2) as usize;
        let mut spans =
            vec![Span::styled(format!(" {}/", self.folder.shown().to_string().trim_end_matches('/')), theme::strong())];
        spans.extend(self.typed.line(width / 2, true).spans);
        canvas.buffer.set_line(inner.x, inner.y, &Line::from(spans), inner.width);
        let (said, style) = self.said();
        let said = text::wrap(&said, width);
        for (line, y) in said.iter().take(3).zip(inner.y + 1..) {
            canvas.buffer.set_stringn(inner.x + 1, y, line, width, style);
        }
        let top = inner.y + 2 + said.len().clamp(1, 3) as u16;
        let body = Rect { y: top, height: (inner.bottom() - 2).saturating_sub(top), ..inner };
        // A look at the photos beside the folders.
        let photos = &self.found.photos.paths;
        let look = if photos.is_empty() { 0 } else { body.width / 3 };
        let left = Rect { width: body.width - look, ..body };
        let names: Vec<String> = self.matching().into_iter().cloned().collect();
        if names.is_empty() {
            text::empty(canvas.buffer, left, "no folders in it; letters search, / or ~ begins a path");
        }
        list::draw(canvas, left, 0, &mut self.choice, names.len(), true, |i, width| {
            Line::raw(text::fit(&format!(" {}/", names[i]), width))
        });
        if look > 0 {
            let rows = (body.height / 3).max(4);
            let places = (0..body.height / rows).map(|i| Rect {
                x: left.right(),
                y: body.y + i * rows,
                width: look,
                height: rows,
            });
            for (photo, place) in photos.iter().zip(places) {
                canvas.surface.draw(canvas.buffer, place, photo, None);
            }
        }
        hints(canvas, inner, self.layer());
        let crumb = Rect { height: 1, ..inner };
        canvas.target(crumb, Target::Action(Action::Left));
    }

    fn act(&mut self, action: Action, key: KeyEvent, world: &World) -> Reply {
        let nothing_typed = self.typed.text().is_empty();
        match action {
            Action::Back => return Reply::Close,
            Action::Take => return self.take(),
            Action::Enter => return self.enter(),
            Action::Left if nothing_typed => return self.up(),
            Action::Right if nothing_typed && !self.matching().is_empty() => return self.enter(),
            Action::Right if nothing_typed => {}
            // Where something is typed they are for that.
            Action::Left | Action::Right => return self.typed(key, world),
            step => drop(self.choice.step(step, self.matching().len())),
        }
        Reply::Stay
    }

    fn typed(&mut self, key: KeyEvent, _: &World) -> Reply {
        self.typed.key(key);
        self.choice.index = 0;
        Reply::Stay
    }

    fn paste(&mut self, text: &str) -> usize {
        self.typed.insert(text.trim())
    }

    fn choose(&mut self, index: usize, again: bool, _: &World) -> Reply {
        self.choice.index = index;
        if again { self.enter() } else { Reply::Stay }
    }

    fn tell(&mut self, _: Vec<String>) -> Effect {
        let Some(Ok(photos)) = self.told.as_ref().map(Receiver::try_recv) else { return Effect::None };
        self.found.photos = photos;
        self.check()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_no_photo_is_named_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let said = |folder: &Path| {
            let found = Found { folders: Vec::new(), photos: Photos::default(), wrong: None };
            let (typed, choice) = (Input::default(), Choice::default());
            let deed: Deed = Box::new(|_, _| Effect::None);
            let mut picker = Picker { title: "", folder: folder.to_owned(), found, told: None, typed, choice, deed };
            drop(picker.read());
            picker.found.photos = picker.found.photos.clone().check();
            picker.said().0
        };
        std::fs::write(folder.path().join("notes.txt"), "a teapot").unwrap();
        assert_eq!(said(folder.path()), "○ no photos here");
        std::fs::write(folder.path().join("a.heic"), b"\0\0\0\x18ftypheic\0\0\0\0").unwrap();
        let text = said(folder.path());
        assert!(text.starts_with("! no photos here") && text.contains("left out: a.heic: HEIC"), "{text}");
        ::image::RgbImage::new(2, 2).save(folder.path().join("b.png")).unwrap();
        let text = said(folder.path());
        assert!(text.starts_with("! 1 photo; left out: a.heic: HEIC") && text.contains("Ctrl-S"), "{text}");
    }
}
