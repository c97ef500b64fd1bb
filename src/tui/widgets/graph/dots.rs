//! Lines and points of dots, 2 × 4 to a cell, as braille characters.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// How a line is drawn, so that lines differ without colours too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// Without a gap.
    Solid,
    /// Long pieces.
    Dashed,
    /// Single dots.
    Dotted,
}

impl Pattern {
    /// The one of the line at `index` among several.
    pub fn of(index: usize) -> Self {
        [Self::Solid, Self::Dashed, Self::Dotted][index % 3]
    }

    /// A piece of such a line, for legends.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Solid => "──",
            Self::Dashed => "╌╌",
            Self::Dotted => "┈┈",
        }
    }

    /// Whether the dot at `along` the line is drawn.
    fn is_on(self, along: usize) -> bool {
        match self {
            Self::Solid => true,
            Self::Dashed => along % 9 < 6,
            Self::Dotted => along.is_multiple_of(3),
        }
    }
}

/// An area of dots in several styles. A cell has one style: the one that was drawn last.
pub struct Dots {
    area: Rect,
    cells: Vec<(u8, u8)>,
    styles: Vec<Style>,
}

impl Dots {
    /// No dots on `area`.
    pub fn new(area: Rect) -> Self {
        Self { area, cells: vec![(0, 0); area.width as usize * area.height as usize], styles: Vec::new() }
    }

    /// Draw with `style` from now on.
    pub fn begin(&mut self, style: Style) {
        self.styles.push(style);
    }

    /// Set the dot `x` from the left and `y` from the top, if there is one.
    pub fn set(&mut self, x: usize, y: usize) {
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let width = self.area.width as usize;
        if x < 2 * width
            && let Some((bits, style)) = self.cells.get_mut(y / 4 * width + x / 2)
        {
            *bits |= BITS[y % 4][x % 2];
            *style = self.styles.len().saturating_sub(1) as u8;
        }
    }

    /// Draw the cells that have dots.
    pub fn draw(&self, buffer: &mut Buffer) {
        for (position, &(bits, style)) in self.area.positions().zip(&self.cells) {
            if bits > 0 {
                let symbol = char::from_u32(0x2800 + u32::from(bits)).unwrap_or(' ');
                let style = self.styles.get(style as usize).copied().unwrap_or_default();
                buffer[position].set_char(symbol).set_style(style);
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
