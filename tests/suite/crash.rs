//! Processes killed at moments nobody chose: what was acknowledged is there, nothing is torn, nothing is done twice.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{
    Workspace, catbench, events, is_alive, job_state, jobs, json, kill, queue_training, records, wait_until,
};
use assert_cmd::assert::OutputAssertExt;
use catbench::protocol::{Event, JobState};

/// Moments that look random and are the same in every test.
struct Moments(u64);

impl Moments {
    /// Wait up to `most` milliseconds.
    fn wait(&mut self, most: u64) {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros((self.0 >> 33) % (most * 1000)));
    }
}

fn daemon(workspace: &Workspace) -> Option<u64> {
    json(workspace, &["daemon", "status"])["daemon"]["pid"].as_u64()
}

/// The runner of a run, if one lives.
fn runner(run: &Path) -> Option<u64> {
    let file = std::fs::File::open(run.join("runner.lock")).ok()?;
    file.try_lock_shared().is_err().then(|| std::fs::read_to_string(run.join("runner.lock")).ok()?.parse().ok())?
}

/// The steps of a run as they count in the end: each once, from the first to the last.
fn assert_trained(run: &Path, steps: usize) {
    let mut done: Vec<usize> = Vec::new();
    let mut finished = 0;
    for event in events(run) {
        match event {
            Event::Started { resumed_from, .. } => {
                assert_eq!(finished, 0, "done twice: {}", run.display());
                done.retain(|step| *step <= resumed_from);
            }
            Event::Step { step, .. } => done.push(step),
            Event::Finished { .. } => finished += 1,
            _ => {}
        }
    }
    assert_eq!((finished, done), (1, (1..=steps).collect()), "{}", run.display());
}

/// Nothing under `folder` is left half-written: every settings file can be read, and no temporary file is older than the
/// processes that were killed.
fn assert_whole(folder: &Path) {
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            assert_whole(&path);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(&path).unwrap();
            toml::from_str::<toml::Table>(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        } else if path.extension().is_some_and(|extension| extension == "safetensors") {
            catbench::personalize::Checkpoint::load(&path).unwrap();
        }
    }
}

