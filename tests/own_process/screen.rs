//! The workbench without a terminal: keys go in, and what would be seen comes out as text.

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use catbench::tui::graph::GraphView;
use catbench::tui::{App, Choice, Colours, Images, Message, Next, ScreenName, Setup, Verb};
use catbench::workspace::Home;
use crossterm::event::{Event as Input, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::common::{Workspace, catbench};

/// The workbench without a terminal; its daemon is a real one.
pub struct Screen {
    app: App,
    messages: Receiver<Message>,
    pub area: Rect,
    pub last: Next,
    home: String,
}

impl Screen {
    pub fn open(workspace: &Workspace, concept: Option<&str>, place: ScreenName, size: (u16, u16)) -> Self {
        Self::open_in(workspace, concept, place, size, Colours::None)
    }

    /// The same in so many colours.
    pub fn open_in(
        workspace: &Workspace,
        concept: Option<&str>,
        place: ScreenName,
        (width, height): (u16, u16),
        colours: Colours,
    ) -> Self {
        catbench(workspace, &["daemon", "start"]).output().unwrap();
        let (sender, messages) = channel();
        let setup = Setup {
            home: Home::at(workspace.home()).unwrap(),
            concept: concept.map(str::to_owned),
            place,
            // Shades of characters: a picture can be read in a snapshot.
            theme: None,
            told: None,
            pictures: Choice { backend: Images::Blocks, why: "as asked".into() },
            colours,
            graph: GraphView::default(),
            program: env!("CARGO_BIN_EXE_catbench").into(),
            verbs: verbs(),
            explained: vec![("steps".into(), "Optimizer steps.".into())],
        };
        let mut app = App::new(setup, sender);
        app.connect();
        let home = workspace.home().display().to_string();
        Self { app, messages, area: Rect::new(0, 0, width, height), last: Next::Wait, home }
    }

    pub fn press(&mut self, code: KeyCode) -> &mut Self {
        self.send(Input::Key(KeyEvent::new(code, KeyModifiers::NONE)));
        assert!(self.last != Next::Wait, "{code:?} is not seen in\n{}", self.draw());
        self
    }

    pub fn tell(&mut self, message: Message) -> &mut Self {
        self.last = self.app.handle(message);
        self
    }

    pub fn send(&mut self, input: Input) -> &mut Self {
        self.tell(Message::Input(input))
    }

    pub fn click(&mut self, column: u16, row: u16) -> &mut Self {
        let kind = MouseEventKind::Down(MouseButton::Left);
        self.send(Input::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }))
    }

    pub fn type_text(&mut self, text: &str) -> &mut Self {
        for letter in text.chars() {
            self.press(KeyCode::Char(letter));
        }
        self
    }

    /// What the user is told who leaves now.
    pub fn goes_on(&self) -> Option<String> {
        self.app.goes_on()
    }

    /// The cells of a frame, with their colours.
    pub fn cells(&mut self) -> Buffer {
        let mut buffer = Buffer::empty(self.area);
        self.app.draw(&mut buffer);
        buffer
    }

    pub fn draw(&mut self) -> String {
        let buffer = self.cells();
        let symbols: Vec<&str> = buffer.content.iter().map(ratatui::buffer::Cell::symbol).collect();
        let rows = symbols.chunks(self.area.width as usize).map(|row| row.concat().trim_end().to_owned());
        rows.collect::<Vec<_>>().join("\n")
    }

    /// The screen once all that was asked for has come, as text.
    pub fn text(&mut self) -> String {
        loop {
            let text = self.draw();
            if self.app.more_due().is_some() {
                continue;
            }
            if self.app.is_settled() {
                return steady(&text.replace(&self.home, "HOME"));
            }
            let message = self.messages.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("{text}"));
            self.app.handle(message);
        }
    }

    /// Wait until the screen holds `text`.
    pub fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let now = self.text();
            if now.contains(text) {
                return now;
            }
            assert!(Instant::now() < deadline, "no {text:?} in\n{now}");
            if let Ok(message) = self.messages.recv_timeout(Duration::from_millis(100)) {
                self.app.handle(message);
            }
        }
    }
}

/// Some of the verbs of the command line.
fn verbs() -> Vec<Verb> {
    let verb = |name: &str, about: &str, words: &str| Verb {
        name: name.into(),
        about: about.into(),
        words: words.into(),
        takes_concept: words.starts_with("<CONCEPT>"),
        needs_words: !words.is_empty(),
    };
    vec![
        verb("runs", "List the runs of a concept, or of all.", ""),
        verb("model check", "Say what a base model is.", "<FOLDER>"),
        verb("concept tag", "Add tags to a concept, or take them away; set its notes.", "<CONCEPT> [TAGS]..."),
    ]
}

/// Without the memory of the process that the made-up run names: it is a real one, and takes what it takes. What
/// stands to its right stays where it would be beside a number of one digit.
fn steady(text: &str) -> String {
    const AFTER: &str = " MiB of the machine's";
    let line = |line: &str| match line.find(AFTER) {
        Some(end) => {
            let start = line[..end].rfind(' ').map_or(0, |space| space + 1);
            let (more, right) = (end - start - 1, &line[end + AFTER.len()..]);
            format!("{}N{AFTER}{:more$}{right}", &line[..start], "").trim_end().to_owned()
        }
        None => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}
