//! Taking note of what changes in the folders of concepts.

use crate::fs::Show;
use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use notify::{PollWatcher, RecommendedWatcher, RecursiveMode, Watcher};

/// How often is looked where the system cannot tell.
const POLL: Duration = Duration::from_secs(2);

/// Between two concepts when all are looked at because the system has lost count: looking is told of, too, and told faster
/// than it is taken it would be lost count of again, and all be looked at for ever.
const ONE_BY_ONE: Duration = Duration::from_micros(500);

/// The system has lost count again soon, where it has after so long.
const SOON: Duration = Duration::from_secs(2);
/// The longest that a look at all is put off.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Something may have changed in the folder of a concept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Changed {
    /// Which.
    pub concept: String,
    /// The job a mask of whose samples it is, from the concept's folder: `runs/ID` or `samples/ID`.
    pub masks_of: Option<String>,
}

impl Changed {
    /// Anything in the folder of `concept`.
    pub fn any(concept: String) -> Self {
        Self { concept, masks_of: None }
    }
}

/// Tell, from a thread of its own, in which concept's folder under `home` something changes, also in those that come
/// later. `begun` is dropped once all are watched. Where the system cannot watch a folder (some network disks, no inotify
/// watches left), it is looked at again and again instead, which is warned of.
pub fn start(
    home: &Path,
    begun: Sender<Infallible>,
    changed: impl Fn(Changed) + Send + 'static,
    warn: impl Fn(String) + Send + 'static,
) {
    let home = home.to_path_buf();
    std::thread::spawn(move || {
        let (sender, events) = channel();
        let mut watch = Watch::new(home, sender, Box::new(warn));
        watch.add(&watch.home.clone(), RecursiveMode::NonRecursive);
        watch.concepts().iter().for_each(|concept| watch.add(&watch.home.join(concept), RecursiveMode::Recursive));
        drop(begun);
        let (mut pending, mut rescans) = (VecDeque::new(), Rescans::default());
        while let Some(event) = pending.pop_front().or_else(|| events.recv().ok()) {
            let is_of_all = is_of_all(&event);
            if is_of_all {
                std::thread::sleep(rescans.pause());
                pending.extend(events.try_iter());
                // One look at all is as good as several.
                pending.retain(|event| !self::is_of_all(event));
            }
            for change in watch.note(event) {
                changed(change);
                if is_of_all {
                    std::thread::sleep(ONE_BY_ONE);
                }
            }
            if is_of_all {
                rescans.last = Some(Instant::now());
            }
        }
    });
}

type Noted = notify::Result<notify::Event>;

/// Whether the system has lost count of what happened.
fn is_of_all(noted: &Noted) -> bool {
    matches!(noted, Ok(event) if event.need_rescan())
}

/// When all was looked at because the system had lost count. A look at tens of thousands of folders makes it lose count again: looks
/// that follow each other closely are put off, for longer each time.
#[derive(Default)]
struct Rescans {
    last: Option<Instant>,
    pause: Duration,
}

impl Rescans {
    /// How long to wait before the next one.
    fn pause(&mut self) -> Duration {
        let is_soon = self.last.is_some_and(|last| last.elapsed() < SOON);
        self.pause = if is_soon { (2 * self.pause).clamp(SOON, LONGEST_PAUSE) } else { Duration::ZERO };
        self.pause
    }
}

/// Watches the home for folders that come and go, and every folder in it but the program's own.
struct Watch {
    home: PathBuf,
    sender: Sender<Noted>,
    /// What the system tells; none where it tells nothing at all.
    told: Option<RecommendedWatcher>,
    /// What is looked at; begun when it is needed.
    polled: Option<PollWatcher>,
    warn: Box<dyn Fn(String)>,
}

impl Watch {
    fn new(home: PathBuf, sender: Sender<Noted>, warn: Box<dyn Fn(String)>) -> Self {
        let told = RecommendedWatcher::new(tell(sender.clone()), config()).ok();
        Self { home, sender, told, polled: None, warn }
    }

