//! The workbench: a full-screen terminal program for the library, the trainings, what came of them, and the queue.
//!
//! One thread draws and decides; others read keys, wait for signals, listen to the daemon, decode pictures and do what
//! takes a moment, and send messages. A frame is drawn only when a message changed something: at once after a key, else
//! at most thirty times a second; with nothing happening, nothing is written and nothing runs.
//!
//! | module | what it holds |
//! |---|---|
//! | `app` | what each message, key and click does, and how a frame is made |
//! | `chrome` | tabs, footer, notices: what is around every screen |
//! | `world` | what is known: library, queue, the open concept, the jobs that are looked at |
//! | `input` | keys, and what the terminal answers |
//! | `link` | what the daemon tells, on threads of its own |
//! | `keymap` | the one table of keys and commands |
//! | `deeds` | what is done for the user, off the drawing thread |
//! | `screens` | one file a screen |
//! | `overlays` | what lies over a screen: forms, questions, the palette, pages of text |
//! | `widgets` | lists, tiles, graphs, tables |
//! | `canvas` | cells, pictures and clicks of one frame |
//! | `preview` | pictures in the terminal |
//! | `doctor` | how this terminal and machine are used |
//! | `leave` | what is said when it is left |
//! | `command` | a command of the command line, run from the palette |

mod app;
mod backend;
mod canvas;
mod chrome;
mod command;
mod deeds;
mod doctor;
mod input;
pub mod keymap;
mod leave;
mod link;
mod overlays;
mod preview;
mod screens;
mod terminal;
mod theme;
mod widgets;
mod world;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crossterm::queue;
use crossterm::style::Print;
use crossterm::terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP};

pub use app::{App, Message, Next};
pub use doctor::{Doctor, theme_words};
use graph::GraphView;
use input::{Line, Question, Reader, Sent};
pub use keymap::ScreenName;
pub use link::Update;
pub use overlays::palette::Verb;
pub use preview::{Choice, Colours, Images};
use preview::{Environment, Probe};
pub use terminal::Screen;
pub use widgets::graph;

use crate::sys;
use crate::workspace::{self, Home, Theme};

/// The least time between two frames.
const FRAME: Duration = Duration::from_millis(33);
/// How long pictures wait for what the terminal can do. What it answers later changes them.
const ANSWER: Duration = Duration::from_millis(300);
/// Asks the terminal whether it is well; it answers once it has drawn all that came before.
const STATUS: &str = "\x1b[5n";

