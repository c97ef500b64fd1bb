//! The training step that is measured: on any base model, with photos of noise.

use std::path::{Path, PathBuf};

use catbench::catversion::{Trainer, TrainingPhoto};
use catbench::diffusion::{BaseModel, Noise, Stream};
use catbench::protocol::TrainConfig;
use image::{Rgb, RgbImage};

/// The demo base model.
pub fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("workspaces/demo/base_model")
}

/// A training with the default settings but the batch size.
pub fn trainer(model: &BaseModel, batch_size: usize) -> Trainer<'_> {
    let size = model.resolution() as u32;
    let photo = |seed| {
        let mut noise = Noise::new(seed, Stream::Validation, 0);
        let image = RgbImage::from_fn(size, size, |_, _| Rgb(std::array::from_fn(|_| noise.below(256) as u8)));
        TrainingPhoto { image, mask: None }
    };
    let photos: Vec<TrainingPhoto> = (0..5).map(photo).collect();
    let config = TrainConfig { batch_size, ..TrainConfig::default() };
    Trainer::new(model, &photos, "teapot", config, &mut |_, _| ()).unwrap()
}
