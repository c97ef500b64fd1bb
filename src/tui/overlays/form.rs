//! The settings of a training: each with what it means, what comes of all of them, and what that needs.

use crossterm::event::KeyEvent;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Widget};

use super::entry::Input;
use super::{Overlay, Reply, hints};
use crate::client::{Asked, Placement, words};
use crate::protocol::{self, Estimate, NO_TIME, TrainConfig, TrainStart};
use crate::tui::canvas::{Canvas, Target};
use crate::tui::deeds::{self, Effect};
use crate::tui::keymap::Action;
use crate::tui::keymap::overlays::{self, Layer};
use crate::tui::theme;
use crate::tui::widgets::list::{self, Choice};
use crate::tui::widgets::{pane, text};
use crate::tui::world::{Checked, World};
use crate::workspace::{Concept, effective_settings};

/// What a setting of the method of `config` with few values can be, of a concept whose trainings start from `start`.
fn values(name: &str, config: &TrainConfig, start: &TrainStart) -> Vec<&'static str> {
    if name != "preset" {
        return config.row(name).map_or(&[][..], protocol::Row::words).to_vec();
    }
    let own = !start.is_empty() && start.config().declaration() == config.declaration();
    own.then_some(CONCEPT).into_iter().chain(config.declaration().presets.iter().map(|preset| preset.name)).collect()
}

/// What is no setting of a training but of its place in the queue, with what each is when nothing is typed.
const QUEUE: [(&str, &str); 2] = [("priority", "0"), ("after", "")];
/// A device that the queue chooses.
const ANY: &str = "any";
/// In place of a preset: what the concept's file lays over one.
const CONCEPT: &str = "concept.toml";

struct Row {
    name: String,
    input: Input,
    /// As the preset has it.
    preset: String,
    /// As concept.toml has it, where that is started from and says it.
    said: Option<String>,
}

impl Row {
    /// As it is when nothing is changed.
    fn usual(&self) -> &str {
        self.said.as_ref().unwrap_or(&self.preset)
    }

    /// Where its value comes from, as a mark.
    fn mark(&self) -> &'static str {
        if self.input.text() != self.usual() {
            "● "
        } else if self.said.is_some() {
            "◆ "
        } else {
            "  "
        }
    }
}

/// The form.
pub struct Form {
    concept: Concept,
    rows: Vec<Row>,
    choice: Choice,
    /// What the command line says of each setting.
    explained: Vec<(String, String)>,
    /// What it needs, for these settings; none while it is being reckoned.
    estimate: Option<Vec<String>>,
    /// The settings that the estimate was asked for.
    asked: Option<Result<TrainConfig, String>>,
    /// Why it was not queued.
    refused: Option<String>,
    /// The first line that is seen of what they come to, where that has the focus.
    reading: Option<usize>,
}

impl Form {
    /// For a training of `concept`, beginning with `config`, and the reckoning of what that needs.
    pub fn open(concept: &Concept, config: &TrainConfig, explained: &[(String, String)]) -> Effect {
        let mut form = Self {
            concept: concept.clone(),
            rows: rows(config, &concept.file.train),
            choice: Choice::default(),
            explained: explained.to_vec(),
            estimate: None,
            asked: None,
            refused: None,
            reading: None,
        };
        let reckon = form.reckon();
        Effect::Many(vec![Effect::over(form), reckon])
    }

    /// What the settings start from: the method's, as the preset or the concept's file has them.
    fn start(&self) -> TrainConfig {
        let own = self.concept.train_config();
        if self.starts_from_concept() {
            return own;
        }
        // Words that were chosen from those there are.
        TrainConfig::of(self.text_of("method"), Some(self.text_of("preset"))).unwrap_or(own)
    }

