//! A process for one test. What a test measures of its memory is the whole process's, and tests of one program run beside each
//! other: such a test starts this program again, for itself only.

use std::fs;
use std::process::Command;

const ALONE: &str = "CATBENCH_TEST_ALONE";

/// Whether this process is for the test `name` (with its modules) only. Elsewhere the test is run in such a process, and its failure
/// is this one's: then there is nothing left to do.
pub fn alone(name: &str) -> bool {
    if std::env::var(ALONE).is_ok_and(|only| only == name) {
        return true;
    }
    let test = std::env::current_exe().unwrap();
    let output = Command::new(test).args(["--exact", name, "--nocapture"]).env(ALONE, name).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} failed in its own process");
    assert!(text.contains("1 passed"), "no test has the name {name}");
    false
}

/// The most memory that this process has had since [`forget_peak`], in KiB.
pub fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

pub fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}
