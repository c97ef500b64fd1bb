//! `catbench wait`: until jobs are over.

use std::time::Duration;

use serde_json::json;

use super::jobs::find;
use super::{Error, print_json};
use crate::client::words::plain;
use crate::client::{Follow, Reader};
use crate::protocol::{JobInfo, JobState};
use crate::workspace::{Home, JobFolder};

/// Which jobs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The jobs' numbers.
    #[arg(value_name = "JOB", required = true)]
    numbers: Vec<u64>,
    /// Print one JSON object last.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let home = Home::locate()?;
    // Said once, however long it takes.
    drop(super::reader(&home)?);
    let jobs = args.numbers.iter().map(|number| wait(&home, *number)).collect::<Result<Vec<_>, _>>()?;
    if args.json {
        print_json(&json!({ "jobs": jobs }));
    } else {
        for job in &jobs {
            let cause = job.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
            outln!("job {} {}{}", job.number, job.state.word(), plain(&cause));
        }
    }
    match jobs.iter().find(|job| job.state != JobState::Finished) {
        Some(job) => Err(Error::Job(format!("job {} has not finished", job.number))),
        None => Ok(()),
    }
}

fn wait(home: &Home, number: u64) -> Result<JobInfo, Error> {
    let mut said = None;
    loop {
        let mut reader = Reader::open(home)?;
        let job = find(&mut reader, number)?;
        if job.state.is_over() {
            return Ok(job);
        }
        // What may take for ever is said, for whoever waits in vain.
        let why = match (&job.cause, job.state) {
            (Some(cause), _) => Some(format!("job {number} is {}: {cause}", job.state.word())),
            (None, JobState::Paused) => {
                Some(format!("job {number} is paused: `catbench jobs resume {number}` lets it go on"))
            }
            _ => None,
        };
        if let Some(why) = why.filter(|why| said.as_ref() != Some(why)) {
            errln!("{why}");
            said = Some(why);
        }
        if reader.read_only().is_some() {
            // Nobody tells of its turn.
            std::thread::sleep(Duration::from_millis(500));
            continue;
        }
        let mut follow = Follow::new(&JobFolder::at(&job.job)?)?;
        while follow.over().is_none() {
            follow.next(Duration::from_secs(60))?;
        }
    }
}