#[test]
fn a_daemon_killed_twenty_times_loses_no_event_and_no_job() {
    let workspace = Workspace::with_models();
    let (training, run) = queue_training(&workspace, 3000, &[]);
    let (waiting, next) = queue_training(&workspace, 3, &[]);
    let mut client =
        catbench(&workspace, &["watch", "demo", "--run", name(&run), "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut moments = Moments(1);
    let mut killed = 0;
    while killed < 20 {
        moments.wait(60);
        assert_eq!(job_state(&workspace, training), JobState::Running, "too few steps for {killed} kills");
        let Some(pid) = daemon(&workspace) else { continue };
        let worker = runner(&run);
        kill(pid);
        killed += 1;
        let order: Vec<(u64, JobState)> = jobs(&workspace).iter().map(|job| (job.number, job.state)).collect();
        assert_eq!(order, [(training, JobState::Running), (waiting, JobState::Queued)], "after kill {killed}");
        assert!(worker.is_some() && runner(&run) == worker, "the runner is the same");
    }
    catbench(&workspace, &["jobs", "cancel", &training.to_string()]).assert().code(0);
    catbench(&workspace, &["wait", &waiting.to_string()]).assert().code(0);
    let starts = events(&run).iter().filter(|event| matches!(event, Event::Started { .. })).count();
    assert_eq!(starts, 1, "one runner did it all");
    assert_trained(&next, 3);
    // The client came back after each, and counts every step once.
    let mut said = String::new();
    BufReader::new(client.stdout.take().unwrap()).read_line(&mut said).unwrap();
    client.wait().unwrap();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let steps = records(&run).iter().filter(|record| matches!(record.event, Event::Step { .. })).count();
    assert_eq!(said["steps"].as_u64().unwrap() as usize, steps);
    assert_eq!(said["state"], "stopped");
}

#[test]
fn a_runner_killed_twenty_times_is_retried_to_the_same_bytes() {
    let workspace = Workspace::with_models();
    let (whole, undisturbed) = queue_training(&workspace, 1200, &[]);
    catbench(&workspace, &["wait", &whole.to_string()]).assert().code(0);
    let (number, run) = queue_training(&workspace, 1200, &[]);
    let mut moments = Moments(2);
    let mut slowest = Duration::ZERO;
    for round in 0..20 {
        let from = events(&run).len();
        wait_until("it is at work again", || runner(&run).is_some() && records(&run).len() > from + 12);
        moments.wait(10);
        let Some(pid) = runner(&run) else { panic!("it ended before kill {round}") };
        kill(pid);
        let began = Instant::now();
        wait_until("it is shown as failed", || job_state(&workspace, number) == JobState::Failed);
        slowest = slowest.max(began.elapsed());
        let job = jobs(&workspace).into_iter().find(|job| job.number == number).unwrap();
        assert!(job.cause.as_ref().is_some_and(|cause| cause.contains("signal 9")), "{:?}", job.cause);
        catbench(&workspace, &["jobs", "retry", &number.to_string()]).assert().code(0);
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    catbench(&workspace, &["wait", &number.to_string()]).assert().code(0);
    assert_trained(&run, 1200);
    let last = "checkpoints/step-001200.safetensors";
    assert_eq!(std::fs::read(undisturbed.join(last)).unwrap(), std::fs::read(run.join(last)).unwrap());
}

#[test]
fn everything_killed_fifty_times_leaves_all_that_was_acknowledged() {
    let workspace = Workspace::with_models();
    let mut moments = Moments(3);
    let mut acknowledged: Vec<(u64, PathBuf, usize)> = Vec::new();
    for round in 0..50 {
        // Never fewer than three that are not over; a client may be killed before it knows.
        let pending =
            if round % 5 == 0 { jobs(&workspace).iter().filter(|job| !job.state.is_over()).count() } else { 3 };
        for _ in pending..3 {
            let (number, run) = queue_training(&workspace, 20, &[]);
            acknowledged.push((number, run, 20));
        }
        let quick = ["train", "demo", "--detach", "--sample-every", "0", "--steps", "20", "--json"];
        let client = (round % 7 == 3)
            .then(|| catbench(&workspace, &quick).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
        moments.wait(if client.is_some() { 400 } else { 120 });
        let runners: Vec<u64> = acknowledged.iter().filter_map(|(_, run, _)| runner(run)).collect();
        let victims: Vec<u64> = daemon(&workspace).into_iter().chain(runners).collect();
        victims.iter().for_each(|pid| kill(*pid));
        if let Some(mut client) = client {
            client.kill().unwrap();
            let output = client.wait_with_output().unwrap();
            if let Ok(said) = serde_json::from_slice::<serde_json::Value>(&output.stdout) {
                acknowledged.push((said["job"].as_u64().unwrap(), said["path"].as_str().unwrap().into(), 20));
            }
        }
        wait_until("they are gone", || !victims.iter().any(|pid| is_alive(*pid)));
        assert_whole(workspace.home());
        let known = jobs(&workspace);
        for (number, run, _) in &acknowledged {
            assert!(known.iter().any(|job| job.number == *number && job.job == *run), "job {number} is missing");
        }
        for job in known.iter().filter(|job| job.state == JobState::Failed) {
            let how = format!("catbench jobs retry {}", job.number);
            assert!(job.cause.as_ref().is_some_and(|cause| cause.contains(&how)), "{:?}", job.cause);
            catbench(&workspace, &["jobs", "retry", &job.number.to_string()]).assert().code(0);
        }
    }
    for (number, run, steps) in &acknowledged {
        catbench(&workspace, &["wait", &number.to_string()]).assert().code(0);
        assert_trained(run, *steps);
    }
    assert!(acknowledged.len() >= 3);
    assert_whole(workspace.home());
}

fn name(run: &Path) -> &str {
    run.file_name().unwrap().to_str().unwrap()
}
