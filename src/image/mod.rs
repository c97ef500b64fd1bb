//! Pictures from and to files: reading photos as people took them (any depth, rotated, with transparency), masks that
//! must fit their photo, resampling equal to Pillow's to the last bit, squares, contact sheets, PNG with text chunks.
//!
//! Colours are taken as sRGB; colour profiles are not applied.

mod clean;
mod depth;
mod error;
mod folder;
mod grid;
mod jpeg;
mod map;
mod margin;
mod paint;
mod parameters;
mod png;
mod provenance;
mod read;
mod resample;
mod square;
mod whole;

pub use clean::{clean_mask, clean_parts_and_holes};
pub use depth::depth;
pub use error::Error;
pub use folder::{PHOTO_EXTENSIONS, list_photos, mask_path};
pub use grid::{Labels, can_be_written, contact_sheet};
pub use map::{otsu, resize_map, stretch};
pub use margin::{grow_mask, shrink_mask};
pub use paint::MaskCanvas;
pub use parameters::Parameters;
pub use png::{MaskSays, mask_confidence, mask_says, png_size, read_png_text, write_png};
pub use provenance::{Provenance, read_provenance, write_picture};
pub use read::{MAX_PIXELS, read_alpha, read_any_mask, read_mask, read_photo, turned};
pub use resample::{Filter, resize, resize_bicubic, resize_part};
pub use square::square;
pub use whole::is_whole;
