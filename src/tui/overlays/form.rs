//! The settings of a training: each with what it means, what comes of all of them, and what that needs.

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Widget};

use super::entry::Input;
use super::{Overlay, Reply};
use crate::client::{self, words};
use crate::protocol::{Estimate, Preset, TrainConfig};
use crate::tui::canvas::{Canvas, Target};
use crate::tui::deeds::{self, Effect};
use crate::tui::theme;
use crate::tui::widgets::list::Choice;
use crate::tui::widgets::{pane, text};
use crate::tui::world::World;
use crate::workspace::{Concept, effective_settings};

/// What a setting with few values can be.
fn values(name: &str) -> &'static [&'static str] {
    match name {
        "preset" => &["default", "official"],
        "init" => &["class_word", "normal"],
        "crop" => &["center", "squash"],
        "dtype" => &["f32", "bf16", "f16"],
        "masked_loss" | "gradient_checkpointing" | "evaluate" => &["false", "true"],
        _ => &[],
    }
}

struct Row {
    name: String,
    input: Input,
    /// As the preset has it.
    usual: String,
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
}

impl Form {
    /// For a training of `concept`, beginning with `config`, and the reckoning of what that needs.
    pub fn open(concept: &Concept, config: &TrainConfig, explained: &[(String, String)]) -> Effect {
        let mut form = Self {
            concept: concept.clone(),
            rows: rows(config),
            choice: Choice::default(),
            explained: explained.to_vec(),
            estimate: None,
            asked: None,
        };
        let reckon = form.reckon();
        Effect::Many(vec![Effect::over(form), reckon])
    }

    /// The settings as typed, or which of them is wrong.
    fn config(&self) -> Result<TrainConfig, String> {
        let mut table = toml::Table::new();
        let like = toml::Table::try_from(TrainConfig::default()).map_err(|error| error.to_string())?;
        for row in &self.rows {
            let typed = row.input.text().trim();
            let wrong = |what: &str| format!("{} = {typed}: {what}", row.name);
            let value = match like.get(&row.name) {
                // The last three layers, unless some are named.
                None if typed.is_empty() => continue,
                None => {
                    let numbers = typed.split(',').map(|number| number.trim().parse().map(toml::Value::Integer));
                    let numbers = numbers.collect::<Result<Vec<_>, _>>().map_err(|_| wrong("numbers with commas"))?;
                    toml::Value::Array(numbers)
                }
                Some(toml::Value::String(_)) => toml::Value::String(typed.into()),
                Some(toml::Value::Integer(_)) => {
                    toml::Value::Integer(typed.parse().map_err(|_| wrong("must be a whole number"))?)
                }
                Some(toml::Value::Float(_)) => {
                    toml::Value::Float(typed.parse().map_err(|_| wrong("must be a number"))?)
                }
                Some(_) => toml::Value::Boolean(typed.parse().map_err(|_| wrong("must be true or false"))?),
            };
            table.insert(row.name.clone(), value);
        }
        let config: TrainConfig = table.try_into().map_err(|error: toml::de::Error| error.message().to_owned())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
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
            let sample = concept.sampling();
            let estimate = client::estimate(&concept, Some(&config), &sample, None, config.evaluate);
            Ok(Effect::Tell(estimate.map_or_else(|error| vec![format!("✗ {error}")], |estimate| needs(&estimate))))
        })
    }

    /// Give a setting with few values the next or the one before.
    fn turn(&mut self, on: bool) -> bool {
        let row = &mut self.rows[self.choice.index];
        let values = values(&row.name);
        if values.is_empty() {
            return false;
        }
        let at = values.iter().position(|value| *value == row.input.text()).unwrap_or(0);
        let to = values[(at + if on { 1 } else { values.len() - 1 }) % values.len()];
        row.input = Input::new(to);
        if row.name == "preset" {
            let preset = if to == "official" { Preset::Official } else { Preset::Default };
            self.rows =
                rows(&TrainConfig { evaluate: self.concept.file.score_model.is_some(), ..TrainConfig::preset(preset) });
        }
        true
    }
}

