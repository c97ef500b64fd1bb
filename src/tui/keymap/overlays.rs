//! The keys of what lies over a screen: each overlay does what its table says and takes no other key, except letters
//! where text is typed. The line of hints at its foot and the help come from the same rows.

use crossterm::event::KeyCode::{
    BackTab, Backspace, Char, Delete, Down, End, Enter, Esc, F, Home, Left, PageDown, PageUp, Right, Tab, Up,
};

use super::{Action, Binding, key};

/// A kind of overlay.
pub struct Layer {
    /// What it is called in the help.
    pub name: &'static str,
    /// Its keys.
    pub keys: &'static [Binding],
}

impl Layer {
    /// Whether letters are its keys, and no text.
    pub fn has_letters(&self) -> bool {
        let is_letter = |code: &crossterm::event::KeyCode| matches!(code, Char(letter) if letter.is_ascii_alphabetic());
        self.keys.iter().any(|binding| !binding.control && binding.keys.iter().any(is_letter))
    }
}

/// All of them, in the order of the help.
pub const ALL: [&Layer; 12] =
    [&FORM, &ENTRY, &EDITOR, &TEXT, &FILTER, &PICKER, &PALETTE, &QUESTION, &MASK, &PICTURE, &PAGE, &HELP];

const BACK: Binding = key(Action::Back, &[Esc], "Esc", "go back, nothing is done").hint("back");
const BACK_READ: Binding = key(Action::Back, &[Esc, Char('q'), Enter], "Esc", "go back").hint("back");
const KEYS: Binding = key(Action::Help, &[Char('?'), F(1)], "?", "these keys").hint("keys");
/// Where `?` is text.
const KEYS_TYPED: Binding = key(Action::Help, &[F(1)], "F1", "these keys").hint("keys");

/// The settings of a training.
pub const FORM: Layer = Layer {
    name: "Settings of a training",
    keys: &[
        key(Action::Enter, &[Enter], "Enter", "queue the training").hint("queue it"),
        key(Action::Down, &[Down], "↓", "the next setting; a line down").hint("settings"),
        key(Action::Up, &[Up], "↑", "the setting before; a line up"),
        key(Action::Right, &[Right], "→", "the next of few values").hint("values"),
        key(Action::Left, &[Left], "←", "the value before"),
        key(Action::NextPane, &[Tab, BackTab], "Tab", "to what the settings come to, and back: ↑ ↓ scroll it")
            .hint("pane"),
        key(Action::First, &[PageUp], "PgUp", "the first setting"),
        key(Action::Last, &[PageDown], "PgDn", "the last setting"),
        BACK,
        KEYS_TYPED,
    ],
};

/// Lines to be filled in.
pub const ENTRY: Layer = Layer {
    name: "Lines to fill in",
    keys: &[
        key(Action::Enter, &[Enter], "Enter", "the next line; in the last one, do it").hint("next, then do it"),
        key(Action::Down, &[Down, Tab], "↓ Tab", "the next line").hint("lines"),
        key(Action::Up, &[Up, BackTab], "↑", "the line before"),
        BACK,
        KEYS_TYPED,
    ],
};

/// Text of several lines.
pub const EDITOR: Layer = Layer {
    name: "Text of several lines",
    keys: &[
        key(Action::Save, &[Char('s')], "Ctrl-S", "save it").control().hint("saves"),
        key(Action::Enter, &[Enter], "Enter", "begin a line").hint("begins a line"),
        key(Action::DeleteLine, &[Char('k')], "Ctrl-K", "take the line out").control().hint("takes one out"),
        key(Action::Down, &[Down], "↓", "the next line"),
        key(Action::Up, &[Up], "↑", "the line before"),
        key(Action::PageDown, &[PageDown], "PgDn", "a page down"),
        key(Action::PageUp, &[PageUp], "PgUp", "a page up"),
        key(Action::Back, &[Esc], "Esc", "go back; what is not saved is asked about").hint("back"),
        KEYS_TYPED,
    ],
};

