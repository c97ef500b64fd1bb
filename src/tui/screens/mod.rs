//! Whole screens, and what lies over them.

pub mod concept;
pub mod help;
pub mod palette;
pub mod picture;
