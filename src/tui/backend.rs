//! What frames are written with: ratatui's backend for crossterm, but blank cells side by side are erased by one command. On a
//! line of 1 Mbit/s a key waits 8 µs for every byte, and half of what opens over a screen is blank.

use std::io::{self, Write};

use crossterm::cursor::MoveTo;
use crossterm::queue;
use crossterm::style::{Attribute, Print, SetAttribute};
use ratatui::backend::{Backend, ClearType, CrosstermBackend, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use ratatui::style::Color;

/// From so many blank cells on the command is shorter than they are, with the way there.
const LEAST: usize = 12;

/// Crossterm's backend with fewer bytes.
pub struct LeanBackend<W: Write> {
    inner: CrosstermBackend<W>,
}

impl<W: Write> LeanBackend<W> {
    /// Write to `out`.
    pub fn new(out: W) -> Self {
        Self { inner: CrosstermBackend::new(out) }
    }
}

/// Whether a cell is as one that was erased, to the last attribute.
fn is_blank(cell: &Cell) -> bool {
    cell.symbol() == " " && cell.fg == Color::Reset && cell.bg == Color::Reset && cell.modifier.is_empty()
}

impl<W: Write> Backend for LeanBackend<W> {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let content: Vec<(u16, u16, &Cell)> = content.collect();
        let joins = |a: &(u16, u16, &Cell), b: &(u16, u16, &Cell)| {
            is_blank(a.2) && is_blank(b.2) && a.1 == b.1 && a.0.checked_add(1) == Some(b.0)
        };
        let (erased, written): (Vec<_>, Vec<_>) =
            content.chunk_by(joins).partition(|run| run.len() >= LEAST && is_blank(run[0].2));
        if !erased.is_empty() {
            // Erased cells get the colours that are set.
            queue!(self.inner, SetAttribute(Attribute::Reset))?;
        }
        for run in erased {
            queue!(self.inner, MoveTo(run[0].0, run[0].1), Print(format_args!("\x1b[{}X", run.len())))?;
        }
        self.inner.draw(written.into_iter().flatten().copied())
    }

    fn append_lines(&mut self, n: u16) -> io::Result<()> {
        self.inner.append_lines(n)
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.inner.hide_cursor()
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.inner.show_cursor()
    }

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        self.inner.get_cursor_position()
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        self.inner.set_cursor_position(position)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.inner.clear()
    }

    fn clear_region(&mut self, clear_type: ClearType) -> io::Result<()> {
        self.inner.clear_region(clear_type)
    }

    fn size(&self) -> io::Result<Size> {
        self.inner.size()
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        self.inner.window_size()
    }

    fn flush(&mut self) -> io::Result<()> {
        Backend::flush(&mut self.inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ratatui::buffer::Buffer;
    use ratatui::layout::Rect;
    use ratatui::style::{Modifier, Style};

    use super::*;

    fn screen(bytes: &[&[u8]]) -> Vec<String> {
        let mut parser = vt100::Parser::new(4, 60, 0);
        bytes.iter().for_each(|bytes| parser.process(bytes));
        let screen = parser.screen();
        let cells = (0..4).flat_map(|row| (0..60).map(move |column| screen.cell(row, column).unwrap()));
        cells.map(|cell| format!("{}{:?}{:?}", cell.contents().trim(), cell.bgcolor(), cell.inverse())).collect()
    }

    #[test]
    fn the_screen_is_the_same_with_fewer_bytes() {
        let area = Rect::new(0, 0, 60, 4);
        let (mut before, mut after) = (Buffer::filled(area, Cell::new("x")), Buffer::empty(area));
        before.set_style(area, Style::new().bg(Color::Blue));
        after.set_string(3, 1, "two words", Style::new().fg(Color::Red));
        after.set_string(20, 2, " ".repeat(30), Style::new().bg(Color::Green));
        after.set_string(0, 3, " ".repeat(40), Style::new().add_modifier(Modifier::REVERSED));
        let cells = |buffer: &Buffer| -> Vec<(u16, u16, Cell)> {
            area.positions().map(|at| (at.x, at.y, buffer[at].clone())).collect()
        };
        let (before, after) = (cells(&before), cells(&after));
        let each = |cells: &[(u16, u16, Cell)], lean: bool| {
            let cells = cells.iter().map(|(x, y, cell)| (*x, *y, cell));
            let mut bytes = Vec::new();
            if lean {
                LeanBackend::new(&mut bytes).draw(cells).unwrap();
            } else {
                CrosstermBackend::new(&mut bytes).draw(cells).unwrap();
            }
            bytes
        };
        let (plain, lean) = (each(&after, false), each(&after, true));
        let first = each(&before, false);
        assert_eq!(screen(&[&first, &lean]), screen(&[&first, &plain]));
        assert!(lean.len() * 4 < plain.len() * 3, "{} of {}", lean.len(), plain.len());
    }
}