    /// The settings as typed, or which of them is wrong.
    fn config(&self) -> Result<TrainConfig, String> {
        let mut config = self.start();
        for row in self.rows.iter().filter(|row| config.row(&row.name).is_some()).collect::<Vec<_>>() {
            let typed = row.input.text();
            // A preset was started from. Any device is reckoned as the processor: any other has no less.
            if ["method", "preset"].contains(&row.name.as_str()) || row.name == "device" && typed.trim() == ANY {
                continue;
            }
            config.set_text(&row.name, typed).map_err(|error| error.to_string())?;
        }
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    fn text_of(&self, name: &str) -> &str {
        self.rows.iter().find(|row| row.name == name).map_or("", |row| row.input.text().trim())
    }

    /// Whether it starts from concept.toml.
    fn starts_from_concept(&self) -> bool {
        self.text_of("preset") == CONCEPT
    }

    /// The settings of `config` that come from there.
    fn kept(&self, config: &TrainConfig) -> toml::Table {
        if self.starts_from_concept() { self.concept.file.train.kept_in(config) } else { toml::Table::new() }
    }

    /// What the marks of the settings mean.
    fn marks(&self) -> &'static str {
        if self.starts_from_concept() { "◆ concept.toml  ● differs" } else { "● differs from the preset" }
    }

    /// Where and when it is done, as typed, or which of it is wrong.
    fn placement(&self) -> Result<Placement, String> {
        let (priority, after) = (self.text_of("priority"), self.text_of("after"));
        let numbers = after.split([',', ' ']).filter(|number| !number.is_empty()).map(str::parse);
        Ok(Placement {
            any_device: self.text_of("device") == ANY,
            priority: match priority {
                "" => 0,
                priority => priority.parse().map_err(|_| format!("priority = {priority}: must be a whole number"))?,
            },
            after: numbers
                .collect::<Result<_, _>>()
                .map_err(|_| format!("after = {after}: numbers of jobs with commas, as `:jobs` lists them"))?,
        })
    }

    /// Ask what the settings need, if they are others than those that was asked for last.
    fn reckon(&mut self) -> Effect {
        let config = self.config();
        if self.asked.as_ref() == Some(&config) {
            return Effect::None;
        }
        self.asked = Some(config.clone());
        self.estimate = None;
        let Ok(config) = config else { return Effect::None };
        let concept = self.concept.clone();
        Effect::aside("reckoning what it needs", move || {
            let ready = Asked::train_of_checked(&concept, config).and_then(Asked::estimate);
            Ok(Effect::Tell(ready.map_or_else(|error| vec![format!("✗ {error}")], |ready| needs(&ready.estimate))))
        })
    }

    /// Give a setting with few values the next or the one before.
    fn turn(&mut self, on: bool) -> bool {
        let start = self.start();
        let row = &mut self.rows[self.choice.index];
        let values = values(&row.name, &start, &self.concept.file.train);
        if values.is_empty() {
            return false;
        }
        let at = values.iter().position(|value| *value == row.input.text()).unwrap_or(0);
        let to = values[(at + if on { 1 } else { values.len() - 1 }) % values.len()];
        row.input = Input::new(to);
        let own = &self.concept.file.train;
        let mut rows = match row.name.as_str() {
            "method" if to == own.config().declaration().name => rows(&usual(&self.concept), own),
            "preset" if to == CONCEPT => rows(&usual(&self.concept), own),
            "method" => self.rows_of(to, None),
            "preset" => self.rows_of(start.declaration().name, Some(to)),
            _ => return true,
        };
        // A preset says nothing of the place in the queue.
        for (name, _) in QUEUE {
            if let Some(row) = rows.iter_mut().find(|row| row.name == name) {
                row.input = Input::new(self.text_of(name));
            }
        }
        self.choice.index = rows.iter().position(|other| other.name == self.rows[self.choice.index].name).unwrap_or(0);
        self.rows = rows;
        true
    }

    /// The settings of a method's preset, scored at the end where there is a model for that.
    fn rows_of(&self, method: &str, preset: Option<&str>) -> Vec<Row> {
        let evaluate = self.concept.file.score_model.is_some();
        let config = TrainConfig::of(method, preset).unwrap_or_default();
        rows(&TrainConfig { evaluate, ..config }, &TrainStart::default())
    }
}

/// The settings that a training of `concept` begins with here: scored at its end where there is a model for that, unless
/// concept.toml says otherwise.
pub fn usual(concept: &Concept) -> TrainConfig {
    let config = concept.train_config();
    let said = concept.file.train.said().contains_key("evaluate");
    TrainConfig { evaluate: if said { config.evaluate } else { concept.file.score_model.is_some() }, ..config }
}

