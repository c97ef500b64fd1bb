//! Pictures through the terminal's own graphics, printed by viuer after the frame, one at a time and only once the
//! screen has been still: on a slow line a picture takes as long as hundreds of frames, and keys must not wait for it.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::image::{DynamicImage, RgbImage, imageops};
use ratatui::buffer::{Buffer, CellDiffOption};
use ratatui::layout::Rect;

use super::Images;
use super::pace::Pace;

/// Sixel pictures are printed by viuer in units of this many pixels, whatever the terminal's cells are.
const VIUER_CELL: (u32, u32) = (6, 12);

/// Pixels of the widest sixel picture that viuer does not squeeze.
const VIUER_WIDEST: u32 = 1000;

/// Sixel pictures start at the cursor, not in the corner of the screen, and the user's own choice is kept for later.
const SIXEL_AT_CURSOR: &str = "\x1b[?80s\x1b[?80l";
/// The user's own choice again.
const SIXEL_AS_BEFORE: &str = "\x1b[?80r";

/// For how long the screen must be still before a picture is printed.
const STILL: Duration = Duration::from_millis(60);

/// What is on the screen, and what should be.
pub struct Graphics {
    images: Images,
    cell: (u32, u32),
    /// Pieces of pictures that are on the screen, each with the [`Wanted::hash`] of its picture.
    shown: HashMap<Rect, u64>,
    wanted: Vec<Wanted>,
    /// Those on the screen that this frame has too.
    still: HashMap<Rect, u64>,
    /// The terminal was told where sixel pictures start.
    told: bool,
    pace: Pace,
    /// The pieces that have come of each picture, from its top left on, and whether this frame has the picture.
    pieces: HashMap<u64, (Vec<Rect>, bool)>,
    /// The terminal is to be asked.
    asks: bool,
}

/// A picture that is not whole yet.
struct Wanted {
    area: Rect,
    /// Of the picture and its place.
    hash: u64,
    picture: Arc<RgbImage>,
}

impl Graphics {
    /// Nothing shown yet.
    pub fn new(images: Images) -> Self {
        let (shown, still, wanted) = (HashMap::new(), HashMap::new(), Vec::new());
        let (pace, pieces) = (Pace::new(8e-6), HashMap::new());
        Self { images, cell: cell_size(), shown, wanted, still, told: false, pace, pieces, asks: false }
    }

    /// Width and height of a cell in pixels.
    pub fn cell(&self) -> (u32, u32) {
        self.cell
    }

    /// Begin a frame.
    pub fn begin(&mut self) {
        self.wanted.clear();
        self.still.clear();
        self.pieces.values_mut().for_each(|(_, seen)| *seen = false);
    }

    /// Leave the cells of `area` out of the frame as far as `picture` is there already. The others are blank in this frame,
    /// and what is missing is printed over them later.
    pub fn place(&mut self, buffer: &mut Buffer, area: Rect, hash: u64, picture: &Arc<RgbImage>) {
        let hash = super::hash(&(hash, area));
        for position in area.positions() {
            buffer[position].set_symbol(" ");
        }
        let (pieces, seen) = self.pieces.entry(hash).or_default();
        *seen = true;
        let missing = pieces.iter().position(|piece| self.shown.get(piece) != Some(&hash));
        pieces.truncate(missing.unwrap_or(pieces.len()));
        for piece in pieces.iter() {
            for position in piece.positions() {
                buffer[position].set_diff_option(CellDiffOption::Skip);
            }
            self.still.insert(*piece, hash);
        }
        if next_piece(area, pieces.last(), self.images, self.cell, usize::MAX).is_some() {
            self.wanted.push(Wanted { area, hash, picture: Arc::clone(picture) });
        }
    }

