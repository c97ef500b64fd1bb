//! The cells of a plan: what each trains and measures, and when two of them need the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Material;
use crate::protocol::{JobKind, MaskConfig, SampleConfig, ScoreConfig, TrainConfig};

/// One training and its scoring.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// What the table calls it, and its trainings together.
    pub label: String,
    /// Which of several trainings that differ in their seed, from 0.
    #[serde(default, skip_serializing_if = "is_first")]
    pub training: usize,
    /// The settings that tell it from the others, by name.
    pub settings: BTreeMap<String, String>,
    /// The concept.
    pub concept: String,
    /// What it is trained on and judged by.
    #[serde(default)]
    pub material: Material,
    /// How photos without a mask get one before anything is measured; none leaves them without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photo_masks: Option<MaskConfig>,
    /// Its jobs, once there are some.
    #[serde(default)]
    pub jobs: JobIds,
    /// The training.
    pub train: TrainConfig,
    /// The scoring.
    pub score: ScoreConfig,
}

/// The jobs of a cell: names of folders in the concept's `runs` and `jobs`. Cells that need the same share it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobIds {
    /// The training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// What makes masks of photos.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masking: Option<String>,
    /// The scoring of what comes without the concept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untrained: Option<String>,
    /// The scoring of what comes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scoring: Option<String>,
}

/// What a job of a cell is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Makes masks of the photos that have none.
    Masking,
    /// Trains.
    Training,
    /// Scores what comes without the concept.
    Untrained,
    /// Scores what comes with it.
    Scoring,
}

impl Part {
    /// The kind of its jobs.
    pub(super) fn kind(self) -> JobKind {
        match self {
            Self::Masking => JobKind::Mask,
            Self::Training => JobKind::Train,
            Self::Untrained | Self::Scoring => JobKind::Score,
        }
    }

    /// Whether two cells of the same concept can share one job.
    pub fn is_shared(self, a: &Cell, b: &Cell) -> bool {
        match self {
            Self::Masking => a.photo_masks == b.photo_masks,
            Self::Training => a.trains_as(b),
            Self::Untrained => a.begins_as(b),
            Self::Scoring => false,
        }
    }
}

impl JobIds {
    /// The one for `part`.
    pub(super) fn of(&self, part: Part) -> Option<&String> {
        match part {
            Part::Masking => self.masking.as_ref(),
            Part::Training => self.run.as_ref(),
            Part::Untrained => self.untrained.as_ref(),
            Part::Scoring => self.scoring.as_ref(),
        }
    }

    pub(super) fn place(&mut self, part: Part) -> &mut Option<String> {
        match part {
            Part::Masking => &mut self.masking,
            Part::Training => &mut self.run,
            Part::Untrained => &mut self.untrained,
            Part::Scoring => &mut self.scoring,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_first(training: &usize) -> bool {
    *training == 0
}

impl Cell {
    /// `count` copies of this cell. Their trainings differ in the seed alone.
    pub fn trainings(self, count: usize) -> impl Iterator<Item = Self> {
        (0..count).map(move |training| {
            let train = TrainConfig { seed: self.train.seed.wrapping_add(training as u64), ..self.train.clone() };
            Self { training, train, ..self.clone() }
        })
    }

    /// Its label, and which training it is where it is not the first.
    pub fn name(&self) -> String {
        match self.training {
            0 => self.label.clone(),
            training => format!("{} (training {})", self.label, training + 1),
        }
    }

    /// In what it is another than `other` of the same label and concept.
    pub(super) fn differs_in(&self, other: &Self) -> Option<&'static str> {
        let differences = [
            ("training settings", self.train != other.train),
            ("scoring settings", self.score != other.score),
            ("masks of photos", self.photo_masks != other.photo_masks),
        ];
        let found = differences.into_iter().find(|(_, differs)| *differs).map(|(what, _)| what);
        found.or_else(|| self.material.differs_in(&other.material))
    }

    /// Take over what `old`, of a version before, had where today's preset says something that it did not say then.
    pub(super) fn go_on_as_before(&mut self, old: &Self) {
        // One that was read has a preset that its method has.
        let Ok(preset) = old.train.preset() else { return };
        let said = old.score.sample.clone().as_preset(preset);
        for name in SampleConfig::rows().map(|row| row.name) {
            if self.score.sample.get(name) == said.get(name) {
                // Of the same kind, as all are of the same tables.
                let _ = self.score.sample.set(name, &old.score.sample.get(name));
            }
        }
        if self.score.clip_text == ScoreConfig::default().as_preset(preset).clip_text {
            self.score.clip_text = old.score.clip_text;
        }
        let usual = TrainConfig::of(old.train.declaration().name, Some(preset.name));
        if usual.is_ok_and(|usual| self.train.photo_repeats == usual.photo_repeats) {
            self.train.photo_repeats = old.train.photo_repeats;
        }
    }

    pub(super) fn is_called_as(&self, other: &Self) -> bool {
        (&self.label, &self.concept, self.training) == (&other.label, &other.concept, other.training)
    }

    /// Whether this cell and `other` can share one training.
    fn trains_as(&self, other: &Self) -> bool {
        self.train == other.train && self.material == other.material && self.concept == other.concept
    }

    /// Whether what comes without the concept is measured as for `other` of the same concept.
    fn begins_as(&self, other: &Self) -> bool {
        let same = self.untrained() == other.untrained() && self.photo_masks == other.photo_masks;
        same && self.material == other.material && self.concept == other.concept
    }

    /// What makes the pictures without the concept: nothing of what is learned, or of how strongly it acts.
    pub fn untrained(&self) -> ScoreConfig {
        ScoreConfig { sample: self.score.sample.clone().untrained(), ..self.score.clone() }
    }
}
