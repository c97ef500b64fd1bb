//! Guided denoising (Ho and Salimans 2022, arXiv 2207.12598) with any sampler.

use std::ops::ControlFlow;

use candle_core::Tensor;

use super::conditioning::Conditioning;
use super::error::{Error, Result};
use super::finite::StepsWatch;
use super::unet::UNetOptions;
use super::{BaseModel, PictureNoise};
use crate::protocol::SamplerKind;

/// What a batch of pictures reads.
#[derive(Clone)]
pub struct Texts {
    /// What each picture shows.
    pub cond: Conditioning,
    /// What the unconditional branch reads, for each picture or for all.
    pub uncond: Conditioning,
}

/// One batch to denoise.
pub struct Denoising<'a> {
    /// What is read.
    pub texts: &'a Texts,
    /// The part of the denoising in which that is read, as fractions of its steps in 0..=1, and what is read before and
    /// after.
    pub otherwise: Option<([f64; 2], &'a Texts)>,
    /// One a picture; 1 for all switches the unconditional branch off.
    pub guidance_scales: &'a [f64],
    /// Denoising steps.
    pub steps: usize,
    /// What takes the noise out.
    pub sampler: SamplerKind,
    /// Karras noise levels.
    pub karras: bool,
    /// DDIM's η.
    pub eta: f64,
}

impl BaseModel {
    /// The standard normal noise that pictures start from, [B, C, h, w]: the first that is drawn from `noise`.
    pub fn initial_latents(&self, noise: &mut PictureNoise) -> Result<Tensor> {
        let (size, channels) = (self.unet.sample_size(), self.vae.latent_channels());
        Ok(noise.next(&[channels, size, size])?)
    }
}

impl Texts {
    /// For the UNet, all at once: what is shown first.
    fn side_by_side(&self, guided: bool) -> Result<Conditioning> {
        if !guided {
            return Ok(self.cond.clone());
        }
        Conditioning::cat(&[self.cond.clone(), self.uncond.repeated(self.cond.batch())?])
    }
}

/// The scaled latents [B, C, h, w] that `latents`, standard normal noise of that shape, are denoised to. `noise` is where samplers that put noise in get it, the same that
/// gave the latents. `progress` is told (steps done, steps) and may break off; then the result is none.
pub fn denoise(
    model: &BaseModel,
    latents: &Tensor,
    noise: &mut PictureNoise,
    job: &Denoising<'_>,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Option<Tensor>> {
    let batch = latents.dims()[0];
    let texts = [Some(job.texts), job.otherwise.map(|(_, texts)| texts)];
    if noise.pictures() != batch || texts.into_iter().flatten().any(|texts| texts.cond.batch() != batch) {
        return Err(Error::Setting(format!("{} noises and other texts for {batch} pictures", noise.pictures())));
    }
    let mut solver = model.schedule.solver(job.sampler, job.karras, job.steps, job.eta)?;
    if job.guidance_scales.len() != batch {
        return Err(Error::Setting(format!("{} guidance scales for {batch} pictures", job.guidance_scales.len())));
    }
    let guided = job.guidance_scales.iter().any(|scale| (scale - 1.0).abs() > f64::EPSILON);
    let scales: Vec<f32> = job.guidance_scales.iter().map(|scale| *scale as f32).collect();
    let scales = Tensor::from_vec(scales, (batch, 1, 1, 1), model.compute.device())?;
    let conditioning = job.texts.side_by_side(guided)?;
    let otherwise =
        job.otherwise.map(|(part, texts)| Ok::<_, Error>((part, texts.side_by_side(guided)?))).transpose()?;
    let device = model.compute.device();
    let mut x = latents.to_device(device)?;
    // Times 1 is the same to the last bit.
    x = x.affine(solver.init_noise_sigma(), 0.0)?;
    let timesteps = solver.timesteps().to_vec();
    let mut watch = StepsWatch::new(model.compute.is_asynchronous());
    for (done, &t) in timesteps.iter().enumerate() {
        let share = done as f64 / timesteps.len() as f64;
        let conditioning = match &otherwise {
            Some(([from, to], otherwise)) if share < *from || share >= *to => otherwise,
            _ => &conditioning,
        };
        let input = solver.scale_model_input(&x)?;
        let input = if guided { Tensor::cat(&[&input, &input], 0)? } else { input };
        let output = model.compute.run(|| {
            let timesteps = vec![t; input.dims()[0]];
            Ok::<_, Error>(
                model.unet.forward(&input, &timesteps, conditioning, UNetOptions::default())?.value().clone(),
            )
        })?;
        let output = if guided {
            let (cond, uncond) = (output.narrow(0, 0, batch)?, output.narrow(0, batch, batch)?);
            (&uncond + (cond - &uncond)?.broadcast_mul(&scales)?)?
        } else {
            output
        };
        watch.note(&output, format!("the UNet at step {} of {} (timestep {t})", done + 1, timesteps.len()))?;
        let drawn = solver.needs_noise().then(|| noise.next(&x.dims()[1..])?.to_device(device)).transpose()?;
        x = solver.step(&output, &x, drawn.as_ref())?;
        if progress((done + 1) * job.steps / timesteps.len(), job.steps).is_break() {
            return Ok(None);
        }
    }
    watch.end()?;
    Ok(Some(x))
}
