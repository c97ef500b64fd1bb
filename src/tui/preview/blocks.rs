//! Pictures as half blocks: two pixels a cell.

use ::image::{Rgb, RgbImage, imageops};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};

use super::Colours;

/// Draw the first `rows` rows of `picture`, which fills `area`.
pub fn draw(buffer: &mut Buffer, area: Rect, rows: u16, picture: &RgbImage, colours: Colours) {
    let (width, height) = (u32::from(area.width), 2 * u32::from(area.height));
    let fitted;
    let picture = if picture.dimensions() == (width, height) {
        picture
    } else {
        // An odd height: the last half row gets its colour from the picture, not from the background.
        fitted = imageops::resize(picture, width, height, imageops::FilterType::Triangle);
        &fitted
    };
    for y in 0..rows.min(area.height) {
        for x in 0..area.width {
            let pixel = |row| *picture.get_pixel(u32::from(x), 2 * u32::from(y) + row);
            let cell = &mut buffer[(area.x + x, area.y + y)];
            let (top, bottom) = (pixel(0), pixel(1));
            match colours {
                Colours::None => {
                    let light = f32::midpoint(luma(top), luma(bottom));
                    cell.set_symbol([" ", "░", "▒", "▓", "█"][(light * 4.99) as usize]);
                }
                _ => {
                    cell.set_symbol("▀").set_style(Style::new().fg(colour(top, colours)).bg(colour(bottom, colours)));
                }
            }
        }
    }
}

/// Brightness from 0 to 1.
fn luma(Rgb([r, g, b]): Rgb<u8>) -> f32 {
    (0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b)) / 255.0
}

fn colour(Rgb([r, g, b]): Rgb<u8>, colours: Colours) -> Color {
    if colours == Colours::True { Color::Rgb(r, g, b) } else { Color::Indexed(nearest(r, g, b)) }
}

/// The nearest of xterm's 6 × 6 × 6 cube and 24 greys.
fn nearest(r: u8, g: u8, b: u8) -> u8 {
    const LEVELS: [i32; 6] = [0, 95, 135, 175, 215, 255];
    let level = |v: u8| (0..6).min_by_key(|&i| (LEVELS[i] - i32::from(v)).abs()).unwrap_or(0);
    let distance =
        |x: i32, y: i32, z: i32| (x - i32::from(r)).pow(2) + (y - i32::from(g)).pow(2) + (z - i32::from(b)).pow(2);
    let (i, j, k) = (level(r), level(g), level(b));
    let grey = ((i32::from(r) + i32::from(g) + i32::from(b)) / 3 - 8).clamp(0, 230) / 10;
    let grey = grey.min(23);
    let shade = 8 + 10 * grey;
    if distance(shade, shade, shade) < distance(LEVELS[i], LEVELS[j], LEVELS[k]) {
        232 + grey as u8
    } else {
        (16 + 36 * i + 6 * j + k) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn colours_of_the_palette_are_their_own_nearest() {
        assert_eq!(nearest(0, 0, 0), 16);
        assert_eq!(nearest(255, 255, 255), 231);
        assert_eq!(nearest(95, 135, 175), 67);
        assert_eq!(nearest(128, 128, 128), 244);
    }
}
