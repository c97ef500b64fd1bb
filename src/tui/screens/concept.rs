//! One concept: its photos with their masks, what the preflight finds, its notes, its prompt lists and its runs.

use std::path::PathBuf;

use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::Screen;
use crate::client::words::{self, count};
use crate::fs;
use crate::fs::Show;
use crate::protocol::{RunRecord, TrainConfig, doubt, two_digits};
use crate::tui::canvas::{Canvas, Target};
use crate::tui::deeds::{self, Effect};
use crate::tui::keymap::{Action, ScreenName};
use crate::tui::overlays::editor::Editor;
use crate::tui::overlays::entry::{Entry, Field};
use crate::tui::overlays::mask;
use crate::tui::overlays::page::Page;
use crate::tui::overlays::picture::{Large, Shot};
use crate::tui::overlays::sampling;
use crate::tui::screens::library;
use crate::tui::theme;
use crate::tui::widgets::list::{self, Choice};
use crate::tui::widgets::{pane, text, tiles};
use crate::tui::world::{Checked, Open, World};
use crate::workspace::{Concept, JobFolder, PromptList, Values, effective_settings};

const PHOTOS: usize = 0;
const RUNS: usize = 1;
const FINDINGS: usize = 2;
const PROMPTS: usize = 3;

/// The concept.
pub struct ConceptScreen {
    focus: usize,
    choices: [Choice; 4],
    /// The first line that is seen of findings and notes.
    top: usize,
    masks: bool,
}

impl Default for ConceptScreen {
    fn default() -> Self {
        Self { focus: PHOTOS, choices: [Choice::default(); 4], top: 0, masks: true }
    }
}

/// The photos as the large view shows them.
fn shots(open: &Open, masks: bool) -> Vec<Shot> {
    let photos = match &open.checked {
        Some(Checked::Ready(found)) => Some(&found.photos),
        _ => None,
    };
    let crop = open.concept.file.train.config().crop;
    let shot = |path: &std::path::PathBuf| {
        let found = photos.and_then(|photos| photos.iter().find(|photo| photo.path == *path));
        let mask = open.concept.mask_path(path);
        let has_mask = mask.is_file();
        let known = open.details.as_ref().and_then(|details| {
            details.mask_files.iter().find(|file| mask.file_name().is_some_and(|name| name == file.name.as_str()))
        });
        let doubt = known.filter(|_| has_mask).and_then(|file| doubt(file.confidence));
        Shot {
            path: path.clone(),
            title: "Photo".into(),
            detail: found.map(|photo| photo.how_cropped(crop)).unwrap_or_default(),
            caption: match doubt {
                _ if !has_mask => "no mask".into(),
                Some(confidence) => format!("? {}", two_digits(confidence)),
                None => String::new(),
            },
            mask: (masks && has_mask).then_some(mask),
            doubt,
        }
    };
    open.photos.iter().map(shot).collect()
}

fn prompt_lists(open: &Open) -> &[String] {
    open.details.as_ref().map_or(&[], |details| &details.concept.prompts)
}

