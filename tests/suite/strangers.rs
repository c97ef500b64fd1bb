//! Attacks of other users of the machine, and of whoever has made a home that was unpacked here: on where its files are, on what
//! is in them, and on who is taken for its daemon. Each has to fail, with a message.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::common::users::{NOBODY, can_be_nobody, give, shell};
use crate::common::{self, Elsewhere, Workspace, catbench, job_state, jobs, json, queue_training};
use assert_cmd::assert::OutputAssertExt;
use catbench::client::{self, Daemon};
use catbench::protocol::{Hello, JobState};
use catbench::workspace::Home;
use catbench::workspace::queue::{QueueEntry, Wanted};
use predicates::boolean::PredicateBooleanExt;
use predicates::str::contains;
use sha2::{Digest, Sha256};

/// A group that nobody is in who is not put there.
const GROUP: u32 = 54_321;

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Do `act` on a thread that is another user, to the system as much as a process of that user.
fn as_nobody<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    use rustix::thread::{Gid, Uid, set_thread_res_gid, set_thread_res_uid};
    std::thread::spawn(move || {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        set_thread_res_gid(group, group, group).unwrap();
        set_thread_res_uid(user, user, user).unwrap();
        act()
    })
}

#[test]
fn a_home_that_others_can_write_or_exchange_is_refused_with_what_to_do() {
    let workspace = Workspace::new();
    let home = workspace.home().join("open/home");
    std::fs::create_dir_all(&home).unwrap();
    let elsewhere = Elsewhere(&workspace, home.clone());
    for (above, mode, folder) in [(0o755, 0o777, &*home), (0o777, 0o755, home.parent().unwrap())] {
        set_mode(home.parent().unwrap(), above);
        set_mode(&home, mode);
        let remedy = format!("chmod o-w {}", folder.canonicalize().unwrap().display());
        for args in [&["jobs"][..], &["concept", "list"], &["daemon", "run"], &["doctor"], &["model", "list"]] {
            let said = contains("everybody on this machine can put anything into").and(contains(&remedy));
            elsewhere.catbench(args).assert().code(1).stderr(said);
        }
        assert_eq!(std::fs::read_dir(&home).unwrap().count(), 0, "nothing is made there");
        set_mode(folder, 0o755);
        elsewhere.catbench(&["concept", "list"]).assert().code(0);
        elsewhere.catbench(&["daemon", "stop"]).assert().code(0);
        std::fs::remove_dir_all(home.join(".catbench")).unwrap();
    }
}

#[test]
fn a_group_that_shares_a_folder_is_named_once_and_work_goes_on_there() {
    if !can_be_nobody() {
        return common::skipped("only root can work as another user");
    }
    let workspace = Workspace::with_models();
    // A folder of a group, as on a network disk, with that of one of its members in it.
    let home = workspace.home().join("mia");
    std::fs::create_dir(&home).unwrap();
    std::fs::rename(workspace.concept(), home.join("demo")).unwrap();
    give(&home, NOBODY);
    for (folder, user) in [(workspace.home(), 0), (&*home, NOBODY)] {
        chown(folder, Some(user), Some(GROUP)).unwrap();
        set_mode(folder, 0o2775);
    }
    let member = |args: &[&str], trust: &str| {
        let mut command = Command::new("setpriv");
        let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), format!("--groups={GROUP}")];
        command.args(ids).args(["sh", "-c", "umask 002; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_catbench")]).args(args);
        command.env("CATBENCH_HOME", &home).env("CATBENCH_TRUST", trust).env_remove("XDG_RUNTIME_DIR");
        command
    };
    let refused = || contains("group 54321 can put anything").and(contains("CATBENCH_TRUST="));
    member(&["concept", "list"], "").assert().code(1).stderr(refused().and(contains("CATBENCH_TRUST=54321")));
    member(&["jobs"], "55").assert().code(1).stderr(refused().and(contains("CATBENCH_TRUST=55,54321")));
    member(&["jobs"], "gone").assert().code(1).stderr(refused().and(contains("gone: no group or user of this name")));
    assert!(!home.join(".catbench").exists());
    let trust = "54321";
    member(&["concept", "list"], trust).assert().code(0).stdout(contains("demo"));
    member(&["train", "demo", "--dry-run"], trust).assert().code(0);
    member(&["concept", "tag", "demo", "red"], trust).assert().code(0);
    let sample = ["sample", "demo", "--untrained", "--prompt", "a {concept}", "-n", "1", "--steps", "1"];
    member(&sample, trust).assert().code(0);
    let base = common::fixture("tiny_sd1");
    let new = ["concept", "new", "mug", "--class", "mug", "--images", "demo/images", "--base-model"];
    member(&[&new[..], &[base.to_str().unwrap()]].concat(), trust).current_dir(&home).assert().code(0);
    // What is shared is the group's; what is the program's own is the user's.
    let found = home.join("mug/concept.toml").metadata().unwrap();
    assert_eq!((found.gid(), found.mode() & 0o777), (GROUP, 0o664));
    assert_eq!(home.join("mug").metadata().unwrap().mode() & 0o777, 0o775);
    assert_eq!(home.join(".catbench").metadata().unwrap().mode() & 0o777, 0o700);
    member(&["daemon", "stop"], trust).assert().code(0).stdout(contains("stopped"));
}

