//! Pillow's resampling of 8-bit pictures, bit for bit: two passes of antialiased filters in fixed point. What CLIP was
//! trained on and what PyTorch code compares with went through it, and other bicubics differ by up to 11 of 255.

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

/// One window per output pixel of a line of `from` pixels resampled to `to`. The order of the floating-point operations
/// is Pillow's: it decides the last bit.
fn windows(from: usize, to: usize, filter: Filter) -> Vec<Window> {
    let scale = from as f64 / to as f64;
    let filter_scale = scale.max(1.0);
    let support = filter.support() * filter_scale;
    let inverse = 1.0 / filter_scale;
    (0..to)
        .map(|index| {
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

/// `image` at `width` x `height`, each channel on its own, equal to Pillow's `Image.resize` for modes RGB and L.
/// The horizontal pass comes first, as in every Pillow up to 12; from 13 on Pillow swaps the two when that is faster (a height
/// that shrinks much more than the width, a picture taller than twice its width), which changes the last bit.
/// A picture without pixels gives a black one.
pub fn resize<P>(image: &ImageBuffer<P, Vec<u8>>, width: u32, height: u32, filter: Filter) -> ImageBuffer<P, Vec<u8>>
where
    P: Pixel<Subpixel = u8>,
{
    let channels = usize::from(P::CHANNEL_COUNT);
    let (from_width, from_height) = (image.width() as usize, image.height() as usize);
    let (to_width, to_height) = (width as usize, height as usize);
    let mut result = ImageBuffer::new(width, height);
    if from_width == 0 || from_height == 0 || to_width == 0 || to_height == 0 {
        return result;
    }

    // Pillow skips a pass that changes nothing, which is the same as running it: the filters are 1 at 0 and 0 at other integers.
    let wide: Vec<u8> = if from_width == to_width {
        image.as_raw().clone()
    } else {
        let columns = windows(from_width, to_width, filter);
        let mut wide = vec![0; to_width * from_height * channels];
        for (row, out) in
            image.as_raw().chunks_exact(from_width * channels).zip(wide.chunks_exact_mut(to_width * channels))
        {
            for (window, out) in columns.iter().zip(out.chunks_exact_mut(channels)) {
                let inputs = &row[window.first * channels..];
                for (channel, out) in out.iter_mut().enumerate() {
                    let taps = inputs[channel..].iter().step_by(channels);
                    let sum = taps.zip(&window.weights).map(|(&pixel, weight)| i32::from(pixel) * weight).sum::<i32>();
                    *out = to_pixel(HALF + sum);
                }
            }
        }
        wide
    };
    if from_height == to_height {
        result.copy_from_slice(&wide);
        return result;
    }
    let line = to_width * channels;
    let mut sums = vec![HALF; line];
    for (window, out) in windows(from_height, to_height, filter).iter().zip(result.chunks_exact_mut(line)) {
        sums.fill(HALF);
        for (weight, row) in window.weights.iter().zip(wide[window.first * line..].chunks_exact(line)) {
            sums.iter_mut().zip(row).for_each(|(sum, &pixel)| *sum += i32::from(pixel) * weight);
        }
        out.iter_mut().zip(&sums).for_each(|(out, &sum)| *out = to_pixel(sum));
    }
    result
}

/// [`resize`] with the bicubic filter.
pub fn resize_bicubic<P>(image: &ImageBuffer<P, Vec<u8>>, width: u32, height: u32) -> ImageBuffer<P, Vec<u8>>
where
    P: Pixel<Subpixel = u8>,
{
    resize(image, width, height, Filter::Bicubic)
}
