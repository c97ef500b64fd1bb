//! Pillow's resampling of 8-bit pictures, bit for bit: two passes of antialiased filters in fixed point. What CLIP was
//! trained on and what PyTorch code compares with went through it, and other bicubics differ by up to 11 of 255.

use std::ops::Range;

use ::image::{ImageBuffer, Pixel};

/// Bits behind the point of a filter weight: 8 are left for the pixel, 2 for overshoot.
const PRECISION: u32 = 32 - 8 - 2;

/// A resampling filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// A triangle.
    Bilinear,
    /// Keys' cubic with a = −0.5.
    Bicubic,
}

impl Filter {
    /// Half the filter's width in pixels, when enlarging.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, distance: f64) -> f64 {
        let x = distance.abs();
        match self {
            Self::Bilinear if x < 1.0 => 1.0 - x,
            Self::Bicubic if x < 1.0 => ((-0.5 + 2.0) * x - (-0.5 + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5,
            _ => 0.0,
        }
    }
}

/// The input pixels one output pixel is made of.
struct Window {
    first: usize,
    weights: Vec<i32>,
}

/// The windows of the output pixels `part` of a line of `from` pixels resampled to `to`. The order of the floating-point
/// operations is Pillow's: it decides the last bit.
fn windows(from: usize, to: usize, filter: Filter, part: Range<usize>) -> Vec<Window> {
    let scale = from as f64 / to as f64;
    let filter_scale = scale.max(1.0);
    let support = filter.support() * filter_scale;
    let inverse = 1.0 / filter_scale;
    part.map(|index| {
        let center = (index as f64 + 0.5) * scale;
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(from);
        let mut weights: Vec<f64> =
            (first..end).map(|x| filter.weight(((x as f64) - center + 0.5) * inverse)).collect();
        let total: f64 = weights.iter().sum();
        if total != 0.0 {
            for weight in &mut weights {
                *weight /= total;
            }
        }
        let one = f64::from(1 << PRECISION);
        let fixed = weights.iter().map(|weight| (weight * one + 0.5_f64.copysign(*weight)) as i32).collect();
        Window { first, weights: fixed }
    })
    .collect()
}

fn to_pixel(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (PRECISION - 1);

/// A picture on its way: rows of interleaved channels.
struct Rows {
    pixels: Vec<u8>,
    width: usize,
    channels: usize,
}

impl Rows {
    fn height(&self) -> usize {
        self.pixels.len() / (self.width * self.channels).max(1)
    }

    /// Each row resampled by `columns`.
    fn across(&self, columns: &[Window]) -> Self {
        let channels = self.channels;
        let mut pixels = vec![0; columns.len() * self.height() * channels];
        let rows = self.pixels.chunks_exact(self.width * channels);
        for (row, out) in rows.zip(pixels.chunks_exact_mut(columns.len() * channels)) {
            for (window, out) in columns.iter().zip(out.chunks_exact_mut(channels)) {
                let taps = row[window.first * channels..].chunks_exact(channels);
                let mut sums = [HALF; 4];
                for (tap, weight) in taps.zip(&window.weights) {
                    sums.iter_mut().zip(tap).for_each(|(sum, &pixel)| *sum += i32::from(pixel) * weight);
                }
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out = to_pixel(sum));
            }
        }
        Self { pixels, width: columns.len(), channels }
    }

    /// Each column resampled by `rows`.
    fn down(&self, rows: &[Window]) -> Self {
        let line = self.width * self.channels;
        let (mut pixels, mut sums) = (vec![0; line * rows.len()], vec![HALF; line]);
        for (window, out) in rows.iter().zip(pixels.chunks_exact_mut(line)) {
            sums.fill(HALF);
            for (weight, row) in window.weights.iter().zip(self.pixels[window.first * line..].chunks_exact(line)) {
                sums.iter_mut().zip(row).for_each(|(sum, &pixel)| *sum += i32::from(pixel) * weight);
            }
            out.iter_mut().zip(&sums).for_each(|(out, &sum)| *out = to_pixel(sum));
        }
        Self { pixels, width: self.width, channels: self.channels }
    }
}

/// `image` at `width` x `height`, each channel on its own, equal to Pillow's `Image.resize` for modes RGB and L.
/// The horizontal pass comes first, except that from 13 on Pillow swaps the two where the height shrinks by more than twice
/// the pixels that the width does; that changes the last bit. A picture without pixels gives a black one.
pub fn resize<P>(image: &ImageBuffer<P, Vec<u8>>, width: u32, height: u32, filter: Filter) -> ImageBuffer<P, Vec<u8>>
where
    P: Pixel<Subpixel = u8>,
{
    resize_part(image, (width, height), filter, 0..width, 0..height)
}

/// The columns and rows `part_x`, `part_y` of what [`resize`] gives for `size` (width, height), without making the rest:
/// the middle of a line of 1 x 100,000 pixels has no need of the whole at a width of 224.
pub fn resize_part<P>(
    image: &ImageBuffer<P, Vec<u8>>,
    (width, height): (u32, u32),
    filter: Filter,
    part_x: Range<u32>,
    part_y: Range<u32>,
) -> ImageBuffer<P, Vec<u8>>
where
    P: Pixel<Subpixel = u8>,
{
    let channels = usize::from(P::CHANNEL_COUNT);
    let (part_x, part_y) = (part_x.start..part_x.end.min(width), part_y.start..part_y.end.min(height));
    let mut result = ImageBuffer::new(part_x.len() as u32, part_y.len() as u32);
    if image.width() == 0 || image.height() == 0 || part_x.is_empty() || part_y.is_empty() {
        return result;
    }
    let size = |n: u32| n as usize;
    let range = |part: Range<u32>| size(part.start)..size(part.end);
    let columns = windows(size(image.width()), size(width), filter, range(part_x));
    let mut rows = windows(size(image.height()), size(height), filter, range(part_y));
    // Only the rows that are looked at take part.
    let first = rows.iter().map(|row| row.first).min().unwrap_or(0);
    let end = rows.iter().map(|row| row.first + row.weights.len()).max().unwrap_or(0);
    rows.iter_mut().for_each(|row| row.first -= first);
    let line = size(image.width()) * channels;
    let source =
        Rows { pixels: image.as_raw()[first * line..end * line].to_vec(), width: size(image.width()), channels };
    let shrinks = |from: u32, to: u32| i64::from(from) - i64::from(to);
    let (less_width, less_height) = (shrinks(image.width(), width), shrinks(image.height(), height));
    // Pillow skips a pass that changes nothing, which is the same as running it: the filters are 1 at 0 and 0 at other integers.
    let resized = if less_height > 0 && less_height > 2 * less_width {
        source.down(&rows).across(&columns)
    } else {
        source.across(&columns).down(&rows)
    };
    result.copy_from_slice(&resized.pixels);
    result
}

/// [`resize`] with the bicubic filter.
pub fn resize_bicubic<P>(image: &ImageBuffer<P, Vec<u8>>, width: u32, height: u32) -> ImageBuffer<P, Vec<u8>>
where
    P: Pixel<Subpixel = u8>,
{
    resize(image, width, height, Filter::Bicubic)
}
