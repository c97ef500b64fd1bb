//! Several runs side by side: their losses over each other, the settings in which they differ, and what each makes of the
//! same prompt and seed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::Screen;
use super::concept::run_row;
use crate::client::words::{Change, score_list};
use crate::protocol::{RunRecord, Score, Scores, with_class_words};
use crate::tui::canvas::{Canvas, Target};
use crate::tui::deeds::Effect;
use crate::tui::keymap::Action;
use crate::tui::overlays::picture::{Large, Shot};
use crate::tui::theme;
use crate::tui::widgets::graph::{FAR, Graph, GraphView, Look, NEAR, RunCurves, Series};
use crate::tui::widgets::list::{self, Choice};
use crate::tui::widgets::scores::Form;
use crate::tui::widgets::{pane, text, tiles};
use crate::tui::world::{Open, World};
use crate::workspace::{History, JobFolder, Picture, difference_of_runs};

const RUNS: usize = 0;
const TABLE: usize = 1;
const LOSSES: usize = 2;
const PICTURES: usize = 3;
/// More runs than these cannot be told apart.
const MOST: usize = 6;

/// The comparison.
#[derive(Default)]
pub struct Compare {
    focus: usize,
    runs: Choice,
    pictures: Choice,
    /// The first row that is seen of scores and settings.
    top: usize,
    /// The runs that are compared, by id; without any, the last two.
    marked: BTreeSet<String>,
    /// What is seen of the losses, where that was drawn, and how many steps it has room for.
    view: GraphView,
    plot: Rect,
    steps: usize,
    /// The losses of the compared runs, by id.
    curves: BTreeMap<String, RunCurves>,
    /// How the runs differ from the first, pair by pair.
    pairs: Pairs,
}

/// How runs differ from the first of them and in their settings, read again when other runs are compared or one is scored again.
#[derive(Default)]
struct Pairs {
    /// Ids and scores of the runs.
    of: Vec<(String, Option<Score>)>,
    /// One a run; none of the first, and where there are no pairs.
    differences: Vec<Option<Scores>>,
    /// The settings in which they differ: their names, and the value of each run.
    settings: Vec<(String, Vec<String>)>,
}

impl Pairs {
    fn follow(&mut self, runs: &[&RunRecord]) {
        let balance = |run: &&RunRecord| run.scores.as_ref().map(|both| both.after.balance.clone());
        let of: Vec<_> = runs.iter().map(|run| (run.id.clone(), balance(run))).collect();
        if of == self.of {
            return;
        }
        let job = |run: &RunRecord| JobFolder::at(&run.path).ok();
        let first = runs.first().and_then(|run| job(run));
        let difference = |run: &&RunRecord| difference_of_runs(first.as_ref()?, &job(run)?).ok().flatten();
        self.differences = std::iter::once(None).chain(runs.iter().skip(1).map(difference)).take(runs.len()).collect();
        self.settings = differing_settings(runs);
        self.of = of;
    }

    /// How the score `name` of the run at `at` differs from the score of the first run.
    fn mark(&self, at: usize, name: &str) -> Option<char> {
        let difference = self.differences.get(at)?.as_ref()?;
        let (_, score) = score_list(difference).into_iter().find(|(other, _)| *other == name)?;
        Change::of(Some(score), score, score).words().chars().next()
    }
}

impl Compare {
    /// Nothing chosen yet.
    pub fn new(view: GraphView) -> Self {
        Self { view, ..Self::default() }
    }

    /// How the losses are looked at.
    pub fn view(&self) -> &GraphView {
        &self.view
    }

