//! Taking the terminal and giving it back, whatever happens.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::{Hide, Show};
use crossterm::event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste};
use crossterm::execute;
use crossterm::style::Print;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::Terminal;

use super::backend::LeanBackend;

/// Buttons, drags and the wheel are told, in coordinates without a limit; not every move, which floods a slow line.
const MOUSE: &str = "\x1b[?1000h\x1b[?1002h\x1b[?1006h";

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal while the workbench has it. Dropped, it is as it was; so it is after a panic.
pub struct Screen {
    /// What is drawn on.
    pub terminal: Terminal<LeanBackend<io::Stdout>>,
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
        Ok(Self { terminal: Terminal::new(LeanBackend::new(io::stdout()))? })
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
    execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste, Print(MOUSE), Hide)
}

/// Give the terminal back, once.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Nobody is left to tell if the terminal is gone.
        let _ = execute!(io::stdout(), DisableMouseCapture, DisableBracketedPaste, Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
        let _ = io::stdout().flush();
    }
}
