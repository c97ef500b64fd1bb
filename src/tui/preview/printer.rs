//! viuer, as what prints pictures and no more. By itself it reads the keyboard for answers of the terminal, and takes keys with
//! them. So a terminal of our own tells it once that it may print; which way is used is decided in [`super::probe`].

use std::fs::File;
use std::io::{self, Read, Write};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::stdio::{dup2_stdin, dup2_stdout};

/// What it hears: kitty's graphics, by escape sequences and not by files, whose every print would be asked about; and sixel.
const ANSWERS: &str = "\x1b_Gi=31;OK\x1b\\\x1b[?62;c\x1b_Gi=31;ENOTSUPPORTED\x1b\\\x1b[?62;4;c";

/// Tell viuer, before anything else uses the terminal.
pub fn tell_viuer() -> io::Result<()> {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&terminal)?;
    unlockpt(&terminal)?;
    let ours = open(ptsname(&terminal, Vec::new())?, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    let mut modes = rustix::termios::tcgetattr(&ours)?;
    // Nothing waits for the end of a line, and nothing comes back.
    modes.make_raw();
    rustix::termios::tcsetattr(&ours, rustix::termios::OptionalActions::Now, &modes)?;
    let mut terminal = File::from(terminal);
    terminal.write_all(ANSWERS.as_bytes())?;
    // Some systems wait until what is written has been read.
    let reads = std::thread::spawn(move || while matches!(terminal.read(&mut [0; 256]), Ok(1..)) {});
    let (stdin, stdout) = (fcntl_dupfd_cloexec(io::stdin(), 3)?, fcntl_dupfd_cloexec(io::stdout(), 3)?);
    io::stdout().flush()?;
    dup2_stdin(&ours)?;
    let told = dup2_stdout(&ours).map(|()| {
        let kitty = viuer::get_kitty_support() == viuer::KittySupport::Remote;
        viuer::is_sixel_supported() && kitty
    });
    dup2_stdin(&stdin)?;
    dup2_stdout(&stdout)?;
    drop(ours);
    // It ends when nobody has the other end any more.
    let _ = reads.join();
    if told? { Ok(()) } else { Err(io::Error::other("viuer prints no pictures here")) }
}