/// The settings of the method by name, as typed. Where `config` has all that `start` says, it is taken to start from there.
fn rows(config: &TrainConfig, start: &TrainStart) -> Vec<Row> {
    let preset = TrainConfig::of(config.declaration().name, Some(&config.preset)).unwrap_or_default();
    let own = start.config();
    let whole = (own.declaration(), &own.preset) == (config.declaration(), &config.preset);
    let from_concept = whole && !start.is_empty() && start.kept_in(config) == *start.said();
    let row = |row: &protocol::Row| {
        let name = row.name;
        let said = from_concept && !["method", "preset"].contains(&name) && start.said().contains_key(name);
        let begins_with = |value: String| if from_concept && name == "preset" { CONCEPT.into() } else { value };
        Row {
            name: name.to_owned(),
            input: Input::new(&begins_with(config.text(name))),
            preset: begins_with(preset.text(name)),
            said: said.then(|| own.text(name)),
        }
    };
    let queue = QUEUE.map(|(name, usual)| Row {
        name: name.into(),
        input: Input::new(usual),
        preset: usual.into(),
        said: None,
    });
    config.rows().into_iter().map(row).chain(queue).collect()
}

/// What a training needs, in words.
fn needs(estimate: &Estimate) -> Vec<String> {
    let free = estimate.free.as_ref().map(|free| format!("; {} has {} free", free.limit, words::bytes(free.bytes)));
    let time = estimate.time.as_ref().map(|time| {
        let step = time.step_seconds.map(|step| format!(" ({} a step)", words::short_duration(step)));
        format!("about {}{}, {}", words::duration(time.total_seconds), step.unwrap_or_default(), time.how)
    });
    let mut lines: Vec<String> = estimate.refusal.iter().map(|refusal| format!("✗ {refusal}")).collect();
    lines.extend([
        format!("pictures of {0} × {0} on {1}", estimate.resolution, estimate.device),
        format!("about {} in {}{}", words::bytes(estimate.peak_bytes), estimate.peak_in, free.unwrap_or_default()),
        time.unwrap_or_else(|| format!("time {NO_TIME}")),
    ]);
    for prompt in &estimate.cut_prompts {
        lines.push(format!("! over {} tokens: \"{}\" is not read", prompt.limit, prompt.cut));
    }
    for prompt in &estimate.odd_prompts {
        lines.push(format!("! read otherwise by older programs: {}", prompt.odd.join(" ")));
    }
    for told in &estimate.other_syntax {
        lines.push(format!("! {}: {}", told.found.join(" "), told.kind.words()));
    }
    if let Some(short) = &estimate.short {
        lines.push(format!("! {short}"));
    }
    lines
}

