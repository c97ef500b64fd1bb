//! A sampling before it is handed over: what is asked for, what it comes to and needs, and whether it can be done here. The
//! commands and the workbench ask the same.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::{Asked, Error, Ready, words};
use crate::fs::Show;
use crate::protocol::{Axis, Estimate, JobInfo, NO_TIME, OtherConcept, PictureConfig, SampleConfig, with_class_words};
use crate::workspace::{
    self, BatchSpec, Concept, End, History, Home, JobFolder, LineCount, PromptList, Values, plan_sheets,
};

/// What is looked for by prompt in other ways than by its whole text: more would take long.
const LOOKED_FOR: usize = 100;

/// What the pictures take on the disk, and what is free there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// In bytes.
    pub needed: u64,
    /// None where the system does not tell.
    pub free: Option<u64>,
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

    /// In words.
    pub fn words(&self) -> String {
        let free = self.free.map(|free| format!("; {} free", words::bytes(free)));
        format!("about {}{}", words::bytes(self.needed), free.unwrap_or_default())
    }

    pub(super) fn refuse(&self) -> Result<(), Error> {
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

/// A sampling as it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// What all pictures agree in; its prompts are of no account.
    pub config: SampleConfig,
    /// What is sampled.
    pub list: PromptList,
    /// Settings with several values.
    pub values: Values,
    /// Columns and rows of contact sheets; none makes no sheets.
    pub grid: Vec<Axis>,
}

/// What a sampling comes to, ready to be begun.
pub struct Reckoned {
    /// By line of its list.
    pub counts: Vec<LineCount>,
    /// The pictures, each once.
    pub pictures: Vec<PictureConfig>,
    /// Different prompts.
    pub prompts: usize,
    /// Disk.
    pub room: Room,
    /// What the user should know, with the lines of the list.
    pub warnings: Vec<String>,
    /// Memory, time, and the parts of its prompts that the text encoder does not read.
    pub ready: Ready,
}

impl Reckoned {
    /// Expand the list of a sampling with what `run` has learned, without a run of the base model, and look at what comes of it.
    /// Copies of the pictures go to `out`.
    ///
    /// # Errors
    /// A list that comes to too much or to what does not go together, sheets that cannot be looked at, prompts that cannot be
    /// read, with their lines.
    pub fn of(
        concept: &Concept,
        run: Option<&JobFolder>,
        sampling: Sampling,
        out: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let Sampling { mut config, list, values, grid } = sampling;
        config.prompts.clear();
        config.check_for_lines().map_err(workspace::Error::from)?;
        let listed = list.expand(&values, &config).map_err(workspace::Error::from)?;
        plan_sheets(&listed.pictures, &grid)?;
        let counts = list.counts(&values, &config);
        config.prompts = counts.iter().map(|line| line.text.clone()).collect();
        let spec = BatchSpec { grid, out, ..BatchSpec::new(concept, run, config.clone())? };
        let lines = Lines { list: &list, concept, config: &config, pictures: &listed.pictures, of: &listed.lines };
        let mut asked = Asked::sample(concept, spec, listed.pictures.clone(), listed.pictures.clone())?;
        // What its lines come to is in its pictures.
        asked.request.sample.prompts.clear();
        let mut ready = asked.estimate().map_err(|error| lines.named(error))?;
        let mut warnings: Vec<String> = listed
            .repeated
            .iter()
            .map(|(line, count)| {
                let place = list.place(*line);
                format!("{place}: {count} of its pictures are named before with the same seed and settings: made once")
            })
            .collect();
        warnings.extend(lines.warnings(&ready.estimate));
        let room = Room::of(concept, &ready.estimate, listed.pictures.len());
        ready.asked.room = Some(room.clone());
        let prompts = listed.pictures.iter().map(|picture| &picture.prompt).collect::<HashSet<_>>().len();
        Ok(Self { counts, prompts, room, pictures: listed.pictures, ready, warnings })
    }

    /// How long it takes, in words.
    pub fn time(&self) -> String {
        let Some(time) = &self.ready.estimate.time else { return NO_TIME.into() };
        let (all, each) = (words::duration(time.total_seconds), words::short_duration(time.picture_seconds));
        format!("about {all} ({each} a picture)")
    }
}

/// Finds the lines that the models' code means: it knows pictures, and no list.
struct Lines<'a> {
    list: &'a PromptList,
    concept: &'a Concept,
    config: &'a SampleConfig,
    pictures: &'a [PictureConfig],
    /// The line of each.
    of: &'a [usize],
}

