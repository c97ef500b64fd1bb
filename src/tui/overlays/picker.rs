//! Finding a folder of photos.

use std::path::{Path, PathBuf};

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::entry::Input;
use super::{Overlay, Reply, frame, place};
use crate::image;
use crate::tui::canvas::Canvas;
use crate::tui::deeds::{self, Effect};
use crate::tui::keymap::Action;
use crate::tui::theme;
use crate::tui::widgets::list::{self, Choice};
use crate::tui::widgets::text;
use crate::tui::world::World;

/// What is done with the folder that is picked.
type Deed = Box<dyn FnMut(PathBuf) -> Effect + Send>;

/// A folder, the folders in it, and how many photos it holds itself.
pub struct Picker {
    title: &'static str,
    folder: PathBuf,
    folders: Vec<String>,
    photos: Vec<PathBuf>,
    /// Why the folder cannot be read.
    wrong: Option<String>,
    typed: Input,
    choice: Choice,
    deed: Deed,
}

impl Picker {
    /// Begin in `folder`.
    pub fn new(title: &'static str, folder: &Path, deed: impl FnMut(PathBuf) -> Effect + Send + 'static) -> Self {
        let mut picker = Self {
            title,
            folder: folder.to_owned(),
            folders: Vec::new(),
            photos: Vec::new(),
            wrong: None,
            typed: Input::default(),
            choice: Choice::default(),
            deed: Box::new(deed),
        };
        picker.read();
        picker
    }

    fn read(&mut self) {
        let entries = std::fs::read_dir(&self.folder);
        self.wrong = entries.as_ref().err().map(ToString::to_string);
        let folders = entries.into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
        self.folders = folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        self.folders.retain(|name| !name.starts_with('.'));
        self.folders.sort_by_key(|name| name.to_lowercase());
        self.photos = image::list_photos(&self.folder).unwrap_or_default();
        (self.choice, self.typed) = (Choice::default(), Input::default());
    }

    /// What is typed as a path, if it is one.
    fn path(&self) -> Option<PathBuf> {
        let typed = self.typed.text();
        typed.starts_with(['/', '~']).then(|| deeds::path(typed))
    }

    /// The folders whose names hold what is typed.
    fn found(&self) -> Vec<&String> {
        let typed = self.typed.text().to_lowercase();
        let all = self.path().is_some();
        self.folders.iter().filter(|name| all || name.to_lowercase().contains(&typed)).collect()
    }

    fn go(&mut self, folder: PathBuf) {
        self.folder = folder;
        self.read();
    }
}

impl Overlay for Picker {
    fn place(&self, area: Rect) -> Rect {
        place(area, 92, area.height.saturating_sub(2).min(30))
    }

    fn draw(&mut self, canvas: &mut Canvas, area: Rect, _: &World) {
        let inner = frame(canvas, area, self.title);
        let width = inner.width.saturating_sub(2) as usize;
        let mut spans = vec![Span::styled(
            format!(" {}/", self.folder.display().to_string().trim_end_matches('/')),
            theme::strong(),
        )];
        spans.extend(self.typed.line(width / 2, true).spans);
        canvas.buffer.set_line(inner.x, inner.y, &Line::from(spans), inner.width);
        let (said, style) = match (&self.wrong, self.photos.len()) {
            (Some(wrong), _) => (format!("✗ {wrong}"), theme::bad()),
            (None, 0) => ("○ no photos here".into(), theme::faint()),
            (None, count) => (format!("✓ {count} photos here: Ctrl-S takes this folder"), theme::good()),
        };
        canvas.buffer.set_stringn(inner.x + 1, inner.y + 1, said, width, style);
        let hint = " Enter goes in   ← goes up   Ctrl-S takes this folder   letters search, / begins a path   Esc back";
        canvas.buffer.set_stringn(inner.x, inner.bottom() - 1, hint, inner.width as usize, theme::faint());
        let body = Rect { y: inner.y + 3, height: inner.height.saturating_sub(5), ..inner };
        // A look at the photos beside the folders.
        let look = if self.photos.is_empty() { 0 } else { body.width / 3 };
        let left = Rect { width: body.width - look, ..body };
        let names: Vec<String> = self.found().into_iter().cloned().collect();
        if names.is_empty() {
            text::empty(canvas.buffer, left, "no folders in it");
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
            for (photo, place) in self.photos.iter().zip(places) {
                canvas.surface.draw(canvas.buffer, place, photo, None);
            }
        }
    }

    fn key(&mut self, key: KeyEvent, _: &World) -> Reply {
        let control = key.modifiers.contains(crossterm::event::KeyModifiers::CONTROL);
        let chosen = self.choice.of(self.found().len()).map(|i| self.found()[i].clone());
        match key.code {
            KeyCode::Esc => return Reply::Close,
            KeyCode::Char('s') if control && !self.photos.is_empty() => {
                return Reply::Then((self.deed)(self.folder.clone()));
            }
            KeyCode::Enter => match (self.path(), chosen) {
                (Some(path), _) if path.is_dir() => self.go(path),
                (Some(path), _) => self.wrong = Some(format!("{}: no such folder", path.display())),
                (None, Some(name)) => self.go(self.folder.join(name)),
                (None, None) if !self.photos.is_empty() => return Reply::Then((self.deed)(self.folder.clone())),
                (None, None) => {}
            },
            KeyCode::Right if self.typed.text().is_empty() => {
                if let Some(name) = chosen {
                    self.go(self.folder.join(name));
                }
            }
            KeyCode::Left | KeyCode::Backspace if self.typed.text().is_empty() => {
                let name = self.folder.file_name().map(|name| name.to_string_lossy().into_owned());
                if let Some(parent) = self.folder.parent().map(Path::to_owned) {
                    self.go(parent);
                    // Where one came from stays chosen.
                    self.choice.index = self.folders.iter().position(|known| Some(known) == name.as_ref()).unwrap_or(0);
                }
            }
            KeyCode::Up => drop(self.choice.step(Action::Up, self.found().len())),
            KeyCode::Down => drop(self.choice.step(Action::Down, self.found().len())),
            KeyCode::PageUp => drop(self.choice.step(Action::PageUp, self.found().len())),
            KeyCode::PageDown => drop(self.choice.step(Action::PageDown, self.found().len())),
            _ => {
                self.typed.key(key);
                self.choice.index = 0;
            }
        }
        Reply::Stay
    }

    fn paste(&mut self, text: &str) {
        self.typed.insert(text.trim());
    }

    fn choose(&mut self, index: usize) {
        self.choice.index = index;
    }
}
