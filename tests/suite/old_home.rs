//! A home that the program wrote before the methods (`tests/fixtures/home_before_methods`) is a home still: what is in it is read,
//! goes on, and is made again to the last bit.

use std::path::{Path, PathBuf};

use crate::common::{Workspace, catbench, events, fixture, json, with_places};
use assert_cmd::assert::OutputAssertExt;
use catbench::protocol::Event;
use predicates::str::contains;
use serde_json::{Value, json};

/// A copy of the home, and what the program of then said of such a copy and did with it.
struct Old {
    workspace: Workspace,
    expected: Value,
}

impl Old {
    fn new() -> Self {
        let folder = fixture("home_before_methods");
        let workspace = Workspace::copied_from(&folder.join("home"));
        let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
        let expected = serde_json::from_str(&with_places(&text, workspace.home())).unwrap();
        Self { workspace, expected }
    }

    /// Whether this processor rounds as that of then: its sums are of vectors as long.
    fn rounds_as_then(&self) -> bool {
        #[cfg(target_arch = "x86_64")]
        let long = is_x86_feature_detected!("avx512f");
        #[cfg(not(target_arch = "x86_64"))]
        let long = false;
        self.expected["avx512f"] == long
    }

    fn concept(&self, name: &str) -> PathBuf {
        self.workspace.home().join(name)
    }

    fn word(&self, key: &str) -> &str {
        self.expected[key].as_str().unwrap()
    }

