//! `catbench score --compare`: what was measured of runs against each other: pair by pair, which speaks of checkpoints, or as two
//! groups of trainings, which speaks of their settings.

use std::collections::BTreeMap;

use super::Error;
use super::score::{last_of, warn_of_unread};
use super::score_table::{
    OF_SETTINGS, ScoreColumns, how_cells, how_columns, interval_notes, notes, of_checkpoints, sampled_otherwise,
};
use super::table::{Cell, Column, Table};
use crate::protocol::{Scores, TrainConfig};
use crate::statistics::{self, Comparison, ScoreRecord};
use crate::workspace::{Concept, ScoreLine};

/// A run and what was measured of it last.
struct Run {
    id: String,
    line: ScoreLine,
    train: TrainConfig,
}

impl Run {
    fn find(concept: &Concept, id: &str) -> Result<Self, Error> {
        let run = concept.run(id)?;
        warn_of_unread(&run)?;
        Ok(Self { id: run.id().to_owned(), line: last_of(concept, &run)?, train: run.run_spec()?.train })
    }

    fn record(&self) -> ScoreRecord {
        self.line.record.clone()
    }

    /// In which settings it learned otherwise than `other`, each with both values. What the preset was called is none of them.
    fn learned_otherwise(&self, other: &Self) -> BTreeMap<String, String> {
        let like = TrainConfig { preset: self.train.preset.clone(), ..other.train.clone() }.looked_at_as(&self.train);
        let said = |train: &TrainConfig, name: &str| match train.get(name) {
            serde_json::Value::Null => "-".into(),
            value => value.to_string(),
        };
        let rows = self.train.rows().into_iter().chain(like.rows());
        let names = rows.map(|row| row.name).filter(|name| self.train.get(name) != like.get(name));
        let both = |name: &str| format!("{name} ({}; {})", said(&self.train, name), said(&like, name));
        names.map(|name| (name.to_owned(), both(name))).collect()
    }
}

/// Compare runs. Without `second`, each run of `first` is compared with the first of them, pair by pair of pictures. With it, the two
/// lists are compared as groups of trainings.
///
/// # Errors
/// Runs that were not scored, a run that is given twice, or a group whose trainings differ in more than their seed.
pub fn table(concept: &Concept, first: &[String], second: &[String]) -> Result<Table, Error> {
    let find = |ids: &[String]| ids.iter().map(|id| Run::find(concept, id)).collect::<Result<Vec<_>, _>>();
    let (runs, against) = (find(first)?, find(second)?);
    let all: Vec<&Run> = runs.iter().chain(&against).collect();
    for (at, run) in all.iter().enumerate() {
        if all[..at].iter().any(|other| other.id == run.id) {
            return Err(Error::Job(format!("{} is given twice: give each run once", run.id)));
        }
    }
    let lines: Vec<&ScoreLine> = all.iter().map(|run| &run.line).collect();
    let dino = lines.iter().all(|line| line.record.scores.dino.is_some());
    let shown = ScoreColumns { dino, ..ScoreColumns::of(&lines) };
    let mut table = Table {
        columns: std::iter::once(Column::new("run", "run"))
            .chain(shown.columns("", ""))
            .chain(shown.columns("_difference", "Δ "))
            .chain(how_columns())
            .collect(),
        ..Table::default()
    };
    let otherwise =
        all[1..].iter().filter_map(|run| sampled_otherwise((&all[0].id, &all[0].line), (&run.id, &run.line)));
    table.notes.extend(otherwise);
    if against.is_empty() {
        pair_by_pair(&mut table, shown, &runs);
    } else {
        two_groups(&mut table, shown, &runs, &against)?;
    }
    table.notes.extend(notes(&lines));
    Ok(table)
}

fn pair_by_pair(table: &mut Table, shown: ScoreColumns, runs: &[Run]) {
    table.notes.extend(interval_notes(runs.iter().map(|run| (run.id.as_str(), &run.line.record.scores))));
    for (at, run) in runs.iter().enumerate() {
        let mut row: Vec<Cell> = vec![Cell::Text(run.id.clone())];
        row.extend(shown.cells(&run.line.record.scores));
        let difference = (at > 0).then(|| both(&runs[0].line.record, &run.line.record));
        row.extend(difference_cells(difference, shown, &run.id, &mut table.notes));
        row.extend(how_cells(Some(&run.line.record.scores), Some(&run.line)));
        table.rows.push(row);
    }
    let first = &runs[0].id;
    table.notes.push(format!("Δ: from {first}, paired by prompt and seed; an interval without 0 is a difference"));
    table.notes.push(of_checkpoints(runs.len()));
}

