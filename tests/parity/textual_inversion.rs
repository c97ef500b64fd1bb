//! Textual Inversion against PyTorch, diffusers and transformers (`textual_inversion.py`): gradient, training, what the word is read
//! as, a picture with it, and its file there and back.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, IndexOp, Tensor};
use catbench::diffusion::{Additions, BaseModel, Noise, Outline, Stream, Tracked};
use catbench::method::textual_inversion::{DECLARATION, Settings, Templates};
use catbench::method::{Export, Method, Task};
use catbench::personalize::{
    Caption, Checkpoint, Draw, Learned, Sampler, Trainer, TrainingPhoto, decode, denoise_batch,
};
use catbench::protocol::{LrScheduler, ModelSpec, NoiseKind, PictureConfig, SamplerKind, SharedConfig, TrainConfig};
use image::{Rgb, RgbImage};
use serde_json::Value;

use super::fixture::{base_model, every_form, folder, on};

/// The models: how the references are called, and their folders.
const MODELS: [(&str, &str); 2] = [("sd1", "tiny_sd1"), ("sd2", "tiny_sd2")];
const CLASS_WORD: &str = "teapot";
/// Relative error allowed of gradients, vectors and hidden states.
const TOLERANCE: f64 = 1e-5;
/// Of pictures.
const PICTURE_TOLERANCE: f64 = 1e-4;
/// How far any number of a picture may be from that of diffusers, of 255.
const BAR: u8 = 2;

fn fixtures() -> PathBuf {
    folder("")
}

/// What PyTorch computed with one model, and the draws of its steps.
struct Reference {
    short: &'static str,
    tensors: HashMap<String, Tensor>,
    given: HashMap<String, Tensor>,
    says: Value,
}

/// One training of the references.
struct Case {
    name: String,
    captions: Option<Vec<Vec<usize>>>,
    config: TrainConfig,
}

impl Reference {
    fn load(short: &'static str, folder: &str) -> Self {
        let tensors = |path: PathBuf| candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        let own = fixtures().join("textual_inversion");
        Self {
            short,
            tensors: tensors(own.join(format!("{short}.safetensors"))),
            given: tensors(fixtures().join(folder).join("reference.safetensors")),
            says: serde_json::from_slice(&std::fs::read(own.join(format!("{short}.json"))).unwrap()).unwrap(),
        }
    }

    /// The same with the tensors where `model` computes.
    fn on(self, model: &BaseModel) -> Self {
        Self { tensors: on(model, self.tensors), given: on(model, self.given), ..self }
    }

    fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("{} has no {name}", self.short))
    }

    /// The draw of a step, with these of the captions.
    fn draw(&self, step: usize, captions: &[usize], masked: bool) -> Draw {
        let part = |name: &str| self.given[&format!("train.{name}")].i(step).unwrap().contiguous().unwrap();
        Draw {
            latents: part("latents"),
            noise: part("noise"),
            timesteps: part("timesteps").to_dtype(DType::U32).unwrap().to_vec1().unwrap(),
            captions: captions.to_vec(),
            masks: masked.then(|| part("masks")),
        }
    }

    /// The numbers, among the paper's sentences about an object, of those that the references use.
    fn templates(&self) -> Vec<usize> {
        let captions = Settings::default().captions(&TrainConfig::default());
        let place = |text: &Value| {
            let text = text.as_str().unwrap().replace("{}", "{concept}");
            captions.iter().position(|caption| *caption == text).unwrap()
        };
        self.says["templates"].as_array().unwrap().iter().map(place).collect()
    }

    fn cases(&self) -> Vec<Case> {
        let case = |case: &Value| {
            let whole = |name: &str| case[name].as_u64().unwrap() as usize;
            let caption = case["caption"].as_str();
            let templates = self.templates();
            let numbers = |step: &Value| -> Vec<usize> {
                step.as_array().unwrap().iter().map(|i| templates[i.as_u64().unwrap() as usize]).collect()
            };
            Case {
                name: case["name"].as_str().unwrap().into(),
                captions: case["captions"].as_array().map(|steps| steps.iter().map(numbers).collect()),
                config: TrainConfig {
                    learning_rate: self.says["train"]["lr"].as_f64().unwrap(),
                    weight_decay: self.says["train"]["weight_decay"].as_f64().unwrap(),
                    lr_scheduler: match case["lr_scheduler"].as_str().unwrap() {
                        "cosine" => LrScheduler::Cosine,
                        _ => LrScheduler::Constant,
                    },
                    lr_warmup_steps: whole("warmup"),
                    steps: whole("steps"),
                    masked_loss: case["masked"].as_bool().unwrap(),
                    ..config(whole("n"), caption, case["init_word"].as_str())
                },
            }
        };
        self.says["cases"].as_array().unwrap().iter().map(case).collect()
    }

    /// The vectors that the training `case` ends with.
    fn last(&self, case: &Case) -> Tensor {
        let all = self.get(&format!("{}.vectors", case.name));
        all.i(all.dims()[0] - 1).unwrap().contiguous().unwrap()
    }

    /// A checkpoint of the end of the training `case`.
    fn end(&self, model: &BaseModel, case: &Case) -> Checkpoint {
        let mut end = Checkpoint::of_file(learned(&self.last(case)), CLASS_WORD, case.config.clone()).unwrap();
        end.meta.base_model.clone_from(&model.hash);
        end
    }

    fn prompt(&self) -> String {
        self.says["picture"]["prompt"].as_str().unwrap().replace("{}", "{concept}")
    }

    fn picture(&self, strength: f32) -> PictureConfig {
        PictureConfig {
            prompt: self.prompt(),
            seed: self.says["picture"]["seed"].as_u64().unwrap(),
            steps: self.says["picture"]["steps"].as_u64().unwrap() as usize,
            guidance_scale: self.says["picture"]["guidance_scale"].as_f64().unwrap(),
            sampler: SamplerKind::Ddim,
            noise: NoiseKind::Torch,
            strength,
            ..PictureConfig::default()
        }
    }

    /// The latents of the picture with `checkpoint`, or of the base model.
    fn latents(&self, model: &BaseModel, checkpoint: Option<&Checkpoint>, strength: f32) -> Tensor {
        let picture = self.picture(strength);
        let learned = checkpoint.map(|checkpoint| (checkpoint, Path::new("checkpoint")));
        let text = Sampler::new(model, CLASS_WORD, (&picture, &SharedConfig::default()), learned).unwrap();
        let text = text.encode(&picture.prompt).unwrap();
        let batch = [(&text, &picture)];
        denoise_batch(model, &batch, &mut |_, _| ControlFlow::Continue(())).unwrap().unwrap().remove(0)
    }

    /// How far the picture of `latents` is from that of the pipeline which loaded the file of `case`, of 255.
    fn apart(&self, model: &BaseModel, latents: &Tensor, case: &Case) -> u8 {
        let picture = decode(&model.vae, &model.vae.decoder().unwrap(), latents).unwrap();
        let want: Vec<u8> = self.get(&format!("{}.loaded", case.name)).flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(picture.as_raw().len(), want.len());
        picture.as_raw().iter().zip(&want).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
    }

    /// A file that diffusers loaded, by the end of its name.
    fn file(&self, case: &Case, end: &str) -> PathBuf {
        fixtures().join(format!("textual_inversion/{}-{}{end}", self.short, case.name))
    }
}

/// Every model with its reference, by every way to compute.
fn models() -> Vec<(Reference, BaseModel)> {
    let all = |(short, folder): (&'static str, &str)| {
        let forms = every_form(&ModelSpec::at(&fixtures().join(folder))).into_iter();
        forms.map(move |model| (Reference::load(short, folder).on(&model), model)).collect::<Vec<_>>()
    };
    MODELS.into_iter().flat_map(all).collect()
}

/// The same by the first way to compute.
fn plain_models() -> Vec<(Reference, BaseModel)> {
    let load = |(short, folder): (&'static str, &str)| {
        let model = base_model(&fixtures().join(folder));
        (Reference::load(short, folder).on(&model), model)
    };
    MODELS.into_iter().map(load).collect()
}

