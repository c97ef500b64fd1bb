//! Pictures in the terminal: one [`Surface`], with two ways to draw.
//!
//! *Blocks* puts half blocks into the frame, like any other cell. *Graphics* leaves the cells of a picture out of the
//! frame, and prints it over them with viuer once the screen is still, only when the picture or its place has changed.
//! Pictures are decoded and shrunk on a thread of their own; the frame shows the place until they come.

mod blocks;
mod graphics;
mod loader;
mod masked;
mod pace;
mod printer;
mod probe;

use std::path::Path;
use std::sync::Arc;

use ::image::RgbImage;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

pub use loader::Loaded;
pub use masked::stand_back;
pub use printer::tell_viuer;
pub use probe::{Choice, Environment, Probe, colours};

use graphics::Graphics;
use loader::Loader;
use pace::Reveal;

/// How pictures are to be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Images {
    /// The best the terminal can do.
    Auto,
    /// kitty's graphics protocol.
    Kitty,
    /// iTerm2's inline pictures.
    Iterm,
    /// Sixel.
    Sixel,
    /// Half blocks.
    Blocks,
    /// Not at all.
    Off,
}

impl Images {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Auto, Self::Kitty, Self::Iterm, Self::Sixel, Self::Blocks, Self::Off];

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kitty => "kitty",
            Self::Iterm => "iterm",
            Self::Sixel => "sixel",
            Self::Blocks => "blocks",
            Self::Off => "off",
        }
    }
}

/// How many colours half blocks may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    /// 24 bits.
    True,
    /// The 256 of xterm.
    Indexed,
    /// None: shades of characters (`NO_COLOR`).
    None,
}

/// Where pictures are drawn.
pub struct Surface {
    images: Images,
    colours: Colours,
    loader: Loader,
    graphics: Graphics,
    reveal: Reveal,
    /// No picture may be drawn here in this frame.
    covered: Vec<Rect>,
}

impl Surface {
    /// A surface that draws with `images`, no pictures yet where that is `auto`, and calls `loaded` on another thread when a picture
    /// has come.
    pub fn new(images: Images, colours: Colours, loaded: impl Fn(Loaded) + Send + 'static) -> Self {
        let (loader, graphics) = (Loader::new(loaded), Graphics::new(images));
        Self { images, colours, loader, graphics, reveal: Reveal::default(), covered: Vec::new() }
    }

    /// Draw another way from the next frame on.
    pub fn change(&mut self, images: Images) {
        self.images = images;
        self.graphics = Graphics::new(images);
    }

    /// How pictures are drawn.
    pub fn images(&self) -> Images {
        self.images
    }

    /// A picture has come.
    pub fn take(&mut self, loaded: Loaded) {
        self.loader.take(loaded);
    }

    /// Whether all pictures asked for have come.
    pub fn is_settled(&self) -> bool {
        self.loader.is_settled()
    }

    /// From here on in this frame no picture is drawn under `covered`.
    pub fn cover(&mut self, covered: Vec<Rect>) {
        self.covered = covered;
    }

    /// Begin a frame in which no picture is drawn under `covered`.
    pub fn begin(&mut self, covered: Vec<Rect>) {
        self.covered = covered;
        self.graphics.begin();
        self.reveal.begin();
        self.loader.begin();
    }

    /// Draw the picture at `path` as large as fits into `area`, in its middle; what `mask` leaves out stands back.
    pub fn draw(&mut self, buffer: &mut Buffer, area: Rect, path: &Path, mask: Option<&Path>) {
        let area = area.intersection(buffer.area);
        if area.is_empty() || self.images == Images::Off {
            return note(buffer, area, name(path));
        }
        let cell = self.cell();
        let key = self.loader.key(path, mask, u32::from(area.width) * cell.0, u32::from(area.height) * cell.1);
        match self.loader.get(&key) {
            // How it will be drawn is not known yet.
            Some(Ok(_)) if self.images == Images::Auto => note(buffer, area, "…"),
            None => note(buffer, area, "…"),
            Some(Err(())) => note(buffer, area, "unreadable"),
            Some(Ok(picture)) => {
                let place = place(area, &picture, cell);
                if self.images == Images::Blocks {
                    let rows = self.reveal.rows(place, hash(&key));
                    blocks::draw(buffer, place, rows, &picture, self.colours);
                } else if !self.covered.iter().any(|covered| covered.intersects(place)) {
                    self.graphics.place(buffer, place, hash(&key), &picture);
                }
            }
        }
    }

