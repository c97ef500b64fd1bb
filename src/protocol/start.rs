//! What trainings start from: settings laid over a preset.

use serde::{Deserialize, Serialize};

use super::settings::SettingError;
use super::train::TrainConfig;
use crate::method::MethodSettings;

/// What the trainings of a concept or a protocol start from: a table `[train]` of settings, laid over the method and the preset that it
/// names, else the usual ones. It is written as it was read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "toml::Table", into = "toml::Table")]
pub struct TrainStart {
    said: toml::Table,
    config: TrainConfig,
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

    /// Whether it is no more than the usual.
    pub fn is_empty(&self) -> bool {
        self.said.is_empty()
    }

    /// The settings that the table says and `config` has still.
    pub fn kept_in(&self, config: &TrainConfig) -> toml::Table {
        // By their kind, as 1 is 1.0 where a fraction belongs.
        let kept = self.said.iter().filter(|(name, _)| self.config.get(name) == config.get(name));
        kept.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

impl TryFrom<toml::Table> for TrainStart {
    type Error = SettingError;

    fn try_from(said: toml::Table) -> Result<Self, SettingError> {
        let word =
            |name: &str| said.get(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        let method = word("method").unwrap_or_else(|| MethodSettings::NAMES[0].into());
        let mut config = TrainConfig::of(&method, word("preset").as_deref())?;
        for (name, value) in said.iter().filter(|(name, _)| !["method", "preset"].contains(&name.as_str())) {
            config.set(name, crate::json::to_value(value).unwrap_or_default())?;
        }
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
