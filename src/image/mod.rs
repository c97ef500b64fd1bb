//! Pictures from and to files: reading photos as people took them (any depth, rotated, with transparency), masks that
//! must fit their photo, resampling equal to Pillow's to the last bit, squares, contact sheets, PNG with text chunks.
//!
//! Colours of photos are sRGB: a colour profile is applied. Those of masks are as they are stored.

mod bounds;
mod carried;
mod clean;
mod colours;
mod depth;
mod error;
mod folder;
mod grid;
mod in_place;
mod jpeg;
mod kind;
mod map;
mod margin;
mod paint;
mod parameters;
mod png;
mod programs;
mod provenance;
mod read;
mod resample;
mod square;
mod whole;

pub use bounds::mask_bounds;
pub use clean::{clean_mask, clean_parts_and_holes};
pub use colours::Colours;
pub use depth::depth;
pub use error::Error;
pub use folder::{PhotoFolder, list_photos, mask_path};
pub use grid::{Labels, can_be_written, contact_sheet};
pub use kind::{Kind, LeftOut, is_photo, kind_of, left_out_words};
pub use map::{otsu, resize_map, stretch};
pub use margin::{grow_mask, shrink_mask};
pub use paint::MaskCanvas;
pub use parameters::Parameters;
pub use png::{MaskSays, mask_confidence, mask_says, png_size, read_png_text, write_png};
pub use provenance::{Provenance, read_provenance, write_picture};
pub use read::{MAX_PIXELS, ReadPhoto, look_at_photo, read_alpha, read_any_mask, read_mask, read_photo};
pub use resample::{Filter, resize, resize_bicubic, resize_part};
pub use square::square;
pub use whole::is_whole;
