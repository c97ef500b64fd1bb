//! What travels between processes: the settings of a job, the events it reports, and small questions with their answers.
//! Plain data, no behaviour beyond presets and checks.

mod config;
mod device;
mod estimate;
mod event;
mod model;
mod request;

pub use config::{Crop, EmbeddingFile, Fill, Init, Preset, SampleConfig, ScoreConfig, SettingError, TrainConfig};
pub use device::{DeviceName, FloatType};
pub use estimate::{CutPrompt, Estimate, FreeMemory, TimeEstimate};
pub use event::{Event, EventRecord, Phase, Score};
pub use model::{ModelReport, ModelSpec, PartReport, Prediction, path_or_table};
pub use request::{EstimateRequest, Reply, Request};
