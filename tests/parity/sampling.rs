//! The noise schedule, DDIM, and a whole guided picture.

use std::ops::ControlFlow;

use candle_core::Tensor;
use catbench::diffusion::{Denoising, PictureNoise, Schedule, Texts, denoise, to_images};
use catbench::protocol::{ModelSpec, NoiseKind, Prediction, SamplerKind};

use super::fixture::{MODELS, Reference, base_model, every_form, folder, models};

/// The reference `name`'s `i`-th element.
fn nth(reference: &Reference, name: &str, i: usize) -> Tensor {
    reference.get(name).get(i).unwrap().contiguous().unwrap()
}

#[test]
fn noise_is_added_with_a_timestep_a_sample() {
    for name in MODELS {
        let (reference, schedule) = (Reference::load(name), Schedule::load(&folder(name).join("scheduler")).unwrap());
        let (latents, noise) = (reference.get("noise.latents"), reference.get("noise.noise"));
        let timesteps = reference.timesteps("noise.timesteps");
        let mut compare = reference.compare();
        compare.check("noise.noisy", &schedule.add_noise(&latents, &noise, &timesteps).unwrap());
        compare.check("noise.velocity", &schedule.velocity(&latents, &noise, &timesteps).unwrap());
    }
}

#[test]
fn ddim_visits_the_timesteps_of_diffusers() {
    for name in MODELS {
        let (reference, schedule) = (Reference::load(name), Schedule::load(&folder(name).join("scheduler")).unwrap());
        for (steps, want) in reference.json["ddim_timesteps"].as_object().unwrap() {
            let want: Vec<f32> = want.as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as f32).collect();
            let ddim = schedule.solver(SamplerKind::Ddim, false, steps.parse().unwrap(), 0.0).unwrap();
            assert_eq!(ddim.timesteps(), want, "{steps} steps");
        }
    }
}

#[test]
fn ddim_with_eta_agrees_for_both_prediction_types() {
    for name in MODELS {
        let reference = Reference::load(name);
        let eta = reference.json["ddim"]["eta"].as_f64().unwrap();
        let steps = reference.json["ddim"]["steps"].as_u64().unwrap() as usize;
        for kind in ["epsilon", "v_prediction"] {
            let config = std::fs::read_to_string(folder(name).join("scheduler/scheduler_config.json")).unwrap();
            let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
            config["prediction_type"] = kind.into();
            let changed = tempfile::tempdir().unwrap();
            std::fs::write(changed.path().join("scheduler_config.json"), config.to_string()).unwrap();
            let schedule = Schedule::load(changed.path()).unwrap();
            let mut ddim = schedule.solver(SamplerKind::Ddim, false, steps, eta).unwrap();
            let mut x = reference.get("eta.latents");
            let mut trajectory = Vec::new();
            for i in 0..steps {
                let (output, noise) = (nth(&reference, "eta.outputs", i), nth(&reference, "eta.noises", i));
                x = ddim.step(&output, &x, Some(&noise)).unwrap();
                trajectory.push(x.clone());
            }
            reference.compare().check(&format!("eta.{kind}"), &Tensor::stack(&trajectory, 0).unwrap());
        }
    }
}

#[test]
fn a_whole_guided_picture_agrees() {
    for (reference, model) in models() {
        let latents = reference.guided_latents(&model, "steps");
        let mut compare = reference.compare();
        compare.check("ddim.final_latents", &latents);
        compare.check(
            "ddim.picture",
            &model.vae.decoder().unwrap().decode(&model.vae.unscale(&latents).unwrap()).unwrap(),
        );
    }
}

#[test]
fn guided_sampling_agrees_for_the_other_prediction_too() {
    for (name, prediction) in [("tiny_sd1", Prediction::V), ("tiny_sd2", Prediction::Epsilon)] {
        for model in every_form(&ModelSpec { prediction: Some(prediction), ..ModelSpec::at(&folder(name)) }) {
            let reference = Reference::load(name).on(&model);
            reference.compare().check("ddim.other.final_latents", &reference.guided_latents(&model, "other_steps"));
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let sample = |seeds: &[u64], eta: f64, kind: NoiseKind| {
        let model = base_model(&folder("tiny_sd1"));
        let reference = Reference::load("tiny_sd1").on(&model);
        let (context, uncond) = reference.contexts(&model);
        let context = context.narrow(0, 0, 1).unwrap();
        let context = Tensor::cat(&vec![context; seeds.len()], 0).unwrap();
        let job = Denoising {
            texts: &Texts { cond: context.into(), uncond: uncond.into() },
            otherwise: None,
            guidance_scales: &vec![7.5; seeds.len()],
            steps: 5,
            sampler: SamplerKind::Ddim,
            karras: false,
            eta,
        };
        let mut noise = PictureNoise::new(kind, seeds);
        let start = model.initial_latents(&mut noise).unwrap();
        let done = denoise(&model, &start, &mut noise, &job, &mut |_, _| ControlFlow::Continue(())).unwrap().unwrap();
        let picture = model.vae.decoder().unwrap().decode(&model.vae.unscale(&done).unwrap()).unwrap();
        to_images(&picture).unwrap().into_iter().map(image::RgbImage::into_raw).collect::<Vec<_>>()
    };
    for (eta, kind) in [(0.0, NoiseKind::Catbench), (0.7, NoiseKind::Catbench), (0.7, NoiseKind::Torch)] {
        let first = sample(&[7, 8], eta, kind);
        assert_eq!(first, sample(&[7, 8], eta, kind), "eta {eta}");
        assert_ne!(first[0], first[1], "two seeds, one picture");
    }
}