#[test]
fn a_user_with_a_group_of_its_own_and_an_open_umask_notices_nothing() {
    if !can_be_nobody() {
        return common::skipped("only root can work as another user");
    }
    let workspace = Workspace::new();
    let user = 54_322;
    give(workspace.home(), user);
    for folder in [workspace.home(), &workspace.concept()] {
        set_mode(folder, 0o775);
    }
    let asked = |args: &[&str]| shell(&workspace, "umask 002; cd \"$CATBENCH_HOME\"", Some(user)).args(args).assert();
    asked(&["concept", "list"]).code(0).stdout(contains("demo"));
    asked(&["concept", "tag", "demo", "red"]).code(0);
    asked(&["daemon", "stop"]).code(0).stdout(contains("stopped"));
    // A checkout made under that umask, with its own workspaces.
    let beside = workspace.home().join("workspaces");
    std::fs::rename(workspace.concept(), workspace.home().join("moved")).unwrap();
    std::fs::create_dir(&beside).unwrap();
    std::fs::rename(workspace.home().join("moved"), beside.join("demo")).unwrap();
    give(&beside, user);
    set_mode(&beside, 0o775);
    let setup = "umask 002; cd \"$CATBENCH_HOME\"; unset CATBENCH_HOME";
    let from_there = |args: &[&str]| shell(&workspace, setup, Some(user)).args(args).assert().code(0).stderr("");
    from_there(&["concept", "list"]).stdout(contains("demo"));
    from_there(&["daemon", "stop"]).stdout(contains("stopped"));
}

#[test]
fn a_workspaces_folder_that_is_not_this_users_alone_is_passed_over_and_said_once() {
    let workspace = Workspace::new();
    let (clone, data) = (workspace.home().join("clone"), workspace.home().join("data"));
    let beside = clone.join("workspaces");
    std::fs::create_dir_all(beside.join(".catbench")).unwrap();
    std::fs::rename(workspace.concept(), beside.join("demo")).unwrap();
    let from_there = |args: &[&str]| {
        let mut command = catbench(&workspace, args);
        command.env_remove("CATBENCH_HOME").env("XDG_DATA_HOME", &data).current_dir(&clone);
        command
    };
    let stop = || from_there(&["daemon", "stop"]).output().unwrap();
    for folder in [beside.clone(), beside.join(".catbench")] {
        set_mode(&folder, 0o777);
        let output = from_there(&["concept", "list"]).output().unwrap();
        let (shown, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && !shown.contains("demo"), "{shown} {told}");
        assert_eq!(told.lines().filter(|line| line.contains("./workspaces is not taken")).count(), 1, "{told}");
        assert!(told.contains("everybody on this machine") && told.contains("chmod o-w"), "{told}");
        assert!(told.contains(&*data.canonicalize().unwrap().join("catbench").to_string_lossy()), "{told}");
        stop();
        set_mode(&folder, 0o755);
    }
    if can_be_nobody() {
        chown(beside.join(".catbench"), Some(NOBODY), None).unwrap();
        let said = contains("belongs to").and(contains("name a home of your own in CATBENCH_HOME"));
        from_there(&["concept", "list"]).assert().code(0).stderr(said);
        stop();
        chown(beside.join(".catbench"), Some(0), None).unwrap();
    }
    assert_eq!(std::fs::read_dir(beside.join(".catbench")).unwrap().count(), 0, "nothing was made in it");
    // This user's alone, it is taken; and where a home is named nothing is said of it.
    from_there(&["concept", "list"]).assert().code(0).stdout(contains("demo")).stderr(contains("workspaces").not());
    stop();
    set_mode(&beside, 0o777);
    let named = catbench(&workspace, &["concept", "list"]).current_dir(&clone).output().unwrap();
    assert!(named.status.success() && !String::from_utf8_lossy(&named.stderr).contains("./workspaces"));
    set_mode(&beside, 0o755);
}

