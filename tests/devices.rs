//! Where a job computes and in which numbers, as its user sees it.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use assert_cmd::assert::OutputAssertExt;
use common::{Workspace, catbench};
use predicates::boolean::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

#[test]
#[cfg(not(any(feature = "cuda", feature = "metal")))]
fn a_device_that_this_build_lacks_is_refused_with_the_feature_that_adds_it() {
    let workspace = Workspace::with_models();
    for (device, feature) in [("cuda:0", "cuda"), ("cuda:3", "cuda"), ("metal", "metal")] {
        for verb in [&["train", "demo"][..], &["train", "demo", "--dry-run"], &["sample", "demo", "--untrained"]] {
            catbench(&workspace, &[verb, &["--device", device]].concat())
                .assert()
                .code(1)
                .stderr(contains(format!("device = {device}")).and(contains(format!("--features {feature}"))));
        }
    }
    assert!(!workspace.concept().join("runs").exists() && !workspace.concept().join("samples").exists());
    catbench(&workspace, &["doctor"]).assert().code(0).stdout(contains("--features cuda").and(contains("cpu, ")));
}

#[test]
fn numbers_and_devices_that_do_not_exist_are_refused() {
    let workspace = Workspace::with_models();
    catbench(&workspace, &["train", "demo", "--dtype", "bf16"])
        .assert()
        .code(1)
        .stderr(contains("bf16").and(contains("f32")));
    catbench(&workspace, &["train", "demo", "--dtype", "f8"]).assert().code(2).stderr(contains("f32, bf16, f16"));
    catbench(&workspace, &["train", "demo", "--device", "gpu"]).assert().code(2).stderr(contains("cuda:0"));
}

#[test]
fn a_run_in_half_precision_takes_half_the_memory_and_says_so() {
    let workspace = Workspace::with_models();
    let weights = |dtype: &str| {
        let output = catbench(&workspace, &["train", "demo", "--dtype", dtype, "--dry-run"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find(|line| line.contains("unet: ")).unwrap().to_owned();
        assert!(line.contains(&format!("{dtype} in memory")), "{line}");
    };
    weights("f32");
    weights("f16");
    let train =
        ["train", "demo", "--dtype", "f16", "--steps", "2", "--batch-size", "1", "--sample-every", "2", "--json"];
    let output = catbench(&workspace, &train).output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(said["loss"].as_f64().unwrap() > 0.0, "{said}");
    let run = std::path::PathBuf::from(said["path"].as_str().unwrap());
    let spec: toml::Value = toml::from_str(&std::fs::read_to_string(run.join("run.toml")).unwrap()).unwrap();
    assert_eq!((spec["train"]["device"].as_str(), spec["train"]["dtype"].as_str()), (Some("cpu"), Some("f16")));
    // Its own pictures are made as it trains, and say so.
    assert_eq!(spec["evaluation"]["sample"]["dtype"].as_str(), Some("f16"));
    let picture = std::fs::read(run.join("samples/step-000002-seed-0.png")).unwrap();
    assert!(picture.windows(9).any(|bytes| bytes == b"dtype\0f16"), "the picture does not name its dtype");
}
