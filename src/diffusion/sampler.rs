//! Guided denoising (Ho and Salimans 2022, arXiv 2207.12598) with DDIM, following where the picture looks at the class word
//! meanwhile.

use std::ops::ControlFlow;

use candle_core::Tensor;

use super::attention_mask::Attention;
use super::error::{Error, Result};
use super::unet::{AttentionMaps, UNetOptions};
use super::{BaseModel, Noise, Stream};

/// One batch to denoise.
pub struct Denoising<'a> {
    /// What each picture shows, [B, T, D].
    pub context: &'a Tensor,
    /// What the unconditional branch reads, [B or 1, T, D].
    pub uncond_context: &'a Tensor,
    /// One a picture; 1 for all switches the unconditional branch off.
    pub guidance_scales: &'a [f64],
    /// Denoising steps.
    pub steps: usize,
    /// DDIM's η.
    pub eta: f64,
    /// One a picture; noise depends on nothing else.
    pub seeds: &'a [u64],
    /// For each picture, the token positions whose attention makes its mask; empty for no masks.
    pub mask_positions: Vec<Vec<usize>>,
}

/// What [`denoise`] gives.
pub struct Latents {
    /// Scaled latents [B, C, h, w].
    pub latents: Tensor,
    /// Where each picture looked at the followed tokens, [B, h', w'] in 0 to 1, where asked.
    pub attention: Option<Tensor>,
}

impl BaseModel {
    /// The noise that pictures of these seeds start from, [B, C, h, w].
    pub fn initial_latents(&self, seeds: &[u64]) -> Result<Tensor> {
        let (size, channels) = (self.unet.sample_size(), self.vae.latent_channels());
        let each = seeds
            .iter()
            .map(|&seed| Noise::new(seed, Stream::Latents, 0).normal(&[channels, size, size]))
            .collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Tensor::stack(&each, 0)?)
    }
}

/// Denoise `latents` [B, C, h, w]. `progress` is told (steps done, steps) and may break off; then the result is none.
pub fn denoise(
    model: &BaseModel,
    latents: &Tensor,
    job: &Denoising<'_>,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Option<Latents>> {
    let batch = latents.dims()[0];
    if [job.seeds.len(), job.guidance_scales.len(), job.context.dims()[0]].iter().any(|count| *count != batch) {
        return Err(Error::Setting(format!("{} seeds and texts for {batch} pictures", job.seeds.len())));
    }
    let ddim = model.schedule.ddim(job.steps, job.eta)?;
    let guided = job.guidance_scales.iter().any(|scale| (scale - 1.0).abs() > f64::EPSILON);
    let scales: Vec<f32> = job.guidance_scales.iter().map(|scale| *scale as f32).collect();
    let scales = Tensor::from_vec(scales, (batch, 1, 1, 1), model.compute.device())?;
    // The conditional half stands first: the attention maps follow the first pictures of the batch.
    let context = if guided {
        let (_, length, width) = job.context.dims3()?;
        Tensor::cat(&[job.context, &job.uncond_context.expand((batch, length, width))?], 0)?.contiguous()?
    } else {
        job.context.clone()
    };
    let mut attention = Attention::new(batch);
    let device = model.compute.device();
    let mut x = latents.to_device(device)?;
    for (done, &t) in ddim.timesteps().iter().enumerate() {
        let input = if guided { Tensor::cat(&[&x, &x], 0)? } else { x.clone() };
        let (output, maps) = model.compute.run(|| {
            let maps = (!job.mask_positions.is_empty()).then(|| AttentionMaps::new(job.mask_positions.clone()));
            let options = UNetOptions { maps: maps.as_ref(), ..UNetOptions::default() };
            let timesteps = vec![t as u32; input.dims()[0]];
            let output = model.unet.forward(&input, &timesteps, &(&context).into(), options)?.value().clone();
            Ok::<_, Error>((output, maps))
        })?;
        let output = if guided {
            let (cond, uncond) = (output.narrow(0, 0, batch)?, output.narrow(0, batch, batch)?);
            (&uncond + (cond - &uncond)?.broadcast_mul(&scales)?)?
        } else {
            output
        };
        let variance_noise = if job.eta > 0.0 {
            let each = job
                .seeds
                .iter()
                .map(|&seed| Noise::new(seed, Stream::Variance, done as u64).normal(&x.dims()[1..]))
                .collect::<candle_core::Result<Vec<_>>>()?;
            Some(Tensor::stack(&each, 0)?.to_device(device)?)
        } else {
            None
        };
        x = ddim.step(&output, t, &x, variance_noise.as_ref())?;
        if let Some(maps) = maps {
            attention.add(maps)?;
        }
        if progress(done + 1, job.steps).is_break() {
            return Ok(None);
        }
    }
    let attention = (!job.mask_positions.is_empty()).then(|| attention.combine()).transpose()?;
    Ok(Some(Latents { latents: x, attention }))
}
