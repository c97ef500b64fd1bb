//! The workbench's state, what each message does to it, and how it is drawn. It knows no terminal: tests draw it into a
//! buffer.

mod asks;
mod effects;
mod frame;
mod input;

use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use crossterm::event::{Event, KeyEvent, KeyEventKind};
use ratatui::layout::Rect;

use super::canvas::Target;
use super::deeds::{Effect, Task};
use super::graph::GraphView;
use super::input::Answer;
use super::keymap::ScreenName;
use super::link::{self, News, Update};
use super::overlays::Overlay;
use super::overlays::entry::Input;
use super::preview::{Choice, Loaded, Surface};
use super::screens::{Screen, compare, concept, jobs, library, samples, scores, train};
use super::world::{Checked, SampleList, World};
use super::{Setup, command, leave, theme};
use crate::workspace::{CheckpointScores, GraphicsCard, HomeSettings, Ratings, Theme};

/// Photos, masks, and photos that are still being written.
type PhotoCounts = (usize, usize, usize);

/// What can happen.
pub enum Message {
    /// A key, a paste, a click, a new size.
    Input(Event),
    /// A key whose layout has other letters than Latin ones, and the Latin key at its place.
    Foreign(KeyEvent, KeyEvent),
    /// The size changed.
    Resized,
    /// The terminal is gone, or someone asked the program to end.
    End,
    /// Someone asked the program to stop for a while.
    Suspend,
    /// The program goes on after it was stopped from outside.
    Continued,
    /// The terminal has answered that it has drawn what came before.
    Answered,
    /// The terminal has answered what it can do, which concerns what draws on it.
    Answer(Answer),
    /// The terminal has had its time to answer that.
    Unanswered,
    /// A picture has come.
    Picture(Loaded),
    /// The daemon tells.
    Update(Update),
    /// A follower tells of the job in this folder.
    News(PathBuf, News),
    /// The photos of this concept have been checked, when there were this many photos and masks.
    Checked(String, PhotoCounts, Checked),
    /// The samples of this concept have come.
    Samples(String, SampleList),
    /// The ratings of this concept have come.
    Ratings(String, Ratings),
    /// What was measured of the checkpoints of this run has come.
    CheckpointScores(PathBuf, CheckpointScores),
    /// The memory of a runner has been looked at: its process, and how many bytes it has; and the graphics cards where it is on one.
    Memory(Option<(u32, u64)>, Vec<GraphicsCard>),
    /// What was being done is done: what it was, and what comes of it.
    Done(String, Result<Effect, String>),
    /// A command that runs has written these lines.
    Said(Vec<String>),
}

/// What the loop must do after a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Wait,
    /// Draw, soon.
    Draw,
    /// Draw at once: the user waits for it.
    DrawNow,
    /// Clear the terminal and draw all of it.
    Redraw,
    /// Hand the terminal to the shell.
    Suspend,
    /// End.
    Quit,
}

struct Screens {
    library: library::Library,
    concept: concept::ConceptScreen,
    train: train::Train,
    compare: compare::Compare,
    samples: samples::Samples,
    scores: scores::Scores,
    jobs: jobs::Jobs,
}

impl Screens {
    fn at(&mut self, place: ScreenName) -> &mut dyn Screen {
        match place {
            ScreenName::Library => &mut self.library,
            ScreenName::Concept => &mut self.concept,
            ScreenName::Train => &mut self.train,
            ScreenName::Compare => &mut self.compare,
            ScreenName::Samples => &mut self.samples,
            ScreenName::Scores => &mut self.scores,
            ScreenName::Jobs => &mut self.jobs,
        }
    }
}

/// The workbench.
pub struct App {
    world: World,
    place: ScreenName,
    screens: Screens,
    /// What lies over the screen, the last on top.
    overlays: Vec<Box<dyn Overlay>>,
    /// The overlay that waits for something to be done, counted from below, and what.
    awaited: Option<(usize, String)>,
    /// The words of a filter are being typed.
    filtering: Option<Input>,
    /// What just happened, until the next key.
    notice: Option<String>,
    setup: Setup,
    surface: Surface,
    targets: Vec<(Rect, Target)>,
    /// What was clicked last, with no key since.
    clicked: Option<Target>,
    /// The theme was chosen here.
    theme_turned: bool,
    messages: Sender<Message>,
    /// Does one thing after the other.
    desk: Sender<(String, Task)>,
    /// The command whose words the page on top shows.
    running: Option<command::Running>,
    /// The samples of the open concept have been asked for and not come yet.
    waits_for_samples: bool,
    /// They have been asked for at all, and how they were then: see [`World::samples_key`].
    asked_samples: bool,
    samples_key: Option<(usize, jiff::Timestamp)>,
    /// The scores of the shown run that were asked for: its folder, and how long their file was.
    asked_scores: Option<(PathBuf, u64)>,
    /// The process whose memory was last asked for, whether it is on a graphics card, and when.
    asked_memory: Option<((Option<u32>, bool), Instant)>,
    /// Photos and masks as they were when they were last checked.
    checked: Option<PhotoCounts>,
    waited: usize,
}

