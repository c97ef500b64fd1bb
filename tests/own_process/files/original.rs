//! One file in the original naming is the diffusers folder it was made from, to the bit; what it does not say is told
//! right from its shapes (`tests/parity/original_files.py` made the files, by `tests/parity/original.py`).

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use candle_core::{Device, Tensor};
use catbench::diffusion::{BaseModel, Compute, ModelFiles, TensorFile, UNetOptions, check};
use catbench::protocol::{ModelReport, ModelSpec, Prediction};
use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::write::{Tensors, read_safetensors, safetensors_bytes, torch_bytes};
use super::{fixture, spec};

fn load(spec: &ModelSpec) -> BaseModel {
    BaseModel::from_files(&ModelFiles::open(spec).unwrap(), "hash".into(), &Compute::cpu()).unwrap()
}

/// Every number a model computes from some inputs.
fn numbers(model: &BaseModel) -> Vec<u32> {
    let ids = model.texts[0].ids("a photo of a striped teapot").unwrap();
    let text = model.texts[0].encoder.forward(&ids, None).unwrap();
    let wave = |shape: &[usize]| {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.37).sin()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    let side = model.unet.sample_size();
    let latents = wave(&[1, model.unet.in_channels(), side, side]);
    let noise = model.unet.forward(&latents, &[401], &text.clone().into(), UNetOptions::default()).unwrap();
    let (mean, std) = model.vae.encoder().unwrap().encode(&wave(&[1, 3, 32, 32])).unwrap();
    let decoded = model.vae.decoder().unwrap().decode(&model.vae.unscale(&latents).unwrap()).unwrap();
    let noisy = model.schedule.add_noise(&latents, &latents, &[500]).unwrap();
    let all = [text.value(), noise.value(), &mean, &std, &decoded, &noisy];
    all.iter().flat_map(|x| x.flatten_all().unwrap().to_vec1::<f32>().unwrap()).map(f32::to_bits).collect()
}

/// The tensors of a fixture's checkpoint in their own types.
fn tensors(name: &str) -> Tensors {
    let file = TensorFile::open(&fixture(&format!("original/{name}.ckpt"))).unwrap();
    let floats = file.tensors().filter(|(_, info)| info.is_float());
    let tensors: HashMap<String, Tensor> = floats
        .map(|(name, info)| (name.to_owned(), file.tensor(name).unwrap().to_dtype(info.dtype.unwrap()).unwrap()))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tensors.safetensors");
    candle_core::safetensors::save(&tensors, &path).unwrap();
    read_safetensors(&std::fs::read(path).unwrap())
}

#[test]
fn one_file_gives_the_numbers_of_the_folder_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tiny_sd1", "tiny_sd2"] {
        let from_folder = numbers(&BaseModel::load(&fixture(name)).unwrap());
        let ckpt = fixture(&format!("original/{name}.ckpt"));
        let safetensors = folder.path().join(format!("{name}.safetensors"));
        std::fs::write(&safetensors, safetensors_bytes(&tensors(name))).unwrap();
        for path in [&ckpt, &safetensors] {
            let model = load(&spec(path, name));
            assert!(numbers(&model) == from_folder, "{}: other numbers than the folder's", path.display());
        }
        // Its VAE given by itself, with and without the prefix; and the folder's.
        let vae: Tensors = tensors(name)
            .into_iter()
            .filter_map(|(tensor, value)| Some((tensor.strip_prefix("first_stage_model.")?.to_owned(), value)))
            .collect();
        let alone = folder.path().join(format!("{name}.vae.safetensors"));
        std::fs::write(&alone, safetensors_bytes(&vae)).unwrap();
        for vae in [alone, ckpt.clone(), fixture(name).join("vae"), fixture(name)] {
            let model = load(&ModelSpec { vae: Some(vae.clone()), ..spec(&ckpt, name) });
            assert!(numbers(&model) == from_folder, "{}: another VAE", vae.display());
        }
    }
}

#[test]
fn clip_without_its_inner_name_is_read_too() {
    let folder = tempfile::tempdir().unwrap();
    let renamed: Tensors =
        tensors("tiny_sd1").into_iter().map(|(name, value)| (name.replace(".text_model.", "."), value)).collect();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, safetensors_bytes(&renamed)).unwrap();
    assert!(numbers(&load(&spec(&path, "tiny_sd1"))) == numbers(&BaseModel::load(&fixture("tiny_sd1")).unwrap()));
}

#[test]
fn a_folder_of_bin_files_is_the_same_model() {
    // What torch.save wrote, under the names diffusers gives it.
    let folder = tempfile::tempdir().unwrap();
    for part in ["unet", "vae", "text_encoder", "tokenizer", "scheduler"] {
        std::fs::create_dir(folder.path().join(part)).unwrap();
        for entry in std::fs::read_dir(fixture("tiny_sd1").join(part)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if let Some(stem) = name.strip_suffix(".safetensors") {
                let mut tensors = read_safetensors(&std::fs::read(&path).unwrap());
                tensors.retain(|_, (dtype, ..)| *dtype == Dtype::F32);
                let bin = folder.path().join(part).join(format!("{stem}.bin"));
                std::fs::write(bin, torch_bytes(&tensors).bytes).unwrap();
            } else {
                std::fs::copy(&path, folder.path().join(part).join(name)).unwrap();
            }
        }
    }
    let (bin, safe) = (BaseModel::load(folder.path()).unwrap(), BaseModel::load(&fixture("tiny_sd1")).unwrap());
    assert!(numbers(&bin) == numbers(&safe));
}

