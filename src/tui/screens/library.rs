//! All concepts: how they are, what came of them, and a look at the chosen one.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::Screen;
use crate::protocol::ConceptRecord;
use crate::tui::canvas::{Canvas, Target};
use crate::tui::deeds::{self, Effect};
use crate::tui::keymap::{Action, ScreenName};
use crate::tui::overlays::entry::{Entry, Field};
use crate::tui::overlays::new_concept;
use crate::tui::overlays::question::Question;
use crate::tui::theme;
use crate::tui::widgets::list::{self, Choice};
use crate::tui::widgets::scores::Form;
use crate::tui::widgets::{pane, text};
use crate::tui::world::World;
use crate::workspace::Home;

/// By what the list is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Order {
    #[default]
    Name,
    Changed,
    State,
    Score,
}

impl Order {
    fn next(self) -> Self {
        match self {
            Self::Name => Self::Changed,
            Self::Changed => Self::State,
            Self::State => Self::Score,
            Self::Score => Self::Name,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Name => "by name",
            Self::Changed => "last changed first",
            Self::State => "by state",
            Self::Score => "best balance first",
        }
    }
}

/// The list as it was made from the world of this generation.
#[derive(Default)]
struct Seen {
    of: Option<(u64, Order, String)>,
    /// Places in the world's list.
    rows: Vec<usize>,
    /// The chosen concept's name.
    chosen: Option<String>,
}

/// The library.
#[derive(Default)]
pub struct Library {
    choice: Choice,
    filter: String,
    order: Order,
    marked: BTreeSet<String>,
    seen: Seen,
    focus: usize,
}

impl Library {
    /// The concepts that are seen, in their order.
    fn rows(&mut self, world: &World) -> &[usize] {
        let of = (world.generation, self.order, self.filter.clone());
        if self.seen.of.as_ref() != Some(&of) {
            let before = self.seen.chosen.take();
            let words: Vec<String> = self.filter.split_whitespace().map(str::to_lowercase).collect();
            let holds = |concept: &ConceptRecord| {
                let fields = || [&concept.concept, &concept.name, &concept.class_word].into_iter().chain(&concept.tags);
                words.iter().all(|word| fields().any(|field| field.to_lowercase().contains(word)))
            };
            let concepts = &world.concepts;
            let mut rows: Vec<usize> = (0..concepts.len()).filter(|&at| holds(&concepts[at])).collect();
            match self.order {
                Order::Name => {}
                Order::Changed => rows.sort_by_key(|&at| Reverse(concepts[at].changed)),
                Order::State => rows.sort_by_key(|&at| concepts[at].state.map_or(u8::MAX, theme::rank)),
                Order::Score => {
                    let balance =
                        |at: usize| concepts[at].score.as_ref().map_or(f64::NEG_INFINITY, |s| s.balance.value);
                    rows.sort_by(|&a, &b| balance(b).total_cmp(&balance(a)));
                }
            }
            if self.seen.of.as_ref().is_none_or(|(generation, ..)| *generation != of.0) {
                // What is gone is not marked any more.
                let there = |name: &String| concepts.binary_search_by(|known| known.concept.cmp(name)).is_ok();
                self.marked.retain(there);
            }
            self.seen = Seen { of: Some(of), rows, chosen: None };
            // The chosen concept stays chosen where it is still seen.
            let same = before.and_then(|name| self.seen.rows.iter().position(|&at| concepts[at].concept == name));
            self.choice.index = same.unwrap_or(self.choice.index.min(self.seen.rows.len().saturating_sub(1)));
        }
        // By its name: when the world has changed, its place may be another's.
        self.seen.chosen = self.chosen(world).map(|concept| concept.concept.clone());
        &self.seen.rows
    }

    fn chosen<'a>(&self, world: &'a World) -> Option<&'a ConceptRecord> {
        let at = self.choice.of(self.seen.rows.len())?;
        world.concepts.get(self.seen.rows[at])
    }

    /// The marked concepts, or the chosen one.
    fn meant(&self, world: &World) -> Vec<String> {
        if self.marked.is_empty() {
            self.chosen(world).map(|concept| concept.concept.clone()).into_iter().collect()
        } else {
            self.marked.iter().cloned().collect()
        }
    }
}

