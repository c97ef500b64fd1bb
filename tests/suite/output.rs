//! Output that cannot be written, and names that a terminal would obey: every command, with stdout and stderr on a full disk and
//! on a pipe that nobody reads.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use crate::common::{self, Workspace, catbench, queue_file};
use catbench::protocol::Event;

/// Commands that print something in a home with the concept `demo` and one run, each with its arguments.
fn verbs(run: &str) -> Vec<Vec<String>> {
    let photo = "demo/images/beach.png";
    let lines = [
        "--help",
        "--version",
        "help train",
        "train --help",
        "concept list",
        "concept list --json",
        "concept show demo",
        "concept show demo --json",
        "concept tag demo --add red",
        "runs",
        "runs demo",
        "runs demo --json",
        "jobs",
        "jobs --json",
        "jobs --all",
        "wait --json",
        "show PHOTO",
        "show PHOTO --json",
        "diff PHOTO PHOTO",
        "score demo --last",
        "score demo --dry-run",
        "sample demo --untrained --dry-run",
        "train demo --dry-run",
        "train demo --dry-run --json",
        "train demo --steps 1 --evaluate=false --sample-every 0",
        "mask check demo",
        "mask make demo --masks nobody",
        "model list",
        "model list --json",
        "model check demo/base_model",
        "doctor",
        "doctor --json",
        "daemon status",
        "daemon status --json",
        "daemon rebuild",
        "completions bash",
        "completions zsh",
        "manual",
        "sweep demo --set steps=1 --dry-run",
        "bench nowhere.toml",
        "replay PHOTO",
        "stop demo",
        "watch demo RUN",
        "nonsense",
    ];
    let word = |word: &str| match word {
        "PHOTO" => photo.to_owned(),
        "RUN" => run.to_owned(),
        other => other.to_owned(),
    };
    lines.map(|line| line.split(' ').map(word).collect()).to_vec()
}

/// The program with `args`, in the folder of the home.
fn command(workspace: &Workspace, args: &[String]) -> Command {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut command = catbench(workspace, &args);
    command.current_dir(workspace.home());
    command
}

/// A pipe that nobody reads any more.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

#[test]
fn what_cannot_be_written_ends_a_command_with_1_and_a_word_and_never_with_a_panic() {
    let workspace = Workspace::with_models();
    let trained = common::queue_training(&workspace, 1, &["--evaluate=false"]);
    catbench(&workspace, &["wait", &trained.0.to_string()]).output().unwrap();
    let run = trained.1.file_name().unwrap().to_str().unwrap().to_owned();
    for args in verbs(&run) {
        let usual = command(&workspace, &args).output().unwrap();
        assert_ne!(usual.status.code(), Some(101), "{args:?}: {}", String::from_utf8_lossy(&usual.stderr));

        let done = command(&workspace, &args).stdout(full()).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        // Where the command itself fails, nothing may have been printed yet.
        if !usual.stdout.is_empty() {
            assert_eq!(done.status.code(), Some(1), "{args:?} > /dev/full: {said}");
        }
        if usual.status.success() && !usual.stdout.is_empty() {
            assert!(said.contains("No space left on device"), "{args:?} > /dev/full: {said}");
        }
        assert!(!said.contains("panicked"), "{args:?} > /dev/full: {said}");

        let done = command(&workspace, &args).stderr(full()).output().unwrap();
        assert_eq!(done.status.code(), usual.status.code(), "{args:?} 2> /dev/full");

        for both in [false, true] {
            let mut closed = command(&workspace, &args);
            closed.stdout(closed_pipe());
            if both {
                closed.stderr(closed_pipe());
            }
            let status = closed.output().unwrap().status;
            let fine = status.code().is_some_and(|code| [0, 1, 2, 141].contains(&code)) || status.signal() == Some(13);
            assert!(fine, "{args:?} into a closed pipe: {status}");
        }
    }
    catbench(&workspace, &["daemon", "stop"]).output().unwrap();
}

#[test]
fn no_name_reaches_the_terminal_as_it_is() {
    let workspace = Workspace::with_models();
    let concept = workspace.concept();
    let odd = "a\u{1b}[31mred\u{7}\nb.png";
    std::fs::copy(concept.join("images/beach.png"), concept.join("images").join(odd)).unwrap();
    std::fs::write(concept.join("images").join(format!("broken {odd}")), "no picture").unwrap();
    let picture = format!("demo/images/{odd}");
    let absent = format!("absent {odd}");
    for args in [
        &["train", "demo", "--dry-run"][..],
        &["train", "demo", "--steps", "1"],
        &["mask", "check", "demo"],
        &["concept", "show", "demo"],
        &["show", &picture],
        &["show", &absent],
        &["model", "check", &absent],
        &["score", "demo", "--sample", &absent],
        &["sample", "demo", "--untrained", "--prompts", &absent],
        &["concept", "import", &absent],
        &["concept", "new", &absent, "--class", "cup", "--images", &absent],
        &["bench", &absent],
    ] {
        let done = catbench(&workspace, args).current_dir(workspace.home()).output().unwrap();
        let all = [done.stdout, done.stderr].concat();
        let shown = String::from_utf8_lossy(&all);
        assert!(!shown.contains(['\u{1b}', '\u{7}']), "{args:?}: {shown:?}");
        assert!(!shown.contains("red\nb.png") && !shown.contains("\\u{7}\n"), "{args:?}: {shown}");
    }
}

