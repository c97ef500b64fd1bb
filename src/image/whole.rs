//! Whether a picture has been written to its end.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::read_photo;
use crate::fs::open;

/// The end of a PNG: the chunk IEND with its checksum.
const PNG_END: [u8; 12] = [0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82];

/// How far before the end of the file the end of a PNG is looked for: some programs append something.
const TAIL: u64 = 4096;

/// Whether the file at `path` is a whole picture, not one that is still being copied. Judged by its two ends, which takes no
/// time; only a JPEG with an odd end (some phones append a film) is decoded.
pub fn is_whole(path: &Path) -> bool {
    ends_well(path).unwrap_or(false)
}

fn ends_well(path: &Path) -> std::io::Result<bool> {
    let mut file = open(path)?;
    let length = file.metadata()?.len();
    let (mut head, mut tail) = ([0; 12], Vec::new());
    file.read_exact(&mut head)?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    file.take(TAIL).read_to_end(&mut tail)?;
    Ok(match head {
        [0xff, 0xd8, ..] => tail.ends_with(&[0xff, 0xd9]) || read_photo(path).is_ok(),
        [0x89, b'P', b'N', b'G', ..] => tail.windows(PNG_END.len()).any(|part| part == PNG_END),
        [b'R', b'I', b'F', b'F', a, b, c, d, b'W', b'E', b'B', b'P'] => {
            u64::from(u32::from_le_bytes([a, b, c, d])) + 8 <= length
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_picture_cut_anywhere_is_not_whole_until_its_last_byte_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let picture = image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8 * 6, y as u8 * 8, 90]));
        for ending in ["png", "jpg", "webp"] {
            let path = folder.path().join(format!("photo.{ending}"));
            picture.save(&path).unwrap();
            assert!(is_whole(&path), "{ending}");
            let bytes = std::fs::read(&path).unwrap();
            for part in [0, 1, 11, bytes.len() / 3, bytes.len() - 1] {
                std::fs::write(&path, &bytes[..part]).unwrap();
                assert!(!is_whole(&path), "{part} bytes of {ending}");
            }
            std::fs::write(&path, [&bytes[..], b"appended"].concat()).unwrap();
            assert!(is_whole(&path), "{ending} with something after its end");
        }
        let pipe = folder.path().join("pipe.png");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(
            !is_whole(&pipe) && read_photo(&pipe).unwrap_err().to_string().contains("a pipe"),
            "it is not waited for"
        );
    }
}
