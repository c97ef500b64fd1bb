//! Concepts put together at sampling time: their strengths, several in one prompt, in part of the steps, and the weights of
//! prompts. Everything is told by pictures of a tiny base model, which are the same to the last bit or are not.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::common::{Workspace, catbench};
use assert_cmd::assert::OutputAssertExt;
use catbench::diffusion::{BaseModel, pieces};
use catbench::method::catversion::{Init, Settings};
use catbench::personalize::{Checkpoint, Sampler, Trainer, TrainingPhoto, decode, denoise_batch, prompt_text};
use catbench::protocol::{
    NoiseKind, OtherConcept, PictureConfig, SampleConfig, SamplerKind, SharedConfig, TrainConfig,
};
use image::RgbImage;
use predicates::str::contains;

/// A tiny base model, and two concepts that were never trained: random residual embeddings.
struct World {
    model: BaseModel,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let base_model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny_sd1");
        let world = Self { model: BaseModel::load(&base_model).unwrap(), folder: tempfile::tempdir().unwrap() };
        let side = world.model.resolution() as u32;
        let photo = TrainingPhoto { name: "0.png".into(), image: RgbImage::new(side, side), mask: None };
        for (name, seed) in [("one", 1), ("two", 2)] {
            let method = Settings { init: Init::Normal, ..Settings::default() }.into();
            let config = TrainConfig { batch_size: 1, seed, method, ..TrainConfig::default() };
            let photos = std::slice::from_ref(&photo);
            let trainer = Trainer::new(&world.model, photos, "teapot", config, &mut |_, _| ()).unwrap();
            trainer.checkpoint().save(&world.path(name)).unwrap();
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name).with_extension("safetensors")
    }

    /// The concept `name` as one of another workspace.
    fn other(&self, name: &str, strength: f32) -> OtherConcept {
        OtherConcept { name: name.into(), class_word: "teapot".into(), checkpoint: self.path(name), strength }
    }

    /// The pixels of a picture of `prompt`; `learned` is the concept of this workspace.
    fn picture(&self, prompt: &str, learned: Option<&str>, config: &SampleConfig) -> Vec<u8> {
        let checkpoint = learned.map(|name| (Checkpoint::load(&self.path(name)).unwrap(), self.path(name)));
        let learned = checkpoint.as_ref().map(|(checkpoint, path)| (checkpoint, path.as_path()));
        let sampler = Sampler::new(&self.model, "teapot", (&config.picture, &config.shared), learned).unwrap();
        let text = sampler.encode(prompt).unwrap();
        let picture = config.picture(prompt.into(), 7);
        let mut go_on = |_, _| ControlFlow::Continue(());
        let done = denoise_batch(&self.model, &[(&text, &picture)], &mut go_on).unwrap().unwrap();
        decode(&self.model.vae, &self.model.vae.decoder().unwrap(), &done[0]).unwrap().into_raw()
    }
}

/// `config` with what `set` sets.
fn with(config: &SampleConfig, set: impl FnOnce(&mut PictureConfig, &mut SharedConfig)) -> SampleConfig {
    let mut config = config.clone();
    set(&mut config.picture, &mut config.shared);
    config
}

fn quick() -> SampleConfig {
    with(&SampleConfig::default(), |picture, _| picture.steps = 5)
}

#[test]
fn strength_zero_is_the_base_model_and_more_is_more() {
    let world = World::new();
    let at = |strength| with(&quick(), |picture, _| picture.strength = strength);
    let base = world.picture("a {concept}", None, &quick());
    for (sampler, noise) in [(SamplerKind::Ddim, NoiseKind::Catbench), (SamplerKind::EulerAncestral, NoiseKind::Torch)]
    {
        let config = with(&quick(), |picture, _| (picture.sampler, picture.noise) = (sampler, noise));
        let none = with(&config, |picture, shared| {
            (picture.strength, shared.concepts) = (0.0, vec![world.other("two", 0.0)]);
        });
        let want = world.picture("a {concept} and a {class}", None, &config);
        assert_eq!(world.picture("a {concept} and a {two}", Some("one"), &none), want, "{sampler:?}");
    }
    let apart = |strength| {
        let picture = world.picture("a {concept}", Some("one"), &at(strength));
        picture.iter().zip(&base).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>()
    };
    let apart = [0.0, 0.01, 0.5, 2.0].map(apart);
    assert!(apart[0] == 0 && apart[1] < apart[2] && apart[2] < apart[3], "{apart:?}");
}

