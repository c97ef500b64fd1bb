//! Terminals of all kinds of slowness: whatever they answer, whenever, in whatever pieces, no key is invented or lost, and
//! nothing of it comes to the shell. `CATBENCH_TERMINAL_STARTS=200 cargo test --test suite terminal::` tries more of them.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::common::{self, Workspace};
use portable_pty::{CommandBuilder, PtySize, native_pty_system};

/// What the shell says when the workbench has been left.
const LEFT: &str = "it-was-left";

/// What a terminal answers to each question.
type Answers = &'static [(&'static str, &'static str)];

const VT220: Answers = &[("\x1b[c", "\x1b[?62;22c"), ("\x1b[5n", "\x1b[0n"), ("\x1b[6n", "\x1b[5;2R")];
const XTERM: Answers = &[
    ("\x1b[c", "\x1b[?64;1;2;4;6;9;15;18;21;22c"),
    ("\x1b[5n", "\x1b[0n"),
    ("\x1b[6n", "\x1b[5;2R"),
    ("\x1b]11;?\x1b\\", "\x1b]11;rgb:1212/1212/1212\x1b\\"),
    ("\x1b[>0q", "\x1bP>|XTerm(390)\x1b\\"),
];
const KITTY: Answers = &[
    ("\x1b[c", "\x1b[?62;c"),
    ("\x1b[5n", "\x1b[0n"),
    ("\x1b[6n", "\x1b[5;2R"),
    ("\x1b]11;?\x1b\\", "\x1b]11;rgb:eeee/eeee/eeee\x1b\\"),
    ("\x1b[>0q", "\x1bP>|kitty(0.35.2)\x1b\\"),
    ("\x1b[?u", "\x1b[?0u"),
    ("\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\", "\x1b_Gi=31;OK\x1b\\"),
];

/// How a terminal answers.
#[derive(Debug, Clone, Copy)]
struct Manner {
    answers: Answers,
    delay: Duration,
    /// Between two bytes; none where all come together.
    gap: Option<Duration>,
}

/// What is on its way from the terminal: one piece after the other, by when each is due.
#[derive(Default)]
struct Sending {
    queue: BTreeMap<(Instant, usize), Vec<u8>>,
    count: usize,
    /// Something is being written.
    busy: bool,
    over: bool,
}

struct Terminal {
    parser: Arc<Mutex<vt100::Parser>>,
    written: Arc<Mutex<Vec<u8>>>,
    sending: Arc<(Mutex<Sending>, Condvar)>,
    child: Box<dyn portable_pty::Child + Send + Sync>,
    _master: Box<dyn portable_pty::MasterPty + Send>,
}

impl Terminal {
    /// A shell in a terminal of this manner, with the workbench in it; then it says so and shows what is typed.
    fn open(workspace: &Workspace, manner: Manner) -> Self {
        Self::open_with(workspace, manner, "open", &[])
    }

    fn open_with(workspace: &Workspace, manner: Manner, words: &str, environment: &[(&str, &str)]) -> Self {
        let pair =
            native_pty_system().openpty(PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 }).unwrap();
        let mut command = CommandBuilder::new("sh");
        command.args(["-c", &format!("\"$0\" {words}; echo {LEFT}; exec cat"), env!("CARGO_BIN_EXE_catbench")]);
        command.env("CATBENCH_HOME", workspace.home());
        command.env("TERM", "xterm-256color");
        let cleared = [
            "TMUX",
            "STY",
            "ZELLIJ",
            "NO_COLOR",
            "COLORTERM",
            "COLORFGBG",
            "LC_TERMINAL",
            "TERM_PROGRAM",
            "KONSOLE_VERSION",
        ];
        for name in cleared.into_iter().chain(["CATBENCH_IMAGES", "CATBENCH_THEME"]) {
            command.env_remove(name);
        }
        environment.iter().for_each(|(name, value)| command.env(name, value));
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let parser = Arc::new(Mutex::new(vt100::Parser::new(24, 80, 0)));
        let written = Arc::new(Mutex::new(Vec::new()));
        let sending = Arc::new((Mutex::new(Sending::default()), Condvar::new()));
        let mut output = pair.master.try_clone_reader().unwrap();
        let (to_parser, to_written, to_sending) = (Arc::clone(&parser), Arc::clone(&written), Arc::clone(&sending));
        std::thread::spawn(move || {
            let (mut bytes, mut looked) = (vec![0; 65536], 0);
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                let questions = {
                    let mut written = to_written.lock().unwrap();
                    written.extend_from_slice(&bytes[..count]);
                    questions(&written, &mut looked, manner.answers)
                };
                for answer in questions {
                    send(&to_sending, answer.as_bytes(), manner.delay);
                }
                to_parser.lock().unwrap().process(&bytes[..count]);
            }
        });
        let mut keyboard = pair.master.take_writer().unwrap();
        let to_send = Arc::clone(&sending);
        std::thread::spawn(move || {
            while let Some(bytes) = next_to_send(&to_send) {
                let pieces: Vec<&[u8]> = if manner.gap.is_some() { bytes.chunks(1).collect() } else { vec![&bytes] };
                for piece in pieces {
                    let _ = keyboard.write_all(piece).and_then(|()| keyboard.flush());
                    std::thread::sleep(manner.gap.unwrap_or_default());
                }
                to_send.0.lock().unwrap().busy = false;
            }
        });
        Self { parser, written, sending, child, _master: pair.master }
    }

    fn text(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    fn footer(&self) -> String {
        self.parser.lock().unwrap().screen().rows(0, 80).last().unwrap_or_default()
    }

    fn wait(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is(self) {
            assert!(Instant::now() < deadline, "it never came that {what}:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn has_written(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.written.lock().unwrap()).contains(text)
    }

    /// Press a key as this terminal tells of it now: by kitty's protocol where it was asked to.
    fn press(&self, key: Key) {
        let kitty = self.has_written("\x1b[>29u") && !self.has_written("\x1b[<u");
        send(&self.sending, key.bytes(kitty).as_bytes(), Duration::ZERO);
    }

    /// Wait until all that was to be sent has been.
    fn wait_until_sent(&self) {
        self.wait("all is sent", |terminal| {
            let sending = terminal.sending.0.lock().unwrap();
            sending.queue.is_empty() && !sending.busy
        });
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.sending.0.lock().unwrap().over = true;
        self.sending.1.notify_all();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers to the questions in what was written since it was last looked at.
fn questions(written: &[u8], looked: &mut usize, answers: Answers) -> Vec<&'static str> {
    let mut found = Vec::new();
    let mut at = *looked;
    while at < written.len() {
        let rest = &written[at..];
        if let Some((question, answer)) = answers.iter().find(|(question, _)| rest.starts_with(question.as_bytes())) {
            found.push(*answer);
            at += question.len();
        } else if rest[0] == 0x1b && answers.iter().any(|(question, _)| question.as_bytes().starts_with(rest)) {
            break;
        } else {
            at += 1;
        }
    }
    *looked = at;
    found
}

fn send(sending: &(Mutex<Sending>, Condvar), bytes: &[u8], delay: Duration) {
    let mut queued = sending.0.lock().unwrap();
    let key = (Instant::now() + delay, queued.count);
    queued.count += 1;
    queued.queue.insert(key, bytes.to_vec());
    sending.1.notify_all();
}

/// Wait until something is due.
fn next_to_send(sending: &(Mutex<Sending>, Condvar)) -> Option<Vec<u8>> {
    let mut queued = sending.0.lock().unwrap();
    loop {
        if queued.over {
            return None;
        }
        let now = Instant::now();
        let next = queued.queue.first_key_value().map(|((due, _), _)| due.saturating_duration_since(now));
        if next == Some(Duration::ZERO) {
            queued.busy = true;
            return queued.queue.pop_first().map(|(_, bytes)| bytes);
        }
        queued = sending.1.wait_timeout(queued, next.unwrap_or(Duration::from_secs(1))).unwrap().0;
    }
}

/// Keys that a line of text understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Letter(char),
    Left,
    Right,
    Home,
    End,
    Delete,
    Backspace,
    Enter,
    Escape,
}

impl Key {
    fn bytes(self, kitty: bool) -> String {
        match (self, kitty) {
            (Self::Letter(letter), true) => {
                let code = letter as u32;
                format!("\x1b[{code};;{code}u")
            }
            (Self::Backspace, true) => "\x1b[127u".into(),
            (Self::Enter, true) => "\x1b[13u".into(),
            (Self::Escape, true) => "\x1b[27u".into(),
            (Self::Letter(letter), false) => letter.into(),
            (Self::Backspace, false) => "\x7f".into(),
            (Self::Enter, false) => "\r".into(),
            (Self::Escape, false) => "\x1b".into(),
            (Self::Left, _) => "\x1b[D".into(),
            (Self::Right, _) => "\x1b[C".into(),
            (Self::Home, _) => "\x1b[H".into(),
            (Self::End, _) => "\x1b[F".into(),
            (Self::Delete, _) => "\x1b[3~".into(),
        }
    }

    /// What it makes of a line.
    fn apply(self, text: &mut Vec<char>, at: &mut usize) {
        match self {
            Self::Letter(letter) => {
                text.insert(*at, letter);
                *at += 1;
            }
            Self::Left => *at = at.saturating_sub(1),
            Self::Right => *at = (*at + 1).min(text.len()),
            Self::Home => *at = 0,
            Self::End => *at = text.len(),
            Self::Delete if *at < text.len() => drop(text.remove(*at)),
            Self::Backspace if *at > 0 => {
                *at -= 1;
                text.remove(*at);
            }
            Self::Delete | Self::Backspace | Self::Enter => {}
            Self::Escape => (*text, *at) = (Vec::new(), 0),
        }
    }
}

/// Numbers that look random and are the same each time.
struct Draws(u64);

impl Draws {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn manner(&mut self) -> Manner {
        let answers = [VT220, XTERM, KITTY][self.below(3) as usize];
        let delay = Duration::from_millis(self.below(1501));
        let gap = (self.below(2) == 0).then(|| Duration::from_micros(300 + self.below(19_701)));
        Manner { answers, delay, gap }
    }

    fn key(&mut self) -> Key {
        const LETTERS: [char; 16] = ['a', 'n', 'q', 'R', 'c', '0', '1', '7', '[', ']', ';', 'O', 'P', 'é', '?', 'M'];
        match self.below(24) {
            at @ 0..=15 => Key::Letter(LETTERS[at as usize]),
            16 => Key::Left,
            17 => Key::Right,
            18 => Key::Home,
            19 => Key::End,
            20 => Key::Delete,
            21 | 22 => Key::Backspace,
            _ => Key::Escape,
        }
    }
}

/// One start: random keys in a filter, from the first frame on; then it is left.
fn start(workspace: &Workspace, seed: u64) {
    let mut draws = Draws(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let manner = draws.manner();
    let Manner { delay, gap, answers } = manner;
    let told = format!("start {seed}: {} answers after {delay:?}, bytes {gap:?} apart", answers.len());
    let terminal = Terminal::open(workspace, manner);
    terminal.wait("there is a first frame", |terminal| terminal.text().contains("Concepts"));
    let (mut text, mut at, mut pressed) = (Vec::new(), 0, String::new());
    terminal.press(Key::Letter('/'));
    let is_filter = |terminal: &Terminal, text: &[char]| {
        let (footer, typed) = (terminal.footer(), text.iter().collect::<String>());
        footer.strip_prefix(" / ").is_some_and(|rest| rest.split("  ").next().unwrap_or_default().trim_end() == typed)
    };
    for _ in 0..10 + draws.below(20) {
        let key = draws.key();
        if key == Key::Escape {
            terminal
                .wait(&format!("{told}: after {pressed}the filter is {text:?}"), |terminal| is_filter(terminal, &text));
        }
        let _ = write!(pressed, "{key:?} ");
        key.apply(&mut text, &mut at);
        terminal.press(key);
        if key == Key::Escape {
            // A key right behind it would be one with Alt.
            terminal.wait(&format!("{told}: Escape closes the filter after {pressed}"), |terminal| {
                !terminal.footer().starts_with(" / ")
            });
            terminal.press(Key::Letter('/'));
        }
        std::thread::sleep(Duration::from_millis(draws.below(60)));
    }
    terminal.wait(&format!("{told}: after {pressed}the filter is {text:?}"), |terminal| is_filter(terminal, &text));
    terminal.press(Key::Enter);
    terminal.press(Key::Letter('q'));
    terminal.wait(&format!("{told}: it is left"), |terminal| terminal.has_written(LEFT));
    // Whatever is still to come has come then; and what the shell got is shown.
    terminal.wait_until_sent();
    std::thread::sleep(Duration::from_millis(100));
    terminal.press(Key::Enter);
    let behind = |terminal: &Terminal| {
        let written = String::from_utf8_lossy(&terminal.written.lock().unwrap()).into_owned();
        written.split_once(LEFT).map(|(_, behind)| behind.to_owned()).unwrap_or_default()
    };
    terminal.wait(&format!("{told}: the shell shows a line"), |terminal| behind(terminal).matches('\n').count() >= 3);
    assert_eq!(behind(&terminal), "\r\n\r\n\r\n", "{told}: something came to the shell");
}

#[test]
fn slow_answers_are_no_keys_and_never_come_to_the_shell() {
    let starts = std::env::var("CATBENCH_TERMINAL_STARTS").ok().and_then(|starts| starts.parse().ok()).unwrap_or(8);
    let workspace = Workspace::new();
    let next = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= starts {
                        return;
                    }
                    start(&workspace, seed);
                }
            });
        }
    });
}