/// The settings by name, as typed. The layers, which a preset leaves open, come after the length of the prefix.
fn rows(config: &TrainConfig) -> Vec<Row> {
    let usual = toml::Table::try_from(TrainConfig::preset(config.preset)).unwrap_or_default();
    let table = toml::Table::try_from(config).unwrap_or_default();
    let words = |value: Option<&toml::Value>| match value {
        None => String::new(),
        Some(toml::Value::String(text)) => text.clone(),
        Some(toml::Value::Array(numbers)) => numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        Some(value) => value.to_string(),
    };
    let order = [
        "preset",
        "steps",
        "batch_size",
        "learning_rate",
        "weight_decay",
        "prefix_length",
        "layers",
        "prefix_bias",
        "init",
        "caption",
        "crop",
        "flip_probability",
        "masked_loss",
        "evaluate",
        "sample_prompt",
        "sample_every",
        "validate_every",
        "checkpoint_every",
        "seed",
        "device",
        "dtype",
        "gradient_checkpointing",
    ];
    let row = |name: &str| Row {
        name: name.to_owned(),
        input: Input::new(&words(table.get(name))),
        usual: words(usual.get(name)),
    };
    order.into_iter().map(row).collect()
}

/// What a training needs, in words.
fn needs(estimate: &Estimate) -> Vec<String> {
    let free = estimate.free.as_ref().map(|free| format!("; {} has {} free", free.limit, words::bytes(free.bytes)));
    let time = &estimate.time;
    let step = time.step_seconds.map(|step| format!(" ({} a step)", words::short_duration(step))).unwrap_or_default();
    let mut lines = vec![
        format!("pictures of {0} × {0} on {1}", estimate.resolution, estimate.device),
        format!("about {} in {}{}", words::bytes(estimate.peak_bytes), estimate.peak_in, free.unwrap_or_default()),
        format!("about {}{step}, {}", words::duration(time.total_seconds), time.how),
    ];
    for prompt in &estimate.cut_prompts {
        lines.push(format!("! over {} tokens: \"{}\" is not read", prompt.limit, prompt.cut));
    }
    for prompt in &estimate.odd_prompts {
        lines.push(format!("! read otherwise by older programs: {}", prompt.odd.join(" ")));
    }
    if let Some(short) = &estimate.short {
        lines.push(format!("! {short}"));
    }
    if let Some(refusal) = &estimate.refusal {
        lines.push(format!("✗ {refusal}"));
    }
    lines
}

impl Overlay for Form {
    fn place(&self, area: Rect) -> Rect {
        area
    }

    fn draw(&mut self, canvas: &mut Canvas, area: Rect, world: &World) {
        Clear.render(area, canvas.buffer);
        let left = Rect { width: (area.width / 2).clamp(38, 60), height: area.height - 1, ..area };
        let right = Rect { x: left.right() + 1, width: area.width - left.width - 1, ..left };
        let title = format!("Train {}", self.concept.id);
        let inner =
            pane::draw(canvas.buffer, left, &title, &Line::styled("● differs from the preset", theme::faint()), true);
        let seen = self.choice.seen(self.rows.len(), 1, inner.height as usize);
        let values = inner.width.saturating_sub(26) as usize;
        for index in seen.clone() {
            let row = &self.rows[index];
            let chosen = index == self.choice.index;
            let place = Rect { y: inner.y + (index - seen.start) as u16, height: 1, ..inner };
            let mark = if chosen { "▸" } else { " " };
            let differs = if row.input.text() == row.usual { "  " } else { "● " };
            let style = if chosen { theme::focus() } else { theme::text() };
            let mut spans = vec![
                Span::styled(mark, theme::focus()),
                Span::styled(differs, theme::accent()),
                Span::styled(text::fit(&row.name, 23), style),
            ];
            spans.extend(row.input.line(values, chosen).spans);
            canvas.buffer.set_line(place.x, place.y, &Line::from(spans), place.width);
            canvas.target(place, Target::Item { pane: 0, index });
        }
        crate::tui::widgets::list::scrollbar(canvas.buffer, inner, self.rows.len(), seen);
        let row = &self.rows[self.choice.index];
        let inner = pane::draw(canvas.buffer, right, &row.name, &Line::default(), false);
        let width = inner.width.saturating_sub(1) as usize;
        let explained = self.explained.iter().find(|(name, _)| *name == row.name).map_or("", |(_, text)| text.as_str());
        let mut lines: Vec<Line> = text::wrap(explained, width).into_iter().map(Line::raw).collect();
        let usual = if row.usual.is_empty() { "nothing: the last three" } else { &row.usual };
        lines.push(Line::styled(format!("The preset has {usual}."), theme::faint()));
        if !values_of(row).is_empty() {
            lines.push(Line::styled(format!("← → : {}", values_of(row).join(", ")), theme::faint()));
        }
        lines.push(Line::default());
        match self.config() {
            Err(wrong) => {
                lines.extend(
                    text::wrap(&format!("✗ {wrong}"), width).into_iter().map(|line| Line::styled(line, theme::bad())),
                );
            }
            Ok(config) => {
                lines.push(Line::styled("What that comes to", theme::strong()));
                for (name, value) in effective_settings(&config) {
                    lines.extend(text::rows(name, &value, 11, width, theme::text()));
                }
                lines.push(Line::default());
                lines.push(Line::styled("What it needs", theme::strong()));
                match &self.estimate {
                    None => lines.push(Line::styled("◌ reckoning", theme::faint())),
                    Some(needs) => lines.extend(needs.iter().flat_map(|line| text::wrap(line, width)).map(Line::raw)),
                }
            }
        }
        if let Some(job) = world.busy() {
            let said = format!(
                "! job {} of this concept is {}: this one waits for {}",
                job.number,
                job.state.word(),
                job.device
            );
            lines.extend(text::wrap(&said, width).into_iter().map(|line| Line::styled(line, theme::warn())));
        }
        text::draw(canvas.buffer, inner, &lines);
        let hint = " Enter queues it   ↑ ↓ settings   ← → values   Esc back";
        canvas.buffer.set_stringn(area.x, area.bottom() - 1, hint, area.width as usize, theme::faint());
    }