impl Lines<'_> {
    fn find(&self, is: impl Fn(&PictureConfig) -> bool) -> Option<usize> {
        self.pictures.iter().position(is).map(|at| self.of[at])
    }

    /// `error` with the line of the picture it is about.
    fn named(&self, error: Error) -> Error {
        match error {
            Error::Picture { at, message } => match self.of.get(at) {
                Some(line) => Error::Refused(format!("{}: {message}", self.list.place(*line))),
                None => Error::Refused(message),
            },
            error => error,
        }
    }

    /// A prompt with class words in place of concepts, as the estimate tells of it but for weights.
    fn read(&self, prompt: &str) -> String {
        let others: Vec<&OtherConcept> = self.config.shared.concepts.iter().collect();
        with_class_words(prompt, &self.concept.file.class_word, &others)
    }

    fn warnings(&self, estimate: &Estimate) -> Vec<String> {
        if estimate.prompt_warnings().is_empty() {
            return Vec::new();
        }
        let mut known = HashMap::new();
        let mut texts = Vec::new();
        for (picture, line) in self.pictures.iter().zip(self.of) {
            for text in [&picture.prompt, &picture.negative_prompt] {
                let text = self.read(text);
                if !known.contains_key(&text) {
                    known.insert(text.clone(), *line);
                    texts.push((text, *line));
                }
            }
        }
        let placed = |(i, (prompt, warning)): (usize, (&String, String))| {
            let weighted = || {
                let found = texts.iter().find(|(text, _)| is_within(prompt, text));
                found.filter(|_| i < LOOKED_FOR).map(|(_, line)| *line)
            };
            match known.get(prompt).copied().or_else(weighted) {
                Some(line) => format!("{}: {warning}", self.list.place(line)),
                None => warning,
            }
        };
        let cut = estimate.cut_prompts.iter().map(|cut| (&cut.prompt, cut.warning()));
        let odd = estimate.odd_prompts.iter().map(|odd| (&odd.prompt, odd.warning()));
        let syntax = estimate.other_syntax.iter().map(|told| {
            let is = |picture: &PictureConfig| [&picture.prompt, &picture.negative_prompt].contains(&&told.prompt);
            self.find(is)
                .map_or_else(|| told.warning(), |line| format!("{}: {}", self.list.place(line), told.warning()))
        });
        cut.chain(odd).enumerate().map(placed).chain(syntax).collect()
    }
}

/// Whether `text` is what is left of `whole` without some of its characters, as those of weights.
fn is_within(text: &str, whole: &str) -> bool {
    let mut rest = whole.chars();
    text.chars().all(|c| rest.any(|other| other == c))
}

/// The checkpoints of `run` after so many steps each, or `all`; none where none are asked for.
pub fn checkpoints(run: &JobFolder, steps: &[String]) -> Result<Vec<PathBuf>, Error> {
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
            Error::Refused(format!("{}: no checkpoint {text}: there is {there}", run.path().shown()))
        })
    };
    steps.iter().map(find).collect()
}

/// The last checkpoint of `run`.
pub fn last_checkpoint(run: &JobFolder) -> Result<PathBuf, Error> {
    let history = History::read(run)?;
    let last = history.checkpoints.into_iter().map(|(_, path)| path).rfind(|path| path.is_file());
    last.ok_or_else(|| {
        let remedy = match history.end {
            None => "let it train on",
            Some(End::Failed { .. }) => "it failed before one was saved; `catbench jobs` says why",
            Some(_) => "resume it, or name another run",
        };
        Error::Refused(format!("run {} has no checkpoint: {remedy}", run.id()))
    })
}

/// Steps that the last checkpoint of `run` has behind it.
pub fn steps_done(run: &JobFolder) -> Result<usize, Error> {
    let checkpoints = History::read(run)?.checkpoints;
    Ok(checkpoints.iter().rfind(|(_, path)| path.is_file()).map_or(0, |(step, _)| *step))
}

/// The checkpoint of `run` for a job that starts once the jobs `after` have finished: the one that it ends with, where it
/// is still to be trained, else its last.
pub fn checkpoint_after(home: &Home, run: &JobFolder, after: &[u64]) -> Result<PathBuf, Error> {
    let is_of_run = |job: &JobInfo| job.job == run.path() && !job.state.is_over();
    if !after.is_empty() && super::jobs(home)?.iter().any(is_of_run) {
        return Ok(run.checkpoint(run.run_spec()?.train.steps));
    }
    last_checkpoint(run)
}

/// Another concept as it is named on command lines: `NAME`, of its last run; `NAME@RUN` or `NAME@RUN:STEP`; or the path of a
/// checkpoint in a concept's folder. After `=` stands how strongly it acts, 1 if nothing does.
pub fn other_concept(home: &Home, text: &str) -> Result<OtherConcept, Error> {
    let (which, strength) = match text.rsplit_once('=') {
        Some((which, strength)) => {
            let wrong =
                || Error::Refused(format!("--with {text}: after = stands how strongly it acts, a number from 0"));
            (which, strength.parse().map_err(|_| wrong())?)
        }
        None => (text, 1.0),
    };
    let (concept, checkpoint) = if Path::new(which).is_file() {
        let path = std::path::absolute(which).map_err(workspace::Error::io("find", Path::new(which)))?;
        let folder = path.ancestors().find(|folder| folder.join("concept.toml").is_file()).ok_or_else(|| {
            let remedy = "name one in runs/<run>/checkpoints of a concept, whose class word is read then";
            workspace::Error::invalid(&path, "this checkpoint is in no concept's folder", remedy)
        })?;
        (Concept::open(folder)?, path)
    } else {
        let (name, run) = which.split_once('@').unwrap_or((which, "latest"));
        let (run, step) = run.split_once(':').map_or((run, None), |(run, step)| (run, Some(step.to_owned())));
        let concept = home.concept(name)?;
        let run = concept.run(run)?;
        let checkpoint = match step {
            Some(step) => checkpoints(&run, &[step])?.pop(),
            None => None,
        };
        let checkpoint = checkpoint.map_or_else(|| last_checkpoint(&run), Ok)?;
        (concept, checkpoint)
    };
    Ok(OtherConcept { name: concept.id, class_word: concept.file.class_word, checkpoint, strength })
}
