//! `catbench sample`: pictures of a concept.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::train::{one_of, positive};
use super::{Error, PlacementArgs, PromptArgs, RunArgs, follow, preflight, print_json};
use crate::client::{self, words};
use crate::protocol::{
    Axis, EmbeddingFile, Estimate, NoiseKind, OtherConcept, PictureConfig, SampleConfig, SamplerKind,
};
use crate::workspace::{
    self, BatchSpec, Concept, History, JobFolder, LineCount, ListNames, PromptList, Values, plan_sheets,
};

/// Prompts that a preview shows.
const SHOWN: usize = 10;

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
    /// Several seeds, each with one image unless -n says how many.
    #[arg(long, value_name = "SEED,...", value_delimiter = ',', conflicts_with = "seed")]
    seeds: Vec<u64>,
    /// Several strengths.
    #[arg(long, value_name = "STRENGTH,...", value_delimiter = ',', conflicts_with = "strength")]
    strengths: Vec<f32>,
    /// Several guidance scales.
    #[arg(long, value_name = "SCALE,...", value_delimiter = ',', conflicts_with = "guidance_scale")]
    guidance_scales: Vec<f64>,
    /// Checkpoints of the run, by their steps, or `all`; the last one if not given.
    #[arg(long, value_name = "STEP,...", value_delimiter = ',', conflicts_with = "untrained")]
    checkpoints: Vec<String>,
    /// Contact sheets too, with these settings for columns and rows: prompt, seed, strength, checkpoint, guidance, steps,
    /// sampler. What else differs has a sheet for each value.
    #[arg(long, value_name = "COLUMNS,ROWS", value_delimiter = ',')]
    grid: Vec<Axis>,
    /// A textual-inversion embedding (.pt, .bin, .safetensors), whose word prompts may then use; after `=` the word, if not
    /// the one the file gives. May be given several times.
    #[arg(long, value_name = "FILE[=WORD]")]
    embedding: Vec<String>,
    /// Another concept, which prompts may then name as {NAME}; after `=` how strongly it acts, 1 if not given. What its last run
    /// has learned is used. May be given several times.
    #[arg(long, value_name = "NAME[=STRENGTH]")]
    with: Vec<String>,
    /// The part of the steps in which concepts act, as fractions of them: 0.2,0.8.
    #[arg(long, value_name = "FROM,TO", value_delimiter = ',', num_args = 1)]
    concept_steps: Vec<f64>,
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
    /// Say which pictures it comes to, how many, how long they take and how much disk, and do nothing.
    #[arg(long, conflicts_with = "dry_run")]
    preview: bool,
    /// Say what would be done and what it needs, and do nothing. Ends with 1 if it cannot be done here.
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let concept = super::concept(&args.run.concept)?;
    let run = if args.untrained { None } else { Some(args.run.of(&concept)?) };
    let mut config = SampleConfig {
        checkpoint: run.as_ref().map(checkpoint).transpose()?,
        embeddings: args.embedding.iter().map(|text| embedding(text)).collect::<Result<_, _>>()?,
        ..concept.sampling()
    };
    args.prompts.apply(&mut config);
    config.concepts = args.with.iter().map(|text| other_concept(text)).collect::<Result<_, _>>()?;
    config.concept_steps = match args.concept_steps[..] {
        [] => None,
        [from, to] => Some([from, to]),
        _ => return Err(Error::Job("--concept-steps takes two fractions of the steps, as in 0.2,0.8".into())),
    };
    config.steps = args.steps.unwrap_or(config.steps);
    config.sampler = args.sampler.unwrap_or(config.sampler);
    config.karras |= args.karras;
    config.noise = args.noise.unwrap_or(config.noise);
    config.eta = args.eta.unwrap_or(config.eta);
    config.strength = args.strength.unwrap_or(config.strength);
    config.negative_prompt = args.negative_prompt.clone().unwrap_or(config.negative_prompt);
    config.batch_size = args.batch_size.unwrap_or(config.batch_size);
    config.check()?;
    let list = list(args, &concept, &config)?;
    let values = Values {
        seeds: args.seeds.clone(),
        guidance_scales: args.guidance_scales.clone(),
        strengths: args.strengths.clone(),
        checkpoints: run.as_ref().map_or(Ok(Vec::new()), |run| checkpoints(run, &args.checkpoints))?,
        images_per_prompt: args.prompts.images_per_prompt,
    };
    let pictures = list.pictures(&values, &config).map_err(workspace::Error::from)?;
    pictures.iter().try_for_each(|picture| config.check_picture(picture))?;
    plan_sheets(&pictures, &args.grid)?;
    let counts = list.counts(&values, &config);
    config.prompts = counts.iter().map(|line| line.text.clone()).collect();
    let estimate = client::estimate(&concept, None, &config, Some(&pictures), false)?;
    let room = Room::of(&concept, &estimate, pictures.len());
    if args.preview {
        preview(&counts, &pictures, &estimate, &room, args.run.json);
        return preflight::refuse(&estimate).and_then(|()| room.refuse());
    }
    if args.dry_run {
        return preflight::dry_run(&concept, None, &estimate, args.run.json);
    }
    if !args.run.json {
        preflight::say(&concept, None, &estimate);
        eprintln!("{:<11} {}", "disk", room.words());
    }
    preflight::refuse(&estimate)?;
    room.refuse()?;
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out).map_err(workspace::Error::io("create", out))?;
    }
    let spec = BatchSpec { grid: args.grid.clone(), ..BatchSpec::new(&concept, run.as_ref(), config)? };
    client::check_writable(&concept.home()?)?;
    let batch = JobFolder::new_batch(&concept, &spec, &pictures)?;
    let job = client::submit_new(&batch, args.placement.placement(args.prompts.device))?;
    follow::follow(&concept, &batch, Some(&job), args.out.as_deref(), args.run.json)
}

