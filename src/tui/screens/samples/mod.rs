//! All samples of a concept: thumbnails, large views, how one prompt and seed went over the steps, what made a picture,
//! ratings.

mod seen;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::Screen;
use crate::client::words::{self, count, doubtful};
use crate::fs::Show;
use crate::image;
use crate::protocol::{SampleRecord, with_class_words};
use crate::tui::canvas::{Canvas, Target};
use crate::tui::deeds::{self, Effect};
use crate::tui::keymap::Action;
use crate::tui::overlays::mask;
use crate::tui::overlays::page::Page;
use crate::tui::overlays::picture::Shot;
use crate::tui::overlays::question::Question;
use crate::tui::overlays::sampling;
use crate::tui::screens::concept::shown;
use crate::tui::theme;
use crate::tui::widgets::list::Choice;
use crate::tui::widgets::tiles::Tiles;
use crate::tui::widgets::{pane, text, tiles};
use crate::tui::world::{Open, World};
use crate::workspace::sample_mask;
use seen::Seen;

const GRID: usize = 0;
const STEPS: usize = 1;
/// Samples on either side of the chosen one that the mask editor steps through.
const AROUND: usize = 200;

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
    /// Those that were removed.
    Trash,
}

impl Whose {
    fn next(self) -> Self {
        match self {
            Self::All => Self::Run,
            Self::Run => Self::Batches,
            Self::Batches => Self::Rated,
            Self::Rated => Self::Trash,
            Self::Trash => Self::All,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Run => "of the shown run",
            Self::Batches => "of samplings",
            Self::Rated => "rated, best first",
            Self::Trash => "in the trash: U takes out",
        }
    }
}

/// Which samples are seen, and in which order.
#[derive(Debug, Clone, PartialEq, Default)]
struct Asked {
    whose: Whose,
    filter: String,
    /// With their masks, the doubtful ones first.
    masks: bool,
}

/// The samples.
#[derive(Default)]
pub struct Samples {
    focus: usize,
    grid: Choice,
    steps: Choice,
    /// The chosen one is seen as large as the screen.
    large: bool,
    asked: Asked,
    marked: BTreeSet<PathBuf>,
    seen: Seen,
    /// The chosen one: it stays chosen when others come before it.
    chosen: Option<PathBuf>,
    /// How often something was rated here.
    ratings: u64,
}

impl Samples {
    /// Take in what there is now: what was chosen stays chosen, and what is gone is not marked any more.
    fn follow(&mut self, world: &World) {
        let Some(open) = &world.open else { return };
        if !self.seen.follow(world, &self.asked, self.ratings) {
            return;
        }
        let seen = &self.seen;
        self.marked.retain(|path| seen.is_there(open, path));
        // At the top one waits for what comes next, unless one looks at it closely.
        if let Some(path) = self.chosen.as_ref().filter(|_| self.grid.index > 0 || self.large)
            && let Some(row) = seen.row_of(open, path)
        {
            self.grid.index = row;
        }
        self.keep_chosen(open);
    }

    fn keep_chosen(&mut self, open: &Open) {
        let row = self.grid.of(self.seen.len());
        self.chosen = row.and_then(|row| self.seen.get(open, row)).map(|sample| sample.path.clone());
    }

    /// The chosen one, of the grid or of the course of that over the steps.
    fn chosen(&mut self, world: &World) -> Option<SampleRecord> {
        let open = world.open.as_ref()?;
        let row = self.grid.of(self.seen.len())?;
        if self.focus == STEPS {
            let course = self.seen.course(open, row).to_vec();
            if let Some(at) = self.steps.of(course.len()) {
                return self.seen.at(open, course[at]).cloned();
            }
        }
        self.seen.get(open, row).cloned()
    }

    /// The marked samples, or the chosen one.
    fn meant(&mut self, world: &World) -> Vec<PathBuf> {
        if self.marked.is_empty() {
            self.chosen(world).map(|sample| sample.path).into_iter().collect()
        } else {
            self.marked.iter().cloned().collect()
        }
    }

