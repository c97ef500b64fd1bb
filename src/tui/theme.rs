//! Colours and marks, for dark and for light backgrounds. Colour-blind people can tell them apart (runs have the colours
//! of Okabe and Ito, "Color Universal Design", 2008), and none carries a meaning that a mark, a line style or a word
//! beside it does not: with `NO_COLOR` nothing is lost.
//!
//! The theme belongs to the thread that draws: it is chosen there once, at start or when the terminal has told its
//! background, and every style is a function that looks it up. So call sites name a style and nothing else, and tests,
//! which draw on threads of their own, choose without disturbing each other.

use std::cell::Cell;

use ratatui::style::{Color, Modifier, Style};

use crate::protocol::State;

/// What the background is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// Light on dark.
    Dark,
    /// Dark on light.
    Light,
}

thread_local! {
    static THEME: Cell<Theme> = const { Cell::new(Theme::Dark) };
}

/// Draw with `theme` on this thread from now on.
pub fn choose(theme: Theme) {
    THEME.set(theme);
}

/// The theme this thread draws with.
pub fn theme() -> Theme {
    THEME.get()
}

/// A text colour of xterm's 256 for each background.
fn ink(dark: u8, light: u8) -> Style {
    let colour = match theme() {
        Theme::Dark => dark,
        Theme::Light => light,
    };
    Style::new().fg(Color::Indexed(colour))
}

/// Titles of what has the focus, progress.
pub fn accent() -> Style {
    ink(33, 25)
}

/// Labels, rules and whatever should step back.
pub fn faint() -> Style {
    ink(244, 242)
}

/// Rules between panes.
pub fn rule() -> Style {
    ink(240, 249)
}

/// The other of two things compared: validation.
pub fn second() -> Style {
    ink(208, 166)
}

/// Clearly better; done.
pub fn good() -> Style {
    ink(35, 29)
}

/// Something to know.
pub fn warn() -> Style {
    ink(172, 130)
}

/// Failed.
pub fn bad() -> Style {
    ink(167, 124)
}

/// Plain text.
pub fn text() -> Style {
    Style::new()
}

/// Names and numbers that matter.
pub fn strong() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// What has the focus.
pub fn focus() -> Style {
    accent().add_modifier(Modifier::BOLD)
}

/// The chosen line of a list.
pub fn chosen() -> Style {
    let colour = match theme() {
        Theme::Dark => 238,
        Theme::Light => 253,
    };
    Style::new().bg(Color::Indexed(colour))
}

/// The letter that the next one goes before.
pub fn cursor() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}

/// The mark and colour of a state.
pub fn mark(state: State) -> (&'static str, Style) {
    match state {
        State::New => ("◌", faint()),
        State::Running => ("●", accent()),
        State::Finished => ("✓", good()),
        State::Stopped => ("■", warn()),
        State::Failed | State::Interrupted => ("✗", bad()),
    }
}

/// What runs or needs the user comes first.
pub fn rank(state: State) -> u8 {
    match state {
        State::Running => 0,
        State::Failed | State::Interrupted => 1,
        State::Stopped => 2,
        State::New => 3,
        State::Finished => 4,
    }
}

/// The line of the run at `index` among those in one graph.
pub fn run(index: usize) -> Style {
    // Sky blue, orange, bluish green, reddish purple, yellow, vermillion; deeper on light backgrounds.
    const DARK: [u8; 6] = [74, 214, 36, 175, 227, 166];
    const LIGHT: [u8; 6] = [25, 166, 29, 132, 136, 88];
    ink(DARK[index % DARK.len()], LIGHT[index % LIGHT.len()])
}

/// The single steps of the run at `index` among those in one graph: its colour, stepped back.
pub fn run_raw(index: usize) -> Style {
    const DARK: [u8; 6] = [24, 94, 22, 96, 58, 52];
    const LIGHT: [u8; 6] = [152, 223, 151, 182, 229, 217];
    ink(DARK[index % DARK.len()], LIGHT[index % LIGHT.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_theme_holds_for_the_thread_that_chose_it() {
        choose(Theme::Light);
        let other = std::thread::spawn(accent).join().ok();
        assert_ne!(Some(accent()), other);
        choose(Theme::Dark);
        assert_eq!(Some(accent()), other);
    }
}
