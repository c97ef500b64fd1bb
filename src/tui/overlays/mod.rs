//! What lies over a screen and takes the keys: questions, entries, the palette, help, a large picture, pages of text.

pub mod editor;
pub mod entry;
pub mod form;
pub mod help;
pub mod mask;
pub mod new_concept;
pub mod page;
pub mod palette;
pub mod picker;
pub mod picture;
mod points;
pub mod question;
pub mod sampling;

use crossterm::event::{KeyEvent, MouseEvent};
use ratatui::layout::Rect;
use ratatui::text::Span;
use ratatui::widgets::{Block, BorderType, Clear, Widget};

use super::canvas::Canvas;
use super::chrome;
use super::deeds::Effect;
use super::keymap::Action;
use super::keymap::overlays::Layer;
use super::theme;
use super::world::World;

/// What becomes of an overlay after a key.
pub enum Reply {
    /// It stays.
    Stay,
    /// It is closed.
    Close,
    /// It is closed, and this is done.
    Then(Effect),
    /// It stays, and this is done.
    Also(Effect),
    /// This is done; it is closed when that has been done, and told why where that failed.
    Once(Effect),
}

/// Something over the screen.
pub trait Overlay: Send {
    /// Its keys: no others are handed to [`Overlay::act`].
    fn layer(&self) -> &'static Layer;
    /// Where it goes on a screen of this size.
    fn place(&self, area: Rect) -> Rect;
    /// Draw it there.
    fn draw(&mut self, canvas: &mut Canvas, area: Rect, world: &World);
    /// A key of its table was pressed: `action` is what it does.
    fn act(&mut self, action: Action, key: KeyEvent, world: &World) -> Reply;
    /// A key that is not in its table: text, where some is typed.
    fn typed(&mut self, _key: KeyEvent, _world: &World) -> Reply {
        Reply::Stay
    }
    /// Text that was pasted. How many letters of it found no room.
    fn paste(&mut self, _text: &str) -> usize {
        0
    }
    /// The mouse did something, before anything else takes it. What that leads to; none where the mouse is not followed.
    fn mouse(&mut self, _mouse: MouseEvent) -> Option<Effect> {
        None
    }
    /// An item of it was clicked; `again` when it was the last click too.
    fn choose(&mut self, _index: usize, _again: bool, _world: &World) -> Reply {
        Reply::Stay
    }
    /// Lines that have come for it, and what is to be done then.
    fn tell(&mut self, _lines: Vec<String>) -> Effect {
        Effect::None
    }
    /// What it asked for with [`Reply::Once`] was not done: why.
    fn refused(&mut self, _why: String) {}
}

/// A box of this size in the upper middle of `area`.
pub fn place(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 3, width, height }
}

/// Draw an empty box with a title; what is inside.
fn frame(canvas: &mut Canvas, area: Rect, title: &str) -> Rect {
    Clear.render(area, canvas.buffer);
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(theme::accent())
        .title(Span::styled(format!(" {title} "), theme::focus()));
    let inner = block.inner(area);
    block.render(area, canvas.buffer);
    inner
}

/// Say in the last row of `area` which keys there are, as many as fit; they can be clicked.
fn hints(canvas: &mut Canvas, area: Rect, layer: &'static Layer) {
    let row = Rect { y: area.bottom().saturating_sub(1), height: 1, ..area };
    chrome::hints(canvas, row, layer.keys.iter().filter(|binding| binding.hint.is_some()), |binding| {
        binding.hint.unwrap_or_default()
    });
}
