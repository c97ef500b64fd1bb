//! The command line as a user or a script meets it: exit codes, messages, and that bad input leaves nothing behind.

use crate::common::{RUN, Workspace};
use assert_cmd::Command;
use catbench::protocol::Event;
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;

fn catbench(workspace: &Workspace) -> Command {
    let mut command = Command::cargo_bin("catbench").unwrap();
    command.env("CATBENCH_HOME", workspace.home()).env_remove("CATBENCH_IMAGES");
    command
}

#[test]
fn wrong_usage_ends_with_2() {
    let workspace = Workspace::new();
    for args in [
        &["nonsense"][..],
        &[],
        &["train"],
        &["train", "demo", "--steps", "0"],
        &["train", "demo", "--learning-rate", "fast"],
        &["train", "demo", "--preset", "best"],
        &["train", "demo", "--evaluate=perhaps"],
        &["sample", "demo", "--prompt", "a", "--prompts", "b"],
        &["score", "demo", "--fill", "pink"],
    ] {
        catbench(&workspace).args(args).assert().code(2);
    }
    catbench(&workspace).arg("--version").assert().code(0).stdout(contains("catbench"));
    catbench(&workspace).arg("--help").assert().code(0).stdout(contains("CATBENCH_HOME"));
}

/// A training of what `spoil` has made of the concept is refused, names what is wrong, and makes no folder.
fn refused(spoil: impl FnOnce(&std::path::Path), expected: &[&str]) {
    let workspace = Workspace::new();
    spoil(&workspace.concept());
    let mut refused = catbench(&workspace).args(["train", "demo"]).assert().code(1);
    for text in expected {
        refused = refused.stderr(contains(*text));
    }
    refused.stderr(contains("error: "));
    assert!(!workspace.concept().join("runs").exists(), "something was written");
}

#[test]
fn a_file_that_is_no_picture_is_named() {
    refused(|concept| std::fs::write(concept.join("images/grass.png"), "text").unwrap(), &["grass.png"]);
}

#[test]
fn a_truncated_picture_is_named() {
    let cut = |concept: &std::path::Path| {
        let path = concept.join("images/night.png");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    };
    refused(cut, &["night.png"]);
}

#[test]
fn an_empty_or_missing_folder_of_photos_is_named() {
    let empty = |concept: &std::path::Path| {
        std::fs::remove_dir_all(concept.join("images")).unwrap();
        std::fs::create_dir(concept.join("images")).unwrap();
    };
    refused(empty, &["images"]);
    refused(|concept| std::fs::remove_dir_all(concept.join("images")).unwrap(), &["images", "no such folder"]);
}

#[test]
fn a_missing_class_word_is_named() {
    let toml = "name = \"demo\"\nbase_model = \"base_model\"\n";
    refused(|concept| std::fs::write(concept.join("concept.toml"), toml).unwrap(), &["concept.toml", "class_word"]);
    let toml = "name = \"demo\"\nclass_word = \" \"\nbase_model = \"base_model\"\n";
    refused(|concept| std::fs::write(concept.join("concept.toml"), toml).unwrap(), &["class_word is empty"]);
}

#[test]
fn settings_of_the_concept_that_no_training_can_start_from_are_named() {
    for (settings, said) in [
        ("stepz = 3", "stepz = 3: no setting of a training has this name; there is "),
        ("steps = \"many\"", "steps = many: must be a whole number, 1 or more"),
        ("learning_rate = 0", "learning_rate = 0: must be a number above 0"),
        ("preset = \"best\"", "preset = best: "),
        ("caption = \"a toy\"", "must contain {class}"),
    ] {
        let spoil = |concept: &std::path::Path| {
            let toml =
                format!("name = \"demo\"\nclass_word = \"cup\"\nbase_model = \"base_model\"\n[train]\n{settings}\n");
            std::fs::write(concept.join("concept.toml"), toml).unwrap();
        };
        refused(spoil, &["demo/concept.toml", "[train]", said]);
    }
}

#[test]
fn a_missing_base_model_is_named() {
    refused(|concept| std::fs::remove_dir_all(concept.join("base_model")).unwrap(), &["base_model"]);
}

#[test]
fn a_mask_of_another_size_is_named() {
    let wrong = |concept: &std::path::Path| {
        image::GrayImage::from_pixel(8, 8, image::Luma([255])).save(concept.join("masks/snow.png")).unwrap();
    };
    refused(wrong, &["snow.png", "8"]);
}

