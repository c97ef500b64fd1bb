//! Pictures side by side.

use std::ops::Range;

use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use super::list::{Choice, scrollbar};
use super::text;
use crate::tui::canvas::{Canvas, Target};
use crate::tui::overlays::picture::Shot;
use crate::tui::theme;

/// Rows below which a tile shows too little, in a low area and in a high one.
const LEAST: [u16; 2] = [6, 8];

/// How square tiles are laid out in an area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Tiles in a row.
    pub columns: usize,
    /// Rows that are seen.
    pub rows: usize,
    /// Height of a tile in cells; it is twice as wide.
    pub side: u16,
}

impl Grid {
    /// The layout for `count` pictures in `width` × `height` cells with `caption` rows under each: all of them as
    /// large as possible, or, if that is too small to see anything, as many as fit.
    pub fn new(width: u16, height: u16, count: usize, caption: u16) -> Self {
        // A tile has a column at its left for the mark of the chosen one.
        let side = |columns: u16, rows: u16| {
            let wide = (width / columns).saturating_sub(1) / 2;
            wide.min((height / rows).saturating_sub(caption))
        };
        let count = count.clamp(1, usize::from(u16::MAX)) as u16;
        let best = (1..=count.min(width.max(1)))
            .map(|columns| (side(columns, count.div_ceil(columns)), columns))
            .max_by_key(|&(side, columns)| (side, std::cmp::Reverse(columns)));
        let all = best.map_or(0, |(side, _)| side);
        let least =
            LEAST[usize::from(height >= 16)].min(height.saturating_sub(caption)).min(width.saturating_sub(1) / 2);
        let least = least.max(1);
        // Too many: as many as fit at the least size, and then as large as that many can be.
        let many = || side((width / (2 * least + 1)).max(1), (height / (least + caption)).max(1));
        let side = if all >= least { all } else { many().max(least) };
        let columns = (width / (2 * side + 1)).max(1);
        let rows = (height / (side + caption)).max(1);
        Self { columns: columns as usize, rows: rows as usize, side }
    }
}

/// Pictures of a pane.
#[derive(Debug, Clone)]
pub struct Tiles {
    /// The pane.
    pub pane: usize,
    /// How many there are.
    pub len: usize,
    /// Whether there are words under them.
    pub captions: bool,
    /// Those that stand out, beside the chosen one of a pane with the focus.
    pub lit: Range<usize>,
    /// The pane has the focus.
    pub focused: bool,
}

/// Draw pictures as tiles, scrolled so that the chosen one is seen; it is marked where the pane has the focus. Clicks
/// choose. Only of those that are seen, `shot` is asked.
pub fn draw(canvas: &mut Canvas, area: Rect, choice: &mut Choice, tiles: &Tiles, shot: impl Fn(usize) -> Shot) {
    if tiles.len == 0 || area.is_empty() {
        return;
    }
    let caption = u16::from(tiles.captions);
    let grid = Grid::new(area.width, area.height, tiles.len, caption);
    let seen = choice.seen(tiles.len, grid.columns, grid.rows);
    let chosen = choice.of(tiles.len);
    for index in seen.clone() {
        let shot = shot(index);
        let (column, row) = ((index - seen.start) % grid.columns, (index - seen.start) / grid.columns);
        let x = area.x + column as u16 * (2 * grid.side + 1);
        let y = area.y + row as u16 * (grid.side + caption);
        let place = Rect { x: x + 1, y, width: 2 * grid.side, height: grid.side }.intersection(area);
        canvas.surface.draw(canvas.buffer, place, &shot.path, shot.mask.as_deref());
        let marked = tiles.lit.contains(&index) || tiles.focused && chosen == Some(index);
        if marked {
            for y in y..place.bottom() {
                canvas.buffer.set_string(x, y, "▌", theme::focus());
            }
        }
        if caption > 0 && place.bottom() < area.bottom() {
            let style = if marked { theme::focus() } else { theme::faint() };
            let caption = text::fit(&shot.caption, place.width as usize);
            let at = place.x + (place.width - caption.trim_end().width() as u16) / 2;
            canvas.buffer.set_stringn(at, place.bottom(), caption.trim_end(), place.width as usize, style);
        }
        canvas.target(Rect { height: place.height + caption, ..place }, Target::Item { pane: tiles.pane, index });
    }
    scrollbar(canvas.buffer, area, tiles.len, seen);
}

/// Draw all of `shots` as tiles.
pub fn draw_all(canvas: &mut Canvas, area: Rect, pane: usize, choice: &mut Choice, shots: &[Shot], focused: bool) {
    let captions = shots.iter().any(|shot| !shot.caption.is_empty());
    let tiles = Tiles { pane, len: shots.len(), captions, lit: 0..0, focused };
    draw(canvas, area, choice, &tiles, |index| shots[index].clone());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_pictures_are_all_seen_and_as_large_as_can_be() {
        assert_eq!(Grid::new(39, 12, 5, 0), Grid { columns: 3, rows: 2, side: 6 });
        assert_eq!(Grid::new(80, 7, 6, 1), Grid { columns: 6, rows: 1, side: 6 });
        assert_eq!(Grid::new(39, 12, 1, 0), Grid { columns: 1, rows: 1, side: 12 });
        assert_eq!(Grid::new(39, 9, 5, 0), Grid { columns: 3, rows: 1, side: 6 });
    }

    #[test]
    fn many_pictures_keep_a_size_that_shows_something() {
        let grid = Grid::new(74, 17, 40, 0);
        assert_eq!(grid, Grid { columns: 4, rows: 2, side: 8 });
        assert_eq!(Grid::new(74, 17, 65_536, 0), grid, "as many as there can be");
    }
}
