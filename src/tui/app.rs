//! The workbench's state, what each message does to it, and how it is drawn. It knows no terminal: tests draw it into a
//! buffer.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};
use ratatui::text::{Line, Span};

use super::canvas::{Canvas, Target, target_at};
use super::deeds::{Effect, Task};
use super::graph::GraphView;
use super::keymap::{self, Action, BINDINGS, Binding, Place};
use super::link::{self, Follower, Told, Update};
use super::overlays::entry::Input;
use super::overlays::help::Help;
use super::overlays::page::Page;
use super::overlays::palette::Palette;
use super::overlays::{Overlay, Reply};
use super::preview::{Choice, Colours, Images, Loaded, Surface};
use super::screens::{Screen, compare, concept, jobs, library, samples, scores, train};
use super::world::{Checked, Open, SampleList, World};
use super::{Setup, command, theme};
use crate::client;
use crate::protocol::{JobKind, JobState, Scores, State};
use crate::workspace::{GraphicsCard, JobFolder, Ratings, checkpoint_scores, graphics_cards, preflight, read_ratings};

/// The smallest terminal the screens fit into.
const LEAST: (u16, u16) = (60, 16);
/// How often graphics cards are asked for their memory.
const CARDS_EVERY: Duration = Duration::from_secs(2);

/// What can happen.
pub enum Message {
    /// A key, a paste, a click, a new size.
    Input(Event),
    /// The size changed.
    Resized,
    /// The terminal is gone, or someone asked the program to end.
    End,
    /// Someone asked the program to stop for a while.
    Suspend,
    /// The program goes on after it was stopped from outside.
    Continued,
    /// The terminal has answered what it was asked.
    Answered,
    /// A picture has come.
    Picture(Loaded),
    /// The daemon tells.
    Update(Update),
    /// A follower tells of the job in this folder.
    Told(PathBuf, Told),
    /// The photos of this concept have been checked.
    Checked(String, Checked),
    /// The samples of this concept have come.
    Samples(String, SampleList),
    /// The ratings of this concept have come.
    Ratings(String, Ratings),
    /// What was measured of the checkpoints of this run has come.
    CheckpointScores(PathBuf, BTreeMap<usize, Scores>),
    /// The graphics cards have been asked for their memory.
    Cards(Vec<GraphicsCard>),
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
    fn at(&mut self, place: Place) -> &mut dyn Screen {
        match place {
            Place::Library => &mut self.library,
            Place::Concept => &mut self.concept,
            Place::Train => &mut self.train,
            Place::Compare => &mut self.compare,
            Place::Samples => &mut self.samples,
            Place::Scores => &mut self.scores,
            Place::Jobs => &mut self.jobs,
        }
    }
}

/// The workbench.
pub struct App {
    world: World,
    place: Place,
    screens: Screens,
    overlay: Option<Box<dyn Overlay>>,
    /// The words of a filter are being typed.
    filtering: Option<Input>,
    /// What just happened, until the next key.
    notice: Option<String>,
    setup: Setup,
    surface: Surface,
    targets: Vec<(Rect, Target)>,
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
    /// When the graphics cards were last asked for their memory.
    asked_cards: Option<Instant>,
    /// Photos and masks as they were when they were last checked.
    checked: Option<(usize, usize, usize)>,
    waited: usize,
}