#[test]
fn an_unknown_concept_or_run_says_what_there_is() {
    let workspace = Workspace::new();
    catbench(&workspace).args(["train", "cat"]).assert().code(1).stderr(contains("there is demo"));
    catbench(&workspace).args(["train", "../demo"]).assert().code(1).stderr(contains("no concept"));
    catbench(&workspace).args(["score", "demo"]).assert().code(1).stderr(contains("no run yet: `catbench train`"));
    let run = workspace.run().train(20).end(Event::Stopped { step: 20 }).write();
    let id = run.folder.file_name().unwrap().to_str().unwrap().to_owned();
    catbench(&workspace).args(["stop", "demo", "--run", "3"]).assert().code(1).stderr(contains("catbench runs demo"));
    std::fs::create_dir(workspace.concept().join("runs/20261123-140000-aaaa")).unwrap();
    for file in ["run.toml", "events.jsonl"] {
        std::fs::copy(run.folder.join(file), workspace.concept().join("runs/20261123-140000-aaaa").join(file)).unwrap();
    }
    catbench(&workspace)
        .args(["score", "demo", "--run", "2026"])
        .assert()
        .code(1)
        .stderr(contains("several runs").and(contains(id)));
}

#[test]
fn without_the_demo_it_says_where_to_find_it() {
    let empty = tempfile::tempdir().unwrap();
    let mut command = Command::cargo_bin("catbench").unwrap();
    command.env("CATBENCH_HOME", empty.path()).env("CATBENCH_DEMO", empty.path()).arg("demo");
    command.assert().code(1).stderr(contains("workspaces/"));
}

#[test]
fn runs_are_listed_with_their_state_and_scores() {
    let workspace = Workspace::new();
    workspace.run().train(500).evaluate().end(Event::Finished { seconds: 227.0 }).write();
    let listed = catbench(&workspace).args(["runs", "demo"]).assert().code(0);
    listed.stdout(contains(RUN)).stdout(contains("finished")).stdout(contains("0.612 → 0.812"));
    let output = catbench(&workspace).args(["runs", "demo", "--json"]).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["runs"][0]["state"], "finished");
    assert_eq!(json["runs"][0]["steps"], 500);
    assert_eq!(json["runs"][0]["scores"]["after"]["masked_clip_i"]["n"], 10);
}

#[test]
fn watching_a_run_that_has_ended_gives_its_result_at_once() {
    let workspace = Workspace::new();
    workspace.run().train(500).evaluate().end(Event::Finished { seconds: 227.0 }).write();
    let watched = catbench(&workspace).args(["watch", "demo"]).assert().code(0);
    watched.stdout(contains("masked CLIP-I")).stdout(contains("▲ higher")).stdout(contains("500 steps"));
    let output = catbench(&workspace).args(["watch", "demo", "--json"]).output().unwrap();
    let last = String::from_utf8(output.stdout).unwrap();
    let json: serde_json::Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert_eq!(json["state"], "finished");
}

#[test]
fn a_failed_or_interrupted_run_ends_with_1_and_says_how_to_go_on() {
    let workspace = Workspace::new();
    workspace.run().train(130).end(Event::Failed { message: "the disk is full".into() }).write();
    catbench(&workspace).args(["watch", "demo"]).assert().code(1).stderr(contains("error: the disk is full"));
    workspace.run().train(130).write();
    let dead = catbench(&workspace).args(["watch", "demo"]).assert().code(1);
    dead.stderr(contains("died without a word after step 130")).stderr(contains(format!("--resume {RUN}")));
    catbench(&workspace).args(["stop", "demo"]).assert().code(1).stderr(contains("is not running"));
}

