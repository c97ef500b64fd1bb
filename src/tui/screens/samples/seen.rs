//! Which samples are seen, in their order: made anew only when there are others, or others are asked for, so that a frame
//! and a key cost the same however many there are.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

use super::{Asked, Whose};
use crate::fs::Show;
use crate::protocol::{SampleRecord, State};
use crate::tui::world::{Open, World, words};
use crate::workspace::{Picture, RemovedSample};

/// What the rows were made of.
#[derive(Debug, Clone, PartialEq, Default)]
struct Of {
    concept: String,
    generation: u64,
    stored: bool,
    asked: Asked,
    /// How often a mask was mended here.
    mends: u64,
    run: Option<String>,
    /// The jobs at work, and how many pictures they have told of.
    made: Vec<(PathBuf, usize)>,
    /// What tells that the order of the rated ones, or the trash, is another.
    other: (u64, usize, Option<(usize, jiff::Timestamp)>),
}

/// The samples that are seen.
#[derive(Debug, Default)]
pub struct Seen {
    of: Option<Of>,
    /// What the store has not yet: pictures of jobs at work, or what is in the trash.
    extra: Vec<(SampleRecord, String)>,
    trash: Vec<RemovedSample>,
    /// Places: first of the store, then of `extra`.
    rows: Vec<usize>,
    stored: usize,
    /// How many of the rows have a doubtful mask.
    doubtful: usize,
    /// The row whose course is known, and the places of that.
    course: Option<(usize, Vec<usize>)>,
}

impl Seen {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// How many places there are, seen or not.
    pub fn places(&self) -> usize {
        self.stored + self.extra.len()
    }

    /// How many of them have a doubtful mask.
    pub fn doubtful(&self) -> usize {
        self.doubtful
    }

    /// The one in this row.
    pub fn get<'a>(&'a self, open: &'a Open, row: usize) -> Option<&'a SampleRecord> {
        self.rows.get(row).and_then(|&place| self.at(open, place))
    }

    /// The one at this place.
    pub fn at<'a>(&'a self, open: &'a Open, place: usize) -> Option<&'a SampleRecord> {
        match place.checked_sub(self.stored) {
            Some(extra) => self.extra.get(extra).map(|(sample, _)| sample),
            None => open.samples.as_ref()?.records().get(place),
        }
    }

    /// The one of the trash in this row.
    pub fn removed(&self, row: usize) -> Option<&RemovedSample> {
        self.trash.get(row)
    }

    /// The row of the picture at `path`.
    pub fn row_of(&self, open: &Open, path: &Path) -> Option<usize> {
        let same = |sample: &SampleRecord| sample.path.as_os_str() == path.as_os_str();
        (0..self.len()).find(|&row| self.get(open, row).is_some_and(same))
    }

    /// Whether the picture at `path` is one of those that there are, seen or not.
    pub fn is_there(&self, open: &Open, path: &Path) -> bool {
        open.samples.as_ref().is_some_and(|samples| samples.knows(path))
            || self.extra.iter().any(|(sample, _)| sample.path == path)
    }

    /// Be what is seen now. Whether it is something else than before; `ratings` is how often a rating has changed.
    pub fn follow(&mut self, world: &World, asked: &Asked, ratings: u64) -> bool {
        let Some(open) = &world.open else { return false };
        let running = world.followed.values().filter(|job| job.state == State::Running);
        let of = Of {
            concept: open.concept.id.clone(),
            generation: open.samples_generation,
            stored: open.samples.is_some(),
            asked: asked.clone(),
            mends: open.mends,
            run: open.run().map(|run| run.id.clone()),
            made: running.map(|job| (job.job.path().to_owned(), job.history.pictures.len())).collect(),
            other: match asked.whose {
                Whose::Rated => (ratings, 0, None),
                Whose::Trash => (0, world.doing.len(), world.samples_key()),
                _ => (0, 0, None),
            },
        };
        if self.of.as_ref() == Some(&of) {
            return false;
        }
        self.find_extra(world, open, &of);
        self.stored = match asked.whose {
            Whose::Trash => 0,
            _ => open.samples.as_ref().map_or(0, |samples| samples.records().len()),
        };
        self.rows = self.find_rows(open, &of);
        self.doubtful = self.rows.iter().filter(|&&place| self.doubt(open, place).is_some()).count();
        (self.of, self.course) = (Some(of), None);
        true
    }