    /// How many pixels a picture of `area` has: half blocks, or pixels of the terminal. None where none are drawn.
    pub fn pixels(&self, area: Rect) -> Option<(u32, u32)> {
        let cell = self.cell();
        let drawn = self.images != Images::Off;
        drawn.then(|| (u32::from(area.width) * cell.0, u32::from(area.height) * cell.1))
    }

    /// Draw `picture`, which has the pixels of `area`, over all of it.
    pub fn paint(&mut self, buffer: &mut Buffer, area: Rect, picture: RgbImage) {
        match self.images {
            Images::Off => {}
            Images::Blocks | Images::Auto => blocks::draw(buffer, area, area.height, &picture, self.colours),
            _ => self.graphics.place(buffer, area, hash(&picture.as_raw()), &Arc::new(picture)),
        }
    }

    /// Width and height of a cell in the pixels that pictures are shrunk to.
    fn cell(&self) -> (u32, u32) {
        match self.images {
            Images::Blocks | Images::Auto => (1, 2),
            _ => self.graphics.cell(),
        }
    }

    /// Have the frame write over pictures that are gone. Call it when all is drawn.
    pub fn uncover(&self, buffer: &mut Buffer) {
        self.graphics.uncover(buffer);
    }

    /// Remove pictures that are gone. Call it after the frame was written.
    pub fn finish(&mut self) -> std::io::Result<()> {
        self.loader.end();
        self.reveal.end();
        self.graphics.finish()
    }

    /// The frame or a picture was written. Whether the terminal is to be asked for its status: pictures wait for the answer.
    pub fn asks(&mut self) -> bool {
        self.reveal.wrote() | self.graphics.asks()
    }

    /// The terminal has answered.
    pub fn answered(&mut self) {
        self.reveal.answered();
        self.graphics.answered();
    }

    /// When another frame shows more of the pictures, if they are not whole yet.
    pub fn more_due(&mut self) -> Option<std::time::Instant> {
        self.reveal.due()
    }

    /// For how long the screen must be still before [`Surface::print_next`] is called; none if no picture waits.
    pub fn patience(&mut self) -> Option<std::time::Duration> {
        self.graphics.patience()
    }

    /// Print one picture over the frame. Whether more wait.
    pub fn print_next(&mut self) -> std::io::Result<bool> {
        self.graphics.print_next()
    }

    /// The terminal was cleared or lent out: nothing printed is there any more.
    pub fn forget(&mut self) {
        self.graphics.forget();
        self.reveal.forget();
    }
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or("?")
}

/// What tells two pictures apart on the screen.
fn hash(key: &impl std::hash::Hash) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// A faint word in the middle of `area`.
fn note(buffer: &mut Buffer, area: Rect, text: &str) {
    if area.is_empty() {
        return;
    }
    let text: String = text.chars().take(area.width as usize).collect();
    let x = area.x + (area.width - text.chars().count() as u16) / 2;
    buffer.set_string(x, area.y + area.height / 2, text, super::theme::faint());
}

/// The cells a picture of this size takes in the middle of `area`.
fn place(area: Rect, picture: &RgbImage, cell: (u32, u32)) -> Rect {
    let cells = |pixels: u32, cell: u32, most: u16| ((pixels + cell / 2) / cell).clamp(1, u32::from(most)) as u16;
    let width = cells(picture.width(), cell.0, area.width);
    let height = cells(picture.height(), cell.1, area.height);
    Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height }
}
