//! Starting runners, handing the next job to one that has its base model loaded, and waiting for their end. Each job that
//! is at work has a thread here that does so; nothing in it is lost with this process, because a runner needs no parent.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::sync::mpsc::UnboundedSender;

use super::queue::Turn;
use crate::fs::Show;
use crate::json;
use crate::programs;
use crate::protocol::{Assignment, CONDITIONS, Conditions, DISK_FULL, DeviceName, Event, ModelSpec};
use crate::workspace::{self, EventLog, JobFolder, free_disk};

/// How often is looked whether a runner has taken up its job.
const LOOK: Duration = Duration::from_millis(3);
/// How long a runner that has let go of its job may take to be gone.
const EXIT: Duration = Duration::from_secs(2);
/// How long an idle runner may take to leave its device to another.
const LEAVE: Duration = Duration::from_secs(10);

/// A job is not at work any more.
pub struct Ended {
    /// Which.
    pub turn: Turn,
    /// Its runner, where it lives on with the base model loaded.
    pub runner: Option<Runner>,
    /// Why it failed, where that could not be written to its events.
    pub cause: Option<String>,
}

/// A runner that this process started. Dropped, it is told that nothing more will come.
pub struct Runner {
    stdin: ChildStdin,
    model: ModelSpec,
    conditions: Option<Conditions>,
    exit: Arc<OnceLock<ExitStatus>>,
}

impl Runner {
    fn has_exited(&self) -> bool {
        self.exit.get().is_some()
    }

    /// Let it go, and wait until it has left its device.
    fn leave(self) {
        let Self { stdin, exit, .. } = self;
        drop(stdin);
        wait(&exit, LEAVE);
    }
}

/// Wait for an exit, but not for ever.
fn wait(exit: &OnceLock<ExitStatus>, longest: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + longest;
    while exit.get().is_none() && Instant::now() < deadline {
        std::thread::sleep(LOOK);
    }
    exit.get().copied()
}

/// Have `turn` done by `idle`, the runner that the device's last job has left, if it has the same base model and conditions,
/// else by a new one. Its end is sent to `ended`.
pub fn start(turn: Turn, idle: Option<Runner>, own: PathBuf, ended: UnboundedSender<Ended>) {
    std::thread::spawn(move || {
        let (runner, cause) = match attend(&turn, idle, &own) {
            Ok(runner) => (runner, None),
            // The job's own files tell what happened; where even they cannot be written, this does.
            Err(cause) => (None, unwritten(&turn, cause)),
        };
        // Nobody listens only when the daemon is ending.
        let _ = ended.send(Ended { turn, runner, cause });
    });
}

/// Wait for the end of a job whose runner an earlier daemon started.
pub fn adopt(turn: Turn, ended: UnboundedSender<Ended>) {
    std::thread::spawn(move || {
        let over = turn.job.wait_until_free().map_err(|error| error.to_string());
        let cause = over.and_then(|()| account(&turn, None)).err();
        let cause = cause.and_then(|cause| unwritten(&turn, cause));
        let _ = ended.send(Ended { turn, runner: None, cause });
    });
}

/// Take note of a job whose runner died while no daemon was there.
pub fn bury(turn: &Turn) -> Option<String> {
    unwritten(turn, account(turn, None).err()?)
}

/// Write to the job's events why it has failed. The same where that cannot be, with why not.
fn unwritten(turn: &Turn, cause: String) -> Option<String> {
    if !turn.job.path().is_dir() {
        return Some(cause);
    }
    if let Err(error) = fail(turn, &cause) {
        return Some(format!("{cause}; {error}"));
    }
    // Events that were taken away since it was asked for: what was written now counts as of an attempt before.
    turn.job.event_count().is_ok_and(|count| count < turn.from_seq).then_some(cause)
}

/// Ask the runner of `job` to finish its step and end, or with `kill` end it at once. Whether there was one.
pub fn signal(job: &JobFolder, kill: bool) -> bool {
    // The runner wrote its process id when it took the lock.
    let pid = crate::fs::read_text(&job.lock(), crate::fs::SETTINGS).ok().filter(|_| job.is_held());
    let pid = pid.and_then(|pid| pid.trim().parse().ok()).and_then(Pid::from_raw);
    let signal = if kill { Signal::KILL } else { Signal::TERM };
    pid.is_some_and(|pid| is_runner_of(pid, job) && rustix::process::kill_process(pid, signal).is_ok())
}