impl Screen for Library {
    fn draw(&mut self, canvas: &mut Canvas, area: Rect, world: &World) {
        if world.listed && world.concepts.is_empty() {
            return super::welcome::draw(canvas, area, &world.home);
        }
        self.rows(world);
        let right = if area.width >= 120 { area.width * 2 / 5 } else { area.width * 3 / 8 };
        let left = Rect { width: area.width - right - 1, ..area };
        let look = Rect { x: left.right() + 1, width: right, ..area };
        let len = self.seen.rows.len();
        let mut aside = vec![Span::styled(self.order.words(), theme::faint())];
        if !self.filter.is_empty() {
            aside.insert(0, Span::styled(format!("/ {}  ", self.filter), theme::accent()));
        }
        if !self.marked.is_empty() {
            aside.insert(0, Span::styled(format!("✓ {} marked  ", self.marked.len()), theme::accent()));
        }
        let title = match (world.listed, len == world.concepts.len()) {
            (false, _) => "Concepts".to_owned(),
            (true, true) => format!("Concepts ({len})"),
            (true, false) => format!("Concepts ({len} of {})", world.concepts.len()),
        };
        let inner = pane::draw(canvas.buffer, left, &title, &Line::from(aside), true);
        canvas.target(inner, Target::Pane(0));
        if !world.listed {
            text::empty(canvas.buffer, inner, if world.down.is_some() { "no daemon" } else { "asking the daemon" });
            return;
        }
        if len == 0 {
            text::empty(canvas.buffer, inner, "no concept holds these words: Esc shows all");
        }
        let (rows, marked) = (&self.seen.rows, &self.marked);
        let mut choice = self.choice;
        list::draw(canvas, inner, 0, &mut choice, len, true, |i, width| {
            row(&world.concepts[rows[i]], marked.contains(&world.concepts[rows[i]].concept), width)
        });
        self.choice = choice;
        if let Some(concept) = self.chosen(world) {
            look_at(canvas, look, world, concept);
        }
    }

    fn act(&mut self, action: Action, world: &mut World) -> Effect {
        self.rows(world);
        if self.choice.step(action, self.seen.rows.len()) {
            return Effect::Draw;
        }
        let home = world.home.clone();
        match action {
            Action::Back if !self.filter.is_empty() => {
                self.filter.clear();
                Effect::Draw
            }
            Action::Back if !self.marked.is_empty() => {
                self.marked.clear();
                Effect::Draw
            }
            Action::Enter => {
                let Some(concept) = self.chosen(world) else { return Effect::None };
                Effect::Many(vec![Effect::Open(concept.concept.clone()), Effect::Go(ScreenName::Concept)])
            }
            Action::Train => {
                let Some(concept) = self.chosen(world) else { return Effect::None };
                let open = Effect::Open(concept.concept.clone());
                Effect::Many(vec![open, Effect::Go(ScreenName::Train), Effect::Act(Action::Train)])
            }
            Action::Mark => {
                if let Some(name) = self.chosen(world).map(|concept| concept.concept.clone())
                    && !self.marked.remove(&name)
                {
                    self.marked.insert(name);
                }
                self.choice.step(Action::Down, self.seen.rows.len());
                Effect::Draw
            }
            Action::Sort => {
                self.order = self.order.next();
                Effect::Draw
            }
            Action::New => new_concept::open(&home),
            Action::Demo => deeds::demo(&home),
            Action::Tags => {
                let Some(concept) = self.chosen(world) else { return Effect::None };
                tags(&home, &concept.concept, &concept.tags)
            }
            Action::Rename => {
                let Some(name) = self.chosen(world).map(|concept| concept.concept.clone()) else {
                    return Effect::None;
                };
                let field = Field::new("name", "its folder gets this name", &name);
                Effect::over(Entry::new("Rename", vec![field], move |mut texts| {
                    deeds::rename(&home, name.clone(), texts.remove(0))
                }))
            }
            Action::Remove => {
                let names = self.meant(world);
                let text =
                    format!("{}, with all that was made from it. U takes it out of the trash again.", names.join(", "));
                Effect::over(Question::new("Put into the trash?", &text, "remove", "keep", deeds::remove(&home, names)))
            }
            Action::Restore => deeds::restore(&home),
            Action::Export => {
                let Some(name) = self.chosen(world).map(|concept| concept.concept.clone()) else {
                    return Effect::None;
                };
                let here = std::env::current_dir().unwrap_or_default().join(format!("{name}.zip"));
                let field = Field::new("file", "a zip archive with all of it", &here.to_string_lossy());
                Effect::over(Entry::new(&format!("Export {name}"), vec![field], move |texts| {
                    deeds::export(&home, &name, &deeds::path(&texts[0]))
                }))
            }
            Action::Import => {
                let from = Field::new("from", "what `export` wrote, or a concept's folder", "");
                let name = Field::new("name", "its name here; empty for its own", "");
                let entry = Entry::new("Import a concept", vec![from, name], move |mut texts| {
                    let name = Some(texts.remove(1)).filter(|name| !name.is_empty());
                    deeds::import(&home, deeds::path(&texts[0]), name)
                });
                Effect::over(entry.checked(|texts, _| {
                    let path = deeds::path(&texts[0]);
                    if path.exists() { Ok("✓ is there".into()) } else { Err("name a file or a folder".into()) }
                }))
            }
            _ => Effect::None,
        }
    }

    fn why_not(&self, action: Action, world: &World) -> Option<String> {
        let chosen = matches!(
            action,
            Action::Enter
                | Action::Train
                | Action::Tags
                | Action::Rename
                | Action::Remove
                | Action::Export
                | Action::Mark
        );
        let demo = |concept: &ConceptRecord| concept.concept == "demo";
        match action {
            _ if chosen && world.concepts.is_empty() => Some("there is no concept yet: n makes one".into()),
            Action::Sort if world.concepts.len() < 2 => Some("there is nothing to sort".into()),
            Action::Demo if world.concepts.iter().any(demo) => Some("the demo is here already".into()),
            _ => None,
        }
    }

