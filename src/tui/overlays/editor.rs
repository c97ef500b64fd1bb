//! Text of several lines: notes, prompt lists.

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::layout::Rect;

use super::entry::Input;
use super::{Overlay, Reply, frame, hints};
use crate::tui::canvas::{Canvas, Target};
use crate::tui::deeds::Effect;
use crate::tui::keymap::Action;
use crate::tui::keymap::overlays::{self, Layer};
use crate::tui::theme;
use crate::tui::widgets::{list, text};
use crate::tui::world::World;

/// What is said of the text while it is typed: what it comes to, or what is wrong with it.
type Check = Box<dyn Fn(&str) -> Result<String, String> + Send>;
/// What is done with it.
type Deed = Box<dyn FnMut(String) -> Effect + Send>;

/// Bytes that a text takes: with every frame all of it is looked at.
const MOST: usize = 200_000;

/// A text that is edited.
pub struct Editor {
    title: String,
    lines: Vec<Input>,
    at: usize,
    /// The first line that is seen.
    top: usize,
    /// Lines that are seen.
    rows: usize,
    check: Check,
    deed: Deed,
    changed: bool,
    /// A second Esc drops what is not saved.
    dropping: bool,
}

impl Editor {
    /// Have `text` edited, and do `deed` with it when it is to be saved.
    pub fn new(title: &str, text: &str, deed: impl FnMut(String) -> Effect + Send + 'static) -> Self {
        let mut lines: Vec<Input> = text.lines().map(Input::new).collect();
        if lines.is_empty() {
            lines.push(Input::default());
        }
        Self {
            title: title.into(),
            lines,
            at: 0,
            top: 0,
            rows: 1,
            check: Box::new(|_| Ok(String::new())),
            deed: Box::new(deed),
            changed: false,
            dropping: false,
        }
    }

    /// Say with every frame what `check` finds.
    pub fn checked(self, check: impl Fn(&str) -> Result<String, String> + Send + 'static) -> Self {
        Self { check: Box::new(check), ..self }
    }

    /// What is typed: its lines, each with its end.
    fn text(&self) -> String {
        let lines = self.lines.iter().map(|line| line.text().trim_end().to_owned() + "\n");
        let text = lines.collect::<String>();
        if text.trim().is_empty() { String::new() } else { text }
    }

    /// Letters that are still taken, and the ends of lines.
    fn room(&self) -> usize {
        MOST.saturating_sub(self.lines.iter().map(|line| line.text().len() + 1).sum())
    }

    fn break_line(&mut self) {
        let rest = self.lines[self.at].split();
        self.at += 1;
        self.lines.insert(self.at, rest);
    }

    /// The line and the one before it become one.
    fn join(&mut self) {
        if self.at > 0 {
            let line = self.lines.remove(self.at);
            self.at -= 1;
            self.lines[self.at].join(&line);
        }
    }
}

