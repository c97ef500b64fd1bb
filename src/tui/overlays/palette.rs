//! The command palette: what can be done now, found by some letters of its name, and every verb of the command line,
//! which is done as there, with its words after it.

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::entry::Input;
use super::{Overlay, Reply, frame, place};
use crate::tui::canvas::Canvas;
use crate::tui::deeds::{self, Effect};
use crate::tui::keymap::{Binding, matches};
use crate::tui::theme;
use crate::tui::widgets::list::{self, Choice};
use crate::tui::world::World;

/// A verb of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verb {
    /// As typed: "concept import-adapter".
    pub name: String,
    /// What it does.
    pub about: String,
}

enum Row {
    Key(&'static Binding),
    Verb(Verb),
}

impl Row {
    fn name(&self) -> &str {
        match self {
            Self::Key(binding) => binding.command.unwrap_or_default(),
            Self::Verb(verb) => &verb.name,
        }
    }
}

/// The palette.
pub struct Palette {
    rows: Vec<Row>,
    typed: Input,
    choice: Choice,
}

impl Palette {
    /// With what can be done now, and the verbs of the command line.
    pub fn new(now: Vec<&'static Binding>, verbs: &[Verb]) -> Self {
        let verbs = verbs.iter().cloned().map(Row::Verb);
        let rows = now.into_iter().map(Row::Key).chain(verbs).collect();
        Self { rows, typed: Input::default(), choice: Choice::default() }
    }

    /// The verb that what is typed begins with, the longest one, and whether words follow it.
    fn verb(&self) -> Option<&str> {
        let typed = self.typed.text().trim_start();
        let begins = |name: &&str| typed.strip_prefix(*name).is_some_and(|rest| rest.starts_with(' '));
        let verbs = self.rows.iter().filter(|row| matches!(row, Row::Verb(_))).map(Row::name);
        verbs.filter(begins).max_by_key(|name| name.len())
    }

    fn found(&self) -> Vec<&Row> {
        if let Some(verb) = self.verb() {
            return self.rows.iter().filter(|row| matches!(row, Row::Verb(_)) && row.name() == verb).collect();
        }
        let typed = self.typed.text();
        let mut found: Vec<&Row> = self.rows.iter().filter(|row| matches(row.name(), typed)).collect();
        // What begins with it comes first, then what has it as a word.
        let rank = |row: &&Row| (!row.name().starts_with(typed), !row.name().contains(typed));
        if !typed.is_empty() {
            found.sort_by_key(rank);
        }
        found
    }
}

impl Overlay for Palette {
    fn place(&self, area: Rect) -> Rect {
        place(area, 78, (self.rows.len() as u16 + 5).min(area.height.saturating_sub(2)))
    }

    fn draw(&mut self, canvas: &mut Canvas, area: Rect, _: &World) {
        let inner = frame(canvas, area, "Command");
        let mut spans = vec![Span::styled(" : ", theme::focus())];
        spans.extend(self.typed.line(inner.width.saturating_sub(4) as usize, true).spans);
        canvas.buffer.set_line(inner.x, inner.y, &Line::from(spans), inner.width);
        let body = Rect { y: inner.y + 2, height: inner.height.saturating_sub(3), ..inner };
        let hint = match self.verb() {
            Some(verb) => format!(" Enter: catbench {verb} ...   --help says what goes after it"),
            None => " Enter does it   a verb of the command line takes its words first".into(),
        };
        canvas.buffer.set_stringn(inner.x, inner.bottom() - 1, hint, inner.width as usize, theme::faint());
        let lines: Vec<Line<'static>> = self
            .found()
            .into_iter()
            .map(|row| {
                let (key, about) = match row {
                    Row::Key(binding) => (binding.shown.to_owned(), binding.help.to_owned()),
                    Row::Verb(verb) => ("$".into(), verb.about.clone()),
                };
                Line::from(vec![
                    Span::styled(format!(" {:<22} ", row.name()), theme::strong()),
                    Span::styled(format!("{key:<5} "), theme::faint()),
                    Span::raw(about),
                ])
            })
            .collect();
        if lines.is_empty() {
            canvas.buffer.set_string(inner.x + 3, body.y, "nothing of that name can be done now", theme::faint());
        }
        let mut choice = self.choice;
        list::draw(canvas, body, 0, &mut choice, lines.len(), true, |i, _| lines[i].clone());
        self.choice = choice;
    }

    fn key(&mut self, key: KeyEvent, _: &World) -> Reply {
        let len = self.found().len();
        match key.code {
            KeyCode::Esc => return Reply::Close,
            KeyCode::Enter => {
                if self.verb().is_some() {
                    return Reply::Then(deeds::command_line(self.typed.text().trim()));
                }
                let Some(index) = self.choice.of(len) else { return Reply::Stay };
                match self.found()[index] {
                    Row::Key(binding) => return Reply::Then(Effect::Act(binding.action)),
                    Row::Verb(verb) => self.typed = Input::new(&format!("{} ", verb.name)),
                }
            }
            KeyCode::Up | KeyCode::BackTab => self.choice.index = self.choice.of(len).unwrap_or(0).saturating_sub(1),
            KeyCode::Down | KeyCode::Tab => self.choice.index = (self.choice.index + 1).min(len.saturating_sub(1)),
            KeyCode::Backspace if self.typed.text().is_empty() => return Reply::Close,
            _ => {
                self.typed.key(key);
                self.choice = Choice::default();
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
