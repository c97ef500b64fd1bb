//! `catbench stop`: end a training early.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Error, RunArgs, print_json};
use crate::client;
use crate::client::words::shell;
use crate::protocol::State;
use crate::workspace::{Concept, JobFolder};

/// Seconds to wait for the runner: a step and a checkpoint.
const PATIENCE: Duration = Duration::from_secs(300);

/// The last run of `concept` that a runner works on, where there is one: a later one may wait for its turn.
fn at_work(concept: &Concept) -> Result<Option<JobFolder>, Error> {
    Ok(concept.runs()?.into_iter().rfind(JobFolder::is_held))
}

pub fn run(args: &RunArgs) -> Result<(), Error> {
    let concept = super::concept(&args.concept)?;
    let run = match &args.run {
        None => at_work(&concept)?.map_or_else(|| args.of(&concept), Ok)?,
        Some(_) => args.of(&concept)?,
    };
    client::stop(&run)?;
    let deadline = Instant::now() + PATIENCE;
    let (state, history) = loop {
        let (how, history) = run.look()?;
        if how != State::Running {
            break (how, history);
        }
        if Instant::now() > deadline {
            return Err(Error::Job(format!("{} has been asked to stop but is still in its step", run.id())));
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    if args.json {
        print_json(&json!({ "state": state, "steps": history.step(), "path": run.path() }));
    } else if state == State::New {
        outln!("{} is out of the queue: it had not begun", run.id());
    } else {
        outln!("{} {} after step {}", run.id(), state.word(), history.step());
        if state == State::Stopped {
            outln!("go on: catbench train {} --resume {}", shell(&concept.id), run.id());
        }
    }
    Ok(())
}
