//! The lines of `scores.jsonl`: what was measured.

use super::{Error, JobFolder};
use crate::protocol::ScoreSummary;

/// What the scoring `job` has measured so far, in its order. A torn last line is not there yet.
pub fn read_scores(job: &JobFolder) -> Result<Vec<ScoreSummary>, Error> {
    let path = job.scores()?;
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", &path)(error)),
    };
    let name = job.in_concept()?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<ScoreSummary>(line).ok());
    Ok(lines.filter(|line| line.job == name).collect())
}
