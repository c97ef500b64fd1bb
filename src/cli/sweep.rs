//! `catbench sweep`: a concept trained and scored with every combination of some settings.

use serde_json::json;

use super::material::Material;
use super::plan::{Cell as PlanCell, CellResult, JobIds, Plan};
use super::score::{HowArgs, difference_cells};
use super::table::{Cell, Column, Format, ScoreColumns, Table, how_cells, how_columns, notes};
use super::{Error, PromptArgs, Where, print_json, train};
use crate::client;
use crate::protocol::{Preset, SampleConfig, ScoreConfig, ScoreSummary, TrainConfig, with_setting};
use crate::workspace::{Concept, preflight};

/// Options of a sweep.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The concept.
    concept: String,
    /// A setting and its values, as in `n=1,2`; may be given several times. Any training setting has its name as in run.toml;
    /// `n` is prefix_length, `lr` learning_rate. What is not named is as `[train]` of concept.toml has it, else as in the preset;
    /// with `preset=default,official` it is as that preset alone has it, also of the sampling. Names that are no settings of the training are settings
    /// of the sampling (`strength`, `guidance_scale`, `sampler`, ...; `sample.steps` where the training has one of that name) or
    /// how pictures are measured (`fill`, `score.crop`). Layers that belong together are joined by plus signs: `layers=9+10+11,11`.
    #[arg(long, value_name = "SETTING=VALUES", required_unless_present = "layers_study")]
    grid: Vec<String>,
    /// A setting that is the same everywhere, as in `steps=200`; may be given several times.
    #[arg(long = "set", value_name = "SETTING=VALUE")]
    set: Vec<String>,
    /// Which layers are feature-dense: each layer of the text encoder alone, the last three, the upper half, and all.
    #[arg(long, conflicts_with = "grid")]
    layers_study: bool,
    /// The plan's name; the same name goes on with it. Without: the concept's and the settings'.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    prompts: PromptArgs,
    #[command(flatten)]
    how: HowArgs,
    /// Denoising steps of the samples.
    #[arg(long, value_name = "STEPS", value_parser = train::positive)]
    sample_steps: Option<usize>,
    /// Priority of its jobs in the queue; higher goes first.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    /// Queue the jobs and return at once; the same command without it shows the table.
    #[arg(long)]
    detach: bool,
    /// How the table is printed: text, csv, json, markdown or latex.
    #[arg(long, default_value = "text")]
    format: Format,
}

/// A setting by the name people give it.
fn full_name(name: &str) -> &str {
    match name {
        "n" => "prefix_length",
        "lr" => "learning_rate",
        name => name,
    }
}

/// The settings of one cell.
type Settings = (TrainConfig, ScoreConfig);

/// Which settings a name is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Train,
    Sample,
    Score,
}

/// The settings that `name` is one of, and what it is called there: the training's first, then the sampling's, then how
/// pictures are measured. `sample.` or `score.` in front says which.
fn group_of<'a>(name: &'a str, text: &str, (train, score): &Settings) -> Result<(Group, &'a str), String> {
    if let Some(key) = name.strip_prefix("sample.") {
        return Ok((Group::Sample, full_name(key)));
    }
    if let Some(key) = name.strip_prefix("score.") {
        return Ok((Group::Score, key));
    }
    let key = full_name(name);
    if key == "fill" || key == "crop" && ["whole", "mask_box", "mask-box"].contains(&text) {
        return Ok((Group::Score, key));
    }
    let has = |table: Result<toml::Table, _>| table.is_ok_and(|table| table.contains_key(key));
    if TrainConfig::OPTIONAL.contains(&key) || has(train.table()) {
        return Ok((Group::Train, key));
    }
    if key == "concept_steps" || has(toml::Table::try_from(&score.sample)) {
        return Ok((Group::Sample, key));
    }
    Err("it is a setting neither of the training (as in run.toml) nor of the sampling, nor fill or crop".into())
}

