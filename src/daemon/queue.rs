//! The jobs and their order. Every job is a file, `<home>/.catbench/queue/<number>.toml`, that says what is wanted of it;
//! how far it is, is read from its folder: from its lock and its events. So nothing is lost with this process, and
//! nothing has to be kept equal in two places.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use crate::protocol::{Event, JobChange, JobInfo, JobState, Submission};
use crate::workspace::{self, Home, JobFolder};

/// The version of the files that this program writes.
const VERSION: u32 = 1;
/// The device that stands for the first one that is free.
pub const ANY: &str = "any";

/// What the user wants of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    Run,
    Pause,
    Cancel,
}

/// One file of the queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    version: u32,
    number: u64,
    /// The job's folder, from the home.
    job: PathBuf,
    device: String,
    /// What `any` has come to mean; set before its runner starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chosen: Option<String>,
    priority: i32,
    /// Smaller goes first among equal priorities.
    position: f64,
    #[serde(default)]
    after: Vec<u64>,
    wanted: Wanted,
    /// Events the job had when this attempt was asked for: those after it are of this attempt.
    from_seq: u64,
    submitted: jiff::Timestamp,
}

/// A job whose turn has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    pub number: u64,
    pub job: JobFolder,
    pub from_seq: u64,
    pub device: String,
}

/// What has to be done to a job's runner for a change to come true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Nothing,
    Stop,
    Kill,
}

/// All jobs.
pub struct Queue {
    home: Home,
    folder: PathBuf,
    entries: BTreeMap<u64, Entry>,
    /// The highest number that a file has, one that could not be read too.
    highest: u64,
    /// Those that a runner has been started for, or adopted, and on which device.
    at_work: BTreeMap<u64, String>,
    /// Those that are known to be over, and why: their files need not be read again.
    over: BTreeMap<u64, (JobState, Option<String>)>,
}

