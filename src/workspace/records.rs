//! What the files of a concept say in short: what lists show and the store holds.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::{Concept, Error, History, Home, JobFolder, Ratings, look_at_masks, read_ratings, scores_of_run};
use crate::image;
use crate::protocol::{
    CheckpointRecord, ConceptDetails, ConceptRecord, FileRecord, JobKind, MaskRecord, RunRecord, SampleRecord, State,
};

/// What a sample without a rating counts as.
const UNRATED: u8 = 3;

impl Concept {
    /// The concept in `folder` in short, and its notes. What is wrong with its file is part of it; nothing of its jobs is.
    pub fn record(
        folder: &Path,
        photos: &[FileRecord],
        masks: &[FileRecord],
        prompts: &[FileRecord],
    ) -> (ConceptRecord, String) {
        let concept = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let whole = |files: &[FileRecord]| files.iter().filter(|file| file.whole).count();
        let incomplete = photos.len() + masks.len() - whole(photos) - whole(masks);
        let mut record = ConceptRecord {
            photos: whole(photos),
            masks: whole(masks),
            incomplete,
            prompts: prompts.iter().map(|file| file.name.clone()).filter(|name| !name.contains('/')).collect(),
            photo: photos.iter().find(|file| file.whole).map(|file| file.name.clone()),
            changed: ["concept.toml", "images", "masks", "prompts"]
                .into_iter()
                .filter_map(|name| modified(&folder.join(name)))
                .chain([photos, masks, prompts].into_iter().flatten().filter_map(|file| file.modified))
                .max()
                .unwrap_or_default(),
            ..ConceptRecord::unread(&concept)
        };
        let mut notes = String::new();
        match Self::open(folder) {
            Ok(Self { file, .. }) => {
                record.name = file.name;
                record.class_word = file.class_word;
                record.base_model = file.base_model.to_string_lossy().into_owned();
                record.tags = file.tags;
                record.train = file.train.into();
                notes = file.notes;
            }
            Err(problem) => record.problem = Some(problem.to_string()),
        }
        let odd = || no_file(&folder.join("images"), photos).or_else(|| no_file(&folder.join("masks"), masks));
        record.problem = record.problem.or_else(odd);
        (record, notes)
    }

    /// The pictures in a folder of a concept, sorted by name, those that are still being written too.
    pub fn picture_files(folder: &Path) -> Vec<FileRecord> {
        files(folder, "", image::is_photo, image::is_whole)
    }

    /// The masks of photos in a folder of a concept, likewise, each with what it says of its own worth.
    pub fn mask_files(folder: &Path) -> Vec<FileRecord> {
        let mut masks = files(folder, "", |path| ends_in(path, "png"), image::is_whole);
        for mask in masks.iter_mut().filter(|mask| mask.whole) {
            mask.confidence = image::mask_confidence(&folder.join(&mask.name));
        }
        masks
    }

    /// The prompt lists of the concept in `folder`, then the lists of words that they draw on.
    pub fn prompt_files(folder: &Path) -> Vec<FileRecord> {
        let prompts = folder.join("prompts");
        let is_list = |path: &Path| ends_in(path, "txt");
        let mut found = files(&prompts, "", is_list, |_| true);
        found.extend(files(&prompts, "words/", is_list, |_| true));
        found
    }
}

/// The files in `within` of `folder` that are wanted, sorted by name.
fn files(
    folder: &Path,
    within: &str,
    is_wanted: impl Fn(&Path) -> bool,
    is_whole: impl Fn(&Path) -> bool,
) -> Vec<FileRecord> {
    let record = |name: String| {
        let path = folder.join(within).join(&name);
        let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let (whole, modified) = (is_whole(&path), modified(&path));
        FileRecord { name: format!("{within}{name}"), bytes, whole, modified, confidence: None }
    };
    names(&folder.join(within), is_wanted).into_iter().map(record).collect()
}

/// What is wrong with the first of `files` in `folder` that is something else than a file.
fn no_file(folder: &Path, files: &[FileRecord]) -> Option<String> {
    let odd = |path: PathBuf| {
        let error = crate::fs::open(&path).err().filter(|error| error.kind() == std::io::ErrorKind::InvalidInput)?;
        Some(Error::io("read", &path)(error).to_string())
    };
    files.iter().filter(|file| !file.whole).find_map(|file| odd(folder.join(&file.name)))
}

fn ends_in(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|own| own.eq_ignore_ascii_case(ending))
}

/// The names of the files in `folder` that are wanted, sorted; none without such a folder.
fn names(folder: &Path, is_wanted: impl Fn(&Path) -> bool) -> Vec<String> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut names: Vec<String> = files
        .filter(|path| is_wanted(path))
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        // What copying programs write to before they rename it.
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

