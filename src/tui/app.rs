//! The workbench's state, what each message does to it, and how it is drawn. It knows no terminal: tests draw it into a
//! buffer.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::Sender;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::buffer::Buffer;
use ratatui::style::Color;

use super::keymap::{self, Action, Binding, Now};
use super::model::Model;
use super::preview::{Choice, Colours, Images, Loaded, Surface};
use super::screens::concept::{Pane, Shot, panes, shots};
use super::screens::{concept, help, palette, picture};
use super::theme;
use super::widgets::graph::{FAR, Graph, GraphView, NEAR};
use crate::client::{self, Placement};
use crate::protocol::{State, TrainConfig};
use crate::workspace::{self, Concept, JobFolder, Preflight, preflight};

/// The smallest terminal the screens fit into.
const LEAST: (u16, u16) = (60, 16);

/// What can happen.
pub enum Message {
    /// A key, a paste, a new size.
    Input(Event),
    /// The size changed.
    Resized,
    /// The terminal is gone, or someone asked the program to end.
    End,
    /// Someone asked the program to stop for a while.
    Suspend,
    /// The program goes on after it was stopped from outside.
    Continued,
    /// Something changed in the concept's folder.
    Files,
    /// Time to see whether the runner still lives.
    Tick,
    /// A picture has come.
    Picture(Loaded),
    /// The photos have been checked.
    Checked(Checked),
    /// A job was started, or why not.
    Started(Result<(), String>),
}

/// What the preflight found.
#[derive(Debug, Clone, PartialEq)]
pub enum Checked {
    /// A training can start.
    Ready(Preflight),
    /// It cannot, and why.
    Wrong(String),
}

/// What the loop must do after a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Wait,
    /// Draw.
    Draw,
    /// Clear the terminal and draw all of it.
    Redraw,
    /// Hand the terminal to the shell.
    Suspend,
    /// End.
    Quit,
}

/// What lies over the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Overlay {
    Help,
    Palette { typed: String, chosen: usize },
    ConfirmStop,
    Picture { pane: Pane, index: usize },
}

/// What screens draw from.
pub struct View {
    /// The concept and its run.
    pub model: Model,
    /// What the preflight found, once it has.
    pub checked: Option<Checked>,
    /// A job is being started.
    pub starting: bool,
    /// What just happened, until the next key.
    pub notice: Option<String>,
    /// What is seen of the loss.
    pub graph: GraphView,
    focus: usize,
    chosen: HashMap<&'static str, usize>,
    columns: HashMap<&'static str, usize>,
}

impl View {
    /// The pane with the focus.
    pub fn focus(&self) -> Pane {
        let panes = panes(self);
        panes.get(self.focus).copied().unwrap_or(panes[0])
    }

    /// The chosen picture of a pane. Pictures to compare are chosen together.
    pub fn chosen(&self, pane: Pane) -> usize {
        self.chosen.get(slot(pane)).copied().unwrap_or(0)
    }

    /// How many pictures stand in a row of this pane.
    pub fn remember(&mut self, pane: Pane, columns: usize) {
        self.columns.insert(slot(pane), columns);
    }

    /// What can be done now.
    pub fn now(&self) -> Now {
        let state = self.model.run.as_ref().map(|run| run.state);
        let has_checkpoint = self.model.run.as_ref().is_some_and(|run| !run.history.checkpoints.is_empty());
        let running = self.model.is_running() || self.starting;
        let unfinished = matches!(state, Some(State::Stopped | State::Interrupted | State::Failed));
        Now {
            running,
            resumable: !running && unfinished,
            scorable: !running && has_checkpoint,
            several_runs: self.model.runs.len() > 1,
        }
    }

    /// The settings of a training started here.
    pub fn train_config(&self) -> TrainConfig {
        TrainConfig { evaluate: self.model.concept.file.score_model.is_some(), ..TrainConfig::default() }
    }
}

fn slot(pane: Pane) -> &'static str {
    match pane {
        Pane::Photos => "photos",
        Pane::Loss => "loss",
        Pane::Samples => "samples",
        Pane::Untrained | Pane::Learned => "compared",
    }
}

/// The workbench.
pub struct App {
    view: View,
    surface: Surface,
    pictures: Choice,
    colours: Colours,
    messages: Sender<Message>,
    overlay: Option<Overlay>,
}

