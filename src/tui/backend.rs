//! What frames are written with: ratatui's backend for crossterm, but in fewer bytes. Blank cells side by side are erased by
//! one command, the cursor goes on from where it is, styles are changed by what they differ in, and a few cells that stay as
//! they are are written again where going over them would take more. On a line of 1 Mbit/s a key waits 8 µs for every byte.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use crossterm::cursor::MoveTo;
use crossterm::queue;
use crossterm::style::Colored;
use ratatui::backend::{Backend, ClearType, CrosstermBackend, IntoCrossterm, WindowSize};
use ratatui::buffer::{Buffer, Cell, CellDiffOption, CellWidth};
use ratatui::layout::{Position, Size};
use ratatui::style::{Color, Modifier};

/// From this many blank cells on the command is shorter than they are, with the way there.
const LEAST: usize = 12;

/// So many bytes take the cursor on, as in `ESC[3C`.
const MOVE: usize = 4;

/// Cells of a frame and where they stand.
pub type Cells = Vec<(u16, u16, Cell)>;

/// The cells of `next` that are as in `last`, which is on the screen, but are to be written too, between others that change:
/// it takes fewer bytes than to go over them.
pub fn bridges(last: &Buffer, next: &Buffer) -> Cells {
    let width = usize::from(next.area.width);
    let mut bridges = Vec::new();
    if last.area != next.area || width == 0 {
        return bridges;
    }
    for (y, (last, next)) in last.content.chunks_exact(width).zip(next.content.chunks_exact(width)).enumerate() {
        let mut before: Option<usize> = None;
        for at in 0..width {
            let option = next[at].diff_option;
            if option == CellDiffOption::Skip || (option == CellDiffOption::None && next[at] == last[at]) {
                continue;
            }
            if let Some(before) = before.replace(at).filter(|&before| pays(&next[before..=at])) {
                let between = (before + 1..at).map(|x| (x as u16, y as u16, next[x].clone()));
                bridges.extend(between);
            }
        }
    }
    bridges
}

/// Whether it is shorter to write all of `cells` than the first and the last.
fn pays(cells: &[Cell]) -> bool {
    let [first, between @ .., last] = cells else { return false };
    let style = |cell: &Cell| (cell.fg, cell.bg, cell.modifier);
    let alike = |cell: &Cell| is_blank(cell) || style(cell) == style(first) || style(cell) == style(last);
    // Pictures that lie over the text, and characters of two cells, are left alone.
    let plain = |cell: &Cell| cell.diff_option == CellDiffOption::None && cell.cell_width() == 1;
    let all_blank = || cells.iter().all(is_blank);
    let bytes = between.iter().map(|cell| cell.symbol().len()).sum::<usize>();
    plain(first) && between.iter().all(plain) && (all_blank() || (bytes < MOVE && between.iter().all(alike)))
}

/// Crossterm's backend in fewer bytes.
pub struct LeanBackend<W: Write> {
    inner: CrosstermBackend<W>,
    bridges: Rc<RefCell<Cells>>,
}

impl<W: Write> LeanBackend<W> {
    /// Write to `out`, and with the next frame the cells that `bridges` holds then.
    pub fn new(out: W, bridges: Rc<RefCell<Cells>>) -> Self {
        Self { inner: CrosstermBackend::new(out), bridges }
    }
}

/// What is seen of the style of a space; its colour, too, where there is any of these.
const SEEN_ON_SPACE: Modifier = Modifier::UNDERLINED
    .union(Modifier::SLOW_BLINK)
    .union(Modifier::RAPID_BLINK)
    .union(Modifier::REVERSED)
    .union(Modifier::CROSSED_OUT);

/// Whether a cell looks as one that was erased.
fn is_blank(cell: &Cell) -> bool {
    cell.symbol() == " " && cell.bg == Color::Reset && !cell.modifier.intersects(SEEN_ON_SPACE)
}

/// What writes cells: it knows where the cursor is, and the colours and attributes that are set.
struct Pen<'a, W: Write> {
    out: &'a mut W,
    /// Unknown at first, and after what terminals may find wider or narrower than we do.
    at: Option<(u16, u16)>,
    /// Only its style counts.
    style: Cell,
}