#[test]
fn what_a_file_says_never_reaches_the_terminal_as_it_is_and_json_stays_json() {
    let workspace = Workspace::with_models();
    let odd = "red\u{1b}[31m\u{9b}31m\u{7f}\u{202e}\nerror: not me";
    let run = workspace.run().train(2).end(Event::Failed { message: odd.into() }).write();
    let id = run.folder.file_name().unwrap().to_str().unwrap().to_owned();
    queue_file(&workspace, 1, &format!("demo/runs/{id}"));
    let file = workspace.concept().join("concept.toml");
    let escaped = "red\\u001b[31m\\u009b31m\\u007f\\u202e\\nerror: not me";
    let text = std::fs::read_to_string(&file).unwrap();
    // Before the tables, to which they would belong.
    std::fs::write(&file, format!("tags = [\"{escaped}\"]\nnotes = \"{escaped}\"\n{text}")).unwrap();
    let lists = workspace.concept().join("prompts");
    std::fs::create_dir_all(&lists).unwrap();
    std::fs::write(lists.join("bad.txt"), format!("a {{concept}} {odd}\n")).unwrap();
    for args in [
        &["concept", "list"][..],
        &["concept", "show", "demo"],
        &["concept", "tag", "demo", "--add", "more"],
        &["jobs"],
        &["wait", "1"],
        &["runs", "demo"],
        &["watch", "demo", "--run", &id],
        &["sample", "demo", "--untrained", "--prompts", "demo/prompts/bad.txt"],
    ] {
        for json in [false, true] {
            let mut command = catbench(&workspace, args);
            command.args(json.then_some("--json")).current_dir(workspace.home());
            let done = command.output().unwrap();
            for text in [&done.stdout, &done.stderr] {
                let text = std::str::from_utf8(text).unwrap();
                let obeyed = text.chars().find(|c| !catbench::fs::is_shown(*c) && *c != '\n' && *c != '\t');
                assert_eq!(obeyed, None, "{args:?}: {text:?}");
            }
            if json && !done.stdout.is_empty() {
                let _: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
            } else {
                let lines = String::from_utf8(done.stdout).unwrap();
                let begins = lines.lines().any(|line| line.starts_with("error: not me"));
                assert!(!begins || args[0] == "watch", "{args:?}: {lines}");
            }
        }
    }
    catbench(&workspace, &["daemon", "stop"]).output().unwrap();
}

#[test]
fn a_name_that_is_no_text_is_refused_where_it_enters() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let workspace = Workspace::with_models();
    let images = workspace.concept().join("images");
    let odd = OsStr::from_bytes(b"odd\xff.png");
    std::fs::copy(images.join("beach.png"), images.join(odd)).unwrap();
    let ends = |args: &[&OsStr], code: i32, says: &str| {
        let mut command = catbench(&workspace, &[]);
        let done = command.args(args).current_dir(workspace.home()).output().unwrap();
        let all = [done.stdout, done.stderr].concat();
        let said = String::from_utf8_lossy(&all);
        assert_eq!(done.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(says) && !said.contains("panicked"), "{args:?}: {said}");
    };
    let words = |line: &'static str| line.split(' ').map(OsStr::new).collect::<Vec<_>>();
    let left_out = "left out: odd\\xff.png: its name is not text (UTF-8): rename it";
    ends(&words("concept show demo"), 0, left_out);
    ends(&words("concept show demo --json"), 0, "odd\\\\xff.png");
    ends(&words("train demo --dry-run"), 0, left_out);
    ends(&words("mask make demo --replace"), 0, "");
    ends(&words("mask check demo"), 0, "");
    let copied = workspace.home().join("copied");
    std::fs::create_dir(&copied).unwrap();
    std::fs::copy(images.join("beach.png"), copied.join("beach.png")).unwrap();
    std::fs::copy(images.join("beach.png"), copied.join(odd)).unwrap();
    ends(&words("concept new other --class cup --images copied --base-model demo/base_model"), 0, left_out);
    // Files and folders of the command line.
    let file = [&b"demo/images/"[..], odd.as_bytes()].concat();
    let file = OsStr::from_bytes(&file);
    ends(&[&words("show")[..], &[file]].concat(), 0, "odd\\xff.png");
    ends(&[&words("score demo --prompt cup --sample")[..], &[file]].concat(), 1, "UTF-8");
    ends(&[&words("sample demo --untrained --steps 1 -n 1 --out")[..], &[odd]].concat(), 1, "UTF-8");
    ends(&[&words("model add odd")[..], &[odd]].concat(), 1, "odd\\xff.png");
    // A home.
    let done = catbench(&workspace, &["concept", "list"]).env("CATBENCH_HOME", odd).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.code() == Some(1) && said.contains("odd\\xff.png") && said.contains("UTF-8"), "{said}");
}

#[test]
fn a_photo_with_the_longest_name_gets_its_mask() {
    let workspace = Workspace::with_models();
    let images = workspace.concept().join("images");
    let name = format!("{}.png", "a".repeat(251));
    std::fs::copy(images.join("beach.png"), images.join(&name)).unwrap();
    let photo = format!("demo/images/{name}");
    let made = catbench(&workspace, &["mask", "make", "demo", &photo]).current_dir(workspace.home()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(workspace.concept().join("masks").join(&name).is_file());
}
