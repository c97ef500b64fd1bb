//! Whole trainings: five steps against `torch.optim.AdamW`, the start from the class word, exact resume.

use std::path::Path;

use candle_core::{Device, Tensor};
use catbench::diffusion::{BaseModel, Noise, Stream};
use catbench::method::catversion::{Init, Settings};
use catbench::personalize::{Checkpoint, Draw, Learned, Trainer, TrainingPhoto};
use catbench::protocol::TrainConfig;
use image::{GrayImage, Luma, Rgb, RgbImage};

use super::fixture::{MODELS, Reference, base_model, folder, models, relative_error};

/// Photos of coloured noise, the second with a mask.
fn photos(model: &BaseModel) -> Vec<TrainingPhoto> {
    let size = model.resolution() as u32;
    (0..3)
        .map(|i| {
            let mut noise = Noise::new(i, Stream::FixedNoise, 0);
            let image = RgbImage::from_fn(size, size, |_, _| Rgb(std::array::from_fn(|_| noise.below(256) as u8)));
            let disc = |x: u32, y: u32| u8::from((x / 2).abs_diff(size / 4) + y.abs_diff(size / 2) < size / 3) * 255;
            let mask = (i == 1).then(|| GrayImage::from_fn(size, size, |x, y| Luma([disc(x, y)])));
            TrainingPhoto { name: format!("{i}.png"), image, mask }
        })
        .collect()
}

/// A training on [`photos`].
pub fn trainer(model: &BaseModel, config: TrainConfig) -> Trainer<'_> {
    Trainer::new(model, &photos(model), "teapot", config, &mut |_, _| ()).unwrap()
}

/// The flat numbers of the tensors `<name>.k.<layer>`, `<name>.v.<layer>`, bottom up.
fn flat(reference: &Reference, name: &str) -> Tensor {
    let parts: Vec<Tensor> = reference
        .layers()
        .iter()
        .flat_map(|layer| ["k", "v"].map(|kv| reference.get(&format!("{name}.{kv}.{layer}")).flatten_all().unwrap()))
        .collect();
    Tensor::cat(&parts, 0).unwrap()
}

/// The learned numbers as they stand.
pub fn numbers_of(trainer: &Trainer<'_>) -> Tensor {
    as_tensor(&trainer.learned().numbers().unwrap())
}

fn as_tensor(numbers: &[f32]) -> Tensor {
    Tensor::new(numbers, &Device::Cpu).unwrap()
}

#[test]
fn five_steps_of_training_agree() {
    for (reference, model) in models() {
        let mut compare = reference.compare();
        for case in reference.json["train_cases"].as_array().unwrap() {
            let (case_name, masked) = (case["name"].as_str().unwrap(), case["masked"].as_bool().unwrap());
            let rows = case["n"].as_u64().unwrap() as usize;
            let mut trainer = trainer(
                &model,
                TrainConfig {
                    batch_size: 2,
                    learning_rate: reference.json["train"]["lr"].as_f64().unwrap(),
                    masked_loss: masked,
                    method: Settings {
                        prefix_length: rows,
                        prefix_bias: case["prefix_bias"].as_f64().unwrap() as f32,
                        ..Settings::default()
                    }
                    .into(),
                    ..TrainConfig::default()
                },
            );
            // Start from the reference's rows.
            let row = |layer: usize, side: &str| {
                let rows = reference.get(&format!("prefix.n{rows}.{}.{layer}", &side[..1]));
                (format!("text_encoder.layers.{layer}.{side}"), rows)
            };
            let start = reference.layers().into_iter().flat_map(|layer| ["key", "value"].map(|side| row(layer, side)));
            let learned = Learned::new(&start.collect::<Vec<_>>()).unwrap();
            trainer.resume(&Checkpoint { learned, ..trainer.checkpoint() }, Path::new("start")).unwrap();

            let part = |name: &str, step: usize| reference.get(name).get(step).unwrap().contiguous().unwrap();
            let mut losses = Vec::new();
            for step in 0..reference.json["train"]["steps"].as_u64().unwrap() as usize {
                let draw = Draw {
                    latents: part("train.latents", step),
                    noise: part("train.noise", step),
                    timesteps: reference.timesteps("train.timesteps")[2 * step..2 * step + 2].to_vec(),
                    captions: vec![0; 2],
                    masks: masked.then(|| part("train.masks", step)),
                };
                losses.push(trainer.step_on(&draw).unwrap().loss);
                let after = numbers_of(&trainer);
                compare.check_against(
                    &format!("{case_name}.{} embeddings", step + 1),
                    &after,
                    &flat(&reference, &format!("{case_name}.{}", step + 1)),
                );
            }
            compare.check(&format!("{case_name}.losses"), &Tensor::new(losses, &Device::Cpu).unwrap());
        }
    }
}