impl App {
    /// The workbench on a home. What happens on other threads comes through `messages`.
    pub fn new(setup: Setup, messages: Sender<Message>) -> Self {
        crate::programs::set_own(&setup.program);
        let sender = messages.clone();
        let surface = Surface::new(setup.pictures.backend, setup.colours, move |loaded| {
            // Nobody listens any more when the program ends.
            let _ = sender.send(Message::Picture(loaded));
        });
        let screens = Screens {
            library: library::Library::default(),
            concept: concept::ConceptScreen::default(),
            train: train::Train::new(setup.explained.clone(), setup.graph.clone()),
            compare: compare::Compare::new(setup.graph.clone()),
            samples: samples::Samples::default(),
            scores: scores::Scores::default(),
            jobs: jobs::Jobs::default(),
        };
        let mut app = Self {
            world: World::new(setup.home.clone()),
            place: ScreenName::Library,
            screens,
            overlays: Vec::new(),
            awaited: None,
            clicked: None,
            theme_turned: false,
            filtering: None,
            notice: None,
            surface,
            targets: Vec::new(),
            desk: desk(messages.clone()),
            messages,
            running: None,
            waits_for_samples: false,
            asked_samples: false,
            samples_key: None,
            asked_scores: None,
            asked_memory: None,
            checked: None,
            waited: 0,
            setup,
        };
        if let Some(name) = app.setup.concept.clone() {
            app.open(&name);
            app.place = app.setup.place;
        }
        app
    }

    /// Listen to the daemon from now on.
    pub fn connect(&mut self) {
        let messages = self.messages.clone();
        link::listen(self.world.home.clone(), move |update| messages.send(Message::Update(update)).is_ok());
    }

    /// Whether all that was asked of other threads has come.
    pub fn is_settled(&self) -> bool {
        let open = self.world.open.as_ref();
        self.surface.is_settled()
            && (self.world.listed || self.world.down.is_some())
            && self.world.doing.is_empty()
            && self.waited == 0
            && self.world.followed.values().all(|followed| followed.whole)
            && open.is_none_or(|open| open.details.is_some() && open.checked.is_some())
    }

    /// What to tell who leaves: what goes on, and how to come back to it.
    pub fn goes_on(&self) -> Option<String> {
        leave::goes_on(&self.world)
    }

    /// Keep what was chosen here for the next time.
    pub fn keep(&self, settings: &mut HomeSettings) {
        self.graph().keep(settings);
        // One that was only asked for on the command line is not kept.
        if self.theme_turned {
            settings.theme = self.setup.theme;
        }
    }

    /// What the terminal has told: what suits its background, how pictures are drawn, and what is wrong with it.
    pub fn set_told(&mut self, told: Option<Theme>, pictures: Choice, wrong: Option<&str>) {
        self.setup.told = told;
        theme::choose(self.setup.theme.or(told).unwrap_or(Theme::Dark));
        if self.surface.images() != pictures.backend {
            self.surface.forget();
            self.surface.change(pictures.backend);
        }
        self.setup.pictures = pictures;
        if let Some(wrong) = wrong {
            self.notice = Some(wrong.into());
        }
    }

    /// The next theme: as the terminal asks, for dark ones, for light ones.
    fn turn_theme(&mut self) -> Effect {
        self.theme_turned = true;
        self.setup.theme = match self.setup.theme {
            None => Some(Theme::Dark),
            Some(Theme::Dark) => Some(Theme::Light),
            Some(Theme::Light) => None,
        };
        theme::choose(self.setup.theme.or(self.setup.told).unwrap_or(Theme::Dark));
        Effect::Notice(match (self.setup.theme, self.setup.told) {
            (Some(theme), _) => format!("theme: {}; C again for the next one", theme.word()),
            (None, Some(told)) => format!("theme: auto, which is {} here", told.word()),
            (None, None) => "theme: auto; the terminal is asked for its background at the next start".into(),
        })
    }

    /// Where the user is: the screen, and the concept that is open.
    pub fn whereabouts(&self) -> (ScreenName, Option<String>) {
        (self.place, self.world.open.as_ref().map(|open| open.concept.id.clone()))
    }

    /// How graphs are looked at now: as on the screen where that was changed.
    fn graph(&self) -> &GraphView {
        let compare = self.screens.compare.view();
        if compare.is_set_as(&self.setup.graph) { self.screens.train.view() } else { compare }
    }

