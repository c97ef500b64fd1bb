//! The files of the queue, `<home>/.catbench/queue/<number>.toml`: each says what is wanted of a job. How far that is, is read
//! from the job's folder: from its lock and its events. So nothing is lost with the daemon, which alone writes them, and
//! nothing has to be kept equal in two places.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::concept::{read_own_toml, write_toml};
use super::{Error, Home, JobFolder};
use crate::protocol::{Conditions, Event, JobInfo, JobState, PhaseProgress};

/// The version of the files that this program writes.
const VERSION: u32 = 1;

/// What the user wants of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// That it is done.
    Run,
    /// That it is held back.
    Pause,
    /// That it goes on as soon as it has stopped: it was to pause.
    Resume,
    /// Nothing yet: it came with the home, and somebody else may have put it there.
    Ask,
    /// That it is not done.
    Cancel,
}

/// One file of the queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueEntry {
    /// The version of the file.
    pub version: u32,
    /// What commands know the job by.
    pub number: u64,
    /// The job's folder, from the home.
    pub job: PathBuf,
    /// Where it is wanted: a device, or `any`.
    pub device: String,
    /// What `any` has come to mean; set before its runner starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
    /// Higher goes first.
    pub priority: i32,
    /// Smaller goes first among equal priorities.
    pub position: f64,
    /// The jobs that have to finish before it.
    #[serde(default)]
    pub after: Vec<u64>,
    /// What the user wants.
    pub wanted: Wanted,
    /// Events the job had when this attempt was asked for: those after it are of this attempt.
    pub from_seq: u64,
    /// When it was handed to the queue.
    pub submitted: jiff::Timestamp,
    /// What the daemon that wrote it knows and no archive: see [`Home::distrust_what_came`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// What it works under; none of a job that was queued by an earlier version, which works as the daemon does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Conditions>,
}

/// How a job is, and why it failed.
pub type How = (JobState, Option<String>);

impl QueueEntry {
    /// A job, by its folder from the home, that is wanted now.
    pub fn new(number: u64, job: PathBuf, device: String) -> Self {
        Self {
            version: VERSION,
            number,
            job,
            device,
            chosen: None,
            priority: 0,
            position: 0.0,
            after: Vec::new(),
            wanted: Wanted::Run,
            from_seq: 0,
            submitted: jiff::Timestamp::now(),
            conditions: None,
            token: String::new(),
        }
    }

    /// The file of job `number`.
    pub fn path(home: &Home, number: u64) -> PathBuf {
        home.queue().join(format!("{number}.toml"))
    }

    /// Read one.
    ///
    /// # Errors
    /// The file is damaged, of another version, or has another number than its name. It is somebody else's, who may have put
    /// another folder in the place of the queue's.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let entry: Self = read_own_toml(path)?;
        let toml = |message: String| Err(Error::Toml { path: path.to_owned(), message });
        if entry.version != VERSION {
            return toml(format!("version {} is not known to this catbench", entry.version));
        }
        if path.file_stem().and_then(|stem| stem.to_str()) != Some(&entry.number.to_string()) {
            return toml(format!("its number is {}: name the file after it", entry.number));
        }
        Ok(entry)
    }

    /// Write it; it counts once it is on disk.
    pub fn write(&self, home: &Home) -> Result<(), Error> {
        write_toml(&Self::path(home, self.number), self)
    }

    /// Its job.
    ///
    /// # Errors
    /// The job's folder is gone, or not in this home.
    pub fn folder(&self, home: &Home) -> Result<JobFolder, Error> {
        let path = home.path().join(&self.job);
        JobFolder::in_home(home, &path).map_err(|error| {
            if path.exists() {
                return error;
            }
            let remedy = format!("`catbench concept restore {}` puts it back, if it is in the trash", self.concept());
            Error::invalid(&path, "this job's folder is gone", remedy)
        })
    }

    /// The name of the concept it belongs to.
    pub fn concept(&self) -> String {
        self.job.iter().next().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Its device as far as that is known: the one that `any` came to mean when it was begun.
    pub fn settled_device(&self) -> &String {
        self.chosen.as_ref().unwrap_or(&self.device)
    }

    /// How the job is when no runner is at work on it.
    ///
    /// # Errors
    /// Its files cannot be read: then nothing is known of it.
    pub fn how(&self, home: &Home) -> Result<How, Error> {
        let job = self.folder(home)?;
        let last = job.last_event()?.filter(|last| last.seq >= self.from_seq || is_done(&job, &last.event));
        Ok(match (last.map(|last| last.event), self.wanted) {
            (Some(Event::Finished { .. }), _) => (JobState::Finished, None),
            (Some(Event::Failed { message }), _) => (JobState::Failed, Some(message)),
            (Some(Event::Stopped { .. }) | None, Wanted::Pause) => (JobState::Paused, None),
            (Some(Event::Stopped { .. }) | None, Wanted::Ask) => (JobState::Paused, Some(self.came())),
            (Some(Event::Stopped { .. }), _) => (JobState::Stopped, None),
            (Some(_), _) => (JobState::Failed, Some(format!("{DIED}: {}", remedy(&job, self.number)))),
            (None, Wanted::Run | Wanted::Resume) => (JobState::Queued, None),
            (None, Wanted::Cancel) => (JobState::Cancelled, None),
        })
    }

    /// Why a job is held that came with the home.
    fn came(&self) -> String {
        format!("it came with this home: `catbench jobs resume {}` runs it", self.number)
    }
}

