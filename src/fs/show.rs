//! Names and texts as people are shown them: from a file or a path may come what a terminal would obey.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Paths and texts as people are shown them.
pub trait Show {
    /// What a terminal would obey or not show at all stands as in a string of JSON, such as `\u001b`; bytes that are no text as
    /// `\xff`.
    fn shown(&self) -> Shown<'_>;
}

impl Show for Path {
    fn shown(&self) -> Shown<'_> {
        Shown(self.as_os_str().as_bytes())
    }
}

impl Show for str {
    fn shown(&self) -> Shown<'_> {
        Shown(self.as_bytes())
    }
}

/// See [`Show`].
pub struct Shown<'p>(&'p [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.utf8_chunks() {
            for c in part.valid().chars() {
                if is_shown(c) { f.write_char(c) } else { write_escaped(f, c) }?;
            }
            part.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

/// Write `c` as in a string of JSON.
pub fn write_escaped(to: &mut impl fmt::Write, c: char) -> fmt::Result {
    match c {
        '\n' => to.write_str("\\n"),
        '\r' => to.write_str("\\r"),
        '\t' => to.write_str("\\t"),
        c => c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(to, "\\u{unit:04x}")),
    }
}

/// Whether `c` is seen where it stands: no control character, none that turns the direction of writing, and no tag, which is
/// never seen.
pub fn is_shown(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !turns && !matches!(c, '\u{e0000}'..='\u{e007f}')
}

/// `text` as one word of a command line, to be pasted.
pub fn shell(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || "-_.,:/@+=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into();
    }
    format!("'{}'", text.replace('\'', "'\\''")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_without_what_a_terminal_obeys() {
        use std::ffi::OsStr;
        let name = |bytes: &[u8]| Path::new(OsStr::from_bytes(bytes)).shown().to_string();
        assert_eq!(name("photos/é 猫 (1).png".as_bytes()), "photos/é 猫 (1).png");
        assert_eq!(name(b"a\x1b[2J\nb.png"), "a\\u001b[2J\\nb.png");
        assert_eq!(name(b"a\xff\xc3.png"), "a\\xff\\xc3.png");
        assert_eq!(name("gnp.\u{202e}exe".as_bytes()), "gnp.\\u202eexe");
        assert_eq!("a\u{9b}2J\u{e0041}".shown().to_string(), "a\\u009b2J\\udb40\\udc41");
    }
}