/// `settings` with `name` set to what `text` says.
fn with(settings: &Settings, name: &str, text: &str) -> Result<Settings, Error> {
    let wrong =
        |problem: &dyn std::fmt::Display| Error::Job(format!("{name}={text}: {}", problem.to_string().trim_end()));
    let (group, key) = group_of(name, text, settings).map_err(|problem| wrong(&problem))?;
    let (train, score) = settings;
    let value = if key == "layers" {
        let layers: Result<Vec<i64>, _> = text.split('+').map(|layer| layer.trim().parse::<i64>()).collect();
        toml::Value::try_from(layers.map_err(|_| wrong(&"layers are numbers joined by +"))?)
    } else if key == "hold_out" {
        // A photo may be called 3.
        Ok(toml::Value::String(text.to_owned()))
    } else {
        // A number or a truth value as it stands, else a word.
        let parsed = toml::from_str::<toml::Table>(&format!("value = {text}")).ok();
        let parsed = parsed.and_then(|mut table| table.remove("value"));
        Ok(parsed.unwrap_or_else(|| toml::Value::String(text.to_owned())))
    };
    let value = value.map_err(|error| wrong(&error))?;
    match group {
        Group::Train => Ok((with_setting(train, key, value).map_err(|error| wrong(&error))?, score.clone())),
        Group::Sample if ["prompts", "checkpoint", "embeddings", "concepts"].contains(&key) => {
            Err(wrong(&"this cannot differ from cell to cell"))
        }
        Group::Sample => {
            let sample = with_setting(&score.sample, key, value).map_err(|error| wrong(&error))?;
            Ok((train.clone(), ScoreConfig { sample, ..score.clone() }))
        }
        Group::Score if ["fill", "crop"].contains(&key) => {
            let word = value.as_str().map_or_else(|| value.to_string(), |word| word.replace('-', "_"));
            let score = with_setting(score, key, toml::Value::String(word)).map_err(|error| wrong(&error))?;
            Ok((train.clone(), score))
        }
        Group::Score => Err(wrong(&"only fill and crop say how pictures are measured")),
    }
}

/// `settings` with all of `values` set.
fn with_all(settings: &Settings, values: &[(String, String)]) -> Result<Settings, Error> {
    values.iter().try_fold(settings.clone(), |settings, (name, value)| with(&settings, name, value))
}

/// The preset that `values` name.
fn preset_of(values: &[(String, String)]) -> Result<Option<Preset>, Error> {
    let named = values.iter().rfind(|(name, _)| name == "preset");
    named.map(|(name, value)| Ok(with(&Settings::default(), name, value)?.0.preset)).transpose()
}

/// `SETTING=VALUES` in its parts.
fn split(text: &str) -> Result<(&str, Vec<&str>), Error> {
    let wrong = || Error::Job(format!("{text:?}: a setting is given as in n=1,2"));
    let (name, values) = text.split_once('=').ok_or_else(wrong)?;
    let values: Vec<&str> = values.split(',').map(str::trim).collect();
    if name.trim().is_empty() || values.iter().any(|value| value.is_empty()) {
        return Err(wrong());
    }
    Ok((name.trim(), values))
}

/// The sets of layers of the study: each alone, the last three, the upper half, all.
fn studied(count: usize) -> Vec<String> {
    let joined = |from: usize| (from..count).map(|layer| layer.to_string()).collect::<Vec<_>>().join("+");
    let mut sets: Vec<String> = (0..count).map(|layer| layer.to_string()).collect();
    for from in [count.saturating_sub(3), count / 2, 0] {
        if !sets.contains(&joined(from)) {
            sets.push(joined(from));
        }
    }
    sets
}

impl Args {
    /// The settings and their values.
    fn axes(&self, concept: &Concept) -> Result<Vec<(String, Vec<String>)>, Error> {
        if self.layers_study {
            let count = client::text_layers(concept.base_model()?)?;
            return Ok(vec![("layers".into(), studied(count))]);
        }
        let owned = |text: &String| {
            let (name, values) = split(text)?;
            Ok((name.to_owned(), values.into_iter().map(str::to_owned).collect()))
        };
        let axes = self.grid.iter().map(owned).collect::<Result<Vec<(String, Vec<String>)>, Error>>()?;
        for (i, (name, _)) in axes.iter().enumerate() {
            if axes[..i].iter().any(|(other, _)| full_name(other) == full_name(name)) {
                return Err(Error::Job(format!("{name} is given twice: list its values in one")));
            }
        }
        Ok(axes)
    }

