//! Settings of a training: the settings that all methods have, in the table below, and the settings of the method that learns.

use serde::de::{self, Deserializer};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::check_prompt;
use super::device::{DeviceName, FloatType, UsualDevice};
use super::settings::{self, Declaration, Kind, Preset, Range, Row, SettingError, settings, text_of, words};
use crate::method::MethodSettings;

words! {
    /// How a photo becomes a square.
    pub enum Crop {
        /// The largest centred square, then resized.
        Center = "center",
        /// The whole photo, resized without regard to its aspect ratio.
        Squash = "squash",
    }
}

words! {
    /// How the learning rate changes in the course of a training (diffusers' schedulers of these names).
    pub enum LrScheduler {
        /// Not at all.
        Constant = "constant",
        /// Down to 0 in a straight line.
        Linear = "linear",
        /// Down to 0 along half a cosine.
        Cosine = "cosine",
    }
}

settings! {
    /// Settings of one training: what all methods have, and what its own method has.
    pub struct TrainConfig {
        /// Optimizer steps.
        steps: usize = 500, Kind::Whole(1, u64::MAX);
        /// Images a step.
        batch_size: usize = 4, Kind::Whole(1, 1_000_000);
        /// AdamW's learning rate, as applied: nothing scales it later but its schedule.
        // The 5e-3 of the first method's authors, for each sample of the batch.
        learning_rate: f64 = 0.02, Kind::Number(Range::AboveZero), short: Some("lr");
        /// How the learning rate goes on after the warm-up: constant, or down to 0 at the last step, in a straight line or along half a
        /// cosine.
        lr_scheduler: LrScheduler = LrScheduler::Constant, Kind::Word(LrScheduler::WORDS), left_out: true;
        /// Steps in which the learning rate rises from 0 in a straight line first.
        lr_warmup_steps: usize = 0, Kind::Whole(0, u64::MAX), left_out: true;
        /// AdamW's decoupled weight decay.
        weight_decay: f64 = 0.01, Kind::Number(Range::ZeroToOne);
        /// Training caption; {class} stands for the class word, {concept} for the concept itself.
        caption: String = "a {class}".into(), Kind::Text;
        /// How a photo becomes a square: center takes the largest square in its middle, squash the whole photo.
        crop: Crop = Crop::Center, Kind::Word(Crop::WORDS);
        /// Probability that a photo is mirrored.
        flip_probability: f64 = 0.5, Kind::Number(Range::ZeroToOne);
        /// How often each photo stands in a pass over them, which is shuffled as a whole: 1, or 100 in the code of some authors.
        // A pass is shuffled in memory. Left out where it is 1, so that checkpoints of earlier versions' runs end at the same bytes.
        photo_repeats: usize = 1, Kind::Whole(1, 10_000), left_out: true;
        /// The file name of a photo that is not trained on, where there are four or more: its loss is measured beside the
        /// loss of the others, at the same timesteps with the same noise. How far it is above theirs grows with what is learned by heart.
        hold_out: Option<String> = None, Kind::Text, left_out: true, unset: Some("all photos are trained on");
        /// Loss over the mask only, where a photo has one.
        masked_loss: bool = false, Kind::Truth;
        /// Recompute each UNet block in the backward pass: less memory, more time.
        gradient_checkpointing: bool = false, Kind::Truth;
        /// Seed of everything random in the training.
        seed: u64 = 0, Kind::Whole(0, u64::MAX);
        /// Steps between checkpoints.
        checkpoint_every: usize = 100, Kind::Whole(1, u64::MAX), may_differ: true;
        /// Steps between measurements of the loss at fixed noise, also of the photo held out; 0 for none. At fixed noise two
        /// values differ only by what was learned; of the photos that are trained on it is a training loss all the same.
        validate_every: usize = 50, Kind::Whole(0, u64::MAX), may_differ: true;
        /// Steps between sample pictures; 0 for none.
        sample_every: usize = 50, Kind::Whole(0, u64::MAX), may_differ: true;
        /// Prompt of the sample pictures; {concept} stands for the learned concept.
        sample_prompt: String = "a {concept}".into(), Kind::Text, may_differ: true;
        /// After training, sample the concept's prompt list before and after and score both.
        evaluate: bool = false, Kind::Truth, may_differ: true;
        /// What computes: cpu, cuda:0 (or another number), metal, or `any` for the first card that is free; if none is named, the usual one that `catbench doctor` tells.
        device: DeviceName = DeviceName::Cpu, Kind::Device, may_differ: true;
        /// Type of the frozen weights and of activations: f32, bf16 or f16; if none is named, bf16 on a card that has it, else f32. The learned numbers and the loss are f32 always.
        dtype: FloatType = FloatType::F32, Kind::Word(FloatType::WORDS);
        beside
            /// The preset that these settings started from, of the method's.
            preset: String = "default".into();
            /// How the concept is learned, and the settings that only this method has.
            method: MethodSettings = MethodSettings::default();
    }
}

