//! The librarian: a thread that owns the store and keeps it as the files are. What changes in a concept's folder is taken
//! up once it has been quiet for a moment; what is asked is answered from the store, after what is known to have changed.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Error;
use super::log::log;
use super::look::{JobLook, Look, is_name};
use super::readings::Readings;
use super::watcher::Changed;
use crate::protocol::{ConceptDetails, ConceptRecord, MaskRecord, RunRecord, State, StoreCounts};
use crate::store::{self, JobRecord, Store, key, numbered};
use crate::workspace::{
    self, Home, JobContents, JobFolder, KnownMasks, Ratings, RunSummary, look_at_masks, masks_at, rate, scoring_of,
    standing, state_now,
};

/// A folder is read once nothing has changed in it for so long.
const QUIET: Duration = Duration::from_millis(150);
/// It is read after so long though it is not quiet.
const LONGEST: Duration = Duration::from_millis(600);

/// How long is waited for all folders to be watched.
const WATCHED: Duration = Duration::from_secs(20);
/// A concept whose files could not be read in time is looked at again after this long.
const LATER: Duration = Duration::from_secs(10);

/// How long is waited before a store that could not be opened is tried again, if nobody asks.
const AGAIN: Duration = Duration::from_secs(5);

/// Done by the library, or told that there is none. Whether the store can still be used.
type Task = Box<dyn FnOnce(Option<&mut Library>) -> bool + Send>;

enum Note {
    /// Something has changed in the folder of a concept.
    Changed(Changed),
    Task(Task),
}

/// Reaches the librarian from any thread.
#[derive(Clone)]
pub struct Librarian {
    notes: Sender<Note>,
    /// Why there is no store now, where there is none.
    missing: Arc<Mutex<Option<String>>>,
}

impl Librarian {
    /// Open the store, make it as the files are, and keep it so. The files are read once `watched` is closed, or what changes
    /// between the reading and the watching would be seen by neither. `taken_up` is told of each concept that has changed;
    /// `warn` of a store that had to be rebuilt. A store that cannot be opened, or written to any more, is tried again until it
    /// can: there may have been no room on the disk.
    pub fn start(
        home: &Home,
        watched: Receiver<Infallible>,
        taken_up: impl Fn(&str) + Send + 'static,
        warn: impl Fn(String) + Send + 'static,
    ) -> Self {
        let (notes, received) = channel();
        let missing = Arc::default();
        let (home, why) = (home.clone(), Arc::clone(&missing));
        std::thread::spawn(move || {
            // Nothing ever comes: its end is the word. A folder that cannot be watched now must not keep the others waiting.
            let _ = watched.recv_timeout(WATCHED);
            let taken_up: Rc<dyn Fn(&str)> = Rc::new(taken_up);
            let mut asked: Option<Task> = None;
            loop {
                match Store::open(&home.internal().join("store")) {
                    Ok((store, told)) => {
                        told.into_iter().for_each(&warn);
                        set(&why, None);
                        let (home, taken_up) = (home.clone(), Rc::clone(&taken_up));
                        let mut library = Library {
                            home,
                            store,
                            dirty: Dirty::new(),
                            masks: BTreeSet::new(),
                            taken_up,
                            looks: Readings::new(),
                            contents: Readings::new(),
                            states: Readings::new(),
                        };
                        // sled panics where it cannot write, and is of no more use then.
                        let attend = AssertUnwindSafe(|| library.attend(&received, asked.take(), &warn));
                        match std::panic::catch_unwind(attend) {
                            Ok(Attended::Dismissed) => return,
                            Ok(Attended::Unusable) | Err(_) => {
                                log("the store cannot be used any more: opening it again");
                            }
                        }
                        drop(std::panic::catch_unwind(AssertUnwindSafe(|| drop(library))));
                    }
                    Err(error) => set(&why, Some(format!("there is no store now, it is tried again: {error}"))),
                }
                if let Some(task) = asked.take() {
                    task(None);
                }
                match wait_for_task(&received) {
                    Ok(task) => asked = task,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        });
        Self { notes, missing }
    }

    /// Why there is no store now, where there is none.
    pub fn missing(&self) -> Option<String> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something has changed in the folder of a concept.
    pub fn changed(&self, change: Changed) {
        // The other end lives as long as the daemon.
        let _ = self.notes.send(Note::Changed(change));
    }

    /// Ask the library.
    ///
    /// # Errors
    /// It has no store, or this breaks.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Library) -> Result<T, store::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let task = move |library: Option<&mut Library>| {
            // Dropped without an answer, it says that there is no store.
            let Some(library) = library else { return false };
            let result = question(library);
            let usable = !matches!(&result, Err(store::Error::Sled { .. }));
            // Whoever asked may be gone.
            let _ = answer.send(result);
            usable
        };
        self.notes.send(Note::Task(Box::new(task))).map_err(|_| Error::NoStore)?;
        Ok(answered.await.map_err(|_| Error::NoStore)??)
    }
}

