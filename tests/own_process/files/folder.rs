//! Diffusers folders: configs that make no model, what old ones mean, weights that their configs have no place for.

use std::path::Path;
use std::time::Duration;

use candle_core::Tensor;
use catbench::diffusion::{ModelFiles, check};
use catbench::protocol::{ModelReport, ModelSpec, Prediction};
use serde_json::{Value, json};

use super::fixture;
use super::write::{read_safetensors, safetensors_bytes};

const UNET: &str = "unet/config.json";
const VAE: &str = "vae/config.json";
const TEXT: &str = "text_encoder/config.json";
const SCHEDULER: &str = "scheduler/scheduler_config.json";

/// A copy of the tiny 1.x.
fn copied() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&fixture("tiny_sd1"), folder.path());
    folder
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

fn set(folder: &Path, file: &str, key: &str, value: Value) {
    let path = folder.join(file);
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config[key] = value;
    std::fs::write(path, config.to_string()).unwrap();
}

/// What is told of the tiny 1.x with these settings.
fn with(settings: &[(&str, &str, Value)]) -> ModelReport {
    let folder = copied();
    for (file, key, value) in settings {
        set(folder.path(), file, key, value.clone());
    }
    check(&ModelSpec::at(folder.path()))
}

#[test]
fn configs_that_make_no_model_are_refused_by_their_setting() {
    for (file, key, value) in [
        (UNET, "sample_size", json!(0)),
        (UNET, "sample_size", json!(7)),
        (UNET, "norm_eps", json!(0.0)),
        (UNET, "layers_per_block", json!(0)),
        (VAE, "scaling_factor", json!(0.0)),
        (VAE, "scaling_factor", json!(-1.0)),
        (VAE, "layers_per_block", json!(0)),
        (TEXT, "num_hidden_layers", json!(0)),
        (TEXT, "layer_norm_eps", json!(-1e-5)),
        (SCHEDULER, "beta_start", json!(0.0)),
        (SCHEDULER, "beta_end", json!(1.0)),
        (SCHEDULER, "beta_end", json!(0.0001)),
        (SCHEDULER, "num_train_timesteps", json!(1)),
    ] {
        let report = with(&[(file, key, value.clone())]);
        let named = |problem: &&String| {
            let setting = if key == "num_train_timesteps" { "steps_offset" } else { key };
            problem.contains(file) && problem.contains(setting)
        };
        assert!(report.problems.iter().any(|problem| named(&problem)), "{key} {value}: {:?}", report.problems);
        assert!(!report.problems.iter().any(|problem| problem.contains("All(") || problem.contains("Each(")));
    }
    assert_eq!(with(&[]).problems, Vec::<String>::new());
}

#[test]
fn old_folders_mean_what_diffusers_takes_them_for() {
    let told = |settings: &[(&str, &str, Value)]| {
        let report = with(settings);
        assert_eq!(report.problems, Vec::<String>::new());
        (report.resolution, report.assumed.join("\n"))
    };
    let old = json!("0.8.0.dev0");
    // The fixture's latents of 8 × 8 are small on purpose, and newer diffusers leaves them so.
    assert_eq!(told(&[]), (32, String::new()));
    let (resolution, assumed) = told(&[(UNET, "_diffusers_version", old.clone())]);
    assert!(resolution == 256 && assumed.contains("sample_size 64 and not 8"), "{resolution}: {assumed}");
    for kept in [json!("0.9.0"), json!("0.10.2"), json!("1.0.0"), json!(null)] {
        assert_eq!(told(&[(UNET, "_diffusers_version", kept)]).0, 32);
    }
    assert_eq!(told(&[(UNET, "_diffusers_version", old.clone()), (UNET, "sample_size", json!(64))]).1, "");
    let (_, assumed) = told(&[(SCHEDULER, "clip_sample", json!(true)), (SCHEDULER, "steps_offset", json!(0))]);
    assert!(assumed.contains("clip_sample false") && assumed.contains("steps_offset 1 and not 0"), "{assumed}");

    // Other pipelines do not correct it.
    let folder = copied();
    set(folder.path(), "model_index.json", "_class_name", json!("AltDiffusionPipeline"));
    set(folder.path(), SCHEDULER, "clip_sample", json!(true));
    let problems = check(&ModelSpec::at(folder.path())).problems;
    assert!(problems.iter().any(|problem| problem.contains("clip_sample")), "{problems:?}");
}

#[test]
fn layers_that_a_folders_configs_do_not_have_are_a_problem_and_the_rest_is_not() {
    let add = |part: &str, name: &str| {
        let folder = copied();
        let path = folder.path().join(part);
        let mut tensors = read_safetensors(&std::fs::read(&path).unwrap());
        let some = tensors.values().next().unwrap().clone();
        tensors.insert(name.to_owned(), some);
        std::fs::write(path, safetensors_bytes(&tensors)).unwrap();
        check(&ModelSpec::at(folder.path()))
    };
    let (unet, vae) = ("unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors");
    let text = "text_encoder/model.safetensors";
    for (part, name) in [
        (unet, "down_blocks.0.resnets.2.conv1.weight"),
        (vae, "decoder.up_blocks.1.resnets.7.conv1.weight"),
        (text, "text_model.encoder.layers.40.mlp.fc1.weight"),
    ] {
        let problems = add(part, name).problems;
        assert!(problems.len() == 1 && problems[0].contains(name), "{name}: {problems:?}");
    }
    for (part, name) in [
        (text, "text_model.embeddings.position_ids"),
        (text, "text_projection.weight"),
        (text, "vision_model.encoder.layers.0.mlp.fc1.weight"),
        (vae, "loss.logvar"),
    ] {
        let report = add(part, name);
        assert_eq!(report.problems, Vec::<String>::new(), "{name}");
        assert!(report.ignored.iter().any(|ignored| ignored.what == "not used"), "{name}: {:?}", report.ignored);
    }
}