impl Form {
    /// What the chosen setting means, what all of them need, and what they come to.
    fn lines(&self, world: &World, width: usize) -> Vec<Line<'static>> {
        let say = |text: &str, style: ratatui::style::Style| {
            text::wrap(text, width).into_iter().map(move |line| Line::styled(line, style)).collect::<Vec<_>>()
        };
        let row = &self.rows[self.choice.index];
        let (start, of_queue) = (self.start(), self.explained.iter().find(|(name, _)| *name == row.name));
        let of_queue = of_queue.map_or("", |(_, text)| text.as_str());
        let setting = start.row(&row.name);
        let mut lines = say(&setting.map_or_else(|| of_queue.to_owned(), protocol::Row::meaning), theme::text());
        let usual = match (row.name.as_str(), row.preset.as_str()) {
            ("priority" | "after", "") => "Nothing if not given.".into(),
            ("priority" | "after", usual) => format!("{usual} if not given."),
            ("method", _) => format!("{} if not given.", self.concept.train_config().declaration().name),
            (_, CONCEPT) => format!("concept.toml has {}.", words::settings(self.concept.file.train.said())),
            (_, "") => format!("The preset has nothing: {}.", setting.and_then(|row| row.unset).unwrap_or_default()),
            ("preset", _) => format!("{} if not given.", start.declaration().presets[0].name),
            (_, preset) => format!("The preset has {preset}."),
        };
        if let Some(said) = &row.said {
            lines.extend(say(&format!("concept.toml has {said}."), theme::text()));
        }
        lines.extend(say(&usual, theme::faint()));
        let values = values(&row.name, &start, &self.concept.file.train);
        if !values.is_empty() {
            lines.extend(say(&format!("← → : {}", values.join(", ")), theme::faint()));
        }
        lines.push(Line::default());
        if let Some(why) = &self.refused {
            lines.extend(say(&format!("✗ {why}"), theme::bad()));
        }
        let config = match (self.config(), self.placement()) {
            (Ok(config), Ok(_)) => config,
            (Err(wrong), _) | (_, Err(wrong)) => {
                lines.extend(say(&format!("✗ {wrong}"), theme::bad()));
                return lines;
            }
        };
        // Before what the settings come to, which may be longer than the pane.
        lines.push(Line::styled("What it needs", theme::strong()));
        match &self.estimate {
            None => lines.push(Line::styled("◌ reckoning", theme::faint())),
            Some(needs) => lines.extend(
                needs
                    .iter()
                    .flat_map(|need| say(need, if need.starts_with('✗') { theme::bad() } else { theme::text() })),
            ),
        }
        if let Some(Checked::Ready(found)) = world.open.as_ref().and_then(|open| open.checked.as_ref()) {
            let warnings = found.training_warnings(&config);
            lines.extend(warnings.iter().flat_map(|warning| say(&format!("! {warning}"), theme::warn())));
        }
        if let Some(job) = world.busy() {
            let (number, state) = (job.number, job.state.word());
            let said = format!("! job {number} of this concept is {state}: this one waits for {}", job.device);
            lines.extend(say(&said, theme::warn()));
        }
        lines.extend([Line::default(), Line::styled("What that comes to", theme::strong())]);
        for (name, value) in words::from_concept(&self.kept(&config)).into_iter().chain(effective_settings(&config)) {
            lines.extend(text::rows(name, &value, 11, width, theme::text()));
        }
        lines
    }
}