fn two_groups(table: &mut Table, shown: ScoreColumns, runs: &[Run], against: &[Run]) -> Result<(), Error> {
    check_group(runs)?;
    check_group(against)?;
    let records = |side: &[Run]| side.iter().map(Run::record).collect::<Vec<_>>();
    let compared = statistics::compare_groups(&records(runs), &records(against));
    let compared = compared.map_err(|error| Error::Job(error.to_string()))?;
    let unpaired = compared.difference.unpaired;
    if unpaired > 0 {
        let each = compared.first.masked_clip_i.n / runs.len();
        table.notes.insert(
            0,
            format!(
                "only the {each} pictures that all runs have are compared; {unpaired} pictures have no partner in all others"
            ),
        );
    }
    let names = |side: &[Run]| side.iter().map(|run| run.id.as_str()).collect::<Vec<_>>().join(" ");
    let (first, second) = (names(runs), names(against));
    table.notes.extend(interval_notes([(first.as_str(), &compared.first), (&second, &compared.second)]));
    let how = &runs[0].line;
    let mut add = |name: String, scores: &Scores, difference: Vec<Cell>| {
        let cells = [shown.cells(scores), difference, how_cells(Some(scores), Some(how)).to_vec()];
        table.rows.push([vec![Cell::Text(name)], cells.concat()].concat());
    };
    add(first, &compared.first, shown.nothing());
    add(second, &compared.second, shown.cells(&compared.difference.scores));
    let mut otherwise = runs[0].learned_otherwise(&against[0]);
    otherwise.remove("seed");
    let differing =
        if otherwise.is_empty() { "in their seeds only".into() } else { format!("in {}", words(otherwise)) };
    table.notes.push(format!(
        "Δ: from the first group (Welch's t); an interval without 0 is a difference. The groups differ {differing}"
    ));
    table.notes.push(OF_SETTINGS.into());
    Ok(())
}

/// Refuse a group of trainings that are not of the same settings, or not of other seeds.
fn check_group(group: &[Run]) -> Result<(), Error> {
    for (at, run) in group.iter().enumerate() {
        for other in &group[..at] {
            let mut otherwise = other.learned_otherwise(run);
            let (a, b) = (&other.id, &run.id);
            if otherwise.is_empty() {
                return Err(Error::Job(format!(
                    "{a} and {b} have the same settings and the same seed, so they are one training: give one of them"
                )));
            }
            otherwise.remove("seed");
            if !otherwise.is_empty() {
                return Err(Error::Job(format!(
                    "{a} and {b} are in one group and differ in more than their seed: {}; give trainings with the same settings",
                    words(otherwise)
                )));
            }
        }
    }
    Ok(())
}

/// What is said of settings, in their order.
fn words(settings: BTreeMap<String, String>) -> String {
    settings.into_values().collect::<Vec<_>>().join(", ")
}

/// One training's scoring against another's.
fn both(first: &ScoreRecord, second: &ScoreRecord) -> Result<Comparison, String> {
    statistics::pool(&[vec![(first.clone(), second.clone())]]).map_err(|error| error.to_string())
}

/// The cells of a difference; where there is none, `notes` says why of `name`.
pub fn difference_cells(
    difference: Option<Result<Comparison, String>>,
    shown: ScoreColumns,
    name: &str,
    notes: &mut Vec<String>,
) -> Vec<Cell> {
    match difference {
        Some(Ok(compared)) => {
            let unpaired = compared.difference.unpaired;
            if unpaired > 0 {
                let pairs = compared.difference.scores.masked_clip_i.n;
                notes.push(format!("{name}: Δ is of {pairs} pairs; {unpaired} pictures of the two have no partner"));
            }
            shown.cells(&compared.difference.scores)
        }
        other => {
            if let Some(Err(why)) = other {
                notes.push(format!("{name}: {why}"));
            }
            shown.nothing()
        }
    }
}
