//! Taking the terminal and giving it back, whatever happens.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::{Hide, Show};
use crossterm::event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste};
use crossterm::execute;
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::Terminal;
use ratatui::buffer::{Buffer, CellDiffOption};

use super::backend::{Cells, LeanBackend, bridges};

/// Buttons, drags and the wheel are told, in coordinates without a limit; not every move, which floods a slow line.
const MOUSE: &str = "\x1b[?1000h\x1b[?1002h\x1b[?1006h";

/// kitty's keyboard protocol: every key as a sequence of its own, with the letters that it types and the Latin one at its
/// place. The terminal keeps what was set before, for the end.
const KEYBOARD: &str = "\x1b[>29u";
const KEYBOARD_AS_BEFORE: &str = "\x1b[<u";

static TAKEN: AtomicBool = AtomicBool::new(false);
/// It knows kitty's keyboard protocol.
static KEYBOARD_KNOWN: AtomicBool = AtomicBool::new(false);

/// The terminal while the workbench has it. Dropped, it is as it was; so it is after a panic.
pub struct Screen {
    terminal: Terminal<LeanBackend<io::Stdout>>,
    /// What is on it.
    last: Buffer,
    /// What the backend is to write of it again.
    bridges: Rc<RefCell<Cells>>,
}

impl Screen {
    /// Take the terminal.
    pub fn take() -> io::Result<Self> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let had = TAKEN.load(Ordering::SeqCst);
            give_back();
            before(panic);
            if had {
                // Whichever thread it was: without it the workbench is no longer whole.
                std::process::exit(101);
            }
        }));
        enter()?;
        let bridges = Rc::default();
        let terminal = Terminal::new(LeanBackend::new(io::stdout(), Rc::clone(&bridges)))?;
        Ok(Self { terminal, last: Buffer::default(), bridges })
    }

    /// Write what `draw` draws, as far as it is not there yet.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        let Self { terminal, last, bridges: to_write } = self;
        let drawn = terminal.draw(|frame| {
            draw(frame.buffer_mut());
            let cells = frame.buffer_mut().content.iter_mut().zip(&last.content);
            // Those are written anyway; and marked cells are written in the next frame, too.
            for (cell, _) in cells.filter(|(_, last)| last.diff_option == CellDiffOption::Skip) {
                if cell.diff_option == CellDiffOption::AlwaysUpdate {
                    cell.set_diff_option(CellDiffOption::None);
                }
            }
            *to_write.borrow_mut() = bridges(last, frame.buffer_mut());
        })?;
        last.clone_from(drawn.buffer);
        Ok(())
    }

    /// Have keys told by kitty's protocol, which this terminal knows.
    pub fn take_keyboard(&mut self) -> io::Result<()> {
        if KEYBOARD_KNOWN.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        execute!(io::stdout(), Print(KEYBOARD))
    }

    /// Give the terminal back to the shell and stop, as any program does at Ctrl-Z; returns when the shell says `fg`.
    pub fn suspend(&mut self) -> io::Result<()> {
        give_back();
        // The whole group, as the terminal itself does: `cargo run` is stopped too.
        rustix::process::kill_current_process_group(rustix::process::Signal::STOP)?;
        self.retake()
    }

    /// Take the terminal again after the shell may have had it.
    pub fn retake(&mut self) -> io::Result<()> {
        // Crossterm remembers the modes from before, and sets them only once.
        let _ = disable_raw_mode();
        enter()?;
        self.clear()
    }

    /// Clear the terminal, so that the next frame draws all of it. (Ratatui's own `clear` asks the terminal where the
    /// cursor is, and fails on one that does not answer.)
    pub fn clear(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        self.last = Buffer::default();
        self.terminal.resize(size.into())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    // Frames change styles by what they differ in, and leave out what is blank: whatever the shell has left is taken away.
    execute!(io::stdout(), EnterAlternateScreen, SetAttribute(Attribute::Reset), Clear(ClearType::All))?;
    let keyboard = if KEYBOARD_KNOWN.load(Ordering::SeqCst) { KEYBOARD } else { "" };
    execute!(io::stdout(), Print(keyboard), EnableBracketedPaste, Print(MOUSE), Hide)
}

/// Give the terminal back, once.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Nobody is left to tell if the terminal is gone.
        let keyboard = if KEYBOARD_KNOWN.load(Ordering::SeqCst) { KEYBOARD_AS_BEFORE } else { "" };
        let _ = execute!(io::stdout(), Print(keyboard), DisableMouseCapture, DisableBracketedPaste, Show);
        let _ = execute!(io::stdout(), LeaveAlternateScreen);
        let _ = disable_raw_mode();
        let _ = io::stdout().flush();
    }
}
