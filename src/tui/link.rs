//! What the workbench hears from the daemon, on threads of its own: one follows the library and the queue, one each job
//! that is looked at. The drawing thread never waits for either.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::client::{self, Daemon, Error, Follow, Reader};
use crate::protocol::{
    ConceptDetails, ConceptRecord, DaemonReply, DaemonRequest, EventRecord, JobInfo, JobState, State,
};
use crate::workspace::{self, History, Home, JobFolder, RunSpec};

/// The least time between two looks at what has changed: a training that tells of hundreds of events a second is not
/// asked for hundreds of times.
const PACE: Duration = Duration::from_millis(200);
/// How often is asked how far the job is that is at work.
const FAR: Duration = Duration::from_secs(1);
/// How long is waited before a daemon that could not be reached is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// More concepts than these are asked for all at once.
const MANY: usize = 20;
/// How soon a follower notices that nobody listens any more.
const NOTICE: Duration = Duration::from_millis(500);
/// Events that are told together at most.
const BATCH: usize = 2000;

/// What the daemon tells.
#[derive(Debug)]
pub enum Update {
    /// All concepts, by name.
    Concepts(Vec<ConceptRecord>),
    /// A concept is as it is now.
    Concept(Box<ConceptDetails>),
    /// There is no concept of that name any more.
    Gone(String),
    /// The queue.
    Jobs(Vec<JobInfo>),
    /// The daemon cannot be reached: why.
    Down(String),
    /// Nothing can be changed now: why; none when it can.
    ReadOnly(Option<String>),
    /// What has become of the store.
    News(String),
}

/// How following a daemon ended.
enum Ended {
    /// Nobody listens any more.
    Unheard,
    /// It was asked to end.
    Left,
    /// It is of another version, and has jobs, or on another machine: what the files say has been told.
    Other,
}

/// Tell of the library and the queue of `home` from now on, for as long as `tell` says that somebody listens. The
/// daemon is started where none answers, and again when it dies, but not when it was asked to end: then the next one is
/// waited for, which comes with whatever needs it.
pub fn listen(home: Home, tell: impl Fn(Update) -> bool + Send + 'static) {
    std::thread::spawn(move || {
        loop {
            let began = Instant::now();
            match converse(&home, &tell) {
                Ok(Ended::Unheard) => return,
                // Nobody tells of changes: all is looked at again, the less often the longer that takes.
                Ok(Ended::Other) => std::thread::sleep(9 * began.elapsed()),
                Ok(Ended::Left) => {
                    if !tell(Update::Down("the daemon was stopped: the next job starts it again".into())) {
                        return;
                    }
                    // The one that ends greets for a moment more.
                    std::thread::sleep(AGAIN);
                    while matches!(Daemon::connect(&home), Ok(None)) {
                        std::thread::sleep(AGAIN);
                    }
                    continue;
                }
                Err(error) => {
                    if !tell(Update::Down(error.to_string())) {
                        return;
                    }
                }
            }
            std::thread::sleep(AGAIN);
        }
    });
}

/// Tell of the queue and of all concepts. Whether somebody listens.
fn tell_all(jobs: Vec<JobInfo>, reader: &mut Reader, tell: &impl Fn(Update) -> bool) -> Result<bool, Error> {
    Ok(tell(Update::Jobs(jobs)) && tell(Update::Concepts(reader.concepts(None, None)?)))
}

fn is_at_work(jobs: &[JobInfo]) -> bool {
    jobs.iter().any(|job| job.state == JobState::Running)
}

