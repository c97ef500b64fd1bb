//! Scores against each other, as clients ask for them.

use std::path::Path;

use serde::Deserialize;

use super::Error;
use crate::metrics::{ScoreRecord, pool};
use crate::protocol::{Compared, ScoresAt};
use crate::workspace::{self, JobFolder};

/// One line of a `scores.jsonl`.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    job: std::path::PathBuf,
    learned: bool,
    step: usize,
    #[serde(flatten)]
    record: ScoreRecord,
}

/// What each row comes to, or why it comes to nothing.
pub(super) fn compare(rows: &[Vec<(ScoresAt, ScoresAt)>]) -> Vec<Result<Compared, String>> {
    rows.iter().map(|pairs| row(pairs).map_err(|error| error.to_string())).collect()
}

fn row(pairs: &[(ScoresAt, ScoresAt)]) -> Result<Compared, Error> {
    let sides = pairs.iter().map(|(a, b)| Ok((read(a)?, read(b)?))).collect::<Result<Vec<_>, Error>>()?;
    let compared = pool(&sides)?;
    let (difference, unpaired) = (compared.difference.scores, compared.difference.unpaired);
    Ok(Compared { first: compared.first, second: compared.second, difference, unpaired })
}

/// The last line of the job that fits.
fn read(at: &ScoresAt) -> Result<ScoreRecord, Error> {
    let job = JobFolder::at(&at.job)?;
    let (path, name) = (job.scores()?, job.in_concept()?);
    let text = std::fs::read_to_string(&path).map_err(workspace::Error::io("read", &path))?;
    let fits =
        |line: &Line| line.job == name && line.learned == at.learned && at.step.is_none_or(|step| step == line.step);
    let last = text.lines().rev().filter_map(|line| serde_json::from_str::<Line>(line).ok()).find(fits);
    last.map(|line| line.record).ok_or_else(|| missing(&path, at))
}

fn missing(path: &Path, at: &ScoresAt) -> Error {
    let side = if at.learned { "with" } else { "without" };
    let problem = format!("{} has measured nothing {side} the concept there", at.job.display());
    workspace::Error::invalid(path, problem, "score it first").into()
}
