//! One picture, as large as the terminal.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::tui::preview::Surface;
use crate::tui::theme;

use super::concept::Shot;

/// Draw the picture with what is known of it.
pub fn draw(buffer: &mut Buffer, surface: &mut Surface, area: Rect, shot: &Shot, index: usize, count: usize) {
    let place = Rect { height: area.height.saturating_sub(2), ..area };
    surface.draw(buffer, place, &shot.path);
    let name = shot.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let title = Line::from(vec![
        Span::styled(format!(" {}", shot.title), theme::strong()),
        Span::styled(format!("  {}", shot.detail), theme::text()),
        Span::styled(format!("  {name}"), theme::faint()),
    ]);
    buffer.set_line(area.x, area.bottom() - 2, &title, area.width);
    let hint = format!(" ← → {} of {count}   Esc back", index + 1);
    buffer.set_stringn(area.x, area.bottom() - 1, hint, area.width as usize, theme::faint());
}
