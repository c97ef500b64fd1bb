//! What the tasks of the daemon share, and what they do with the jobs. Whatever waits for the disk does so at one desk, on a thread
//! of its own, so that neither the event loop nor another client waits with it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Semaphore, broadcast, watch};

use super::Error;
use super::devices::ANY;
use super::librarian::Librarian;
use super::lifecycle::Leaving;
use super::log::log;
use super::queue::{Act, Queue, Turn};
use super::readings::ClientReadings;
use super::runners::{self, Ended, Runner};
use super::watcher;
use crate::fs::Show;
use crate::protocol::{DaemonStatus, DeviceName, JobChange, JobInfo, JobState, PROTOCOL, Submission};
use crate::workspace::{Home, JobFolder};

/// How often the home and idleness are looked after.
const TICK: Duration = Duration::from_secs(1);
/// How long a runner that is just being started is looked for when it is to be stopped.
const SIGNAL: Duration = Duration::from_secs(10);
/// How long a client waits for the disk before it is told that this does not answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long one waits that can go on without.
const A_LITTLE: Duration = Duration::from_secs(2);

/// Something has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// In the folder of this concept.
    Files(String),
    /// What the store knows of this concept.
    Concept(String),
    /// In the queue.
    Queue,
}

/// What the tasks of the daemon share.
pub struct Shared {
    pub(super) home: Home,
    /// Held by whoever reads or changes the jobs, so that one thread at most waits for the disk on their account.
    pub(super) desk: Arc<Semaphore>,
    pub(super) state: Mutex<State>,
    /// Jobs that run and that are queued, as they were when they were read last.
    pub(super) counts: Mutex<(usize, usize)>,
    pub(super) changes: broadcast::Sender<Change>,
    pub(super) ended: UnboundedSender<Ended>,
    pub(super) leaving: Leaving,
    pub(super) clients: AtomicUsize,
    pub(super) most_clients: usize,
    /// When it had something to do last.
    pub(super) busy: Mutex<Instant>,
    pub(super) since: jiff::Timestamp,
    pub(super) warnings: Arc<Mutex<Vec<String>>>,
    /// Those of the store that no client has been told of yet.
    pub(super) untold: Arc<Mutex<Vec<String>>>,
    /// Owns the store.
    pub librarian: Librarian,
    /// Events that are read for clients.
    pub readings: ClientReadings,
    /// What clients need to be in the middle of a long line.
    pub long_lines: Semaphore,
    pub(super) program: PathBuf,
}

