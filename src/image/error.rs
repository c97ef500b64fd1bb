use std::io;
use std::path::PathBuf;

/// What can be wrong with a picture, a mask or a folder of them. Every message names the file, the cause and the way out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot read {}: {}", path.display(), crate::fs::why(path, source))]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file system refused.
    #[error("cannot write {}: {}", path.display(), crate::fs::why(path, source))]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The content carries no signature of a picture.
    #[error("{} is not a picture: its content is neither JPEG, PNG nor WebP", path.display())]
    NotAnImage {
        /// The file.
        path: PathBuf,
    },
    /// A picture of another kind.
    #[error("{} is a {kind} file, which is not read here: convert it to JPEG, PNG or WebP", path.display())]
    UnsupportedFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        kind: String,
    },
    /// A PNG is needed.
    #[error("{} is no PNG: only those say how they were made", path.display())]
    NotPng {
        /// The file.
        path: PathBuf,
    },
    /// The content ends too early or does not decode.
    #[error("{} is truncated or damaged ({reason}): copy or export it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        reason: String,
    },
    /// Text that was made to fill memory.
    #[error("{} carries over {} MiB of text: it is damaged, or was made to do harm", path.display(), limit >> 20)]
    TooMuchText {
        /// The file.
        path: PathBuf,
        /// The most bytes that are read.
        limit: usize,
    },
    /// A record of how it was made that does not make sense.
    #[error("{}: its record of how it was made is damaged or of another version ({reason})", path.display())]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A picture without a single pixel.
    #[error("{} has no pixels: it is {width} x {height}", path.display())]
    ZeroSize {
        /// The file.
        path: PathBuf,
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
    /// More pixels than any camera makes: a decompression bomb or a mistake.
    #[error("{} is {width} x {height} pixels, over the limit of {limit} in all: make it smaller", path.display())]
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
    /// A mask that does not lie on its photo.
    #[error(
        "the mask {} is {} x {} pixels, its photo {} x {}: draw it on the photo as shown, upright",
        path.display(), found.0, found.1, expected.0, expected.1
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
    #[error("the mask {} has colours: a mask is grey, white where the concept is", path.display())]
    ColouredMask {
        /// The mask.
        path: PathBuf,
    },
    /// A mask in which nothing is white.
    #[error(
        "the mask {} ({width} x {height}) marks nothing: its brightest pixel is {brightest} of 255, \
         the concept must be white; draw it again or delete the file",
        path.display()
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
    #[error("{} holds no photos: put jpg, png or webp files there{}", folder.display(), others_note(others))]
    NoPhotos {
        /// The folder.
        folder: PathBuf,
        /// Names of files of other kinds that lie there.
        others: Vec<String>,
    },
    /// Two photos that would share one mask file.
    #[error(
        "{} and {} have the same name but for the ending, so one mask file would stand for both: rename one",
        first.display(), second.display()
    )]
    SameStem {
        /// One of them.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The encoder refused.
    #[error("cannot encode {}: {reason}", path.display())]
    Encode {
        /// The file that was to be written.
        path: PathBuf,
        /// What the encoder says.
        reason: String,
    },
}

fn others_note(others: &[String]) -> String {
    match others {
        [] => String::new(),
        [one] => format!(" ({one} is of another kind)"),
        [first, ..] => format!(" ({first} and {} more are of another kind)", others.len() - 1),
    }
}