/// A run in short, with its history and the history of its last separate scoring, from which it was read.
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
        let (state, history) = run.look()?;
        let scoring = JobFolder::at(&run.evaluation()).ok().map(|job| History::read(&job)).transpose()?;
        // The last scoring's events have it all, unless it was not finished or is of a version that said less; then its lines are read. Where
        // these are gone, what events there are.
        let told = scoring.as_ref().unwrap_or(&history).scores(None).filter(|both| both.after.unit.is_some());
        let scores = match told {
            Some(told) => Some(told),
            None => scores_of_run(run)?.or_else(|| history.scores(scoring.as_ref())),
        };
        let record = RunRecord {
            concept: concept.to_owned(),
            id: run.id().to_owned(),
            state,
            path: run.path().to_owned(),
            imported: spec.imported.map(|imported| imported.file),
            steps: history.step(),
            of: history.steps,
            loss: history.losses.last().map(|point| point.loss),
            fixed_noise_loss: history.fixed_noise.last().map(|point| point.loss),
            held_out_loss: history.held_out.last().map(|point| point.loss),
            scores,
        };
        Ok(Self { record, history, scoring })
    }
}

/// What the files of one of a concept's jobs say.
pub struct JobContents {
    /// Its folder from the concept's: `runs/ID` or `samples/ID`.
    pub name: String,
    /// What kind of job it is.
    pub kind: JobKind,
    /// When its events, and the masks of its samples, have changed last.
    pub changed: jiff::Timestamp,
    /// When a mask of its samples has come or gone last, by the time that they were looked at.
    pub masks: Option<jiff::Timestamp>,
    /// Its settings and the settings of its scoring, by job folder.
    pub settings: Vec<(String, serde_json::Value)>,
    /// A run in short; none of a sampling.
    pub run: Option<RunRecord>,
    /// A run's checkpoints.
    pub checkpoints: Vec<CheckpointRecord>,
    /// Its samples in the order they were made, without their ratings.
    pub samples: Vec<SampleRecord>,
}

/// What was known of the masks of samples, by the paths of these from the concept's folder.
pub type KnownMasks = HashMap<PathBuf, MaskRecord>;

impl JobContents {
    /// Read a job of the concept in `folder`. A mask is opened only where it is another than is `known`.
    pub fn read(folder: &Path, job: &JobFolder, known: &KnownMasks) -> Result<Self, Error> {
        let name = job.path().strip_prefix(folder).unwrap_or(job.path()).to_string_lossy().into_owned();
        let scoring = JobFolder::at(&job.evaluation()).ok();
        let mut settings = vec![(name.clone(), job.settings()?)];
        if let Some(scoring) = &scoring {
            settings.push((scoring_of(&name), scoring.settings()?));
        }
        let changed = scoring.iter().chain([job]).filter_map(|job| modified(&job.events())).max().unwrap_or_default();
        // Before they are looked at: one that comes meanwhile is looked at again.
        let masks = masks_changed(job);
        let kind = job.kind()?;
        let (mut run, mut histories) = (None, Vec::new());
        if name.starts_with("runs/") {
            let concept = folder.file_name().unwrap_or_default().to_string_lossy();
            let summary = RunSummary::read(&concept, job)?;
            run = Some(summary.record);
            histories.push(summary.history);
            histories.extend(summary.scoring);
        } else {
            histories.push(History::read(job)?);
        }
        let of_run = histories.first().filter(|_| run.is_some()).into_iter().flat_map(|history| &history.checkpoints);
        let checkpoints = of_run.map(|(step, path)| CheckpointRecord { step: *step, path: path.clone() }).collect();
        let pictures = histories.into_iter().flat_map(|history| history.pictures);
        let samples = pictures.map(|picture| {
            let path = picture.path.strip_prefix(folder).unwrap_or(&picture.path).to_owned();
            let (prompt, seed, step, learned) = (picture.prompt, picture.seed, picture.step, picture.learned);
            let mask = known.get(&path).copied();
            SampleRecord { path, prompt, seed, step, learned, rating: None, mask }
        });
        let mut samples: Vec<SampleRecord> = samples.collect();
        if masks.is_some() || !known.is_empty() {
            look_at_masks(folder, &mut samples);
        }
        let changed = changed.max(masks_at(masks, &samples));
        Ok(Self { name, kind, changed, masks, settings, run, checkpoints, samples })
    }

    /// The jobs of the concept in `folder` that lists and the store hold: its runs, then its samplings.
    pub fn all(folder: &Path) -> impl Iterator<Item = JobFolder> {
        ["runs", "samples"].map(|kind| folder.join(kind)).into_iter().flat_map(|kind| JobFolder::in_folder(&kind))
    }
}