impl App {
    /// The workbench on a home. What happens on other threads comes through `messages`.
    pub fn new(setup: Setup, messages: Sender<Message>) -> Self {
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
            place: Place::Library,
            screens,
            overlay: None,
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
            asked_cards: None,
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

    /// Draw pictures another way.
    pub fn set_pictures(&mut self, pictures: Choice) {
        self.surface.change(pictures.backend);
        self.setup.pictures = pictures;
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

    /// Where the user is: the screen, and the concept that is open.
    pub fn whereabouts(&self) -> (Place, Option<String>) {
        (self.place, self.world.open.as_ref().map(|open| open.concept.id.clone()))
    }

    /// How graphs are looked at now: as on the screen where that was changed.
    pub fn graph(&self) -> &GraphView {
        let compare = self.screens.compare.view();
        if compare.is_set_as(&self.setup.graph) { self.screens.train.view() } else { compare }
    }

    /// What to tell who leaves: what goes on, and how to come back to it.
    pub fn goes_on(&self) -> Option<String> {
        let (running, queued) = self.world.running();
        let job = self.world.jobs.iter().find(|job| job.state == JobState::Running);
        let (path, name, kind) = if let Some(job) = job {
            (job.job.clone(), job.concept.clone(), job.kind)
        } else {
            // One that is in no queue of this home, but at work.
            let job = self.world.current().filter(|job| job.state == State::Running)?;
            (job.job.path().to_owned(), self.world.open.as_ref()?.concept.id.clone(), job.job.kind().ok())
        };
        let kind = match kind {
            None | Some(JobKind::Train) => "training",
            Some(JobKind::Sample) => "sampling",
            Some(JobKind::Score) => "scoring",
            Some(JobKind::Mask) => "making masks",
        };
        let history = self.world.followed.get(&path).map(|followed| &followed.history);
        let step = match history.map(|history| (history.step(), history.steps)) {
            Some((step, steps)) if steps > 0 => format!(" (step {step} of {steps})"),
            _ => job.and_then(|job| job.step).map(|step| format!(" (step {step})")).unwrap_or_default(),
        };
        let more = match (running + queued).saturating_sub(1) {
            0 => String::new(),
            more => format!(", and {more} more in the queue"),
        };
        Some(format!(
            "{kind} goes on in the background{step}{more}\n  catbench open {name}    see it here again\n  \
             catbench watch {name}   follow it without the workbench\n  catbench stop {name}    stop it; `catbench jobs` \
             lists the queue"
        ))
    }

    /// Take in what happened.
    pub fn handle(&mut self, message: Message) -> Next {
        let next = self.take(message);
        self.look_after();
        next
    }

    fn take(&mut self, message: Message) -> Next {
        match message {
            Message::Input(Event::Key(key)) if key.kind != KeyEventKind::Release => return self.key(key),
            Message::Input(Event::Mouse(mouse)) => return self.mouse(mouse),
            Message::Input(Event::Paste(text)) => {
                match (&mut self.overlay, &mut self.filtering) {
                    (Some(overlay), _) => overlay.paste(&text),
                    (None, Some(input)) => {
                        input.insert(text.trim());
                        self.filter();
                    }
                    (None, None) => return Next::Wait,
                }
                return Next::DrawNow;
            }
            Message::Input(Event::Resize(..)) | Message::Resized | Message::Continued => return Next::Redraw,
            Message::Input(_) => return Next::Wait,
            Message::End => return Next::Quit,
            Message::Suspend => return Next::Suspend,
            Message::Answered => {
                self.surface.answered();
                return Next::Wait;
            }
            Message::Picture(loaded) => self.surface.take(loaded),
            Message::Update(update) => {
                if self.world.take(update) {
                    self.ask_ratings();
                }
            }
            Message::Told(path, told) => {
                let over = matches!(told, Told::Over(_));
                self.world.told(&path, told);
                if over {
                    self.ask_details();
                }
            }
            Message::Checked(name, checked) => {
                self.waited -= 1;
                if let Some(open) = self.world.open.as_mut().filter(|open| open.concept.id == name) {
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
            Message::Cards(cards) => self.world.cards = cards,
            Message::Done(what, result) => {
                if let Some(at) = self.world.doing.iter().position(|doing| *doing == what) {
                    self.world.doing.remove(at);
                }
                match result {
                    Ok(effect) => return self.apply(effect),
                    Err(wrong) => self.notice = Some(wrong),
                }
            }
            Message::Said(lines) => return self.apply(Effect::Tell(lines)),
        }
        Next::Draw
    }

    /// Ask for what is shown and not known, and let go of what is not shown any more.
    fn look_after(&mut self) {
        let mut wanted = self.screens.at(self.place).follows(&self.world);
        wanted.retain(|path| path.join("events.jsonl").is_file() || self.world.job(path).is_some());
        let messages = self.messages.clone();
        self.world.follow(&wanted, |job| {
            let (messages, path) = (messages.clone(), job.path().to_owned());
            Follower::start(job, move |told| {
                let _ = messages.send(Message::Told(path.clone(), told));
            })
        });
        let Some(open) = &self.world.open else { return };
        let count = open
            .details
            .as_ref()
            .map_or((0, 0, 0), |details| (details.concept.photos, details.concept.masks, details.concept.incomplete));
        if self.checked != Some(count) {
            self.checked = Some(count);
            self.waited += 1;
            let (concept, messages) = (open.concept.clone(), self.messages.clone());
            std::thread::spawn(move || {
                let checked =
                    preflight(&concept).map_or_else(|error| Checked::Wrong(error.to_string()), Checked::Ready);
                let _ = messages.send(Message::Checked(concept.id, checked));
            });
        }
        self.look_for_scores();
        self.look_at_cards();
        self.look_for_samples();
    }

    /// Ask for the samples of the open concept where they are shown and others than those that were asked for; one answer
    /// is waited for before it is asked again.
    fn look_for_samples(&mut self) {
        let Some(open) = self.world.open.as_ref().filter(|_| self.place == Place::Samples) else { return };
        let key = self.world.samples_key();
        let known = key.is_some() || self.world.down.is_some();
        if !known || self.waits_for_samples || self.asked_samples && self.samples_key == key {
            return;
        }
        (self.asked_samples, self.samples_key) = (true, key);
        self.waits_for_samples = true;
        self.waited += 1;
        let (home, name, messages) = (self.world.home.clone(), open.concept.id.clone(), self.messages.clone());
        std::thread::spawn(move || {
            // Without a daemon there is only what is followed.
            let details = client::concept(&home, &name, true);
            let samples = details.map(|details| details.sample_records).unwrap_or_default();
            let _ = messages.send(Message::Samples(name, SampleList::new(samples)));
        });
    }

    /// Ask for the ratings of the open concept, where they are shown: someone else may have rated too.
    fn ask_ratings(&self) {
        let Some(open) = self.world.open.as_ref().filter(|open| open.samples.is_some()) else { return };
        let (folder, name, messages) = (open.concept.folder.clone(), open.concept.id.clone(), self.messages.clone());
        std::thread::spawn(move || {
            // What cannot be read is told of on the concept's screen.
            if let Ok(ratings) = read_ratings(&folder) {
                let _ = messages.send(Message::Ratings(name, ratings));
            }
        });
    }

    /// Ask for the scores of the shown run's checkpoints when there are others than those that were asked for.
    fn look_for_scores(&mut self) {
        let Some(run) = self.world.open.as_ref().filter(|_| self.place == Place::Train).and_then(Open::run) else {
            return;
        };
        let length = std::fs::metadata(run.path.join("scores.jsonl")).map_or(0, |file| file.len());
        let wanted = Some((run.path.clone(), length));
        if self.asked_scores == wanted {
            return;
        }
        let (path, messages) = (run.path.clone(), self.messages.clone());
        self.asked_scores = wanted;
        self.waited += 1;
        std::thread::spawn(move || {
            // What cannot be read is not shown; `catbench score --last` says why.
            let scores = JobFolder::at(&path).and_then(|run| checkpoint_scores(&run)).unwrap_or_default();
            let _ = messages.send(Message::CheckpointScores(path, scores));
        });
    }

    /// Ask for the memory of the graphics cards now and then, while a job on one is looked at and tells of itself.
    fn look_at_cards(&mut self) {
        let job = self.world.current().and_then(|job| self.world.job(job.job.path()));
        let on_card = job.is_some_and(|job| job.state == JobState::Running && job.device.starts_with("cuda"));
        if on_card && self.asked_cards.is_none_or(|asked| asked.elapsed() > CARDS_EVERY) {
            self.asked_cards = Some(Instant::now());
            let messages = self.messages.clone();
            std::thread::spawn(move || {
                let _ = messages.send(Message::Cards(graphics_cards()));
            });
        }
    }

    /// Ask for the open concept as it is now.
    fn ask_details(&self) {
        let Some(open) = &self.world.open else { return };
        let (home, name, messages) = (self.world.home.clone(), open.concept.id.clone(), self.messages.clone());
        std::thread::spawn(move || {
            if let Ok(update) = link::look(&home, name) {
                let _ = messages.send(Message::Update(update));
            }
        });
    }

    fn open(&mut self, name: &str) {
        match self.world.home.concept(name) {
            Ok(concept) => {
                self.world.open(concept);
                self.checked = None;
                self.asked_samples = false;
                self.asked_scores = None;
                for place in Place::ALL {
                    if place != Place::Library {
                        self.screens.at(place).reset();
                    }
                }
                self.ask_details();
            }
            Err(error) => self.notice = Some(error.to_string()),
        }
    }

    /// Do what comes of a key, a command or a task.
    fn apply(&mut self, effect: Effect) -> Next {
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
            Effect::Over(overlay) => self.overlay = Some(overlay),
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
                self.overlay = Some(Box::new(Page::growing(&format!("catbench {}", words.join(" ")), Vec::new())));
                let messages = self.messages.clone();
                match command::Running::start(&self.world.home, &words, move |lines| {
                    let _ = messages.send(Message::Said(lines));
                }) {
                    Ok(running) => self.running = Some(running),
                    Err(error) => self.notice = Some(error.to_string()),
                }
            }
            Effect::Tell(lines) => {
                if let Some(overlay) = &mut self.overlay {
                    overlay.tell(lines);
                }
            }
            Effect::Many(effects) => {
                let mut next = Next::Draw;
                for effect in effects {
                    next = self.apply(effect);
                }
                return next;
            }
            Effect::Quit => return Next::Quit,
            Effect::Suspend => return Next::Suspend,
        }
        Next::Draw
    }

    fn go(&mut self, place: Place) {
        let needs = !matches!(place, Place::Library | Place::Jobs | Place::Scores);
        if needs && self.world.open.is_none() {
            self.notice = Some("no concept is open: choose one, Enter opens it".into());
            return;
        }
        self.place = place;
        self.filtering = None;
    }

    fn key(&mut self, key: KeyEvent) -> Next {
        self.notice = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) && matches!(key.code, KeyCode::Char('z' | 'c')) {
            return keymap::action(key, self.place).map_or(Next::Wait, |action| self.act(action));
        }
        if let Some(mut overlay) = self.overlay.take() {
            let effect = match overlay.key(key, &self.world) {
                Reply::Stay => {
                    self.overlay = Some(overlay);
                    return Next::DrawNow;
                }
                Reply::Also(effect) => {
                    self.overlay = Some(overlay);
                    effect
                }
                Reply::Close => Effect::Draw,
                Reply::Then(effect) => effect,
            };
            if self.overlay.is_none() {
                self.running = None;
            }
            return at_once(self.apply(effect));
        }
        if let Some(input) = &mut self.filtering {
            match key.code {
                KeyCode::Esc => {
                    self.filtering = None;
                    if let Some(filter) = self.screens.at(self.place).filter() {
                        filter.clear();
                    }
                }
                KeyCode::Enter | KeyCode::Down => self.filtering = None,
                _ => {
                    input.key(key);
                    self.filter();
                }
            }
            return Next::DrawNow;
        }
        let next = keymap::action(key, self.place).map_or(Next::Draw, |action| self.act(action));
        at_once(next)
    }

    fn filter(&mut self) {
        if let (Some(input), Some(filter)) = (&self.filtering, self.screens.at(self.place).filter()) {
            input.text().clone_into(filter);
        }
    }

    fn mouse(&mut self, mouse: MouseEvent) -> Next {
        if let Some(effect) = self.overlay.as_mut().and_then(|overlay| overlay.mouse(mouse)) {
            return at_once(self.apply(effect));
        }
        let target = target_at(&self.targets, mouse.column, mouse.row);
        match mouse.kind {
            MouseEventKind::Down(MouseButton::Left) => {
                self.notice = None;
                match (target, &mut self.overlay) {
                    (Some(Target::Item { index, .. }), Some(overlay)) => overlay.choose(index),
                    (_, Some(_)) | (None, _) => return Next::Wait,
                    (Some(Target::Place(place)), None) => self.go(place),
                    (Some(Target::Action(action)), None) => return at_once(self.act(action)),
                    (Some(Target::Pane(pane)), None) => {
                        let screen = self.screens.at(self.place);
                        *screen.focus() = pane;
                        screen.click(pane, mouse.column, mouse.row, &self.world);
                    }
                    (Some(Target::Item { pane, index }), None) => {
                        let screen = self.screens.at(self.place);
                        *screen.focus() = pane;
                        screen.choose(pane, index, &mut self.world);
                    }
                }
            }
            MouseEventKind::ScrollDown | MouseEventKind::ScrollUp => {
                let down = mouse.kind == MouseEventKind::ScrollDown;
                if self.overlay.is_some() {
                    let code = if down { KeyCode::Down } else { KeyCode::Up };
                    return self.key(KeyEvent::new(code, KeyModifiers::NONE));
                }
                if let Some(Target::Pane(pane) | Target::Item { pane, .. }) = target {
                    let screen = self.screens.at(self.place);
                    *screen.focus() = pane;
                    if screen.wheel(pane, mouse.column, mouse.row, down, &self.world) {
                        return Next::DrawNow;
                    }
                }
                return at_once(self.act(if down { Action::Down } else { Action::Up }));
            }
            _ => return Next::Wait,
        }
        Next::DrawNow
    }

    fn act(&mut self, action: Action) -> Next {
        let world = &mut self.world;
        let screen = self.screens.at(self.place);
        if let Some(why) = screen.why_not(action, world) {
            self.notice = Some(why);
            return Next::Draw;
        }
        let effect = match action {
            Action::Quit => Effect::Quit,
            Action::Suspend => Effect::Suspend,
            Action::Go(place) => Effect::Go(place),
            Action::Help => Effect::over(Help::new(self.place, self.facts())),
            Action::Palette => {
                let now = self.now(|binding| binding.command.is_some());
                Effect::over(Palette::new(now, &self.setup.verbs))
            }
            Action::Doctor => {
                let facts = self.facts();
                let lines = facts.iter().map(|(name, value)| format!("{name:<10} {value}")).collect();
                Effect::over(Page::new("Doctor", lines))
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
            Action::PreviousRun | Action::NextRun if self.place != Place::Scores => {
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
                    Place::Library => Effect::None,
                    Place::Concept | Place::Jobs | Place::Scores => Effect::Go(Place::Library),
                    _ => Effect::Go(Place::Concept),
                },
                effect => effect,
            },
            action => screen.act(action, world),
        };
        self.apply(effect)
    }

    /// What can be done here now, of the bindings that are wanted.
    fn now(&mut self, wanted: impl Fn(&Binding) -> bool) -> Vec<&'static Binding> {
        let place = self.place;
        let screen = self.screens.at(place);
        let can = |binding: &&Binding| {
            binding.is_at(place) && wanted(binding) && screen.why_not(binding.action, &self.world).is_none()
        };
        BINDINGS.iter().filter(can).collect()
    }

