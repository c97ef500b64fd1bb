//! Pictures scored a second: JPEG files to masked CLIP-I, CLIP-I and CLIP-T.
//!
//!     cargo run --release --example score -- CLIP_FOLDER PICTURE.jpg...
//!
//! Prints `seconds` of the whole, reading and preprocessing included, the model loaded before. `compare_score.py` calls it.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Instant;

use candle_core::Device;
use catbench::image::read_photo;
use catbench::metrics::{ClipScorer, Measuring, ScoredSample};
use catbench::protocol::{ClipText, Fill, ScoreCrop};
use image::{GrayImage, Luma};
use rayon::prelude::*;

fn main() {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let model = arguments.next().expect("usage: score CLIP_FOLDER PICTURE.jpg...");
    let files: Vec<PathBuf> = arguments.collect();
    let clip = ClipScorer::load(&model, &Device::Cpu).unwrap();
    let measuring = Measuring {
        clip: &clip,
        dino: None,
        fill: Fill::Black,
        crop: ScoreCrop::Whole,
        clip_text: ClipText::ClassWord,

        cache: None,
    };
    let began = Instant::now();
    let read = |path: &PathBuf| {
        let image = read_photo(path).unwrap();
        let (width, height) = image.dimensions();
        let inside = |x: u32, y: u32| x.abs_diff(width / 2) < width / 4 && y.abs_diff(height / 2) < height / 4;
        let mask = GrayImage::from_fn(width, height, |x, y| Luma([if inside(x, y) { 255 } else { 0 }]));
        (image, mask)
    };
    let pictures: Vec<_> = files.par_iter().map(read).collect();
    let (photos, samples) = pictures.split_at(5);
    let photos: Vec<_> = photos.iter().map(|(image, mask)| (image.clone(), Some(mask.clone().into()))).collect();
    let samples: Vec<_> = (0..)
        .zip(samples)
        .map(|(seed, (image, mask))| ScoredSample {
            image: image.clone(),
            mask: Some(mask.clone().into()),
            prompt_text: format!("a photo of a teapot {}", seed % 10),
            scene_text: None,
            seed: Some(seed),
            noise: None,
        })
        .collect();
    let record = measuring.measure(&photos, &samples, &mut |_, _| {}).unwrap();
    println!("seconds {}", began.elapsed().as_secs_f64());
    println!("masked_clip_i {}", record.scores.masked_clip_i.value);
    println!("clip_t {}", record.scores.clip_t.value);
}