    /// The names of the folders that may be concepts.
    fn concepts(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.home).into_iter().flatten().flatten();
        let folders = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
        folders.filter_map(|path| self.concept_of(&path)).collect()
    }

    /// The folder of the home that `path` is in, if it is not the program's own.
    fn concept_of(&self, path: &Path) -> Option<String> {
        let name = path.strip_prefix(&self.home).ok()?.iter().next()?.to_str()?;
        (!name.starts_with('.')).then(|| name.to_owned())
    }

    /// What a change of the file at `path` is.
    fn change_of(&self, path: &Path) -> Option<Changed> {
        let concept = self.concept_of(path)?;
        let inside = path.strip_prefix(self.home.join(&concept)).ok()?;
        let mut parts = inside.iter().filter_map(|part| part.to_str());
        let job = parts.next().filter(|kind| ["runs", "samples"].contains(kind)).zip(parts.next());
        let is_mask = path.parent().is_some_and(|folder| folder.ends_with("masks"));
        Some(Changed { concept, masks_of: job.filter(|_| is_mask).map(|(kind, id)| format!("{kind}/{id}")) })
    }

    /// Watch `folder`.
    fn add(&mut self, folder: &Path, mode: RecursiveMode) {
        match self.told.as_mut().map(|watcher| watcher.watch(folder, mode)) {
            Some(Ok(())) => {}
            Some(Err(error)) => self.look_at(folder, mode, &error.to_string()),
            None => self.look_at(folder, mode, "this system does not tell"),
        }
    }

    /// Look at `folder` again and again.
    fn look_at(&mut self, folder: &Path, mode: RecursiveMode, why: &str) {
        // One that is gone again needs no watching.
        if !folder.exists() {
            return;
        }
        let every = POLL.as_secs();
        (self.warn)(format!("{}: cannot be watched ({why}): looked at every {every} s instead", folder.shown()));
        if self.polled.is_none() {
            self.polled = PollWatcher::new(tell(self.sender.clone()), config()).ok();
        }
        if let Some(Err(error)) = self.polled.as_mut().map(|watcher| watcher.watch(folder, mode)) {
            (self.warn)(format!("{}: cannot be looked at either: {error}", folder.shown()));
        }
    }

    /// What may have changed.
    fn note(&mut self, noted: Noted) -> BTreeSet<Changed> {
        match noted {
            // More has happened than the system could tell: it may have been anywhere, and new folders may have come.
            Ok(event) if event.need_rescan() => {
                let all = self.concepts();
                for concept in &all {
                    self.add(&self.home.join(concept), RecursiveMode::Recursive);
                    std::thread::sleep(ONE_BY_ONE);
                }
                all.into_iter().map(Changed::any).collect()
            }
            Ok(event) => {
                for path in &event.paths {
                    if path.parent() == Some(&self.home) && path.is_dir() && self.concept_of(path).is_some() {
                        // A folder that has come by now, with whatever is in it already.
                        self.add(path, RecursiveMode::Recursive);
                    }
                }
                event.paths.iter().filter_map(|path| self.change_of(path)).collect()
            }
            // A folder has come in one that is watched, and cannot be.
            Err(error) => {
                let concepts: BTreeSet<String> = error.paths.iter().filter_map(|path| self.concept_of(path)).collect();
                for concept in &concepts {
                    self.look_at(&self.home.join(concept), RecursiveMode::Recursive, &error.to_string());
                }
                concepts.into_iter().map(Changed::any).collect()
            }
        }
    }
}

/// How is watched. A link in a concept's folder may lead to the whole disk.
fn config() -> notify::Config {
    notify::Config::default().with_poll_interval(POLL).with_follow_symlinks(false)
}

/// Passes on what happens, but for what is only reading: it changes nothing.
fn tell(sender: Sender<Noted>) -> impl Fn(Noted) + Send + 'static {
    move |noted| {
        if !matches!(&noted, Ok(event) if is_reading(event.kind) && !event.need_rescan()) {
            // The other end lives as long as its thread.
            let _ = sender.send(noted);
        }
    }
}

fn is_reading(kind: notify::EventKind) -> bool {
    use notify::event::{AccessKind, AccessMode};
    // The end of writing is filed under access.
    kind.is_access() && kind != notify::EventKind::Access(AccessKind::Close(AccessMode::Write))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::{Arc, Mutex};

    use notify::event::{Event, EventKind, Flag};

    use super::*;

    #[test]
    fn what_the_system_could_not_tell_may_have_been_anywhere_and_what_it_cannot_watch_is_looked_at() {
        let home = tempfile::tempdir().unwrap();
        for name in ["mug", "cup", ".catbench"] {
            std::fs::create_dir(home.path().join(name)).unwrap();
        }
        let (sender, events) = channel();
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let warned = Arc::clone(&warnings);
        let mut watch =
            Watch::new(home.path().to_owned(), sender, Box::new(move |warning| warned.lock().unwrap().push(warning)));
        let all = BTreeSet::from(["cup", "mug"].map(|name| Changed::any(name.into())));
        let mug = BTreeSet::from([Changed::any("mug".into())]);
        assert_eq!(watch.note(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan))), all);
        assert!(warnings.lock().unwrap().is_empty());

        let photo = home.path().join("mug/images/new.png");
        watch.told = None;
        let failed = notify::Error::new(notify::ErrorKind::MaxFilesWatch).add_path(photo.clone());
        assert_eq!(watch.note(Err(failed)), mug);
        let said = warnings.lock().unwrap().concat();
        assert!(said.contains("mug") && said.contains("looked at every 2 s"), "{said}");
        std::fs::create_dir(photo.parent().unwrap()).unwrap();
        std::fs::write(&photo, "x").unwrap();
        let seen = events.recv_timeout(3 * POLL).unwrap();
        assert_eq!(watch.note(seen), mug);
        let mask = Event::new(EventKind::Any).add_path(home.path().join("mug/samples/a/masks/000.png"));
        let of_a = Changed { concept: "mug".into(), masks_of: Some("samples/a".into()) };
        assert_eq!(watch.note(Ok(mask)), BTreeSet::from([of_a]));
    }

    #[test]
    fn looks_at_all_that_follow_each_other_closely_are_put_off_longer_each_time() {
        let mut rescans = Rescans::default();
        let mut next = || {
            let pause = rescans.pause();
            rescans.last = Some(Instant::now());
            pause.as_secs()
        };
        assert_eq!([next(), next(), next(), next(), next(), next(), next()], [0, 2, 4, 8, 16, 30, 30]);
        rescans.last = Instant::now().checked_sub(2 * SOON);
        assert_eq!(rescans.pause(), Duration::ZERO);
    }
}
