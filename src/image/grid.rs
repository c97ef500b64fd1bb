//! Contact sheets.

use ::image::{Rgb, RgbImage, imageops};

/// `images` in reading order on a white sheet of `columns` columns (at least 1, at most the number of images), `gap` pixels between
/// cells and none at the border. A cell is as large as the largest image; smaller ones stand in its middle.
/// No images give a sheet without pixels.
pub fn grid(images: &[RgbImage], columns: usize, gap: u32) -> RgbImage {
    let columns = columns.clamp(1, images.len().max(1)) as u32;
    let rows = (images.len() as u32).div_ceil(columns);
    let cell_width = images.iter().map(RgbImage::width).max().unwrap_or(0);
    let cell_height = images.iter().map(RgbImage::height).max().unwrap_or(0);
    let extent = |cells: u32, cell: u32| cells * cell + cells.saturating_sub(1) * gap;
    if rows == 0 {
        return RgbImage::new(0, 0);
    }
    let mut sheet = RgbImage::from_pixel(extent(columns, cell_width), extent(rows, cell_height), Rgb([255; 3]));
    for (index, image) in (0..).zip(images) {
        let left = index % columns * (cell_width + gap) + (cell_width - image.width()) / 2;
        let top = index / columns * (cell_height + gap) + (cell_height - image.height()) / 2;
        imageops::replace(&mut sheet, image, i64::from(left), i64::from(top));
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_in_reading_order_with_gaps_between() {
        let shades = [10, 20, 30, 40, 50];
        let images: Vec<_> = shades.iter().map(|&shade| RgbImage::from_pixel(2, 3, Rgb([shade; 3]))).collect();
        let sheet = grid(&images, 3, 1);
        assert_eq!(sheet.dimensions(), (3 * 2 + 2, 2 * 3 + 1));
        for (index, &shade) in shades.iter().enumerate() {
            let (x, y) = (index as u32 % 3 * 3, index as u32 / 3 * 4);
            assert_eq!(sheet.get_pixel(x, y), &Rgb([shade; 3]));
            assert_eq!(sheet.get_pixel(x + 1, y + 2), &Rgb([shade; 3]));
        }
        assert_eq!(sheet.get_pixel(2, 0), &Rgb([255; 3]), "the gap is white");
        assert_eq!(sheet.get_pixel(7, 5), &Rgb([255; 3]), "the missing last cell is white");
    }

    #[test]
    fn odd_calls_give_a_sheet_too() {
        assert_eq!(grid(&[], 4, 2).dimensions(), (0, 0));
        let images = [RgbImage::new(1, 1), RgbImage::new(3, 5)];
        assert_eq!(grid(&images, 0, 2).dimensions(), (3, 12));
        assert_eq!(grid(&images, 9, 2).dimensions(), (8, 5));
    }
}
