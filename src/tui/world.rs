//! What the workbench knows: the library and the queue as the daemon tells them, the concept that is open, and the runs
//! that are looked at. Screens read it; what comes from other threads changes it.

mod samples;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub use samples::{SampleList, words};

use super::link::{Follower, News, Update};
use crate::protocol::{
    BothScores, ConceptDetails, ConceptRecord, JobInfo, JobKind, JobState, RunRecord, ScoreTask, State,
};
use crate::workspace::{
    CheckpointScores, Concept, GraphicsCard, History, Home, JobFolder, Preflight, Ratings, RunSpec,
};

/// What the preflight found.
#[derive(Debug, Clone, PartialEq)]
pub enum Checked {
    /// A training can start.
    Ready(Preflight),
    /// It cannot, and why.
    Wrong(String),
}

/// A job that is followed.
pub struct Followed {
    /// The job.
    pub job: JobFolder,
    /// What its events say so far.
    pub history: History,
    /// How it is.
    pub state: State,
    /// What it was asked to do, where it is a training.
    pub spec: Option<Box<RunSpec>>,
    /// All that was there has come.
    pub whole: bool,
    /// Why it cannot be followed.
    pub lost: Option<String>,
    /// No more will come unless it is resumed.
    over: bool,
    _follower: Follower,
}

impl Followed {
    fn new(job: JobFolder, follower: Follower) -> Self {
        let (history, state) = (History::new(&job), State::New);
        Self { job, history, state, spec: None, whole: false, lost: None, over: false, _follower: follower }
    }

    /// Take in what the follower tells.
    fn take(&mut self, told: News) {
        match told {
            News::Whole(history, state, spec) => {
                (self.history, self.state, self.spec, self.whole) = (*history, state, spec, true);
            }
            News::More(events) => {
                for event in &events {
                    self.history.apply(event);
                }
                if !events.is_empty() && self.history.end.is_none() {
                    self.state = State::Running;
                }
            }
            News::Over(state) => (self.state, self.over) = (state, true),
            News::Lost(why) => (self.lost, self.whole, self.over) = (Some(why), true, true),
        }
    }
}

/// The concept that is open.
pub struct Open {
    /// Its folder and file.
    pub concept: Concept,
    /// What the daemon knows of it, once it has told.
    pub details: Option<ConceptDetails>,
    /// Its photos.
    pub photos: Vec<PathBuf>,
    /// What the preflight found, once it has.
    pub checked: Option<Checked>,
    /// Its samples as the store has them, once they have come.
    pub samples: Option<SampleList>,
    /// How often samples have come, or ratings that are not from here.
    pub samples_generation: u64,
    /// How often a mask of a sample was mended here.
    pub mends: u64,
    /// Those samples, from the concept's folder, until their pictures are measured again from here.
    pub mended: BTreeSet<PathBuf>,
    /// What was measured of each checkpoint of the shown run, by its step, once it has come.
    pub checkpoint_scores: CheckpointScores,
    /// Which run is shown, by id; none for the last.
    shown: Option<String>,
}

impl Open {
    /// Its runs, oldest first.
    pub fn runs(&self) -> &[RunRecord] {
        self.details.as_ref().map_or(&[], |details| &details.run_records)
    }

    /// The run that is shown.
    pub fn run(&self) -> Option<&RunRecord> {
        let shown = self.shown.as_ref().and_then(|id| self.runs().iter().find(|run| run.id == *id));
        shown.or(self.runs().last())
    }

    /// Its place among the runs.
    pub fn run_index(&self) -> usize {
        let id = self.run().map(|run| &run.id);
        self.runs().iter().position(|run| Some(&run.id) == id).unwrap_or(0)
    }

    /// Take in its samples.
    pub fn take_samples(&mut self, mut samples: SampleList) {
        self.samples_generation += 1;
        // They may have been asked for before a mask was mended.
        for path in &self.mended {
            samples.look_at_mask(&self.concept.folder, path);
        }
        let before = self.samples.replace(samples);
        // Even to let go of a hundred thousand takes longer than a frame may.
        std::thread::spawn(move || drop(before));
    }

    /// Take in what `ratings.toml` says now.
    pub fn take_ratings(&mut self, ratings: &Ratings) {
        let changed = self.samples.as_mut().is_some_and(|samples| samples.rate_all(ratings));
        self.samples_generation += u64::from(changed);
    }

