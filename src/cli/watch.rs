//! `catbench watch`: come back to a job.

use super::{Error, follow};

/// Options of `watch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The concept.
    concept: String,
    /// The run: its id, the start of it, or `latest`.
    #[arg(long, default_value = "latest")]
    run: String,
    /// Print one JSON object last.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let concept = super::concept(&args.concept)?;
    let run = concept.run(&args.run)?;
    follow::follow(&concept, &run, None, args.json)
}
