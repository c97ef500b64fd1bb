//! `catbench sample`: pictures of a concept.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Error, PlacementArgs, PromptArgs, RunArgs, follow, preflight, print_json};
use crate::client::{self, Reckoned, Sampling, words};
use crate::protocol::{Axis, EmbeddingFile, SampleConfig, SeedRule};
use crate::workspace::{self, Concept, JobFolder, ListNames, PromptList, Values, copies, values_of};

/// Prompts that a preview shows.
const SHOWN: usize = 10;
/// Characters of a line that a preview shows.
const SHOWN_LETTERS: usize = 100;

/// Options of a sampling.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    placement: PlacementArgs,
    /// A prompt, written as in prompt lists: {concept} stands for the learned concept, {red|blue} for each in turn, __scenes__ for
    /// each line of prompts/words/scenes.txt; --seed 7 and other settings may stand behind it. May be given several times.
    #[arg(long, value_name = "PROMPT", conflicts_with_all = ["prompts", "list"])]
    prompt: Vec<String>,
    /// A prompt list of the concept: prompts/NAME.txt.
    #[arg(long, value_name = "NAME", conflicts_with = "prompts")]
    list: Option<String>,
    #[command(flatten)]
    prompts: PromptArgs,
    /// Several seeds, each with one image unless -n says how many; also 1..4, and 0..100..25 in steps of 25.
    #[arg(long, value_name = "SEED,...", conflicts_with = "seed")]
    seeds: Option<Several<u64>>,
    /// Several strengths; also 0..1..0.25.
    #[arg(long, value_name = "STRENGTH,...", conflicts_with = "strength")]
    strengths: Option<Several<f32>>,
    /// Several guidance scales; also 1..9..2.
    #[arg(long, value_name = "SCALE,...", conflicts_with = "guidance_scale")]
    guidance_scales: Option<Several<f64>>,
    /// Checkpoints of the run, by their steps, or `all`; the last one if not given.
    #[arg(long, value_name = "STEP,...", value_delimiter = ',', conflicts_with = "untrained")]
    checkpoints: Vec<String>,
    /// Contact sheets too, with these settings for columns and rows (with seed, prompts share their seeds): prompt, seed, strength, checkpoint, guidance, steps,
    /// sampler, negative, eta. What else differs has a sheet for each value.
    #[arg(long, value_name = "COLUMNS,ROWS", value_delimiter = ',')]
    grid: Vec<Axis>,
    /// A textual-inversion embedding (.pt, .bin, .safetensors), whose word prompts may then use; after `=` the word, if not
    /// the one the file gives. May be given several times.
    #[arg(long, value_name = "FILE[=WORD]")]
    embedding: Vec<String>,
    /// Another concept, which prompts may then name as {NAME}; after `=` how strongly it acts, 1 if not given. What its last run
    /// has learned is used, or that of NAME@RUN, at one of its checkpoints NAME@RUN:STEP, or at the path of a checkpoint in a
    /// concept's folder. May be given several times.
    #[arg(long, value_name = "NAME[=STRENGTH]")]
    with: Vec<String>,
    /// Also copy the pictures into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Sample the base model without what was learned.
    #[arg(long, conflicts_with = "run")]
    untrained: bool,
    /// Say which pictures it comes to, how many, how long they take and how much disk, and do nothing.
    #[arg(long, conflicts_with = "dry_run")]
    preview: bool,
    /// Say what would be done and what it needs, and do nothing. Ends with 1 if it cannot be done here.
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let concept = super::concept(&args.run.concept)?;
    let run = if args.untrained { None } else { Some(args.run.after(&concept, &args.placement.after)?) };
    let home = concept.home()?;
    let after = |run| client::checkpoint_after(&home, run, &args.placement.after);
    let mut config = concept.sampling(JobFolder::preset_of(run.as_ref())?);
    args.prompts.apply(&mut config)?;
    config.picture.checkpoint = run.as_ref().map(after).transpose()?;
    config.shared.embeddings = args.embedding.iter().map(|text| embedding(text)).collect::<Result<_, _>>()?;
    let given = |name: &str| args.prompts.settings.has(name);
    if given("seed") || args.grid.contains(&Axis::Seed) {
        // Who asks for a seed gets that seed, and a sheet has each seed in one row or column.
        config.seeds = SeedRule::Shared;
    }
    config.shared.concepts =
        args.with.iter().map(|text| client::other_concept(&home, text)).collect::<Result<_, _>>()?;
    let list = list(args, &concept, &config)?;
    let values = Values {
        seeds: several(args.seeds.as_ref()),
        guidance_scales: several(args.guidance_scales.as_ref()),
        strengths: several(args.strengths.as_ref()),
        checkpoints: run.as_ref().map_or(Ok(Vec::new()), |run| client::checkpoints(run, &args.checkpoints))?,
        images_per_prompt: given("images_per_prompt").then_some(config.images_per_prompt),
    };
    let absolute = |out: &PathBuf| std::path::absolute(out).map_err(workspace::Error::io("find", out));
    let out = args.out.as_ref().map(absolute).transpose()?;
    let sampling = Sampling { config, list, values, grid: args.grid.clone() };
    let reckoned = Reckoned::of(&concept, run.as_ref(), sampling, out.clone())?;
    if args.preview {
        preview(&reckoned, args.run.json);
        return Ok(reckoned.ready.refuse()?);
    }
    let told = preflight::Summary::default().about(run.as_ref())?;
    if args.dry_run {
        return preflight::dry_run(&concept, &told, &reckoned.ready, args.run.json);
    }
    if !args.run.json {
        preflight::say(&concept, &told, &reckoned.ready);
        errln!("{:<11} {}", "disk", reckoned.room.words());
    }
    for warning in &reckoned.warnings {
        errln!("warning: {}", words::plain(warning));
    }
    reckoned.ready.refuse()?;
    if let Some(out) = &out {
        copies::make_room(out, &reckoned.pictures)?;
    }
    let (batch, job) = reckoned.ready.begin(args.placement.placement(args.prompts.settings.device()))?;
    follow::follow(&concept, &batch, Some(&job), args.run.json)
}