    /// The mask of the sample at `picture` is another now: that is seen at once, whatever the daemon has taken up.
    pub fn mend(&mut self, picture: &Path) {
        let folder = &self.concept.folder;
        let (Ok(path), Some(samples)) = (picture.strip_prefix(folder), &mut self.samples) else { return };
        if samples.look_at_mask(folder, path) {
            self.mends += 1;
            self.mended.insert(path.to_owned());
        }
    }

    /// Show this run; none for the last, whichever that will be.
    pub fn show(&mut self, id: Option<String>) {
        self.shown = id;
    }
}

/// All of it.
pub struct World {
    /// Where everything is.
    pub home: Home,
    /// All concepts, by name.
    pub concepts: Vec<ConceptRecord>,
    /// They have come.
    pub listed: bool,
    /// How often they have changed.
    pub generation: u64,
    /// The runs whose checkpoints are scored by jobs of the queue, by the folders of these.
    scored: BTreeMap<PathBuf, String>,
    /// The queue: what runs, what waits in the order of its turn, what is over.
    pub jobs: Vec<JobInfo>,
    /// Why the daemon cannot be reached, where it cannot.
    pub down: Option<String>,
    /// Why nothing can be changed, where the files alone tell.
    pub read_only: Option<String>,
    /// The concept that is open.
    pub open: Option<Open>,
    /// The jobs that are looked at.
    pub followed: BTreeMap<PathBuf, Followed>,
    /// The graphics cards, when they were last asked.
    pub cards: Vec<GraphicsCard>,
    /// The process of a runner, and how many bytes of the machine's memory it had when it was last looked at.
    pub runner_memory: Option<(u32, u64)>,
    /// What is being done on other threads.
    pub doing: Vec<String>,
}

impl World {
    /// Nothing known yet.
    pub fn new(home: Home) -> Self {
        Self {
            home,
            concepts: Vec::new(),
            listed: false,
            generation: 0,
            scored: BTreeMap::new(),
            jobs: Vec::new(),
            down: None,
            read_only: None,
            open: None,
            followed: BTreeMap::new(),
            cards: Vec::new(),
            runner_memory: None,
            doing: Vec::new(),
        }
    }

    /// Open a concept; what is known of it comes later.
    pub fn open(&mut self, concept: Concept) {
        let photos = concept.photos().unwrap_or_default();
        self.open = Some(Open {
            concept,
            details: None,
            photos,
            checked: None,
            samples: None,
            samples_generation: 0,
            mends: 0,
            mended: BTreeSet::new(),
            shown: None,
            checkpoint_scores: CheckpointScores::default(),
        });
        self.followed.clear();
    }

    /// Take in what the daemon tells. Whether the open concept has changed.
    pub fn take(&mut self, update: Update) -> bool {
        self.generation += u64::from(matches!(update, Update::Concepts(_) | Update::Concept(_) | Update::Gone(_)));
        match update {
            Update::Concepts(concepts) => {
                (self.concepts, self.listed, self.down) = (concepts, true, None);
                return self.open.is_some();
            }
            Update::Jobs(jobs) => {
                let scorings = jobs.iter().filter(|job| job.kind == Some(JobKind::Score) && !job.state.is_over());
                let run = |job: &JobInfo| {
                    let known = self.scored.get(&job.job).cloned();
                    let spec = || JobFolder::at(&job.job).ok()?.score_spec().ok();
                    let run = known.or_else(|| spec().filter(|spec| spec.task == ScoreTask::Checkpoints)?.run)?;
                    Some((job.job.clone(), run))
                };
                self.scored = scorings.filter_map(run).collect();
                (self.jobs, self.down) = (jobs, None);
            }
            Update::Down(why) => self.down = Some(why),
            Update::ReadOnly(why) => self.read_only = why,
            // The screen says it.
            Update::News(_) => {}
            Update::Gone(name) => {
                self.concepts.retain(|concept| concept.concept != name);
                if self.open.as_ref().is_some_and(|open| open.concept.id == name) {
                    self.open = None;
                    self.followed.clear();
                }
            }
            Update::Concept(details) => {
                let record = &details.concept;
                match self.concepts.binary_search_by(|known| known.concept.cmp(&record.concept)) {
                    Ok(at) => self.concepts[at] = record.clone(),
                    Err(at) => self.concepts.insert(at, record.clone()),
                }
                if let Some(open) = self.open.as_mut().filter(|open| open.concept.id == record.concept) {
                    if let Ok(concept) = Concept::open(&open.concept.folder) {
                        open.concept = concept;
                    }
                    open.photos = open.concept.photos().unwrap_or_default();
                    open.details = Some(*details);
                    return true;
                }
            }
        }
        false
    }

