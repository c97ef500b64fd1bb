//! What travels between processes: the settings of a job, the events it reports, what clients and the daemon say to each
//! other, and small questions to a runner with their answers.
//! Plain data, no behaviour beyond presets and checks.

mod axis;
mod conditions;
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
mod score;
mod scores;
mod segment;
pub mod settings;
mod start;
mod syntax;
mod train;

pub use axis::Axis;
pub use conditions::{Conditions, ConditionsError, Limit};
pub use daemon::{DaemonReply, DaemonRequest, DaemonStatus, Envelope, Hello, MAX_REPLY, MAX_REQUEST, PROTOCOL};
pub use device::{DeviceName, FloatType, UsualDevice};
pub use estimate::{CutPrompt, Estimate, Memory, NO_TIME, OddPrompt, TimeEstimate};
pub use event::{Event, EventRecord, Phase, Score, Unit};
pub use library::{
    BothScores, CheckpointRecord, ConceptDetails, ConceptRecord, FileRecord, MaskRecord, RunRecord, SampleRecord,
    Scores, State, StoreCounts, doubt, two_digits,
};
pub use masks::{DOUBTFUL_BELOW, MaskConfig, MaskMaker, MaskQuality, is_doubtful};
pub use model::{IgnoredTensors, ModelReport, ModelSpec, PartReport, Prediction, UNKNOWN, path_or_table};
pub use names::{MAX_PROMPT, before_name, check_prompt, check_word, class_word_problem, next_name, with_class_words};
pub use photo::PhotoReading;
pub use picture::{PictureConfig, PictureRecord, UsedCheckpoint, UsedConcept};
pub use queue::{Assignment, CONDITIONS, DISK_FULL, JobChange, JobInfo, JobKind, JobState, PhaseProgress, Submission};
pub use request::{Build, EstimateRequest, MaskWork, Reply, Request, ScoreWork, device_of};
pub use sampling::{EmbeddingFile, NoiseKind, OtherConcept, SampleConfig, SamplerKind, SeedRule, SharedConfig};
pub use score::{ClipText, Fill, ScoreConfig, ScoreCrop, ScoreTask};
pub use scores::{Backbone, DinoJudge, MASK_MARGIN, MaskDependence, MaskReport};
pub use segment::{MaskPoint, SegmentReply, SegmentRequest};
pub use settings::{Declaration, Format, Kind, Preset, Range, Row, SettingError, text_of};
pub(crate) use settings::{settings, words};
pub use start::TrainStart;
pub use syntax::{OtherSyntax, SyntaxKind};
pub use train::{Crop, LrScheduler, TrainConfig};
