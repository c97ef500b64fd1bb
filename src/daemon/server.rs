//! The daemon's event loop.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::{Semaphore, broadcast};

use super::librarian::Librarian;
use super::lifecycle::{Leaving, Socket, logout_warning, owner_warning};
use super::log::log;
use super::queue::Queue;
use super::readings::ClientReadings;
use super::shared::{Change, Shared, State};
use super::{Error, Options, connection, watcher};
use crate::fs::Show;
use crate::programs;
use crate::workspace::{Home, HomeLock};

/// How often the home and idleness are looked after.
const TICK: Duration = Duration::from_secs(1);
/// Changes that a slow client may be behind before it is told to look at everything.
const BACKLOG: usize = 1024;
/// The most clients at once.
const CLIENTS: usize = 1000;
/// So many of them may be in the middle of a long line.
const LONG_LINES: usize = 16;

/// Serve until asked to end, or idle for too long.
pub async fn serve(home: &Home, lock: HomeLock, leaving: Leaving, settings: Options) -> Result<(), Error> {
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
    let mut leaves = leaving.heard();
    let shared = Arc::new(Shared {
        home: home.clone(),
        desk: Arc::new(Semaphore::new(1)),
        state: Mutex::new(State { queue, idle: HashMap::new() }),
        counts: Mutex::default(),
        changes,
        ended,
        leaving,
        clients: AtomicUsize::new(0),
        most_clients: most_clients(),
        busy: Mutex::new(Instant::now()),
        since: jiff::Timestamp::now(),
        warnings: Arc::clone(&warnings),
        untold,
        librarian,
        readings: ClientReadings::default(),
        long_lines: Semaphore::new(LONG_LINES),
        program: programs::own()?,
    });
    log(&format!("serving {} at {}", home.path().shown(), home.socket().shown()));
    let first = Arc::clone(&shared);
    // Before anybody asks for anything. What breaks in it is in the log, and jobs are then as their files have them.
    tokio::spawn(async move {
        let _ = first.at_desk(None, Shared::take_over).await;
        while let Some(ended) = ends.recv().await {
            let _ = first.at_desk(None, move |shared| shared.ended(ended)).await;
        }
    });
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
    tokio::spawn(Arc::clone(&shared).look_after_jobs(settings.idle));
    let lock = Arc::new(lock);
    let mut looked = Box::pin(look_after(Arc::clone(&lock), socket.is_in_place()));
    let why = loop {
        tokio::select! {
            stream = socket.client() => {
                tokio::spawn(connection::serve(stream, Arc::clone(&shared)));
                // One that is turned away leaves before the next one comes.
                tokio::task::yield_now().await;
            }
            why = leaves.wait_for(Option::is_some) => break why.ok().and_then(|why| *why).unwrap_or("asked to"),
            (home_is_there, socket_is_there) = &mut looked => {
                if !home_is_there {
                    break "its home is gone";
                }
                if !socket_is_there {
                    match Socket::open(home) {
                        Ok(again) => {
                            log("its socket was gone: it listens again");
                            socket = again;
                        }
                        Err(error) => log(&format!("its socket is gone: {error}")),
                    }
                }
                looked = Box::pin(look_after(Arc::clone(&lock), socket.is_in_place()));
            }
        }
    };
    // From here on it ends, whatever is waited for; clients that follow something are told that this is no accident.
    shared.leaving.leave(why);
    log(&format!("ends: {why}"));
    drop(socket);
    let deadline = Instant::now() + Duration::from_millis(200);
    while shared.clients.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// After a while, show that the daemon lives, and look whether its home is there, and its socket.
async fn look_after(lock: Arc<HomeLock>, socket: impl Fn() -> bool + Send + 'static) -> (bool, bool) {
    tokio::time::sleep(TICK).await;
    let looked = tokio::task::spawn_blocking(move || {
        lock.beat();
        (lock.is_in_place(), socket())
    });
    looked.await.unwrap_or((true, true))
}

/// So many clients are served at once: half of the files that this process may have open, for it has to open others too.
fn most_clients() -> usize {
    let open = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(open / 2).unwrap_or(usize::MAX).min(CLIENTS)
}
