//! The daemon and its queue as processes: started once, found by its answer, jobs in their order, on real, tiny models.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use assert_cmd::assert::OutputAssertExt;
use catbench::protocol::{Event, JobState, PROTOCOL};
use common::{Workspace, catbench, events, job_state, jobs, json, wait_until};
use predicates::boolean::PredicateBooleanExt;
use predicates::str::contains;

/// Hand a training of `steps` steps to the queue, with few pictures on the way. Its number and folder.
fn queue(workspace: &Workspace, steps: usize, more: &[&str]) -> (u64, std::path::PathBuf) {
    common::queue_training(workspace, steps, more)
}

#[test]
fn ten_clients_at_once_start_one_daemon() {
    let workspace = Workspace::new();
    let clients: Vec<_> = (0..10)
        .map(|_| {
            catbench(&workspace, &["daemon", "start", "--json"]).stdout(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut pids: Vec<u64> = clients
        .into_iter()
        .map(|client| {
            let output = client.wait_with_output().unwrap();
            let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            status["daemon"]["pid"].as_u64().unwrap()
        })
        .collect();
    pids.dedup();
    assert_eq!(pids.len(), 1, "{pids:?}");
    catbench(&workspace, &["daemon", "run"]).assert().code(1).stderr(contains("another daemon"));
    catbench(&workspace, &["daemon", "stop"]).assert().code(0);
    catbench(&workspace, &["daemon", "status"]).assert().code(1).stderr(contains("no daemon runs"));
    assert!(!workspace.home().join(".catbench/socket").exists());
}

#[test]
fn a_daemon_whose_home_is_removed_ends() {
    let workspace = Workspace::new();
    let status = json(&workspace, &["daemon", "start"]);
    let pid = status["daemon"]["pid"].as_u64().unwrap();
    std::fs::remove_dir_all(workspace.home()).unwrap();
    wait_until("it has ended", || !common::is_alive(pid));
}

#[test]
fn jobs_run_one_after_the_other_in_the_order_that_is_asked_for() {
    let workspace = Workspace::with_models();
    let (first, first_run) = queue(&workspace, 4000, &[]);
    let (usual, usual_run) = queue(&workspace, 2, &[]);
    let (moved, moved_run) = queue(&workspace, 2, &[]);
    let (urgent, urgent_run) = queue(&workspace, 2, &["--priority", "5"]);
    assert_eq!(job_state(&workspace, first), JobState::Running);
    assert!([usual, moved, urgent].iter().all(|&number| job_state(&workspace, number) == JobState::Queued));
    catbench(&workspace, &["jobs", "move", &moved.to_string(), "--before", &usual.to_string()]).assert().code(0);
    let order: Vec<u64> = jobs(&workspace).iter().map(|job| job.number).collect();
    assert_eq!(order, [first, urgent, moved, usual]);
    catbench(&workspace, &["jobs", "cancel", &first.to_string()]).assert().code(0);
    let all = [urgent, moved, usual].map(|number| number.to_string());
    catbench(&workspace, &["wait", &all[0], &all[1], &all[2]]).assert().code(0);
    catbench(&workspace, &["wait", &first.to_string()]).assert().code(1).stdout(contains("stopped"));
    let ends = [&first_run, &urgent_run, &moved_run, &usual_run].map(|run| {
        let records = common::records(run);
        (records.first().unwrap().time, records.last().unwrap().time)
    });
    assert!(ends.windows(2).all(|pair| pair[0].1 <= pair[1].0), "one job a device, in this order: {ends:?}");
}

#[test]
fn a_paused_training_leaves_its_device_and_goes_on_to_the_same_bytes() {
    let workspace = Workspace::with_models();
    let (whole, whole_run) = queue(&workspace, 60, &[]);
    catbench(&workspace, &["wait", &whole.to_string()]).assert().code(0);
    let (number, run) = queue(&workspace, 60, &[]);
    let id = number.to_string();
    common::wait_for_step(&run, 5);
    catbench(&workspace, &["jobs", "pause", &id]).assert().code(0);
    wait_until("it is paused", || job_state(&workspace, number) == JobState::Paused);
    let (next, _) = queue(&workspace, 2, &[]);
    catbench(&workspace, &["wait", &next.to_string()]).assert().code(0);
    assert_eq!(job_state(&workspace, number), JobState::Paused);
    catbench(&workspace, &["jobs", "resume", &id]).assert().code(0);
    catbench(&workspace, &["wait", &id]).assert().code(0);
    let last = "checkpoints/step-000060.safetensors";
    assert_eq!(std::fs::read(whole_run.join(last)).unwrap(), std::fs::read(run.join(last)).unwrap());
}

#[test]
fn a_job_waits_for_another_and_is_stuck_only_as_long_as_that_has_failed() {
    let workspace = Workspace::with_models();
    let (training, run) = queue(&workspace, 4000, &[]);
    let (after, _) = queue(&workspace, 2, &["--after", &training.to_string()]);
    common::wait_for_step(&run, 1);
    catbench(&workspace, &["jobs", "cancel", "--kill", &training.to_string()]).assert().code(0);
    wait_until("it is over", || job_state(&workspace, training).is_over());
    let stuck = jobs(&workspace).into_iter().find(|job| job.number == after).unwrap();
    assert_eq!(stuck.state, JobState::Queued);
    assert!(stuck.cause.unwrap().contains(&format!("job {training}, which is failed")));
    let mut waiting = catbench(&workspace, &["wait", &after.to_string()]);
    let mut waiting = waiting.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(waiting.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains(&format!("job {training}, which is failed")), "who waits in vain is told: {said}");
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    let retry = format!("catbench jobs retry {training}");
    catbench(&workspace, &["jobs"]).assert().code(0).stdout(contains(&retry)).stderr(contains(&retry));
    catbench(&workspace, &["jobs", "log", &training.to_string()]).assert().code(0).stdout(contains("signal 9"));
    catbench(&workspace, &["train", "demo", "--steps", "2", "--after", "77"])
        .assert()
        .code(1)
        .stderr(contains("no job 77"));
    catbench(&workspace, &["train", "demo", "--steps", "2", "--device", "tpu"])
        .assert()
        .code(2)
        .stderr(contains("cpu"));
}

#[test]
fn one_runner_does_the_jobs_of_one_base_model_and_leaves_for_another() {
    let workspace = Workspace::with_models();
    let numbers = [2, 3, 4].map(|steps| queue(&workspace, steps, &[]));
    let same: Vec<u32> = numbers
        .iter()
        .map(|(number, run)| {
            catbench(&workspace, &["wait", &number.to_string()]).assert().code(0);
            pid(run)
        })
        .collect();
    assert!(same.windows(2).all(|pair| pair[0] == pair[1]), "{same:?}");
    let logs: Vec<bool> = numbers.iter().map(|(_, run)| run.join("runner.log").is_file()).collect();
    assert_eq!(logs, [true; 3], "each job has a log of its own");
    workspace.use_base_model(&common::fixture("tiny_sd2"));
    let (number, run) = queue(&workspace, 2, &[]);
    catbench(&workspace, &["wait", &number.to_string()]).assert().code(0);
    assert_ne!(pid(&run), same[0]);
    assert!(!common::is_alive(u64::from(same[0])), "the first has left its device");
}

#[test]
fn a_damaged_file_of_the_queue_is_told_of_and_kept() {
    let workspace = Workspace::with_models();
    let damaged = workspace.home().join(".catbench/queue/7.toml");
    catbench(&workspace, &["daemon", "start"]).assert().code(0);
    catbench(&workspace, &["daemon", "stop"]).assert().code(0);
    std::fs::write(&damaged, "what").unwrap();
    catbench(&workspace, &["daemon", "start"]).assert().code(0).stderr(contains("7.toml"));
    let (number, _) = queue(&workspace, 1, &[]);
    assert_eq!(number, 8, "its number is not taken");
    catbench(&workspace, &["wait", "8"]).assert().code(0);
    assert_eq!(std::fs::read_to_string(&damaged).unwrap(), "what");
}

/// The process that did the job.
fn pid(run: &std::path::Path) -> u32 {
    events(run)
        .iter()
        .find_map(|event| match event {
            Event::Started { pid, .. } => Some(*pid),
            _ => None,
        })
        .unwrap()
}

#[test]
fn what_is_no_request_is_refused_and_the_daemon_lives_on() {
    let workspace = Workspace::new();
    catbench(&workspace, &["daemon", "start"]).assert().code(0);
    let socket = workspace.home().join(".catbench/socket");
    for nonsense in ["\n", "{}\n", "{\"protocol\":1,\"version\":\"x\"}\nnot json\n", "\u{0}\u{1}\n"] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(nonsense.as_bytes()).unwrap();
        let lines: Vec<String> = BufReader::new(&stream).lines().take(2).map_while(Result::ok).collect();
        assert!(lines.get(1).is_some_and(|line| line.contains("refused")), "{nonsense:?}: {lines:?}");
    }
    let mut endless = UnixStream::connect(&socket).unwrap();
    endless.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let chunk = vec![b'x'; 1 << 16];
    assert!((0..100).any(|_| endless.write_all(&chunk).is_err()), "a line without an end is cut off");
    catbench(&workspace, &["daemon", "status"]).assert().code(0);
}

#[test]
fn the_home_of_a_daemon_is_closed_to_others_and_no_link_is_followed() {
    let workspace = Workspace::new();
    let internal = workspace.home().join(".catbench");
    std::fs::create_dir_all(&internal).unwrap();
    std::fs::set_permissions(&internal, std::fs::Permissions::from_mode(0o777)).unwrap();
    catbench(&workspace, &["daemon", "start"]).assert().code(0);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&internal), mode(&internal.join("socket"))), (0o700, 0o600));
    std::fs::set_permissions(&internal, std::fs::Permissions::from_mode(0o755)).unwrap();
    catbench(&workspace, &["jobs"]).assert().code(1).stderr(contains("chmod 700"));
    std::fs::set_permissions(&internal, std::fs::Permissions::from_mode(0o700)).unwrap();
    if rustix::process::geteuid().is_root() {
        // Another user, which only root can become.
        let other = std::process::Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_catbench"), "jobs"])
            .env("CATBENCH_HOME", workspace.home())
            .output()
            .unwrap();
        assert!(!other.status.success(), "another user was served");
    }
    let elsewhere = Workspace::new();
    symlink(&internal, elsewhere.home().join(".catbench")).unwrap();
    catbench(&elsewhere, &["daemon", "start"]).assert().code(1).stderr(contains("follows no link"));
    std::fs::remove_file(elsewhere.home().join(".catbench")).unwrap();
}