    /// Draw one frame.
    pub fn draw(&mut self, buffer: &mut Buffer) {
        let area = buffer.area;
        if area.width < LEAST.0 || area.height < LEAST.1 {
            self.surface.begin(None);
            let text = format!("{} × {} is too small: {} × {} at least", area.width, area.height, LEAST.0, LEAST.1);
            buffer.set_stringn(area.x, area.y, text, area.width as usize, theme::text());
            return;
        }
        let hints = self.now(|binding| binding.hint.is_some());
        let over = self.overlay.as_ref().map(|overlay| overlay.place(area));
        self.surface.begin(over);
        let mut canvas = Canvas::new(buffer, &mut self.surface, &mut self.targets);
        if over != Some(area) {
            tabs(&mut canvas, Rect { height: 1, ..area }, self.place, &self.world);
            let body = Rect { y: area.y + 1, height: area.height - 2, ..area };
            self.screens.at(self.place).draw(&mut canvas, body, &self.world);
            let foot = Rect { y: area.bottom() - 1, height: 1, ..area };
            footer(&mut canvas, foot, &self.world, &hints, self.filtering.as_ref(), self.notice.as_deref());
        }
        if let (Some(overlay), Some(over)) = (&mut self.overlay, over) {
            canvas.cover();
            overlay.draw(&mut canvas, over, &self.world);
        }
        if self.setup.colours == Colours::None {
            for cell in &mut buffer.content {
                if theme::steps_back(cell.fg) {
                    cell.modifier.insert(Modifier::DIM);
                }
                (cell.fg, cell.bg) = (Color::Reset, Color::Reset);
            }
        }
    }

