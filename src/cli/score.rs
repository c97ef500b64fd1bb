//! `catbench score`: measure a run, its checkpoints, samples that are there; compare runs.

use std::path::PathBuf;

use super::preflight::Told;
use super::table::{Cell, Column, Format, ScoreColumns, Table, how_cells, how_columns, notes};
use super::train::one_of;
use super::{Error, PlacementArgs, PromptArgs, RunArgs, follow};
use crate::client;
use crate::protocol::{Fill, ScoreConfig, ScoreCrop, ScoreSummary, ScoreTask, ScoresAt};
use crate::workspace::{self, Concept, History, JobFolder, ScoreSpec, preflight, read_scores};

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
    /// seed.
    #[arg(long, value_name = "RUN", num_args = 1.., group = "what")]
    compare: Vec<String>,
    /// What the pictures show, where they do not say so themselves; {concept} stands for the learned concept.
    #[arg(long, requires = "sample")]
    prompt: Option<String>,
    #[command(flatten)]
    placement: PlacementArgs,
    #[command(flatten)]
    prompts: PromptArgs,
    #[command(flatten)]
    how: HowArgs,
    /// How the table is printed: text, csv, json, markdown or latex.
    #[arg(long)]
    format: Option<Format>,
    /// Say what would be done and what it needs, and do nothing. Ends with 1 if it cannot be done here.
    #[arg(long, conflicts_with_all = ["last", "compare"])]
    dry_run: bool,
}

/// How pictures are measured.
#[derive(Debug, clap::Args)]
pub struct HowArgs {
    /// What stands outside the mask: black, white, grey or mean.
    #[arg(long, default_value = "black", value_parser = fill)]
    fill: Fill,
    /// What of the masked pictures is measured: whole or mask-box.
    #[arg(long, default_value = "whole", value_parser = crop)]
    crop: ScoreCrop,
}

impl HowArgs {
    /// Set it in `config`.
    pub fn apply(&self, config: &mut ScoreConfig) {
        (config.fill, config.crop) = (self.fill, self.crop);
    }
}

pub fn run(args: &Args) -> Result<(), Error> {
    if args.last {
        let (concept, run) = args.run.find()?;
        return show(args, &if args.checkpoints { last_curve_of(&concept, &run)? } else { last_of(&run)?.0 });
    }
    if !args.compare.is_empty() {
        return compare(args);
    }
    let concept = super::concept(&args.run.concept)?;
    let files: Vec<PathBuf> = match &args.batch {
        Some(id) => pictures_of(&concept.batch(id)?)?,
        None => args.sample.iter().map(|file| absolute(file)).collect::<Result<_, _>>()?,
    };
    let run = if files.is_empty() { Some(args.run.after(&concept, &args.placement.after)?) } else { None };
    let mut config = concept.evaluation(JobFolder::preset_of(run.as_ref())?)?;
    args.how.apply(&mut config);
    args.prompts.apply_with_prompts(&mut config.sample, &concept)?;
    config.sample.check()?;
    preflight(&concept)?;
    let (task, sides) = match &run {
        None => (ScoreTask::Pictures { files, prompt: args.prompt.clone() }, 0),
        Some(run) if args.checkpoints => {
            let checkpoints = History::read(run)?.checkpoints.iter().filter(|(_, path)| path.is_file()).count();
            // The start without one too.
            (ScoreTask::Checkpoints, checkpoints + 1)
        }
        Some(run) => {
            let home = concept.home()?;
            config.sample.checkpoint = Some(client::checkpoint_after(&home, run, &args.placement.after)?);
            (ScoreTask::Both, 2)
        }
    };
    let spec = ScoreSpec::new(&concept, run.as_ref(), task, config)?;
    let estimate = client::estimate_of(client::score_request(&concept, &spec, sides)?)?;
    let told = Told::work("scores", work(&spec, sides, concept.photos()?.len()));
    if args.dry_run {
        return super::preflight::dry_run(&concept, &told, &estimate, args.run.json);
    }
    if !args.run.json {
        super::preflight::say(&concept, &told, &estimate);
    }
    super::preflight::refuse(&estimate)?;
    let placement = args.placement.placement(args.prompts.device);
    if let (Some(run), ScoreTask::Both) = (&run, &spec.task) {
        let (scoring, job) = client::score(&concept, run, spec.score, placement)?;
        if args.format.is_none() {
            return follow::follow(&concept, &scoring, Some(&job), args.run.json);
        }
        return if follow::quietly(&concept, &scoring, Some(&job))? { show(args, &scoring) } else { Ok(()) };
    }
    client::check_writable(&concept.home()?)?;
    let scoring = JobFolder::new_scoring(&concept, &spec)?;
    let job = client::submit_new(&scoring, placement)?;
    if follow::quietly(&concept, &scoring, Some(&job))? { show(args, &scoring) } else { Ok(()) }
}

