//! Colours as sRGB: what the ICC profile of a photo says of them is applied, as by lcms2.

use std::sync::Arc;

use ::image::{DynamicImage, ImageBuffer, Pixel};
use moxcms::{
    ColorProfile, DataColorSpace, Layout, ProfileText, RenderingIntent, TransformF64Executor, TransformOptions,
};
use rayon::prelude::*;

/// What became of the colour profile of a photo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Colours {
    /// It has none, or the profile of sRGB.
    Srgb,
    /// They were converted from the profile of this name.
    Converted(String),
    /// They were left as they are stored, and why.
    Left(String),
}

impl Colours {
    /// In words, where there is something to say.
    pub fn words(&self) -> Option<String> {
        match self {
            Self::Srgb => None,
            Self::Converted(name) => Some(format!("colours converted from {name} to sRGB")),
            Self::Left(why) => Some(format!("colours taken as they are stored: {why}")),
        }
    }
}

/// Levels of each channel at which a profile is compared with sRGB.
const LEVELS: usize = 18;
/// How far, of 255, it may be from it and still be it.
const SAME: u8 = 1;

/// Convert the 8-bit `image`, which has the profile `icc`.
pub(super) fn to_srgb(image: &mut DynamicImage, icc: &[u8], is_cmyk: bool) -> Colours {
    let Ok(profile) = ColorProfile::new_from_slice(icc) else {
        return Colours::Left("its colour profile is damaged, or of a kind that is not read here".into());
    };
    let name = name(&profile);
    let grey = !image.color().has_color();
    let space = match profile.color_space {
        DataColorSpace::Rgb if !grey && !is_cmyk => Layout::Rgb,
        DataColorSpace::Gray if grey => Layout::Gray,
        DataColorSpace::Cmyk if is_cmyk => {
            return Colours::Left(format!(
                "its colour profile ({name}) is of CMYK, which is not applied here; save it as sRGB"
            ));
        }
        _ => return Colours::Left(format!("its colour profile ({name}) is not of its kind of colours")),
    };
    let Some(convert) = Converter::new(&profile, space) else {
        return Colours::Left(format!("its colour profile ({name}) is of a kind that is not read here"));
    };
    if convert.changes_nothing() {
        return Colours::Srgb;
    }
    match image {
        DynamicImage::ImageLuma8(image) => convert.grey(image),
        DynamicImage::ImageLumaA8(image) => convert.grey(image),
        DynamicImage::ImageRgb8(image) => convert.colours(image),
        DynamicImage::ImageRgba8(image) => convert.colours(image),
        _ => return Colours::Left("its pixels are of a kind that is not converted here".into()),
    }
    Colours::Converted(name)
}

/// What the profile is called.
fn name(profile: &ColorProfile) -> String {
    let name = match &profile.description {
        Some(ProfileText::PlainString(text)) => text.clone(),
        Some(ProfileText::Localizable(all)) => all.first().map(|one| one.value.clone()).unwrap_or_default(),
        Some(ProfileText::Description(text)) => text.ascii_string.clone(),
        None => String::new(),
    };
    let name = name.trim_end_matches('\0').trim();
    if name.is_empty() { "a colour profile without a name".into() } else { name.to_owned() }
}

/// A profile's colours to sRGB. In f64, which processors compute alike: the faster ways of the library are rounded by each kind of
/// processor otherwise, and photos are known by the hash of their pixels.
struct Converter {
    transform: Arc<TransformF64Executor>,
    /// How many channels it takes.
    channels: usize,
}

impl Converter {
    fn new(profile: &ColorProfile, layout: Layout) -> Option<Self> {
        let options = TransformOptions {
            rendering_intent: RenderingIntent::Perceptual,
            prefer_fixed_point: false,
            ..TransformOptions::default()
        };
        let transform = profile.create_transform_f64(layout, &ColorProfile::new_srgb(), Layout::Rgb, options).ok()?;
        let channels = if layout == Layout::Gray { 1 } else { 3 };
        let converter = Self { transform, channels };
        // Whatever it cannot do it says of the first pixel too.
        let mut one = [0; 3];
        converter.run(&vec![0; channels], &mut one).then_some(converter)
    }

