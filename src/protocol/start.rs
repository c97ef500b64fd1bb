//! What trainings start from: settings laid over a preset.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::config::{SettingError, TrainConfig};

/// What the trainings of a concept or a protocol start from: a table `[train]` of settings, laid over the preset that it
/// names, else the default one. It is written as it was read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "toml::Table", into = "toml::Table")]
pub struct TrainStart {
    said: toml::Table,
    config: TrainConfig,
}

/// A table of settings that no training can start from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// No setting has this name.
    #[error("{name} is no setting of a training; there is {known}")]
    Unknown {
        /// As written.
        name: String,
        /// All there are.
        known: String,
    },
    /// A setting is of another kind, or no word of those it can be.
    #[error("{name} = {value}: {cause}")]
    Kind {
        /// The setting.
        name: String,
        /// As written.
        value: String,
        /// What it must be.
        cause: String,
    },
    /// A value that cannot work.
    #[error(transparent)]
    Refused(#[from] SettingError),
}

impl TrainStart {
    /// All the settings.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// The settings that the table says, as written; empty where there is no table.
    pub fn said(&self) -> &toml::Table {
        &self.said
    }

    /// Whether it is no more than the default preset.
    pub fn is_empty(&self) -> bool {
        self.said.is_empty()
    }

    /// The settings that the table says and `config` has still.
    pub fn kept_in(&self, config: &TrainConfig) -> toml::Table {
        // Without an error: both are tables of plain values. By their kind, as 1 is 1.0 where a fraction belongs.
        let [own, other] = [&self.config, config].map(|config| config.table().unwrap_or_default());
        let kept = self.said.iter().filter(|(name, _)| own.get(*name) == other.get(*name));
        kept.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

impl TryFrom<toml::Table> for TrainStart {
    type Error = StartError;

    fn try_from(said: toml::Table) -> Result<Self, StartError> {
        let set = |config: &TrainConfig, name: &str, value: &toml::Value| {
            with_setting(config, name, value.clone()).map_err(|message| wrong(name, value, message))
        };
        let default = TrainConfig::default();
        let named = said.get("preset").map(|value| set(&default, "preset", value)).transpose()?;
        let start = TrainConfig::preset(named.map_or(default.preset, |named| named.preset));
        let config = said.iter().try_fold(start, |config, (name, value)| set(&config, name, value))?;
        // A device that is not here is refused when a training is to use it: the concept may have come from another machine.
        let here = TrainConfig::default();
        TrainConfig { device: here.device, dtype: here.dtype, ..config.clone() }.check()?;
        Ok(Self { said, config })
    }
}

impl From<TrainStart> for toml::Table {
    fn from(start: TrainStart) -> Self {
        start.said
    }
}

/// `config` with the setting `name` set; what is wrong with it otherwise, in the words of the reader.
pub fn with_setting<T: Serialize + DeserializeOwned>(config: &T, name: &str, value: toml::Value) -> Result<T, String> {
    let mut table = toml::Table::try_from(config).map_err(|error| error.to_string())?;
    // A whole number where a fraction belongs.
    let value = match (table.get(name), value) {
        (Some(toml::Value::Float(_)), toml::Value::Integer(whole)) => toml::Value::Float(whole as f64),
        (_, value) => value,
    };
    table.insert(name.to_owned(), value);
    table.try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}

/// What is wrong with a setting that could not be set.
fn wrong(name: &str, value: &toml::Value, message: String) -> StartError {
    // What a preset leaves open is in no table of settings.
    let table = TrainConfig::default().table().unwrap_or_default();
    let cause = match table.get(name) {
        None if name == "layers" => "must be numbers of layers, as in [9, 10, 11]".into(),
        None if name == "hold_out" => "must be the file name of a photo, in quotes".into(),
        None => {
            let known: Vec<&str> = table.keys().map(String::as_str).chain(TrainConfig::OPTIONAL).collect();
            return StartError::Unknown { name: name.into(), known: known.join(", ") };
        }
        Some(toml::Value::Integer(_)) => "must be a whole number, 0 or more".into(),
        Some(toml::Value::Float(_)) => "must be a number".into(),
        Some(toml::Value::Boolean(_)) => "must be true or false".into(),
        Some(toml::Value::String(_)) if value.is_str() => message,
        Some(_) => "must be text in quotes".into(),
    };
    StartError::Kind { name: name.into(), value: value.to_string(), cause }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::protocol::{Init, Preset};

    fn read(text: &str) -> Result<TrainStart, StartError> {
        TrainStart::try_from(text.parse::<toml::Table>().unwrap())
    }

    #[test]
    fn what_a_table_says_is_laid_over_its_preset() {
        assert_eq!(read("").unwrap(), TrainStart::default());
        let start =
            read("steps = 300\nlearning_rate = 1\nlayers = [0, 2]\nhold_out = \"a.png\"\npreset = \"official\"")
                .unwrap();
        let expected = TrainConfig {
            steps: 300,
            learning_rate: 1.0,
            layers: Some(vec![0, 2]),
            hold_out: Some("a.png".into()),
            ..TrainConfig::preset(Preset::Official)
        };
        assert_eq!(*start.config(), expected);
        assert_eq!(read("init = \"normal\"").unwrap().config().init, Init::Normal);
        assert_eq!(toml::Table::from(start.clone()), *start.said(), "it is written as it was read");
    }

    #[test]
    fn what_is_kept_is_told_from_what_was_set_otherwise() {
        let start = read("steps = 300\nlearning_rate = 1\nlayers = [0]").unwrap();
        assert_eq!(start.kept_in(start.config()), *start.said());
        let other = TrainConfig { steps: 20, layers: None, seed: 3, ..start.config().clone() };
        assert_eq!(start.kept_in(&other).keys().collect::<Vec<_>>(), ["learning_rate"]);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_right() {
        let wrong = |text: &str| read(text).unwrap_err().to_string();
        let unknown = wrong("stepz = 3");
        assert!(unknown.starts_with("stepz is no setting of a training; there is "), "{unknown}");
        assert!(unknown.contains("steps, ") && unknown.contains("layers, hold_out"), "{unknown}");
        for (text, said) in [
            ("steps = \"many\"", "steps = \"many\": must be a whole number, 0 or more"),
            ("steps = -3", "steps = -3: must be a whole number, 0 or more"),
            ("learning_rate = true", "learning_rate = true: must be a number"),
            ("evaluate = 1", "evaluate = 1: must be true or false"),
            ("photo_repeats = true", "photo_repeats = true: must be a whole number, 0 or more"),
            ("hold_out = 3", "hold_out = 3: must be the file name of a photo, in quotes"),
            ("photo_repeats = 0", "photo_repeats = 0: must be in 1..=10000"),
            ("layers = 9", "layers = 9: must be numbers of layers, as in [9, 10, 11]"),
            ("caption = 3", "caption = 3: must be text in quotes"),
            ("steps = 0", "steps = 0: must be 1 or more"),
            ("layers = [2, 1]", "layers = [2, 1]: must be one or more layers, each once, bottom up"),
        ] {
            assert_eq!(wrong(text), said);
        }
        for (text, choice) in
            [("preset = \"own\"", "`official`"), ("init = \"zero\"", "`class_word`"), ("device = \"gpu\"", "metal")]
        {
            let said = wrong(text);
            assert!(said.starts_with(&text[..text.find('=').unwrap()]) && said.contains(choice), "{said}");
        }
    }
}
