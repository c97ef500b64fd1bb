//! Contact sheets: pictures in rows and columns that say what they stand for.

use std::convert::Infallible;

use ::image::{Rgb, RgbImage, imageops};
use embedded_graphics::Drawable;
use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{Dimensions, Point, Size};
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::iso_8859_1::FONT_6X10 as FONT;
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::primitives::Rectangle;
use embedded_graphics::text::{Baseline, Text};

/// Pixels between cells, and around text.
const GAP: u32 = 4;
/// The most characters of a line beside the rows.
const BESIDE: usize = 24;
/// A column is at least this many characters wide, if its label needs them.
const NARROWEST: usize = 16;
/// The most lines of a label above a column.
const LINES: usize = 4;
/// Above this many pixels the pictures are made smaller.
const MAX_SHEET: u64 = 1 << 26;

/// What stands around the pictures of a sheet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// Above all; empty for none.
    pub title: String,
    /// One a column.
    pub columns: Vec<String>,
    /// One a row.
    pub rows: Vec<String>,
}

/// Whether the font of sheets has every letter of `text`.
pub fn can_be_written(text: &str) -> bool {
    text.chars().all(|c| matches!(c, ' '..='~' | '\u{a0}'..='\u{ff}'))
}

/// A white sheet with `picture(column, row)` in each cell; none leaves it white. A cell is as large as the first picture
/// that is asked for, others are shown in its middle, cut where they are larger. Of labels what finds no room is cut, and
/// ends with dots; what is not Latin-1 is shown as question marks.
///
/// # Errors
/// Those of `picture`.
pub fn contact_sheet<E>(
    labels: &Labels,
    mut picture: impl FnMut(usize, usize) -> Result<Option<RgbImage>, E>,
) -> Result<RgbImage, E> {
    let (columns, rows) = (labels.columns.len().max(1), labels.rows.len().max(1));
    let mut first = None;
    for cell in 0..columns * rows {
        first = picture(cell % columns, cell / columns)?;
        if first.is_some() {
            break;
        }
    }
    let Some(first) = first else { return Ok(RgbImage::new(0, 0)) };
    let (mut width, mut height) = first.dimensions();
    while width.min(height) > 8 && u64::from(width) * u64::from(height) * (columns * rows) as u64 > MAX_SHEET {
        (width, height) = (width / 2, height / 2);
    }
    let small = (width, height) != first.dimensions();

    let glyph = FONT.character_size;
    let longest = labels.columns.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let column = width.max(longest.min(NARROWEST) as u32 * glyph.width);
    let above: Vec<Vec<String>> =
        labels.columns.iter().map(|label| wrapped(label, (column / glyph.width) as usize, LINES)).collect();
    let in_row = (height / glyph.height).max(1) as usize;
    let beside: Vec<Vec<String>> = labels.rows.iter().map(|label| wrapped(label, BESIDE, in_row)).collect();
    let line_width = |lines: &[Vec<String>]| {
        let longest = lines.iter().flatten().map(|line| line.chars().count()).max().unwrap_or(0);
        if longest == 0 { 0 } else { longest as u32 * glyph.width + GAP }
    };
    let left = GAP + line_width(&beside);
    let whole = left + columns as u32 * (column + GAP);
    let title = if labels.title.is_empty() {
        Vec::new()
    } else {
        wrapped(&labels.title, ((whole - 2 * GAP) / glyph.width) as usize, LINES)
    };
    let text_height = |lines: usize| if lines == 0 { 0 } else { lines as u32 * glyph.height + GAP };
    let top = GAP + text_height(title.len());
    let head = top + text_height(above.iter().map(Vec::len).max().unwrap_or(0));
    let mut sheet = Sheet(RgbImage::from_pixel(whole, head + rows as u32 * (height + GAP), Rgb([255; 3])));
    sheet.write(&title, GAP, GAP);
    for (i, lines) in above.iter().enumerate() {
        sheet.write(lines, left + i as u32 * (column + GAP), top);
    }
    for (i, lines) in beside.iter().enumerate() {
        sheet.write(lines, GAP, head + i as u32 * (height + GAP));
    }
    for row in 0..rows {
        for at in 0..columns {
            let Some(mut image) = picture(at, row)? else { continue };
            if small {
                image = imageops::thumbnail(&image, width, height);
            }
            // One that is larger than the first shows its middle.
            let part = (image.width().min(width), image.height().min(height));
            let (x, y) = ((image.width() - part.0) / 2, (image.height() - part.1) / 2);
            let image = imageops::crop_imm(&image, x, y, part.0, part.1).to_image();
            let x = left + at as u32 * (column + GAP) + (width - part.0) / 2;
            let y = head + row as u32 * (height + GAP) + (height - part.1) / 2;
            imageops::replace(&mut sheet.0, &image, i64::from(x), i64::from(y));
        }
    }
    Ok(sheet.0)
}

