//! What trainings start from: settings laid over a preset.

use serde::{Deserialize, Serialize};

use super::settings::SettingError;
use super::train::TrainConfig;
use crate::method::MethodSettings;

/// What the trainings of a concept or a protocol start from: a table `[train]` of settings, laid over the method and the preset that it
/// names, else the usual ones. It is written as it was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "toml::Table", into = "toml::Table")]
pub struct TrainStart {
    said: toml::Table,
    config: TrainConfig,
}

impl Default for TrainStart {
    fn default() -> Self {
        Self { said: toml::Table::new(), config: TrainConfig::of(MethodSettings::NAMES[0], None).unwrap_or_default() }
    }
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
            config.set(name, &crate::json::to_value(value).unwrap_or_default())?;
        }
        if !said.contains_key("dtype") {
            config.dtype = config.device.usual_dtype();
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

    fn read(text: &str) -> Result<TrainStart, SettingError> {
        TrainStart::try_from(text.parse::<toml::Table>().unwrap())
    }

    #[test]
    fn what_a_table_says_is_laid_over_its_preset() {
        assert_eq!(read("").unwrap(), TrainStart::default());
        let start =
            read("steps = 300\nlearning_rate = 1\nlayers = [0, 2]\nhold_out = \"a.png\"\npreset = \"official\"")
                .unwrap();
        let mut expected = TrainConfig::of(MethodSettings::NAMES[0], Some("official")).unwrap();
        for (name, text) in [("steps", "300"), ("lr", "1"), ("layers", "0,2"), ("hold_out", "a.png")] {
            expected.set_text(name, text).unwrap();
        }
        assert_eq!(*start.config(), expected);
        assert_eq!(read("init = \"normal\"").unwrap().config().text("init"), "normal");
        assert_eq!(toml::Table::from(start.clone()), *start.said(), "it is written as it was read");
    }

    #[test]
    fn what_is_kept_is_told_from_what_was_set_otherwise() {
        let start = read("steps = 300\nlearning_rate = 1\nlayers = [0]").unwrap();
        assert_eq!(start.kept_in(start.config()), *start.said());
        let mut other = TrainConfig { steps: 20, seed: 3, ..start.config().clone() };
        other.set_text("layers", "").unwrap();
        assert_eq!(start.kept_in(&other).keys().collect::<Vec<_>>(), ["learning_rate"]);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_right() {
        let wrong = |text: &str| read(text).unwrap_err().to_string();
        let unknown = wrong("stepz = 3");
        assert!(unknown.starts_with("stepz = 3: no setting of a training has this name; there is "), "{unknown}");
        assert!(
            unknown.contains("steps, ") && unknown.contains("layers, ") && unknown.contains("hold_out, "),
            "{unknown}"
        );
        for (other, own) in MethodSettings::ALL.iter().zip(MethodSettings::ALL.iter().cycle().skip(1)) {
            let name = other.settings[0].name;
            let said = wrong(&format!("method = \"{}\"\n{name} = 1", own.name));
            assert!(said.contains(&format!("only {} has this setting", other.name)), "{said}");
        }
        for (text, said) in [
            ("steps = \"many\"", "steps = many: must be a whole number, 1 or more"),
            ("steps = -3", "steps = -3: must be a whole number, 1 or more"),
            ("validate_every = -3", "validate_every = -3: must be a whole number, 0 or more"),
            ("learning_rate = true", "learning_rate = true: must be a number above 0"),
            ("learning_rate = nan", "learning_rate = : must be a number above 0"),
            ("evaluate = 1", "evaluate = 1: must be true or false"),
            ("photo_repeats = true", "photo_repeats = true: must be a whole number in 1..=10000"),
            ("hold_out = 3", "hold_out = 3: must be text in quotes"),
            ("photo_repeats = 0", "photo_repeats = 0: must be a whole number in 1..=10000"),
            ("layers = 9", "layers = 9: must be one or more numbers, each once, in ascending order, as in [9, 10, 11]"),
            ("caption = 3", "caption = 3: must be text in quotes"),
            ("steps = 0", "steps = 0: must be a whole number, 1 or more"),
            (
                "layers = [2, 1]",
                "layers = 2,1: must be one or more numbers, each once, in ascending order, as in [9, 10, 11]",
            ),
            (
                "lr_scheduler = \"cosine\"\nlr_warmup_steps = 600",
                "lr_warmup_steps = 600: must be at most steps, which is 500",
            ),
        ] {
            assert_eq!(wrong(text), said);
        }
        for (text, choice) in
            [("preset = \"own\"", "official"), ("init = \"zero\"", "class_word"), ("device = \"gpu\"", "metal")]
        {
            let said = wrong(text);
            assert!(said.starts_with(&text[..text.find('=').unwrap()]) && said.contains(choice), "{said}");
        }
    }
}
