//! Numbers that are none: put into each part of a model, into what was learned and into what judges it, and made by a training
//! that breaks. Each is one clear error; nothing black is kept, nothing of it is scored, and the concept stays readable.

use std::path::{Path, PathBuf};

use crate::common::{self, RUN, Workspace, catbench, events, fixture, json, queue_training};
use assert_cmd::assert::OutputAssertExt;
use catbench::protocol::Event;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

/// A copy of the folder `from`.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let there = to.join(entry.file_name());
        if entry.path().is_dir() { copy(&entry.path(), &there) } else { drop(std::fs::copy(entry.path(), there)) }
    }
}

/// Put `number` into the middle of the float32 tensor `name` of a safetensors file.
fn put(file: &Path, name: &str, number: f32) {
    let mut bytes = std::fs::read(file).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let tensors: serde_json::Value = serde_json::from_slice(&bytes[8..header]).unwrap();
    let tensor = &tensors[name];
    assert_eq!(tensor["dtype"], "F32", "{name} in {tensors}");
    let [from, to] = [0, 1].map(|i| tensor["data_offsets"][i].as_u64().unwrap() as usize);
    let at = header + from + (to - from) / 8 * 4;
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
    std::fs::write(file, bytes).unwrap();
}

/// A copy of the tiny model with `number` in a tensor of one of its parts.
fn broken_model(to: &Path, (part, tensor): (&str, &str), number: f32) {
    copy(&fixture("tiny_sd1"), to);
    let file = if part == "text_encoder" { "model" } else { "diffusion_pytorch_model" };
    put(&to.join(part).join(file).with_extension("safetensors"), tensor, number);
}

/// All PNGs below `folder`.
fn pictures(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let below = entries.flat_map(|path| if path.is_dir() { pictures(&path) } else { vec![path] });
    below.filter(|path| path.extension().is_some_and(|extension| extension == "png")).collect()
}

/// A command and what its error says.
type Try<'a> = (&'a [&'a str], &'a str);

const TEXT: (&str, &str) = ("text_encoder", "text_model.final_layer_norm.weight");
const UNET: (&str, &str) = ("unet", "conv_in.weight");
const DECODER: (&str, &str) = ("vae", "decoder.conv_in.weight");
const ENCODER: (&str, &str) = ("vae", "encoder.conv_in.weight");

#[test]
fn a_broken_part_of_the_model_is_named_by_whatever_computes_with_it() {
    let workspace = Workspace::with_models();
    let quick = ["--steps", "3", "-n", "1", "--prompt", "a {concept} on grass"];
    let sample = [&["sample", "demo", "--untrained", "--masks", "nobody"], &quick[..]].concat();
    let masks = ["mask", "make", "demo", "--replace"];
    let train = ["train", "demo", "--steps", "2", "--sample-every", "0", "--validate-every", "0"];
    let at_once = "text encoder, reading";
    let cases: [(_, &str, &[Try]); 4] = [
        (TEXT, "NaN", &[(&sample, at_once), (&masks, at_once), (&train, at_once)]),
        (
            UNET,
            "inf",
            &[
                (&sample, "UNet at step 1 of"),
                (&masks, "UNet at timesteps"),
                (&train, "UNet, before anything was learned"),
            ],
        ),
        (DECODER, "NaN", &[(&sample, "VAE's decoder")]),
        (ENCODER, "-inf", &[(&masks, "VAE's encoder"), (&train, "VAE's encoder")]),
    ];
    for (i, (part, number, tries)) in cases.into_iter().enumerate() {
        let model = workspace.home().join(format!("model-{i}"));
        broken_model(&model, part, number.parse().unwrap());
        workspace.use_base_model(&model);
        for (args, says) in tries {
            let before = pictures(workspace.home()).len();
            let done = catbench(&workspace, args).output().unwrap();
            let said = String::from_utf8_lossy(&done.stderr);
            assert_eq!(done.status.code(), Some(1), "{part:?} {args:?}: {said}");
            let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
            assert!(errors.len() == 1 && errors[0].contains("finite") && errors[0].contains(says), "{args:?}: {said}");
            assert_eq!(pictures(workspace.home()).len(), before, "{part:?} {args:?} left a picture behind");
        }
        // The concept is still there for everybody.
        for verb in
            [&["runs", "demo"][..], &["concept", "show", "demo"], &["score", "demo", "--dry-run", "--untrained"]]
        {
            let code = catbench(&workspace, verb).output().unwrap().status.code();
            assert_ne!(code, Some(101), "{verb:?}");
        }
    }
    assert!(!workspace.home().join("demo/scores.jsonl").exists());
}

