//! One or more lines to be filled in.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Overlay, Reply, frame, hints, place};
use crate::tui::canvas::{Canvas, Target};
use crate::tui::deeds::Effect;
use crate::tui::keymap::overlays::{self, Layer};
use crate::tui::keymap::{self, Action};
use crate::tui::theme;
use crate::tui::widgets::text;
use crate::tui::world::World;

/// Letters that a line takes: far more than any prompt or path has.
const LONGEST: usize = 10_000;

/// A line that is typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Input {
    text: String,
    /// Where the next letter goes, in letters.
    at: usize,
}

impl Input {
    /// With `text` in it already.
    pub fn new(text: &str) -> Self {
        Self { text: text.into(), at: text.chars().count() }
    }

    /// What is typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Put `text` in, as if it were typed, as far as there is room. How many letters of it had none.
    pub fn insert(&mut self, text: &str) -> usize {
        let room = LONGEST.saturating_sub(self.text.chars().count());
        let all = text.chars().count();
        let text: String = text.chars().take(room).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let byte = self.byte(self.at);
        self.text.insert_str(byte, &text);
        self.at += all.min(room);
        all.saturating_sub(room)
    }

    /// A key; whether it was one for a line of text.
    pub fn key(&mut self, key: KeyEvent) -> bool {
        let last = self.text.chars().count();
        match keymap::find(overlays::TEXT.keys, key) {
            Some(Action::LineStart) => self.at = 0,
            Some(Action::LineEnd) => self.at = last,
            Some(Action::DeleteLine) => {
                self.text.drain(..self.byte(self.at));
                self.at = 0;
            }
            Some(Action::DeleteWord) => {
                let before: String = self.text.chars().take(self.at).collect();
                let kept = before.trim_end().rfind(' ').map_or(0, |space| space + 1);
                self.text.replace_range(kept..before.len(), "");
                self.at = before[..kept].chars().count();
            }
            Some(Action::DeleteBefore) if self.at > 0 => {
                self.at -= 1;
                self.text.remove(self.byte(self.at));
            }
            Some(Action::DeleteUnder) if self.at < last => drop(self.text.remove(self.byte(self.at))),
            Some(Action::DeleteBefore | Action::DeleteUnder) => {}
            Some(Action::Left) => self.at = self.at.saturating_sub(1),
            Some(Action::Right) => self.at = (self.at + 1).min(last),
            _ => match key.code {
                KeyCode::Char(letter) if !key.modifiers.contains(KeyModifiers::CONTROL) => {
                    self.insert(letter.encode_utf8(&mut [0; 4]));
                }
                _ => return false,
            },
        }
        true
    }

    /// Whether the next letter goes before all others.
    pub fn is_at_start(&self) -> bool {
        self.at == 0
    }

    /// Take out what is right of the cursor: a line of its own, with the cursor at its start.
    pub fn split(&mut self) -> Self {
        let text = self.text.split_off(self.byte(self.at));
        Self { text, at: 0 }
    }

    /// Append `other`; the cursor is between both.
    pub fn join(&mut self, other: &Self) {
        self.at = self.text.chars().count();
        self.text.push_str(&other.text);
    }

    fn byte(&self, letter: usize) -> usize {
        self.text.char_indices().nth(letter).map_or(self.text.len(), |(byte, _)| byte)
    }

    /// The part of it around the cursor that fits into `width` cells, and the cursor as a cell of its own; its beginning where nothing is
    /// typed.
    pub fn line(&self, width: usize, focused: bool) -> Line<'static> {
        if !focused {
            return Line::raw(text::fit(&self.text, width));
        }
        let byte = self.byte(self.at);
        let (before, after) = self.text.split_at(byte);
        let before = end_within(before, width.saturating_sub(1)).to_owned();
        let mut after = after.chars();
        let under = after.next().map_or(" ".to_owned(), String::from);
        let rest: String = after.collect();
        let room = width.saturating_sub(before.width() + 1);
        Line::from(vec![Span::raw(before), Span::styled(under, theme::cursor()), Span::raw(text::fit(&rest, room))])
    }
}

/// The longest end of `text` that is no wider than `width`.
fn end_within(text: &str, width: usize) -> &str {
    let mut wide = 0;
    let start = text.char_indices().rev().find(|(_, letter)| {
        wide += letter.width().unwrap_or(0);
        wide > width
    });
    start.map_or(text, |(at, letter)| &text[at + letter.len_utf8()..])
}