/// A training with `caption`, or with the paper's sentences.
fn config(vectors: usize, caption: Option<&str>, init_word: Option<&str>) -> TrainConfig {
    let templates = if caption.is_some() { Templates::None } else { Templates::Object };
    let own = Settings { vectors, init_word: init_word.map(str::to_owned), templates };
    let usual = TrainConfig::of(DECLARATION.name, None).unwrap();
    let caption = caption.map_or(usual.caption.clone(), |caption| caption.replace("{}", "{concept}"));
    TrainConfig { batch_size: 2, caption, method: own.into(), ..usual }
}

/// A training on photos of coloured noise.
fn trainer(model: &BaseModel, config: TrainConfig) -> Trainer<'_> {
    let size = model.resolution() as u32;
    let photo = |i| {
        let mut noise = Noise::new(i, Stream::FixedNoise, 0);
        let image = RgbImage::from_fn(size, size, |_, _| Rgb(std::array::from_fn(|_| noise.below(256) as u8)));
        TrainingPhoto { name: format!("{i}.png"), image, mask: None }
    };
    let photos: Vec<TrainingPhoto> = (0..3).map(photo).collect();
    Trainer::new(model, &photos, CLASS_WORD, config, &mut |_, _| ()).unwrap()
}

/// The same from `vectors`.
fn trainer_from<'m>(model: &'m BaseModel, config: TrainConfig, vectors: &Tensor) -> Trainer<'m> {
    let mut trainer = trainer(model, config);
    let start = Checkpoint { learned: learned(vectors), ..trainer.checkpoint() };
    trainer.resume(&start, Path::new("start")).unwrap();
    trainer
}

fn learned(vectors: &Tensor) -> Learned {
    Learned::new(&[("text_encoder.word".into(), vectors.clone())]).unwrap()
}

/// The vectors as they stand.
fn vectors(trainer: &Trainer<'_>) -> Tensor {
    trainer.learned().tensors().unwrap().remove(0).1
}

/// What `learned` brings at `strength`.
fn additions(model: &BaseModel, config: &TrainConfig, learned: &Learned, strength: f32) -> Vec<Additions> {
    let task = Task { model, class_word: CLASS_WORD, config };
    config.method.enter(&task, &learned.constants().unwrap(), strength).unwrap()
}

/// Token ids and the hidden state of `text`, in which `{concept}` is the word.
fn read(model: &BaseModel, text: &str, additions: &[Additions]) -> (Tensor, Tensor) {
    let caption = Caption::of(text, CLASS_WORD, true);
    let ids = model.tokenize(&caption.text, &caption.words(), additions).unwrap();
    let hidden = model.encode(&ids, additions).unwrap().hidden;
    (ids.0[0].clone(), hidden.value().clone())
}

/// Comparisons of one test: all are made and printed before any fails the test.
#[derive(Default)]
struct Comparisons(Vec<String>);

impl Comparisons {
    fn check(&mut self, what: &str, got: &Tensor, want: &Tensor, allowed: f64) {
        assert_eq!(got.dims(), want.dims(), "{what}");
        let numbers =
            |x: &Tensor| -> Vec<f64> { x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap() };
        let (got, want) = (numbers(got), numbers(want));
        let distance: f64 = got.iter().zip(&want).map(|(a, b)| (a - b).powi(2)).sum();
        let error = (distance / want.iter().map(|b| b * b).sum::<f64>()).sqrt();
        let line = format!("{what}: relative error {error:.1e} (allowed {allowed:.0e})");
        println!("{line}");
        if error.is_nan() || error > allowed {
            self.0.push(line);
        }
    }

    fn apart(&mut self, what: &str, apart: u8) {
        let line = format!("{what}: {apart} of 255 apart");
        println!("{line}");
        if apart > BAR {
            self.0.push(line);
        }
    }

    fn finish(self) {
        assert!(self.0.is_empty(), "\n{}", self.0.join("\n"));
    }
}

