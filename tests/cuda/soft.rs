//! A home whose jobs compute on the software device, and what that device counted.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::{Workspace, catbench, wait_until};
use serde_json::Value;

/// A training of a few steps, whose number is to be named.
pub const TRAIN: [&str; 8] = ["train", "demo", "--batch-size", "1", "--sample-every", "0", "--validate-every", "0"];

/// A home on a device with settings of its own.
pub struct Soft {
    pub workspace: Workspace,
    settings: Vec<(&'static str, String)>,
}

impl Soft {
    pub fn new(workspace: Workspace) -> Self {
        Self { workspace, settings: Vec::new() }
    }

    /// The same with `SOFT_CUDA_<name>` set. What runs in the queue has it once the daemon is begun again.
    pub fn with(mut self, name: &'static str, value: &dyn ToString) -> Self {
        self.set(name, value);
        self
    }

    /// Set `SOFT_CUDA_<name>` from the next daemon on.
    pub fn set(&mut self, name: &'static str, value: &dyn ToString) {
        self.settings.retain(|(known, _)| *known != name);
        self.settings.push((name, value.to_string()));
        self.stop();
    }

    /// End the daemon and its runners: each has then written what it counted.
    pub fn stop(&self) {
        if self.workspace.home().join(".catbench/daemon.lock").exists() {
            self.command(&["daemon", "stop"]).output().unwrap();
            wait_until("the runners end", || !self.has_processes());
        }
    }

    /// Whether a process lives that works in this home.
    fn has_processes(&self) -> bool {
        let home = format!("CATBENCH_HOME={}", self.workspace.home().display());
        let environments = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("environ"));
        environments
            .flat_map(std::fs::read)
            .any(|variables| variables.split(|byte| *byte == 0).any(|one| one == home.as_bytes()))
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = catbench(&self.workspace, args);
        command.env("SOFT_CUDA_COUNTS", self.counted());
        for (name, value) in &self.settings {
            command.env(format!("SOFT_CUDA_{name}"), value);
        }
        command
    }

    /// Where counts are written, before the number of the process.
    fn counted(&self) -> PathBuf {
        self.workspace.home().join("counts")
    }

    pub fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What it prints; it must go well.
    pub fn run(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it prints as one JSON value with `--json`.
    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(self.run(&[args, &["--json"]].concat()).lines().last().unwrap()).unwrap()
    }

    /// The folder of the newest run.
    pub fn run_folder(&self) -> PathBuf {
        newest(&self.workspace.concept().join("runs"))
    }

    /// The last checkpoint of the newest run, its bytes.
    pub fn learned(&self) -> Vec<u8> {
        let checkpoints = self.run_folder().join("checkpoints");
        std::fs::read(newest(&checkpoints)).unwrap()
    }

    /// The counts of each process that launched kernels. It stops the daemon first, and removes the files.
    pub fn counts(&self) -> Vec<Value> {
        self.stop();
        let files = std::fs::read_dir(self.workspace.home()).unwrap().map(|entry| entry.unwrap().path());
        let mut all = Vec::new();
        for path in files.filter(|path| path.file_stem().is_some_and(|stem| stem == "counts")) {
            let counts: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            std::fs::remove_file(path).unwrap();
            if counts["kernels"]["all"]["launches"].as_u64() > Some(0) {
                all.push(counts);
            }
        }
        all
    }

    /// The counts of the job's process: the one that launched the most kinds of kernels.
    pub fn count(&self) -> Value {
        self.counts().into_iter().max_by_key(|counts| counts["kernels"].as_object().unwrap().len()).unwrap()
    }
}

/// The entry of `folder` whose name comes last.
pub fn newest(folder: &Path) -> PathBuf {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).max().unwrap()
}

/// How often something was copied, uploaded or waited for.
pub fn times(counts: &Value, what: &str) -> u64 {
    counts["copies"][what]["times"].as_u64().unwrap_or(0)
}

/// Uses of memory that no order of streams protects: each is a race on a card.
pub fn assert_no_hazards(counts: &[Value]) {
    for counts in counts {
        assert_eq!(counts["hazards"], serde_json::json!({}), "process {}", counts["pid"]);
    }
}