/// What is to be sampled.
fn list(args: &Args, concept: &Concept, config: &SampleConfig) -> Result<PromptList, Error> {
    let concepts = config.concepts.iter().map(|other| other.name.clone()).collect();
    let names = ListNames { concepts, ..concept.list_names() };
    let path = match (&args.prompts.prompts, &args.list) {
        (Some(path), _) => Some(path.clone()),
        (None, Some(name)) => Some(concept.named_list(name)?),
        (None, None) => None,
    };
    if let Some(path) = path {
        return Ok(PromptList::read(&path, &names)?);
    }
    let prompts = if args.prompt.is_empty() { &config.prompts } else { &args.prompt };
    Ok(PromptList::of_prompts(prompts, &names).map_err(workspace::Error::from)?)
}

/// The checkpoints of `run` after so many steps each.
fn checkpoints(run: &JobFolder, steps: &[String]) -> Result<Vec<PathBuf>, Error> {
    if steps.is_empty() {
        return Ok(Vec::new());
    }
    let history = History::read(run)?;
    let there: Vec<_> = history.checkpoints.into_iter().filter(|(_, path)| path.is_file()).collect();
    if let [all] = steps
        && all == "all"
    {
        return Ok(there.into_iter().map(|(_, path)| path).collect());
    }
    let find = |text: &String| {
        let found = there.iter().find(|(step, _)| text.parse() == Ok(*step)).map(|(_, path)| path.clone());
        found.ok_or_else(|| {
            let steps: Vec<String> = there.iter().map(|(step, _)| step.to_string()).collect();
            let there = if steps.is_empty() { "none yet".into() } else { steps.join(", ") };
            Error::Job(format!("{}: no checkpoint {text}: there is {there}", run.path().display()))
        })
    };
    steps.iter().map(find).collect()
}

/// What the pictures take on the disk, and what is free there.
struct Room {
    needed: u64,
    /// None where the system does not tell.
    free: Option<u64>,
    folder: PathBuf,
}