/// A line of a form.
pub struct Field {
    /// What it is.
    pub name: &'static str,
    /// What is to be typed.
    pub help: String,
    /// What is typed.
    pub input: Input,
}

impl Field {
    /// With `text` in it already.
    pub fn new(name: &'static str, help: &str, text: &str) -> Self {
        Self { name, help: help.into(), input: Input::new(text) }
    }
}

/// Columns of the box, where the screen has them.
const WIDTH: u16 = 76;
/// Lines of what is to be typed, at most.
const HELP: usize = 3;

/// What is said of what is typed: what is wrong with it, or what will be done.
type Check = Box<dyn Fn(&[String], &World) -> Result<String, String> + Send>;
/// What is done with it.
type Deed = Box<dyn FnMut(Vec<String>) -> Effect + Send>;

/// Lines to be filled in.
pub struct Entry {
    title: String,
    fields: Vec<Field>,
    focus: usize,
    check: Check,
    deed: Deed,
    wrong: bool,
    /// Why it was not done.
    refused: Option<String>,
}

impl Entry {
    /// Have `fields` filled in, and do `deed` with them at Enter in the last one. It stays until that has been done: what
    /// is typed is not lost when it fails.
    pub fn new(title: &str, fields: Vec<Field>, deed: impl FnMut(Vec<String>) -> Effect + Send + 'static) -> Self {
        let check: Check = Box::new(|_, _| Ok(String::new()));
        Self { title: title.into(), fields, focus: 0, check, deed: Box::new(deed), wrong: false, refused: None }
    }

    /// Say with every key what `check` finds; while it finds an error, nothing is done.
    pub fn checked(self, check: impl Fn(&[String], &World) -> Result<String, String> + Send + 'static) -> Self {
        Self { check: Box::new(check), ..self }
    }

    /// Columns that names take.
    fn names(&self) -> usize {
        self.fields.iter().map(|field| field.name.width()).max().unwrap_or(0)
    }

    /// Columns that are left beside the names.
    fn room(&self, width: u16) -> usize {
        (width as usize).saturating_sub(self.names() + 4)
    }

    /// The fields as rows, each with its field: what is to be typed stands under them, where `height` has no room for that
    /// only under the one that is typed.
    fn rows(&self, width: u16, height: usize) -> Vec<(usize, Line<'static>)> {
        let (names, room) = (self.names(), self.room(width));
        let all = 2 * self.fields.len() <= height;
        let mut rows = Vec::new();
        for (i, field) in self.fields.iter().enumerate() {
            let focused = i == self.focus;
            let mark = if focused { "▸" } else { " " };
            let mut spans = vec![
                Span::styled(mark, theme::focus()),
                Span::styled(text::fit(field.name, names), if focused { theme::focus() } else { theme::strong() }),
                Span::raw("  "),
            ];
            spans.extend(field.input.line(room, focused).spans);
            rows.push((i, Line::from(spans)));
            let help = match focused {
                true => text::wrap(&field.help, room).into_iter().take(HELP).collect(),
                false if all => vec![text::fit(&field.help, room)],
                false => Vec::new(),
            };
            let indent = " ".repeat(names + 3);
            rows.extend(help.iter().map(|help| (i, Line::styled(format!("{indent}{help}"), theme::faint()))));
        }
        rows
    }

    fn texts(&self) -> Vec<String> {
        self.fields.iter().map(|field| field.input.text().trim().to_owned()).collect()
    }
}

