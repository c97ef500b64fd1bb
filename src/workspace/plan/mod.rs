//! Plans: many trainings and scorings that make one table. A plan is a file, `<home>/.catbench/plans/<name>.toml`, that says
//! which jobs belong to it; the jobs are in the queue like any others, each scoring after its training. What comes without the
//! concept is measured by jobs of their own, which wait for no training. Asking for the same plan again goes on with what is not
//! finished, so a plan survives everything that its jobs survive.

mod cell;
mod material;
mod results;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use cell::{Cell, JobIds, Part};
pub use material::{Material, files, weights};
pub use results::{CellResult, Row};

use super::concept::{from_toml, write_toml};
use super::{Concept, Error, Home, JobFolder, Kind};
use crate::fs::Show;
use crate::protocol::SeedRule;

/// What a plan cannot be.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Its name is none of a file.
    #[error("{0:?} cannot be the name of a plan: it becomes the name of a file")]
    Name(String),
    /// Its file has another cell of that name.
    #[error("the plan {} has {cell} with other {what}: give this one another name with --name", plan.shown())]
    Differs {
        /// Its file.
        plan: PathBuf,
        /// The cell.
        cell: String,
        /// In what they differ.
        what: &'static str,
    },
    /// Two cells of one name would be trained or shown twice.
    #[error("{0} is there twice: give each combination of settings once")]
    Twice(String),
    /// So would two with the same settings.
    #[error("{0} and {1} are the same: give each combination of settings once")]
    Same(String, String),
}

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

impl Plan {
    /// The plan `name` of `home` with these cells: what is known of their jobs from before is kept, also of cells that are not
    /// asked for now.
    ///
    /// # Errors
    /// Two cells that are the same, or one that was another in the plan before.
    pub fn open(home: &Home, name: &str, cells: Vec<Cell>) -> Result<Self, Error> {
        let path = Self::path(home, name)?;
        check_distinct(&cells)?;
        let mut plan = Self { path, home: home.clone(), cells, others: Vec::new(), began_as: Began::OwnSeeds };
        if let Some(before) = Self::read(home, name)? {
            plan.began_as = before.began_as;
            plan.take_over(before.cells)?;
        }
        Ok(plan)
    }

    /// The plan `name` of `home` as its file has it; none where there is no such plan.
    pub fn read(home: &Home, name: &str) -> Result<Option<Self>, Error> {
        let path = Self::path(home, name)?;
        let text = match crate::fs::read_text(&path, crate::fs::SETTINGS) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let PlanFile { began_as, cells } = from_toml(&path, &text)?;
        Ok(Some(Self { path, home: home.clone(), cells, others: Vec::new(), began_as }))
    }

    /// The names of the plans of `home`, in their order.
    pub fn names(home: &Home) -> Vec<String> {
        let files = std::fs::read_dir(folder(home)).into_iter().flatten().flatten();
        let name = |path: PathBuf| Some(path.file_name()?.to_str()?.strip_suffix(".toml")?.to_owned());
        let mut names: Vec<String> = files.filter_map(|file| name(file.path())).collect();
        names.retain(|name| Self::path(home, name).is_ok());
        names.sort();
        names
    }

