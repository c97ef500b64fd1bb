//! `catbench sweep`: a concept trained and scored with every combination of some settings.

use std::collections::BTreeMap;

use serde_json::json;

use super::plan::{Cell as PlanCell, CellResult, Plan};
use super::score::{HowArgs, difference_cells};
use super::table::{Cell, Column, Format, Table, notes, score_cells, score_columns};
use super::{Error, PromptArgs, Where, print_json, train};
use crate::client;
use crate::protocol::{SampleConfig, ScoreConfig, ScoreSummary, TrainConfig};
use crate::workspace::{Concept, preflight};

/// Options of a sweep.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The concept.
    concept: String,
    /// A setting and its values, as in `n=1,2`; may be given several times. Any training setting has its name as in run.toml;
    /// `n` is prefix_length, `lr` learning_rate, `strength` that of the sampling. Layers that belong together are joined by
    /// plus signs: `layers=9+10+11,11`.
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

/// `config` with `name` set to what `text` says.
fn with(
    (train, sample): &(TrainConfig, SampleConfig),
    name: &str,
    text: &str,
) -> Result<(TrainConfig, SampleConfig), Error> {
    let wrong =
        |problem: &dyn std::fmt::Display| Error::Job(format!("{name}={text}: {}", problem.to_string().trim_end()));
    let key = full_name(name);
    let value = if key == "layers" {
        let layers: Result<Vec<i64>, _> = text.split('+').map(|layer| layer.trim().parse::<i64>()).collect();
        toml::Value::try_from(layers.map_err(|_| wrong(&"layers are numbers joined by +"))?)
    } else {
        // A number or a truth value as it stands, else a word.
        let parsed = toml::from_str::<toml::Table>(&format!("value = {text}")).ok();
        let parsed = parsed.and_then(|mut table| table.remove("value"));
        Ok(parsed.unwrap_or_else(|| toml::Value::String(text.to_owned())))
    };
    let value = value.map_err(|error| wrong(&error))?;
    if key == "strength" {
        let mut table = toml::Table::try_from(sample).map_err(|error| wrong(&error))?;
        table.insert(key.to_owned(), number(value));
        return Ok((train.clone(), table.try_into().map_err(|error| wrong(&error))?));
    }
    let mut table = toml::Table::try_from(train).map_err(|error| wrong(&error))?;
    let is_float = table.get(key).is_some_and(toml::Value::is_float);
    table.insert(key.to_owned(), if is_float { number(value) } else { value });
    Ok((table.try_into().map_err(|error| wrong(&error))?, sample.clone()))
}

