//! A training, live: the loss, what it does and what it takes, the pictures made on the way or to be compared, and the
//! scores.

mod facts;

use std::ops::Range;
use std::path::PathBuf;

use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::Screen;
use super::concept::shown;
use crate::fs::Show;
use crate::protocol::{State, TrainConfig, with_class_words};
use crate::tui::canvas::{Canvas, Target};
use crate::tui::deeds::{self, Effect};
use crate::tui::keymap::Action;
use crate::tui::overlays::form::{self, Form};
use crate::tui::overlays::page::Page;
use crate::tui::overlays::picture::{Large, Shot};
use crate::tui::overlays::question::Question;
use crate::tui::overlays::sampling;
use crate::tui::theme;
use crate::tui::widgets::graph::{FAR, Graph, GraphView, NEAR, RunCurves};
use crate::tui::widgets::list::Choice;
use crate::tui::widgets::tiles::Tiles;
use crate::tui::widgets::{list, pane, scores, text, tiles};
use crate::tui::world::{Checked, World};
use crate::workspace::{History, JobFolder, Picture};

const LOSS: usize = 0;
/// Pictures made on the way, or pictures of the untrained class word.
const LEFT: usize = 1;
/// Those of the learned concept, chosen together with the untrained ones.
const RIGHT: usize = 2;
/// What the run takes: beside the loss, or, where there is no room, in its place while it has the focus.
const FACTS: usize = 3;

/// Rows that the loss needs, the samples, and the samples of both sides.
const LEAST_LOSS: u16 = 6;
const LEAST_STRIP: u16 = 6;

/// The training.
pub struct Train {
    focus: usize,
    choice: Choice,
    /// The first line that is seen of what the run takes.
    top: usize,
    /// What is seen of the loss, and where that was drawn.
    view: GraphView,
    plot: Rect,
    /// The losses of the run in this folder, as they are drawn.
    curves: (PathBuf, RunCurves),
    /// What the command line says of each setting.
    explained: Vec<(String, String)>,
}

impl Train {
    /// Nothing chosen yet.
    pub fn new(explained: Vec<(String, String)>, view: GraphView) -> Self {
        Self {
            focus: LOSS,
            choice: Choice::default(),
            top: 0,
            view,
            plot: Rect::default(),
            curves: (PathBuf::new(), RunCurves::default()),
            explained,
        }
    }

    /// How the loss is looked at.
    pub fn view(&self) -> &GraphView {
        &self.view
    }

    /// Move the cursor along the loss, or look closer or from further away.
    fn look(&mut self, action: Action, history: &History) -> bool {
        let curves = &self.curves.1;
        let whole = Graph { series: curves.series(&self.view), view: &self.view, steps: history.steps }.whole();
        let (view, loss) = (&mut self.view, &curves.loss);
        match action {
            Action::Left => view.move_cursor(loss, whole, -NEAR),
            Action::Right => view.move_cursor(loss, whole, NEAR),
            Action::Down => view.move_cursor(loss, whole, -FAR),
            Action::Up => view.move_cursor(loss, whole, FAR),
            Action::First => view.place_cursor(loss, whole.from),
            Action::Last => view.place_cursor(loss, whole.to),
            Action::PageUp | Action::PanLeft => view.pan(whole, -0.5),
            Action::PageDown | Action::PanRight => view.pan(whole, 0.5),
            Action::ZoomIn => view.zoom_in(whole),
            Action::ZoomOut => view.zoom_out(whole),
            Action::ByTime => view.toggle_time(loss),
            Action::LogScale => view.log = !view.log,
            Action::Quarters => view.quarters = !view.quarters,
            Action::Smoother => view.smoother(),
            Action::Rougher => view.rougher(),
            Action::Back if view.clear_cursor() => {}
            Action::Back if view.is_zoomed() => view.reset(),
            _ => return false,
        }
        true
    }

    /// The step at the cursor, where there are samples made on the way: the samples of that step are shown then, also of a run whose
    /// pictures to be compared are there.
    fn cursor_step(&self, world: &World) -> Option<usize> {
        let history = &world.run()?.history;
        history.on_the_way().next()?;
        self.view.cursor_point(&self.curves.1.loss).map(|point| point.step)
    }