impl Screen for ConceptScreen {
    fn draw(&mut self, canvas: &mut Canvas, area: Rect, world: &World) {
        let Some(open) = &world.open else { return };
        let mut head = vec![
            Span::styled(format!(" {} ", open.concept.id), theme::focus()),
            Span::styled(format!("a kind of {}", open.concept.file.class_word), theme::faint()),
        ];
        if !open.concept.file.tags.is_empty() {
            head.push(Span::styled(format!("  #{}", open.concept.file.tags.join(" #")), theme::faint()));
        }
        canvas.buffer.set_line(area.x, area.y, &Line::from(head), area.width);
        let rest = Rect { y: area.y + 1, height: area.height - 1, ..area };
        let left = Rect { width: (rest.width / 2).min(rest.width - 38), ..rest };
        let right = Rect { x: left.right() + 1, width: rest.width - left.width - 1, ..rest };
        let lists = (prompt_lists(open).len() as u16 + 1).clamp(2, 6);
        let runs = Rect { height: (right.height / 3).max(5), ..right };
        let prompts = Rect { y: right.bottom() - lists, height: lists, ..right };
        let about = Rect { y: runs.bottom(), height: right.height - runs.height - lists, ..right };

        let shots = shots(open, self.masks);
        let doubtful = shots.iter().filter(|shot| shot.doubt.is_some()).count();
        let with = doubtful + shots.iter().filter(|shot| shot.caption.is_empty()).count();
        let said = if shots.is_empty() { String::new() } else { format!("{}, {with} with a mask", shots.len()) };
        let said = if doubtful > 0 { format!("{said}, {doubtful} doubtful") } else { said };
        let said = if self.masks || with == 0 { said } else { format!("{said}, not shown") };
        let inner =
            pane::draw(canvas.buffer, left, "Photos", &Line::styled(said, theme::faint()), self.focus == PHOTOS);
        canvas.target(inner, Target::Pane(PHOTOS));
        if shots.is_empty() {
            text::empty(canvas.buffer, inner, "no photos: put a few into images/, they appear by themselves");
        }
        tiles::draw_all(canvas, inner, PHOTOS, &mut self.choices[PHOTOS], &shots, self.focus == PHOTOS);

        let aside = Line::styled(if open.runs().is_empty() { "" } else { "newest last" }, theme::faint());
        let inner = pane::draw(canvas.buffer, runs, "Runs", &aside, self.focus == RUNS);
        canvas.target(inner, Target::Pane(RUNS));
        if open.runs().is_empty() {
            text::empty(canvas.buffer, inner, "none yet: t sets one up");
        }
        let records = open.runs();
        list::draw(canvas, inner, RUNS, &mut self.choices[RUNS], records.len(), self.focus == RUNS, |i, width| {
            run_row(&records[i], width)
        });

        let aside = match &open.checked {
            None => Line::styled("◌ checking the photos", theme::faint()),
            Some(Checked::Ready(_)) => Line::styled("✓ ready to train", theme::good()),
            Some(Checked::Wrong(_)) => Line::styled("✗ not ready", theme::bad()),
        };
        let inner = pane::draw(canvas.buffer, about, "Findings and notes", &aside, self.focus == FINDINGS);
        canvas.target(inner, Target::Pane(FINDINGS));
        let lines = findings(open, world.problem(), inner.width.saturating_sub(2) as usize);
        let rows = inner.height as usize;
        self.top = self.top.min(lines.len().saturating_sub(rows));
        text::draw(canvas.buffer, inner, &lines[self.top..]);
        list::scrollbar(canvas.buffer, inner, lines.len(), self.top..(self.top + rows).min(lines.len()));

        let inner = pane::draw(canvas.buffer, prompts, "Prompt lists", &Line::default(), self.focus == PROMPTS);
        canvas.target(inner, Target::Pane(PROMPTS));
        let lists = prompt_lists(open);
        if lists.is_empty() {
            text::empty(canvas.buffer, inner, "none: n makes one, with a prompt a line");
        }
        list::draw(
            canvas,
            inner,
            PROMPTS,
            &mut self.choices[PROMPTS],
            lists.len(),
            self.focus == PROMPTS,
            |i, width| Line::raw(text::fit(&format!(" {}", lists[i]), width)),
        );
    }

    fn act(&mut self, action: Action, world: &mut World) -> Effect {
        let Some(open) = &world.open else { return Effect::None };
        let lists = prompt_lists(open);
        let len = [open.photos.len(), open.runs().len(), 0, lists.len()][self.focus];
        if self.focus == FINDINGS && self.scroll(action) {
            return Effect::Draw;
        }
        if self.choices[self.focus].step(action, len) {
            return Effect::Draw;
        }
        let chosen = self.choices[self.focus].of(len);
        match action {
            Action::Enter => match (self.focus, chosen) {
                (PHOTOS, Some(index)) => Effect::over(Large::new(shots(open, self.masks), index)),
                (RUNS, Some(index)) => {
                    Effect::Many(vec![Effect::Show(Some(open.runs()[index].id.clone())), Effect::Go(ScreenName::Train)])
                }
                (FINDINGS, _) => {
                    let all = all_findings(open, world.problem());
                    Effect::over(Page::new(&format!("Findings of {}", open.concept.id), all))
                }
                (PROMPTS, Some(index)) => {
                    let name = lists[index].clone();
                    let path = open.concept.folder.join("prompts").join(&name);
                    let text =
                        crate::fs::read_text(&path, crate::fs::SETTINGS).unwrap_or_else(|error| error.to_string());
                    Effect::over(Page::new(&name, text.lines().map(str::to_owned).collect()))
                }
                _ => Effect::None,
            },
            Action::Train => Effect::Many(vec![Effect::Go(ScreenName::Train), Effect::Act(Action::Train)]),
            Action::Sample => {
                let list = chosen.filter(|_| self.focus == PROMPTS).map(|index| lists[index].clone());
                let run = open.run().and_then(|run| JobFolder::at(&run.path).ok());
                sampling::open(&open.concept, run, &list.unwrap_or_else(|| "a {concept}".into()))
            }
            Action::DrawMask => {
                let index = self.choices[PHOTOS].of(open.photos.len()).unwrap_or(0);
                mask::open(&open.concept, shots(open, false), index)
            }
            Action::Masks => {
                self.masks = !self.masks;
                Effect::Draw
            }
            Action::Tags => library::tags(&world.home, &open.concept.id, &open.concept.file.tags),
            Action::Notes => {
                if let Some(index) = chosen.filter(|_| self.focus == PROMPTS) {
                    return edit_list(&open.concept, &lists[index]);
                }
                let (home, name) = (world.home.clone(), open.concept.id.clone());
                let title = format!("Notes on {name}");
                Effect::over(Editor::new(&title, &open.concept.file.notes, move |text| {
                    deeds::edit(&home, &name, None, Some(text.trim_end().to_owned()))
                }))
            }
            Action::NewList => new_list(open),
            _ => Effect::None,
        }
    }

