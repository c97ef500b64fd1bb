//! A training, live: the loss, what it does and what it takes, the pictures made on the way or to be compared, and the
//! scores.

use std::path::{Path, PathBuf};

use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::Screen;
use super::concept::shown;
use crate::client::words;
use crate::protocol::{Phase, State, TrainConfig};
use crate::tui::canvas::{Canvas, Target};
use crate::tui::deeds::{self, Effect};
use crate::tui::keymap::Action;
use crate::tui::overlays::form::Form;
use crate::tui::overlays::page::Page;
use crate::tui::overlays::picture::{Large, Shot};
use crate::tui::overlays::question::Question;
use crate::tui::overlays::sampling;
use crate::tui::theme;
use crate::tui::widgets::graph::{FAR, Graph, GraphView, NEAR, RunCurves, label};
use crate::tui::widgets::list::Choice;
use crate::tui::widgets::{pane, scores, text, tiles};
use crate::tui::world::{Checked, Followed, World};
use crate::workspace::{End, History, JobFolder, Picture, effective_settings};

const LOSS: usize = 0;
/// Pictures made on the way, or those of the untrained class word.
const LEFT: usize = 1;
/// Those of the learned concept, chosen together with the untrained ones.
const RIGHT: usize = 2;

/// The training.
pub struct Train {
    focus: usize,
    choice: Choice,
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
            Action::PageUp => view.pan(whole, -0.5),
            Action::PageDown => view.pan(whole, 0.5),
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

    /// The sample that was made last before the cursor is chosen, where those made on the way are shown.
    fn show_sample(&mut self, world: &World) {
        let Some(history) = world.run().map(|run| &run.history).filter(|_| world.compared().is_none()) else { return };
        let Some(point) = self.view.cursor_point(&self.curves.1.loss) else { return };
        let mut newest_first = history.on_the_way().rev();
        if let Some(index) = newest_first.position(|picture| picture.step <= point.step) {
            self.choice.index = index;
        }
    }
}

