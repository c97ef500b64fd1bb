//! What the runs of a concept are worth, before and after, with their intervals; without a concept, all concepts.

use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::Screen;
use crate::client::words::{change, intervals_over, score_list};
use crate::protocol::{BothScores, ConceptRecord, RunRecord, Score, Scores as Measured, State};
use crate::tui::canvas::{Canvas, Target};
use crate::tui::deeds::{self, Effect};
use crate::tui::keymap::{Action, ScreenName};
use crate::tui::screens::concept::shown;
use crate::tui::theme;
use crate::tui::widgets::list::{self, Choice};
use crate::tui::widgets::scores::Form;
use crate::tui::widgets::{pane, scores, text};
use crate::tui::world::{Open, World};
use crate::workspace::JobFolder;

const RUNS: usize = 0;
const CONCEPTS: usize = 1;

/// Rows of the list of runs that stay whatever else is to be said.
const LEAST_RUNS: u16 = 3;

/// The names of the scores, and how they are called where there is little room.
const NAMES: [(&str, &str); 6] = [
    ("masked CLIP-I", "m CLIP-I"),
    ("CLIP-I", "CLIP-I"),
    ("CLIP-T", "CLIP-T"),
    ("balance", "balance"),
    ("masked DINO", "m DINO"),
    ("DINO", "DINO"),
];

/// By what a table is sorted: by time, or by the score at this place, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Time,
    Score(usize),
}

impl Order {
    /// The next one of a table with `columns` scores; balance comes first, for it is what runs are chosen by.
    fn next(self, columns: usize) -> Self {
        const BALANCE: usize = 3;
        match self {
            Self::Time => Self::Score(BALANCE),
            Self::Score(BALANCE) => Self::Score(0),
            Self::Score(at) => match at + 1 {
                BALANCE if columns > BALANCE + 1 => Self::Score(BALANCE + 1),
                next if next >= columns || next == BALANCE => Self::Time,
                next => Self::Score(next),
            },
        }
    }

    fn words(self) -> String {
        match self {
            Self::Time => "by time".into(),
            Self::Score(at) => format!("best {} first", NAMES[at].0),
        }
    }
}

/// What `order` sorts by; what is not measured comes last.
fn value(scores: Option<&Measured>, at: usize) -> f64 {
    score_of(scores, at).map_or(f64::NEG_INFINITY, |score| score.value)
}

fn score_of(scores: Option<&Measured>, at: usize) -> Option<&Score> {
    score_list(scores?).into_iter().find(|(name, _)| *name == NAMES[at].0).map(|(_, score)| score)
}

/// The scores.
pub struct Scores {
    focus: usize,
    runs: Choice,
    concepts: Choice,
    /// How each table is sorted.
    orders: [Order; 2],
    /// The first score that is seen where not all fit.
    first: usize,
    filter: String,
    /// The shown run has been chosen.
    began: bool,
}

impl Default for Scores {
    fn default() -> Self {
        Self {
            focus: RUNS,
            runs: Choice::default(),
            concepts: Choice::default(),
            orders: [Order::Time, Order::Score(3)],
            first: 0,
            filter: String::new(),
            began: false,
        }
    }
}

/// How the columns of a table are laid out.
struct Columns {
    form: Form,
    /// Those that are seen.
    seen: std::ops::Range<usize>,
}

impl Columns {
    /// For `count` scores in `width` columns, with a mark and a gap for each; where not all fit, from the one at `first`.
    fn new(width: usize, count: usize, first: usize) -> Self {
        let fits = |form: &&Form| count * (form.width() + 2) <= width;
        if let Some(form) = Form::ALL.iter().find(fits) {
            return Self { form: *form, seen: 0..count };
        }
        let fit = (width / (Form::Close.width() + 2)).max(1).min(count);
        let first = first.min(count - fit);
        Self { form: Form::Close, seen: first..first + fit }
    }

    fn head(&self) -> String {
        let wide = self.form == Form::Ends;
        let name =
            |at: usize| format!(" {}", text::fit(if wide { NAMES[at].0 } else { NAMES[at].1 }, self.form.width() + 1));
        self.seen.clone().map(name).collect()
    }

