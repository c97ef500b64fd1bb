//! The commands: one file a verb. Each prints its result on stdout and its progress on stderr; `--json` prints one
//! JSON object instead. Exit codes: 0 done, 1 failed, 2 wrong usage.

#[macro_use]
mod out;

mod bench;
mod complete;
mod concept;
mod daemon;
mod demo;
mod diff;
mod doctor;
mod follow;
mod jobs;
mod learned;
mod library;
mod manual;
mod mask;
mod mask_bench;
mod model;
mod open;
mod plan;
mod preflight;
mod replay;
mod runs;
mod sample;
mod score;
mod score_compare;
mod score_table;
mod settings;
mod show;
mod stop;
mod sweep;
mod table;
mod train;
mod values;
mod wait;
mod watch;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use settings::SettingOptions;

use crate::client;
use crate::programs::BUILD_CUDA;
use crate::protocol::{DeviceName, JobKind, SampleConfig, SeedRule, SettingError, UsualDevice};
use crate::workspace::{self, Home, graphics_cards, usual_device};

/// What is set for all commands, at the end of the help.
const ENVIRONMENT: &str = "\
Environment:
  CATBENCH_HOME    folder of all concepts; else ./workspaces where there is one that
                   is yours alone, else catbench in $XDG_DATA_HOME or ~/.local/share
  CATBENCH_TRUST   groups and users that may write to it, by name or number, with
                   commas between; else only you and root
  CATBENCH_IMAGES  how the workbench draws pictures, as `catbench open --images`
  CATBENCH_THEME   its colours, as `catbench open --theme`
  NO_COLOR         no colours";

/// Teach a diffusion model your own concept, and look at it, without leaving the terminal.
#[derive(Debug, Parser)]
#[command(name = "catbench", version, after_help = ENVIRONMENT)]
pub struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Open the workbench on the demo concept; without a terminal, train and score it.
    Demo(demo::Args),
    /// Open the workbench; `catbench` alone does it too.
    Open(open::Args),
    /// Learn a concept from its photos.
    Train(Box<train::Args>),
    /// Make pictures of a concept.
    Sample(Box<sample::Args>),
    /// Make a picture again from what its PNG says, and compare the two.
    Replay(replay::Args),
    /// Say how a picture was made; also one of a web UI.
    Show(show::Args),
    /// Say in which settings and pixels two pictures differ.
    Diff(diff::Args),
    /// Measure a run, its checkpoints, or samples against the photos; compare runs.
    Score(Box<score::Args>),
    /// Train and score a concept with every combination of some settings, in one table.
    Sweep(Box<sweep::Args>),
    /// Train and score the subjects of a protocol, in one table.
    Bench(bench::Args),
    /// Masks of photos and samples: bring them in, make them, look them over.
    Mask(mask::Args),
    /// Follow a job that runs in the background.
    #[command(alias = "attach")]
    Watch(RunArgs),
    /// Stop a training after its current step; it can be resumed.
    Stop(RunArgs),
    /// List the runs of a concept, or of all.
    Runs(runs::Args),
    /// List the jobs of the queue, and change them.
    Jobs(jobs::Args),
    /// Wait until jobs are over. Ends with 1 if one of them has not finished.
    Wait(wait::Args),
    /// Start, stop and look at the process that owns the queue.
    Daemon(daemon::Args),
    /// Make, list, tag, rename, remove, pack and unpack concepts; bring learned numbers in from the authors' files.
    Concept(concept::Args),
    /// Register, list, look at and forget base models.
    Model(model::Args),
    /// Say how this terminal and machine are used.
    Doctor(doctor::Args),
    /// Print completions for a shell.
    Completions(manual::CompletionArgs),
    /// Print the manual page, or a topic of the manual.
    Manual(manual::ManualArgs),
    /// Do a job. Started by the other commands.
    #[command(hide = true)]
    Runner {
        /// The job's folder; without one it answers a question on stdin.
        folder: Option<PathBuf>,
        /// Do it only if it has so many events: else another runner has had it.
        #[arg(long)]
        from_seq: Option<u64>,
        /// Wait on stdin for more jobs of the same base model.
        #[arg(long)]
        keep: bool,
        /// Make masks from points, one request on stdin after the other.
        #[arg(long, conflicts_with_all = ["folder", "from_seq", "keep"])]
        segment: bool,
    },
}

/// One run, and how the result is printed.
#[derive(Debug, clap::Args)]
struct RunArgs {
    /// The concept: a folder of the home.
    concept: String,
    /// The run: its id, the start of it, or `latest`; the latest if not given.
    #[arg(long)]
    run: Option<String>,
    /// Print one JSON object last.
    #[arg(long)]
    json: bool,
}

impl RunArgs {
    /// The concept and its run.
    fn find(&self) -> Result<(workspace::Concept, workspace::JobFolder), Error> {
        let concept = concept(&self.concept)?;
        let run = self.of(&concept)?;
        Ok((concept, run))
    }

