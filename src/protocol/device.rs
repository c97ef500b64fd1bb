//! Where a job computes, and in which numbers.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::settings::{SettingError, words};
use crate::programs::{self, BUILD_CUDA, CUDA};

/// What computes: `cpu`, `cuda:N` or `metal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceName {
    /// The processor.
    #[default]
    Cpu,
    /// The NVIDIA graphics card of this number, counted from 0.
    Cuda(usize),
    /// The graphics processor of an Apple computer.
    Metal,
}

words! {
    /// The floating point type of weights and activations. What is trained, and the loss, are float32 always.
    #[derive(Default)]
    pub enum FloatType {
        /// 32 bits.
        #[default]
        F32 = "f32",
        /// 16 bits with the range of float32.
        Bf16 = "bf16",
        /// 16 bits with more digits and less range.
        F16 = "f16",
    }
}

impl FloatType {
    /// Bytes of a number.
    pub fn size(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("cuda:").map(str::parse)) {
            ("cpu", _) => Ok(Self::Cpu),
            ("metal", _) => Ok(Self::Metal),
            ("cuda", _) => Ok(Self::Cuda(0)),
            (_, Some(Ok(number))) => Ok(Self::Cuda(number)),
            _ => Err(format!("device \"{text}\": one of cpu, cuda:0 (or another number), metal")),
        }
    }
}

impl TryFrom<String> for DeviceName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<DeviceName> for String {
    fn from(device: DeviceName) -> Self {
        device.to_string()
    }
}

/// Where a job computes for which nobody names a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsualDevice {
    /// The device.
    pub device: DeviceName,
    /// What `any` is reckoned with: a graphics card where there is one.
    pub any: DeviceName,
    /// The numbers on any graphics card, where nobody names others.
    pub on_cards: FloatType,
}

/// What this process was told. Runners, the daemon and tests are told nothing: for them it is the processor.
static USUAL: OnceLock<UsualDevice> = OnceLock::new();

impl UsualDevice {
    /// Of this process.
    pub fn get() -> Self {
        USUAL.get().copied().unwrap_or_default()
    }

    /// Let this be the usual one in this process, unless another was set before.
    pub fn set(self) {
        USUAL.get_or_init(|| self);
    }
}

impl DeviceName {
    /// The numbers on it, where nobody names others.
    pub fn usual_dtype(self) -> FloatType {
        if matches!(self, Self::Cuda(_)) { UsualDevice::get().on_cards } else { FloatType::F32 }
    }

    /// The numbers on `other`, for what is computed here in `dtype`: where these are the usual ones here, the usual ones there.
    pub fn dtype_on(self, other: Self, dtype: FloatType) -> FloatType {
        if dtype == self.usual_dtype() { other.usual_dtype() } else { dtype }
    }

    /// Whether this installation has a program for such a device, wherever it runs.
    pub fn is_built_in(self) -> bool {
        self == Self::Cpu || programs::own().is_ok_and(|own| self.program(&own).is_some())
    }

    /// What computes on it, of the installation of the program `own`; none where that was built without.
    pub fn program(self, own: &Path) -> Option<PathBuf> {
        match self {
            Self::Cpu => Some(own.to_owned()),
            Self::Cuda(_) => programs::with_cuda(own),
            Self::Metal => cfg!(feature = "metal").then(|| own.to_owned()),
        }
    }

    /// Refuse a device that this program was built without, and numbers that the device cannot compute with.
    pub fn check(self, dtype: FloatType) -> Result<(), SettingError> {
        let refuse = |setting: &'static str, value: String, cause: &str| {
            Err(SettingError::new(setting, value, cause.to_owned()))
        };
        match self {
            _ if self.is_built_in() && (self, dtype) != (Self::Cpu, FloatType::Bf16) => Ok(()),
            Self::Cpu => refuse("dtype", dtype.to_string(), "the cpu does not multiply bf16: use f32, or f16"),
            Self::Cuda(_) => refuse(
                "device",
                self.to_string(),
                &format!(
                    "{CUDA}, which computes there, is not beside this program: use cpu, or build it with `{BUILD_CUDA}`"
                ),
            ),
            Self::Metal => refuse(
                "device",
                self.to_string(),
                "this program was built without Metal: use cpu, or build it with `--features metal` on a Mac",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_written_as_they_are_read() {
        for text in ["cpu", "cuda:0", "cuda:12", "metal"] {
            assert_eq!(text.parse::<DeviceName>().unwrap().to_string(), text);
        }
        for odd in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU"] {
            let error = odd.parse::<DeviceName>().unwrap_err();
            assert!(error.contains("cuda:0") && error.contains(odd), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_computed_is_refused_with_what_would_do() {
        assert_eq!(DeviceName::Cpu.check(FloatType::F32), Ok(()));
        let error = DeviceName::Cpu.check(FloatType::Bf16).unwrap_err().to_string();
        assert!(error.contains("dtype = bf16") && error.contains("f32"), "{error}");
        for (device, feature) in [(DeviceName::Cuda(1), "cuda"), (DeviceName::Metal, "metal")] {
            match device.check(FloatType::F32) {
                Ok(()) => assert!(device.is_built_in()),
                Err(error) => {
                    let error = error.to_string();
                    assert!(error.contains(&device.to_string()), "{error}");
                    assert!(error.contains(&format!("--features {feature}")), "{error}");
                }
            }
        }
    }
}
