//! Other users: what only root can test.

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Workspace;

/// The user that tests run as who is not root.
pub const NOBODY: u32 = 65_534;

/// The program, from a shell of `user` that has done `setup` first.
pub fn shell(workspace: &Workspace, setup: &str, user: Option<u32>) -> Command {
    let mut command = Command::new(if user.is_some() { "setpriv" } else { "sh" });
    if let Some(user) = user {
        command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".into(), "sh".into()]);
    }
    let script = format!("{setup}\nexec \"$@\"");
    command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_catbench")]).env("CATBENCH_HOME", workspace.home());
    for (name, _) in std::env::vars() {
        if catbench::protocol::Conditions::has_variable(&name) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Give a folder and all in it to a user.
pub fn give(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).unwrap();
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            give(&entry.path(), user);
        } else {
            chown(entry.path(), Some(user), Some(user)).unwrap();
        }
    }
}

/// Whether another user can run the program here, which only root can try.
pub fn can_be_nobody() -> bool {
    let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
    let mut tried = Command::new("setpriv");
    tried.args(ids).args(["--clear-groups", env!("CARGO_BIN_EXE_catbench"), "--version"]);
    rustix::process::geteuid().is_root() && tried.output().is_ok_and(|output| output.status.success())
}
