//! What travels between processes: the settings of a job, the events it reports, what clients and the daemon say to each
//! other, and small questions to a runner with their answers.
//! Plain data, no behaviour beyond presets and checks.

mod conditions;
mod config;
mod daemon;
mod device;
mod estimate;
mod event;
mod library;
mod masks;
mod model;
mod names;
mod photo;
mod picture;
mod queue;
mod request;
mod sampling;
mod scores;
mod segment;
pub mod settings;
mod start;
mod syntax;
mod train;

pub use conditions::{Conditions, ConditionsError, Limit};
pub use config::{
    ClipText, EmbeddingFile, Fill, MAX_PROMPT, MaskConfig, SampleConfig, ScoreConfig, ScoreCrop, ScoreTask,
    check_prompt, check_word,
};
pub use daemon::{DaemonReply, DaemonRequest, DaemonStatus, Envelope, Hello, MAX_REPLY, MAX_REQUEST, PROTOCOL};
pub use device::{DeviceName, FloatType};
pub use estimate::{CutPrompt, Estimate, Memory, OddPrompt, TimeEstimate};
pub use event::{Event, EventRecord, Phase, Score, Unit};
pub use library::{
    BothScores, CheckpointRecord, ConceptDetails, ConceptRecord, FileRecord, MaskRecord, RunRecord, SampleRecord,
    Scores, State, StoreCounts, doubt, two_digits,
};
pub use masks::{DOUBTFUL_BELOW, MaskMaker, MaskQuality, is_doubtful};
pub use model::{IgnoredTensors, ModelReport, ModelSpec, PartReport, Prediction, UNKNOWN, path_or_table};
pub use names::{before_name, class_word_problem, next_name, with_class_words};
pub use photo::PhotoReading;
pub use picture::{Axis, PictureConfig, PictureRecord, UsedCheckpoint, UsedConcept};
pub use queue::{Assignment, CONDITIONS, DISK_FULL, JobChange, JobInfo, JobKind, JobState, PhaseProgress, Submission};
pub use request::{EstimateRequest, MaskWork, Reply, Request, ScoreWork};
pub use sampling::{NoiseKind, OtherConcept, SamplerKind, SeedRule};
pub use scores::{Backbone, DinoJudge, MASK_MARGIN, MaskDependence, MaskReport};
pub use segment::{MaskPoint, SegmentReply, SegmentRequest};
pub(crate) use settings::settings;
pub use settings::{Declaration, Format, Kind, Preset, Range, Row, SettingError, text_of};
pub use start::{TrainStart, with_setting, with_text};
pub use syntax::{OtherSyntax, SyntaxKind};
pub use train::{Crop, LrScheduler, TrainConfig};
