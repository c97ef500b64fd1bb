//! All samples of a concept: thumbnails, large views, how one prompt and seed went over the steps, what made a picture,
//! ratings.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::Screen;
use crate::client::words;
use crate::image;
use crate::protocol::{SampleRecord, State};
use crate::tui::canvas::{Canvas, Target};
use crate::tui::deeds::{self, Effect};
use crate::tui::keymap::Action;
use crate::tui::overlays::mask;
use crate::tui::overlays::page::Page;
use crate::tui::overlays::picture::{Large, Shot};
use crate::tui::overlays::question::Question;
use crate::tui::overlays::sampling;
use crate::tui::screens::concept::shown;
use crate::tui::theme;
use crate::tui::widgets::list::Choice;
use crate::tui::widgets::{pane, text, tiles};
use crate::tui::world::{Open, World};

const GRID: usize = 0;
const STEPS: usize = 1;

/// Which samples are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Whose {
    #[default]
    All,
    /// Of the shown run, its scorings too.
    Run,
    /// Of samplings of their own.
    Batches,
    /// With a rating.
    Rated,
}

impl Whose {
    fn next(self) -> Self {
        match self {
            Self::All => Self::Run,
            Self::Run => Self::Batches,
            Self::Batches => Self::Rated,
            Self::Rated => Self::All,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Run => "of the shown run",
            Self::Batches => "of samplings",
            Self::Rated => "rated, best first",
        }
    }
}

/// The samples.
#[derive(Default)]
pub struct Samples {
    focus: usize,
    grid: Choice,
    steps: Choice,
    whose: Whose,
    filter: String,
    marked: BTreeSet<PathBuf>,
    /// Those put into the trash from here, the last one last.
    removed: Vec<PathBuf>,
}

/// What the store has, and what has come since from the jobs that are followed.
fn all(world: &World, open: &Open) -> Vec<SampleRecord> {
    let mut samples = open.samples.clone().unwrap_or_default();
    let known: BTreeSet<&Path> = open.samples.iter().flatten().map(|sample| sample.path.as_path()).collect();
    let mut new = Vec::new();
    for job in world.followed.values().filter(|job| job.state == State::Running) {
        for picture in &job.history.pictures {
            let path = picture.path.strip_prefix(&open.concept.folder).unwrap_or(&picture.path);
            if !known.contains(path) {
                let (prompt, seed, step, learned) =
                    (picture.prompt.clone(), picture.seed, picture.step, picture.learned);
                new.push(SampleRecord { path: path.to_owned(), prompt, seed, step, learned, rating: None });
            }
        }
    }
    samples.extend(new);
    samples
}

impl Samples {
    /// The samples that are seen, the newest first.
    fn seen(&self, world: &World) -> Vec<SampleRecord> {
        let Some(open) = &world.open else { return Vec::new() };
        let words: Vec<String> = self.filter.split_whitespace().map(str::to_lowercase).collect();
        let run = open.run().map(|run| Path::new("runs").join(&run.id));
        let mut seen = all(world, open);
        seen.retain(|sample| {
            let of = match self.whose {
                Whose::All => true,
                Whose::Run => run.as_ref().is_some_and(|run| sample.path.starts_with(run)),
                Whose::Batches => sample.path.starts_with("samples"),
                Whose::Rated => sample.rating.is_some(),
            };
            let text = || format!("{} #{}", sample.prompt, sample.seed).to_lowercase();
            of && words.iter().all(|word| text().contains(word))
        });
        seen.reverse();
        if self.whose == Whose::Rated {
            seen.sort_by_key(|sample| std::cmp::Reverse(sample.rating));
        }
        seen
    }

    /// The same prompt and seed of the same job, over its steps.
    fn course(chosen: &SampleRecord, all: &[SampleRecord]) -> Vec<SampleRecord> {
        let folder = chosen.path.parent();
        let same = |sample: &&SampleRecord| {
            sample.prompt == chosen.prompt && sample.seed == chosen.seed && sample.path.parent() == folder
        };
        let mut course: Vec<SampleRecord> = all.iter().filter(same).cloned().collect();
        course.sort_by_key(|sample| sample.step);
        course
    }

    fn chosen(&self, world: &World) -> Option<SampleRecord> {
        let seen = self.seen(world);
        let at = self.grid.of(seen.len())?;
        if self.focus == STEPS {
            let course = Self::course(&seen[at], &seen);
            return self.steps.of(course.len()).map(|at| course[at].clone());
        }
        Some(seen[at].clone())
    }

    /// The marked samples, or the chosen one.
    fn meant(&self, world: &World) -> Vec<PathBuf> {
        if self.marked.is_empty() {
            self.chosen(world).map(|sample| sample.path).into_iter().collect()
        } else {
            self.marked.iter().cloned().collect()
        }
    }
}

