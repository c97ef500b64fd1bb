//! Whose a home is and who serves it: daemons with long paths, without their socket, of another machine and of another user;
//! and jobs that compute as the command that asked for them would.

use std::fs::File;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::common::users::{NOBODY, can_be_nobody, give, shell};
use crate::common::{self, Elsewhere, Workspace, catbench, events, job_state, json};
use assert_cmd::assert::OutputAssertExt;
use catbench::protocol::{Event, JobState};
use predicates::boolean::PredicateBooleanExt;
use predicates::str::contains;

#[test]
fn a_home_with_a_long_path_has_one_daemon_whatever_the_session() {
    for length in [120, 210] {
        let workspace = Workspace::new();
        let [first, second] = ["first", "second"].map(|name| workspace.home().join(name));
        std::fs::create_dir(&first).unwrap();
        let path = workspace.home().join("x".repeat(length));
        let home = Elsewhere(&workspace, path.clone());
        home.catbench(&["daemon", "start"]).env("XDG_RUNTIME_DIR", &first).assert().code(0);
        assert!(path.join(".catbench/socket").exists());
        std::fs::remove_dir_all(&first).unwrap();
        let began = Instant::now();
        for runtime in [Some(&first), Some(&second), None] {
            for args in [&["daemon", "status"][..], &["jobs"]] {
                let mut command = home.catbench(args);
                match runtime {
                    Some(runtime) => command.env("XDG_RUNTIME_DIR", runtime),
                    None => command.env_remove("XDG_RUNTIME_DIR"),
                };
                command.assert().code(0);
            }
        }
        home.catbench(&["daemon", "stop"]).env_remove("XDG_RUNTIME_DIR").assert().code(0).stdout(contains("stopped"));
        home.catbench(&["daemon", "status"]).assert().code(1).stderr(contains("no daemon runs"));
        assert!(began.elapsed() < Duration::from_secs(60));
    }
}

#[test]
fn a_daemon_whose_socket_is_removed_listens_again() {
    let workspace = Workspace::new();
    let pid = json(&workspace, &["daemon", "start"])["daemon"]["pid"].clone();
    let socket = workspace.home().join(".catbench/socket");
    for _ in 0..2 {
        std::fs::remove_file(&socket).unwrap();
        assert_eq!(json(&workspace, &["daemon", "status"])["daemon"]["pid"], pid);
    }
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "no socket").unwrap();
    catbench(&workspace, &["jobs"]).assert().code(0);
    std::fs::remove_file(&socket).unwrap();
    catbench(&workspace, &["daemon", "stop"]).assert().code(0).stdout(contains("stopped"));
    assert!(!common::is_alive(pid.as_u64().unwrap()) && !socket.exists());
}

