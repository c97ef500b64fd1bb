//! The workbench: a full-screen terminal program that shows one concept, its trainings and what came of them.
//!
//! One thread draws and decides; others read keys, wait for signals, watch files, decode pictures and start jobs, and
//! send messages. A frame is drawn only when a message changed something, and at most thirty times a second; with
//! nothing happening, nothing is written and nothing runs.

mod app;
pub mod keymap;
mod model;
mod preview;
mod screens;
mod terminal;
mod theme;
mod widgets;

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossterm::event;
use crossterm::queue;
use crossterm::terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGWINCH};

pub use app::{App, Checked, Message, Next};
pub use preview::{Choice, Colours, Images, choose as choose_images};
pub use widgets::graph;

use crate::client::{self, Watch};
use crate::workspace::{self, Concept};
use terminal::Screen;

/// The least time between two frames.
const FRAME: Duration = Duration::from_millis(33);
/// How often a runner that should live is looked after.
const TICK: Duration = Duration::from_secs(1);

/// What the workbench can fail at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The files of the concept.
    #[error(transparent)]
    Workspace(#[from] workspace::Error),
    /// Watching them.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The terminal.
    #[error("cannot use this terminal: {0}")]
    Terminal(#[from] io::Error),
}

/// Open the workbench on `concept` until the user leaves. What goes on then, to be said on the terminal.
pub fn run(concept: Concept, images: Images) -> Result<Option<String>, Error> {
    let folder = concept.folder.clone();
    let (sender, messages) = channel();
    let choice = preview_before_asking(images);
    let asked = choice.backend == Images::Auto;
    let mut app = App::new(concept, choice, preview::colours(), sender.clone())?;
    let mut screen = Screen::take()?;
    // First something to see, then the questions to the terminal, whose answers may take their time.
    draw(&mut screen, &mut app, &Gate::default())?;
    if asked {
        let (choice, typed) = preview::choose(images);
        app.set_pictures(choice);
        for key in typed {
            drop_send(&sender, Message::Input(event::Event::Key(key)));
        }
    }
    let gate = Gate::default();
    listen(&sender, &gate)?;
    let files = sender.clone();
    let _watch = Watch::new(&folder, move || drop_send(&files, Message::Files))?;
    // What changed while the watch was being set up.
    drop_send(&sender, Message::Files);
    let ended = event_loop(&mut screen, &mut app, &messages, &gate);
    app.forget_screen();
    drop(screen);
    ended?;
    Ok(app.goes_on())
}

/// The choice of the first frame: what is known without asking, or `auto`, which draws no picture yet.
fn preview_before_asking(images: Images) -> Choice {
    preview::without_asking(images)
        .unwrap_or_else(|| Choice { backend: Images::Auto, why: "the terminal has not been asked yet".into() })
}

/// Held while the terminal's input is read: viuer reads it too, when it prints to a local kitty.
type Gate = Arc<Mutex<()>>;

fn event_loop(screen: &mut Screen, app: &mut App, messages: &Receiver<Message>, gate: &Gate) -> Result<(), Error> {
    let mut due = true;
    let mut drawn = Instant::now();
    loop {
        let message = if due {
            let wait = (drawn + FRAME).saturating_duration_since(Instant::now());
            messages.recv_timeout(wait)
        } else if app.is_running() {
            messages.recv_timeout(TICK)
        } else {
            messages.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        let message = match message {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) if due => {
                draw(screen, app, gate)?;
                (due, drawn) = (false, Instant::now());
                continue;
            }
            Err(RecvTimeoutError::Timeout) => Message::Tick,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let continued = matches!(message, Message::Continued);
        match app.handle(message) {
            Next::Wait => {}
            Next::Draw => due = true,
            Next::Redraw => {
                if continued {
                    screen.retake()?;
                }
                screen.clear()?;
                app.forget_screen();
                due = true;
            }
            Next::Suspend => {
                app.forget_screen();
                screen.suspend()?;
                due = true;
            }
            Next::Quit => return Ok(()),
        }
    }
}

/// Draw one frame and the pictures over it, as one update of the terminal.
fn draw(screen: &mut Screen, app: &mut App, gate: &Gate) -> io::Result<()> {
    queue!(io::stdout(), BeginSynchronizedUpdate)?;
    screen.terminal.draw(|frame| app.draw(frame.buffer_mut()))?;
    {
        let _gate = app.prints_read_input().then(|| gate.lock().unwrap_or_else(PoisonError::into_inner));
        app.finish_frame()?;
    }
    crossterm::execute!(io::stdout(), EndSynchronizedUpdate)
}

/// Threads that turn keys and signals into messages.
fn listen(sender: &Sender<Message>, gate: &Gate) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGTSTP, SIGCONT, SIGWINCH])?;
    let to = sender.clone();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let message = match signal {
                SIGWINCH => Message::Resized,
                SIGTSTP => Message::Suspend,
                SIGCONT => Message::Continued,
                _ => Message::End,
            };
            drop_send(&to, message);
        }
    });
    let (to, gate) = (sender.clone(), Arc::clone(gate));
    std::thread::spawn(move || {
        while preview::wait_for_input() {
            let _gate = gate.lock().unwrap_or_else(PoisonError::into_inner);
            while event::poll(Duration::ZERO).unwrap_or(false) {
                match event::read() {
                    Ok(event) => drop_send(&to, Message::Input(event)),
                    Err(_) => return drop_send(&to, Message::End),
                }
            }
        }
        drop_send(&to, Message::End);
    });
    Ok(())
}

/// Send to a loop that may have ended.
fn drop_send(sender: &Sender<Message>, message: Message) {
    let _ = sender.send(message);
}
