//! The daemon's event loop, and what its tasks share.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{broadcast, watch};

use super::devices::ANY;
use super::library::Librarian;
use super::lifecycle::{Socket, logout_warning, owner_warning};
use super::queue::{Act, Queue, Turn};
use super::runners::{self, Ended, Runner};
use super::{Error, Settings, connection, watcher};
use crate::fs::Show;
use crate::protocol::{DaemonStatus, DeviceName, JobChange, JobInfo, JobState, PROTOCOL, Submission};
use crate::workspace::{BEAT, Home, HomeLock, JobFolder};

/// How often the home and idleness are looked after.
const TICK: Duration = Duration::from_secs(1);
/// Changes that a slow client may be behind before it is told to look at everything.
const BACKLOG: usize = 1024;
/// How long a runner that is just being started is looked for when it is to be stopped.
const SIGNAL: Duration = Duration::from_secs(10);

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
    home: Home,
    state: Mutex<State>,
    changes: broadcast::Sender<Change>,
    ended: UnboundedSender<Ended>,
    leaving: watch::Sender<bool>,
    clients: AtomicUsize,
    since: jiff::Timestamp,
    warnings: Arc<Mutex<Vec<String>>>,
    /// Those of the store that no client has been told of yet.
    untold: Arc<Mutex<Vec<String>>>,
    /// Owns the store.
    pub librarian: Librarian,
    program: PathBuf,
}

struct State {
    queue: Queue,
    /// Runners that have done their job and keep their base model, by their place.
    idle: HashMap<String, Runner>,
}

