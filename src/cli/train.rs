//! `catbench train`: learn a concept.

use super::preflight::Told;
use super::train_settings::{GROUP, TrainSettings};
use super::{Error, PlacementArgs, follow};
use crate::client;
use crate::client::words::shell;
use crate::protocol::{JobInfo, State, TrainConfig};
use crate::workspace::{Concept, History, JobFolder, Preflight, preflight, preflight_of};

/// Options of a training. What is not given is as `[train]` of concept.toml has it, else as in the preset.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The concept: a folder of the home.
    concept: String,
    /// Go on with a run that was stopped, interrupted or failed: its id, or `latest`.
    #[arg(long, value_name = "RUN", conflicts_with = GROUP)]
    resume: Option<String>,
    #[command(flatten)]
    settings: TrainSettings,
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
    let (run, checked) = resumable(&concept, id)?;
    let (spec, done) = (run.run_spec()?, steps_done(&run)?);
    checked.check_training(&spec.train)?;
    client::check_resume(&run)?;
    let estimate = client::estimate_of(client::run_request(&concept, &spec, done)?)?;
    let mut told = Told::train(&checked, &spec.train);
    told.rows.push(("resumes", format!("{} after {done} of {} steps", run.id(), spec.train.steps)));
    if args.dry_run {
        return super::preflight::dry_run(&concept, &told, &estimate, args.json);
    }
    if !args.json {
        super::preflight::say(&concept, &told, &estimate);
    }
    super::preflight::refuse(&estimate)?;
    let job = client::submit(&run, args.placement.placement(args.settings.device()))?;
    follow_or_leave(args, &concept, &run, &job)
}

fn new(args: &Args, concept: &Concept) -> Result<(), Error> {
    let config = args.settings.config(concept)?;
    let from_concept = args.settings.starts_from(concept);
    let kept = if from_concept { concept.file.train.kept_in(&config) } else { toml::Table::new() };
    if args.dry_run {
        config.check()?;
        let (checked, sample) = (preflight(concept)?, concept.evaluation(config.preset()?)?.sample);
        sample.check()?;
        checked.check_training(&config)?;
        let estimate = client::estimate(concept, Some(&config), &sample, None, config.evaluate)?;
        let told = Told { from_concept: kept, ..Told::train(&checked, &config) };
        return super::preflight::dry_run(concept, &told, &estimate, args.json);
    }
    let run = begin(concept, config, kept, !args.json)?;
    let job = client::submit_new(&run, args.placement.placement(args.settings.device()))?;
    follow_or_leave(args, concept, &run, &job)
}

fn follow_or_leave(args: &Args, concept: &Concept, run: &JobFolder, job: &JobInfo) -> Result<(), Error> {
    if args.detach {
        follow::say_where(concept, run, Some(job), args.json);
        return Ok(());
    }
    follow::follow(concept, run, Some(job), args.json)
}

/// Steps that the last checkpoint of `run` has behind it.
fn steps_done(run: &JobFolder) -> Result<usize, Error> {
    let checkpoints = History::read(run)?.checkpoints;
    Ok(checkpoints.iter().rfind(|(_, path)| path.is_file()).map_or(0, |(step, _)| *step))
}

/// The demo without a screen: train and score.
pub fn demo(json: bool) -> Result<(), Error> {
    let concept = super::concept("demo")?;
    let config = TrainConfig { evaluate: true, ..concept.train_config() };
    let kept = concept.file.train.kept_in(&config);
    let run = begin(&concept, config, kept, !json)?;
    let job = client::submit_new(&run, client::Placement::default())?;
    follow::follow(&concept, &run, Some(&job), json)
}

/// Check all that can be checked, say what will be done, and make the run's folder. `from_concept` is what of `config` comes from
/// concept.toml.
fn begin(concept: &Concept, config: TrainConfig, from_concept: toml::Table, say: bool) -> Result<JobFolder, Error> {
    config.check()?;
    let checked = preflight(concept)?;
    checked.check_training(&config)?;
    let evaluation = concept.evaluation(config.preset()?)?;
    evaluation.sample.check()?;
    let estimate = client::estimate(concept, Some(&config), &evaluation.sample, None, config.evaluate)?;
    if say {
        let told = Told { from_concept, ..Told::train(&checked, &config) };
        super::preflight::say(concept, &told, &estimate);
    }
    super::preflight::refuse(&estimate)?;
    client::check_writable(&concept.home()?)?;
    Ok(JobFolder::new_run(concept, config, evaluation)?)
}

/// A run that has something left to do and is not being done, and what was looked at for it.
fn resumable(concept: &Concept, id: &str) -> Result<(JobFolder, Preflight), Error> {
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
        _ => {
            let checked = preflight_of(concept, run.run_spec()?.photos)?;
            Ok((run, checked))
        }
    }
}