impl<W: Write> Pen<'_, W> {
    fn move_to(&mut self, (x, y): (u16, u16)) -> io::Result<()> {
        match self.at {
            Some(at) if at == (x, y) => Ok(()),
            Some((from, row)) if row == y && from < x => match x - from {
                1 => write!(self.out, "\x1b[C"),
                cells => write!(self.out, "\x1b[{cells}C"),
            },
            Some((_, row)) if x == 0 && row.checked_add(1) == Some(y) => write!(self.out, "\r\n"),
            _ => queue!(self.out, MoveTo(x, y)),
        }
    }

    /// Make `count` cells from `place` on blank.
    fn erase(&mut self, place: (u16, u16), count: usize) -> io::Result<()> {
        self.move_to(place)?;
        self.at = Some(place);
        // Erased cells get the colours that are set.
        self.set(&Cell::EMPTY)?;
        write!(self.out, "\x1b[{count}X")
    }

    fn write(&mut self, place: (u16, u16), cell: &Cell) -> io::Result<()> {
        self.move_to(place)?;
        self.set(cell)?;
        write!(self.out, "{}", cell.symbol())?;
        let sure = cell.cell_width() == 1 && cell.symbol().chars().count() == 1;
        self.at = sure.then_some((place.0 + 1, place.1));
        Ok(())
    }

    /// Set the style of `cell`, by what it differs in from the one that is set, as far as that is seen.
    fn set(&mut self, cell: &Cell) -> io::Result<()> {
        let (mut fg, bg, mut modifier) = (cell.fg, cell.bg, cell.modifier);
        if cell.symbol() == " " && !modifier.intersects(SEEN_ON_SPACE) {
            (fg, modifier) = (self.style.fg, self.style.modifier - SEEN_ON_SPACE);
        }
        self.set_style(fg, bg, modifier)
    }

    fn set_style(&mut self, fg: Color, bg: Color, modifier: Modifier) -> io::Result<()> {
        let mut codes: Vec<String> = Vec::new();
        let off = self.style.modifier - modifier;
        let mut on = modifier - self.style.modifier;
        for (modifiers, _, code) in ATTRIBUTES.iter().filter(|(modifiers, ..)| modifiers.intersects(off)) {
            codes.push(code.to_string());
            // One code ends both bold and dim.
            on |= *modifiers & modifier;
        }
        for (modifiers, each, _) in ATTRIBUTES {
            let set = modifiers.iter().zip(*each).filter(|(modifier, _)| on.contains(*modifier));
            codes.extend(set.map(|(_, code)| code.to_string()));
        }
        if fg != self.style.fg {
            codes.push(Colored::ForegroundColor(fg.into_crossterm()).to_string());
        }
        if bg != self.style.bg {
            codes.push(Colored::BackgroundColor(bg.into_crossterm()).to_string());
        }
        // Without colours there is nothing to say of them.
        codes.retain(|code| !code.is_empty());
        (self.style.fg, self.style.bg, self.style.modifier) = (fg, bg, modifier);
        if codes.is_empty() { Ok(()) } else { write!(self.out, "\x1b[{}m", codes.join(";")) }
    }

    /// Leave no style behind.
    fn rest(mut self) -> io::Result<()> {
        self.set_style(Color::Reset, Color::Reset, Modifier::empty())
    }
}

/// Attributes in the order of their bits, the codes that set them, and the one that takes them away.
const ATTRIBUTES: &[(Modifier, &[u8], u8)] = &[
    (Modifier::BOLD.union(Modifier::DIM), &[1, 2], 22),
    (Modifier::ITALIC, &[3], 23),
    (Modifier::UNDERLINED, &[4], 24),
    (Modifier::SLOW_BLINK.union(Modifier::RAPID_BLINK), &[5, 6], 25),
    (Modifier::REVERSED, &[7], 27),
    (Modifier::HIDDEN, &[8], 28),
    (Modifier::CROSSED_OUT, &[9], 29),
];

impl<W: Write> Backend for LeanBackend<W> {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let bridges = self.bridges.take();
        let mut content: Vec<(u16, u16, &Cell)> = content.collect();
        content.extend(bridges.iter().map(|(x, y, cell)| (*x, *y, cell)));
        content.sort_by_key(|&(x, y, _)| (y, x));
        let joins = |a: &(u16, u16, &Cell), b: &(u16, u16, &Cell)| {
            is_blank(a.2) && is_blank(b.2) && a.1 == b.1 && a.0.checked_add(1) == Some(b.0)
        };
        let mut pen = Pen { out: &mut self.inner, at: None, style: Cell::EMPTY };
        for run in content.chunk_by(joins) {
            if run.len() >= LEAST && is_blank(run[0].2) {
                pen.erase((run[0].0, run[0].1), run.len())?;
            } else {
                run.iter().try_for_each(|&(x, y, cell)| pen.write((x, y), cell))?;
            }
        }
        pen.rest()
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

