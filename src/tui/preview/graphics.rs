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
use super::pace::{self, Pace};

/// Sixel pictures are printed by viuer in units of so many pixels, whatever the terminal's cells are.
const VIUER_CELL: (u32, u32) = (6, 12);

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
    shown: HashMap<Rect, u64>,
    wanted: Vec<(Rect, u64, Arc<RgbImage>)>,
    still: HashMap<Rect, u64>,
    /// The terminal was told where sixel pictures start.
    told: bool,
    pace: Pace,
    /// Which of the pictures that this frame and the last have come in pieces.
    pieces: HashMap<(Rect, u64), Pieces>,
}

/// How many pixels the pieces of a picture have at most, and whether this frame has it.
struct Pieces {
    pixels: usize,
    seen: bool,
}

impl Graphics {
    /// Nothing shown yet.
    pub fn new(images: Images) -> Self {
        let (shown, still, wanted) = (HashMap::new(), HashMap::new(), Vec::new());
        let (pace, pieces) = (Pace::new(8e-6), HashMap::new());
        Self { images, cell: cell_size(), shown, wanted, still, told: false, pace, pieces }
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
        self.pieces.values_mut().for_each(|pieces| pieces.seen = false);
    }

    /// Leave the cells of `area` out of the frame if `picture` is there already. Else they are blank in this frame,
    /// which removes what was there before, and the picture is printed over them later.
    pub fn place(&mut self, buffer: &mut Buffer, area: Rect, hash: u64, picture: &Arc<RgbImage>) {
        let most = self.pace.piece();
        let pieces = self.pieces.entry((area, hash)).or_insert(Pieces { pixels: most, seen: true });
        pieces.seen = true;
        let all = pieces_of(area, self.images, self.cell, pieces.pixels);
        if all.len() == 1 {
            return self.place_piece(buffer, area, hash, || Arc::clone(picture));
        }
        for (i, piece) in all.into_iter().enumerate() {
            self.place_piece(buffer, piece, hash.wrapping_add(1 + i as u64), || Arc::new(cut(picture, area, piece)));
        }
    }

    fn place_piece(&mut self, buffer: &mut Buffer, area: Rect, hash: u64, picture: impl FnOnce() -> Arc<RgbImage>) {
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
            self.wanted.push((area, hash, picture()));
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
        self.pieces.retain(|_, pieces| pieces.seen);
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

    /// Nothing is to be asked.
    pub fn never_ask(&mut self) {
        self.pace.never_ask();
    }

    /// The terminal has answered.
    pub fn answered(&mut self) {
        self.pace.answered();
    }

    /// Print one of the pictures that wait. Whether more do.
    pub fn print_next(&mut self) -> io::Result<bool> {
        // Those asked for first are above.
        if self.wanted.is_empty() {
            return Ok(false);
        }
        let (area, hash, picture) = self.wanted.remove(0);
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
        let pixels = usize::from(area.width) * usize::from(area.height) * (self.cell.0 * self.cell.1) as usize;
        if self.pace.wrote(pixels) {
            let mut out = io::stdout().lock();
            out.write_all(pace::ASK.as_bytes())?;
            out.flush()?;
        }
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
        self.pieces.clear();
        self.told = false;
        self.cell = cell_size();
    }
}

/// The pieces of a picture that fills `area`: of about so many pixels, and of whole units of viuer, so that they join.
fn pieces_of(area: Rect, images: Images, cell: (u32, u32), pixels: usize) -> Vec<Rect> {
    let pixels = u32::try_from(pixels).unwrap_or(u32::MAX);
    let all = u32::from(area.width) * cell.0 * u32::from(area.height) * cell.1;
    // Not in two halves of which one is a sliver.
    if all <= pixels.saturating_mul(2) {
        return vec![area];
    }
    let unit = |of_viuer: u32, of_cell: u32| match images {
        Images::Sixel => of_viuer / gcd(of_viuer, of_cell),
        _ => 1,
    };
    let (unit_width, height) = (unit(VIUER_CELL.0, cell.0), unit(VIUER_CELL.1, cell.1));
    let width = (pixels / (height * cell.1 * cell.0) / unit_width).max(1) * unit_width;
    let (width, height) = (width.min(u32::from(u16::MAX)) as u16, height as u16);
    let tops = (area.top()..area.bottom()).step_by(usize::from(height));
    let all = tops.flat_map(|y| (area.left()..area.right()).step_by(usize::from(width)).map(move |x| (x, y)));
    all.map(|(x, y)| Rect { x, y, width, height }.intersection(area)).collect()
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
    viuer::print(&picture, &config).map(|_| ()).map_err(|error| io::Error::other(error.to_string()))
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

    #[test]
    fn pieces_of_a_picture_are_small_fill_it_and_join_for_viuer() {
        let area = Rect { x: 3, y: 2, width: 61, height: 29 };
        for cell in [(6, 12), (8, 17), (9, 18), (10, 20), (7, 14)] {
            let pieces = pieces_of(area, Images::Sixel, cell, 6000);
            let cells: u32 = pieces.iter().map(|piece| u32::from(piece.width) * u32::from(piece.height)).sum();
            assert_eq!(cells, 61 * 29, "{cell:?}");
            assert!(pieces.iter().enumerate().all(|(i, a)| pieces[..i].iter().all(|b| !a.intersects(*b))), "{cell:?}");
            for piece in &pieces {
                let last = (piece.right() == area.right(), piece.bottom() == area.bottom());
                assert!(last.0 || u32::from(piece.width) * cell.0 % 6 == 0, "{cell:?} {piece:?}");
                assert!(last.1 || u32::from(piece.height) * cell.1 % 12 == 0, "{cell:?} {piece:?}");
            }
        }
    }

    #[test]
    fn what_is_cut_from_a_picture_is_all_of_it() {
        let area = Rect { x: 0, y: 0, width: 10, height: 5 };
        let picture = RgbImage::from_fn(83, 91, |x, y| ::image::Rgb([x as u8, y as u8, 0]));
        let mut whole = RgbImage::new(83, 91);
        for piece in pieces_of(area, Images::Sixel, (8, 18), 6000) {
            let part = cut(&picture, area, piece);
            let at = part.get_pixel(0, 0).0;
            imageops::replace(&mut whole, &part, i64::from(at[0]), i64::from(at[1]));
        }
        assert_eq!(whole, picture);
    }
}
