//! Photos and masks from files, judged by their content and never by their ending.

use std::io::Cursor;
use std::path::Path;

use ::image::error::ImageError;
use ::image::metadata::Orientation;
use ::image::{
    ColorType, DynamicImage, GrayAlphaImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage,
    RgbaImage,
};

use super::carried::Carried;
use super::colours::{Colours, to_srgb};
use super::in_place::{flatten, high_bytes};
use super::kind::Kind;
use super::{Error, jpeg};
use crate::protocol::PhotoReading;

/// The most pixels of a picture that is read. Phones make 200 million; what lies above is a decompression bomb or a mistake.
pub const MAX_PIXELS: u64 = 1 << 28;

/// The most bytes of a picture that is read, as it is stored: [`MAX_PIXELS`] of them with transparency and 8 bits a channel.
const MAX_BYTES: u64 = 1 << 30;

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
    drop(bytes);
    let colours = match icc {
        Some(icc) if !reading.is_stored() => to_srgb(&mut image, &icc, is_cmyk),
        _ => Colours::Srgb,
    };
    let mut image = DynamicImage::from(flatten(image, 255));
    // A picture that is turned is there twice meanwhile: when it is smallest.
    image.apply_orientation(orientation);
    Ok(ReadPhoto { pixels: image.into_rgb8(), turned: words(orientation), colours })
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
    let (width, height, channels) = (image.width(), image.height(), usize::from(image.color().channel_count()));
    let alpha = image.as_bytes().chunks_exact(channels).map(|pixel| pixel[channels - 1]).collect();
    Ok(GrayImage::from_raw(width, height, alpha))
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

/// A picture as it is stored, with 8 bits a channel.
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
    Ok(image)
}

fn orientation(bytes: &[u8], reading: PhotoReading) -> Orientation {
    let carried = if reading.is_stored() { Carried::of_format(bytes) } else { Carried::of(bytes) };
    carried.orientation()
}

fn decode_other(path: &Path, bytes: &[u8], format: ImageFormat) -> Result<Decoded, Error> {
    let failed = |error| match error {
        ImageError::Unsupported(error) => unsupported(path, error.to_string()),
        error => Error::Damaged { path: path.to_path_buf(), reason: error.to_string() },
    };
    let mut decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    check_size(path, width, height)?;
    let length = decoder.total_bytes();
    if length > MAX_BYTES {
        let bytes = length / (u64::from(width) * u64::from(height));
        return Err(Error::TooMuch { path: path.to_path_buf(), width, height, bytes, limit: MAX_BYTES });
    }
    let mut limits = Limits::default();
    // The decoder's own working memory.
    limits.max_alloc = Some(2 * MAX_BYTES);
    decoder.set_limits(limits).map_err(failed)?;
    // A profile that cannot be unpacked is one that is damaged.
    let icc = decoder.icc_profile().unwrap_or_else(|_| Some(Vec::new()));
    let color = decoder.color_type();
    let mut pixels = vec![0; length as usize];
    decoder.read_image(&mut pixels).map_err(failed)?;
    let image = match color {
        ColorType::L8 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
        ColorType::L16 => GrayImage::from_raw(width, height, high_bytes(pixels)).map(DynamicImage::from),
        ColorType::La8 => GrayAlphaImage::from_raw(width, height, pixels).map(DynamicImage::from),
        ColorType::La16 => GrayAlphaImage::from_raw(width, height, high_bytes(pixels)).map(DynamicImage::from),
        ColorType::Rgb8 => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
        ColorType::Rgb16 => RgbImage::from_raw(width, height, high_bytes(pixels)).map(DynamicImage::from),
        ColorType::Rgba8 => RgbaImage::from_raw(width, height, pixels).map(DynamicImage::from),
        ColorType::Rgba16 => RgbaImage::from_raw(width, height, high_bytes(pixels)).map(DynamicImage::from),
        other => return Err(unsupported(path, format!("{other:?}"))),
    };
    let fewer = || Error::Damaged { path: path.to_path_buf(), reason: "fewer pixels than its header promises".into() };
    Ok(Decoded { image: image.ok_or_else(fewer)?, icc, is_cmyk: false })
}

fn unsupported(path: &Path, kind: String) -> Error {
    Error::UnsupportedFormat { path: path.to_path_buf(), kind }
}
