//! Plans: many trainings and scorings that make one table. A plan is a file, `<home>/.catbench/plans/<name>.toml`, that says
//! which jobs belong to it; the jobs are in the queue like any others, each scoring after its training. Asking for the same
//! plan again goes on with what is not finished, so a plan survives everything that its jobs survive.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use signal_hook::consts::SIGINT;

use super::Error;
use crate::client;
use crate::fs::write_atomic;
use crate::protocol::{JobInfo, JobState, ScoreConfig, ScoreSummary, ScoreTask, ScoresAt, State, TrainConfig};
use crate::workspace::{self, Concept, History, Home, JobFolder, RunSpec, ScoreSpec, read_scores, state};

/// One training and its scoring.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// What the table calls it.
    pub label: String,
    /// The settings that tell it from the others, by name.
    pub settings: BTreeMap<String, String>,
    /// The concept.
    pub concept: String,
    /// Whether what comes without the concept is measured too.
    pub baseline: bool,
    /// The run, once there is one; cells of the same concept and training share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The scoring, once there is one: its folder in the concept's `jobs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scoring: Option<String>,
    /// The training.
    pub train: TrainConfig,
    /// The scoring.
    pub score: ScoreConfig,
}

impl Cell {
    /// What its scoring does, and how often that samples the pictures.
    fn task(&self) -> (ScoreTask, usize) {
        if self.baseline { (ScoreTask::Both, 2) } else { (ScoreTask::Learned, 1) }
    }
}

/// A plan and its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    path: PathBuf,
    home: Home,
    /// In the order of the table.
    pub cells: Vec<Cell>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    #[serde(rename = "cell")]
    cells: Vec<Cell>,
}

/// Where a cell's jobs are.
struct Jobs {
    run: JobFolder,
    scoring: JobFolder,
}

impl Plan {
    /// The plan `name` of `home` with these cells: what is known of their jobs from before is kept.
    ///
    /// # Errors
    /// A plan of that name is for other cells.
    pub fn open(home: &Home, name: &str, cells: Vec<Cell>) -> Result<Self, Error> {
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
        if !plain {
            return Err(Error::Job(format!("{name:?} cannot be the name of a plan: it becomes the name of a file")));
        }
        let path = home.internal().join("plans").join(format!("{name}.toml"));
        let mut plan = Self { path, home: home.clone(), cells };
        match std::fs::read_to_string(&plan.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(workspace::Error::io("read", &plan.path)(error).into()),
            Ok(text) => {
                let before: PlanFile = toml::from_str(&text).map_err(|error| workspace::Error::Toml {
                    path: plan.path.clone(),
                    message: error.to_string().trim_end().to_owned(),
                })?;
                plan.take_over(before.cells).map_err(|what| {
                    let path = plan_name(&plan);
                    Error::Job(format!("the plan {path} is for other {what}: give this one another name with --name"))
                })?;
            }
        }
        Ok(plan)
    }