    fn panes(&self, _: &World) -> usize {
        1
    }

    fn focus(&mut self) -> &mut usize {
        &mut self.focus
    }

    fn choose(&mut self, _: usize, index: usize, _: &mut World) {
        self.choice.index = index;
    }

    fn filter(&mut self) -> Option<&mut String> {
        Some(&mut self.filter)
    }
}

/// A line of the list.
fn row(concept: &ConceptRecord, marked: bool, width: usize) -> Line<'static> {
    let (mark, style) = match (&concept.problem, concept.state) {
        (Some(_), _) => ("!", theme::bad()),
        (None, Some(state)) => theme::mark(state),
        (None, None) => ("○", theme::faint()),
    };
    // Without a score its place stays empty, so that scores stand under each other.
    let score = concept.score.as_ref().map_or_else(|| "     ".into(), |s| format!("{:.3}", s.balance.value));
    let name = (width.saturating_sub(22) / 2).clamp(12, 32);
    let class = if width >= 60 { 14 } else { 9 };
    let rest = width.saturating_sub(name + class + 13);
    let tags = if concept.problem.is_some() { "a file is wrong".into() } else { concept.tags.join(" ") };
    Line::from(vec![
        Span::styled(if marked { "✓ " } else { "  " }, theme::accent()),
        Span::styled(format!("{mark} "), style),
        Span::styled(text::fit(&concept.concept, name), theme::strong()),
        Span::raw(" "),
        Span::styled(text::fit(&concept.class_word, class), theme::faint()),
        Span::raw(format!(" {score} ")),
        Span::styled(text::fit(&tags, rest), if concept.problem.is_some() { theme::bad() } else { theme::faint() }),
    ])
}

/// The chosen concept: a photo, its best sample, and what is known of it.
fn look_at(canvas: &mut Canvas, area: Rect, world: &World, concept: &ConceptRecord) {
    let state = concept.state.map_or(("○ not trained yet".to_owned(), theme::faint()), |state| {
        let (mark, style) = theme::mark(state);
        (format!("{mark} {}", state.word()), style)
    });
    let aside = Line::styled(state.0, state.1);
    let inner = pane::draw(canvas.buffer, area, &concept.concept, &aside, false);
    let folder = world.home.path().join(&concept.concept);
    let photo = concept.photo.as_ref().map(|name| folder.join("images").join(name));
    let sample = concept.sample.as_ref().map(|path| folder.join(path));
    let height =
        (inner.height * 3 / 5).min(if sample.is_some() { inner.width / 4 * 2 } else { inner.width / 2 }).max(4);
    let pictures = Rect { height: height.min(inner.height), ..inner };
    let half = Rect { width: if sample.is_some() { (pictures.width - 1) / 2 } else { pictures.width }, ..pictures };
    if let Some(photo) = &photo {
        canvas.surface.draw(canvas.buffer, half, photo, None);
    } else {
        text::empty(canvas.buffer, half, "no photos: put a few into images/");
    }
    if let Some(sample) = &sample {
        let right = Rect { x: half.right() + 1, ..half };
        canvas.surface.draw(canvas.buffer, right, sample, None);
    }
    let below = Rect { y: pictures.bottom(), height: inner.height - pictures.height, ..inner };
    let mut lines = Vec::new();
    if sample.is_some() {
        let width = half.width as usize;
        lines.push(Line::styled(format!("{} {}", text::fit("a photo", width), "best sample"), theme::faint()));
    }
    let width = below.width.saturating_sub(1) as usize;
    let mut say = |name: &str, value: String| {
        if !value.is_empty() {
            lines.extend(text::rows(name, &value, 8, width, theme::text()));
        }
    };
    say("a kind", format!("of {}", concept.class_word));
    say("model", concept.base_model.clone());
    say("photos", format!("{}, {} with a mask", concept.photos, concept.masks));
    say("runs", format!("{}, {} samples", concept.runs, concept.samples));
    if let Some(scores) = &concept.score {
        let score = |score| Form::Ends.write(score);
        say("masked", format!("{} CLIP-I", score(&scores.masked_clip_i)));
        say("CLIP-T", score(&scores.clip_t));
        say("balance", score(&scores.balance));
    }
    say("tags", concept.tags.join(", "));
    say("! files", concept.problem.clone().unwrap_or_default());
    text::draw(canvas.buffer, below, &lines);
}

/// Have tags typed.
pub fn tags(home: &Home, concept: &str, tags: &[String]) -> Effect {
    let (home, name) = (home.clone(), concept.to_owned());
    let field = Field::new("tags", "words to find it by, with spaces between", &tags.join(" "));
    Effect::over(Entry::new(&format!("Tags of {concept}"), vec![field], move |texts| {
        deeds::edit(&home, &name, Some(texts[0].split_whitespace().map(str::to_owned).collect()), None)
    }))
}
