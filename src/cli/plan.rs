//! Plans: many trainings and scorings that make one table. A plan is a file, `<home>/.catbench/plans/<name>.toml`, that says
//! which jobs belong to it; the jobs are in the queue like any others, each scoring after its training. What comes without the
//! concept is measured by jobs of their own, which wait for no training. Asking for the same plan again goes on with what is not
//! finished, so a plan survives everything that its jobs survive.

mod cell;
mod results;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use signal_hook::consts::SIGINT;

pub use cell::{Cell, JobIds};
pub use results::Row;

use super::Error;
use crate::client;
use crate::fs::Show;
use crate::fs::write_atomic;
use crate::protocol::{JobChange, JobInfo, JobKind, JobState, ScoreTask, SeedRule, State};
use crate::workspace::{self, Concept, Home, JobFolder, RunSpec, ScoreSpec};

/// A plan and its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    path: PathBuf,
    home: Home,
    /// In the order of the table.
    pub cells: Vec<Cell>,
    /// Cells of the file that were not asked for now.
    others: Vec<Cell>,
    began_as: Began,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    /// As which version of the program began it; versions that did not say it had one way to choose seeds.
    #[serde(default)]
    began_as: Began,
    #[serde(rename = "cell")]
    cells: Vec<Cell>,
}

/// What a plan began as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Began {
    /// A plan of a version in which prompts shared their seeds, and presets said nothing of the sampling.
    #[default]
    SharedSeeds,
    /// A plan of today.
    OwnSeeds,
}

/// Where a cell's jobs are.
struct Jobs {
    run: JobFolder,
    masking: Option<JobFolder>,
    untrained: JobFolder,
    scoring: JobFolder,
}

/// The cells that a plan has, before it is opened with others.
pub struct KnownCells(Vec<Cell>);

impl KnownCells {
    /// Of the plan `name` of `home`; none where there is no such plan. One that cannot be read is refused when it is opened.
    pub fn of(home: &Home, name: &str) -> Self {
        let text =
            crate::fs::read_text(&home.internal().join("plans").join(format!("{name}.toml")), crate::fs::SETTINGS);
        Self(
            text.ok()
                .and_then(|text| toml::from_str::<PlanFile>(&text).ok())
                .map(|plan| plan.cells)
                .unwrap_or_default(),
        )
    }

    /// How many trainings of the cell `label` there are; of one that is not there as many as of another. None without a plan.
    pub fn trainings(&self, label: &str) -> Option<usize> {
        let most = |counts: &dyn Fn(&Cell) -> bool| {
            self.0.iter().filter(|cell| counts(cell)).map(|cell| cell.training + 1).max()
        };
        most(&|cell| cell.label == label).or_else(|| most(&|_| true))
    }
}

