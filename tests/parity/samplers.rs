//! Every sampler, and torch's random numbers, against what diffusers and torch make of the same seeds
//! (`tests/parity/samplers.py`).

use std::ops::ControlFlow;

use candle_core::Tensor;
use catbench::diffusion::{Denoising, PictureNoise, Schedule, Texts, TorchGenerator, denoise};
use catbench::personalize::{Sampler, decode, denoise_batch};
use catbench::protocol::{NoiseKind, PictureConfig, SamplerKind, SharedConfig};
use serde_json::{Value, json};

use super::fixture::{Reference, base_model, demo, folder, numbers, relative_error};

/// Relative error allowed of latents.
const LATENTS: f64 = 1e-4;

/// What the fixture names `name`: the sampler, Karras levels, η.
struct Case {
    name: String,
    sampler: SamplerKind,
    karras: bool,
    eta: f64,
}

fn cases(reference: &Reference) -> Vec<Case> {
    let case = |case: &Value| {
        let name = case["name"].as_str().unwrap();
        let plain = name.trim_end_matches("_karras").trim_end_matches("_eta");
        let sampler = SamplerKind::ALL.into_iter().find(|kind| kind.word() == plain).unwrap();
        Case {
            name: name.into(),
            sampler,
            karras: case["karras"].as_bool().unwrap(),
            eta: case["eta"].as_f64().unwrap(),
        }
    };
    reference.json["samplers"].as_array().unwrap().iter().map(case).collect()
}

fn integers(reference: &Reference, name: &str) -> Vec<u64> {
    reference.json[name].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect()
}

fn texts_of(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn torch_draws_the_same_numbers_bit_for_bit() {
    let reference = Reference::load("samplers");
    for seed in integers(&reference, "random_seeds") {
        let mut generator = TorchGenerator::new(seed);
        let mut got: Vec<f32> = Vec::new();
        for count in integers(&reference, "draws") {
            got.extend(generator.normal(&[count as usize]).unwrap().to_vec1::<f32>().unwrap());
        }
        let want = reference.get(&format!("randn.{seed}")).to_vec1::<f32>().unwrap();
        let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&got), bits(&want), "seed {seed}");
    }
}

#[test]
fn every_sampler_agrees_on_the_latents_of_tiny_models() {
    let reference = Reference::load("samplers");
    let seeds = integers(&reference, "seeds");
    let mut worst: f64 = 0.0;
    for name in ["tiny_sd1", "tiny_sd2"] {
        let model = base_model(&folder(name));
        let encode = |text: &str| {
            model.texts[0].encoder.forward(&model.texts[0].ids(text).unwrap(), None).unwrap().value().clone()
        };
        let contexts: Vec<Tensor> = texts_of(&reference.json["prompts"]).into_iter().map(encode).collect();
        let texts = Texts { cond: Tensor::cat(&contexts, 0).unwrap().into(), uncond: encode("").into() };
        for case in cases(&reference) {
            for steps in integers(&reference, "steps") {
                let job = Denoising {
                    texts: &texts,
                    otherwise: None,
                    guidance_scales: &vec![reference.json["guidance_scale"].as_f64().unwrap(); contexts.len()],
                    steps: steps as usize,
                    sampler: case.sampler,
                    karras: case.karras,
                    eta: case.eta,
                };
                let mut noise = PictureNoise::new(NoiseKind::Torch, &seeds);
                let start = model.initial_latents(&mut noise).unwrap();
                let mut told = Vec::new();
                let mut progress = |done, of| {
                    told.push((done, of));
                    ControlFlow::Continue(())
                };
                let done = denoise(&model, &start, &mut noise, &job, &mut progress).unwrap().unwrap();
                assert_eq!(told.last(), Some(&(steps as usize, steps as usize)), "{}", case.name);
                let error = relative_error(&done, &reference.get(&format!("{name}.{}.{steps}", case.name)));
                println!("{name} {} {steps} steps: {error:.1e}", case.name);
                worst = if error.is_nan() { f64::INFINITY } else { worst.max(error) };
            }
        }
    }
    assert!(worst <= LATENTS, "relative error {worst:.1e} (allowed {LATENTS:.0e})");
}

