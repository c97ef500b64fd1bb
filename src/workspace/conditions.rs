//! The conditions of this process: taken from the command that asks for a job, and taken on by the job's runner.

use std::collections::BTreeMap;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getpriority_process, getrlimit, setpriority_process, setrlimit};

use crate::protocol::{Conditions, ConditionsError, Limit};

/// What the system limits, by the names that `prlimit` has.
const LIMITS: &[(&str, Resource)] = &[
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("memlock", Resource::Memlock),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("stack", Resource::Stack),
];

/// More than files can tell of a limit is as much as there is.
const UNLIMITED: u64 = i64::MAX as u64;

/// The conditions that this process works under.
///
/// # Errors
/// A variable that counts is not text, or there are too many of them.
pub fn own_conditions() -> Result<Conditions, ConditionsError> {
    let mut variables = BTreeMap::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| Conditions::has_variable(name)) else { continue };
        let value = value.into_string().map_err(|_| ConditionsError::Text(name.to_owned()))?;
        variables.insert(name.to_owned(), value);
    }
    let limits = LIMITS.iter().map(|(name, resource)| ((*name).to_owned(), limit(*resource))).collect();
    let conditions = Conditions {
        nice: getpriority_process(None).ok(),
        umask: umask(),
        processors: processors(),
        variables,
        limits,
    };
    conditions.check()?;
    Ok(conditions)
}

/// Have this process work under `conditions`, but for its variables, which it has to be started with. To be done before it
/// has threads. What could not be given, in words.
pub fn take_on(conditions: &Conditions) -> Vec<String> {
    let mut refused = Vec::new();
    if let Some(umask) = conditions.umask {
        set_umask(umask);
    }
    if !conditions.processors.is_empty()
        && processors() != conditions.processors
        && !use_processors(&conditions.processors)
    {
        let (asked, has) = (list(&conditions.processors), list(&processors()));
        refused
            .push(format!("it was asked to use processors {asked}, and uses {has}: no others are open to the daemon"));
    }
    for (name, resource) in LIMITS {
        let Some(asked) = conditions.limits.get(*name).copied() else { continue };
        if limit(*resource) != asked && !set_limit(*resource, asked) {
            let (asked, has) = (amount(asked.soft), amount(limit(*resource).soft));
            refused.push(format!("it was asked for with a limit ({name}) of {asked}, and has {has}: {FROM_DAEMON}"));
        }
    }
    let nice = getpriority_process(None).ok();
    if let Some(asked) = conditions.nice.filter(|asked| nice != Some(*asked))
        && setpriority_process(None, asked).is_err()
    {
        let has = nice.map(|nice| nice.to_string()).unwrap_or_default();
        refused.push(format!("it was asked for with nice {asked}, and has {has}: {FROM_DAEMON}"));
    }
    refused
}

/// Why a runner cannot have what was asked for, and what helps.
const FROM_DAEMON: &str = "the daemon was started with this and may not raise it: `catbench daemon stop`, and the next \
                           command starts one with its own";

fn limit(resource: Resource) -> Limit {
    let Rlimit { current, maximum } = getrlimit(resource);
    let known = |value: Option<u64>| value.filter(|value| *value < UNLIMITED);
    Limit { soft: known(current), hard: known(maximum) }
}

/// Set a limit, or as much of it as this process may. Whether what holds is what was asked for.
fn set_limit(resource: Resource, asked: Limit) -> bool {
    let set = |limit: Limit| setrlimit(resource, Rlimit { current: limit.soft, maximum: limit.hard }).is_ok();
    if set(asked) {
        return true;
    }
    let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
    let hard = least(asked.hard, limit(resource).hard);
    let soft = least(asked.soft, hard);
    set(Limit { soft, hard }) && soft == asked.soft
}

fn amount(value: Option<u64>) -> String {
    value.map_or_else(|| "unlimited".into(), |value| value.to_string())
}

/// `0-3,8`.
fn list(numbers: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let range =
        |(first, last): &(usize, usize)| if first == last { format!("{first}") } else { format!("{first}-{last}") };
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}

#[cfg(target_os = "linux")]
fn processors() -> Vec<usize> {
    use rustix::thread::{CpuSet, sched_getaffinity};
    let set = sched_getaffinity(None).ok();
    set.map(|set| (0..CpuSet::MAX_CPU).filter(|number| set.is_set(*number)).collect()).unwrap_or_default()
}

/// Use these processors, as far as they are there. Whether it is all of them.
#[cfg(target_os = "linux")]
fn use_processors(numbers: &[usize]) -> bool {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let mut set = CpuSet::new();
    numbers.iter().filter(|number| **number < CpuSet::MAX_CPU).for_each(|number| set.set(*number));
    sched_setaffinity(None, &set).is_ok() && processors() == numbers
}

#[cfg(not(target_os = "linux"))]
fn processors() -> Vec<usize> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
fn use_processors(_: &[usize]) -> bool {
    false
}

/// It can be asked for only by setting it, which other threads would see; Linux tells it.
fn umask() -> Option<u32> {
    let status = crate::fs::read_text(Path::new("/proc/self/status"), crate::fs::SETTINGS).ok()?;
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(umask.trim(), 8).ok()
}

fn set_umask(umask: u32) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode((umask & 0o777) as rustix::fs::RawMode));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_a_process_works_under_can_be_written_down_and_taken_on() {
        let own = own_conditions().unwrap();
        assert_eq!(toml::from_str::<Conditions>(&toml::to_string(&own).unwrap()).unwrap(), own);
        assert!(own.nice.is_some() && own.limits.contains_key("nofile"), "{own:?}");
        assert!(take_on(&own).is_empty());
        assert_eq!(own_conditions().unwrap(), own);
        assert_eq!(list(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
    }

    #[test]
    fn what_cannot_be_given_is_told() {
        let mut asked = own_conditions().unwrap();
        asked.processors = vec![100_000];
        let refused = take_on(&asked).concat();
        assert!(processors().is_empty() || refused.contains("processors 100000, and uses"), "{refused}");
    }
}
