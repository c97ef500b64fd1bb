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

pub use clean::clean_parts_and_holes;
pub use colours::Colours;
pub use depth::depth;
pub use error::Error;
pub use folder::list_photos;
pub use kind::Kind;
pub use map::otsu;
pub use margin::grow_mask;
pub use paint::MaskCanvas;
pub use parameters::Parameters;
pub use png::{MaskSays, mask_confidence, mask_says, read_png_text, write_png};
pub use provenance::{Provenance, read_provenance, write_picture};
pub use read::{look_at_photo, read_alpha, read_any_mask, read_mask, read_photo};
pub use resample::{Filter, resize, resize_bicubic};
pub use square::square;

pub(crate) use bounds::mask_bounds;
pub(crate) use clean::clean_mask;
pub(crate) use folder::{PhotoFolder, mask_path};
pub(crate) use grid::{Labels, can_be_written, contact_sheet};
pub(crate) use kind::{LeftOut, is_photo, kind_of, left_out_words};
pub(crate) use map::{resize_map, stretch};
pub(crate) use margin::shrink_mask;
pub(crate) use png::png_size;
pub(crate) use read::ReadPhoto;
pub(crate) use resample::resize_part;
pub(crate) use whole::is_whole;
