//! One picture, as large as the terminal.

use std::path::PathBuf;

use crossterm::event::KeyEvent;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Widget};

use super::{Overlay, Reply, hints};
use crate::client::words::doubtful;
use crate::tui::canvas::Canvas;
use crate::tui::keymap::Action;
use crate::tui::keymap::overlays::{self, Layer};
use crate::tui::theme;
use crate::tui::world::World;

/// A picture as panes and the large view show it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shot {
    /// The file.
    pub path: PathBuf,
    /// What it is.
    pub title: String,
    /// Its prompt and seed.
    pub detail: String,
    /// The word under its tile.
    pub caption: String,
    /// A mask to show over it.
    pub mask: Option<PathBuf>,
    /// The confidence of its mask where that is doubtful.
    pub doubt: Option<f64>,
}

/// Pictures, one at a time.
pub struct Large {
    shots: Vec<Shot>,
    index: usize,
}

impl Large {
    /// Beginning with the one at `index`.
    pub fn new(shots: Vec<Shot>, index: usize) -> Self {
        Self { index: index.min(shots.len().saturating_sub(1)), shots }
    }
}

impl Overlay for Large {
    fn layer(&self) -> &'static Layer {
        &overlays::PICTURE
    }

    fn place(&self, area: Rect) -> Rect {
        area
    }

    fn draw(&mut self, canvas: &mut Canvas, area: Rect, _: &World) {
        Clear.render(area, canvas.buffer);
        let Some(shot) = self.shots.get(self.index) else { return };
        let place = Rect { height: area.height.saturating_sub(2), ..area };
        canvas.surface.draw(canvas.buffer, place, &shot.path, shot.mask.as_deref());
        let name = shot.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let title = Line::from(vec![
            Span::styled(format!(" {}", shot.title), theme::strong()),
            Span::styled(shot.doubt.map(|of| format!("  ? {}", doubtful(of))).unwrap_or_default(), theme::warn()),
            Span::styled(format!("  {}", shot.detail), theme::text()),
            Span::styled(format!("  {name}"), theme::faint()),
        ]);
        canvas.buffer.set_line(area.x, area.bottom() - 2, &title, area.width);
        let row = Rect { y: area.bottom() - 1, height: 1, ..area };
        let (x, _) = canvas.buffer.set_stringn(
            row.x,
            row.y,
            format!(" {} of {}  ", self.index + 1, self.shots.len()),
            row.width as usize,
            theme::faint(),
        );
        hints(canvas, Rect { x, width: row.right().saturating_sub(x), ..row }, self.layer());
    }

    fn act(&mut self, action: Action, _: KeyEvent, _: &World) -> Reply {
        let last = self.shots.len().saturating_sub(1);
        self.index = match action {
            Action::Left => self.index.saturating_sub(1),
            Action::Right => (self.index + 1).min(last),
            Action::First => 0,
            Action::Last => last,
            _ => return Reply::Close,
        };
        Reply::Stay
    }
}
