//! Colours and marks. They read well on dark and light backgrounds, colour-blind people can tell them apart, and none
//! carries a meaning that a mark or word beside it does not.

use ratatui::style::{Color, Modifier, Style};

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
pub const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);
