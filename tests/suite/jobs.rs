//! Whole jobs by the command line on a real, tiny base model: trained, killed, resumed, sampled, scored.

use std::fs::{read, write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::{Workspace, catbench, events, fixture, jobs, wait_for_step, wait_until};
use assert_cmd::assert::OutputAssertExt;
use catbench::protocol::{Event, JobState};
use predicates::boolean::PredicateBooleanExt;
use predicates::str::contains;

/// A concept that can really be trained.
fn workspace() -> Workspace {
    let workspace = Workspace::with_models();
    write(workspace.concept().join("prompts/demo.txt"), "a {concept}\n{concept}\n").unwrap();
    workspace
}

/// Train with few pictures on the way, and the run's folder.
fn train(workspace: &Workspace, more: &[&str]) -> PathBuf {
    let before = runs(workspace);
    let quick = ["train", "demo", "--sample-every", "0", "--validate-every", "0"];
    catbench(workspace, &[&quick, more].concat()).assert().code(0);
    runs(workspace).into_iter().find(|run| !before.contains(run)).unwrap()
}

fn runs(workspace: &Workspace) -> Vec<PathBuf> {
    let folder = workspace.concept().join("runs");
    if !folder.is_dir() {
        return Vec::new();
    }
    let mut runs: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    runs.sort();
    runs
}

#[test]
fn a_training_killed_and_resumed_ends_with_the_same_bytes() {
    let workspace = workspace();
    // Many enough that it is not through before it is killed.
    let whole = train(&workspace, &["--steps", "200", "--checkpoint-every", "10"]);

    let killed = train(&workspace, &["--steps", "200", "--checkpoint-every", "10", "--detach"]);
    wait_for_step(&killed, 20);
    let pid: String = std::fs::read_to_string(killed.join("runner.lock")).unwrap();
    Command::new("kill").args(["-9", pid.trim()]).status().unwrap();
    // The system frees the lock when it has cleared the process away.
    std::fs::File::open(killed.join("runner.lock")).unwrap().lock().unwrap();
    wait_until("the daemon has noticed", || jobs(&workspace).iter().all(|job| job.state != JobState::Running));
    let id = killed.file_name().unwrap().to_str().unwrap().to_owned();
    catbench(&workspace, &["train", "demo", "--resume", &id]).assert().code(0);

    let last = "checkpoints/step-000200.safetensors";
    assert_eq!(read(whole.join(last)).unwrap(), read(killed.join(last)).unwrap());
    let events = events(&killed);
    assert!(matches!(events.last(), Some(Event::Finished { .. })));
}

#[test]
fn a_training_stopped_by_sigterm_writes_a_checkpoint_and_goes_on() {
    let workspace = workspace();
    // Many enough that it is not through before it hears of it, which waits for the disk.
    let whole = train(&workspace, &["--steps", "400"]);
    let stopped = train(&workspace, &["--steps", "400", "--checkpoint-every", "400", "--detach"]);
    wait_for_step(&stopped, 5);
    catbench(&workspace, &["stop", "demo"]).assert().code(0);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !events(&stopped).iter().any(Event::is_last) {
        assert!(Instant::now() < deadline, "it never stopped");
        std::thread::sleep(Duration::from_millis(10));
    }
    let Some(Event::Stopped { step }) = events(&stopped).pop() else { panic!("{:?}", events(&stopped).pop()) };
    assert!((5..400).contains(&step) && stopped.join(format!("checkpoints/step-{step:06}.safetensors")).is_file());
    catbench(&workspace, &["train", "demo", "--resume", "latest"]).assert().code(0);
    // The checkpoint interval differs between the two, the learned numbers do not.
    let numbers = |run: &Path| {
        let path = run.join("checkpoints/step-000400.safetensors");
        catbench::personalize::Checkpoint::load(&path).unwrap().learned.numbers().unwrap()
    };
    assert_eq!(numbers(&whole), numbers(&stopped));
}

#[test]
fn the_same_seed_gives_the_same_picture_files() {
    let workspace = workspace();
    train(&workspace, &["--steps", "2"]);
    let outs = ["one", "two"].map(|name| workspace.home().join(name));
    for out in &outs {
        let args = ["sample", "demo", "--prompt", "a {concept}", "-n", "2", "--seed", "7", "--steps", "4", "--out"];
        catbench(&workspace, &[&args[..], &[out.to_str().unwrap()]].concat()).assert().code(0);
    }
    let files = |folder: &Path| {
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "png"))
            .collect();
        files.sort();
        files.iter().map(|path| read(path).unwrap()).collect::<Vec<_>>()
    };
    let (one, two) = (files(&outs[0]), files(&outs[1]));
    assert_eq!(one.len(), 2);
    assert_eq!(one, two);
    assert_ne!(one[0], one[1], "another seed, another picture");
}

#[test]
fn a_scoring_gives_both_sides_as_json() {
    let workspace = workspace();
    let run = train(&workspace, &["--steps", "2"]);
    let output = catbench(&workspace, &["score", "demo", "-n", "1", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let json: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    for side in ["before", "after"] {
        let score = &json["scores"][side]["masked_clip_i"];
        assert!(score["low"].as_f64().unwrap() <= score["value"].as_f64().unwrap(), "{json}");
    }
    let lines = std::fs::read_to_string(run.join("scores.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 2, "one line before, one after");
}

#[test]
fn a_checkpoint_of_another_base_model_is_refused() {
    let workspace = workspace();
    train(&workspace, &["--steps", "2"]);
    workspace.use_base_model(&fixture("tiny_sd2"));
    let out = workspace.home().join("out");
    catbench(
        &workspace,
        &["sample", "demo", "--prompt", "a {concept}", "--steps", "2", "--out", out.to_str().unwrap()],
    )
    .assert()
    .code(1)
    .stderr(contains("another base model").and(contains("step-000002.safetensors")));
    assert!(std::fs::read_dir(&out).unwrap().next().is_none(), "a picture was written");
}

#[test]
fn a_config_that_does_not_match_the_weights_names_file_tensor_and_shapes() {
    let workspace = workspace();
    let model = workspace.home().join("model");
    copy_folder(&fixture("tiny_sd1"), &model);
    let config = model.join("unet/config.json");
    let text =
        std::fs::read_to_string(&config).unwrap().replace("\"cross_attention_dim\": 24", "\"cross_attention_dim\": 12");
    write(&config, text).unwrap();
    workspace.use_base_model(&model);
    catbench(&workspace, &["train", "demo", "--steps", "2"])
        .assert()
        .code(1)
        .stderr(contains("attn2.to_k.weight").and(contains("24]")).and(contains("12]")).and(contains(".safetensors")));
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, target).unwrap();
        }
    }
}