/// What the workbench can fail at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The files of the home.
    #[error(transparent)]
    Workspace(#[from] workspace::Error),
    /// The terminal.
    #[error("cannot use this terminal: {0}")]
    Terminal(#[from] io::Error),
    /// A terminal on which nothing can be seen.
    #[error("{0}")]
    Unreadable(&'static str),
}

/// Where and how the workbench begins.
#[derive(Debug, Clone)]
pub struct Start {
    /// The concept that is opened; none for the one that was open last, if any.
    pub concept: Option<String>,
    /// The screen it is opened on.
    pub place: ScreenName,
    /// How pictures are drawn.
    pub images: Images,
    /// The colours; none for those that were set, else those that suit what the terminal says of its background.
    pub theme: Option<Theme>,
    /// The verbs of the command line, for the palette.
    pub verbs: Vec<Verb>,
    /// What the command line says of each setting of a training.
    pub explained: Vec<(String, String)>,
}

/// What the workbench is told before it begins.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where everything is.
    pub home: Home,
    /// The concept that is opened, if any.
    pub concept: Option<String>,
    /// The screen it is opened on.
    pub place: ScreenName,
    /// The theme that is set; none for the one that suits the terminal.
    pub theme: Option<Theme>,
    /// The one that suits the terminal, where it has told.
    pub told: Option<Theme>,
    /// How pictures are drawn.
    pub pictures: Choice,
    /// In how many colours.
    pub colours: Colours,
    /// How graphs are looked at.
    pub graph: GraphView,
    /// The program that these verbs are of.
    pub program: PathBuf,
    /// The verbs of the command line.
    pub verbs: Vec<Verb>,
    /// What the command line says of each setting of a training.
    pub explained: Vec<(String, String)>,
}

/// Open the workbench on `home` until the user leaves. What goes on then, to be said on the terminal.
pub fn run(home: &Home, start: Start) -> Result<Option<String>, Error> {
    let Start { concept, place, images, theme, verbs, explained } = start;
    let images = print_with_viuer(images)?;
    // Before the first thread begins.
    sys::hold_window_changes();
    let mut settings = home.settings()?;
    let theme = theme.or(settings.theme);
    theme::choose(theme.unwrap_or(Theme::Dark));
    let (concept, place) = match concept {
        Some(concept) => (Some(concept), place),
        None => last_place(home, settings.last.as_deref()),
    };
    let (sender, messages) = channel();
    let mut probe = Probe::new(images, theme, Environment::here());
    let pictures = match probe.choice() {
        choice if choice.backend != Images::Blocks || !probe.is_waited_for() => choice,
        _ => Choice { backend: Images::Auto, why: "the terminal has not been asked yet".into() },
    };
    let colours = preview::colours();
    let graph = GraphView::new(&settings);
    let told = None;
    let program = crate::programs::own().unwrap_or_else(|_| "catbench".into());
    let setup =
        Setup { home: home.clone(), concept, place, theme, told, pictures, colours, graph, program, verbs, explained };
    let mut app = App::new(setup, sender.clone());
    // Before the terminal is taken: one who ends this while it asks questions wants it back too.
    listen_to_signals(&sender)?;
    let mut screen = Screen::take()?;
    let line = Line::default();
    // First something to see, then the questions to the terminal, whose answers may take their time.
    crossterm::execute!(io::stdout(), Print(Probe::first_question()))?;
    draw(&mut screen, &mut app, &line)?;
    input::listen(sender.clone(), line.clone());
    ask(&line, &probe.questions())?;
    if probe.is_waited_for() {
        std::thread::spawn(move || {
            std::thread::sleep(ANSWER);
            drop_send(&sender, Message::Unanswered);
        });
    }
    app.connect();
    let ended = event_loop(&mut screen, &mut app, &messages, &line, &mut probe);
    app.forget_screen();
    drop(screen);
    ended?;
    let (place, concept) = app.whereabouts();
    app.keep(&mut settings);
    settings.last = Some(format!("{}/{}", place.word(), concept.unwrap_or_default()));
    // A home that cannot be written is none to remember things in.
    let _ = home.write_settings(&settings);
    Ok(app.goes_on())
}

/// Where the workbench was left: the concept, if it is still there, and the screen.
fn last_place(home: &Home, last: Option<&str>) -> (Option<String>, ScreenName) {
    let Some((place, concept)) = last.and_then(|last| last.split_once('/')) else { return (None, ScreenName::Library) };
    let concept = Some(concept.to_owned()).filter(|name| home.concept(name).is_ok());
    let place = ScreenName::named(place).filter(|_| concept.is_some()).unwrap_or(ScreenName::Library);
    (concept, place)
}

/// Have viuer print what it is given, however it would decide by itself. How pictures can be drawn then.
fn print_with_viuer(images: Images) -> Result<Images, Error> {
    use std::os::unix::process::CommandExt;
    // It looks at variables for iTerm2's pictures, and those of a process that runs are not to be changed.
    if images == Images::Iterm && !viuer::is_iterm_supported() {
        let program = std::env::current_exe().unwrap_or_else(|_| "catbench".into());
        let mut again = std::process::Command::new(program);
        return Err(again.args(std::env::args_os().skip(1)).env("LC_TERMINAL", "iTerm2").exec().into());
    }
    match images {
        Images::Off | Images::Blocks | Images::Iterm => Ok(images),
        Images::Auto => Ok(preview::tell_viuer().map_or(Images::Blocks, |()| images)),
        Images::Kitty | Images::Sixel => Ok(preview::tell_viuer().map(|()| images)?),
    }
}

fn event_loop(
    screen: &mut Screen,
    app: &mut App,
    messages: &Receiver<Message>,
    line: &Line,
    probe: &mut Probe,
) -> Result<(), Error> {
    // When the next frame is to be drawn, if one is, and when the next picture is to be printed over it.
    let mut due = Some(Instant::now());
    let mut picture: Option<Instant> = None;
    let mut drawn = Instant::now();
    loop {
        let message = match due.or(picture) {
            Some(next) => messages.recv_timeout(next.saturating_duration_since(Instant::now())),
            None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let message = match message {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) if due.is_some() => {
                draw(screen, app, line)?;
                drawn = Instant::now();
                due = app.more_due().map(|more| more.max(drawn + FRAME));
                picture = app.patience().map(|patience| drawn + patience);
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {
                let more = print_picture(app, line)?;
                picture = app.patience().filter(|_| more).map(|patience| Instant::now() + patience);
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let continued = matches!(message, Message::Continued);
        if matches!(message, Message::Answered) {
            // What waited for it goes on.
            (due, picture) = (due.map(|_| Instant::now()), picture.map(|_| Instant::now()));
        }
        let next = match message {
            Message::Answer(answer) => {
                if let Some(more) = probe.hear(answer) {
                    ask(line, &more)?;
                }
                if probe.is_wrecked() {
                    let_answers_come(app, messages, line);
                    return Err(Error::Unreadable(probe.unreadable().unwrap_or_default()));
                }
                if probe.is_over() { take_answers(screen, app, probe)? } else { Next::Wait }
            }
            Message::Unanswered if !probe.is_over() => take_answers(screen, app, probe)?,
            message => app.handle(message),
        };
        match next {
            Next::Wait => {}
            Next::Draw => due = Some(due.map_or(drawn + FRAME, |due| due.min(drawn + FRAME))),
            Next::DrawNow => due = Some(Instant::now()),
            Next::Redraw => {
                if continued {
                    screen.retake()?;
                }
                screen.clear()?;
                app.forget_screen();
                due = Some(Instant::now());
            }
            Next::Suspend => {
                let_answers_come(app, messages, line);
                app.forget_screen();
                screen.suspend()?;
                due = Some(Instant::now());
            }
            Next::Quit => {
                let_answers_come(app, messages, line);
                return Ok(());
            }
        }
    }
}

/// Use what the terminal has told of itself.
fn take_answers(screen: &mut Screen, app: &mut App, probe: &Probe) -> io::Result<Next> {
    if probe.knows_keyboard() {
        screen.take_keyboard()?;
    }
    let before = theme::theme();
    app.set_told(probe.theme(), probe.choice(), probe.unreadable());
    // What was drawn has the colours from before.
    Ok(if theme::theme() == before { Next::DrawNow } else { Next::Redraw })
}

/// Wait for the answers that the terminal still owes, as long as they may take: the shell would take them for keys.
fn let_answers_come(app: &mut App, messages: &Receiver<Message>, line: &Line) {
    while let Some(wait) = line.waits() {
        match messages.recv_timeout(wait.min(Duration::from_millis(20))) {
            // Keys behind the one that leaves are dropped.
            Ok(Message::Input(_) | Message::Foreign(..)) | Err(RecvTimeoutError::Timeout) => {}
            Ok(message) => drop(app.handle(message)),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Ask the terminal `questions`; the last one is about its attributes.
fn ask(line: &Line, questions: &str) -> io::Result<()> {
    line.asks(Question::Attributes);
    crossterm::execute!(io::stdout(), Print(questions))
}

/// Ask the terminal all that there is to know of it, and wait for as long as answers may take.
pub fn ask_terminal(images: Images, theme: Option<Theme>) -> Terminal {
    let mut probe = Probe::new(images, theme, Environment::here());
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        let raw = crossterm::terminal::enable_raw_mode();
        // Where it is not possible, answers would be seen and come with the next line.
        if raw.is_ok() {
            let _ = converse(&mut probe);
            let _ = crossterm::terminal::disable_raw_mode();
        }
    }
    Terminal { pictures: probe.choice(), theme: probe.theme().unwrap_or(Theme::Dark), letters: probe.letters() }
}

/// What was found out of a terminal.
pub struct Terminal {
    /// How pictures are drawn.
    pub pictures: Choice,
    /// What suits its background.
    pub theme: Theme,
    /// How it reads letters, where that is known.
    pub letters: Option<String>,
}

/// Ask, and listen until nothing more is to come.
fn converse(probe: &mut Probe) -> io::Result<()> {
    let line = Line::default();
    let mut reader = Reader::new(line.clone());
    crossterm::execute!(io::stdout(), Print(Probe::first_question()))?;
    ask(&line, &probe.questions())?;
    while let Some(wait) = line.waits() {
        let Some(told) = reader.read(Some(wait)) else { break };
        for told in told {
            if let Sent::Answer(answer) = told
                && let Some(more) = probe.hear(answer)
            {
                ask(&line, &more)?;
            }
        }
    }
    Ok(())
}

/// Draw one frame, as one update of the terminal.
fn draw(screen: &mut Screen, app: &mut App, line: &Line) -> io::Result<()> {
    queue!(io::stdout(), BeginSynchronizedUpdate)?;
    screen.draw(|buffer| app.draw(buffer))?;
    app.finish_frame()?;
    end_update(app, line)
}

/// Print one of the pictures that lie over the frame. Whether more wait.
fn print_picture(app: &mut App, line: &Line) -> io::Result<bool> {
    queue!(io::stdout(), BeginSynchronizedUpdate)?;
    let more = app.print_picture()?;
    end_update(app, line)?;
    Ok(more)
}

/// All of it is written; where pictures wait for that, the terminal is asked to say when it is drawn.
fn end_update(app: &mut App, line: &Line) -> io::Result<()> {
    let asks = app.asks();
    if asks {
        line.asks(Question::Status);
    }
    crossterm::execute!(io::stdout(), EndSynchronizedUpdate, Print(if asks { STATUS } else { "" }))
}

/// Threads that turn signals into messages.
fn listen_to_signals(sender: &Sender<Message>) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGTSTP, SIGCONT])?;
    let to = sender.clone();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let message = match signal {
                SIGTSTP => Message::Suspend,
                SIGCONT => Message::Continued,
                _ => Message::End,
            };
            drop_send(&to, message);
        }
    });
    let to = sender.clone();
    std::thread::spawn(move || {
        while sys::wait_for_window_change() {
            drop_send(&to, Message::Resized);
        }
    });
    Ok(())
}

/// Send to a loop that may have ended.
fn drop_send(sender: &Sender<Message>, message: Message) {
    let _ = sender.send(message);
}