    /// Move to another one; whether `action` does that.
    fn step(&mut self, action: Action, open: &Open) -> bool {
        let Some(row) = self.grid.of(self.seen.len()) else { return false };
        // Large, they come one after the other.
        let action = match action {
            Action::Up if self.large => Action::Left,
            Action::Down if self.large => Action::Right,
            action => action,
        };
        let (choice, len) = if self.focus == STEPS {
            (&mut self.steps, self.seen.course(open, row).len())
        } else {
            (&mut self.grid, self.seen.len())
        };
        let at = choice.of(len).unwrap_or(0);
        match action {
            Action::Left if self.large => choice.index = at.saturating_sub(1),
            Action::Right if self.large => choice.index = (at + 1).min(len.saturating_sub(1)),
            action if choice.step(action, len) => {}
            _ => return false,
        }
        if self.focus == GRID {
            self.steps = Choice::default();
            self.keep_chosen(open);
        }
        true
    }

    /// The chosen one and those around it.
    fn around(&self, open: &Open) -> (Vec<Shot>, usize) {
        let row = self.grid.of(self.seen.len()).unwrap_or(0);
        let rows = row.saturating_sub(AROUND)..(row + AROUND + 1).min(self.seen.len());
        let index = row - rows.start;
        let shots = rows.filter_map(|row| self.seen.get(open, row)).map(|sample| self.shot(open, sample, false));
        (shots.collect(), index)
    }

    fn shot(&self, open: &Open, sample: &SampleRecord, by_step: bool) -> Shot {
        let prompt = with_class_words(&sample.prompt, &open.concept.file.class_word, &[]);
        let mark = if self.marked.contains(&sample.path) { "✓" } else { "" };
        let (doubt, stars) = (sample.doubt(), stars(sample.rating));
        let mark = format!("{mark}{}", if doubt.is_some() { "? " } else { "" });
        let is_removed = self.asked.whose == Whose::Trash;
        let caption = match by_step {
            _ if is_removed => format!("{mark}{}", sample.prompt.rsplit('/').next().unwrap_or_default()),
            true => format!("{mark}{stars}step {}", sample.step),
            false => format!("{mark}{stars}#{}", sample.seed),
        };
        let title = match (sample.learned, sample.step) {
            (false, _) => "Untrained class".into(),
            (true, 0) => "Learned".into(),
            (true, step) => format!("Step {step}"),
        };
        let detail = format!("{prompt} #{} {stars}", sample.seed);
        let path = open.concept.folder.join(&sample.path);
        let mask = (self.asked.masks && !is_removed).then(|| sample_mask(&path));
        Shot { path, title, detail, caption, mask, doubt }
    }

    /// Measure the pictures of the folder that `sample` is in, as the command line does.
    fn measure(&self, open: &mut Open, sample: &SampleRecord) -> Effect {
        let folder = sample.path.parent().unwrap_or(&sample.path);
        open.mended.retain(|mended| mended.parent() != Some(folder));
        let mut words = vec!["score".to_owned(), open.concept.id.clone()];
        let batch = folder.strip_prefix("samples").ok().and_then(Path::to_str);
        if let Some(batch) = batch.filter(|batch| !batch.contains('/')) {
            words.extend(["--batch".into(), batch.into()]);
        } else {
            let all = (0..self.seen.places()).filter_map(|place| self.seen.at(open, place));
            let files = all.filter(|sample| sample.path.parent() == Some(folder));
            let files = files.map(|sample| open.concept.folder.join(&sample.path)).filter(|file| file.is_file());
            words.push("--sample".into());
            words.extend(files.map(|file| file.shown().to_string()));
        }
        Effect::Run(words)
    }

