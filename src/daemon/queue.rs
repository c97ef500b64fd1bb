//! The jobs and their order: the files of the queue, and which of them are at work.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Error;
use super::devices::{ANY, Device, Devices};
use crate::protocol::{Conditions, JobChange, JobInfo, JobState, Submission};
use crate::workspace::queue::{self, How, QueueEntry, QueueFiles, Wanted, remedy};
use crate::workspace::{self, Home, JobFolder};

/// A job whose turn has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    pub number: u64,
    pub job: JobFolder,
    pub from_seq: u64,
    pub device: Device,
    /// What it works under.
    pub conditions: Option<Conditions>,
    /// The queue's file, which says what is wanted of it by now.
    pub entry: PathBuf,
}

/// What has to be done to a job's runner for a change to come true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Nothing,
    Stop,
    Kill,
}

/// What tells that the events of a job are no longer those that were read: their length and time.
type Stamp = Option<(u64, SystemTime)>;

/// A job at work.
struct Attempt {
    /// Where.
    place: String,
    /// Different for each.
    number: u64,
}

/// All jobs.
pub struct Queue {
    home: Home,
    /// What tells its files from those that came with the home.
    token: String,
    devices: Devices,
    entries: BTreeMap<u64, QueueEntry>,
    /// The highest number that a file has, one that could not be read too.
    highest: u64,
    /// Those that a runner has been started for, or adopted.
    at_work: BTreeMap<u64, Attempt>,
    /// How many attempts there were.
    attempts: u64,
    /// Those that are known to be over: unless their events have changed, these need not be read again.
    over: BTreeMap<u64, (Stamp, How)>,
    /// Why a job failed whose events could not be written.
    untold: BTreeMap<u64, String>,
    /// Jobs whose turn has come, but that a runner holds which was not begun here.
    held_back: BTreeSet<u64>,
}

impl Queue {
    /// Read the queue of `home`, and tell of each file that could not be read, which is left where it is, and of jobs that came
    /// with the home, which are held.
    pub fn open(home: &Home) -> Result<(Self, Vec<String>), Error> {
        let folder = home.queue();
        workspace::make_private(&folder)?;
        let left = std::fs::read_dir(&folder).map_err(workspace::Error::io("read", &folder))?.flatten();
        for path in left.filter(|file| file.file_name().to_string_lossy().starts_with('.')).map(|file| file.path()) {
            // What a writer that was killed has left.
            let _ = std::fs::remove_file(path);
        }
        let (token, came) = home.distrust_what_came()?;
        let QueueFiles { entries, highest, mut problems } = QueueFiles::read(home)?;
        problems.extend(came);
        let (at_work, over, untold) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let held_back = BTreeSet::new();
        let (home, devices) = (home.clone(), Devices::here());
        Ok((Self { home, token, devices, entries, highest, at_work, attempts: 0, over, untold, held_back }, problems))
    }

    /// Queue a job; one that is queued or runs already stays as it is. Its number.
    pub fn submit(&mut self, submission: &Submission) -> Result<u64, Error> {
        let Submission { device, priority, after, conditions, .. } = submission.clone();
        let job = JobFolder::in_home(&self.home, &submission.job)?;
        let relative = job.path().strip_prefix(self.home.path()).unwrap_or(job.path()).to_owned();
        if let Some(unknown) = after.iter().find(|number| !self.entries.contains_key(number)) {
            return Err(Error::NoJob(*unknown));
        }
        let known = self.number_of(job.path());
        if let Some(number) = known.filter(|number| !self.state(*number).0.is_over()) {
            let entry = self.entry(number)?;
            // What was not asked for is as it is.
            let as_asked = (priority == 0 || priority == entry.priority) && (after.is_empty() || after == entry.after);
            return if as_asked { Ok(number) } else { Err(Error::Queued(number)) };
        }
        if let Some((number, other)) = known.and_then(|number| Some((number, self.circle(number, &after)?))) {
            return Err(Error::Circle { number, other });
        }
        let last = || {
            let path = QueueEntry::path(&self.home, self.highest);
            workspace::Error::invalid(&path, "there is no number after this one", "take the file away")
        };
        let number = known.or(self.highest.checked_add(1)).ok_or_else(last)?;
        let from_seq = job.event_count()?;
        let position = self.last_position();
        let new = QueueEntry::new(number, relative, device);
        self.put(QueueEntry { priority, position, after, from_seq, conditions: Some(conditions), ..new })?;
        Ok(number)
    }

