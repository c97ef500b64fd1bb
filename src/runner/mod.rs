//! What does a job: a process of its own, in its own session, that ends only when the job does or when it is asked to
//! stop. It writes `events.jsonl` and files into the job's folder, and nothing to a screen.
//!
//! Its lock on `runner.lock` is held as long as it lives, however it dies; so the lock is what tells others that it lives.

mod answer;
mod assignments;
mod estimate;
mod evaluate;
mod judge;
mod mask_makers;
mod masks;
mod models;
mod sample;
mod segment;
mod train;
mod words;

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

pub use answer::answer;
pub use models::{Models, check_model};
pub use segment::segment;

use crate::diffusion::{BaseModel, Compute, Outline};
use crate::fs::Show;
use crate::personalize::Reading;
use crate::protocol::{
    CONDITIONS, CutPrompt, DISK_FULL, Event, EventRecord, JobKind, ModelSpec, OddPrompt, OtherConcept, Phase,
    SettingError,
};
use crate::workspace::queue::is_done;
use crate::workspace::{self, BatchSpec, Concept, EventLog, HashCache, JobFolder, MaskSpec, RunSpec, ScoreSpec};
use crate::{diffusion, image, metrics, personalize};
use assignments::Assignments;

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its files.
    #[error(transparent)]
    Workspace(#[from] workspace::Error),
    /// Signals could not be set up.
    #[error("cannot set up signals: {0}")]
    Signals(#[source] std::io::Error),
    /// Another runner has the job.
    #[error("{}: another runner is at work on this job", .0.shown())]
    Taken(PathBuf),
    /// It was begun already.
    #[error("{}: another runner has done this", .0.shown())]
    Done(PathBuf),
    /// The base model.
    #[error(transparent)]
    Model(#[from] diffusion::Error),
    /// Training or sampling.
    #[error(transparent)]
    Personalize(#[from] personalize::Error),
    /// A setting that cannot work.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A photo, mask or sample.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// Scoring.
    #[error(transparent)]
    Metrics(#[from] metrics::Error),
    /// A mask from points.
    #[error(transparent)]
    Segment(#[from] crate::segment::Error),
    /// It would need more memory than there is.
    #[error("{0}")]
    DoesNotFit(String),
    /// An embedding file is not the one that was named.
    #[error("{}: this embedding has changed since the job was made: make a new one", .0.shown())]
    EmbeddingChanged(PathBuf),
    /// An embedding would change nothing.
    #[error("{}: its word {token:?} stands in no prompt: write it there, or name another with FILE=WORD", path.shown())]
    UnusedEmbedding {
        /// The file.
        path: PathBuf,
        /// Its word.
        token: String,
    },
    /// A picture cannot be made as it was asked for.
    #[error("{why}")]
    Picture {
        /// Its place among the pictures of the job.
        at: usize,
        /// Why.
        why: Box<Self>,
    },
    /// The program itself.
    #[error("the program broke: {message} (this is a bug; more is in {})", .log.shown())]
    Panic {
        /// What it said.
        message: String,
        /// Where more is.
        log: PathBuf,
    },
}

impl Error {
    /// The same of the picture at `at` of the job.
    fn of_picture(self, at: usize) -> Self {
        Self::Picture { at, why: Box::new(self) }
    }

    /// The picture it is about, by its place among the pictures of the job; none where it is about none.
    fn picture(&self) -> Option<usize> {
        if let Self::Picture { at, .. } = self { Some(*at) } else { None }
    }

    /// The same, with the last checkpoint of the training that it ended, where one was saved.
    fn after(self, saved: Option<usize>) -> Self {
        match self {
            Self::Personalize(error) => error.after(saved).into(),
            other => other,
        }
    }
}

/// How a job that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is done.
    Finished,
    /// Stopped as asked after `step` optimizer steps, with a checkpoint where there is something to resume.
    Stopped {
        /// Steps done.
        step: usize,
    },
}

/// Set when the job should stop. Look at it between steps: finish the step, write a checkpoint, return
/// [`Outcome::Stopped`].
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Whether the job should stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A checkpoint to go on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// Steps done.
    pub step: usize,
    /// The file, absolute.
    pub path: PathBuf,
}

/// A training to do.
#[derive(Debug)]
pub struct TrainJob {
    /// Where it writes.
    pub folder: JobFolder,
    /// What is learned.
    pub concept: Concept,
    /// How.
    pub spec: RunSpec,
    /// The last checkpoint of an earlier runner of this job.
    pub resume: Option<Resume>,
    /// What keeps its base model.
    pub models: Models,
}

/// A sampling to do.
#[derive(Debug)]
pub struct SampleJob {
    /// Where it writes.
    pub folder: JobFolder,
    /// What is sampled.
    pub concept: Concept,
    /// How.
    pub spec: BatchSpec,
    /// What keeps its base model.
    pub models: Models,
}

/// A scoring to do.
#[derive(Debug)]
pub struct ScoreJob {
    /// Where it writes.
    pub folder: JobFolder,
    /// What is scored.
    pub concept: Concept,
    /// How.
    pub spec: ScoreSpec,
    /// What keeps its base model.
    pub models: Models,
}

/// Masks to make.
#[derive(Debug)]
pub struct MaskJob {
    /// Where it writes its events.
    pub folder: JobFolder,
    /// Whose pictures they are.
    pub concept: Concept,
    /// How.
    pub spec: MaskSpec,
    /// What keeps its base model.
    pub models: Models,
}

/// The whole life of a runner process: do the job in `folder`, and with `keep` those that come on stdin after it, one
/// `Assignment` a line, until none comes for a while or one does not finish.
pub fn main(folder: &Path, from_seq: Option<u64>, keep: bool) -> ExitCode {
    // It belongs to no terminal. This fails only for a process that already leads a session, which is as good.
    let _ = rustix::process::setsid();
    crate::sys::keep_freed_memory();
    let refused = take_on_conditions();
    let (stop, models) = (StopFlag::default(), Models::default());
    let process = Process { models, stop, refused };
    let stop = &process.stop;
    let first = signals(stop).and_then(|()| run(folder, from_seq, &process));
    let mut assignments = keep.then(Assignments::listen);
    let mut done = first;
    loop {
        match done {
            Ok(Outcome::Finished) => {}
            Ok(Outcome::Stopped { .. }) => return ExitCode::SUCCESS,
            Err(error) => {
                // Its stderr is runner.log, for which a full disk has no room.
                let _ = writeln!(std::io::stderr(), "error: {error}");
                return if is_disk_full(&error) { ExitCode::from(DISK_FULL) } else { ExitCode::FAILURE };
            }
        }
        let Some(next) = assignments.as_mut().and_then(|assignments| assignments.next(stop)) else {
            return ExitCode::SUCCESS;
        };
        done = log_to(&next.job).and_then(|()| run(&next.job, Some(next.from_seq), &process));
    }
}

/// What a runner's jobs share.
struct Process {
    models: Models,
    stop: StopFlag,
    /// What of the conditions of its jobs it could not be given, in words.
    refused: Vec<String>,
}

/// Work under the conditions of the command that asked for the job. What could not be given, in words.
fn take_on_conditions() -> Vec<String> {
    let Ok(told) = std::env::var(CONDITIONS) else { return Vec::new() };
    match serde_json::from_str(&told) {
        Ok(conditions) => workspace::take_on(&conditions),
        Err(error) => vec![format!("the conditions it was asked for with cannot be read: {error}")],
    }
}

/// Whether it is for want of room on a disk.
fn is_disk_full(error: &Error) -> bool {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if kind.is_some_and(|kind| [ErrorKind::StorageFull, ErrorKind::QuotaExceeded].contains(&kind)) {
            return true;
        }
        source = error.source();
    }
    false
}

/// Have what this process writes go to the `runner.log` of the job in `folder`.
fn log_to(folder: &Path) -> Result<(), Error> {
    let path = JobFolder::at(folder)?.log();
    let log = crate::fs::open_append(&path).map_err(workspace::Error::io("write", &path))?;
    Ok(crate::sys::redirect_output(&log).map_err(workspace::Error::io("write", &path))?)
}

fn signals(stop: &StopFlag) -> Result<(), Error> {
    let register = |signal, flag: &Arc<AtomicBool>| {
        signal_hook::flag::register(signal, Arc::clone(flag)).map(drop).map_err(Error::Signals)
    };
    register(SIGTERM, &stop.0)?;
    register(SIGINT, &stop.0)?;
    // A lost terminal is nothing to a runner.
    register(SIGHUP, &Arc::default())
}

/// Do the job in `folder`, and report its end in its events. With `from_seq` only if it has this many events: with more,
/// another runner has had it, and it must not be done twice.
fn run(folder: &Path, from_seq: Option<u64>, process: &Process) -> Result<Outcome, Error> {
    let folder = JobFolder::at(folder)?;
    let _lock = take_lock(&folder)?;
    let began = Instant::now();
    let (mut log, events) = EventLog::open(&folder.events())?;
    if from_seq.is_some_and(|from_seq| from_seq != log.next_seq()) {
        return Err(Error::Done(folder.path().to_path_buf()));
    }
    if events.last().is_some_and(|last| is_done(&folder, &last.event)) {
        return Ok(Outcome::Finished);
    }
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&folder, &events, &mut log, process)));
    let done = done.unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        let message = message.or_else(|| panic.downcast_ref::<&str>().map(|m| (*m).to_owned())).unwrap_or_default();
        Err(Error::Panic { message, log: folder.log() })
    });
    // Whatever it could not read or write then, this is why.
    let done = done.map_err(|error| log.check_in_place().map_or_else(Error::from, |()| error));
    log.write(match &done {
        Ok(Outcome::Finished) => Event::Finished { seconds: began.elapsed().as_secs_f64() },
        Ok(Outcome::Stopped { step }) => Event::Stopped { step: *step },
        Err(error) => Event::Failed { message: error.to_string() },
    })?;
    done
}

