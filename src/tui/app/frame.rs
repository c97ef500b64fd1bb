//! How a frame is made, and the pictures that lie over it.

use std::io;
use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};

use super::App;
use crate::tui::canvas::Canvas;
use crate::tui::keymap::{Action, BINDINGS, Binding};
use crate::tui::preview::Colours;
use crate::tui::{chrome, theme};

/// The smallest terminal the screens fit into.
const LEAST: (u16, u16) = (60, 16);

impl App {
    /// What can be done here now, of the bindings that are wanted.
    pub(super) fn now(&mut self, wanted: impl Fn(&Binding) -> bool) -> Vec<&'static Binding> {
        let place = self.place;
        let screen = self.screens.at(place);
        let panes = screen.panes(&self.world) > 1;
        let can = |binding: &&Binding| {
            let moves = matches!(binding.action, Action::NextPane | Action::PreviousPane);
            binding.is_at(place)
                && wanted(binding)
                && (panes || !moves)
                && screen.why_not(binding.action, &self.world).is_none()
        };
        BINDINGS.iter().filter(can).collect()
    }

    /// Draw one frame.
    pub fn draw(&mut self, buffer: &mut Buffer) {
        let area = buffer.area;
        if area.width < LEAST.0 || area.height < LEAST.1 {
            self.surface.begin(Vec::new());
            let text = format!("{} × {} is too small: {} × {} at least", area.width, area.height, LEAST.0, LEAST.1);
            buffer.set_stringn(area.x, area.y, text, area.width as usize, theme::text());
            self.surface.uncover(buffer);
            return;
        }
        let hints = self.now(|binding| binding.hint.is_some());
        let notice = self.notice.as_ref().map(|text| chrome::notice_lines(text, area.width)).unwrap_or_default();
        let noticed = Rect { y: area.bottom() - notice.len() as u16, height: notice.len() as u16, ..area };
        // Of what lies over each other, all under one as large as the screen is hidden.
        let places: Vec<Rect> = self.overlays.iter().map(|overlay| overlay.place(area)).collect();
        let hidden = places.iter().rposition(|place| *place == area);
        let covered = places.iter().copied().chain((!notice.is_empty()).then_some(noticed)).collect();
        self.surface.begin(covered);
        let mut canvas = Canvas::new(buffer, &mut self.surface, &mut self.targets);
        if hidden.is_none() {
            chrome::tabs(&mut canvas, Rect { height: 1, ..area }, self.place, &self.world);
            let body = Rect { y: area.y + 1, height: area.height - 2, ..area };
            self.screens.at(self.place).draw(&mut canvas, body, &self.world);
            let foot = Rect { y: area.bottom() - 1, height: 1, ..area };
            chrome::footer(&mut canvas, foot, &self.world, &hints, self.filtering.as_ref());
        }
        for (i, overlay) in self.overlays.iter_mut().enumerate().skip(hidden.unwrap_or(0)) {
            canvas.cover(places.get(i + 1..).unwrap_or_default(), noticed);
            overlay.draw(&mut canvas, places[i], &self.world);
        }
        if let Some((_, what)) = &self.awaited {
            let foot = Rect { y: area.bottom() - 1, height: 1, ..area };
            chrome::waiting(&mut canvas, foot, what);
        }
        if !notice.is_empty() {
            chrome::notice(&mut canvas, noticed, &notice);
        }
        self.surface.uncover(buffer);
        if self.setup.colours == Colours::None {
            for cell in &mut buffer.content {
                if theme::steps_back(cell.fg) {
                    cell.modifier.insert(Modifier::DIM);
                }
                (cell.fg, cell.bg) = (Color::Reset, Color::Reset);
            }
        }
    }

    /// Remove pictures that are gone. Call it after the frame was written.
    pub fn finish_frame(&mut self) -> io::Result<()> {
        self.surface.finish()
    }

    /// Whether the terminal is to be asked for its status, now that a frame or a picture was written;
    /// [`super::Message::Answered`] says that it has answered.
    pub fn asks(&mut self) -> bool {
        self.surface.asks()
    }

    /// When another frame shows more of the pictures, if they are not whole yet.
    pub fn more_due(&mut self) -> Option<Instant> {
        self.surface.more_due()
    }

    /// For how long nothing must have happened before [`App::print_picture`] is called; none if no picture waits.
    pub fn patience(&mut self) -> Option<Duration> {
        self.surface.patience()
    }

    /// Print one of the pictures that lie over the frame. Whether more wait.
    pub fn print_picture(&mut self) -> io::Result<bool> {
        self.surface.print_next()
    }

    /// The terminal was cleared or lent out.
    pub fn forget_screen(&mut self) {
        self.surface.forget();
    }
}
