//! How much memory and disk there is.

use std::path::Path;

use super::graphics_cards;
use crate::protocol::{DeviceName, FreeMemory};

/// What a job on `device` may still take. None where it cannot be told.
pub fn free_memory(device: DeviceName) -> Option<FreeMemory> {
    match device {
        // An Apple computer's graphics processor has the machine's memory.
        DeviceName::Cpu | DeviceName::Metal => free_memory_here(),
        DeviceName::Cuda(number) => {
            let card = graphics_cards().into_iter().find(|card| card.number == number)?;
            Some(FreeMemory { bytes: card.free, limit: format!("{device} ({})", card.name) })
        }
    }
}

/// Bytes that the disk of `folder` has free for this user. None where the system does not tell.
pub fn free_disk(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// What a process may still take: what the machine has free, or less where a control group (a container, a Slurm job, a
/// systemd unit) sets a limit. None where the system does not tell.
fn free_memory_here() -> Option<FreeMemory> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let machine = FreeMemory { bytes: available(&read(Path::new("/proc/meminfo"))?)?, limit: "this machine".into() };
    let group = read(Path::new("/proc/self/cgroup")).and_then(|text| {
        let own = text.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
        group_left(Path::new("/sys/fs/cgroup"), Path::new(&own), read)
    });
    match group {
        Some(bytes) if bytes < machine.bytes => Some(FreeMemory { bytes, limit: "this control group".into() }),
        _ => Some(machine),
    }
}

/// Bytes of `MemAvailable` in the text of `/proc/meminfo`.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Bytes left in the tightest of the control groups (version 2) from `own` up to `root`.
fn group_left(root: &Path, own: &Path, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let left = |folder: &Path| -> Option<u64> {
        let number = |name: &str| read(&folder.join(name))?.trim().parse::<u64>().ok();
        let max = number("memory.max")?;
        // Pages of files can be dropped when memory is short: they are not used up.
        let files = read(&folder.join("memory.stat"))
            .and_then(|stat| stat.lines().find_map(|line| line.strip_prefix("inactive_file "))?.parse::<u64>().ok());
        Some(max.saturating_sub(number("memory.current")?.saturating_sub(files.unwrap_or(0))))
    };
    own.ancestors().map(|folder| root.join(folder)).filter_map(|folder| left(&folder)).min()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_machine_tells_what_is_available() {
        let meminfo = "MemTotal:       24000000 kB\nMemFree:  1 kB\nMemAvailable:   10000000 kB\n";
        assert_eq!(available(meminfo), Some(10_240_000_000));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
        assert!(free_memory(DeviceName::Cpu).unwrap().bytes > 0);
    }

    #[test]
    fn the_tightest_group_counts_and_files_in_the_cache_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let group = folder.path().join("job/step");
        std::fs::create_dir_all(&group).unwrap();
        let set = |folder: &Path, max: &str, current: &str, stat: &str| {
            for (name, text) in [("memory.max", max), ("memory.current", current), ("memory.stat", stat)] {
                std::fs::write(folder.join(name), text).unwrap();
            }
        };
        let left = || group_left(folder.path(), Path::new("job/step"), |path| std::fs::read_to_string(path).ok());
        assert_eq!(left(), None);
        set(&group, "max\n", "500\n", "anon 1\n");
        assert_eq!(left(), None);
        set(folder.path().join("job").as_path(), "1000\n", "700\n", "anon 1\ninactive_file 200\n");
        assert_eq!(left(), Some(500));
        set(&group, "600\n", "500\n", "anon 1\n");
        assert_eq!(left(), Some(100));
    }
}
