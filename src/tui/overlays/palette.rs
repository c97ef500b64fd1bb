//! The command palette: what can be done now, found by some letters of its name, and every verb of the command line,
//! which is done as there, with its words after it.

use crossterm::event::KeyEvent;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::entry::Input;
use super::{Overlay, Reply, frame, hints, place};
use crate::client::words::shell;
use crate::tui::canvas::Canvas;
use crate::tui::deeds::{self, Effect};
use crate::tui::keymap::overlays::{self, Layer};
use crate::tui::keymap::{Action, Binding, matches};
use crate::tui::theme;
use crate::tui::widgets::list::{self, Choice};
use crate::tui::widgets::text;
use crate::tui::world::World;

/// What a verb of the command line begins with in the list, so that it is not taken for what a key does.
const PROGRAM: &str = "$ catbench";
/// Rows for what the chosen one does.
const ABOUT: u16 = 2;

/// A verb of the command line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verb {
    /// As typed: "concept import-adapter".
    pub name: String,
    /// What it does.
    pub about: String,
    /// The words that go after it, as the command line's help names them: `<CONCEPT> [RUN]`.
    pub words: String,
    /// The first of them is the name of a concept.
    pub takes_concept: bool,
    /// It does nothing without words.
    pub needs_words: bool,
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

    /// What is typed, also as it is written in a shell: `$ catbench runs`.
    fn written(&self) -> &str {
        let typed = self.typed.text().trim_start();
        let typed = typed.strip_prefix('$').map_or(typed, str::trim_start);
        typed.strip_prefix("catbench ").map_or(typed, str::trim_start)
    }

    /// The verb that what is typed begins with, the longest one, with a space after it.
    fn verb(&self) -> Option<&str> {
        let typed = self.written();
        let begins = |name: &&str| typed.strip_prefix(*name).is_some_and(|rest| rest.starts_with(' '));
        let verbs = self.rows.iter().filter(|row| matches!(row, Row::Verb(_))).map(Row::name);
        verbs.filter(begins).max_by_key(|name| name.len())
    }

    fn found(&self) -> Vec<&Row> {
        if let Some(verb) = self.verb() {
            return self.rows.iter().filter(|row| matches!(row, Row::Verb(_)) && row.name() == verb).collect();
        }
        let typed = self.written();
        let mut found: Vec<&Row> = self.rows.iter().filter(|row| matches(row.name(), typed)).collect();
        // What begins with it comes first, then what has it as a word.
        let rank = |row: &&Row| (!row.name().starts_with(typed), !row.name().contains(typed));
        if !typed.is_empty() {
            found.sort_by_key(rank);
        }
        found
    }

    fn chosen(&self) -> Option<&Row> {
        let found = self.found();
        self.choice.of(found.len()).map(|index| found[index])
    }

    /// Write the chosen one out: a verb with the open concept, where one goes after it.
    fn write_out(&mut self, world: &World) {
        let verb = match self.chosen() {
            None => return,
            Some(Row::Key(binding)) => {
                self.typed = Input::new(binding.command.unwrap_or_default());
                self.choice = Choice::default();
                return;
            }
            Some(Row::Verb(verb)) => verb,
        };
        let concept = world.open.as_ref().filter(|_| verb.takes_concept).map(|open| shell(&open.concept.id));
        let concept = concept.map(|name| format!("{name} ")).unwrap_or_default();
        self.typed = Input::new(&format!("{} {concept}", verb.name));
        self.choice = Choice::default();
    }

    fn enter(&mut self, world: &World) -> Reply {
        if self.verb().is_some() {
            return Reply::Then(deeds::command_line(self.written().trim()));
        }
        match self.chosen() {
            None => Reply::Stay,
            Some(Row::Key(binding)) => Reply::Then(Effect::Act(binding.action)),
            Some(Row::Verb(verb)) if !verb.needs_words => Reply::Then(deeds::command_line(&verb.name)),
            Some(Row::Verb(_)) => {
                self.write_out(world);
                Reply::Stay
            }
        }
    }
}

impl Overlay for Palette {
    fn layer(&self) -> &'static Layer {
        &overlays::PALETTE
    }

    fn place(&self, area: Rect) -> Rect {
        place(area, 96, (self.rows.len() as u16 + 5 + ABOUT).min(area.height.saturating_sub(2)))
    }

    fn draw(&mut self, canvas: &mut Canvas, area: Rect, _: &World) {
        let inner = frame(canvas, area, "Command");
        let mut spans = vec![Span::styled(" : ", theme::focus())];
        spans.extend(self.typed.line(inner.width.saturating_sub(4) as usize, true).spans);
        canvas.buffer.set_line(inner.x, inner.y, &Line::from(spans), inner.width);
        let body = Rect { y: inner.y + 2, height: inner.height.saturating_sub(4 + ABOUT), ..inner };
        let width = inner.width.saturating_sub(2) as usize;
        // All of what the chosen one does, which its row may be too short for.
        let about = match self.chosen() {
            Some(Row::Key(binding)) if binding.shown.is_empty() => binding.help.to_owned(),
            Some(Row::Key(binding)) => format!("{}: {}", binding.shown, binding.help),
            Some(Row::Verb(verb)) => format!("{PROGRAM} {} {}: {}", verb.name, verb.words, verb.about),
            None => "nothing of that name can be done now".into(),
        };
        let lines = text::wrap(&about, width);
        for (line, y) in lines.iter().zip(body.bottom() + 1..inner.bottom() - 1) {
            canvas.buffer.set_stringn(inner.x + 1, y, line, width, theme::accent());
        }
        hints(canvas, inner, self.layer());
        let lines: Vec<Line<'static>> = self
            .found()
            .into_iter()
            .map(|row| match row {
                Row::Key(binding) => Line::from(vec![
                    Span::styled(format!(" {:<28} ", row.name()), theme::strong()),
                    Span::styled(format!("{:<6} ", binding.shown), theme::strong()),
                    Span::raw(binding.help),
                ]),
                Row::Verb(verb) => Line::from(vec![
                    Span::styled(format!(" {PROGRAM} "), theme::faint()),
                    Span::styled(format!("{:<24} ", row.name()), theme::strong()),
                    Span::raw(verb.about.clone()),
                ]),
            })
            .collect();
        let mut choice = self.choice;
        list::draw(canvas, body, 0, &mut choice, lines.len(), true, |i, _| lines[i].clone());
        self.choice = choice;
    }

    fn act(&mut self, action: Action, _: KeyEvent, world: &World) -> Reply {
        match action {
            Action::Back => return Reply::Close,
            Action::Enter => return self.enter(world),
            Action::Complete => self.write_out(world),
            step => drop(self.choice.step(step, self.found().len())),
        }
        Reply::Stay
    }

    fn typed(&mut self, key: KeyEvent, _: &World) -> Reply {
        self.typed.key(key);
        self.choice = Choice::default();
        Reply::Stay
    }

    fn paste(&mut self, text: &str) -> usize {
        self.typed.insert(text.trim())
    }

    fn choose(&mut self, index: usize, again: bool, world: &World) -> Reply {
        self.choice.index = index;
        if again { self.enter(world) } else { Reply::Stay }
    }
}
