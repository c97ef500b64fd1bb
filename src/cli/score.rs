//! `catbench score`: measure a run, its checkpoints, samples that are there; compare runs.

use std::path::PathBuf;

use super::preflight::Summary;
use super::score_table::{
    Best, ScoreColumns, best_columns, how_cells, how_columns, interval_notes, notes, of_checkpoints,
};
use super::settings::SettingOptions;
use super::table::{Cell, Column, Format, Table};
use super::{Error, PlacementArgs, PromptArgs, RunArgs, follow, score_compare};
use crate::client::words::shell;
use crate::client::{self, Asked};
use crate::fs::Show;
use crate::protocol::{EstimateRequest, PictureConfig, ScoreConfig, ScoreTask, Scores};
use crate::workspace::{
    self, Concept, History, JobFolder, ScoreLine, last_scored, lines_with, read_scores, unread_scores,
};

/// Options of a scoring.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// Measure these pictures, each with its mask in `masks/` beside it; those of one checkpoint and strength together.
    #[arg(long, value_name = "FILE", num_args = 1.., group = "what")]
    sample: Vec<PathBuf>,
    /// Measure the pictures of a sampling: its id, the start of it, or `latest`.
    #[arg(long, value_name = "BATCH", group = "what")]
    batch: Option<String>,
    /// Measure every checkpoint of the run.
    #[arg(long, conflicts_with = "what")]
    checkpoints: bool,
    /// Measure nothing: show what was measured of the run last; with --checkpoints, what was of its checkpoints.
    #[arg(long, conflicts_with = "what")]
    last: bool,
    /// Measure nothing: compare what was measured of these runs last with what was of the first, pair by pair of prompt and
    /// seed. That speaks of these checkpoints, not of their settings.
    #[arg(long, value_name = "RUN", num_args = 1.., group = "what")]
    compare: Vec<String>,
    /// Compare the runs of --compare, trainings with the same settings and other seeds, with these, trainings with other settings: the
    /// training is the unit, so that speaks of the settings.
    #[arg(long, value_name = "RUN", num_args = 1.., requires = "compare")]
    against: Vec<String>,
    /// What the pictures show, where they do not say so themselves; {concept} stands for the learned concept.
    #[arg(long, requires = "sample")]
    prompt: Option<String>,
    #[command(flatten)]
    placement: PlacementArgs,
    #[command(flatten)]
    prompts: PromptArgs,
    #[command(flatten)]
    how: SettingOptions<ScoreConfig>,
    /// How the table is printed: text, csv, json, markdown or latex.
    #[arg(long)]
    format: Option<Format>,
    /// Say what would be done and what it needs, and do nothing. Ends with 1 if it cannot be done here.
    #[arg(long, conflicts_with_all = ["last", "compare"])]
    dry_run: bool,
}

pub fn run(args: &Args) -> Result<(), Error> {
    if args.last {
        let (concept, run) = args.run.find()?;
        warn_of_unread(&run)?;
        let lines = if args.checkpoints {
            read_scores(&last_curve_of(&concept, &run)?)?
        } else {
            let last = last_of(&concept, &run)?;
            lines_with(&JobFolder::within(&concept.folder, &last.job)?, &last)?
        };
        show(args, lines);
        return Ok(());
    }
    if !args.compare.is_empty() {
        let concept = super::concept(&args.run.concept)?;
        print(args, &score_compare::table(&concept, &args.compare, &args.against)?);
        return Ok(());
    }
    let concept = super::concept(&args.run.concept)?;
    let files: Vec<PathBuf> = match &args.batch {
        Some(id) => pictures_of(&concept.batch(id)?)?,
        None => args.sample.iter().map(|file| absolute(file)).collect::<Result<_, _>>()?,
    };
    let run = if files.is_empty() { Some(args.run.after(&concept, &args.placement.after)?) } else { None };
    let mut config = concept.evaluation(JobFolder::preset_of(run.as_ref())?)?;
    args.how.apply(&mut config)?;
    args.prompts.apply_with_prompts(&mut config.sample, &concept)?;
    let task = match &run {
        None => ScoreTask::Pictures { files, prompt: args.prompt.clone() },
        Some(_) if args.checkpoints => ScoreTask::Checkpoints,
        Some(run) => {
            let home = concept.home()?;
            config.sample.picture.checkpoint = Some(client::checkpoint_after(&home, run, &args.placement.after)?);
            ScoreTask::Both
        }
    };
    let whole_run = matches!(task, ScoreTask::Both);
    let ready = Asked::score(&concept, run.as_ref(), task, config)?.estimate()?;
    let told = Summary::work("scores", work(&ready.asked.request)).about(run.as_ref())?;
    if args.dry_run {
        return super::preflight::dry_run(&concept, &told, &ready, args.run.json);
    }
    if !args.run.json {
        super::preflight::say(&concept, &told, &ready);
    }
    let (scoring, job) = ready.begin(args.placement.placement(args.prompts.settings.device()))?;
    if whole_run && args.format.is_none() {
        return follow::follow(&concept, &scoring, Some(&job), args.run.json);
    }
    if follow::quietly(&concept, &scoring, Some(&job))? {
        show(args, read_scores(&scoring)?);
    }
    Ok(())
}

