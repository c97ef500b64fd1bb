//! `catbench jobs`: the queue.

use clap::Subcommand;
use serde_json::json;

use super::{Error, print_json};
use crate::client;
use crate::client::{Reader, words};
use crate::protocol::{JobChange, JobInfo, JobKind, JobState};
use crate::workspace::{History, Home, JobFolder, Kind};

/// Jobs that are over which are listed without `--all`.
const LAST: usize = 10;

/// What to do; without anything, list them.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List them: those that run, those that wait in the order of their turn, the last ones that are over.
    List(ListArgs),
    /// Take a job out of the queue; one that runs writes a checkpoint and ends.
    Cancel(CancelArgs),
    /// Hold a job back; one that runs writes a checkpoint and leaves its device.
    Pause(JobArgs),
    /// Let a paused job go on.
    Resume(JobArgs),
    /// Queue a job again that failed or was cancelled; a training goes on from its last checkpoint.
    Retry(JobArgs),
    /// Set a job's priority; higher goes first, 0 is usual.
    Priority(PriorityArgs),
    /// Put a job before another, or behind all.
    Move(MoveArgs),
    /// Print what a job's runner wrote, and why it failed.
    Log(JobArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only jobs of this concept.
    #[arg(long)]
    concept: Option<String>,
    /// Also the older ones that are over.
    #[arg(long)]
    all: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct JobArgs {
    /// The job's number.
    #[arg(value_name = "JOB")]
    number: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct CancelArgs {
    #[command(flatten)]
    job: JobArgs,
    /// End its runner at once, without a checkpoint.
    #[arg(long)]
    kill: bool,
}

#[derive(Debug, clap::Args)]
struct PriorityArgs {
    #[command(flatten)]
    job: JobArgs,
    /// Higher goes first.
    #[arg(allow_negative_numbers = true)]
    priority: i32,
}

#[derive(Debug, clap::Args)]
struct MoveArgs {
    #[command(flatten)]
    job: JobArgs,
    /// The job it should go before; without one it goes behind all.
    #[arg(long, value_name = "JOB")]
    before: Option<u64>,
}

pub fn run(args: &Args) -> Result<(), Error> {
    match &args.what {
        None => list(&args.list),
        Some(What::List(args)) => list(args),
        Some(What::Cancel(args)) => change(&args.job, JobChange::Cancel { kill: args.kill }),
        Some(What::Pause(args)) => change(args, JobChange::Pause),
        Some(What::Resume(args)) => change(args, JobChange::Resume),
        Some(What::Retry(args)) => change(args, JobChange::Retry),
        Some(What::Priority(args)) => change(&args.job, JobChange::Priority { priority: args.priority }),
        Some(What::Move(args)) => change(&args.job, JobChange::Move { before: args.before }),
        Some(What::Log(args)) => log(args),
    }
}

fn list(args: &ListArgs) -> Result<(), Error> {
    let mut jobs = super::reader(&Home::locate()?)?.jobs()?;
    jobs.retain(|job| args.concept.as_ref().is_none_or(|concept| *concept == job.concept));
    let over = jobs.iter().filter(|job| job.state.is_over()).count();
    if !args.all && over > LAST {
        let first = jobs.len() - over;
        jobs.drain(first..jobs.len() - LAST);
    }
    if args.json {
        print_json(&json!({ "jobs": jobs }));
        return Ok(());
    }
    if jobs.is_empty() {
        match &args.concept {
            Some(concept) => outln!("no jobs of {}: catbench train {0}", words::shell(concept)),
            None => outln!("no jobs yet: catbench train CONCEPT"),
        }
        return Ok(());
    }
    outln!("{:>5}  {:<9}  {:<6}  {:<20}  {:<7}  {:>8}", "job", "state", "kind", "concept", "device", "priority");
    for job in &jobs {
        outln!("{}", row(job).trim_end());
    }
    if let Some(job) = jobs.iter().rfind(|job| job.state.can_be_retried() && job.kind.is_some()) {
        errln!("  catbench jobs retry {}    {}", job.number, again(job));
    }
    Ok(())
}

/// What a retry of the job does.
fn again(job: &JobInfo) -> &'static str {
    match (job.state, job.kind) {
        (JobState::Cancelled, _) => "put it into the queue again",
        (_, Some(kind)) => Kind::of(kind).do_again,
        (_, None) => "do it again",
    }
}

fn row(job: &JobInfo) -> String {
    let kind = job.kind.map_or("gone", JobKind::word);
    let cause = job.cause.as_ref().map(|cause| cause.lines().next().unwrap_or_default().to_owned());
    let more = cause.or_else(|| words::far(job)).unwrap_or_default();
    let (number, state, concept, device) = (job.number, job.state.word(), &job.concept, &job.device);
    let row = format!("{number:>5}  {state:<9}  {kind:<6}  {concept:<20}  {device:<7}  {:>8}  {more}", job.priority);
    words::plain(&row).into_owned()
}

fn change(args: &JobArgs, change: JobChange) -> Result<(), Error> {
    let asked = match change {
        JobChange::Cancel { kill: false } | JobChange::Pause => " it ends after its step",
        _ => "",
    };
    let job = client::change(&Home::locate()?, args.number, change)?;
    if args.json {
        print_json(&json!({ "job": job }));
    } else {
        let ending = if job.state == JobState::Running { asked } else { "" };
        outln!(
            "job {} is {}{}",
            job.number,
            job.state.word(),
            if ending.is_empty() { String::new() } else { format!(":{ending}") }
        );
    }
    Ok(())
}

/// The job of that number.
pub fn find(reader: &mut Reader, number: u64) -> Result<JobInfo, Error> {
    let found = reader.jobs()?.into_iter().find(|job| job.number == number);
    found.ok_or_else(|| Error::Job(format!("there is no job {number}: `catbench jobs` lists them")))
}

fn log(args: &JobArgs) -> Result<(), Error> {
    let job = find(&mut super::reader(&Home::locate()?)?, args.number)?;
    let folder = JobFolder::at(&job.job)?;
    let (path, text) = (folder.log(), folder.log_text()?);
    if args.json {
        print_json(&json!({ "job": job, "path": path, "log": text }));
        return Ok(());
    }
    out!("{text}");
    for warning in &History::read(&folder)?.warnings {
        outln!("warning: {}", words::plain(warning));
    }
    let more = job.cause.clone().or_else(|| words::far(&job));
    outln!("{}{}", job.state.word(), more.map(|more| format!(": {more}")).unwrap_or_default());
    Ok(())
}
