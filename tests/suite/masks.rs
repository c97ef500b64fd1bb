//! Masks of the demo's photos, by each maker, against the exact ones.

use std::path::{Path, PathBuf};

use crate::common::{Workspace, catbench, fixture};
use assert_cmd::assert::OutputAssertExt;
use candle_core::{Device, Tensor};
use catbench::diffusion::Compute;
use catbench::segment::MaskNetwork;
use image::RgbImage;
use predicates::str::contains;
use serde_json::Value;

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("workspaces/demo")
}

/// A concept with the demo's models and photos.
fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.use_base_model(&demo().join("base_model"));
    let concept = workspace.concept();
    for folder in ["images", "masks"] {
        std::fs::remove_dir_all(concept.join(folder)).unwrap();
        std::fs::create_dir_all(concept.join(folder)).unwrap();
        for entry in std::fs::read_dir(demo().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, concept.join(folder).join(path.file_name().unwrap())).unwrap();
        }
    }
    let file = concept.join("concept.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("segmenter = \"{}\"\n{text}", demo().join("segmenter").display())).unwrap();
    workspace
}

fn table(workspace: &Workspace, args: &[&str]) -> Vec<Value> {
    let done = catbench(workspace, args).assert().success();
    let table: Value = serde_json::from_slice(&done.get_output().stdout).unwrap();
    table["rows"].as_array().unwrap().clone()
}

fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap()
}

#[test]
fn masks_of_the_demo_photos_lie_on_the_exact_ones() {
    let workspace = workspace();
    let rows = table(&workspace, &["mask", "bench", "demo", "--format", "json"]);
    let makers: Vec<&str> = rows.iter().map(|row| row["masks"].as_str().unwrap()).collect();
    assert_eq!(makers, ["base_model", "base_model", "segmenter"], "{rows:?}");
    for (row, (mean, least)) in rows.iter().zip([(0.88, 0.8), (0.88, 0.8), (0.95, 0.92)]) {
        assert!(number(row, "iou") >= mean && number(row, "iou_min") >= least, "{row}");
    }
}

#[test]
fn masks_of_the_subjects_are_found_by_their_class_words() {
    let workspace = workspace();
    let subjects = demo().join("subjects");
    let one = ["mask", "bench", "demo", subjects.to_str().unwrap(), "--format", "json", "--mask-quality", "fast"];
    let rows = table(&workspace, &one);
    assert_eq!(rows[0]["pictures"], 40);
    for (row, (mean, p10)) in rows.iter().zip([(0.88, 0.75), (0.96, 0.94)]) {
        assert!(number(row, "iou") >= mean && number(row, "iou_p10") >= p10, "{row}");
    }
}

#[test]
fn makers_without_their_model_are_refused_before_anything_is_done() {
    let workspace = workspace();
    for (args, said) in [
        (vec!["mask", "make", "demo", "--masks", "sam", "--replace"], "sam_model is missing"),
        (vec!["sample", "demo", "--untrained", "--prompt", "a teapot", "--masks", "sam"], "sam_model is missing"),
        (vec!["mask", "make", "demo", "--masks", "nobody", "--replace"], "makes none"),
        (vec!["mask", "make", "demo", "--masks", "attention"], "one of base_model, sam, segmenter, nobody"),
    ] {
        catbench(&workspace, &args).assert().failure().stderr(contains(said));
    }
    assert!(!workspace.concept().join("jobs").exists() && !workspace.concept().join("samples").exists());
}

/// `reference.safetensors` holds four pictures of the world and two photos, and what PyTorch makes of them in float32.
#[test]
fn the_segmenter_computes_what_pytorch_does() {
    let network = MaskNetwork::load(&demo().join("segmenter"), &Compute::cpu()).unwrap();
    let reference =
        candle_core::safetensors::load(fixture("segmenter").join("reference.safetensors"), &Device::Cpu).unwrap();
    for i in 0..reference["pictures"].dim(0).unwrap() {
        let pixels = reference["pictures"].get(i).unwrap().flatten_all().unwrap().to_vec1::<u8>().unwrap();
        let picture = RgbImage::from_raw(64, 64, pixels).unwrap();
        let (logits, size) = network.logits(&picture).unwrap();
        let got = Tensor::from_vec(logits, size, &Device::Cpu).unwrap();
        let want = reference["logits"].get(i).unwrap();
        let norm = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
        let error = norm(&(&got - &want).unwrap()) / norm(&want);
        assert!(error <= 1e-5, "picture {i}: {error:e}");
    }
}
