//! What the operating system gives only through unsafe calls.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
#[cfg(feature = "cuda")]
use std::sync::Arc;

#[cfg(feature = "cuda")]
use candle_core::cuda_backend::cudarc::driver::{
    CudaContext, DeviceRepr, DriverError, PinnedHostSlice, ValidAsZeroBits,
};

/// A whole file as memory, read page by page when touched.
pub fn map_file(file: &File) -> io::Result<memmap2::Mmap> {
    // SAFETY: the mapping is read-only and private, so this process writes to none of it, and this program replaces files by
    // renaming, which leaves a mapping as it is. Sound it is only as long as no other process writes to the file or cuts it
    // short, which nothing here checks or could. Where one writes, the bytes behind the slice change while it is borrowed: weights
    // are then partly from another file. Where one cuts it short, a read past the end raises SIGBUS, which ends this process.
    unsafe { memmap2::Mmap::map(file) }
}

/// Page-locked memory for `count` numbers, all zero.
#[cfg(feature = "cuda")]
pub fn pinned<T: DeviceRepr + ValidAsZeroBits>(
    context: &Arc<CudaContext>,
    count: usize,
) -> Result<PinnedHostSlice<T>, DriverError> {
    // SAFETY: the memory is of `count` numbers, nobody else has it yet, and it is written before anybody reads it: every type that is
    // valid as zeros is then valid. Plain flags: the processor reads write-combined memory slowly.
    unsafe {
        let mut memory = context.alloc_pinned_with_flags(count, 0)?;
        std::ptr::write_bytes(memory.as_mut_ptr()?, 0, count);
        Ok(memory)
    }
}

/// The user of the process at the other end of `stream`, which for one that listens is who it was when it began to.
pub fn peer_user(stream: &UnixStream) -> io::Result<u32> {
    #[cfg(target_os = "linux")]
    {
        Ok(rustix::net::sockopt::socket_peercred(stream)?.uid.as_raw())
    }
    #[cfg(not(target_os = "linux"))]
    {
        use std::os::fd::AsRawFd;
        let (mut user, mut group) = (0, 0);
        // SAFETY: the descriptor is of an open socket, and both numbers are this frame's.
        if unsafe { libc::getpeereid(stream.as_raw_fd(), &raw mut user, &raw mut group) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(user)
    }
}

/// Have what this process writes to stdout and stderr from now on go to `file`.
pub fn redirect_output(file: &File) -> io::Result<()> {
    rustix::stdio::dup2_stdout(file)?;
    Ok(rustix::stdio::dup2_stderr(file)?)
}

/// End this process without a word when it writes to a stdout that nobody reads any more, as other commands do in a pipe
/// like `catbench jobs | head`. What is written to a socket or to another pipe that is closed stays an error of that write.
pub fn end_with_stdout() {
    extern "C" fn on_closed_pipe(signal: libc::c_int) {
        let mut stdout = libc::pollfd { fd: libc::STDOUT_FILENO, events: 0, revents: 0 };
        // SAFETY: poll and _exit may be called in a handler, and the one structure is this frame's.
        unsafe {
            if libc::poll(&raw mut stdout, 1, 0) > 0 && stdout.revents & (libc::POLLERR | libc::POLLHUP) != 0 {
                // As a shell tells of a process that this signal has ended.
                libc::_exit(128 + signal);
            }
        }
    }
    let handler: extern "C" fn(libc::c_int) = on_closed_pipe;
    // SAFETY: the handler touches nothing of this process, and none was set before but to ignore the signal.
    unsafe { libc::signal(libc::SIGPIPE, handler as libc::sighandler_t) };
}

/// What the environment of a process that trains holds from its start: the allocator asks for huge pages. A training step
/// on a full-size model walks through gigabytes, and is 3 % faster with fewer, larger pages.
pub const HUGE_PAGES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");

/// Keep freed memory for the next tensor of this process instead of giving it back: fresh pages must be cleared by the
/// kernel, which takes a tenth of a training step. For processes that do one job.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt changes only how the allocator behaves from now on; any value is allowed at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// The signal of a new terminal size, alone in a set.
fn window_change() -> libc::sigset_t {
    // SAFETY: a signal set is plain data that `sigemptyset` makes valid, whatever was in it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGWINCH);
        set
    }
}

/// Have no thread begun from here on be interrupted by a new terminal size: [`wait_for_window_change`] tells of it. The
/// reader of keys would take it for the end of what there is to read, and leave keys that came with it unread.
pub fn hold_window_changes() {
    let set = window_change();
    // SAFETY: the set is valid, and no old one is asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// Wait for the next new terminal size, with [`hold_window_changes`] called before. `false` when it cannot be waited for.
pub fn wait_for_window_change() -> bool {
    let (set, mut signal) = (window_change(), 0);
    // SAFETY: both point to valid data of this frame.
    unsafe { libc::sigwait(&raw const set, &raw mut signal) == 0 }
}
