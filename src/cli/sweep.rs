//! `catbench sweep`: a concept trained and scored with every combination of some settings.

use super::plan::{self, How};
use super::score_compare::difference_cells;
use super::score_table::{
    Best, OF_SETTINGS, ScoreColumns, best_columns, distinct, how_cells, how_columns, interval_notes, notes,
    of_checkpoints,
};
use super::settings::SettingOptions;
use super::table::{Cell, Column, Format, Table};
use super::{Error, PromptArgs, Where};
use crate::client;
use crate::method::MethodSettings;
use crate::protocol::{Preset, SampleConfig, ScoreConfig, Scores, SharedConfig, TrainConfig};
use crate::statistics;
use crate::workspace::plan::{Cell as PlanCell, JobIds, Plan, Row};
use crate::workspace::{Concept, preflight};

/// Options of a sweep.
#[derive(Debug, clap::Args)]
// A training has settings of these names too.
#[command(mut_arg("steps", |arg| arg.long("sample-steps")), mut_arg("batch_size", |arg| arg.long("sample-batch-size")))]
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
    /// Trainings of each combination, with the seeds S, S + 1, ..., where S is the training's seed. From 3 on the table speaks of
    /// settings, not of checkpoints. 3 in a study, else 1; a plan that is there keeps its number.
    #[arg(long, value_name = "COUNT", value_parser = super::values::positive)]
    train_seeds: Option<usize>,
    /// The plan's name; the same name goes on with it. Without: the concept's and the settings'.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    prompts: PromptArgs,
    #[command(flatten)]
    how: SettingOptions<ScoreConfig>,
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

/// The settings of one cell.
pub(super) type Both = (TrainConfig, ScoreConfig);

/// Which settings a name is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Train,
    Sample,
    Score,
}

/// The settings that `name` is one of, and what it is called there: the training's first, then the sampling's, then how
/// pictures are measured. `sample.` or `score.` in front says which.
fn group_of<'a>(name: &'a str, text: &str, train: &TrainConfig) -> Result<(Group, &'a str), String> {
    if let Some(key) = name.strip_prefix("sample.") {
        return Ok((Group::Sample, key));
    }
    if let Some(key) = name.strip_prefix("score.") {
        return Ok((Group::Score, key));
    }
    let of_a_method = || MethodSettings::ALL.iter().flat_map(|method| method.settings).any(|row| row.is_called(name));
    let of_training = train.row(name).is_some() || of_a_method();
    // Trainings and scorings both have a crop: its values tell which is meant.
    let of_score = ScoreConfig::row(name).filter(|row| !of_training || row.parse(text).is_ok());
    match (of_score, of_training) {
        (Some(_), _) => Ok((Group::Score, name)),
        (None, true) => Ok((Group::Train, name)),
        (None, false) if SampleConfig::row(name).is_some() => Ok((Group::Sample, name)),
        (None, false) => {
            let known: Vec<&str> = ScoreConfig::ROWS.iter().map(|row| row.name).collect();
            let known = known.join(", ");
            Err(format!(
                "it is a setting neither of the training (as in run.toml) nor of the sampling, nor one of {known}"
            ))
        }
    }
}

/// `settings` with `name` set to what `text` says.
pub(super) fn with(settings: &Both, name: &str, text: &str) -> Result<Both, Error> {
    let wrong = |problem: &dyn std::fmt::Display| Error::Job(format!("{name}={text}: {problem}"));
    let (group, key) = group_of(name, text, &settings.0).map_err(|problem| wrong(&problem))?;
    let (mut train, mut score) = settings.clone();
    let set = match group {
        Group::Train => train.set_text(key, text),
        Group::Sample => score.sample.set_text(key, text),
        Group::Score => score.set_text(key, text),
    };
    // By its whole name: it may have been called by a short one.
    set.map_err(|error| Error::Job(format!("{}={text}: {}", error.setting, error.cause)))?;
    Ok((train, score))
}

