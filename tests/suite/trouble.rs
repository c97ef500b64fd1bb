//! What goes wrong around the program: a full disk, a home nobody may write to, photos nobody can read, clients that do not
//! read, connections that are cut.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{
    self, Workspace, catbench, events, job_state, jobs, json, queue_training, records, skipped, wait_until,
};
use assert_cmd::assert::OutputAssertExt;
use catbench::client::Follow;
use catbench::protocol::{DaemonRequest, Envelope, Event, Hello, JobState};
use catbench::workspace::JobFolder;
use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use predicates::str::contains;

/// Whether the test `name` goes on here: to mount a disk it must be root. That of another user is done as root of a user
/// namespace of its own, where the system gives one.
fn may_mount(name: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    let as_root = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount"]);
        command
    };
    if as_root().arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        let done = as_root()
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", &format!("trouble::{name}")])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && said.contains("1 passed"), "{said}");
    } else {
        skipped(&format!("{name}: only root can mount a small disk here"));
    }
    false
}

/// A small disk, mounted at a folder; needs to be root.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(folder: &'a Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=48m", "catbench"]).arg(folder).status();
        assert!(mounted.unwrap().success(), "no small disk at {}", folder.display());
        Self(folder)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn on_a_full_disk_a_job_fails_with_the_cause_and_goes_on_once_there_is_room() {
    if !may_mount("on_a_full_disk_a_job_fails_with_the_cause_and_goes_on_once_there_is_room") {
        return;
    }
    let workspace = Workspace::with_models();
    // The undisturbed run, for comparison.
    let (whole, undisturbed) = queue_training(&workspace, 200, &[]);
    catbench(&workspace, &["wait", &whole.to_string()]).assert().code(0);
    let runs = workspace.concept().join("runs");
    let kept = std::fs::read(undisturbed.join("checkpoints/step-000200.safetensors")).unwrap();
    let disk = SmallDisk::mount(&runs);
    let (number, run) = queue_training(&workspace, 200, &[]);
    common::wait_for_step(&run, 12);
    let filler = runs.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    wait_until("it has failed", || job_state(&workspace, number) == JobState::Failed);
    let cause = jobs(&workspace).into_iter().find(|job| job.number == number).unwrap().cause.unwrap();
    assert!(cause.contains("No space left"), "{cause}");
    catbench(&workspace, &["jobs"]).assert().code(0);
    let packed = runs.join("demo.zip");
    let export =
        catbench(&workspace, &["concept", "export", "demo", "--out", packed.to_str().unwrap()]).output().unwrap();
    let said = String::from_utf8_lossy(&export.stderr);
    assert!(said.starts_with("error: ") && said.contains("No space left") && said.lines().count() == 1, "{said}");
    assert!(!packed.exists());
    std::fs::remove_file(&filler).unwrap();
    catbench(&workspace, &["jobs", "retry", &number.to_string()]).assert().code(0);
    catbench(&workspace, &["wait", &number.to_string()]).assert().code(0);
    assert!(matches!(events(&run).last(), Some(Event::Finished { .. })));
    assert_eq!(std::fs::read(run.join("checkpoints/step-000200.safetensors")).unwrap(), kept);
    catbench(&workspace, &["daemon", "stop"]).assert().code(0);
    drop(disk);
}

#[test]
fn a_full_disk_takes_the_store_only_until_there_is_room_and_what_is_done_is_done() {
    if !may_mount("a_full_disk_takes_the_store_only_until_there_is_room_and_what_is_done_is_done") {
        return;
    }
    let workspace = Workspace::new();
    let internal = workspace.home().join(".catbench");
    let disk = SmallDisk::mount(&internal);
    catbench(&workspace, &["concept", "list"]).assert().code(0);
    catbench(&workspace, &["daemon", "stop"]).assert().code(0);
    let filler = internal.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    for piece in [4096, 1] {
        while file.write_all(&vec![0; piece]).is_ok() {}
    }
    drop(file);
    // Many changes, so that the store has to be written.
    for number in 0..300 {
        let copy = workspace.home().join(format!("copy-{number}"));
        std::fs::create_dir(&copy).unwrap();
        std::fs::copy(workspace.concept().join("concept.toml"), copy.join("concept.toml")).unwrap();
    }
    let listed = || catbench(&workspace, &["concept", "list", "--json"]).output().unwrap();
    for _ in 0..3 {
        let said = listed();
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(!said.contains("put aside") && !said.contains("panicked"), "{said}");
        std::thread::sleep(Duration::from_millis(300));
    }
    catbench(&workspace, &["concept", "tag", "demo", "red"]).assert().code(0);
    assert!(std::fs::read_to_string(workspace.concept().join("concept.toml")).unwrap().contains("red"));
    let pid = json(&workspace, &["daemon", "status"])["daemon"]["pid"].clone();
    std::fs::remove_file(&filler).unwrap();
    wait_until("all is listed", || {
        let said = listed();
        let said: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap_or_default();
        said["concepts"].as_array().is_some_and(|all| all.len() == 301 && all[300]["tags"][0] == "red")
    });
    let status = json(&workspace, &["daemon", "status"])["daemon"].clone();
    assert_eq!((&status["pid"], &status["warnings"]), (&pid, &serde_json::json!([])), "the same daemon");
    let files = std::fs::read_dir(&internal).unwrap().map(|file| file.unwrap().file_name());
    assert!(!files.into_iter().any(|name| name.to_string_lossy().contains("broken")), "the store was healthy");
    catbench(&workspace, &["daemon", "stop"]).assert().code(0);
    drop(disk);
}

