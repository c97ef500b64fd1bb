//! `catbench daemon`: the process that owns the queue. Other commands start it by themselves.

use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use super::{Error, print_json};
use crate::client::{self, Daemon};
use crate::daemon::{self, Options};
use crate::fs::Show;
use crate::protocol::DaemonStatus;
use crate::workspace::{Held, Home};

/// A daemon in the background ends after so long with nothing to do and nobody connected.
const IDLE: Duration = Duration::from_secs(300);

/// What to do.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run it here, until it is stopped: for systemd, containers and Slurm.
    Run(RunArgs),
    /// Start it in the background, if it does not run.
    Start(JsonArgs),
    /// Stop it. Jobs that run go on; those that wait begin when it is started again.
    Stop(JsonArgs),
    /// Make the store anew from the files.
    Rebuild(JsonArgs),
    /// Say how it is. Ends with 1 if it does not run, or cannot be reached.
    Status(JsonArgs),
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Leave the terminal, and end when there is nothing to do. How other commands start it.
    #[arg(long, hide = true)]
    background: bool,
}

#[derive(Debug, clap::Args)]
struct JsonArgs {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Whether this process is to be the daemon.
    pub fn is_run(&self) -> bool {
        matches!(self.what, What::Run(_))
    }
}

pub fn run(args: &Args) -> Result<(), Error> {
    let home = Home::locate()?;
    match &args.what {
        What::Run(RunArgs { background }) => {
            let idle = background.then_some(IDLE);
            Ok(daemon::run(&home, Options { idle, background: *background })?)
        }
        What::Start(args) => {
            let status = Daemon::start(&home)?.status()?;
            say(&status, args.json);
            Ok(())
        }
        What::Stop(args) => stop(&home, args.json),
        What::Rebuild(args) => {
            let counts = client::rebuild(&home)?;
            if args.json {
                print_json(&json!({ "store": counts }));
            } else {
                outln!("{} concepts, {} runs, {} samples", counts.concepts, counts.runs, counts.samples);
            }
            Ok(())
        }
        What::Status(args) => status(&home, args.json),
    }
}

fn status(home: &Home, json: bool) -> Result<(), Error> {
    let found = Daemon::find(home).and_then(|daemon| daemon.map(|mut daemon| daemon.status()).transpose());
    if json && !matches!(found, Ok(Some(_))) {
        let held = home.held();
        let holder = match &held {
            Held::Here(holder) => holder.as_ref(),
            Held::Elsewhere(holder) => Some(holder),
            Held::No => None,
        };
        // Of one that cannot be asked this is all there is to say.
        print_json(&json!({ "running": held != Held::No, "home": home.path(), "holder": holder }));
    }
    match found? {
        Some(status) => {
            say(&status, json);
            Ok(())
        }
        None => Err(Error::Job("no daemon runs: any command that needs it starts it".into())),
    }
}

fn stop(home: &Home, json: bool) -> Result<(), Error> {
    let daemon = Daemon::find(home)?;
    let stopped = daemon.is_some();
    daemon.map(Daemon::stop).transpose()?;
    if json {
        print_json(&json!({ "stopped": stopped }));
    } else {
        outln!("{}", if stopped { "stopped" } else { "no daemon runs" });
    }
    Ok(())
}

fn say(status: &DaemonStatus, json: bool) {
    for warning in &status.warnings {
        errln!("warning: {warning}");
    }
    if json {
        print_json(&json!({ "running": true, "daemon": status }));
        return;
    }
    let rows = [
        ("daemon", format!("catbench {}, process {}", status.version, status.pid)),
        ("home", status.home.shown().to_string()),
        ("since", status.since.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()),
        // Itself not counted.
        ("clients", status.clients.saturating_sub(1).to_string()),
        ("jobs", format!("{} running, {} queued", status.running, status.queued)),
        ("log", status.log.shown().to_string()),
    ];
    for (name, value) in rows {
        outln!("{name:<8} {value}");
    }
}