#[test]
fn every_spacing_and_prediction_agrees_without_a_model() {
    let reference = Reference::load("samplers");
    let outputs = reference.get("alone.outputs");
    let seed = integers(&reference, "seeds")[0];
    let mut failures = Vec::new();
    for spacing in texts_of(&reference.json["spacings"]) {
        for prediction in ["epsilon", "v_prediction"] {
            let config = json!({
                "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
                "steps_offset": 1, "set_alpha_to_one": false, "timestep_spacing": spacing, "prediction_type": prediction,
            });
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("scheduler_config.json"), config.to_string()).unwrap();
            let schedule = Schedule::load(folder.path()).unwrap();
            for case in cases(&reference) {
                for steps in integers(&reference, "steps") {
                    let name = format!("{spacing}.{prediction}.{}.{steps}", case.name);
                    let mut solver = schedule.solver(case.sampler, case.karras, steps as usize, case.eta).unwrap();
                    let want = &reference.json["timesteps"][format!("{spacing}.{}.{steps}", case.name)];
                    let want: Vec<f64> = want.as_array().unwrap().iter().map(|t| t.as_f64().unwrap()).collect();
                    let timesteps = solver.timesteps().to_vec();
                    let apart = timesteps.iter().zip(&want).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
                    if timesteps.len() != want.len() || apart > 1e-3 {
                        failures.push(format!("{name}: timesteps {timesteps:?}, not {want:?}"));
                        continue;
                    }
                    let mut noise = PictureNoise::new(NoiseKind::Torch, &[seed]);
                    let mut x = reference.get("alone.latents").affine(solver.init_noise_sigma(), 0.0).unwrap();
                    for i in 0..timesteps.len() {
                        let input = solver.scale_model_input(&x).unwrap();
                        let output = (outputs.get(i).unwrap() + input.affine(0.1, 0.0).unwrap()).unwrap();
                        let drawn = solver.needs_noise().then(|| noise.next(&[1, 2, 2]).unwrap());
                        x = solver.step(&output, &x, drawn.as_ref()).unwrap();
                    }
                    let error = relative_error(&x, &reference.get(&format!("alone.{name}")));
                    if error.is_nan() || error > LATENTS {
                        failures.push(format!("{name}: relative error {error:.1e} (allowed {LATENTS:.0e})"));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn pictures_of_the_demo_model_are_those_of_diffusers() {
    let reference = Reference::load("samplers");
    let model = base_model(&demo());
    let demo = &reference.json["demo"];
    let seeds = integers(&reference, "seeds");
    let mut failures = Vec::new();
    for case in cases(&reference) {
        let config = PictureConfig {
            steps: demo["steps"].as_u64().unwrap() as usize,
            guidance_scale: demo["guidance_scale"].as_f64().unwrap(),
            sampler: case.sampler,
            karras: case.karras,
            eta: case.eta,
            noise: NoiseKind::Torch,
            ..PictureConfig::default()
        };
        let sampler = Sampler::new(&model, "teapot", (&config, &SharedConfig::default()), None).unwrap();
        let wanted: Vec<_> = texts_of(&demo["prompts"])
            .into_iter()
            .zip(&seeds)
            .map(|(prompt, &seed)| {
                (sampler.encode(prompt).unwrap(), PictureConfig { prompt: prompt.into(), seed, ..config.clone() })
            })
            .collect();
        let batch: Vec<_> = wanted.iter().map(|(text, picture)| (text, picture)).collect();
        let denoised = denoise_batch(&model, &batch, &mut |_, _| ControlFlow::Continue(())).unwrap().unwrap();
        let decoder = model.vae.decoder().unwrap();
        for (i, undecoded) in denoised.iter().enumerate() {
            let picture = decode(&model.vae, &decoder, undecoded).unwrap();
            let want = image::open(folder("samplers").join(format!("{}-{i}.png", case.name))).unwrap().to_rgb8();
            assert_eq!(picture.dimensions(), want.dimensions());
            let pixels = picture.as_raw().iter().zip(want.as_raw());
            let apart = pixels.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            println!("{} {i}: {apart} of 255", case.name);
            if apart > 2 {
                failures.push(format!("{} {i}: {apart} of 255", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn more_steps_than_there_are_noise_levels_are_refused() {
    let schedule = Schedule::load(&folder("tiny_sd2").join("scheduler")).unwrap();
    for kind in SamplerKind::ALL {
        for steps in [0, 1001] {
            let error = schedule.solver(kind, false, steps, 0.0).err().unwrap().to_string();
            assert!(error.contains(&steps.to_string()), "{error}");
        }
        // One step, and as many as there are: latents, or words.
        for steps in [1, 2, 999, 1000] {
            match schedule.solver(kind, false, steps, 0.0) {
                Err(error) => assert!(error.to_string().contains("take fewer"), "{}: {error}", kind.word()),
                Ok(mut solver) => {
                    let mut x = Tensor::ones((1, 1, 2, 2), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
                    let output = x.affine(0.1, 0.0).unwrap();
                    for _ in 0..solver.timesteps().len() {
                        x = solver.step(&output, &x, Some(&output)).unwrap();
                    }
                    assert!(numbers(&x).iter().all(|x| x.is_finite()), "{} {steps}", kind.word());
                }
            }
        }
    }
}
