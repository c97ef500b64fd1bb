//! The command line as a user or a script meets it: exit codes, messages, and that bad input leaves nothing behind.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use assert_cmd::Command;
use catbench::protocol::Event;
use common::{RUN, Workspace};
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
        &["sample", "demo", "--prompt", "a", "--prompts", "b"],
        &["score", "demo", "--fill", "pink"],
    ] {
        catbench(&workspace).args(args).assert().code(2);
    }
    catbench(&workspace).arg("--version").assert().code(0).stdout(contains("catbench"));
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
    catbench(&workspace).args(["score", "demo"]).assert().code(1).stderr(contains("no run"));
    catbench(&workspace).args(["stop", "demo", "--run", "2"]).assert().code(1).stderr(contains("catbench runs demo"));
}

#[test]
fn without_the_demo_it_says_where_to_find_it() {
    let empty = tempfile::tempdir().unwrap();
    let mut command = Command::cargo_bin("catbench").unwrap();
    command.env("CATBENCH_HOME", empty.path()).arg("demo");
    command.assert().code(1).stderr(contains("workspaces/"));
}

#[test]
fn runs_are_listed_with_their_state_and_scores() {
    let workspace = Workspace::new();
    workspace.run().train(500).evaluate().end(Event::Finished { seconds: 203.0 }).write();
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
    workspace.run().train(500).evaluate().end(Event::Finished { seconds: 203.0 }).write();
    let watched = catbench(&workspace).args(["watch", "demo"]).assert().code(0);
    watched.stdout(contains("masked CLIP-I")).stdout(contains("clearly up")).stdout(contains("500 steps"));
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