    /// Take in what happened.
    pub fn handle(&mut self, message: Message) -> Next {
        let next = self.take(message);
        self.look_after();
        next
    }

    fn take(&mut self, message: Message) -> Next {
        match message {
            Message::Input(Event::Key(key)) if key.kind != KeyEventKind::Release => return self.key(key, None),
            Message::Foreign(key, latin) if key.kind != KeyEventKind::Release => return self.key(key, Some(latin)),
            Message::Input(Event::Mouse(mouse)) => return self.mouse(mouse),
            Message::Input(Event::Paste(text)) => {
                let left_out = match (self.overlays.last_mut(), &mut self.filtering) {
                    (Some(overlay), _) => overlay.paste(&text),
                    (None, Some(input)) => {
                        let left_out = input.insert(text.trim());
                        self.filter();
                        left_out
                    }
                    (None, None) => return Next::Wait,
                };
                self.notice = (left_out > 0).then(|| {
                    let all = text.chars().count();
                    format!("of the {all} letters that were pasted the last {left_out} are left out: there is no room for more")
                });
                return Next::DrawNow;
            }
            Message::Input(Event::Resize(..)) | Message::Resized | Message::Continued => return Next::Redraw,
            Message::Input(_) | Message::Foreign(..) | Message::Answer(_) | Message::Unanswered => return Next::Wait,
            Message::End => return Next::Quit,
            Message::Suspend => return Next::Suspend,
            Message::Answered => {
                self.surface.answered();
                return Next::Wait;
            }
            Message::Picture(loaded) => self.surface.take(loaded),
            Message::Update(update) => {
                match &update {
                    Update::News(news) => self.notice = Some(news.clone()),
                    // Nobody told of what has changed in the open one meanwhile.
                    Update::Concepts(_) => self.ask_details(),
                    Update::ReadOnly(Some(why)) if self.world.read_only.is_none() => self.notice = Some(why.clone()),
                    _ => {}
                }
                if self.world.take(update) {
                    self.ask_ratings();
                }
            }
            Message::News(path, told) => {
                let over = matches!(told, News::Over(_));
                self.world.told(&path, told);
                if over {
                    self.ask_details();
                }
            }
            Message::Checked(name, counts, checked) => {
                self.waited -= 1;
                // One that was asked for earlier may come later.
                let latest = self.checked == Some(counts);
                if let Some(open) = self.world.open.as_mut().filter(|open| latest && open.concept.id == name) {
                    open.checked = Some(checked);
                }
            }
            Message::Samples(name, samples) => {
                self.waited -= 1;
                self.waits_for_samples = false;
                if let Some(open) = self.world.open.as_mut().filter(|open| open.concept.id == name) {
                    open.take_samples(samples);
                }
            }
            Message::Ratings(name, ratings) => {
                // What is being written here comes once it is written.
                let rating = self.world.doing.iter().any(|doing| doing == "rating");
                if let Some(open) = self.world.open.as_mut().filter(|open| !rating && open.concept.id == name) {
                    open.take_ratings(&ratings);
                }
            }
            Message::CheckpointScores(run, scores) => {
                self.waited -= 1;
                if let Some(open) = self.world.open.as_mut().filter(|open| open.run().is_some_and(|r| r.path == run)) {
                    open.checkpoint_scores = scores;
                }
            }
            Message::Memory(runner, cards) => {
                self.waited -= 1;
                (self.world.runner_memory, self.world.cards) = (runner, cards);
            }
            Message::Done(what, result) => {
                if let Some(at) = self.world.doing.iter().position(|doing| *doing == what) {
                    self.world.doing.remove(at);
                }
                let waits = self.awaited.take_if(|(_, awaited)| *awaited == what).map(|(at, _)| at);
                match (result, waits) {
                    (Ok(effect), Some(at)) => {
                        self.overlays.remove(at);
                        return self.apply(effect);
                    }
                    (Ok(effect), None) => return self.apply(effect),
                    (Err(wrong), Some(at)) => self.overlays[at].refused(wrong),
                    (Err(wrong), None) => self.notice = Some(wrong),
                }
            }
            Message::Said(lines) => return self.apply(Effect::Tell(lines)),
        }
        Next::Draw
    }
}

/// A thread that does what it is sent, one after the other, and tells what came of it.
fn desk(messages: Sender<Message>) -> Sender<(String, Task)> {
    let (desk, tasks) = channel::<(String, Task)>();
    std::thread::spawn(move || {
        for (what, task) in tasks {
            if messages.send(Message::Done(what, task())).is_err() {
                return;
            }
        }
    });
    desk
}
