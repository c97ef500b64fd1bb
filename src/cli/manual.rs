//! `catbench completions` and `catbench manual`: what shells and `man` read.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};

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

pub fn completions(args: &CompletionArgs) -> Result<(), Error> {
    out::bytes(&super::complete::script(&args.shell.to_string())?);
    Ok(())
}

pub fn manual(args: &ManualArgs) -> Result<(), Error> {
    match &args.out {
        None => {
            let mut page = Vec::new();
            page_of(Cli::command()).render(&mut page)?;
            out::bytes(&page);
        }
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(workspace::Error::io("create", folder))?;
            let mut program = Cli::command().disable_help_subcommand(true);
            program.build();
            write_pages(&program, folder).map_err(workspace::Error::io("write", folder))?;
        }
    }
    Ok(())
}

/// When these pages last changed.
const DATE: &str = "2026-11-30";

fn page_of(command: Command) -> clap_mangen::Man {
    clap_mangen::Man::new(command).date(DATE)
}

/// Write a page for `command` and one for each command below it.
fn write_pages(command: &Command, folder: &Path) -> io::Result<()> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set()).try_for_each(|sub| write_pages(sub, folder))?;
    page_of(command.clone()).generate_to(folder).map(drop)
}