/// Say why there is no store now; none when there is one.
fn set(missing: &Mutex<Option<String>>, why: Option<String>) {
    let mut missing = missing.lock().unwrap_or_else(PoisonError::into_inner);
    if *missing != why {
        log(why.as_deref().unwrap_or("there is a store again"));
        *missing = why;
    }
}

/// Wait until somebody asks, or for a while. What changes meanwhile is seen when the store is opened.
fn wait_for_task(notes: &Receiver<Note>) -> Result<Option<Task>, RecvTimeoutError> {
    let until = Instant::now() + AGAIN;
    loop {
        match notes.recv_timeout(until.saturating_duration_since(Instant::now()))? {
            Note::Task(task) => return Ok(Some(task)),
            Note::Changed(_) => {}
        }
    }
}

/// Why the librarian attends to a store no longer.
enum Attended {
    /// Nobody will ask again.
    Dismissed,
    /// It cannot be used.
    Unusable,
}

/// Concepts whose folders have changed: since when, and when last.
type Dirty = BTreeMap<String, (Instant, Instant)>;

/// The store and the files it is made of.
pub struct Library {
    home: Home,
    store: Store,
    dirty: Dirty,
    /// Concepts and jobs a mask of whose samples may have changed.
    masks: BTreeSet<(String, String)>,
    /// Told of each concept that has changed.
    taken_up: Rc<dyn Fn(&str)>,
    looks: Readings<Option<Look>>,
    contents: Readings<(String, Result<JobContents, workspace::Error>)>,
    states: Readings<Vec<RunRecord>>,
}

/// What has come of looking at a concept's runs and samplings.
#[derive(Default)]
struct Jobs {
    /// One has come, changed or gone.
    changed: bool,
    /// A mask of a sample has come, changed or gone.
    masks: bool,
    /// When they have changed last.
    newest: jiff::Timestamp,
    /// What is wrong with the first that cannot be read.
    problem: Option<String>,
}