impl App {
    /// The workbench on `concept`. What happens on other threads comes through `messages`.
    pub fn new(
        concept: Concept,
        pictures: Choice,
        colours: Colours,
        messages: Sender<Message>,
    ) -> Result<Self, workspace::Error> {
        let sender = messages.clone();
        let surface = Surface::new(pictures.backend, colours, move |loaded| {
            // Nobody listens any more when the program ends.
            let _ = sender.send(Message::Picture(loaded));
        });
        let view = View {
            model: Model::new(concept)?,
            checked: None,
            starting: false,
            notice: None,
            graph: GraphView::default(),
            focus: 0,
            chosen: HashMap::new(),
            columns: HashMap::new(),
        };
        let app = Self { view, surface, pictures, colours, messages, overlay: None };
        app.check();
        Ok(app)
    }

    /// Draw pictures another way.
    pub fn set_pictures(&mut self, pictures: Choice) {
        self.surface.change(pictures.backend);
        self.pictures = pictures;
    }

    /// Whether the loop should look after a runner from time to time.
    pub fn is_running(&self) -> bool {
        self.view.model.is_running()
    }

    /// Whether all that was asked of other threads has come.
    pub fn is_settled(&self) -> bool {
        self.surface.is_settled() && self.view.checked.is_some()
    }

    /// What to tell who leaves: what goes on, and how to come back to it.
    pub fn goes_on(&self) -> Option<String> {
        let job = self.view.model.current().filter(|job| job.state == State::Running)?;
        let (name, run) = (&self.view.model.concept.id, self.view.model.run.as_ref()?.job.id());
        let step = match (job.history.step(), job.history.steps) {
            (_, 0) => String::new(),
            (step, steps) => format!(" (step {step} of {steps})"),
        };
        Some(format!(
            "training goes on in the background{step}\n  catbench open {name}    see it here again\n  \
             catbench watch {name}   follow it without the workbench\n  catbench stop {name}    stop it; run {run}"
        ))
    }

    /// Check photos and masks on another thread.
    fn check(&self) {
        let (concept, messages) = (self.view.model.concept.clone(), self.messages.clone());
        std::thread::spawn(move || {
            let checked = preflight(&concept).map_or_else(|error| Checked::Wrong(error.to_string()), Checked::Ready);
            let _ = messages.send(Message::Checked(checked));
        });
    }

    /// Take in what happened.
    pub fn handle(&mut self, message: Message) -> Next {
        match message {
            Message::Input(Event::Key(key)) if key.kind != KeyEventKind::Release => return self.key(key),
            Message::Input(Event::Resize(..)) | Message::Resized | Message::Continued => return Next::Redraw,
            Message::Input(Event::Paste(text)) => {
                if let Some(Overlay::Palette { typed, chosen }) = &mut self.overlay {
                    typed.push_str(text.trim());
                    *chosen = 0;
                    return Next::Draw;
                }
            }
            Message::Input(_) => {}
            Message::End => return Next::Quit,
            Message::Suspend => return Next::Suspend,
            Message::Files => {
                let photos = self.view.model.photos.len();
                let changed = self.refresh(Model::refresh);
                if self.view.model.photos.len() != photos {
                    self.check();
                }
                return changed;
            }
            Message::Tick => return self.refresh(Model::refresh_jobs),
            Message::Picture(loaded) => {
                self.surface.take(loaded);
                return Next::Draw;
            }
            Message::Checked(checked) => {
                self.view.checked = Some(checked);
                return Next::Draw;
            }
            Message::Started(result) => {
                self.view.starting = false;
                self.view.notice = result.err();
                let _ = self.refresh(Model::refresh);
                return Next::Draw;
            }
        }
        Next::Wait
    }

    fn refresh(&mut self, look: impl FnOnce(&mut Model) -> Result<bool, workspace::Error>) -> Next {
        match look(&mut self.view.model) {
            Ok(false) => Next::Wait,
            Ok(true) => Next::Draw,
            Err(error) => {
                self.view.notice = Some(error.to_string());
                Next::Draw
            }
        }
    }