/// How much is measured, in words.
fn work(spec: &ScoreSpec, sides: usize, photos: usize) -> String {
    let photos = format!("against {photos} photos");
    match &spec.task {
        ScoreTask::Pictures { files, .. } => format!("{} pictures {photos}", files.len()),
        _ => format!("{sides} × {} sampled pictures {photos}", spec.score.sample.pictures().len()),
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
        return Err(Error::Job(format!("{}: this sampling has made no pictures", batch.path().display())));
    }
    Ok(pictures)
}

/// What was measured of `run` last, and by which job: on its own, or at the end of its training.
fn last_of(run: &JobFolder) -> Result<(JobFolder, ScoreSummary), Error> {
    let jobs = [JobFolder::at(&run.evaluation()).ok(), Some(run.clone())];
    for job in jobs.into_iter().flatten() {
        if let Some(line) = read_scores(&job)?.into_iter().rfind(|line| line.learned) {
            return Ok((job, line));
        }
    }
    Err(Error::Job(format!("{} has not been scored: catbench score CONCEPT --run {0}", run.id())))
}

/// The last scoring of several checkpoints of `run`.
fn last_curve_of(concept: &Concept, run: &JobFolder) -> Result<JobFolder, Error> {
    let missing = || {
        let id = run.id();
        Error::Job(format!(
            "the checkpoints of {id} have not been scored: catbench score CONCEPT --run {id} --checkpoints"
        ))
    };
    let (job, _) = workspace::last_curve(run)?.ok_or_else(missing)?;
    Ok(JobFolder::at(&concept.folder.join(job))?)
}

/// Print what a job has measured.
fn show(args: &Args, job: &JobFolder) -> Result<(), Error> {
    let mut lines = read_scores(job)?;
    // A folder that was scored again has the lines of both; the last ones count.
    let mut seen = Vec::new();
    lines.reverse();
    lines.retain(|line| {
        let key = (line.learned, line.step, line.strength.map(f32::to_bits), line.checkpoint.clone());
        let new = !seen.contains(&key);
        seen.push(key);
        new
    });
    lines.reverse();
    lines.sort_by_key(|line| (line.step, line.learned));
    let all: Vec<&ScoreSummary> = lines.iter().collect();
    let shown = ScoreColumns::of(&all);
    let told_apart = apart(&lines);
    let mut columns = vec![Column::new("step", "step"), Column::new("concept", "concept")];
    columns.extend(told_apart.iter().map(|(key, _)| Column::new(key, key)));
    columns.extend(shown.columns("", ""));
    columns.extend(how_columns());
    let mut table = Table { columns, notes: notes(&all), ..Table::default() };
    for line in &lines {
        let mut row: Vec<Cell> =
            vec![Cell::Count(line.step), if line.learned { "learned".into() } else { "untrained".into() }];
        row.extend(told_apart.iter().map(|(_, cell)| cell(line)));
        row.extend(shown.cells(&line.scores));
        row.extend(how_cells(Some(line)));
        table.rows.push(row);
    }
    if args.checkpoints
        && let Some(best) = lines.iter().filter(|line| line.learned).max_by(|a, b| balance(a).total_cmp(&balance(b)))
    {
        table.notes.insert(0, format!("best checkpoint by balance: step {} ({:.3})", best.step, balance(best)));
    }
    print(args, &table);
    Ok(())
}

/// What a column says of a line.
type Says = fn(&ScoreSummary) -> Cell;

