//! One table of keys feeds dispatch, help, footer and command palette; [`overlays`] is the part of it for what lies over a
//! screen.

pub mod overlays;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// The screens, in the order of their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScreenName {
    /// All concepts.
    Library,
    /// One concept: photos, findings, notes, prompt lists, runs.
    Concept,
    /// A training: its settings, then what it does.
    Train,
    /// Several runs side by side.
    Compare,
    /// What was made.
    Samples,
    /// What it is worth.
    Scores,
    /// The queue.
    Jobs,
}

impl ScreenName {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Library, Self::Concept, Self::Train, Self::Compare, Self::Samples, Self::Scores, Self::Jobs];

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Library => "Library",
            Self::Concept => "Concept",
            Self::Train => "Train",
            Self::Compare => "Compare",
            Self::Samples => "Samples",
            Self::Scores => "Scores",
            Self::Jobs => "Jobs",
        }
    }

    /// The screen of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|place| place.word().eq_ignore_ascii_case(name))
    }
}

/// What a key or a command of the palette does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table below says it of each")]
pub enum Action {
    Go(ScreenName),
    NextPane,
    PreviousPane,
    Left,
    Down,
    Up,
    Right,
    First,
    Last,
    PageUp,
    PageDown,
    Enter,
    Back,
    Mark,
    Filter,
    Palette,
    Help,
    Doctor,
    Quit,
    Interrupt,
    Suspend,
    Theme,
    Demo,
    New,
    Import,
    Export,
    Sort,
    Tags,
    Rename,
    Remove,
    Restore,
    Notes,
    Masks,
    DrawMask,
    Train,
    Settings,
    Resume,
    Stop,
    Sample,
    Score,
    ScoreCheckpoints,
    ScorePictures,
    PreviousRun,
    NextRun,
    LogScale,
    ByTime,
    ZoomIn,
    ZoomOut,
    Smoother,
    Rougher,
    Quarters,
    PanLeft,
    PanRight,
    PanUp,
    PanDown,
    NewList,
    Better,
    Worse,
    Provenance,
    Sheets,
    Whose,
    Pause,
    Cancel,
    Retry,
    Earlier,
    Later,
    Log,
    Take,
    Complete,
    Yes,
    No,
    LineStart,
    LineEnd,
    DeleteLine,
    DeleteWord,
    DeleteBefore,
    DeleteUnder,
    Brush,
    Eraser,
    Rectangle,
    Lasso,
    Wand,
    Point,
    NotPoint,
    Subtract,
    Put,
    Save,
    Undo,
    Redo,
    Bigger,
    Smaller,
    Grow,
    Shrink,
    Feather,
    Invert,
    Clear,
    View,
    NextLacking,
    PreviousLacking,
    NextPicture,
    PreviousPicture,
}

/// One row of the table.
pub struct Binding {
    /// What it does.
    pub action: Action,
    /// The keys.
    pub keys: &'static [KeyCode],
    /// They are pressed with Ctrl.
    pub control: bool,
    /// How the keys are shown; empty where only the palette has it.
    pub shown: &'static str,
    /// Its name in the palette; none for what is no command.
    pub command: Option<&'static str>,
    /// Its name in the footer; none for what is not shown there.
    pub hint: Option<&'static str>,
    /// One line of help.
    pub help: &'static str,
    /// The screens where it is; none for all.
    pub places: &'static [ScreenName],
}

const fn key(action: Action, keys: &'static [KeyCode], shown: &'static str, help: &'static str) -> Binding {
    Binding { action, keys, control: false, shown, command: None, hint: None, help, places: &[] }
}

impl Binding {
    const fn command(self, name: &'static str) -> Self {
        Self { command: Some(name), ..self }
    }

    const fn hint(self, name: &'static str) -> Self {
        Self { hint: Some(name), ..self }
    }

    const fn control(self) -> Self {
        Self { control: true, ..self }
    }

    const fn at(self, places: &'static [ScreenName]) -> Self {
        Self { places, ..self }
    }

    /// Whether it is this key.
    pub fn is(&self, key: KeyEvent) -> bool {
        self.keys.contains(&key.code) && self.control == key.modifiers.contains(KeyModifiers::CONTROL)
    }

