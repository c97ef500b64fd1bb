//! The daemon and its queue as processes: started once, found by its answer, jobs in their order, on real, tiny models.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::common::{
    self, Workspace, catbench, events, job_state, jobs, json, later_daemon, queue_file, records, wait_until,
};
use assert_cmd::assert::OutputAssertExt;
use catbench::client;
use catbench::protocol::{Event, JobChange, JobState, PROTOCOL};
use catbench::workspace::{EventLog, Home};
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
fn a_client_that_is_stopped_while_it_waits_for_an_answer_gets_it_when_it_goes_on() {
    let workspace = Workspace::new();
    let pid = json(&workspace, &["daemon", "start"])["daemon"]["pid"].as_u64().unwrap();
    let signal = |name: &str, pid: u64| {
        assert!(std::process::Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
    };
    signal("-STOP", pid);
    let mut client = catbench(&workspace, &["daemon", "status"]);
    let client = client.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    for _ in 0..20 {
        signal("-STOP", client.id().into());
        signal("-CONT", client.id().into());
        std::thread::sleep(Duration::from_millis(10));
    }
    signal("-CONT", pid);
    client.wait_with_output().unwrap().assert().code(0);
}

#[test]
fn a_daemon_whose_home_is_removed_ends() {
    // Also one that has just begun, and makes its store meanwhile.
    for is_busy in [false, true] {
        let workspace = Workspace::new();
        let status = json(&workspace, &["daemon", "start"]);
        let pid = status["daemon"]["pid"].as_u64().unwrap();
        if !is_busy {
            catbench(&workspace, &["concept", "list"]).assert().code(0);
        }
        // What it makes may come into the way.
        wait_until("its home is removed", || std::fs::remove_dir_all(workspace.home()).is_ok());
        wait_until("it has ended", || !common::is_alive(pid));
        // sled makes its folder with all above it, also in the middle of its beginning.
        assert!(is_busy || !workspace.home().exists(), "it has begun another");
    }
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
    let (whole, whole_run) = queue(&workspace, 300, &[]);
    catbench(&workspace, &["wait", &whole.to_string()]).assert().code(0);
    let (number, run) = queue(&workspace, 300, &[]);
    let id = number.to_string();
    common::wait_for_step(&run, 5);
    client::change(&Home::at(workspace.home()).unwrap(), number, JobChange::Pause).unwrap();
    wait_until("it is paused", || job_state(&workspace, number) == JobState::Paused);
    let (next, _) = queue(&workspace, 2, &[]);
    catbench(&workspace, &["wait", &next.to_string()]).assert().code(0);
    assert_eq!(job_state(&workspace, number), JobState::Paused);
    catbench(&workspace, &["jobs", "resume", &id]).assert().code(0);
    catbench(&workspace, &["wait", &id]).assert().code(0);
    let last = "checkpoints/step-000300.safetensors";
    assert_eq!(std::fs::read(whole_run.join(last)).unwrap(), std::fs::read(run.join(last)).unwrap());
}

#[test]
fn a_job_that_a_forgotten_runner_takes_up_is_adopted_and_one_that_is_let_go_begins() {
    let workspace = Workspace::with_models();
    let (first, run) = queue(&workspace, 4000, &[]);
    let (taken, taken_run) = queue(&workspace, 2, &[]);
    let (after, _) = queue(&workspace, 2, &[]);
    common::wait_for_step(&run, 1);
    // As a runner that was started by a daemon which was killed before it had the lock.
    let lock = std::fs::File::create(taken_run.join("runner.lock")).unwrap();
    lock.lock().unwrap();
    catbench(&workspace, &["jobs", "cancel", &first.to_string()]).assert().code(0);
    wait_until("the device is free", || job_state(&workspace, first).is_over());
    let states = || [taken, after].map(|number| job_state(&workspace, number));
    assert_eq!(states(), [JobState::Queued; 2], "who has it has its device");
    let (mut log, _) = EventLog::open(&taken_run.join("events.jsonl")).unwrap();
    log.write(Event::Started { pid: std::process::id(), steps: 2, resumed_from: 0 }).unwrap();
    // More than a look of the daemon's own.
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        assert_eq!(states(), [JobState::Running, JobState::Queued]);
    }
    let daemon = std::fs::read_to_string(workspace.home().join(".catbench/daemon.log")).unwrap();
    assert!(daemon.contains(&format!("job {taken} runs: adopted")), "{daemon}");
    log.write(Event::Stopped { step: 1 }).unwrap();
    drop(lock);
    catbench(&workspace, &["wait", &after.to_string()]).assert().code(0);
    assert_eq!(job_state(&workspace, taken), JobState::Stopped);

    // Held by one that had it before: tried again, its turn comes when that lets go.
    let lock = std::fs::File::open(taken_run.join("runner.lock")).unwrap();
    lock.lock().unwrap();
    catbench(&workspace, &["jobs", "retry", &taken.to_string()]).assert().code(0);
    assert_eq!(job_state(&workspace, taken), JobState::Queued);
    drop(lock);
    catbench(&workspace, &["wait", &taken.to_string()]).assert().code(0);
}

