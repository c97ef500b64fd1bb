//! What measured values say and what they do not: intervals of single scores, differences of scorings pair by pair, several
//! concepts or trainings taken together, and which of several is best. Knows the records of scorings, and nothing of models, pictures,
//! files or screens.
//!
//! | module | |
//! |---|---|
//! | `record` | what a scoring leaves behind: every value, and what was measured on what and how |
//! | `estimate` | intervals from what was drawn at random: prompts, seeds, subjects, trainings |
//! | `student` | Student's t, and Holm's correction for many comparisons |
//! | `compare` | scorings pair by pair, and groups of them |
//! | `best` | the best of several, picked on one half of the pictures and reported on the other |

mod best;
mod compare;
mod estimate;
mod record;
mod student;

pub use best::{Goal, rank};
pub use compare::{Comparison, compare, compare_groups, pool};
pub use estimate::{Design, Estimate, balance, between_groups};
pub use record::{SampleRecord, ScoreRecord, makers, of_photos};
pub use student::{holm, reach_of_95, two_sided};

pub(crate) use best::{Ranking, Versus};
pub(crate) use compare::Trainings;
pub(crate) use record::{PhotoRecord, UNSAID};

/// What keeps scorings from being compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is nothing to take together.
    #[error("there are no scorings to compare")]
    Nothing,
    /// They measured different things.
    #[error("the two scores cannot be compared: {0}")]
    NotComparable(String),
    /// There are too few pictures to pick the best on one half and to report it on the other.
    #[error("no best one is named: {0}")]
    TooFew(String),
}