    fn compared<'a>(&self, open: &'a Open) -> Vec<&'a RunRecord> {
        let runs = open.runs();
        if self.marked.is_empty() {
            return runs[runs.len().saturating_sub(2)..].iter().collect();
        }
        runs.iter().filter(|run| self.marked.contains(&run.id)).take(MOST).collect()
    }

    /// What the compared runs make of the chosen prompt and seed, and how many of these there are.
    fn shots(&self, world: &World) -> (Vec<Shot>, usize) {
        let Some(open) = &world.open else { return (Vec::new(), 0) };
        let runs = self.compared(open);
        let histories: Vec<Option<&History>> = runs.iter().map(|run| pictures_of(world, run)).collect();
        // What all of them were asked for; of what only some were, nothing can be compared.
        let asked = |history: &&History| -> BTreeSet<(String, u64)> {
            learned(history).map(|picture| (picture.prompt.clone(), picture.seed)).collect()
        };
        let mut sets = histories.iter().flatten().map(asked);
        let first = sets.next().unwrap_or_default();
        let all: Vec<(String, u64)> =
            sets.fold(first, |all, set| all.intersection(&set).cloned().collect()).into_iter().collect();
        let Some((prompt, seed)) = self.pictures.of(all.len()).map(|at| &all[at]) else { return (Vec::new(), 0) };
        let first = runs.iter().find_map(|run| self.curves.get(&run.id));
        let cursor = first.and_then(|curves| self.view.cursor_point(&curves.loss)).map(|point| point.step);
        let shots = runs.iter().zip(&histories).enumerate().filter_map(|(at, (run, history))| {
            let same = |picture: &&Picture| picture.prompt == *prompt && picture.seed == *seed;
            // The last one, or with a cursor the last one before it.
            let seen = |picture: &&Picture| cursor.is_none_or(|step| picture.step <= step);
            let picture = learned((*history)?).filter(same).filter(seen).max_by_key(|picture| picture.step)?;
            Some(Shot {
                path: picture.path.clone(),
                title: run.id.clone(),
                detail: format!("{} #{seed}", with_class_words(prompt, &open.concept.file.class_word, &[])),
                caption: format!("{} step {}", Look::run(at).mark, picture.step),
                mask: None,
                doubt: None,
            })
        });
        (shots.collect(), all.len())
    }
}

/// The history whose pictures stand for a run: of its last scoring, else its own.
fn pictures_of<'a>(world: &'a World, run: &RunRecord) -> Option<&'a History> {
    let scoring = world.followed.get(&run.path.join("evaluation")).map(|job| &job.history);
    let own = world.followed.get(&run.path).map(|job| &job.history);
    scoring.filter(|history| history.evaluated(true).next().is_some()).or(own)
}

/// Pictures of the learned concept: those made on the way, and those made to be scored.
fn learned(history: &History) -> impl Iterator<Item = &Picture> {
    history.pictures.iter().filter(|picture| picture.learned || !picture.evaluation)
}

/// What the runs are worth, by the name of each score that one of them has, with a mark of how it differs from the first run's;
/// none where none is measured.
fn scores_of(runs: &[&RunRecord], form: Form, pairs: &Pairs) -> Vec<(String, Vec<String>)> {
    let lists: Vec<_> =
        runs.iter().map(|run| run.scores.as_ref().map(|both| score_list(&both.after)).unwrap_or_default()).collect();
    let names = lists.iter().max_by_key(|list| list.len()).map(Vec::as_slice).unwrap_or_default();
    let value = |list: &Vec<(&str, &Score)>, name: &str| {
        let found = list.iter().find(|(other, _)| *other == name);
        found.map_or_else(|| "–".into(), |(_, score)| form.write(score))
    };
    let marked = |(at, list): (usize, &Vec<(&str, &Score)>), name: &str| {
        format!("{}{}", pairs.mark(at, name).unwrap_or(' '), value(list, name))
    };
    let row =
        |name: &str| (name.to_owned(), lists.iter().enumerate().map(|list| marked(list, name)).collect::<Vec<_>>());
    names.iter().map(|(name, _)| row(name)).collect()
}

