//! Settings of scorings: what is sampled, and how pictures are measured against the photos.

use std::path::PathBuf;

use serde::de::Deserializer;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::sampling::SampleConfig;
use super::settings::{self, Kind, Preset, Row, SettingError, settings, words};

words! {
    /// What stands outside the mask when a masked score is measured.
    pub enum Fill {
        /// (0, 0, 0)
        Black = "black",
        /// (255, 255, 255)
        White = "white",
        /// (128, 128, 128)
        Grey = "grey",
        /// The mean colour of the model's preprocessing.
        Mean = "mean",
    }
}

words! {
    /// What of a masked picture is measured.
    #[derive(Default)]
    pub enum ScoreCrop {
        /// All of it, so that the concept's place and size count.
        #[default]
        Whole = "whole",
        /// The smallest box around the mask's pixels above half, in the middle of a square of the fill: the concept alone, as
        /// large as can be. Where the mask has no such pixel, all of the picture.
        MaskBox = "mask_box",
    }
}

words! {
    /// Which text the CLIP-T of the balance is measured with; both are shown.
    #[derive(Default)]
    pub enum ClipText {
        /// The prompt, the class word in place of the concept.
        #[default]
        ClassWord = "class_word",
        /// The prompt without the concept.
        Scene = "scene",
    }
}

/// What a scoring measures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
pub enum ScoreTask {
    /// The prompt list, sampled without and with the concept.
    #[default]
    Both,
    /// The prompt list, sampled with the concept alone: what comes without it has been measured elsewhere.
    Learned,
    /// The prompt list, sampled without the concept alone: of no run.
    Untrained,
    /// The prompt list, sampled without the concept and at every checkpoint of the run.
    Checkpoints,
    /// Pictures that are there already, each with its mask in `masks/` beside it.
    Pictures {
        /// Absolute.
        files: Vec<PathBuf>,
        /// What they show, where they do not say so themselves.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompt: Option<String>,
    },
}

settings! {
    /// Settings of one scoring: how pictures are sampled, and how they are measured against the photos.
    pub struct ScoreConfig {
        /// What stands outside the mask: black, white, grey or mean; black if not given.
        fill: Fill = Fill::Black, Kind::Word(Fill::WORDS);
        /// What of the masked pictures is measured: whole, or mask_box for the concept alone, as large as can be; whole if not given.
        crop: ScoreCrop = ScoreCrop::Whole, Kind::Word(ScoreCrop::WORDS);
        /// Which CLIP-T stands in the balance: class_word, or scene for prompts without the concept; both are shown. As the run's preset
        /// has it if not given, else class_word.
        clip_text: ClipText = ClipText::ClassWord, Kind::Word(ClipText::WORDS), long: Some("balance-text"), left_out: true;
        also
            /// How the pictures to measure are sampled; its prompts are the prompt list.
            sample: SampleConfig = SampleConfig::default();
    }
}

/// Resamples of the bootstrap that earlier versions drew intervals by. It is read, and means nothing any more.
const RESAMPLES: &str = "resamples";

impl ScoreConfig {
    /// The setting that people call `name`, of how pictures are measured.
    pub fn row(name: &str) -> Option<&'static Row> {
        Self::ROWS.iter().find(|row| row.is_called(name))
    }

    /// Set what people call `name` to what they typed.
    ///
    /// # Errors
    /// There is no such setting of how pictures are measured, or it cannot have this value.
    pub fn set_text(&mut self, name: &str, text: &str) -> Result<(), SettingError> {
        let unknown = || {
            let known: Vec<&str> = Self::ROWS.iter().map(|row| row.name).collect();
            let cause = format!("how pictures are measured is said by {} alone", known.join(", "));
            SettingError::new(name.to_owned(), text, cause)
        };
        let row = Self::row(name).ok_or_else(unknown)?;
        settings::set(row, &row.parse(text)?, |name, value| self.put(name, value))
    }

    /// The same with what `preset` says of the scoring, and not of the sampling.
    #[must_use]
    pub fn as_preset(mut self, preset: &Preset) -> Self {
        // Words of its own, which a test sets.
        preset.score.iter().for_each(|(name, text)| drop(self.set_text(name, text)));
        self
    }
}

impl Serialize for ScoreConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        // A table comes last.
        let mut names = Self::ROWS.iter().map(|row| row.name).chain(["sample"]);
        names.try_for_each(|name| self.entry(name, &mut map))?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for ScoreConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut said: Map<String, Value> = Map::deserialize(deserializer)?;
        said.remove(RESAMPLES);
        settings::read(Self::default(), said, Self::put)
    }
}