impl Queue {
    /// Read the queue of `home`, and tell of each file that could not be read; such a file is left where it is.
    pub fn open(home: &Home) -> Result<(Self, Vec<String>), Error> {
        let folder = home.internal().join("queue");
        std::fs::create_dir_all(&folder).map_err(workspace::Error::io("create", &folder))?;
        let (mut entries, mut highest, mut warnings) = (BTreeMap::new(), 0, Vec::new());
        for file in std::fs::read_dir(&folder).map_err(workspace::Error::io("read", &folder))? {
            let path = file.map_err(workspace::Error::io("read", &folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') {
                // What a writer that was killed has left.
                let _ = std::fs::remove_file(&path);
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
                highest = highest.max(number.unwrap_or(0));
                match read(&path) {
                    Ok(entry) => drop(entries.insert(entry.number, entry)),
                    Err(problem) => warnings.push(problem.to_string()),
                }
            }
        }
        let (at_work, over) = (BTreeMap::new(), BTreeMap::new());
        let queue = Self { home: home.clone(), folder, entries, highest, at_work, over };
        Ok((queue, warnings))
    }

    /// Queue a job; one that is queued or runs already stays as it is. Its number.
    pub fn submit(&mut self, submission: &Submission) -> Result<u64, Error> {
        let job = JobFolder::at(&submission.job)?;
        let outside = || {
            let remedy = format!("a job of this daemon is under {}", self.home.path().display());
            workspace::Error::invalid(job.path(), "this job is in another home", remedy)
        };
        let relative = job.path().strip_prefix(self.home.path()).map_err(|_| outside())?.to_owned();
        if let Some(unknown) = submission.after.iter().find(|number| !self.entries.contains_key(number)) {
            return Err(Error::NoJob(*unknown));
        }
        let known = self.number_of(job.path());
        if let Some(number) = known.filter(|number| !self.state(*number).0.is_over()) {
            return Ok(number);
        }
        let number = known.unwrap_or(self.highest + 1);
        let entry = Entry {
            version: VERSION,
            number,
            job: relative,
            device: submission.device.clone(),
            chosen: None,
            priority: submission.priority,
            position: self.last_position(),
            after: submission.after.clone(),
            wanted: Wanted::Run,
            from_seq: job.event_count()?,
            submitted: jiff::Timestamp::now(),
        };
        self.put(entry)?;
        Ok(number)
    }

    /// Change a job, and say what has to be done to its runner.
    pub fn change(&mut self, number: u64, change: &JobChange) -> Result<Act, Error> {
        let (state, _) = self.state(number);
        let entry = self.entry(number)?.clone();
        let runs = state == JobState::Running;
        let wrong = |to: &'static str| Err(Error::NotNow { number, state: state.word(), to });
        match change {
            JobChange::Cancel { kill } => match state {
                JobState::Queued | JobState::Paused | JobState::Running => {
                    self.put(Entry { wanted: Wanted::Cancel, ..entry })?;
                    Ok(if !runs {
                        Act::Nothing
                    } else if *kill {
                        Act::Kill
                    } else {
                        Act::Stop
                    })
                }
                _ => wrong("cancel it"),
            },
            JobChange::Pause => match state {
                JobState::Queued | JobState::Running => {
                    self.put(Entry { wanted: Wanted::Pause, ..entry })?;
                    Ok(if runs { Act::Stop } else { Act::Nothing })
                }
                _ => wrong("pause it"),
            },
            JobChange::Resume => match state {
                JobState::Paused => {
                    let from_seq = self.job(number)?.event_count()?;
                    self.put(Entry { wanted: Wanted::Run, from_seq, chosen: None, ..entry })?;
                    Ok(Act::Nothing)
                }
                // Asked to pause, but still in its step: it goes on as soon as it has stopped.
                JobState::Running if entry.wanted == Wanted::Pause => wrong("resume it before it has stopped"),
                _ => wrong("resume it"),
            },
            JobChange::Retry => match state {
                state if state.can_be_retried() => {
                    let from_seq = self.job(number)?.event_count()?;
                    let position = self.last_position();
                    self.put(Entry { wanted: Wanted::Run, from_seq, chosen: None, position, ..entry })?;
                    Ok(Act::Nothing)
                }
                _ => wrong("retry it"),
            },
            JobChange::Priority { priority } => {
                self.put(Entry { priority: *priority, ..entry })?;
                Ok(Act::Nothing)
            }
            JobChange::Move { before } => {
                let position = self.position_before(number, *before)?;
                self.put(Entry { position, ..entry })?;
                Ok(Act::Nothing)
            }
        }
    }

    /// The next job whose device is free; `all` devices are those that `any` may mean, the best first.
    pub fn next(&self, all: &[String]) -> Option<Turn> {
        let is_free = |device: &&String| !self.at_work.values().any(|busy| busy == *device);
        let waiting = self.ordered().into_iter().filter(|entry| !self.at_work.contains_key(&entry.number));
        for entry in waiting {
            let device =
                if entry.device == ANY { all.iter().find(is_free) } else { Some(&entry.device).filter(is_free) };
            let Some(device) = device else { continue };
            if self.state(entry.number).0 != JobState::Queued || self.waits_for(entry).is_some() {
                continue;
            }
            let Ok(job) = self.job(entry.number) else { continue };
            // The runner of an earlier attempt that is still on its way out.
            if !job.is_held() {
                return Some(Turn { number: entry.number, job, from_seq: entry.from_seq, device: device.clone() });
            }
        }
        None
    }

    /// A runner is about to be started for `turn`. What `any` means is on disk before it is.
    pub fn begin(&mut self, turn: &Turn) -> Result<(), Error> {
        let entry = self.entry(turn.number)?.clone();
        if entry.device == ANY {
            if let Ok(device) = turn.device.parse() {
                turn.job.set_device(device)?;
            }
            self.put(Entry { chosen: Some(turn.device.clone()), ..entry })?;
        }
        self.at_work.insert(turn.number, turn.device.clone());
        Ok(())
    }

    /// A runner of the job has ended, or none could be started. `cause` says why it failed where its events could not be
    /// written: then they do not tell it.
    pub fn ended(&mut self, number: u64, cause: Option<String>) {
        self.at_work.remove(&number);
        if let Some(cause) = cause {
            self.over.insert(number, (JobState::Failed, Some(cause)));
        }
    }

    /// Jobs whose runners were started by an earlier daemon and live, as turns that have been taken; and those whose
    /// runners died while no daemon was there.
    pub fn found(&mut self) -> (Vec<Turn>, Vec<Turn>) {
        let (mut living, mut dead) = (Vec::new(), Vec::new());
        for (number, entry) in self.entries.clone() {
            let Ok(job) = self.job(number) else { continue };
            let device = entry.chosen.unwrap_or(entry.device);
            let turn = Turn { number, job, from_seq: entry.from_seq, device };
            if turn.job.is_held() {
                self.at_work.insert(number, turn.device.clone());
                living.push(turn);
            } else if turn.is_interrupted() {
                dead.push(turn);
            }
        }
        (living, dead)
    }

    /// Whether a job's runner is gone already, though not yet taken note of.
    pub fn is_ending(&self, number: u64) -> bool {
        let begun = |job: &JobFolder, entry: &Entry| job.event_count().is_ok_and(|count| count > entry.from_seq);
        self.at_work.contains_key(&number)
            && self
                .entries
                .get(&number)
                .is_some_and(|entry| self.job(number).is_ok_and(|job| begun(&job, entry) && !job.is_held()))
    }

    /// Whether a job that is at work should not be.
    pub fn is_unwanted(&self, number: u64) -> bool {
        self.entries.get(&number).is_some_and(|entry| entry.wanted != Wanted::Run)
    }

    /// The first job of a concept that is not over.
    pub fn first_of(&self, concept: &str) -> Option<u64> {
        let mut of_it = self.entries.values().filter(|entry| entry.job.starts_with(concept));
        of_it.find(|entry| !self.state(entry.number).0.is_over()).map(|entry| entry.number)
    }

    /// A concept has another name now: so have the folders of its jobs.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), Error> {
        let of_it: Vec<Entry> = self.entries.values().filter(|entry| entry.job.starts_with(from)).cloned().collect();
        for entry in of_it {
            let rest: PathBuf = entry.job.iter().skip(1).collect();
            self.put(Entry { job: Path::new(to).join(rest), ..entry })?;
        }
        Ok(())
    }

