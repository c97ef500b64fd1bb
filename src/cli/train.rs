//! `catbench train`: learn a concept.

use clap::ArgGroup;

use super::preflight::Told;
use super::{Error, PlacementArgs, Where, follow};
use crate::client::words::shell;
use crate::client::{self, Asked, Ready};
use crate::protocol::{Crop, FloatType, Init, JobInfo, Preset, State, TrainConfig};
use crate::workspace::{Concept, JobFolder};

/// Options of a training. What is not given is as `[train]` of concept.toml has it, else as in the preset.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("settings").multiple(true))]
pub struct Args {
    /// The concept: a folder of the home.
    concept: String,
    /// Go on with a run that was stopped, interrupted or failed: its id, or `latest`.
    #[arg(long, value_name = "RUN", conflicts_with = "settings")]
    resume: Option<String>,
    /// A named set of settings: `default` is the paper's formula, `official` what the authors' code does. It leaves out `[train]`
    /// of concept.toml, which trainings start from if no preset is given.
    ///
    /// What `official` sets of the training: steps 1000, batch_size 2, learning_rate 0.01, prefix_bias 1.0, init normal, caption
    /// {class}, crop squash, photo_repeats 100. What it sets of the sampling and scoring of such a run, before concept.toml: steps 50,
    /// guidance_scale 10.0, sampler ddim, karras false, eta 0.0, uncond_prefix false, every_prompt true. The balance of its scores is with the prompt without the concept (balance-text scene).
    ///
    /// Options that are given go before all of it.
    #[arg(long, group = "settings", value_parser = preset)]
    preset: Option<Preset>,
    /// Optimizer steps.
    #[arg(long, group = "settings", value_parser = positive)]
    steps: Option<usize>,
    /// Images a step.
    #[arg(long, group = "settings", value_parser = positive)]
    batch_size: Option<usize>,
    /// AdamW's learning rate.
    #[arg(long, group = "settings", value_parser = positive_float)]
    learning_rate: Option<f64>,
    /// AdamW's decoupled weight decay.
    #[arg(long, group = "settings")]
    weight_decay: Option<f64>,
    /// Learned rows put in front of the keys and values of each layer.
    #[arg(long, group = "settings", value_parser = positive)]
    prefix_length: Option<usize>,
    /// Concatenated layers of the text encoder, counted from 0, as in 9,10,11; the last three if none are named.
    #[arg(long, group = "settings", value_delimiter = ',')]
    layers: Option<Vec<usize>>,
    /// Added to the prefix logits: 0 in the formula, 1 in the authors' code.
    #[arg(long, group = "settings", allow_negative_numbers = true)]
    prefix_bias: Option<f32>,
    /// Where the residual embeddings start: `class-word` or `normal`.
    #[arg(long, group = "settings", value_parser = init)]
    init: Option<Init>,
    /// Training caption; {class} stands for the class word.
    #[arg(long, group = "settings")]
    caption: Option<String>,
    /// How a photo becomes a square: `center` or `squash`.
    #[arg(long, group = "settings", value_parser = crop)]
    crop: Option<Crop>,
    /// Probability that a photo is mirrored.
    #[arg(long, group = "settings", value_parser = probability)]
    flip_probability: Option<f64>,
    /// How often each photo stands in a pass over them, which is shuffled as a whole: 1, or 100 in the authors' code.
    #[arg(long, group = "settings", value_parser = positive)]
    photo_repeats: Option<usize>,
    /// The file name of a photo that is not trained on, where there are four or more: its loss is measured beside that of the
    /// others, at the same timesteps with the same noise. How far it is above theirs grows with what is learned by heart.
    #[arg(long, group = "settings", value_name = "NAME")]
    hold_out: Option<String>,
    /// Loss over the mask only, where a photo has one.
    #[arg(long, group = "settings", value_name = "BOOL", num_args = 0..=1)]
    #[arg(require_equals = true, default_missing_value = "true")]
    masked_loss: Option<bool>,
    /// Recompute each UNet block in the backward pass: less memory, more time.
    #[arg(long, group = "settings", value_name = "BOOL", num_args = 0..=1)]
    #[arg(require_equals = true, default_missing_value = "true")]
    gradient_checkpointing: Option<bool>,
    /// Seed of everything random in the training.
    #[arg(long, group = "settings")]
    seed: Option<u64>,
    /// Steps between checkpoints.
    #[arg(long, group = "settings", value_parser = positive)]
    checkpoint_every: Option<usize>,
    /// Steps between measurements of the loss at fixed noise, and of that of the photo held out; 0 for none. At fixed noise two
    /// values differ only by what was learned; of the photos that are trained on it is a training loss all the same.
    #[arg(long, group = "settings")]
    validate_every: Option<usize>,
    /// Steps between sample pictures; 0 for none.
    #[arg(long, group = "settings")]
    sample_every: Option<usize>,
    /// Prompt of the sample pictures; {concept} stands for the learned concept.
    #[arg(long, group = "settings")]
    sample_prompt: Option<String>,
    /// What computes: cpu, cuda:0 (or another number), metal, or `any` for the first that is free; cpu if none is named.
    #[arg(long, group = "settings")]
    device: Option<Where>,
    /// Type of the frozen weights and of activations: f32, bf16 or f16; f32 if none is named.
    #[arg(long, group = "settings", value_parser = dtype)]
    dtype: Option<FloatType>,
    /// After training, sample the concept's prompt list before and after and score both.
    #[arg(long, group = "settings", value_name = "BOOL", num_args = 0..=1)]
    #[arg(require_equals = true, default_missing_value = "true")]
    evaluate: Option<bool>,
    #[command(flatten)]
    placement: PlacementArgs,
    /// Start in the background and return at once.
    #[arg(long)]
    detach: bool,
    /// Say what would be done and what it needs, and do nothing. Ends with 1 if it cannot be done here.
    #[arg(long, conflicts_with = "detach")]
    dry_run: bool,
    /// Print one JSON object last.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let concept = super::concept(&args.concept)?;
    let Some(id) = &args.resume else { return new(args, &concept) };
    let run = resumable(&concept, id)?;
    let ready = Asked::resume(&concept, &run)?.estimate()?;
    let (train, done) = (run.run_spec()?.train, client::steps_done(&run)?);
    let resumes = ("resumes", format!("{} after {done} of {} steps", run.id(), train.steps));
    begin(args, &concept, &train, Told { rows: vec![resumes], ..Told::default() }, ready)
}