    /// The scores of a row, each with a mark of its change where it is known what there was before.
    fn cells(&self, both: Option<&BothScores>, scores: &Measured) -> Vec<Span<'static>> {
        let cell = |at: usize| {
            let Some(score) = score_of(Some(scores), at) else {
                return Span::styled(format!(" {}", text::fit("–", self.form.width() + 1)), theme::faint());
            };
            let before = both.and_then(|both| Some((both, score_of(Some(&both.before), at)?)));
            let change = before.map(|(both, before)| change(both, NAMES[at].0, before, score).words());
            let change = change.and_then(|words| words.chars().next());
            Span::raw(format!("{}{} ", change.unwrap_or(' '), text::fit(&self.form.write(score), self.form.width())))
        };
        self.seen.clone().map(cell).collect()
    }
}

/// How many scores the tables have: scores by DINO only if something was measured by it.
fn columns<'a>(mut all: impl Iterator<Item = &'a Measured>) -> usize {
    if all.any(|scores| scores.dino.is_some() || scores.masked_dino.is_some()) { NAMES.len() } else { 4 }
}

impl Scores {
    fn words(&self) -> Vec<String> {
        self.filter.split_whitespace().map(str::to_lowercase).collect()
    }

    /// The concepts that have scores and hold the words of the filter, in their order.
    fn measured<'a>(&self, world: &'a World) -> Vec<&'a ConceptRecord> {
        let words = self.words();
        let holds = |concept: &&ConceptRecord| {
            let fields = [&concept.concept, &concept.class_word];
            words.iter().all(|word| fields.iter().any(|field| field.to_lowercase().contains(word)))
        };
        let mut found: Vec<&ConceptRecord> =
            world.concepts.iter().filter(|concept| concept.score.is_some()).filter(holds).collect();
        match self.orders[CONCEPTS] {
            Order::Time => found.sort_by_key(|concept| std::cmp::Reverse(concept.changed)),
            Order::Score(at) => {
                found.sort_by(|a, b| value(b.score.as_ref(), at).total_cmp(&value(a.score.as_ref(), at)));
            }
        }
        found
    }

    /// The runs of the open concept that hold the words of the filter, in their order.
    fn rows<'a>(&self, world: &'a World) -> Vec<&'a RunRecord> {
        let words = self.words();
        let holds = |run: &&RunRecord| {
            let state = if run.scores.is_some() { "measured" } else { "" };
            let text = format!("{} {} {state}", run.id, run.state.word());
            words.iter().all(|word| text.contains(word))
        };
        let mut found: Vec<&RunRecord> = world.open.iter().flat_map(Open::runs).filter(holds).collect();
        if let Order::Score(at) = self.orders[RUNS] {
            let after = |run: &RunRecord| value(run.scores.as_ref().map(|both| &both.after), at);
            found.sort_by(|a, b| after(b).total_cmp(&after(a)));
        }
        found
    }

    fn run<'a>(&self, world: &'a World) -> Option<&'a RunRecord> {
        let rows = self.rows(world);
        self.runs.of(rows.len()).map(|at| rows[at])
    }

    /// Begin on the shown run.
    fn begin(&mut self, world: &World) {
        let shown = world.open.as_ref().and_then(|open| open.run());
        if let Some(shown) = shown.filter(|_| !self.began) {
            self.began = true;
            let at = self.rows(world).iter().position(|run| run.id == shown.id);
            self.runs.index = at.unwrap_or(0);
        }
    }

    /// Keep the run `id` chosen, wherever it is now.
    fn choose_run(&mut self, id: Option<&str>, world: &World) {
        let at = self.rows(world).iter().position(|run| Some(run.id.as_str()) == id);
        self.runs.index = at.unwrap_or(0);
    }

    fn draw_runs(&mut self, canvas: &mut Canvas, area: Rect, world: &World) {
        let Some(open) = &world.open else { return };
        let rows = self.rows(world);
        let mut aside = self.orders[RUNS].words();
        if !self.filter.is_empty() {
            aside = format!("/ {}  {aside}", self.filter);
        }
        let title = match rows.len() {
            all if all == open.runs().len() => format!("Runs of {}, after training", open.concept.id),
            some => format!("Runs of {} ({some} of {})", open.concept.id, open.runs().len()),
        };
        let inner = pane::draw(canvas.buffer, area, &title, &Line::styled(aside, theme::faint()), self.focus == RUNS);
        canvas.target(inner, Target::Pane(RUNS));
        if rows.is_empty() {
            let none = open.runs().is_empty();
            let said = if none { "no runs yet: t on the concept sets one up" } else { "no run holds these words" };
            return text::empty(canvas.buffer, inner, said);
        }
        let both = self.run(world).and_then(|run| run.scores.as_ref());
        let [least, whole] = both.map_or([scores::HEIGHT; 2], scores::heights);
        // Room for its title and a few runs comes first.
        let table = whole.min(inner.height.saturating_sub(LEAST_RUNS + 2)).max(least) + 1;
        let list = Rect { height: inner.height.saturating_sub(table + 1), ..inner };
        let count = columns(open.runs().iter().filter_map(|run| run.scores.as_ref()).map(|both| &both.after));
        // Names as long as they may be: their dates tell runs apart.
        let width = inner.width.saturating_sub(1) as usize;
        let whole = width >= 26 + count * (Form::Wider.width() + 2);
        let name = if whole { 21 } else { 10 };
        let columns = Columns::new(width.saturating_sub(name + 2), count, self.first);
        self.first = columns.seen.start;
        let more = if columns.seen.len() < count { "  ← →" } else { "" };
        let head = format!("   {}{}{more}", text::fit("run", name), columns.head());
        canvas.buffer.set_stringn(list.x, list.y, head, list.width as usize, theme::faint());
        let body = Rect { y: list.y + 1, height: list.height.saturating_sub(1), ..list };
        let mut choice = self.runs;
        list::draw(canvas, body, RUNS, &mut choice, rows.len(), self.focus == RUNS, |i, _| {
            let run = rows[i];
            let (mark, style) = theme::mark(run.state);
            let id = if whole { run.id.as_str() } else { run.id.get(4..13).unwrap_or(&run.id) };
            let mut spans =
                vec![Span::styled(format!("{mark} "), style), Span::styled(text::fit(id, name), theme::strong())];
            match &run.scores {
                None => spans.push(Span::styled(" not measured", theme::faint())),
                Some(both) => spans.extend(columns.cells(Some(both), &both.after)),
            }
            Line::from(spans)
        });
        self.runs = choice;
        if let Some(both) = both {
            let y = list.bottom();
            let over = intervals_over(&both.after);
            // The row of what is not doubtful may not fit.
            let said = match [&both.before, &both.after].map(|scores| scores.masks.samples_doubtful) {
                [0, 0] => format!(" before → after, {over}; ◇ photos"),
                [few, many] => format!(" before → after, {over}; {few} and {many} masks doubtful; ◇ photos"),
            };
            canvas.buffer.set_stringn(inner.x, y, said, inner.width as usize, theme::faint());
            let place = Rect { y: y + 1, height: table - 1, ..inner };
            scores::draw(canvas.buffer, place.intersection(inner), both);
        } else {
            let said = " not measured yet: m measures the chosen run";
            canvas.buffer.set_stringn(inner.x, list.bottom(), said, inner.width as usize, theme::faint());
        }
    }

    fn draw_concepts(&mut self, canvas: &mut Canvas, area: Rect, world: &World, focused: bool) {
        let measured = self.measured(world);
        let mut aside = self.orders[CONCEPTS].words();
        if !self.filter.is_empty() {
            aside = format!("/ {}  {aside}", self.filter);
        }
        let title = format!("All concepts ({} measured)", measured.len());
        let inner = pane::draw(canvas.buffer, area, &title, &Line::styled(aside, theme::faint()), focused);
        canvas.target(inner, Target::Pane(CONCEPTS));
        if measured.is_empty() {
            let said = if self.filter.is_empty() {
                "nothing measured yet: m on a run's screen does it"
            } else {
                "no measured concept holds these words"
            };
            return text::empty(canvas.buffer, inner, said);
        }
        let count = columns(measured.iter().filter_map(|concept| concept.score.as_ref()));
        let width = inner.width.saturating_sub(1) as usize;
        let name = if width >= 26 + count * (Form::Wider.width() + 2) { 22 } else { 11 };
        let columns = Columns::new(width.saturating_sub(name + 1), count, self.first);
        let head = format!("  {}{}", text::fit("concept", name), columns.head());
        canvas.buffer.set_stringn(inner.x, inner.y, head, inner.width as usize, theme::faint());
        let body = Rect { y: inner.y + 1, height: inner.height.saturating_sub(1), ..inner };
        list::draw(canvas, body, CONCEPTS, &mut self.concepts, measured.len(), focused, |i, _| {
            let concept = measured[i];
            let mut spans = vec![Span::styled(format!(" {}", text::fit(&concept.concept, name)), theme::strong())];
            if let Some(scores) = &concept.score {
                spans.extend(columns.cells(None, scores));
            }
            Line::from(spans)
        });
    }
}

