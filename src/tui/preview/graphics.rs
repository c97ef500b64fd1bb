//! Pictures through the terminal's own graphics, printed by viuer after the frame, one at a time and only once the
//! screen has been still: on a slow line a picture takes as long as hundreds of frames, and keys must not wait for it.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::image::{DynamicImage, RgbImage};
use ratatui::buffer::{Buffer, CellDiffOption};
use ratatui::layout::Rect;

use super::Images;

/// Sixel pictures are printed by viuer in units of so many pixels, whatever the terminal's cells are.
const VIUER_CELL: (u32, u32) = (6, 12);

/// Sixel pictures start at the cursor, not in the corner of the screen, and the user's own choice is kept for later.
const SIXEL_AT_CURSOR: &str = "\x1b[?80s\x1b[?80l";
/// The user's own choice again.
const SIXEL_AS_BEFORE: &str = "\x1b[?80r";

/// For how long the screen must be still before a picture is printed, at least and at most.
const STILL: (Duration, Duration) = (Duration::from_millis(60), Duration::from_millis(1500));

/// What is on the screen, and what should be.
pub struct Graphics {
    images: Images,
    cell: (u32, u32),
    shown: HashMap<Rect, u64>,
    wanted: Vec<(Rect, u64, Arc<RgbImage>)>,
    still: HashMap<Rect, u64>,
    /// The terminal was told where sixel pictures start.
    told: bool,
    /// How long the last pictures took to be written.
    took: Duration,
}

impl Graphics {
    /// Nothing shown yet.
    pub fn new(images: Images) -> Self {
        let (shown, still, wanted) = (HashMap::new(), HashMap::new(), Vec::new());
        Self { images, cell: cell_size(), shown, wanted, still, told: false, took: Duration::ZERO }
    }

    /// Width and height of a cell in pixels.
    pub fn cell(&self) -> (u32, u32) {
        self.cell
    }

    /// Whether a picture is on the screen that this frame has no place for, and that the text of the frame does not cover:
    /// cells that are as empty as before are not written again.
    pub fn leaves_ghosts(&self) -> bool {
        let wanted = |area: &Rect| self.wanted.iter().any(|(place, ..)| place == area);
        self.images != Images::Kitty && self.shown.keys().any(|area| !self.still.contains_key(area) && !wanted(area))
    }

    /// Begin a frame.
    pub fn begin(&mut self) {
        self.wanted.clear();
        self.still.clear();
    }

    /// Leave the cells of `area` out of the frame if `picture` is there already. Else they are blank in this frame,
    /// which removes what was there before, and the picture is printed over them later.
    pub fn place(&mut self, buffer: &mut Buffer, area: Rect, hash: u64, picture: &Arc<RgbImage>) {
        let is_shown = self.shown.get(&area) == Some(&hash);
        for position in area.positions() {
            let cell = buffer[position].set_symbol(" ");
            if is_shown {
                cell.set_diff_option(CellDiffOption::Skip);
            }
        }
        if is_shown {
            self.still.insert(area, hash);
        } else {
            self.wanted.push((area, hash, Arc::clone(picture)));
        }
    }

    /// Remove what is gone. Call it when the frame has been written.
    pub fn finish(&mut self) -> io::Result<()> {
        if self.images == Images::Kitty {
            let mut out = io::stdout().lock();
            for area in self.shown.keys().filter(|area| !self.still.contains_key(*area)) {
                // Text does not cover a kitty picture: delete the one whose corner this is.
                write!(out, "\x1b_Ga=d,d=P,x={},y={}\x1b\\", area.x + 1, area.y + 1)?;
            }
            out.flush()?;
        }
        self.shown.clone_from(&self.still);
        Ok(())
    }

    /// For how long the screen must be still before the next picture is printed; none if none waits. The longer
    /// pictures take, the longer: who goes through many of them on a slow line waits for none.
    pub fn patience(&self) -> Option<Duration> {
        (!self.wanted.is_empty()).then(|| (self.took * 2).clamp(STILL.0, STILL.1))
    }

    /// Print one of the pictures that wait. Whether more do.
    pub fn print_next(&mut self) -> io::Result<bool> {
        // Those asked for first are above.
        if self.wanted.is_empty() {
            return Ok(false);
        }
        let (area, hash, picture) = self.wanted.remove(0);
        let began = Instant::now();
        if self.images == Images::Sixel && !self.told {
            let mut out = io::stdout().lock();
            out.write_all(SIXEL_AT_CURSOR.as_bytes())?;
            out.flush()?;
            self.told = true;
        }
        print(self.images, self.cell, area, &picture)?;
        io::stdout().flush()?;
        self.shown.insert(area, hash);
        self.still.insert(area, hash);
        self.took = began.elapsed();
        Ok(!self.wanted.is_empty())
    }

    /// Nothing is on the screen any more.
    pub fn forget(&mut self) {
        let farewell = match self.images {
            Images::Kitty if !self.shown.is_empty() => "\x1b_Ga=d,d=A\x1b\\",
            Images::Sixel if self.told => SIXEL_AS_BEFORE,
            _ => "",
        };
        if !farewell.is_empty() {
            let mut out = io::stdout().lock();
            // A terminal that is gone needs nothing any more.
            let _ = out.write_all(farewell.as_bytes()).and_then(|()| out.flush());
        }
        self.shown.clear();
        self.still.clear();
        self.wanted.clear();
        self.told = false;
        self.cell = cell_size();
    }
}

/// Print one picture at its place.
fn print(images: Images, cell: (u32, u32), area: Rect, picture: &RgbImage) -> io::Result<()> {
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
    let picture = DynamicImage::ImageRgb8(picture.clone());
    viuer::print(&picture, &config).map(|_| ()).map_err(|error| io::Error::other(error.to_string()))
}

/// What the terminal says of its cells in pixels, else a size that no usual font is smaller than.
fn cell_size() -> (u32, u32) {
    let size =
        crossterm::terminal::window_size().ok().filter(|size| size.width > 0 && size.columns > 0 && size.rows > 0);
    let cell = size.map(|size| (u32::from(size.width / size.columns), u32::from(size.height / size.rows)));
    cell.filter(|&(width, height)| width > 0 && height > 0).unwrap_or(VIUER_CELL)
}