fn bits(x: &Tensor) -> Vec<u32> {
    x.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn the_gradient_of_the_vectors_agrees() {
    let mut compare = Comparisons::default();
    for (reference, model) in models() {
        for n in [1, 3] {
            let start = reference.get(&format!("start.{n}"));
            for (name, captions) in reference.says["captions"].as_object().unwrap() {
                let captions: Vec<&str> =
                    captions.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
                let what = |part: &str| format!("{} on {}: {part} of {name}, n {n}", reference.short, model.compute);
                let config = config(n, (captions.len() == 1).then_some(captions[0]), None);

                let of = additions(&model, &config, &learned(start), 1.0);
                let texts: Vec<_> =
                    captions.iter().map(|text| read(&model, &text.replace("{}", "{concept}"), &of)).collect();
                let (ids, hidden): (Vec<_>, Vec<_>) = texts.into_iter().unzip();
                let ids = Tensor::cat(&ids, 0).unwrap().to_dtype(DType::I64).unwrap();
                let ids: Vec<Vec<i64>> = ids.to_vec2().unwrap();
                let want: Vec<Vec<i64>> = reference.get(&format!("ids.{name}.{n}")).to_vec2().unwrap();
                assert_eq!(ids, want, "{}", what("ids"));
                let want = reference.get(&format!("hidden.{name}.{n}"));
                compare.check(&what("hidden"), &Tensor::cat(&hidden, 0).unwrap(), want, TOLERANCE);

                let drawn = if captions.len() == 1 { vec![0, 0] } else { reference.templates()[1..].to_vec() };
                let draw = reference.draw(0, &drawn, false);
                let trainer = trainer_from(&model, config, start);
                let (losses, gradient) = trainer.losses_and_gradient(&draw).unwrap();
                let loss = losses.to_dtype(DType::F64).unwrap().mean_keepdim(0).unwrap();
                compare.check(&what("loss"), &loss, reference.get(&format!("loss.{name}.{n}")), TOLERANCE);
                let gradient = gradient.reshape(start.dims()).unwrap();
                let want = reference.get(&format!("gradient.{name}.{n}"));
                compare.check(&what("gradient"), &gradient, want, TOLERANCE);
                // A vector that was cut off has none.
                let none = |x: &Tensor| bits(x).into_iter().map(|bits| bits << 1 == 0).collect::<Vec<_>>();
                assert_eq!(none(&gradient), none(want), "{}", what("gradient"));
            }
        }
    }
    compare.finish();
}

#[test]
fn five_steps_of_training_agree_and_the_picture_with_the_word() {
    let mut compare = Comparisons::default();
    for (reference, model) in models() {
        for case in reference.cases() {
            let what = |part: &str| format!("{} on {}: {} {part}", reference.short, model.compute, case.name);
            let n = reference.last(&case).dims()[0];
            // One starts from a word of the vocabulary, by itself.
            let mut trainer = match reference.tensors.get(&format!("start.{}", case.name)) {
                Some(start) => {
                    let trainer = trainer(&model, case.config.clone());
                    assert_eq!(bits(&vectors(&trainer)), bits(start), "{}", what("start"));
                    trainer
                }
                None => trainer_from(&model, case.config.clone(), reference.get(&format!("start.{n}"))),
            };
            let after = reference.get(&format!("{}.vectors", case.name));
            let start = learned(&vectors(&trainer));
            let mut losses = Vec::new();
            for step in 0..after.dims()[0] {
                let captions = case.captions.as_ref().map_or(&[0, 0][..], |steps| &steps[step]);
                let draw = reference.draw(step, captions, case.config.masked_loss);
                losses.push(trainer.step_on(&draw).unwrap().loss);
                let want = after.i(step).unwrap();
                compare.check(&what(&format!("vectors after {}", step + 1)), &vectors(&trainer), &want, TOLERANCE);
            }
            let losses = Tensor::new(losses, &Device::Cpu).unwrap();
            compare.check(&what("losses"), &losses, reference.get(&format!("{}.losses", case.name)), TOLERANCE);

            let ours = Checkpoint { meta: reference.end(&model, &case).meta, ..trainer.checkpoint() };
            let hidden = |strength| {
                read(&model, &reference.prompt(), &additions(&model, &case.config, &ours.learned, strength)).1
            };
            compare.check(&what("hidden"), &hidden(1.0), reference.get(&format!("{}.hidden", case.name)), TOLERANCE);
            if case.config.masked_loss {
                // What the word starts from is the config's; the other trainings were given theirs.
                compare.check(&what("half"), &hidden(0.5), reference.get(&format!("{}.half", case.name)), TOLERANCE);
                let at_start = read(&model, &reference.prompt(), &additions(&model, &case.config, &start, 1.0)).1;
                compare.check(&what("strength near 0"), &hidden(1e-30), &at_start, TOLERANCE);
            }

            let latents = reference.latents(&model, Some(&ours), 1.0);
            compare.check(
                &what("latents"),
                &latents,
                reference.get(&format!("{}.latents", case.name)),
                PICTURE_TOLERANCE,
            );
            let picture = model.vae.decoder().unwrap().decode(&model.vae.unscale(&latents).unwrap()).unwrap();
            compare.check(
                &what("picture"),
                &picture,
                reference.get(&format!("{}.picture", case.name)),
                PICTURE_TOLERANCE,
            );
        }
    }
    compare.finish();
}

#[test]
fn files_go_to_diffusers_and_come_from_there() {
    let there = tempfile::tempdir().unwrap();
    let mut compare = Comparisons::default();
    let [embedding, diffusers] = DECLARATION.formats else { panic!("other formats") };
    for ((reference, model), (_, folder)) in plain_models().into_iter().zip(MODELS) {
        let outline = Outline::read(&ModelSpec::at(&fixtures().join(folder))).unwrap();
        for case in reference.cases() {
            let what = |part: &str| format!("{}: {} {part}", reference.short, case.name);
            // What is exported is to the byte the file that diffusers loaded.
            let checkpoint = reference.end(&model, &case);
            let file = std::fs::read(reference.file(&case, ".safetensors")).unwrap();
            for format in [embedding, diffusers] {
                let path = there.path().join(format!("{}-{}-{}", reference.short, case.name, format.name));
                let export = Export { path: &path, checkpoint: &checkpoint, concept: CLASS_WORD, force: false };
                let (files, warnings) = case.config.method.export(format, &export).unwrap();
                assert_eq!((files, warnings.len()), (vec![path.clone()], 0));
                assert!(std::fs::read(&path).unwrap() == file, "{}", what("file"));
            }
            compare.apart(
                &what("as learned"),
                reference.apart(&model, &reference.latents(&model, Some(&checkpoint), 1.0), &case),
            );

            // Of web UIs, whose word is the file's name.
            let web_ui = there.path().join("my teapot.safetensors");
            candle_core::safetensors::save(&HashMap::from([("emb_params", reference.last(&case))]), &web_ui).unwrap();
            let ends = [".safetensors", "-script.safetensors", "-script.bin"].map(|end| reference.file(&case, end));
            for file in ends.into_iter().chain([web_ui]) {
                let mut read = Settings::default().import(embedding, &file, &outline, CLASS_WORD).unwrap();
                read.meta.base_model.clone_from(&model.hash);
                assert_eq!(read.learned.numbers().unwrap(), checkpoint.learned.numbers().unwrap());
                let latents = reference.latents(&model, Some(&read), 1.0);
                let of = file.file_name().unwrap();
                compare
                    .apart(&what(&format!("imported of {}", of.display())), reference.apart(&model, &latents, &case));
            }
        }
    }
    compare.finish();
}

#[test]
fn gradient_checkpointing_changes_no_bit_of_the_losses_and_the_gradient_by_its_rounding_alone() {
    let mut compare = Comparisons::default();
    for (reference, model) in models() {
        for (caption, captions) in [(Some("{} on a {}"), vec![0, 0]), (None, reference.templates()[1..].to_vec())] {
            let draw = reference.draw(0, &captions, false);
            let of = |gradient_checkpointing| {
                let config = TrainConfig { gradient_checkpointing, ..config(3, caption, None) };
                let trainer = trainer_from(&model, config, reference.get("start.3"));
                let (losses, gradient) = trainer.losses_and_gradient(&draw).unwrap();
                (losses.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap(), gradient)
            };
            let ((losses, gradient), (again_losses, again)) = (of(false), of(true));
            let what = format!("{} on {}, {caption:?}: gradient recomputed", reference.short, model.compute);
            assert_eq!(losses, again_losses, "{what}");
            // Recomputed layer by layer, the contributions to the text's gradient add up in another order.
            compare.check(&what, &again, &gradient, 1e-6);
        }
    }
    compare.finish();
}

#[test]
fn a_resumed_training_is_the_same_training_to_the_byte() {
    let files = tempfile::tempdir().unwrap();
    for (reference, model) in plain_models() {
        for caption in [Some("a {} on grass"), None] {
            let config = TrainConfig {
                learning_rate: 0.02,
                steps: 6,
                lr_scheduler: LrScheduler::Cosine,
                ..config(3, caption, None)
            };
            let save = |trainer: &Trainer<'_>, name: &str| {
                let path = files.path().join(name);
                trainer.checkpoint().save(&path).unwrap();
                (std::fs::read(&path).unwrap(), path)
            };
            let mut whole = trainer(&model, config.clone());
            let losses: Vec<f64> = (0..6).map(|_| whole.step().unwrap().loss).collect();
            let mut first = trainer(&model, config.clone());
            (0..2).for_each(|_| _ = first.step().unwrap());
            let (_, path) = save(&first, "half");
            drop(first);

            // As another process would go on: everything read again.
            let folder = MODELS.iter().find(|(short, _)| *short == reference.short).unwrap().1;
            let model = base_model(&fixtures().join(folder));
            let mut second = trainer(&model, config);
            second.resume(&Checkpoint::load(&path).unwrap(), &path).unwrap();
            assert_eq!(second.steps_done(), 2);
            let rest: Vec<f64> = (2..6).map(|_| second.step().unwrap().loss).collect();
            assert_eq!(rest, losses[2..]);
            assert!(save(&second, "resumed").0 == save(&whole, "whole").0, "{} {caption:?}", reference.short);
        }
    }
}