#[test]
fn a_home_that_cannot_be_written_is_named() {
    let workspace = Workspace::with_models();
    let home = workspace.home();
    std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o755)).unwrap();
    let run = |args: &[&str]| {
        // Root may write everywhere: another user may not.
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_catbench")]);
        command.args(args).env("CATBENCH_HOME", home).output().unwrap()
    };
    if !rustix::process::geteuid().is_root() {
        std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o555)).unwrap();
        catbench(&workspace, &["daemon", "start"]).assert().code(1).stderr(contains(".catbench"));
        std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o755)).unwrap();
        return;
    }
    let started = run(&["daemon", "start"]);
    let said = String::from_utf8_lossy(&started.stderr);
    assert!(!started.status.success() && said.contains(".catbench") && said.contains("ermission denied"), "{said}");
    assert!(!home.join(".catbench").exists());
}

#[test]
fn a_photo_that_becomes_unreadable_fails_the_job_that_waits_and_names_it() {
    let workspace = Workspace::with_models();
    let (first, run) = queue_training(&workspace, 3000, &[]);
    let (second, _) = queue_training(&workspace, 3, &[]);
    common::wait_for_step(&run, 1);
    let photo = workspace.concept().join("images/beach.png");
    let bytes = std::fs::read(&photo).unwrap();
    std::fs::write(&photo, &bytes[..bytes.len() / 2]).unwrap();
    catbench(&workspace, &["jobs", "cancel", &first.to_string()]).assert().code(0);
    catbench(&workspace, &["wait", &second.to_string()]).assert().code(1).stdout(contains("beach.png"));
    std::fs::write(&photo, bytes).unwrap();
    catbench(&workspace, &["jobs", "retry", &second.to_string()]).assert().code(0);
    catbench(&workspace, &["wait", &second.to_string()]).assert().code(0);
}

#[test]
fn clients_that_never_read_hold_nobody_up() {
    let workspace = Workspace::with_models();
    let (number, run) = queue_training(&workspace, 1500, &[]);
    let job = run.to_str().unwrap().to_owned();
    let ask = |message: DaemonRequest| {
        let mut stream = UnixStream::connect(workspace.home().join(".catbench/socket")).unwrap();
        let hello = serde_json::to_string(&Hello::new()).unwrap();
        let request = serde_json::to_string(&Envelope { id: 1, message }).unwrap();
        stream.write_all(format!("{hello}\n{request}\n").as_bytes()).unwrap();
        stream
    };
    let silent: Vec<UnixStream> = (0..5)
        .flat_map(|_| {
            let follow = DaemonRequest::Follow { job: job.clone().into(), since_seq: 0 };
            [ask(follow), ask(DaemonRequest::Watch { concept: None })]
        })
        .collect();
    let output = catbench(&workspace, &["watch", "demo", "--json"]).stderr(Stdio::null()).output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["state"], &said["steps"]), (&"finished".into(), &1500.into()));
    assert_eq!(job_state(&workspace, number), JobState::Finished);
    drop(silent);
}

/// A server for this user alone, on a free port of this machine.
struct Ssh {
    folder: tempfile::TempDir,
    server: std::process::Child,
    port: u16,
}

