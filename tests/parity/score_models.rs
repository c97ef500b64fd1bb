//! Score models of real size against transformers, on what `score_models.py` made. Fails beyond the tests' own 1e-5.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use catbench::image::read_photo;
use catbench::metrics::{ClipScorer, DinoScorer, PictureModel};

const LIMIT: f32 = 1e-5;

fn main() {
    let folder = std::env::args_os().nth(1).map(PathBuf::from).expect("usage: score_models DIR");
    let mut worst = 0_f32;
    for name in ["clip-b32", "clip-b16", "clip-l14", "dino-s16"] {
        let folder = folder.join(name);
        if !folder.is_dir() {
            println!("{name}: not made");
            continue;
        }
        let expected = candle_core::safetensors::load(folder.join("reference.safetensors"), &Device::Cpu).unwrap();
        if name.starts_with("dino") {
            let model = DinoScorer::load(&folder, &Device::Cpu).unwrap();
            worst = worst.max(check(name, "images", &images(&model, &folder), &expected["image_embeds"]));
            continue;
        }
        let model = ClipScorer::load(&folder, &Device::Cpu).unwrap();
        worst = worst.max(check(name, "images", &images(&model, &folder), &expected["image_embeds"]));
        let texts: Vec<String> = serde_json::from_slice(&std::fs::read(folder.join("texts.json")).unwrap()).unwrap();
        let found = model.text_embeds(&texts).unwrap();
        worst = worst.max(check(name, "texts", &found, &expected["text_embeds"]));
    }
    assert!(worst <= LIMIT, "beyond {LIMIT:e}: {worst:e}");
}

fn images(model: &dyn PictureModel, folder: &Path) -> Tensor {
    let pictures: Vec<_> = (0..3).map(|i| read_photo(&folder.join(format!("picture-{i}.png"))).unwrap()).collect();
    model.image_embeds(&pictures, &mut |_| {}).unwrap()
}

/// The relative distance, told.
fn check(name: &str, what: &str, found: &Tensor, expected: &Tensor) -> f32 {
    let norm = |tensor: &Tensor| tensor.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
    let distance = norm(&(found - expected).unwrap()) / norm(expected);
    println!("{name} {what}: {distance:.1e}");
    distance
}
