//! What a user waits for, on the demo base model: one UNet forward, one training step, one guided picture.
//!
//! `cargo bench` runs all, `cargo bench -- unet` one.

use std::hint::black_box;
use std::ops::ControlFlow;

use catbench::diffusion::{BaseModel, Denoising, Noise, Stream, UNetOptions, denoise};
use criterion::{Criterion, criterion_group, criterion_main};

mod step;

type Failure = Box<dyn std::error::Error>;

fn unet_forward(c: &mut Criterion) -> Result<(), Failure> {
    let model = BaseModel::load(&step::demo())?;
    let context = model.text_encoder.forward(&model.token_ids("a teapot on grass")?, None)?;
    let latents = model.initial_latents(&[0, 1, 2, 3])?;
    c.bench_function("unet_forward/batch_4", |b| {
        b.iter(|| model.unet.forward(black_box(&latents), &[10, 300, 600, 900], &context, UNetOptions::default()));
    });
    Ok(())
}