    /// The devices that jobs are at work on.
    pub fn busy(&self) -> impl Iterator<Item = &String> {
        self.at_work.values()
    }

    /// The number of the job in the folder at `path`.
    pub fn number_of(&self, path: &Path) -> Option<u64> {
        let relative = path.strip_prefix(self.home.path()).ok()?;
        self.entries.values().find(|entry| entry.job == relative).map(|entry| entry.number)
    }

    /// How a job is, and why it failed.
    pub fn state(&self, number: u64) -> (JobState, Option<String>) {
        if self.at_work.contains_key(&number) {
            return (JobState::Running, None);
        }
        if let Some(known) = self.over.get(&number) {
            return known.clone();
        }
        let Some(entry) = self.entries.get(&number) else { return (JobState::Failed, None) };
        match self.job(number).and_then(|job| Ok(job.last_event()?)) {
            Err(problem) => (JobState::Failed, Some(problem.to_string())),
            Ok(last) => match (last.filter(|last| last.seq >= entry.from_seq).map(|last| last.event), entry.wanted) {
                (Some(Event::Finished { .. }), _) => (JobState::Finished, None),
                (Some(Event::Failed { message }), _) => (JobState::Failed, Some(message)),
                (Some(Event::Stopped { .. }) | None, Wanted::Pause) => (JobState::Paused, None),
                (Some(Event::Stopped { .. }), _) => (JobState::Stopped, None),
                (Some(_), _) => (JobState::Failed, Some(format!("{DIED}: {}", remedy(number)))),
                (None, Wanted::Run) => (JobState::Queued, None),
                (None, Wanted::Cancel) => (JobState::Cancelled, None),
            },
        }
    }

    /// A job as clients see it.
    pub fn info(&mut self, number: u64) -> Result<JobInfo, Error> {
        let (state, mut cause) = self.state(number);
        if state.is_over() {
            self.over.entry(number).or_insert_with(|| (state, cause.clone()));
        }
        let entry = self.entry(number)?;
        if state == JobState::Queued {
            cause = self.waits_for(entry);
        }
        let job = self.home.path().join(&entry.job);
        let folder = JobFolder::at(&job).ok();
        Ok(JobInfo {
            number,
            concept: folder.as_ref().and_then(JobFolder::concept).unwrap_or_default().to_owned(),
            kind: folder.as_ref().and_then(|folder| folder.kind().ok()),
            step: folder.filter(|_| state == JobState::Running).and_then(|folder| step(&folder)),
            job,
            state,
            cause,
            device: self.at_work.get(&number).or(entry.chosen.as_ref()).unwrap_or(&entry.device).clone(),
            priority: entry.priority,
            after: entry.after.clone(),
            submitted: entry.submitted,
        })
    }

    /// All jobs: those at work, then the others in the order of their turn, then those that are over, oldest first.
    pub fn list(&mut self) -> Result<Vec<JobInfo>, Error> {
        let mut numbers: Vec<u64> = self.ordered().iter().map(|entry| entry.number).collect();
        let rank = |queue: &Self, number: u64| match queue.state(number).0 {
            JobState::Running => 0,
            state if state.is_over() => 2,
            _ => 1,
        };
        let ranks: BTreeMap<u64, i32> = numbers.iter().map(|number| (*number, rank(self, *number))).collect();
        numbers.sort_by_key(|number| (ranks[number], if ranks[number] == 2 { *number } else { 0 }));
        numbers.into_iter().map(|number| self.info(number)).collect()
    }