/// `text` in lines of at most `width` characters, broken at spaces where there are some, at most `lines` of them.
fn wrapped(text: &str, width: usize, lines: usize) -> Vec<String> {
    let width = width.max(4);
    let mut all = vec![String::new()];
    let mut cut = false;
    'words: for word in text.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        while !rest.is_empty() {
            let last = all.len() - 1;
            let used = all[last].chars().count();
            let space = usize::from(used > 0);
            if used + space + rest.len() <= width {
                if space > 0 {
                    all[last].push(' ');
                }
                all[last].extend(rest.drain(..));
            } else if used > 0 {
                if all.len() == lines {
                    cut = true;
                    break 'words;
                }
                all.push(String::new());
            } else {
                all[last].extend(rest.drain(..width));
            }
        }
    }
    if cut && let Some(last) = all.last_mut() {
        let keep = last.chars().count().min(width - 3);
        *last = last.chars().take(keep).collect::<String>() + "...";
    }
    if all[0].is_empty() { Vec::new() } else { all }
}

struct Sheet(RgbImage);

impl Sheet {
    fn write(&mut self, lines: &[String], x: u32, y: u32) {
        let style = MonoTextStyle::new(&FONT, BinaryColor::On);
        for (i, line) in lines.iter().enumerate() {
            let at = Point::new(x as i32, (y + i as u32 * FONT.character_size.height) as i32);
            // What lies outside of the sheet is not drawn; nothing else can go wrong.
            let _ = Text::with_baseline(line, at, style, Baseline::Top).draw(self);
        }
    }
}

impl Dimensions for Sheet {
    fn bounding_box(&self) -> Rectangle {
        Rectangle::new(Point::zero(), Size::new(self.0.width(), self.0.height()))
    }
}

impl DrawTarget for Sheet {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, colour) in pixels {
            if let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y))
                && let Some(pixel) = self.0.get_pixel_mut_checked(x, y)
            {
                *pixel = Rgb([if colour.is_on() { 0 } else { 255 }; 3]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn shade(shade: u8) -> RgbImage {
        RgbImage::from_pixel(40, 30, Rgb([shade; 3]))
    }

    fn labels(columns: &[&str], rows: &[&str]) -> Labels {
        let owned = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect();
        Labels { title: String::new(), columns: owned(columns), rows: owned(rows) }
    }

    #[test]
    fn every_picture_stands_in_its_row_and_column_and_is_said() {
        let labels = labels(&["seed 1", "seed 2", "seed 3"], &["a teapot", "a cup"]);
        let sheet = contact_sheet(&labels, |column, row| {
            Ok::<_, Infallible>((column != 2 || row != 1).then(|| shade((100 + 10 * column + 50 * row) as u8)))
        })
        .unwrap();
        let shades: Vec<u8> = [100, 110, 120, 150, 160].into();
        for shade in &shades {
            assert_eq!(sheet.pixels().filter(|pixel| pixel.0 == [*shade; 3]).count(), 40 * 30, "{shade}");
        }
        let place = |shade: u8| sheet.enumerate_pixels().find(|(_, _, pixel)| pixel.0 == [shade; 3]).unwrap();
        let [(x1, y1, _), (x2, y2, _), (x3, y3, _)] = [place(100), place(110), place(150)];
        assert!(x1 < x2 && y1 == y2 && x1 == x3 && y1 < y3);
        let ink = |x: std::ops::Range<u32>, y: std::ops::Range<u32>| {
            sheet.enumerate_pixels().filter(|(i, j, p)| x.contains(i) && y.contains(j) && p.0 == [0; 3]).count()
        };
        assert!(ink(x1..x2, 0..y1) > 20, "a label above the first column");
        assert!(ink(0..x1, y1..y3) > 20, "a label beside the first row");
        assert_eq!(ink(x1..sheet.width(), y1..sheet.height()), 0, "no text over the pictures");
    }

    #[test]
    fn labels_are_wrapped_and_what_finds_no_room_ends_with_dots() {
        assert_eq!(wrapped("a teapot on grass", 8, 3), ["a teapot", "on grass"]);
        assert_eq!(wrapped("abcdefghijkl", 5, 4), ["abcde", "fghij", "kl"]);
        assert_eq!(wrapped("one two three four", 5, 2), ["one", "tw..."]);
        assert!(wrapped("  ", 5, 2).is_empty());
    }

    #[test]
    fn odd_sheets_are_made_too() {
        let nothing = contact_sheet(&labels(&["a"], &[]), |_, _| Ok::<_, Infallible>(None)).unwrap();
        assert_eq!(nothing.dimensions(), (0, 0));
        let mixed = contact_sheet(&labels(&["a", "茶壺"], &[]), |column, _| {
            Ok::<_, Infallible>(Some(if column == 0 { shade(9) } else { RgbImage::new(100, 10) }))
        });
        assert!(mixed.unwrap().width() > 80);
        let refused = contact_sheet(&labels(&["a"], &["b"]), |_, _| Err::<Option<RgbImage>, _>("gone"));
        assert_eq!(refused.unwrap_err(), "gone");
    }

    proptest::proptest! {
        #[test]
        fn no_line_is_too_long_and_no_word_is_lost_where_there_is_room(text in "[a-z ]{0,60}", width in 4usize..20) {
            let lines = wrapped(&text, width, 100);
            proptest::prop_assert!(lines.iter().all(|line| line.chars().count() <= width));
            let letters = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
            proptest::prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }
    }
}