impl Overlay for Editor {
    fn layer(&self) -> &'static Layer {
        &overlays::EDITOR
    }

    fn place(&self, area: Rect) -> Rect {
        super::place(area, 100.min(area.width.saturating_sub(4)), area.height.saturating_sub(4).min(30))
    }

    fn draw(&mut self, canvas: &mut Canvas, area: Rect, _: &World) {
        let inner = frame(canvas, area, &self.title);
        let rows = inner.height.saturating_sub(3) as usize;
        self.rows = rows.max(1);
        self.top = self.top.clamp((self.at + 1).saturating_sub(self.rows), self.at);
        let seen = self.top..(self.top + self.rows).min(self.lines.len());
        let width = inner.width.saturating_sub(2);
        for (i, y) in seen.clone().zip(inner.top()..) {
            let line = self.lines[i].line(width as usize, i == self.at);
            canvas.buffer.set_line(inner.x + 1, y, &line, width);
            canvas.target(Rect { y, height: 1, ..inner }, Target::Item { pane: 0, index: i });
        }
        list::scrollbar(canvas.buffer, Rect { height: rows as u16, ..inner }, self.lines.len(), seen);
        let (said, style) = match (self.check)(&self.text()) {
            Ok(said) => (said, theme::good()),
            Err(wrong) => (format!("✗ {wrong}"), theme::bad()),
        };
        let below = inner.bottom().saturating_sub(3);
        for (line, y) in text::wrap(&said, width as usize).iter().zip(below..below + 2) {
            canvas.buffer.set_stringn(inner.x + 1, y, line, width as usize, style);
        }
        if self.dropping {
            let said = "not saved: Esc again drops it, Ctrl-S saves it";
            canvas.buffer.set_stringn(
                inner.x + 1,
                inner.bottom().saturating_sub(1),
                said,
                width as usize,
                theme::warn(),
            );
        } else {
            hints(canvas, inner, self.layer());
        }
    }

    fn act(&mut self, action: Action, _: KeyEvent, _: &World) -> Reply {
        let last = self.lines.len() - 1;
        let dropping = std::mem::take(&mut self.dropping);
        match action {
            Action::Save => {
                let text = self.text();
                return Reply::Then((self.deed)(text));
            }
            Action::DeleteLine => {
                self.lines.remove(self.at);
                if self.lines.is_empty() {
                    self.lines.push(Input::default());
                }
                self.at = self.at.min(self.lines.len() - 1);
                self.changed = true;
            }
            Action::Back if dropping || !self.changed => return Reply::Close,
            Action::Back => self.dropping = true,
            Action::Enter => {
                self.break_line();
                self.changed = true;
            }
            Action::Up => self.at = self.at.saturating_sub(1),
            Action::Down => self.at = (self.at + 1).min(last),
            Action::PageUp => self.at = self.at.saturating_sub(self.rows),
            Action::PageDown => self.at = (self.at + self.rows).min(last),
            _ => {}
        }
        Reply::Stay
    }

    fn typed(&mut self, key: KeyEvent, _: &World) -> Reply {
        self.dropping = false;
        match key.code {
            KeyCode::Backspace if self.lines[self.at].is_at_start() => {
                self.join();
                self.changed = true;
            }
            KeyCode::Left | KeyCode::Right | KeyCode::Home | KeyCode::End => drop(self.lines[self.at].key(key)),
            _ => self.changed |= self.lines[self.at].key(key),
        }
        Reply::Stay
    }

    fn paste(&mut self, text: &str) -> usize {
        let room = self.room().min(text.len());
        let taken = (0..=room).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let mut left_out = text[taken..].chars().count();
        // What follows the cursor comes after the last of the new lines, which are put in together.
        let rest = self.lines[self.at].split();
        let mut lines = text[..taken].split('\n').map(|line| line.trim_end_matches('\r'));
        left_out += self.lines[self.at].insert(lines.next().unwrap_or_default());
        let new: Vec<Input> = lines
            .map(|line| {
                let mut input = Input::default();
                left_out += input.insert(line);
                input
            })
            .collect();
        let last = self.at + new.len();
        let next = self.at + 1;
        self.lines.splice(next..next, new);
        self.at = last;
        self.lines[last].join(&rest);
        self.changed = true;
        left_out
    }

    fn choose(&mut self, index: usize, _: bool, _: &World) -> Reply {
        self.at = index.min(self.lines.len() - 1);
        Reply::Stay
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyModifiers;

    use super::*;
    use crate::tui::keymap::find;
    use crate::workspace::Home;

    #[test]
    fn lines_are_broken_joined_pasted_and_taken_out() {
        let home = tempfile::tempdir().ok().and_then(|folder| Home::at(folder.path()).ok());
        let Some(world) = home.map(World::new) else { return };
        let mut editor = Editor::new("Notes", "one two\nthree\n", |_| Effect::None);
        let press = |editor: &mut Editor, code, modifiers| {
            let key = KeyEvent::new(code, modifiers);
            match find(overlays::EDITOR.keys, key) {
                Some(action) => editor.act(action, key, &world),
                None => editor.typed(key, &world),
            };
        };
        let (none, control) = (KeyModifiers::NONE, KeyModifiers::CONTROL);
        (0..4).for_each(|_| press(&mut editor, KeyCode::Left, none));
        press(&mut editor, KeyCode::Enter, none);
        assert_eq!(editor.text(), "one\n two\nthree\n");
        press(&mut editor, KeyCode::Backspace, none);
        assert_eq!(editor.text(), "one two\nthree\n");
        editor.paste("x\ny");
        assert_eq!(editor.text(), "onex\ny two\nthree\n");
        press(&mut editor, KeyCode::Char('k'), control);
        press(&mut editor, KeyCode::Char('k'), control);
        assert_eq!(editor.text(), "onex\n");
        press(&mut editor, KeyCode::Char('k'), control);
        assert_eq!(editor.text(), "");
    }

    #[test]
    fn a_paste_of_many_lines_is_put_in_as_far_as_there_is_room() {
        let mut editor = Editor::new("Notes", "one two\nthree\n", |_| Effect::None);
        assert_eq!(editor.paste("a\r\nb\nc "), 0);
        assert_eq!(editor.text(), "one twoa\nb\nc\nthree\n");
        let long = "line\n".repeat(100_000);
        assert!(editor.paste(&long) > 290_000);
        assert!(editor.text().len() <= MOST);
        assert_eq!(editor.paste("x") + editor.paste("y"), 2);
    }
}
