//! The library keeps the store as the files are. It takes up what has changed in a concept's folder, and answers questions from the
//! store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Error;
use super::look::{JobLook, Look, is_name};
use super::readings::Readings;
use crate::protocol::{ConceptDetails, ConceptRecord, MaskRecord, RunRecord, State, StoreCounts};
use crate::store::{self, JobRecord, Store, key, numbered};
use crate::workspace::{
    self, Home, JobContents, JobFolder, KnownMasks, Ratings, RunSummary, look_at_masks, masks_at, rate, scoring_of,
    standing, state_now,
};

/// A concept whose files could not be read in time is looked at again after this long.
const LATER: Duration = Duration::from_secs(10);

/// Concepts whose folders have changed: since when, and when last.
type Dirty = BTreeMap<String, (Instant, Instant)>;

/// The store and the files it is made of.
pub struct Library {
    home: Home,
    store: Store,
    pub(super) dirty: Dirty,
    /// Concepts and jobs a mask of whose samples may have changed.
    pub(super) masks: BTreeSet<(String, String)>,
    /// Jobs that cannot be read, by their keys: how their files were then, and what is wrong.
    unread: HashMap<Vec<u8>, (String, String)>,
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
    /// That of `home` in `store`; `taken_up` is told of each concept that has changed.
    pub fn new(home: Home, store: Store, taken_up: Rc<dyn Fn(&str)>) -> Self {
        let (dirty, masks) = (Dirty::new(), BTreeSet::new());
        let (looks, contents, states) = (Readings::new(), Readings::new(), Readings::new());
        Self { home, store, dirty, masks, unread: HashMap::new(), taken_up, looks, contents, states }
    }

    /// Make the whole store as the files are.
    pub(super) fn scan(&mut self) -> Result<StoreCounts, store::Error> {
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
        self.unread.clear();
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
            // Of the two sides of a run the one with what was learned comes last.
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
            there.insert(name.clone());
            if let Some((_, problem)) = self.unread.get(&path).filter(|(then, _)| *then == now) {
                jobs.problem.get_or_insert_with(|| problem.clone());
                continue;
            }
            self.unread.remove(&path);
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
                    Ok((then, Err(error))) => {
                        self.unread.insert(path, (then, error.to_string()));
                        Some(error.to_string())
                    }
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