    fn why_not(&self, action: Action, world: &World) -> Option<String> {
        let open = world.open.as_ref()?;
        match action {
            Action::Train => match &open.checked {
                Some(Checked::Wrong(wrong)) => Some(wrong.clone()),
                _ => None,
            },
            Action::Masks if open.details.as_ref().is_some_and(|details| details.concept.masks == 0) => {
                Some("there is no mask".into())
            }
            _ => None,
        }
    }

    fn panes(&self, _: &World) -> usize {
        4
    }

    fn focus(&mut self) -> &mut usize {
        &mut self.focus
    }

    fn choose(&mut self, pane: usize, index: usize, _: &mut World) {
        self.choices[pane].index = index;
    }

    fn reset(&mut self) {
        *self = Self { masks: self.masks, ..Self::default() };
    }
}

impl ConceptScreen {
    /// Scroll findings and notes; whether `action` does that.
    fn scroll(&mut self, action: Action) -> bool {
        let top = list::scrolled(self.top, action);
        self.top = top.unwrap_or(self.top);
        top.is_some()
    }
}

/// Have a prompt list edited, and say meanwhile what it comes to.
fn edit_list(concept: &Concept, name: &str) -> Effect {
    let path = concept.folder.join("prompts").join(name);
    let text = match crate::fs::read_text(&path, crate::fs::SETTINGS) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Effect::Notice(format!("{}: {error}", path.shown())),
    };
    let (names, usual, to) =
        (concept.list_names(), concept.sampling(&TrainConfig::default().declaration().presets[0]), path.clone());
    let editor = Editor::new(&format!("Prompt list {name}: a prompt a line, with {{concept}}"), &text, move |text| {
        write_list(to.clone(), text)
    });
    Effect::over(editor.checked(move |text| {
        let list = PromptList::parse(text, &path, &names).map_err(|error| error.to_string())?;
        let counts = list.counts(&Values::default(), &usual);
        let prompts = counts.iter().fold(0, |sum: u64, line| sum.saturating_add(line.prompts));
        Ok(format!("✓ {}", count(prompts, "prompt")))
    }))
}

fn write_list(path: PathBuf, text: String) -> Effect {
    Effect::task("writing the prompt list", move || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.shown()))?;
        }
        fs::write_atomic(&path, text.as_bytes()).map_err(|error| format!("{}: {error}", path.shown()))?;
        Ok(deeds::taken_up(&path))
    })
}

/// Have a prompt list named, then written.
fn new_list(open: &Open) -> Effect {
    let (concept, known) = (open.concept.clone(), prompt_lists(open).to_vec());
    let field = Field::new("name", "prompts/NAME.txt gets this name", "");
    let file = |typed: &str| format!("{}.txt", typed.strip_suffix(".txt").unwrap_or(typed));
    let entry = Entry::new("New prompt list", vec![field], move |texts| edit_list(&concept, &file(&texts[0])));
    Effect::over(entry.checked(move |texts, _| {
        let name = &texts[0];
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
            return Err("a name is a file's name: without / and \\, not beginning with .".into());
        }
        if known.contains(&file(name)) {
            return Err(format!("there is a prompt list {name} already: e edits it"));
        }
        Ok(format!("✓ {} is written when it is saved", file(name)))
    }))
}

