//! One table of keys feeds dispatch, help, footer and command palette.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key or a command of the palette does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start a training.
    Train,
    /// Go on with a run that did not finish.
    Resume,
    /// Stop the training, once confirmed.
    Stop,
    /// Sample and score the run.
    Score,
    /// The next pane.
    NextPane,
    /// The pane before.
    PreviousPane,
    /// Left in the pane.
    Left,
    /// Down in the pane.
    Down,
    /// Up in the pane.
    Up,
    /// Right in the pane.
    Right,
    /// Open what is chosen.
    Enter,
    /// Go back.
    Back,
    /// The run before.
    PreviousRun,
    /// The next run.
    NextRun,
    /// Logarithmic loss axis.
    LogScale,
    /// The command palette.
    Palette,
    /// All keys.
    Help,
    /// Leave; jobs go on.
    Quit,
    /// Hand the terminal back to the shell for a while.
    Suspend,
}

/// When an action makes sense.
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// A training of this concept is running.
    pub running: bool,
    /// The shown run did not finish and can go on.
    pub resumable: bool,
    /// The shown run has a checkpoint and is not running.
    pub scorable: bool,
    /// There are several runs.
    pub several_runs: bool,
}

/// One row of the table.
pub struct Binding {
    /// What it does.
    pub action: Action,
    /// The keys, the first of which is shown.
    pub keys: &'static [KeyCode],
    /// How the keys are shown.
    pub shown: &'static str,
    /// Its name in the palette; none for what is no command.
    pub command: Option<&'static str>,
    /// Its name in the footer; none for what is not shown there.
    pub hint: Option<&'static str>,
    /// One line of help.
    pub help: &'static str,
}

use KeyCode::{BackTab, Char, Enter, Esc, Tab};

/// All keys.
pub const BINDINGS: &[Binding] = &[
    Binding {
        action: Action::Train,
        keys: &[Char('t')],
        shown: "t",
        command: Some("train"),
        hint: Some("train"),
        help: "start a training in the background",
    },
    Binding {
        action: Action::Stop,
        keys: &[Char('s')],
        shown: "s",
        command: Some("stop"),
        hint: Some("stop"),
        help: "stop the training after its step; it can be resumed",
    },
    Binding {
        action: Action::Resume,
        keys: &[Char('r')],
        shown: "r",
        command: Some("resume"),
        hint: Some("resume"),
        help: "go on with this run from its last checkpoint",
    },
    Binding {
        action: Action::Score,
        keys: &[Char('m')],
        shown: "m",
        command: Some("score"),
        hint: None,
        help: "sample the prompt list before and after, and score both",
    },
    Binding {
        action: Action::NextPane,
        keys: &[Tab],
        shown: "Tab",
        command: None,
        hint: Some("pane"),
        help: "next pane",
    },
    Binding {
        action: Action::PreviousPane,
        keys: &[BackTab],
        shown: "Shift-Tab",
        command: None,
        hint: None,
        help: "pane before",
    },
    Binding {
        action: Action::Left,
        keys: &[KeyCode::Left, Char('h')],
        shown: "← h",
        command: None,
        hint: None,
        help: "picture or step before",
    },
    Binding {
        action: Action::Down,
        keys: &[KeyCode::Down, Char('j')],
        shown: "↓ j",
        command: None,
        hint: None,
        help: "one row down",
    },
    Binding {
        action: Action::Up,
        keys: &[KeyCode::Up, Char('k')],
        shown: "↑ k",
        command: None,
        hint: None,
        help: "one row up",
    },
    Binding {
        action: Action::Right,
        keys: &[KeyCode::Right, Char('l')],
        shown: "→ l",
        command: None,
        hint: None,
        help: "next picture or step",
    },
    Binding {
        action: Action::Enter,
        keys: &[Enter],
        shown: "Enter",
        command: None,
        hint: Some("enlarge"),
        help: "see the picture as large as the terminal",
    },
    Binding {
        action: Action::Back,
        keys: &[Esc],
        shown: "Esc",
        command: None,
        hint: None,
        help: "go back; never quits",
    },
    Binding {
        action: Action::PreviousRun,
        keys: &[Char('[')],
        shown: "[",
        command: Some("previous run"),
        hint: None,
        help: "the run before",
    },
    Binding {
        action: Action::NextRun,
        keys: &[Char(']')],
        shown: "]",
        command: Some("next run"),
        hint: None,
        help: "the next run",
    },
    Binding {
        action: Action::LogScale,
        keys: &[Char('L')],
        shown: "L",
        command: Some("log scale"),
        hint: None,
        help: "loss on a logarithmic axis, and back",
    },
    Binding {
        action: Action::Palette,
        keys: &[Char(':')],
        shown: ":",
        command: None,
        hint: Some("commands"),
        help: "find a command by its name",
    },
    Binding {
        action: Action::Help,
        keys: &[Char('?')],
        shown: "?",
        command: Some("help"),
        hint: Some("help"),
        help: "this page",
    },
    Binding {
        action: Action::Quit,
        keys: &[Char('q')],
        shown: "q",
        command: Some("quit"),
        hint: Some("quit"),
        help: "leave; what runs goes on in the background",
    },
    Binding {
        action: Action::Suspend,
        keys: &[],
        shown: "Ctrl-Z",
        command: None,
        hint: None,
        help: "back to the shell for a while; `fg` returns",
    },
];

impl Binding {
    /// Whether the action makes sense now.
    pub fn is_on(&self, now: Now) -> bool {
        match self.action {
            Action::Train => !now.running,
            Action::Stop => now.running,
            Action::Resume => now.resumable,
            Action::Score => now.scorable,
            Action::PreviousRun | Action::NextRun => now.several_runs,
            _ => true,
        }
    }
}

/// What `key` does.
pub fn action(key: KeyEvent) -> Option<Action> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            Char('c') => Some(Action::Quit),
            Char('z') => Some(Action::Suspend),
            _ => None,
        };
    }
    BINDINGS.iter().find(|binding| binding.keys.contains(&key.code)).map(|binding| binding.action)
}

/// Commands that can be given now and whose name holds the letters of `typed` in order.
pub fn commands(typed: &str, now: Now) -> Vec<&'static Binding> {
    let matches = |name: &str| {
        let mut letters = name.chars();
        typed.to_lowercase().chars().filter(|c| !c.is_whitespace()).all(|typed| letters.any(|letter| letter == typed))
    };
    BINDINGS.iter().filter(|b| b.is_on(now) && b.command.is_some_and(matches)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_does_two_things() {
        let mut keys: Vec<_> = BINDINGS.iter().flat_map(|binding| binding.keys).collect();
        let all = keys.len();
        keys.sort_by_key(|key| format!("{key:?}"));
        keys.dedup();
        assert_eq!(keys.len(), all);
    }

    #[test]
    fn the_palette_offers_only_what_can_be_done() {
        let names = |typed, now| commands(typed, now).iter().filter_map(|b| b.command).collect::<Vec<_>>();
        assert_eq!(names("tr", Now::default()), ["train"]);
        let running = Now { running: true, ..Now::default() };
        assert!(names("tr", running).is_empty());
        assert_eq!(names("st", running), ["stop"]);
    }
}
