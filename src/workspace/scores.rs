//! The lines of `scores.jsonl`: what was measured.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Error, JobFolder};
use crate::protocol::{ScoreSummary, Scores};

/// What the scoring `job` has measured so far, in its order. A torn last line is not there yet.
pub fn read_scores(job: &JobFolder) -> Result<Vec<ScoreSummary>, Error> {
    let name = job.in_concept()?;
    let mut lines = read_lines(&job.scores()?)?;
    lines.retain(|line| line.job == name);
    Ok(lines)
}

/// What the last scoring of several checkpoints of `run` has measured, by their steps; nothing where there was none. Of one
/// scoring only: those of several may have measured other prompts.
pub fn checkpoint_scores(run: &JobFolder) -> Result<BTreeMap<usize, Scores>, Error> {
    Ok(last_curve(run)?.map(|(_, scores)| scores).unwrap_or_default())
}

/// The folder of a scoring of several checkpoints, from the concept's, and what it has measured by their steps.
pub type Curve = (PathBuf, BTreeMap<usize, Scores>);

/// The last scoring of several checkpoints of `run`: its folder from the concept's, and what it has measured by their steps.
pub fn last_curve(run: &JobFolder) -> Result<Option<Curve>, Error> {
    let mut by_job: Vec<Curve> = Vec::new();
    for line in read_lines(&run.path().join("scores.jsonl"))?.into_iter().filter(|line| line.learned) {
        match by_job.iter_mut().find(|(job, _)| *job == line.job) {
            Some((_, scores)) => drop(scores.insert(line.step, line.scores)),
            None => by_job.push((line.job, BTreeMap::from([(line.step, line.scores)]))),
        }
    }
    Ok(by_job.into_iter().rfind(|(_, scores)| scores.len() > 1))
}

fn read_lines(path: &Path) -> Result<Vec<ScoreSummary>, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}
