//! The workbench in a real pseudo-terminal: it opens, answers keys, and leaves the terminal as it was.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::Workspace;
use portable_pty::{Child, CommandBuilder, PtySize, native_pty_system};

/// A terminal with the workbench in it.
struct Terminal {
    parser: Arc<Mutex<vt100::Parser>>,
    written: Arc<Mutex<Vec<u8>>>,
    keyboard: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn portable_pty::MasterPty + Send>,
    opened: Instant,
}

impl Terminal {
    fn open(workspace: &Workspace, environment: &[(&str, &str)]) -> Self {
        let size = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_catbench"));
        command.args(["open", "demo"]);
        command.env("CATBENCH_HOME", workspace.home());
        command.env("TERM", "xterm-256color");
        for name in ["TMUX", "STY", "NO_COLOR", "COLORTERM", "SSH_CONNECTION", "CATBENCH_IMAGES"] {
            command.env_remove(name);
        }
        environment.iter().for_each(|(name, value)| command.env(name, value));
        let opened = Instant::now();
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let parser = Arc::new(Mutex::new(vt100::Parser::new(24, 80, 0)));
        let written = Arc::new(Mutex::new(Vec::new()));
        let mut output = pair.master.try_clone_reader().unwrap();
        let (to_parser, to_written) = (Arc::clone(&parser), Arc::clone(&written));
        std::thread::spawn(move || {
            let mut bytes = vec![0; 65536];
            while let Ok(n) = output.read(&mut bytes) {
                if n == 0 {
                    break;
                }
                to_parser.lock().unwrap().process(&bytes[..n]);
                to_written.lock().unwrap().extend_from_slice(&bytes[..n]);
            }
        });
        let keyboard = pair.master.take_writer().unwrap();
        Self { parser, written, keyboard, child, master: pair.master, opened }
    }

    fn text(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    /// Wait until the screen holds `text`.
    fn wait_for(&self, text: &str) -> Duration {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.text().contains(text) {
            assert!(Instant::now() < deadline, "no {text:?} in\n{}", self.text());
            std::thread::sleep(Duration::from_millis(2));
        }
        self.opened.elapsed()
    }

    /// Wait until the screen no longer holds `text`.
    fn wait_without(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.text().contains(text) {
            assert!(Instant::now() < deadline, "still {text:?} in\n{}", self.text());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    fn signal(&self, name: &str) {
        let pid = self.child.process_id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Wait for the end; the terminal must be as it was.
    fn ended(mut self) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(50));
        self.assert_given_back();
        self.text()
    }

    fn assert_given_back(&self) {
        let parser = self.parser.lock().unwrap();
        assert!(!parser.screen().alternate_screen(), "the alternate screen is still on");
        assert!(!parser.screen().hide_cursor(), "the cursor is still hidden");
        let modes = format!("{:?}", self.master.get_termios().unwrap().local_flags);
        assert!(modes.contains("ICANON"), "raw mode is still on: {modes}");
    }

    fn bytes_written(&self) -> usize {
        self.written.lock().unwrap().len()
    }
}

#[test]
fn it_opens_answers_keys_and_leaves_the_terminal_as_it_was() {
    let workspace = Workspace::new();
    workspace.run().train(120).end(catbench::protocol::Event::Stopped { step: 120 }).write();
    let mut terminal = Terminal::open(&workspace, &[]);
    terminal.wait_for("a kind of teapot");
    terminal.wait_for("▀");
    terminal.press("3");
    terminal.wait_for("stopped at step 120 of 500");
    terminal.press("?");
    terminal.wait_for("Esc goes back");
    // Escape and a key that follow at once would be one key, with Alt.
    terminal.press("\x1b");
    terminal.wait_without("Esc goes back");
    terminal.press("q");
    terminal.ended();
}

#[test]
fn leaving_a_running_training_says_what_goes_on() {
    let workspace = Workspace::new();
    let _run = workspace.run().train(120).write().hold();
    let mut terminal = Terminal::open(&workspace, &[]);
    terminal.press("3");
    terminal.wait_for("training 120/500");
    terminal.press("q");
    let said = terminal.ended();
    assert!(said.contains("training goes on in the background (step 120 of 500)"), "{said}");
    assert!(said.contains("catbench watch demo") && said.contains("catbench stop demo"), "{said}");
}

#[test]
fn ctrl_z_gives_the_terminal_back_and_fg_takes_it_again() {
    let workspace = Workspace::new();
    let mut terminal = Terminal::open(&workspace, &[]);
    terminal.wait_for("Photos");
    terminal.press("\x1a");
    let deadline = Instant::now() + Duration::from_secs(10);
    while terminal.parser.lock().unwrap().screen().alternate_screen() {
        assert!(Instant::now() < deadline, "it does not stop");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(100));
    terminal.assert_given_back();
    terminal.signal("CONT");
    terminal.wait_for("Photos");
    terminal.press("?");
    terminal.wait_for("Esc goes back");
    terminal.press("q");
    terminal.press("q");
    terminal.ended();
}

#[test]
fn sigterm_leaves_the_terminal_sane() {
    let workspace = Workspace::new();
    let terminal = Terminal::open(&workspace, &[]);
    terminal.wait_for("Photos");
    terminal.wait_for("commands");
    std::thread::sleep(Duration::from_millis(300));
    terminal.signal("TERM");
    terminal.ended();
}

#[test]
fn it_follows_the_size_of_the_terminal() {
    let workspace = Workspace::new();
    let mut terminal = Terminal::open(&workspace, &[]);
    terminal.wait_for("Photos");
    std::thread::sleep(Duration::from_millis(300));
    for (rows, cols) in [(40, 120), (10, 40), (24, 80)] {
        terminal.parser.lock().unwrap().screen_mut().set_size(rows, cols);
        terminal.master.resize(PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }).unwrap();
        terminal.wait_for(if cols < 60 { "too small" } else { "Photos" });
    }
    terminal.press("q");
    terminal.ended();
}

#[test]
fn idle_it_writes_nothing() {
    let workspace = Workspace::new();
    let mut terminal = Terminal::open(&workspace, &[]);
    terminal.wait_for("ready to train");
    std::thread::sleep(Duration::from_secs(1));
    let before = terminal.bytes_written();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(terminal.bytes_written(), before);
    terminal.press("q");
    terminal.ended();
}

#[test]
fn a_terminal_that_answers_no_question_is_no_obstacle() {
    let workspace = Workspace::new();
    // Nobody answers in this pseudo-terminal, whatever is asked.
    let mut terminal = Terminal::open(&workspace, &[("TERM", "xterm-kitty")]);
    let opened = terminal.wait_for("Photos");
    assert!(opened < Duration::from_secs(5), "{opened:?}");
    terminal.wait_for("▀");
    terminal.press("q");
    terminal.ended();
}

#[test]
fn no_color_is_respected() {
    let workspace = Workspace::new();
    let mut terminal = Terminal::open(&workspace, &[("NO_COLOR", "1")]);
    terminal.wait_for("ready to train");
    terminal.wait_for("▓");
    terminal.press("q");
    let written = Arc::clone(&terminal.written);
    terminal.ended();
    let written = String::from_utf8_lossy(&written.lock().unwrap()).into_owned();
    assert!(!written.contains("\x1b[38;") && !written.contains("\x1b[48;"), "colours were written");
}
