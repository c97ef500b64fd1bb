//! Which way of drawing pictures this terminal can do, and whether its background is dark or light.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode, is_raw_mode_enabled};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Colours, Images};
use crate::workspace::Theme;

/// How pictures are drawn, and why so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Not `auto`.
    pub backend: Images,
    /// For people.
    pub why: String,
}

impl Choice {
    fn new(backend: Images, why: impl Into<String>) -> Self {
        Self { backend, why: why.into() }
    }
}

/// What can be said without asking the terminal; none when it must be asked.
pub fn without_asking(wanted: Images) -> Option<Choice> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let term = set("TERM").unwrap_or_default();
    match wanted {
        Images::Off => Some(Choice::new(Images::Off, "as asked")),
        Images::Blocks => Some(Choice::new(Images::Blocks, "as asked")),
        _ if set("TMUX").is_some() || term.starts_with("tmux") => {
            Some(Choice::new(Images::Blocks, "tmux lets no pictures through"))
        }
        _ if set("STY").is_some() || term.starts_with("screen") => {
            Some(Choice::new(Images::Blocks, "screen lets no pictures through"))
        }
        _ if ["linux", "dumb", ""].contains(&term.as_str()) => {
            Some(Choice::new(Images::Blocks, format!("the terminal {term:?} has no graphics")))
        }
        Images::Auto | Images::Iterm if viuer::is_iterm_supported() => {
            Some(Choice::new(Images::Iterm, "the terminal says it is one with iTerm2's pictures"))
        }
        Images::Iterm => Some(Choice::new(Images::Blocks, "the terminal does not say that it knows iTerm2's pictures")),
        _ => None,
    }
}

/// What the terminal has answered, or what is assumed of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// How pictures are drawn.
    pub choice: Choice,
    /// What suits its background: dark, if it does not tell.
    pub theme: Theme,
    /// Keys that were pressed meanwhile.
    pub typed: Vec<KeyEvent>,
}

/// Ask the terminal what is not known already, and wait only so long. Nothing else may read its input meanwhile.
pub fn choose(wanted: Images, theme: Option<Theme>) -> Answers {
    let known = without_asking(wanted);
    let theme = theme.or_else(theme_without_asking);
    let dark = theme.unwrap_or(Theme::Dark);
    let answer = |choice, theme, typed| Answers { choice, theme, typed };
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        let choice = known.unwrap_or_else(|| Choice::new(Images::Blocks, "there is no terminal to ask"));
        return answer(choice, dark, Vec::new());
    }
    if let (Some(choice), Some(theme)) = (&known, theme) {
        return answer(choice.clone(), theme, Vec::new());
    }
    // Across an ocean an answer takes a quarter of a second.
    let remote = std::env::var_os("SSH_CONNECTION").is_some();
    let wait = Duration::from_millis(if remote || known.is_none() && wanted != Images::Auto { 300 } else { 100 });
    let raw = is_raw_mode_enabled().unwrap_or(false) || enable_raw_mode().is_err();
    let mut typed = Vec::new();
    // The attributes come last, and from every terminal that answers at all: after them no other answer comes.
    let attributes = device_attributes(theme.is_none(), wait, &mut typed);
    let told = background(&mut typed);
    let choice = known.unwrap_or_else(|| graphics(wanted, attributes.as_deref(), wait));
    if !raw {
        // It was possible to switch raw mode on, so it is to switch it off.
        let _ = disable_raw_mode();
    }
    answer(choice, theme.or(told).unwrap_or(Theme::Dark), typed.into_iter().filter_map(key).collect())
}

/// What some terminals say in the environment: the number of the background's colour, last. A console is dark, and
/// knows no such question; without colours there is nothing to ask.
fn theme_without_asking() -> Option<Theme> {
    let term = std::env::var("TERM").unwrap_or_default();
    if ["linux", "dumb", ""].contains(&term.as_str()) || colours() == Colours::None {
        return Some(Theme::Dark);
    }
    let colours = std::env::var("COLORFGBG").ok()?;
    let background: u8 = colours.rsplit(';').next()?.parse().ok()?;
    Some(if background == 7 || background == 15 { Theme::Light } else { Theme::Dark })
}

/// Take the answer of the background's colour out of what was read, as in `ESC ]11;rgb:1212/1212/1212 BEL`.
fn background(read: &mut Vec<u8>) -> Option<Theme> {
    const BEGINS: &[u8] = b"\x1b]11;";
    let start = read.windows(BEGINS.len()).position(|part| part == BEGINS)?;
    // It ends with BEL, or with ESC and a backslash.
    let body = start + BEGINS.len();
    let length = read[body..].iter().position(|&byte| byte == 0x07 || byte == 0x1b)?;
    let end = body + length;
    let last = if read[end] == 0x1b && read.get(end + 1) == Some(&b'\\') { end + 2 } else { end + 1 };
    let colour = String::from_utf8_lossy(&read[body..end]).into_owned();
    read.drain(start..last);
    let parts: Vec<f64> = colour
        .strip_prefix("rgb:")?
        .split('/')
        .map(|part| {
            let most = 16f64.powi(part.len() as i32) - 1.0;
            u32::from_str_radix(part, 16).ok().map(|value| f64::from(value) / most)
        })
        .collect::<Option<_>>()?;
    let [r, g, b] = parts[..] else { return None };
    Some(if 0.299 * r + 0.587 * g + 0.114 * b > 0.5 { Theme::Light } else { Theme::Dark })
}

