//! What the cells of a plan have measured: the rows of its table.

use std::path::{Path, PathBuf};

use super::{Cell, Plan};
use crate::protocol::State;
use crate::statistics::{ScoreRecord, Trainings};
use crate::workspace::{End, Error, JobFolder, ScoreLine, read_scores};

impl Plan {
    /// What a cell's scorings have measured, without and with the concept, and where; why nothing, where they have not.
    pub fn result(&self, cell: &Cell) -> Result<CellResult, Error> {
        let concept = self.concept(cell)?;
        let job = |folder: &str, id: &Option<String>| {
            id.as_ref().and_then(|id| JobFolder::within(&concept.folder.join(folder), Path::new(id)).ok())
        };
        let (run, masking) = (job("runs", &cell.jobs.run), job("jobs", &cell.jobs.masking));
        let (untrained, scoring) = (job("jobs", &cell.jobs.untrained), job("jobs", &cell.jobs.scoring));
        let last = |job: &Option<JobFolder>, learned: bool| -> Result<Option<ScoreLine>, Error> {
            let lines = job.as_ref().map(read_scores).transpose()?.unwrap_or_default();
            Ok(lines.into_iter().rfind(|line| line.learned == learned))
        };
        let (before, after) = (last(&untrained, false)?, last(&scoring, true)?);
        let problem = if after.is_none() {
            Some(why([&masking, &run, &scoring])?)
        } else if before.is_none() {
            Some(format!("without the concept: {}", why([&masking, &untrained])?))
        } else {
            None
        };
        Ok(CellResult { before, after, before_job: untrained.map(|job| job.path().to_owned()), problem })
    }

    /// The rows of the table: what the trainings of each cell have measured, in order.
    pub fn rows(&self) -> Result<Vec<Row<'_>>, Error> {
        let mut rows: Vec<Row> = Vec::new();
        for cell in &self.cells {
            let result = self.result(cell)?;
            let same = |row: &&mut Row| (&row.cell.label, &row.cell.concept) == (&cell.label, &cell.concept);
            match rows.iter_mut().find(same) {
                Some(row) => row.results.push(result),
                None => rows.push(Row { cell, results: vec![result] }),
            }
        }
        Ok(rows)
    }
}

/// A row of the table: one cell, and the scores of each of its trainings.
pub struct Row<'a> {
    /// The first training's.
    pub cell: &'a Cell,
    /// One a training.
    pub results: Vec<CellResult>,
}

impl Row<'_> {
    /// What was measured of each training with the concept; none if one has not been measured, for the mean of the others would
    /// be another's.
    pub fn after(&self) -> Option<Vec<&ScoreLine>> {
        self.results.iter().map(|result| result.after.as_ref()).collect()
    }

    /// What comes without the concept, and what with it, for each training; none if one has not been measured.
    pub fn pairs(&self) -> Option<Trainings> {
        let record = |line: &Option<ScoreLine>| line.as_ref().map(|line| line.record.clone());
        self.results.iter().map(|result| Some((record(&result.before)?, record(&result.after)?))).collect()
    }

    /// The scorings of its trainings.
    pub fn records(&self) -> Option<Vec<&ScoreRecord>> {
        Some(self.after()?.into_iter().map(|line| &line.record).collect())
    }

    /// What comes without the concept.
    pub fn before(&self) -> Option<&ScoreLine> {
        self.results.iter().find_map(|result| result.before.as_ref())
    }

    /// Why there is nothing, of each training.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.results.iter().enumerate().filter_map(|(training, result)| {
            let name = Cell { training, ..self.cell.clone() }.name();
            Some(format!("{name}: {}", result.problem.as_ref()?))
        })
    }
}

/// What a cell's scorings have measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CellResult {
    /// Without the concept.
    pub before: Option<ScoreLine>,
    /// With it.
    pub after: Option<ScoreLine>,
    /// The folder of the scoring without it.
    pub before_job: Option<PathBuf>,
    /// Why there is nothing.
    pub problem: Option<String>,
}

/// Why a cell has no scores: the first of its jobs that has not finished.
fn why<const N: usize>(jobs: [&Option<JobFolder>; N]) -> Result<String, Error> {
    for job in jobs.into_iter().flatten() {
        let (state, history) = job.look()?;
        match (state, &history.end) {
            (State::Finished, _) => {}
            (_, Some(End::Failed { message })) => return Ok(message.clone()),
            (state, _) => return Ok(state.word().to_owned()),
        }
    }
    Ok("not measured".into())
}
