//! The training step that is measured: on any base model, with photos of noise.

use std::path::{Path, PathBuf};

use catbench::diffusion::{BaseModel, Noise, Stream};
use catbench::personalize::{Draw, Trainer, TrainingPhoto};
use catbench::protocol::TrainConfig;
use image::{Rgb, RgbImage};

/// The demo base model.
pub fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("workspaces/demo/base_model")
}

/// A training with the given settings, on one photo.
pub fn trainer(model: &BaseModel, config: TrainConfig) -> Trainer<'_> {
    let size = model.resolution() as u32;
    let mut noise = Noise::new(0, Stream::FixedNoise, 0);
    let image = RgbImage::from_fn(size, size, |_, _| Rgb(std::array::from_fn(|_| noise.below(256) as u8)));
    Trainer::new(model, &[TrainingPhoto { name: "0.png".into(), image, mask: None }], "teapot", config, &mut |_, _| ())
        .unwrap()
}

/// A batch of random latents of `size` × `size`.
pub fn draw(model: &BaseModel, batch: usize, size: usize, seed: u64) -> Draw {
    let mut noise = Noise::new(seed, Stream::FixedNoise, 1);
    let shape = [batch, model.unet.in_channels(), size, size];
    Draw {
        latents: noise.normal(&shape).unwrap(),
        noise: noise.normal(&shape).unwrap(),
        timesteps: (0..batch).map(|_| noise.below(1000) as u32).collect(),
        captions: vec![0; batch],
        masks: None,
    }
}