/// A daemon as one of a later version would be, with so many jobs running: it has the lock and the socket of the home, says
/// how it is, and lets go of both when it is asked to stop.
fn later_daemon(workspace: &Workspace, running: usize) -> std::thread::JoinHandle<()> {
    let internal = workspace.home().join(".catbench");
    std::fs::create_dir_all(&internal).unwrap();
    std::fs::set_permissions(&internal, std::fs::Permissions::from_mode(0o700)).unwrap();
    let lock = std::fs::File::create(internal.join("daemon.lock")).unwrap();
    lock.try_lock().unwrap();
    let socket = internal.join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // The client may be gone at any time.
            let _ = stream.write_all(b"{\"protocol\":99,\"version\":\"9.9\"}\n");
            for line in BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok).skip(1) {
                let asked: serde_json::Value = serde_json::from_str(&line).unwrap();
                let stops = asked["message"]["request"] == "stop";
                let message = if stops {
                    serde_json::json!({ "reply": "done" })
                } else {
                    serde_json::json!({ "reply": "status", "with": {
                        "pid": 1, "version": "9.9", "protocol": 99, "home": "/", "socket": "/", "log": "/",
                        "since": "2026-11-23T13:45:01Z", "clients": 1, "running": running, "queued": 0, "warnings": [],
                    }})
                };
                let reply = serde_json::json!({ "id": asked["id"], "message": message });
                let _ = stream.write_all(format!("{reply}\n").as_bytes());
                if stops {
                    std::fs::remove_file(&socket).unwrap();
                    return drop(lock);
                }
            }
        }
    })
}

