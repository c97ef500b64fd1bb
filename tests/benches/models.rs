//! What a user waits for, on the demo base model: a UNet forward, a training step, guided pictures.
//!
//! `cargo bench` runs all, `cargo bench -- unet` one.

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::ops::ControlFlow;

use catbench::diffusion::{BaseModel, Denoising, PictureNoise, Texts, UNetOptions, denoise};
use catbench::protocol::TrainConfig;
use catbench::protocol::{NoiseKind, SamplerKind};
use criterion::{Criterion, criterion_group, criterion_main};

mod step;

const SEEDS: [u64; 4] = [0, 1, 2, 3];

fn unet_forward(c: &mut Criterion) {
    let model = BaseModel::load(&step::demo()).unwrap();
    let context =
        model.texts[0].encoder.forward(&model.texts[0].ids("a teapot on grass").unwrap(), None).unwrap().into();
    let latents = model.initial_latents(&mut PictureNoise::new(NoiseKind::Catbench, &SEEDS)).unwrap();
    let forward = || model.unet.forward(black_box(&latents), &[10, 300, 600, 900], &context, UNetOptions::default());
    c.bench_function("unet forward, batch 4", |b| b.iter(|| forward().unwrap()));
}

fn training_step(c: &mut Criterion) {
    let model = BaseModel::load(&step::demo()).unwrap();
    let mut trainer = step::trainer(&model, TrainConfig { batch_size: 4, ..TrainConfig::default() });
    let draw = step::draw(&model, 4, model.unet.sample_size(), 0);
    c.bench_function("training step, batch 4", |b| b.iter(|| trainer.step_on(&draw).unwrap()));
}

fn guided_sampling(c: &mut Criterion) {
    let model = BaseModel::load(&step::demo()).unwrap();
    let encode =
        |text: &str| model.texts[0].encoder.forward(&model.texts[0].ids(text).unwrap(), None).unwrap().value().clone();
    let (text, uncond) = (encode("a teapot on grass"), encode(""));
    let (_, length, width) = text.dims3().unwrap();
    let context = text.expand((SEEDS.len(), length, width)).unwrap().contiguous().unwrap();
    let latents = model.initial_latents(&mut PictureNoise::new(NoiseKind::Catbench, &SEEDS)).unwrap();
    let job = Denoising {
        texts: &Texts { cond: context.into(), uncond: uncond.into() },
        otherwise: None,
        guidance_scales: &[7.5; SEEDS.len()],
        steps: 10,
        sampler: SamplerKind::Ddim,
        karras: false,
        eta: 0.0,
    };
    let mut group = c.benchmark_group("guided");
    group.sample_size(10);
    group.bench_function("10 DDIM steps and decoding, 4 pictures", |b| {
        b.iter(|| {
            let mut noise = PictureNoise::new(NoiseKind::Catbench, &SEEDS);
            let mut go_on = |_, _| ControlFlow::Continue(());
            let done = denoise(&model, &latents, &mut noise, &job, &mut go_on).unwrap().unwrap();
            model.vae.decoder().unwrap().decode(&model.vae.unscale(&done).unwrap()).unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, unet_forward, training_step, guided_sampling);
criterion_main!(benches);
