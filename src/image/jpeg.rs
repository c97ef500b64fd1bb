//! JPEG, read strictly. The `image` crate asks the same decoder to forgive: it fills what is missing from a truncated photo with
//! grey and reports success, and a concept would be learned from that grey.

use std::borrow::Cow;
use std::path::Path;

use ::image::{DynamicImage, GrayImage, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::Error;
use super::carried::marker;
use super::read::{Decoded, check_size};

/// The picture as stored; CMYK and YCCK become RGB.
pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Decoded, Error> {
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
    let bytes = plain(bytes);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&*bytes), options);
    decoder.decode_headers().map_err(failed)?;
    let (width, height) = decoder.dimensions().ok_or_else(|| damaged("no dimensions".into()))?;
    let (width, height) = (width as u32, height as u32);
    check_size(path, width, height)?;
    let stored = decoder.input_colorspace();
    let grey = stored == Some(ColorSpace::Luma);
    let is_cmyk = matches!(stored, Some(ColorSpace::CMYK | ColorSpace::YCCK));
    let target = if grey { ColorSpace::Luma } else { ColorSpace::RGB };
    decoder.set_options(options.jpeg_set_out_colorspace(target));
    let pixels = decoder.decode().map_err(failed)?;
    let icc = decoder.icc_profile();
    let image = if grey {
        GrayImage::from_raw(width, height, pixels).map(DynamicImage::from)
    } else {
        RgbImage::from_raw(width, height, pixels).map(DynamicImage::from)
    };
    let image = image.ok_or_else(|| damaged("fewer pixels than its header promises".into()))?;
    Ok(Decoded { image, icc, is_cmyk })
}

/// The JPEG without bytes between the segments of its head that belong to nothing. Some cameras and editors leave such, and all
/// readers but this decoder pass them over.
fn plain(bytes: &[u8]) -> Cow<'_, [u8]> {
    let (mut kept, mut at) = (vec![0xff, 0xd8], 2);
    loop {
        let Some((kind, begin)) = marker(bytes, at) else { return bytes.into() };
        let Some(&[high, low]) = bytes.get(begin..begin + 2).and_then(|length| length.first_chunk()) else {
            return bytes.into();
        };
        let end = begin + usize::from(u16::from_be_bytes([high, low]));
        // From the first scan on all is as it is.
        let end = if kind == 0xda { bytes.len() } else { end.min(bytes.len()) };
        kept.extend([0xff, kind]);
        kept.extend(&bytes[begin..end]);
        at = end;
        if kind == 0xda {
            return if kept.len() == bytes.len() { bytes.into() } else { kept.into() };
        }
    }
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
