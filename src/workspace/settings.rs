//! What the user has set in the workbench, in `<home>/.catbench/settings.toml`.

use serde::{Deserialize, Serialize};

use super::concept::{read_toml, write_toml};
use super::error::is_there;
use super::{Error, Home};
use crate::protocol::DeviceName;

/// Which colours the screens have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Theme {
    /// For a dark terminal.
    Dark,
    /// For a light one.
    Light,
}

impl Theme {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Dark => "dark",
            Self::Light => "light",
        }
    }
}

/// What a graph's points stand over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum XAxis {
    /// Optimizer steps.
    #[default]
    Steps,
    /// Wall time.
    Time,
}

/// The settings of the workbench; what is not set is left to the program.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HomeSettings {
    /// Where jobs compute for which nobody names a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceName>,
    /// Whether it was said that a graphics card is here and no program for it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub told_of_cards: bool,
    /// Which colours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theme: Option<Theme>,
    /// How pictures are drawn, as `--images` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<String>,
    /// The place that was shown last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// How far the smoothing of graphs looks, as a multiple of the usual: 0 is not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<f64>,
    /// Whether graphs have a logarithmic scale.
    pub log_scale: bool,
    /// What graphs are drawn over.
    pub x_axis: XAxis,
}

impl Home {
    /// The user's settings; the usual ones without a file.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn settings(&self) -> Result<HomeSettings, Error> {
        let path = self.internal().join("settings.toml");
        if !is_there(&path)? {
            return Ok(HomeSettings::default());
        }
        let settings: HomeSettings = read_toml(&path)?;
        match settings.smoothing {
            Some(smoothing) if !(0.0..=100.0).contains(&smoothing) => {
                let remedy = "give a number from 0 to 100";
                Err(Error::invalid(&path, format!("smoothing cannot be {smoothing}"), remedy))
            }
            _ => Ok(settings),
        }
    }

    /// Keep the user's settings.
    pub fn write_settings(&self, settings: &HomeSettings) -> Result<(), Error> {
        write_toml(&self.make_internal()?.join("settings.toml"), settings)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn settings_are_kept_and_a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home")).unwrap();
        assert_eq!(home.settings().unwrap(), HomeSettings::default());
        let set = HomeSettings {
            device: Some(DeviceName::Cuda(1)),
            told_of_cards: true,
            theme: Some(Theme::Light),
            images: Some("blocks".into()),
            last: Some("concept/demo".into()),
            smoothing: Some(0.9),
            log_scale: true,
            x_axis: XAxis::Time,
        };
        for settings in [set, HomeSettings::default()] {
            home.write_settings(&settings).unwrap();
            assert_eq!(home.settings().unwrap(), settings);
        }
        for (text, named) in [("theme = \"pink\"\n", "pink"), ("smoothing = -1.0\n", "smoothing"), ("{\n", "line 1")] {
            std::fs::write(home.internal().join("settings.toml"), text).unwrap();
            let message = home.settings().unwrap_err().to_string();
            assert!(message.contains("settings.toml") && message.contains(named), "{message}");
        }
    }
}
