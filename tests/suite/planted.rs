//! Links and files that another user has planted in folders which others can write to: what catbench writes never goes through
//! them. The other user is a process of its own, which only root can start.

use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::{self, Workspace, catbench, job_state, queue_training, skipped, wait_for_step, wait_until};
use assert_cmd::assert::OutputAssertExt;
use catbench::protocol::JobState;
use predicates::str::contains;

/// The other user.
const NOBODY: u32 = 65_534;
/// Tells the test that is run as another user what it is to do.
const ATTACK: &str = "CATBENCH_TEST_PLANTS_IN";
/// How often one that races tries.
const RACES: usize = 200;

/// What belongs to this user alone.
const MINE: &str = "name = \"mine\"\n";

/// A folder that everybody can write to, and a file of this user that nobody else can.
struct Shared {
    folder: tempfile::TempDir,
}

impl Shared {
    fn new() -> Self {
        let folder = common::short_folder();
        let shared = Self { folder };
        std::fs::set_permissions(shared.folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(shared.path()).unwrap();
        open_to_all(&shared.path());
        std::fs::write(shared.victim(), MINE).unwrap();
        std::fs::set_permissions(shared.victim(), std::fs::Permissions::from_mode(0o600)).unwrap();
        shared
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("shared")
    }

    fn victim(&self) -> PathBuf {
        self.folder.path().join("bashrc")
    }

    fn is_harmed(&self) -> bool {
        std::fs::read_to_string(self.victim()).unwrap() != MINE
    }
}

fn open_to_all(folder: &Path) {
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
}

/// Another user that plants links to `victim` in `folder`, under each temporary name that it sees, and under those that can be
/// guessed.
struct Attacker(Child);

impl Attacker {
    /// None where no other user can be.
    fn in_folder(folder: &Path, victim: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let mut other = Command::new("setpriv");
        other.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")]).arg("--clear-groups");
        other.arg(std::env::current_exe().ok()?).args(["--exact", "planted::the_other_user"]);
        other.env(ATTACK, format!("{}\n{}", folder.display(), victim.display()));
        // Not to what waits for the end of this test's output.
        let (stdout, stderr) = (Stdio::null(), Stdio::null());
        let attacker = Self(other.stdout(stdout).stderr(stderr).spawn().ok()?);
        wait_until("the other user has planted what can be guessed", || folder.join("begun").exists());
        Some(attacker)
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Not a test of its own: what the other user does.
#[test]
fn the_other_user() {
    let Ok(told) = std::env::var(ATTACK) else { return };
    let (folder, victim) =
        told.split_once('\n').map(|(folder, victim)| (Path::new(folder), Path::new(victim))).unwrap();
    // Names made of the number of a process that is there or comes soon, as versions before had them.
    let own = std::process::id();
    for number in own.saturating_sub(500)..own + 2000 {
        for name in [".concept.toml", ".out.zip"] {
            let _ = symlink(victim, folder.join(format!("{name}.{number}.tmp")));
            let _ = symlink(victim, folder.join(format!("{name}.{number}-0.tmp")));
        }
    }
    std::fs::write(folder.join("begun"), "").unwrap();
    loop {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            let is_temporary = entry.file_name().to_string_lossy().ends_with(".tmp");
            if is_temporary && entry.file_type().is_ok_and(|kind| !kind.is_symlink()) {
                let _ = std::fs::remove_file(&path);
                let _ = symlink(victim, &path);
            }
        }
    }
}

#[test]
fn what_is_written_in_a_folder_of_all_never_lands_in_a_file_that_another_user_names() {
    let shared = Shared::new();
    let target = shared.path().join("concept.toml");
    let Some(attacker) = Attacker::in_folder(&shared.path(), &shared.victim()) else {
        return skipped("only root can start another user");
    };
    // As often as that, while links are planted as fast as they can be.
    let mut written = 0;
    for _ in 0..RACES {
        written += usize::from(catbench::fs::write_atomic(&target, b"name = \"new\"\n").is_ok());
        assert!(!shared.is_harmed());
    }
    drop(attacker);
    assert!(written > 0, "not one was written");
}

#[test]
fn the_commands_that_write_beside_links_leave_what_these_lead_to() {
    let workspace = Workspace::new();
    let shared = Shared::new();
    open_to_all(&workspace.concept());
    let Some(concepts) = Attacker::in_folder(&workspace.concept(), &shared.victim()) else {
        return skipped("only root can start another user");
    };
    let exports = Attacker::in_folder(&shared.path(), &shared.victim()).unwrap();
    let file = workspace.concept().join("concept.toml");
    let text = std::fs::read(&file).unwrap();
    let out = shared.path().join("out.zip");
    for round in 0..8 {
        // The other user may have put a link in its place, which is as bad as taking it away.
        let _ = std::fs::remove_file(&file);
        std::fs::write(&file, &text).unwrap();
        catbench(&workspace, &["concept", "tag", "demo", &format!("tag{round}")]).output().unwrap();
        assert!(!shared.is_harmed(), "by concept tag");
        catbench(&workspace, &["concept", "export", "demo", "--out", out.to_str().unwrap()]).output().unwrap();
        assert!(!shared.is_harmed(), "by concept export");
    }
    drop((concepts, exports));
}

#[test]
fn a_run_whose_files_are_links_is_not_resumed_and_nothing_is_appended() {
    let workspace = Workspace::with_models();
    let shared = Shared::new();
    let (number, run) = queue_training(&workspace, 200, &[]);
    wait_for_step(&run, 2);
    catbench(&workspace, &["jobs", "cancel", &number.to_string()]).assert().code(0);
    wait_until("it is stopped", || job_state(&workspace, number) == JobState::Stopped);
    let id = run.file_name().unwrap().to_str().unwrap().to_owned();
    for name in ["events.jsonl", "runner.lock", "runner.log"] {
        let (file, aside) = (run.join(name), run.join(format!("{name}.aside")));
        std::fs::rename(&file, &aside).unwrap();
        // Also one that this user has unpacked.
        symlink(shared.victim(), &file).unwrap();
        catbench(&workspace, &["train", "demo", "--resume", &id]).assert().code(1).stderr(contains("this is a link"));
        assert!(!shared.is_harmed(), "{name}");
        std::fs::remove_file(&file).unwrap();
        std::fs::rename(&aside, &file).unwrap();
    }
    catbench(&workspace, &["train", "demo", "--resume", &id]).assert().code(0);
}

#[test]
fn a_folder_that_another_user_has_exchanged_for_a_link_is_not_written_to() {
    if !rustix::process::geteuid().is_root() {
        return skipped("only root can make links of another user");
    }
    let workspace = Workspace::new();
    let shared = Shared::new();
    let (masks, alpha) = (workspace.concept().join("masks"), workspace.concept().join("masks/beach.png"));
    let mask = std::fs::read(&alpha).unwrap();
    let given = shared.path().join("given");
    std::fs::create_dir(&given).unwrap();
    std::fs::write(given.join("beach.png"), &mask).unwrap();
    let own = shared.folder.path().join("own");
    std::fs::create_dir(&own).unwrap();
    std::fs::rename(&masks, shared.folder.path().join("aside")).unwrap();
    symlink(&own, &masks).unwrap();
    lchown(&masks, Some(NOBODY), Some(NOBODY)).unwrap();
    let import = ["mask", "import", "demo", given.to_str().unwrap()];
    catbench(&workspace, &import).assert().code(1).stderr(contains("masks is a link that"));
    assert_eq!(std::fs::read_dir(&own).unwrap().count(), 0);
    // One that this user has made leads where it is meant to.
    lchown(&masks, Some(0), Some(0)).unwrap();
    catbench(&workspace, &import).assert().code(0);
    assert!(own.join("beach.png").is_file());
}

#[test]
fn a_model_whose_files_have_no_end_is_refused_at_once() {
    let workspace = Workspace::new();
    let source = common::fixture("tiny_sd1");
    let model = workspace.home().join("model");
    let check = |what: &str| {
        let out = catbench(&workspace, &["model", "check", model.to_str().unwrap()]).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
        assert!(!out.status.success() && said.contains(what), "{what}: {said}");
    };
    for name in
        ["tokenizer/vocab.json", "tokenizer/merges.txt", "text_encoder/config.json", "scheduler/scheduler_config.json"]
    {
        copy_tree(&source, &model);
        let file = model.join(name);
        assert!(file.is_file(), "{name} is in the fixture");
        // Where there is none the two older files count.
        std::fs::remove_file(model.join("tokenizer/tokenizer.json")).unwrap();
        std::fs::remove_file(&file).unwrap();
        symlink("/dev/zero", &file).unwrap();
        check("this is a device, not a file");
        std::fs::remove_file(&file).unwrap();
        std::fs::File::create(&file).unwrap().set_len(40 << 30).unwrap();
        check("it is longer than");
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        check("this is a folder, not a file");
        std::fs::remove_dir_all(&model).unwrap();
    }
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}