#[test]
fn doctor_says_how_pictures_are_drawn_and_why() {
    let workspace = Workspace::new();
    let output = catbench(&workspace).args(["doctor", "--json", "--images", "blocks"]).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["terminal"]["pictures"], "blocks");
    assert_eq!(json["terminal"]["why"], "as asked");
    assert_eq!(json["concepts"][0], "demo");
}

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_model_is_registered_listed_looked_at_used_by_name_and_forgotten() {
    let workspace = Workspace::new();
    let (ckpt, config) = (fixture("original/tiny_sd1.ckpt"), fixture("tiny_sd1"));
    let model = |args: &[&str]| catbench(&workspace).arg("model").args(args).assert();
    model(&["add", "tiny", &ckpt, "--config", &config]).code(0).stdout(contains("Stable Diffusion 1.x"));
    model(&["add", "tiny", &ckpt]).code(1).stderr(contains("already").and(contains("model remove tiny")));
    model(&["list"]).code(0).stdout(contains("tiny").and(contains("tiny_sd1.ckpt")));
    let look = model(&["check", "tiny", "--json"]).code(0);
    let report: serde_json::Value = serde_json::from_slice(&look.get_output().stdout).unwrap();
    assert_eq!(report["family"], "Stable Diffusion 1.x");
    assert_eq!(report["problems"].as_array().unwrap().len(), 0);
    assert_eq!(report["hash"].as_str().unwrap().len(), 64);
    model(&["check", "tiny"]).code(0).stdout(contains("epsilon").and(contains(report["hash"].as_str().unwrap())));

    // A concept may name it; its settings go with it into the run.
    let toml = "name = \"demo\"\nclass_word = \"teapot\"\nbase_model = \"tiny\"\n";
    std::fs::write(workspace.concept().join("concept.toml"), toml).unwrap();
    let args = [
        "train",
        "demo",
        "--steps",
        "1",
        "--batch-size",
        "1",
        "--sample-every",
        "0",
        "--validate-every",
        "0",
        "--json",
    ];
    let trained = catbench(&workspace).args(args).assert().code(0);
    let result: serde_json::Value = serde_json::from_slice(&trained.get_output().stdout).unwrap();
    let run = std::fs::read_to_string(format!("{}/run.toml", result["path"].as_str().unwrap())).unwrap();
    assert!(run.contains("tiny_sd1.ckpt") && run.contains(report["hash"].as_str().unwrap()), "{run}");

    model(&["remove", "tiny"]).code(0).stderr(contains("the base model of demo"));
    assert!(std::path::Path::new(&ckpt).exists(), "a file that was only referred to is gone");
    model(&["check", "tiny"]).code(1).stderr(contains("no model \"tiny\"").and(contains("model add")));
    let again = catbench(&workspace).args(["train", "demo", "--steps", "1"]).assert().code(1);
    again.stderr(contains("concept.toml").and(contains("\"tiny\"")).and(contains("model add")));
}

#[test]
fn a_copied_model_outlives_its_source_and_leaves_with_its_name() {
    let workspace = Workspace::new();
    let source = workspace.home().join("model.ckpt");
    std::fs::copy(fixture("original/tiny_sd2.ckpt"), &source).unwrap();
    let model = |args: &[&str]| catbench(&workspace).arg("model").args(args).assert();
    let config = fixture("tiny_sd2");
    model(&["add", "own", source.to_str().unwrap(), "--config", &config, "--prediction", "v", "--copy"]).code(0);
    std::fs::remove_file(&source).unwrap();
    model(&["check", "own"]).code(0).stdout(contains("v_prediction"));
    let copies = workspace.home().join(".catbench/models/own");
    assert!(copies.is_dir());
    model(&["remove", "own"]).code(0);
    assert!(!copies.exists());
}

#[test]
fn a_model_that_cannot_be_used_is_not_registered_and_all_is_said() {
    let workspace = Workspace::new();
    let model = |args: &[&str]| catbench(&workspace).arg("model").args(args).assert();
    // Its own widths do not tell how many heads it has.
    model(&["add", "tiny", &fixture("original/tiny_sd1.ckpt")]).code(1).stderr(contains("--config"));
    model(&["add", "clip", &fixture("tiny_clip")]).code(1).stderr(contains("text_encoder"));
    model(&["add", "gone", "/no/such/file"]).code(1).stderr(contains("/no/such/file"));
    for name in ["../x", "a b", ""] {
        model(&["add", name, &fixture("tiny_sd1")]).code(1).stderr(contains(format!("{name:?} is not a model's name")));
    }
    model(&["add", "x", &fixture("tiny_sd1"), "--prediction", "both"]).code(2);
    model(&["list", "--json"]).code(0).stdout(contains("{\"models\":[]}"));
    let json = model(&["check", &fixture("original/tiny_sd1.ckpt"), "--json"]).code(1);
    let report: serde_json::Value = serde_json::from_slice(&json.get_output().stdout).unwrap();
    assert_eq!(report["problems"].as_array().unwrap().len(), 1);
}