    /// The first of the jobs `after` that itself waits for `number`, or is it.
    fn circle(&self, number: u64, after: &[u64]) -> Option<u64> {
        let mut seen = Vec::new();
        after.iter().copied().find(|first| {
            let mut left = vec![*first];
            while let Some(next) = left.pop() {
                if next == number {
                    return true;
                }
                if !seen.contains(&next) {
                    seen.push(next);
                    left.extend(self.entries.get(&next).into_iter().flat_map(|entry| &entry.after));
                }
            }
            false
        })
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
                    self.put(QueueEntry { wanted: Wanted::Cancel, ..entry })?;
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
                    self.put(QueueEntry { wanted: Wanted::Pause, ..entry })?;
                    Ok(if runs { Act::Stop } else { Act::Nothing })
                }
                _ => wrong("pause it"),
            },
            JobChange::Resume => match state {
                JobState::Paused => {
                    let job = self.job(number)?;
                    if entry.wanted == Wanted::Ask && job.about()?.writes_anywhere {
                        return Err(Error::Came(number));
                    }
                    let from_seq = job.event_count()?;
                    self.put(QueueEntry { wanted: Wanted::Run, from_seq, chosen: None, ..entry })?;
                    Ok(Act::Nothing)
                }
                // Asked to pause, but still in its step: it goes on as soon as it has stopped.
                JobState::Running if entry.wanted == Wanted::Pause => {
                    self.put(QueueEntry { wanted: Wanted::Resume, ..entry })?;
                    Ok(Act::Nothing)
                }
                _ => wrong("resume it"),
            },
            JobChange::Retry => match state {
                state if state.can_be_retried() => {
                    let job = self.job(number)?;
                    let (from_seq, position) = (job.event_count()?, self.last_position());
                    // Its settings may have been changed since.
                    let device = if entry.device == ANY { entry.device } else { job.device()?.to_string() };
                    self.put(QueueEntry { wanted: Wanted::Run, from_seq, chosen: None, position, device, ..entry })?;
                    Ok(Act::Nothing)
                }
                _ => wrong("retry it"),
            },
            JobChange::Priority { priority } => {
                self.put(QueueEntry { priority: *priority, ..entry })?;
                Ok(Act::Nothing)
            }
            JobChange::Move { before } => {
                let over = [Some(number), *before].into_iter().flatten().find(|number| self.state(*number).0.is_over());
                if let Some(number) = over.filter(|number| self.entries.contains_key(number)) {
                    let state = self.state(number).0.word();
                    return Err(Error::NotNow { number, state, to: "put it in order" });
                }
                if *before == Some(number) {
                    return Err(Error::BeforeItself(number));
                }
                let position = self.position_before(number, *before)?;
                self.put(QueueEntry { position, ..entry })?;
                Ok(Act::Nothing)
            }
        }
    }

    /// What `any` may mean for a job that works under `conditions`, the best first.
    pub fn devices(&self, conditions: &Conditions) -> Vec<Device> {
        self.devices.of(Some(conditions))
    }

    /// The next job whose device is free.
    pub fn next(&mut self) -> Option<Turn> {
        let (turn, held_back) = self.first();
        self.held_back = held_back;
        turn
    }

    /// That job, and those before it that have a runner though none was begun here.
    fn first(&self) -> (Option<Turn>, BTreeSet<u64>) {
        let mut busy: BTreeSet<String> = self.busy().cloned().collect();
        // Whatever became of their turn, a runner still has them, and their device.
        let is_held = |number: &u64| self.job(*number).is_ok_and(|job| job.is_held());
        let still = |number: &u64| !self.at_work.contains_key(number) && is_held(number);
        let mut held_back: BTreeSet<u64> = self.held_back.iter().copied().filter(still).collect();
        let of_them = held_back.iter().filter_map(|number| self.entries.get(number));
        busy.extend(of_them.map(|entry| self.settled_device(entry).place));
        let waiting =
            queue::in_turn(&self.entries).into_iter().filter(|entry| !self.at_work.contains_key(&entry.number));
        for entry in waiting {
            let conditions = entry.conditions.as_ref();
            let may_mean = if entry.device == ANY {
                self.devices.of(conditions)
            } else {
                vec![self.devices.named(entry.device.clone(), conditions)]
            };
            let Some(device) = may_mean.into_iter().find(|device| !busy.contains(&device.place)) else { continue };
            let state = self.state(entry.number).0;
            if ![JobState::Queued, JobState::Running].contains(&state) || self.waits_for(entry).is_some() {
                continue;
            }
            let Ok(job) = self.job(entry.number) else { continue };
            if state == JobState::Queued && !job.is_held() {
                return (Some(self.turn(entry, job, device)), held_back);
            }
            // Its device is not free either.
            let chosen = entry.chosen.clone().map(|name| self.devices.named(name, conditions));
            busy.insert(chosen.unwrap_or(device).place);
            held_back.insert(entry.number);
        }
        (None, held_back)
    }

    /// Whether the turn of a job has come that has a runner already: one of an earlier attempt that is on its way out, or one
    /// that an earlier daemon had started and that took the job up just now. Nothing tells what becomes of it.
    pub fn is_held_back(&self) -> bool {
        !self.held_back.is_empty()
    }

    /// Those of them that are at work on their job after all; they count as begun from now on.
    pub fn orphans(&mut self) -> Vec<Turn> {
        let mut orphans = Vec::new();
        for number in self.held_back.clone() {
            let Some(entry) = self.entries.get(&number).filter(|entry| self.is_taken_up(entry)) else { continue };
            let Ok(job) = self.job(number) else { continue };
            let turn = self.turn(entry, job, self.settled_device(entry));
            self.held_back.remove(&number);
            self.attempt(&turn);
            orphans.push(turn);
        }
        orphans
    }

    /// Whether a runner has this attempt at a job in hand.
    fn is_taken_up(&self, entry: &QueueEntry) -> bool {
        let goes_on = |job: &JobFolder| matches!(job.last_event(), Ok(Some(last)) if last.seq >= entry.from_seq && !last.event.is_last());
        self.job(entry.number).is_ok_and(|job| goes_on(&job) && job.is_held())
    }

    fn turn(&self, entry: &QueueEntry, job: JobFolder, device: Device) -> Turn {
        let (number, from_seq, conditions) = (entry.number, entry.from_seq, entry.conditions.clone());
        Turn { number, job, from_seq, device, conditions, entry: QueueEntry::path(&self.home, number) }
    }

    /// The device of a job as far as that is known.
    fn settled_device(&self, entry: &QueueEntry) -> Device {
        self.devices.named(entry.settled_device().clone(), entry.conditions.as_ref())
    }

    /// A runner is about to be started for `turn`. What `any` means is on disk before it is.
    pub fn begin(&mut self, turn: &Turn) -> Result<(), Error> {
        let entry = self.entry(turn.number)?.clone();
        if entry.device == ANY {
            if let Ok(device) = turn.device.name.parse() {
                turn.job.set_device(device)?;
            }
            self.put(QueueEntry { chosen: Some(turn.device.name.clone()), ..entry })?;
        }
        self.attempt(turn);
        Ok(())
    }

    fn attempt(&mut self, turn: &Turn) {
        self.attempts += 1;
        self.at_work.insert(turn.number, Attempt { place: turn.device.place.clone(), number: self.attempts });
    }

    /// Which attempt at the job is at work, if one is.
    pub fn attempt_at(&self, number: u64) -> Option<u64> {
        self.at_work.get(&number).map(|attempt| attempt.number)
    }

    /// A runner of the job has ended, or none could be started. `cause` says why it failed where its events could not be
    /// written: then they do not tell it.
    pub fn ended(&mut self, number: u64, cause: Option<String>) -> Result<(), Error> {
        self.at_work.remove(&number);
        if let Some(cause) = cause {
            self.untold.insert(number, cause);
        }
        self.go_on(number)
    }

    /// Have a job that was to pause, but then was to go on, do so.
    fn go_on(&mut self, number: u64) -> Result<(), Error> {
        let entry = self.entry(number)?.clone();
        if entry.wanted == Wanted::Resume && !self.at_work.contains_key(&number) {
            let from_seq = match self.state(number).0 {
                JobState::Stopped => self.job(number)?.event_count()?,
                _ => entry.from_seq,
            };
            self.put(QueueEntry { wanted: Wanted::Run, from_seq, chosen: None, ..entry })?;
        }
        Ok(())
    }

    /// Jobs whose runners were started by an earlier daemon and live, as turns that have been taken; and those whose
    /// runners died while no daemon was there.
    pub fn found(&mut self) -> (Vec<Turn>, Vec<Turn>) {
        let (mut living, mut dead) = (Vec::new(), Vec::new());
        for (number, entry) in self.entries.clone() {
            let Ok(job) = entry.folder(&self.home) else { continue };
            let turn = self.turn(&entry, job, self.settled_device(&entry));
            if turn.job.is_held() {
                self.attempt(&turn);
                living.push(turn);
            } else if turn.is_interrupted() {
                dead.push(turn);
            } else if let Err(problem) = self.go_on(number) {
                super::log::log(&format!("job {number}: {problem}"));
            }
        }
        (living, dead)
    }

    /// Whether a job's runner is gone already or has written its last event, though that is not yet taken note of.
    pub fn is_ending(&self, number: u64) -> bool {
        let begun = |entry: &QueueEntry| {
            self.job(number).is_ok_and(|job| job.event_count().is_ok_and(|count| count > entry.from_seq))
        };
        self.at_work.contains_key(&number)
            && self.entries.get(&number).is_some_and(|entry| begun(entry) && !self.is_taken_up(entry))
    }

    /// Whether a job that is at work should not be.
    pub fn is_unwanted(&self, number: u64) -> bool {
        self.entries.get(&number).is_some_and(|entry| ![Wanted::Run, Wanted::Resume].contains(&entry.wanted))
    }

    /// The first job of a concept that is not over.
    pub fn first_of(&self, concept: &str) -> Option<u64> {
        let mut of_it = self.entries.values().filter(|entry| entry.job.starts_with(concept));
        of_it.find(|entry| !self.state(entry.number).0.is_over()).map(|entry| entry.number)
    }

    /// A concept has another name now: so have the folders of its jobs.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), Error> {
        let of_it: Vec<QueueEntry> =
            self.entries.values().filter(|entry| entry.job.starts_with(from)).cloned().collect();
        for entry in of_it {
            let rest: PathBuf = entry.job.iter().skip(1).collect();
            self.put(QueueEntry { job: Path::new(to).join(rest), ..entry })?;
        }
        Ok(())
    }

    /// The places where jobs are at work.
    pub fn busy(&self) -> impl Iterator<Item = &String> {
        self.at_work.values().map(|attempt| &attempt.place)
    }

    /// The number of the job in the folder at `path`.
    pub fn number_of(&self, path: &Path) -> Option<u64> {
        let relative = path.strip_prefix(self.home.path()).ok()?;
        self.entries.values().find(|entry| entry.job == relative).map(|entry| entry.number)
    }

    /// How a job is, and why it failed.
    pub fn state(&self, number: u64) -> How {
        if self.at_work.contains_key(&number) {
            return (JobState::Running, None);
        }
        if let Some(cause) = self.untold.get(&number) {
            return (JobState::Failed, Some(cause.clone()));
        }
        let Some(entry) = self.entries.get(&number) else { return (JobState::Failed, None) };
        match self.over.get(&number) {
            Some((stamp, how)) if stamp.is_some() && *stamp == self.stamp(entry) => how.clone(),
            _ => match entry.how(&self.home) {
                // It has not died: it is not yet known here.
                Ok((JobState::Failed, _)) if self.is_taken_up(entry) => (JobState::Running, None),
                Ok(how) => how,
                Err(problem) => (JobState::Failed, Some(problem.to_string())),
            },
        }
    }

    fn stamp(&self, entry: &QueueEntry) -> Stamp {
        let events = std::fs::metadata(self.home.path().join(&entry.job).join("events.jsonl")).ok()?;
        Some((events.len(), events.modified().ok()?))
    }

    /// Remember those that are over.
    fn remember(&mut self, jobs: &[JobInfo]) {
        for job in jobs.iter().filter(|job| job.state.is_over() && job.kind.is_some()) {
            if let Some(entry) = self.entries.get(&job.number) {
                self.over.insert(job.number, (self.stamp(entry), (job.state, job.cause.clone())));
            }
        }
    }

    /// A job as clients see it.
    pub fn info(&self, number: u64) -> Result<JobInfo, Error> {
        let entry = self.entry(number)?;
        Ok(queue::info(&self.home, entry, self.state(number), |other| self.state(other).0))
    }

    /// All jobs: those at work, then the others in the order of their turn, then those that are over, oldest first.
    pub fn list(&mut self) -> Vec<JobInfo> {
        let jobs = queue::list(&self.home, &self.entries, |entry| self.state(entry.number));
        self.remember(&jobs);
        jobs
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
        Ok(self.entry(number)?.folder(&self.home)?)
    }

    fn waits_for(&self, entry: &QueueEntry) -> Option<String> {
        queue::waits_for(entry, |number| self.state(number).0)
    }

    fn entry(&self, number: u64) -> Result<&QueueEntry, Error> {
        self.entries.get(&number).ok_or(Error::NoJob(number))
    }

    /// A position behind all.
    fn last_position(&self) -> f64 {
        self.entries.values().map(|entry| entry.position).fold(0.0, f64::max).floor() + 1.0
    }

    /// A position just before another job, among the jobs of its priority.
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
    fn put(&mut self, entry: QueueEntry) -> Result<(), Error> {
        let entry = QueueEntry { token: self.token.clone(), ..entry };
        entry.write(&self.home)?;
        self.over.remove(&entry.number);
        self.untold.remove(&entry.number);
        self.highest = self.highest.max(entry.number);
        self.entries.insert(entry.number, entry);
        Ok(())
    }
}

impl Turn {
    /// Whether all is written that there is to say of this attempt.
    pub fn has_ended(&self) -> Result<bool, workspace::Error> {
        let last = self.job.last_event()?;
        Ok(last.is_some_and(|last| {
            last.seq >= self.from_seq && last.event.is_last() || queue::is_done(&self.job, &last.event)
        }))
    }

    /// Whether the user wants no more of it.
    pub fn is_cancelled(&self) -> bool {
        QueueEntry::read(&self.entry).is_ok_and(|entry| entry.wanted == Wanted::Cancel)
    }

    /// What is to be done about it when its runner is gone.
    pub fn remedy(&self) -> String {
        remedy(&self.job, self.number)
    }

    /// Whether it was begun and neither ended nor lives.
    fn is_interrupted(&self) -> bool {
        let last = self.job.last_event().ok().flatten();
        !self.job.is_held() && last.is_some_and(|last| last.seq >= self.from_seq && !last.event.is_last())
    }
}