    /// How many jobs are queued with nothing but a free device in their way.
    pub fn ready(&self) -> usize {
        let waiting = self.entries.values().filter(|entry| !self.over.contains_key(&entry.number));
        waiting
            .filter(|entry| self.state(entry.number).0 == JobState::Queued && self.waits_for(entry).is_none())
            .count()
    }

    /// The folder of a job.
    pub fn job(&self, number: u64) -> Result<JobFolder, Error> {
        Ok(JobFolder::at(&self.home.path().join(&self.entry(number)?.job))?)
    }

    /// The first job that `entry` waits for, in words.
    fn waits_for(&self, entry: &Entry) -> Option<String> {
        entry.after.iter().find_map(|number| match self.state(*number).0 {
            JobState::Finished => None,
            state if state.is_over() => Some(format!("waits for job {number}, which is {}: retry it", state.word())),
            _ => Some(format!("waits for job {number}")),
        })
    }

    fn entry(&self, number: u64) -> Result<&Entry, Error> {
        self.entries.get(&number).ok_or(Error::NoJob(number))
    }

    /// In the order of their turn.
    fn ordered(&self) -> Vec<&Entry> {
        let mut entries: Vec<&Entry> = self.entries.values().collect();
        entries.sort_by(|a, b| b.priority.cmp(&a.priority).then(a.position.total_cmp(&b.position)));
        entries
    }

    /// A position behind all.
    fn last_position(&self) -> f64 {
        self.entries.values().map(|entry| entry.position).fold(0.0, f64::max).floor() + 1.0
    }

    /// A position just before another job, among those of its priority.
    fn position_before(&self, number: u64, before: Option<u64>) -> Result<f64, Error> {
        let Some(before) = before else { return Ok(self.last_position()) };
        let other = self.entry(before)?;
        if other.priority != self.entry(number)?.priority {
            return Err(Error::OtherPriority { number, other: before, priority: other.priority });
        }
        let ahead = self.entries.values().filter(|entry| entry.number != number && entry.position < other.position);
        let ahead = ahead.map(|entry| entry.position).fold(other.position - 2.0, f64::max);
        Ok(f64::midpoint(ahead, other.position))
    }

    /// Write an entry; it counts once it is on disk.
    fn put(&mut self, entry: Entry) -> Result<(), Error> {
        let path = self.folder.join(format!("{}.toml", entry.number));
        let text = toml::to_string(&entry)
            .map_err(|error| workspace::Error::Toml { path: path.clone(), message: error.to_string() })?;
        crate::fs::write_atomic(&path, text.as_bytes()).map_err(workspace::Error::io("write", &path))?;
        self.over.remove(&entry.number);
        self.highest = self.highest.max(entry.number);
        self.entries.insert(entry.number, entry);
        Ok(())
    }
}

/// What is said of a runner whose end nobody saw.
const DIED: &str = "the runner died without a word: killed, out of memory, or the machine went down";

/// What is to be done about a job whose runner is gone.
pub fn remedy(number: u64) -> String {
    format!("`catbench jobs retry {number}` goes on from its last checkpoint")
}

impl Turn {
    /// Whether it was begun and neither ended nor lives.
    fn is_interrupted(&self) -> bool {
        let last = self.job.last_event().ok().flatten();
        !self.job.is_held() && last.is_some_and(|last| last.seq >= self.from_seq && !last.event.is_last())
    }
}

/// The last step of a training, if its last event tells.
fn step(job: &JobFolder) -> Option<usize> {
    match job.last_event().ok()??.event {
        Event::Step { step, .. }
        | Event::Validation { step, .. }
        | Event::Checkpoint { step, .. }
        | Event::Sample { step, .. } => Some(step),
        _ => None,
    }
}

fn read(path: &Path) -> Result<Entry, Error> {
    let text = std::fs::read_to_string(path).map_err(workspace::Error::io("read", path))?;
    let toml = |message: String| workspace::Error::Toml { path: path.to_owned(), message };
    let entry: Entry = toml::from_str(&text).map_err(|error| toml(error.to_string().trim_end().to_owned()))?;
    if entry.version != VERSION {
        return Err(toml(format!("version {} is not known to this catbench", entry.version)).into());
    }
    if path.file_stem().and_then(|stem| stem.to_str()) != Some(&entry.number.to_string()) {
        return Err(toml(format!("its number is {}: name the file after it", entry.number)).into());
    }
    Ok(entry)
}