/// A line that is typed, wherever it is.
pub const TEXT: Layer = Layer {
    name: "Text that is typed",
    keys: &[
        key(Action::Left, &[Left], "←", "a letter back"),
        key(Action::Right, &[Right], "→", "a letter on"),
        key(Action::LineStart, &[Home], "Home", "to its start"),
        key(Action::LineStart, &[Char('a')], "Ctrl-A", "to its start").control(),
        key(Action::LineEnd, &[End], "End", "to its end"),
        key(Action::LineEnd, &[Char('e')], "Ctrl-E", "to its end").control(),
        key(Action::DeleteLine, &[Char('u')], "Ctrl-U", "delete all before the cursor").control(),
        key(Action::DeleteWord, &[Char('w')], "Ctrl-W", "delete the word before the cursor").control(),
        key(Action::DeleteBefore, &[Backspace], "Backspace", "delete the letter before"),
        key(Action::DeleteUnder, &[Delete], "Delete", "delete the letter under the cursor"),
    ],
};

/// The words of a filter.
pub const FILTER: Layer = Layer {
    name: "The words of a filter",
    keys: &[
        key(Action::Enter, &[Enter, Down], "Enter", "keep it").hint("keeps it"),
        key(Action::Back, &[Esc], "Esc", "drop it").hint("drops it"),
    ],
};

/// Finding a folder.
pub const PICKER: Layer = Layer {
    name: "Finding a folder",
    keys: &[
        key(Action::Enter, &[Enter], "Enter", "into the chosen folder, or to the path that is typed").hint("goes in"),
        key(Action::Take, &[Char('s')], "Ctrl-S", "take the folder that is shown").control().hint("takes this folder"),
        key(Action::Left, &[Left, Backspace], "←", "up, where nothing is typed").hint("up"),
        key(Action::Right, &[Right], "→", "into the chosen folder, where nothing is typed"),
        key(Action::Down, &[Down], "↓", "the next folder"),
        key(Action::Up, &[Up], "↑", "the folder before"),
        key(Action::PageDown, &[PageDown], "PgDn", "a page down"),
        key(Action::PageUp, &[PageUp], "PgUp", "a page up"),
        BACK,
        KEYS_TYPED,
    ],
};

/// The command palette.
pub const PALETTE: Layer = Layer {
    name: "Commands",
    keys: &[
        key(Action::Enter, &[Enter], "Enter", "do it; what needs words first is written out for them").hint("does it"),
        key(Action::Complete, &[Tab], "Tab", "write the chosen one out, to put words after it").hint("writes it out"),
        key(Action::Down, &[Down], "↓", "the next one"),
        key(Action::Up, &[Up, BackTab], "↑", "the one before"),
        key(Action::PageDown, &[PageDown], "PgDn", "a page down"),
        key(Action::PageUp, &[PageUp], "PgUp", "a page up"),
        BACK,
        KEYS_TYPED,
    ],
};

/// A question.
pub const QUESTION: Layer = Layer {
    name: "A question",
    keys: &[
        key(Action::Yes, &[Char('y'), Enter], "y", "yes, do it"),
        key(Action::No, &[Char('n'), Char('q'), Esc], "n", "no; Esc too"),
    ],
};