/// Follow one daemon until it is gone.
fn converse(home: &Home, tell: &impl Fn(Update) -> bool) -> Result<Ended, Error> {
    let mut reader = Reader::open(home)?;
    if !tell(Update::ReadOnly(reader.read_only().map(str::to_owned))) {
        return Ok(Ended::Unheard);
    }
    if reader.read_only().is_some() {
        return Ok(if tell_all(reader.jobs()?, &mut reader, tell)? { Ended::Other } else { Ended::Unheard });
    }
    let mut daemon = Daemon::start(home)?;
    daemon.send(DaemonRequest::Watch { concept: None })?;
    for news in reader.news()? {
        tell(Update::News(news));
    }
    let jobs = reader.jobs()?;
    let mut works = is_at_work(&jobs);
    if !tell_all(jobs, &mut reader, tell)? {
        return Ok(Ended::Unheard);
    }
    drop(reader);
    let mut looked = Instant::now();
    let (mut changed, mut queue, mut all) = (BTreeSet::new(), false, false);
    loop {
        let pending = queue || all || !changed.is_empty();
        // How far a job is changes without a word.
        let pace = if pending { Some(PACE) } else { works.then_some(FAR) };
        let wait = pace.map(|pace| (looked + pace).saturating_duration_since(Instant::now()));
        match daemon.next(wait)? {
            Some(DaemonReply::Changed { concepts }) => {
                // A job that begins or ends changes its concept too, and one that goes on its step in the queue.
                queue = true;
                changed.extend(concepts);
            }
            Some(DaemonReply::Resync) => all = true,
            Some(DaemonReply::Leaving) => return Ok(Ended::Left),
            Some(_) => {}
            None if pace.is_none() => {}
            None => {
                all |= changed.len() > MANY;
                if queue || all || works {
                    queue = false;
                    let jobs = client::jobs(home)?;
                    works = is_at_work(&jobs);
                    if !tell(Update::Jobs(jobs)) {
                        return Ok(Ended::Unheard);
                    }
                }
                let listened = if std::mem::take(&mut all) {
                    changed.clear();
                    tell(Update::Concepts(Reader::open(home)?.concepts(None, None)?))
                } else {
                    std::mem::take(&mut changed)
                        .into_iter()
                        .try_fold(true, |listened, name| Ok::<_, Error>(listened && tell(look(home, name)?)))?
                };
                if !listened {
                    return Ok(Ended::Unheard);
                }
                looked = Instant::now();
            }
        }
    }
}

/// A concept as it is now.
pub fn look(home: &Home, name: String) -> Result<Update, Error> {
    match client::concept(home, &name, false) {
        Ok(details) => Ok(Update::Concept(Box::new(details))),
        Err(Error::Refused(_) | Error::Workspace(_)) => Ok(Update::Gone(name)),
        Err(error) => Err(error),
    }
}

/// What a follower tells of its job.
#[derive(Debug)]
pub enum News {
    /// All there is by now, how the job is, and what a training was asked to do.
    Whole(Box<History>, State, Option<Box<RunSpec>>),
    /// What has come since.
    More(Vec<EventRecord>),
    /// Nothing more will come unless the job is resumed.
    Over(State),
    /// It cannot be followed: why.
    Lost(String),
}

/// Follows a job until it is dropped or the job is over.
pub struct Follower {
    gone: Arc<AtomicBool>,
}

impl Follower {
    /// Follow `job`: first all that is known of it, then what comes.
    pub fn start(job: JobFolder, tell: impl Fn(News) + Send + 'static) -> Self {
        let gone = Arc::new(AtomicBool::new(false));
        let unwanted = Arc::clone(&gone);
        std::thread::spawn(move || {
            let told = follow(&job, &unwanted, &tell).unwrap_or_else(|error| Some(News::Lost(error.to_string())));
            if let Some(told) = told {
                tell(told);
            }
        });
        Self { gone }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

/// The last thing to tell; none when nobody listens any more.
fn follow(job: &JobFolder, gone: &AtomicBool, tell: &impl Fn(News)) -> Result<Option<News>, Error> {
    // In this order: of a job that ends meanwhile it is told that it is at work, and then how it ended.
    let held = job.is_held();
    let last = job.last_event()?.map(|event| event.seq);
    let mut follow = Follow::new(job)?;
    // What is there already comes in one piece, whatever its length and however long that takes.
    let mut told = None;
    while told < last && !gone.load(Ordering::Relaxed) {
        match follow.next(NOTICE)? {
            Some(event) => told = Some(event.seq),
            None if follow.over().is_some() => break,
            None => {}
        }
    }
    if gone.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let history = follow.history().clone();
    let state = if held { State::Running } else { workspace::state(job, &history) };
    tell(News::Whole(Box::new(history), state, job.run_spec().ok().map(Box::new)));
    let mut events = Vec::new();
    while !gone.load(Ordering::Relaxed) {
        if let Some(state) = follow.over() {
            // What came between the last look and its end.
            while let Some(event) = follow.next(Duration::ZERO)? {
                events.push(event);
            }
            tell(News::More(std::mem::take(&mut events)));
            // Asked again: with the last events read it knows the end.
            return Ok(Some(News::Over(follow.over().unwrap_or(state))));
        }
        events.extend(follow.next(NOTICE)?);
        if !events.is_empty() && (!follow.is_behind() || events.len() >= BATCH) {
            tell(News::More(std::mem::take(&mut events)));
        }
    }
    Ok(None)
}