/// What is to be sampled.
fn list(args: &Args, concept: &Concept, config: &SampleConfig) -> Result<PromptList, Error> {
    let concepts = config.shared.concepts.iter().map(|other| other.name.clone()).collect();
    let names = ListNames { concepts, ..concept.list_names() };
    let path = match (&args.prompts.prompts, &args.list) {
        (Some(path), _) => Some(path.clone()),
        (None, Some(name)) => Some(concept.named_list(name)?),
        (None, None) => None,
    };
    if let Some(path) = path {
        if path == Path::new("-") {
            return Ok(PromptList::read_from(std::io::stdin().lock().by_ref(), Path::new("stdin"), &names)?);
        }
        return Ok(PromptList::read(&path, &names)?);
    }
    let prompts = if args.prompt.is_empty() { &config.prompts } else { &args.prompt };
    Ok(PromptList::of_prompts(prompts, &names).map_err(workspace::Error::from)?)
}

/// Print what the list comes to.
fn preview(reckoned: &Reckoned, json: bool) {
    let Reckoned { counts, pictures, prompts, room, warnings, ready } = reckoned;
    let estimate = &ready.estimate;
    if json {
        print_json(&json!({
            "lines": counts,
            "prompts": prompts,
            "pictures": pictures,
            "seconds": estimate.time.as_ref().map(|time| time.total_seconds),
            "bytes": room.needed,
            "free_bytes": room.free,
            "cut_prompts": estimate.cut_prompts,
            "odd_prompts": estimate.odd_prompts,
            "other_syntax": estimate.other_syntax,
            "short": estimate.short,
            "warnings": warnings,
            "refusal": estimate.refusal,
        }));
        return;
    }
    outln!("{:>5}  {:>7}  {:>8}", "line", "prompts", "pictures");
    for line in counts {
        outln!("{:>5}  {:>7}  {:>8}  {}", line.line, line.prompts, line.pictures, cut(&line.text));
    }
    outln!();
    let mut seen = HashSet::new();
    let different = pictures.iter().map(|picture| &picture.prompt).filter(|prompt| seen.insert(*prompt));
    different.take(SHOWN).for_each(|prompt| outln!("  {}", cut(prompt)));
    if *prompts > SHOWN {
        outln!("  and {} more", prompts - SHOWN);
    }
    outln!();
    for warning in warnings {
        outln!("warning: {}", words::plain(warning));
    }
    outln!("{:<9} {} of {}", "pictures", pictures.len(), words::count(*prompts as u64, "prompt"));
    outln!("{:<9} {}", "time", reckoned.time());
    outln!("{:<9} {}", "disk", room.words());
}

/// The beginning of `text`, as much as a line shows.
fn cut(text: &str) -> String {
    let mut letters = text.chars();
    let shown: String = letters.by_ref().take(SHOWN_LETTERS).collect();
    let shown = words::plain(&shown).into_owned();
    if letters.next().is_some() { shown + "…" } else { shown }
}

/// Values between commas, which may be ranges: `1,2,5..9`.
#[derive(Debug, Clone)]
struct Several<T>(Vec<T>);

impl<T: std::str::FromStr> std::str::FromStr for Several<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = |text: String| text.parse().map_err(|_| format!("{text:?} is no number that it can be"));
        let all = text.split(',').map(|part| values_of(part.trim())).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(all.into_iter().flatten().map(one).collect::<Result<_, _>>()?))
    }
}

fn several<T: Clone>(values: Option<&Several<T>>) -> Vec<T> {
    values.map_or_else(Vec::new, |values| values.0.clone())
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