impl Room {
    fn of(concept: &Concept, estimate: &Estimate, pictures: usize) -> Self {
        let pixels = (estimate.resolution * estimate.resolution) as u64;
        // A picture takes up to about two bytes a pixel, its mask a third of one, and text and file system some KiB.
        let each = 2 * pixels + pixels / 3 + (8 << 10);
        let folder = concept.folder.clone();
        Self { needed: each * pictures as u64, free: workspace::free_disk(&folder), folder }
    }

    fn words(&self) -> String {
        let free = self.free.map(|free| format!("; {} free", words::bytes(free)));
        format!("about {}{}", words::bytes(self.needed), free.unwrap_or_default())
    }

    fn refuse(&self) -> Result<(), Error> {
        match self.free.filter(|free| *free < self.needed) {
            None => Ok(()),
            Some(free) => {
                let (needed, free) = (words::bytes(self.needed), words::bytes(free));
                let problem = format!("the pictures take about {needed}, and {free} is free");
                let remedy = "make room, or sample fewer at a time";
                Err(workspace::Error::invalid(&self.folder, problem, remedy).into())
            }
        }
    }
}

/// Print what the list comes to.
fn preview(counts: &[LineCount], pictures: &[PictureConfig], estimate: &Estimate, room: &Room, json: bool) {
    let mut seen = HashSet::new();
    let prompts: Vec<&String> =
        pictures.iter().map(|picture| &picture.prompt).filter(|prompt| seen.insert(*prompt)).collect();
    if json {
        print_json(&json!({
            "lines": counts,
            "prompts": prompts.len(),
            "pictures": pictures,
            "seconds": estimate.time.total_seconds,
            "bytes": room.needed,
            "free_bytes": room.free,
            "cut_prompts": estimate.cut_prompts,
            "refusal": estimate.refusal,
        }));
        return;
    }
    println!("{:>5}  {:>7}  {:>8}", "line", "prompts", "pictures");
    for line in counts {
        println!("{:>5}  {:>7}  {:>8}  {}", line.line, line.prompts, line.pictures, words::plain(&line.text));
    }
    println!();
    for prompt in prompts.iter().take(SHOWN) {
        println!("  {}", words::plain(prompt));
    }
    if prompts.len() > SHOWN {
        println!("  and {} more", prompts.len() - SHOWN);
    }
    println!();
    for cut in &estimate.cut_prompts {
        println!("warning: \"{}\" is over {} tokens: \"{}\" is not read", cut.prompt, cut.limit, cut.cut);
    }
    println!("{:<9} {} of {} prompts", "pictures", pictures.len(), prompts.len());
    let time = &estimate.time;
    let (all, each) = (words::duration(time.total_seconds), words::short_duration(time.picture_seconds));
    println!("{:<9} about {all} ({each} a picture)", "time");
    println!("{:<9} {}", "disk", room.words());
}

fn sampler(text: &str) -> Result<SamplerKind, String> {
    one_of(text, &SamplerKind::ALL.map(|kind| (kind.word(), kind)))
}

fn noise(text: &str) -> Result<NoiseKind, String> {
    one_of(text, &NoiseKind::ALL.map(|kind| (kind.word(), kind)))
}

/// `NAME` or `NAME=STRENGTH`: a concept of this home, as its last run left it.
fn other_concept(text: &str) -> Result<OtherConcept, Error> {
    let (name, strength) = match text.rsplit_once('=') {
        Some((name, strength)) => {
            let wrong = || Error::Job(format!("--with {text}: after = stands how strongly it acts, a number from 0"));
            (name, strength.parse().map_err(|_| wrong())?)
        }
        None => (text, 1.0),
    };
    let concept = super::concept(name)?;
    let checkpoint = checkpoint(&concept.run("latest")?)?;
    Ok(OtherConcept { name: name.to_owned(), class_word: concept.file.class_word, checkpoint, strength })
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
