//! The program for graphics cards: `catbench` with the feature `cuda`; see [`catbench::programs`].

use std::process::ExitCode;

fn main() -> ExitCode {
    catbench::cli::main()
}
