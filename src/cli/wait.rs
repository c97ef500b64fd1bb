//! `catbench wait`: until jobs are over.

use std::time::Duration;

use serde_json::json;

use super::jobs::find;
use super::{Error, print_json};
use crate::client::Follow;
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
    let jobs = args.numbers.iter().map(|number| wait(&home, *number)).collect::<Result<Vec<_>, _>>()?;
    if args.json {
        print_json(&json!({ "jobs": jobs }));
    } else {
        for job in &jobs {
            let cause = job.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
            println!("job {} {}{cause}", job.number, job.state.word());
        }
    }
    match jobs.iter().find(|job| job.state != JobState::Finished) {
        Some(job) => Err(Error::Job(format!("job {} has not finished", job.number))),
        None => Ok(()),
    }
}

fn wait(home: &Home, number: u64) -> Result<JobInfo, Error> {
    loop {
        let job = find(home, number)?;
        if job.state.is_over() {
            return Ok(job);
        }
        // What may take for ever is said, for whoever waits in vain.
        match (&job.cause, job.state) {
            (Some(cause), _) => eprintln!("job {number} is {}: {cause}", job.state.word()),
            (None, JobState::Paused) => {
                eprintln!("job {number} is paused: `catbench jobs resume {number}` lets it go on");
            }
            _ => {}
        }
        let mut follow = Follow::new(&JobFolder::at(&job.job)?)?;
        while follow.over().is_none() {
            follow.next(Duration::from_secs(60))?;
        }
    }
}