pub(super) struct State {
    pub(super) queue: Queue,
    /// Runners that have done their job and keep their base model, by their place.
    pub(super) idle: HashMap<String, Runner>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes from now on.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Tells when the daemon ends.
    pub fn leaving(&self) -> watch::Receiver<Option<&'static str>> {
        self.leaving.heard()
    }

    /// End soon.
    pub fn leave(&self) {
        self.leaving.leave("asked to");
    }

    /// Count a client until what is returned is dropped; none where there are too many.
    pub fn count_client(self: &Arc<Self>) -> Option<Client> {
        self.is_busy_now();
        if self.clients.fetch_add(1, Ordering::Relaxed) < self.most_clients {
            return Some(Client(Arc::clone(self)));
        }
        self.clients.fetch_sub(1, Ordering::Relaxed);
        None
    }

    fn is_busy_now(&self) {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Have `task` done, which reads or changes the jobs: on a thread that may wait for the disk, once all is done that was to be
    /// done before. It is waited for as long as `patience`, or for ever.
    ///
    /// # Errors
    /// It takes longer, for itself or for what was before it; it broke.
    pub(super) async fn at_desk<T: Send + 'static>(
        self: &Arc<Self>,
        patience: Option<Duration>,
        task: impl FnOnce(&Arc<Self>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let shared = Arc::clone(self);
        let after = patience.unwrap_or(Duration::MAX);
        let done = tokio::time::timeout(after, async {
            let turn = Arc::clone(&self.desk).acquire_owned().await;
            let done = tokio::task::spawn_blocking(move || {
                let done = task(&shared);
                drop(turn);
                done
            });
            done.await.map_err(|_| Error::Broke)
        });
        done.await.unwrap_or_else(|_| Err(Error::Late { what: "reading the files of jobs".into(), after }))
    }

    /// Start what has to wait for something that nothing tells of, and end when there has been nothing to do for `idle`.
    pub(super) async fn look_after_jobs(self: Arc<Self>, idle: Option<Duration>) {
        loop {
            tokio::time::sleep(TICK).await;
            let busy = self.at_desk(None, |shared| {
                shared.look_again();
                shared.is_busy()
            });
            if busy.await.unwrap_or(true) {
                self.is_busy_now();
            }
            let since = *self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.is_some_and(|longest| since.elapsed() >= longest) {
                return self.leaving.leave("idle");
            }
        }
    }

    /// Whether somebody is connected, or a job runs or could.
    fn is_busy(&self) -> bool {
        let state = self.state();
        self.clients.load(Ordering::Relaxed) > 0 || state.queue.busy().next().is_some() || state.queue.ready() > 0
    }

    fn told(&self, change: Change) {
        // Nobody may be listening.
        let _ = self.changes.send(change);
    }

    /// Adopt the runners that an earlier daemon has left, take note of those that died since, and go on.
    pub(super) fn take_over(self: &Arc<Self>) {
        let mut state = self.state();
        let (living, dead) = state.queue.found();
        for turn in dead {
            log(&format!("job {} was interrupted", turn.number));
            let cause = runners::bury(&turn);
            Self::note_end(&mut state, turn.number, cause);
        }
        self.adopt(&state, living);
        self.schedule(&mut state);
    }

    fn adopt(self: &Arc<Self>, state: &State, living: Vec<Turn>) {
        for turn in living {
            log(&format!("job {} runs: adopted", turn.number));
            if state.queue.is_unwanted(turn.number) {
                self.stop(state, turn.number, false);
            }
            runners::adopt(turn, self.ended.clone());
        }
    }

    fn adopt_orphans(self: &Arc<Self>, state: &mut State) {
        let orphans = state.queue.orphans();
        self.adopt(state, orphans);
    }

    /// Start every job whose turn has come.
    fn schedule(self: &Arc<Self>, state: &mut State) {
        self.adopt_orphans(state);
        loop {
            let Some(turn) = state.queue.next() else { return };
            if let Err(error) = state.queue.begin(&turn) {
                log(&format!("job {} cannot begin: {error}", turn.number));
                Self::note_end(state, turn.number, Some(error.to_string()));
                continue;
            }
            log(&format!("job {} begins on {}: {}", turn.number, turn.device.name, turn.job.path().shown()));
            let idle = state.idle.remove(&turn.device.place);
            runners::start(turn, idle, self.program.clone(), self.ended.clone());
        }
    }

    /// See what has become of the jobs that had a runner when their turn came.
    fn look_again(self: &Arc<Self>) {
        let mut state = self.state();
        if !state.queue.is_held_back() {
            return;
        }
        let before: Vec<String> = state.queue.busy().cloned().collect();
        self.schedule(&mut state);
        if !state.queue.busy().eq(&before) {
            self.told(Change::Queue);
        }
    }

    fn note_end(state: &mut State, number: u64, cause: Option<String>) {
        if let Err(problem) = state.queue.ended(number, cause) {
            log(&format!("job {number}: {problem}"));
        }
    }

    /// A job is not at work any more.
    pub(super) fn ended(self: &Arc<Self>, ended: Ended) {
        let Ended { turn, runner, cause } = ended;
        let mut state = self.state();
        Self::note_end(&mut state, turn.number, cause);
        let (how, why) = state.queue.state(turn.number);
        log(&format!("job {} {}{}", turn.number, how.word(), why.map(|why| format!(": {why}")).unwrap_or_default()));
        if let Some(runner) = runner {
            state.idle.insert(turn.device.place, runner);
        }
        self.schedule(&mut state);
        self.told(Change::Queue);
        if let Some(concept) = turn.job.concept() {
            self.moved(concept);
        }
    }

    /// Signal the runner that is at work on a job, once it can hear it; not one that goes on with the job afterwards.
    fn stop(self: &Arc<Self>, state: &State, number: u64, kill: bool) {
        let (shared, attempt) = (Arc::clone(self), state.queue.attempt_at(number));
        tokio::spawn(async move {
            let deadline = Instant::now() + SIGNAL;
            while Instant::now() < deadline {
                let done = shared.at_desk(None, move |shared| {
                    // Held, so that no other attempt begins meanwhile.
                    let state = shared.state();
                    let heard = || state.queue.job(number).is_ok_and(|job| runners::signal(&job, kill));
                    state.queue.attempt_at(number) != attempt || heard()
                });
                if done.await.unwrap_or(true) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }

    /// Wait until the end of a job is taken note of, whose runner is gone already: what is asked of it then is answered
    /// by how it is, not by how it was.
    async fn settled(
        self: &Arc<Self>,
        number: impl Fn(&Queue) -> Option<u64> + Clone + Send + 'static,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + SIGNAL;
        loop {
            let number = number.clone();
            let ending = self.at_desk(Some(PATIENCE), move |shared| {
                let state = shared.state();
                number(&state.queue).is_some_and(|number| state.queue.is_ending(number))
            });
            if !ending.await? || Instant::now() > deadline {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Queue a job, and start it if its turn has come.
    pub async fn submit(self: &Arc<Self>, submission: Submission) -> Result<JobInfo, Error> {
        submission.conditions.check()?;
        let path = submission.job.clone();
        self.settled(move |queue| queue.number_of(&path)).await?;
        let submitted = self.at_desk(Some(PATIENCE), move |shared| {
            let mut state = shared.state();
            let named: Result<DeviceName, _> = submission.device.parse();
            if submission.device != ANY && !named.is_ok_and(DeviceName::is_built_in) {
                let there = state.queue.devices(&submission.conditions);
                let there = there.into_iter().map(|device| device.name).collect::<Vec<_>>().join(", ");
                return Err(Error::NoDevice { device: submission.device, there });
            }
            let number = state.queue.submit(&submission)?;
            shared.schedule(&mut state);
            shared.told(Change::Queue);
            state.queue.info(number)
        });
        submitted.await?
    }

    /// Change a job.
    pub async fn change(self: &Arc<Self>, number: u64, change: JobChange) -> Result<JobInfo, Error> {
        self.settled(move |_| Some(number)).await?;
        let changed = self.at_desk(Some(PATIENCE), move |shared| {
            let mut state = shared.state();
            // What is asked of one of these is asked of its runner.
            shared.adopt_orphans(&mut state);
            let act = state.queue.change(number, &change)?;
            if act != Act::Nothing {
                shared.stop(&state, number, act == Act::Kill);
            }
            shared.schedule(&mut state);
            shared.told(Change::Queue);
            state.queue.info(number)
        });
        changed.await?
    }

    /// What has become of the store that no client has been told of yet.
    pub fn news(&self) -> Vec<String> {
        std::mem::take(&mut *self.untold.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All jobs.
    pub async fn jobs(self: &Arc<Self>, patience: Duration) -> Result<Vec<JobInfo>, Error> {
        let listed = self.at_desk(Some(patience), |shared| {
            let jobs = shared.state().queue.list();
            let count = |state| jobs.iter().filter(|job| job.state == state).count();
            let counts = (count(JobState::Running), count(JobState::Queued));
            *shared.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
            jobs
        });
        listed.await
    }

    /// The job in the folder at `path`, which has to be one of this home.
    pub async fn job(self: &Arc<Self>, path: PathBuf) -> Result<JobFolder, Error> {
        let (home, asked) = (self.home.clone(), path.clone());
        Ok(self.readings.read(&path, PATIENCE, move || JobFolder::in_home(&home, &asked)).await??)
    }

    /// Whether nothing more will come to the events of `job`, as far as is known.
    pub async fn is_over(self: &Arc<Self>, job: &JobFolder) -> bool {
        let job = job.clone();
        let asked = self.at_desk(Some(A_LITTLE), move |shared| {
            let state = shared.state();
            match state.queue.number_of(job.path()) {
                Some(number) => state.queue.state(number).0.is_over(),
                // A job that was never queued here, as in a workspace copied from another machine.
                None => !job.is_held(),
            }
        });
        // Another job's files may be waited for: what this one's say can be read meanwhile.
        asked.await.unwrap_or(false)
    }

    /// That there is no such concept, and what there is.
    pub async fn no_concept<T: Send + 'static>(self: &Arc<Self>, name: String) -> Result<T, Error> {
        let asked = self.at_desk(Some(PATIENCE), move |shared| match shared.home.concept(&name) {
            Err(error) => Err(error.into()),
            Ok(concept) => Err(Error::NewConcept(concept.id)),
        });
        asked.await?
    }

    /// Give a concept another name.
    pub async fn rename(self: &Arc<Self>, concept: String, to: String) -> Result<(), Error> {
        let renamed = self.at_desk(Some(PATIENCE), move |shared| {
            let mut state = shared.state();
            Self::check_free(&state, &concept)?;
            shared.home.rename_concept(&concept, &to)?;
            state.queue.rename(&concept, &to)?;
            shared.moved(&concept);
            shared.moved(&to);
            Ok(())
        });
        renamed.await?
    }

    /// Put a concept into the trash.
    pub async fn remove(self: &Arc<Self>, concept: String) -> Result<PathBuf, Error> {
        let removed = self.at_desk(Some(PATIENCE), move |shared| {
            let state = shared.state();
            Self::check_free(&state, &concept)?;
            let path = shared.home.remove_concept(&concept)?;
            shared.moved(&concept);
            Ok(path)
        });
        removed.await?
    }

    fn check_free(state: &State, concept: &str) -> Result<(), Error> {
        match state.queue.first_of(concept) {
            Some(number) => Err(Error::InUse { concept: concept.to_owned(), number }),
            None => Ok(()),
        }
    }

    fn moved(&self, concept: &str) {
        self.librarian.changed(watcher::Changed::any(concept.to_owned()));
        self.told(Change::Files(concept.to_owned()));
    }

    /// How it is.
    pub async fn status(self: &Arc<Self>) -> DaemonStatus {
        let late = self.jobs(A_LITTLE).await.err();
        let (running, queued) = *self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        warnings.extend(self.librarian.missing());
        warnings.extend(late.map(|late| late.to_string()));
        DaemonStatus {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            protocol: PROTOCOL,
            home: self.home.path().to_owned(),
            socket: self.home.socket(),
            log: self.home.daemon_log(),
            since: self.since,
            clients: self.clients.load(Ordering::Relaxed),
            running,
            queued,
            warnings,
        }
    }
}

/// One connected client.
pub struct Client(Arc<Shared>);

impl Drop for Client {
    fn drop(&mut self) {
        self.0.is_busy_now();
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}
