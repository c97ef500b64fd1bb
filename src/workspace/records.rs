//! What the files of a concept say in short: what lists show and the store holds.

use std::path::Path;

use super::{Concept, Error, History, JobFolder, state};
use crate::image;
use crate::protocol::{BothScores, ConceptRecord, FileRecord, RunRecord, State};

impl Concept {
    /// The concept in `folder` in short, and its notes. What is wrong with its file is part of it; nothing of its jobs is.
    pub fn record(folder: &Path, photos: &[FileRecord], masks: &[FileRecord]) -> (ConceptRecord, String) {
        let concept = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let whole = |files: &[FileRecord]| files.iter().filter(|file| file.whole).count();
        let incomplete = photos.len() + masks.len() - whole(photos) - whole(masks);
        let mut record = ConceptRecord {
            name: concept.clone(),
            concept,
            class_word: String::new(),
            base_model: String::new(),
            tags: Vec::new(),
            photos: whole(photos),
            masks: whole(masks),
            incomplete,
            prompts: names(&folder.join("prompts"), &["txt"]),
            runs: 0,
            samples: 0,
            state: None,
            score: None,
            photo: photos.iter().find(|file| file.whole).map(|file| file.name.clone()),
            sample: None,
            changed: ["concept.toml", "images", "masks", "prompts"]
                .into_iter()
                .filter_map(|name| modified(&folder.join(name)))
                .max()
                .unwrap_or_default(),
            problem: None,
        };
        let mut notes = String::new();
        match Self::open(folder) {
            Ok(Self { file, .. }) => {
                record.name = file.name;
                record.class_word = file.class_word;
                record.base_model = file.base_model.to_string_lossy().into_owned();
                record.tags = file.tags;
                notes = file.notes;
            }
            Err(problem) => record.problem = Some(problem.to_string()),
        }
        (record, notes)
    }

    /// The pictures in a folder of a concept, sorted by name, those that are still being written too.
    pub fn picture_files(folder: &Path) -> Vec<FileRecord> {
        let record = |name: String| {
            let path = folder.join(&name);
            let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
            FileRecord { bytes, whole: image::is_whole(&path), name }
        };
        names(folder, &image::PHOTO_EXTENSIONS).into_iter().map(record).collect()
    }
}

/// The names of the files in `folder` with one of these endings, sorted; none without such a folder.
fn names(folder: &Path, endings: &[&str]) -> Vec<String> {
    let ends =
        |path: &Path| path.extension().is_some_and(|e| endings.iter().any(|ending| e.eq_ignore_ascii_case(ending)));
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut names: Vec<String> = files
        .filter(|path| ends(path))
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        // What copying programs write to before they rename it.
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

/// A run in short, with its history and that of its last separate scoring, from which it was read.
pub struct RunSummary {
    /// In short.
    pub record: RunRecord,
    /// Of the run.
    pub history: History,
    /// Of its last separate scoring.
    pub scoring: Option<History>,
}

impl RunSummary {
    /// Read a run of `concept`.
    pub fn read(concept: &str, run: &JobFolder) -> Result<Self, Error> {
        let spec = run.run_spec()?;
        let history = History::read(run)?;
        let scoring = JobFolder::at(&run.evaluation()).ok().map(|job| History::read(&job)).transpose()?;
        let both = |(before, after): (&_, &_)| BothScores { before: Clone::clone(before), after: Clone::clone(after) };
        let record = RunRecord {
            concept: concept.to_owned(),
            id: run.id().to_owned(),
            state: state(run, &history),
            path: run.path().to_owned(),
            imported: spec.imported.map(|imported| imported.file),
            steps: history.step(),
            of: history.steps,
            loss: history.losses.last().map(|point| point.loss),
            validation_loss: history.validation.last().map(|point| point.loss),
            scores: history.scores(scoring.as_ref()).map(both),
        };
        Ok(Self { record, history, scoring })
    }
}

/// How a run is now, given what was read of it when no runner was at work on it.
pub fn state_now(record: &RunRecord) -> State {
    let held = JobFolder::at(&record.path).is_ok_and(|job| job.is_held());
    match record.state {
        _ if held => State::Running,
        // It was at work when it was read, and died since without a word.
        State::Running => State::Interrupted,
        state => state,
    }
}

/// What tells that a job's files have changed: sizes and times of its settings and events, and times of the folders that
/// its pictures are in.
pub fn fingerprint(job: &JobFolder) -> String {
    let of = |name: &str| {
        let metadata = std::fs::metadata(job.path().join(name)).ok()?;
        let time = metadata.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some((metadata.len(), time.as_nanos()))
    };
    let files = ["run.toml", "batch.toml", "events.jsonl", "evaluation/score.toml", "evaluation/events.jsonl"].map(of);
    let folders = ["", "samples", "evaluation", "evaluation/before", "evaluation/after"].map(of);
    format!("{files:?} {folders:?}")
}

/// When the file or folder at `path` was changed last.
pub fn modified(path: &Path) -> Option<jiff::Timestamp> {
    jiff::Timestamp::try_from(std::fs::metadata(path).ok()?.modified().ok()?).ok()
}