fn new(args: &Args, concept: &Concept) -> Result<(), Error> {
    let config = args.config(concept);
    let from_concept = if args.preset.is_some() { toml::Table::new() } else { concept.file.train.kept_in(&config) };
    let ready = Asked::train(concept, config.clone())?.estimate()?;
    begin(args, concept, &config, Told { from_concept, ..Told::default() }, ready)
}

/// Say what will be done, do it, and follow it.
fn begin(args: &Args, concept: &Concept, config: &TrainConfig, told: Told, ready: Ready) -> Result<(), Error> {
    let told = Told { train: Some(config), ..told };
    if args.dry_run {
        return super::preflight::dry_run(concept, &told, &ready, args.json);
    }
    if !args.json {
        super::preflight::say(concept, &told, &ready);
    }
    let (run, job) = ready.begin(args.placement.placement(args.device))?;
    follow_or_leave(args, concept, &run, &job)
}

fn follow_or_leave(args: &Args, concept: &Concept, run: &JobFolder, job: &JobInfo) -> Result<(), Error> {
    if args.detach {
        follow::say_where(concept, run, Some(job), args.json);
        return Ok(());
    }
    follow::follow(concept, run, Some(job), args.json)
}

/// The demo without a screen: train and score.
pub fn demo(json: bool) -> Result<(), Error> {
    let concept = super::concept("demo")?;
    let config = TrainConfig { evaluate: true, ..concept.train_config() };
    let from_concept = concept.file.train.kept_in(&config);
    let ready = Asked::train(&concept, config.clone())?.estimate()?;
    if !json {
        super::preflight::say(&concept, &Told { train: Some(&config), from_concept, ..Told::default() }, &ready);
    }
    let (run, job) = ready.begin(client::Placement::default())?;
    follow::follow(&concept, &run, Some(&job), json)
}

/// A run that has something left to do and is not being done.
fn resumable(concept: &Concept, id: &str) -> Result<JobFolder, Error> {
    let run = concept.run(id)?;
    match run.look()?.0 {
        State::Running => Err(Error::Job(format!(
            "{} is running: `catbench watch {} --run {}` follows it",
            run.id(),
            shell(&concept.id),
            run.id()
        ))),
        State::Finished => Err(Error::Job(format!(
            "{} has finished: `catbench train {}` starts a new one",
            run.id(),
            shell(&concept.id)
        ))),
        _ => Ok(run),
    }
}