#[test]
fn what_was_made_before_a_part_broke_stays() {
    let workspace = Workspace::with_models();
    let args = ["sample", "demo", "--untrained", "--masks", "nobody", "--steps", "2", "-n", "6", "--batch-size", "1"];
    // Guidance that no number can hold breaks the second prompt only.
    let prompts = ["--prompt", "a {concept} on grass", "--prompt", "a {concept} --guidance 1e38"];
    let done = catbench(&workspace, &[&args[..], &prompts].concat()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.code() == Some(1) && said.contains("not finite: the UNet at step"), "{said}");
    let batches = workspace.concept().join("samples");
    // Some of the first prompt's, as far as they were made by then, and none of the second's.
    let kept = pictures(&batches);
    assert!((1..=6).contains(&kept.len()), "{kept:?}");
    for picture in kept {
        let pixels = image::open(&picture).unwrap().into_rgb8();
        assert!(pixels.pixels().any(|pixel| pixel != pixels.get_pixel(0, 0)), "{} is one colour", picture.display());
    }
}

#[test]
fn numbers_that_are_none_in_what_was_learned_are_named_where_it_is_read() {
    let workspace = Workspace::with_models();
    let (_, run) = queue_training(&workspace, 5000, &["--evaluate=false"]);
    common::wait_for_step(&run, 12);
    catbench(&workspace, &["stop", "demo"]).assert().code(0);
    let checkpoints = std::fs::read_dir(run.join("checkpoints")).unwrap();
    let last = checkpoints.map(|entry| entry.unwrap().path()).max().unwrap();
    let good = std::fs::read(&last).unwrap();
    let id = run.file_name().unwrap().to_str().unwrap();
    let sample = ["sample", "demo", "--run", id, "--steps", "2", "-n", "1", "--prompt", "a {concept}"];
    let resume = ["train", "demo", "--resume", id];
    let score = ["score", "demo", "--run", id, "-n", "1"];
    for (tensor, number) in [
        ("text_encoder.layers.3.key", f32::NAN),
        ("text_encoder.layers.4.value", f32::INFINITY),
        ("optimizer.exp_avg", f32::NAN),
    ] {
        std::fs::write(&last, &good).unwrap();
        put(&last, tensor, number);
        for verb in [&sample[..], &resume, &score] {
            let says = format!("tensor {tensor} holds numbers that are not finite");
            catbench(&workspace, verb).assert().code(1).stderr(contains(says).count(1));
        }
        assert_eq!(pictures(&workspace.concept().join("samples")).len(), 0);
    }
    // The side without the concept may have been scored.
    let scored = std::fs::read_to_string(run.join("scores.jsonl")).unwrap_or_default();
    assert!(!scored.contains("\"learned\":true"), "{scored}");
    // An embedding of a word.
    let embedding = workspace.home().join("word.safetensors");
    std::fs::copy(fixture("embeddings/diffusers.safetensors"), &embedding).unwrap();
    let name = {
        let bytes = std::fs::read(&embedding).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        header.as_object().unwrap().keys().find(|key| *key != "__metadata__").unwrap().clone()
    };
    put(&embedding, &name, f32::NAN);
    let word = format!("{}=odd", embedding.display());
    let args = ["sample", "demo", "--untrained", "--embedding", &word, "--prompt", "an odd {concept}"];
    catbench(&workspace, &args).assert().code(1).stderr(contains("numbers that are not finite"));
}

