//! Names of job folders that sort by time.

use std::path::{Path, PathBuf};

use super::Error;

/// Make a new folder in `parent`, named `20261123-134501-x7k2`: local time, then four letters or digits that keep two
/// of the same second apart and in order.
pub fn new_id(parent: &Path) -> Result<PathBuf, Error> {
    std::fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    loop {
        let now = jiff::Zoned::now();
        // The fraction of the second in base 36 sorts within it; a taken name gets the next one.
        let fraction = now.subsec_nanosecond() as u64 * 36u64.pow(4) / 1_000_000_000;
        let suffix: String = (0..4)
            .rev()
            .map(|i| b"0123456789abcdefghijklmnopqrstuvwxyz"[(fraction / 36u64.pow(i) % 36) as usize] as char)
            .collect();
        let folder = parent.join(format!("{}-{suffix}", now.strftime("%Y%m%d-%H%M%S")));
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io("create", &folder)(error)),
        }
    }
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
}