/// The columns that tell lines apart whose steps do not: strength and checkpoint.
fn apart(lines: &[ScoreSummary]) -> Vec<(&'static str, Says)> {
    let strength: Says =
        |line| line.strength.map_or_else(|| Cell::Nothing(String::new()), |strength| Cell::Text(strength.to_string()));
    let checkpoint: Says = |line| {
        let short = |hash: &String| Cell::Text(hash.chars().take(12).collect());
        line.checkpoint.as_ref().map_or_else(|| Cell::Nothing(String::new()), short)
    };
    let alike = |a: &&ScoreSummary, b: &&ScoreSummary| a.learned && b.learned && a.step == b.step;
    let differ = |what: Says| {
        lines.iter().enumerate().any(|(i, a)| lines[..i].iter().any(|b| alike(&a, &b) && what(a) != what(b)))
    };
    [("strength", strength), ("checkpoint", checkpoint)].into_iter().filter(|(_, what)| differ(*what)).collect()
}

fn balance(line: &ScoreSummary) -> f64 {
    line.scores.balance.value
}

fn print(args: &Args, table: &Table) {
    let format = args.format.unwrap_or(if args.run.json { Format::Json } else { Format::Text });
    print!("{}", table.render(format));
}

/// The differences of several runs from the first.
fn compare(args: &Args) -> Result<(), Error> {
    let concept = super::concept(&args.run.concept)?;
    let mut scored = Vec::new();
    for id in &args.compare {
        let run = concept.run(id)?;
        let (job, line) = last_of(&run)?;
        let at = ScoresAt { job: job.path().to_owned(), learned: true, step: Some(line.step) };
        scored.push((run.id().to_owned(), at, line));
    }
    let Some((first, rest)) = scored.split_first() else { return Ok(()) };
    let rows = rest.iter().map(|(_, at, _)| vec![(first.1.clone(), at.clone())]).collect();
    let compared = client::compare(rows)?;
    let lines: Vec<&ScoreSummary> = scored.iter().map(|(.., line)| line).collect();
    let dino = lines.iter().all(|line| line.scores.dino.is_some());
    let shown = ScoreColumns { dino, ..ScoreColumns::of(&lines) };
    let mut table = Table {
        columns: std::iter::once(Column::new("run", "run"))
            .chain(shown.columns("", ""))
            .chain(shown.columns("_difference", "Δ "))
            .chain(how_columns())
            .collect(),
        notes: notes(&lines),
        ..Table::default()
    };
    table.notes.push(format!("Δ: from {}, paired by prompt and seed; an interval without 0 is a difference", first.0));
    let differences = std::iter::once(None).chain(compared.into_iter().map(Some));
    for ((name, _, line), difference) in scored.iter().zip(differences) {
        let mut row: Vec<Cell> = vec![Cell::Text(name.clone())];
        row.extend(shown.cells(&line.scores));
        row.extend(difference_cells(difference, shown, name, &mut table.notes));
        row.extend(how_cells(Some(line)));
        table.rows.push(row);
    }
    print(args, &table);
    Ok(())
}

/// The cells of a difference; where there is none, `notes` says why of `name`.
pub fn difference_cells(
    difference: Option<Result<crate::protocol::Compared, String>>,
    shown: ScoreColumns,
    name: &str,
    notes: &mut Vec<String>,
) -> Vec<Cell> {
    match difference {
        Some(Ok(compared)) => {
            if compared.unpaired > 0 {
                notes.push(format!("{name}: {} samples of either side have no partner", compared.unpaired));
            }
            shown.cells(&compared.difference)
        }
        other => {
            if let Some(Err(why)) = other {
                notes.push(format!("{name}: {why}"));
            }
            shown.nothing()
        }
    }
}

fn fill(text: &str) -> Result<Fill, String> {
    one_of(text, &[("black", Fill::Black), ("white", Fill::White), ("grey", Fill::Grey), ("mean", Fill::Mean)])
}

fn crop(text: &str) -> Result<ScoreCrop, String> {
    one_of(text, &[("whole", ScoreCrop::Whole), ("mask-box", ScoreCrop::MaskBox)])
}