    /// How cells of `preset` are scored, but for what `--set` and `--grid` say.
    fn scoring(&self, concept: &Concept, preset: Preset) -> Result<ScoreConfig, Error> {
        let mut score = concept.evaluation(preset)?;
        self.how.apply(&mut score);
        self.prompts.apply_with_prompts(&mut score.sample, concept)?;
        score.sample.steps = self.sample_steps.unwrap_or(score.sample.steps);
        Ok(score)
    }

    /// What a training of a sweep starts from, where one alone starts from `train`.
    fn start(&self, train: TrainConfig) -> TrainConfig {
        TrainConfig {
            // Pictures and losses on the way are looked at by nobody here, and each cell has a scoring of its own.
            sample_every: 0,
            validate_every: 0,
            evaluate: false,
            device: self.prompts.device.map_or(train.device, Where::device),
            dtype: self.prompts.dtype.unwrap_or(train.dtype),
            ..train
        }
    }

    /// The cells, and the settings that all their trainings have from concept.toml.
    fn cells(&self, concept: &Concept) -> Result<(Vec<PlanCell>, toml::Table), Error> {
        let material = Material::of(&concept.home()?, concept, true)?;
        let mut cells: Vec<Vec<(String, String)>> = vec![Vec::new()];
        for (name, values) in self.axes(concept)? {
            let and = |cell: &Vec<_>, value: &String| [&cell[..], &[(name.clone(), value.clone())]].concat();
            cells =
                cells.iter().flat_map(|cell| values.iter().map(|value| and(cell, value)).collect::<Vec<_>>()).collect();
        }
        let same = |text: &String| {
            let (name, value) = text.split_once('=').ok_or_else(|| Error::Job(format!("{text:?}: as in steps=200")))?;
            Ok((name.to_owned(), value.to_owned()))
        };
        let same = self.set.iter().map(same).collect::<Result<Vec<_>, Error>>()?;
        let (mut planned, mut from_concept) = (Vec::new(), concept.file.train.said().clone());
        for cell in cells {
            let values = [&same[..], &cell[..]].concat();
            let preset = preset_of(&values)?;
            let start = self.start(preset.map_or_else(|| concept.train_config(), TrainConfig::preset));
            let usual = self.scoring(concept, start.preset)?;
            // Pictures are made where it trains, as those of a training alone.
            let sample = SampleConfig { device: start.device, dtype: start.dtype, ..usual.sample };
            let (mut train, score) = with_all(&(start, ScoreConfig { sample, ..usual }), &values)?;
            let kept = concept.file.train.kept_in(&train);
            from_concept.retain(|name, _| preset.is_none() && kept.contains_key(name));
            // One checkpoint, at the end, is all that is needed.
            train.checkpoint_every = train.checkpoint_every.max(train.steps);
            train.check()?;
            score.sample.check()?;
            let labels: Vec<String> = cell.iter().map(|(name, value)| format!("{name}={value}")).collect();
            planned.push(PlanCell {
                label: labels.join(" "),
                settings: cell.into_iter().collect(),
                concept: concept.id.clone(),
                material: material.clone(),
                photo_masks: None,
                jobs: JobIds::default(),
                train,
                score,
            });
        }
        Ok((planned, from_concept))
    }

    fn plan_name(&self, concept: &Concept) -> String {
        let given = self.name.clone();
        given.unwrap_or_else(|| {
            let what = if self.layers_study { "layers-study".into() } else { self.grid.join("-") };
            let plain = |c: char| if c.is_alphanumeric() || "=+-_".contains(c) { c } else { '-' };
            format!("{}-{what}", concept.id).chars().map(plain).take(100).collect()
        })
    }
}

pub fn run(args: &Args) -> Result<(), Error> {
    let concept = super::concept(&args.concept)?;
    preflight(&concept)?;
    let home = concept.home()?;
    client::check_writable(&home)?;
    let (cells, from_concept) = args.cells(&concept)?;
    let mut plan = Plan::open(&home, &args.plan_name(&concept), cells)?;
    if args.format != Format::Json {
        super::preflight::say_start(&from_concept);
    }
    plan.preflight(args.format != Format::Json)?;
    let numbers = plan.submit(args.priority, matches!(args.prompts.device, Some(Where::Any)))?;
    if args.detach {
        if args.format == Format::Json {
            print_json(&json!({ "jobs": numbers, "cells": plan.cells.len() }));
        }
        eprintln!("{} jobs are queued; the same command shows the table", numbers.len());
        return Ok(());
    }
    if !numbers.is_empty() && !plan.wait(&numbers)? {
        return Ok(());
    }
    let table = table(&plan, args.layers_study)?;
    print!("{}", table.render(args.format));
    Ok(())
}