    /// Convert `from` to RGB; false where that cannot be.
    fn run(&self, from: &[u8], to: &mut [u8]) -> bool {
        let from: Vec<f64> = from.iter().map(|&value| f64::from(value) / 255.0).collect();
        let mut converted = vec![0.0; from.len() / self.channels * 3];
        if self.transform.transform(&from, &mut converted).is_err() {
            return false;
        }
        to.iter_mut().zip(converted).for_each(|(to, value)| *to = (value.clamp(0.0, 1.0) * 255.0).round() as u8);
        true
    }

    /// Whether its colours are sRGB already, as far as eight bits tell.
    fn changes_nothing(&self) -> bool {
        let level = |i: usize| (i * 255 / (LEVELS - 1)) as u8;
        let from: Vec<u8> = if self.channels == 1 {
            (0..=255).collect()
        } else {
            let all = (0..LEVELS * LEVELS * LEVELS)
                .map(|i| [level(i / LEVELS / LEVELS), level(i / LEVELS % LEVELS), level(i % LEVELS)]);
            all.chain((0..=255).map(|grey| [grey; 3])).flatten().collect()
        };
        let mut to = vec![0; from.len() / self.channels * 3];
        let same = |(from, to): (&[u8], &[u8])| (0..3).all(|i| from[i.min(from.len() - 1)].abs_diff(to[i]) <= SAME);
        self.run(&from, &mut to) && from.chunks_exact(self.channels).zip(to.chunks_exact(3)).all(same)
    }

    fn grey<P: Pixel<Subpixel = u8>>(&self, image: &mut ImageBuffer<P, Vec<u8>>) {
        let mut table = [0; 256 * 3];
        let all: Vec<u8> = (0..=255).collect();
        if self.run(&all, &mut table) {
            let channels = usize::from(P::CHANNEL_COUNT);
            image.chunks_exact_mut(channels).for_each(|pixel| pixel[0] = table[usize::from(pixel[0]) * 3 + 1]);
        }
    }

    /// The colours of `image`; its transparency stays.
    fn colours<P: Pixel<Subpixel = u8>>(&self, image: &mut ImageBuffer<P, Vec<u8>>) {
        const PART: usize = 1 << 14;
        let channels = usize::from(P::CHANNEL_COUNT);
        image.par_chunks_mut(PART * channels).for_each(|part| {
            let from: Vec<u8> = part.chunks_exact(channels).flat_map(|pixel| pixel[..3].iter().copied()).collect();
            let mut to = vec![0; from.len()];
            if self.run(&from, &mut to) {
                part.chunks_exact_mut(channels)
                    .zip(to.chunks_exact(3))
                    .for_each(|(pixel, to)| pixel[..3].copy_from_slice(to));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ::image::{Rgb, RgbImage};

    use super::*;

    #[test]
    fn a_colour_is_converted_and_that_of_srgb_is_not() {
        let colour = RgbImage::from_pixel(2, 2, Rgb([200, 100, 50]));
        let convert = |profile: &ColorProfile| {
            let mut image = DynamicImage::from(colour.clone());
            let colours = to_srgb(&mut image, &profile.encode().unwrap(), false);
            (colours, image.into_rgb8())
        };
        assert_eq!(convert(&ColorProfile::new_srgb()), (Colours::Srgb, colour.clone()));
        let (colours, image) = convert(&ColorProfile::new_display_p3());
        assert!(matches!(colours, Colours::Converted(_)) && image.get_pixel(0, 0).0[0] > 210, "{colours:?} {image:?}");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]
        #[test]
        fn a_damaged_profile_never_panics(at in proptest::collection::vec((0..600_usize, 0..=255_u8), 1..20), end in 0..2000_usize) {
            for profile in [ColorProfile::new_display_p3(), ColorProfile::new_gray_with_gamma(2.2)] {
                let mut icc = profile.encode().unwrap();
                for &(at, byte) in &at {
                    if let Some(place) = icc.get_mut(at) {
                        *place = byte;
                    }
                }
                icc.truncate(end.max(1));
                let _ = to_srgb(&mut DynamicImage::new_rgb8(2, 2), &icc, false);
                let _ = to_srgb(&mut DynamicImage::new_luma8(2, 2), &icc, false);
            }
        }
    }
}