impl Args {
    /// What is given, over what a training of `concept` starts from.
    fn config(&self, concept: &Concept) -> TrainConfig {
        let start = self.preset.map_or_else(|| concept.train_config(), TrainConfig::preset);
        TrainConfig {
            preset: start.preset,
            steps: self.steps.unwrap_or(start.steps),
            batch_size: self.batch_size.unwrap_or(start.batch_size),
            learning_rate: self.learning_rate.unwrap_or(start.learning_rate),
            weight_decay: self.weight_decay.unwrap_or(start.weight_decay),
            prefix_length: self.prefix_length.unwrap_or(start.prefix_length),
            layers: self.layers.clone().or(start.layers),
            prefix_bias: self.prefix_bias.unwrap_or(start.prefix_bias),
            init: self.init.unwrap_or(start.init),
            caption: self.caption.clone().unwrap_or(start.caption),
            crop: self.crop.unwrap_or(start.crop),
            flip_probability: self.flip_probability.unwrap_or(start.flip_probability),
            photo_repeats: self.photo_repeats.unwrap_or(start.photo_repeats),
            // None with an empty name, where [train] has one.
            hold_out: self.hold_out.clone().or(start.hold_out).filter(|name| !name.is_empty()),
            masked_loss: self.masked_loss.unwrap_or(start.masked_loss),
            gradient_checkpointing: self.gradient_checkpointing.unwrap_or(start.gradient_checkpointing),
            seed: self.seed.unwrap_or(start.seed),
            checkpoint_every: self.checkpoint_every.unwrap_or(start.checkpoint_every),
            validate_every: self.validate_every.unwrap_or(start.validate_every),
            sample_every: self.sample_every.unwrap_or(start.sample_every),
            sample_prompt: self.sample_prompt.clone().unwrap_or(start.sample_prompt),
            evaluate: self.evaluate.unwrap_or(start.evaluate),
            device: self.device.map_or(start.device, Where::device),
            dtype: self.dtype.unwrap_or(start.dtype),
        }
    }
}

fn preset(text: &str) -> Result<Preset, String> {
    one_of(text, &[("default", Preset::Default), ("official", Preset::Official)])
}

fn init(text: &str) -> Result<Init, String> {
    one_of(text, &[("class-word", Init::ClassWord), ("normal", Init::Normal)])
}

fn crop(text: &str) -> Result<Crop, String> {
    one_of(text, &[("center", Crop::Center), ("squash", Crop::Squash)])
}

/// A floating point type.
pub fn dtype(text: &str) -> Result<FloatType, String> {
    one_of(text, &[("f32", FloatType::F32), ("bf16", FloatType::Bf16), ("f16", FloatType::F16)])
}

/// The value of the word `text`, or which words there are.
pub fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| format!("one of {}", words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")))
}

/// A count of at least one.
pub fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "a whole number above 0".into())
}

fn positive_float(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|x: &f64| x.is_finite() && *x > 0.0).ok_or_else(|| "a number above 0".into())
}

fn probability(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|x| (0.0..=1.0).contains(x)).ok_or_else(|| "a number from 0 to 1".into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::CommandFactory;
    use serde::Serialize;

    use super::*;
    use crate::protocol::{SampleConfig, SamplerKind};

    /// The settings in which `after` is another than `before`, each with its value, sorted.
    fn set(before: &impl Serialize, after: &impl Serialize) -> Vec<String> {
        let [before, after] = [toml::Table::try_from(before).unwrap(), toml::Table::try_from(after).unwrap()];
        let other = after.iter().filter(|(name, value)| *name != "preset" && before.get(*name) != Some(*value));
        other.map(|(name, value)| format!("{name} {}", crate::client::words::setting(value))).collect()
    }

    /// The settings that `help` lists between `from` and the next full stop, sorted.
    fn listed(help: &str, from: &str) -> Vec<String> {
        let (_, rest) = help.split_once(from).unwrap().1.split_once(": ").unwrap();
        let (list, _) = rest.split_once(". ").unwrap();
        let mut settings: Vec<String> = list.split(", ").map(str::to_owned).collect();
        settings.sort();
        settings
    }

    #[test]
    fn the_help_lists_what_the_preset_official_sets_and_nothing_else() {
        let command = super::super::Cli::command();
        let train = command.find_subcommand("train").unwrap();
        let preset = train.get_arguments().find(|argument| argument.get_id() == "preset").unwrap();
        let help = preset.get_long_help().unwrap().to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        let training = set(&TrainConfig::default(), &TrainConfig::preset(Preset::Official));
        assert_eq!(listed(&help, "of the training"), training, "{help}");
        // Another than the preset's in everything that makes a picture.
        let other = SampleConfig {
            steps: 7,
            guidance_scale: 1.5,
            sampler: SamplerKind::Euler,
            karras: true,
            eta: 0.5,
            uncond_prefix: true,
            every_prompt: false,
            strength: 0.5,
            concept_steps: Some([0.1, 0.9]),
            noise: crate::protocol::NoiseKind::Torch,
            negative_prompt: "dark".into(),
            seed: 9,
            ..SampleConfig::default()
        };
        let sampling = set(&other, &other.clone().as_preset(Preset::Official));
        assert_eq!(listed(&help, "of the sampling"), sampling, "{help}");
        assert_eq!(other.clone().as_preset(Preset::Default), other, "the default preset says nothing of it");
    }
}
