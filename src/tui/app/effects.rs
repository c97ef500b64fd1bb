//! What actions ask for, and what comes of it.

use super::{App, Message, Next};
use crate::tui::deeds::{self, Effect};
use crate::tui::doctor::{Doctor, theme_words};
use crate::tui::keymap::{Action, ScreenName};
use crate::tui::overlays::entry::Input;
use crate::tui::overlays::help::Help;
use crate::tui::overlays::page::Page;
use crate::tui::overlays::palette::Palette;
use crate::tui::screens::Screen;
use crate::tui::{command, theme};

impl App {
    pub(super) fn open(&mut self, name: &str) {
        match self.world.home.concept(name) {
            Ok(concept) => {
                self.world.open(concept);
                self.checked = None;
                self.asked_samples = false;
                self.asked_scores = None;
                for place in ScreenName::ALL {
                    if place != ScreenName::Library {
                        self.screens.at(place).reset();
                    }
                }
                self.ask_details();
            }
            Err(error) => self.notice = Some(error.to_string()),
        }
    }

    /// Do what comes of a key, a command or a task.
    pub(super) fn apply(&mut self, effect: Effect) -> Next {
        match effect {
            Effect::None => return Next::Wait,
            Effect::Draw => {}
            Effect::Notice(text) => self.notice = Some(text),
            Effect::Act(action) => return self.act(action),
            Effect::Go(place) => self.go(place),
            Effect::Open(name) => self.open(&name),
            Effect::Show(id) => {
                if let Some(open) = &mut self.world.open {
                    open.show(id);
                    self.ask_details();
                }
                self.screens.train.reset();
            }
            Effect::Mended(picture) => {
                if let Some(open) = &mut self.world.open {
                    open.mend(&picture);
                }
            }
            Effect::Over(overlay) => self.overlays.push(overlay),
            Effect::Do(what, task) => {
                self.world.doing.push(what.clone());
                // The desk works as long as this program.
                let _ = self.desk.send((what, task));
            }
            Effect::Aside(what, task) => {
                self.world.doing.push(what.clone());
                let messages = self.messages.clone();
                std::thread::spawn(move || {
                    let _ = messages.send(Message::Done(what, task()));
                });
            }
            Effect::Run(words) => {
                self.overlays.push(Box::new(Page::growing(&format!("catbench {}", words.join(" ")), Vec::new())));
                let messages = self.messages.clone();
                match command::Running::start(&self.setup.program, &self.world.home, &words, move |lines| {
                    let _ = messages.send(Message::Said(lines));
                }) {
                    Ok(running) => self.running = Some(running),
                    Err(error) => self.notice = Some(error.to_string()),
                }
            }
            Effect::Tell(lines) => {
                let more: Vec<Effect> = self.overlays.iter_mut().map(|overlay| overlay.tell(lines.clone())).collect();
                for effect in more {
                    self.apply(effect);
                }
            }
            Effect::Many(effects) => {
                let mut next = Next::Draw;
                for effect in effects {
                    match self.apply(effect) {
                        Next::Wait => {}
                        other => next = other,
                    }
                }
                return next;
            }
            Effect::Quit => return Next::Quit,
            Effect::Suspend => return Next::Suspend,
        }
        Next::Draw
    }

    pub(super) fn go(&mut self, place: ScreenName) {
        let needs = !matches!(place, ScreenName::Library | ScreenName::Jobs | ScreenName::Scores);
        if needs && self.world.open.is_none() {
            // Why it could not be opened says more.
            self.notice.get_or_insert_with(|| "no concept is open: choose one, Enter opens it".into());
            return;
        }
        self.place = place;
        self.filtering = None;
    }

    pub(super) fn act(&mut self, action: Action) -> Next {
        let world = &mut self.world;
        let screen = self.screens.at(self.place);
        if let Some(why) = screen.why_not(action, world) {
            self.notice = Some(why);
            return Next::Draw;
        }
        let effect = match action {
            Action::Quit | Action::Interrupt => Effect::Quit,
            Action::Suspend => Effect::Suspend,
            Action::Go(place) => Effect::Go(place),
            Action::Help => Effect::over(Help::of_screen(self.place)),
            Action::Theme => self.turn_theme(),
            Action::Demo => deeds::demo(&world.home),
            Action::Sheets => world.open.as_ref().map_or(Effect::None, |open| deeds::sheets(&open.concept)),
            Action::Palette => {
                let now = self.now(|binding| binding.command.is_some());
                Effect::over(Palette::new(now, &self.setup.verbs))
            }
            Action::Doctor => {
                let (home, pictures) = (world.home.clone(), self.setup.pictures.clone());
                let theme = theme_words(self.setup.theme, theme::theme());
                Effect::aside("looking at the machine", move || {
                    let doctor = Doctor::look(&home, pictures, theme).map_err(|error| error.to_string())?;
                    let lines = doctor.rows().into_iter().map(|(name, value)| format!("{name:<10} {value}")).collect();
                    Ok(Effect::over(Page::new("Doctor", lines)))
                })
            }
            Action::NextPane | Action::PreviousPane => {
                let panes = screen.panes(world).max(1);
                let step = if action == Action::NextPane { 1 } else { panes - 1 };
                let focus = screen.focus();
                *focus = (*focus + step) % panes;
                Effect::Draw
            }
            Action::Filter => {
                let text = screen.filter().map(|filter| filter.clone()).unwrap_or_default();
                self.filtering = Some(Input::new(&text));
                Effect::Draw
            }
            Action::PreviousRun | Action::NextRun if self.place != ScreenName::Scores => {
                let id = world.open.as_ref().and_then(|open| {
                    let at = open.run_index();
                    let to = if action == Action::NextRun { at + 1 } else { at.checked_sub(1)? };
                    Some(open.runs().get(to)?.id.clone())
                });
                id.map_or_else(|| Effect::Notice("there is no other run".into()), |id| Effect::Show(Some(id)))
            }
            Action::Back => match screen.act(action, world) {
                // Nothing to go back from on the screen itself: up to the one it came from.
                Effect::None => match self.place {
                    ScreenName::Library => Effect::None,
                    ScreenName::Concept | ScreenName::Jobs | ScreenName::Scores => Effect::Go(ScreenName::Library),
                    _ => Effect::Go(ScreenName::Concept),
                },
                effect => effect,
            },
            action => screen.act(action, world),
        };
        self.apply(effect)
    }
}