/// One that answers at once.
fn quick(answers: Answers) -> Manner {
    Manner { answers, delay: Duration::ZERO, gap: None }
}

/// Press q, and wait until it is left.
fn leave(terminal: &Terminal) {
    terminal.press(Key::Letter('q'));
    terminal.wait("it is left", |terminal| terminal.has_written(LEFT));
}

#[test]
fn pictures_come_as_the_terminal_answers_and_not_as_variables_say() {
    const SIXEL: Answers = &[("\x1b[c", "\x1b[?64;1;4c"), ("\x1b[5n", "\x1b[0n"), ("\x1b[6n", "\x1b[5;2R")];
    let (kitty, sixel, iterm, blocks) = ("\x1b_Gf=32", "\x1bP", "\x1b]1337;File", "▀");
    let inherited = [("LC_TERMINAL", "iTerm2"), ("TERM_PROGRAM", "WezTerm")];
    let workspace = Workspace::new();
    for (answers, words, environment, drawn) in [
        (KITTY, "open demo", &[][..], kitty),
        (SIXEL, "open demo", &[], sixel),
        (SIXEL, "open demo", &inherited, sixel),
        (VT220, "open demo", &inherited, blocks),
        (SIXEL, "open demo", &[("ZELLIJ", "0")], blocks),
        (SIXEL, "open demo --images sixel", &[("ZELLIJ", "0")], sixel),
        (VT220, "open demo --images iterm", &[], iterm),
        (VT220, "open demo --images kitty", &[], kitty),
    ] {
        let terminal = Terminal::open_with(&workspace, quick(answers), words, environment);
        let told = format!("{words} with {environment:?} draws with {drawn:?}");
        terminal.wait(&told, |terminal| terminal.has_written(drawn));
        leave(&terminal);
        for other in [kitty, sixel, iterm].into_iter().filter(|other| *other != drawn) {
            assert!(!terminal.has_written(other), "{told}, and not with {other:?}");
        }
    }
}