#[test]
fn a_word_starts_from_the_tokens_of_another_in_turn() {
    for ((_, model), (_, folder)) in plain_models().into_iter().zip(MODELS) {
        let folder = fixtures().join(folder);
        let vocabulary = std::fs::read(folder.join("tokenizer/vocab.json")).unwrap();
        let vocabulary: HashMap<String, u32> = serde_json::from_slice(&vocabulary).unwrap();
        let weights =
            candle_core::safetensors::load(folder.join("text_encoder/model.safetensors"), &Device::Cpu).unwrap();
        let table = weights.iter().find(|(name, _)| name.ends_with("token_embedding.weight")).unwrap().1;
        let table = table.to_dtype(DType::F32).unwrap();
        for (n, init_word, tokens) in [
            (1, None, vec!["teap"]),
            (3, None, vec!["teap", "ot</w>", "teap"]),
            (2, Some("photo"), vec!["photo</w>"; 2]),
            (4, Some("red PHOTO"), vec!["r", "ed</w>", "photo</w>", "r"]),
        ] {
            let trainer = trainer(&model, config(n, Some("a {}"), init_word));
            let rows: Vec<Tensor> = tokens.iter().map(|token| table.i(vocabulary[*token] as usize).unwrap()).collect();
            let want = Tensor::stack(&rows, 0).unwrap();
            assert_eq!(bits(&vectors(&trainer)), bits(&want), "{init_word:?}");
        }
    }
}

#[test]
fn strength_0_is_the_base_model_and_strength_1_what_was_learned() {
    for (reference, model) in models() {
        for case in reference.cases() {
            let checkpoint = reference.end(&model, &case);
            let base = reference.latents(&model, None, 1.0);
            assert_eq!(bits(&reference.latents(&model, Some(&checkpoint), 0.0)), bits(&base), "{}", case.name);
            assert_ne!(bits(&reference.latents(&model, Some(&checkpoint), 1.0)), bits(&base), "{}", case.name);
            let [of_word] = &additions(&model, &case.config, &checkpoint.learned, 1.0)[..] else {
                panic!("one encoder")
            };
            let entered: Vec<Vec<u32>> = of_word.words.iter().map(Tracked::value).map(bits).collect();
            assert_eq!(entered, [bits(&reference.last(&case))], "{}", case.name);
        }
    }
}
