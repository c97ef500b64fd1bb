//! The lines of `scores.jsonl`: what was measured.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Error, JobFolder, LineReader};
use crate::fs::Show;
use crate::protocol::{BothScores, SampleConfig, Score, Scores};
use crate::statistics::{Goal, ScoreRecord, compare, rank};

/// One line: what was measured of pictures of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreLine {
    /// When it was measured.
    pub time: jiff::Timestamp,
    /// The folder of the job that measured it, from the concept's.
    #[serde(default)]
    pub job: PathBuf,
    /// When that job was asked for; none where it was not recorded. A folder may be scored again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<jiff::Timestamp>,
    /// Whether what was learned was used.
    pub learned: bool,
    /// Optimizer steps of the checkpoint.
    pub step: usize,
    /// How strongly what was learned acted, where it was recorded.
    #[serde(default)]
    pub strength: Option<f32>,
    /// SHA-256 of the checkpoint, where it was recorded.
    #[serde(default)]
    pub checkpoint: Option<String>,
    /// The settings the pictures were sampled with; none for pictures that were there. As written, by whichever version.
    #[serde(default)]
    pub sample: Option<Value>,
    /// Every value, and how it was measured. Its scores have today's intervals, whatever wrote the line.
    #[serde(flatten)]
    pub record: ScoreRecord,
}

impl ScoreLine {
    fn read(line: &[u8]) -> serde_json::Result<Self> {
        let mut line: Self = serde_json::from_slice(line)?;
        if !line.record.samples.is_empty() {
            line.record.scores = line.record.scores_of();
        }
        Ok(line)
    }

    /// The settings of the sampling in which it differs from `other`, each with both values; empty where either does not say
    /// them.
    pub fn sampled_otherwise(&self, other: &Self) -> Vec<String> {
        // How many, which of them and where does not change what a picture is.
        let free = |name: &str| {
            ["prompts", "checkpoint"].contains(&name)
                || SampleConfig::rows().any(|row| row.name == name && row.may_differ)
        };
        let table = |line: &Self| line.sample.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
        let (a, b): (Map<String, Value>, Map<String, Value>) = (table(self), table(other));
        let differs = |(name, value): (&String, &Value)| {
            let differs = !free(name) && b.get(name).is_some_and(|other| other != value);
            differs.then(|| format!("{name} ({value}; {})", b[name]))
        };
        a.iter().filter_map(differs).collect()
    }
}

/// What the scoring `job` has measured so far, in its order; of a folder that was scored again, what the last scoring has. A torn
/// last line is not there yet.
pub fn read_scores(job: &JobFolder) -> Result<Vec<ScoreLine>, Error> {
    let (name, asked) = (job.in_concept()?, job.asked()?);
    let mut lines = read_lines(&job.scores()?)?;
    lines.retain(|line| line.job == name && (asked.is_none() || line.asked == asked));
    Ok(lines)
}

/// The lines of the scoring that measured `of`, in their order.
pub fn lines_with(job: &JobFolder, of: &ScoreLine) -> Result<Vec<ScoreLine>, Error> {
    let mut lines = read_lines(&job.scores()?)?;
    lines.retain(|line| (&line.job, line.asked) == (&of.job, of.asked));
    Ok(lines)
}

/// What was measured of `run` last by a scoring of one checkpoint: at the end of its training, on its own, or by a sweep or a protocol.
/// None where there was none.
pub fn last_scored(run: &JobFolder) -> Result<Option<ScoreLine>, Error> {
    let mut lines = read_lines(&run.path().join("scores.jsonl"))?;
    lines.retain(|line| line.learned);
    let steps = |of: &ScoreLine| {
        let same = lines.iter().filter(|line| (&line.job, line.asked) == (&of.job, of.asked));
        same.map(|line| line.step).collect::<std::collections::BTreeSet<_>>().len()
    };
    Ok(lines.iter().rfind(|line| steps(line) == 1).cloned())
}

/// What is measured last of `jobs`, whose lines are in one file, without and with the concept; none where nothing has measured both. A
/// scoring that was not finished does not count.
fn sides(jobs: &[&JobFolder]) -> Result<Option<[ScoreRecord; 2]>, Error> {
    let Some(first) = jobs.first() else { return Ok(None) };
    let names = jobs.iter().map(|job| job.in_concept()).collect::<Result<Vec<_>, _>>()?;
    let mut lines = read_lines(&first.scores()?)?;
    lines.retain(|line| names.contains(&line.job));
    for at in (0..lines.len()).rev() {
        let (after, earlier) = (&lines[at], &lines[..at]);
        let same = |line: &&ScoreLine| !line.learned && (&line.job, line.asked) == (&after.job, after.asked);
        if let Some(before) = earlier.iter().rfind(same).filter(|_| after.learned) {
            return Ok(Some([before.record.clone(), after.record.clone()]));
        }
    }
    Ok(None)
}