/// All cells, and each one's difference from what comes without the concept.
fn table(plan: &Plan, study: bool) -> Result<Table, Error> {
    let results = plan.cells.iter().map(|cell| plan.result(cell)).collect::<Result<Vec<_>, _>>()?;
    let keys: Vec<String> = plan.cells.first().map(|cell| cell.settings.keys().cloned().collect()).unwrap_or_default();
    let pairs: Vec<_> = results.iter().map(|result| Some((result.at(false)?, result.at(true)?))).collect();
    let mut compared = client::compare(pairs.iter().flatten().map(|pair| vec![pair.clone()]).collect())?.into_iter();
    let lines: Vec<&ScoreSummary> =
        results.iter().flat_map(|result| [&result.before, &result.after]).flatten().collect();
    let shown = ScoreColumns::of(&lines);
    let mut table = Table {
        columns: keys
            .iter()
            .map(|key| Column::new(key, key))
            .chain(shown.columns("", ""))
            .chain(shown.columns("_difference", "Δ "))
            .chain(how_columns())
            .collect(),
        notes: notes(&lines),
        ..Table::default()
    };
    let width = table.columns.len();
    let how = width - how_columns().len();
    let filled = |mut row: Vec<Cell>, line: Option<&ScoreSummary>| {
        row.resize(how, Cell::Nothing(String::new()));
        row.extend(how_cells(line));
        row
    };
    // What comes without the concept is the same in all cells that are sampled and measured alike.
    let mut baselines: Vec<(&PlanCell, &CellResult)> = Vec::new();
    for (cell, result) in plan.cells.iter().zip(&results) {
        if !baselines.iter().any(|(_, other)| other.before_job == result.before_job) {
            baselines.push((cell, result));
        }
    }
    for (cell, result) in &baselines {
        let several = baselines.len() > 1;
        let value = |key: &String| match &cell.settings[key] {
            value if several && matters_untrained(key, value) => Cell::Text(value.clone()),
            _ => "untrained".into(),
        };
        let mut row: Vec<Cell> = keys.iter().map(value).collect();
        if let Some(before) = &result.before {
            row.extend(shown.cells(&before.scores));
        }
        table.rows.push(filled(row, result.before.as_ref()));
    }
    for ((cell, result), pair) in plan.cells.iter().zip(&results).zip(&pairs) {
        let mut row: Vec<Cell> = keys.iter().map(|key| Cell::Text(cell.settings[key].clone())).collect();
        if let Some(after) = &result.after {
            row.extend(shown.cells(&after.scores));
            let difference = pair.as_ref().and_then(|_| compared.next());
            row.extend(difference_cells(difference, shown, &cell.label, &mut table.notes));
        }
        if let Some(problem) = &result.problem {
            table.notes.push(format!("{}: {problem}", cell.label));
        }
        table.rows.push(filled(row, result.after.as_ref()));
    }
    table.notes.push(
        "Δ: from the untrained base model, paired by prompt and seed; an interval without 0 is a difference".into(),
    );
    table.notes.splice(0..0, best(plan, &results, study));
    Ok(table)
}

/// Whether a setting makes a difference to what comes without the concept.
fn matters_untrained(name: &str, value: &str) -> bool {
    let group = group_of(name, value, &Settings::default());
    group.is_ok_and(|(group, key)| {
        // A preset says how pictures are sampled too.
        key == "preset"
            || group != Group::Train && !["strength", "uncond_prefix", "every_prompt", "concept_steps"].contains(&key)
    })
}