    fn key(&mut self, key: KeyEvent, _: &World) -> Reply {
        let last = self.rows.len() - 1;
        match key.code {
            KeyCode::Esc => return Reply::Close,
            KeyCode::Enter => {
                if let Ok(config) = self.config() {
                    return Reply::Then(deeds::train(self.concept.clone(), config));
                }
            }
            KeyCode::Up | KeyCode::BackTab => self.choice.index = self.choice.index.saturating_sub(1),
            KeyCode::Down | KeyCode::Tab => self.choice.index = (self.choice.index + 1).min(last),
            KeyCode::PageUp => self.choice.index = 0,
            KeyCode::PageDown => self.choice.index = last,
            KeyCode::Right | KeyCode::Char(' ') if self.turn(true) => {}
            KeyCode::Left if self.turn(false) => {}
            _ => {
                let row = &mut self.rows[self.choice.index];
                if values(&row.name).is_empty() {
                    row.input.key(key);
                }
                // Reckoned once the line is left: not with every letter.
                return Reply::Stay;
            }
        }
        Reply::Also(self.reckon())
    }

    fn paste(&mut self, text: &str) {
        self.rows[self.choice.index].input.insert(text.trim());
    }

    fn choose(&mut self, index: usize) {
        self.choice.index = index.min(self.rows.len() - 1);
    }

    fn tell(&mut self, lines: Vec<String>) {
        self.estimate = Some(lines);
    }
}

fn values_of(row: &Row) -> &'static [&'static str] {
    values(&row.name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::protocol::{Init, TrainConfig};

    fn form(config: &TrainConfig) -> Form {
        let file = "name = \"x\"\nclass_word = \"mug\"\nbase_model = \"m\"\n";
        let concept = Concept { id: "x".into(), folder: "/x".into(), file: toml::from_str(file).unwrap() };
        Form {
            concept,
            rows: rows(config),
            choice: Choice::default(),
            explained: Vec::new(),
            estimate: None,
            asked: None,
        }
    }

    fn set(form: &mut Form, name: &str, text: &str) {
        form.rows.iter_mut().find(|row| row.name == name).unwrap().input = Input::new(text);
    }

    #[test]
    fn the_form_holds_every_setting_and_gives_it_back() {
        let config = TrainConfig {
            layers: Some(vec![3, 5]),
            init: Init::Normal,
            caption: "my {class}".into(),
            ..TrainConfig::default()
        };
        assert_eq!(form(&config).config().unwrap(), config);
        let all = toml::Table::try_from(&config).unwrap();
        let mut names: Vec<&str> = all.keys().map(String::as_str).collect();
        names.sort_unstable();
        let form = form(&config);
        let mut shown: Vec<&str> = form.rows.iter().map(|row| row.name.as_str()).collect();
        shown.sort_unstable();
        assert_eq!(shown, names);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let mut form = form(&TrainConfig::default());
        set(&mut form, "steps", "many");
        assert_eq!(form.config().unwrap_err(), "steps = many: must be a whole number");
        set(&mut form, "steps", "0");
        assert_eq!(form.config().unwrap_err(), "steps = 0: must be 1 or more");
        set(&mut form, "steps", "10");
        set(&mut form, "layers", "1, 0");
        assert!(form.config().unwrap_err().contains("bottom up"));
    }

    #[test]
    fn another_preset_brings_its_settings() {
        let mut form = form(&TrainConfig::default());
        assert!(form.turn(true));
        assert_eq!(form.config().unwrap(), TrainConfig::preset(Preset::Official));
    }
}
