//! What a picture carries beside its pixels: EXIF, XMP and comments, wherever its format has them. What is damaged is passed
//! over: pixels that can be read are not refused for it.

use std::io::Read;

use ::image::metadata::Orientation;
use flate2::read::ZlibDecoder;

/// The most bytes of it that are unpacked.
const MAX_BYTES: u64 = 4 << 20;
/// How EXIF begins where it is not alone.
const EXIF: &[u8] = b"Exif\0\0";
/// How the XMP of a JPEG begins.
const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
/// What PNG calls XMP.
const PNG_XMP: &[u8] = b"XML:com.adobe.xmp";
/// What GIMP and ImageMagick call EXIF that they write into a PNG as text.
const RAW_EXIF: [&[u8]; 2] = [b"Raw profile type exif", b"Raw profile type APP1"];

/// What there is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    /// EXIF: a TIFF directory.
    pub exif: Option<Vec<u8>>,
    pub xmp: Option<String>,
    /// Comments of a JPEG.
    pub comments: Vec<String>,
}

impl Carried {
    /// Of the JPEG, PNG or WebP in `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0xff, 0xd8, ..] => Self::of_jpeg(bytes),
            [0x89, b'P', b'N', b'G', ..] => Self::of_png(bytes),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', chunks @ ..] => Self::of_webp(chunks),
            _ => Self::default(),
        }
    }

    /// EXIF alone, where the format has its own place for it and as it stands there: what versions before looked at.
    pub fn of_format(bytes: &[u8]) -> Self {
        let exif = match bytes {
            [0x89, b'P', b'N', b'G', ..] => {
                png_chunks(bytes).find(|(kind, _)| *kind == b"eXIf").map(|(_, data)| data.to_vec())
            }
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', chunks @ ..] => {
                webp_chunks(chunks).find(|(kind, _)| *kind == b"EXIF").map(|(_, data)| data.to_vec())
            }
            _ => Self::of(bytes).exif,
        };
        Self { exif, ..Self::default() }
    }

    fn of_jpeg(bytes: &[u8]) -> Self {
        let mut carried = Self::default();
        for (marker, data) in segments(bytes) {
            match (marker, data) {
                (0xe1, data) if data.starts_with(EXIF) => drop(carried.exif.get_or_insert(data[EXIF.len()..].to_vec())),
                (0xe1, data) if data.starts_with(XMP) => drop(carried.xmp.get_or_insert(text(&data[XMP.len()..]))),
                (0xfe, data) => carried.comments.push(text(data)),
                _ => {}
            }
        }
        carried
    }

    fn of_png(bytes: &[u8]) -> Self {
        let (mut carried, mut raw) = (Self::default(), None);
        for (kind, data) in png_chunks(bytes) {
            let (keyword, value) = split_at_zero(data);
            match kind {
                b"eXIf" => carried.exif = Some(without_head(data)),
                b"tEXt" if RAW_EXIF.contains(&keyword) => raw = raw_profile(value),
                b"zTXt" if RAW_EXIF.contains(&keyword) => {
                    raw = value.get(1..).and_then(inflated).as_deref().and_then(raw_profile);
                }
                b"iTXt" if keyword == PNG_XMP => carried.xmp = international(value),
                _ => {}
            }
        }
        carried.exif = carried.exif.or(raw);
        carried
    }

    fn of_webp(chunks: &[u8]) -> Self {
        let mut carried = Self::default();
        for (kind, data) in webp_chunks(chunks) {
            match kind {
                b"EXIF" => carried.exif = Some(without_head(data)),
                b"XMP " => carried.xmp = Some(text(data)),
                _ => {}
            }
        }
        carried
    }

    /// How the picture is to be turned: as EXIF says, else as XMP does.
    pub fn orientation(&self) -> Orientation {
        let exif = self.exif.as_deref().and_then(Orientation::from_exif_chunk);
        let said = || {
            let xmp = self.xmp.as_deref()?;
            let after = xmp.split_once("tiff:Orientation=\"").or_else(|| xmp.split_once("tiff:Orientation>"))?.1;
            Orientation::from_exif(after.bytes().next()?.checked_sub(b'0')?)
        };
        exif.or_else(said).unwrap_or(Orientation::NoTransforms)
    }

    /// The texts in EXIF with their tags, also makers' own tags.
    pub fn exif_texts(&self) -> Vec<(u16, String)> {
        let Some(exif) = self.exif.clone() else { return Vec::new() };
        let read = exif::Reader::new().continue_on_error(true).read_raw(exif);
        let read = read.or_else(|error| error.distill_partial_result(|_| ()));
        let Ok(read) = read else { return Vec::new() };
        let (little, mut texts) = (read.little_endian(), Vec::new());
        for field in read.fields().filter(|field| field.ifd_num == exif::In::PRIMARY) {
            let value = match &field.value {
                // Some write it with another type than the one it has.
                exif::Value::Undefined(bytes, _) | exif::Value::Byte(bytes) if field.tag.number() == USER_COMMENT => {
                    user_comment(bytes, little)
                }
                exif::Value::Ascii(parts) if field.tag.number() == USER_COMMENT => {
                    user_comment(&parts.join(&0), little)
                }
                exif::Value::Ascii(parts) => text(&parts.join(&0)),
                exif::Value::Undefined(bytes, _) if field.tag.number() == MAKER_NOTE => text(bytes),
                _ => continue,
            };
            texts.push((field.tag.number(), value));
        }
        texts
    }
}