    fn path(home: &Home, name: &str) -> Result<PathBuf, Error> {
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
        if plain { Ok(folder(home).join(format!("{name}.toml"))) } else { Err(PlanError::Name(name.to_owned()).into()) }
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
                let (label, concept) = (old.name(), &old.concept);
                let cell = if label.is_empty() { concept.clone() } else { format!("{label} of {concept}") };
                return Err(PlanError::Differs { plan: self.path.clone(), cell, what }.into());
            }
            cell.jobs = old.jobs;
        }
        Ok(())
    }

    fn save(&self) -> Result<(), Error> {
        let cells = self.cells.iter().chain(&self.others).cloned().collect();
        crate::fs::create_folders(&folder(&self.home)).map_err(Error::io("create", &folder(&self.home)))?;
        write_toml(&self.path, &PlanFile { began_as: self.began_as, cells })
    }

    /// The home that it is of.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The concept of a cell.
    pub fn concept(&self, cell: &Cell) -> Result<Concept, Error> {
        self.home.concept(&cell.concept)
    }

    /// How many trainings of the cell `label` there are; of one that is not there as many as of another. None without a cell.
    pub fn trainings(&self, label: &str) -> Option<usize> {
        let most = |counts: &dyn Fn(&Cell) -> bool| {
            self.cells.iter().filter(|cell| counts(cell)).map(|cell| cell.training + 1).max()
        };
        most(&|cell| cell.label == label).or_else(|| most(&|_| true))
    }

    /// The job of the cell at `index` for `part`, or of a cell that can share it; none where it was not made or is not there any
    /// more.
    pub fn known(&self, index: usize, part: Part) -> Result<Option<JobFolder>, Error> {
        let cell = &self.cells[index];
        if part == Part::Masking && cell.photo_masks.is_none() {
            return Ok(None);
        }
        let concept = self.concept(cell)?.folder;
        let folder = concept.join(Kind::of(part.kind()).folder);
        let others = self.cells.iter().chain(&self.others).filter(|other| other.concept == cell.concept);
        let alike = std::iter::once(cell).chain(others.filter(|other| part.is_shared(cell, other)));
        // A plan may have come with the home: what it names counts only where it does what this cell needs, within its concept.
        let is_fit = |job: &JobFolder| match part {
            Part::Masking => {
                job.mask_spec().is_ok_and(|spec| spec.pictures.iter().all(|path| path.starts_with(&concept)))
            }
            part => job.kind().is_ok_and(|own| own == part.kind()),
        };
        let ids = alike.filter_map(|cell| cell.jobs.of(part));
        Ok(ids.filter_map(|id| JobFolder::within(&folder, Path::new(id)).ok()).find(is_fit))
    }

    /// Have `job` be the one of the cell at `index` for `part`; it counts once the plan is on disk.
    pub fn set(&mut self, index: usize, part: Part, job: &JobFolder) -> Result<(), Error> {
        let jobs = &mut self.cells[index].jobs;
        if part == Part::Training && jobs.run.as_deref() != Some(job.id()) {
            // What was measured of a run that is not there any more is not of this one.
            jobs.scoring = None;
        }
        *jobs.place(part) = Some(job.id().to_owned());
        self.save()
    }
}

/// Where the plans of `home` are.
fn folder(home: &Home) -> PathBuf {
    home.internal().join("plans")
}

/// Two cells that are the same would be trained or shown twice.
fn check_distinct(cells: &[Cell]) -> Result<(), Error> {
    for (i, cell) in cells.iter().enumerate() {
        let same = |other: &&Cell| {
            let other = *other;
            cell.is_called_as(other) || cell.concept == other.concept && cell.differs_in(other).is_none()
        };
        if let Some(other) = cells[..i].iter().find(same) {
            return Err(match (other.name(), cell.name()) {
                (other, cell) if other == cell => PlanError::Twice(cell),
                (other, cell) => PlanError::Same(other, cell),
            }
            .into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use super::*;
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
    fn what_comes_without_the_concept_knows_nothing_of_what_is_learned() {
        let mut cell = cell("a", 1);
        let plain = cell.untrained();
        let sample = &mut cell.score.sample;
        (sample.picture.strength, sample.picture.checkpoint) = (0.5, Some("c".into()));
        (sample.shared.every_prompt, sample.shared.uncond_prefix) = (true, true);
        sample.shared.concept_steps = Some([0.2, 0.8]);
        assert_eq!(cell.untrained(), plain);
        cell.score.sample.picture.guidance_scale = 3.0;
        assert_ne!(cell.untrained(), plain);
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

        let read = Plan::read(&home, "p").unwrap().unwrap();
        assert_eq!(read.cells.iter().map(Cell::name).collect::<Vec<_>>(), ["b", "c", "a"], "as its file has it");
        assert_eq!((Plan::names(&home), Plan::read(&home, "q").unwrap()), (vec!["p".to_owned()], None));
    }
}