/// Whether the process is a runner and has the lock of `job` open: whoever holds that may have written any number into it.
#[cfg(target_os = "linux")]
fn is_runner_of(pid: Pid, job: &JobFolder) -> bool {
    let folder = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    let command = crate::fs::read(&folder.join("cmdline"), crate::fs::SETTINGS).unwrap_or_default();
    let is_runner = command.split(|&byte| byte == 0).nth(1) == Some(b"runner");
    let Ok(lock) = crate::fs::open(&job.lock()) else { return false };
    let mut open = std::fs::read_dir(folder.join("fd")).into_iter().flatten().flatten();
    is_runner && open.any(|file| crate::fs::is_at(&lock, &file.path()))
}

/// Other systems do not show what a process has open.
#[cfg(not(target_os = "linux"))]
fn is_runner_of(_pid: Pid, _job: &JobFolder) -> bool {
    true
}

/// Have the job done, and wait for it. The runner, if it can do another.
fn attend(turn: &Turn, idle: Option<Runner>, own: &Path) -> Result<Option<Runner>, String> {
    let model = turn.job.base_model().map_err(|error| error.to_string())?;
    let assignment = Assignment { job: turn.job.path().to_owned(), from_seq: turn.from_seq };
    let mut runner = None;
    match idle {
        Some(mut idle) if idle.model == model && idle.conditions == turn.conditions && !idle.has_exited() => {
            let line = json::to_line(&assignment).map_err(std::io::Error::from);
            let written = line.and_then(|line| idle.stdin.write_all(&line));
            // One that left just now has taken nothing up: another is started.
            if written.is_ok() && is_taken_up(turn, &idle) {
                runner = Some(idle);
            }
        }
        Some(idle) => idle.leave(),
        None => {}
    }
    let runner = if let Some(runner) = runner {
        runner
    } else {
        let runner = spawn(turn, &assignment, model, own).map_err(|error| format!("cannot start a runner: {error}"))?;
        is_taken_up(turn, &runner);
        runner
    };
    turn.job.wait_until_free().map_err(|error| error.to_string())?;
    account(turn, Some(&runner))?;
    let finished = matches!(turn.job.last_event(), Ok(Some(last)) if matches!(last.event, Event::Finished { .. }));
    Ok(Some(runner).filter(|runner| finished && !runner.has_exited()))
}

/// Start the program of the turn's device, of the installation of `own`.
fn spawn(turn: &Turn, assignment: &Assignment, model: ModelSpec, own: &Path) -> std::io::Result<Runner> {
    let device: Result<DeviceName, _> = turn.device.name.parse();
    // What no program is there for the runner refuses, in the job's events.
    let program = device.ok().and_then(|device| device.program(own)).unwrap_or_else(|| own.to_owned());
    let path = turn.job.log();
    let log =
        crate::fs::open_append(&path).map_err(|error| std::io::Error::other(format!("{}: {error}", path.shown())))?;
    let (variable, huge_pages) = crate::sys::HUGE_PAGES;
    let mut command = Command::new(program);
    let is_set = |name: &str| match &turn.conditions {
        Some(conditions) => conditions.variables.contains_key(name),
        None => std::env::var_os(name).is_some(),
    };
    let for_cards: Vec<_> = programs::for_cards(is_set).collect();
    if let Some(conditions) = &turn.conditions {
        // What counts and was not set where the job was asked for is not set here either.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(Conditions::has_variable) {
                command.env_remove(name);
            }
        }
        let Conditions { variables, .. } = conditions;
        let rest = Conditions { variables: BTreeMap::new(), ..conditions.clone() };
        command.envs(variables).env(CONDITIONS, json::to_string(&rest).map_err(std::io::Error::from)?);
    }
    let mut child = command
        .arg("runner")
        .arg(&assignment.job)
        .args(["--from-seq", &assignment.from_seq.to_string(), "--keep"])
        .envs(for_cards)
        .env(variable, huge_pages)
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let stdin = child.stdin.take().ok_or_else(|| std::io::Error::other("no pipe to its stdin"))?;
    let exit = Arc::new(OnceLock::new());
    let told = Arc::clone(&exit);
    std::thread::spawn(move || {
        if let Ok(status) = child.wait() {
            // It is set here and nowhere else.
            let _ = told.set(status);
        }
    });
    Ok(Runner { stdin, model, conditions: turn.conditions.clone(), exit })
}