    /// Whether it is on this screen.
    pub fn is_at(&self, place: ScreenName) -> bool {
        self.places.is_empty() || self.places.contains(&place)
    }
}

use KeyCode::{BackTab, Char, Delete, End, Enter, Esc, Home, PageDown, PageUp, Tab};
use ScreenName::{Compare, Concept, Jobs, Library, Samples, Scores, Train};

/// All keys.
pub const BINDINGS: &[Binding] = &[
    key(Action::New, &[Char('n')], "n", "make a concept from a folder of photos")
        .command("new concept")
        .hint("new")
        .at(&[Library]),
    key(Action::Demo, &[Char('d')], "d", "bring the demo here and open it: a small model, and a concept to teach it")
        .command("demo")
        .hint("demo")
        .at(&[Library]),
    key(Action::Train, &[Char('t')], "t", "set up a training of this concept")
        .command("train")
        .hint("train")
        .at(&[Library, Concept, Train]),
    key(Action::Stop, &[Char('s')], "s", "stop the training after its step; it can be resumed")
        .command("stop")
        .hint("stop")
        .at(&[Train]),
    key(Action::Resume, &[Char('r')], "r", "go on with this run from its last checkpoint")
        .command("resume")
        .hint("resume")
        .at(&[Train]),
    key(Action::Score, &[Char('m')], "m", "sample the prompt list before and after, and measure both")
        .command("score")
        .hint("score")
        .at(&[Train, Scores]),
    key(Action::ScoreCheckpoints, &[Char('M')], "M", "measure every checkpoint of the run: a curve over the loss")
        .command("score checkpoints")
        .at(&[Train, Scores]),
    key(
        Action::ScorePictures,
        &[Char('m')],
        "m",
        "measure the pictures of this one's folder, with the masks they have now",
    )
    .command("score pictures")
    .at(&[Samples]),
    key(Action::Sample, &[Char('p')], "p", "make pictures: of a prompt, or of a prompt list")
        .command("sample")
        .hint("sample")
        .at(&[Concept, Train, Samples]),
    key(Action::Pause, &[Char('p')], "p", "hold a job back, or let it go on; a training writes a checkpoint first")
        .command("pause")
        .hint("pause")
        .at(&[Jobs]),
    key(Action::Cancel, &[Char('c')], "c", "take a job out of the queue; one that runs writes a checkpoint and ends")
        .command("cancel")
        .hint("cancel")
        .at(&[Jobs]),
    key(Action::Retry, &[Char('r')], "r", "queue a job again that failed or was cancelled")
        .command("retry")
        .hint("retry")
        .at(&[Jobs]),
    key(Action::Earlier, &[Char('K')], "K", "earlier in the queue").command("earlier").hint("earlier").at(&[Jobs]),
    key(Action::Later, &[Char('J')], "J", "later in the queue").command("later").at(&[Jobs]),
    key(Action::Log, &[Char('o')], "o", "what the job's runner wrote, and why it failed")
        .command("log")
        .hint("log")
        .at(&[Jobs, Train]),
    key(Action::Mark, &[Char(' ')], "Space", "mark it; what is marked is done together")
        .hint("mark")
        .at(&[Library, Compare, Samples]),
    key(Action::Sort, &[Char('S')], "S", "sort by name, by change, by state, by score")
        .command("sort")
        .hint("sort")
        .at(&[Library]),
    key(Action::Sort, &[Char('S')], "S", "sort by time, then by each score, the best first")
        .command("sort")
        .hint("sort")
        .at(&[Scores]),
    key(Action::Tags, &[Char('T')], "T", "set the tags of a concept").command("tag").at(&[Library, Concept]),
    key(Action::Rename, &[Char('R')], "R", "give a concept another name").command("rename").at(&[Library]),
    key(Action::Export, &[Char('x')], "x", "pack a concept into one file").command("export").at(&[Library]),
    key(Action::Import, &[Char('i')], "i", "unpack a concept, or copy its folder").command("import").at(&[Library]),
    key(Action::Remove, &[Delete, Char('D')], "D", "put it into the trash").command("remove").at(&[Library, Samples]),
    key(Action::Restore, &[Char('U')], "U", "take out of the trash: the last one, or what is marked there")
        .command("restore")
        .at(&[Library, Samples]),
    key(Action::Notes, &[Char('e')], "e", "edit the notes; on the prompt lists, the list")
        .command("edit notes or list")
        .at(&[Concept]),
    key(Action::NewList, &[Char('n')], "n", "make a prompt list").command("new prompt list").at(&[Concept]),
    key(
        Action::Masks,
        &[Char('v')],
        "v",
        "show the masks over the pictures, or not; the doubtful of samples come first",
    )
    .command("masks")
    .hint("masks")
    .at(&[Concept, Samples]),
    key(Action::DrawMask, &[Char('d')], "d", "draw the mask of this picture")
        .command("draw mask")
        .hint("mask")
        .at(&[Concept, Samples]),
    key(Action::Settings, &[Char('c')], "c", "all settings of this run").command("settings").at(&[Train]),
    key(Action::LogScale, &[Char('L')], "L", "a logarithmic axis, and back").command("log scale").at(&[Train, Compare]),
    key(Action::ByTime, &[Char('T')], "T", "by steps or by time").command("by time").at(&[Train, Compare]),
    key(Action::ZoomIn, &[Char('+'), Char('=')], "+", "look closer, around the cursor")
        .command("zoom in")
        .at(&[Train, Compare]),
    key(Action::ZoomOut, &[Char('-')], "-", "look from further away").command("zoom out").at(&[Train, Compare]),
    key(Action::PanLeft, &[Char('(')], "⇧← (", "what is left of it in a graph; PgUp and PgDn too")
        .command("pan left")
        .at(&[Train, Compare]),
    key(Action::PanRight, &[Char(')')], "⇧→ )", "what is right of it in a graph; the wheel zooms")
        .command("pan right")
        .at(&[Train, Compare]),
    key(Action::Smoother, &[Char('>')], ">", "a smoother line").command("smoother").at(&[Train, Compare]),
    key(Action::Rougher, &[Char('<')], "<", "a rougher line").command("rougher").at(&[Train, Compare]),
    key(Action::Quarters, &[Char('Q')], "Q", "the loss by quarters of the timesteps, and back")
        .command("quarters")
        .at(&[Train]),
    key(Action::PreviousRun, &[Char('[')], "[", "the run before").command("previous run").at(&[Train, Samples, Scores]),
    key(Action::NextRun, &[Char(']')], "]", "the next run").command("next run").at(&[Train, Samples, Scores]),
    key(Action::Better, &[Char('+'), Char('=')], "+", "rate it higher: up to 5")
        .command("rate higher")
        .hint("rate")
        .at(&[Samples]),
    key(Action::Worse, &[Char('-')], "-", "rate it lower; below 1 it has no rating")
        .command("rate lower")
        .at(&[Samples]),
    key(Action::Provenance, &[Char('w')], "w", "what made this picture").command("provenance").at(&[Samples]),
    key(Action::Sheets, &[Char('S')], "S", "the contact sheets of the concept's samplings, the newest first")
        .command("sheets")
        .at(&[Concept, Samples]),
    key(Action::Whose, &[Char('f')], "f", "which samples: all, of the run, of samplings, rated, in the trash")
        .command("show")
        .at(&[Samples]),
    key(Action::NextPane, &[Tab], "Tab", "next pane").hint("pane"),
    key(Action::PreviousPane, &[BackTab], "Shift-Tab", "pane before"),
    key(Action::Left, &[KeyCode::Left, Char('h')], "← h", "left; a step back"),
    key(Action::Down, &[KeyCode::Down, Char('j')], "↓ j", "down"),
    key(Action::Up, &[KeyCode::Up, Char('k')], "↑ k", "up"),
    key(Action::Right, &[KeyCode::Right, Char('l')], "→ l", "right; a step on"),
    key(Action::First, &[Home, Char('g')], "g", "the first"),
    key(Action::Last, &[End, Char('G')], "G", "the last"),
    key(Action::PageUp, &[PageUp], "PgUp", "a page up; in a graph, to the left"),
    key(Action::PageDown, &[PageDown], "PgDn", "a page down; in a graph, to the right"),
    key(Action::Enter, &[Enter], "Enter", "open it; a picture as large as the terminal").hint("open"),
    key(Action::Back, &[Esc], "Esc", "go back; never quits"),
    key(Action::Filter, &[Char('/')], "/", "only those that hold these words")
        .command("filter")
        .at(&[Library, Samples, Scores, Jobs]),
    key(Action::Go(Library), &[Char('1')], "1", "the library: all concepts").command("library"),
    key(Action::Go(Concept), &[Char('2')], "2", "the concept: photos, notes, prompt lists, runs").command("concept"),
    key(Action::Go(Train), &[Char('3')], "3", "its training, live").command("runs"),
    key(Action::Go(Compare), &[Char('4')], "4", "several runs side by side").command("compare"),
    key(Action::Go(Samples), &[Char('5')], "5", "all samples").command("samples"),
    key(Action::Go(Scores), &[Char('6')], "6", "all scores").command("scores"),
    key(Action::Go(Jobs), &[Char('7')], "7", "the queue").command("jobs"),
    key(Action::Palette, &[Char(':')], ":", "find a command by its name, or type one of the command line")
        .hint("commands"),
    key(Action::Help, &[Char('?'), KeyCode::F(1)], "?", "all keys; F1 where text is typed")
        .command("help")
        .hint("help"),
    key(Action::Theme, &[Char('C')], "C", "colours as the terminal's background asks, for a dark one, for a light one")
        .command("theme"),
    key(Action::Doctor, &[], "", "how this terminal and machine are used").command("doctor"),
    key(Action::Quit, &[Char('q')], "q", "leave; what runs goes on in the background").command("quit").hint("quit"),
    key(
        Action::Interrupt,
        &[Char('c')],
        "Ctrl-C",
        "go back as Esc does, where something lies over a screen; else leave",
    )
    .control(),
    key(Action::Suspend, &[Char('z')], "Ctrl-Z", "back to the shell for a while; `fg` returns").control(),
];

