//! How much memory and disk there is.

use std::path::Path;

use super::graphics_cards;
use crate::protocol::{DeviceName, Memory};

/// What a job on `device` may still take. None where it cannot be told.
pub fn free_memory(device: DeviceName) -> Option<Memory> {
    memory(device, |memory| memory.free)
}

/// What a job on `device` could take if nothing else did anything. None where it cannot be told.
pub fn total_memory(device: DeviceName) -> Option<Memory> {
    memory(device, |memory| memory.total)
}

/// Bytes of memory that this process has filled itself; files it looks at are not counted.
pub fn own_memory() -> u64 {
    status("self", "RssAnon:").unwrap_or(0)
}

/// Bytes of the machine's memory that the process `pid` has. None where that is not told.
pub fn process_memory(pid: u32) -> Option<u64> {
    status(&pid.to_string(), "VmRSS:")
}

fn memory(device: DeviceName, of: impl Fn(&Room) -> u64) -> Option<Memory> {
    match device {
        // An Apple computer's graphics processor has the machine's memory.
        DeviceName::Cpu | DeviceName::Metal => {
            rooms_here().into_iter().map(|(room, limit)| Memory { bytes: of(&room), limit }).min_by_key(|m| m.bytes)
        }
        DeviceName::Cuda(number) => {
            let card = graphics_cards().into_iter().find(|card| card.number == number)?;
            let room = Room { free: card.free, total: card.total };
            Some(Memory { bytes: of(&room), limit: format!("{device} ({})", card.name) })
        }
    }
}

/// Bytes that the disk of `folder` has free for this user. None where the system does not tell.
pub fn free_disk(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// Bytes of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    free: u64,
    total: u64,
}

/// All that sets a limit to a process here, with its name: the machine; control groups (of a container, a Slurm job, a systemd
/// unit); `ulimit -v`. Empty where the system does not tell.
fn rooms_here() -> Vec<(Room, String)> {
    let read = |path: &Path| crate::fs::read_text(path, crate::fs::SETTINGS).ok();
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| machine(&text));
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let groups = VERSIONS.iter().filter_map(|version| {
        let own = version.own(&groups)?;
        version.room(Path::new(version.root), Path::new(&own), read)
    });
    let named = |name: &'static str| move |room| (room, name.to_owned());
    let mut rooms: Vec<_> = machine.into_iter().map(named("this machine")).collect();
    rooms.extend(groups.map(named("this control group")));
    rooms.extend(address_space().map(named("this process (ulimit -v)")));
    rooms
}

/// A number of bytes in what `/proc/<process>/status` says.
fn status(process: &str, name: &str) -> Option<u64> {
    let path = Path::new("/proc").join(process).join("status");
    kib(&crate::fs::read_text(&path, crate::fs::SETTINGS).ok()?, name)
}

/// Bytes in the line `name` of a text of lines as `name 12 kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// What the text of `/proc/meminfo` says.
fn machine(meminfo: &str) -> Option<Room> {
    Some(Room { free: kib(meminfo, "MemAvailable:")?, total: kib(meminfo, "MemTotal:")? })
}

/// What the limit of addresses leaves; none without such a limit.
fn address_space() -> Option<Room> {
    let total = rustix::process::getrlimit(rustix::process::Resource::As).current?;
    Some(Room { free: total.saturating_sub(status("self", "VmSize:").unwrap_or(0)), total })
}

/// How a version of control groups is read.
struct Version {
    root: &'static str,
    limit: &'static str,
    used: &'static str,
    /// The line of `memory.stat` with the pages of files, which can be dropped when memory is short: they are not used up.
    files: &'static str,
}

/// The second and the first; a machine may have both.
const VERSIONS: [Version; 2] = [
    Version { root: "/sys/fs/cgroup", limit: "memory.max", used: "memory.current", files: "inactive_file " },
    Version {
        root: "/sys/fs/cgroup/memory",
        limit: "memory.limit_in_bytes",
        used: "memory.usage_in_bytes",
        files: "total_inactive_file ",
    },
];