/// The EXIF tag of comments.
pub(super) const USER_COMMENT: u16 = 0x9286;
/// The EXIF tag of makers' own.
pub(super) const MAKER_NOTE: u16 = 0x927c;

/// A comment of EXIF: eight letters that say its encoding, then the text.
fn user_comment(bytes: &[u8], little: bool) -> String {
    match bytes.split_at_checked(8) {
        Some((b"UNICODE\0", coded)) => utf16(coded, little),
        Some((b"ASCII\0\0\0" | b"\0\0\0\0\0\0\0\0", plain)) => text(plain),
        Some((b"JIS\0\0\0\0\0", _)) => "(in JIS)".into(),
        _ => text(bytes),
    }
}

/// Text in two bytes a letter. Its order is nowhere agreed on: most write big-endian, some as the EXIF around it is, and some
/// write UTF-8. The zeros of plain letters tell.
fn utf16(bytes: &[u8], little: bool) -> String {
    let zeros = |from: usize| bytes.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
    let (high, low) = (zeros(0), zeros(1));
    let little = match bytes {
        [0xff, 0xfe, ..] => true,
        [0xfe, 0xff, ..] => false,
        _ if high + low == 0 && std::str::from_utf8(bytes).is_ok() => return text(bytes),
        _ if high != low => low > high,
        _ => little,
    };
    let read = |pair: &[u8]| {
        let pair = [pair[0], pair[1]];
        if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
    };
    let units: Vec<u16> = bytes.chunks_exact(2).map(read).collect();
    String::from_utf16_lossy(&units).trim_start_matches('\u{feff}').trim_end_matches('\0').to_owned()
}

/// UTF-8, else Latin-1, up to zeros at its end.
fn text(bytes: &[u8]) -> String {
    let text =
        std::str::from_utf8(bytes).map_or_else(|_| bytes.iter().map(|&byte| byte as char).collect(), str::to_owned);
    text.trim_end_matches('\0').to_owned()
}

/// EXIF without what some formats' writers put in front.
fn without_head(data: &[u8]) -> Vec<u8> {
    data.strip_prefix(EXIF).unwrap_or(data).to_vec()
}

fn split_at_zero(data: &[u8]) -> (&[u8], &[u8]) {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    (&data[..end], data.get(end + 1..).unwrap_or_default())
}

fn inflated(data: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    ZlibDecoder::new(data).take(MAX_BYTES + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= MAX_BYTES).then_some(bytes)
}

