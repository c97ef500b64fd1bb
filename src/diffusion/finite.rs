//! Numbers that are none. One NaN or infinity in a model, in what was learned or in what is computed of them soon fills a whole
//! picture with NaN, which is written as black. So each part's result is looked at, and the first that is not finite stops the job.

use candle_core::{DType, Tensor};

use super::error::{Error, Result};

/// 0 where all numbers of `x` are finite, else NaN, one number on the device of `x`, which need not have computed it yet.
pub fn finite_flag(x: &Tensor) -> candle_core::Result<Tensor> {
    // Nothing times infinity is not a number.
    x.flatten_all()?.affine(0.0, 0.0)?.sum_keepdim(0)
}

/// Whether all numbers of `x` are finite; waits for the device.
pub fn is_finite(x: &Tensor) -> candle_core::Result<bool> {
    Ok(finite_flag(x)?.to_dtype(DType::F32)?.to_vec1::<f32>()? == [0.0])
}

/// Refuse `x`, which `part` has computed, unless all its numbers are finite.
///
/// # Errors
/// Just that.
pub fn check_finite(x: &Tensor, part: impl FnOnce() -> String) -> Result<()> {
    if is_finite(x)? { Ok(()) } else { Err(Error::NotFinite { part: part() }) }
}

/// Looks at the results of steps that follow each other, without waiting for a device that computes later.
pub(super) struct StepsWatch {
    waits: bool,
    /// Steps whose results have not been looked at yet.
    open: Vec<(String, Tensor)>,
}

impl StepsWatch {
    /// `later`: the device computes later, so results are looked at in the end only.
    pub(super) fn new(later: bool) -> Self {
        Self { waits: later, open: Vec::new() }
    }

    /// Take note of the `result` of `step`.
    ///
    /// # Errors
    /// It is not finite, where that can be seen without waiting.
    pub(super) fn note(&mut self, result: &Tensor, step: String) -> Result<()> {
        self.open.push((step, finite_flag(result)?));
        if self.waits { Ok(()) } else { self.end() }
    }

    /// Look at all that has not been looked at.
    ///
    /// # Errors
    /// The first step whose result is not finite.
    pub(super) fn end(&mut self) -> Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        let (parts, flags): (Vec<String>, Vec<Tensor>) = self.open.drain(..).unzip();
        let flags: Vec<f32> = Tensor::cat(&flags, 0)?.to_dtype(DType::F32)?.to_vec1()?;
        match parts.into_iter().zip(flags).find(|(_, flag)| *flag != 0.0) {
            Some((part, _)) => Err(Error::NotFinite { part }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn one_number_that_is_none_is_seen_among_many() {
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 500, 999] {
                let mut numbers = vec![f32::MAX; 1000];
                let of = |numbers: &[f32]| Tensor::from_vec(numbers.to_vec(), (10, 100), &Device::Cpu).unwrap();
                assert!(is_finite(&of(&numbers)).unwrap());
                numbers[at] = wrong;
                assert!(!is_finite(&of(&numbers)).unwrap(), "{wrong} at {at}");
            }
        }
    }

    #[test]
    fn the_first_step_that_went_wrong_is_named_at_once_or_in_the_end() {
        let of = |x: f32| Tensor::new(&[1.0, x], &Device::Cpu).unwrap();
        let steps = [of(0.0), of(f32::NAN), of(f32::NAN)];
        for later in [false, true] {
            let mut watch = StepsWatch::new(later);
            let noted = steps.iter().enumerate().map(|(i, step)| watch.note(step, format!("step {i}")));
            let failed = noted.collect::<Result<Vec<_>>>();
            assert_eq!(failed.is_ok(), later);
            let error = if later { watch.end().unwrap_err() } else { failed.unwrap_err() };
            assert!(matches!(&error, Error::NotFinite { part } if part == "step 1"), "{error}");
        }
    }
}
