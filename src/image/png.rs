//! PNG out, with the provenance of a picture as text inside it, and that text in again.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use ::image::{ColorType, ImageBuffer, PixelWithColorType};

use super::Error;
use super::read::check_size;
use crate::fs::open;

/// The most bytes of text of a PNG that are read.
pub const MAX_TEXT: usize = 4 << 20;

/// Write an 8-bit picture or mask as PNG, whole or not at all, with `text` as (keyword, value) pairs in front of the
/// pixels. A keyword has 1 to 79 Latin-1 characters, a value is any text. Equal input gives equal bytes.
pub fn write_png<P>(path: &Path, image: &ImageBuffer<P, Vec<u8>>, text: &[(&str, &str)]) -> Result<(), Error>
where
    P: PixelWithColorType<Subpixel = u8>,
{
    let bytes = encode(image, text).map_err(|reason| Error::Encode { path: path.to_path_buf(), reason })?;
    crate::fs::write_atomic(path, &bytes).map_err(|source| Error::Write { path: path.to_path_buf(), source })
}

fn encode<P>(image: &ImageBuffer<P, Vec<u8>>, text: &[(&str, &str)]) -> Result<Vec<u8>, String>
where
    P: PixelWithColorType<Subpixel = u8>,
{
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_color(match ColorType::try_from(P::COLOR_TYPE) {
        Ok(ColorType::L8) => png::ColorType::Grayscale,
        Ok(ColorType::La8) => png::ColorType::GrayscaleAlpha,
        Ok(ColorType::Rgba8) => png::ColorType::Rgba,
        _ => png::ColorType::Rgb,
    });
    for (keyword, value) in text {
        let (keyword, value) = ((*keyword).to_owned(), (*value).to_owned());
        // Some readers know only the older kind of text, which holds Latin-1.
        let older = value.chars().all(|c| (c as u32) < 256 && c != '\0');
        let added = if older { encoder.add_text_chunk(keyword, value) } else { encoder.add_itxt_chunk(keyword, value) };
        added.map_err(|error| error.to_string())?;
    }
    let mut writer = encoder.write_header().map_err(|error| error.to_string())?;
    writer.write_image_data(image.as_raw()).map_err(|error| error.to_string())?;
    writer.finish().map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Width and height of the PNG in `path`. Reads no pixels.
///
/// # Errors
/// Unreadable, no PNG, or of a size that no picture has.
pub fn png_size(path: &Path) -> Result<(u32, u32), Error> {
    let mut decoder = decoder(path)?;
    Ok(decoder.read_header_info().map_err(damaged(path))?.size())
}

/// How every PNG begins.
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A reader of the PNG in `path` with little room for its text, once its size has been looked at.
fn decoder(path: &Path) -> Result<png::Decoder<BufReader<File>>, Error> {
    let file = open(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    let mut file = BufReader::new(file);
    let begin = file.fill_buf().map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    if !SIGNATURE.starts_with(&begin[..begin.len().min(SIGNATURE.len())]) {
        return Err(Error::NotPng { path: path.to_path_buf() });
    }
    let mut decoder = png::Decoder::new_with_limits(file, png::Limits { bytes: 4 * MAX_TEXT });
    decoder.set_ignore_iccp_chunk(true);
    let (width, height) = decoder.read_header_info().map_err(damaged(path))?.size();
    check_size(path, width, height)?;
    Ok(decoder)
}

fn damaged(path: &Path) -> impl Fn(png::DecodingError) -> Error {
    let path = path.to_path_buf();
    move |error| match error {
        png::DecodingError::LimitsExceeded => Error::TooMuchText { path: path.clone(), limit: MAX_TEXT },
        error => Error::Damaged { path: path.clone(), reason: error.to_string() },
    }
}

/// The (keyword, value) pairs of a PNG, wherever they stand in it; first the Latin-1 ones, then the UTF-8 ones, each in the file's order.
///
/// # Errors
/// Unreadable, no PNG, truncated, or with over `MAX_TEXT` bytes of text: nobody writes so much, and it must not fill memory.
pub fn read_png_text(path: &Path) -> Result<Vec<(String, String)>, Error> {
    let damaged = damaged(path);
    let mut reader = decoder(path)?.read_info().map_err(&damaged)?;
    reader.finish().map_err(&damaged)?;
    let info = reader.info();
    let mut text: Vec<_> =
        info.uncompressed_latin1_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.text.clone())).collect();
    let mut room = MAX_TEXT;
    for chunk in &info.compressed_latin1_text {
        let mut chunk = chunk.clone();
        chunk.decompress_text_with_limit(room).map_err(&damaged)?;
        let value = chunk.get_text().map_err(&damaged)?;
        room = room.saturating_sub(value.len());
        text.push((chunk.keyword, value));
    }
    for chunk in &info.utf8_text {
        let mut chunk = chunk.clone();
        chunk.decompress_text_with_limit(room).map_err(&damaged)?;
        let value = chunk.get_text().map_err(&damaged)?;
        room = room.saturating_sub(value.len());
        text.push((chunk.keyword, value));
    }
    if text.iter().map(|(_, value)| value.len()).sum::<usize>() > MAX_TEXT {
        return Err(Error::TooMuchText { path: path.to_path_buf(), limit: MAX_TEXT });
    }
    Ok(text)
}

