//! What comes from the terminal: keys, and its answers.

use std::io::{self, IsTerminal};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyModifiers};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};

use super::{Message, drop_send};

/// Held while the terminal's input is read: viuer reads it too, when it prints to a local kitty.
pub type Gate = Arc<Mutex<()>>;

/// Have stdin be an opening of the terminal that nobody else has: crossterm reads on after an answer that it knows no
/// event for, so reading must be set not to wait, which all that share an opening would be. `false` where this terminal
/// cannot be opened (one of another user, after `su`): then it must not be asked anything.
pub fn own_input() -> bool {
    let stdin = io::stdin();
    let own = || -> rustix::io::Result<()> {
        let name = rustix::termios::ttyname(&stdin, Vec::new())?;
        let terminal = open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(&terminal)
    };
    stdin.is_terminal() && own().is_ok()
}

/// Send what comes to the thread that draws, on a thread of its own. `own`: as [`own_input`] says.
pub fn listen(to: Sender<Message>, gate: Gate, own: bool) {
    std::thread::spawn(move || {
        while wait_for_input() {
            let _gate = gate.lock().unwrap_or_else(PoisonError::into_inner);
            let read = if own { without_waiting(|| read(&to)) } else { read(&to) };
            match read {
                // An answer is input, but no event.
                Ok(0) => drop_send(&to, Message::Answered),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        drop_send(&to, Message::End);
    });
}

/// Events that are sent together: keys of a flood are not to wait for its end.
const TOGETHER: usize = 64;

/// Send the events that are there. How many.
fn read(to: &Sender<Message>) -> io::Result<usize> {
    let mut count = 0;
    loop {
        let mut events = Vec::new();
        while events.len() < TOGETHER && event::poll(Duration::ZERO).unwrap_or(false) {
            events.push(event::read()?);
        }
        if events.is_empty() {
            return Ok(count);
        }
        count += events.len();
        messages(&events).into_iter().for_each(|message| drop_send(to, message));
    }
}

/// What `events`, which came together, tell. Crossterm takes an answer right behind the Escape key for three keys, and the
/// colour of the background, where it comes after its time, for many.
fn messages(mut events: &[Event]) -> Vec<Message> {
    let mut messages = Vec::new();
    while let [first, rest @ ..] = events {
        if let Some(after) = behind_colour(events) {
            events = after;
            continue;
        }
        messages.push(Message::Input(first.clone()));
        events = rest;
        if is(first, KeyCode::Esc, KeyModifiers::NONE)
            && let Some(after) = behind(rest, "[0n")
        {
            messages.push(Message::Answered);
            events = after;
        }
    }
    messages
}

fn is(event: &Event, code: KeyCode, modifiers: KeyModifiers) -> bool {
    matches!(event, Event::Key(key) if key.code == code && key.modifiers.difference(KeyModifiers::SHIFT) == modifiers)
}

/// What comes behind the keys that `text` is made of, if it begins with them.
fn behind<'a>(events: &'a [Event], text: &str) -> Option<&'a [Event]> {
    let keys = text.chars().zip(events).filter(|(key, event)| is(event, KeyCode::Char(*key), KeyModifiers::NONE));
    (keys.count() == text.len()).then(|| &events[text.len()..])
}

/// What comes behind an answer like `ESC ]11;rgb:1212/1212/1212 BEL`, if it begins with one.
fn behind_colour(events: &[Event]) -> Option<&[Event]> {
    let [first, rest @ ..] = events else { return None };
    let rest = behind(rest, "11;rgb:").filter(|_| is(first, KeyCode::Char(']'), KeyModifiers::ALT))?;
    let ends = |event: &Event| {
        is(event, KeyCode::Char('g'), KeyModifiers::CONTROL) || is(event, KeyCode::Char('\\'), KeyModifiers::ALT)
    };
    let end = rest.iter().position(ends).map_or(rest.len(), |end| end + 1);
    Some(&rest[end..])
}

/// Do this while reading from stdin does not wait.
fn without_waiting<T>(read: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let stdin = io::stdin();
    let flags = fcntl_getfl(&stdin)?;
    fcntl_setfl(&stdin, flags | OFlags::NONBLOCK)?;
    let read = read();
    fcntl_setfl(&stdin, flags)?;
    read
}

/// Wait until there is input to read; `false` when there never will be: the terminal is gone.
fn wait_for_input() -> bool {
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

#[cfg(test)]
mod tests {
    use crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn an_answer_right_behind_escape_is_no_keys() {
        let keys = |codes: &[KeyCode]| codes.iter().map(|code| Event::Key((*code).into())).collect::<Vec<_>>();
        let told = |codes: &[KeyCode]| {
            let word = |message| match message {
                Message::Answered => "answered".to_owned(),
                Message::Input(Event::Key(key)) => key.code.to_string(),
                _ => "?".to_owned(),
            };
            messages(&keys(codes)).into_iter().map(word).collect::<Vec<_>>()
        };
        let [esc, open, zero, n, q] =
            [KeyCode::Esc, KeyCode::Char('['), KeyCode::Char('0'), KeyCode::Char('n'), KeyCode::Char('q')];
        assert_eq!(told(&[q, esc, open, zero, n, q]), ["q", "Esc", "answered", "q"]);
        assert_eq!(told(&[esc, open, zero]), ["Esc", "[", "0"]);
        assert_eq!(told(&[open, zero, n]), ["[", "0", "n"]);
    }

    #[test]
    fn a_late_answer_about_the_background_is_no_keys() {
        let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        let typed = |c: char| if c.is_uppercase() { KeyModifiers::SHIFT } else { KeyModifiers::NONE };
        let colour = "11;rgb:1212/1212/abAB".chars().map(|c| key(KeyCode::Char(c), typed(c)));
        let (q, begin) = (KeyCode::Char('q').into(), key(KeyCode::Char(']'), KeyModifiers::ALT));
        for end in [key(KeyCode::Char('g'), KeyModifiers::CONTROL), key(KeyCode::Char('\\'), KeyModifiers::ALT)] {
            let mut events = vec![begin.clone()];
            events.extend(colour.clone().chain([end, Event::Key(q)]));
            assert!(matches!(&messages(&events)[..], [Message::Input(Event::Key(key))] if *key == q));
        }
        assert_eq!(messages(&[begin, Event::Key(q)]).len(), 2, "that key itself");
    }
}