    /// Keep the jobs of the same cells.
    fn take_over(&mut self, before: Vec<Cell>) -> Result<(), &'static str> {
        if before.len() != self.cells.len() {
            return Err("cells");
        }
        for (cell, before) in self.cells.iter_mut().zip(before) {
            (cell.run, cell.scoring) = (before.run.clone(), before.scoring.clone());
            if *cell != before {
                return Err("settings");
            }
        }
        Ok(())
    }

    fn save(&self) -> Result<(), Error> {
        let file = PlanFile { cells: self.cells.clone() };
        let problem = |message: String| workspace::Error::Toml { path: self.path.clone(), message };
        let text = toml::to_string(&file).map_err(|error| problem(error.to_string()))?;
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(workspace::Error::io("create", folder))?;
        }
        Ok(write_atomic(&self.path, text.as_bytes()).map_err(workspace::Error::io("write", &self.path))?)
    }

    fn concept(&self, cell: &Cell) -> Result<Concept, Error> {
        Ok(self.home.concept(&cell.concept)?)
    }

    /// The jobs of a cell, made where they are not there.
    fn jobs_of(&mut self, index: usize) -> Result<Jobs, Error> {
        let cell = self.cells[index].clone();
        let concept = self.concept(&cell)?;
        let run = if let Some(id) = &cell.run {
            concept.run(id)?
        } else {
            let same =
                |other: &&Cell| other.concept == cell.concept && other.train == cell.train && other.run.is_some();
            let id = self.cells.iter().find(same).and_then(|other| other.run.clone());
            let run = match id {
                Some(id) => concept.run(&id)?,
                None => JobFolder::new_run(&concept, cell.train.clone(), cell.score.clone())?,
            };
            self.cells[index].run = Some(run.id().to_owned());
            self.save()?;
            run
        };
        let scoring = if let Some(id) = &cell.scoring {
            JobFolder::at(&concept.folder.join("jobs").join(id))?
        } else {
            let mut score = cell.score.clone();
            score.sample.checkpoint = Some(run.checkpoint(cell.train.steps));
            let (task, _) = cell.task();
            let scoring = JobFolder::new_scoring(&concept, &ScoreSpec::new(&concept, Some(&run), task, score)?)?;
            self.cells[index].scoring = Some(scoring.id().to_owned());
            self.save()?;
            scoring
        };
        Ok(Jobs { run, scoring })
    }

    /// Say what the jobs that are not finished need, where `say` is set, and refuse what cannot be done here, before anything
    /// is made.
    pub fn preflight(&self, say: bool) -> Result<(), Error> {
        let (mut requests, mut labels) = (Vec::new(), Vec::new());
        let mut trainings: Vec<(&str, &TrainConfig)> = Vec::new();
        for cell in &self.cells {
            let concept = self.concept(cell)?;
            let scoring = cell.scoring.as_ref().map(|id| JobFolder::at(&concept.folder.join("jobs").join(id)));
            if scoring.transpose()?.is_some_and(|scoring| finished(&scoring).unwrap_or(false)) {
                continue;
            }
            let run = cell.run.as_ref().map(|id| concept.run(id)).transpose()?;
            // Cells of the same concept and training share it.
            let shared = trainings.contains(&(&cell.concept, &cell.train));
            if !shared && !run.map_or(Ok(false), |run| finished(&run))? {
                trainings.push((&cell.concept, &cell.train));
                let spec = RunSpec::new(&concept, cell.train.clone(), cell.score.clone())?;
                requests.push(client::run_request(&concept, &spec, 0)?);
                labels.push(&cell.label);
            }
            let (task, sides) = cell.task();
            let spec = ScoreSpec::new(&concept, None, task, cell.score.clone())?;
            requests.push(client::score_request(&concept, &spec, sides)?);
            labels.push(&cell.label);
        }
        let estimates = client::estimates(requests)?;
        if say {
            let scorings = estimates.len() - trainings.len();
            super::preflight::say_plan(format!("{} trainings, {scorings} scorings", trainings.len()), &estimates);
        }
        for (label, estimate) in labels.iter().zip(&estimates) {
            super::preflight::refuse(estimate).map_err(|error| Error::Job(format!("{label}: {error}")))?;
        }
        Ok(())
    }

    /// Hand every job that is not finished to the queue. The numbers of those.
    pub fn submit(&mut self, priority: i32, any_device: bool) -> Result<Vec<u64>, Error> {
        let mut numbers = Vec::new();
        for index in 0..self.cells.len() {
            let Jobs { run, scoring } = self.jobs_of(index)?;
            if finished(&scoring)? {
                continue;
            }
            let mut after = Vec::new();
            if !finished(&run)? {
                let placement = client::Placement { any_device, priority, after: Vec::new() };
                after.push(client::submit(&run, placement)?.number);
            }
            numbers.extend(&after);
            let placement = client::Placement { any_device, priority, after };
            numbers.push(client::submit(&scoring, placement)?.number);
        }
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers)
    }

    /// Wait until all these jobs are over, and say how far they are. False when Ctrl-C has left them running. A job whose
    /// forerunner has failed will never start, and is not waited for.
    pub fn wait(&self, numbers: &[u64]) -> Result<bool, Error> {
        let interrupted = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGINT, Arc::clone(&interrupted))?;
        let mut said = String::new();
        loop {
            let all = client::jobs(&self.home)?;
            let ours: Vec<&JobInfo> = all.iter().filter(|job| numbers.contains(&job.number)).collect();
            let over = ours.iter().filter(|job| job.state.is_over()).count();
            let stuck = |job: &&&JobInfo| {
                let dead = |number: &u64| {
                    ours.iter().any(|other| {
                        other.number == *number && other.state.is_over() && other.state != JobState::Finished
                    })
                };
                !job.state.is_over() && job.after.iter().any(dead)
            };
            let left = ours.len() - over - ours.iter().filter(stuck).count();
            let running = ours.iter().find(|job| job.state == JobState::Running).map(|job| {
                let kind = job.kind.map_or("", crate::protocol::JobKind::word);
                let step = job.step.map(|step| format!(", step {}", step / 50 * 50)).unwrap_or_default();
                format!(": job {}, {kind} {}{step}", job.number, job.concept)
            });
            let line = format!("{over} of {} jobs are over{}", ours.len(), running.unwrap_or_default());
            if line != said {
                eprintln!("{line}");
                said = line;
            }
            if left == 0 {
                return Ok(true);
            }
            if interrupted.load(Ordering::Relaxed) {
                eprintln!("they go on in the background; the same command goes on with them");
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// What a cell's scoring has measured, without and with the concept, and where; why nothing, where it has not.
    pub fn result(&self, cell: &Cell) -> Result<CellResult, Error> {
        let concept = self.concept(cell)?;
        let Some(id) = &cell.scoring else { return Ok(CellResult::default()) };
        let scoring = JobFolder::at(&concept.folder.join("jobs").join(id))?;
        let lines = read_scores(&scoring)?;
        let last = |learned| lines.iter().rfind(|line| line.learned == learned).cloned();
        let problem = match (&last(true), &cell.run) {
            (None, Some(run)) => Some(why(&concept.run(run)?, &scoring)?),
            _ => None,
        };
        Ok(CellResult { before: last(false), after: last(true), job: Some(scoring.path().to_owned()), problem })
    }
}

fn plan_name(plan: &Plan) -> String {
    plan.path.display().to_string()
}

/// What a scoring has measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CellResult {
    /// Without the concept.
    pub before: Option<ScoreSummary>,
    /// With it.
    pub after: Option<ScoreSummary>,
    /// The folder of the scoring.
    pub job: Option<PathBuf>,
    /// Why there is nothing.
    pub problem: Option<String>,
}

impl CellResult {
    /// Where a side is, for comparisons.
    pub fn at(&self, learned: bool) -> Option<ScoresAt> {
        let line = if learned { &self.after } else { &self.before };
        let (job, step) = (self.job.clone()?, line.as_ref()?.step);
        Some(ScoresAt { job, learned, step: Some(step) })
    }
}

fn finished(job: &JobFolder) -> Result<bool, Error> {
    Ok(state(job, &History::read(job)?) == State::Finished)
}

/// Why a cell has no scores.
fn why(run: &JobFolder, scoring: &JobFolder) -> Result<String, Error> {
    for job in [run, scoring] {
        let history = History::read(job)?;
        match (state(job, &history), &history.end) {
            (State::Finished, _) => {}
            (_, Some(crate::workspace::End::Failed { message })) => return Ok(message.clone()),
            (state, _) => return Ok(state.word().to_owned()),
        }
    }
    Ok("not measured".into())
}
