//! Photos and masks from files, judged by their content and never by their ending.

use std::io::Cursor;
use std::path::Path;

use ::image::error::ImageError;
use ::image::metadata::Orientation;
use ::image::{DynamicImage, GrayImage, ImageBuffer, ImageDecoder, ImageFormat, ImageReader, Limits, Pixel, RgbImage};

use super::carried::Carried;
use super::colours::{Colours, to_srgb};
use super::kind::Kind;
use super::{Error, jpeg};
use crate::protocol::PhotoReading;

/// The most pixels of a picture that is read. Phones make 200 million; what lies above is a decompression bomb or a mistake.
pub const MAX_PIXELS: u64 = 1 << 28;

/// The most bytes of a picture's file that is read: a PNG of 16-bit colours that does not get smaller has six a pixel.
const MAX_FILE: u64 = 1 << 30;

/// The photo in `path`, upright (turned as its EXIF, else its XMP, says) as 8-bit sRGB. Of 16-bit values the high byte is taken,
/// grey, palette and CMYK pictures become RGB, transparency is composited on white, an animation gives its first picture; an ICC
/// profile is applied, as lcms2 does it. Equal to Pillow's and transformers' `convert_to_rgb` for every kind of PNG without a
/// profile but 16-bit grey, which Pillow makes white.
///
/// # Errors
/// Unreadable, not a JPEG, PNG or WebP, truncated or damaged anywhere, without pixels, or above [`MAX_PIXELS`].
pub fn read_photo(path: &Path) -> Result<RgbImage, Error> {
    Ok(look_at_photo(path, PhotoReading::Converted)?.pixels)
}

/// A photo, and what was done to it.
pub struct ReadPhoto {
    /// Upright, 8-bit RGB.
    pub pixels: RgbImage,
    /// How it was turned, in words; none where it stands upright already.
    pub turned: Option<&'static str>,
    /// What became of its colour profile.
    pub colours: Colours,
}

/// The photo in `path`, read as `reading` says, and what was done to it.
///
/// # Errors
/// Those of [`read_photo`].
pub fn look_at_photo(path: &Path, reading: PhotoReading) -> Result<ReadPhoto, Error> {
    let bytes = bytes_of(path)?;
    let Decoded { mut image, icc, is_cmyk } = decode(path, &bytes)?;
    let orientation = orientation(&bytes, reading);
    image.apply_orientation(orientation);
    let mut image = to_eight_bits(image);
    let colours = match icc {
        Some(icc) if !reading.is_stored() => to_srgb(&mut image, &icc, is_cmyk),
        _ => Colours::Srgb,
    };
    Ok(ReadPhoto { pixels: flatten(image, 255), turned: words(orientation), colours })
}

/// How opaque the photo in `path` is, 255 for wholly, upright; none where it has no transparency.
///
/// # Errors
/// Those of [`read_photo`].
pub fn read_alpha(path: &Path) -> Result<Option<GrayImage>, Error> {
    let image = decode_upright(path)?;
    if !image.color().has_alpha() {
        return Ok(None);
    }
    let image = image.into_rgba8();
    Ok(Some(GrayImage::from_fn(image.width(), image.height(), |x, y| [image.get_pixel(x, y).0[3]].into())))
}

/// How a photo with this orientation is turned.
fn words(orientation: Orientation) -> Option<&'static str> {
    match orientation {
        Orientation::NoTransforms => None,
        Orientation::Rotate90 => Some("turned right"),
        Orientation::Rotate180 => Some("turned upside down"),
        Orientation::Rotate270 => Some("turned left"),
        Orientation::FlipHorizontal => Some("mirrored"),
        Orientation::FlipVertical => Some("mirrored top to bottom"),
        Orientation::Rotate90FlipH | Orientation::Rotate270FlipH => Some("turned and mirrored"),
    }
}

/// The mask in `path` as 8-bit grey, white = the concept. Values between are kept: a soft mask. Transparency counts as
/// black, an EXIF orientation is applied, a colour profile is not: greys are no colours.
///
/// # Errors
/// Those of [`read_photo`], colours (a picture was given for a mask), a size other than `expected` (width and height of the
/// upright photo), and a mask that marks nothing: no pixel in the upper half of the range, which also finds masks saved
/// with the values 0 and 1.
pub fn read_mask(path: &Path, expected: (u32, u32)) -> Result<GrayImage, Error> {
    let mask = read_any_mask(path)?;
    let (width, height) = mask.dimensions();
    if (width, height) != expected {
        return Err(Error::MaskSize { path: path.to_path_buf(), found: (width, height), expected });
    }
    let brightest = mask.iter().copied().max().unwrap_or(0);
    if brightest < 128 {
        return Err(Error::EmptyMask { path: path.to_path_buf(), width, height, brightest });
    }
    Ok(mask)
}