#[test]
fn a_plain_word_is_the_registered_model_of_that_name_whatever_files_there_are() {
    let workspace = Workspace::new();
    let (first, second) = (fixture("tiny_sd1"), fixture("tiny_sd2"));
    catbench(&workspace).args(["model", "add", "tiny", &first]).assert().code(0);
    // A folder of that name, where the command is given and in the concept's folder.
    let here = tempfile::tempdir().unwrap();
    for folder in [here.path(), &workspace.concept()] {
        std::os::unix::fs::symlink(&second, folder.join("tiny")).unwrap();
    }
    let command = |args: &[&str]| catbench(&workspace).current_dir(here.path()).args(args).assert().code(0);
    command(&["model", "check", "tiny"]).stdout(contains("Stable Diffusion 1.x"));
    command(&["model", "check", "./tiny"]).stdout(contains("Stable Diffusion 2.x"));
    let images = workspace.concept().join("images");
    let new = ["concept", "new", "pot", "--class", "teapot", "--images", images.to_str().unwrap(), "--base-model"];
    command(&[&new[..], &["tiny"]].concat());
    let toml = std::fs::read_to_string(workspace.home().join("pot/concept.toml")).unwrap();
    assert!(toml.contains("base_model = \"tiny\""), "{toml}");
    let toml = "name = \"demo\"\nclass_word = \"teapot\"\nbase_model = \"tiny\"\n";
    std::fs::write(workspace.concept().join("concept.toml"), toml).unwrap();
    command(&["train", "demo", "--dry-run"]).stdout(contains("tests/fixtures/tiny_sd1"));
}

#[test]
fn a_damaged_model_is_told_of_once_and_in_few_lines() {
    let workspace = Workspace::new();
    let file = workspace.home().join("model.safetensors");
    std::fs::write(&file, "text").unwrap();
    let said = |args: &[&str]| {
        let output = catbench(&workspace).args(["model", "check"]).args(args).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let one = said(&[file.to_str().unwrap()]);
    assert_eq!(one.matches("neither a whole safetensors").count(), 1, "{one}");
    assert!(!one.contains("unknown") && !one.contains("0 × 0"), "{one}");
    // A config of another model calls for hundreds of tensors that are not there.
    let other = tempfile::tempdir().unwrap();
    std::fs::create_dir(other.path().join("unet")).unwrap();
    let config = std::fs::read_to_string(format!("{}/unet/config.json", fixture("tiny_sd2"))).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["layers_per_block"] = 30.into();
    std::fs::write(other.path().join("unet/config.json"), config.to_string()).unwrap();
    let many = said(&[&fixture("tiny_sd1"), "--config", other.path().to_str().unwrap()]);
    assert_eq!(many.lines().filter(|line| line.starts_with("problem ")).count(), 20, "{many}");
    assert!(many.contains(" more (--json lists all)"), "{many}");
    let json = said(&[&fixture("tiny_sd1"), "--config", other.path().to_str().unwrap(), "--json"]);
    let report: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert!(report["problems"].as_array().unwrap().len() > 20);
}

#[test]
fn of_a_copied_folder_only_what_is_used_is_copied() {
    let workspace = Workspace::new();
    let vae = format!("{}/vae/diffusion_pytorch_model.safetensors", fixture("tiny_sd1"));
    let add = ["model", "add", "own", &fixture("tiny_sd1"), "--copy", "--vae", &vae];
    catbench(&workspace).args(add).assert().code(0);
    let copies = workspace.home().join(".catbench/models/own");
    let model = copies.join("model/tiny_sd1");
    assert!(
        model.join("unet/diffusion_pytorch_model.safetensors").is_file() && model.join("model_index.json").is_file()
    );
    assert!(model.join("tokenizer/special_tokens_map.json").is_file());
    assert!(!model.join("reference.safetensors").exists(), "what no model reads was copied");
    assert!(copies.join("vae/config.json").is_file(), "the VAE's config was left behind");
    let check = |name: &str| {
        let output = catbench(&workspace).args(["model", "check", name, "--json"]).output().unwrap();
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let own = check("own");
    assert_eq!(own["hash"], check(&fixture("tiny_sd1"))["hash"], "{own}");
    assert_eq!(own["ignored"], serde_json::json!([{ "what": "not used", "tensors": 1 }]));
}