/// Say which lines of the scores of `run` are passed over.
pub(super) fn warn_of_unread(run: &JobFolder) -> Result<(), Error> {
    unread_scores(run)?.iter().for_each(|problem| errln!("warning: {problem}"));
    Ok(())
}

/// How much is measured, in words.
fn work(request: &EstimateRequest) -> String {
    let (photos, score) = (format!("against {} photos", request.photos), request.score.as_ref());
    match score.map_or((0, 0), |score| (score.files, score.sides)) {
        (0, sides) => format!("{sides} × {} sampled pictures {photos}", request.sample.pictures().len()),
        (files, _) => format!("{files} pictures {photos}"),
    }
}

fn absolute(file: &std::path::Path) -> Result<PathBuf, Error> {
    let path = std::path::absolute(file).map_err(workspace::Error::io("find", file))?;
    // Named now, not by a job later.
    std::fs::metadata(&path).map_err(workspace::Error::io("read", &path))?;
    Ok(path)
}

/// The pictures that a sampling has made.
pub(super) fn pictures_of(batch: &JobFolder) -> Result<Vec<PathBuf>, Error> {
    let pictures: Vec<PathBuf> = History::read(batch)?.pictures.into_iter().map(|picture| picture.path).collect();
    if pictures.is_empty() {
        return Err(Error::Job(format!("{}: this sampling has made no pictures", batch.path().shown())));
    }
    Ok(pictures)
}

/// What was measured of `run` last: at the end of its training, on its own, or by a sweep or a protocol.
pub fn last_of(concept: &Concept, run: &JobFolder) -> Result<ScoreLine, Error> {
    let (concept, id) = (shell(&concept.id), run.id());
    let missing = || Error::Job(format!("{id} has not been scored: catbench score {concept} --run {id}"));
    last_scored(run)?.ok_or_else(missing)
}

/// The last scoring of several checkpoints of `run`.
fn last_curve_of(concept: &Concept, run: &JobFolder) -> Result<JobFolder, Error> {
    let missing = || {
        let (concept, id) = (shell(&concept.id), run.id());
        Error::Job(format!(
            "the checkpoints of {id} have not been scored: catbench score {concept} --run {id} --checkpoints"
        ))
    };
    let (job, _) = workspace::last_curve(run)?.ok_or_else(missing)?;
    Ok(JobFolder::within(&concept.folder, &job)?)
}

