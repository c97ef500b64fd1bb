//! Times training steps, or guided forward passes, for `compare_torch.py`: prints `{"seconds": [..]}`, one number
//! a step.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Instant;

use candle_core::Tensor;
use catbench::diffusion::{BaseModel, Conditioning, UNetOptions};
use catbench::protocol::TrainConfig;
use clap::Parser;

mod step;

#[derive(Parser)]
struct Arguments {
    /// A diffusers folder.
    #[arg(long, default_value_os_t = step::demo())]
    model: PathBuf,
    /// Images a step.
    #[arg(long, default_value_t = 4)]
    batch: usize,
    /// Height and width of the latents; the model's own without.
    #[arg(long)]
    latents: Option<usize>,
    /// Steps that count.
    #[arg(long, default_value_t = 30)]
    steps: usize,
    /// Steps before those that count.
    #[arg(long, default_value_t = 3)]
    warm_up: usize,
    /// Recompute activations in the backward pass.
    #[arg(long)]
    gradient_checkpointing: bool,
    /// Instead of training: a guided forward pass of as many pictures.
    #[arg(long)]
    forward: bool,
}

fn main() {
    catbench::sys::keep_freed_memory();
    let arguments = Arguments::parse();
    let model = BaseModel::load(&arguments.model).unwrap();
    let size = arguments.latents.unwrap_or(model.unet.sample_size());
    let batch = arguments.batch;
    let mut one: Box<dyn FnMut(u64)> = if arguments.forward {
        let encode =
            |text| model.texts[0].encoder.forward(&model.texts[0].ids(text).unwrap(), None).unwrap().value().clone();
        let contexts = [vec![encode(""); batch], vec![encode("a teapot"); batch]].concat();
        let context: Conditioning = Tensor::cat(&contexts, 0).unwrap().into();
        let model = &model;
        Box::new(move |seed| {
            let latents = step::draw(model, batch, size, seed).latents;
            let both = Tensor::cat(&[&latents, &latents], 0).unwrap();
            model.unet.forward(&both, &vec![500; 2 * batch], &context, UNetOptions::default()).unwrap();
        })
    } else {
        let gradient_checkpointing = arguments.gradient_checkpointing;
        let config = TrainConfig { batch_size: batch, gradient_checkpointing, ..TrainConfig::default() };
        let (mut trainer, model) = (step::trainer(&model, config), &model);
        Box::new(move |seed| {
            trainer.step_on(&step::draw(model, batch, size, seed)).unwrap();
        })
    };
    let seconds: Vec<f64> = (0..arguments.warm_up + arguments.steps)
        .map(|i| {
            let start = Instant::now();
            one(i as u64);
            start.elapsed().as_secs_f64()
        })
        .skip(arguments.warm_up)
        .collect();
    println!("{}", serde_json::json!({ "seconds": seconds }));
}
