//! `catbench sample`: pictures of a concept.

use std::path::{Path, PathBuf};

use super::train::{one_of, positive};
use super::{Error, PlacementArgs, PromptArgs, RunArgs, follow, preflight};
use crate::client;
use crate::protocol::{EmbeddingFile, NoiseKind, SampleConfig, SamplerKind};
use crate::workspace::{self, History, JobFolder};

/// Options of a sampling.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    placement: PlacementArgs,
    /// A prompt; {concept} stands for the learned concept. May be given several times.
    #[arg(long, value_name = "PROMPT", conflicts_with = "prompts")]
    prompt: Vec<String>,
    #[command(flatten)]
    prompts: PromptArgs,
    /// A textual-inversion embedding (.pt, .bin, .safetensors), whose word prompts may then use; after `=` the word, if not
    /// the one the file gives. May be given several times.
    #[arg(long, value_name = "FILE[=WORD]")]
    embedding: Vec<String>,
    /// Also copy the pictures into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Sample the base model without what was learned.
    #[arg(long, conflicts_with = "run")]
    untrained: bool,
    /// Denoising steps.
    #[arg(long, value_parser = positive)]
    steps: Option<usize>,
    /// What takes the noise out: ddim, pndm, euler, euler_ancestral, dpmpp_2m or unipc; ddim if not given.
    #[arg(long, value_parser = sampler)]
    sampler: Option<SamplerKind>,
    /// Karras noise levels, which euler, dpmpp_2m and unipc have.
    #[arg(long)]
    karras: bool,
    /// Where the noise of a seed comes from: catbench, or torch for the pictures that diffusers makes of the same seeds.
    #[arg(long, value_parser = noise)]
    noise: Option<NoiseKind>,
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
    /// Say what would be done and what it needs, and do nothing. Ends with 1 if it cannot be done here.
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let concept = super::concept(&args.run.concept)?;
    let run = if args.untrained { None } else { Some(concept.run(&args.run.run)?) };
    let mut config = SampleConfig {
        checkpoint: run.as_ref().map(checkpoint).transpose()?,
        embeddings: args.embedding.iter().map(|text| embedding(text)).collect::<Result<_, _>>()?,
        ..concept.sampling()
    };
    args.prompts.apply(&mut config)?;
    if !args.prompt.is_empty() {
        config.prompts.clone_from(&args.prompt);
    }
    config.steps = args.steps.unwrap_or(config.steps);
    config.sampler = args.sampler.unwrap_or(config.sampler);
    config.karras |= args.karras;
    config.noise = args.noise.unwrap_or(config.noise);
    config.eta = args.eta.unwrap_or(config.eta);
    config.strength = args.strength.unwrap_or(config.strength);
    config.negative_prompt = args.negative_prompt.clone().unwrap_or(config.negative_prompt);
    config.batch_size = args.batch_size.unwrap_or(config.batch_size);
    config.check()?;
    let estimate = client::estimate(&concept, None, &config, false)?;
    if args.dry_run {
        return preflight::dry_run(&concept, None, &estimate, args.run.json);
    }
    if !args.run.json {
        preflight::say(&concept, None, &estimate);
    }
    preflight::refuse(&estimate)?;
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out).map_err(workspace::Error::io("create", out))?;
    }
    let batch = JobFolder::new_batch(&concept, run.as_ref(), config)?;
    let job = client::submit_new(&batch, args.placement.placement(args.prompts.device))?;
    follow::follow(&concept, &batch, Some(&job), args.out.as_deref(), args.run.json)
}

fn sampler(text: &str) -> Result<SamplerKind, String> {
    one_of(text, &SamplerKind::ALL.map(|kind| (kind.word(), kind)))
}

fn noise(text: &str) -> Result<NoiseKind, String> {
    one_of(text, &NoiseKind::ALL.map(|kind| (kind.word(), kind)))
}

/// `FILE` or `FILE=WORD`, with the file's hash. A file whose name has a `=` itself is found too.
fn embedding(text: &str) -> Result<EmbeddingFile, Error> {
    let (path, token) = match text.rsplit_once('=').filter(|_| !Path::new(text).is_file()) {
        Some((path, token)) => (path, Some(token.to_owned())),
        None => (text, None),
    };
    let path = std::path::absolute(path).map_err(workspace::Error::io("find", Path::new(path)))?;
    let sha256 = crate::fs::sha256(&path).map_err(workspace::Error::io("read", &path))?;
    Ok(EmbeddingFile { path, token, sha256 })
}

/// The last checkpoint of `run`.
pub fn checkpoint(run: &JobFolder) -> Result<PathBuf, Error> {
    let history = History::read(run)?;
    let last = history.checkpoints.into_iter().map(|(_, path)| path).rfind(|path| path.is_file());
    last.ok_or_else(|| Error::Job(format!("{}: this run has no checkpoint yet: let it train on", run.path().display())))
}

/// The checkpoint that `run` ends with, there already or not.
pub fn last_checkpoint(run: &JobFolder) -> Result<PathBuf, Error> {
    Ok(run.checkpoint(run.run_spec()?.train.steps))
}