/// Which cells are best, in words.
fn best(plan: &Plan, results: &[CellResult], study: bool) -> Vec<String> {
    let measured = || plan.cells.iter().zip(results).filter_map(|(cell, result)| Some((cell, result.after.as_ref()?)));
    let best = |value: fn(&ScoreSummary) -> f64| measured().max_by(|a, b| value(a.1).total_cmp(&value(b.1)));
    let mut notes = Vec::new();
    for (name, value) in [
        ("masked CLIP-I", (|line| line.scores.masked_clip_i.value) as fn(&ScoreSummary) -> f64),
        ("balance", |line| line.scores.balance.value),
    ] {
        if let Some((cell, line)) = best(value) {
            notes.push(format!("best by {name}: {} ({:.3})", cell.label, value(line)));
        }
    }
    if study {
        let mut single: Vec<_> = measured().filter(|(cell, _)| !cell.settings["layers"].contains('+')).collect();
        single.sort_by(|a, b| b.1.scores.masked_clip_i.value.total_cmp(&a.1.scores.masked_clip_i.value));
        let order: Vec<String> = single.iter().map(|(cell, _)| cell.settings["layers"].clone()).collect();
        notes.push(format!("single layers, densest in features first (by masked CLIP-I): {}", order.join(", ")));
    }
    notes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn settings_are_read_by_name_and_kind() {
        let base = Settings::default();
        let one = |name: &str, text: &str| with(&base, name, text);
        assert_eq!(one("layers", "9+10+11").unwrap().0.layers, Some(vec![9, 10, 11]));
        assert_eq!(one("n", "4").unwrap().0.prefix_length, 4);
        assert!((one("lr", "1").unwrap().0.learning_rate - 1.0).abs() < 1e-12);
        assert!((one("strength", "2").unwrap().1.sample.strength - 2.0).abs() < 1e-6);
        assert!((one("guidance_scale", "3").unwrap().1.sample.guidance_scale - 3.0).abs() < 1e-9);
        assert_eq!((one("steps", "7").unwrap().0.steps, one("sample.steps", "7").unwrap().1.sample.steps), (7, 7));
        assert_eq!(one("sampler", "euler").unwrap().1.sample.sampler, crate::protocol::SamplerKind::Euler);
        assert_eq!(one("fill", "grey").unwrap().1.fill, crate::protocol::Fill::Grey);
        assert_eq!(one("crop", "squash").unwrap().0.crop, crate::protocol::Crop::Squash);
        assert_eq!(one("crop", "mask-box").unwrap().1.crop, crate::protocol::ScoreCrop::MaskBox);
        assert_eq!(one("init", "normal").unwrap().0.init, crate::protocol::Init::Normal);
        assert_eq!(one("photo_repeats", "100").unwrap().0.photo_repeats, 100);
        assert_eq!(one("hold_out", "3").unwrap().0.hold_out.as_deref(), Some("3"), "a name");
        assert!(one("every_prompt", "true").unwrap().1.sample.every_prompt);
        assert!(one("masked_loss", "true").unwrap().0.masked_loss);
        assert_eq!(one("caption", "a photo of a {class}").unwrap().0.caption, "a photo of a {class}");
        let wrong = [
            ("layers", "nine"),
            ("n", "two"),
            ("colour", "1"),
            ("init", "sometimes"),
            ("preset", "own"),
            ("fill", "red"),
        ];
        for (name, text) in wrong {
            let message = one(name, text).unwrap_err().to_string();
            assert!(message.starts_with(&format!("{name}={text}: ")), "{message}");
        }
    }

    #[test]
    fn the_last_preset_that_is_named_counts() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let values = [pair("preset", "default"), pair("steps", "20"), pair("preset", "official")];
        assert_eq!(preset_of(&values).unwrap(), Some(Preset::Official));
        assert_eq!(preset_of(&values[1..2]).unwrap(), None);
        let official = (TrainConfig::preset(Preset::Official), ScoreConfig::default());
        let expected = TrainConfig { steps: 20, ..official.0.clone() };
        assert_eq!(with_all(&official, &values).unwrap().0, expected, "what is said beside it holds");
    }

    #[test]
    fn the_study_has_every_layer_alone_and_the_usual_sets() {
        assert_eq!(studied(6), ["0", "1", "2", "3", "4", "5", "3+4+5", "0+1+2+3+4+5"]);
        assert_eq!(studied(12).len(), 15);
        assert_eq!(studied(1), ["0"]);
    }

    #[test]
    fn a_grid_is_written_with_values() {
        assert_eq!(split("n=1,2").unwrap(), ("n", vec!["1", "2"]));
        for text in ["n", "n=", "n=1,,2", "=1"] {
            assert!(split(text).is_err(), "{text}");
        }
    }
}
