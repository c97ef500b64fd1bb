//! Names of job folders that sort by time.

use std::path::{Path, PathBuf};

use super::Error;

/// Make a new folder in `parent`, named `20261123-134501-x7k2`: local time, then four letters or digits that keep two
/// of the same second apart and in order. It sorts behind those that are there, even if the clock has been set back since.
pub fn new_id(parent: &Path) -> Result<PathBuf, Error> {
    std::fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    // Where another user's link leads nothing is made.
    crate::fs::open_folder(parent).map_err(Error::io("create a folder in", parent))?;
    loop {
        let now = jiff::Zoned::now();
        // The fraction of the second in base 36 sorts within it; a taken name gets the next one.
        let fraction = now.subsec_nanosecond() as u64 * 36u64.pow(4) / 1_000_000_000;
        let suffix: String = (0..4).rev().map(|i| DIGITS[(fraction / 36u64.pow(i) % 36) as usize] as char).collect();
        let mut name = format!("{}-{suffix}", now.strftime("%Y%m%d-%H%M%S"));
        if let Some(next) = newest(parent)?.filter(|newest| *newest >= name).and_then(|newest| after(&newest)) {
            name = next;
        }
        let folder = parent.join(name);
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io("create", &folder)(error)),
        }
    }
}

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// The last of the ids in `parent`.
fn newest(parent: &Path) -> Result<Option<String>, Error> {
    let entries = std::fs::read_dir(parent).map_err(Error::io("read", parent))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let is_id = |name: &String| {
        let digits =
            name.bytes().take(15).enumerate().all(|(i, b)| if i == 8 { b == b'-' } else { b.is_ascii_digit() });
        digits && name.len() == 20 && name.as_bytes()[15] == b'-'
    };
    Ok(names.filter(is_id).max())
}

/// The next id after `id`: its last digit raised, or one before that; none after the last of a second.
fn after(id: &str) -> Option<String> {
    let mut bytes = id.as_bytes().to_vec();
    for byte in bytes.iter_mut().rev().take(4) {
        let digit = DIGITS.iter().position(|digit| digit == byte)?;
        *byte = DIGITS[(digit + 1) % DIGITS.len()];
        if digit + 1 < DIGITS.len() {
            return String::from_utf8(bytes).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    #[test]
    fn ids_made_in_one_second_differ_and_sort_by_time() {
        let folder = tempfile::tempdir().unwrap();
        let made: Vec<_> = (0..50).map(|_| super::new_id(folder.path()).unwrap()).collect();
        let mut sorted = made.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted, made);
    }

    #[test]
    fn an_id_sorts_behind_those_made_before_the_clock_was_set_back() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["20991231-235959-a0zz", "notes", "20991231-235959"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let name = |path: std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let made = [(); 2].map(|()| name(super::new_id(folder.path()).unwrap()));
        assert_eq!(made, ["20991231-235959-a100", "20991231-235959-a101"]);
    }
}