    /// The chosen one as large as the screen, with what is to be said of it below.
    fn draw_large(&mut self, canvas: &mut Canvas, area: Rect, world: &World) {
        let (Some(open), Some(sample)) = (&world.open, self.chosen(world)) else { return };
        let shot = self.shot(open, &sample, false);
        let place = Rect { height: area.height.saturating_sub(2), ..area };
        canvas.surface.draw(canvas.buffer, place, &shot.path, shot.mask.as_deref());
        canvas.target(place, Target::Pane(self.focus));
        let (at, len) = if self.focus == STEPS {
            let len = self.seen.course(open, self.grid.of(self.seen.len()).unwrap_or(0)).len();
            (self.steps.of(len), len)
        } else {
            (self.grid.of(self.seen.len()), self.seen.len())
        };
        let mark = if self.marked.contains(&sample.path) { "✓ " } else { "" };
        let [doubt, mended] = about_mask(open, &sample);
        let said = Line::from(vec![
            Span::styled(format!(" {mark}"), theme::accent()),
            Span::styled(format!("{} ", stars(sample.rating)), theme::second()),
            Span::styled(format!("{}  ", shot.title), theme::strong()),
            doubt,
            Span::raw(format!(
                "{} #{}",
                with_class_words(&sample.prompt, &open.concept.file.class_word, &[]),
                sample.seed
            )),
        ]);
        canvas.buffer.set_line(area.x, place.bottom(), &said, area.width);
        let below = Line::from(vec![
            Span::styled(format!(" ← → {} of {len}   Esc back   ", at.unwrap_or(0) + 1), theme::faint()),
            mended,
            Span::styled(sample.path.shown().to_string(), theme::faint()),
        ]);
        canvas.buffer.set_line(area.x, place.bottom() + 1, &below, area.width);
    }

    /// Take the marked ones of the trash out of it, or the chosen one; elsewhere the one that was removed last.
    fn restore(&mut self, world: &World) -> Effect {
        let Some(open) = &world.open else { return Effect::None };
        let (home, name) = (&world.home, &open.concept.id);
        if self.asked.whose != Whose::Trash {
            let (home, name) = (home.clone(), name.clone());
            return Effect::task("restoring", move || {
                let concept = home.concept(&name).map_err(|error| error.to_string())?;
                let removed = concept.removed_samples().map_err(|error| error.to_string())?;
                let last = removed.into_iter().next().ok_or("nothing of this concept is in the trash")?;
                Ok(deeds::restore_sample(&home, &name, last.picture))
            });
        }
        let meant = self.meant(world);
        let rows = (0..self.seen.len()).filter_map(|row| self.seen.removed(row));
        let removed = rows.filter(|removed| meant.contains(&removed.path));
        let deeds: Vec<Effect> =
            removed.map(|removed| deeds::restore_sample(home, name, removed.picture.clone())).collect();
        self.marked.clear();
        Effect::Many(deeds)
    }
}

/// What is to be said of the mask of `sample`, and of what was measured with it.
fn about_mask(open: &Open, sample: &SampleRecord) -> [Span<'static>; 2] {
    let doubt = sample.doubt().map(|confidence| format!("? {}  ", doubtful(confidence)));
    let is_mended = open.mended.iter().any(|mended| mended.parent() == sample.path.parent());
    [
        Span::styled(doubt.unwrap_or_default(), theme::warn()),
        Span::styled(if is_mended { "mended: m measures its folder again  " } else { "" }, theme::accent()),
    ]
}

fn stars(rating: Option<u8>) -> String {
    rating.map(|rating| "★".repeat(rating as usize)).unwrap_or_default()
}