impl Plan {
    /// The plan `name` of `home` with these cells: what is known of their jobs from before is kept, also of cells that are not
    /// asked for now.
    ///
    /// # Errors
    /// Two cells that are the same, or one that was another in the plan before.
    pub fn open(home: &Home, name: &str, cells: Vec<Cell>) -> Result<Self, Error> {
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
        if !plain {
            return Err(Error::Job(format!("{name:?} cannot be the name of a plan: it becomes the name of a file")));
        }
        check_distinct(&cells)?;
        let path = home.internal().join("plans").join(format!("{name}.toml"));
        let mut plan = Self { path, home: home.clone(), cells, others: Vec::new(), began_as: Began::OwnSeeds };
        match crate::fs::read_text(&plan.path, crate::fs::SETTINGS) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(workspace::Error::io("read", &plan.path)(error).into()),
            Ok(text) => {
                let before: PlanFile = toml::from_str(&text).map_err(|error| workspace::Error::Toml {
                    path: plan.path.clone(),
                    message: error.to_string().trim_end().to_owned(),
                })?;
                plan.began_as = before.began_as;
                plan.take_over(before.cells)?;
            }
        }
        Ok(plan)
    }

    /// Keep the jobs of the same cells.
    fn take_over(&mut self, before: Vec<Cell>) -> Result<(), Error> {
        // A plan of a version before goes on with the seeds that prompts share: its pictures are compared with each other.
        if self.began_as == Began::SharedSeeds {
            self.cells.iter_mut().for_each(|cell| cell.score.sample.seeds = SeedRule::Shared);
        }
        for old in before {
            let Some(cell) = self.cells.iter_mut().find(|cell| cell.is_called_as(&old)) else {
                self.others.push(old);
                continue;
            };
            if self.began_as == Began::SharedSeeds {
                cell.go_on_as_before(&old);
            }
            if let Some(what) = cell.differs_in(&old) {
                let (path, label, concept) = (self.path.shown(), old.name(), &old.concept);
                let cell = if label.is_empty() { concept.clone() } else { format!("{label} of {concept}") };
                return Err(Error::Job(format!(
                    "the plan {path} has {cell} with other {what}: give this one another name with --name"
                )));
            }
            cell.jobs = old.jobs;
        }
        Ok(())
    }

    fn save(&self) -> Result<(), Error> {
        let began_as = self.began_as;
        let file = PlanFile { began_as, cells: self.cells.iter().chain(&self.others).cloned().collect() };
        let problem = |message: String| workspace::Error::Toml { path: self.path.clone(), message };
        let text = toml::to_string(&file).map_err(|error| problem(error.to_string()))?;
        if let Some(folder) = self.path.parent() {
            crate::fs::create_folders(folder).map_err(workspace::Error::io("create", folder))?;
        }
        Ok(write_atomic(&self.path, text.as_bytes()).map_err(workspace::Error::io("write", &self.path))?)
    }

    fn concept(&self, cell: &Cell) -> Result<Concept, Error> {
        Ok(self.home.concept(&cell.concept)?)
    }

    /// The job of the cell at `index` or of one that needs the same, by `same`; none where it was not made or is not there any
    /// more.
    fn known(
        &self,
        index: usize,
        folder: &Path,
        kind: JobKind,
        id: impl Fn(&JobIds) -> &Option<String>,
        same: impl Fn(&Cell, &Cell) -> bool,
    ) -> Option<JobFolder> {
        let cell = &self.cells[index];
        let others = self.cells.iter().chain(&self.others).filter(|other| other.concept == cell.concept);
        let alike = std::iter::once(cell).chain(others.filter(|other| same(cell, other)));
        let concept = folder.parent().unwrap_or(folder);
        // A plan may have come with the home: what it names counts only where it does what this cell needs, within its concept.
        let is_fit = |job: &JobFolder| match kind {
            JobKind::Mask => {
                job.mask_spec().is_ok_and(|spec| spec.pictures.iter().all(|path| path.starts_with(concept)))
            }
            kind => job.kind().is_ok_and(|own| own == kind),
        };
        let ids = alike.filter_map(|cell| id(&cell.jobs).as_ref());
        ids.filter_map(|id| JobFolder::within(folder, Path::new(id)).ok()).find(is_fit)
    }

    /// The jobs of a cell, made where they are not there.
    fn jobs_of(&mut self, index: usize) -> Result<Jobs, Error> {
        let cell = self.cells[index].clone();
        let concept = self.concept(&cell)?;
        let (runs, jobs) = (concept.folder.join("runs"), concept.folder.join("jobs"));
        let run = match self.known(index, &runs, JobKind::Train, |jobs| &jobs.run, Cell::trains_as) {
            Some(run) => run,
            None => JobFolder::new(&concept, &RunSpec::new(&concept, cell.train.clone(), cell.score.clone())?)?,
        };
        // What was measured of a run that is not there any more is not of this one.
        if self.cells[index].jobs.run.as_deref() != Some(run.id()) {
            self.cells[index].jobs.scoring = None;
        }
        self.cells[index].jobs.run = Some(run.id().to_owned());
        self.save()?;
        let masking = self.masking_of(index, &concept, &jobs)?;
        let known = self.known(index, &jobs, JobKind::Score, |jobs| &jobs.untrained, Cell::begins_as);
        let untrained = if let Some(untrained) = known {
            untrained
        } else {
            let spec = ScoreSpec::new(&concept, None, ScoreTask::Untrained, cell.untrained())?;
            JobFolder::new(&concept, &spec)?
        };
        self.cells[index].jobs.untrained = Some(untrained.id().to_owned());
        self.save()?;
        let known = self.known(index, &jobs, JobKind::Score, |jobs| &jobs.scoring, |_, _| false);
        let scoring = if let Some(scoring) = known {
            scoring
        } else {
            let mut score = cell.score.clone();
            score.sample.checkpoint = Some(run.checkpoint(cell.train.steps));
            let spec = ScoreSpec::new(&concept, Some(&run), ScoreTask::Learned, score)?;
            JobFolder::new(&concept, &spec)?
        };
        self.cells[index].jobs.scoring = Some(scoring.id().to_owned());
        self.save()?;
        Ok(Jobs { run, masking, untrained, scoring })
    }

    /// What makes masks of the photos of a cell that have none; none where all have one, or are to have none.
    fn masking_of(&mut self, index: usize, concept: &Concept, jobs: &Path) -> Result<Option<JobFolder>, Error> {
        let Some(config) = self.cells[index].photo_masks.clone() else { return Ok(None) };
        let same = |a: &Cell, b: &Cell| a.photo_masks == b.photo_masks;
        let known = self.known(index, jobs, JobKind::Mask, |jobs| &jobs.masking, same);
        let masking = if let Some(masking) = known {
            masking
        } else {
            let lacks = |photo: &PathBuf| !concept.mask_path(photo).is_file();
            let photos: Vec<PathBuf> = concept.photos()?.into_iter().filter(lacks).collect();
            if photos.is_empty() {
                return Ok(None);
            }
            JobFolder::new(concept, &workspace::MaskSpec::new(concept, photos, config)?)?
        };
        self.cells[index].jobs.masking = Some(masking.id().to_owned());
        self.save()?;
        Ok(Some(masking))
    }

    /// Say what the jobs that are not finished need, where `say` is set, and refuse what cannot be done here, before anything
    /// is made.
    pub fn preflight(&self, say: bool) -> Result<(), Error> {
        let done = |job: Option<JobFolder>| job.map_or(Ok(false), |job| finished(&job));
        let (mut requests, mut labels) = (Vec::new(), Vec::new());
        let (mut trainings, mut untrained): (Vec<&Cell>, Vec<&Cell>) = (Vec::new(), Vec::new());
        for (index, cell) in self.cells.iter().enumerate() {
            let concept = self.concept(cell)?;
            let (runs, jobs) = (concept.folder.join("runs"), concept.folder.join("jobs"));
            let run = self.known(index, &runs, JobKind::Train, |jobs| &jobs.run, Cell::trains_as);
            if !trainings.iter().any(|other| cell.trains_as(other)) && !done(run)? {
                trainings.push(cell);
                let spec = RunSpec::new(&concept, cell.train.clone(), cell.score.clone())?;
                requests.push(client::run_request(&concept, &spec, 0)?);
                labels.push(cell.name());
            }
            let known = self.known(index, &jobs, JobKind::Score, |jobs| &jobs.untrained, Cell::begins_as);
            if !untrained.iter().any(|other| cell.begins_as(other)) && !done(known)? {
                untrained.push(cell);
                let spec = ScoreSpec::new(&concept, None, ScoreTask::Untrained, cell.untrained())?;
                requests.push(client::score_request(&concept, &spec, 1)?);
                labels.push(cell.name());
            }
            if !done(self.known(index, &jobs, JobKind::Score, |jobs| &jobs.scoring, |_, _| false))? {
                let spec = ScoreSpec::new(&concept, None, ScoreTask::Learned, cell.score.clone())?;
                requests.push(client::score_request(&concept, &spec, 1)?);
                labels.push(cell.name());
            }
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
        let mut queued: HashMap<PathBuf, u64> = HashMap::new();
        // None for what is finished.
        let mut submit = |job: &JobFolder, after: &[Option<u64>]| -> Result<Option<u64>, Error> {
            if let Some(number) = queued.get(job.path()) {
                return Ok(Some(*number));
            }
            if finished(job)? {
                return Ok(None);
            }
            let after = after.iter().copied().flatten().collect();
            let number = client::submit(job, client::Placement { any_device, priority, after })?.number;
            queued.insert(job.path().to_owned(), number);
            Ok(Some(number))
        };
        for index in 0..self.cells.len() {
            let Jobs { run, masking, untrained, scoring } = self.jobs_of(index)?;
            let done = finished(&scoring)? && finished(&untrained)?;
            if done {
                continue;
            }
            let masking = masking.map(|masking| submit(&masking, &[])).transpose()?.flatten();
            submit(&untrained, &[masking])?;
            if finished(&scoring)? {
                continue;
            }
            let before_training = masking.filter(|_| self.cells[index].train.masked_loss);
            let run = submit(&run, &[before_training])?;
            submit(&scoring, &[run, masking])?;
        }
        let mut numbers: Vec<u64> = queued.into_values().collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Wait until all these jobs are over, and say how far they are. False when Ctrl-C has left them running. A job whose
    /// forerunner has not finished will never start: it is cancelled.
    pub fn wait(&self, numbers: &[u64]) -> Result<bool, Error> {
        let interrupted = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGINT, Arc::clone(&interrupted))?;
        let mut said = String::new();
        loop {
            let all = client::jobs(&self.home)?;
            let ours: Vec<&JobInfo> = all.iter().filter(|job| numbers.contains(&job.number)).collect();
            let over = ours.iter().filter(|job| job.state.is_over()).count();
            for job in ours.iter().filter(|job| never_starts(job, &all)) {
                match client::change(&self.home, job.number, JobChange::Cancel { kill: false }) {
                    // It may just have been cancelled by another.
                    Ok(_) | Err(client::Error::Refused(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let left = ours.len() - over;
            let running = ours.iter().find(|job| job.state == JobState::Running).map(|job| {
                let kind = job.kind.map_or("", crate::protocol::JobKind::word);
                let step = job.step.map(|step| format!(", step {}", step / 50 * 50)).unwrap_or_default();
                format!(": job {}, {kind} {}{step}", job.number, job.concept)
            });
            let line = format!("{over} of {} jobs are over{}", ours.len(), running.unwrap_or_default());
            if line != said {
                errln!("{line}");
                said = line;
            }
            if left == 0 {
                return Ok(true);
            }
            if interrupted.load(Ordering::Relaxed) {
                errln!("they go on in the background; the same command goes on with them");
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

/// Two cells that are the same would be trained or shown twice.
fn check_distinct(cells: &[Cell]) -> Result<(), Error> {
    for (i, cell) in cells.iter().enumerate() {
        let same = |other: &&Cell| {
            let other = *other;
            cell.is_called_as(other) || cell.concept == other.concept && cell.differs_in(other).is_none()
        };
        if let Some(other) = cells[..i].iter().find(same) {
            let problem = if other.name() == cell.name() {
                format!("{} is there twice", cell.name())
            } else {
                format!("{} and {} are the same", other.name(), cell.name())
            };
            return Err(Error::Job(format!("{problem}: give each combination of settings once")));
        }
    }
    Ok(())
}

/// Whether one of the jobs that `job` waits for will never finish by itself.
fn never_starts(job: &JobInfo, all: &[JobInfo]) -> bool {
    let failed = |number: &u64| {
        all.iter().any(|other| other.number == *number && other.state.is_over() && other.state != JobState::Finished)
    };
    !job.state.is_over() && job.after.iter().any(failed)
}

fn finished(job: &JobFolder) -> Result<bool, Error> {
    Ok(job.look()?.0 == State::Finished)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use super::*;
    use crate::cli::material::Material;
    use crate::protocol::{ScoreConfig, TrainConfig};

    fn cell(label: &str, steps: usize) -> Cell {
        Cell {
            label: label.into(),
            training: 0,
            settings: BTreeMap::new(),
            concept: "demo".into(),
            material: Material { photos: "1".into(), ..Material::default() },
            photo_masks: None,
            jobs: JobIds::default(),
            train: TrainConfig { steps, ..TrainConfig::default() },
            score: ScoreConfig::default(),
        }
    }

    #[test]
    fn cells_are_known_by_what_they_are_called_not_by_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        let open = |cells: Vec<Cell>| Plan::open(&home, "p", cells);
        let mut first = open(vec![cell("a", 1), cell("b", 2)]).unwrap();
        first.cells[0].jobs.run = Some("run-a".into());
        first.cells[1].jobs.run = Some("run-b".into());
        first.save().unwrap();
        let second = open(vec![cell("b", 2), cell("c", 3)]).unwrap();
        assert_eq!(second.cells[0].jobs.run.as_deref(), Some("run-b"));
        assert_eq!(second.cells[1].jobs, JobIds::default());
        second.save().unwrap();
        let third = open(vec![cell("a", 1)]).unwrap();
        assert_eq!(third.cells[0].jobs.run.as_deref(), Some("run-a"), "what was not asked for is kept");

        let refused = |cells| open(cells).unwrap_err().to_string();
        let other = refused(vec![cell("a", 7)]);
        assert!(other.contains("a of demo with other training settings") && other.contains("--name"), "{other}");
        let mut photos = cell("b", 2);
        photos.material.photos = "2".into();
        assert!(refused(vec![photos]).contains("with other photos"));
        assert!(refused(vec![cell("a", 1), cell("a", 2)]).contains("a is there twice"));
        assert!(refused(vec![cell("a", 1), cell("d", 1)]).contains("a and d are the same"));
    }
}
