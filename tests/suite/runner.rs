//! Runners as processes: killed, doubled, asked to stop, and what their job's files say then.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Workspace, wait_until};
use catbench::protocol::{Event, State};
use catbench::workspace::{self, EventLog, EventReader, History, JobFolder};

/// Set in the environment of this test program when it is to be the writer that gets killed.
const WRITER: &str = "CATBENCH_TEST_WRITER";

#[test]
fn a_killed_writer_leaves_whole_events_without_a_gap() {
    if let Some(path) = std::env::var_os(WRITER) {
        let (mut log, _) = EventLog::open(path.as_ref()).unwrap();
        // It ends by itself should nobody kill it.
        for step in 1..20_000 {
            log.write(Event::Step { step, loss: 0.5, loss_by_quarter: [None; 4], seconds: 0.1 }).unwrap();
            std::thread::sleep(Duration::from_micros(50));
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let mut reader = EventReader::new(&path);
    let mut seqs = Vec::new();
    for round in 0..5 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "runner::a_killed_writer_leaves_whole_events_without_a_gap"])
            .env(WRITER, &path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let enough = seqs.len() + 100 + 37 * round;
        let deadline = Instant::now() + Duration::from_secs(30);
        while seqs.len() < enough && Instant::now() < deadline {
            seqs.extend(reader.read_new().unwrap().iter().map(|event| event.seq));
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
    }
    seqs.extend(reader.read_new().unwrap().iter().map(|event| event.seq));
    assert!(seqs.len() >= 500);
    assert!(seqs.iter().enumerate().all(|(i, &seq)| seq == i as u64), "a gap or a double");
}

fn runner(job: &JobFolder) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catbench"));
    command.arg("runner").arg(job.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_job_that_cannot_be_done_ends_as_failed_with_its_cause() {
    let workspace = Workspace::new();
    let run = workspace.run();
    std::fs::write(workspace.concept().join("images/grass.png"), "text").unwrap();
    let job = JobFolder::at(&run.folder).unwrap();
    let output = runner(&job).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "a runner prints nothing to a screen");
    let history = History::read(&job).unwrap();
    assert_eq!(workspace::state(&job, &history), State::Failed);
    let Some(workspace::End::Failed { message }) = &history.end else { panic!("{:?}", history.end) };
    assert!(message.contains("grass.png"), "{message}");
}

#[test]
fn a_second_runner_leaves_a_job_alone() {
    let workspace = Workspace::new();
    let run = workspace.run().train(10).write().hold();
    let job = JobFolder::at(&run.folder).unwrap();
    let before = std::fs::read(job.events()).unwrap();
    let output = runner(&job).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("another runner"));
    assert_eq!(std::fs::read(job.events()).unwrap(), before);
}

#[test]
fn a_lock_that_is_held_means_running_and_one_that_is_not_means_interrupted() {
    let workspace = Workspace::new();
    let run = workspace.run().train(10).write().hold();
    let job = JobFolder::at(&run.folder).unwrap();
    let history = History::read(&job).unwrap();
    assert_eq!(workspace::state(&job, &history), State::Running);
    drop(run);
    // A child that another test has just forked may hold the lock until it is another program.
    wait_until("its end is seen", || workspace::state(&job, &history) == State::Interrupted);
}
