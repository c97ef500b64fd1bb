//! The `catbench` program; see [`catbench::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    catbench::cli::main()
}
