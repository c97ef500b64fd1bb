//! Taking note of what changes in the folders of concepts.

use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};

use super::server::log;

/// How often is looked where the system cannot tell.
const POLL: Duration = Duration::from_secs(2);

/// Tell, from a thread of its own, in which concept's folder under `home` something changes, also in those that come
/// later. Where the system cannot watch (some network disks, no inotify watches left), it looks again and again instead.
pub fn start(home: &Path, changed: impl Fn(String) + Send + 'static) {
    let home = home.to_path_buf();
    std::thread::spawn(move || {
        let (sender, paths) = channel();
        let tell = move |event: notify::Result<notify::Event>| {
            // Reading a file is an event too: it changes nothing.
            if let Ok(event) = event
                && !is_reading(event.kind)
            {
                // The other end lives as long as this thread's loop.
                let _ = sender.send(event.paths);
            }
        };
        let mut watcher: Box<dyn Watcher> = match notify::recommended_watcher(tell.clone()) {
            Ok(watcher) => Box::new(watcher),
            Err(error) => return log(&format!("cannot watch {}: {error}", home.display())),
        };
        if let Err(error) = watch_all(watcher.as_mut(), &home) {
            log(&format!("cannot watch {} ({error}): looking every {} s", home.display(), POLL.as_secs()));
            watcher = match notify::PollWatcher::new(tell, notify::Config::default().with_poll_interval(POLL)) {
                Ok(polling) => Box::new(polling),
                Err(error) => return log(&format!("cannot watch {}: {error}", home.display())),
            };
            // What is not there now was tried already.
            let _ = watch_all(watcher.as_mut(), &home);
        }
        for path in paths.into_iter().flatten() {
            if let Some(name) = concept_of(&home, &path) {
                if path.parent() == Some(&home) && path.is_dir() {
                    // A folder that has come by now, with whatever is in it already.
                    let _ = watcher.watch(&path, RecursiveMode::Recursive);
                }
                changed(name);
            }
        }
    });
}

/// The folder of `home` that `path` is in, if it is not the program's own.
fn concept_of(home: &Path, path: &Path) -> Option<String> {
    let name = path.strip_prefix(home).ok()?.iter().next()?.to_str()?;
    (!name.starts_with('.')).then(|| name.to_owned())
}

fn is_reading(kind: notify::EventKind) -> bool {
    use notify::event::{AccessKind, AccessMode};
    // The end of writing is filed under access.
    kind.is_access() && kind != notify::EventKind::Access(AccessKind::Close(AccessMode::Write))
}

/// Watch the home for folders that come and go, and every folder in it but the program's own.
fn watch_all(watcher: &mut dyn Watcher, home: &Path) -> notify::Result<()> {
    watcher.watch(home, RecursiveMode::NonRecursive)?;
    for entry in std::fs::read_dir(home)?.flatten() {
        if entry.path().is_dir() && !entry.file_name().to_string_lossy().starts_with('.') {
            watcher.watch(&entry.path(), RecursiveMode::Recursive)?;
        }
    }
    Ok(())
}