/// `settings` with all of `values` set.
fn with_all(settings: &Both, values: &[(String, String)]) -> Result<Both, Error> {
    values.iter().try_fold(settings.clone(), |settings, (name, value)| with(&settings, name, value))
}

/// What files call the setting `name`.
fn full_name(name: &str) -> &str {
    let rows = MethodSettings::ALL.iter().flat_map(|method| TrainConfig::rows_of(method));
    rows.into_iter().find(|row| row.is_called(name)).map_or(name, |row| row.name)
}

/// What a training starts from that `values` name a method or a preset for; none where they name neither.
fn started_from(values: &[(String, String)], usual: &TrainConfig) -> Result<Option<TrainConfig>, Error> {
    let named = |name: &str| values.iter().rfind(|(other, _)| other == name).map(|(_, value)| value.as_str());
    let (method, preset) = (named("method"), named("preset"));
    if method.is_none() && preset.is_none() {
        return Ok(None);
    }
    Ok(Some(TrainConfig::of(method.unwrap_or(usual.declaration().name), preset)?))
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
    fn scoring(&self, concept: &Concept, preset: &Preset) -> Result<ScoreConfig, Error> {
        let mut score = concept.evaluation(preset)?;
        self.how.apply(&mut score)?;
        self.prompts.apply_with_prompts(&mut score.sample, concept)?;
        Ok(score)
    }

    /// What a training of a sweep starts from, where one alone starts from `train`.
    fn start(&self, train: TrainConfig) -> Result<TrainConfig, Error> {
        // Pictures are made where it trains.
        let mut sample = SampleConfig::default();
        (sample.shared.device, sample.shared.dtype) = (train.device, train.dtype);
        self.prompts.apply(&mut sample)?;
        let SharedConfig { device, dtype, .. } = sample.shared;
        // Pictures and losses on the way are looked at by nobody here, and each cell has a scoring of its own.
        Ok(TrainConfig { sample_every: 0, validate_every: 0, evaluate: false, device, dtype, ..train })
    }

    /// The cells, and the settings that all their trainings have from concept.toml.
    fn cells(&self, concept: &Concept) -> Result<(Vec<PlanCell>, toml::Table), Error> {
        let usually = if self.layers_study { 3 } else { 1 };
        // One that cannot be read is refused when it is opened.
        let known = Plan::read(&concept.home()?, &self.plan_name(concept)).ok().flatten();
        let known = |label: &str| known.as_ref()?.trainings(label);
        let trainings = |label: &str| self.train_seeds.or_else(|| known(label)).unwrap_or(usually);
        let material = client::plan::material(&concept.home()?, concept, true)?;
        let mut cells: Vec<Vec<(String, String)>> = vec![Vec::new()];
        let axes = self.axes(concept)?;
        for (name, values) in &axes {
            let and = |cell: &Vec<_>, value: &String| [&cell[..], &[(name.clone(), value.clone())]].concat();
            cells =
                cells.iter().flat_map(|cell| values.iter().map(|value| and(cell, value)).collect::<Vec<_>>()).collect();
        }
        let same = |text: &String| {
            let (name, value) = text.split_once('=').ok_or_else(|| Error::Job(format!("{text:?}: as in steps=200")))?;
            Ok((name.to_owned(), value.to_owned()))
        };
        let same = self.set.iter().map(same).collect::<Result<Vec<_>, Error>>()?;
        if let Some((name, _)) =
            same.iter().find(|(name, _)| axes.iter().any(|(other, _)| full_name(other) == full_name(name)))
        {
            return Err(Error::Job(format!("{name} is in the grid and in --set: take it out of one")));
        }
        let (mut planned, mut from_concept) = (Vec::new(), concept.file.train.said().clone());
        for cell in cells {
            let values = [&same[..], &cell[..]].concat();
            let usual = concept.train_config();
            let named = started_from(&values, &usual)?;
            let is_named = named.is_some();
            let start = self.start(named.unwrap_or(usual))?;
            let usual = self.scoring(concept, start.preset()?)?;
            let (mut train, mut score) = with_all(&(start, usual), &values)?;
            let names = |full: &str| values.iter().any(|(name, _)| full_name(name) == full);
            let says_dtype = !is_named && concept.file.train.said().contains_key("dtype");
            if names("device") && !names("dtype") && !says_dtype {
                train.dtype = train.device.usual_dtype();
            }
            // Pictures are made where it trains, as those of a training alone.
            if !names("sample.device") {
                score.sample.shared.device = train.device;
            }
            if !names("sample.dtype") {
                score.sample.shared.dtype = train.dtype;
            }
            let kept = concept.file.train.kept_in(&train);
            from_concept.retain(|name, _| !is_named && kept.contains_key(name));
            if train.hold_out.is_some() && !values.iter().any(|(name, _)| name == "validate_every") {
                // What is held out is measured.
                train.validate_every = TrainConfig::default().validate_every;
            }
            // One checkpoint, at the end, is all that is needed.
            train.checkpoint_every = train.checkpoint_every.max(train.steps);
            train.check()?;
            score.sample.check()?;
            let labels: Vec<String> = cell.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let trainings = trainings(&labels.join(" "));
            if trainings > 1 && cell.iter().any(|(name, _)| name == "seed") {
                let remedy = "take seed out of the grid, or give --train-seeds 1";
                return Err(Error::Job(format!(
                    "{trainings} trainings of each seed are no trainings of one setting: {remedy}"
                )));
            }
            let cell = PlanCell {
                label: labels.join(" "),
                training: 0,
                settings: cell.into_iter().collect(),
                concept: concept.id.clone(),
                material: material.clone(),
                photo_masks: None,
                jobs: JobIds::default(),
                train,
                score,
            };
            planned.extend(cell.trainings(trainings));
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
    let any_device = matches!(args.prompts.settings.device(), Some(Where::Any));
    let how = How { priority: args.priority, any_device, detach: args.detach, format: args.format };
    plan::run(&mut plan, &how, |plan| table(plan, args.layers_study))
}

/// All cells, each one's difference from what comes without the concept, and where it stands against the best.
fn table(plan: &Plan, study: bool) -> Result<Table, Error> {
    let rows = plan.rows()?;
    let keys: Vec<String> = plan.cells.first().map(|cell| cell.settings.keys().cloned().collect()).unwrap_or_default();
    let results = || rows.iter().flat_map(|row| &row.results);
    let lines = distinct(results().flat_map(|result| [&result.before, &result.after]).flatten());
    let shown = ScoreColumns::of(&lines);
    let mut table = Table {
        columns: keys
            .iter()
            .map(|key| Column::new(key, key))
            .chain([Column::new("concept", "concept")])
            .chain(shown.columns("", ""))
            .chain(shown.columns("_difference", "Δ "))
            .chain(best_columns())
            .chain(how_columns())
            .collect(),
        notes: notes(&lines),
        ..Table::default()
    };
    let end = table.columns.len() - best_columns().len() - how_columns().len();
    let nothing = || vec![Cell::Nothing(String::new()); best_columns().len()];
    let filled = |mut row: Vec<Cell>, best: Vec<Cell>, how: [Cell; 6]| {
        row.resize(end, Cell::Nothing(String::new()));
        row.into_iter().chain(best).chain(how).collect::<Vec<Cell>>()
    };
    // What comes without the concept is the same in all cells that are sampled and measured alike.
    let mut baselines: Vec<&Row> = Vec::new();
    for row in &rows {
        if !baselines.iter().any(|other| other.results[0].before_job == row.results[0].before_job) {
            baselines.push(row);
        }
    }
    let keys_of = |baseline: &Row, what: &str| -> Vec<Cell> {
        let value = |key: &String| match &baseline.cell.settings[key] {
            value if baselines.len() > 1 && matters_untrained(key, value) => Cell::Text(value.clone()),
            _ => what.into(),
        };
        keys.iter().map(value).chain([what.into()]).collect()
    };
    for baseline in &baselines {
        let before = baseline.before();
        let mut row = keys_of(baseline, "untrained");
        row.extend(before.map(|before| shown.cells(&before.record.scores)).unwrap_or_default());
        table.rows.push(filled(row, nothing(), how_cells(before.map(|line| &line.record.scores), before)));
    }
    let mut photos_of: Vec<&Scores> = Vec::new();
    for baseline in &baselines {
        let Some(line) = baseline.before() else { continue };
        // They depend on how they are measured alone.
        let Some(photos) = line.record.photo_scores.as_deref().filter(|photos| !photos_of.contains(photos)) else {
            continue;
        };
        photos_of.push(photos);
        let row = keys_of(baseline, "photos").into_iter().chain(shown.cells(photos)).collect();
        table.rows.push(filled(row, nothing(), how_cells(Some(photos), Some(line))));
    }
    // Rows that can be ranked, and their names.
    let whole: Vec<(usize, Vec<&statistics::ScoreRecord>)> =
        rows.iter().enumerate().filter_map(|(at, row)| Some((at, row.records()?))).collect();
    let best =
        (whole.len() > 1).then(|| Best::of(&whole.iter().map(|(_, records)| records.clone()).collect::<Vec<_>>()));
    let several = rows.iter().any(|row| row.results.len() > 1);
    let mut of_rows: Vec<(String, Scores)> = Vec::new();
    let mut compared_with_untrained = Vec::new();
    for (at, planned) in rows.iter().enumerate() {
        let mut row: Vec<Cell> = keys.iter().map(|key| Cell::Text(planned.cell.settings[key].clone())).collect();
        row.push("learned".into());
        let compared = planned.pairs().map(|pairs| statistics::pool(&[pairs]).map_err(|error| error.to_string()));
        let after = planned.after().unwrap_or_default();
        let scores = match &compared {
            Some(Ok(compared)) => Some(compared.second.clone()),
            // One that cannot be compared is shown all the same.
            _ if after.len() == 1 => after.first().map(|line| line.record.scores.clone()),
            _ => None,
        };
        if let Some(scores) = &scores {
            row.extend(shown.cells(scores));
            row.extend(difference_cells(compared.clone(), shown, &planned.cell.label, &mut table.notes));
            of_rows.push((planned.cell.label.clone(), scores.clone()));
        }
        table.notes.extend(planned.problems());
        let place = whole.iter().position(|(of_whole, _)| *of_whole == at);
        if place.is_some() {
            compared_with_untrained.push(compared.and_then(Result::ok).map(|compared| compared.difference.scores));
        }
        let against = best.as_ref().zip(place).map_or_else(nothing, |(best, place)| best.cells(place).to_vec());
        table.rows.push(filled(row, against, how_cells(scores.as_ref(), after.first().copied())));
    }
    table.notes.push(
        "Δ: from the untrained base model, paired by prompt and seed; an interval without 0 is a difference".into(),
    );
    table.notes.push(if several { OF_SETTINGS.into() } else { of_checkpoints(rows.len()) });
    let baseline = baselines.first().and_then(|row| row.before()).map(|line| ("untrained", &line.record.scores));
    let said = of_rows.iter().map(|(name, scores)| (name.as_str(), scores));
    table.notes.splice(0..0, interval_notes(baseline.into_iter().chain(said)));
    if study {
        table.notes.insert(0, single_layers(&rows));
    }
    if let Some(best) = best {
        let names: Vec<String> = whole.iter().map(|(at, _)| rows[*at].cell.label.clone()).collect();
        let mut said = best.notes("cell", &names);
        said.extend(best.against_untrained(&names, &compared_with_untrained));
        table.notes.splice(0..0, said);
    }
    Ok(table)
}

/// Whether a setting makes a difference to what comes without the concept.
fn matters_untrained(name: &str, value: &str) -> bool {
    let group = group_of(name, value, &TrainConfig::default());
    group.is_ok_and(|(group, key)| match group {
        // A preset says how pictures are sampled too.
        Group::Train => ["method", "preset"].contains(&key),
        Group::Sample => SampleConfig::row(key).is_none_or(|row| !row.of_learned),
        Group::Score => true,
    })
}

/// The single layers of a study by the values of their masked CLIP-I.
fn single_layers(rows: &[Row]) -> String {
    let value = |row: &Row| {
        let records = row.records()?;
        let sum: f64 = records.iter().map(|record| record.scores.masked_clip_i.value).sum();
        Some((row.cell.settings["layers"].clone(), sum / records.len() as f64))
    };
    let mut single: Vec<_> = rows.iter().filter_map(value).filter(|(layers, _)| !layers.contains('+')).collect();
    single.sort_by(|a, b| b.1.total_cmp(&a.1));
    let order: Vec<String> = single.into_iter().map(|(layers, _)| layers).collect();
    format!(
        "single layers, densest in features first (by masked CLIP-I; which differ stands in the table): {}",
        order.join(", ")
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn settings_are_read_by_name_and_kind() {
        let base = Both::default();
        let one = |name: &str, text: &str| with(&base, name, text);
        assert_eq!(one("layers", "9+10+11").unwrap().0.text("layers"), "9,10,11");
        assert_eq!(one("n", "4").unwrap().0.text("prefix_length"), "4");
        assert!((one("lr", "1").unwrap().0.learning_rate - 1.0).abs() < 1e-12);
        assert!((one("strength", "2").unwrap().1.sample.picture.strength - 2.0).abs() < 1e-6);
        assert!((one("guidance_scale", "3").unwrap().1.sample.picture.guidance_scale - 3.0).abs() < 1e-9);
        assert_eq!(
            (one("steps", "7").unwrap().0.steps, one("sample.steps", "7").unwrap().1.sample.picture.steps),
            (7, 7)
        );
        assert_eq!(one("sampler", "euler").unwrap().1.sample.picture.sampler, crate::protocol::SamplerKind::Euler);
        assert_eq!(one("fill", "grey").unwrap().1.fill, crate::protocol::Fill::Grey);
        assert_eq!(one("crop", "squash").unwrap().0.crop, crate::protocol::Crop::Squash);
        assert_eq!(one("crop", "mask-box").unwrap().1.crop, crate::protocol::ScoreCrop::MaskBox);
        assert_eq!(one("init", "normal").unwrap().0.text("init"), "normal");
        assert_eq!(one("lr_scheduler", "cosine").unwrap().0.lr_scheduler, crate::protocol::LrScheduler::Cosine);
        assert_eq!(one("seed", "18446744073709551615").unwrap().0.seed, u64::MAX);
        assert_eq!(one("photo_repeats", "100").unwrap().0.photo_repeats, 100);
        assert_eq!(one("hold_out", "3").unwrap().0.hold_out.as_deref(), Some("3"), "a name");
        assert!(one("every_prompt", "true").unwrap().1.sample.shared.every_prompt);
        assert!(one("masked_loss", "true").unwrap().0.masked_loss);
        assert_eq!(one("caption", "a photo of a {class}").unwrap().0.caption, "a photo of a {class}");
        let wrong = [
            ("layers", "nine"),
            ("n", "two"),
            ("colour", "1"),
            ("init", "sometimes"),
            ("preset", "own"),
            ("method", "magic"),
            ("vectors", "2"),
            ("fill", "red"),
        ];
        for (name, text) in wrong {
            let message = one(name, text).unwrap_err().to_string();
            assert!(message.starts_with(&format!("{}={text}: ", full_name(name))), "{message}");
        }
    }

    #[test]
    fn the_last_preset_that_is_named_counts() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let values = [pair("preset", "default"), pair("steps", "20"), pair("preset", "official")];
        let usual = TrainConfig::default();
        let official = TrainConfig::of(usual.declaration().name, Some("official")).unwrap();
        assert_eq!(started_from(&values, &usual).unwrap(), Some(official.clone()));
        assert_eq!(started_from(&values[1..2], &usual).unwrap(), None);
        let official = (official, ScoreConfig::default());
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