/// A mask as [`read_mask`] reads it, of any size, also one that marks nothing: what a generated picture may have.
///
/// # Errors
/// Those of [`read_photo`], and colours.
pub fn read_any_mask(path: &Path) -> Result<GrayImage, Error> {
    let image = decode_upright(path)?;
    if !image.color().has_color() && !image.color().has_alpha() {
        return Ok(image.into_luma8());
    }
    let image = flatten(image, 0);
    if image.pixels().any(|pixel| pixel.0[0] != pixel.0[1] || pixel.0[1] != pixel.0[2]) {
        return Err(Error::ColouredMask { path: path.to_path_buf() });
    }
    Ok(DynamicImage::from(image).into_luma8())
}

pub(super) fn check_size(path: &Path, width: u32, height: u32) -> Result<(), Error> {
    let path = path.to_path_buf();
    if width == 0 || height == 0 {
        return Err(Error::ZeroSize { path, width, height });
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Error::TooLarge { path, width, height, limit: MAX_PIXELS });
    }
    Ok(())
}

/// All of a picture's file.
pub(super) fn bytes_of(path: &Path) -> Result<Vec<u8>, Error> {
    crate::fs::read(path, MAX_FILE).map_err(|source| Error::Read { path: path.to_path_buf(), source })
}

/// A picture as it is stored.
pub(super) struct Decoded {
    pub image: DynamicImage,
    pub icc: Option<Vec<u8>>,
    /// Whether its colours were made of CMYK.
    pub is_cmyk: bool,
}

fn decode(path: &Path, bytes: &[u8]) -> Result<Decoded, Error> {
    match Kind::of(bytes) {
        Some(Kind::Jpeg) => jpeg::decode(path, bytes),
        Some(Kind::Png) => decode_other(path, bytes, ImageFormat::Png),
        Some(Kind::WebP) => decode_other(path, bytes, ImageFormat::WebP),
        Some(other) => Err(unsupported(path, other.word().into())),
        None => Err(Error::NotAnImage { path: path.to_path_buf() }),
    }
}

/// The picture in `path` upright, 8 bits a channel.
fn decode_upright(path: &Path) -> Result<DynamicImage, Error> {
    let bytes = bytes_of(path)?;
    let mut image = decode(path, &bytes)?.image;
    image.apply_orientation(orientation(&bytes, PhotoReading::Converted));
    Ok(to_eight_bits(image))
}

fn orientation(bytes: &[u8], reading: PhotoReading) -> Orientation {
    let carried = if reading.is_stored() { Carried::of_format(bytes) } else { Carried::of(bytes) };
    carried.orientation()
}

/// The high byte of each 16-bit value, as Pillow takes it.
fn to_eight_bits(image: DynamicImage) -> DynamicImage {
    fn high<P, Q>(image: &ImageBuffer<P, Vec<u16>>) -> ImageBuffer<Q, Vec<u8>>
    where
        P: Pixel<Subpixel = u16>,
        Q: Pixel<Subpixel = u8>,
    {
        let mut bytes = ImageBuffer::new(image.width(), image.height());
        bytes.iter_mut().zip(image.iter()).for_each(|(byte, value)| *byte = (value >> 8) as u8);
        bytes
    }
    match image {
        DynamicImage::ImageLuma16(image) => DynamicImage::ImageLuma8(high(&image)),
        DynamicImage::ImageLumaA16(image) => DynamicImage::ImageLumaA8(high(&image)),
        DynamicImage::ImageRgb16(image) => DynamicImage::ImageRgb8(high(&image)),
        DynamicImage::ImageRgba16(image) => DynamicImage::ImageRgba8(high(&image)),
        image => image,
    }
}

fn decode_other(path: &Path, bytes: &[u8], format: ImageFormat) -> Result<Decoded, Error> {
    let failed = |error| match error {
        ImageError::Unsupported(error) => unsupported(path, error.to_string()),
        error => Error::Damaged { path: path.to_path_buf(), reason: error.to_string() },
    };
    let mut decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    check_size(path, width, height)?;
    let mut limits = Limits::default();
    // The decoder's own working memory: 16-bit RGBA twice.
    limits.max_alloc = Some(16 * MAX_PIXELS);
    decoder.set_limits(limits).map_err(failed)?;
    // A profile that cannot be unpacked is one that is damaged.
    let icc = decoder.icc_profile().unwrap_or_else(|_| Some(Vec::new()));
    Ok(Decoded { image: DynamicImage::from_decoder(decoder).map_err(failed)?, icc, is_cmyk: false })
}

fn unsupported(path: &Path, kind: String) -> Error {
    Error::UnsupportedFormat { path: path.to_path_buf(), kind }
}

/// 8-bit RGB; transparent parts show `background`.
fn flatten(image: DynamicImage, background: u8) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let image = image.into_rgba8();
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [red, green, blue, alpha] = image.get_pixel(x, y).0.map(u32::from);
        let over = |value: u32| ((value * alpha + u32::from(background) * (255 - alpha) + 127) / 255) as u8;
        [over(red), over(green), over(blue)].into()
    })
}