#[test]
fn what_is_predicted_counts_for_the_hash_only_where_the_files_say_otherwise() {
    let hash = |prediction| {
        let spec = ModelSpec { prediction, ..ModelSpec::at(&fixture("tiny_sd1")) };
        ModelFiles::open(&spec).unwrap().hash(&mut |_, _| {}).unwrap()
    };
    let plain = hash(None);
    assert_eq!(hash(Some(Prediction::Epsilon)), plain);
    assert_ne!(hash(Some(Prediction::V)), plain);
}

#[test]
fn a_vae_file_of_diffusers_has_its_config_beside_it() {
    let vae = fixture("tiny_sd1/vae/diffusion_pytorch_model.safetensors");
    let report = check(&ModelSpec { vae: Some(vae), ..ModelSpec::at(&fixture("tiny_sd1")) });
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!(
        report.parts,
        check(&ModelSpec::at(&fixture("tiny_sd1")))
            .parts
            .into_iter()
            .map(|mut part| {
                if part.name == "vae" {
                    part.path.push("diffusion_pytorch_model.safetensors");
                }
                part
            })
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_pipe_is_no_model_and_nobody_waits_for_it() {
    let folder = copied();
    let fifo = |path: &Path| assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    let pipe = folder.path().join("model.safetensors");
    fifo(&pipe);
    std::fs::remove_file(folder.path().join(UNET)).unwrap();
    fifo(&folder.path().join(UNET));
    for path in [pipe.as_path(), folder.path()] {
        let (sender, receiver) = std::sync::mpsc::channel();
        let spec = ModelSpec::at(path);
        std::thread::spawn(move || sender.send(check(&spec).problems));
        let problems = receiver.recv_timeout(Duration::from_secs(20)).expect("it waits");
        assert!(problems.len() == 1 && problems[0].contains("not a file"), "{problems:?}");
    }
}

#[test]
fn a_list_of_no_shards_is_named() {
    let folder = copied();
    let unet = folder.path().join("unet");
    std::fs::remove_file(unet.join("diffusion_pytorch_model.safetensors")).unwrap();
    std::fs::write(unet.join("diffusion_pytorch_model.safetensors.index.json"), r#"{ "weight_map": {} }"#).unwrap();
    let problems = check(&ModelSpec::at(folder.path())).problems;
    assert!(problems.len() == 1 && problems[0].contains("weight_map is empty"), "{problems:?}");
}

#[test]
fn attention_that_half_precision_cannot_hold_is_in_float32_where_the_config_asks() {
    use catbench::diffusion::{BaseModel, Compute, UNetOptions};
    use catbench::protocol::{DeviceName, FloatType};
    // Keys and queries so large that their products are beyond 65504.
    let large = |upcast: bool| {
        let folder = copied();
        set(folder.path(), UNET, "upcast_attention", json!(upcast));
        let path = folder.path().join("unet/diffusion_pytorch_model.safetensors");
        let mut tensors = read_safetensors(&std::fs::read(&path).unwrap());
        for (name, (_, _, bytes)) in &mut tensors {
            if name.contains("attn1.to_q") || name.contains("attn1.to_k") {
                for number in bytes.chunks_exact_mut(4) {
                    let value = f32::from_le_bytes(number.try_into().unwrap()) * 2000.0;
                    number.copy_from_slice(&value.to_le_bytes());
                }
            }
        }
        std::fs::write(path, safetensors_bytes(&tensors)).unwrap();
        folder
    };
    let noise = |folder: &Path, dtype: FloatType| {
        let files = ModelFiles::open(&ModelSpec::at(folder)).unwrap();
        let compute = Compute::open(DeviceName::Cpu, dtype).unwrap();
        let model = BaseModel::from_files(&files, "hash".into(), &compute).unwrap();
        let text = model.texts[0].encoder.forward(&model.texts[0].ids("a teapot").unwrap(), None).unwrap();
        let side = model.unet.sample_size();
        let values: Vec<f32> = (0..4 * side * side).map(|i| (i as f32 * 0.37).sin()).collect();
        let latents = Tensor::from_vec(values, (1, 4, side, side), &candle_core::Device::Cpu).unwrap();
        let noise = model.unet.forward(&latents, &[401], &text.clone().into(), UNetOptions::default()).unwrap();
        noise.value().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let (plain, upcast) = (large(false), large(true));
    assert!(noise(plain.path(), FloatType::F16).iter().any(|x| !x.is_finite()), "the products fit into f16");
    let wanted = noise(upcast.path(), FloatType::F32);
    assert!(wanted == noise(plain.path(), FloatType::F32), "float32 needs no care");
    let got = noise(upcast.path(), FloatType::F16);
    assert!(got.iter().all(|x| x.is_finite()), "{got:?}");
}