    /// The samples made on the way at the last step at or before the cursor, the newest first.
    fn at_cursor(&self, world: &World) -> Option<Range<usize>> {
        let step = self.cursor_step(world)?;
        let steps: Vec<usize> = world.run()?.history.on_the_way().rev().map(|picture| picture.step).collect();
        let first = steps.iter().position(|&made| made <= step)?;
        let count = steps[first..].iter().take_while(|&&made| made == steps[first]).count();
        Some(first..first + count)
    }

    /// Whether the pictures of both sides are shown.
    fn compares(&self, world: &World) -> bool {
        world.compared().is_some() && self.cursor_step(world).is_none()
    }

    /// The pane that has the focus, of those that there are.
    fn pane(&self, world: &World) -> usize {
        let both = self.compares(world);
        match self.focus {
            LOSS | LEFT => self.focus,
            RIGHT if both => RIGHT,
            _ if world.run().is_some() => FACTS,
            _ => LOSS,
        }
    }

    /// The pictures of a pane.
    fn shots(&self, world: &World, pane: usize) -> Vec<Shot> {
        let Some(open) = &world.open else { return Vec::new() };
        let class_word = &open.concept.file.class_word;
        let shot = |picture: &Picture, title: String, caption: String| Shot {
            path: picture.path.clone(),
            title,
            detail: format!("{} #{}", with_class_words(&picture.prompt, class_word, &[]), picture.seed),
            caption,
            mask: None,
            doubt: None,
        };
        match (world.compared().filter(|_| self.compares(world)), pane) {
            (Some(history), LEFT | RIGHT) => {
                let title = if pane == RIGHT { "Learned" } else { "Untrained class" };
                history.evaluated(pane == RIGHT).map(|p| shot(p, title.into(), String::new())).collect()
            }
            // The newest first: they are what one waits for.
            (None, LEFT) => {
                let pictures = world.run().into_iter().flat_map(|run| run.history.on_the_way().rev());
                pictures.map(|p| shot(p, format!("Step {}", p.step), format!("step {}", p.step))).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Screen for Train {
    fn draw(&mut self, canvas: &mut Canvas, area: Rect, world: &World) {
        let Some(open) = &world.open else { return };
        let mut rest = area;
        facts::header(canvas, take(&mut rest, 1), world);
        if open.run().is_none() {
            return facts::setup(canvas, rest, world);
        }
        for line in facts::banner(world, area.width) {
            canvas.buffer.set_line(rest.x, rest.y, &line, rest.width);
            take(&mut rest, 1);
        }
        let evaluated = world.compared().is_some();
        // Where there is little room, first the table of the scores is one line, then the pictures go; the loss stays.
        let heights = world.scores().map_or([scores::HEIGHT; 2], |both| scores::heights(&both));
        let [least, whole] = heights.map(|height| height + 1);
        let table = match rest.height.saturating_sub(7 + LEAST_LOSS) {
            _ if !evaluated => 0,
            room if room >= least => whole.min(room),
            _ => 1,
        };
        let table = take_bottom(&mut rest, table);
        let strip = if evaluated { (rest.height * 9 / 20).max(7) } else { (rest.height / 3).max(8) };
        let strip = match rest.height.saturating_sub(LEAST_LOSS) {
            room if room >= LEAST_STRIP => strip.min(room),
            _ => 0,
        };
        let strip = take_bottom(&mut rest, strip);
        let facts = if rest.width >= 110 { 42 } else { 0 };
        let left = Rect { width: rest.width - facts, ..rest };
        let focus = self.pane(world);
        if facts > 0 {
            self.loss(canvas, left, world, false);
            self.facts(canvas, Rect { x: left.right() + 1, width: facts - 1, ..rest }, world);
        } else if focus == FACTS {
            self.facts(canvas, rest, world);
        } else {
            self.loss(canvas, left, world, true);
        }
        if strip.height > 0 {
            self.pictures(canvas, strip, world);
        }
        if table.height > 0 {
            facts::score_table(canvas, table, world);
        }
    }

    fn act(&mut self, action: Action, world: &mut World) -> Effect {
        let Some((concept, run)) = shown(world) else {
            return match (action, &world.open) {
                (Action::Train, Some(open)) => Form::open(&open.concept, &usual(world), &self.explained),
                _ => Effect::None,
            };
        };
        let focus = self.pane(world);
        match action {
            Action::Train => return Form::open(concept, &usual(world), &self.explained),
            Action::Resume => return deeds::resume(concept.clone(), run),
            Action::Score => return deeds::score(concept.clone(), run),
            Action::ScoreCheckpoints => return deeds::score_checkpoints(concept.clone(), run),
            Action::Sample => return sampling::open(concept, Some(run), "a {concept}"),
            Action::Stop => {
                let Some(job) = world.current() else { return Effect::None };
                let deed = deeds::stop(job.job.clone());
                let text = "It finishes its step and writes a checkpoint; r goes on from there later.";
                return Effect::over(Question::new("Stop this training?", text, "stop", "keep going", deed));
            }
            Action::Log => {
                if let Some(job) = world.current().and_then(|job| world.job(job.job.path())) {
                    return deeds::log(job);
                }
                return Effect::Notice("it is not in the queue: it came from elsewhere".into());
            }
            Action::Settings => return settings(&run),
            Action::Enter if matches!(focus, LEFT | RIGHT) => {
                let shots = self.shots(world, focus);
                if let Some(index) = self.choice.of(shots.len()) {
                    return Effect::over(Large::new(shots, index));
                }
            }
            _ => {
                let Some(run) = world.run() else { return Effect::None };
                if focus == FACTS && self.scroll(action) {
                    return Effect::Draw;
                }
                if matches!(focus, LEFT | RIGHT) && self.choice.step(action, self.shots(world, focus).len()) {
                    self.go_to_sample(world);
                } else if !self.look(action, &run.history) {
                    return Effect::None;
                }
            }
        }
        Effect::Draw
    }

    fn why_not(&self, action: Action, world: &World) -> Option<String> {
        let open = world.open.as_ref()?;
        let run = world.run();
        let running = world.current().is_some_and(|job| job.state == State::Running);
        let text = match action {
            Action::Train => match &open.checked {
                Some(Checked::Wrong(wrong)) => return Some(wrong.clone()),
                _ => return None,
            },
            Action::Stop if !running => "nothing is running",
            Action::Resume if running => "it is running",
            Action::Resume => {
                let state = run.map(|run| run.state);
                let unfinished = matches!(state, Some(State::Stopped | State::Interrupted | State::Failed));
                if unfinished {
                    return None;
                }
                "there is nothing to go on with: this run has finished, or there is none"
            }
            Action::Score | Action::ScoreCheckpoints | Action::Sample
                if run.is_none_or(|run| run.history.checkpoints.is_empty()) =>
            {
                "there is no checkpoint yet"
            }
            // Both sides have one folder: what is at work there is not written over.
            Action::Score if world.scoring().is_some_and(|scoring| scoring.state == State::Running) => {
                "it is being scored"
            }
            Action::Score
                if running && run.and_then(|run| run.spec.as_ref()).is_some_and(|spec| spec.train.evaluate) =>
            {
                "this run scores itself at its end; M scores its checkpoints now"
            }
            Action::PreviousRun | Action::NextRun if open.runs().len() < 2 => "there is no other run",
            Action::Settings | Action::Log | Action::Enter if run.is_none() => "there is no run yet: t sets one up",
            _ => return None,
        };
        Some(text.into())
    }

    fn panes(&self, world: &World) -> usize {
        match (world.run(), self.compares(world)) {
            (None, _) => 1,
            (Some(_), false) => 3,
            (Some(_), true) => 4,
        }
    }

    fn focus(&mut self) -> &mut usize {
        &mut self.focus
    }

    fn choose(&mut self, _: usize, index: usize, world: &mut World) {
        self.choice.index = index;
        self.go_to_sample(world);
    }

    fn click(&mut self, pane: usize, column: u16, row: u16, world: &World) {
        let Some(run) = world.run().filter(|_| pane == LOSS) else { return };
        let curves = &self.curves.1;
        let graph = Graph { series: curves.series(&self.view), view: &self.view, steps: run.history.steps };
        if let Some(x) = graph.x_at(self.plot, column, row) {
            self.view.place_cursor(&curves.loss, x);
        }
    }

    fn wheel(&mut self, pane: usize, column: u16, row: u16, down: bool, world: &World) -> bool {
        let Some(run) = world.run().filter(|_| pane == LOSS) else { return false };
        let curves = &self.curves.1;
        let graph = Graph { series: curves.series(&self.view), view: &self.view, steps: run.history.steps };
        let (whole, x) = (graph.whole(), graph.x_at(self.plot, column, row));
        self.view.turn(whole, down, x);
        true
    }

    fn follows(&self, world: &World) -> Vec<PathBuf> {
        let run = world.open.as_ref().and_then(|open| open.run());
        let own = run.map(|run| [run.path.clone(), run.path.join("evaluation")]).into_iter().flatten();
        own.chain(world.scorings().map(|job| job.job.clone())).collect()
    }

    fn reset(&mut self) {
        (self.choice, self.top) = (Choice::default(), 0);
        self.view.reset();
    }
}

impl Train {
    /// With a cursor it goes to the step of the sample that was chosen.
    fn go_to_sample(&mut self, world: &World) {
        if self.cursor_step(world).is_none() {
            return;
        }
        let Some(run) = world.run() else { return };
        let picture = run.history.on_the_way().rev().nth(self.choice.index);
        if let Some(step) = picture.map(|picture| picture.step) {
            self.view.place_cursor_at_step(&self.curves.1.loss, step);
        }
    }

    /// Scroll what the run takes; whether `action` does that.
    fn scroll(&mut self, action: Action) -> bool {
        let top = list::scrolled(self.top, action);
        self.top = top.unwrap_or(self.top);
        top.is_some() || matches!(action, Action::Left | Action::Right)
    }

    fn facts(&mut self, canvas: &mut Canvas, area: Rect, world: &World) {
        let focused = self.pane(world) == FACTS;
        let inner = pane::draw(canvas.buffer, area, "This run", &Line::default(), focused);
        let pane = if self.compares(world) { FACTS } else { FACTS - 1 };
        canvas.target(inner, Target::Pane(pane));
        let lines = facts::what_it_takes(world, inner.width.saturating_sub(2) as usize);
        let rows = inner.height as usize;
        self.top = self.top.min(lines.len().saturating_sub(rows));
        text::draw(canvas.buffer, inner, &lines[self.top..]);
        list::scrollbar(canvas.buffer, inner, lines.len(), self.top..(self.top + rows).min(lines.len()));
    }

    /// The pictures of both sides, or those made on the way.
    fn pictures(&mut self, canvas: &mut Canvas, area: Rect, world: &World) {
        let focus = self.pane(world);
        let running = world.current().is_some_and(|job| job.state == State::Running);
        let none = if running { "the first one is on its way" } else { "none" };
        if !self.compares(world) {
            let (step, lit) = (self.cursor_step(world), self.at_cursor(world));
            if let Some(lit) = lit.as_ref().filter(|lit| !lit.contains(&self.choice.index)) {
                self.choice.index = lit.start;
            }
            let shots = self.shots(world, LEFT);
            let made = lit.as_ref().and_then(|lit| shots.get(lit.start));
            let said = match (step, made) {
                (None, _) => "newest first".into(),
                (Some(step), None) => format!("none yet at step {step}"),
                (Some(step), Some(made)) => format!("at step {step}: {}, {}", made.caption, made.detail),
            };
            let aside = match (step, world.compared()) {
                (Some(_), Some(_)) => format!("{said}   Esc compares"),
                _ => said,
            };
            let aside = Line::styled(aside, theme::faint());
            let inner = pane::draw(canvas.buffer, area, "Samples", &aside, focus == LEFT);
            canvas.target(inner, Target::Pane(LEFT));
            if shots.is_empty() {
                text::empty(canvas.buffer, inner, none);
            }
            let lit = lit.unwrap_or(0..0);
            let focused = focus == LEFT && step.is_none_or(|_| !lit.is_empty());
            let tiles = Tiles { pane: LEFT, len: shots.len(), captions: true, lit, focused };
            tiles::draw(canvas, inner, &mut self.choice, &tiles, |i| shots[i].clone());
            return;
        }
        let half = (area.width - 1) / 2;
        let right = Rect { x: area.right() - half, width: half, ..area };
        let sides = [(LEFT, "Untrained class", Rect { width: half, ..area }), (RIGHT, "Learned", right)];
        let chosen = self.choice.index;
        for (side, title, area) in sides {
            let shots = self.shots(world, side);
            let shot = shots.get(chosen.min(shots.len().saturating_sub(1)));
            let aside = shot.map(|shot| Line::styled(shot.detail.clone(), theme::faint())).unwrap_or_default();
            let inner = pane::draw(canvas.buffer, area, title, &aside, focus == side);
            canvas.target(inner, Target::Pane(side));
            if shots.is_empty() {
                text::empty(canvas.buffer, inner, none);
            }
            tiles::draw_all(canvas, inner, side, &mut self.choice, &shots, focus == side);
        }
    }

    fn loss(&mut self, canvas: &mut Canvas, area: Rect, world: &World, alone: bool) {
        let (Some(run), Some(open)) = (world.run(), &world.open) else { return };
        if self.curves.0 != run.job.path() {
            self.curves = (run.job.path().to_owned(), RunCurves::default());
        }
        self.curves.1.follow(&run.history, &self.view, run.history.steps);
        self.curves.1.follow_scores(&open.checkpoint_scores.by_step);
        let focused = self.pane(world) == LOSS;
        let mut aside = Vec::new();
        let cursor = self.view.cursor_point(&self.curves.1.loss).map(|point| point.step);
        if let Some(measured) = facts::measured(world, cursor) {
            aside.push(Span::styled(format!("{measured}  "), theme::text()));
        } else if self.view.is_zoomed() {
            aside.push(Span::styled("zoomed: Esc shows all  ", theme::faint()));
        } else if alone {
            aside.push(Span::styled("Shift-Tab: this run  ", theme::faint()));
        }
        if open.runs().len() > 1 {
            let text = format!("run {}/{}", open.run_index() + 1, open.runs().len());
            aside.push(Span::styled(text, theme::faint()));
        }
        let title = match (self.view.quarters, self.view.log) {
            (false, false) => "Loss",
            (false, true) => "Loss (log)",
            (true, false) => "Loss by timestep",
            (true, true) => "Loss by timestep (log)",
        };
        let inner = pane::draw(canvas.buffer, area, title, &Line::from(aside), focused);
        canvas.target(inner, Target::Pane(LOSS));
        self.plot = inner;
        let series = self.curves.1.series(&self.view);
        Graph { series, view: &self.view, steps: run.history.steps }.draw(canvas.buffer, inner);
    }
}

/// The settings a training begins with: the settings of the shown run, so that one thing can be changed, else the usual ones.
fn usual(world: &World) -> TrainConfig {
    let last = world.open.as_ref().and_then(|open| open.run()).and_then(|run| JobFolder::at(&run.path).ok());
    let config = last.and_then(|run| run.run_spec().ok()).map(|spec| spec.train);
    config.or_else(|| Some(form::usual(&world.open.as_ref()?.concept))).unwrap_or_default()
}

/// All settings of a run, as its file has them.
fn settings(run: &JobFolder) -> Effect {
    let path = run.path().join("run.toml");
    let text = crate::fs::read_text(&path, crate::fs::SETTINGS);
    let text = text.unwrap_or_else(|error| format!("{}: {error}", path.shown()));
    Effect::over(Page::new(&format!("Run {}", run.id()), text.lines().map(str::to_owned).collect()))
}

fn take(rest: &mut Rect, height: u16) -> Rect {
    let height = height.min(rest.height);
    let taken = Rect { height, ..*rest };
    (rest.y, rest.height) = (rest.y + height, rest.height - height);
    taken
}

fn take_bottom(rest: &mut Rect, height: u16) -> Rect {
    let height = height.min(rest.height);
    rest.height -= height;
    Rect { y: rest.bottom(), height, ..*rest }
}
