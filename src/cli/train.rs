//! `catbench train`: learn a concept.

use super::preflight::Summary;
use super::settings::{SettingOptions, Table};
use super::{Error, PlacementArgs, follow};
use crate::client::words::shell;
use crate::client::{self, Asked, Ready};
use crate::protocol::{JobInfo, State, TrainConfig};
use crate::workspace::{Concept, JobFolder};

/// Options of a training. What is not given is as `[train]` of concept.toml has it, else as in the preset.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The concept: a folder of the home.
    concept: String,
    /// Go on with a run that was stopped, interrupted or failed: its id, or `latest`.
    #[arg(long, value_name = "RUN", conflicts_with = TrainConfig::GROUP)]
    resume: Option<String>,
    #[command(flatten)]
    settings: SettingOptions<TrainConfig>,
    #[command(flatten)]
    placement: PlacementArgs,
    /// Start in the background and return at once.
    #[arg(long)]
    detach: bool,
    /// Say what would be done and what it needs, and do nothing. Ends with 1 if it cannot be done here.
    #[arg(long, conflicts_with = "detach")]
    dry_run: bool,
    /// Print one JSON object last.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let concept = super::concept(&args.concept)?;
    let Some(id) = &args.resume else { return new(args, &concept) };
    let run = resumable(&concept, id)?;
    let ready = Asked::resume(&concept, &run)?.estimate()?;
    let (train, done) = (run.run_spec()?.train, client::steps_done(&run)?);
    let resumes = ("resumes", format!("{} after {done} of {} steps", run.id(), train.steps));
    begin(args, &concept, &train, Summary { rows: vec![resumes], ..Summary::default() }, ready)
}

fn new(args: &Args, concept: &Concept) -> Result<(), Error> {
    let config = args.settings.config(concept)?;
    let starts_there = args.settings.starts_from(concept);
    let from_concept = if starts_there { concept.file.train.kept_in(&config) } else { toml::Table::new() };
    let ready = Asked::train(concept, config.clone())?.estimate()?;
    begin(args, concept, &config, Summary { from_concept, ..Summary::default() }, ready)
}

/// Say what will be done, do it, and follow it.
fn begin(args: &Args, concept: &Concept, config: &TrainConfig, told: Summary, ready: Ready) -> Result<(), Error> {
    let told = Summary { train: Some(config), ..told };
    if args.dry_run {
        return super::preflight::dry_run(concept, &told, &ready, args.json);
    }
    if !args.json {
        super::preflight::say(concept, &told, &ready);
    }
    let (run, job) = ready.begin(args.placement.placement(args.settings.device()))?;
    follow_or_leave(args, concept, &run, &job)
}

fn follow_or_leave(args: &Args, concept: &Concept, run: &JobFolder, job: &JobInfo) -> Result<(), Error> {
    if args.detach {
        follow::say_where(concept, run, Some(job), args.json);
        return Ok(());
    }
    follow::follow(concept, run, Some(job), args.json)
}

/// The demo without a screen: train and score.
pub fn demo(json: bool) -> Result<(), Error> {
    let concept = super::concept("demo")?;
    let config = TrainConfig { evaluate: true, ..concept.train_config() };
    let from_concept = concept.file.train.kept_in(&config);
    let ready = Asked::train(&concept, config.clone())?.estimate()?;
    if !json {
        super::preflight::say(&concept, &Summary { train: Some(&config), from_concept, ..Summary::default() }, &ready);
    }
    let (run, job) = ready.begin(client::Placement::default())?;
    follow::follow(&concept, &run, Some(&job), json)
}

/// A run that has something left to do and is not being done.
fn resumable(concept: &Concept, id: &str) -> Result<JobFolder, Error> {
    let run = concept.run(id)?;
    match run.look()?.0 {
        State::Running => Err(Error::Job(format!(
            "{} is running: `catbench watch {} --run {}` follows it",
            run.id(),
            shell(&concept.id),
            run.id()
        ))),
        State::Finished => Err(Error::Job(format!(
            "{} has finished: `catbench train {}` starts a new one",
            run.id(),
            shell(&concept.id)
        ))),
        _ => Ok(run),
    }
}
