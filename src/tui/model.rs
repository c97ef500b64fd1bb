//! What the concept screen shows, read from the concept's files.

use std::path::PathBuf;

use super::widgets::graph::RunCurves;
use crate::protocol::State;
use crate::workspace::{self, Concept, Error, EventReader, History, JobFolder};

/// A job and its events, read as they come.
pub struct Followed {
    /// The job.
    pub job: JobFolder,
    reader: EventReader,
    /// What its events say.
    pub history: History,
    /// Its losses as they are drawn.
    pub curves: RunCurves,
    /// How it is.
    pub state: State,
}

impl Followed {
    fn new(job: JobFolder) -> Result<Self, Error> {
        let (reader, history) = (EventReader::new(&job.events()), History::new(&job));
        let mut followed = Self { job, reader, history, curves: RunCurves::default(), state: State::New };
        followed.refresh()?;
        Ok(followed)
    }

    /// Read what is new; whether anything is.
    fn refresh(&mut self) -> Result<bool, Error> {
        // The state first: a runner that ends in between has written its last event before.
        let held = workspace::state(&self.job, &self.history) == State::Running;
        let events = self.reader.read_new()?;
        for event in &events {
            self.history.apply(event);
        }
        let state = if held && self.history.end.is_none() {
            State::Running
        } else {
            workspace::state(&self.job, &self.history)
        };
        let changed = !events.is_empty() || state != self.state;
        self.state = state;
        Ok(changed)
    }
}

/// One concept, its photos, and one of its runs.
pub struct Model {
    /// The concept.
    pub concept: Concept,
    /// Its photos.
    pub photos: Vec<PathBuf>,
    /// How many of them have a mask.
    pub masks: usize,
    /// Its runs, oldest first.
    pub runs: Vec<JobFolder>,
    /// Which of them is shown.
    pub shown: usize,
    /// The shown run.
    pub run: Option<Followed>,
    /// The last separate scoring of it.
    pub scoring: Option<Followed>,
}

impl Model {
    /// The concept with its last run.
    pub fn new(concept: Concept) -> Result<Self, Error> {
        let (photos, runs) = (Vec::new(), Vec::new());
        let mut model = Self { concept, photos, masks: 0, runs, shown: 0, run: None, scoring: None };
        model.refresh()?;
        Ok(model)
    }

    /// Look at the files again; whether anything has changed. A run that is new is shown if the last one was.
    pub fn refresh(&mut self) -> Result<bool, Error> {
        let photos = self.concept.photos()?;
        let masks = photos.iter().filter(|photo| self.concept.mask_path(photo).is_file()).count();
        let runs = self.concept.runs()?;
        let mut changed = photos != self.photos || masks != self.masks || runs != self.runs;
        (self.photos, self.masks) = (photos, masks);
        if runs != self.runs {
            let at_last = self.shown + 1 >= self.runs.len();
            let shown = self.runs.get(self.shown).and_then(|job| runs.iter().position(|run| run == job));
            self.runs = runs;
            let last = self.runs.len().saturating_sub(1);
            self.show(if at_last { last } else { shown.unwrap_or(last) })?;
        }
        changed |= self.refresh_jobs()?;
        Ok(changed)
    }

    /// Look at the shown run again; whether anything has changed.
    pub fn refresh_jobs(&mut self) -> Result<bool, Error> {
        let mut changed = false;
        if let Some(run) = &mut self.run {
            changed |= run.refresh()?;
            if self.scoring.is_none()
                && let Ok(job) = JobFolder::at(&run.job.evaluation())
            {
                self.scoring = Some(Followed::new(job)?);
                changed = true;
            }
        }
        if let Some(scoring) = &mut self.scoring {
            changed |= scoring.refresh()?;
        }
        Ok(changed)
    }

    /// Show the run at `index`.
    pub fn show(&mut self, index: usize) -> Result<(), Error> {
        if self.run.as_ref().map(|run| &run.job) != self.runs.get(index) {
            self.run = self.runs.get(index).cloned().map(Followed::new).transpose()?;
            self.scoring = None;
        }
        self.shown = index;
        self.refresh_jobs().map(drop)
    }

    /// Whether a runner is at work on what is shown.
    pub fn is_running(&self) -> bool {
        [&self.run, &self.scoring].into_iter().flatten().any(|job| job.state == State::Running)
    }

    /// The job that is shown as going on: a scoring while it runs, else the run.
    pub fn current(&self) -> Option<&Followed> {
        self.scoring.as_ref().filter(|scoring| scoring.state == State::Running).or(self.run.as_ref())
    }

    /// The history that holds the pictures to compare: of the last scoring.
    pub fn compared(&self) -> Option<&History> {
        let has = |job: &&Followed| job.history.evaluated(false).next().is_some();
        self.scoring.as_ref().filter(has).or(self.run.as_ref().filter(has)).map(|job| &job.history)
    }
}
