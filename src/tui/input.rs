//! What comes from the terminal: keys, and its answers.

use std::io::{self, IsTerminal};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode};
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

/// Send the events that are there. How many.
fn read(to: &Sender<Message>) -> io::Result<usize> {
    let mut events = Vec::new();
    while event::poll(Duration::ZERO).unwrap_or(false) {
        events.push(event::read()?);
    }
    let count = events.len();
    messages(&events).into_iter().for_each(|message| drop_send(to, message));
    Ok(count)
}

/// What `events`, which came together, tell. Crossterm takes an answer right behind the Escape key for three keys.
fn messages(mut events: &[Event]) -> Vec<Message> {
    let is =
        |event: &Event, code: KeyCode| matches!(event, Event::Key(key) if key.code == code && key.modifiers.is_empty());
    let torn_answer = [KeyCode::Esc, KeyCode::Char('['), KeyCode::Char('0'), KeyCode::Char('n')];
    let mut messages = Vec::new();
    while let [first, rest @ ..] = events {
        messages.push(Message::Input(first.clone()));
        let torn = events.len() >= 4 && events.iter().zip(torn_answer).all(|(event, code)| is(event, code));
        if torn {
            messages.push(Message::Answered);
        }
        events = if torn { &events[4..] } else { rest };
    }
    messages
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
}