/// The lock that says a runner lives.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // The process id of one that has let go of it must not be signalled while the next one writes its own.
        let _ = self.0.set_len(0);
    }
}

/// Take the lock of a job, and write the own process id into it. Others hold it for a moment when they look, so wait a little.
fn take_lock(folder: &JobFolder) -> Result<Lock, Error> {
    let path = folder.lock();
    let mut file = crate::fs::open_lock(&path).map_err(workspace::Error::io("create", &path))?;
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        match file.try_lock() {
            Ok(()) => {
                let pid = std::process::id().to_string();
                let written = file.set_len(0).and_then(|()| file.write_all(pid.as_bytes()));
                written.map_err(workspace::Error::io("write", &path))?;
                return Ok(Lock(file));
            }
            Err(TryLockError::Error(error)) => return Err(workspace::Error::io("lock", &path)(error).into()),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => return Err(Error::Taken(folder.path().to_path_buf())),
        }
    }
}

fn work(folder: &JobFolder, events: &[EventRecord], log: &mut EventLog, process: &Process) -> Result<Outcome, Error> {
    let (models, stop) = (process.models.clone(), &process.stop);
    let concept = Concept::open(folder.concept_folder()?)?;
    let begin = |log: &mut EventLog, steps: usize, resumed_from: usize| {
        log.write(Event::Started { pid: std::process::id(), steps, resumed_from })?;
        process.refused.iter().try_for_each(|refused| log.write(Event::Warning { message: refused.clone() }))
    };
    match folder.kind()? {
        JobKind::Train => {
            let spec = folder.run_spec()?;
            let resume = last_checkpoint(folder, events);
            let resumed_from = resume.as_ref().map_or(0, |resume| resume.step);
            begin(log, spec.train.steps, resumed_from)?;
            workspace::preflight_of(&concept, spec.photos)?;
            train::run(&TrainJob { folder: folder.clone(), concept, spec, resume, models }, log, stop)
        }
        JobKind::Sample => {
            let spec = folder.batch_spec()?;
            // What was made stays: a sampling goes on where it ended.
            let made = events.iter().filter_map(|record| match record.event {
                Event::Sample { step, .. } => Some(step),
                _ => None,
            });
            begin(log, 0, made.max().unwrap_or(0))?;
            sample::run(&SampleJob { folder: folder.clone(), concept, spec, models }, events, log, stop)
        }
        JobKind::Score => {
            let spec = folder.score_spec()?;
            begin(log, 0, 0)?;
            workspace::preflight(&concept)?;
            evaluate::run(&ScoreJob { folder: folder.clone(), concept, spec, models }, log, stop)
        }
        JobKind::Mask => {
            let spec = folder.mask_spec()?;
            begin(log, 0, 0)?;
            masks::run(&MaskJob { folder: folder.clone(), concept, spec, models }, log, stop)
        }
    }
}

