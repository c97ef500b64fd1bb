//! `catbench stop`: end a training early.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Error, print_json};
use crate::client::{self, History, State};

/// Seconds to wait for the runner: a step and a checkpoint.
const PATIENCE: Duration = Duration::from_secs(300);

/// Options of `stop`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The concept.
    concept: String,
    /// The run: its id, the start of it, or `latest`.
    #[arg(long, default_value = "latest")]
    run: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let concept = super::concept(&args.concept)?;
    let run = concept.run(&args.run)?;
    client::stop(&run)?;
    let deadline = Instant::now() + PATIENCE;
    let (state, history) = loop {
        let history = History::read(&run)?;
        let state = client::state(&run, &history);
        if state != State::Running {
            break (state, history);
        }
        if Instant::now() > deadline {
            return Err(Error::Job(format!("{} has been asked to stop but is still in its step", run.id())));
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    if args.json {
        print_json(&json!({ "state": state, "steps": history.step(), "path": run.path() }));
    } else {
        println!("{} {} after step {}", run.id(), state.word(), history.step());
        if state == State::Stopped {
            println!("go on: catbench train {} --resume {}", concept.id, run.id());
        }
    }
    Ok(())
}