/// Hold the lock of a home, with this in it.
fn hold(workspace: &Workspace, text: &str) -> File {
    let internal = workspace.home().join(".catbench");
    std::fs::create_dir_all(&internal).unwrap();
    std::fs::set_permissions(&internal, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(internal.join("daemon.lock"), text).unwrap();
    let lock = File::open(internal.join("daemon.lock")).unwrap();
    lock.lock().unwrap();
    lock
}

#[test]
fn a_home_that_another_machine_serves_can_be_read_and_not_changed() {
    let workspace = Workspace::with_models();
    drop(workspace.run().train(10).end(Event::Finished { seconds: 4.0 }).write());
    let lock = hold(&workspace, "host = \"far\"\npid = 4711\nversion = \"0.1.0\"\nboot = \"another\"\n");
    let began = Instant::now();
    let why = || contains("process 4711 on far").and(contains("can only read"));
    for args in [&["jobs"][..], &["concept", "list"], &["concept", "show", "demo"], &["runs"]] {
        catbench(&workspace, args).assert().code(0).stderr(why());
    }
    assert_eq!(json(&workspace, &["runs"])["runs"][0]["state"], "finished");
    let status = json(&workspace, &["daemon", "status"]);
    assert_eq!((&status["running"], &status["holder"]["host"]), (&true.into(), &"far".into()));
    for args in [
        &["daemon", "status"][..],
        &["daemon", "stop"],
        &["daemon", "start"],
        &["train", "demo", "--steps", "2"],
        &["concept", "tag", "demo", "red"],
    ] {
        catbench(&workspace, args).assert().code(1).stderr(why());
    }
    catbench(&workspace, &["daemon", "run"]).assert().code(1).stderr(contains("process 4711 on far"));
    assert!(began.elapsed() < Duration::from_secs(60), "it is not waited for");
    let left = std::fs::read_dir(workspace.home().join(".catbench")).unwrap().count();
    assert_eq!(left, 1, "nothing is written");
    drop(lock);
    // Its lock is seen no more; for a while it may only be that this disk does not tell of it.
    catbench(&workspace, &["daemon", "status"]).assert().code(1).stderr(why());
    std::fs::write(workspace.home().join(".catbench/daemon.lock"), "").unwrap();
    catbench(&workspace, &["daemon", "status"]).assert().code(1).stderr(contains("no daemon runs"));
}

#[test]
fn a_daemon_that_cannot_be_reached_is_named_with_what_to_do() {
    let workspace = Workspace::new();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let named = format!("host = \"{host}\"\npid = 4711\nversion = \"0.1.0\"\nboot = \"{}\"\n", boot.trim());
    for (text, said) in [(named.as_str(), "`kill -9 4711`"), ("", "an earlier catbench")] {
        let lock = hold(&workspace, text);
        for args in [&["daemon", "status"][..], &["daemon", "stop"]] {
            catbench(&workspace, args).assert().code(1).stderr(contains("cannot be reached").and(contains(said)));
        }
        drop(lock);
    }
    catbench(&workspace, &["daemon", "stop"]).assert().code(0).stdout(contains("no daemon runs"));
}

/// Hand a training to the queue from a shell that has done `setup` first, and say what its runner computes with.
fn queue_from(workspace: &Workspace, setup: &str, user: Option<u32>) -> (u64, PathBuf) {
    let mut command = shell(workspace, setup, user);
    let output = command
        .args([
            "train",
            "demo",
            "--detach",
            "--sample-every",
            "0",
            "--validate-every",
            "0",
            "--steps",
            "4000",
            "--json",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let queued: serde_json::Value = serde_json::from_str(last).unwrap();
    (queued["job"].as_u64().unwrap(), queued["path"].as_str().unwrap().into())
}

/// What a runner computes with.
struct Runner {
    environment: Vec<String>,
    status: String,
    limits: String,
    nice: String,
}

impl Runner {
    /// Of the run in `folder`, once it is in its first step.
    fn of(folder: &Path) -> Self {
        common::wait_for_step(folder, 1);
        let pid = events(folder).into_iter().find_map(|event| match event {
            Event::Started { pid, .. } => Some(pid),
            _ => None,
        });
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", pid.unwrap())).unwrap();
        let stat = read("stat");
        Self {
            environment: read("environ").split('\0').map(str::to_owned).collect(),
            status: read("status"),
            limits: read("limits"),
            nice: stat.rsplit(") ").next().unwrap().split(' ').nth(16).unwrap().to_owned(),
        }
    }

    fn has(&self, variable: &str) -> bool {
        self.environment.iter().any(|set| set.starts_with(variable))
    }

    fn status(&self, name: &str) -> &str {
        self.status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim_start_matches(':').trim()
    }

    fn files(&self) -> Vec<&str> {
        let line = self.limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        line.split_whitespace().take(2).collect()
    }
}

#[test]
fn a_job_computes_as_the_command_that_asked_for_it_whoever_started_the_daemon() {
    if !Path::new("/proc/self/environ").exists() {
        return common::skipped("this system does not show how a process was started");
    }
    let workspace = Workspace::with_models();
    let daemon = "export OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES=6 LD_LIBRARY_PATH=/daemon MKL_X=1; umask 022";
    shell(&workspace, daemon, None).args(["daemon", "start"]).assert().code(0);
    let setup = "export CUDA_VISIBLE_DEVICES=1 RAYON_NUM_THREADS=2 SECRET=1; ulimit -S -n 300; ulimit -H -n 400; umask 077; \
                 command -v taskset >/dev/null && taskset -p -c 0 $$ >/dev/null; renice -n 5 -p $$ >/dev/null";
    let (first, first_run) = queue_from(&workspace, setup, None);
    let (second, second_run) = queue_from(&workspace, "export LD_LIBRARY_PATH=/second; umask 027", None);
    let runner = Runner::of(&first_run);
    assert!(runner.has("CUDA_VISIBLE_DEVICES=1") && runner.has("RAYON_NUM_THREADS=2"), "{:?}", runner.environment);
    assert!(!["OMP_NUM_THREADS", "LD_LIBRARY_PATH", "MKL_X", "SECRET"].iter().any(|name| runner.has(name)));
    assert_eq!((runner.nice.as_str(), runner.files(), runner.status("Umask")), ("5", vec!["300", "400"], "0077"));
    if std::thread::available_parallelism().unwrap().get() > 1 {
        assert_eq!(runner.status("Cpus_allowed_list"), "0");
    }
    assert!(!events(&first_run).iter().any(|event| matches!(event, Event::Warning { .. })));

    // The next daemon takes it from the queue's file.
    assert_eq!(job_state(&workspace, second), JobState::Queued);
    catbench(&workspace, &["daemon", "stop"]).assert().code(0);
    shell(&workspace, daemon, None).args(["daemon", "start"]).assert().code(0);
    catbench(&workspace, &["jobs", "cancel", "--kill", &first.to_string()]).assert().code(0);
    let runner = Runner::of(&second_run);
    assert!(runner.has("LD_LIBRARY_PATH=/second") && !runner.has("CUDA_VISIBLE_DEVICES"), "{:?}", runner.environment);
    assert_eq!((runner.nice.as_str(), runner.status("Umask")), ("0", "0027"));
    catbench(&workspace, &["jobs", "cancel", "--kill", &second.to_string()]).assert().code(0);
}

#[test]
fn a_runner_is_kept_only_for_jobs_of_the_same_conditions_and_old_entries_still_run() {
    let workspace = Workspace::with_models();
    let train = |threads: &str| {
        let output = catbench(&workspace, &["train", "demo", "--steps", "2", "--json"])
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let last = text.lines().last().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        let done: serde_json::Value = serde_json::from_str(last).unwrap();
        PathBuf::from(done["path"].as_str().unwrap())
    };
    let runs = ["1", "2", "2"].map(train);
    let pids = runs.each_ref().map(|run| match &events(run)[0] {
        Event::Started { pid, .. } => *pid,
        other => panic!("{other:?}"),
    });
    assert!(pids[0] != pids[1] && pids[1] == pids[2], "{pids:?}");
    catbench(&workspace, &["daemon", "stop"]).assert().code(0);
    // As an earlier version wrote it.
    let home = catbench::workspace::Home::at(workspace.home()).unwrap();
    let path = catbench::workspace::queue::QueueEntry::path(&home, 3);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.split("[conditions]").next().unwrap().split("[conditions.").next().unwrap()).unwrap();
    std::fs::write(runs[2].join("events.jsonl"), "").unwrap();
    catbench(&workspace, &["daemon", "start"]).assert().code(0);
    catbench(&workspace, &["wait", "3"]).assert().code(0);
}

#[test]
fn what_root_has_made_in_a_users_home_is_told_with_what_to_run() {
    if !can_be_nobody() {
        return common::skipped("only root can work as another user");
    }
    let workspace = Workspace::with_models();
    give(workspace.home(), NOBODY);
    let name = catbench::fs::user(NOBODY);
    // With sudo nothing is made there.
    let mut sudo = shell(&workspace, "export SUDO_UID=65534", None);
    sudo.args(["jobs"]).assert().code(1).stderr(contains("without sudo").and(contains(&name)));
    // Root by other ways would have that user's files tell it what to do.
    let untrusted = contains(format!("belongs to {name}")).and(contains(format!("CATBENCH_TRUST={name}")));
    catbench(&workspace, &["daemon", "start"]).assert().code(1).stderr(untrusted);
    assert!(!workspace.home().join(".catbench").exists());
    // Where it says that it trusts them, it is told what they cannot use.
    let trusting = |args| {
        let mut command = catbench(&workspace, args);
        command.env("CATBENCH_TRUST", &name);
        command
    };
    let mut sudo = shell(&workspace, "export SUDO_UID=65534 CATBENCH_TRUST=65534", None);
    sudo.args(["jobs"]).assert().code(1).stderr(contains("without sudo"));
    trusting(&["daemon", "start"]).assert().code(0).stderr(contains("runs as root in a home of"));
    trusting(&["daemon", "stop"]).assert().code(0);
    let remedy = format!("sudo chown -R {name} {}", workspace.home().canonicalize().unwrap().display());
    let said = || contains("belongs to root").and(contains(remedy.as_str()));
    for args in [&["jobs"][..], &["daemon", "status"], &["concept", "list"], &["train", "demo", "--steps", "2"]] {
        shell(&workspace, "", Some(NOBODY)).args(args).assert().code(1).stderr(said());
    }
    shell(&workspace, "", Some(NOBODY)).args(["model", "list"]).assert().code(1).stderr(said());
    // One file of root in a folder of the user.
    give(workspace.home(), NOBODY);
    let file = workspace.concept().join("concept.toml");
    chown(&file, Some(0), Some(0)).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    shell(&workspace, "", Some(NOBODY)).args(["train", "demo", "--dry-run"]).assert().code(1).stderr(said());
    // The remedy is one.
    give(workspace.home(), NOBODY);
    shell(&workspace, "", Some(NOBODY)).args(["jobs"]).assert().code(0);
    shell(&workspace, "", Some(NOBODY)).args(["daemon", "stop"]).assert().code(0);
}

#[test]
fn what_a_runner_cannot_be_given_is_said_in_the_jobs_log() {
    if !can_be_nobody() {
        return common::skipped("only root can work as another user");
    }
    let workspace = Workspace::with_models();
    give(workspace.home(), NOBODY);
    let daemon = "ulimit -n 256; renice -n 7 -p $$ >/dev/null";
    shell(&workspace, daemon, Some(NOBODY)).args(["daemon", "start"]).assert().code(0);
    let (number, run) = queue_from(&workspace, "ulimit -S -n 300", Some(NOBODY));
    let runner = Runner::of(&run);
    assert_eq!((runner.nice.as_str(), runner.files()), ("7", vec!["256", "256"]));
    let number = number.to_string();
    let mut log = shell(&workspace, "", Some(NOBODY));
    let told = contains("limit (nofile) of 300, and has 256").and(contains("nice 0, and has 7"));
    log.args(["jobs", "log", &number]).assert().code(0).stdout(told.and(contains("catbench daemon stop")));
    shell(&workspace, "", Some(NOBODY)).args(["jobs", "cancel", "--kill", &number]).assert().code(0);
    shell(&workspace, "", Some(NOBODY)).args(["wait", &number]).assert().code(1).stdout(contains("stopped"));
    shell(&workspace, "", Some(NOBODY)).args(["daemon", "stop"]).assert().code(0);
}