/// Which method learns.
const METHOD: Row = Row::new("method", "How the concept is learned.", Kind::Word(MethodSettings::NAMES));
/// The preset, whose words each method has of its own.
const PRESET: Row = Row::new("preset", "The named set of settings that is started from.", Kind::Text);
/// The common setting that the settings of the method follow.
const BEFORE_OWN: &str = "weight_decay";

impl TrainConfig {
    /// With fewer photos than these none can be held out.
    pub const PHOTOS_TO_HOLD_OUT: usize = 4;

    /// What a training by `method` starts from: the settings of `preset`, or of its first.
    ///
    /// # Errors
    /// No such method, or no such preset of it.
    pub fn of(method: &str, preset: Option<&str>) -> Result<Self, SettingError> {
        let method = MethodSettings::named(method)?;
        let declared = method.declaration();
        let preset = preset.map_or(Ok(&declared.presets[0]), |name| declared.preset(name))?;
        let device = UsualDevice::get().device;
        let dtype = device.usual_dtype();
        let mut config = Self { method, preset: preset.name.into(), device, dtype, ..Self::default() };
        preset.train.iter().try_for_each(|(name, text)| config.set_text(name, text))?;
        Ok(config)
    }

    /// What its method says of itself.
    pub fn declaration(&self) -> &'static Declaration {
        self.method.declaration()
    }

    /// The preset it started from.
    ///
    /// # Errors
    /// Its method has none of that name.
    pub fn preset(&self) -> Result<&'static Preset, SettingError> {
        self.declaration().preset(&self.preset)
    }

    /// The settings it has, in the order of files.
    pub fn rows(&self) -> Vec<&'static Row> {
        Self::rows_of(self.declaration())
    }

    /// The settings of a training by `method`, in the order of files.
    pub fn rows_of(method: &'static Declaration) -> Vec<&'static Row> {
        let at = Self::ROWS.iter().position(|row| row.name == BEFORE_OWN).map_or(0, |at| at + 1);
        let (before, after) = Self::ROWS.split_at(at);
        [&METHOD, &PRESET].into_iter().chain(before).chain(method.settings).chain(after).collect()
    }

    /// The setting that people call `name`; none where this training has no such.
    pub fn row(&self, name: &str) -> Option<&'static Row> {
        self.rows().into_iter().find(|row| row.is_called(name))
    }

    /// The value of a setting by its name in files; null where it is unset.
    pub fn get(&self, name: &str) -> Value {
        match name {
            "method" => self.declaration().name.into(),
            "preset" => self.preset.clone().into(),
            _ if Self::ROWS.iter().any(|row| row.name == name) => self.value(name),
            _ => self.method.value(name),
        }
    }

    /// The value of a setting as it is typed.
    pub fn text(&self, name: &str) -> String {
        text_of(&self.get(name))
    }

    /// The settings by name with their values, as files have them.
    pub fn table(&self) -> Vec<(&'static str, Value)> {
        self.rows().into_iter().map(|row| (row.name, self.get(row.name))).collect()
    }

    /// Set what people call `name`. Another method comes with its usual own settings; another preset changes nothing else.
    ///
    /// # Errors
    /// There is no such setting, or it cannot have this value.
    pub fn set(&mut self, name: &str, value: &Value) -> Result<(), SettingError> {
        let row = self.row(name).ok_or_else(|| self.unknown(name, &text_of(value)))?;
        row.check(value)?;
        match row.name {
            "method" if *value == self.declaration().name => {}
            "method" => {
                self.method = MethodSettings::named(value.as_str().unwrap_or_default())?;
                self.declaration().presets[0].name.clone_into(&mut self.preset);
            }
            "preset" => {
                self.declaration().preset(value.as_str().unwrap_or_default())?.name.clone_into(&mut self.preset);
            }
            _ => settings::set(row, value, |name, value| {
                Ok(self.put(name, value.clone())? || self.method.put(name, value)?)
            })?,
        }
        Ok(())
    }

    /// Set what people call `name` to what they typed.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn set_text(&mut self, name: &str, text: &str) -> Result<(), SettingError> {
        let row = self.row(name).ok_or_else(|| self.unknown(name, text))?;
        self.set(row.name, &row.parse(text)?)
    }

    /// Why there is no setting of that name.
    fn unknown(&self, name: &str, value: &str) -> SettingError {
        let own = self.declaration();
        let other = MethodSettings::ALL.iter().find(|other| other.settings.iter().any(|row| row.is_called(name)));
        let cause = if let Some(other) = other {
            format!("only {} has this setting, and the method is {}", other.name, own.name)
        } else {
            let known: Vec<&str> = self.rows().into_iter().map(|row| row.name).collect();
            format!("no setting of a training has this name; there is {}", known.join(", "))
        };
        SettingError::new(name.to_owned(), value, cause)
    }

    /// The same, with the settings of `other` that make no difference to what a step learns: how often it is looked at, and where it
    /// is done.
    #[must_use]
    pub fn looked_at_as(mut self, other: &Self) -> Self {
        for row in Self::ROWS.iter().filter(|row| row.may_differ) {
            // Of the same kind, as both are of this table.
            let _ = self.put(row.name, other.value(row.name));
        }
        self
    }

    /// Refuse settings that cannot work, whatever the base model.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), SettingError> {
        for row in self.rows() {
            row.check(&self.get(row.name))?;
        }
        self.preset()?;
        self.device.check(self.dtype)?;
        check_prompt("caption", &self.caption)?;
        check_prompt("sample_prompt", &self.sample_prompt)?;
        if self.lr_warmup_steps > self.steps {
            let cause = format!("must be at most steps, which is {}", self.steps);
            return Err(SettingError::new("lr_warmup_steps", self.lr_warmup_steps, cause));
        }
        self.method.check(self)
    }

    /// Which of the photos with these file names is held out; none where all are trained on.
    ///
    /// # Errors
    /// A name that none of them has, or too few of them.
    pub fn held_out(&self, photos: &[String]) -> Result<Option<usize>, SettingError> {
        let Some(name) = &self.hold_out else { return Ok(None) };
        let wrong = |cause: String| SettingError::new("hold_out", name, cause);
        if photos.len() < Self::PHOTOS_TO_HOLD_OUT {
            let least = Self::PHOTOS_TO_HOLD_OUT;
            let there = photos.len();
            return Err(wrong(format!(
                "needs {least} photos or more, and there are {there}: add some, or train on all"
            )));
        }
        let found = photos.iter().position(|photo| photo == name);
        let missing = || wrong(format!("is no photo of the concept; there is {}", photos.join(", ")));
        found.ok_or_else(missing).map(Some)
    }

    /// Write the settings as entries of `map`, but for those that are named.
    pub(crate) fn entries<M: SerializeMap>(&self, but: &[&str], map: &mut M) -> Result<(), M::Error> {
        for row in self.rows().into_iter().filter(|row| !but.contains(&row.name)) {
            match row.name {
                "method" => map.serialize_entry("method", self.declaration().name)?,
                "preset" => map.serialize_entry("preset", &self.preset)?,
                name => {
                    self.entry(name, map)?;
                    self.method.entry(name, map)?;
                }
            }
        }
        Ok(())
    }
}

impl Serialize for TrainConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.entries(&[], &mut map)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for TrainConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut said: Vec<(String, Value)> = Map::deserialize(deserializer)?.into_iter().collect();
        // The method says which others there are, and it has presets of its own.
        let rank = |name: &str| ["method", "preset"].iter().position(|first| *first == name).unwrap_or(2);
        said.sort_by_key(|(name, _)| rank(name));
        let mut config = Self::default();
        said.into_iter().try_for_each(|(name, value)| config.set(&name, &value)).map_err(de::Error::custom)?;
        Ok(config)
    }
}
