//! What commands print: results on stdout, all else on stderr. What cannot be written to stdout ends the command with the exit
//! code 1 and a line that says so; what cannot be written to stderr is lost, as nobody is there to read it. Control characters
//! in names, prompts and messages never reach the terminal.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use crate::fs::{is_shown, write_escaped};

/// Print a line to stdout, as `println!` does.
macro_rules! outln {
    () => { $crate::cli::out::line(format_args!("")) };
    ($($arg:tt)*) => { $crate::cli::out::line(format_args!($($arg)*)) };
}

/// Print to stdout, as `print!` does.
macro_rules! out {
    ($($arg:tt)*) => { $crate::cli::out::text(format_args!($($arg)*)) };
}

/// Print a line to stderr, as `eprintln!` does.
macro_rules! errln {
    ($($arg:tt)*) => { $crate::cli::out::error_line(format_args!($($arg)*)) };
}

/// See [`outln`].
pub(super) fn line(text: fmt::Arguments<'_>) {
    bytes(harmless(&format!("{text}\n")).as_bytes());
}

/// See [`out`].
pub(super) fn text(text: fmt::Arguments<'_>) {
    bytes(harmless(&text.to_string()).as_bytes());
}

/// See [`errln`].
pub(super) fn error_line(text: fmt::Arguments<'_>) {
    let _ = io::stderr().write_all(harmless(&format!("{text}\n")).as_bytes());
}

/// Write `bytes`, in which nothing is harmful, to stdout.
pub(super) fn bytes(bytes: &[u8]) {
    ended(io::stdout().lock().write_all(bytes));
}

/// Have all that was printed written, and give the exit code of a command that has done all else with `code`.
pub(super) fn finish(code: ExitCode) -> ExitCode {
    ended(io::stdout().flush());
    code
}

/// End the process where stdout cannot be written to. A pipe that nobody reads any more has ended it already where it is to
/// end by that, see `sys::end_with_stdout`.
fn ended(written: io::Result<()>) {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            error_line(format_args!("error: cannot write to stdout: {error}"));
            std::process::exit(1);
        }
        _ => {}
    }
}

/// `text` in which all that a terminal would obey, but for line feeds and tabs, is written as in a string of JSON, such as
/// `\u001b`: what was JSON stays so.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| !is_shown(c) && c != '\n' && c != '\t';
    if !text.contains(harmful) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if harmful(c) {
            // Writing to a String cannot fail.
            let _ = write_escaped(&mut shown, c);
        } else {
            shown.push(c);
        }
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_move_the_cursor_is_seen_and_the_rest_is_as_it_was() {
        assert_eq!(harmless("a \u{1b}[31mred\u{7}\r\n\tb é 猫"), "a \\u001b[31mred\\u0007\\r\n\tb é 猫");
        assert!(matches!(harmless("a\tb\n"), Cow::Borrowed(_)));
        let odd = "a\u{9b}31m\u{7f}\u{202e}\u{1b}b";
        let printed = harmless(&serde_json::json!(odd).to_string()).into_owned();
        assert!(printed.is_ascii(), "{printed}");
        assert_eq!(serde_json::from_str::<String>(&printed).unwrap_or_default(), odd, "JSON stays JSON");
    }
}