    /// What a command prints, which must succeed.
    fn says(&self, args: &[&str]) -> String {
        let output = catbench(&self.workspace, args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Fail where `found` is not what it was, but for what another processor may round otherwise.
    fn assert_as_then(&self, found: &Value, then: &Value) {
        if self.rounds_as_then() {
            assert_eq!(found, then);
        } else {
            assert_near(found, then);
        }
    }
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

/// The pictures of a sampling or an evaluation, by name.
fn pictures(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_picture = |path: &PathBuf| {
        path.extension().is_some_and(|end| end == "png")
            && !path.file_name().unwrap().to_str().unwrap().starts_with("grid")
    };
    let mut pictures: Vec<_> = entries.filter(is_picture).collect();
    pictures.sort();
    pictures
}

fn assert_near(found: &Value, then: &Value) {
    match (found, then) {
        (Value::Object(found), Value::Object(then)) => {
            assert!(found.keys().eq(then.keys()), "{found:?} is not {then:?}");
            found.iter().for_each(|(key, value)| assert_near(value, &then[key]));
        }
        (Value::Array(found), Value::Array(then)) => {
            assert_eq!(found.len(), then.len());
            found.iter().zip(then).for_each(|(found, then)| assert_near(found, then));
        }
        (Value::Number(found), Value::Number(then)) => {
            let (found, then) = (found.as_f64().unwrap(), then.as_f64().unwrap());
            assert!((found - then).abs() <= 0.05 * then.abs().max(1.0), "{found} is not near {then}");
        }
        _ => assert_eq!(found, then),
    }
}

/// Fail where `found` has not all that `then` has; there may be more by now.
fn assert_has(found: &Value, then: &Value) {
    match (found, then) {
        (Value::Object(found), Value::Object(then)) => {
            for (key, value) in then {
                assert_has(found.get(key).unwrap_or_else(|| panic!("{key} is missing")), value);
            }
        }
        (Value::Array(found), Value::Array(then)) => {
            assert_eq!(found.len(), then.len());
            found.iter().zip(then).for_each(|(found, then)| assert_has(found, then));
        }
        _ => assert_eq!(found, then),
    }
}

#[test]
fn concepts_runs_and_pictures_are_shown_as_before() {
    let old = Old::new();
    assert_has(&json(&old.workspace, &["concept", "list"])["concepts"], &old.expected["concepts"]);
    let runs =
        ["toy", "cup"].map(|concept| json(&old.workspace, &["runs", concept])["runs"].as_array().unwrap().clone());
    assert_has(&Value::Array(runs.concat()), &old.expected["runs"]);
    let shown = json(&old.workspace, &["concept", "show", "toy"]);
    assert_eq!(shown["concept"]["notes"], "of before the methods");
    for sampling in old.expected["samples"].as_array().unwrap() {
        let folder = old.concept(sampling["concept"].as_str().unwrap()).join("samples");
        for picture in pictures(&folder.join(sampling["batch"].as_str().unwrap())) {
            let shown = json(&old.workspace, &["show", picture.to_str().unwrap()]);
            assert_eq!(shown["provenance"]["base_model_sha256"].as_str().map(str::len), Some(64), "{shown}");
        }
    }
}

#[test]
fn tables_of_scores_say_the_same() {
    let old = Old::new();
    for asked in old.expected["tables"].as_array().unwrap() {
        let args = [&["score", "toy"], &words(&asked["args"])[..], &["--format", "json"]].concat();
        let found: Value = serde_json::from_str(&old.says(&args)).unwrap();
        if args.contains(&"--last") {
            assert_eq!(found, asked["table"], "{args:?}");
        } else {
            old.assert_as_then(&found, &asked["table"]);
        }
    }
}

#[test]
fn an_interrupted_training_goes_on_to_the_same_bytes() {
    let old = Old::new();
    let (run, then) = (old.concept("toy").join("runs").join(old.word("interrupted")), &old.expected["resumed"]);
    old.says(&["train", "toy", "--resume", old.word("interrupted")]);
    let losses = events(&run).into_iter().filter_map(|event| match event {
        Event::Step { step, loss, loss_by_quarter, .. } => {
            Some(json!({ "type": "step", "step": step, "loss": loss, "loss_by_quarter": loss_by_quarter }))
        }
        Event::FixedNoise { step, loss, held_out } => {
            Some(json!({ "type": "fixed_noise", "step": step, "loss": loss, "held_out": held_out }))
        }
        _ => None,
    });
    old.assert_as_then(&losses.collect(), &then["losses"]);
    let checkpoints = then["checkpoints"].as_object().unwrap();
    let files = std::fs::read_dir(run.join("checkpoints")).unwrap().count();
    assert_eq!(files, checkpoints.len());
    for (name, sha256) in checkpoints {
        let found = catbench::fs::sha256(&run.join("checkpoints").join(name)).unwrap();
        assert!(!old.rounds_as_then() || sha256 == &found, "{name}: {found} is not {sha256}");
    }
}

#[test]
fn pictures_of_every_kind_are_made_again() {
    let old = Old::new();
    let evaluation = old.concept("toy").join("runs").join(old.word("default")).join("evaluation/after");
    let mut all = vec![pictures(&evaluation).swap_remove(0)];
    for sampling in old.expected["samples"].as_array().unwrap() {
        let folder = old.concept(sampling["concept"].as_str().unwrap()).join("samples");
        all.push(pictures(&folder.join(sampling["batch"].as_str().unwrap())).pop().unwrap());
    }
    assert!(all.len() > 10, "{all:?}");
    for picture in all {
        let replayed = json(&old.workspace, &["replay", picture.to_str().unwrap()]);
        let near = !old.rounds_as_then() && replayed["pixels"]["mean"].as_f64().is_some_and(|mean| mean < 2.0);
        assert!(replayed["same"] == true || near, "{}: {replayed}", picture.display());
    }
}

#[test]
fn a_plan_goes_on_to_the_same_table() {
    let old = Old::new();
    let held = old.expected["held"].as_array().unwrap();
    catbench(&old.workspace, &["jobs"]).assert().code(0).stdout(contains("paused"));
    for number in held {
        old.says(&["jobs", "resume", &number.to_string()]);
    }
    let asked = words(&old.expected["sweep"]);
    let found: Value = serde_json::from_str(&old.says(&[&asked[..], &["--format", "json"]].concat())).unwrap();
    old.assert_as_then(&found, &old.expected["plan"]);
    let runs = std::fs::read_dir(old.concept("toy").join("runs")).unwrap().count();
    let then = old.expected["runs"].as_array().unwrap().iter().filter(|run| run["concept"] == "toy").count();
    assert_eq!(runs, then, "nothing is trained twice");
}

#[test]
fn an_imported_adapter_makes_the_same_picture_and_what_goes_out_is_the_same() {
    let old = Old::new();
    let sampling = old.expected["samples"].as_array().unwrap();
    let sampling = sampling.iter().find(|one| one["batch"] == old.expected["of_imported"]).unwrap();
    let made = ["sample", "cup", "--run", old.word("imported"), "--masks", "nobody", "--out"];
    let out = old.workspace.home().join("out");
    old.says(&[&made[..], &[out.to_str().unwrap()], &words(&sampling["args"])[..]].concat());
    let then = old.concept("cup").join("samples").join(old.word("of_imported"));
    let pixels = |folder: &Path| image::open(pictures(folder).remove(0)).unwrap().into_rgb8().into_raw();
    let apart = pixels(&out).iter().zip(pixels(&then)).map(|(a, b)| f64::from(a.abs_diff(b))).sum::<f64>() / 3072.0;
    assert!(apart <= if old.rounds_as_then() { 0.0 } else { 2.0 }, "{apart} apart");

    for (kind, name) in [("export-adapter", "learned.bin"), ("export-diffusers", "learned.safetensors")] {
        let out = out.join(name);
        old.says(&["concept", kind, "toy", "--run", old.word("default"), "--out", out.to_str().unwrap()]);
        let then = fixture("home_before_methods/exported").join(name);
        assert_eq!(std::fs::read(out).unwrap(), std::fs::read(then).unwrap(), "{name}");
    }
}