impl Screen for Samples {
    fn draw(&mut self, canvas: &mut Canvas, area: Rect, world: &World) {
        self.follow(world);
        let Some(open) = &world.open else { return };
        let len = self.seen.len();
        let row = self.grid.of(len);
        if self.large && row.is_some() {
            return self.draw_large(canvas, area, world);
        }
        let course = row.map(|row| self.seen.course(open, row).to_vec()).unwrap_or_default();
        if course.len() < 2 {
            self.focus = GRID;
        }
        let strip = if course.len() > 1 { (area.height / 4).max(7) } else { 0 };
        let about = 3;
        let grid = Rect { height: area.height - strip - about, ..area };
        let doubts = self.seen.doubtful() as u64;
        let mut aside = vec![Span::styled(self.asked.whose.words(), theme::faint())];
        if self.asked.masks && doubts > 0 {
            aside.insert(0, Span::styled("doubtful first  ", theme::faint()));
        }
        if !self.asked.filter.is_empty() {
            aside.insert(0, Span::styled(format!("/ {}  ", self.asked.filter), theme::accent()));
        }
        if !self.marked.is_empty() {
            aside.insert(0, Span::styled(format!("✓ {} marked  ", self.marked.len()), theme::accent()));
        }
        let doubts = if doubts > 0 { format!(", {} doubtful", count(doubts, "mask")) } else { String::new() };
        let title = format!("Samples of {} ({len}{doubts})", open.concept.id);
        let inner = pane::draw(canvas.buffer, grid, &title, &Line::from(aside), self.focus == GRID);
        canvas.target(inner, Target::Pane(GRID));
        if len == 0 {
            let is_plain = self.asked.filter.is_empty() && self.asked.whose == Whose::All;
            let said = match (&open.samples, is_plain) {
                _ if self.asked.whose == Whose::Trash => "nothing of this concept is in the trash: Esc shows all",
                (None, _) => "◌ asking for them",
                (_, true) => "none yet: p makes some",
                (_, false) => "none of these: Esc shows all",
            };
            text::empty(canvas.buffer, inner, said);
        }
        let mut choice = self.grid;
        let mut tiles = Tiles { pane: GRID, len, captions: true, lit: 0..0, focused: self.focus == GRID };
        tiles::draw(canvas, inner, &mut choice, &tiles, |row| {
            self.seen.get(open, row).map(|sample| self.shot(open, sample, false)).unwrap_or_default()
        });
        self.grid = choice;
        if strip > 0 {
            let area = Rect { y: grid.bottom(), height: strip, ..area };
            let aside = Line::styled("Tab, then ← → goes through them", theme::faint());
            let inner = pane::draw(canvas.buffer, area, "Over the steps", &aside, self.focus == STEPS);
            canvas.target(inner, Target::Pane(STEPS));
            let mut choice = self.steps;
            (tiles.pane, tiles.len, tiles.focused) = (STEPS, course.len(), self.focus == STEPS);
            tiles::draw(canvas, inner, &mut choice, &tiles, |at| {
                self.seen.at(open, course[at]).map(|sample| self.shot(open, sample, true)).unwrap_or_default()
            });
            self.steps = choice;
        }
        if let Some(sample) = self.chosen(world) {
            let area = Rect { y: area.bottom() - about, height: about, ..area };
            let mut aside = Line::from_iter(about_mask(open, &sample));
            aside.push_span(Span::styled(stars(sample.rating), theme::second()));
            let inner = pane::draw(canvas.buffer, area, "This one", &aside, false);
            let learned = if sample.learned { "with what was learned" } else { "without what was learned" };
            let prompt = with_class_words(&sample.prompt, &open.concept.file.class_word, &[]);
            let how = match self.asked.whose {
                Whose::Trash => String::new(),
                _ => format!("#{}  step {}, {learned}", sample.seed, sample.step),
            };
            let lines = [
                Line::from(vec![Span::styled(format!("{prompt} "), theme::strong()), Span::raw(how)]),
                Line::styled(sample.path.shown().to_string(), theme::faint()),
            ];
            text::draw(canvas.buffer, inner, &lines);
        }
    }