    /// Have the cells of pictures that this frame has no place for written again, also where they are as empty as before: that
    /// removes them.
    pub fn uncover(&self, buffer: &mut Buffer) {
        let whole = buffer.area;
        let gone = self.shown.keys().filter(|piece| !self.still.contains_key(*piece));
        for position in gone.flat_map(|piece| piece.intersection(whole).positions()) {
            let cell = &mut buffer[position];
            if cell.diff_option != CellDiffOption::Skip {
                cell.set_diff_option(CellDiffOption::AlwaysUpdate);
            }
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
        self.pieces.retain(|_, (_, seen)| *seen);
        Ok(())
    }

    /// For how long nothing must happen before the next picture is printed; none if none waits.
    pub fn patience(&mut self) -> Option<Duration> {
        if self.wanted.is_empty() {
            return None;
        }
        // Between the pieces of a picture the answer is waited for and nothing else.
        let answer = self.pace.waits().map(|until| until.saturating_duration_since(Instant::now()));
        Some(answer.unwrap_or(STILL))
    }

    /// The terminal has answered.
    pub fn answered(&mut self) {
        self.pace.answered();
    }

    /// Print one piece of the pictures that wait, those asked for first being above. Whether more wait.
    pub fn print_next(&mut self) -> io::Result<bool> {
        let Some(Wanted { area, hash, picture }) = self.wanted.first() else { return Ok(false) };
        let (pieces, _) = self.pieces.entry(*hash).or_default();
        let next = |last: Option<&Rect>, pixels| next_piece(*area, last, self.images, self.cell, pixels);
        if let Some(piece) = next(pieces.last(), self.pace.piece()) {
            if self.images == Images::Sixel && !self.told {
                io::stdout().lock().write_all(SIXEL_AT_CURSOR.as_bytes())?;
                self.told = true;
            }
            print(self.images, self.cell, piece, &cut(picture, *area, piece))?;
            self.shown.insert(piece, *hash);
            self.still.insert(piece, *hash);
            pieces.push(piece);
            let pixels = usize::from(piece.width) * usize::from(piece.height) * (self.cell.0 * self.cell.1) as usize;
            self.asks = self.pace.wrote(pixels);
        }
        if next(pieces.last(), usize::MAX).is_none() {
            self.wanted.remove(0);
        }
        Ok(!self.wanted.is_empty())
    }

    /// Whether the terminal is to be asked, now that a piece was printed.
    pub fn asks(&mut self) -> bool {
        std::mem::take(&mut self.asks)
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
        self.pieces.clear();
        self.told = false;
        self.cell = cell_size();
    }
}

/// The piece of a picture that fills `area` which comes after `last`; none if that was the last of all. It has about this many
/// `pixels`, and is as wide as the picture where that many are enough for some lines of cells. Pieces are of whole units of
/// viuer, so that they join.
fn next_piece(area: Rect, last: Option<&Rect>, images: Images, cell: (u32, u32), pixels: usize) -> Option<Rect> {
    let unit = |of_viuer: u32, of_cell: u32| match images {
        Images::Sixel => of_viuer / gcd(of_viuer, of_cell),
        _ => 1,
    };
    let (unit_width, unit_height) = (unit(VIUER_CELL.0, cell.0), unit(VIUER_CELL.1, cell.1));
    let cells = u32::try_from(pixels).unwrap_or(u32::MAX) / (cell.0 * cell.1);
    let lines = (cells / u32::from(area.width.max(1)) / unit_height).max(1) * unit_height;
    let units = |cells: u32, unit: u32| u16::try_from((cells / unit).max(1) * unit).unwrap_or(u16::MAX);
    let piece = match last {
        // The rest of its lines.
        Some(last) if last.right() < area.right() => {
            let width = units(cells / u32::from(last.height.max(1)), unit_width);
            Rect { x: last.right(), width, ..*last }
        }
        _ => {
            let y = last.map_or(area.top(), |last| last.bottom());
            let width =
                if cells / lines < u32::from(area.width) { units(cells / lines, unit_width) } else { area.width };
            Rect { x: area.x, y, width, height: u16::try_from(lines).unwrap_or(u16::MAX) }
        }
    };
    let widest = match images {
        Images::Sixel => units(VIUER_WIDEST / cell.0, unit_width),
        _ => u16::MAX,
    };
    let piece = Rect { width: piece.width.min(widest), ..piece };
    Some(piece.intersection(area)).filter(|piece| !piece.is_empty())
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The part of `picture`, which fills `area`, that lies under `piece`.
fn cut(picture: &RgbImage, area: Rect, piece: Rect) -> RgbImage {
    let at = |cells: u16, of: u16, pixels: u32| u32::from(cells) * pixels / u32::from(of);
    let (left, top) = (piece.x - area.x, piece.y - area.y);
    let (x, right) = (at(left, area.width, picture.width()), at(left + piece.width, area.width, picture.width()));
    let (y, bottom) = (at(top, area.height, picture.height()), at(top + piece.height, area.height, picture.height()));
    imageops::crop_imm(picture, x, y, (right - x).max(1), (bottom - y).max(1)).to_image()
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
    let printed = viuer::print(&picture, &config);
    printed.map(drop).map_err(|error| io::Error::other(error.to_string()))
}

/// What the terminal says of its cells in pixels, else a size that no usual font is smaller than.
fn cell_size() -> (u32, u32) {
    let size =
        crossterm::terminal::window_size().ok().filter(|size| size.width > 0 && size.columns > 0 && size.rows > 0);
    let cell = size.map(|size| (u32::from(size.width / size.columns), u32::from(size.height / size.rows)));
    cell.filter(|&(width, height)| width > 0 && height > 0).unwrap_or(VIUER_CELL)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All pieces of a picture on a line that becomes faster and slower.
    fn pieces_of(area: Rect, cell: (u32, u32)) -> Vec<Rect> {
        let mut pieces: Vec<Rect> = Vec::new();
        for pixels in [0, 6000, 40_000, 1000, 100_000].into_iter().cycle() {
            match next_piece(area, pieces.last(), Images::Sixel, cell, pixels) {
                Some(piece) => pieces.push(piece),
                None => break,
            }
        }
        pieces
    }

    #[test]
    fn pieces_of_a_picture_fill_it_and_join_for_viuer() {
        let area = Rect { x: 3, y: 2, width: 61, height: 29 };
        for cell in [(6, 12), (8, 17), (9, 18), (10, 20), (7, 14)] {
            let pieces = pieces_of(area, cell);
            let cells: u32 = pieces.iter().map(|piece| piece.area()).sum();
            assert_eq!(cells, 61 * 29, "{cell:?}");
            assert!(pieces.iter().enumerate().all(|(i, a)| pieces[..i].iter().all(|b| !a.intersects(*b))), "{cell:?}");
            for piece in &pieces {
                let last = (piece.right() == area.right(), piece.bottom() == area.bottom());
                assert!(last.0 || u32::from(piece.width) * cell.0 % 6 == 0, "{cell:?} {piece:?}");
                assert!(last.1 || u32::from(piece.height) * cell.1 % 12 == 0, "{cell:?} {piece:?}");
            }
        }
        assert_eq!(next_piece(area, None, Images::Sixel, (8, 16), usize::MAX), Some(area));
        let wide = Rect { width: 300, ..area };
        assert_eq!(next_piece(wide, None, Images::Sixel, (8, 16), usize::MAX).map(|piece| piece.width), Some(123));
        // 6000 pixels are 46 cells of 8 × 16: 15 on each of 3 lines.
        let first = Rect { width: 15, height: 3, ..area };
        assert_eq!(next_piece(area, None, Images::Sixel, (8, 16), 6000), Some(first));
    }

    #[test]
    fn what_is_cut_from_a_picture_is_all_of_it() {
        let area = Rect { x: 0, y: 0, width: 10, height: 5 };
        let picture = RgbImage::from_fn(83, 91, |x, y| ::image::Rgb([x as u8, y as u8, 0]));
        let mut whole = RgbImage::new(83, 91);
        for piece in pieces_of(area, (8, 18)) {
            let part = cut(&picture, area, piece);
            let at = part.get_pixel(0, 0).0;
            imageops::replace(&mut whole, &part, i64::from(at[0]), i64::from(at[1]));
        }
        assert_eq!(whole, picture);
    }
}