/// A whole number where a fraction belongs.
fn number(value: toml::Value) -> toml::Value {
    value.as_integer().map_or(value, |whole| toml::Value::Float(whole as f64))
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

    /// What all cells have in common.
    fn base(&self, concept: &Concept) -> Result<(TrainConfig, ScoreConfig), Error> {
        let mut score = concept.evaluation()?;
        self.how.apply(&mut score);
        self.prompts.apply_with_prompts(&mut score.sample, concept)?;
        score.sample.steps = self.sample_steps.unwrap_or(score.sample.steps);
        // Pictures on the way and validations are looked at by nobody here.
        let train = TrainConfig {
            sample_every: 0,
            validate_every: 0,
            device: score.sample.device,
            dtype: score.sample.dtype,
            ..TrainConfig::default()
        };
        let mut settings = (train, score.sample.clone());
        for text in &self.set {
            let (name, value) = text.split_once('=').ok_or_else(|| Error::Job(format!("{text:?}: as in steps=200")))?;
            settings = with(&settings, name, value)?;
        }
        Ok((settings.0, ScoreConfig { sample: settings.1, ..score }))
    }

    fn cells(&self, concept: &Concept) -> Result<Vec<PlanCell>, Error> {
        let (train, score) = self.base(concept)?;
        let mut cells = vec![(BTreeMap::new(), Vec::new(), (train, score.sample.clone()))];
        for (name, values) in self.axes(concept)? {
            let mut next = Vec::new();
            for (settings, labels, configs) in &cells {
                for value in &values {
                    let (mut settings, mut labels) = (settings.clone(), Vec::clone(labels));
                    settings.insert(name.clone(), value.clone());
                    labels.push(format!("{name}={value}"));
                    next.push((settings, labels, with(configs, &name, value)?));
                }
            }
            cells = next;
        }
        let mut planned = Vec::new();
        for (i, (settings, labels, (mut train, sample))) in cells.into_iter().enumerate() {
            // One checkpoint, at the end, is all that is needed.
            train.checkpoint_every = train.checkpoint_every.max(train.steps);
            train.check()?;
            sample.check()?;
            planned.push(PlanCell {
                label: labels.join(" "),
                settings,
                concept: concept.id.clone(),
                baseline: i == 0,
                run: None,
                scoring: None,
                train,
                score: ScoreConfig { sample, ..score.clone() },
            });
        }
        Ok(planned)
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
    let mut plan = Plan::open(&home, &args.plan_name(&concept), args.cells(&concept)?)?;
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
    let baseline = results.first();
    let pairs: Vec<_> = results.iter().map(|result| Some((baseline?.at(false)?, result.at(true)?))).collect();
    let mut compared = client::compare(pairs.iter().flatten().map(|pair| vec![pair.clone()]).collect())?.into_iter();
    let lines: Vec<&ScoreSummary> =
        results.iter().flat_map(|result| [&result.before, &result.after]).flatten().collect();
    let dino = lines.iter().any(|line| line.scores.dino.is_some());
    let mut table = Table {
        columns: keys
            .iter()
            .map(|key| Column::new(key, key))
            .chain(score_columns(dino, "", ""))
            .chain(score_columns(dino, "_difference", "Δ "))
            .collect(),
        notes: notes(&lines),
        ..Table::default()
    };
    let mut first: Vec<Cell> = keys.iter().map(|_| "untrained".into()).collect();
    let width = table.columns.len();
    if let Some(before) = baseline.and_then(|baseline| baseline.before.as_ref()) {
        first.extend(score_cells(&before.scores, dino));
    }
    first.resize(width, Cell::Nothing(String::new()));
    table.rows.push(first);
    for ((cell, result), pair) in plan.cells.iter().zip(&results).zip(&pairs) {
        let mut row: Vec<Cell> = keys.iter().map(|key| Cell::Text(cell.settings[key].clone())).collect();
        if let Some(after) = &result.after {
            row.extend(score_cells(&after.scores, dino));
            let difference = pair.as_ref().and_then(|_| compared.next());
            row.extend(difference_cells(difference, dino, &cell.label, &mut table.notes));
        } else if let Some(problem) = &result.problem {
            table.notes.push(format!("{}: {problem}", cell.label));
        }
        row.resize(width, Cell::Nothing(String::new()));
        table.rows.push(row);
    }
    table.notes.push(
        "Δ: from the untrained base model, paired by prompt and seed; an interval without 0 is a difference".into(),
    );
    table.notes.splice(0..0, best(plan, &results, study));
    Ok(table)
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
        let base = (TrainConfig::default(), SampleConfig::default());
        let one = |name: &str, text: &str| with(&base, name, text);
        assert_eq!(one("layers", "9+10+11").unwrap().0.layers, Some(vec![9, 10, 11]));
        assert_eq!(one("n", "4").unwrap().0.prefix_length, 4);
        assert!((one("lr", "1").unwrap().0.learning_rate - 1.0).abs() < 1e-12);
        assert!((one("strength", "2").unwrap().1.strength - 2.0).abs() < 1e-6);
        assert_eq!(one("init", "normal").unwrap().0.init, crate::protocol::Init::Normal);
        assert!(one("masked_loss", "true").unwrap().0.masked_loss);
        assert_eq!(one("caption", "a photo of a {class}").unwrap().0.caption, "a photo of a {class}");
        for (name, text) in [("layers", "nine"), ("n", "two"), ("colour", "1"), ("init", "sometimes")] {
            let message = one(name, text).unwrap_err().to_string();
            assert!(message.starts_with(&format!("{name}={text}: ")), "{message}");
        }
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
