//! What the operating system gives only through unsafe calls.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

/// A whole file as memory, read page by page when touched.
pub fn map_file(file: &File) -> io::Result<memmap2::Mmap> {
    // SAFETY: the mapping is read-only and private. Should another process cut the file short while it is mapped, a read
    // past its end raises SIGBUS and ends this process; it is never undefined contents taken for weights, because model
    // files are replaced by renaming, not rewritten in place.
    unsafe { memmap2::Mmap::map(file) }
}
