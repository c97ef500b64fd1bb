//! Looking at a finished picture with the untrained model: its latents are noised again to a few timesteps, and what the
//! denoiser's attention sees on the way is kept (as DAAM does while sampling: Tang et al. 2022, arXiv 2210.04885). Masks are
//! made of it in `masks`.

use std::ops::ControlFlow;

use candle_core::Tensor;

use super::conditioning::Conditioning;
use super::error::Result;
use super::finite::check_finite;
use super::unet::{CrossSeen, OwnSeen, Probe, UNetOptions};
use super::{BaseModel, Noise, Stream};

/// Numbers of the largest activation that looks may take together: 3 of Stable Diffusion 1.x at 512 × 512.
const ACTIVATION_AT_ONCE: usize = 1 << 25;

/// How a picture is looked at.
pub struct Looking<'a> {
    /// What the denoiser is told.
    pub conditioning: &'a Conditioning,
    /// Positions of the class word's tokens in it.
    pub class: &'a [usize],
    /// The timesteps that the picture is noised to.
    pub timesteps: &'a [usize],
    /// Draws of noise at each.
    pub draws: usize,
    /// Of the noise.
    pub seed: u64,
}

/// What attention saw in all looks at one picture: those at the first timestep first, each draw in turn.
pub struct Looks {
    /// Every cross-attention, all looks in its batch.
    pub cross: Vec<CrossSeen>,
    /// The self-attentions with the most places, in the looks that were taken together first: what belongs together in a
    /// picture hardly depends on the noise, and queries and keys are large.
    pub own: Vec<OwnSeen>,
}

impl Looking<'_> {
    /// Looks in all.
    pub fn count(&self) -> usize {
        self.timesteps.len() * self.draws
    }

    /// Look at the picture with the scaled `latents` [1, C, h, w]. `progress` is told (looks taken, all) and may break off; then
    /// the result is none.
    ///
    /// # Errors
    /// A token that the text does not have, a failing computation.
    pub fn look(
        &self,
        model: &BaseModel,
        latents: &Tensor,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Option<Looks>> {
        let device = model.compute.device();
        let latents = latents.to_device(device)?;
        let mut batches: Vec<Vec<CrossSeen>> = Vec::new();
        let mut own = Vec::new();
        let (all, at_once) = (self.count(), looks_at_once(model.unet.activation()));
        for first in (0..all).step_by(at_once) {
            let looks = first..(first + at_once).min(all);
            let timesteps: Vec<u32> = looks.clone().map(|look| self.timesteps[look / self.draws] as u32).collect();
            let noise =
                looks.clone().map(|look| Noise::new(self.seed, Stream::Look, look as u64).normal(latents.dims()));
            let noise = Tensor::cat(&noise.collect::<candle_core::Result<Vec<_>>>()?, 0)?.to_device(device)?;
            let noisy = model.schedule.add_noise(&latents, &noise, &timesteps)?;
            let (cross, seen) = model.compute.run(|| {
                let probe = Probe::new(self.class.to_vec());
                let options = UNetOptions { probe: Some(&probe), ..UNetOptions::default() };
                let noise_pred = model.unet.forward(&noisy, &timesteps, self.conditioning, options)?;
                check_finite(noise_pred.value(), || {
                    format!("the UNet at timesteps {timesteps:?}, looking for a mask")
                })?;
                Ok::<_, super::Error>(probe.into_seen())
            })?;
            batches.push(cross);
            if own.is_empty() {
                own = seen;
            }
            if progress(looks.end, all).is_break() {
                return Ok(None);
            }
        }
        Ok(Some(Looks { cross: side_by_side(batches)?, own }))
    }
}

/// How many looks go through a denoiser together. `activation`: numbers in its largest activation for one picture. The count depends
/// on the model alone, so that a mask does too.
pub(super) fn looks_at_once(activation: usize) -> usize {
    (ACTIVATION_AT_ONCE / activation.max(1)).max(1)
}

/// The looks of all batches in the batch of each cross-attention.
fn side_by_side(batches: Vec<Vec<CrossSeen>>) -> Result<Vec<CrossSeen>> {
    let mut batches = batches.into_iter();
    let mut cross = batches.next().unwrap_or_default();
    for batch in batches {
        for (all, seen) in cross.iter_mut().zip(batch) {
            all.probabilities = Tensor::cat(&[&all.probabilities, &seen.probabilities], 0)?;
        }
    }
    Ok(cross)
}
