//! `catbench sample`: pictures of a concept.

use std::path::{Path, PathBuf};

use super::train::positive;
use super::{Error, follow};
use crate::client::{self, History};
use crate::protocol::SampleConfig;
use crate::workspace::{self, Concept, JobFolder};

/// Options of a sampling.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The concept: a folder of the home.
    concept: String,
    /// A prompt; {concept} stands for the learned concept. May be given several times.
    #[arg(long, value_name = "PROMPT", conflicts_with = "prompts")]
    prompt: Vec<String>,
    /// A file with one prompt a line.
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Images a prompt.
    #[arg(short = 'n', long = "images", default_value = "4", value_parser = positive)]
    images_per_prompt: usize,
    /// Seed of the first image of each prompt.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Also copy the pictures into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The run to use: its id, the start of it, or `latest`.
    #[arg(long, default_value = "latest")]
    run: String,
    /// Sample the base model without what was learned.
    #[arg(long, conflicts_with = "run")]
    untrained: bool,
    /// Denoising steps.
    #[arg(long, value_parser = positive)]
    steps: Option<usize>,
    /// Classifier-free guidance; 1 switches it off.
    #[arg(long)]
    guidance_scale: Option<f64>,
    /// DDIM's eta: 0 is deterministic.
    #[arg(long)]
    eta: Option<f64>,
    /// How strongly the embeddings act: 0 is the base model, 1 as trained.
    #[arg(long)]
    strength: Option<f32>,
    /// What the unconditional branch reads.
    #[arg(long)]
    negative_prompt: Option<String>,
    /// Images denoised at once.
    #[arg(long, value_parser = positive)]
    batch_size: Option<usize>,
    /// Print one JSON object last.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let concept = super::concept(&args.concept)?;
    let run = if args.untrained { None } else { Some(concept.run(&args.run)?) };
    let mut config = SampleConfig {
        images_per_prompt: args.images_per_prompt,
        seed: args.seed,
        checkpoint: run.as_ref().map(checkpoint).transpose()?,
        ..SampleConfig::default()
    };
    if let Some(list) = &args.prompts {
        config.prompts = Concept::read_prompts(list)?;
    } else if !args.prompt.is_empty() {
        config.prompts.clone_from(&args.prompt);
    }
    config.steps = args.steps.unwrap_or(config.steps);
    config.guidance_scale = args.guidance_scale.unwrap_or(config.guidance_scale);
    config.eta = args.eta.unwrap_or(config.eta);
    config.strength = args.strength.unwrap_or(config.strength);
    config.negative_prompt = args.negative_prompt.clone().unwrap_or(config.negative_prompt);
    config.batch_size = args.batch_size.unwrap_or(config.batch_size);
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out).map_err(workspace::Error::io("create", out))?;
    }
    let batch = JobFolder::new_batch(&concept, run.as_ref(), config)?;
    client::start_job(&batch)?;
    follow::follow(&concept, &batch, args.json)?;
    match &args.out {
        Some(out) => copy_out(&batch, out),
        None => Ok(()),
    }
}

/// The last checkpoint of `run`.
pub fn checkpoint(run: &JobFolder) -> Result<PathBuf, Error> {
    let history = History::read(run)?;
    let last = history.checkpoints.into_iter().map(|(_, path)| path).rfind(|path| path.is_file());
    last.ok_or_else(|| Error::Job(format!("{}: this run has no checkpoint yet: let it train on", run.path().display())))
}

/// Copy the pictures of a finished batch to `out`.
fn copy_out(batch: &JobFolder, out: &Path) -> Result<(), Error> {
    for picture in History::read(batch)?.pictures {
        let target = out.join(picture.path.file_name().unwrap_or_default());
        std::fs::copy(&picture.path, &target).map_err(workspace::Error::io("write", &target))?;
    }
    Ok(())
}
