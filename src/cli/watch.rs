//! `catbench watch`: come back to a job.

use super::{Error, RunArgs, follow};

pub fn run(args: &RunArgs) -> Result<(), Error> {
    let (concept, run) = args.find()?;
    follow::follow(&concept, &run, None, args.json)
}
