//! A second method by the command line: a word is learned, goes on after a cut, is sampled, made again, and goes out and in as a file;
//! what it cannot start from is refused before there is a run.

use std::path::PathBuf;

use crate::common::{Workspace, catbench, json};
use assert_cmd::assert::OutputAssertExt;
use predicates::str::contains;

/// A short training, whose method is to be named.
const TRAIN: [&str; 10] =
    ["train", "demo", "--sample-every", "0", "--validate-every", "0", "--batch-size", "1", "--steps", "6"];
const WORD: [&str; 2] = ["--method", "textual_inversion"];

/// Train with `more` options; the run's folder.
fn learned(workspace: &Workspace, more: &[&str]) -> PathBuf {
    catbench(workspace, &[&TRAIN[..], more].concat()).assert().code(0);
    let mut runs: Vec<_> =
        std::fs::read_dir(workspace.concept().join("runs")).unwrap().map(|run| run.unwrap().path()).collect();
    runs.sort();
    runs.pop().unwrap()
}

#[test]
fn a_word_is_learned_sampled_made_again_and_handed_on() {
    let workspace = Workspace::with_models();
    let run = learned(&workspace, &[WORD[0], WORD[1], "--vectors", "2"]);
    let id = run.file_name().unwrap().to_str().unwrap();
    let sample = ["sample", "demo", "--run", id, "--prompt", "a {concept}", "--images", "1", "--steps", "2"];
    catbench(&workspace, &sample).assert().code(0);
    let batch = std::fs::read_dir(workspace.concept().join("samples")).unwrap().next().unwrap().unwrap().path();
    let files = std::fs::read_dir(batch).unwrap().map(|file| file.unwrap().path());
    let picture = files.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "png")).unwrap();
    assert_eq!(json(&workspace, &["replay", picture.to_str().unwrap()])["same"], true);

    let out = workspace.home().join("word.safetensors");
    let handed = |verb: &str, run: &str| {
        catbench(&workspace, &["concept", verb, "demo", "--run", run, "--out", out.to_str().unwrap()]).assert()
    };
    handed("export-embedding", id).code(0);
    let word = std::fs::read(&out).unwrap();
    catbench(&workspace, &["concept", "import-embedding", "demo", out.to_str().unwrap()]).assert().code(0);
    let other = learned(&workspace, &["--method", "catversion"]);
    handed("export-diffusers", other.file_name().unwrap().to_str().unwrap()).code(1).stderr(contains("--force"));
    assert!(std::fs::read(&out).unwrap() == word, "another kind of file was written over the word");
}

#[test]
fn a_word_that_was_cut_off_ends_at_the_same_bytes_and_keeps_to_its_schedule() {
    let workspace = Workspace::with_models();
    let run = learned(&workspace, &[WORD[0], WORD[1], "--lr-scheduler", "cosine", "--checkpoint-every", "2"]);
    let id = run.file_name().unwrap().to_str().unwrap();
    let (last, events) = (run.join("checkpoints/step-000006.safetensors"), run.join("events.jsonl"));
    let whole = std::fs::read(&last).unwrap();
    std::fs::remove_file(&last).unwrap();
    let told = std::fs::read_to_string(&events).unwrap();
    let until = told.find("step-000004").unwrap();
    let end = until + told[until..].find('\n').unwrap() + 1;
    std::fs::write(&events, &told[..end]).unwrap();

    // The learning rate of every step hangs on the number of steps.
    let (file, settings) = (run.join("run.toml"), std::fs::read_to_string(run.join("run.toml")).unwrap());
    std::fs::write(&file, settings.replacen("steps = 6", "steps = 8", 1)).unwrap();
    catbench(&workspace, &["train", "demo", "--resume", id]).assert().code(1).stderr(contains("start a new run"));
    std::fs::write(&file, settings).unwrap();
    catbench(&workspace, &["train", "demo", "--resume", id]).assert().code(0);
    assert!(std::fs::read(&last).unwrap() == whole, "the resumed training learned something else");
}

#[test]
fn what_a_training_cannot_start_from_is_refused_and_makes_no_run() {
    let workspace = Workspace::with_models();
    let long = format!("{}{{concept}}", "x ".repeat(20));
    for (more, words) in [
        (["--init-word", " "].as_slice(), "must be a word"),
        (&["--templates", "none", "--caption", &long], "shorter caption"),
        (&["--templates", "none", "--caption", "a photo"], "must contain {concept}"),
        (&["--vectors", "64"], "has room for"),
        (&["--batch-size", "1000000"], "batch_size"),
    ] {
        catbench(&workspace, &[&TRAIN[..6], &WORD, more].concat()).assert().code(1).stderr(contains(words));
    }
    let outside = ["train", "demo", "--prefix-length", "100000000"];
    catbench(&workspace, &outside).assert().code(2).stderr(contains("1..=1024"));
    assert!(!workspace.concept().join("runs").exists(), "a run was made");
}