/// The last checkpoint whose file is still there.
fn last_checkpoint(folder: &JobFolder, events: &[EventRecord]) -> Option<Resume> {
    let mut valid: Vec<Resume> = Vec::new();
    for record in events {
        match &record.event {
            // What came after the step this resume went back to is void.
            Event::Started { resumed_from, .. } => valid.retain(|resume| resume.step <= *resumed_from),
            Event::Checkpoint { step, path } => valid.push(Resume { step: *step, path: folder.path().join(path) }),
            _ => {}
        }
    }
    valid.into_iter().rev().find(|resume| resume.path.is_file())
}

/// Read the base model for `job`, if it fits into memory, and say so.
fn load_model(
    models: &Models,
    spec: &ModelSpec,
    concept: &Concept,
    job: &estimate::Job<'_>,
    log: &mut EventLog,
) -> Result<Rc<BaseModel>, Error> {
    log.write(Event::Progress { phase: Phase::Load, done: 0, total: 1 })?;
    let words = words::read(job)?;
    let (device, dtype) = job.device();
    let outline = Outline::read(spec)?.on(device, dtype);
    estimate::check_memory(&outline, job, models.kept_bytes())?;
    let compute = (device, dtype, Compute::open(device, dtype)?);
    let model = models.load(spec, &words, &HashCache::of(&concept.home()?), &compute, outline.weights_bytes())?;
    log.write(Event::Progress { phase: Phase::Load, done: 1, total: 1 })?;
    Ok(model)
}