#[test]
fn a_concept_is_the_same_in_another_workspace() {
    let world = World::new();
    let own = world.picture("a {concept} on grass", Some("one"), &with(&quick(), |picture, _| picture.strength = 0.7));
    let concepts = vec![world.other("two", 1.0), world.other("one", 0.7)];
    let config = with(&quick(), |_, shared| shared.concepts = concepts);
    assert_eq!(world.picture("a {one} on grass", None, &config), own, "there it is the learned one");
    assert_eq!(
        world.picture("a {one} on grass", Some("two"), &config),
        own,
        "what a prompt does not name does not act"
    );

    let both = world.picture("a {concept} on grass and {one}", Some("two"), &config);
    for (prompt, learned) in [("a {class} on grass and {one}", "two"), ("a {concept} on grass and {class}", "two")] {
        assert_ne!(world.picture(prompt, Some(learned), &config), both, "{prompt}");
    }
}

#[test]
fn a_concept_acts_in_part_of_the_steps() {
    let world = World::new();
    let in_part = |part| with(&quick(), |_, shared| shared.concept_steps = Some(part));
    let picture = |config: &SampleConfig| world.picture("a {concept}", Some("one"), config);
    let (whole, base) = (picture(&quick()), world.picture("a {concept}", None, &quick()));
    assert_eq!(picture(&in_part([0.0, 1.0])), whole);
    // Five steps begin at 0, 0.2, 0.4, 0.6 and 0.8.
    assert_eq!(picture(&in_part([0.45, 0.55])), base, "no step begins there");
    let (first, last) = (picture(&in_part([0.0, 0.5])), picture(&in_part([0.5, 1.0])));
    assert!(first != whole && first != base && last != whole && last != base && first != last);
    for odd in [[0.5, 0.5], [0.8, 0.2], [-0.1, 0.5], [0.0, 1.1], [f64::NAN, 1.0]] {
        let error = in_part(odd).check().unwrap_err().to_string();
        assert!(error.contains("concept_steps"), "{error}");
    }
}

#[test]
fn every_prompt_is_the_concepts_where_that_is_asked_for() {
    let world = World::new();
    let every = with(&quick(), |_, shared| shared.every_prompt = true);
    let base = world.picture("a {class}", None, &quick());
    assert_eq!(world.picture("a {class}", Some("one"), &quick()), base, "else it is the base model's");
    assert_eq!(world.picture("a {class}", None, &every), base, "nothing is learned");
    let named = world.picture("a {concept}", Some("one"), &quick());
    assert_ne!(named, base);
    assert_eq!(world.picture("a {class}", Some("one"), &every), named, "read as if it named the concept");
    assert_eq!(world.picture("a {concept}", Some("one"), &every), named);
    let still = with(&every, |picture, _| picture.strength = 0.0);
    assert_eq!(world.picture("a {class}", Some("one"), &still), base);
    // Other concepts act where they are named, and nowhere else.
    let others = |config| with(config, |_, shared| shared.concepts = vec![world.other("two", 1.0)]);
    assert_eq!(world.picture("a {class}", Some("one"), &others(&every)), named);
    assert_eq!(world.picture("a {class}", Some("one"), &others(&quick())), base);
}

