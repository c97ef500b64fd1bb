//! The screens: one file each.

pub mod compare;
pub mod concept;
pub mod jobs;
pub mod library;
pub mod samples;
pub mod scores;
pub mod train;
mod welcome;

use std::path::PathBuf;

use ratatui::layout::Rect;

use super::canvas::Canvas;
use super::deeds::Effect;
use super::keymap::Action;
use super::world::World;

/// A screen: what of the world it shows, and what its keys do.
pub trait Screen {
    /// Draw it.
    fn draw(&mut self, canvas: &mut Canvas, area: Rect, world: &World);

    /// Do what a key of this screen asks for, and which can be done now.
    fn act(&mut self, action: Action, world: &mut World) -> Effect;

    /// Why an action that has a key here cannot be done now; none where it can.
    fn why_not(&self, _action: Action, _world: &World) -> Option<String> {
        None
    }

    /// How many panes Tab goes through.
    fn panes(&self, world: &World) -> usize;

    /// The pane with the focus.
    fn focus(&mut self) -> &mut usize;

    /// An item of a pane was clicked.
    fn choose(&mut self, pane: usize, index: usize, world: &mut World);

    /// A cell of a pane was clicked that is no item.
    fn click(&mut self, _pane: usize, _column: u16, _row: u16, _world: &World) {}

    /// The wheel was turned over a pane; whether that does something else than the keys for up and down.
    fn wheel(&mut self, _pane: usize, _column: u16, _row: u16, _down: bool, _world: &World) -> bool {
        false
    }

    /// What is shown must hold these words.
    fn filter(&mut self) -> Option<&mut String> {
        None
    }

    /// The folders of the jobs that are to be followed while this screen is shown.
    fn follows(&self, _world: &World) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Another concept has been opened, or another run is shown.
    fn reset(&mut self) {}
}