/// Warn of prompts that are longer than the base model reads, and of those that other programs read otherwise.
fn warn_of_prompts<'a>(
    prompts: impl IntoIterator<Item = &'a String>,
    class_word: &str,
    concepts: &[OtherConcept],
    model: &BaseModel,
    log: &mut EventLog,
) -> Result<(), Error> {
    let prompts: Vec<&String> = prompts.into_iter().collect();
    for prompt in &prompts {
        let text = Reading::of(prompt, class_word, concepts)?.text;
        let cut = model.tokenizer().tokens(&text)?.cut;
        if !cut.is_empty() {
            let cut = CutPrompt { prompt: (*prompt).clone(), cut, limit: model.texts[0].encoder.max_length() };
            log.write(Event::Warning { message: cut.warning() })?;
        }
        let odd = diffusion::odd_text(&text);
        if !odd.is_empty() {
            log.write(Event::Warning { message: OddPrompt { prompt: (*prompt).clone(), odd }.warning() })?;
        }
    }
    for told in diffusion::other_syntax(prompts) {
        log.write(Event::Warning { message: told.warning() })?;
    }
    Ok(())
}

/// Tells a phase's progress, but not more often than eyes can follow.
struct Progress<'a> {
    log: &'a mut EventLog,
    phase: Phase,
    last: Option<Instant>,
}

impl<'a> Progress<'a> {
    fn new(log: &'a mut EventLog, phase: Phase) -> Self {
        Self { log, phase, last: None }
    }

    /// Tell something else in between.
    fn write(&mut self, event: Event) -> Result<(), Error> {
        Ok(self.log.write(event)?)
    }

    fn tell(&mut self, done: usize, total: usize) -> Result<(), Error> {
        let due = self.last.is_none_or(|last| last.elapsed() >= Duration::from_millis(250));
        if !due && done != total {
            return Ok(());
        }
        self.last = Some(Instant::now());
        Ok(self.log.write(Event::Progress { phase: self.phase, done, total })?)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_full_disk_is_known_however_deep_it_lies_in_an_error() {
        let full = |code| {
            let source = std::io::Error::from_raw_os_error(code);
            Error::Workspace(workspace::Error::io("write", Path::new("events.jsonl"))(source))
        };
        assert!(is_disk_full(&full(28)) && is_disk_full(&full(122)), "no space, no quota");
        assert!(!is_disk_full(&full(13)) && !is_disk_full(&Error::Done("x".into())));
    }
}
