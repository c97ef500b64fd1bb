//! The daemon among hostile files and clients: it answers, it stays small, it ends when it is told to, and what is bad is named
//! while all else goes on.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::{File, create_dir, create_dir_all, write};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{lchown, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::common::users::NOBODY;
use crate::common::{self, Workspace, catbench, is_alive, jobs, json, queue_file, skipped, wait_until};
use assert_cmd::assert::OutputAssertExt;
use catbench::protocol::{Event, EventRecord, JobState, MAX_REQUEST, PROTOCOL};
use predicates::str::contains;
use rustix::process::{Pid, Signal, kill_process};

/// What a question that waits for nothing may take: a machine with many builders on it is slow.
const SOON: Duration = Duration::from_secs(10);
/// What the daemon's memory may come to, in kilobytes.
const MEMORY: u64 = 300 << 10;

/// A client that says what it likes.
struct Client {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Client {
    fn connect(home: &Path) -> Self {
        let stream = UnixStream::connect(home.join(".catbench/socket")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut client = Self { lines: BufReader::new(stream.try_clone().unwrap()), stream };
        client.say(format!("{{\"protocol\":{PROTOCOL},\"version\":\"0\"}}\n").as_bytes());
        client.line();
        client
    }

    fn say(&mut self, bytes: &[u8]) {
        // The daemon may have hung up on it.
        let _ = self.stream.write_all(bytes);
    }

    /// The next line; an empty one at the end.
    fn line(&mut self) -> String {
        let mut line = String::new();
        let _ = self.lines.read_line(&mut line);
        line
    }

    fn ask(&mut self, request: &serde_json::Value) -> serde_json::Value {
        self.say(format!("{}\n", serde_json::json!({ "id": 1, "message": request })).as_bytes());
        serde_json::from_str(&self.line()).unwrap()
    }

    /// Ask whether the daemon lives. How long that took.
    fn ping(&mut self) -> Duration {
        let asked = Instant::now();
        let reply = self.ask(&serde_json::json!({ "request": "ping" }));
        assert_eq!(reply["message"]["reply"], "done", "{reply}");
        asked.elapsed()
    }
}

fn start(workspace: &Workspace) -> u64 {
    json(workspace, &["daemon", "start"])["daemon"]["pid"].as_u64().unwrap()
}

fn log_of(workspace: &Workspace) -> PathBuf {
    workspace.home().join(".catbench/daemon.log")
}

/// The most memory that a process has had, in kilobytes.
fn peak(pid: u64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn signal(pid: u64, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

fn wait_for(child: &mut Child) -> Duration {
    let (began, end) = (Instant::now(), Duration::from_secs(30));
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > end {
            child.kill().unwrap();
            panic!("it did not end in {end:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    began.elapsed()
}

fn pipe(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::from(0o600), 0).unwrap();
}

#[test]
fn a_daemon_whose_words_nobody_reads_ends_on_a_signal_all_the_same() {
    for word in [Signal::TERM, Signal::INT] {
        let workspace = Workspace::new();
        // Its first line waits for room in the pipe for ever, and the event loop with it.
        let (_reader, mut writer) = std::io::pipe().unwrap();
        let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
        rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
        while writer.write(&[b' '; 4096]).is_ok() {}
        while writer.write(b" ").is_ok() {}
        rustix::fs::fcntl_setfl(&writer, flags).unwrap();
        let mut daemon = catbench(&workspace, &["daemon", "run"]).stderr(writer).spawn().unwrap();
        let socket = workspace.home().join(".catbench/socket");
        wait_until("it listens", || socket.exists());
        std::thread::sleep(Duration::from_millis(300));
        assert!(daemon.try_wait().unwrap().is_none());
        signal(daemon.id().into(), word);
        assert!(wait_for(&mut daemon) < SOON);
    }
}

/// Have what this thread and what it starts mount be seen by nobody else. Whether that can be.
fn mounts_alone() -> bool {
    let nothing = std::ptr::null();
    // SAFETY: the one pointer that is not null is to a string that ends in a zero byte.
    unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(nothing, c"/".as_ptr(), nothing, libc::MS_REC | libc::MS_PRIVATE, nothing.cast()) == 0
    }
}

/// A folder of a file system whose program never answers, as of a network disk that is gone.
struct Silent {
    path: CString,
    device: Option<File>,
}

impl Silent {
    /// None where this process may not mount.
    fn at(path: &Path) -> Option<Self> {
        use std::os::fd::AsRawFd;
        let device = File::options().read(true).write(true).open("/dev/fuse").ok()?;
        let path = CString::new(path.to_str().unwrap()).unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let options = CString::new(options).unwrap();
        let kind = c"fuse".as_ptr();
        // SAFETY: all pointers are to strings that end in a zero byte.
        let mounted = unsafe { libc::mount(kind, path.as_ptr(), kind, 0, options.as_ptr().cast()) == 0 };
        mounted.then_some(Self { path, device: Some(device) })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // Whoever waits for it is told that it is gone.
        self.device = None;
        // SAFETY: the string ends in a zero byte.
        unsafe { libc::umount2(self.path.as_ptr(), libc::MNT_DETACH) };
    }
}

#[test]
fn a_disk_that_does_not_answer_keeps_nobody_from_being_answered_and_the_daemon_from_nothing_but_its_jobs() {
    let workspace = Workspace::new();
    workspace.run().train(3).end(Event::Finished { seconds: 1.0 }).write();
    let gone = workspace.concept().join("runs/20261123-134502-gone");
    create_dir(&gone).unwrap();
    queue_file(&workspace, 1, &format!("demo/runs/{}", common::RUN));
    queue_file(&workspace, 2, "demo/runs/20261123-134502-gone");
    if !mounts_alone() {
        return skipped("this process may not mount");
    }
    // What came with the home is looked at once, when it is served first.
    catbench(&workspace, &["daemon", "start"]).assert().code(0);
    catbench(&workspace, &["daemon", "stop"]).assert().code(0);
    let Some(silent) = Silent::at(&gone) else { return skipped("this process may not mount") };

    // In the foreground: what starts it in the background would wait longer than this test.
    let mut daemon = catbench(&workspace, &["daemon", "run"]).stderr(Stdio::null()).spawn().unwrap();
    let socket = workspace.home().join(".catbench/socket");
    // Its file is there a moment before it listens.
    wait_until("it listens", || UnixStream::connect(&socket).is_ok());
    let mut client = Client::connect(workspace.home());
    assert!(client.ping() < SOON);
    let refused = client.ask(&serde_json::json!({ "request": "jobs" }))["message"]["with"]["message"].to_string();
    assert!(refused.contains("the disk does not answer"), "{refused}");
    // However often they ask, one thread waits.
    let mut others: Vec<Client> = (0..50).map(|_| Client::connect(workspace.home())).collect();
    for other in &mut others {
        other.say(b"{\"id\":1,\"message\":{\"request\":\"jobs\"}}\n");
    }
    let follow = serde_json::json!({ "request": "follow", "job": gone, "since_seq": 0 });
    for other in &mut others[..2] {
        other.line();
        let refused = other.ask(&follow)["message"]["with"]["message"].to_string();
        assert!(refused.contains("the disk does not answer"), "{refused}");
    }
    let threads = std::fs::read_dir(format!("/proc/{}/task", daemon.id())).unwrap().count();
    assert!(threads < 40, "{threads} threads");
    assert!(client.ping() < SOON);
    // The concept is marked, and other folders are answered for.
    let listed = client.ask(&serde_json::json!({ "request": "concepts", "tag": null, "matching": null }));
    let problem = listed["message"]["with"]["concepts"][0]["problem"].to_string();
    assert!(problem.contains("takes longer than"), "{listed}");
    let status = client.ask(&serde_json::json!({ "request": "status" }));
    assert!(status["message"]["with"]["warnings"].to_string().contains("the disk does not answer"), "{status}");

    drop(silent);
    let listed = client.ask(&serde_json::json!({ "request": "jobs" }));
    assert_eq!(listed["message"]["with"]["jobs"].as_array().unwrap().len(), 2, "it answers again: {listed}");
    let silent = Silent::at(&gone).unwrap();
    client.say(b"{\"id\":1,\"message\":{\"request\":\"jobs\"}}\n");
    std::thread::sleep(Duration::from_millis(500));
    signal(daemon.id().into(), Signal::TERM);
    assert!(wait_for(&mut daemon) < SOON);
    drop(silent);
}

/// Names of bad concepts, and what is said of them; none where they are not bad for all.
const HOSTILE: [(&str, Option<&str>); 16] = [
    ("events-pipe", Some("events.jsonl: cannot read: this is a pipe")),
    ("events-sparse", Some("events.jsonl: cannot read: it is longer than 256 MiB")),
    ("events-folder", Some("events.jsonl: cannot read: this is a folder")),
    ("events-no-line", Some("is longer than 16 MiB")),
    ("ratings-pipe", Some("ratings.toml: cannot read: this is a pipe")),
    ("ratings-sparse", Some("ratings.toml: cannot read: it is longer than 4 MiB")),
    ("run-pipe", Some("run.toml: cannot read: this is a pipe")),
    ("run-zeros", Some("run.toml: cannot read: this is a device")),
    ("concept-pipe", Some("concept.toml: cannot read: this is a pipe")),
    ("concept-sparse", Some("concept.toml: cannot read: it is longer than 4 MiB")),
    ("concept-folder", Some("concept.toml: cannot read: this is a folder")),
    ("scores-pipe", Some("scores.jsonl: cannot read: this is a pipe")),
    ("photo-pipe", Some("images/x.jpg: cannot read: this is a pipe")),
    ("mask-pipe", Some("masks/x.png: cannot read: this is a pipe")),
    ("deep", None),
    ("loop", None),
];

/// A concept with a run that is finished, but for what `kind` says.
fn hostile(home: &Path, name: &str, kind: &str) {
    let concept = home.join(name);
    let run = concept.join("runs").join(common::RUN);
    for folder in ["images", "masks", "prompts"] {
        create_dir_all(concept.join(folder)).unwrap();
    }
    create_dir_all(&run).unwrap();
    write(concept.join("concept.toml"), format!("name = \"{name}\"\nclass_word = \"cup\"\nbase_model = \"x\"\n"))
        .unwrap();
    let toml =
        format!("concept = \"{name}\"\nclass_word = \"cup\"\nbase_model = \"/nowhere\"\n[train]\n[evaluation]\n");
    write(run.join("run.toml"), toml).unwrap();
    let time = "2026-11-23T13:45:01Z".parse().unwrap();
    let finished = EventRecord { seq: 0, time, event: Event::Finished { seconds: 1.0 } };
    write(run.join("events.jsonl"), serde_json::to_string(&finished).unwrap() + "\n").unwrap();
    let Some((what, how)) = kind.rsplit_once('-') else {
        return match kind {
            "deep" => create_dir_all(run.join("samples").join("d/".repeat(1000))).unwrap(),
            "loop" => {
                symlink(".", concept.join("runs/loop")).unwrap();
                symlink("again", concept.join("again")).unwrap();
                symlink("/", concept.join("images/all")).unwrap();
            }
            _ => {}
        };
    };
    let path = match what {
        "events" | "events-no" => run.join("events.jsonl"),
        "run" => run.join("run.toml"),
        "scores" => run.join("scores.jsonl"),
        "photo" => concept.join("images/x.jpg"),
        "mask" => concept.join("masks/x.png"),
        settings => concept.join(format!("{settings}.toml")),
    };
    let _ = std::fs::remove_file(&path);
    match how {
        "pipe" => pipe(&path),
        "folder" => create_dir(&path).unwrap(),
        "zeros" => symlink("/dev/zero", &path).unwrap(),
        "sparse" => File::create(&path).unwrap().set_len(40 << 30).unwrap(),
        "line" => File::create(&path).unwrap().set_len(200 << 20).unwrap(),
        _ => unreachable!(),
    }
}

/// A home of `whole` concepts and `bad` hostile ones, of all kinds in turn.
fn mixed_home(whole: usize, bad: usize) -> Workspace {
    let workspace = Workspace::new();
    for number in 1..whole {
        hostile(workspace.home(), &format!("whole{number:04}"), "");
    }
    for (number, (kind, _)) in HOSTILE.into_iter().cycle().take(bad).enumerate() {
        hostile(workspace.home(), &format!("bad{number:04}"), kind);
    }
    workspace
}

/// List the concepts: how long it took, after the store was filled, and with which it did not go well.
fn check_list(workspace: &Workspace, whole: usize, bad: usize) -> Duration {
    json(workspace, &["concept", "list"]);
    let asked = Instant::now();
    let listed = json(workspace, &["concept", "list"]);
    let took = asked.elapsed();
    let listed = listed["concepts"].as_array().unwrap();
    assert_eq!(listed.len(), whole + bad);
    let problem = |name: &str| {
        let of_it = listed.iter().find(|concept| concept["concept"] == *name).unwrap();
        of_it["problem"].as_str().map(str::to_owned)
    };
    for (number, (kind, said)) in HOSTILE.into_iter().cycle().take(bad).enumerate() {
        let problem = problem(&format!("bad{number:04}"));
        match said {
            Some(said) => {
                let problem = problem.unwrap_or_else(|| panic!("nothing is said of {kind}"));
                assert!(problem.contains(said) && problem.contains(&format!("bad{number:04}")), "{kind}: {problem}");
            }
            None => assert_eq!(problem, None, "{kind}"),
        }
    }
    for number in 1..whole {
        assert_eq!(problem(&format!("whole{number:04}")), None);
    }
    took
}

#[test]
fn of_two_hundred_concepts_ten_and_more_are_hostile_and_only_these_are_marked() {
    let (whole, bad) = (184, HOSTILE.len());
    let workspace = mixed_home(whole, bad);
    let run = |name: &str| format!("{name}/runs/{}", common::RUN);
    queue_file(&workspace, 1, &run("whole0001"));
    for number in 0..8 {
        queue_file(&workspace, number + 2, &run(&format!("bad{number:04}")));
    }
    let pid = start(&workspace);
    assert!(check_list(&workspace, whole, bad) < SOON);
    for args in [vec!["jobs", "--all"], vec!["runs"]] {
        let asked = Instant::now();
        catbench(&workspace, &args).assert().code(0);
        assert!(asked.elapsed() < SOON, "{args:?}");
    }
    for number in 0..bad {
        let asked = Instant::now();
        let name = format!("bad{number:04}");
        catbench(&workspace, &["concept", "show", &name]).output().unwrap();
        assert!(asked.elapsed() < SOON, "{name}");
    }
    assert!(peak(pid) < MEMORY, "{} kB", peak(pid));
    signal(pid, Signal::TERM);
    wait_until("it has ended", || !is_alive(pid));
}

#[test]
#[ignore = "a measurement: what 1,000 concepts take of which 50 are hostile"]
fn a_thousand_concepts_of_which_fifty_are_hostile() {
    let workspace = mixed_home(950, 50);
    let began = Instant::now();
    let pid = start(&workspace);
    let started = began.elapsed();
    json(&workspace, &["concept", "list"]);
    let first = began.elapsed();
    let mut took: Vec<Duration> = (0..9).map(|_| check_list(&workspace, 950, 50)).collect();
    took.sort();
    println!("started in {started:?}, first list {first:?}, second list median {:?}, {} kB", took[4], peak(pid));
}

#[test]
fn a_job_that_lies_elsewhere_is_neither_queued_nor_followed() {
    let workspace = Workspace::new();
    let run = workspace.run().train(2).end(Event::Finished { seconds: 1.0 }).write();
    let other = Workspace::new();
    let foreign = other.run().train(2).end(Event::Finished { seconds: 1.0 }).write();
    let home = workspace.home();
    // A link that this user has made leads where it is meant to; one of another user does not.
    let link = workspace.concept().join("samples");
    symlink(foreign.folder.parent().unwrap(), &link).unwrap();
    let has_link_of_another = lchown(&link, Some(NOBODY), Some(NOBODY)).is_ok();
    let (name, id) = (foreign.folder.display().to_string(), common::RUN);
    let out = format!("{}/demo/../../{}/demo/runs/{id}", home.display(), other.home().file_name().unwrap().display());
    let through = format!("{}/demo/samples/{id}", home.display());
    let inside = format!("{}/demo/runs/{id}/samples", home.display());
    write(run.folder.join("samples/run.toml"), "").unwrap();
    queue_file(&workspace, 1, &format!("../{}/demo/runs/{id}", other.home().file_name().unwrap().display()));
    queue_file(&workspace, 2, &name);
    queue_file(&workspace, 3, &format!("demo/runs/{id}"));
    start(&workspace);
    let mut client = Client::connect(home);
    let mut elsewhere = vec![name, out, inside, "demo/../..".to_owned(), String::new()];
    elsewhere.extend(has_link_of_another.then_some(through));
    for job in &elsewhere {
        let conditions = serde_json::json!({ "variables": {}, "limits": {} });
        let submit = serde_json::json!({
            "request": "submit", "job": job, "device": "cpu", "priority": 0, "after": [], "conditions": conditions,
        });
        let follow = serde_json::json!({ "request": "follow", "job": job, "since_seq": 0 });
        for request in [submit, follow] {
            let reply = client.ask(&request);
            let said = reply["message"]["with"]["message"].to_string();
            let refused = said.contains("this is no job of") || said.contains("samples is a link that");
            assert!(refused, "{job}: {reply}");
        }
    }
    let states: Vec<(JobState, String)> =
        jobs(&workspace).into_iter().map(|job| (job.state, job.cause.unwrap_or_default())).collect();
    let refused =
        states.iter().filter(|(state, cause)| *state == JobState::Failed && cause.contains("this is no job of"));
    assert_eq!(refused.count(), 2, "{states:?}");
    assert!(states.iter().any(|(state, _)| *state == JobState::Finished), "{states:?}");
    // By another way to the same home it is the same job.
    let way = common::short_folder();
    symlink(home, way.path().join("home")).unwrap();
    let job = way.path().join("home/demo/runs").join(id);
    client.say(
        format!("{}\n", serde_json::json!({ "id": 1, "message": { "request": "follow", "job": job, "since_seq": 3 } }))
            .as_bytes(),
    );
    assert!(client.line().contains("finished") && client.line().contains("over"));
}

#[test]
fn the_log_is_put_aside_when_it_is_long_and_names_in_it_are_harmless() {
    let workspace = Workspace::new();
    let (log, old) = (log_of(&workspace), log_of(&workspace).with_extension("log.old"));
    create_dir_all(log.parent().unwrap()).unwrap();
    rustix::fs::chmod(log.parent().unwrap(), rustix::fs::Mode::from(0o700)).unwrap();
    File::create(&log).unwrap().set_len(6 << 20).unwrap();
    // What is wrong with a file of the queue is told of with what it says.
    let queue = workspace.home().join(".catbench/queue");
    create_dir(&queue).unwrap();
    write(queue.join("1.toml"), "\u{1b}]0;gotcha\u{7}\u{9b}31m = \n").unwrap();
    catbench(&workspace, &["daemon", "start"]).assert().code(0);
    let length = |path: &Path| path.metadata().map_or(0, |found| found.len());
    assert!(length(&old) >= 6 << 20 && length(&log) < 1 << 20);
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_until("it serves", || said().contains("serving"));

    // And again while it runs; one that is far too long, as of a version without a limit, is not kept.
    File::options().append(true).open(&log).unwrap().set_len(20 << 20).unwrap();
    std::fs::remove_file(workspace.home().join(".catbench/socket")).unwrap();
    let socket = workspace.home().join(".catbench/socket");
    wait_until("a line has come", || length(&log) < 1 << 20 && socket.exists());
    std::fs::remove_file(&socket).unwrap();
    wait_until("it is written on", || said().contains("it listens again"));
    let all = [said().into_bytes(), std::fs::read(&old).unwrap()].concat();
    assert!(!all.contains(&0x1b) && !all.contains(&7));
    // A log that is a link is not written through.
    catbench(&workspace, &["daemon", "stop"]).assert().code(0);
    let victim = workspace.home().join("victim");
    write(&victim, "mine").unwrap();
    std::fs::remove_file(&log).unwrap();
    symlink(&victim, &log).unwrap();
    catbench(&workspace, &["daemon", "start"]).assert().code(1).stderr(contains("link"));
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "mine");
    std::fs::remove_file(&log).unwrap();
}

#[test]
fn more_clients_than_there_are_files_to_open_for_them_are_turned_away_and_the_daemon_goes_on() {
    let workspace = Workspace::new();
    let program = env!("CARGO_BIN_EXE_catbench");
    let mut daemon = Command::new("sh")
        .args(["-c", &format!("ulimit -n 64; exec {program} daemon run 2> {}/log", workspace.home().display())])
        .env("CATBENCH_HOME", workspace.home())
        .spawn()
        .unwrap();
    wait_until("it listens", || workspace.home().join(".catbench/socket").exists());
    let mut first = Client::connect(workspace.home());
    let many: Vec<UnixStream> =
        (0..300).map(|_| UnixStream::connect(workspace.home().join(".catbench/socket")).unwrap()).collect();
    assert!(first.ping() < SOON);
    let told = many.iter().filter(|stream| {
        let mut lines = BufReader::new(*stream);
        let mut line = |patience: Duration| {
            stream.set_read_timeout(Some(patience)).unwrap();
            let mut line = String::new();
            let _ = lines.read_line(&mut line);
            line
        };
        // Those that are served are greeted, and then waited for.
        line(SOON);
        line(Duration::from_millis(200)).contains("end some, then try again")
    });
    assert!(told.count() > 200);
    drop(many);
    let deadline = Instant::now() + SOON;
    while first.ask(&serde_json::json!({ "request": "status" }))["message"]["with"]["clients"] != 1 {
        assert!(Instant::now() < deadline, "they are still counted");
        std::thread::sleep(Duration::from_millis(10));
    }
    json(&workspace, &["concept", "list"]);
    let log = std::fs::read_to_string(workspace.home().join("log")).unwrap();
    assert!(log.lines().count() < 40, "{log}");
    signal(daemon.id().into(), Signal::TERM);
    wait_for(&mut daemon);
}

#[test]
fn a_number_in_a_lock_that_is_no_runners_is_not_signalled() {
    let workspace = Workspace::new();
    let run = workspace.run().train(2).write();
    let mut innocent = Command::new("sleep").arg("60").spawn().unwrap();
    let path = run.folder.join("runner.lock");
    let lock = File::create(&path).unwrap();
    write(&path, innocent.id().to_string()).unwrap();
    lock.lock().unwrap();
    queue_file(&workspace, 1, &format!("demo/runs/{}", common::RUN));
    start(&workspace);
    assert_eq!(jobs(&workspace)[0].state, JobState::Running);
    catbench(&workspace, &["jobs", "cancel", "--kill", "1"]).assert().code(0);
    // The daemon tries it again and again for some seconds.
    std::thread::sleep(Duration::from_secs(1));
    assert!(innocent.try_wait().unwrap().is_none());
    // So does one that looks like a runner, but has other files open.
    write(&path, std::process::id().to_string()).unwrap();
    catbench(&workspace, &["jobs", "cancel", "--kill", "1"]).assert().code(0);
    std::thread::sleep(Duration::from_millis(500));
    write(&path, "").unwrap();
    innocent.kill().unwrap();
    innocent.wait().unwrap();
    drop(lock);
}

#[test]
fn clients_that_stop_in_the_middle_of_their_lines_do_not_fill_the_memory() {
    let workspace = Workspace::new();
    let pid = start(&workspace);
    let mut first = Client::connect(workspace.home());
    let mut held = Vec::new();
    for number in 0..400 {
        let mut client = Client::connect(workspace.home());
        client.stream.set_nonblocking(true).unwrap();
        let length = if number % 2 == 0 { 15 << 10 } else { MAX_REQUEST };
        client.say(&vec![b'a'; length]);
        held.push(client);
    }
    assert!(first.ping() < SOON);
    assert!(peak(pid) < MEMORY, "{} kB", peak(pid));
    drop(held);
    // A whole long one is answered.
    let mut client = Client::connect(workspace.home());
    let name = "a".repeat(MAX_REQUEST - 1000);
    client.say(format!("{{\"id\":1,\"message\":{{\"request\":\"refresh\",\"concept\":\"{name}\"}}}}\n").as_bytes());
    assert!(client.line().contains("done"));
    // And ten thousand that come and go.
    for _ in 0..10_000 {
        let mut stream = UnixStream::connect(workspace.home().join(".catbench/socket")).unwrap();
        let _ = stream.write_all(b"{\"protocol\":");
    }
    assert!(first.ping() < SOON);
    assert!(peak(pid) < MEMORY, "{} kB", peak(pid));
}

/// A generator of numbers, the same every time.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }

    /// A line of a client: one that is right, with some of it changed.
    fn line(&mut self, right: &[String]) -> Vec<u8> {
        let mut line = right[self.next(right.len())].clone().into_bytes();
        match self.next(12) {
            0 => return line,
            1 => line = vec![[b'[', b'{', b'"', 0xff][self.next(4)]; self.next(200_000)],
            2 => line = (0..self.next(300)).map(|_| self.next(256) as u8).collect(),
            3 => line.truncate(self.next(line.len() + 1)),
            4 => line.extend(right[self.next(right.len())].as_bytes()),
            5 => {
                let nested = "[".repeat(self.next(2000));
                let text = String::from_utf8_lossy(&line).replace("null", &nested);
                line = text.into_bytes();
            }
            6 => {
                let number =
                    ["1e999", "-1", "18446744073709551615", "18446744073709551616", "0.5", "NaN"][self.next(6)];
                line = String::from_utf8_lossy(&line).replace(":1", &format!(":{number}")).into_bytes();
            }
            7 => {
                let name = ["..", "", "/", "demo\\u0000runs", "../../../..", ".catbench", "\\u001b[2J"][self.next(7)];
                line = String::from_utf8_lossy(&line).replace("demo", name).into_bytes();
            }
            8 => {
                let long = "demo".repeat(self.next(50_000));
                line = String::from_utf8_lossy(&line).replace("demo", &long).into_bytes();
            }
            _ => {
                for _ in 0..=self.next(4) {
                    if !line.is_empty() {
                        let at = self.next(line.len());
                        match self.next(3) {
                            0 => line[at] = self.next(256) as u8,
                            1 => drop(line.remove(at)),
                            _ => line.insert(at, self.next(256) as u8),
                        }
                    }
                }
            }
        }
        line
    }
}

#[test]
fn whatever_clients_say_the_daemon_lives_answers_and_stays_small() {
    let seconds = std::env::var("CATBENCH_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(3);
    let workspace = Workspace::new();
    let run = workspace.run().train(60).end(Event::Finished { seconds: 1.0 }).write();
    hostile(workspace.home(), "bad", "events-pipe");
    queue_file(&workspace, 1, &format!("demo/runs/{}", common::RUN));
    let pid = start(&workspace);
    let job = run.folder.display();
    let right: Vec<String> = [
        r#"{"request":"ping"}"#.to_owned(),
        r#"{"request":"status"}"#.into(),
        r#"{"request":"jobs"}"#.into(),
        r#"{"request":"news"}"#.into(),
        r#"{"request":"rebuild"}"#.into(),
        r#"{"request":"concepts","tag":null,"matching":"demo"}"#.into(),
        r#"{"request":"concepts","tag":"demo","matching":null}"#.into(),
        r#"{"request":"concept","name":"demo","samples":true}"#.into(),
        r#"{"request":"concept","name":"bad","samples":false}"#.into(),
        r#"{"request":"runs","concept":"demo","state":null}"#.into(),
        r#"{"request":"refresh","concept":"demo"}"#.into(),
        r#"{"request":"rename","concept":"demo","to":"demo"}"#.into(),
        r#"{"request":"remove","concept":"demos"}"#.into(),
        r#"{"request":"watch","concept":"demo"}"#.into(),
        r#"{"request":"change","number":1,"change":"cancel","kill":true}"#.into(),
        r#"{"request":"change","number":1,"change":"priority","priority":1}"#.into(),
        r#"{"request":"change","number":1,"change":"move","before":1}"#.into(),
        format!(r#"{{"request":"follow","job":"{job}","since_seq":1}}"#),
        format!(
            r#"{{"request":"submit","job":"{job}/..","device":"cpu","priority":1,"after":[1],"conditions":{{"variables":{{"OMP_NUM_THREADS":"1"}},"limits":{{}}}}}}"#
        ),
    ]
    .iter()
    .map(|request| format!("{{\"id\":1,\"message\":{request}}}\n"))
    .collect();

    let over = AtomicBool::new(false);
    let (lines, clients, longest) = std::thread::scope(|scope| {
        let pings = scope.spawn(|| {
            let mut client = Client::connect(workspace.home());
            let mut longest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                longest = longest.max(client.ping());
                std::thread::sleep(Duration::from_millis(20));
            }
            longest
        });
        let (mut random, mut lines, mut clients) = (Random(19), 0u64, 0u64);
        let until = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < until {
            let mut stream = UnixStream::connect(workspace.home().join(".catbench/socket")).unwrap();
            clients += 1;
            if random.next(20) > 0 {
                let _ = stream.write_all(format!("{{\"protocol\":{PROTOCOL},\"version\":\"0\"}}\n").as_bytes());
            }
            stream.set_nonblocking(true).unwrap();
            for _ in 0..random.next(60) {
                let mut line = random.line(&right);
                if random.next(10) > 0 {
                    line.push(b'\n');
                }
                lines += 1;
                // It may have hung up, or answer what was asked before.
                let _ = stream.write(&line);
                if random.next(4) == 0 {
                    let _ = stream.read(&mut vec![0; 65536]);
                    std::thread::sleep(Duration::from_micros(random.next(300) as u64));
                }
            }
        }
        over.store(true, Ordering::Relaxed);
        (lines, clients, pings.join().unwrap())
    });
    println!("{lines} lines of {clients} clients in {seconds} s: longest ping {longest:?}, {} kB", peak(pid));
    assert!(is_alive(pid) && longest < Duration::from_secs(2), "{longest:?}");
    assert!(peak(pid) < MEMORY, "{} kB", peak(pid));
    let log = std::fs::read_to_string(log_of(&workspace)).unwrap();
    assert!(!log.contains("panicked"), "{log}");
    json(&workspace, &["concept", "list"]);
}
