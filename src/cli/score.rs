//! `catbench score`: measure a run.

use std::path::PathBuf;

use super::sample::checkpoint;
use super::train::{one_of, positive};
use super::{Error, follow};
use crate::client;
use crate::protocol::Fill;
use crate::workspace::{Concept, JobFolder, preflight};

/// Options of a scoring.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The concept: a folder of the home.
    concept: String,
    /// The run: its id, the start of it, or `latest`.
    #[arg(long, default_value = "latest")]
    run: String,
    /// A file with one prompt a line; the concept's own list if not given.
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Images a prompt.
    #[arg(short = 'n', long = "images", default_value = "4", value_parser = positive)]
    images_per_prompt: usize,
    /// Seed of the first image of each prompt.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What stands outside the mask: black, white, grey or mean.
    #[arg(long, default_value = "black", value_parser = fill)]
    fill: Fill,
    /// Print one JSON object last.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let concept = super::concept(&args.concept)?;
    let run = concept.run(&args.run)?;
    let mut config = concept.evaluation()?;
    config.sample.checkpoint = Some(checkpoint(&run)?);
    config.sample.images_per_prompt = args.images_per_prompt;
    config.sample.seed = args.seed;
    config.fill = args.fill;
    if let Some(list) = &args.prompts {
        config.sample.prompts = Concept::read_prompts(list)?;
    }
    preflight(&concept)?;
    let job = JobFolder::new_score(&concept, &run, config)?;
    client::start_job(&job)?;
    follow::follow(&concept, &job, None, args.json)
}

fn fill(text: &str) -> Result<Fill, String> {
    one_of(text, &[("black", Fill::Black), ("white", Fill::White), ("grey", Fill::Grey), ("mean", Fill::Mean)])
}
