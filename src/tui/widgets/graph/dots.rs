//! Lines and points of dots, 2 × 4 to a cell, as braille characters.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// How a line is drawn, so that lines differ without colours too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// Without a gap.
    Solid,
    /// Pieces.
    Dashed,
    /// Single dots.
    Dotted,
    /// A piece, then a dot.
    DashDotted,
    /// Long pieces.
    LongDashed,
    /// Pairs of dots, far apart.
    Sparse,
}

impl Pattern {
    /// All of them, the most different ones first.
    const ALL: [Self; 6] = [Self::Solid, Self::Dashed, Self::Dotted, Self::DashDotted, Self::LongDashed, Self::Sparse];

    /// The one of the line at `index` among several.
    pub fn of(index: usize) -> Self {
        Self::ALL[index % Self::ALL.len()]
    }

    /// A piece of such a line, for legends.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Solid => "──",
            Self::Dashed => "╌╌",
            Self::Dotted => "┈┈",
            Self::DashDotted => "─·",
            Self::LongDashed => "━╴",
            Self::Sparse => "··",
        }
    }

    /// Whether the dot at `along` the line is drawn.
    fn is_on(self, along: usize) -> bool {
        match self {
            Self::Solid => true,
            Self::Dashed => along % 9 < 6,
            Self::Dotted => along.is_multiple_of(3),
            Self::DashDotted => along % 13 < 7 || along % 13 == 10,
            Self::LongDashed => along % 18 < 15,
            Self::Sparse => along % 8 < 2,
        }
    }
}

/// An area of dots in layers, each of one style. A cell shows one layer: where several meet, they take turns from column to
/// column, so that each can be followed and none covers another.
pub struct Dots {
    area: Rect,
    layers: Vec<(Style, Vec<u8>)>,
}

impl Dots {
    /// No dots on `area`.
    pub fn new(area: Rect) -> Self {
        Self { area, layers: Vec::new() }
    }

    /// Draw a new layer, with `style`, from now on.
    pub fn begin(&mut self, style: Style) {
        self.layers.push((style, vec![0; self.area.width as usize * self.area.height as usize]));
    }

    /// Set the dot `x` from the left and `y` from the top, if there is one.
    pub fn set(&mut self, x: usize, y: usize) {
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let width = self.area.width as usize;
        if x < 2 * width
            && let Some(bits) = self.layers.last_mut().and_then(|(_, cells)| cells.get_mut(y / 4 * width + x / 2))
        {
            *bits |= BITS[y % 4][x % 2];
        }
    }

    /// Draw the cells that have dots.
    pub fn draw(&self, buffer: &mut Buffer) {
        for (at, position) in self.area.positions().enumerate() {
            let here = || self.layers.iter().filter(|(_, cells)| cells[at] > 0);
            let count = here().count();
            // Pieces of two columns: long enough to tell a pattern by.
            let turn = (position.x - self.area.x) as usize / 2 % count.max(1);
            if let Some((style, cells)) = here().nth(turn) {
                let symbol = char::from_u32(0x2800 + u32::from(cells[at])).unwrap_or(' ');
                buffer[position].set_char(symbol).set_style(*style);
            }
        }
    }
}

/// Draws one line, dot after dot.
pub struct Pen<'a> {
    dots: &'a mut Dots,
    pattern: Pattern,
    along: usize,
    at: Option<(usize, usize)>,
}

impl<'a> Pen<'a> {
    /// A pen that has not touched the dots yet.
    pub fn new(dots: &'a mut Dots, pattern: Pattern) -> Self {
        Self { dots, pattern, along: 0, at: None }
    }

    /// Draw to the dot at `to`; the first call only sets it.
    pub fn go(&mut self, to: (usize, usize)) {
        let from = self.at.unwrap_or(to);
        let length = to.0.abs_diff(from.0).max(to.1.abs_diff(from.1));
        let first = usize::from(self.at.is_some());
        for i in first.min(length)..=length {
            let between = |from: usize, to: usize| {
                (from as f64 + (to as f64 - from as f64) * i as f64 / length.max(1) as f64).round() as usize
            };
            if self.pattern.is_on(self.along) {
                self.dots.set(between(from.0, to.0), between(from.1, to.1));
            }
            self.along += usize::from(length > 0);
        }
        self.at = Some(to);
    }
}
