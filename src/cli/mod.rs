//! The commands: one file a verb. Each prints its result on stdout and its progress on stderr; `--json` prints one
//! JSON object instead. Exit codes: 0 done, 1 failed, 2 wrong usage.

mod demo;
mod doctor;
mod follow;
mod model;
mod open;
mod runs;
mod sample;
mod score;
mod stop;
mod train;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::client;
use crate::protocol::SettingError;
use crate::workspace::{self, Home};

/// Teach a diffusion model your own concept, and look at it, without leaving the terminal.
#[derive(Debug, Parser)]
#[command(name = "catbench", version, arg_required_else_help = true, subcommand_required = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Open the workbench on the demo concept; without a terminal, train and score it.
    Demo(demo::Args),
    /// Open the workbench on a concept.
    Open(open::Args),
    /// Learn a concept from its photos.
    Train(Box<train::Args>),
    /// Make pictures of a concept.
    Sample(Box<sample::Args>),
    /// Measure a run: pictures without and with what was learned, against the photos.
    Score(score::Args),
    /// Follow a job that runs in the background.
    #[command(alias = "attach")]
    Watch(watch::Args),
    /// Stop a training after its current step; it can be resumed.
    Stop(stop::Args),
    /// List the runs of a concept.
    Runs(runs::Args),
    /// Register, list, look at and forget base models.
    Model(model::Args),
    /// Say how this terminal and machine are used.
    Doctor(doctor::Args),
    /// Do a job. Started by the other commands.
    #[command(hide = true)]
    Runner {
        /// The job's folder.
        folder: PathBuf,
    },
}

/// What a command can fail at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The files of a concept.
    #[error(transparent)]
    Workspace(#[from] workspace::Error),
    /// A setting.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A job.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The workbench.
    #[error(transparent)]
    Tui(#[from] crate::tui::Error),
    /// Signals could not be set up.
    #[error("cannot set up signals: {0}")]
    Signals(#[from] std::io::Error),
    /// A job failed, was stopped or died.
    #[error("{0}")]
    Job(String),
}

/// Read the command line, do what it says, and return the exit code.
pub fn main() -> ExitCode {
    // Clap ends wrong usage with 2, and `--help` and `--version` with 0.
    let cli = Cli::parse();
    let done = match cli.verb {
        Verb::Runner { folder } => return crate::runner::main(&folder),
        Verb::Demo(args) => demo::run(&args),
        Verb::Open(args) => open::run(&args),
        Verb::Train(args) => train::run(&args),
        Verb::Sample(args) => sample::run(&args),
        Verb::Score(args) => score::run(&args),
        Verb::Watch(args) => watch::run(&args),
        Verb::Stop(args) => stop::run(&args),
        Verb::Runs(args) => runs::run(&args),
        Verb::Model(args) => model::run(&args, crate::runner::check_model),
        Verb::Doctor(args) => doctor::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Print the result of a `--json` command: one object on one line.
fn print_json(value: &serde_json::Value) {
    println!("{value}");
}

/// The home, and the concept in it that a command names.
fn concept(name: &str) -> Result<workspace::Concept, Error> {
    Ok(Home::locate()?.concept(name)?)
}
