//! JPEG, read strictly. The `image` crate asks the same decoder to forgive: it fills what is missing from a truncated photo with
//! grey and reports success, and a concept would be learned from that grey.

use std::path::Path;

use ::image::metadata::Orientation;
use ::image::{DynamicImage, GrayImage, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::Error;
use super::read::check_size;

/// The picture as stored (CMYK and YCCK become RGB) and how it is to be turned.
pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<(DynamicImage, Orientation), Error> {
    let damaged = |reason: String| Error::Damaged { path: path.to_path_buf(), reason };
    let failed = |error: DecodeErrors| match error {
        DecodeErrors::Unsupported(kind) => {
            Error::UnsupportedFormat { path: path.to_path_buf(), kind: format!("JPEG ({kind:?})") }
        }
        error => damaged(error.to_string()),
    };
    // Without an end marker bytes are missing, even when the decoder can do without them.
    if !ends(bytes) {
        return Err(damaged("the end of the JPEG is missing".into()));
    }
    let options = DecoderOptions::default().set_strict_mode(true).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(failed)?;
    let (width, height) = decoder.dimensions().ok_or_else(|| damaged("no dimensions".into()))?;
    let (width, height) = (width as u32, height as u32);
    check_size(path, width, height)?;
    let grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let target = if grey { ColorSpace::Luma } else { ColorSpace::RGB };
    decoder.set_options(options.jpeg_set_out_colorspace(target));
    let pixels = decoder.decode().map_err(failed)?;
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let image = if grey {
        GrayImage::from_raw(width, height, pixels).map(DynamicImage::from)
    } else {
        RgbImage::from_raw(width, height, pixels).map(DynamicImage::from)
    };
    let image = image.ok_or_else(|| damaged("fewer pixels than its header promises".into()))?;
    Ok((image, orientation.unwrap_or(Orientation::NoTransforms)))
}

/// Whether the end marker stands behind the last scan. Segments are jumped over by their length, since the thumbnail inside
/// one has an end marker of its own; what follows the end (other pictures, a video) does not matter.
fn ends(bytes: &[u8]) -> bool {
    const START: u8 = 0xd8;
    const END: u8 = 0xd9;
    let mut rest = bytes;
    loop {
        let Some(at) = rest.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff)) else {
            return false;
        };
        let marker = rest[at + 1];
        rest = &rest[at + 2..];
        match marker {
            END => return true,
            // Markers without a length: temporary, restart, start.
            0x01 | 0xd0..=START => {}
            _ => {
                let [high, low, ..] = rest else { return false };
                let Some(behind) = rest.get(usize::from(u16::from_be_bytes([*high, *low]))..) else { return false };
                rest = behind;
            }
        }
    }
}
