//! Pictures through the terminal's own graphics, printed by viuer after the frame.

use std::collections::HashMap;
use std::io::{self, Write};

use ::image::{DynamicImage, RgbImage};
use crossterm::cursor::MoveTo;
use crossterm::queue;
use ratatui::buffer::{Buffer, CellDiffOption};
use ratatui::layout::Rect;

use super::Images;

/// Sixel pictures are printed by viuer in units of so many pixels, whatever the terminal's cells are.
const VIUER_CELL: (u32, u32) = (6, 12);

/// What is on the screen, and what should be.
pub struct Graphics {
    images: Images,
    cell: (u32, u32),
    shown: HashMap<Rect, u64>,
    wanted: Vec<(Rect, u64, RgbImage)>,
    still: Vec<(Rect, u64)>,
}

impl Graphics {
    /// Nothing shown yet.
    pub fn new(images: Images) -> Self {
        let cell = cell_size();
        Self { images, cell, shown: HashMap::new(), wanted: Vec::new(), still: Vec::new() }
    }

    /// Width and height of a cell in pixels.
    pub fn cell(&self) -> (u32, u32) {
        self.cell
    }

    /// Begin a frame.
    pub fn begin(&mut self) {
        self.wanted.clear();
        self.still.clear();
    }

    /// Leave the cells of `area` out of the frame, and print `picture` there if it is not there already.
    pub fn place(&mut self, buffer: &mut Buffer, area: Rect, hash: u64, picture: &RgbImage) {
        for position in area.positions() {
            buffer[position].set_symbol(" ").set_diff_option(CellDiffOption::Skip);
        }
        if self.shown.get(&area) == Some(&hash) {
            self.still.push((area, hash));
        } else {
            self.wanted.push((area, hash, picture.clone()));
        }
    }

    /// Remove what is gone and print what is new.
    pub fn finish(&mut self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let still: HashMap<Rect, u64> = self.still.drain(..).collect();
        for area in self.shown.keys().filter(|area| !still.contains_key(*area)) {
            if self.images == Images::Kitty {
                // Text does not cover a kitty picture: delete the one whose corner this is.
                write!(out, "\x1b_Ga=d,d=P,x={},y={}\x1b\\", area.x + 1, area.y + 1)?;
            }
        }
        self.shown = still;
        for (area, hash, picture) in self.wanted.drain(..) {
            // What was here before may have been larger than the new picture's pixels.
            for y in area.top()..area.bottom() {
                queue!(out, MoveTo(area.x, y))?;
                write!(out, "{:1$}", "", area.width as usize)?;
            }
            out.flush()?;
            print(self.images, self.cell, area, picture)?;
            self.shown.insert(area, hash);
        }
        out.flush()
    }

    /// Nothing is on the screen any more.
    pub fn forget(&mut self) {
        if self.images == Images::Kitty && !self.shown.is_empty() {
            let mut out = io::stdout().lock();
            // A terminal that is gone needs no pictures removed.
            let _ = out.write_all(b"\x1b_Ga=d,d=A\x1b\\").and_then(|()| out.flush());
        }
        self.shown.clear();
        self.cell = cell_size();
    }
}

/// Print one picture at its place.
fn print(images: Images, cell: (u32, u32), area: Rect, picture: RgbImage) -> io::Result<()> {
    let (width, height) = (u32::from(area.width), u32::from(area.height));
    let (width, height) = match images {
        // As many of viuer's cells as fill ours, rounded down so that it stays inside.
        Images::Sixel => ((width * cell.0 / VIUER_CELL.0).max(1), (height * cell.1 / VIUER_CELL.1).max(1)),
        _ => (width, height),
    };
    let config = viuer::Config {
        x: area.x,
        y: area.y as i16,
        width: Some(width),
        height: Some(height),
        use_kitty: images == Images::Kitty,
        use_iterm: images == Images::Iterm,
        use_sixel: images == Images::Sixel,
        ..viuer::Config::default()
    };
    // kitty wants RGBA; the others take anything.
    let picture = DynamicImage::ImageRgb8(picture);
    viuer::print(&picture, &config).map(|_| ()).map_err(|error| io::Error::other(error.to_string()))
}

/// What the terminal says of its cells in pixels, else a size that no usual font is smaller than.
fn cell_size() -> (u32, u32) {
    let size =
        crossterm::terminal::window_size().ok().filter(|size| size.width > 0 && size.columns > 0 && size.rows > 0);
    let cell = size.map(|size| (u32::from(size.width / size.columns), u32::from(size.height / size.rows)));
    cell.filter(|&(width, height)| width > 0 && height > 0).unwrap_or(VIUER_CELL)
}