fn stars(rating: Option<u8>) -> String {
    rating.map(|rating| "★".repeat(rating as usize)).unwrap_or_default()
}

fn shots(open: &Open, samples: &[SampleRecord], marked: &BTreeSet<PathBuf>, by_step: bool) -> Vec<Shot> {
    let class_word = &open.concept.file.class_word;
    let shot = |sample: &SampleRecord| {
        let prompt = sample.prompt.replace("{concept}", class_word);
        let mark = if marked.contains(&sample.path) { "✓" } else { "" };
        let stars = stars(sample.rating);
        let caption = if by_step { format!("step {}", sample.step) } else { format!("{mark}{stars}#{}", sample.seed) };
        let title = match (sample.learned, sample.step) {
            (false, _) => "Untrained class".into(),
            (true, 0) => "Learned".into(),
            (true, step) => format!("Step {step}"),
        };
        let detail = format!("{prompt} #{} {stars}", sample.seed);
        Shot { path: open.concept.folder.join(&sample.path), title, detail, caption, mask: None }
    };
    samples.iter().map(shot).collect()
}

impl Screen for Samples {
    fn draw(&mut self, canvas: &mut Canvas, area: Rect, world: &World) {
        let Some(open) = &world.open else { return };
        let seen = self.seen(world);
        let chosen = self.grid.of(seen.len()).map(|at| &seen[at]);
        let course = chosen.map(|chosen| Self::course(chosen, &seen)).unwrap_or_default();
        let strip = if course.len() > 1 { (area.height / 4).max(7) } else { 0 };
        let about = 3;
        let grid = Rect { height: area.height - strip - about, ..area };
        let mut aside = vec![Span::styled(self.whose.words(), theme::faint())];
        if !self.filter.is_empty() {
            aside.insert(0, Span::styled(format!("/ {}  ", self.filter), theme::accent()));
        }
        if !self.marked.is_empty() {
            aside.insert(0, Span::styled(format!("✓ {} marked  ", self.marked.len()), theme::accent()));
        }
        let title = format!("Samples of {} ({})", open.concept.id, seen.len());
        let inner = pane::draw(canvas.buffer, grid, &title, &Line::from(aside), self.focus == GRID);
        canvas.target(inner, Target::Pane(GRID));
        if seen.is_empty() {
            let said = match (&open.samples, self.filter.is_empty() && self.whose == Whose::All) {
                (None, _) => "◌ asking for them",
                (_, true) => "none yet: p makes some",
                (_, false) => "none of these: Esc shows all",
            };
            text::empty(canvas.buffer, inner, said);
        }
        tiles::draw(canvas, inner, GRID, &mut self.grid, &shots(open, &seen, &self.marked, false), self.focus == GRID);
        if strip > 0 {
            let area = Rect { y: grid.bottom(), height: strip, ..area };
            let aside = Line::styled("Tab, then ← → goes through them", theme::faint());
            let inner = pane::draw(canvas.buffer, area, "Over the steps", &aside, self.focus == STEPS);
            canvas.target(inner, Target::Pane(STEPS));
            tiles::draw(
                canvas,
                inner,
                STEPS,
                &mut self.steps,
                &shots(open, &course, &self.marked, true),
                self.focus == STEPS,
            );
        }
        if let Some(sample) = self.chosen(world) {
            let area = Rect { y: area.bottom() - about, height: about, ..area };
            let stars = Line::styled(stars(sample.rating), theme::second());
            let inner = pane::draw(canvas.buffer, area, "This one", &stars, false);
            let learned =
                if sample.learned { "with the residual embeddings" } else { "without the residual embeddings" };
            let prompt = sample.prompt.replace("{concept}", &open.concept.file.class_word);
            let lines = [
                Line::from(vec![
                    Span::styled(format!("{prompt} "), theme::strong()),
                    Span::raw(format!("#{}  step {}, {learned}", sample.seed, sample.step)),
                ]),
                Line::styled(sample.path.display().to_string(), theme::faint()),
            ];
            text::draw(canvas.buffer, inner, &lines);
        }
    }