/// A run in a line.
pub fn run_row(run: &RunRecord, width: usize) -> Line<'static> {
    let (mark, style) = theme::mark(run.state);
    let state = if run.imported.is_some() { "imported" } else { run.state.word() };
    let loss = run.fixed_noise_loss.map(|loss| format!("{loss:.4}")).unwrap_or_default();
    let score = run.scores.as_ref().map(|both| format!("balance {:.3}", both.after.balance.value)).unwrap_or_default();
    let steps = format!("{}/{}", run.steps, run.of);
    let rest = format!("{steps:<11} {loss:<7} {score}");
    let short = width < 58;
    // The date of an id tells runs apart; its time is enough for runs of one day.
    let id = if short { run.id.get(4..13).unwrap_or(&run.id) } else { &run.id };
    Line::from(vec![
        Span::styled(format!("{mark} "), style),
        Span::styled(format!("{id} "), theme::strong()),
        Span::styled(text::fit(if short { "" } else { state }, if short { 0 } else { 12 }), style),
        Span::raw(text::fit(&rest, width.saturating_sub(id.len() + 3 + if short { 0 } else { 12 }))),
    ])
}

/// What the preflight finds, what the concept's file says, and its notes.
fn findings(open: &Open, problem: Option<&str>, width: usize) -> Vec<Line<'static>> {
    let file = &open.concept.file;
    let mut lines = Vec::new();
    let mut say = |name: &str, value: &str, style| lines.extend(text::rows(name, value, 9, width, style));
    if let Some(problem) = problem {
        say("✗ files", problem, theme::bad());
    }
    match &open.checked {
        Some(Checked::Wrong(wrong)) => say("✗ photos", wrong, theme::bad()),
        Some(Checked::Ready(found)) => {
            let mut sizes: Vec<(String, usize)> = Vec::new();
            for how in found.photos.iter().map(|photo| photo.how_cropped(file.train.config().crop)) {
                match sizes.iter_mut().find(|(known, _)| *known == how) {
                    Some((_, count)) => *count += 1,
                    None => sizes.push((how, 1)),
                }
            }
            for (how, count) in sizes {
                say("photos", &format!("{count} of {how}"), theme::text());
            }
            for warning in &found.warnings {
                say("! photos", warning, theme::warn());
            }
        }
        None => {}
    }
    if let Some(details) = &open.details
        && details.concept.incomplete > 0
    {
        say("! files", &format!("{} not whole yet, or no picture", details.concept.incomplete), theme::warn());
    }
    say("model", &file.base_model.shown().to_string(), theme::text());
    if let Some(model) = &file.score_model {
        say("scores by", &model.shown().to_string(), theme::text());
    }
    if !file.train.is_empty() {
        say("training", &words::settings(file.train.said()), theme::text());
    }
    if file.notes.is_empty() {
        say("notes", "none: e writes some", theme::faint());
    } else {
        say("notes", &file.notes, theme::text());
    }
    lines
}

/// All that the preflight finds, each photo on its own, and the notes.
fn all_findings(open: &Open, problem: Option<&str>) -> Vec<String> {
    let train = &open.concept.file.train;
    let mut lines = Vec::new();
    lines.extend(problem.map(|problem| format!("✗ files: {problem}")));
    match &open.checked {
        None => lines.push("◌ the photos are being checked".into()),
        Some(Checked::Wrong(wrong)) => lines.push(format!("✗ photos: {wrong}")),
        Some(Checked::Ready(found)) => {
            lines.push("✓ ready to train".into());
            lines.extend(found.warnings.iter().map(|warning| format!("! {warning}")));
            lines.push(String::new());
            for photo in &found.photos {
                let name = photo.path.file_name().unwrap_or_default().to_string_lossy();
                let mask = if photo.mask.is_some() { "with a mask" } else { "no mask: scored whole" };
                let how = photo.how_cropped(train.config().crop);
                lines.push(format!("{} {}  {mask}", text::fit(&name, 24), text::fit(&how, 40)));
            }
            lines.push(String::new());
            lines.push("settings of a training, unless it is set up otherwise:".into());
            for (name, value) in words::from_concept(train.said()).into_iter().chain(effective_settings(train.config()))
            {
                lines.push(format!("  {name:<12} {value}"));
            }
        }
    }
    if !open.concept.file.notes.is_empty() {
        lines.extend([String::new(), "notes:".into()]);
        lines.extend(open.concept.file.notes.lines().map(|line| format!("  {line}")));
    }
    lines
}

/// The concept that is open, and its shown run.
pub fn shown(world: &World) -> Option<(&Concept, JobFolder)> {
    let open = world.open.as_ref()?;
    Some((&open.concept, JobFolder::at(&open.run()?.path).ok()?))
}
