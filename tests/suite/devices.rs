//! Where a job computes and in which numbers, as its user sees it.

use crate::common::{Workspace, catbench};
use assert_cmd::assert::OutputAssertExt;
use predicates::boolean::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

#[test]
#[cfg(not(any(feature = "cuda", feature = "metal")))]
fn a_device_that_this_build_lacks_is_refused_with_the_feature_that_adds_it() {
    let workspace = Workspace::with_models();
    // A program for cards may have been built beside this one.
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("catbench");
    std::fs::copy(env!("CARGO_BIN_EXE_catbench"), &alone).unwrap();
    let run = |arguments: &[&str]| {
        std::process::Command::new(&alone).env("CATBENCH_HOME", workspace.home()).args(arguments).assert()
    };
    for (device, feature) in [("cuda:0", "cuda"), ("cuda:3", "cuda"), ("metal", "metal")] {
        for verb in [&["train", "demo"][..], &["train", "demo", "--dry-run"], &["sample", "demo", "--untrained"]] {
            run(&[verb, &["--device", device]].concat())
                .code(1)
                .stderr(contains(format!("device = {device}")).and(contains(format!("--features {feature}"))));
        }
    }
    assert!(!workspace.concept().join("runs").exists() && !workspace.concept().join("samples").exists());
    run(&["doctor"]).code(0).stdout(contains("--features cuda").and(contains("cpu, ")));
}

/// An installation with a program for graphics cards beside `catbench`: `cuda`, a script, or else `catbench` by the other name.
#[cfg(not(feature = "cuda"))]
fn installation(cuda: Option<&str>) -> (tempfile::TempDir, std::path::PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let [own, beside] = ["catbench", "catbench-cuda"].map(|name| folder.path().join(name));
    std::fs::copy(env!("CARGO_BIN_EXE_catbench"), &own).unwrap();
    match cuda {
        None => drop(std::fs::copy(&own, &beside).unwrap()),
        Some(script) => {
            std::fs::write(&beside, script).unwrap();
            std::fs::set_permissions(&beside, PermissionsExt::from_mode(0o755)).unwrap();
        }
    }
    (folder, own)
}

/// What the loader says of a program whose library is missing.
#[cfg(not(feature = "cuda"))]
const NO_LIBRARY: &str = "#!/bin/sh\necho 'catbench-cuda: error while loading shared libraries: libcublas.so.13: cannot open shared \
                          object file' >&2\nexit 127\n";

#[test]
#[cfg(not(feature = "cuda"))]
fn only_jobs_on_graphics_cards_need_the_program_for_them() {
    let workspace = Workspace::with_models();
    let (_folder, program) = installation(Some(NO_LIBRARY));
    let run = |arguments: &[&str]| {
        std::process::Command::new(&program).env("CATBENCH_HOME", workspace.home()).args(arguments).assert()
    };
    run(&["doctor"]).code(0).stdout(contains("catbench-cuda cannot be used").and(contains("libcublas.so.13")));
    run(&["train", "demo", "--steps", "1", "--batch-size", "1", "--sample-every", "0"]).code(0);
    run(&["train", "demo", "--device", "cuda:0"])
        .code(1)
        .stderr(contains("libcublas.so.13").and(contains("LD_LIBRARY_PATH")));
    run(&["daemon", "stop"]).code(0);
}

#[test]
#[cfg(not(feature = "cuda"))]
fn the_program_for_graphics_cards_does_what_is_asked_of_them() {
    let workspace = Workspace::with_models();
    let (_folder, program) = installation(None);
    let run = |arguments: &[&str]| {
        std::process::Command::new(&program).env("CATBENCH_HOME", workspace.home()).args(arguments).assert()
    };
    run(&["doctor"]).code(0).stdout(contains("was built without the feature cuda").and(contains("build both again")));
    // It is there, and so it is asked; what it says is what candle says without CUDA.
    run(&["train", "demo", "--device", "cuda:0"]).code(1).stderr(contains("cuda:0").and(contains("cuda support")));
    run(&["daemon", "stop"]);
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
fn a_run_in_half_precision_says_so_before_and_after() {
    let workspace = Workspace::with_models();
    for (dtype, bytes) in [("f32", 4), ("f16", 2)] {
        let asked = ["train", "demo", "--dtype", dtype, "--dry-run"];
        catbench(&workspace, &asked).assert().code(0).stdout(contains(format!("{dtype} in memory")));
        let output = catbench(&workspace, &[&asked[..], &["--json"]].concat()).output().unwrap();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let parts = json["estimate"]["parts"].as_array().unwrap();
        let weights: u64 = parts.iter().map(|part| bytes * part["parameters"].as_u64().unwrap()).sum();
        assert!(json["estimate"]["peak_bytes"].as_u64().unwrap() > weights, "{json}");
    }
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
    let picture = run.join("samples/step-000002-seed-0.png");
    let catbench::image::Provenance::Record(record) = catbench::image::read_provenance(&picture).unwrap() else {
        panic!("{}: no record", picture.display())
    };
    assert_eq!(record.dtype, catbench::protocol::FloatType::F16);
}