/// The value of an iTXt chunk: whether it is packed, how, a language, a translated keyword, the text.
fn international(data: &[u8]) -> Option<String> {
    let packed = *data.first()? == 1;
    let (_, rest) = split_at_zero(data.get(2..)?);
    let (_, value) = split_at_zero(rest);
    Some(text(&if packed { inflated(value)? } else { value.to_vec() }))
}

/// Bytes as hexadecimal text: an empty line, a name, a length, then the digits, in lines.
fn raw_profile(value: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> = std::str::from_utf8(value)
        .ok()?
        .split('\n')
        .skip(3)
        .flat_map(str::bytes)
        .filter(u8::is_ascii_hexdigit)
        .collect();
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or(0) as u8;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|two| digit(two[0]) << 4 | digit(two[1])).collect();
    (!bytes.is_empty()).then(|| without_head(&bytes))
}

/// The chunks of a PNG: kinds and contents.
fn png_chunks(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = bytes.get(8..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (head, after) = rest.split_at_checked(8)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let data = after.get(..length)?;
        rest = after.get(length + 4..).unwrap_or_default();
        Some((&head[4..], data))
    })
}

/// The chunks of a WebP behind its head: kinds and contents.
fn webp_chunks(chunks: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = chunks;
    std::iter::from_fn(move || {
        let (head, after) = rest.split_at_checked(8)?;
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let data = after.get(..length)?;
        rest = after.get(length + length % 2..).unwrap_or_default();
        Some((&head[..4], data))
    })
}

/// The segments of a JPEG up to its first scan: markers and contents. Bytes before a marker that belong to nothing are passed
/// over, as by other readers.
pub(super) fn segments(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut at = 2;
    std::iter::from_fn(move || {
        let (marker, begin) = marker(bytes, at)?;
        let length = usize::from(u16::from_be_bytes([*bytes.get(begin)?, *bytes.get(begin + 1)?]));
        let data = bytes.get(begin + 2..begin + length)?;
        at = begin + length;
        // What follows a start of scan is no segment.
        (marker != 0xda).then_some((marker, data))
    })
}

/// The next marker with a length from `at` on, and where what is behind it begins.
pub(super) fn marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += bytes.get(at..)?.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff))? + 2;
        match bytes[at - 1] {
            0x01 | 0xd0..=0xd8 => {}
            0xd9 => return None,
            marker => return Some((marker, at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_read_in_every_encoding() {
        let wide = |text: &str, order: fn(u16) -> [u8; 2]| {
            [b"UNICODE\0".to_vec(), text.encode_utf16().flat_map(order).collect()].concat()
        };
        for said in ["a teapot", "茶壺 🫖, Steps: 20"] {
            for little in [false, true] {
                assert_eq!(user_comment(&wide(said, u16::to_be_bytes), little), said);
                assert_eq!(user_comment(&wide(said, u16::to_le_bytes), little), said);
                let marked = format!("\u{feff}{said}");
                assert_eq!(user_comment(&wide(&marked, u16::to_le_bytes), little), said);
                assert_eq!(user_comment(&[b"UNICODE\0", said.as_bytes()].concat(), little), said, "UTF-8 all the same");
            }
            assert_eq!(user_comment(&[b"ASCII\0\0\0", said.as_bytes()].concat(), false), said);
            assert_eq!(user_comment(said.as_bytes(), false), said);
        }
        assert_eq!(user_comment(b"", false), "");
        assert_eq!(user_comment(b"UNICODE\0a", false), "a");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_looked_at_without_a_panic(bytes: Vec<u8>, kind in 0..3_usize, exif: bool) {
            let heads: [&[u8]; 3] = [b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPEXIF"];
            let carried = Carried::of(&[heads[kind], &bytes].concat());
            let carried = if exif { Carried { exif: Some([b"MM\0*\0\0\0\x08", &bytes[..]].concat()), ..carried } } else { carried };
            let _ = (carried.orientation(), carried.exif_texts());
        }
    }
}