#[test]
fn the_class_words_own_keys_and_values_are_the_start() {
    for (reference, model) in models() {
        let rows = 2;
        let method = Settings { prefix_length: rows, init: Init::ClassWord, ..Settings::default() }.into();
        let start = trainer(&model, TrainConfig { method, ..TrainConfig::default() });
        let width = start.learned().shapes()[0].1[1];
        // The reference repeats the word's own row; ours is the first, the others start beside it.
        let firsts =
            |numbers: &[f32]| -> Vec<f32> { numbers.chunks(rows * width).flat_map(|r| r[..width].to_vec()).collect() };
        let want: Vec<f32> = flat(&reference, "init").to_vec1().unwrap();
        let got = start.learned().numbers().unwrap();
        reference.compare().check_against("init", &as_tensor(&firsts(&got)), &as_tensor(&firsts(&want)));
        for pair in got.chunks(rows * width) {
            let apart = relative_error(&as_tensor(&pair[width..]), &as_tensor(&pair[..width]));
            assert!((0.02..0.5).contains(&apart), "rows {apart} apart");
        }
    }
}

#[test]
fn a_resumed_training_is_the_same_training() {
    for name in MODELS {
        let model = base_model(&folder(name));
        let config = TrainConfig {
            batch_size: 2,
            method: Settings { init: Init::Normal, ..Settings::default() }.into(),
            masked_loss: true,
            learning_rate: 0.05,
            gradient_checkpointing: name == "tiny_sd2",
            photo_repeats: if name == "tiny_sd2" { 100 } else { 1 },
            ..TrainConfig::default()
        };
        let files = tempfile::tempdir().unwrap();
        let bytes_of = |trainer: &Trainer<'_>, name: &str| {
            let path = files.path().join(name);
            trainer.checkpoint().save(&path).unwrap();
            std::fs::read(path).unwrap()
        };
        let mut whole = trainer(&model, config.clone());
        let whole_losses: Vec<f64> = (0..8).map(|_| whole.step().unwrap().loss).collect();

        let mut first = trainer(&model, config.clone());
        (0..3).for_each(|_| {
            first.step().unwrap();
        });
        bytes_of(&first, "half");
        drop(first);

        // As another process would go on: everything read again.
        let model = base_model(&folder(name));
        let mut second = trainer(&model, config);
        let path = files.path().join("half");
        second.resume(&Checkpoint::load(&path).unwrap(), &path).unwrap();
        assert_eq!(second.steps_done(), 3);
        let losses: Vec<f64> = (3..8).map(|_| second.step().unwrap().loss).collect();
        assert_eq!(losses, whole_losses[3..]);
        assert_eq!(second.fixed_noise_loss().unwrap().loss.to_bits(), whole.fixed_noise_loss().unwrap().loss.to_bits());
        assert!(bytes_of(&second, "resumed") == bytes_of(&whole, "whole"), "{name}: the checkpoints differ");
    }
}

#[test]
fn a_checkpoint_of_another_base_model_is_refused() {
    let [one, other] = MODELS.map(|name| base_model(&folder(name)));
    let checkpoint = trainer(&one, TrainConfig::default()).checkpoint();
    let error = trainer(&other, TrainConfig::default()).resume(&checkpoint, Path::new("x.safetensors")).unwrap_err();
    assert!(error.to_string().contains("x.safetensors") && error.to_string().contains("another base model"), "{error}");
}

#[test]
fn training_lowers_the_loss() {
    let model = base_model(&folder("tiny_sd1"));
    let mut trainer = trainer(&model, TrainConfig { learning_rate: 0.05, ..TrainConfig::default() });
    let (before, start) = (trainer.fixed_noise_loss().unwrap().loss, numbers_of(&trainer));
    (0..30).for_each(|_| {
        trainer.step().unwrap();
    });
    let after = trainer.fixed_noise_loss().unwrap().loss;
    assert!(after < before, "{before} before, {after} after");
    assert!(relative_error(&numbers_of(&trainer), &start) > 0.01);
}