impl Overlay for Form {
    fn layer(&self) -> &'static Layer {
        &overlays::FORM
    }

    fn place(&self, area: Rect) -> Rect {
        area
    }

    fn draw(&mut self, canvas: &mut Canvas, area: Rect, world: &World) {
        Clear.render(area, canvas.buffer);
        let left = Rect { width: (area.width / 2).clamp(38, 60), height: area.height - 1, ..area };
        let right = Rect { x: left.right() + 1, width: area.width - left.width - 1, ..left };
        let title = format!("Train {}", self.concept.id);
        let inner = pane::draw(
            canvas.buffer,
            left,
            &title,
            &Line::styled(self.marks(), theme::faint()),
            self.reading.is_none(),
        );
        let seen = self.choice.seen(self.rows.len(), 1, inner.height as usize);
        let width = inner.width.saturating_sub(27) as usize;
        let is_typed = values(&self.rows[self.choice.index].name, &self.start(), &self.concept.file.train).is_empty();
        for index in seen.clone() {
            let row = &self.rows[index];
            let chosen = index == self.choice.index;
            let place = Rect { y: inner.y + (index - seen.start) as u16, height: 1, ..inner };
            let mark = if chosen { "▸" } else { " " };
            let style = if chosen { theme::focus() } else { theme::text() };
            let mut spans = vec![
                Span::styled(mark, theme::focus()),
                Span::styled(row.mark(), theme::accent()),
                Span::styled(text::fit(&row.name, 23), style),
            ];
            spans.extend(row.input.line(width, chosen && is_typed).spans);
            canvas.buffer.set_line(place.x, place.y, &Line::from(spans), place.width);
            canvas.target(place, Target::Item { pane: 0, index });
        }
        list::scrollbar(canvas.buffer, inner, self.rows.len(), seen);
        let aside = self.reading.map(|_| Line::styled("↑ ↓ scroll", theme::faint())).unwrap_or_default();
        let row = &self.rows[self.choice.index];
        let inner = pane::draw(canvas.buffer, right, &row.name, &aside, self.reading.is_some());
        canvas.target(inner, Target::Action(Action::NextPane));
        let lines = self.lines(world, inner.width.saturating_sub(2) as usize);
        let rows = inner.height as usize;
        let top = self.reading.unwrap_or(0).min(lines.len().saturating_sub(rows));
        self.reading = self.reading.map(|_| top);
        text::draw(canvas.buffer, inner, &lines[top..]);
        list::scrollbar(canvas.buffer, inner, lines.len(), top..(top + rows).min(lines.len()));
        hints(canvas, area, self.layer());
    }

    fn act(&mut self, action: Action, key: KeyEvent, world: &World) -> Reply {
        let last = self.rows.len() - 1;
        match (action, self.reading) {
            (Action::Back, None) => return Reply::Close,
            (Action::Back, Some(_)) => self.reading = None,
            (Action::NextPane, reading) => self.reading = if reading.is_none() { Some(0) } else { None },
            (Action::Up, Some(top)) => self.reading = Some(top.saturating_sub(1)),
            // Drawing brings it back to what there is.
            (Action::Down, Some(top)) => self.reading = Some(top + 1),
            (Action::Enter, _) => {
                if let (Ok(config), Ok(placement)) = (self.config(), self.placement()) {
                    self.refused = None;
                    return Reply::Once(deeds::train(self.concept.clone(), config, placement));
                }
            }
            (Action::Up, None) => self.choice.index = self.choice.index.saturating_sub(1),
            (Action::Down, None) => self.choice.index = (self.choice.index + 1).min(last),
            (Action::First, _) => self.choice.index = 0,
            (Action::Last, _) => self.choice.index = last,
            (Action::Left | Action::Right, _) if !self.turn(action == Action::Right) => return self.typed(key, world),
            _ => {}
        }
        Reply::Also(self.reckon())
    }

    fn typed(&mut self, key: KeyEvent, _: &World) -> Reply {
        self.refused = None;
        let start = self.start();
        let row = &mut self.rows[self.choice.index];
        if values(&row.name, &start, &self.concept.file.train).is_empty() {
            row.input.key(key);
            // Reckoned once the line is left: not with every letter.
            Reply::Stay
        } else if key.code == crossterm::event::KeyCode::Char(' ') {
            self.turn(true);
            Reply::Also(self.reckon())
        } else {
            Reply::Stay
        }
    }

    fn paste(&mut self, text: &str) -> usize {
        self.rows[self.choice.index].input.insert(text.trim())
    }

    fn choose(&mut self, index: usize, again: bool, _: &World) -> Reply {
        self.choice.index = index.min(self.rows.len() - 1);
        self.reading = None;
        if again {
            self.turn(true);
        }
        Reply::Also(self.reckon())
    }

    fn tell(&mut self, lines: Vec<String>) -> Effect {
        self.estimate = Some(lines);
        Effect::None
    }

    fn refused(&mut self, why: String) {
        self.refused = Some(why);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::protocol::TrainConfig;

    fn concept(train: &str) -> Concept {
        let file = format!("name = \"x\"\nclass_word = \"mug\"\nbase_model = \"m\"\n{train}");
        Concept { id: "x".into(), folder: "/x".into(), file: toml::from_str(&file).unwrap() }
    }

    fn form(config: &TrainConfig) -> Form {
        form_of(concept(""), config)
    }

    fn form_of(concept: Concept, config: &TrainConfig) -> Form {
        Form {
            rows: rows(config, &concept.file.train),
            concept,
            choice: Choice::default(),
            explained: Vec::new(),
            estimate: None,
            asked: None,
            refused: None,
            reading: None,
        }
    }

    fn set(form: &mut Form, name: &str, text: &str) {
        form.rows.iter_mut().find(|row| row.name == name).unwrap().input = Input::new(text);
    }

    #[test]
    fn the_form_holds_every_setting_and_gives_it_back() {
        for method in crate::method::MethodSettings::NAMES {
            let mut config = TrainConfig::of(method, None).unwrap();
            let more =
                [("hold_out", "3.png"), ("caption", "my {class} {concept}"), ("layers", "3,5"), ("vectors", "2")];
            for (name, text) in
                more.into_iter().filter(|(name, _)| TrainConfig::of(method, None).unwrap().row(name).is_some())
            {
                config.set_text(name, text).unwrap();
            }
            if config.row("templates").is_some() {
                config.set_text("templates", "none").unwrap();
            }
            let form = form(&config);
            assert_eq!(form.config().unwrap(), config);
            let names: Vec<&str> = config.rows().iter().map(|row| row.name).chain(["priority", "after"]).collect();
            assert_eq!(form.rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), names);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let mut form = form(&TrainConfig::default());
        set(&mut form, "steps", "many");
        assert_eq!(form.config().unwrap_err(), "steps = many: must be a whole number, 1 or more");
        set(&mut form, "steps", "0");
        assert_eq!(form.config().unwrap_err(), "steps = 0: must be a whole number, 1 or more");
        set(&mut form, "steps", "10");
        set(&mut form, "layers", "1, 0");
        assert!(form.config().unwrap_err().contains("ascending"));
    }

    #[test]
    fn where_and_when_it_is_done_is_typed_too() {
        let mut form = form(&TrainConfig::default());
        assert_eq!(form.placement().unwrap(), Placement::default());
        set(&mut form, "priority", "-2");
        set(&mut form, "after", "3, 5");
        set(&mut form, "device", "any");
        assert_eq!(form.placement().unwrap(), Placement { any_device: true, priority: -2, after: vec![3, 5] });
        assert_eq!(form.config().unwrap(), TrainConfig::default(), "reckoned for the processor");
        choose(&mut form, "preset");
        form.turn(true);
        assert_eq!(form.placement().unwrap().after, [3, 5], "no preset changes it");
        set(&mut form, "after", "the last");
        assert!(form.placement().unwrap_err().starts_with("after = the last:"));
    }

    #[test]
    fn another_preset_brings_its_settings() {
        let mut form = form(&TrainConfig::default());
        choose(&mut form, "preset");
        assert!(form.turn(true));
        assert_eq!(form.config().unwrap(), official());
    }

    fn choose(form: &mut Form, name: &str) {
        form.choice.index = form.rows.iter().position(|row| row.name == name).unwrap();
    }

    fn official() -> TrainConfig {
        TrainConfig::of(crate::method::MethodSettings::NAMES[0], Some("official")).unwrap()
    }

    #[test]
    fn another_method_brings_its_own_settings() {
        let mut form = form(&TrainConfig::default());
        choose(&mut form, "method");
        for method in crate::method::MethodSettings::NAMES.iter().cycle().skip(1).take(3) {
            assert!(form.turn(true));
            assert_eq!((form.text_of("method"), form.rows[form.choice.index].name.as_str()), (*method, "method"));
            assert_eq!(form.config().unwrap(), TrainConfig::of(method, None).unwrap());
        }
    }

    /// The marks of settings, by name.
    fn marked(form: &Form) -> Vec<(&str, &str)> {
        let marked = form.rows.iter().filter(|row| row.mark() != "  ");
        marked.map(|row| (row.name.as_str(), row.mark().trim())).collect()
    }

    #[test]
    fn what_comes_from_the_concept_is_marked_and_a_preset_stands_without_it() {
        let said = concept("[train]\nsteps = 300\nlayers = [0, 1]\nmasked_loss = true\n");
        let mut form = form_of(said.clone(), &usual(&said));
        assert_eq!(form.config().unwrap(), said.train_config());
        assert_eq!(form.text_of("preset"), CONCEPT);
        assert_eq!(marked(&form), [("steps", "◆"), ("layers", "◆"), ("masked_loss", "◆")]);
        set(&mut form, "steps", "500");
        set(&mut form, "seed", "3");
        assert_eq!(marked(&form), [("steps", "●"), ("layers", "◆"), ("masked_loss", "◆"), ("seed", "●")]);
        choose(&mut form, "preset");
        assert!(form.turn(true));
        assert_eq!(form.config().unwrap(), TrainConfig::default());
        assert!(form.turn(true));
        assert_eq!(form.config().unwrap(), official());
        assert_eq!(marked(&form), []);
        assert!(form.turn(true));
        assert_eq!(form.config().unwrap(), said.train_config(), "and back");
        assert_eq!(
            form_of(said, &TrainConfig::default()).text_of("preset"),
            "default",
            "a run that was set up otherwise"
        );
    }

    #[test]
    fn a_training_is_scored_where_it_can_be_unless_the_concept_says_otherwise() {
        let evaluates = |toml: &str| usual(&concept(toml)).evaluate;
        let cases = ["", "score_model = \"c\"\n", "score_model = \"c\"\n[train]\nevaluate = false\n"];
        assert_eq!(cases.map(evaluates), [false, true, false]);
    }
}