/// The settings in which the runs differ: their names, and the value of each run.
fn differing_settings(runs: &[&RunRecord]) -> Vec<(String, Vec<String>)> {
    let table = |run: &&RunRecord| {
        let spec = JobFolder::at(&run.path).and_then(|job| job.run_spec()).ok();
        spec.and_then(|spec| {
            let mut table = toml::Table::try_from(&spec.train).ok()?;
            table.insert("base_model".into(), spec.base_model.path.to_string_lossy().into_owned().into());
            Some(table)
        })
        .unwrap_or_default()
    };
    let tables: Vec<toml::Table> = runs.iter().map(table).collect();
    let names: BTreeSet<&String> = tables.iter().flat_map(toml::Table::keys).collect();
    let value = |table: &toml::Table, name: &str| match table.get(name) {
        None => " –".to_owned(),
        Some(toml::Value::String(text)) => format!(" {text}"),
        Some(value) => format!(" {value}"),
    };
    names
        .into_iter()
        .map(|name| (name.clone(), tables.iter().map(|table| value(table, name)).collect::<Vec<_>>()))
        .filter(|(_, values)| values.iter().any(|value| *value != values[0]))
        .collect()
}

impl Screen for Compare {
    fn draw(&mut self, canvas: &mut Canvas, area: Rect, world: &World) {
        let Some(open) = &world.open else { return };
        let records = open.runs();
        let compared = self.compared(open);
        let (shots, all) = self.shots(world);
        let strip = Rect { height: area.height * 2 / 5, y: area.bottom() - area.height * 2 / 5, ..area };
        let upper = Rect { height: area.height - strip.height, ..area };
        let left = Rect { width: (upper.width / 2).min(72), height: upper.height / 2, ..upper };
        let table = Rect { y: left.bottom(), height: upper.height - left.height, ..left };
        let right = Rect { x: left.right() + 1, width: upper.width - left.width - 1, ..upper };

        let aside = Line::styled("Space chooses what is compared", theme::faint());
        let inner = pane::draw(canvas.buffer, left, "Runs", &aside, self.focus == RUNS);
        canvas.target(inner, Target::Pane(RUNS));
        if records.is_empty() {
            text::empty(canvas.buffer, inner, "none yet: t on the concept sets one up");
        }
        list::draw(canvas, inner, RUNS, &mut self.runs, records.len(), self.focus == RUNS, |i, width| {
            let on = compared.iter().position(|run| run.id == records[i].id);
            let mark = on.map_or_else(|| "  ".to_owned(), |at| format!("{} ", Look::run(at).mark));
            let style = on.map_or(theme::faint(), |at| Look::run(at).style);
            let mut line = run_row(&records[i], width.saturating_sub(2));
            line.spans.insert(0, Span::styled(mark, style));
            line
        });

        self.table(canvas, table, &compared);
        self.losses(canvas, right, world, &compared);

        let detail = shots.first().map(|shot| shot.detail.clone()).unwrap_or_default();
        let count = if all > 1 {
            format!("  {} of {all}: ← →", self.pictures.of(all).unwrap_or(0) + 1)
        } else {
            String::new()
        };
        let aside = Line::styled(format!("{detail}{count}"), theme::faint());
        let inner = pane::draw(canvas.buffer, strip, "The same prompt and seed", &aside, self.focus == PICTURES);
        canvas.target(inner, Target::Pane(PICTURES));
        if shots.is_empty() {
            text::empty(canvas.buffer, inner, "these runs have no pictures of the same prompt and seed");
        }
        let mut all_seen = Choice::default();
        tiles::draw_all(canvas, inner, PICTURES, &mut all_seen, &shots, false);
    }

