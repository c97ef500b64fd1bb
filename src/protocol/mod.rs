//! What travels between processes: the settings of a job and the events it reports. Plain data, no behaviour
//! beyond presets and checks.

mod config;
mod event;
mod model;

pub use config::{Crop, Fill, Init, Preset, SampleConfig, ScoreConfig, SettingError, TrainConfig};
pub use event::{Event, EventRecord, Phase, Score};
pub use model::{ModelReport, ModelSpec, PartReport, Prediction, path_or_table};
