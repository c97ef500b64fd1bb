//! `catbench stop`: end a training early.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Error, RunArgs, print_json};
use crate::client;
use crate::client::words::shell;
use crate::protocol::State;
use crate::workspace::{History, state};

/// Seconds to wait for the runner: a step and a checkpoint.
const PATIENCE: Duration = Duration::from_secs(300);

pub fn run(args: &RunArgs) -> Result<(), Error> {
    let (concept, run) = args.find()?;
    client::stop(&run)?;
    let deadline = Instant::now() + PATIENCE;
    let (state, history) = loop {
        let history = History::read(&run)?;
        let how = state(&run, &history);
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
    } else {
        println!("{} {} after step {}", run.id(), state.word(), history.step());
        if state == State::Stopped {
            println!("go on: catbench train {} --resume {}", shell(&concept.id), run.id());
        }
    }
    Ok(())
}