    fn act(&mut self, action: Action, world: &mut World) -> Effect {
        let Some(open) = &world.open else { return Effect::None };
        let len = open.runs().len();
        if self.focus == RUNS && self.runs.step(action, len) {
            return Effect::Draw;
        }
        match action {
            Action::Up if self.focus == TABLE => {
                self.top = self.top.saturating_sub(1);
                Effect::Draw
            }
            Action::Down if self.focus == TABLE => {
                self.top += 1;
                Effect::Draw
            }
            Action::Mark => {
                if self.marked.is_empty() {
                    self.marked = self.compared(open).iter().map(|run| run.id.clone()).collect();
                }
                let Some(at) = self.runs.of(len) else { return Effect::None };
                let id = open.runs()[at].id.clone();
                if !self.marked.remove(&id) {
                    if self.marked.len() >= MOST {
                        return Effect::Notice(format!("{MOST} runs at most: more cannot be told apart"));
                    }
                    self.marked.insert(id);
                }
                Effect::Draw
            }
            Action::Left | Action::Right | Action::Up | Action::Down if self.focus == PICTURES => {
                let (_, all) = self.shots(world);
                let at = self.pictures.of(all).unwrap_or(0);
                let on = matches!(action, Action::Right | Action::Down);
                self.pictures.index = if on { (at + 1).min(all.saturating_sub(1)) } else { at.saturating_sub(1) };
                Effect::Draw
            }
            Action::Enter if self.focus == PICTURES => {
                let (shots, _) = self.shots(world);
                if shots.is_empty() { Effect::None } else { Effect::over(Large::new(shots, 0)) }
            }
            Action::Enter => {
                let Some(at) = self.runs.of(len) else { return Effect::None };
                let id = open.runs()[at].id.clone();
                Effect::Many(vec![Effect::Show(Some(id)), Effect::Go(crate::tui::keymap::ScreenName::Train)])
            }
            action if self.look(action, open) => Effect::Draw,
            _ => Effect::None,
        }
    }

    fn panes(&self, _: &World) -> usize {
        4
    }

    fn wheel(&mut self, pane: usize, column: u16, row: u16, down: bool, world: &World) -> bool {
        let Some(open) = world.open.as_ref().filter(|_| pane == LOSSES) else { return false };
        let graph = Graph { series: self.series(&self.compared(open)), view: &self.view, steps: self.steps };
        let (whole, x) = (graph.whole(), graph.x_at(self.plot, column, row));
        self.view.turn(whole, down, x);
        true
    }

    fn click(&mut self, pane: usize, column: u16, row: u16, world: &World) {
        let Some(open) = world.open.as_ref().filter(|_| pane == LOSSES) else { return };
        let compared = self.compared(open);
        let Some(first) = compared.iter().find_map(|run| self.curves.get(&run.id)) else { return };
        let graph = Graph { series: self.series(&compared), view: &self.view, steps: self.steps };
        if let Some(x) = graph.x_at(self.plot, column, row) {
            let mut view = self.view.clone();
            view.place_cursor(&first.loss, x);
            self.view = view;
        }
    }

    fn focus(&mut self) -> &mut usize {
        &mut self.focus
    }

    fn choose(&mut self, pane: usize, index: usize, _: &mut World) {
        if pane == RUNS {
            self.runs.index = index;
        }
    }

    fn follows(&self, world: &World) -> Vec<PathBuf> {
        let Some(open) = &world.open else { return Vec::new() };
        self.compared(open).iter().flat_map(|run| [run.path.clone(), run.path.join("evaluation")]).collect()
    }

    fn reset(&mut self) {
        let mut view = std::mem::take(&mut self.view);
        view.reset();
        *self = Self::new(view);
    }
}

impl Compare {
    /// What the compared runs are worth, and the settings in which they differ.
    fn table(&mut self, canvas: &mut Canvas, area: Rect, compared: &[&RunRecord]) {
        let focused = self.focus == TABLE;
        let said = if compared.iter().any(|run| run.scores.is_some()) { "of checkpoints" } else { "not measured" };
        let aside = Line::styled(said, theme::faint());
        let inner = pane::draw(canvas.buffer, area, "Scores and settings", &aside, focused);
        canvas.target(inner, Target::Pane(TABLE));
        let each = (inner.width as usize).saturating_sub(16) / compared.len().max(1);
        // Each with a mark in front and a gap behind.
        let form = Form::ALL.into_iter().find(|form| form.width() + 2 <= each).unwrap_or(Form::Close);
        self.pairs.follow(compared);
        let same = self.pairs.settings.is_empty();
        let mut rows = scores_of(compared, form, &self.pairs);
        rows.extend(self.pairs.settings.iter().cloned());
        let height = inner.height as usize;
        self.top = self.top.min(rows.len().saturating_sub(height));
        for ((name, values), y) in rows.iter().skip(self.top).zip(inner.top()..inner.bottom()) {
            let mut spans = vec![Span::styled(format!(" {} ", text::fit(name, 14)), theme::faint())];
            for (at, value) in values.iter().enumerate() {
                let style = Look::run(at).style;
                spans.push(Span::styled(format!("{} ", text::fit(value, each.saturating_sub(1))), style));
            }
            canvas.buffer.set_line(inner.x, y, &Line::from(spans), inner.width);
        }
        let rest = Rect { y: inner.y + (rows.len() as u16).min(inner.height), ..inner };
        let rest = Rect { height: inner.bottom() - rest.y, ..rest };
        if same && rest.height > 0 {
            let said =
                if compared.len() < 2 { "there is nothing to compare with" } else { "their settings are the same" };
            text::empty(canvas.buffer, rest, said);
        }
        list::scrollbar(canvas.buffer, inner, rows.len(), self.top..(self.top + height).min(rows.len()));
    }

