//! What a file is by its first bytes, and whether it can be a photo: the one place that decides it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::fs::Show;
use crate::fs::open;

/// The endings of photos, in lower case. `jfif`, `jpe` and `jif` are JPEG by other names.
const PHOTO_EXTENSIONS: [&str; 7] = ["jpg", "jpeg", "png", "webp", "jfif", "jpe", "jif"];
/// Those that versions before knew.
const FIRST_EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];
/// What systems put into folders of pictures by themselves.
const OF_SYSTEMS: [&str; 2] = ["thumbs.db", "desktop.ini"];

/// So many files that are left out for one reason are named.
const NAMED: usize = 6;

/// A kind of picture file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Read.
    Jpeg,
    /// Read.
    Png,
    /// Read.
    WebP,
    /// Not read.
    Heic,
    /// Not read.
    Avif,
    /// Not read.
    Gif,
    /// Not read.
    Bmp,
    /// Not read; most cameras' raw files too.
    Tiff,
    /// Not read.
    JpegXl,
    /// Not read.
    Jpeg2000,
    /// Not read.
    Psd,
    /// Not read.
    Svg,
    /// No picture.
    Video,
}

impl Kind {
    /// The kind of the file that begins with `bytes`; none where it is no known picture.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        Some(match bytes {
            [0xff, 0xd8, 0xff, ..] => Self::Jpeg,
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Self::Png,
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Self::WebP,
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Self::Gif,
            [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => Self::Bmp,
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Self::Tiff,
            [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => Self::JpegXl,
            [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] | [0xff, 0x4f, 0xff, 0x51, ..] => Self::Jpeg2000,
            [b'8', b'B', b'P', b'S', ..] => Self::Psd,
            [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => match brand.first_chunk()? {
                b"avif" | b"avis" => Self::Avif,
                b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"heif" | b"mif1" | b"msf1" => {
                    // The general brands are of AVIF as well.
                    let others = brand.get(8..).unwrap_or_default();
                    let avif = [b"mif1", b"msf1"].contains(&brand.first_chunk()?)
                        && others.chunks(4).any(|one| one == b"avif");
                    if avif { Self::Avif } else { Self::Heic }
                }
                _ => Self::Video,
            },
            bytes if bytes.starts_with(b"<svg") => Self::Svg,
            _ => return None,
        })
    }

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Heic => "HEIC",
            Self::Avif => "AVIF",
            Self::Gif => "GIF",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
            Self::JpegXl => "JPEG XL",
            Self::Jpeg2000 => "JPEG 2000",
            Self::Psd => "Photoshop",
            Self::Svg => "SVG",
            Self::Video => "video",
        }
    }

    /// Whether it is read here.
    pub fn is_read(self) -> bool {
        matches!(self, Self::Jpeg | Self::Png | Self::WebP)
    }
}

/// A file beside photos that is none, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LeftOut {
    /// Where it is. Written as it is shown: its name may be no text, which JSON cannot hold.
    #[serde(serialize_with = "shown")]
    pub path: PathBuf,
    /// Why it is left out, and what helps.
    pub why: String,
}

fn shown<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.shown())
}

/// What is left out, a line for each reason.
pub fn left_out_words(left_out: &[LeftOut]) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for one in left_out {
        let name = Path::new(one.path.file_name().unwrap_or_default()).shown().to_string();
        match reasons.iter_mut().find(|(why, _)| *why == one.why) {
            Some((_, names)) => names.push(name),
            None => reasons.push((&one.why, vec![name])),
        }
    }
    let line = |(why, mut names): (&str, Vec<String>)| {
        let more = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("left out: {}{more}: {why}", names.join(", "))
    };
    reasons.into_iter().map(line).collect()
}

/// What becomes of a file in a folder of photos.
pub(super) enum Fate {
    /// It is a photo, or says that it is one: whoever reads it finds out.
    Photo,
    /// It is none.
    LeftOut(String),
    /// It is nothing that anyone means to be one.
    Hidden,
}

/// Whether the file at `path` is a photo. Its content decides where it has a photo's ending. One without is no photo whatever is in
/// it, for downloads and backups have other endings.
pub(super) fn fate(path: &Path) -> Fate {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    if name.starts_with('.') || OF_SYSTEMS.contains(&name.as_str()) || path.is_dir() {
        return Fate::Hidden;
    }
    if path.file_name().and_then(OsStr::to_str).is_none() {
        // Records, masks and messages name it as text.
        return Fate::LeftOut("its name is not text (UTF-8): rename it".into());
    }
    let kind = kind_of(path);
    let convert =
        |kind: Kind| Fate::LeftOut(format!("{}, which is not read here: convert it to JPEG or PNG", kind.word()));
    match (has_ending(path, &PHOTO_EXTENSIONS), kind) {
        (_, Some(kind)) if !kind.is_read() => convert(kind),
        (true, _) => Fate::Photo,
        (false, Some(kind)) => {
            Fate::LeftOut(format!("{} by its content, but its name does not end so: rename it", kind.word()))
        }
        (false, None) => Fate::LeftOut("no picture".into()),
    }
}

/// Whether the file at `path` is a photo, or says that it is one.
pub fn is_photo(path: &Path) -> bool {
    has_ending(path, &PHOTO_EXTENSIONS) && matches!(fate(path), Fate::Photo)
}

/// Whether the file at `path` was a photo to versions before, which looked at its ending alone.
pub(super) fn was_photo(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    !hidden && !path.is_dir() && has_ending(path, &FIRST_EXTENSIONS)
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    path.extension().is_some_and(|ending| endings.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// The kind of the file at `path` by its first bytes.
pub fn kind_of(path: &Path) -> Option<Kind> {
    let mut head = Vec::new();
    let read = |file: File| file.take(64).read_to_end(&mut head);
    open(path).and_then(read).ok()?;
    Kind::of(&head)
}
