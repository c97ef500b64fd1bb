//! Concepts in diffusers: the pictures that `src/method/catversion/catversion_diffusers.py` made there of an exported concept are
//! ours (`tests/diffusers_loader.py` made both).

use std::ops::ControlFlow;

use catbench::method::Export;
use catbench::personalize::{Checkpoint, Sampler, decode, denoise_batch};
use catbench::protocol::{NoiseKind, PictureConfig, SamplerKind, SharedConfig};
use serde_json::Value;

use super::fixture::{base_model, demo, folder};

fn reference() -> Value {
    serde_json::from_slice(&std::fs::read(folder("diffusers").join("reference.json")).unwrap()).unwrap()
}

#[test]
fn pictures_of_an_exported_concept_are_those_of_the_loader_in_diffusers() {
    let (reference, path) = (reference(), folder("diffusers").join("checkpoint.safetensors"));
    let model = base_model(&demo());
    let checkpoint = Checkpoint::load(&path).unwrap();
    let decoder = model.vae.decoder().unwrap();
    let mut failures = Vec::new();
    for case in reference["cases"].as_array().unwrap() {
        let name = case["sampler"].as_str().unwrap();
        let config = PictureConfig {
            seed: reference["seed"].as_u64().unwrap(),
            steps: reference["steps"].as_u64().unwrap() as usize,
            guidance_scale: reference["guidance_scale"].as_f64().unwrap(),
            sampler: SamplerKind::ALL.into_iter().find(|kind| kind.word() == name).unwrap(),
            strength: case["strength"].as_f64().unwrap() as f32,
            negative_prompt: case["negative_prompt"].as_str().unwrap().into(),
            noise: NoiseKind::Torch,
            ..PictureConfig::default()
        };
        let sampler = Sampler::new(
            &model,
            &checkpoint.meta.class_word,
            (&config, &SharedConfig::default()),
            Some((&checkpoint, &path)),
        )
        .unwrap();
        let wanted: Vec<_> = reference["prompts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|prompt| prompt.as_str().unwrap())
            .map(|prompt| (sampler.encode(prompt).unwrap(), PictureConfig { prompt: prompt.into(), ..config.clone() }))
            .collect();
        let batch: Vec<_> = wanted.iter().map(|(text, picture)| (text, picture)).collect();
        let denoised = denoise_batch(&model, &batch, &mut |_, _| ControlFlow::Continue(())).unwrap().unwrap();
        for (i, undecoded) in denoised.iter().enumerate() {
            let picture = decode(&model.vae, &decoder, undecoded).unwrap();
            let want = image::open(folder("diffusers").join(format!("{name}-{i}.png"))).unwrap().to_rgb8();
            assert_eq!(picture.dimensions(), want.dimensions());
            let apart = picture.as_raw().iter().zip(want.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            if apart > 2 {
                failures.push(format!("{name} {i}: {apart} of 255"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn an_export_writes_the_file_and_the_loader_that_diffusers_was_held_to() {
    let there = tempfile::tempdir().unwrap();
    let out = there.path().join("demo.safetensors");
    let checkpoint = Checkpoint::load(&folder("diffusers").join("checkpoint.safetensors")).unwrap();
    let method = &checkpoint.meta.config.method;
    let format = method.declaration().formats.iter().find(|format| format.name == "diffusers").unwrap();
    let export = Export { path: &out, checkpoint: &checkpoint, concept: "demo", force: false };
    let (files, warnings) = method.export(format, &export).unwrap();
    assert!(warnings.is_empty());
    assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(folder("diffusers").join("demo.safetensors")).unwrap());
    let loader = there.path().join("catversion_diffusers.py");
    assert_eq!(files, [out.clone(), loader.clone()]);
    // After a change of the loader, `tests/diffusers_loader.py PROGRAM --fixtures` holds it to diffusers again.
    assert_eq!(catbench::fs::sha256(&loader).unwrap(), reference()["loader_sha256"].as_str().unwrap());

    // A loader of somebody's own is left alone, and said.
    std::fs::write(&loader, "import this").unwrap();
    let (_, warnings) = method.export(format, &export).unwrap();
    assert!(warnings[0].contains("left as it is"), "{warnings:?}");
    assert_eq!(std::fs::read_to_string(&loader).unwrap(), "import this");
}