    fn losses(&mut self, canvas: &mut Canvas, area: Rect, world: &World, compared: &[&RunRecord]) {
        let title = if self.view.log { "Loss (log)" } else { "Loss" };
        let aside = Line::styled("L log   T time   + - zoom   < > smooth", theme::faint());
        let inner = pane::draw(canvas.buffer, area, title, &aside, self.focus == LOSSES);
        canvas.target(inner, Target::Pane(LOSSES));
        self.plot = inner;
        let histories: Vec<_> = compared.iter().map(|run| world.followed.get(&run.path)).collect();
        let steps = histories.iter().flatten().map(|followed| followed.history.steps).max().unwrap_or(0);
        self.curves.retain(|id, _| compared.iter().any(|run| run.id == *id));
        for (run, followed) in compared.iter().zip(&histories) {
            if let Some(followed) = followed {
                let curves = self.curves.entry(run.id.clone()).or_default();
                curves.follow(&followed.history, &self.view, steps);
            }
        }
        self.steps = steps;
        Graph { series: self.series(compared), view: &self.view, steps }.draw(canvas.buffer, inner);
    }

    /// The losses of the compared runs, in the order of the runs.
    fn series<'a>(&'a self, compared: &[&'a RunRecord]) -> Vec<Series<'a>> {
        let of = |(at, run): (usize, &&'a RunRecord)| {
            let name = run.id.get(4..15).unwrap_or(&run.id);
            // One alone is seen with its single steps.
            let look = |curves: &'a RunCurves| match compared.len() {
                1 => curves.series(&self.view),
                _ => curves.series_among(at, name, &self.view),
            };
            self.curves.get(&run.id).map(look)
        };
        compared.iter().enumerate().filter_map(of).flatten().collect()
    }

    /// Move the cursor along the losses, or look closer or from further away.
    fn look(&mut self, action: Action, open: &Open) -> bool {
        let compared = self.compared(open);
        let Some(first) = compared.iter().find_map(|run| self.curves.get(&run.id)) else { return false };
        let whole = Graph { series: self.series(&compared), view: &self.view, steps: self.steps }.whole();
        let (mut view, loss) = (self.view.clone(), &first.loss);
        let on_graph = self.focus == LOSSES;
        match action {
            Action::Left if on_graph => view.move_cursor(loss, whole, -NEAR),
            Action::Right if on_graph => view.move_cursor(loss, whole, NEAR),
            Action::Down if on_graph => view.move_cursor(loss, whole, -FAR),
            Action::Up if on_graph => view.move_cursor(loss, whole, FAR),
            Action::PageUp if on_graph => view.pan(whole, -0.5),
            Action::PageDown if on_graph => view.pan(whole, 0.5),
            Action::PanLeft => view.pan(whole, -0.5),
            Action::PanRight => view.pan(whole, 0.5),
            Action::ZoomIn => view.zoom_in(whole),
            Action::ZoomOut => view.zoom_out(whole),
            Action::ByTime => view.toggle_time(loss),
            Action::LogScale => view.log = !view.log,
            Action::Smoother => view.smoother(),
            Action::Rougher => view.rougher(),
            Action::Back if view.clear_cursor() => {}
            Action::Back if view.is_zoomed() => view.reset(),
            _ => return false,
        }
        self.view = view;
        true
    }
}
