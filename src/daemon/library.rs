//! The librarian: a thread that owns the store and keeps it as the files are. What changes in a concept's folder is taken
//! up once it has been quiet for a moment; what is asked is answered from the store, after what is known to have changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::server::log;
use crate::protocol::{CheckpointRecord, ConceptDetails, ConceptRecord, RunRecord, SampleRecord, State, StoreCounts};
use crate::store::{self, JobRecord, Store, key, numbered};
use crate::workspace::{
    Concept, History, Home, JobFolder, Ratings, RunSummary, fingerprint, modified, read_ratings, state_now,
};

/// A folder is read once nothing has changed in it for so long.
const QUIET: Duration = Duration::from_millis(150);
/// It is read after so long though it is not quiet.
const LONGEST: Duration = Duration::from_millis(600);
/// What a sample without a rating counts as.
const UNRATED: u8 = 3;

type Task = Box<dyn FnOnce(&mut Library) + Send>;

enum Note {
    /// Something has changed in the folder of a concept.
    Changed(String),
    Task(Task),
}

/// Reaches the librarian from any thread.
#[derive(Clone)]
pub struct Librarian {
    notes: Sender<Note>,
}

impl Librarian {
    /// Open the store, make it as the files are, and keep it so. `taken_up` is told of each concept that has changed;
    /// `warn` of a store that had to be rebuilt.
    pub fn start(
        home: &Home,
        taken_up: impl Fn(&str) + Send + 'static,
        warn: impl Fn(String) + Send + 'static,
    ) -> Self {
        let (notes, received) = channel();
        let home = home.clone();
        std::thread::spawn(move || {
            let mut library = match Library::open(&home, Box::new(taken_up)) {
                Ok((library, told)) => {
                    told.into_iter().for_each(&warn);
                    library
                }
                Err(error) => return warn(format!("there is no store: {error}")),
            };
            library.attend(&received, &warn);
        });
        Self { notes }
    }

    /// Something has changed in the folder of `concept`.
    pub fn changed(&self, concept: String) {
        // Without a store nobody listens.
        let _ = self.notes.send(Note::Changed(concept));
    }

    /// Ask the library; none when it has no store.
    pub async fn ask<T: Send + 'static>(&self, task: impl FnOnce(&mut Library) -> T + Send + 'static) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let task = move |library: &mut Library| drop(answer.send(task(library)));
        self.notes.send(Note::Task(Box::new(task))).ok()?;
        answered.await.ok()
    }
}

/// Concepts whose folders have changed: since when, and when last.
type Dirty = BTreeMap<String, (Instant, Instant)>;

/// The store and the files it is made of.
pub struct Library {
    home: Home,
    store: Store,
    dirty: Dirty,
    /// Told of each concept that has changed.
    taken_up: Box<dyn Fn(&str) + Send>,
}

impl Library {
    fn open(home: &Home, taken_up: Box<dyn Fn(&str) + Send>) -> Result<(Self, Option<String>), store::Error> {
        let (store, told) = Store::open(&home.internal().join("store"))?;
        Ok((Self { home: home.clone(), store, dirty: Dirty::new(), taken_up }, told))
    }