/// Wait until the job has been taken up by `runner`, or will not be.
fn is_taken_up(turn: &Turn, runner: &Runner) -> bool {
    let taken = || turn.job.is_held() || turn.job.event_count().is_ok_and(|count| count > turn.from_seq);
    loop {
        // Asked in this order: what it did before it exited counts.
        let exited = runner.has_exited();
        if taken() {
            return true;
        }
        if exited {
            return false;
        }
        std::thread::sleep(LOOK);
    }
}

/// Why a job that no runner holds any more has not ended as it should; nothing when it has.
fn account(turn: &Turn, runner: Option<&Runner>) -> Result<(), String> {
    if turn.has_ended().map_err(|error| error.to_string())? {
        return Ok(());
    }
    let status = runner.and_then(|runner| wait(&runner.exit, EXIT));
    if !turn.job.path().is_dir() {
        let path = turn.job.path().shown();
        return Err(format!("{path}: the folder of this job was moved or removed while it was done: put it back"));
    }
    let how = how_it_ended(status, &turn.job);
    let said = turn.job.log_text().unwrap_or_default();
    let said =
        said.lines().last().map(|line| format!(": {line}")).filter(|_| status.is_some_and(|s| s.signal().is_none()));
    Err(format!("the runner {how}{}", said.unwrap_or_default()))
}

fn how_it_ended(status: Option<ExitStatus>, job: &JobFolder) -> String {
    let full = || format!("had no room: No space left on device of {}", job.path().shown());
    match status.map(|status| (status.signal(), status)) {
        Some((Some(9), _)) => "was killed (signal 9): by hand, or by the system because memory ran out".into(),
        Some((Some(signal), _)) => format!("was killed by signal {signal}"),
        Some((None, status)) if status.code() == Some(DISK_FULL.into()) => full(),
        Some((None, status)) => format!("ended ({status})"),
        // Nobody has its exit code, but there is still no room.
        None if free_disk(job.path()) == Some(0) => full(),
        None => "is gone without a word: killed, out of memory, or the machine went down".into(),
    }
}

/// Write to the job's events that it has failed, or was stopped where that is what the user wanted.
fn fail(turn: &Turn, cause: &str) -> Result<(), workspace::Error> {
    let path = turn.job.lock();
    let lock = crate::fs::open_lock(&path).map_err(workspace::Error::io("create", &path))?;
    // Held by somebody: then it is that runner's to say how it ended. Shared, so that nobody takes this for a runner; it
    // keeps one from beginning all the same.
    if lock.try_lock_shared().is_err() {
        return Ok(());
    }
    let (mut log, events) = EventLog::open(&turn.job.events())?;
    if turn.has_ended()? {
        return Ok(());
    }
    let step = events.iter().rev().find_map(|record| match record.event {
        Event::Step { step, .. } => Some(step),
        _ => None,
    });
    log.write(if turn.is_cancelled() {
        Event::Stopped { step: step.unwrap_or(0) }
    } else {
        Event::Failed { message: format!("{cause}: {}", turn.remedy()) }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_runner_that_found_no_room_to_say_so_is_accounted_for() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("run.toml"), "").unwrap();
        let job = JobFolder::at(folder.path()).unwrap();
        let ended = |raw| how_it_ended(Some(ExitStatus::from_raw(raw)), &job);
        assert!(ended(i32::from(DISK_FULL) << 8).contains("No space left"));
        assert!(ended(1 << 8).contains("exit status: 1") && ended(9).contains("signal 9"));
    }
}