#[test]
fn a_home_that_was_unpacked_runs_nothing_unasked() {
    let made = Workspace::with_models();
    let (number, run) = queue_training(&made, 4000, &[]);
    common::wait_for_step(&run, 1);
    catbench(&made, &["jobs", "cancel", "--kill", &number.to_string()]).assert().code(0);
    catbench(&made, &["wait", &number.to_string()]).assert().code(1);
    catbench(&made, &["daemon", "stop"]).assert().code(0);
    // What a stranger would have the next daemon do: the job again, with a library of theirs.
    let home = Home::at(made.home()).unwrap();
    let path = QueueEntry::path(&home, number);
    let mut entry = QueueEntry::read(&path).unwrap();
    entry.wanted = Wanted::Run;
    entry.from_seq = 1 << 40;
    entry.conditions.as_mut().unwrap().variables.insert("LD_LIBRARY_PATH".into(), "/tmp/theirs".into());
    entry.write(&home).unwrap();
    // That home here, as an archive brings it: with its mark, its store and all its times.
    let unpacked = Workspace::new();
    std::fs::remove_dir_all(unpacked.concept()).unwrap();
    let everything = made.home().join(".");
    assert!(Command::new("cp").arg("-a").args([&*everything, unpacked.home()]).status().unwrap().success());
    let kept = unpacked.home().join(".catbench/store/theirs");
    std::fs::write(&kept, "").unwrap();

    let status = json(&unpacked, &["daemon", "start"]);
    let warnings = status["daemon"]["warnings"].to_string();
    assert!(warnings.contains("1 job that waits came with this home"), "{warnings}");
    assert!(!kept.exists(), "the store is made anew");
    let job = jobs(&unpacked).remove(0);
    assert_eq!(job.state, JobState::Paused);
    let shown = format!("it came with this home: `catbench jobs resume {number}` runs it");
    assert_eq!(job.cause.as_deref(), Some(&*shown));
    catbench(&unpacked, &["jobs"]).assert().code(0).stdout(contains(&shown));
    catbench(&unpacked, &["daemon", "status"]).assert().code(0).stderr(contains("came with this home"));
    let log = std::fs::read_to_string(unpacked.home().join(".catbench/daemon.log")).unwrap();
    assert!(log.contains("came with this home"), "{log}");
    let home = Home::at(unpacked.home()).unwrap();
    assert_eq!(QueueEntry::read(&QueueEntry::path(&home, number)).unwrap().conditions, None);
    // The next daemon asks as well, and what was asked for then runs.
    catbench(&unpacked, &["daemon", "stop"]).assert().code(0);
    assert_eq!(job_state(&unpacked, number), JobState::Paused);
    catbench(&unpacked, &["jobs", "resume", &number.to_string()]).assert().code(0);
    common::wait_until("it is at work", || job_state(&unpacked, number) == JobState::Running);
    catbench(&unpacked, &["jobs", "cancel", "--kill", &number.to_string()]).assert().code(0);
}

#[test]
fn links_in_the_place_of_the_programs_files_are_refused_and_what_they_lead_to_stays() {
    let victim = tempfile::tempdir().unwrap();
    let file = victim.path().join("bashrc");
    std::fs::write(&file, "mine\n").unwrap();
    let inside = |name: &str, to: &Path| {
        let workspace = Workspace::new();
        let internal = workspace.home().join(".catbench");
        std::fs::create_dir(&internal).unwrap();
        set_mode(&internal, 0o700);
        symlink(to, internal.join(name)).unwrap();
        workspace
    };
    for name in ["daemon.log", "daemon.lock", "start.lock"] {
        for to in [&file, &victim.path().join("new")] {
            let workspace = inside(name, to);
            let said = contains(name).and(contains("this is a link"));
            catbench(&workspace, &["daemon", "start"]).assert().code(1).stderr(said);
            std::fs::remove_file(workspace.home().join(".catbench").join(name)).unwrap();
        }
    }
    let workspace = inside("queue", victim.path());
    catbench(&workspace, &["daemon", "start"]).assert().code(1).stderr(contains("follows no link there"));
    std::fs::remove_file(workspace.home().join(".catbench/queue")).unwrap();
    // A store that leads elsewhere came with the home: the link goes, not what it leads to.
    let workspace = inside("store", victim.path());
    catbench(&workspace, &["concept", "list"]).assert().code(0);
    assert!(workspace.home().join(".catbench/store").symlink_metadata().unwrap().is_dir());
    // The program's own folder.
    let workspace = Workspace::new();
    let link = workspace.home().join(".catbench");
    symlink(victim.path(), &link).unwrap();
    for args in [&["daemon", "start"][..], &["concept", "list"], &["concept", "tag", "demo", "red"]] {
        catbench(&workspace, args).assert().code(1).stderr(contains("follows no link there"));
    }
    std::fs::remove_file(link).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine\n");
    let left: Vec<_> = std::fs::read_dir(victim.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["bashrc"]);
}