    fn act(&mut self, action: Action, world: &mut World) -> Effect {
        self.follow(world);
        let Some(open) = &world.open else { return Effect::None };
        if self.step(action, open) {
            return Effect::Draw;
        }
        let chosen = self.chosen(world);
        let (home, name, folder) = (world.home.clone(), open.concept.id.clone(), open.concept.folder.clone());
        let is_plain = self.asked.filter.is_empty() && self.marked.is_empty() && self.asked.whose == Whose::All;
        match action {
            Action::Enter => {
                self.large = !self.large && chosen.is_some();
                Effect::Draw
            }
            Action::Back if self.large => {
                self.large = false;
                Effect::Draw
            }
            Action::Back if !is_plain => {
                self.asked.filter.clear();
                self.marked.clear();
                self.asked.whose = Whose::All;
                Effect::Draw
            }
            Action::DrawMask => {
                let (shots, index) = self.around(open);
                mask::open(&open.concept, shots, index)
            }
            Action::Masks => {
                self.asked.masks = !self.asked.masks;
                Effect::Draw
            }
            Action::ScorePictures => match (&mut world.open, chosen) {
                (Some(open), Some(sample)) => self.measure(open, &sample),
                _ => Effect::None,
            },
            Action::Whose => {
                self.asked.whose = self.asked.whose.next();
                if matches!(self.asked.whose, Whose::All | Whose::Trash) {
                    self.marked.clear();
                }
                self.large = false;
                Effect::Draw
            }
            Action::Mark => {
                if let Some(sample) = chosen
                    && !self.marked.remove(&sample.path)
                {
                    self.marked.insert(sample.path);
                }
                let on = if self.large || self.grid.columns > 1 { Action::Right } else { Action::Down };
                self.step(on, open);
                Effect::Draw
            }
            Action::Better | Action::Worse => {
                let Some(sample) = chosen else { return Effect::None };
                let now = sample.rating.unwrap_or(0);
                let rating = if action == Action::Better { (now + 1).min(5) } else { now.saturating_sub(1) };
                let rating = Some(rating).filter(|rating| *rating > 0);
                self.ratings += 1;
                // Seen at once; the file follows.
                if let Some(samples) = world.open.as_mut().and_then(|open| open.samples.as_mut()) {
                    samples.rate(&sample.path, rating);
                }
                deeds::rate(&home, &name, sample.path, rating)
            }
            Action::Remove => {
                let pictures = self.meant(world);
                let what =
                    if pictures.len() == 1 { "this picture".into() } else { count(pictures.len() as u64, "picture") };
                let text = format!("{what} of {name}. U takes the last one out of the trash again.");
                let deed = deeds::remove_samples(&home, &name, pictures);
                Effect::over(Question::new("Put into the trash?", &text, "remove", "keep", deed))
            }
            Action::Restore => self.restore(world),
            Action::Provenance => {
                let Some(sample) = chosen else { return Effect::None };
                provenance(&folder.join(&sample.path), &sample)
            }
            Action::Sample => {
                let run = shown(world).map(|(_, run)| run);
                let prompt = chosen.filter(|_| self.asked.whose != Whose::Trash);
                let prompt = prompt.map_or_else(|| "a {concept}".into(), |sample| sample.prompt);
                sampling::open(&open.concept, run, &prompt)
            }
            _ => Effect::None,
        }
    }

    fn why_not(&self, action: Action, _: &World) -> Option<String> {
        let changes = matches!(
            action,
            Action::Better | Action::Worse | Action::Remove | Action::DrawMask | Action::ScorePictures
        );
        let of_masks = action == Action::Masks;
        if (changes || of_masks) && self.asked.whose == Whose::Trash {
            return Some("it is in the trash: U takes it out".into());
        }
        let needs = changes || of_masks || matches!(action, Action::Enter | Action::Mark | Action::Provenance);
        (needs && self.seen.len() == 0).then(|| match self.asked.whose {
            Whose::All if self.asked.filter.is_empty() => "there is no sample: p makes some".into(),
            _ => "there is none of these: Esc shows all".into(),
        })
    }

    fn panes(&self, _: &World) -> usize {
        // Large, Tab would go to what is not seen.
        let row = self.grid.of(self.seen.len()).filter(|_| !self.large);
        if self.focus == STEPS || row.is_some_and(|row| self.seen.has_course(row)) { 2 } else { 1 }
    }

    fn focus(&mut self) -> &mut usize {
        &mut self.focus
    }

    fn choose(&mut self, pane: usize, index: usize, world: &mut World) {
        if pane == GRID {
            self.grid.index = index;
            self.steps = Choice::default();
            if let Some(open) = &world.open {
                self.keep_chosen(open);
            }
        } else {
            self.steps.index = index;
        }
    }

    fn filter(&mut self) -> Option<&mut String> {
        Some(&mut self.asked.filter)
    }

    fn follows(&self, world: &World) -> Vec<PathBuf> {
        let Some(open) = &world.open else { return Vec::new() };
        let running = world.jobs.iter().filter(|job| job.concept == open.concept.id && !job.state.is_over());
        running.map(|job| job.job.clone()).collect()
    }

    fn reset(&mut self) {
        let Asked { whose, masks, .. } = self.asked;
        *self = Self { asked: Asked { whose, masks, ..Asked::default() }, ..Self::default() };
    }
}

/// What made a picture, as the picture itself tells.
fn provenance(path: &Path, sample: &SampleRecord) -> Effect {
    let mut lines = vec![
        format!("prompt     {}", sample.prompt),
        format!("seed       {}", sample.seed),
        format!("step       {}", sample.step),
        format!("learned    {}", if sample.learned { "with what was learned" } else { "without" }),
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
    lines.push(path.shown().to_string());
    Effect::over(Page::new("What made it", lines))
}