/// Photos of coloured noise, each with a mask, the last of them made from `last`.
fn four_photos(model: &BaseModel, last: u64) -> Vec<TrainingPhoto> {
    let size = model.resolution() as u32;
    let photo = |(i, seed): (usize, u64)| {
        let mut noise = Noise::new(seed, Stream::FixedNoise, 0);
        let image = RgbImage::from_fn(size, size, |_, _| Rgb(std::array::from_fn(|_| noise.below(256) as u8)));
        let mask = GrayImage::from_fn(size, size, |x, _| Luma([if x > size / 3 { 255 } else { 0 }]));
        TrainingPhoto { name: format!("{i}.png"), image, mask: Some(mask) }
    };
    [0, 1, 2, last].into_iter().enumerate().map(photo).collect()
}

#[test]
fn a_photo_that_is_held_out_is_measured_and_never_trained_on() {
    let model = base_model(&folder("tiny_sd1"));
    let config = TrainConfig {
        batch_size: 3,
        learning_rate: 0.05,
        masked_loss: true,
        photo_repeats: 2,
        hold_out: Some("3.png".into()),
        ..TrainConfig::default()
    };
    let begin = |photos: &[TrainingPhoto], config: &TrainConfig| {
        Trainer::new(&model, photos, "teapot", config.clone(), &mut |_, _| ())
    };
    let trained = |photos: &[TrainingPhoto], config: &TrainConfig| {
        let mut trainer = begin(photos, config).unwrap();
        (0..6).for_each(|_| {
            trainer.step().unwrap();
        });
        (trainer.learned().numbers().unwrap(), trainer.fixed_noise_loss().unwrap(), trainer.checkpoint())
    };
    let (numbers, losses, checkpoint) = trained(&four_photos(&model, 3), &config);
    let (again, other, _) = trained(&four_photos(&model, 9), &config);
    assert!(numbers == again, "what was learned does not depend on it");
    assert_eq!(losses.loss.to_bits(), other.loss.to_bits());
    assert_ne!(losses.held_out, other.held_out, "its own loss does");

    // The same as of a training without it, but for its loss, and the same loss as of a training on it alone.
    let all = TrainConfig { hold_out: None, ..config.clone() };
    let (without, plain, _) = trained(&four_photos(&model, 3)[..3], &all);
    assert!(without == numbers && plain.held_out.is_none() && plain.loss.to_bits() == losses.loss.to_bits());
    let start =
        |photos: &[TrainingPhoto], config: &TrainConfig| begin(photos, config).unwrap().fixed_noise_loss().unwrap();
    let alone = start(&four_photos(&model, 3)[3..], &all).loss;
    assert_eq!(start(&four_photos(&model, 3), &config).held_out.unwrap().to_bits(), alone.to_bits());

    // A resume has to have the same photo held out.
    let resumed = |photos: &[TrainingPhoto], config: &TrainConfig| {
        begin(photos, config).unwrap().resume(&checkpoint, Path::new("x")).map_err(|error| error.to_string())
    };
    assert_eq!(resumed(&four_photos(&model, 3), &config), Ok(()));
    assert!(resumed(&four_photos(&model, 9), &config).unwrap_err().contains("photos or masks have changed"));
    let first = TrainConfig { hold_out: Some("0.png".into()), ..config.clone() };
    assert!(resumed(&four_photos(&model, 3), &first).unwrap_err().contains("photos or masks have changed"));
    let refused = |photos: &[TrainingPhoto], name: &str| {
        let config = TrainConfig { hold_out: Some(name.into()), ..config.clone() };
        begin(photos, &config).err().unwrap().to_string()
    };
    let unknown = refused(&four_photos(&model, 3), "4.png");
    assert_eq!(unknown, "hold_out = 4.png: is no photo of the concept; there is 0.png, 1.png, 2.png, 3.png");
    assert!(refused(&four_photos(&model, 3)[..3], "2.png").contains("needs 4 photos or more, and there are 3"));
}
