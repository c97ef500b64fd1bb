//! Keys and the mouse: to what lies on top, else to the screen.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use super::{App, Next};
use crate::tui::canvas::{Target, target_at};
use crate::tui::deeds::Effect;
use crate::tui::keymap::{self, Action, overlays};
use crate::tui::overlays::Reply;
use crate::tui::overlays::help::Help;

impl App {
    /// A key, and the Latin one at its place where it types a letter of another alphabet: that one is meant where no text is
    /// typed.
    pub(super) fn key(&mut self, key: KeyEvent, latin: Option<KeyEvent>) -> Next {
        (self.notice, self.clicked) = (None, None);
        let either = |find: &dyn Fn(KeyEvent) -> Option<Action>| find(key).or_else(|| latin.and_then(find));
        let action = either(&|key| keymap::action(key, self.place));
        if action == Some(Action::Suspend) {
            return self.act(Action::Suspend);
        }
        let leaves = action == Some(Action::Interrupt);
        if let Some(overlay) = self.overlays.last() {
            let layer = overlay.layer();
            let action = if leaves { Some(Action::Back) } else { either(&|key| keymap::find(layer.keys, key)) };
            if action.is_none() && layer.has_letters() {
                self.notice = no_key(key);
            }
            return self.over(action, key);
        }
        if let Some(input) = &mut self.filtering {
            let action = if leaves { Some(Action::Back) } else { keymap::find(overlays::FILTER.keys, key) };
            match action {
                Some(Action::Back) => {
                    self.filtering = None;
                    if let Some(filter) = self.screens.at(self.place).filter() {
                        filter.clear();
                    }
                }
                Some(_) => self.filtering = None,
                None => {
                    input.key(key);
                    self.filter();
                }
            }
            return Next::DrawNow;
        }
        if action.is_none() {
            self.notice = no_key(key);
        }
        seen(action.map_or(Next::Draw, |action| self.act(action)))
    }

    /// What lies on top does this, or takes the key as text.
    fn over(&mut self, action: Option<Action>, key: KeyEvent) -> Next {
        let Some(top) = self.overlays.len().checked_sub(1) else { return Next::Wait };
        // While something is being done for it, it can only be left.
        if self.awaited.as_ref().is_some_and(|(at, _)| *at == top) && action != Some(Action::Back) {
            return Next::Wait;
        }
        let overlay = &mut self.overlays[top];
        let reply = match action {
            Some(Action::Help) => Reply::Also(Effect::over(Help::of_layer(overlay.layer()))),
            Some(action) => overlay.act(action, key, &self.world),
            None => overlay.typed(key, &self.world),
        };
        self.take_reply(reply)
    }

    fn take_reply(&mut self, reply: Reply) -> Next {
        let effect = match reply {
            Reply::Stay => Effect::Draw,
            Reply::Also(effect) => effect,
            Reply::Close => {
                self.close_top();
                Effect::Draw
            }
            Reply::Then(effect) => {
                self.close_top();
                effect
            }
            Reply::Once(effect) => {
                match &effect {
                    Effect::Do(what, _) | Effect::Aside(what, _) => {
                        self.awaited = Some((self.overlays.len() - 1, what.clone()));
                    }
                    _ => self.close_top(),
                }
                effect
            }
        };
        seen(self.apply(effect))
    }

    fn close_top(&mut self) {
        self.overlays.pop();
        let left = self.overlays.len();
        self.awaited = self.awaited.take().filter(|(at, _)| *at < left);
        if self.overlays.is_empty() {
            self.running = None;
        }
    }

    pub(super) fn filter(&mut self) {
        if let (Some(input), Some(filter)) = (&self.filtering, self.screens.at(self.place).filter()) {
            input.text().clone_into(filter);
        }
    }

    pub(super) fn mouse(&mut self, mouse: MouseEvent) -> Next {
        let target = target_at(&self.targets, mouse.column, mouse.row);
        // The keys at the foot of an overlay can be clicked, whatever else it does with the mouse.
        let clicks = mouse.kind == MouseEventKind::Down(MouseButton::Left);
        let is_hint = clicks && matches!(target, Some(Target::Action(_)));
        if !is_hint && let Some(effect) = self.overlays.last_mut().and_then(|overlay| overlay.mouse(mouse)) {
            return at_once(self.apply(effect));
        }
        match mouse.kind {
            MouseEventKind::Down(MouseButton::Left) => {
                self.notice = None;
                let again = target.is_some() && self.clicked == target;
                self.clicked = target;
                self.click(mouse, target, again)
            }
            MouseEventKind::ScrollDown | MouseEventKind::ScrollUp => {
                let down = mouse.kind == MouseEventKind::ScrollDown;
                if !self.overlays.is_empty() {
                    let code = if down { KeyCode::Down } else { KeyCode::Up };
                    return self.key(KeyEvent::new(code, KeyModifiers::NONE), None);
                }
                if let Some(Target::Pane(pane) | Target::Item { pane, .. }) = target {
                    let screen = self.screens.at(self.place);
                    *screen.focus() = pane;
                    if screen.wheel(pane, mouse.column, mouse.row, down, &self.world) {
                        return Next::DrawNow;
                    }
                }
                at_once(self.act(if down { Action::Down } else { Action::Up }))
            }
            _ => Next::Wait,
        }
    }

    /// A click; `again` when the last one was there too.
    fn click(&mut self, mouse: MouseEvent, target: Option<Target>, again: bool) -> Next {
        if let Some(overlay) = self.overlays.last_mut() {
            let waits = self.awaited.is_some();
            return match target {
                Some(Target::Item { index, .. }) if !waits => {
                    let reply = overlay.choose(index, again, &self.world);
                    self.take_reply(reply)
                }
                Some(Target::Action(action)) => self.over(Some(action), KeyEvent::from(KeyCode::Null)),
                _ => Next::Wait,
            };
        }
        if let Some(Target::Action(action)) = target
            && self.filtering.is_some()
        {
            let key = if action == Action::Back { KeyCode::Esc } else { KeyCode::Enter };
            return self.key(KeyEvent::from(key), None);
        }
        let screen = self.screens.at(self.place);
        match target {
            None => return Next::Wait,
            Some(Target::ScreenName(place)) => self.go(place),
            Some(Target::Action(action)) => return at_once(self.act(action)),
            Some(Target::Pane(pane)) => {
                *screen.focus() = pane;
                screen.click(pane, mouse.column, mouse.row, &self.world);
            }
            Some(Target::Item { pane, index }) => {
                *screen.focus() = pane;
                screen.choose(pane, index, &mut self.world);
                if again {
                    return at_once(self.act(Action::Enter));
                }
            }
        }
        Next::DrawNow
    }
}

/// What is said of a letter that no keyboard with Latin letters has.
fn no_key(key: KeyEvent) -> Option<String> {
    match key.code {
        KeyCode::Char(letter) if letter.is_alphabetic() && !letter.is_ascii() => {
            Some(format!("{letter} is no key here: keys are Latin letters, so switch the keyboard's layout"))
        }
        _ => None,
    }
}

/// The user waits for what was done.
fn at_once(next: Next) -> Next {
    if next == Next::Draw { Next::DrawNow } else { next }
}

/// The same for what is drawn also where nothing more comes of it: a notice is gone, or what lies on top has changed.
fn seen(next: Next) -> Next {
    if next == Next::Wait { Next::DrawNow } else { at_once(next) }
}
