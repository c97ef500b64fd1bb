//! Pictures of many shapes and kinds as transformers' image processors see them, to the last bit of uint8.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use catbench::image::read_photo;
use catbench::metrics::Preprocessor;
use image::{Rgb, RgbImage};
use sha2::{Digest, Sha256};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/preprocess")
}

fn clip() -> Preprocessor {
    Preprocessor::load(&fixtures().join("clip")).unwrap()
}

fn vit() -> Preprocessor {
    Preprocessor::load_vit(&fixtures().join("vit")).unwrap()
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    tensor.flatten_all().unwrap().to_vec1::<u8>().unwrap()
}

#[test]
fn every_kind_of_png_is_read_and_resized_as_by_pillow() {
    let expected = candle_core::safetensors::load(fixtures().join("reference.safetensors"), &Device::Cpu).unwrap();
    let mut checked = 0;
    for entry in std::fs::read_dir(fixtures().join("pictures")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        // Pillow makes every 16-bit grey white; the high byte is what it takes of 16-bit colours.
        if name == "deep_grey" {
            let found = read_photo(&path).unwrap();
            let high = image::open(&path).unwrap().into_luma16().into_raw().into_iter().map(|value| (value >> 8) as u8);
            assert_eq!(
                found.pixels().map(|pixel| pixel.0).collect::<Vec<_>>(),
                high.map(|v| [v; 3]).collect::<Vec<_>>()
            );
            continue;
        }
        let found = read_photo(&path).unwrap();
        assert!(found.as_raw() == &bytes(&expected[&format!("{name}.rgb")]), "{name} is read otherwise");
        assert!(clip().pixels(&found).as_raw() == &bytes(&expected[&format!("{name}.clip")]), "{name} by CLIP");
        assert!(vit().pixels(&found).as_raw() == &bytes(&expected[&format!("{name}.vit")]), "{name} by ViT");
        checked += 1;
    }
    assert_eq!(checked, 28);
}

/// The pixels that `tests/parity/preprocess.py` computes by the same formula.
fn formula(width: u32, height: u32, seed: u64) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb(std::array::from_fn(|c| {
            let (x, y, c) = (u64::from(x), u64::from(y), c as u64);
            let mixed = x * 2_654_435_761 + y * 40_503 + c * 97 + seed * 7_919;
            let noise = (mixed ^ (mixed >> 13)).wrapping_mul(1_274_126_177) >> 16;
            (noise % 56 + (x / 7 + y / 5 + c) % 2 * 200) as u8
        }))
    })
}

#[test]
fn three_hundred_shapes_are_resized_as_by_pillow() {
    let shapes: Vec<(u32, u32, String, String)> =
        serde_json::from_slice(&std::fs::read(fixtures().join("shapes.json")).unwrap()).unwrap();
    assert_eq!(shapes.len(), 300);
    let sum = |picture: &RgbImage| format!("{:x}", Sha256::digest(picture.as_raw()))[..16].to_owned();
    for (seed, (width, height, by_clip, by_vit)) in shapes.into_iter().enumerate() {
        let picture = formula(width, height, seed as u64);
        assert_eq!(sum(&clip().pixels(&picture)), by_clip, "{width} x {height}, seed {seed}, by CLIP");
        assert_eq!(sum(&vit().pixels(&picture)), by_vit, "{width} x {height}, seed {seed}, by ViT");
    }
}

#[test]
fn a_line_of_a_hundred_thousand_pixels_takes_no_gigabytes() {
    for (width, height) in [(1, 100_000), (100_000, 1)] {
        let line = RgbImage::from_pixel(width, height, Rgb([9, 99, 199]));
        assert!(clip().pixels(&line).pixels().all(|pixel| pixel.0 == [9, 99, 199]));
    }
}

#[test]
fn a_vit_without_settings_has_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let preprocessor = Preprocessor::load_vit(folder.path()).unwrap();
    assert_eq!(preprocessor.size(), (224, 224));
    assert_eq!(preprocessor.mean_colour(), [128; 3]);
    assert!(Preprocessor::load(folder.path()).is_err(), "of CLIP there is none to guess");
}
