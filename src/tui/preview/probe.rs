//! Which way of drawing pictures this terminal can do.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode, is_raw_mode_enabled};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Colours, Images};

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

/// Ask the terminal, and wait only so long. Nothing else may read its input meanwhile; keys pressed in that time are
/// handed back.
pub fn choose(wanted: Images) -> (Choice, Vec<KeyEvent>) {
    if let Some(choice) = without_asking(wanted) {
        return (choice, Vec::new());
    }
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return (Choice::new(Images::Blocks, "there is no terminal to ask"), Vec::new());
    }
    // Across an ocean an answer takes a quarter of a second.
    let remote = std::env::var_os("SSH_CONNECTION").is_some();
    let wait = Duration::from_millis(if remote || wanted != Images::Auto { 300 } else { 100 });
    let raw = is_raw_mode_enabled().unwrap_or(false) || enable_raw_mode().is_err();
    let mut typed = Vec::new();
    let choice = ask(wanted, wait, &mut typed);
    if !raw {
        // It was possible to switch raw mode on, so it is to switch it off.
        let _ = disable_raw_mode();
    }
    (choice, typed.into_iter().filter_map(key).collect())
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

fn ask(wanted: Images, wait: Duration, typed: &mut Vec<u8>) -> Choice {
    let Some(attributes) = device_attributes(wait, typed) else {
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

/// The primary device attributes, as in `63;1;4`; none when the terminal is silent. What else is read goes to `typed`.
fn device_attributes(wait: Duration, typed: &mut Vec<u8>) -> Option<String> {
    let mut out = io::stdout();
    out.write_all(b"\x1b[c").and_then(|()| out.flush()).ok()?;
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

/// Wait until there is input to read; `false` when there never will be: the terminal is gone.
pub fn wait_for_input() -> bool {
    let stdin = io::stdin();
    loop {
        let mut descriptors = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut descriptors, None) {
            Ok(_) => return !descriptors[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}