/// The mask editor.
pub const MASK: Layer = Layer {
    name: "Mask editor",
    keys: &[
        key(Action::Save, &[Char('S')], "S", "save the mask").hint("save"),
        key(Action::Put, &[Char(' '), Enter], "Space", "use the tool where the pointer is; Enter closes a lasso")
            .hint("put"),
        key(Action::Undo, &[Char('u')], "u", "take the last change back").hint("undo"),
        key(Action::NextLacking, &[Char('n')], "n", "the next picture without a mask, or with a doubtful one")
            .hint("next"),
        key(Action::Smaller, &[Char('[')], "[", "a smaller brush, less tolerance").hint("smaller"),
        key(Action::Bigger, &[Char(']')], "]", "a bigger brush, more tolerance").hint("bigger"),
        key(Action::View, &[Char('v')], "v", "how the mask is shown: over the picture, cut out, alone, not at all")
            .hint("view"),
        key(Action::ZoomIn, &[Char('+'), Char('=')], "+", "look closer").hint("closer"),
        key(Action::ZoomOut, &[Char('-')], "-", "look from further away"),
        key(Action::Redo, &[Char('U')], "U", "do again what was taken back").hint("redo"),
        key(Action::Invert, &[Char('i')], "i", "mark what is not marked").hint("invert"),
        key(Action::Grow, &[Char('g')], "g", "grow it by a share of the brush").hint("grow"),
        key(Action::Shrink, &[Char('s')], "s", "shrink it as much").hint("shrink"),
        key(Action::Feather, &[Char('f')], "f", "soften its edge as wide as the brush").hint("feather"),
        key(Action::Clear, &[Char('c')], "c", "mark nothing").hint("clear"),
        key(Action::Brush, &[Char('b')], "b", "brush; the right mouse button takes away, with any tool"),
        key(Action::Subtract, &[Char('t')], "t", "tools take away instead of marking, and back"),
        key(Action::Eraser, &[Char('e')], "e", "eraser"),
        key(Action::Rectangle, &[Char('r')], "r", "rectangle, from corner to corner"),
        key(Action::Lasso, &[Char('o')], "o", "lasso, corner by corner"),
        key(Action::Wand, &[Char('w')], "w", "wand: what has about the same colour"),
        key(Action::Point, &[Char('a')], "a", "a point on the concept, for Segment Anything"),
        key(Action::NotPoint, &[Char('x')], "x", "a point on what is not the concept"),
        key(Action::Left, &[Left, Char('h'), Char('H')], "← h", "the pointer left; with Shift four times as far"),
        key(Action::Down, &[Down, Char('j'), Char('J')], "↓ j", "the pointer down"),
        key(Action::Up, &[Up, Char('k'), Char('K')], "↑ k", "the pointer up"),
        key(Action::Right, &[Right, Char('l'), Char('L')], "→ l", "the pointer right"),
        key(Action::PanLeft, &[Left], "Ctrl-←", "what is left of what is seen; the middle mouse button drags it")
            .control(),
        key(Action::PanRight, &[Right], "Ctrl-→", "what is right of it").control(),
        key(Action::PanUp, &[Up], "Ctrl-↑", "what is above it").control(),
        key(Action::PanDown, &[Down], "Ctrl-↓", "what is below it").control(),
        key(Action::Remove, &[Char('D')], "D", "delete the file of a mask that marks nothing, where S asks"),
        key(Action::PreviousLacking, &[Char('p')], "p", "the one before without a mask, or with a doubtful one"),
        key(Action::NextPicture, &[Char('N')], "N", "the next picture"),
        key(Action::PreviousPicture, &[Char('P')], "P", "the picture before"),
        key(Action::Back, &[Esc], "Esc", "drop a corner, or go back; what is not saved is asked about").hint("back"),
        KEYS,
    ],
};

/// A picture as large as the terminal.
pub const PICTURE: Layer = Layer {
    name: "A picture alone",
    keys: &[
        key(Action::Right, &[Right, Down, Char('l'), Char('j'), Char(' ')], "→ l", "the next picture").hint("next"),
        key(Action::Left, &[Left, Up, Char('h'), Char('k')], "← h", "the picture before").hint("before"),
        key(Action::First, &[Home, Char('g')], "g", "the first"),
        key(Action::Last, &[End, Char('G')], "G", "the last"),
        BACK_READ,
        KEYS,
    ],
};

/// A page of text.
pub const PAGE: Layer = Layer {
    name: "A page of text",
    keys: &[
        key(Action::Down, &[Down, Char('j')], "↓ j", "a line down").hint("scroll"),
        key(Action::Up, &[Up, Char('k')], "↑ k", "a line up"),
        key(Action::Right, &[Right, Char('l')], "→ l", "rows of columns to the left, to see their ends")
            .hint("the ends of rows"),
        key(Action::Left, &[Left, Char('h')], "← h", "back to their beginnings"),
        key(Action::PageDown, &[PageDown, Char(' ')], "PgDn", "a page down; Space too"),
        key(Action::PageUp, &[PageUp], "PgUp", "a page up"),
        key(Action::First, &[Home, Char('g')], "g", "the first line"),
        key(Action::Last, &[End, Char('G')], "G", "the last line, and on with what comes"),
        BACK_READ,
        KEYS,
    ],
};

/// The help.
pub const HELP: Layer = Layer {
    name: "This page",
    keys: &[
        key(Action::Down, &[Down, Char('j')], "↓ j", "a line down").hint("scroll"),
        key(Action::Up, &[Up, Char('k')], "↑ k", "a line up"),
        key(Action::PageDown, &[PageDown, Char(' ')], "PgDn", "a page down; Space too"),
        key(Action::PageUp, &[PageUp], "PgUp", "a page up"),
        key(Action::First, &[Home, Char('g')], "g", "the first line"),
        key(Action::Last, &[End, Char('G')], "G", "the last line"),
        key(Action::Back, &[Esc, Char('q'), Char('?'), F(1), Enter], "Esc", "go back").hint("goes back"),
    ],
};