    /// The run of `concept`: where none is named, the one that is trained by one of the jobs `after`.
    fn after(&self, concept: &workspace::Concept, after: &[u64]) -> Result<workspace::JobFolder, Error> {
        if self.run.is_some() || after.is_empty() {
            return self.of(concept);
        }
        let jobs = client::jobs(&concept.home()?)?;
        let trainings = jobs
            .iter()
            .filter(|job| after.contains(&job.number) && job.kind == Some(JobKind::Train) && job.concept == concept.id);
        match trainings.collect::<Vec<_>>().as_slice() {
            [] => self.of(concept),
            [training] => Ok(workspace::JobFolder::at(&training.job)?),
            [first, second, ..] => Err(Error::Job(format!(
                "jobs {} and {} both train {}: name the run that is meant, --run",
                first.number, second.number, concept.id
            ))),
        }
    }

    /// The run of `concept`.
    fn of(&self, concept: &workspace::Concept) -> Result<workspace::JobFolder, Error> {
        Ok(concept.run(self.run.as_deref().unwrap_or("latest"))?)
    }
}

/// Where and when a job is done.
#[derive(Debug, clap::Args)]
struct PlacementArgs {
    /// Its priority in the queue; higher goes first.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    /// Start it only when this job has finished; may be given several times.
    #[arg(long, value_name = "JOB")]
    after: Vec<u64>,
}

impl PlacementArgs {
    /// With the device that was asked for, if one was.
    fn placement(&self, device: Option<Where>) -> client::Placement {
        let any = matches!(device, Some(Where::Any));
        client::Placement { any_device: any, priority: self.priority, after: self.after.clone() }
    }
}

/// Where a job computes.
#[derive(Debug, Clone, Copy)]
enum Where {
    /// The first device that is free when its turn has come.
    Any,
    /// This one.
    Device(DeviceName),
}

impl std::str::FromStr for Where {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "any" { Ok(Self::Any) } else { text.parse().map(Self::Device) }
    }
}

impl Where {
    /// The device to reckon with. Where there are graphics cards, any is any of them.
    fn device(self) -> DeviceName {
        match self {
            Self::Any => UsualDevice::get().any,
            Self::Device(device) => device,
        }
    }
}

/// Which prompts, and how they are sampled.
#[derive(Debug, clap::Args)]
struct PromptArgs {
    /// A prompt list: a file with one prompt a line.
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Image i of every prompt has the seed SEED + i. So it was before prompts had seeds of their own.
    #[arg(long)]
    shared_seeds: bool,
    #[command(flatten)]
    settings: SettingOptions<SampleConfig>,
}

impl PromptArgs {
    /// Set what is given in `config`, but for the prompts.
    fn apply(&self, config: &mut SampleConfig) -> Result<(), Error> {
        if self.shared_seeds {
            config.seeds = SeedRule::Shared;
        }
        Ok(self.settings.apply(config)?)
    }