impl Ssh {
    /// None where there is no server that gives a terminal.
    fn start() -> Option<Self> {
        let sshd = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"]
            .into_iter()
            .find(|path| Path::new(path).is_file());
        let Some(sshd) = sshd else {
            skipped("no sshd is installed, so no connection was cut: apt-get install openssh-server");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        for name in ["host", "user"] {
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &at(name)]).status();
            assert!(made.unwrap().success());
        }
        std::fs::copy(at("user.pub"), at("authorized")).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PidFile none\nPasswordAuthentication no\nPermitRootLogin yes\n",
            at("host"),
            at("authorized")
        );
        std::fs::write(at("config"), config).unwrap();
        // Where it keeps its unprivileged part, on Debian made by its service.
        let _ = std::fs::create_dir_all("/run/sshd");
        let server = Command::new(sshd).args(["-D", "-e", "-f", &at("config")]).stderr(Stdio::null()).spawn().unwrap();
        wait_until("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        let ssh = Self { folder, server, port };
        // The server of a user who is not root needs terminals that need no chown.
        if !ssh.run("true").child.wait().unwrap().success() {
            assert!(!rustix::process::geteuid().is_root(), "no connection is made");
            skipped("sshd gives an ordinary user no terminal here, so no connection was cut: run this test as root");
            return None;
        }
        Some(ssh)
    }

    /// A command line in a terminal of its own here, and one on the other end.
    fn run(&self, line: &str) -> Session {
        let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
        let mut command = CommandBuilder::new("ssh");
        command.args(["-t", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
        command.args(["-o", "LogLevel=ERROR", "-p", &self.port.to_string(), "-l", user.trim()]);
        command.arg("-i");
        command.arg(self.folder.path().join("user"));
        command.args(["127.0.0.1", line]);
        command.env("TERM", "xterm-256color");
        let size = PtySize { rows: 24, cols: 200, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let child = pair.slave.spawn_command(command).unwrap();
        let written = Arc::new(Mutex::new(Vec::new()));
        let (to_written, mut output) = (Arc::clone(&written), pair.master.try_clone_reader().unwrap());
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut bytes) {
                to_written.lock().unwrap().extend_from_slice(&bytes[..n]);
            }
        });
        Session { child, reader, written, master: pair.master }
    }
}

/// An ssh client in a terminal.
struct Session {
    child: Box<dyn portable_pty::Child + Send + Sync>,
    reader: std::thread::JoinHandle<()>,
    written: Arc<Mutex<Vec<u8>>>,
    master: Box<dyn portable_pty::MasterPty + Send>,
}

impl Session {
    /// What the terminal was sent so far.
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// Cut it without a word, as a closed laptop does.
    fn cut(mut self) {
        common::kill(self.child.process_id().unwrap().into());
        self.child.wait().unwrap();
    }

    /// Wait for its end. Everything that the terminal was sent.
    fn ended(mut self) -> String {
        assert!(self.child.wait().unwrap().success(), "{}", self.text());
        // A terminal whose other side is gone has an end.
        drop(self.master);
        self.reader.join().unwrap();
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn an_ssh_connection_cut_in_the_middle_costs_nothing() {
    let Some(ssh) = Ssh::start() else { return };
    let workspace = Workspace::with_models();
    let program = format!("CATBENCH_HOME={} {}", workspace.home().display(), env!("CARGO_BIN_EXE_catbench"));
    let train = format!("{program} train demo --steps 800 --sample-every 0 --validate-every 0 --batch-size 1");
    let connection = ssh.run(&train);
    let runs = workspace.concept().join("runs");
    wait_until("the training begins", || runs.is_dir() && std::fs::read_dir(&runs).unwrap().next().is_some());
    let run = std::fs::read_dir(&runs).unwrap().next().unwrap().unwrap().path();
    common::wait_for_step(&run, 50);
    wait_until("its progress is on the screen", || connection.text().contains("training"));
    connection.cut();
    let at = records(&run).len();
    // One new client comes over SSH, one counts every event.
    let again = ssh.run(&format!("{program} watch demo --json"));
    let mut follow = Follow::new(&JobFolder::at(&run).unwrap()).unwrap();
    assert_eq!(follow.without_daemon(), None);
    let mut seen = Vec::new();
    while follow.over().is_none() {
        seen.extend(follow.next(Duration::from_millis(200)).unwrap().map(|record| record.seq));
    }
    let all = records(&run).len();
    assert!(all > at + 50, "it has gone on without a client");
    assert_eq!(seen, (0..all as u64).collect::<Vec<_>>(), "every event from the first, no gap, no double");
    let text = again.ended();
    // On a terminal the progress bar stands before it.
    let at = text.rfind("{\"checkpoint\"").unwrap_or_else(|| panic!("no result in {text}"));
    let said: serde_json::Value = serde_json::from_str(text[at..].trim()).unwrap();
    // It counts each step that it was told of, from the first.
    assert_eq!((&said["state"], &said["steps"]), (&"finished".into(), &800.into()));
    let starts = events(&run).iter().filter(|event| matches!(event, Event::Started { .. })).count();
    assert_eq!((starts, json(&workspace, &["jobs"])["jobs"][0]["state"].as_str()), (1, Some("finished")));
}