#[test]
fn what_is_the_programs_own_is_closed_to_others_under_any_umask() {
    let workspace = Workspace::with_models();
    let open = |args: &[&str]| shell(&workspace, "umask 000", None).args(args).assert().code(0);
    let base = common::fixture("tiny_sd1");
    open(&["concept", "list"]);
    open(&["model", "add", "tiny", base.to_str().unwrap(), "--copy"]);
    open(&["train", "demo", "--steps", "2", "--sample-every", "0"]);
    open(&["sample", "demo", "--untrained", "--prompt", "a {concept}", "-n", "1", "--steps", "1"]);
    open(&["concept", "remove", "demo"]);
    let internal = workspace.home().join(".catbench");
    let mut open_to_others = Vec::new();
    let mut left = vec![internal.clone()];
    let mut seen = 0;
    while let Some(path) = left.pop() {
        let found = path.symlink_metadata().unwrap();
        seen += 1;
        if found.mode() & 0o077 != 0 {
            open_to_others.push((path.clone(), format!("{:o}", found.mode())));
        }
        // What is in the trash is as it was made.
        if found.is_dir() && !path.ends_with("trash") {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(seen > 20, "{seen}");
    assert!(open_to_others.is_empty(), "{open_to_others:#?}");
}

/// Answer whoever connects as a daemon would at first. How many came, and how many of them said something.
struct Listener {
    came: Arc<AtomicUsize>,
    heard: Arc<AtomicUsize>,
}

impl Listener {
    fn new() -> Self {
        Self { came: Arc::default(), heard: Arc::default() }
    }

    /// Listen at `socket`, as whoever this thread is, as long as the process lives.
    fn listen(&self, socket: &Path) -> impl FnOnce() + Send + 'static + use<> {
        let (socket, came, heard) = (socket.to_owned(), Arc::clone(&self.came), Arc::clone(&self.heard));
        move || {
            let listener = UnixListener::bind(&socket).unwrap();
            set_mode(&socket, 0o777);
            std::thread::spawn(move || {
                for mut stream in listener.incoming().map_while(Result::ok) {
                    came.fetch_add(1, SeqCst);
                    let hello = serde_json::to_string(&Hello::new()).unwrap() + "\n";
                    // Whoever came may be gone.
                    let _ = stream.write_all(hello.as_bytes());
                    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                    let said = stream.read(&mut [0; 1]).unwrap_or(0);
                    heard.fetch_add(said, SeqCst);
                }
            });
        }
    }
}

#[test]
fn nothing_is_sent_to_a_daemon_of_another_user() {
    if !can_be_nobody() {
        return common::skipped("only root can work as another user");
    }
    let workspace = Workspace::new();
    let internal = workspace.home().join(".catbench");
    std::fs::create_dir(&internal).unwrap();
    set_mode(&internal, 0o777);
    let impostor = Listener::new();
    as_nobody(impostor.listen(&internal.join("socket"))).join().unwrap();
    // As if it had been put there between two looks.
    set_mode(&internal, 0o700);
    let name = catbench::fs::user(NOBODY);
    for args in [&["jobs"][..], &["daemon", "status"], &["daemon", "stop"], &["concept", "list"]] {
        let said = contains(format!("{name} listens here, who is not you")).and(contains("CATBENCH_HOME"));
        catbench(&workspace, args).assert().code(1).stderr(said);
    }
    std::fs::remove_dir_all(&internal).unwrap();

    // Where earlier versions listened for homes with long paths.
    let long = Elsewhere(&workspace, workspace.home().canonicalize().unwrap().join("x".repeat(120)));
    std::fs::create_dir_all(long.1.join(".catbench")).unwrap();
    set_mode(&long.1.join(".catbench"), 0o700);
    let runtime = workspace.home().join("runtime/catbench");
    std::fs::create_dir_all(&runtime).unwrap();
    set_mode(&runtime, 0o777);
    let hash = format!("{:x}", Sha256::digest(long.1.as_os_str().as_encoded_bytes()));
    as_nobody(impostor.listen(&runtime.join(&hash[..16]))).join().unwrap();
    set_mode(&runtime, 0o700);
    let mut status = long.catbench(&["daemon", "status"]);
    status.env("XDG_RUNTIME_DIR", runtime.parent().unwrap());
    status.assert().code(1).stderr(contains("listens here, who is not you"));
    // It counts in a thread of its own.
    common::wait_until("all have come to it", || impostor.came.load(SeqCst) >= 5);
    assert_eq!(impostor.heard.load(SeqCst), 0);
}

#[test]
fn a_folder_that_is_exchanged_for_that_of_an_impostor_is_never_believed() {
    /// How many are to be led to the impostor.
    const RACES: usize = 200;
    if !can_be_nobody() {
        return common::skipped("only root can work as another user");
    }
    let workspace = Workspace::new();
    let home = Home::at(workspace.home()).unwrap();
    let [real, fake] = [home.internal(), home.path().join(".theirs")];
    // A folder of a group that this user trusts: the home itself is no reason to refuse it.
    chown(home.path(), Some(0), Some(NOBODY)).unwrap();
    set_mode(home.path(), 0o775);
    home.make_internal().unwrap();
    let (own, impostor) = (Listener::new(), Listener::new());
    own.listen(&home.socket())();
    let listens = impostor.listen(&fake.join("socket"));
    let is_over = Arc::new(AtomicBool::new(false));
    let (over, exchanged) = (Arc::clone(&is_over), (real.clone(), fake.clone()));
    let attacker = as_nobody(move || {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        std::fs::create_dir(&fake).unwrap();
        set_mode(&fake, 0o777);
        listens();
        while !over.load(SeqCst) {
            renameat_with(CWD, &exchanged.0, CWD, &exchanged.1, RenameFlags::EXCHANGE).unwrap();
        }
    });
    let deadline = Instant::now() + Duration::from_secs(15);
    let (mut believed, mut won, mut races) = (0, 0, 0);
    // Those that are led to the impostor, and find the folder that is their own when they look at it.
    while (impostor.came.load(SeqCst) < RACES || won < RACES / 10) && Instant::now() < deadline {
        match Daemon::connect(&home) {
            Ok(Some(_)) => believed += 1,
            Err(client::Error::Stranger { .. }) => won += 1,
            Ok(None) | Err(_) => {}
        }
        races += 1;
    }
    is_over.store(true, SeqCst);
    attacker.join().unwrap();
    let (came, heard) = (impostor.came.load(SeqCst), impostor.heard.load(SeqCst));
    let _ = writeln!(
        std::io::stderr(),
        "{races} races: {came} were led to the impostor, {won} of them looked at their own folder, {heard} said something; {believed} met their daemon"
    );
    assert!(came >= RACES.min(20), "{came} of {races}");
    assert_eq!(heard, 0);
    // The program itself says who it is that listens.
    if !real.join("socket").metadata().is_ok_and(|socket| socket.uid() == NOBODY) {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        renameat_with(CWD, &real, CWD, home.path().join(".theirs"), RenameFlags::EXCHANGE).unwrap();
    }
    let said = client::jobs(&home).unwrap_err().to_string();
    assert!(said.contains("not your folder"), "{said}");
    let trusting = catbench(&workspace, &["jobs"]).env("CATBENCH_TRUST", NOBODY.to_string()).output().unwrap();
    assert!(!trusting.status.success());
    let lines = BufReader::new(&*trusting.stderr).lines().count();
    assert_eq!(lines, 1, "{}", String::from_utf8_lossy(&trusting.stderr));
}

#[test]
fn a_link_in_the_place_of_a_folder_of_the_programs_own_leads_nothing_away() {
    // As a clone carries it: made by this user.
    let workspace = Workspace::new();
    let internal = workspace.home().join(".catbench");
    std::fs::create_dir(&internal).unwrap();
    set_mode(&internal, 0o700);
    let precious = workspace.home().parent().unwrap().join(format!("precious-{}", std::process::id()));
    std::fs::create_dir_all(precious.join("thesis")).unwrap();
    std::fs::write(precious.join("thesis/one.tex"), "mine").unwrap();
    let other = workspace.home().join("other");
    std::fs::rename(workspace.concept(), &other).unwrap();
    for name in ["workshop", "trash", "models", "embeddings", "plans", "queue"] {
        std::os::unix::fs::symlink(&precious, internal.join(name)).unwrap();
        for args in
            [&["concept", "import", other.to_str().unwrap(), "--name", "mug"][..], &["concept", "remove", "other"]]
        {
            catbench(&workspace, args).assert().code(1).stderr(contains("follows no link"));
        }
        std::fs::remove_file(internal.join(name)).unwrap();
    }
    assert_eq!(std::fs::read_to_string(precious.join("thesis/one.tex")).unwrap(), "mine");
    assert_eq!(std::fs::read_dir(&precious).unwrap().count(), 1);
    std::fs::remove_dir_all(precious).unwrap();
}