/// Print what a job has measured.
fn show(args: &Args, mut lines: Vec<ScoreLine>) {
    // A folder that was scored again has the lines of both; the last ones count.
    let mut seen = Vec::new();
    lines.reverse();
    lines.retain(|line| {
        let key =
            (line.learned, line.step, line.strength.map(f32::to_bits), line.checkpoint.clone(), line.sample.clone());
        let new = !seen.contains(&key);
        seen.push(key);
        new
    });
    lines.reverse();
    lines.sort_by_key(|line| (line.step, line.learned));
    let all: Vec<&ScoreLine> = lines.iter().collect();
    let shown = ScoreColumns::of(&all);
    let told_apart = apart(&lines);
    let mut columns = vec![Column::new("step", "step"), Column::new("concept", "concept")];
    columns.extend(told_apart.iter().map(|(key, _)| Column::new(key, key)));
    columns.extend(shown.columns("", ""));
    let curve: Vec<usize> = (0..lines.len()).filter(|at| args.checkpoints && lines[*at].learned).collect();
    let best =
        (curve.len() > 1).then(|| Best::of(&curve.iter().map(|at| vec![&lines[*at].record]).collect::<Vec<_>>()));
    columns.extend(best.iter().flat_map(|_| best_columns()));
    columns.extend(how_columns());
    let side = |line: &ScoreLine| if line.learned { format!("step {}", line.step) } else { "untrained".to_owned() };
    let rows: Vec<(String, &Scores)> = lines.iter().map(|line| (side(line), &line.record.scores)).collect();
    let rows = rows.iter().map(|(name, scores)| (name.as_str(), *scores));
    let mut table = Table { columns, notes: [interval_notes(rows), notes(&all)].concat(), ..Table::default() };
    let against = |at: Option<usize>| match (&best, at) {
        (None, _) => Vec::new(),
        (Some(best), Some(at)) => best.cells(at).to_vec(),
        (Some(_), None) => vec![Cell::Nothing(String::new()); best_columns().len()],
    };
    for (at, line) in lines.iter().enumerate() {
        let mut row: Vec<Cell> =
            vec![Cell::Count(line.step), if line.learned { "learned".into() } else { "untrained".into() }];
        row.extend(told_apart.iter().map(|(_, cell)| cell(line)));
        row.extend(shown.cells(&line.record.scores));
        row.extend(against(curve.iter().position(|of_curve| *of_curve == at)));
        row.extend(how_cells(Some(&line.record.scores), Some(line)));
        table.rows.push(row);
    }
    if let Some((line, photos)) = lines.last().and_then(|line| Some((line, line.record.photo_scores.as_deref()?))) {
        let mut row = vec![Cell::Nothing(String::new()), "photos".into()];
        row.extend(told_apart.iter().map(|_| Cell::Nothing(String::new())));
        row.extend(shown.cells(photos));
        row.extend(against(None));
        row.extend(how_cells(Some(photos), Some(line)));
        table.rows.push(row);
    }
    if let Some(best) = best {
        let names: Vec<String> = curve.iter().map(|at| format!("step {}", lines[*at].step)).collect();
        table.notes.splice(0..0, best.notes("checkpoint", &names));
    }
    let learned = lines.iter().filter(|line| line.learned).count();
    table.notes.extend((learned > 0).then(|| of_checkpoints(learned)));
    print(args, &table);
}

/// A setting of the sampling.
fn sampled(line: &ScoreLine, name: &str) -> Cell {
    match line.sample.as_ref().map(|sample| &sample[name]) {
        None | Some(serde_json::Value::Null) => Cell::Nothing(String::new()),
        Some(serde_json::Value::String(text)) => Cell::Text(text.clone()),
        Some(value) => Cell::Text(value.to_string()),
    }
}

/// A column by which a reader tells lines apart: its key, and its text for a line.
type Apart = (&'static str, Box<dyn Fn(&ScoreLine) -> Cell>);

/// The columns that tell lines apart whose steps do not: strength, checkpoint, and how they were sampled.
fn apart(lines: &[ScoreLine]) -> Vec<Apart> {
    let text = |text: Option<String>| text.map_or_else(|| Cell::Nothing(String::new()), Cell::Text);
    let short = |hash: &String| hash.chars().take(12).collect();
    let mut all: Vec<Apart> = vec![
        ("strength", Box::new(move |line| text(line.strength.map(|strength| strength.to_string())))),
        ("checkpoint", Box::new(move |line| text(line.checkpoint.as_ref().map(short)))),
    ];
    let rows = PictureConfig::ROWS.iter().filter(|row| !["strength", "seed"].contains(&row.name));
    all.extend(rows.map(|row| -> Apart { (row.word(), Box::new(|line| sampled(line, row.name))) }));
    let alike = |a: &ScoreLine, b: &ScoreLine| (a.learned, a.step) == (b.learned, b.step);
    all.retain(|(_, says)| {
        lines.iter().enumerate().any(|(i, a)| lines[..i].iter().any(|b| alike(a, b) && says(a) != says(b)))
    });
    all
}

fn print(args: &Args, table: &Table) {
    let format = args.format.unwrap_or(if args.run.json { Format::Json } else { Format::Text });
    out!("{}", table.render(format));
}
