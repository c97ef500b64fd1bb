//! The programs of an installation. `catbench` starts on any machine. `catbench-cuda` beside it is the same program built with the
//! feature `cuda`: it is linked with the libraries of CUDA and of the driver, and does not start without them. So only jobs on
//! graphics cards, and questions about such jobs, are given to it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The name of the program for graphics cards.
pub const CUDA: &str = "catbench-cuda";

/// The command that makes it.
pub const BUILD_CUDA: &str = "cargo install --path . --features cuda --bin catbench-cuda";

static OWN: OnceLock<PathBuf> = OnceLock::new();

/// Have this process start `program` as its own, where it is not catbench itself.
pub fn set_own(program: &Path) {
    // Who has set it first has said the same.
    let _ = OWN.set(program.to_owned());
}

/// The path of this program, as it was when first asked for. A newer version may have taken the file's place since.
///
/// # Errors
/// The system does not say which it is.
pub fn own() -> io::Result<PathBuf> {
    if let Some(own) = OWN.get() {
        return Ok(own.clone());
    }
    let path = std::env::current_exe()?;
    // A file that has been removed is still there under this name.
    let path = if path.exists() { path } else { PathBuf::from("/proc/self/exe") };
    Ok(OWN.get_or_init(|| path).clone())
}

/// What the libraries of CUDA read from the environment of a program, where its user has not set it. Cards have the numbers that
/// `nvidia-smi` and [`graphics_cards`](crate::workspace::graphics_cards) give them; float32 is float32, for cuDNN would round it to TF32.
const FOR_CARDS: [(&str, &str); 2] = [("CUDA_DEVICE_ORDER", "PCI_BUS_ID"), ("NVIDIA_TF32_OVERRIDE", "0")];

/// Variables that a program for graphics cards is started with, beside those that `is_set`.
pub fn for_cards(is_set: impl Fn(&str) -> bool) -> impl Iterator<Item = (&'static str, &'static str)> {
    FOR_CARDS.into_iter().filter(move |(name, _)| !is_set(name))
}

/// The program that computes on graphics cards: `own` if it was built for that, else the one that lies beside it. None if neither is so.
pub fn with_cuda(own: &Path) -> Option<PathBuf> {
    if cfg!(feature = "cuda") {
        return Some(own.to_owned());
    }
    // It lies beside the file, not beside a link to it.
    let own = own.canonicalize().unwrap_or_else(|_| own.to_owned());
    Some(own.with_file_name(CUDA)).filter(|program| program.is_file())
}