#[test]
fn a_letter_of_another_layout_is_the_key_at_its_place_or_is_told() {
    let workspace = Workspace::new();
    let terminal = Terminal::open(&workspace, quick(VT220));
    terminal.wait("there is a first frame", |terminal| terminal.text().contains("Concepts"));
    terminal.press(Key::Letter('й'));
    terminal.wait("it says so", |terminal| terminal.text().contains("keys are Latin letters"));
    leave(&terminal);
    let terminal = Terminal::open(&workspace, quick(KITTY));
    terminal.wait("kitty's keyboard is taken", |terminal| terminal.has_written("\x1b[>29u"));
    // In a filter it is text; then it is q, which stands at its place.
    let foreign = |terminal: &Terminal| send(&terminal.sending, b"\x1b[1081::113;;1081u", Duration::ZERO);
    terminal.press(Key::Letter('/'));
    foreign(&terminal);
    terminal.wait("it is text", |terminal| terminal.footer().starts_with(" / й"));
    terminal.press(Key::Escape);
    foreign(&terminal);
    terminal.wait("it is left", |terminal| terminal.has_written(LEFT));
    assert!(terminal.has_written("\x1b[<u"), "the keyboard is given back");
}

#[test]
fn a_terminal_that_reads_no_utf8_is_left_with_a_word() {
    // The cursor is where two letters end.
    const LATIN: Answers = &[("\x1b[c", "\x1b[?62;22c"), ("\x1b[5n", "\x1b[0n"), ("\x1b[6n", "\x1b[5;3R")];
    let terminal = Terminal::open(&Workspace::new(), quick(LATIN));
    terminal.wait("it is left", |terminal| terminal.has_written(LEFT));
    assert!(terminal.has_written("this terminal does not read UTF-8"));
}

#[test]
fn without_a_terminal_the_workbench_says_so_in_a_line() {
    let output = common::catbench(&Workspace::new(), &["open"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("needs a terminal"), "{said}");
    let dumb = Terminal::open_with(&Workspace::new(), quick(VT220), "open", &[("TERM", "dumb")]);
    dumb.wait("it is left", |terminal| terminal.has_written(LEFT));
    assert!(dumb.has_written("TERM is \"dumb\"") && !dumb.has_written("\x1b["));
}