    /// What the store has not: of jobs at work only what has come since the last time is looked at.
    fn find_extra(&mut self, world: &World, open: &Open, of: &Of) {
        if of.asked.whose == Whose::Trash {
            self.trash = open.concept.removed_samples().unwrap_or_default();
            self.extra = self.trash.iter().map(|removed| (record_of(removed), String::new())).collect();
            for (sample, words) in &mut self.extra {
                *words = sample.prompt.to_lowercase();
            }
            return;
        }
        let before = self.of.as_ref().filter(|before| {
            before.asked.whose != Whose::Trash
                && (&before.concept, before.generation, before.stored) == (&of.concept, of.generation, of.stored)
                && before.made.len() == of.made.len()
                && before.made.iter().zip(&of.made).all(|(before, now)| before.0 == now.0 && before.1 <= now.1)
        });
        let known: Vec<usize> = before
            .map_or_else(|| vec![0; of.made.len()], |before| before.made.iter().map(|(_, count)| *count).collect());
        if before.is_none() {
            self.extra.clear();
        }
        self.trash.clear();
        for ((job, _), known) in of.made.iter().zip(known) {
            let Some(job) = world.followed.get(job) else { continue };
            for picture in job.history.pictures.iter().skip(known) {
                let sample = record(picture, open);
                if !open.samples.as_ref().is_some_and(|samples| samples.knows(&sample.path)) {
                    let words = words(&sample);
                    self.extra.push((sample, words));
                }
            }
        }
    }

    /// The confidence of the mask of the one at this place, where it is doubtful.
    fn doubt(&self, open: &Open, place: usize) -> Option<f64> {
        self.at(open, place).and_then(SampleRecord::doubt)
    }

    /// The newest first; of the rated ones the best; of the trash what was removed last. With their masks, doubtful ones before
    /// all others, the most doubtful first.
    fn find_rows(&self, open: &Open, of: &Of) -> Vec<usize> {
        let Asked { whose, ref filter, masks } = of.asked;
        let words: Vec<String> = filter.split_whitespace().map(str::to_lowercase).collect();
        let run = of.run.as_ref().map(|run| format!("runs/{run}/"));
        // Paths have no odd parts: compared as text, a hundred thousand cost nothing that is felt.
        let is_under = |sample: &SampleRecord, folder: &str| {
            sample.path.as_os_str().as_encoded_bytes().starts_with(folder.as_bytes())
        };
        let is_seen = |place: &usize| {
            let Some(sample) = self.at(open, *place) else { return false };
            let is_of = match whose {
                Whose::All | Whose::Trash => true,
                Whose::Run => run.as_ref().is_some_and(|run| is_under(sample, run)),
                Whose::Batches => is_under(sample, "samples/"),
                Whose::Rated => sample.rating.is_some(),
            };
            let text = match (place.checked_sub(self.stored), &open.samples) {
                (Some(extra), _) => self.extra[extra].1.as_str(),
                (None, Some(samples)) => samples.words(*place),
                (None, None) => "",
            };
            is_of && words.iter().all(|word| text.contains(word.as_str()))
        };
        let all = 0..self.places();
        let mut rows: Vec<usize> = match whose {
            Whose::Trash => all.filter(is_seen).collect(),
            _ => all.rev().filter(is_seen).collect(),
        };
        if whose == Whose::Rated {
            rows.sort_by_key(|&place| Reverse(self.at(open, place).and_then(|sample| sample.rating)));
        }
        if masks {
            let sure = |place: usize| self.doubt(open, place).unwrap_or(f64::INFINITY);
            rows.sort_by(|&a, &b| sure(a).total_cmp(&sure(b)));
        }
        rows
    }

    /// Whether there are several in the course of this row: known once it was asked for.
    pub fn has_course(&self, row: usize) -> bool {
        self.course.as_ref().is_some_and(|(of, places)| *of == row && places.len() > 1)
    }

    /// The same prompt and seed of the same job as in this row, over its steps, as places.
    pub fn course(&mut self, open: &Open, row: usize) -> &[usize] {
        if self.course.as_ref().is_none_or(|(of, _)| *of != row) {
            let mut course: Vec<(usize, usize)> = Vec::new();
            if let Some(chosen) = self.get(open, row).filter(|_| self.trash.is_empty()) {
                let folder = chosen.path.parent();
                let same = |sample: &&SampleRecord| {
                    sample.seed == chosen.seed && sample.prompt == chosen.prompt && sample.path.parent() == folder
                };
                let found = self.rows.iter().filter_map(|&place| {
                    let sample = self.at(open, place).filter(same)?;
                    Some((sample.step, place))
                });
                course = found.collect();
            }
            course.sort_unstable();
            self.course = Some((row, course.into_iter().map(|(_, place)| place).collect()));
        }
        self.course.as_ref().map_or(&[], |(_, places)| places)
    }
}

/// A picture that a job at work has made.
fn record(picture: &Picture, open: &Open) -> SampleRecord {
    SampleRecord {
        path: picture.path.strip_prefix(&open.concept.folder).unwrap_or(&picture.path).to_owned(),
        prompt: picture.prompt.clone(),
        seed: picture.seed,
        step: picture.step,
        learned: picture.learned,
        rating: None,
        // The store tells of masks once the job is over.
        mask: None,
    }
}

/// A picture in the trash: what it was made of, only the picture itself says.
fn record_of(removed: &RemovedSample) -> SampleRecord {
    let prompt = removed.picture.shown().to_string();
    SampleRecord { path: removed.path.clone(), prompt, seed: 0, step: 0, learned: true, rating: None, mask: None }
}
