//! A look at the files of a concept: all that the store keeps of it but what is in its jobs.

use std::path::Path;

use crate::protocol::{ConceptRecord, FileRecord};
use crate::workspace::{self, Concept, JobContents, JobFolder, Ratings, fingerprint, masks_changed, read_ratings};

/// What the files of a concept say, but not the files of its jobs.
pub struct Look {
    pub photos: Vec<FileRecord>,
    pub masks: Vec<FileRecord>,
    pub prompts: Vec<FileRecord>,
    pub record: ConceptRecord,
    pub notes: String,
    /// None where they cannot be read, and why.
    pub ratings: Result<Ratings, workspace::Error>,
    pub jobs: Vec<JobLook>,
}

/// A job of a concept, as far as it is seen without reading it.
pub struct JobLook {
    pub job: JobFolder,
    pub fingerprint: String,
    pub is_held: bool,
    pub masks: Option<jiff::Timestamp>,
}

impl Look {
    /// Look at the concept in `folder`; none where there is none.
    pub fn at(folder: &Path) -> Option<Self> {
        folder.join("concept.toml").symlink_metadata().ok()?;
        let (photos, masks) =
            (Concept::picture_files(&folder.join("images")), Concept::mask_files(&folder.join("masks")));
        let prompts = Concept::prompt_files(folder);
        let (record, notes) = Concept::record(folder, &photos, &masks, &prompts);
        let jobs = JobContents::all(folder).map(|job| {
            // In this order: what is written afterwards is seen the next time.
            let fingerprint = fingerprint(&job);
            JobLook { fingerprint, is_held: job.is_held(), masks: masks_changed(&job), job }
        });
        let jobs = jobs.collect();
        Some(Self { photos, masks, prompts, record, notes, ratings: read_ratings(folder), jobs })
    }
}

/// Whether a concept can have this name: it is the name of a folder in the home, and not of one of the program.
pub fn is_name(concept: &str) -> bool {
    !concept.is_empty() && !concept.starts_with('.') && !concept.contains(['/', '\\', '\0'])
}
