//! What screens are made of.

pub mod graph;
pub mod pane;
pub mod scores;
pub mod tiles;
