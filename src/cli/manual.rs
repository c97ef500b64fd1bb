//! `catbench completions` and `catbench manual`: what shells and `man` read.

use std::path::PathBuf;

use clap::CommandFactory;

use super::{Cli, Error, out};
use crate::workspace;

/// Options of `completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionArgs {
    /// For which shell.
    shell: clap_complete::Shell,
}

/// Options of `manual`.
#[derive(Debug, clap::Args)]
pub struct ManualArgs {
    /// Write a page for each command into this folder, instead of the main one to stdout.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn completions(args: &CompletionArgs) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "catbench", &mut script);
    out::bytes(&script);
}

pub fn manual(args: &ManualArgs) -> Result<(), Error> {
    match &args.out {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            out::bytes(&page);
        }
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(workspace::Error::io("create", folder))?;
            clap_mangen::generate_to(Cli::command(), folder).map_err(workspace::Error::io("write", folder))?;
        }
    }
    Ok(())
}