    /// What `doctor` says, for the help page.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let pictures = &self.setup.pictures;
        let size =
            crossterm::terminal::size().map(|(width, height)| format!("{width} × {height}, ")).unwrap_or_default();
        let mut facts = vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("home", self.world.home.path().display().to_string()),
            ("terminal", format!("{size}{}", std::env::var("TERM").unwrap_or_default())),
            ("pictures", format!("{}: {}", pictures.backend.word(), pictures.why)),
            ("logs", "runner.log in each job's folder".to_owned()),
            ("daemon", format!("its log is {}", self.world.home.daemon_log().display())),
        ];
        if let Some(why) = &self.world.down {
            facts.push(("", why.clone()));
        }
        facts
    }

    /// Remove pictures that are gone. Call it after the frame was written.
    pub fn finish_frame(&mut self) -> io::Result<()> {
        self.surface.finish()
    }

    /// The terminal is not to be asked anything.
    pub fn never_ask(&mut self) {
        self.surface.never_ask();
    }

    /// What to ask the terminal after the frame; [`Message::Answered`] says that it has answered.
    pub fn ask(&mut self) -> &'static str {
        self.surface.ask()
    }

    /// When another frame shows more of the pictures, if they are not whole yet.
    pub fn more_due(&mut self) -> Option<Instant> {
        self.surface.more_due()
    }

    /// For how long nothing must have happened before [`App::print_picture`] is called; none if no picture waits.
    pub fn patience(&mut self) -> Option<Duration> {
        self.surface.patience()
    }

    /// Print one of the pictures that lie over the frame. Whether more wait.
    pub fn print_picture(&mut self) -> io::Result<bool> {
        self.surface.print_next()
    }

    /// Whether pictures of an earlier frame would stay on the screen, so that all of it must be drawn again.
    pub fn leaves_ghosts(&self) -> bool {
        self.surface.leaves_ghosts()
    }

    /// The terminal was cleared or lent out.
    pub fn forget_screen(&mut self) {
        self.surface.forget();
    }

    /// Whether viuer reads the terminal's input when it prints.
    pub fn prints_read_input(&self) -> bool {
        self.surface.images() == Images::Kitty
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

/// The user waits for what a key does.
fn at_once(next: Next) -> Next {
    if next == Next::Draw { Next::DrawNow } else { next }
}

/// The screens by number, and how the queue is.
fn tabs(canvas: &mut Canvas, area: Rect, place: Place, world: &World) {
    let mut x = area.x + 1;
    // Where there is no room for all words, those between number and word and between the screens go closer.
    let (space, gap) = if area.width >= 72 { (" ", 2) } else { ("", 1) };
    for (i, tab) in Place::ALL.into_iter().enumerate() {
        let here = tab == place;
        let text = format!("{}{space}{}", i + 1, tab.word());
        let width = text.chars().count() as u16;
        // The screen that is shown has a mark, not a colour alone.
        let style = if here { theme::focus() } else { theme::faint() };
        if here {
            canvas.buffer.set_string(x - 1, area.y, "▌", theme::focus());
        }
        canvas.buffer.set_stringn(x, area.y, &text, area.right().saturating_sub(x) as usize, style);
        // What cannot be read is named there.
        if tab == Place::Concept && world.problem().is_some() {
            canvas.buffer.set_string(x + width, area.y, "!", theme::bad());
        }
        canvas.target(Rect { x, width, ..area }, Target::Place(tab));
        x += width + gap;
    }
    let (running, queued) = world.running();
    let (text, style) = match (&world.down, running, queued) {
        (Some(_), _, _) => ("✗ no daemon".into(), theme::bad()),
        (None, 0, 0) if area.width >= 110 => ("○ nothing runs".into(), theme::faint()),
        (None, 0, 0) => (String::new(), theme::faint()),
        (None, running, 0) => (format!("● {running}"), theme::accent()),
        (None, running, queued) => (format!("● {running} ◌ {queued}"), theme::accent()),
    };
    let width = text.chars().count() as u16;
    if width > 0 && x + width <= area.right() {
        canvas.buffer.set_string(area.right() - width - 1, area.y, text, style);
    }
}

/// What is typed into the filter, what just happened, or which keys there are.
fn footer(
    canvas: &mut Canvas,
    area: Rect,
    world: &World,
    hints: &[&'static Binding],
    filtering: Option<&Input>,
    notice: Option<&str>,
) {
    let said = |mark: &'static str, text: &str| {
        Line::from(vec![
            Span::styled(mark, theme::warn()),
            Span::raw(text.lines().next().unwrap_or_default().to_owned()),
        ])
    };
    if let Some(input) = filtering {
        let mut spans = vec![Span::styled(" / ", theme::focus())];
        spans.extend(input.line(area.width.saturating_sub(30) as usize, true).spans);
        spans.push(Span::styled("  Enter keeps it, Esc drops it", theme::faint()));
        canvas.buffer.set_line(area.x, area.y, &Line::from(spans), area.width);
        return;
    }
    if let Some(notice) = notice {
        canvas.buffer.set_line(area.x, area.y, &said(" ! ", notice), area.width);
        return;
    }
    if let Some(doing) = world.doing.last() {
        canvas.buffer.set_line(area.x, area.y, &said(" ◌ ", doing), area.width);
        return;
    }
    if let Some(why) = &world.down {
        canvas.buffer.set_line(area.x, area.y, &said(" ✗ ", why), area.width);
        return;
    }
    let goes_on = world.running().0 > 0;
    let words = |binding: &Binding| {
        let hint = binding.hint.unwrap_or_default();
        let hint = if binding.action == Action::Quit && goes_on { "detach" } else { hint };
        (binding.shown, format!(" {hint}"), (binding.shown.chars().count() + hint.chars().count() + 1) as u16)
    };
    // How to find out more and how to leave are always seen; of the rest, as much as fits.
    let always = |binding: &&Binding| matches!(binding.action, Action::Palette | Action::Help | Action::Quit);
    let mut room = area.width.saturating_sub(1);
    room = room.saturating_sub(hints.iter().filter(|b| always(b)).map(|b| words(b).2 + 3).sum());
    let mut x = area.x + 1;
    for binding in hints {
        let (shown, hint, width) = words(binding);
        if !always(&&**binding) {
            if room < width + 3 {
                continue;
            }
            room -= width + 3;
        }
        let left = area.right().saturating_sub(x) as usize;
        let (after, _) = canvas.buffer.set_stringn(x, area.y, shown, left, theme::strong());
        canvas.buffer.set_stringn(after, area.y, hint, area.right().saturating_sub(after) as usize, theme::faint());
        canvas.target(Rect { x, width, ..area }, Target::Action(binding.action));
        x += width + 3;
    }
}