    /// Take in what a follower tells of the job at `path`.
    pub fn told(&mut self, path: &Path, told: News) {
        if let Some(followed) = self.followed.get_mut(path) {
            followed.take(told);
        }
    }

    /// Follow exactly these jobs: `start` begins to follow one. One whose job goes on again, after it was over, is
    /// followed anew.
    pub fn follow(&mut self, wanted: &[PathBuf], start: impl Fn(JobFolder) -> Follower) {
        let goes_on = |path: &Path, followed: &Followed| {
            followed.over
                && followed.lost.is_none()
                && self.jobs.iter().any(|job| job.job == path && !job.state.is_over())
        };
        let kept: Vec<PathBuf> = self
            .followed
            .iter()
            .filter(|(path, followed)| wanted.contains(path) && !goes_on(path, followed))
            .map(|(path, _)| path.clone())
            .collect();
        self.followed.retain(|path, _| kept.contains(path));
        for path in wanted {
            if !self.followed.contains_key(path)
                && let Ok(job) = JobFolder::at(path)
            {
                self.followed.insert(path.clone(), Followed::new(job.clone(), start(job)));
            }
        }
    }

    /// The run that is shown, with its events.
    pub fn run(&self) -> Option<&Followed> {
        self.followed.get(&self.open.as_ref()?.run()?.path)
    }

    /// The last separate scoring of it.
    pub fn scoring(&self) -> Option<&Followed> {
        self.followed.get(&self.open.as_ref()?.run()?.path.join("evaluation"))
    }

    /// The scores of the shown run: as its last scoring has told them, or where that was by a version that said less, as they were
    /// read from its lines.
    pub fn scores(&self) -> Option<BothScores> {
        let told = self.run()?.history.scores(self.scoring().map(|scoring| &scoring.history))?;
        let read = || self.open.as_ref()?.run()?.scores.clone();
        Some(if told.after.unit.is_some() { told } else { read().unwrap_or(told) })
    }

    /// The scorings of the checkpoints of the shown run that run or wait.
    pub fn scorings(&self) -> impl Iterator<Item = &JobInfo> {
        let open = self.open.as_ref();
        let run = open.and_then(|open| Some((&open.concept.id, open.run()?)));
        self.jobs.iter().filter(move |job| {
            run.is_some_and(|(concept, run)| job.concept == *concept && self.scored.get(&job.job) == Some(&run.id))
        })
    }

    /// What tells that the samples of the open concept are others than before: how many there are, and when its jobs have
    /// changed last. Ratings change neither.
    pub fn samples_key(&self) -> Option<(usize, jiff::Timestamp)> {
        let open = self.open.as_ref()?;
        let name = &open.concept.id;
        let listed = self.concepts.binary_search_by(|known| known.concept.cmp(name)).ok();
        let record = listed.map(|at| &self.concepts[at]);
        let record = record.or(open.details.as_ref().map(|details| &details.concept));
        record.map(|record| (record.samples, record.changed))
    }

    /// The job that is shown as going on: a scoring while it runs, else the run.
    pub fn current(&self) -> Option<&Followed> {
        self.scoring().filter(|scoring| scoring.state == State::Running).or(self.run())
    }

    /// The history that holds the pictures to compare: of the last scoring.
    pub fn compared(&self) -> Option<&History> {
        let has = |job: &&Followed| job.history.evaluated(false).next().is_some();
        self.scoring().filter(has).or(self.run().filter(has)).map(|job| &job.history)
    }

    /// The job in the folder at `path`, as the queue knows it.
    pub fn job(&self, path: &Path) -> Option<&JobInfo> {
        self.jobs.iter().find(|job| job.job == path)
    }

    /// How much of the memory of the graphics card `cuda:N` is taken, and how much it has.
    pub fn card_memory(&self, device: &str) -> Option<(u64, u64)> {
        let card = self.cards.iter().find(|card| device == format!("cuda:{}", card.number))?;
        Some((card.total.saturating_sub(card.free), card.total))
    }

    /// What of the open concept's files cannot be read.
    pub fn problem(&self) -> Option<&str> {
        self.open.as_ref()?.details.as_ref()?.concept.problem.as_deref()
    }

    /// The job of the open concept that runs or waits, if there is one.
    pub fn busy(&self) -> Option<&JobInfo> {
        let concept = &self.open.as_ref()?.concept.id;
        self.jobs.iter().find(|job| job.concept == *concept && !job.state.is_over())
    }

    /// How many jobs run, and how many wait.
    pub fn running(&self) -> (usize, usize) {
        let count = |state| self.jobs.iter().filter(|job| job.state == state).count();
        (count(JobState::Running), count(JobState::Queued))
    }
}