    use proptest::prelude::*;
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    use super::*;

    const AREA: Rect = Rect { x: 0, y: 0, width: 60, height: 4 };

    /// All there is to see of each cell.
    fn screen(parser: &vt100::Parser) -> Vec<String> {
        let screen = parser.screen();
        let cells = (0..AREA.height).flat_map(|y| (0..AREA.width).map(move |x| screen.cell(y, x).unwrap()));
        let seen = |cell: &vt100::Cell| {
            let (text, seen_on_space) = (cell.contents().trim(), [cell.underline(), cell.inverse()]);
            let rest = (cell.fgcolor(), cell.bold(), cell.dim(), cell.italic());
            let rest = Some(rest).filter(|_| !text.is_empty() || seen_on_space.contains(&true));
            format!("{text}{:?}{seen_on_space:?}{rest:?}", cell.bgcolor())
        };
        cells.map(seen).collect()
    }

    /// What is written to bring a screen from `last` to `next`, by crossterm's backend and by ours.
    fn written(last: &Buffer, next: &Buffer) -> [Vec<u8>; 2] {
        let (mut plain, mut lean) = (Vec::new(), Vec::new());
        CrosstermBackend::new(&mut plain).draw(last.diff_iter(next)).unwrap();
        let cells = Rc::new(RefCell::new(bridges(last, next)));
        LeanBackend::new(&mut lean, cells).draw(last.diff_iter(next)).unwrap();
        [plain, lean]
    }

    #[test]
    fn what_opens_over_a_screen_takes_fewer_bytes() {
        let (mut last, mut next) = (Buffer::empty(AREA), Buffer::empty(AREA));
        last.set_string(0, 1, "Of what was here before some letters stay as they are.", Style::new());
        next.set_string(3, 1, "two words and some more in a colour", Style::new().fg(Color::Red));
        next.set_string(20, 2, " ".repeat(30), Style::new().bg(Color::Green));
        next.set_string(0, 3, "and ", Style::new().add_modifier(Modifier::BOLD));
        let [plain, lean] = written(&last, &next);
        assert!(lean.len() * 4 < plain.len() * 3, "{} of {}", lean.len(), plain.len());
    }

    type Written = (u16, u16, String, u16, u8, u8);

    fn frame(texts: Vec<&'static str>) -> impl Strategy<Value = Vec<Written>> {
        let text = prop::sample::select(texts).prop_map(str::to_owned);
        prop::collection::vec((0..AREA.width, 0..AREA.height, text, 0..512u16, 0..4u8, 0..3u8), 0..12)
    }

    const NARROW: [&str; 6] = ["a few words", "x", "▀▀⠐ ⠐", "   ", "                    ", "— ·"];

    fn drawn(frame: &[Written]) -> Buffer {
        let color = |of: u8| [Color::Reset, Color::Red, Color::Indexed(33), Color::Rgb(1, 2, 3)][usize::from(of)];
        let mut buffer = Buffer::empty(AREA);
        for (x, y, text, modifiers, fg, bg) in frame {
            // The terminal of this test knows either bold or dim.
            let modifiers = Modifier::from_bits_truncate(*modifiers) - Modifier::HIDDEN - Modifier::DIM;
            buffer.set_string(*x, *y, text, Style::new().fg(color(*fg)).bg(color(*bg)).add_modifier(modifiers));
        }
        buffer
    }

    proptest! {
        /// Characters of two cells come last: what becomes of half of one is up to the terminal.
        #[test]
        fn any_frames_one_after_the_other_look_as_by_crossterms_backend(
            mut frames in prop::collection::vec(frame(NARROW.into()), 1..4),
            last in frame([&NARROW[..], &["漢字 wide"]].concat()),
        ) {
            frames.push(last);
            let new = || vt100::Parser::new(AREA.height, AREA.width, 0);
            let (mut parsers, mut last) = ([new(), new()], Buffer::empty(AREA));
            for frame in frames {
                let next = drawn(&frame);
                parsers.iter_mut().zip(written(&last, &next)).for_each(|(parser, bytes)| parser.process(&bytes));
                for (i, (plain, lean)) in screen(&parsers[0]).iter().zip(screen(&parsers[1])).enumerate() {
                    prop_assert_eq!(plain, &lean, "cell {}", i);
                }
                last = next;
            }
        }
    }
}
