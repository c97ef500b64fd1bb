//! What the runs of a concept are worth, before and after, with their intervals; without a concept, all concepts.

use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::Screen;
use crate::client::words::{Change, score_rows};
use crate::protocol::{ConceptRecord, RunRecord, Score};
use crate::tui::canvas::{Canvas, Target};
use crate::tui::deeds::{self, Effect};
use crate::tui::keymap::{Action, Place};
use crate::tui::screens::concept::shown;
use crate::tui::theme;
use crate::tui::widgets::list::{self, Choice};
use crate::tui::widgets::{pane, scores, text};
use crate::tui::world::World;

const RUNS: usize = 0;
const CONCEPTS: usize = 1;

/// The scores.
#[derive(Default)]
pub struct Scores {
    focus: usize,
    runs: Choice,
    concepts: Choice,
    filter: String,
}

impl Scores {
    /// The concepts that have scores and hold the words of the filter, the best balance first.
    fn measured<'a>(&self, world: &'a World) -> Vec<&'a ConceptRecord> {
        let words: Vec<String> = self.filter.split_whitespace().map(str::to_lowercase).collect();
        let holds = |concept: &&ConceptRecord| {
            let fields = [&concept.concept, &concept.class_word];
            words.iter().all(|word| fields.iter().any(|field| field.to_lowercase().contains(word)))
        };
        let mut found: Vec<&ConceptRecord> =
            world.concepts.iter().filter(|concept| concept.score.is_some()).filter(holds).collect();
        let balance = |concept: &ConceptRecord| concept.score.as_ref().map_or(0.0, |scores| scores.balance.value);
        found.sort_by(|a, b| balance(b).total_cmp(&balance(a)));
        found
    }

    fn run<'a>(&self, world: &'a World) -> Option<&'a RunRecord> {
        let runs = world.open.as_ref()?.runs();
        self.runs.of(runs.len()).map(|at| &runs[at])
    }
}

fn cell(score: &Score, wide: bool) -> String {
    if wide {
        format!("{:.3} {:.3}–{:.3}", score.value, score.low, score.high)
    } else {
        format!("{:.3}", score.value)
    }
}

const NAMES: [&str; 4] = ["masked CLIP-I", "CLIP-I", "CLIP-T", "balance"];

impl Screen for Scores {
    fn draw(&mut self, canvas: &mut Canvas, area: Rect, world: &World) {
        let wide = area.width >= 130;
        let column = if wide { 20 } else { 8 };
        let half = if world.open.is_some() { area.height * 3 / 5 } else { 0 };
        if let Some(open) = &world.open {
            let upper = Rect { height: half, ..area };
            let said = "after training; m scores the shown run";
            let title = format!("Runs of {}", open.concept.id);
            let inner =
                pane::draw(canvas.buffer, upper, &title, &Line::styled(said, theme::faint()), self.focus == RUNS);
            canvas.target(inner, Target::Pane(RUNS));
            let table = scores::HEIGHT + 1;
            let list = Rect { height: inner.height.saturating_sub(table + 1), ..inner };
            let runs = open.runs();
            if runs.is_empty() {
                text::empty(canvas.buffer, inner, "no runs yet: t on the concept sets one up");
            } else {
                let names = if wide { NAMES } else { ["m CLIP-I", "CLIP-I", "CLIP-T", "balance"] };
                let head = names.map(|name| text::fit(name, column)).join("  ");
                canvas.buffer.set_stringn(
                    list.x,
                    list.y,
                    format!("   {:<22}  {head}", "run"),
                    list.width as usize,
                    theme::faint(),
                );
            }
            let body = Rect { y: list.y + 1, height: list.height.saturating_sub(1), ..list };
            list::draw(canvas, body, RUNS, &mut self.runs, runs.len(), self.focus == RUNS, |i, _| {
                let run = &runs[i];
                let (mark, style) = theme::mark(run.state);
                let mut spans = vec![
                    Span::styled(format!("{mark} "), style),
                    Span::styled(text::fit(&run.id, 22), theme::strong()),
                ];
                match &run.scores {
                    None => spans.push(Span::styled("  not measured", theme::faint())),
                    Some(both) => {
                        for (_, before, after) in score_rows(&both.before, &both.after) {
                            let change = Change::between(before, after).words().chars().next().unwrap_or(' ');
                            spans.push(Span::raw(format!(" {change}{}", text::fit(&cell(after, wide), column))));
                        }
                    }
                }
                Line::from(spans)
            });
            if let Some(both) = self.run(world).and_then(|run| run.scores.as_ref()) {
                let y = list.bottom();
                let n = both.after.masked_clip_i.n;
                let said = format!(" before → after, bootstrap 95 % intervals over {n} pictures");
                canvas.buffer.set_stringn(inner.x, y, said, inner.width as usize, theme::faint());
                let place = Rect { y: y + 1, height: scores::HEIGHT, ..inner };
                scores::draw(canvas.buffer, place.intersection(inner), &both.before, &both.after);
            }
        }
        let lower = Rect { y: area.y + half, height: area.height - half, ..area };
        let measured = self.measured(world);
        let aside = if self.filter.is_empty() { String::new() } else { format!("/ {}", self.filter) };
        let title = format!("All concepts ({} measured)", measured.len());
        let focused = self.focus == CONCEPTS || world.open.is_none();
        let inner = pane::draw(canvas.buffer, lower, &title, &Line::styled(aside, theme::accent()), focused);
        canvas.target(inner, Target::Pane(CONCEPTS));
        if measured.is_empty() {
            text::empty(canvas.buffer, inner, "nothing measured yet: m on a run's screen does it");
        }
        list::draw(canvas, inner, CONCEPTS, &mut self.concepts, measured.len(), focused, |i, _| {
            let concept = measured[i];
            let mut spans = vec![Span::styled(format!(" {} ", text::fit(&concept.concept, 22)), theme::strong())];
            if let Some(scores) = &concept.score {
                for score in [&scores.masked_clip_i, &scores.clip_i, &scores.clip_t, &scores.balance] {
                    spans.push(Span::raw(format!("  {}", text::fit(&cell(score, wide), column))));
                }
            }
            Line::from(spans)
        });
    }