    fn act(&mut self, action: Action, world: &mut World) -> Effect {
        let Some(open) = &world.open else { return Effect::None };
        let seen = self.seen(world);
        let at = self.grid.of(seen.len());
        if self.focus == STEPS {
            let course = at.map(|at| Self::course(&seen[at], &seen)).unwrap_or_default();
            if self.steps.step(action, course.len()) {
                return Effect::Draw;
            }
            if action == Action::Enter {
                let index = self.steps.of(course.len()).unwrap_or(0);
                return Effect::over(Large::new(shots(open, &course, &self.marked, true), index));
            }
        } else if self.grid.step(action, seen.len()) {
            self.steps = Choice::default();
            return Effect::Draw;
        }
        let chosen = self.chosen(world);
        let (home, name, folder) = (world.home.clone(), open.concept.id.clone(), open.concept.folder.clone());
        match action {
            Action::Enter => {
                let Some(at) = at else { return Effect::None };
                Effect::over(Large::new(shots(open, &seen, &self.marked, false), at))
            }
            Action::Back if !(self.filter.is_empty() && self.marked.is_empty() && self.whose == Whose::All) => {
                self.filter.clear();
                self.marked.clear();
                self.whose = Whose::All;
                Effect::Draw
            }
            Action::DrawMask => mask::open(&open.concept, shots(open, &seen, &self.marked, false), at.unwrap_or(0)),
            Action::Whose => {
                self.whose = self.whose.next();
                Effect::Draw
            }
            Action::Mark => {
                if let Some(sample) = chosen
                    && !self.marked.remove(&sample.path)
                {
                    self.marked.insert(sample.path);
                }
                self.grid.step(if self.grid.columns > 1 { Action::Right } else { Action::Down }, seen.len());
                Effect::Draw
            }
            Action::Better | Action::Worse => {
                let Some(sample) = chosen else { return Effect::None };
                let now = sample.rating.unwrap_or(0);
                let rating = if action == Action::Better { (now + 1).min(5) } else { now.saturating_sub(1) };
                let rating = Some(rating).filter(|rating| *rating > 0);
                if let Some(open) = &mut world.open {
                    let known = open.samples.iter_mut().flatten().find(|known| known.path == sample.path);
                    // Seen at once; the file follows.
                    if let Some(known) = known {
                        known.rating = rating;
                    }
                }
                deeds::rate(&home, &name, sample.path, rating)
            }
            Action::Remove => {
                let pictures = self.meant(world);
                self.marked.clear();
                self.removed.extend(pictures.iter().cloned());
                let text = format!("{} of {name}. U takes the last one out of the trash again.", count(pictures.len()));
                let deed = deeds::remove_samples(&home, &name, pictures);
                Effect::over(Question::new("Put into the trash?", &text, "remove", "keep", deed))
            }
            Action::Restore => match self.removed.pop() {
                Some(picture) => deeds::restore_sample(&home, &name, picture),
                None => Effect::Notice("nothing was removed here: `:concept restore-sample` knows the trash".into()),
            },
            Action::Provenance => {
                let Some(sample) = chosen else { return Effect::None };
                provenance(&folder.join(&sample.path), &sample)
            }
            Action::Sample => {
                let run = shown(world).map(|(_, run)| run);
                let prompt = chosen.map_or_else(|| "a {concept}".into(), |sample| sample.prompt);
                sampling::open(&open.concept, run, &prompt)
            }
            _ => Effect::None,
        }
    }

    fn why_not(&self, action: Action, world: &World) -> Option<String> {
        let needs = matches!(
            action,
            Action::Enter | Action::Mark | Action::Better | Action::Worse | Action::Remove | Action::Provenance
        );
        let none = world.open.as_ref().is_none_or(|open| open.samples.as_ref().is_none_or(Vec::is_empty));
        (needs && none && self.chosen(world).is_none()).then(|| "there is no sample: p makes some".into())
    }

    fn panes(&self, _: &World) -> usize {
        2
    }

    fn focus(&mut self) -> &mut usize {
        &mut self.focus
    }

    fn choose(&mut self, pane: usize, index: usize, _: &mut World) {
        if pane == GRID {
            self.grid.index = index;
        } else {
            self.steps.index = index;
        }
    }

    fn filter(&mut self) -> Option<&mut String> {
        Some(&mut self.filter)
    }

    fn follows(&self, world: &World) -> Vec<PathBuf> {
        let Some(open) = &world.open else { return Vec::new() };
        let running = world.jobs.iter().filter(|job| job.concept == open.concept.id && !job.state.is_over());
        running.map(|job| job.job.clone()).collect()
    }

    fn reset(&mut self) {
        *self = Self { whose: self.whose, ..Self::default() };
    }
}

fn count(pictures: usize) -> String {
    if pictures == 1 { "this picture".into() } else { format!("{pictures} pictures") }
}

/// What made a picture, as the picture itself tells.
fn provenance(path: &Path, sample: &SampleRecord) -> Effect {
    let mut lines = vec![
        format!("prompt     {}", sample.prompt),
        format!("seed       {}", sample.seed),
        format!("step       {}", sample.step),
        format!("learned    {}", if sample.learned { "with the residual embeddings" } else { "without" }),
    ];
    match image::read_provenance(path) {
        Ok(said) => {
            let rows = words::provenance(&said);
            lines
                .extend(rows.iter().map(|(name, value)| format!("{:<18} {}", words::plain(name), words::plain(value))));
        }
        Err(error) => lines.push(format!("✗ {error}")),
    }
    lines.push(String::new());
    lines.push(path.display().to_string());
    Effect::over(Page::new("What made it", lines))
}