impl Screen for Scores {
    fn draw(&mut self, canvas: &mut Canvas, area: Rect, world: &World) {
        self.begin(world);
        let half = if world.open.is_some() { area.height * 3 / 5 } else { 0 };
        if world.open.is_some() {
            self.draw_runs(canvas, Rect { height: half, ..area }, world);
        }
        let lower = Rect { y: area.y + half, height: area.height - half, ..area };
        let focused = self.focus == CONCEPTS || world.open.is_none();
        self.draw_concepts(canvas, lower, world, focused);
    }

    fn act(&mut self, action: Action, world: &mut World) -> Effect {
        self.begin(world);
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
        let rows = self.rows(world).len();
        if !on_concepts && self.runs.step(action, rows) {
            return Effect::Draw;
        }
        match action {
            Action::Left => {
                self.first = self.first.saturating_sub(1);
                Effect::Draw
            }
            Action::Right => {
                // It is cut to what there is when it is drawn.
                self.first = (self.first + 1).min(NAMES.len() - 1);
                Effect::Draw
            }
            Action::Sort => {
                let id = self.run(world).map(|run| run.id.clone());
                let runs = world.open.iter().flat_map(Open::runs);
                let of_runs = runs.filter_map(|run| run.scores.as_ref()).map(|both| &both.after);
                let all = of_runs.chain(world.concepts.iter().filter_map(|concept| concept.score.as_ref()));
                let order = &mut self.orders[usize::from(on_concepts)];
                *order = order.next(columns(all));
                self.choose_run(id.as_deref(), world);
                Effect::Draw
            }
            Action::PreviousRun | Action::NextRun => {
                self.runs.step(if action == Action::NextRun { Action::Down } else { Action::Up }, rows);
                Effect::Draw
            }
            Action::Back if !self.filter.is_empty() => {
                self.filter.clear();
                Effect::Draw
            }
            Action::Enter => {
                let Some(run) = self.run(world) else { return Effect::None };
                Effect::Many(vec![Effect::Show(Some(run.id.clone())), Effect::Go(ScreenName::Train)])
            }
            Action::Score | Action::ScoreCheckpoints => {
                let Some(run) = self.run(world).and_then(|run| JobFolder::at(&run.path).ok()) else {
                    return Effect::None;
                };
                let score = if action == Action::Score { deeds::score } else { deeds::score_checkpoints };
                shown(world).map_or(Effect::None, |(concept, _)| score(concept.clone(), run))
            }
            _ => Effect::None,
        }
    }

