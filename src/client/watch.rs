//! Taking note of what changes in a folder, where no daemon tells it.

use std::path::Path;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};

use super::Error;

/// Calls back, on its own thread, when something in a folder changes. Where the system cannot watch (some network
/// disks, no inotify watches left), it looks twice a second instead.
pub struct Watch {
    _watcher: Box<dyn notify::Watcher + Send>,
}

impl Watch {
    /// Watch everything under `folder`.
    pub fn new(folder: &Path, changed: impl Fn() + Send + Clone + 'static) -> Result<Self, Error> {
        let handler = |changed: Box<dyn Fn() + Send>| {
            move |event: notify::Result<notify::Event>| {
                // Reading a file is an event too: it changes nothing.
                if !event.is_ok_and(|event| event.kind.is_access()) {
                    changed();
                }
            }
        };
        if let Ok(mut watcher) = notify::recommended_watcher(handler(Box::new(changed.clone())))
            && watcher.watch(folder, RecursiveMode::Recursive).is_ok()
        {
            return Ok(Self { _watcher: Box::new(watcher) });
        }
        let config = notify::Config::default().with_poll_interval(Duration::from_millis(500));
        let mut watcher = notify::PollWatcher::new(handler(Box::new(changed)), config)?;
        watcher.watch(folder, RecursiveMode::Recursive)?;
        Ok(Self { _watcher: Box::new(watcher) })
    }
}