#[test]
fn a_job_waits_for_another_and_is_stuck_only_as_long_as_that_has_failed() {
    let workspace = Workspace::with_models();
    let (training, run) = queue(&workspace, 4000, &[]);
    let (after, _) = queue(&workspace, 2, &["--after", &training.to_string()]);
    common::wait_for_step(&run, 1);
    common::kill(pid(&run).into());
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

#[test]
fn a_daemon_of_another_protocol_is_replaced_when_idle() {
    let workspace = Workspace::new();
    let later = later_daemon(&workspace, 0, 0);
    let started = json(&workspace, &["daemon", "start"])["daemon"].clone();
    assert_eq!((&started["protocol"], &started["home"]), (&PROTOCOL.into(), &workspace.home().to_str().into()));
    later.join().unwrap();
    assert_eq!(json(&workspace, &["concept", "list"])["concepts"][0]["concept"], "demo");
    catbench(&workspace, &["daemon", "stop"]).assert().code(0);
}

#[test]
fn under_a_busy_daemon_of_another_protocol_everything_can_be_read_and_nothing_changed() {
    let workspace = Workspace::with_models();
    let mut run = workspace.run().train(10).write().hold();
    queue_file(&workspace, 1, &format!("demo/runs/{}", common::RUN));
    queue_file(&workspace, 2, "gone/runs/x");
    later_daemon(&workspace, 1, 0);
    let why = || contains("9.9").and(contains("can only read"));
    for args in [&["jobs"][..], &["concept", "list"], &["concept", "show", "demo"], &["runs"], &["jobs", "log", "1"]] {
        catbench(&workspace, args).assert().code(0).stderr(why());
    }
    let known = jobs(&workspace);
    assert_eq!((known[0].state, known[0].step, known[0].concept.as_str()), (JobState::Running, Some(10), "demo"));
    assert!(known[1].cause.as_ref().is_some_and(|cause| cause.contains("gone")), "{known:?}");
    let listed = json(&workspace, &["concept", "list"])["concepts"][0].clone();
    assert_eq!((&listed["state"], &listed["photos"], &listed["runs"]), (&"running".into(), &5.into(), &1.into()));
    assert_eq!(json(&workspace, &["concept", "list", "--matching", "nothing"])["concepts"], serde_json::json!([]));
    assert_eq!(json(&workspace, &["runs"])["runs"][0]["steps"], 10);

    let file = workspace.concept().join("concept.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let images = workspace.concept().join("images");
    for args in [
        &["concept", "tag", "demo", "red"][..],
        &["concept", "new", "mug", "--class", "cup", "--images", images.to_str().unwrap(), "--base-model", "/"],
        &["concept", "remove", "demo"],
        &["train", "demo", "--steps", "2"],
        &["score", "demo", "--after", "1"],
        &["jobs", "cancel", "1"],
        &["daemon", "rebuild"],
    ] {
        catbench(&workspace, args).assert().code(1).stderr(why());
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    let left = |folder: &str| std::fs::read_dir(workspace.home().join(folder)).unwrap().count();
    assert_eq!((left("demo/runs"), workspace.home().join("mug").exists()), (1, false));
    assert!(!run.folder.join("evaluation/score.toml").exists());

    let [watching, waiting] = [&["watch", "demo"][..], &["wait", "1"]].map(|args| {
        let mut command = catbench(&workspace, args);
        command.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap()
    });
    let began = Instant::now();
    std::thread::sleep(Duration::from_millis(600));
    run.tell(Event::Finished { seconds: 1.0 });
    drop(run.write());
    for (client, said) in [(watching, "only watching"), (waiting, "read-only")] {
        let output = client.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains(said) && text.contains("9.9"), "{text}");
    }
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_newer_daemon_is_not_replaced_while_jobs_wait_under_it() {
    let workspace = Workspace::new();
    later_daemon(&workspace, 0, 2);
    catbench(&workspace, &["daemon", "start"]).assert().code(1).stderr(contains("2 queued"));
}

#[test]
fn a_client_waits_for_the_daemon_before_to_be_gone() {
    let workspace = Workspace::new();
    let internal = workspace.home().join(".catbench");
    std::fs::create_dir_all(&internal).unwrap();
    let lock = std::fs::File::create(internal.join("daemon.lock")).unwrap();
    lock.try_lock().unwrap();
    let starting = catbench(&workspace, &["daemon", "start", "--json"]).stdout(std::process::Stdio::piped()).spawn();
    std::thread::sleep(Duration::from_millis(700));
    drop(lock);
    assert!(starting.unwrap().wait_with_output().unwrap().status.success());
}

#[test]
fn a_finished_job_stays_so_while_its_concept_is_away() {
    let workspace = Workspace::with_models();
    let (number, run) = queue(&workspace, 2, &[]);
    let id = number.to_string();
    catbench(&workspace, &["wait", &id]).assert().code(0);
    let before = records(&run);
    catbench(&workspace, &["concept", "remove", "demo"]).assert().code(0);
    catbench(&workspace, &["daemon", "stop"]).assert().code(0);
    let away = jobs(&workspace).remove(0);
    assert!(away.cause.as_ref().is_some_and(|cause| cause.contains("concept restore demo")), "{away:?}");
    catbench(&workspace, &["jobs", "retry", &id]).assert().code(1).stderr(contains("folder is gone"));
    catbench(&workspace, &["concept", "restore", "demo"]).assert().code(0);
    assert_eq!(job_state(&workspace, number), JobState::Finished);
    catbench(&workspace, &["jobs", "retry", &id]).assert().code(1).stderr(contains("finished: cannot retry"));
    // A runner that is started all the same has nothing to do, and nothing to say.
    catbench(&workspace, &["runner", run.to_str().unwrap()]).assert().code(0);
    assert_eq!(records(&run), before);
}

#[test]
fn what_cannot_be_done_in_the_queue_is_refused() {
    let workspace = Workspace::with_models();
    let (first, _) = queue(&workspace, 4000, &[]);
    let (second, run) = queue(&workspace, 2, &[]);
    let (third, _) = queue(&workspace, 2, &["--after", &second.to_string()]);
    let [first, second, third] = [first, second, third].map(|number| number.to_string());
    let refused = |args: &[&str], why: &str| {
        catbench(&workspace, args).assert().code(1).stderr(contains(why));
    };
    refused(&["jobs", "move", &second, "--before", &second], "before itself");
    let resume = ["train", "demo", "--detach", "--resume", run.file_name().unwrap().to_str().unwrap()];
    catbench(&workspace, &resume).assert().code(0);
    refused(&[&resume[..], &["--priority", "5"]].concat(), "in the queue already");
    refused(&[&resume[..], &["--after", &first]].concat(), "in the queue already");
    catbench(&workspace, &["jobs", "cancel", &second]).assert().code(0);
    catbench(&workspace, &["jobs"]).assert().code(0).stderr(contains("put it into the queue again"));
    refused(&["jobs", "move", &second], "is cancelled: cannot put it in order");
    refused(&[&resume[..], &["--after", &second]].concat(), "which it is");
    refused(&[&resume[..], &["--after", &third]].concat(), "which waits for it");
    catbench(&workspace, &["jobs", "cancel", "--kill", &first]).assert().code(0);
    catbench(&workspace, &["wait", &first]).assert().code(1).stdout(contains(format!("job {first} stopped")));
}

#[test]
fn a_pause_that_is_taken_back_is_none() {
    let workspace = Workspace::with_models();
    let (number, run) = queue(&workspace, 150, &[]);
    common::wait_for_step(&run, 3);
    let home = Home::at(workspace.home()).unwrap();
    for change in [JobChange::Pause, JobChange::Resume] {
        client::change(&home, number, change).unwrap();
    }
    catbench(&workspace, &["wait", &number.to_string()]).assert().code(0);
}

#[test]
fn a_paused_sampling_makes_each_picture_once_and_any_device_is_settled() {
    let workspace = Workspace::with_models();
    let sample = ["sample", "demo", "--untrained", "--prompt", "a {concept}", "-n", "64", "--steps", "12"];
    let mut client = catbench(&workspace, &[&sample[..], &["--device", "any"]].concat());
    let mut client = client.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    wait_until("it is queued", || jobs(&workspace).iter().any(|job| job.number == 1));
    client.kill().unwrap();
    client.wait().unwrap();
    let (number, folder) = (1, jobs(&workspace).remove(0).job);
    let made = || events(&folder).iter().filter(|event| matches!(event, Event::Sample { .. })).count();
    wait_until("a picture is made", || made() > 0);
    client::change(&Home::at(workspace.home()).unwrap(), number, JobChange::Pause).unwrap();
    wait_until("it is paused", || job_state(&workspace, number) == JobState::Paused);
    assert!(made() < 64, "it was too fast to be paused");
    catbench(&workspace, &["jobs", "resume", &number.to_string()]).assert().code(0);
    catbench(&workspace, &["wait", &number.to_string()]).assert().code(0);
    assert_eq!(made(), 64);
    let entry = std::fs::read_to_string(workspace.home().join(format!(".catbench/queue/{number}.toml"))).unwrap();
    assert!(entry.contains("device = \"any\"") && entry.contains("chosen = \"cpu\""), "{entry}");
    assert!(std::fs::read_to_string(folder.join("batch.toml")).unwrap().contains("device = \"cpu\""));
}

#[test]
fn a_scoring_is_of_the_run_it_comes_after_and_one_at_a_time() {
    let workspace = Workspace::with_models();
    let (first, run) = queue(&workspace, 4000, &[]);
    let (second, _) = queue(&workspace, 2, &[]);
    let (first, second) = (first.to_string(), second.to_string());
    let evaluation = run.join("evaluation");
    catbench(&workspace, &["score", "demo", "--after", &first, "--after", "77"])
        .assert()
        .code(1)
        .stderr(contains("no job 77"));
    assert!(!evaluation.exists(), "it was not taken, and leaves nothing");
    catbench(&workspace, &["score", "demo", "--after", &first, "--after", &second])
        .assert()
        .code(1)
        .stderr(contains("--run"));
    let mut scoring = catbench(&workspace, &["score", "demo", "--after", &first]);
    let mut scoring = scoring.stderr(std::process::Stdio::null()).spawn().unwrap();
    wait_until("it is queued", || jobs(&workspace).iter().any(|job| job.job == evaluation));
    let settings = std::fs::read(evaluation.join("score.toml")).unwrap();
    catbench(&workspace, &["score", "demo", "--after", &first, "--fill", "white"])
        .assert()
        .code(1)
        .stderr(contains("being scored by job"));
    assert_eq!(std::fs::read(evaluation.join("score.toml")).unwrap(), settings);
    scoring.kill().unwrap();
    scoring.wait().unwrap();
}

#[test]
fn nobody_is_told_of_a_pipe_that_nobody_reads() {
    let workspace = Workspace::new();
    workspace.run().train(10).write();
    for args in [&["jobs"][..], &["runs"], &["concept", "show", "demo"], &["completions", "bash"], &["manual"]] {
        // Nobody reads from the start: what is short would else be written before the end is closed.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = catbench(&workspace, args).stdout(writer).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(141) && said.is_empty(), "{args:?}: {:?} {said}", output.status);
    }
}