impl Version {
    /// The group of this process, from the root of all, in the text of `/proc/self/cgroup`.
    fn own(&self, text: &str) -> Option<String> {
        let first = self.limit == VERSIONS[1].limit;
        let mut lines = text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let own = lines.find(|(controllers, _)| {
            if first { controllers.split(',').any(|controller| controller == "memory") } else { controllers.is_empty() }
        });
        Some(own?.1.trim_start_matches('/').to_owned())
    }

    /// What the tightest of the groups from `own` up to `root` leaves.
    fn room(&self, root: &Path, own: &Path, read: impl Fn(&Path) -> Option<String>) -> Option<Room> {
        let room = |folder: &Path| -> Option<Room> {
            let number = |name: &str| read(&folder.join(name))?.trim().parse::<u64>().ok();
            let total = number(self.limit)?;
            let stat = read(&folder.join("memory.stat")).unwrap_or_default();
            let files = stat.lines().find_map(|line| line.strip_prefix(self.files)?.parse::<u64>().ok());
            let used = number(self.used)?.saturating_sub(files.unwrap_or(0));
            Some(Room { free: total.saturating_sub(used), total })
        };
        let rooms: Vec<Room> =
            own.ancestors().map(|folder| root.join(folder)).filter_map(|folder| room(&folder)).collect();
        let least = |of: fn(&Room) -> u64| rooms.iter().map(of).min();
        Some(Room { free: least(|room| room.free)?, total: least(|room| room.total)? })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_machine_tells_what_is_available() {
        let meminfo = "MemTotal:       24000000 kB\nMemFree:  1 kB\nMemAvailable:   10000000 kB\n";
        assert_eq!(machine(meminfo), Some(Room { free: 10_240_000_000, total: 24_576_000_000 }));
        assert_eq!(machine("MemTotal: 1 kB\n"), None);
        let bytes = |memory: Option<Memory>| memory.unwrap().bytes;
        let (free, total) = (bytes(free_memory(DeviceName::Cpu)), bytes(total_memory(DeviceName::Cpu)));
        assert!(0 < free && free <= total, "{free} of {total}");
        assert!(own_memory() > 0 && process_memory(std::process::id()) > Some(0));
    }

    #[test]
    fn the_tightest_group_counts_and_files_in_the_cache_do_not() {
        for (version, none) in VERSIONS.iter().zip(["max", "9223372036854771712"]) {
            let folder = tempfile::tempdir().unwrap();
            let group = folder.path().join("job/step");
            std::fs::create_dir_all(&group).unwrap();
            let set = |folder: &Path, max: &str, current: &str, stat: &str| {
                for (name, text) in [(version.limit, max), (version.used, current), ("memory.stat", stat)] {
                    std::fs::write(folder.join(name), text).unwrap();
                }
            };
            let room = || version.room(folder.path(), Path::new("job/step"), |path| std::fs::read_to_string(path).ok());
            assert_eq!(room(), None);
            set(&group, &format!("{none}\n"), "500\n", "anon 1\n");
            assert!(room().is_none_or(|room| room.free > 1 << 60));
            let stat = format!("anon 1\n{}200\n", version.files);
            set(folder.path().join("job").as_path(), "1000\n", "700\n", &stat);
            assert_eq!(room(), Some(Room { free: 500, total: 1000 }));
            set(&group, "600\n", "500\n", "anon 1\n");
            assert_eq!(room(), Some(Room { free: 100, total: 600 }));
        }
    }

    #[test]
    fn a_process_finds_its_group_in_either_version() {
        let [second, first] = &VERSIONS;
        let both = "12:cpu,cpuacct:/a\n9:memory:/slurm/job_7\n1:name=systemd:/b\n0::/user.slice\n";
        assert_eq!(second.own(both).as_deref(), Some("user.slice"));
        assert_eq!(first.own(both).as_deref(), Some("slurm/job_7"));
        assert_eq!(first.own("0::/\n"), None);
        assert_eq!(second.own("0::/\n").as_deref(), Some(""));
    }
}
