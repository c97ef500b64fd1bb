//! What there is to do in an empty home.

use ratatui::layout::Rect;

use crate::fs::Show;
use crate::tui::canvas::{Canvas, Target};
use crate::tui::keymap::Action;
use crate::tui::theme;
use crate::tui::widgets::text;
use crate::workspace::Home;

/// Say it in the middle of `area`; each line can be clicked.
pub fn draw(canvas: &mut Canvas, area: Rect, home: &Home) {
    let ways = [
        (Action::Demo, "d", "the demo: a small model and a concept to teach it, brought here"),
        (Action::New, "n", "make a concept from a folder of photos"),
        (Action::Import, "i", "import one that was exported"),
        (Action::Help, "?", "all keys"),
    ];
    let width = area.width.min(76);
    let left = area.x + (area.width - width) / 2;
    let wide = width as usize;
    let place = text::wrap(&format!("Home: {}", home.path().shown()), wide);
    let above = text::wrap("Teach a diffusion model one thing of yours, from a handful of photos.", wide);
    let height = (above.len() + 1 + ways.len() + 1 + place.len()) as u16;
    let mut y = area.y + area.height.saturating_sub(height) / 2;
    for line in above {
        canvas.buffer.set_stringn(left, y, line, wide, theme::text());
        y += 1;
    }
    y += 1;
    for (action, key, what) in ways {
        canvas.buffer.set_string(left, y, key, theme::focus());
        canvas.buffer.set_stringn(left + 3, y, what, wide - 3, theme::text());
        canvas.target(Rect { x: left, y, width, height: 1 }, Target::Action(action));
        y += 1;
    }
    y += 1;
    for line in place {
        canvas.buffer.set_stringn(left, y, line, wide, theme::faint());
        y += 1;
    }
}