/// The scoring of the run in the job folder `run`, as a job folder.
pub fn scoring_of(run: &str) -> String {
    format!("{run}/evaluation")
}

/// The sample that stands for a concept: the best rated one; of equals the newest of a run, else of a sampling.
pub fn standing<'a>(samples: impl IntoIterator<Item = &'a SampleRecord>) -> Option<PathBuf> {
    let rank = |sample: &&SampleRecord| (sample.rating.unwrap_or(UNRATED), sample.path.starts_with("runs"));
    samples.into_iter().filter(|sample| sample.learned).max_by_key(rank).map(|sample| sample.path.clone())
}

/// When the masks of `samples` have changed last; one mask has come or gone at `came_or_gone`.
pub fn masks_at(came_or_gone: Option<jiff::Timestamp>, samples: &[SampleRecord]) -> jiff::Timestamp {
    let changed = samples.iter().filter_map(|sample| Some(sample.mask?.modified));
    changed.chain(came_or_gone).max().unwrap_or_default()
}

/// Give `sample` its rating. Whether it had another.
pub fn rate(sample: &mut SampleRecord, ratings: &Ratings) -> bool {
    let rating = sample.path.to_str().and_then(|picture| ratings.get(picture)).copied();
    std::mem::replace(&mut sample.rating, rating) != rating
}

/// The concept in `folder` with all that belongs to it, read from its files alone.
pub fn read_details(folder: &Path) -> ConceptDetails {
    let (photo_files, mask_files) =
        (Concept::picture_files(&folder.join("images")), Concept::mask_files(&folder.join("masks")));
    let (mut concept, notes) = Concept::record(folder, &photo_files, &mask_files, &Concept::prompt_files(folder));
    let mut problem = None;
    let ratings = read_ratings(folder).unwrap_or_else(|error| {
        problem = Some(error.to_string());
        Ratings::new()
    });
    let (mut run_records, mut checkpoints, mut sample_records) = (Vec::new(), Vec::new(), Vec::new());
    let mut settings = BTreeMap::new();
    for job in JobContents::all(folder) {
        match JobContents::read(folder, &job, &KnownMasks::new()) {
            Ok(read) => {
                concept.changed = concept.changed.max(read.changed);
                settings.extend(read.settings);
                run_records.extend(read.run);
                checkpoints.extend(read.checkpoints);
                sample_records.extend(read.samples);
            }
            Err(error) => drop(problem.get_or_insert(error.to_string())),
        }
    }
    for sample in &mut sample_records {
        rate(sample, &ratings);
    }
    (concept.runs, concept.samples) = (run_records.len(), sample_records.len());
    concept.state = run_records.last().map(|run| run.state);
    concept.score = run_records.iter().rev().find_map(|run| Some(run.scores.as_ref()?.after.clone()));
    concept.sample = standing(&sample_records);
    concept.problem = concept.problem.or(problem);
    ConceptDetails { concept, notes, photo_files, mask_files, run_records, checkpoints, sample_records, settings }
}

impl ConceptRecord {
    /// Of a concept when nothing is read.
    pub fn unread(concept: &str) -> Self {
        Self {
            concept: concept.to_owned(),
            name: concept.to_owned(),
            class_word: String::new(),
            base_model: String::new(),
            tags: Vec::new(),
            train: toml::Table::new(),
            photos: 0,
            masks: 0,
            incomplete: 0,
            prompts: Vec::new(),
            runs: 0,
            samples: 0,
            state: None,
            score: None,
            photo: None,
            sample: None,
            changed: jiff::Timestamp::default(),
            problem: None,
        }
    }

    /// Whether its name, class word or notes contain `text`, in any case.
    pub fn matches(&self, notes: &str, text: &str) -> bool {
        let text = text.to_lowercase();
        let fields = [&self.concept, &self.name, &self.class_word, notes];
        fields.iter().any(|field| field.to_lowercase().contains(&text))
    }
}

impl Home {
    /// All concepts, by name, read from their files alone.
    pub fn read_all(&self) -> Result<Vec<ConceptDetails>, Error> {
        Ok(self.concepts()?.iter().map(|name| read_details(&self.path().join(name))).collect())
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

/// When a mask of a job's samples has come or gone last, as the times of their folders say; none where there is none.
pub fn masks_changed(job: &JobFolder) -> Option<jiff::Timestamp> {
    let folders = ["masks", "samples/masks", "evaluation/before/masks", "evaluation/after/masks"];
    folders.iter().filter_map(|masks| modified(&job.path().join(masks))).max()
}

/// When the file or folder at `path` was changed last.
pub fn modified(path: &Path) -> Option<jiff::Timestamp> {
    jiff::Timestamp::try_from(std::fs::metadata(path).ok()?.modified().ok()?).ok()
}