impl Library {
    /// Make the store as the files are and keep it so; answer what is asked, `first` this.
    fn attend(&mut self, notes: &Receiver<Note>, first: Option<Task>, warn: &dyn Fn(String)) -> Attended {
        let began = Instant::now();
        match self.scan() {
            Ok(counts) => log(&format!(
                "store: {} concepts, {} runs, {} samples, looked through in {:.1} s",
                counts.concepts,
                counts.runs,
                counts.samples,
                began.elapsed().as_secs_f64()
            )),
            Err(error @ store::Error::Sled { .. }) => {
                log(&format!("the store: {error}"));
                return Attended::Unusable;
            }
            Err(error) => warn(format!("the store: {error}: catbench daemon rebuild makes it anew")),
        }
        if first.is_some_and(|task| !task(Some(self))) {
            return Attended::Unusable;
        }
        loop {
            let due = self.dirty.values().map(|(first, last)| (*first + LONGEST).min(*last + QUIET)).min();
            let note = match due {
                Some(due) => notes.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => notes.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match note {
                Ok(Note::Changed(Changed { concept, masks_of })) => {
                    let now = Instant::now();
                    self.masks.extend(masks_of.map(|job| (concept.clone(), job)));
                    self.dirty.entry(concept).or_insert((now, now)).1 = now;
                }
                Ok(Note::Task(task)) => {
                    if !task(Some(self)) {
                        return Attended::Unusable;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    let now = Instant::now();
                    let ready = |(first, last): &(Instant, Instant)| *first + LONGEST <= now || *last + QUIET <= now;
                    let ready: Vec<String> =
                        self.dirty.iter().filter(|(_, times)| ready(times)).map(|(name, _)| name.clone()).collect();
                    for concept in ready {
                        self.dirty.remove(&concept);
                        if let Err(error) = self.refresh(&concept) {
                            log(&format!("{concept}: {error}"));
                            if matches!(error, store::Error::Sled { .. }) {
                                return Attended::Unusable;
                            }
                        }
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Attended::Dismissed,
            }
        }
    }

    /// Make the whole store as the files are.
    fn scan(&mut self) -> Result<StoreCounts, store::Error> {
        // Whether they are concepts is seen when they are taken up: a disk that does not answer hides no others.
        let there: BTreeSet<String> = std::fs::read_dir(self.home.path())
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_file()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| is_name(name))
            .collect();
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
        // A path would lead elsewhere, or to other records.
        if !is_name(concept) {
            return Ok(false);
        }
        let folder = self.home.path().join(concept);
        let path = key(&[concept]);
        let asked = folder.clone();
        let Look { photos, masks, prompts, record: of_files, notes, ratings, jobs } =
            match self.looks.read(&folder, move || Look::at(&asked)) {
                Ok(Some(look)) => look,
                Ok(None) => {
                    let known = self.store.concepts.get(&path)?.is_some();
                    self.store.remove_concept(concept)?;
                    return Ok(known);
                }
                Err(late) => return self.mark(concept, &late),
            };
        let mut changed = false;
        let Store { photos: of_photos, masks: of_masks, prompts: of_prompts, .. } = &self.store;
        for (tree, files) in [(of_photos, &photos), (of_masks, &masks), (of_prompts, &prompts)] {
            if tree.under(&path)? != *files {
                changed = true;
                tree.remove_under(&path)?;
                for file in files {
                    tree.insert(&key(&[concept, &file.name]), file)?;
                }
            }
        }
        let Jobs { changed: jobs_changed, masks: masks_changed, newest, problem: unreadable } =
            self.refresh_jobs(concept, &folder, jobs)?;
        let known = self.store.concepts.get(&path)?;
        // Ratings that cannot be read are told of, and none until they can.
        let (ratings, wrong) = match ratings {
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
        Ok(changed | jobs_changed | masks_changed | rated)
    }

    /// Mark a concept whose files could not be read in time, and look at it again later.
    fn mark(&mut self, concept: &str, late: &Error) -> Result<bool, store::Error> {
        self.later(concept);
        let path = key(&[concept]);
        let known = self.store.concepts.get(&path)?;
        let before = known.clone().unwrap_or_else(|| ConceptRecord::unread(concept));
        let record = ConceptRecord { problem: Some(late.to_string()), ..before };
        let changed = known.as_ref() != Some(&record);
        if changed {
            self.store.concepts.insert(&path, &record)?;
        }
        Ok(changed)
    }

    fn later(&mut self, concept: &str) {
        let then = Instant::now() + LATER;
        self.dirty.insert(concept.to_owned(), (then, then));
    }

    /// Give the samples of a concept their ratings. The one that stands for it.
    fn rate(&self, concept: &str, ratings: &Ratings) -> Result<Option<PathBuf>, store::Error> {
        let path = key(&[concept]);
        let mut samples = self.store.samples.entries_under(&path)?;
        for (key, sample) in &mut samples {
            if rate(sample, ratings) {
                self.store.samples.insert(key, sample)?;
            }
        }
        self.store.ratings.insert(&path, ratings)?;
        Ok(standing(samples.iter().map(|(_, sample)| sample)))
    }

    /// The same for its runs and samplings.
    fn refresh_jobs(&mut self, concept: &str, folder: &Path, looks: Vec<JobLook>) -> Result<Jobs, store::Error> {
        let mut jobs = Jobs::default();
        let mut there = BTreeSet::new();
        for JobLook { job, fingerprint: now, is_held, masks: masks_now } in looks {
            let name = job.path().strip_prefix(folder).unwrap_or(job.path()).to_string_lossy().into_owned();
            let path = key(&[concept, &name]);
            let known = self.store.jobs.get(&path)?;
            let touched = self.masks.remove(&(concept.to_owned(), name.clone()));
            // Of one that is at work only its beginning and its end are taken up.
            if known.as_ref().is_none_or(|known| known.fingerprint != now && !is_held) {
                jobs.changed = true;
                let masks = self.known_masks(&path, known.as_ref())?;
                self.forget_job(concept, &name, job.id())?;
                // All is read before anything is kept.
                let (of, read) = (folder.to_owned(), job.clone());
                let problem = match self.contents.read(job.path(), move || (now, JobContents::read(&of, &read, &masks)))
                {
                    Ok((then, Ok(contents))) => {
                        self.keep_job(concept, job.id(), contents, then)?;
                        None
                    }
                    Ok((_, Err(error))) => Some(error.to_string()),
                    Err(late) => {
                        self.later(concept);
                        Some(late.to_string())
                    }
                };
                jobs.problem = jobs.problem.or(problem);
            } else if let Some(known) = known
                && (touched || known.masks != masks_now)
                && !is_held
            {
                jobs.masks |= self.look_at_masks(folder, &path, JobRecord { masks: masks_now, ..known })?;
            }
            there.insert(name);
        }
        for name in self.store.jobs.names_under(&key(&[concept]))? {
            if !there.contains(&name) {
                jobs.changed = true;
                let id = name.rsplit('/').next().unwrap_or_default();
                self.forget_job(concept, &name, id)?;
            }
        }
        let newest = self.store.jobs.under(&key(&[concept]))?.into_iter().map(|job| job.changed).max();
        jobs.newest = newest.unwrap_or_default();
        Ok(jobs)
    }

    /// What is known of the masks of the samples of the job at `path`.
    fn known_masks(&self, path: &[u8], job: Option<&JobRecord>) -> Result<KnownMasks, store::Error> {
        if job.is_none_or(|job| job.masks.is_none()) {
            return Ok(KnownMasks::new());
        }
        let samples = self.store.samples.under(path)?.into_iter();
        Ok(samples.filter_map(|sample| Some((sample.path, sample.mask?))).collect())
    }

    /// Look at the masks of the samples of the job at `path`, whose record becomes `job`. Whether one is another than before.
    fn look_at_masks(&self, folder: &Path, path: &[u8], job: JobRecord) -> Result<bool, store::Error> {
        let (keys, mut samples): (Vec<_>, Vec<_>) = self.store.samples.entries_under(path)?.into_iter().unzip();
        let before: Vec<Option<MaskRecord>> = samples.iter().map(|sample| sample.mask).collect();
        look_at_masks(folder, &mut samples);
        let mut changed = false;
        for ((key, sample), before) in keys.iter().zip(&samples).zip(before) {
            if sample.mask != before {
                changed = true;
                self.store.samples.insert(key, sample)?;
            }
        }
        let at = masks_at(job.masks, &samples);
        self.store.jobs.insert(path, &JobRecord { changed: job.changed.max(at), ..job })?;
        Ok(changed)
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

    fn keep_job(
        &self,
        concept: &str,
        id: &str,
        contents: JobContents,
        fingerprint: String,
    ) -> Result<(), store::Error> {
        let JobContents { name, kind, changed, masks, settings, run, checkpoints, samples } = contents;
        for checkpoint in &checkpoints {
            self.store.checkpoints.insert(&numbered(&[concept, id], checkpoint.step as u64), checkpoint)?;
        }
        if let Some(run) = &run {
            if let Some(scores) = &run.scores {
                self.store.scores.insert(&numbered(&[concept, &name], 0), &scores.before)?;
                self.store.scores.insert(&numbered(&[concept, &name], 1), &scores.after)?;
            }
            self.store.runs.insert(&key(&[concept, id]), run)?;
        }
        for (folder, settings) in &settings {
            self.store.settings.insert(&key(&[concept, folder]), settings)?;
        }
        for (i, sample) in samples.iter().enumerate() {
            self.store.samples.insert(&numbered(&[concept, &name], i as u64), sample)?;
        }
        self.store.jobs.insert(&key(&[concept, &name]), &JobRecord { kind, fingerprint, changed, masks })
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
        if let Some(text) = matching {
            let mut matched = Vec::new();
            for concept in concepts {
                let notes = self.store.notes.get(&key(&[&concept.concept]))?.unwrap_or_default();
                if concept.matches(&notes, text) {
                    matched.push(concept);
                }
            }
            concepts = matched;
        }
        self.as_they_are(&mut concepts)?;
        Ok(concepts)
    }

    /// Bring the states of the newest runs of `concepts` up to now.
    fn as_they_are(&mut self, concepts: &mut [ConceptRecord]) -> Result<(), store::Error> {
        // What has finished stays so.
        let may_differ = concepts.iter_mut().filter(|one| one.state.is_some_and(|state| state != State::Finished));
        let (mut of, mut runs) = (Vec::new(), Vec::new());
        for concept in may_differ {
            if let Some(run) = self.store.runs.last_under(&key(&[&concept.concept]))? {
                of.push(concept);
                runs.push(run);
            }
        }
        let now = |run: RunRecord| match state_now(&run) {
            State::Running => RunRecord { state: State::Running, ..run },
            _ => up_to_now(run),
        };
        for (concept, run) in of.into_iter().zip(self.brought_up(runs, now)) {
            concept.state = Some(run.state);
        }
        Ok(())
    }

    /// `runs` as `up_to_now` finds them; as they were, where the disk does not answer.
    fn brought_up(
        &mut self,
        runs: Vec<RunRecord>,
        up_to_now: impl Fn(RunRecord) -> RunRecord + Send + 'static,
    ) -> Vec<RunRecord> {
        if runs.is_empty() {
            return runs;
        }
        let asked = runs.clone();
        let now = self.states.read(self.home.path(), move || asked.into_iter().map(up_to_now).collect());
        // Of an earlier question, which was late.
        now.ok().filter(|now| now.iter().map(|run| &run.path).eq(runs.iter().map(|run| &run.path))).unwrap_or(runs)
    }

    /// One concept with all that belongs to it, its samples if they are wanted.
    pub fn concept(&mut self, concept: &str, samples: bool) -> Result<Option<ConceptDetails>, store::Error> {
        self.refresh(concept)?;
        let path = key(&[concept]);
        let Some(mut record) = self.store.concepts.get(&path)? else { return Ok(None) };
        self.as_they_are(std::slice::from_mut(&mut record))?;
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
        let runs = self.store.runs.under(&path)?;
        let mut runs = self.brought_up(runs, up_to_now);
        runs.retain(|run| state.is_none_or(|state| run.state == state));
        Ok(runs)
    }
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