#[test]
fn what_a_2_x_predicts_is_told_by_its_step_by_the_setting_or_assumed() {
    // Configs for everything but the scheduler.
    let folder = tempfile::tempdir().unwrap();
    for part in ["unet", "vae", "text_encoder", "tokenizer"] {
        std::fs::create_dir(folder.path().join(part)).unwrap();
        for entry in std::fs::read_dir(fixture("tiny_sd2").join(part)).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, folder.path().join(part).join(path.file_name().unwrap())).unwrap();
        }
    }
    let of = |path: &Path, prediction| {
        let config = Some(folder.path().to_owned());
        check(&ModelSpec { config, prediction, ..ModelSpec::at(path) })
    };
    let ckpt = fixture("original/tiny_sd2.ckpt");
    let report = of(&ckpt, None);
    assert_eq!((report.prediction.as_str(), report.problems.len()), ("epsilon", 0));
    assert!(report.assumed.iter().any(|line| line.contains("875000")), "{:?}", report.assumed);
    assert_eq!(of(&ckpt, Some(Prediction::V)).prediction, "v_prediction");

    let safetensors = folder.path().join("model.safetensors");
    std::fs::write(&safetensors, safetensors_bytes(&tensors("tiny_sd2"))).unwrap();
    let report = of(&safetensors, None);
    assert_eq!(report.prediction, "v_prediction");
    assert!(report.assumed.iter().any(|line| line.contains("--prediction epsilon")), "{:?}", report.assumed);
    assert_eq!(of(&safetensors, Some(Prediction::Epsilon)).prediction, "epsilon");
}

