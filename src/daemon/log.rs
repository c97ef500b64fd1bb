//! The daemon's log: its stderr, which in the background is a file of its home. That file has a limit, and what is named in it
//! is shown without what a terminal obeys.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::fs::Show;

/// A log of more bytes is put aside, in the place of the one before.
const MOST: u64 = 4 << 20;
/// The most bytes of one line: what is wrong with a file may quote a line of it.
const LINE: usize = 4 << 10;

/// The file that is kept short; none where somebody else keeps what this process says.
static FILE: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Keep the log short that is the file at `path`, from the next line on.
pub fn keep_short(path: PathBuf) {
    *FILE.lock().unwrap_or_else(PoisonError::into_inner) = Some(path);
}

/// Write one line.
pub fn log(line: &str) {
    let mut line = line.shown().to_string();
    if line.len() > LINE {
        line.truncate((0..=LINE).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0));
        line.push_str(" ...");
    }
    let file = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    // A full disk has no room for it, which is no reason to end. The next line tries it again.
    let _ = writeln!(std::io::stderr(), "{} {line}", jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S"));
    let _ = file.as_deref().map_or(Ok(()), turn_over);
}

/// Put the file at `path` aside if this process has written so much to it, and go on in a new one.
fn turn_over(path: &Path) -> std::io::Result<()> {
    let length = rustix::fs::fstat(rustix::stdio::stderr())?.st_size as u64;
    if length <= MOST {
        return Ok(());
    }
    if length <= 2 * MOST {
        std::fs::rename(path, path.with_extension("log.old"))?;
    } else {
        // It comes from a version that had no limit.
        std::fs::remove_file(path)?;
    }
    crate::sys::redirect_output(&crate::fs::open_append(path)?)
}