/// The pictures of a pane.
fn shots(world: &World, pane: usize) -> Vec<Shot> {
    let Some(open) = &world.open else { return Vec::new() };
    let class_word = &open.concept.file.class_word;
    let shot = |picture: &Picture, title: String, caption: String| Shot {
        path: picture.path.clone(),
        title,
        detail: format!("{} #{}", picture.prompt.replace("{concept}", class_word), picture.seed),
        caption,
        mask: None,
    };
    match (world.compared(), pane) {
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

impl Screen for Train {
    fn draw(&mut self, canvas: &mut Canvas, area: Rect, world: &World) {
        let Some(open) = &world.open else { return };
        let mut rest = area;
        header(canvas, take(&mut rest, 1), world);
        if open.run().is_none() {
            return setup(canvas, rest, world);
        }
        for line in banner(world, area.width) {
            canvas.buffer.set_line(rest.x, rest.y, &line, rest.width);
            take(&mut rest, 1);
        }
        let compared = world.compared().is_some();
        let table = take_bottom(&mut rest, if compared { scores::HEIGHT + 1 } else { 0 });
        let strip = if compared { (rest.height * 9 / 20).max(7) } else { (rest.height / 3).max(8) };
        let strip = take_bottom(&mut rest, strip);
        let facts = if rest.width >= 110 { 42 } else { 0 };
        let left = Rect { width: rest.width - facts, ..rest };
        self.loss(canvas, left, world);
        if facts > 0 {
            what_it_takes(canvas, Rect { x: left.right() + 1, width: facts - 1, ..rest }, world);
        }
        let chosen = self.choice.index;
        let mut pane = |pane: usize, title: &str, area: Rect, aside: Line| {
            let focused = self.focus == pane;
            let inner = pane::draw(canvas.buffer, area, title, &aside, focused);
            canvas.target(inner, Target::Pane(pane));
            let shots = shots(world, pane);
            if shots.is_empty() {
                let running = world.current().is_some_and(|job| job.state == State::Running);
                text::empty(canvas.buffer, inner, if running { "the first one is on its way" } else { "none" });
            }
            tiles::draw(canvas, inner, pane, &mut self.choice, &shots, focused);
        };
        if compared {
            let half = (strip.width - 1) / 2;
            let right = Rect { x: strip.right() - half, width: half, ..strip };
            let detail = |side: usize| {
                let shots = shots(world, side);
                let shot = shots.get(chosen.min(shots.len().saturating_sub(1)));
                shot.map(|shot| Line::styled(shot.detail.clone(), theme::faint())).unwrap_or_default()
            };
            pane(LEFT, "Untrained class", Rect { width: half, ..strip }, detail(LEFT));
            pane(RIGHT, "Learned", right, detail(RIGHT));
            score_table(canvas, table, world);
        } else {
            pane(LEFT, "Samples", strip, Line::styled("newest first", theme::faint()));
        }
    }

    fn act(&mut self, action: Action, world: &mut World) -> Effect {
        let Some((concept, run)) = shown(world) else {
            return match (action, &world.open) {
                (Action::Train, Some(open)) => Form::open(&open.concept, &usual(world), &self.explained),
                _ => Effect::None,
            };
        };
        let focus = self.focus.min(self.panes(world) - 1);
        match action {
            Action::Train => return Form::open(concept, &usual(world), &self.explained),
            Action::Resume => return deeds::resume(run),
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
            Action::Enter if focus != LOSS => {
                let shots = shots(world, focus);
                if let Some(index) = self.choice.of(shots.len()) {
                    return Effect::over(Large::new(shots, index));
                }
            }
            _ => {
                let Some(run) = world.run() else { return Effect::None };
                let moved = focus != LOSS && self.choice.step(action, shots(world, focus).len());
                if !moved {
                    if !self.look(action, &run.history) {
                        return Effect::None;
                    }
                    self.show_sample(world);
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
                if run.is_none_or(|run| run.history.checkpoints.is_empty()) || running =>
            {
                "there is no checkpoint yet, or something is running"
            }
            Action::PreviousRun | Action::NextRun if open.runs().len() < 2 => "there is no other run",
            Action::Settings | Action::Log | Action::Enter if run.is_none() => "there is no run yet: t sets one up",
            _ => return None,
        };
        Some(text.into())
    }

    fn panes(&self, world: &World) -> usize {
        match (world.run(), world.compared()) {
            (None, _) => 1,
            (Some(_), None) => 2,
            (Some(_), Some(_)) => 3,
        }
    }

    fn focus(&mut self) -> &mut usize {
        &mut self.focus
    }

    fn choose(&mut self, _: usize, index: usize, _: &mut World) {
        self.choice.index = index;
    }

    fn click(&mut self, pane: usize, column: u16, row: u16, world: &World) {
        let Some(run) = world.run().filter(|_| pane == LOSS) else { return };
        let curves = &self.curves.1;
        let graph = Graph { series: curves.series(&self.view), view: &self.view, steps: run.history.steps };
        if let Some(x) = graph.x_at(self.plot, column, row) {
            self.view.place_cursor(&curves.loss, x);
            self.show_sample(world);
        }
    }

    fn follows(&self, world: &World) -> Vec<PathBuf> {
        let run = world.open.as_ref().and_then(|open| open.run());
        run.map(|run| vec![run.path.clone(), run.path.join("evaluation")]).unwrap_or_default()
    }

    fn reset(&mut self) {
        self.choice = Choice::default();
        self.view.reset();
    }
}

impl Train {
    fn loss(&mut self, canvas: &mut Canvas, area: Rect, world: &World) {
        let (Some(run), Some(open)) = (world.run(), &world.open) else { return };
        if self.curves.0 != run.job.path() {
            self.curves = (run.job.path().to_owned(), RunCurves::default());
        }
        self.curves.1.follow(&run.history, &self.view, run.history.steps);
        self.curves.1.follow_scores(&open.checkpoint_scores);
        let focused = self.focus == LOSS;
        let mut aside = Vec::new();
        if self.view.is_zoomed() {
            aside.push(Span::styled("zoomed: Esc shows all  ", theme::faint()));
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

/// The settings a training begins with: those of the shown run, so that one thing can be changed, else the usual ones.
fn usual(world: &World) -> TrainConfig {
    let last = world.open.as_ref().and_then(|open| open.run()).and_then(|run| JobFolder::at(&run.path).ok());
    let config = last.and_then(|run| run.run_spec().ok()).map(|spec| spec.train);
    config.unwrap_or_else(|| TrainConfig {
        evaluate: world.open.as_ref().is_some_and(|open| open.concept.file.score_model.is_some()),
        ..TrainConfig::default()
    })
}

/// All settings of a run, as its file has them.
fn settings(run: &JobFolder) -> Effect {
    let path = run.path().join("run.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| format!("{}: {error}", path.display()));
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

/// The concept and the run at the left, how it goes at the right.
fn header(canvas: &mut Canvas, area: Rect, world: &World) {
    let Some(open) = &world.open else { return };
    let mut left = vec![Span::styled(format!(" {} ", open.concept.id), theme::focus())];
    match open.run() {
        Some(run) if area.width >= 100 => left.push(Span::styled(format!("run {}", run.id), theme::faint())),
        _ => left.push(Span::styled(format!("a kind of {}", open.concept.file.class_word), theme::faint())),
    }
    let left = Line::from(left);
    canvas.buffer.set_line(area.x, area.y, &left, area.width);
    let right = how_it_goes(world);
    let width = right.width() as u16 + 1;
    if left.width() as u16 + width < area.width {
        canvas.buffer.set_line(area.right() - width, area.y, &right, width);
    }
}

/// The state of the shown run in one line.
fn how_it_goes(world: &World) -> Line<'static> {
    let Some(job) = world.current() else {
        let text =
            if world.open.as_ref().is_some_and(|open| open.run().is_some()) { "…" } else { "○ not trained yet" };
        return Line::styled(text, theme::faint());
    };
    let history = &job.history;
    let (step, steps) = (history.step(), history.steps);
    let text = match job.state {
        State::New => {
            let waits = world.job(job.job.path()).and_then(|job| job.cause.clone());
            waits.unwrap_or_else(|| "waits for its turn".into())
        }
        State::Running => running(history),
        State::Finished => format!("finished in {}", words::duration(history.seconds())),
        State::Stopped => format!("stopped at step {step} of {steps}"),
        State::Failed => format!("failed at step {step} of {steps}"),
        State::Interrupted => format!("interrupted at step {step} of {steps}"),
    };
    let (mark, style) = theme::mark(job.state);
    Line::styled(format!("{mark} {text}"), style)
}

/// What a running job is busy with, how fast, and how long still.
fn running(history: &History) -> String {
    let (step, steps) = (history.step(), history.steps);
    match history.progress {
        None => "starting".into(),
        Some((Phase::Train, ..)) => {
            let speed = history.seconds_per_step().map(|seconds| {
                if seconds < 0.95 {
                    format!(" · {:.1} steps/s", 1.0 / seconds)
                } else {
                    format!(" · {seconds:.1} s/step")
                }
            });
            let left = history.seconds_left().map(|left| format!(" · {} left", words::duration(left)));
            format!("training {step}/{steps}{}{}", speed.unwrap_or_default(), left.unwrap_or_default())
        }
        Some((phase, done, total)) => format!("{} {done}/{total}", words::phase(phase)),
    }
}

/// Lines under the header: progress, or what went wrong and what to do.
fn banner(world: &World, width: u16) -> Vec<Line<'static>> {
    let Some(job) = world.current() else { return Vec::new() };
    let history = &job.history;
    let mut lines = Vec::new();
    let mut say = |mark: &'static str, said: &str, style: Style, most: usize| {
        for (i, part) in text::wrap(said, width.saturating_sub(4) as usize).into_iter().take(most).enumerate() {
            let mark = if i == 0 { mark } else { " " };
            lines.push(Line::from(vec![Span::styled(format!(" {mark} "), style), Span::raw(part)]));
        }
    };
    match (&job.state, &history.end) {
        _ if job.lost.is_some() => say("✗", job.lost.as_deref().unwrap_or_default(), theme::bad(), 2),
        (State::Failed, Some(End::Failed { message })) => {
            say("✗", message, theme::bad(), 3);
            if !history.checkpoints.is_empty() {
                say(" ", "r goes on from the last checkpoint", theme::faint(), 1);
            }
        }
        (State::Interrupted, _) => {
            let said = "The runner died without a word: killed, out of memory or a power cut. \
                        r goes on from the last checkpoint.";
            say("✗", said, theme::bad(), 3);
        }
        (State::Stopped, _) => say("■", "Stopped as asked. r goes on from the last checkpoint.", theme::warn(), 1),
        _ => {}
    }
    if job.state != State::Finished
        && let Some(warning) = history.warnings.last()
    {
        say("!", warning, theme::warn(), 2);
    }
    if job.state == State::Running {
        lines.insert(0, bar(history, width));
    }
    lines
}

/// How much of the phase is done, over the whole width.
fn bar(history: &History, width: u16) -> Line<'static> {
    let (done, total) = history.progress.map_or((0, 1), |(_, done, total)| (done, total.max(1)));
    let width = width.saturating_sub(2) as usize;
    let filled = (done * width / total).min(width);
    Line::from(vec![
        Span::raw(" "),
        Span::styled("━".repeat(filled), theme::accent()),
        Span::styled("─".repeat(width - filled), theme::rule()),
    ])
}

/// Speed, memory, checkpoints and settings of the run.
fn what_it_takes(canvas: &mut Canvas, area: Rect, world: &World) {
    let Some(run) = world.run() else { return };
    let inner = pane::draw(canvas.buffer, area, "This run", &Line::default(), false);
    let width = inner.width.saturating_sub(1) as usize;
    let history = &run.history;
    let mut lines = Vec::new();
    let mut say = |name: &str, value: String| {
        if !value.is_empty() {
            lines.extend(text::rows(name, &value, 11, width, theme::text()));
        }
    };
    if let Some(seconds) = history.seconds_per_step() {
        say("speed", format!("{} a step", words::short_duration(seconds)));
    }
    if let Some(job) = world.current().filter(|job| job.state == State::Running) {
        say("memory", memory(job));
        let device = world.job(job.job.path()).map(|job| job.device.clone()).unwrap_or_default();
        let of_card = world
            .card_memory(&device)
            .map(|(used, total)| format!(": {} of {} taken", words::bytes(used), words::bytes(total)));
        say("device", format!("{device}{}", of_card.unwrap_or_default()));
    }
    if let Some((step, _)) = history.checkpoints.last() {
        say("checkpoints", format!("{}, the last at step {step}", history.checkpoints.len()));
    }
    if let Some(best) = history.validation.iter().min_by(|a, b| a.loss.total_cmp(&b.loss)) {
        say("validation", format!("best {} at step {}", label(best.loss), best.step));
    }
    let measured = world.open.as_ref().map(|open| &open.checkpoint_scores).into_iter().flatten();
    if let Some((step, scores)) = measured.max_by(|a, b| a.1.balance.value.total_cmp(&b.1.balance.value)) {
        say("best", format!("step {step} by balance, {:.3}", scores.balance.value));
    }
    if let Ok(spec) = run.job.run_spec() {
        for (name, value) in effective_settings(&spec.train) {
            say(name, value);
        }
    }
    text::draw(canvas.buffer, inner, &lines);
}

/// What the runner has taken of the machine's memory.
fn memory(job: &Followed) -> String {
    let resident = |pid: u32| -> Option<u64> {
        let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    };
    job.history
        .pid
        .and_then(resident)
        .map(|bytes| format!("{} of the machine's", words::bytes(bytes)))
        .unwrap_or_default()
}

fn score_table(canvas: &mut Canvas, area: Rect, world: &World) {
    let found = world.run().and_then(|run| run.history.scores(world.scoring().map(|scoring| &scoring.history)));
    let aside = match found {
        Some((before, _)) => format!("before → after, 95 % intervals over {} pictures", before.masked_clip_i.n),
        None => String::new(),
    };
    let inner = pane::draw(canvas.buffer, area, "Scores", &Line::styled(aside, theme::faint()), false);
    if let Some((before, after)) = found {
        scores::draw(canvas.buffer, inner, before, after);
    } else {
        let running = world.current().is_some_and(|job| job.state == State::Running);
        let said = if running { "measured once all are sampled" } else { "not measured: m scores this run" };
        canvas.buffer.set_stringn(inner.x + 1, inner.y + 1, said, inner.width as usize, theme::faint());
    }
}

/// Before the first run: what there is to do.
fn setup(canvas: &mut Canvas, area: Rect, world: &World) {
    let Some(open) = &world.open else { return };
    let inner = pane::draw(canvas.buffer, area, "Training", &Line::default(), true);
    let width = inner.width.saturating_sub(2).min(90) as usize;
    let mut lines = Vec::new();
    match &open.checked {
        None => lines.push(Line::styled("◌ checking the photos", theme::faint())),
        Some(Checked::Wrong(wrong)) => {
            lines.push(Line::styled("✗ not ready", theme::bad()));
            lines.extend(text::wrap(wrong, width).into_iter().map(|line| Line::styled(line, theme::bad())));
        }
        Some(Checked::Ready(found)) => {
            let with = found.photos.iter().filter(|photo| photo.mask.is_some()).count();
            lines.push(Line::styled(format!("✓ {} photos, {with} with a mask", found.photos.len()), theme::good()));
            lines.push(Line::default());
            lines.push(Line::from(vec![
                Span::styled("t", theme::focus()),
                Span::raw(" starts: it shows every setting first, what it means and what it needs. As it stands:"),
            ]));
            lines.push(Line::default());
            for (name, value) in effective_settings(&usual(world)) {
                lines.extend(text::rows(name, &value, 12, width, theme::text()));
            }
            for warning in &found.warnings {
                lines.extend(text::rows("! warning", warning, 12, width, theme::warn()));
            }
        }
    }
    text::draw(canvas.buffer, inner, &lines);
}