    fn attend(&mut self, notes: &Receiver<Note>, warn: &dyn Fn(String)) {
        let began = Instant::now();
        match self.scan() {
            Ok(counts) => log(&format!(
                "store: {} concepts, {} runs, {} samples, looked through in {:.1} s",
                counts.concepts,
                counts.runs,
                counts.samples,
                began.elapsed().as_secs_f64()
            )),
            Err(error) => warn(format!("the store: {error}: catbench daemon rebuild makes it anew")),
        }
        loop {
            let due = self.dirty.values().map(|(first, last)| (*first + LONGEST).min(*last + QUIET)).min();
            let note = match due {
                Some(due) => notes.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => notes.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match note {
                Ok(Note::Changed(concept)) => {
                    let now = Instant::now();
                    self.dirty.entry(concept).or_insert((now, now)).1 = now;
                }
                Ok(Note::Task(task)) => task(self),
                Err(RecvTimeoutError::Timeout) => {
                    let now = Instant::now();
                    let ready = |(first, last): &(Instant, Instant)| *first + LONGEST <= now || *last + QUIET <= now;
                    let ready: Vec<String> =
                        self.dirty.iter().filter(|(_, times)| ready(times)).map(|(name, _)| name.clone()).collect();
                    for concept in ready {
                        self.dirty.remove(&concept);
                        if let Err(error) = self.refresh(&concept) {
                            log(&format!("{concept}: {error}"));
                        }
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Make the whole store as the files are.
    fn scan(&mut self) -> Result<StoreCounts, store::Error> {
        let there: BTreeSet<String> = self.home.concepts().unwrap_or_default().into_iter().collect();
        for known in self.store.concepts.names_under(b"")? {
            if !there.contains(&known) {
                self.store.remove_concept(&known)?;
            }
        }
        for concept in &there {
            self.take_up(concept)?;
        }
        self.store.flush()?;
        Ok(self.counts())
    }

    /// Forget everything and read the files.
    pub fn rebuild(&mut self) -> Result<StoreCounts, store::Error> {
        self.store.clear()?;
        self.scan()
    }

    fn counts(&self) -> StoreCounts {
        StoreCounts {
            concepts: self.store.concepts.count_under(b""),
            runs: self.store.runs.count_under(b""),
            samples: self.store.samples.count_under(b""),
        }
    }

    /// Make what is known of a concept as its files are, and tell if anything has changed.
    pub fn refresh(&mut self, concept: &str) -> Result<(), store::Error> {
        if self.take_up(concept)? {
            (self.taken_up)(concept);
        }
        Ok(())
    }

    fn take_up(&mut self, concept: &str) -> Result<bool, store::Error> {
        let folder = self.home.path().join(concept);
        let path = key(&[concept]);
        if !folder.join("concept.toml").is_file() {
            let known = self.store.concepts.get(&path)?.is_some();
            self.store.remove_concept(concept)?;
            return Ok(known);
        }
        let (photos, masks) =
            (Concept::picture_files(&folder.join("images")), Concept::picture_files(&folder.join("masks")));
        let mut changed = false;
        for (tree, files) in [(&self.store.photos, &photos), (&self.store.masks, &masks)] {
            if tree.under(&path)? != *files {
                changed = true;
                tree.remove_under(&path)?;
                for file in files {
                    tree.insert(&key(&[concept, &file.name]), file)?;
                }
            }
        }
        let (jobs_changed, newest, unreadable) = self.refresh_jobs(concept, &folder)?;
        let (of_files, notes) = Concept::record(&folder, &photos, &masks);
        let known = self.store.concepts.get(&path)?;
        // Ratings that cannot be read are told of, and none until they can.
        let (ratings, wrong) = match read_ratings(&folder) {
            Ok(ratings) => (ratings, None),
            Err(problem) => (Ratings::new(), Some(problem.to_string())),
        };
        let rated = self.store.ratings.get(&path)?.unwrap_or_default() != ratings;
        let sample = match &known {
            Some(known) if !jobs_changed && !rated => known.sample.clone(),
            _ => self.rate(concept, &ratings)?,
        };
        let record = ConceptRecord {
            runs: self.store.runs.count_under(&path),
            samples: self.store.samples.count_under(&path),
            state: self.store.runs.last_under(&path)?.map(|run| run.state),
            // Of the two sides of a run that with the residual embeddings comes last.
            score: self.store.scores.last_under(&path)?,
            sample,
            changed: of_files.changed.max(newest),
            problem: of_files.problem.or(wrong).or(unreadable),
            ..of_files
        };
        if known.as_ref() != Some(&record) {
            changed = true;
            for tag in known.iter().flat_map(|known| &known.tags) {
                self.store.tags.remove(&key(&[tag, concept]))?;
            }
            for tag in &record.tags {
                self.store.tags.insert(&key(&[tag, concept]), &())?;
            }
            self.store.concepts.insert(&path, &record)?;
        }
        if self.store.notes.get(&path)?.as_ref() != Some(&notes) {
            changed = true;
            self.store.notes.insert(&path, &notes)?;
        }
        Ok(changed | jobs_changed | rated)
    }

    /// Give the samples of a concept their ratings. The one that stands for it.
    fn rate(&self, concept: &str, ratings: &Ratings) -> Result<Option<PathBuf>, store::Error> {
        let path = key(&[concept]);
        let mut best: Option<((u8, bool), PathBuf)> = None;
        for (key, mut sample) in self.store.samples.entries_under(&path)? {
            let rating = sample.path.to_str().and_then(|picture| ratings.get(picture)).copied();
            if sample.rating != rating {
                sample.rating = rating;
                self.store.samples.insert(&key, &sample)?;
            }
            let rank = (rating.unwrap_or(UNRATED), sample.path.starts_with("runs"));
            if sample.learned && best.as_ref().is_none_or(|(highest, _)| rank >= *highest) {
                best = Some((rank, sample.path));
            }
        }
        self.store.ratings.insert(&path, ratings)?;
        Ok(best.map(|(_, path)| path))
    }

    /// The same for its runs and samplings. Whether anything has changed, when they did last, and what is wrong with the first
    /// that cannot be read.
    fn refresh_jobs(
        &mut self,
        concept: &str,
        folder: &Path,
    ) -> Result<(bool, jiff::Timestamp, Option<String>), store::Error> {
        let (mut changed, mut problem) = (false, None);
        let mut there = BTreeSet::new();
        for kind in ["runs", "samples"] {
            for job in JobFolder::in_folder(&folder.join(kind)) {
                let name = format!("{kind}/{}", job.id());
                let path = key(&[concept, &name]);
                let now = fingerprint(&job);
                let known = self.store.jobs.get(&path)?;
                // Of one that is at work only its beginning and its end are taken up.
                if known.as_ref().is_none_or(|known| known.fingerprint != now && !job.is_held()) {
                    changed = true;
                    self.forget_job(concept, &name, job.id())?;
                    match self.read_job(concept, folder, &name, &job, now) {
                        Ok(record) => self.store.jobs.insert(&path, &record)?,
                        Err(Unreadable::Store(error)) => return Err(error),
                        Err(Unreadable::Files(error)) => drop(problem.get_or_insert(error.to_string())),
                    }
                }
                there.insert(name);
            }
        }
        for name in self.store.jobs.names_under(&key(&[concept]))? {
            if !there.contains(&name) {
                changed = true;
                let id = name.rsplit('/').next().unwrap_or_default();
                self.forget_job(concept, &name, id)?;
            }
        }
        let newest = self.store.jobs.under(&key(&[concept]))?.into_iter().map(|job| job.changed).max();
        Ok((changed, newest.unwrap_or_default(), problem))
    }

    fn forget_job(&self, concept: &str, name: &str, id: &str) -> Result<(), store::Error> {
        self.store.jobs.remove(&key(&[concept, name]))?;
        self.store.samples.remove_under(&key(&[concept, name]))?;
        self.store.scores.remove_under(&key(&[concept, name]))?;
        self.store.settings.remove(&key(&[concept, name]))?;
        self.store.settings.remove(&key(&[concept, &scoring_of(name)]))?;
        if name.starts_with("runs/") {
            self.store.runs.remove(&key(&[concept, id]))?;
            self.store.checkpoints.remove_under(&key(&[concept, id]))?;
        }
        Ok(())
    }

    fn read_job(
        &self,
        concept: &str,
        folder: &Path,
        name: &str,
        job: &JobFolder,
        fingerprint: String,
    ) -> Result<JobRecord, Unreadable> {
        // All is read before anything is kept.
        let (kind, settings) = (job.kind()?, job.settings()?);
        let scoring = JobFolder::at(&job.evaluation()).ok();
        let of_scoring = scoring.as_ref().map(JobFolder::settings).transpose()?;
        let changed = scoring.iter().chain([job]).filter_map(|job| modified(&job.events())).max().unwrap_or_default();
        let mut histories = Vec::new();
        if name.starts_with("runs/") {
            let summary = RunSummary::read(concept, job)?;
            for (step, path) in &summary.history.checkpoints {
                let checkpoint = CheckpointRecord { step: *step, path: path.clone() };
                self.store.checkpoints.insert(&numbered(&[concept, job.id()], *step as u64), &checkpoint)?;
            }
            if let Some(scores) = &summary.record.scores {
                self.store.scores.insert(&numbered(&[concept, name], 0), &scores.before)?;
                self.store.scores.insert(&numbered(&[concept, name], 1), &scores.after)?;
            }
            self.store.runs.insert(&key(&[concept, job.id()]), &summary.record)?;
            histories.push(summary.history);
            histories.extend(summary.scoring);
        } else {
            histories.push(History::read(job)?);
        }
        self.store.settings.insert(&key(&[concept, name]), &settings)?;
        if let Some(of_scoring) = of_scoring {
            self.store.settings.insert(&key(&[concept, &scoring_of(name)]), &of_scoring)?;
        }
        for (i, picture) in histories.into_iter().flat_map(|history| history.pictures).enumerate() {
            let path = picture.path.strip_prefix(folder).unwrap_or(&picture.path).to_owned();
            let (prompt, seed, step, learned) = (picture.prompt, picture.seed, picture.step, picture.learned);
            let sample = SampleRecord { path, prompt, seed, step, learned, rating: None };
            self.store.samples.insert(&numbered(&[concept, name], i as u64), &sample)?;
        }
        Ok(JobRecord { kind, fingerprint, changed })
    }

    /// Take up what is known to have changed.
    fn catch_up(&mut self) -> Result<(), store::Error> {
        for concept in std::mem::take(&mut self.dirty).into_keys() {
            self.refresh(&concept)?;
        }
        Ok(())
    }

    /// All concepts with this tag, or all; only those whose name, class word or notes contain `matching`, in any case.
    pub fn concepts(&mut self, tag: Option<&str>, matching: Option<&str>) -> Result<Vec<ConceptRecord>, store::Error> {
        self.catch_up()?;
        let mut concepts = match tag {
            None => self.store.concepts.under(b"")?,
            Some(tag) => {
                let names = self.store.tags.names_under(&key(&[tag]))?;
                let found = names.iter().map(|name| self.store.concepts.get(&key(&[name])));
                found.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect()
            }
        };
        if let Some(text) = matching.map(str::to_lowercase) {
            let mut matched = Vec::new();
            for concept in concepts {
                let notes = self.store.notes.get(&key(&[&concept.concept]))?.unwrap_or_default();
                let fields = [&concept.concept, &concept.name, &concept.class_word, &notes];
                if fields.iter().any(|field| field.to_lowercase().contains(&text)) {
                    matched.push(concept);
                }
            }
            concepts = matched;
        }
        for concept in &mut concepts {
            self.as_it_is(concept)?;
        }
        Ok(concepts)
    }

    /// Bring the state of a concept's newest run up to now.
    fn as_it_is(&self, concept: &mut ConceptRecord) -> Result<(), store::Error> {
        // What has finished stays so.
        if concept.state.is_some_and(|state| state != State::Finished)
            && let Some(run) = self.store.runs.last_under(&key(&[&concept.concept]))?
        {
            concept.state = Some(match state_now(&run) {
                State::Running => State::Running,
                _ => up_to_now(run).state,
            });
        }
        Ok(())
    }

    /// One concept with all that belongs to it, its samples if they are wanted.
    pub fn concept(&mut self, concept: &str, samples: bool) -> Result<Option<ConceptDetails>, store::Error> {
        self.refresh(concept)?;
        let path = key(&[concept]);
        let Some(mut record) = self.store.concepts.get(&path)? else { return Ok(None) };
        self.as_it_is(&mut record)?;
        let names = self.store.settings.names_under(&path)?;
        Ok(Some(ConceptDetails {
            concept: record,
            notes: self.store.notes.get(&path)?.unwrap_or_default(),
            photo_files: self.store.photos.under(&path)?,
            mask_files: self.store.masks.under(&path)?,
            run_records: self.runs(Some(concept), None)?,
            checkpoints: self.store.checkpoints.under(&path)?,
            sample_records: if samples { self.store.samples.under(&path)? } else { Vec::new() },
            settings: names.into_iter().zip(self.store.settings.under(&path)?).collect(),
        }))
    }

    /// The runs of one concept, or of all, that are in this state, or in any.
    pub fn runs(&mut self, concept: Option<&str>, state: Option<State>) -> Result<Vec<RunRecord>, store::Error> {
        self.catch_up()?;
        let path = concept.map(|concept| key(&[concept])).unwrap_or_default();
        let mut runs: Vec<RunRecord> = self.store.runs.under(&path)?.into_iter().map(up_to_now).collect();
        runs.retain(|run| state.is_none_or(|state| run.state == state));
        Ok(runs)
    }
}

/// The scoring of the run in the job folder `run`, as a job folder.
fn scoring_of(run: &str) -> String {
    format!("{run}/evaluation")
}

/// `run` as it is now, if it is or was at work: then it has gone on since it was read.
fn up_to_now(run: RunRecord) -> RunRecord {
    let now = state_now(&run);
    if now != State::Running && now == run.state {
        return run;
    }
    let read = JobFolder::at(&run.path).and_then(|job| RunSummary::read(&run.concept, &job));
    read.map_or(run, |summary| summary.record)
}

/// Why a job is not in the store.
enum Unreadable {
    Store(store::Error),
    Files(crate::workspace::Error),
}

impl From<store::Error> for Unreadable {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<crate::workspace::Error> for Unreadable {
    fn from(error: crate::workspace::Error) -> Self {
        Self::Files(error)
    }
}