/// The key that sends this one byte; keys of several bytes are not worth waiting for.
fn key(byte: u8) -> Option<KeyEvent> {
    let (code, modifiers) = match byte {
        b'\r' => (KeyCode::Enter, KeyModifiers::NONE),
        b'\t' => (KeyCode::Tab, KeyModifiers::NONE),
        0x1b => (KeyCode::Esc, KeyModifiers::NONE),
        0x01..=0x1a => (KeyCode::Char(char::from(byte - 1 + b'a')), KeyModifiers::CONTROL),
        0x20..=0x7e => (KeyCode::Char(char::from(byte)), KeyModifiers::NONE),
        _ => return None,
    };
    Some(KeyEvent::new(code, modifiers))
}

/// How to draw pictures on a terminal with these attributes; none when it is silent.
fn graphics(wanted: Images, attributes: Option<&str>, wait: Duration) -> Choice {
    let Some(attributes) = attributes else {
        return Choice::new(Images::Blocks, format!("the terminal did not answer within {} ms", wait.as_millis()));
    };
    // The terminal answers, so viuer's own questions, which wait for ever, are safe. Each is asked once a process.
    if matches!(wanted, Images::Auto | Images::Kitty) && viuer::get_kitty_support() != viuer::KittySupport::None {
        return Choice::new(Images::Kitty, "the terminal answered to kitty's graphics protocol");
    }
    let sixel = attributes.split(';').any(|attribute| attribute == "4");
    if sixel && matches!(wanted, Images::Auto | Images::Sixel) && viuer::is_sixel_supported() {
        return Choice::new(Images::Sixel, "the terminal names sixel among its attributes");
    }
    match wanted {
        Images::Auto => {
            Choice::new(Images::Blocks, "the terminal knows neither kitty's nor iTerm2's pictures nor sixel")
        }
        wanted => Choice::new(Images::Blocks, format!("the terminal says it does not know {}", wanted.word())),
    }
}

/// The primary device attributes, as in `63;1;4`; none when the terminal is silent. Before them the colour of the
/// background is asked for, if wanted; its answer and what else is read go to `typed`.
fn device_attributes(background: bool, wait: Duration, typed: &mut Vec<u8>) -> Option<String> {
    let mut out = io::stdout();
    let question: &[u8] = if background { b"\x1b]11;?\x1b\\\x1b[c" } else { b"\x1b[c" };
    out.write_all(question).and_then(|()| out.flush()).ok()?;
    let deadline = Instant::now() + wait;
    let stdin = io::stdin();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut descriptors = [PollFd::new(&stdin, PollFlags::IN)];
        if left.is_zero() || poll(&mut descriptors, Some(&timeout)).ok()? == 0 {
            return None;
        }
        // A byte at a time: what follows the answer belongs to the keyboard.
        let mut byte = [0];
        rustix::io::read(&stdin, &mut byte).ok().filter(|&n| n == 1)?;
        typed.push(byte[0]);
        if let Some(start) = typed.windows(3).position(|three| three == b"\x1b[?")
            && byte[0] == b'c'
        {
            let answer: Vec<u8> = typed.drain(start..).collect();
            return String::from_utf8(answer[3..answer.len() - 1].to_vec()).ok();
        }
    }
}

/// How many colours half blocks may have here.
pub fn colours() -> Colours {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if set("NO_COLOR").is_some() {
        return Colours::None;
    }
    let named = set("COLORTERM").is_some_and(|value| value.contains("truecolor") || value.contains("24bit"));
    let term = set("TERM").unwrap_or_default();
    // tmux turns true colours into what its own terminal has.
    let known = ["tmux", "kitty", "alacritty", "direct", "ghostty", "wezterm", "foot"];
    if named || set("TMUX").is_some() || known.iter().any(|known| term.contains(known)) {
        Colours::True
    } else {
        Colours::Indexed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_background_is_read_from_between_keys() {
        let mut read = b"j\x1b]11;rgb:ffff/ffff/dddd\x1b\\k".to_vec();
        assert_eq!(background(&mut read), Some(Theme::Light));
        assert_eq!(read, b"jk");
        let mut read = b"\x1b]11;rgb:12/12/12\x07".to_vec();
        assert_eq!(background(&mut read), Some(Theme::Dark));
        assert!(read.is_empty());
        for odd in ["", "\x1b]11;rgb:ffff", "\x1b]11;rgb:/x/\x07", "\x1b]11;what\x07", "jk"] {
            assert_eq!(background(&mut odd.as_bytes().to_vec()), None, "{odd:?}");
        }
    }
}