    fn why_not(&self, action: Action, world: &World) -> Option<String> {
        let run = self.run(world);
        match action {
            Action::Score | Action::ScoreCheckpoints if run.is_none() => Some("there is no run to score".into()),
            Action::Score if run.is_some_and(|run| run.state == State::Running) => {
                Some("this run is training: M measures the checkpoints that there are".into())
            }
            _ => None,
        }
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
        (self.runs, self.began) = (Choice::default(), false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_written_as_far_as_they_fit_and_the_rest_is_gone_to() {
        let seen = |width, count, first| {
            let columns = Columns::new(width, count, first);
            (columns.form, columns.seen)
        };
        assert_eq!(seen(120, 4, 0), (Form::Ends, 0..4));
        assert_eq!(seen(54, 4, 0), (Form::Wider, 0..4));
        assert_eq!(seen(68, 6, 0), (Form::Close, 0..6));
        assert_eq!(seen(46, 6, 0), (Form::Close, 0..4));
        assert_eq!(seen(46, 6, 9), (Form::Close, 2..6));
    }

    #[test]
    fn sorting_goes_through_time_and_all_scores() {
        let orders = |columns| {
            let next = |order: &Order| Some(order.next(columns)).filter(|order| *order != Order::Time);
            std::iter::successors(Some(Order::Time.next(columns)), next).collect::<Vec<_>>()
        };
        assert_eq!(orders(4), [3, 0, 1, 2].map(Order::Score));
        assert_eq!(orders(6), [3, 0, 1, 2, 4, 5].map(Order::Score));
    }
}
