//! `catbench score`: measure a run.

use super::sample::checkpoint;
use super::train::one_of;
use super::{Error, PromptArgs, RunArgs, follow};
use crate::client;
use crate::protocol::Fill;
use crate::workspace::{JobFolder, preflight};

/// Options of a scoring.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    prompts: PromptArgs,
    /// What stands outside the mask: black, white, grey or mean.
    #[arg(long, default_value = "black", value_parser = fill)]
    fill: Fill,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let (concept, run) = args.run.find()?;
    let mut config = concept.evaluation()?;
    config.sample.checkpoint = Some(checkpoint(&run)?);
    args.prompts.apply(&mut config.sample)?;
    config.fill = args.fill;
    config.sample.check()?;
    preflight(&concept)?;
    let job = JobFolder::new_score(&concept, &run, config)?;
    client::start_job(&job)?;
    follow::follow(&concept, &job, None, args.run.json)
}

fn fill(text: &str) -> Result<Fill, String> {
    one_of(text, &[("black", Fill::Black), ("white", Fill::White), ("grey", Fill::Grey), ("mean", Fill::Mean)])
}