/// What decides, besides the picture, what the makers' masks are.
const MASK_SETTINGS: [(&[&str], &[&str]); 3] = [
    (&["base_model", "sam"], &["timesteps", "draws", "threshold", "smallest_part"]),
    (&["sam"], &["sam_model_sha256"]),
    (&["segmenter"], &["segmenter_sha256"]),
];

/// A hash by its first characters.
fn shortened(value: &str) -> &str {
    if value.len() == 64 { &value[..8] } else { value }
}

/// What a mask says of itself in its PNG text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MaskSays {
    /// What made it (`mask_made_by`): a network, an editor, a file it was brought in from. Behind a maker that has settings
    /// stand those in parentheses: masks that differ in them are made differently.
    pub made_by: Option<String>,
    /// How sure its maker is of it, 0 to 1.
    pub confidence: Option<f64>,
}

/// What the mask in `path` says of itself; nothing where it cannot be read.
pub fn mask_says(path: &Path) -> MaskSays {
    let text = read_png_text(path).unwrap_or_default();
    let value = |key: &str| text.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
    let confidence = value("confidence").and_then(|value| value.parse::<f64>().ok());
    let made_by = value("mask_made_by").map(|by| {
        let settings = MASK_SETTINGS.iter().filter(|(maker, _)| maker.contains(&by)).flat_map(|(_, keys)| keys.iter());
        let said: Vec<String> = settings.filter_map(|key| Some(format!("{key} {}", shortened(value(key)?)))).collect();
        if said.is_empty() { by.to_owned() } else { format!("{by} ({})", said.join("; ")) }
    });
    MaskSays { made_by, confidence: confidence.filter(|confidence| (0.0..=1.0).contains(confidence)) }
}

/// What the mask in `path` says of its own worth, 0 to 1; none where it says nothing, as one drawn by hand, or cannot be read.
pub fn mask_confidence(path: &Path) -> Option<f64> {
    mask_says(path).confidence
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ::image::{GrayImage, Luma, Rgb, RgbImage};

    use super::*;
    use crate::image::{read_mask, read_photo};

    #[test]
    fn a_sample_carries_its_provenance() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample.png");
        let image = RgbImage::from_fn(5, 7, |x, y| Rgb([x as u8 * 40, y as u8 * 30, 9]));
        let text = [
            ("seed", "7"),
            ("name", "théière"),
            ("empty", ""),
            ("prompt", "a teapot – “sur l’herbe” 茶壺\nsecond line"),
        ];
        write_png(&path, &image, &text).unwrap();
        assert_eq!(read_photo(&path).unwrap(), image);
        let read = read_png_text(&path).unwrap();
        assert_eq!(read.iter().map(|(key, value)| (&**key, &**value)).collect::<Vec<_>>(), text);
        let once = std::fs::read(&path).unwrap();
        write_png(&path, &image, &text).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), once, "equal input gives equal bytes");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_mask_comes_back_with_every_grey() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        let mask = GrayImage::from_fn(16, 16, |x, y| Luma([(y * 16 + x) as u8]));
        write_png(&path, &mask, &[]).unwrap();
        assert_eq!(read_mask(&path, (16, 16)).unwrap(), mask);
        assert!(read_png_text(&path).unwrap().is_empty());
    }

    #[test]
    fn a_mask_says_who_made_it_and_how_sure_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        let says = |text: &[(&str, &str)]| {
            write_png(&path, &GrayImage::new(2, 2), text).unwrap();
            mask_says(&path)
        };
        let with = [("mask_made_by", "base_model"), ("timesteps", "100, 200"), ("draws", "1"), ("steps", "9")];
        assert_eq!(says(&with).made_by.as_deref(), Some("base_model (timesteps 100, 200; draws 1)"));
        let made_by = Some("base_model".to_owned());
        let sure = MaskSays { made_by: made_by.clone(), confidence: Some(0.625) };
        assert_eq!(says(&[("mask_made_by", "base_model"), ("confidence", "0.625")]), sure);
        for nonsense in ["1.5", "-0.1", "NaN", "sure"] {
            let said = says(&[("mask_made_by", "base_model"), ("confidence", nonsense)]);
            assert_eq!(said, MaskSays { made_by: made_by.clone(), confidence: None }, "{nonsense}");
        }
        assert_eq!((says(&[]), mask_says(Path::new("/nowhere.png"))), (MaskSays::default(), MaskSays::default()));
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample.png");
        let message = write_png(&path, &RgbImage::new(1, 1), &[("", "value")]).unwrap_err().to_string();
        assert!(message.contains("sample.png") && message.contains("keyword"), "{message}");
        let message = write_png(&path, &RgbImage::new(0, 0), &[]).unwrap_err().to_string();
        assert!(message.starts_with("cannot encode"), "{message}");
        let message = write_png(Path::new("/nowhere/a.png"), &RgbImage::new(1, 1), &[]).unwrap_err().to_string();
        assert!(message.starts_with("cannot write /nowhere/a.png"), "{message}");
        assert!(!path.exists());
    }
}
