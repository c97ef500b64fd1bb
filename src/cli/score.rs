//! `catbench score`: measure a run.

use super::sample::{checkpoint, last_checkpoint};
use super::train::one_of;
use super::{Error, PlacementArgs, PromptArgs, RunArgs, follow};
use crate::client;
use crate::protocol::Fill;
use crate::workspace::{JobFolder, preflight};

/// Options of a scoring.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    placement: PlacementArgs,
    #[command(flatten)]
    prompts: PromptArgs,
    /// What stands outside the mask: black, white, grey or mean.
    #[arg(long, default_value = "black", value_parser = fill)]
    fill: Fill,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let (concept, run) = args.run.find()?;
    let mut config = concept.evaluation()?;
    config.sample.checkpoint =
        Some(if args.placement.after.is_empty() { checkpoint(&run)? } else { last_checkpoint(&run)? });
    args.prompts.apply(&mut config.sample)?;
    config.fill = args.fill;
    config.sample.check()?;
    preflight(&concept)?;
    if let Ok(scoring) = JobFolder::at(&run.evaluation()).as_ref()
        && scoring.is_held()
    {
        return Err(Error::Job(format!("{} is being scored already: `catbench jobs` shows it", run.id())));
    }
    let scoring = JobFolder::new_score(&concept, &run, config)?;
    let job = client::submit(&scoring, args.placement.placement(args.prompts.device))?;
    follow::follow(&concept, &scoring, Some(&job), None, args.run.json)
}

fn fill(text: &str) -> Result<Fill, String> {
    one_of(text, &[("black", Fill::Black), ("white", Fill::White), ("grey", Fill::Grey), ("mean", Fill::Mean)])
}