#[test]
fn weights_of_a_prompt_reach_the_tokens_they_stand_around() {
    let world = World::new();
    let picture = |prompt: &str| world.picture(prompt, Some("one"), &quick());
    let plain = picture("a {concept} on grass");
    assert_eq!(picture("a ({concept}:1) on (grass:1.0)"), plain, "a weight of 1 changes nothing");
    assert_eq!(picture("a ((({concept}:2):0.5) on:1) grass"), plain, "nor do weights that undo each other");
    assert_ne!(picture("a {concept} on (grass:1.4)"), plain);
    assert_ne!(picture("a {concept} on (grass:1.4)"), picture("a {concept} on (grass:0.6)"));

    let text = pieces("a (teapot:1.5) on (grass:0.5)").unwrap();
    let tokenizer = &world.model.texts[0].tokenizer;
    let weights = tokenizer.weights(&text, &[]).unwrap();
    let at = |word| tokenizer.positions_of("a teapot on grass", word).unwrap();
    for (i, weight) in weights.iter().enumerate() {
        let want = if at("teapot").contains(&i) { 1.5 } else { 1.0 };
        let want = if at("grass").contains(&i) { 0.5 } else { want };
        assert!((weight - want).abs() < 1e-6, "token {i}: {weights:?}");
    }
    assert_eq!(weights.len(), world.model.texts[0].encoder.max_length());
    assert_eq!(prompt_text("a ({concept}:1.5) on (grass:0.5)", "teapot"), "a teapot on grass");
}

#[test]
fn concepts_that_cannot_be_put_together_are_named() {
    let world = World::new();
    let refused = |concepts: Vec<OtherConcept>, words: &str| {
        let error = with(&quick(), |_, shared| shared.concepts = concepts).check().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(vec![world.other("one", -1.0)], "-1 in one");
    refused(vec![world.other("one", f32::NAN)], "strength");
    refused(vec![world.other("one", 1.0), world.other("one", 0.5)], "twice");
    refused(vec![world.other("concept", 1.0)], "this workspace's own");
    refused(vec![world.other("my cat", 1.0)], "my cat");
    for kind in SamplerKind::ALL {
        let check = |karras, eta| {
            with(&quick(), |picture, _| (picture.sampler, picture.karras, picture.eta) = (kind, karras, eta)).check()
        };
        assert_eq!(check(true, 0.0).is_ok(), kind.has_karras(), "{}", kind.word());
        assert_eq!(check(false, 0.5).is_ok(), kind == SamplerKind::Ddim, "{}", kind.word());
    }

    let SampleConfig { picture, mut shared, .. } = quick();
    let sampler = Sampler::new(&world.model, "teapot", (&picture, &shared), None).unwrap();
    shared.concepts = vec![world.other("three", 1.0)];
    let error = Sampler::new(&world.model, "teapot", (&picture, &shared), None).err().unwrap().to_string();
    assert!(error.contains("three.safetensors"), "{error}");
    for (prompt, words) in [("a {one}", "--with one"), ("a (teapot:50)", "-10..=10")] {
        let error = sampler.encode(prompt).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn what_cannot_be_sampled_is_told_before_there_is_a_job() {
    let workspace = Workspace::with_models();
    let train = ["train", "demo", "--sample-every", "0", "--validate-every", "0", "--steps", "2", "--batch-size", "1"];
    catbench(&workspace, &train).assert().code(0);
    let cup = workspace.home().join("cup");
    assert!(std::process::Command::new("cp").arg("-r").arg(workspace.concept()).arg(&cup).status().unwrap().success());
    let run = std::fs::read_dir(cup.join("runs")).unwrap().map(|entry| entry.unwrap().path().join("checkpoints"));
    let checkpoint =
        run.flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten()).last().unwrap().unwrap().path();
    std::fs::write(&checkpoint, std::fs::read(&checkpoint).unwrap().split_last().unwrap().1).unwrap();
    for (more, words) in [
        (["--sampler", "dpmpp_2m", "--steps", "1000"].as_slice(), "take fewer"),
        (&["--prompt", "a ({concept}:50)"], "-10..=10"),
        (&["--sampler", "ddim", "--karras"], "karras"),
        (&["--prompt", "a {concept} and a {cup}", "--with", "cup"], "cut short"),
    ] {
        catbench(&workspace, &[&["sample", "demo"], more].concat()).assert().code(1).stderr(contains(words));
    }
    let outside = ["sample", "demo", "--steps", "1001"];
    catbench(&workspace, &outside).assert().code(2).stderr(contains("1..=1000"));
    assert!(!workspace.concept().join("samples").exists());
}