/// Names and shapes of real checkpoints, and what diffusers' configs say of them.
fn full_size() -> Value {
    let mut text = String::new();
    let file = File::open(fixture("original/full_size.json.gz")).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A checkpoint of gigabytes that takes no room: a header, and a hole where the numbers would be.
fn hollow(path: &Path, tensors: &BTreeMap<String, Vec<usize>>) {
    let (mut header, mut end) = (Map::new(), 0);
    for (name, shape) in tensors {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        header.insert(name.clone(), json!({ "dtype": "F16", "shape": shape, "data_offsets": [start, end] }));
    }
    let header = Value::Object(header).to_string();
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
}

/// What is told of the checkpoint of `family` after `change`.
fn report(family: &str, change: impl FnOnce(&mut BTreeMap<String, Vec<usize>>)) -> ModelReport {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = serde_json::from_value(full_size()[family]["tensors"].clone()).unwrap();
    change(&mut tensors);
    let path = folder.path().join("model.safetensors");
    hollow(&path, &tensors);
    check(&ModelSpec::at(&path))
}

#[test]
fn stable_diffusion_at_its_real_size_is_known_by_names_and_shapes() {
    for (family, word, prediction, resolution) in
        [("sd1", "Stable Diffusion 1.x", "epsilon", 512), ("sd2", "Stable Diffusion 2.x", "v_prediction", 768)]
    {
        let report = report(family, |_| {});
        assert_eq!(report.problems, Vec::<String>::new());
        assert_eq!((report.family.as_str(), report.prediction.as_str()), (word, prediction));
        assert_eq!(report.resolution, resolution);
        let parameters = &full_size()[family]["parameters"];
        for part in &report.parts {
            assert_eq!(part.parameters as u64, parameters[&part.name].as_u64().unwrap(), "{family} {}", part.name);
            assert_eq!(part.types, ["F16"]);
        }
        let ignored: BTreeMap<&str, usize> =
            report.ignored.iter().map(|ignored| (ignored.what.as_str(), ignored.tensors)).collect();
        assert_eq!((ignored["averaged weights (EMA)"], ignored["left from training"]), (3, 2), "{ignored:?}");
    }
}

#[test]
fn everything_missing_or_misshapen_is_named_at_once() {
    let unet = "model.diffusion_model.";
    let missing = [
        format!("{unet}input_blocks.3.0.op.weight"),
        format!("{unet}middle_block.1.transformer_blocks.0.attn1.to_k.weight"),
        "cond_stage_model.transformer.text_model.encoder.layers.4.mlp.fc2.bias".to_owned(),
        "first_stage_model.decoder.up.2.block.1.conv1.weight".to_owned(),
    ];
    let misshapen = [format!("{unet}out.0.weight"), "first_stage_model.quant_conv.weight".to_owned()];
    let report = report("sd1", |tensors| {
        missing.iter().for_each(|name| drop(tensors.remove(name).unwrap()));
        misshapen.iter().for_each(|name| drop(tensors.insert(name.clone(), vec![7, 3])));
    });
    assert_eq!(report.problems.len(), missing.len() + misshapen.len(), "{:#?}", report.problems);
    for name in missing.iter().chain(&misshapen) {
        let problem = report.problems.iter().find(|problem| problem.contains(name)).expect(name);
        assert!(problem.contains("model.safetensors"), "{problem}");
    }
    let norm = report.problems.iter().find(|problem| problem.contains("out.0.weight")).unwrap();
    assert!(norm.contains("[7, 3]") && norm.contains("[320]"), "{norm}");
}

#[test]
fn a_part_of_unsupported_width_is_named_and_its_tensors_are_no_other_model() {
    let report = report("sd1", |tensors| {
        // Everything of the VAE that is 128 wide is 48 wide: no multiple of the groups of its norms.
        for (_, shape) in tensors.iter_mut().filter(|(name, _)| name.starts_with("first_stage_model.")) {
            shape.iter_mut().filter(|size| **size == 128).for_each(|size| *size = 48);
        }
    });
    assert_eq!(report.problems.len(), 1, "{:#?}", report.problems);
    assert!(
        report.problems[0].contains("block_out_channels") && report.problems[0].contains("48"),
        "{:?}",
        report.problems
    );
}

/// What makes another model of a checkpoint.
type Change = Box<dyn FnOnce(&mut BTreeMap<String, Vec<usize>>)>;

#[test]
fn other_models_are_refused_by_name() {
    let only = |name: &'static str| {
        move |tensors: &mut BTreeMap<String, Vec<usize>>| {
            tensors.clear();
            tensors.insert(name.into(), vec![2]);
        }
    };
    let conv_in = |channels: usize| {
        move |tensors: &mut BTreeMap<String, Vec<usize>>| {
            tensors.insert("model.diffusion_model.input_blocks.0.0.weight".into(), vec![320, channels, 3, 3]);
        }
    };
    let without = |start: &'static str| {
        move |tensors: &mut BTreeMap<String, Vec<usize>>| tensors.retain(|name, _| !name.starts_with(start))
    };
    let sdxl = move |tensors: &mut BTreeMap<String, Vec<usize>>| {
        without("cond_stage_model.")(tensors);
        tensors.insert("conditioner.embedders.0.transformer.text_model.x".into(), vec![2]);
    };
    let more = |tensors: &mut BTreeMap<String, Vec<usize>>| {
        tensors.insert("model.diffusion_model.label_emb.0.0.weight".into(), vec![2]);
    };
    let cases: [(Change, &str); 11] = [
        (Box::new(conv_in(9)), "an inpainting model"),
        (Box::new(conv_in(8)), "an image-editing model"),
        (Box::new(conv_in(5)), "a depth-to-image model"),
        (Box::new(sdxl), "SDXL"),
        (Box::new(only("model.diffusion_model.joint_blocks.0.x.weight")), "Stable Diffusion 3"),
        (Box::new(only("lora_unet_down_blocks_0.lora_up.weight")), "a LoRA"),
        (Box::new(only("control_model.time_embed.0.weight")), "a ControlNet"),
        (Box::new(only("decoder.conv_in.weight")), "--vae"),
        (Box::new(only("emb_params")), "textual-inversion"),
        (Box::new(without("first_stage_model.")), "--vae"),
        (Box::new(more), "another kind of model"),
    ];
    for (change, word) in cases {
        let report = report("sd1", change);
        assert!(report.problems.iter().any(|problem| problem.contains(word)), "{word}: {:?}", report.problems);
    }
}

#[test]
fn a_single_file_is_known_by_its_own_sha_256() {
    use sha2::Digest as _;
    // Only what a header tells is looked at for a hash: a real one, with next to no numbers.
    let mut tensors: BTreeMap<String, Vec<usize>> =
        serde_json::from_value(full_size()["sd1"]["tensors"].clone()).unwrap();
    for (name, shape) in &mut tensors {
        let embedding = name.ends_with("_embedding.weight");
        shape.iter_mut().enumerate().for_each(|(dim, size)| *size = if embedding && dim == 1 { 64 } else { 1 });
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    hollow(&path, &tensors);
    let open = |prediction| ModelFiles::open(&ModelSpec { prediction, ..ModelSpec::at(&path) }).unwrap();
    let (mut last, mut total) = (0, 0);
    let hash = open(None).hash(&mut |done, all| (last, total) = (done, all)).unwrap();
    assert_eq!(hash, format!("{:x}", sha2::Sha256::digest(std::fs::read(&path).unwrap())));
    assert_eq!((last, total), (std::fs::metadata(&path).unwrap().len(), last));
    // The same, though said: what it is assumed to predict anyway.
    assert_eq!(open(Some(Prediction::Epsilon)).hash(&mut |_, _| {}).unwrap(), hash);
    assert_ne!(open(Some(Prediction::V)).hash(&mut |_, _| {}).unwrap(), hash, "what it predicts counts too");

    // By path, size and time, once the file has been left alone for a while.
    assert_eq!(open(None).fingerprint().unwrap(), None);
    let age = |seconds| {
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds);
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        open(None).fingerprint().unwrap().unwrap()
    };
    assert_ne!(age(100), age(200));
}