    fn act(&mut self, action: Action, world: &mut World) -> Effect {
        let on_concepts = self.focus == CONCEPTS || world.open.is_none();
        if on_concepts {
            let measured = self.measured(world);
            if self.concepts.step(action, measured.len()) {
                return Effect::Draw;
            }
            if action == Action::Enter {
                let Some(at) = self.concepts.of(measured.len()) else { return Effect::None };
                return Effect::Open(measured[at].concept.clone());
            }
        }
        let runs = world.open.as_ref().map_or(0, |open| open.runs().len());
        if !on_concepts && self.runs.step(action, runs) {
            return Effect::Draw;
        }
        match action {
            Action::PreviousRun | Action::NextRun => {
                self.runs.step(if action == Action::NextRun { Action::Down } else { Action::Up }, runs);
                Effect::Draw
            }
            Action::Back if !self.filter.is_empty() => {
                self.filter.clear();
                Effect::Draw
            }
            Action::Enter => {
                let Some(run) = self.run(world) else { return Effect::None };
                Effect::Many(vec![Effect::Show(Some(run.id.clone())), Effect::Go(Place::Train)])
            }
            Action::Score | Action::ScoreCheckpoints => {
                let Some(run) = self.run(world).and_then(|run| crate::workspace::JobFolder::at(&run.path).ok()) else {
                    return Effect::None;
                };
                let score = if action == Action::Score { deeds::score } else { deeds::score_checkpoints };
                shown(world).map_or(Effect::None, |(concept, _)| score(concept.clone(), run))
            }
            _ => Effect::None,
        }
    }

    fn why_not(&self, action: Action, world: &World) -> Option<String> {
        (matches!(action, Action::Score | Action::ScoreCheckpoints) && self.run(world).is_none())
            .then(|| "there is no run to score".into())
    }

    fn panes(&self, world: &World) -> usize {
        if world.open.is_some() { 2 } else { 1 }
    }

    fn focus(&mut self) -> &mut usize {
        &mut self.focus
    }

    fn choose(&mut self, pane: usize, index: usize, _: &mut World) {
        if pane == RUNS {
            self.runs.index = index;
        } else {
            self.concepts.index = index;
        }
    }

    fn filter(&mut self) -> Option<&mut String> {
        Some(&mut self.filter)
    }

    fn reset(&mut self) {
        self.runs = Choice::default();
    }
}
