//! The librarian: a thread that owns the store and keeps it as the files are. What changes in a concept's folder is taken
//! up once it has been quiet for a moment; what is asked is answered from the store, after what is known to have changed.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Error;
use super::library::Library;
use super::log::log;
use super::watcher::Changed;
use crate::store::{self, Store};
use crate::workspace::Home;

/// A folder is read once nothing has changed in it for so long.
const QUIET: Duration = Duration::from_millis(150);
/// It is read after so long though it is not quiet.
const LONGEST: Duration = Duration::from_millis(600);

/// How long is waited for all folders to be watched.
const WATCHED: Duration = Duration::from_secs(20);

/// How long is waited before a store that could not be opened is tried again, if nobody asks.
const AGAIN: Duration = Duration::from_secs(5);

/// What the library does, or hears that there is none. It gives whether the store can still be used.
type Task = Box<dyn FnOnce(Option<&mut Library>) -> bool + Send>;

enum Note {
    /// Something has changed in the folder of a concept.
    Changed(Changed),
    Task(Task),
}

/// Reaches the librarian from any thread.
#[derive(Clone)]
pub struct Librarian {
    notes: Sender<Note>,
    /// Why the store is missing; none while there is one.
    missing: Arc<Mutex<Option<String>>>,
}

impl Librarian {
    /// Open the store, make it as the files are, and keep it so. The files are read once `watched` is closed, or what changes
    /// between the reading and the watching would be seen by neither. `taken_up` is told of each concept that has changed;
    /// `warn` of a store that had to be rebuilt. A store that cannot be opened, or written to any more, is tried again until it
    /// can: there may have been no room on the disk.
    pub fn start(
        home: &Home,
        watched: Receiver<Infallible>,
        taken_up: impl Fn(&str) + Send + 'static,
        warn: impl Fn(String) + Send + 'static,
    ) -> Self {
        let (notes, received) = channel();
        let missing = Arc::default();
        let (home, why) = (home.clone(), Arc::clone(&missing));
        std::thread::spawn(move || {
            // Nothing ever comes: its end is the word. A folder that cannot be watched now must not keep the others waiting.
            let _ = watched.recv_timeout(WATCHED);
            let taken_up: Rc<dyn Fn(&str)> = Rc::new(taken_up);
            let mut asked: Option<Task> = None;
            loop {
                match Store::open(&home.internal().join("store")) {
                    Ok((store, told)) => {
                        told.into_iter().for_each(&warn);
                        set(&why, None);
                        let (home, taken_up) = (home.clone(), Rc::clone(&taken_up));
                        let mut library = Library::new(home, store, taken_up);
                        // sled panics where it cannot write, and is of no more use then.
                        let attend = AssertUnwindSafe(|| library.attend(&received, asked.take(), &warn));
                        match std::panic::catch_unwind(attend) {
                            Ok(Attended::Dismissed) => return,
                            Ok(Attended::Unusable) | Err(_) => {
                                log("the store cannot be used any more: opening it again");
                            }
                        }
                        drop(std::panic::catch_unwind(AssertUnwindSafe(|| drop(library))));
                    }
                    Err(error) => set(&why, Some(format!("there is no store now, it is tried again: {error}"))),
                }
                if let Some(task) = asked.take() {
                    task(None);
                }
                match wait_for_task(&received) {
                    Ok(task) => asked = task,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        });
        Self { notes, missing }
    }

    /// Why the store is missing; none while there is one.
    pub fn missing(&self) -> Option<String> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something has changed in the folder of a concept.
    pub fn changed(&self, change: Changed) {
        // The other end lives as long as the daemon.
        let _ = self.notes.send(Note::Changed(change));
    }

    /// Ask the library.
    ///
    /// # Errors
    /// It has no store, or this breaks.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Library) -> Result<T, store::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let task = move |library: Option<&mut Library>| {
            // Dropped without an answer, it says that there is no store.
            let Some(library) = library else { return false };
            let result = question(library);
            let usable = !matches!(&result, Err(store::Error::Sled { .. }));
            // Whoever asked may be gone.
            let _ = answer.send(result);
            usable
        };
        self.notes.send(Note::Task(Box::new(task))).map_err(|_| Error::NoStore)?;
        Ok(answered.await.map_err(|_| Error::NoStore)??)
    }
}

/// Say why there is no store now; none when there is one.
fn set(missing: &Mutex<Option<String>>, why: Option<String>) {
    let mut missing = missing.lock().unwrap_or_else(PoisonError::into_inner);
    if *missing != why {
        log(why.as_deref().unwrap_or("there is a store again"));
        *missing = why;
    }
}

/// Wait until somebody asks, or for a while. What changes meanwhile is seen when the store is opened.
fn wait_for_task(notes: &Receiver<Note>) -> Result<Option<Task>, RecvTimeoutError> {
    let until = Instant::now() + AGAIN;
    loop {
        match notes.recv_timeout(until.saturating_duration_since(Instant::now()))? {
            Note::Task(task) => return Ok(Some(task)),
            Note::Changed(_) => {}
        }
    }
}

/// Why the librarian attends to a store no longer.
enum Attended {
    /// Nobody will ask again.
    Dismissed,
    /// It cannot be used.
    Unusable,
}

impl Library {
    /// Make the store as the files are and keep it so; answer what is asked, `first` this.
    fn attend(&mut self, notes: &Receiver<Note>, first: Option<Task>, warn: &dyn Fn(String)) -> Attended {
        let began = Instant::now();
        match self.scan() {
            Ok(counts) => log(&format!(
                "store: {} concepts, {} runs, {} samples, looked through in {:.1} s",
                counts.concepts,
                counts.runs,
                counts.samples,
                began.elapsed().as_secs_f64()
            )),
            Err(error @ store::Error::Sled { .. }) => {
                log(&format!("the store: {error}"));
                return Attended::Unusable;
            }
            Err(error) => warn(format!("the store: {error}: catbench daemon rebuild makes it anew")),
        }
        if first.is_some_and(|task| !task(Some(self))) {
            return Attended::Unusable;
        }
        loop {
            let due = self.dirty.values().map(|(first, last)| (*first + LONGEST).min(*last + QUIET)).min();
            let note = match due {
                Some(due) => notes.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => notes.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match note {
                Ok(Note::Changed(Changed { concept, masks_of })) => {
                    let now = Instant::now();
                    self.masks.extend(masks_of.map(|job| (concept.clone(), job)));
                    self.dirty.entry(concept).or_insert((now, now)).1 = now;
                }
                Ok(Note::Task(task)) => {
                    if !task(Some(self)) {
                        return Attended::Unusable;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    let now = Instant::now();
                    let ready = |(first, last): &(Instant, Instant)| *first + LONGEST <= now || *last + QUIET <= now;
                    let ready: Vec<String> =
                        self.dirty.iter().filter(|(_, times)| ready(times)).map(|(name, _)| name.clone()).collect();
                    for concept in ready {
                        self.dirty.remove(&concept);
                        if let Err(error) = self.refresh(&concept) {
                            log(&format!("{concept}: {error}"));
                            if matches!(error, store::Error::Sled { .. }) {
                                return Attended::Unusable;
                            }
                        }
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Attended::Dismissed,
            }
        }
    }
}