#[test]
fn a_daemon_of_another_protocol_is_replaced_when_idle() {
    let workspace = Workspace::new();
    let later = later_daemon(&workspace, 0);
    let started = json(&workspace, &["daemon", "start"])["daemon"].clone();
    assert_eq!((&started["protocol"], &started["home"]), (&PROTOCOL.into(), &workspace.home().to_str().into()));
    later.join().unwrap();
    assert_eq!(json(&workspace, &["concept", "list"])["concepts"][0]["concept"], "demo");
    catbench(&workspace, &["daemon", "stop"]).assert().code(0);
}

#[test]
fn a_daemon_of_another_protocol_is_left_to_its_job_which_can_be_watched() {
    let workspace = Workspace::new();
    let run = workspace.run().train(10).write().hold();
    later_daemon(&workspace, 1);
    catbench(&workspace, &["jobs"]).assert().code(1).stderr(contains("9.9").and(contains("only watch")));
    let watching = catbench(&workspace, &["watch", "demo"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    std::thread::sleep(Duration::from_millis(600));
    let mut run = run;
    run.tell(Event::Finished { seconds: 1.0 });
    drop(run.write());
    let output = watching.wait_with_output().unwrap();
    assert!(output.status.success() && began.elapsed() < Duration::from_secs(30));
    assert!(String::from_utf8_lossy(&output.stderr).contains("only watching"));
}
