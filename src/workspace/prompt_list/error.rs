//! What can be wrong with a prompt list.

use crate::fs::Show;
use std::fmt;
use std::path::{Path, PathBuf};

/// Something wrong in a prompt list or word file: where, what, what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{place}: {problem}: {remedy}", path.shown())]
pub struct ListError {
    /// The file, or `--prompt` for one that was typed.
    pub path: PathBuf,
    /// Where in it.
    pub place: Position,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

/// A place in a text, counted from 1 in lines and characters; 0 where it is all of the text or of the line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in it.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (0, _) => Ok(()),
            (line, 0) => write!(f, ":{line}"),
            (line, column) => write!(f, ":{line}:{column}"),
        }
    }
}

/// What is wrong in a line, at which column; the caller knows file and line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub column: usize,
    pub problem: String,
    pub remedy: String,
    /// Set where it is another file's.
    pub elsewhere: Option<(PathBuf, usize)>,
}

impl Wrong {
    pub fn new(column: usize, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { column, problem: problem.into(), remedy: remedy.into(), elsewhere: None }
    }

    pub fn at(self, path: &Path, line: usize) -> ListError {
        let (path, line) = self.elsewhere.unwrap_or_else(|| (path.to_owned(), line));
        ListError { path, place: Position { line, column: self.column }, problem: self.problem, remedy: self.remedy }
    }
}

/// `text` as an error shows it: at most 40 characters, nothing that a terminal would obey.
pub(super) fn shown(text: impl IntoIterator<Item = char>) -> String {
    let mut text = text.into_iter();
    let mut shown: String = text.by_ref().take(40).map(|c| if c.is_control() { '·' } else { c }).collect();
    if text.next().is_some() {
        shown.push('…');
    }
    shown
}
