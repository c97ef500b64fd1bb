//! The concept screen as text, at the smallest and at a large size, for each state a run can be in.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use catbench::protocol::Event;
use catbench::tui::{App, Choice, Colours, Images, Message, Next};
use catbench::workspace::Home;
use common::Workspace;
use crossterm::event::{Event as Input, KeyCode, KeyEvent, KeyModifiers};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// The workbench without a terminal.
struct Screen {
    app: App,
    messages: Receiver<Message>,
    area: Rect,
    last: Next,
}

impl Screen {
    fn open(workspace: &Workspace, width: u16, height: u16) -> Self {
        let concept = Home::at(workspace.home()).unwrap().concept("demo").unwrap();
        let (sender, messages) = channel();
        // Shades of characters: a picture can be read in a snapshot.
        let choice = Choice { backend: Images::Blocks, why: "as asked".into() };
        let app = App::new(concept, choice, Colours::None, sender).unwrap();
        Self { app, messages, area: Rect::new(0, 0, width, height), last: Next::Wait }
    }

    fn press(&mut self, code: KeyCode) -> &mut Self {
        self.last = self.app.handle(Message::Input(Input::Key(KeyEvent::new(code, KeyModifiers::NONE))));
        self
    }

    fn type_text(&mut self, text: &str) -> &mut Self {
        for letter in text.chars() {
            self.press(KeyCode::Char(letter));
        }
        self
    }

    /// The screen once all pictures have come, as text.
    fn text(&mut self) -> String {
        loop {
            let mut buffer = Buffer::empty(self.area);
            self.app.draw(&mut buffer);
            if self.app.is_settled() {
                let symbols: Vec<&str> = buffer.content.iter().map(ratatui::buffer::Cell::symbol).collect();
                let rows = symbols.chunks(self.area.width as usize).map(|row| row.concat().trim_end().to_owned());
                return rows.collect::<Vec<_>>().join("\n");
            }
            let message = self.messages.recv_timeout(Duration::from_secs(10)).unwrap();
            self.app.handle(message);
        }
    }
}

const SIZES: [(u16, u16); 2] = [(80, 24), (150, 48)];

fn snapshot(name: &str, workspace: &Workspace) {
    for (width, height) in SIZES {
        let text = Screen::open(workspace, width, height).text();
        insta::assert_snapshot!(format!("{name}-{width}x{height}"), text);
    }
}

#[test]
fn before_the_first_run_it_says_what_a_training_would_do() {
    snapshot("empty", &Workspace::new());
}

#[test]
fn a_running_training_shows_its_loss_and_samples() {
    let workspace = Workspace::new();
    let _run = workspace.run().train(230).write().hold();
    snapshot("running", &workspace);
}

#[test]
fn a_finished_run_shows_both_sides_and_the_scores() {
    let workspace = Workspace::new();
    workspace.run().train(500).evaluate().end(Event::Finished { seconds: 203.0 }).write();
    snapshot("finished", &workspace);
}

#[test]
fn a_failed_run_says_why_and_how_to_go_on() {
    let workspace = Workspace::new();
    let message = "step 131: the loss is not a finite number: a lower learning_rate (now 0.01) usually helps";
    workspace.run().train(130).end(Event::Failed { message: message.into() }).write();
    snapshot("failed", &workspace);
}

#[test]
fn a_run_whose_runner_died_is_interrupted_and_not_running() {
    let workspace = Workspace::new();
    workspace.run().train(130).write();
    let text = Screen::open(&workspace, 80, 24).text();
    assert!(text.contains("interrupted at step 130 of 500") && text.contains("r resume"), "{text}");
}

#[test]
fn photos_that_cannot_be_trained_on_are_named_before_anything_starts() {
    let workspace = Workspace::new();
    std::fs::write(workspace.concept().join("images/grass.png"), "this is no picture").unwrap();
    let mut screen = Screen::open(&workspace, 80, 24);
    let text = screen.text();
    assert!(text.contains("not ready") && text.contains("grass.png"), "{text}");
    screen.press(KeyCode::Char('t'));
    assert!(screen.text().contains("✗ not ready"));
    assert!(!workspace.concept().join("runs").exists());
}

#[test]
fn keys_move_enlarge_and_go_back_but_escape_never_quits() {
    let workspace = Workspace::new();
    workspace.run().train(500).evaluate().end(Event::Finished { seconds: 203.0 }).write();
    let mut screen = Screen::open(&workspace, 80, 24);
    screen.text();
    screen.press(KeyCode::Right).press(KeyCode::Enter);
    assert!(screen.text().contains("2 of 5"), "{}", screen.text());
    screen.press(KeyCode::Char('l'));
    assert!(screen.text().contains("night.png"));
    screen.press(KeyCode::Esc).press(KeyCode::Esc).press(KeyCode::Esc);
    assert_ne!(screen.last, Next::Quit);
    screen.press(KeyCode::Tab).press(KeyCode::Left);
    assert!(screen.text().contains("step 499"), "{}", screen.text());
    screen.press(KeyCode::Tab).press(KeyCode::Tab);
    assert!(screen.text().contains("▌Learned"));
    assert_eq!(screen.press(KeyCode::Char('q')).last, Next::Quit);
}

#[test]
fn the_palette_finds_commands_that_can_be_done_now() {
    let workspace = Workspace::new();
    let _run = workspace.run().train(120).write().hold();
    let mut screen = Screen::open(&workspace, 80, 24);
    screen.type_text(":st");
    let text = screen.text();
    assert!(text.contains("▸ stop") && !text.contains("train  "), "{text}");
    screen.press(KeyCode::Enter);
    assert!(screen.text().contains("Stop this training?"));
    screen.press(KeyCode::Esc);
    assert!(!screen.text().contains("Stop this training?"));
}

#[test]
fn help_lists_every_key() {
    let workspace = Workspace::new();
    let mut screen = Screen::open(&workspace, 80, 24);
    screen.press(KeyCode::Char('?'));
    insta::assert_snapshot!("help-80x24", screen.text().replace(&workspace.home().display().to_string(), "HOME"));
}

#[test]
fn a_terminal_that_is_too_small_is_told_so() {
    let workspace = Workspace::new();
    assert!(Screen::open(&workspace, 59, 16).text().contains("59 × 16 is too small: 60 × 16 at least"));
    assert!(Screen::open(&workspace, 60, 16).text().contains("Photos"));
}

#[test]
fn no_size_breaks_a_screen() {
    let workspace = Workspace::new();
    workspace.run().train(120).evaluate().write();
    for (width, height) in [(1, 1), (60, 16), (61, 17), (79, 23), (300, 20), (60, 90), (200, 100)] {
        Screen::open(&workspace, width, height).text();
    }
}
