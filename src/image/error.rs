use crate::fs::Show;
use std::io;
use std::path::PathBuf;

use super::kind::LeftOut;

/// What can be wrong with a picture, a mask or a folder of them. Every message names the file, the cause and the way out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot read {}: {}", path.shown(), crate::fs::why(path, source))]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file system refused.
    #[error("cannot write {}: {}", path.shown(), crate::fs::why(path, source))]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The content carries no signature of a picture.
    #[error("{} is not a picture: its content is neither JPEG, PNG nor WebP", path.shown())]
    NotAnImage {
        /// The file.
        path: PathBuf,
    },
    /// A picture of another kind.
    #[error("{} is a {kind} file, which is not read here: convert it to JPEG, PNG or WebP", path.shown())]
    UnsupportedFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        kind: String,
    },
    /// A PNG is needed.
    #[error("{} is no PNG", path.shown())]
    NotPng {
        /// The file.
        path: PathBuf,
    },
    /// The content ends too early or does not decode.
    #[error("{} is truncated or damaged ({reason}): copy or export it again", path.shown())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        reason: String,
    },
    /// Text that was made to fill memory.
    #[error("{} carries over {} MiB of text: it is damaged, or was made to do harm", path.shown(), limit >> 20)]
    TooMuchText {
        /// The file.
        path: PathBuf,
        /// The most bytes that are read.
        limit: usize,
    },
    /// A record of how it was made that does not make sense.
    #[error("{}: its record of how it was made is damaged or of another version ({reason})", path.shown())]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A picture without a single pixel.
    #[error("{} has no pixels: it is {width} x {height}", path.shown())]
    ZeroSize {
        /// The file.
        path: PathBuf,
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
    /// More pixels than any camera makes: a decompression bomb or a mistake.
    #[error("{} is {width} x {height} pixels, over the limit of {limit} in all: make it smaller", path.shown())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
        /// The most pixels that are read.
        limit: u64,
    },
    /// More bytes than are read at once.
    #[error(
        "{} is {width} x {height} pixels of {bytes} bytes each, over the limit of {} MiB in all: make it smaller, or save it with \
         8 bits a channel",
        path.shown(), limit >> 20
    )]
    TooMuch {
        /// The file.
        path: PathBuf,
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
        /// Of a pixel.
        bytes: u64,
        /// The most bytes that are read.
        limit: u64,
    },
    /// A mask that does not lie on its photo.
    #[error(
        "the mask {} is {} x {} pixels, its photo {} x {}: draw it on the photo as shown, upright",
        path.shown(), found.0, found.1, expected.0, expected.1
    )]
    MaskSize {
        /// The mask.
        path: PathBuf,
        /// Width and height of the mask.
        found: (u32, u32),
        /// Width and height of the photo, upright.
        expected: (u32, u32),
    },
    /// A picture where a mask should be.
    #[error("the mask {} has colours: a mask is grey, white where the concept is", path.shown())]
    ColouredMask {
        /// The mask.
        path: PathBuf,
    },
    /// A mask in which nothing is white.
    #[error(
        "the mask {} ({width} x {height}) marks nothing: its brightest pixel is {brightest} of 255, \
         the concept must be white; draw it again or delete the file",
        path.shown()
    )]
    EmptyMask {
        /// The mask.
        path: PathBuf,
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
        /// The brightest grey in it.
        brightest: u8,
    },
    /// No photos where photos should be.
    #[error("{} holds no photos: put JPEG, PNG or WebP files there{}", folder.shown(), others_note(left_out))]
    NoPhotos {
        /// The folder.
        folder: PathBuf,
        /// Files that lie there and are none.
        left_out: Vec<LeftOut>,
    },
    /// Two photos that would share one mask file.
    #[error(
        "{} and {} have the same name but for the ending, so one mask file would stand for both: rename one",
        first.shown(), second.shown()
    )]
    SameStem {
        /// One of them.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The encoder refused.
    #[error("cannot encode {}: {reason}", path.shown())]
    Encode {
        /// The file that was to be written.
        path: PathBuf,
        /// What the encoder says.
        reason: String,
    },
}

fn others_note(left_out: &[LeftOut]) -> String {
    let Some(first) = left_out.first() else { return String::new() };
    let name = first.path.file_name().unwrap_or_default().to_string_lossy();
    let more = if left_out.len() > 1 { format!(" and {} more", left_out.len() - 1) } else { String::new() };
    format!("; there is {name} ({}){more}", first.why)
}