    fn key(&mut self, key: KeyEvent) -> Next {
        self.view.notice = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) && matches!(key.code, KeyCode::Char('z' | 'c')) {
            return keymap::action(key).map_or(Next::Wait, |action| self.act(action));
        }
        match self.overlay.take() {
            Some(Overlay::Palette { typed, chosen }) => return self.palette_key(key, typed, chosen),
            Some(Overlay::ConfirmStop) => {
                if matches!(key.code, KeyCode::Char('y') | KeyCode::Enter) {
                    self.stop();
                }
                return Next::Draw;
            }
            Some(Overlay::Help) => return Next::Draw,
            Some(Overlay::Picture { pane, index }) => return self.picture_key(key, pane, index),
            None => {}
        }
        match keymap::action(key) {
            Some(action) if keymap::BINDINGS.iter().any(|b| b.action == action && b.is_on(self.view.now())) => {
                self.act(action)
            }
            Some(action) => {
                self.view.notice = why_not(action, &self.view);
                Next::Draw
            }
            None => Next::Draw,
        }
    }

    fn palette_key(&mut self, key: KeyEvent, mut typed: String, mut chosen: usize) -> Next {
        let found = keymap::commands(&typed, self.view.now());
        match key.code {
            KeyCode::Esc => return Next::Draw,
            KeyCode::Enter => {
                return found.get(chosen).map_or(Next::Draw, |binding| self.act(binding.action));
            }
            KeyCode::Up | KeyCode::BackTab => chosen = chosen.saturating_sub(1),
            KeyCode::Down | KeyCode::Tab => chosen = (chosen + 1).min(found.len().saturating_sub(1)),
            KeyCode::Backspace => {
                if typed.pop().is_none() {
                    return Next::Draw;
                }
                chosen = 0;
            }
            KeyCode::Char(letter) => {
                typed.push(letter);
                chosen = 0;
            }
            _ => {}
        }
        self.overlay = Some(Overlay::Palette { typed, chosen });
        Next::Draw
    }

    fn picture_key(&mut self, key: KeyEvent, pane: Pane, index: usize) -> Next {
        let count = shots(&self.view, pane).len();
        let index = match keymap::action(key) {
            Some(Action::Left | Action::Up) => index.saturating_sub(1),
            Some(Action::Right | Action::Down) => (index + 1).min(count.saturating_sub(1)),
            Some(Action::Back | Action::Enter) => return Next::Draw,
            Some(Action::Quit) => return Next::Quit,
            _ => index,
        };
        self.view.chosen.insert(slot(pane), index);
        self.overlay = Some(Overlay::Picture { pane, index });
        Next::Draw
    }

    fn act(&mut self, action: Action) -> Next {
        let view = &mut self.view;
        match action {
            Action::Quit => return Next::Quit,
            Action::Suspend => return Next::Suspend,
            Action::Help => self.overlay = Some(Overlay::Help),
            Action::Palette => self.overlay = Some(Overlay::Palette { typed: String::new(), chosen: 0 }),
            Action::NextPane => view.focus = (view.focus + 1) % panes(view).len(),
            Action::PreviousPane => view.focus = (view.focus + panes(view).len() - 1) % panes(view).len(),
            Action::Left | Action::Right | Action::Up | Action::Down => self.step(action),
            Action::Enter => {
                let pane = view.focus();
                let index = view.chosen(pane);
                if index < shots(view, pane).len() {
                    self.overlay = Some(Overlay::Picture { pane, index });
                }
            }
            Action::Back => drop(view.graph.clear_cursor()),
            Action::LogScale => view.graph.log = !view.graph.log,
            Action::PreviousRun | Action::NextRun => {
                let last = view.model.runs.len().saturating_sub(1);
                let shown = view.model.shown;
                let index = if action == Action::NextRun { (shown + 1).min(last) } else { shown.saturating_sub(1) };
                view.graph.reset();
                if let Err(error) = view.model.show(index) {
                    view.notice = Some(error.to_string());
                }
            }
            Action::Stop => self.overlay = Some(Overlay::ConfirmStop),
            Action::Train => self.train(),
            Action::Resume => {
                if let Some(run) = &view.model.run {
                    let job = run.job.clone();
                    self.start(move || Ok(client::submit(&job, Placement::default()).map(drop)?));
                }
            }
            Action::Score => self.score(),
        }
        Next::Draw
    }

    /// Move the choice in a pane of pictures, or the cursor in the graph.
    fn step(&mut self, action: Action) {
        let view = &mut self.view;
        let pane = view.focus();
        if pane == Pane::Loss {
            let Some(run) = &view.model.run else { return };
            let graph = Graph { series: run.curves.series(&view.graph), view: &view.graph, steps: run.history.steps };
            let whole = graph.whole();
            let share = match action {
                Action::Left => -NEAR,
                Action::Right => NEAR,
                Action::Down => -FAR,
                _ => FAR,
            };
            view.graph.move_cursor(&run.curves.loss, whole, share);
            return;
        }
        let count = shots(view, pane).len();
        let columns = view.columns.get(slot(pane)).copied().unwrap_or(1);
        let at = view.chosen(pane);
        let to = match action {
            Action::Left => at.saturating_sub(1),
            Action::Right => at + 1,
            Action::Up => at.checked_sub(columns).unwrap_or(at),
            _ => at + columns,
        };
        if to < count {
            view.chosen.insert(slot(pane), to);
        }
    }

    fn train(&mut self) {
        if let Some(Checked::Wrong(message)) = &self.view.checked {
            self.view.notice = Some(message.clone());
            return;
        }
        let (concept, config) = (self.view.model.concept.clone(), self.view.train_config());
        self.start(move || {
            preflight(&concept)?;
            let run = JobFolder::new_run(&concept, config, concept.evaluation()?)?;
            Ok(client::submit(&run, Placement::default()).map(drop)?)
        });
        // Whatever run was shown, now it is the new one.
        self.view.model.shown = self.view.model.runs.len();
    }

    fn score(&mut self) {
        let Some(run) = &self.view.model.run else { return };
        let (concept, run) = (self.view.model.concept.clone(), run.job.clone());
        let checkpoint = self.view.model.run.as_ref().and_then(|run| run.history.checkpoints.last().cloned());
        self.start(move || {
            let mut config = concept.evaluation()?;
            config.sample.checkpoint = checkpoint.map(|(_, path)| path);
            let job = JobFolder::new_score(&concept, &run, config)?;
            Ok(client::submit(&job, Placement::default()).map(drop)?)
        });
    }

    /// Start a job on another thread: it takes a moment.
    fn start(&mut self, start: impl FnOnce() -> Result<(), Box<dyn std::error::Error>> + Send + 'static) {
        self.view.starting = true;
        let messages = self.messages.clone();
        std::thread::spawn(move || {
            let _ = messages.send(Message::Started(start().map_err(|error| error.to_string())));
        });
    }

    fn stop(&mut self) {
        let Some(job) = self.view.model.current() else { return };
        self.view.notice = Some(match client::stop(&job.job) {
            Ok(_) => "asked to stop: it ends after its step, with a checkpoint".into(),
            Err(error) => error.to_string(),
        });
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
        let found: Vec<&Binding>;
        let overlay = self.overlay.clone();
        let over = match &overlay {
            Some(Overlay::Palette { .. }) => {
                let commands = keymap::commands("", self.view.now()).len() as u16;
                Some(palette::place(area, 78, commands + 4))
            }
            Some(Overlay::ConfirmStop) => Some(palette::place(area, 62, 6)),
            _ => None,
        };
        self.surface.begin(over);
        match &overlay {
            Some(Overlay::Help) => help::draw(buffer, area, &self.facts()),
            Some(Overlay::Picture { pane, index }) => {
                let shots: Vec<Shot> = shots(&self.view, *pane);
                if let Some(shot) = shots.get((*index).min(shots.len().saturating_sub(1))) {
                    picture::draw(buffer, &mut self.surface, area, shot, *index, shots.len());
                }
            }
            _ => concept::draw(buffer, &mut self.surface, area, &mut self.view),
        }
        match (&overlay, over) {
            (Some(Overlay::Palette { typed, chosen }), Some(over)) => {
                found = keymap::commands(typed, self.view.now());
                palette::draw(buffer, over, typed, &found, *chosen);
            }
            (Some(Overlay::ConfirmStop), Some(over)) => {
                let lines = ["It finishes its step and writes a checkpoint;", "r goes on from there later."];
                palette::draw_question(
                    buffer,
                    over,
                    "Stop this training?",
                    &lines,
                    &[("y", "stop"), ("n", "keep going")],
                );
            }
            _ => {}
        }
        if self.colours == Colours::None {
            for cell in &mut buffer.content {
                (cell.fg, cell.bg) = (Color::Reset, Color::Reset);
            }
        }
    }

    /// What `doctor` says, for the help page.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let log = self.view.model.run.as_ref().map(|run| run.job.log());
        vec![
            ("pictures", format!("{}: {}", self.pictures.backend.word(), self.pictures.why)),
            ("concept", self.view.model.concept.folder.display().to_string()),
            (
                "log",
                log.map_or_else(
                    || "runner.log in each run's folder".into(),
                    |path: PathBuf| path.display().to_string(),
                ),
            ),
        ]
    }

    /// Print the pictures that are not part of the frame. Call it after the frame was written.
    pub fn finish_frame(&mut self) -> io::Result<()> {
        self.surface.finish()
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

/// Why an action that has a key cannot be done now.
fn why_not(action: Action, view: &View) -> Option<String> {
    let now = view.now();
    let text = match action {
        Action::Train if now.running => "a training of this concept is running",
        Action::Stop => "nothing is running",
        Action::Resume if now.running => "it is running",
        Action::Resume => "there is nothing to go on with: this run has finished, or there is none",
        Action::Score => "there is no checkpoint to measure, or something is running",
        Action::PreviousRun | Action::NextRun => "there is no other run",
        _ => return None,
    };
    Some(text.into())
}