/// Whether a job whose last event is `last` has nothing left to do, whoever asks for it again. A scoring is done anew with
/// other settings; a training is not.
pub fn is_done(job: &JobFolder, last: &Event) -> bool {
    matches!(last, Event::Finished { .. }) && job.about().is_ok_and(|kind| kind.once)
}

/// What is said of a runner whose end nobody saw.
const DIED: &str = "the runner died without a word: killed, out of memory, or the machine went down";

/// What is to be done about a job that has not finished.
pub fn remedy(job: &JobFolder, number: u64) -> String {
    super::job::retry(job, Some(number))
}

/// What the queue's folder holds.
#[derive(Debug, Default)]
pub struct QueueFiles {
    /// All jobs by their number.
    pub entries: BTreeMap<u64, QueueEntry>,
    /// The highest number that a file has, one that could not be read too.
    pub highest: u64,
    /// What is wrong with those that could not be read.
    pub problems: Vec<String>,
}

impl QueueFiles {
    /// Read the queue of `home`; nothing where there is none yet.
    pub fn read(home: &Home) -> Result<Self, Error> {
        let (mut read, folder) = (Self::default(), home.queue());
        let files = match std::fs::read_dir(&folder) {
            Ok(files) => files,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(read),
            Err(error) => return Err(Error::io("read", &folder)(error)),
        };
        for file in files {
            let path = file.map_err(Error::io("read", &folder))?.path();
            // What a writer that was killed has left begins with a dot.
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
                let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
                read.highest = read.highest.max(number.unwrap_or(0));
                match QueueEntry::read(&path) {
                    Ok(entry) => drop(read.entries.insert(entry.number, entry)),
                    Err(problem) => read.problems.push(problem.to_string()),
                }
            }
        }
        Ok(read)
    }

    /// All jobs as their files say, without a daemon.
    pub fn list(&self, home: &Home) -> Vec<JobInfo> {
        list(home, &self.entries, |entry| match entry.folder(home) {
            Ok(job) if job.is_held() => (JobState::Running, None),
            _ => entry.how(home).unwrap_or_else(|problem| (JobState::Failed, Some(problem.to_string()))),
        })
    }
}

/// The jobs in the order of their turn.
pub fn in_turn(entries: &BTreeMap<u64, QueueEntry>) -> Vec<&QueueEntry> {
    let mut entries: Vec<&QueueEntry> = entries.values().collect();
    entries.sort_by(|a, b| b.priority.cmp(&a.priority).then(a.position.total_cmp(&b.position)));
    entries
}

/// The first job that `entry` waits for, in words.
pub fn waits_for(entry: &QueueEntry, state: impl Fn(u64) -> JobState) -> Option<String> {
    entry.after.iter().find_map(|&number| match state(number) {
        JobState::Finished => None,
        state if state.is_over() => Some(format!("waits for job {number}, which is {}: retry it", state.word())),
        _ => Some(format!("waits for job {number}")),
    })
}

/// All jobs as clients see them: those at work, then the others in the order of their turn, then those that are over, oldest
/// first.
pub fn list(home: &Home, entries: &BTreeMap<u64, QueueEntry>, how: impl Fn(&QueueEntry) -> How) -> Vec<JobInfo> {
    let all: BTreeMap<u64, How> = entries.iter().map(|(number, entry)| (*number, how(entry))).collect();
    let state = |number: u64| all.get(&number).map_or(JobState::Failed, |(state, _)| *state);
    let rank = |entry: &QueueEntry| match state(entry.number) {
        JobState::Running => (0, 0),
        state if state.is_over() => (2, entry.number),
        _ => (1, 0),
    };
    let mut jobs = in_turn(entries);
    jobs.sort_by_key(|entry| rank(entry));
    jobs.into_iter().map(|entry| info(home, entry, all[&entry.number].clone(), state)).collect()
}

/// A job as clients see it, given how it is and how others are.
pub fn info(home: &Home, entry: &QueueEntry, (state, cause): How, others: impl Fn(u64) -> JobState) -> JobInfo {
    let folder = entry.folder(home).ok();
    let (step, progress) = folder.as_ref().filter(|_| state == JobState::Running).map(far).unwrap_or_default();
    JobInfo {
        number: entry.number,
        job: home.path().join(&entry.job),
        concept: entry.concept(),
        kind: folder.as_ref().and_then(|folder| folder.kind().ok()),
        state,
        cause: if state == JobState::Queued { waits_for(entry, others) } else { cause },
        device: entry.settled_device().clone(),
        priority: entry.priority,
        after: entry.after.clone(),
        submitted: entry.submitted,
        step,
        progress,
    }
}

/// How far a job is, as its last events tell: the step of a training, or what else it is busy with.
fn far(job: &JobFolder) -> (Option<usize>, Option<PhaseProgress>) {
    for record in job.last_events().unwrap_or_default().into_iter().rev() {
        match record.event {
            Event::Step { step, .. } | Event::FixedNoise { step, .. } | Event::Checkpoint { step, .. } => {
                return (Some(step), None);
            }
            Event::Progress { phase, done, total } => return (None, Some(PhaseProgress { phase, done, total })),
            Event::Started { .. } => break,
            _ => {}
        }
    }
    (None, None)
}
