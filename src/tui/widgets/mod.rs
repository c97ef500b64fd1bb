//! What screens are made of.

pub mod graph;
pub mod list;
pub mod pane;
pub mod scores;
pub mod text;
pub mod tiles;
