//! What decides, beside its settings, how a job computes. It comes from the command that asks for the job, goes with it into
//! the queue, and is its runner's, whoever has started the daemon.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The most variables that are taken.
const MOST: usize = 200;
/// The most bytes of all of them together.
const MOST_BYTES: usize = 64 << 10;

/// Variables that decide how a program computes, where it finds its libraries, and which cards it sees.
const NAMES: &[&str] = &[
    "CUDA_VISIBLE_DEVICES",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "HF_HOME",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "RUST_BACKTRACE",
    "RUST_MIN_STACK",
    "TMPDIR",
    "XDG_CACHE_HOME",
];

/// What the names of others begin with.
const FAMILIES: &[&str] = &[
    "CUBLAS_",
    "CUDA_",
    "CUDNN_",
    "GOMP_",
    "KMP_",
    "MALLOC_",
    "METAL_",
    "MKL_",
    "MTL_",
    "NVIDIA_",
    "OMP_",
    "OPENBLAS_",
    "RAYON_",
];

/// What decides how a job computes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// How much it steps back for other programs, -20 to 19.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nice: Option<i32>,
    /// What the files it makes are closed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// The processors it may use, by their numbers; none where the system does not tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processors: Vec<usize>,
    /// Variables of its environment. Those that count and are not among them are not set.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// What the system allows it, by the names that `prlimit` has for them.
    #[serde(default)]
    pub limits: BTreeMap<String, Limit>,
}

/// How much of something a process may have; without a number as much as there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// What holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft: Option<u64>,
    /// How far it can be raised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hard: Option<u64>,
}

/// Conditions that are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionsError {
    /// A variable that decides nothing.
    #[error("the variable {0:?} is none that goes with a job")]
    Name(String),
    /// Too many or too long.
    #[error(
        "the variables that go with a job have {bytes} bytes, the longest is {longest}: at most {} are taken: shorten it",
        MOST_BYTES
    )]
    Size {
        /// All together.
        bytes: usize,
        /// The longest one.
        longest: String,
    },
    /// More variables than are taken.
    #[error("{0} variables go with a job: at most {MOST} are taken: unset some")]
    Count(usize),
    /// It cannot be written down.
    #[error("{0} in the environment is not valid text (UTF-8): set it anew or unset it")]
    Text(String),
}

impl Conditions {
    /// Whether the variable `name` goes with a job.
    pub fn has_variable(name: &str) -> bool {
        NAMES.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family))
    }

    /// Refuse variables that do not belong here, and more than can be kept.
    pub fn check(&self) -> Result<(), ConditionsError> {
        if let Some(name) = self.variables.keys().find(|name| !Self::has_variable(name)) {
            return Err(ConditionsError::Name(name.chars().take(80).collect()));
        }
        if self.variables.len() > MOST {
            return Err(ConditionsError::Count(self.variables.len()));
        }
        let size = |(name, value): (&String, &String)| name.len() + value.len();
        let bytes = self.variables.iter().map(size).sum();
        match self.variables.iter().max_by_key(|variable| size(*variable)) {
            Some((longest, _)) if bytes > MOST_BYTES => Err(ConditionsError::Size { bytes, longest: longest.clone() }),
            _ => Ok(()),
        }
    }

    /// The cards that CUDA is to show, as `CUDA_VISIBLE_DEVICES` lists them; none for all.
    pub fn cards(&self) -> Option<&str> {
        self.variables.get("CUDA_VISIBLE_DEVICES").map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn with(variables: &[(&str, &str)]) -> Conditions {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Conditions { variables, ..Conditions::default() }
    }

    #[test]
    fn only_what_decides_how_a_job_computes_goes_with_it() {
        for name in ["CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "OMP_NUM_THREADS", "LD_LIBRARY_PATH", "HF_HOME"] {
            assert_eq!(with(&[(name, "1")]).check(), Ok(()));
        }
        for name in ["PATH", "HOME", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "CATBENCH_HOME", "", "omp_x", "A=B"] {
            assert_eq!(with(&[(name, "1")]).check(), Err(ConditionsError::Name(name.into())));
        }
        let long = "x".repeat(MOST_BYTES);
        let error = with(&[("OMP_X", "1"), ("LD_LIBRARY_PATH", &long)]).check().unwrap_err().to_string();
        assert!(error.contains("LD_LIBRARY_PATH"), "{error}");
        let many: Vec<String> = (0..=MOST).map(|i| format!("OMP_{i}")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "")).collect();
        assert_eq!(with(&many).check(), Err(ConditionsError::Count(MOST + 1)));
    }
}