/// The same of the last scoring of `run`, on its own or at the end of its training.
fn sides_of_run(run: &JobFolder) -> Result<Option<[ScoreRecord; 2]>, Error> {
    let scoring = JobFolder::at(&run.evaluation()).ok();
    sides(&std::iter::once(run).chain(&scoring).collect::<Vec<_>>())
}

fn both([before, after]: [ScoreRecord; 2]) -> BothScores {
    BothScores {
        difference: compare(&before, &after).ok().map(|difference| difference.scores),
        photos: after.photo_scores.map(|photos| *photos),
        before: before.scores,
        after: after.scores,
    }
}

/// What `run`, or another job, has measured last, and how both sides differ pair by pair; none where it has not measured both. Of a
/// run its scoring on its own counts too.
pub fn scores_of_run(run: &JobFolder) -> Result<Option<BothScores>, Error> {
    Ok(sides_of_run(run)?.map(both))
}

/// How what `second` has learned differs from what `first` has, pair by pair, by the last scoring of each; none where they have no
/// pairs.
pub fn difference_of_runs(first: &JobFolder, second: &JobFolder) -> Result<Option<Scores>, Error> {
    let (Some([_, a]), Some([_, b])) = (sides_of_run(first)?, sides_of_run(second)?) else { return Ok(None) };
    Ok(compare(&a, &b).ok().map(|difference| difference.scores))
}

/// What a scoring of several checkpoints has measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CheckpointScores {
    /// By their steps.
    pub by_step: BTreeMap<usize, Scores>,
    /// Which one is best, where there are pictures enough to pick it on one half and to report it on the other.
    pub best: Option<BestCheckpoint>,
}

/// The best of several checkpoints by balance.
#[derive(Debug, Clone, PartialEq)]
pub struct BestCheckpoint {
    /// Its steps.
    pub step: usize,
    /// Its balance on the pictures that it was not picked on.
    pub balance: Score,
    /// Those that cannot be told from it there, or are better there, by their steps.
    pub ties: Vec<usize>,
}

/// What the last scoring of several checkpoints of `run` has measured; nothing where there was none. Of one scoring only: the scores of
/// several may have measured other prompts.
pub fn checkpoint_scores(run: &JobFolder) -> Result<CheckpointScores, Error> {
    let Some((_, lines)) = last_curve(run)? else { return Ok(CheckpointScores::default()) };
    let records: Vec<Vec<&ScoreRecord>> = lines.values().map(|line| vec![&line.record]).collect();
    let steps: Vec<usize> = lines.keys().copied().collect();
    let best = rank(&records, Goal::Balance).ok().map(|ranking| BestCheckpoint {
        step: steps[ranking.best],
        ties: ranking.ties().chain(ranking.better()).map(|at| steps[at]).collect(),
        balance: ranking.value,
    });
    Ok(CheckpointScores { by_step: lines.into_iter().map(|(step, line)| (step, line.record.scores)).collect(), best })
}

/// The folder of a scoring of several checkpoints, from the concept's, and its lines by their steps.
pub type Curve = (PathBuf, BTreeMap<usize, ScoreLine>);

/// The last scoring of several checkpoints of `run`.
pub fn last_curve(run: &JobFolder) -> Result<Option<Curve>, Error> {
    let mut by_scoring: Vec<Curve> = Vec::new();
    for line in read_lines(&run.path().join("scores.jsonl"))?.into_iter().filter(|line| line.learned) {
        let same = |(job, lines): &&mut Curve| {
            *job == line.job && lines.values().next().is_some_and(|other| other.asked == line.asked)
        };
        match by_scoring.iter_mut().find(same) {
            Some((_, lines)) => drop(lines.insert(line.step, line)),
            None => by_scoring.push((line.job.clone(), BTreeMap::from([(line.step, line)]))),
        }
    }
    Ok(by_scoring.into_iter().rfind(|(_, lines)| lines.len() > 1))
}

/// The lines of the file that `job` is scored in which cannot be read, each with its number and the reason: they are passed over. A
/// last line that is torn is not there yet.
pub fn unread_scores(job: &JobFolder) -> Result<Vec<String>, Error> {
    let path = job.scores()?;
    let lines = LineReader::new(&path).read(u64::MAX)?;
    let problem = |(i, line): (usize, &Vec<u8>)| {
        let error = ScoreLine::read(line).err()?;
        Some(format!("{}: line {} cannot be read and is passed over ({error})", path.shown(), i + 1))
    };
    Ok(lines.iter().enumerate().filter_map(problem).collect())
}

fn read_lines(path: &Path) -> Result<Vec<ScoreLine>, Error> {
    let lines = LineReader::new(path).read(u64::MAX)?;
    Ok(lines.iter().filter_map(|line| ScoreLine::read(line).ok()).collect())
}