/// Serve until asked to end, or idle for too long.
pub async fn serve(home: &Home, lock: HomeLock, settings: Settings) -> Result<(), Error> {
    let mut socket = Socket::open(home)?;
    let (queue, mut warnings) = Queue::open(home)?;
    for warning in &warnings {
        log(warning);
    }
    warnings.extend(logout_warning());
    warnings.extend(owner_warning(home));
    let (ended, mut ends) = unbounded_channel();
    let changes = broadcast::Sender::new(BACKLOG);
    let warnings = Arc::new(Mutex::new(warnings));
    let untold = Arc::new(Mutex::new(Vec::new()));
    let (told, warned, news) = (changes.clone(), Arc::clone(&warnings), Arc::clone(&untold));
    let (watching, watched) = std::sync::mpsc::channel();
    let librarian = Librarian::start(
        home,
        watched,
        move |concept| {
            // Nobody may be listening.
            let _ = told.send(Change::Concept(concept.to_owned()));
        },
        move |warning| {
            log(&warning);
            news.lock().unwrap_or_else(PoisonError::into_inner).push(warning.clone());
            warned.lock().unwrap_or_else(PoisonError::into_inner).push(warning);
        },
    );
    let shared = Arc::new(Shared {
        home: home.clone(),
        state: Mutex::new(State { queue, idle: HashMap::new() }),
        changes,
        ended,
        leaving: watch::Sender::new(false),
        clients: AtomicUsize::new(0),
        since: jiff::Timestamp::now(),
        warnings: Arc::clone(&warnings),
        untold,
        librarian,
        program: program()?,
    });
    log(&format!("serving {} at {}", home.path().shown(), home.socket().shown()));
    shared.take_over();
    let (changes, librarian) = (shared.changes.clone(), shared.librarian.clone());
    let changed = move |change: watcher::Changed| {
        librarian.changed(change.clone());
        // Nobody may be listening.
        let _ = changes.send(Change::Files(change.concept));
    };
    watcher::start(home.path(), watching, changed, move |warning| {
        log(&warning);
        warnings.lock().unwrap_or_else(PoisonError::into_inner).push(warning);
    });
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut leaving = shared.leaving.subscribe();
    let mut tick = tokio::time::interval(TICK);
    let (mut busy, mut beat) = (Instant::now(), Instant::now());
    let why = loop {
        tokio::select! {
            accepted = socket.listener.accept() => match accepted {
                Ok((stream, _)) => {
                    busy = Instant::now();
                    tokio::spawn(connection::serve(stream, Arc::clone(&shared)));
                }
                Err(error) => {
                    log(&format!("cannot take a client: {error}"));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(ended) = ends.recv() => shared.ended(ended),
            _ = leaving.wait_for(|leaving| *leaving) => break "asked to",
            _ = terminate.recv() => break "SIGTERM",
            _ = interrupt.recv() => break "SIGINT",
            // A lost terminal is nothing to it.
            _ = hangup.recv() => {}
            _ = tick.tick() => {
                if !lock.is_in_place() {
                    break "its home is gone";
                }
                if !socket.is_in_place() {
                    match Socket::open(home) {
                        Ok(again) => {
                            log("its socket was gone: it listens again");
                            socket = again;
                        }
                        Err(error) => log(&format!("its socket is gone: {error}")),
                    }
                }
                if beat.elapsed() >= BEAT {
                    lock.beat();
                    beat = Instant::now();
                }
                shared.look_again();
                if shared.is_busy() {
                    busy = Instant::now();
                } else if settings.idle.is_some_and(|longest| busy.elapsed() >= longest) {
                    break "idle";
                }
            }
        }
    };
    log(&format!("ends: {why}"));
    // Clients that follow something are told that this is no accident.
    shared.leave();
    drop(socket);
    let deadline = Instant::now() + Duration::from_millis(200);
    while shared.clients.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// One line of the daemon's log, which is its stderr.
pub fn log(line: &str) {
    // A full disk has no room for it, which is no reason to end.
    let _ = writeln!(std::io::stderr(), "{} {line}", jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S"));
}

/// This program, also after its file has been replaced by a newer version.
fn program() -> std::io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    Ok(if path.exists() { path } else { PathBuf::from("/proc/self/exe") })
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes from now on.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Becomes true when the daemon ends.
    pub fn leaving(&self) -> watch::Receiver<bool> {
        self.leaving.subscribe()
    }

    /// End soon.
    pub fn leave(&self) {
        self.leaving.send_replace(true);
    }

    /// Count a client until what is returned is dropped.
    pub fn count_client(self: &Arc<Self>) -> Client {
        self.clients.fetch_add(1, Ordering::Relaxed);
        Client(Arc::clone(self))
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
    fn take_over(self: &Arc<Self>) {
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
    fn ended(self: &Arc<Self>, ended: Ended) {
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
                {
                    // Held, so that no other attempt begins meanwhile.
                    let state = shared.state();
                    let heard = || state.queue.job(number).is_ok_and(|job| runners::signal(&job, kill));
                    if state.queue.attempt_at(number) != attempt || heard() {
                        return;
                    }
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }

    /// Wait until the end of a job is taken note of, whose runner is gone already: what is asked of it then is answered
    /// by how it is, not by how it was.
    async fn settled(&self, number: impl Fn(&Queue) -> Option<u64>) {
        let deadline = Instant::now() + SIGNAL;
        let ending = || {
            let state = self.state();
            number(&state.queue).is_some_and(|number| state.queue.is_ending(number))
        };
        while ending() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Queue a job, and start it if its turn has come.
    pub async fn submit(self: &Arc<Self>, submission: &Submission) -> Result<JobInfo, Error> {
        submission.conditions.check()?;
        let named: Result<DeviceName, _> = submission.device.parse();
        if submission.device != ANY && !named.is_ok_and(DeviceName::is_built_in) {
            let there = self.state().queue.devices(&submission.conditions);
            let there = there.into_iter().map(|device| device.name).collect::<Vec<_>>().join(", ");
            return Err(Error::NoDevice { device: submission.device.clone(), there });
        }
        self.settled(|queue| queue.number_of(&submission.job)).await;
        let mut state = self.state();
        let number = state.queue.submit(submission)?;
        self.schedule(&mut state);
        self.told(Change::Queue);
        state.queue.info(number)
    }

    /// Change a job.
    pub async fn change(self: &Arc<Self>, number: u64, change: &JobChange) -> Result<JobInfo, Error> {
        self.settled(|_| Some(number)).await;
        let mut state = self.state();
        // What is asked of one of these is asked of its runner.
        self.adopt_orphans(&mut state);
        let act = state.queue.change(number, change)?;
        if act != Act::Nothing {
            self.stop(&state, number, act == Act::Kill);
        }
        self.schedule(&mut state);
        self.told(Change::Queue);
        state.queue.info(number)
    }

    /// What has become of the store that no client has been told of yet.
    pub fn news(&self) -> Vec<String> {
        std::mem::take(&mut *self.untold.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All jobs.
    pub fn jobs(&self) -> Vec<JobInfo> {
        self.state().queue.list()
    }

    /// Whether nothing more will come to the events of the job in the folder at `path`.
    pub fn is_over(&self, path: &Path) -> bool {
        let state = self.state();
        match state.queue.number_of(path) {
            Some(number) => state.queue.state(number).0.is_over(),
            // A job that was never queued here, as in a workspace copied from another machine.
            None => !JobFolder::at(path).is_ok_and(|job| job.is_held()),
        }
    }

    /// That there is no such concept, and what there is.
    pub fn no_concept<T>(&self, name: &str) -> Result<T, Error> {
        match self.home.concept(name) {
            Err(error) => Err(error.into()),
            Ok(concept) => Err(Error::NewConcept(concept.id)),
        }
    }

    /// Give a concept another name.
    pub fn rename(&self, concept: &str, to: &str) -> Result<(), Error> {
        let mut state = self.state();
        Self::check_free(&state, concept)?;
        self.home.rename_concept(concept, to)?;
        state.queue.rename(concept, to)?;
        self.moved(concept);
        self.moved(to);
        Ok(())
    }

    /// Put a concept into the trash.
    pub fn remove(&self, concept: &str) -> Result<PathBuf, Error> {
        let state = self.state();
        Self::check_free(&state, concept)?;
        let path = self.home.remove_concept(concept)?;
        self.moved(concept);
        Ok(path)
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
    pub fn status(&self) -> DaemonStatus {
        let jobs = self.jobs();
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        warnings.extend(self.librarian.missing());
        let count = |state| jobs.iter().filter(|job| job.state == state).count();
        DaemonStatus {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            protocol: PROTOCOL,
            home: self.home.path().to_owned(),
            socket: self.home.socket(),
            log: self.home.daemon_log(),
            since: self.since,
            clients: self.clients.load(Ordering::Relaxed),
            running: count(JobState::Running),
            queued: count(JobState::Queued),
            warnings,
        }
    }
}

/// One connected client.
pub struct Client(Arc<Shared>);

impl Drop for Client {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}