/// What `key` does on this screen.
pub fn action(key: KeyEvent, place: ScreenName) -> Option<Action> {
    let here = || BINDINGS.iter().filter(|binding| binding.is_at(place));
    // Where a graph can be moved, Shift and an arrow do that.
    let pans = match key.code {
        KeyCode::Left => Some(Action::PanLeft),
        KeyCode::Right => Some(Action::PanRight),
        _ => None,
    };
    let pans = pans.filter(|_| key.modifiers.contains(KeyModifiers::SHIFT));
    pans.filter(|pan| here().any(|binding| binding.action == *pan)).or_else(|| find(here(), key))
}

/// What `key` does among these.
pub fn find<'a>(bindings: impl IntoIterator<Item = &'a Binding>, key: KeyEvent) -> Option<Action> {
    bindings.into_iter().find(|binding| binding.is(key)).map(|binding| binding.action)
}

/// Whether `name` holds the letters of `typed` in their order.
pub fn matches(name: &str, typed: &str) -> bool {
    let mut letters = name.chars().flat_map(char::to_lowercase);
    let typed = typed.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase);
    typed.into_iter().all(|typed| letters.any(|letter| letter == typed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_no_screen_does_a_key_do_two_things() {
        for place in ScreenName::ALL {
            let here: Vec<_> = BINDINGS.iter().filter(|b| b.is_at(place)).collect();
            assert_eq!(doubles(&here), [""; 0], "{place:?}");
        }
        for layer in overlays::ALL {
            assert_eq!(doubles(&layer.keys.iter().collect::<Vec<_>>()), [""; 0], "{}", layer.name);
        }
    }

    /// The rows that have a key of an earlier one.
    fn doubles(bindings: &[&'static Binding]) -> Vec<&'static str> {
        let taken = |at: usize, key: &KeyCode| {
            bindings[..at].iter().any(|other| other.control == bindings[at].control && other.keys.contains(key))
        };
        let rows = bindings.iter().enumerate().filter(|(at, b)| b.keys.iter().any(|key| taken(*at, key)));
        rows.map(|(_, binding)| binding.shown).collect()
    }

    #[test]
    fn every_action_has_a_key_or_a_command() {
        assert!(BINDINGS.iter().all(|b| !b.keys.is_empty() || b.command.is_some()));
    }

    #[test]
    fn a_name_is_found_by_some_of_its_letters() {
        assert!(matches("new concept", "nco") && matches("Log scale", "lsc") && matches("train", ""));
        assert!(!matches("train", "tn r"));
    }
}
