//! Colours and marks. They read well on dark and light backgrounds, colour-blind people can tell them apart, and none
//! carries a meaning that a mark or word beside it does not.

use ratatui::style::{Color, Modifier, Style};

use crate::protocol::State;

/// Titles of what has the focus, the smoothed line.
pub const ACCENT: Style = Style::new().fg(Color::Indexed(33));
/// Labels, rules and whatever should step back.
pub const FAINT: Style = Style::new().fg(Color::Indexed(244));
/// Rules between panes.
pub const RULE: Style = Style::new().fg(Color::Indexed(240));
/// Each single step in a graph.
pub const RAW: Style = Style::new().fg(Color::Indexed(242));
/// Validation.
pub const SECOND: Style = Style::new().fg(Color::Indexed(208));
/// Clearly better; done.
pub const GOOD: Style = Style::new().fg(Color::Indexed(35));
/// Something to know.
pub const WARN: Style = Style::new().fg(Color::Indexed(172));
/// Failed.
pub const BAD: Style = Style::new().fg(Color::Indexed(167));
/// Plain text.
pub const TEXT: Style = Style::new();
/// Names and numbers that matter.
pub const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
/// What has the focus.
pub const FOCUS: Style = ACCENT.add_modifier(Modifier::BOLD);
/// The chosen line of a list.
pub const CHOSEN: Style = Style::new().bg(Color::Indexed(238));
/// The letter that the next one goes before.
pub const CURSOR: Style = Style::new().add_modifier(Modifier::REVERSED);

/// The mark and colour of a state.
pub fn mark(state: State) -> (&'static str, Style) {
    match state {
        State::New => ("◌", FAINT),
        State::Running => ("●", ACCENT),
        State::Finished => ("✓", GOOD),
        State::Stopped => ("■", WARN),
        State::Failed | State::Interrupted => ("✗", BAD),
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

/// Colours and marks of things shown together: told apart by those who see few colours too.
pub const SERIES: [(Style, &str); 6] = [
    (Style::new().fg(Color::Indexed(33)), "──"),
    (Style::new().fg(Color::Indexed(208)), "╌╌"),
    (Style::new().fg(Color::Indexed(35)), "┄┄"),
    (Style::new().fg(Color::Indexed(176)), "══"),
    (Style::new().fg(Color::Indexed(220)), "┈┈"),
    (Style::new().fg(Color::Indexed(80)), "━━"),
];
