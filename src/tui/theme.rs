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
pub(crate) use crate::workspace::Theme;

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

/// A colour of xterm's 256 for each background.
fn colour(dark: u8, light: u8) -> Color {
    Color::Indexed(match theme() {
        Theme::Dark => dark,
        Theme::Light => light,
    })
}

/// A text colour for each background.
fn ink(dark: u8, light: u8) -> Style {
    Style::new().fg(colour(dark, light))
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

/// The other of two things compared: the loss at fixed noise.
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
    Style::new().bg(colour(238, 253))
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

/// Whether something in this colour steps back: where there are no colours, it is dim instead.
pub fn steps_back(colour: Color) -> bool {
    let raw = (0..6).map(run_raw);
    [faint(), rule()].into_iter().chain(raw).any(|style| style.fg == Some(colour))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colours_single_steps_stand_back_and_lines_do_not() {
        for theme in [Theme::Dark, Theme::Light] {
            choose(theme);
            let back = |style: Style| style.fg.is_some_and(steps_back);
            assert!((0..6).all(|index| back(run_raw(index)) && !back(run(index))));
            assert!(back(faint()) && ![accent(), second(), good(), warn(), bad()].into_iter().any(back));
        }
        choose(Theme::Dark);
    }

    #[test]
    fn a_theme_holds_for_the_thread_that_chose_it() {
        choose(Theme::Light);
        let other = std::thread::spawn(accent).join().ok();
        assert_ne!(Some(accent()), other);
        choose(Theme::Dark);
        assert_eq!(Some(accent()), other);
    }
}