impl Overlay for Entry {
    fn layer(&self) -> &'static Layer {
        &overlays::ENTRY
    }

    fn place(&self, area: Rect) -> Rect {
        let said = self.refused.as_ref().map_or(2, |why| text::wrap(why, WIDTH as usize - 4).len().max(2)) as u16;
        let longest = self.fields.iter().map(|field| text::wrap(&field.help, self.room(WIDTH - 2)).len()).max();
        let more = longest.unwrap_or(1).clamp(1, HELP) as u16 - 1;
        place(area, WIDTH, 2 * self.fields.len() as u16 + more + said + 4)
    }

    fn draw(&mut self, canvas: &mut Canvas, area: Rect, world: &World) {
        let inner = frame(canvas, area, &self.title);
        let width = inner.width.saturating_sub(1) as usize;
        let (said, style) = match ((self.check)(&self.texts(), world), &self.refused) {
            (_, Some(why)) => (format!("✗ {why}"), theme::bad()),
            (Ok(said), None) => (said, theme::good()),
            (Err(wrong), None) if self.wrong => (format!("✗ {wrong}"), theme::bad()),
            (Err(wrong), None) => (wrong, theme::faint()),
        };
        let lines = text::wrap(&said, width);
        let room = (inner.height as usize).saturating_sub(2 + lines.len().clamp(1, 2));
        let rows = self.rows(inner.width, room);
        // The line that is typed, and what is said of it, are always seen.
        let last = rows.iter().rposition(|(index, _)| *index == self.focus).unwrap_or(0);
        let first = (last + 1).saturating_sub(room);
        for ((index, line), y) in rows.iter().skip(first).take(room).zip(inner.y..) {
            canvas.buffer.set_line(inner.x, y, line, inner.width);
            canvas.target(Rect { y, height: 1, ..inner }, Target::Item { pane: 0, index: *index });
        }
        let top = inner.y + rows.len().min(room) as u16 + 1;
        for (line, y) in lines.iter().zip(top..inner.bottom().saturating_sub(1)) {
            canvas.buffer.set_stringn(inner.x + 1, y, line, width, style);
        }
        hints(canvas, inner, self.layer());
    }

    fn act(&mut self, action: Action, _: KeyEvent, world: &World) -> Reply {
        let last = self.fields.len() - 1;
        match action {
            Action::Back => return Reply::Close,
            Action::Enter if self.focus == last => {
                let texts = self.texts();
                self.refused = None;
                self.wrong = (self.check)(&texts, world).is_err();
                if !self.wrong {
                    return Reply::Once((self.deed)(texts));
                }
            }
            Action::Enter | Action::Down => self.focus = (self.focus + 1).min(last),
            Action::Up => self.focus = self.focus.saturating_sub(1),
            _ => {}
        }
        Reply::Stay
    }

    fn typed(&mut self, key: KeyEvent, _: &World) -> Reply {
        self.refused = None;
        self.fields[self.focus].input.key(key);
        Reply::Stay
    }

    fn paste(&mut self, text: &str) -> usize {
        self.fields[self.focus].input.insert(text.trim_end_matches(['\n', '\r']))
    }

    fn choose(&mut self, index: usize, _: bool, _: &World) -> Reply {
        self.focus = index.min(self.fields.len() - 1);
        Reply::Stay
    }

    fn refused(&mut self, why: String) {
        self.refused = Some(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[(KeyCode, KeyModifiers)]) -> String {
        let mut input = Input::new("blue teapot");
        for (code, modifiers) in keys {
            input.key(KeyEvent::new(*code, *modifiers));
        }
        input.text().to_owned()
    }

    #[test]
    fn a_line_is_edited_as_in_a_shell() {
        let (none, control) = (KeyModifiers::NONE, KeyModifiers::CONTROL);
        assert_eq!(typed(&[(KeyCode::Char('w'), control), (KeyCode::Char('é'), none)]), "blue é");
        assert_eq!(typed(&[(KeyCode::Home, none), (KeyCode::Delete, none), (KeyCode::Char('B'), none)]), "Blue teapot");
        assert_eq!(typed(&[(KeyCode::Left, none), (KeyCode::Char('u'), control)]), "t");
        assert_eq!(
            typed(&[(KeyCode::Backspace, none), (KeyCode::Char('a'), control), (KeyCode::Backspace, none)]),
            "blue teapo"
        );
    }

    #[test]
    fn a_long_line_is_shown_around_its_cursor() {
        let mut input = Input::new("one two three");
        assert_eq!(input.line(6, true).to_string(), "three ");
        input.key(KeyEvent::new(KeyCode::Home, KeyModifiers::NONE));
        assert_eq!(input.line(6, true).to_string(), "one t…");
    }

    #[test]
    fn a_long_paste_is_cut_where_there_is_no_room_and_says_how_much() {
        let mut input = Input::new("é");
        assert_eq!(input.insert(&"x".repeat(100_000)), 100_000 - (LONGEST - 1));
        assert_eq!(input.insert("y"), 1);
        assert_eq!(input.text().chars().count(), LONGEST);
        // However long it is, only what is seen is looked at.
        let begun = std::time::Instant::now();
        (0..200).for_each(|_| assert_eq!(input.line(40, true).width(), 40));
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_line_ends_where_wide_letters_fit() {
        assert_eq!(end_within("ab漢字", 3), "字");
        assert_eq!(end_within("ab漢字", 4), "漢字");
        assert_eq!(end_within("ab", 9), "ab");
        assert_eq!(end_within("ab", 0), "");
    }
}