    /// Set what is given in `config`; the prompts are those of the list, which are sampled alike.
    fn apply_with_prompts(&self, config: &mut SampleConfig, concept: &workspace::Concept) -> Result<(), Error> {
        self.apply(config)?;
        if let Some(list) = &self.prompts {
            config.prompts = concept.read_prompts(list)?;
        }
        Ok(())
    }
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
    /// A picture.
    #[error(transparent)]
    Image(#[from] crate::image::Error),
    /// A job.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The daemon, in the foreground.
    #[error(transparent)]
    Daemon(#[from] crate::daemon::Error),
    /// The workbench.
    #[error(transparent)]
    Tui(#[from] crate::tui::Error),
    /// The system.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A job failed, was stopped or died.
    #[error("{0}")]
    Job(String),
}

/// Read the command line, do what it says, and return the exit code.
pub fn main() -> ExitCode {
    complete::answer();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return explain(&usage),
    };
    if let Some(why) = Home::passed_over().filter(|_| cli.verb.as_ref().is_none_or(uses_home)) {
        errln!("{why}");
    }
    // Cards are asked, which takes a moment: only where a job may begin, or what it would take is shown.
    let begins = cli.verb.as_ref().is_some_and(begins_jobs);
    if begins || matches!(cli.verb, None | Some(Verb::Open(_) | Verb::Demo(_) | Verb::Doctor(_))) {
        match choose_device(begins) {
            // A job would begin elsewhere than the home says.
            Err(error) if begins => return exit_code(Err(error)),
            Err(error) => errln!("warning: {error}"),
            Ok(()) => {}
        }
    }
    let Some(verb) = cli.verb else { return alone() };
    // These live on whoever reads what they say.
    if !matches!(verb, Verb::Runner { .. } | Verb::Demo(_) | Verb::Open(_)) && !is_daemon(&verb) {
        crate::sys::end_with_stdout();
    }
    let done = match verb {
        Verb::Runner { segment: true, .. } => return crate::runner::segment(),
        Verb::Runner { folder: Some(folder), from_seq, keep, .. } => {
            return crate::runner::main(&folder, from_seq, keep);
        }
        Verb::Runner { folder: None, .. } => return crate::runner::answer(),
        Verb::Demo(args) => demo::run(&args),
        Verb::Open(args) => open::run(&args),
        Verb::Train(args) => train::run(&args),
        Verb::Sample(args) => sample::run(&args),
        Verb::Replay(args) => replay::run(&args),
        Verb::Show(args) => show::run(&args),
        Verb::Diff(args) => diff::run(&args),
        Verb::Score(args) => score::run(&args),
        Verb::Sweep(args) => sweep::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Mask(args) => mask::run(&args),
        Verb::Watch(args) => watch::run(&args),
        Verb::Stop(args) => stop::run(&args),
        Verb::Runs(args) => runs::run(&args),
        Verb::Jobs(args) => jobs::run(&args),
        Verb::Wait(args) => wait::run(&args),
        Verb::Daemon(args) => daemon::run(&args),
        Verb::Concept(args) => concept::run(&args),
        Verb::Model(args) => model::run(&args, crate::runner::check_model),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Completions(args) => manual::completions(&args),
        Verb::Manual(args) => manual::manual(&args),
    };
    exit_code(done)
}

/// Print what `usage` says: wrong usage, which ends with 2, or what `--help` and `--version` ask for, which ends with 0.
fn explain(usage: &clap::Error) -> ExitCode {
    let code = ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
    match usage.print() {
        Err(error) if !usage.use_stderr() && error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::from(128 + 13),
        Err(error) if !usage.use_stderr() => exit_code(Err(error.into())),
        _ => code,
    }
}

/// Whether a command looks for the home of this user.
fn uses_home(verb: &Verb) -> bool {
    !matches!(verb, Verb::Runner { .. } | Verb::Show(_) | Verb::Diff(_) | Verb::Completions(_) | Verb::Manual(_))
}

/// Whether a command hands jobs to the queue.
fn begins_jobs(verb: &Verb) -> bool {
    matches!(verb, Verb::Train(_) | Verb::Sample(_) | Verb::Score(_) | Verb::Mask(_) | Verb::Sweep(_) | Verb::Bench(_))
}

/// Where jobs compute for which nobody names a device. A home that cannot be found is its command's to refuse. With `tell`, a graphics
/// card that no program is there for is spoken of, once in each home.
///
/// # Errors
/// Settings of the home that cannot be read.
fn choose_device(tell: bool) -> Result<(), Error> {
    let Ok(home) = Home::locate() else { return Ok(()) };
    let mut settings = home.settings()?;
    usual_device(&settings).set();
    if !tell || settings.told_of_cards || DeviceName::Cuda(0).is_built_in() {
        return Ok(());
    }
    if let Some(card) = graphics_cards().first() {
        errln!(
            "note: this machine has a graphics card ({}), and nothing here computes on it: `{BUILD_CUDA}` makes",
            card.name
        );
        errln!("      what does; lay it beside this program. This is said once.");
        settings.told_of_cards = true;
        // A home that cannot be written is told again.
        let _ = home.write_settings(&settings);
    }
    Ok(())
}

/// Whether this process is to be the daemon.
fn is_daemon(verb: &Verb) -> bool {
    matches!(verb, Verb::Daemon(args) if args.is_run())
}

fn exit_code(done: Result<(), Error>) -> ExitCode {
    match done {
        Ok(()) => out::finish(ExitCode::SUCCESS),
        Err(error) => {
            errln!("error: {error}");
            out::finish(ExitCode::FAILURE)
        }
    }
}

/// Without a verb: the workbench, or without a terminal for it what verbs there are.
fn alone() -> ExitCode {
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        return exit_code(open::alone());
    }
    errln!("{}", Cli::command().render_help());
    ExitCode::from(2)
}

/// Print the result of a `--json` command: one object on one line.
fn print_json(value: &serde_json::Value) {
    outln!("{value}");
}

/// Ask about `home`, and say so where nothing can be changed there now.
fn reader(home: &Home) -> Result<client::Reader, Error> {
    let reader = client::Reader::open(home)?;
    if let Some(why) = reader.read_only() {
        errln!("read-only: {why}");
    }
    Ok(reader)
}

/// Have the daemon take up what was changed in the folder of `concept`. That it is changed holds whatever comes of this.
fn take_up(home: &Home, concept: &workspace::Concept) {
    if let Err(error) = client::refresh(home, concept) {
        errln!("warning: it is done, but the daemon has not taken it up yet: {error}");
    }
}

/// The home, and the concept in it that a command names.
fn concept(name: &str) -> Result<workspace::Concept, Error> {
    Ok(Home::locate()?.concept(name)?)
}