#[test]
fn a_score_model_that_gives_none_scores_nothing() {
    let workspace = Workspace::with_models();
    let photo = workspace.concept().join("images/beach.png");
    for (i, tensor) in ["visual_projection.weight", "text_projection.weight"].into_iter().enumerate() {
        let clip = workspace.home().join(format!("clip-{i}"));
        copy(&fixture("tiny_clip"), &clip);
        put(&clip.join("model.safetensors"), tensor, f32::NAN);
        let concept = workspace.concept().join("concept.toml");
        let text = std::fs::read_to_string(&concept).unwrap();
        let text: Vec<&str> = text.lines().filter(|line| !line.starts_with("score_model")).collect();
        std::fs::write(&concept, format!("{}\nscore_model = \"{}\"\n", text.join("\n"), clip.display())).unwrap();
        let args = ["score", "demo", "--sample", photo.to_str().unwrap(), "--prompt", "a teapot"];
        let says = format!("not finite: the score model clip-{i} gave NaN or infinity");
        catbench(&workspace, &args).assert().code(1).stderr(contains(says).count(1)).stdout("");
        let lines = std::fs::read_dir(workspace.concept().join("jobs")).unwrap();
        assert!(lines.flatten().all(|job| !job.path().join("scores.jsonl").exists()));
    }
}

#[test]
fn a_training_that_breaks_says_at_which_step_and_keeps_the_last_good_checkpoint() {
    let workspace = Workspace::with_models();
    let quick = ["--evaluate=false", "--sample-every", "0", "--batch-size", "1"];
    for (rate, more) in [
        ("1e30", &["--steps", "2"][..]),
        ("1e6", &["--steps", "30", "--validate-every", "1"]),
        ("1e38", &["--steps", "3", "--validate-every", "0", "--checkpoint-every", "1"]),
    ] {
        let args = [&["train", "demo", "--learning-rate", rate], &quick[..], more].concat();
        let said = catbench(&workspace, &args).output().unwrap();
        let errors = String::from_utf8_lossy(&said.stderr).into_owned();
        let run = std::fs::read_dir(workspace.concept().join("runs")).unwrap();
        let run = run.flatten().map(|run| run.path()).max().unwrap();
        let happened = events(&run);
        let kept = std::fs::read_dir(run.join("checkpoints")).map_or(0, Iterator::count);
        if said.status.success() {
            // So large a step may leave the tiny model whole; then all it wrote must be read again.
            assert!(matches!(happened.last(), Some(Event::Finished { .. })), "{rate}");
            continue;
        }
        assert!(errors.contains("is not a finite number at step"), "{rate}: {errors}");
        let wrong = errors.contains("nothing was saved") == (kept > 0);
        assert!(!wrong, "{rate}: {kept} checkpoints: {errors}");
        assert!(matches!(happened.last(), Some(Event::Failed { .. })), "{rate}");
    }
    for verb in [&["runs", "demo"][..], &["concept", "show", "demo"], &["jobs", "--all"]] {
        catbench(&workspace, verb).assert().code(0).stderr(contains("error").not());
    }
}

#[test]
fn a_log_that_an_earlier_version_broke_is_read_but_for_that_line() {
    let workspace = Workspace::new();
    let run = workspace.run().train(2).write();
    let log = workspace.concept().join("runs").join(RUN).join("events.jsonl");
    let before = std::fs::read_to_string(&log).unwrap();
    let null = "{\"seq\":SEQ,\"time\":\"2026-11-29T20:00:48Z\",\"type\":\"validation\",\"step\":2,\"loss\":null}\n";
    let finished = "{\"seq\":SEQ,\"time\":\"2026-11-29T20:00:49Z\",\"type\":\"finished\",\"seconds\":0.9}\n";
    let count = before.lines().count();
    let [null, finished] =
        [(null, count), (finished, count + 1)].map(|(line, seq)| line.replace("SEQ", &seq.to_string()));
    std::fs::write(&log, format!("{before}{null}{finished}")).unwrap();
    drop(run);
    let runs = json(&workspace, &["runs", "demo"]);
    assert_eq!((&runs["runs"][0]["state"], runs["runs"][0]["steps"].as_u64()), (&"finished".into(), Some(2)));
    catbench(&workspace, &["concept", "show", "demo"]).assert().code(0);
    catbench(&workspace, &["concept", "list"]).assert().code(0).stdout(contains("! ").not());
    // Told once, with its number.
    let watched = catbench(&workspace, &["stop", "demo"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&watched.stderr).contains("changed by hand"));
    let told = format!("line {} of events.jsonl cannot be read and is passed over", count + 1);
    let warnings =
        catbench::workspace::History::read(&catbench::workspace::JobFolder::at(log.parent().unwrap()).unwrap());
    assert_eq!(warnings.unwrap().warnings.iter().filter(|warning| warning.starts_with(&told)).count(), 1);
}
