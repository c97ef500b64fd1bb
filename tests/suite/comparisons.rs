//! What tables say of settings and of checkpoints: groups of trainings, winners, plans of earlier versions, second scorings.

use std::collections::BTreeSet;
use std::fs::{read_dir, read_to_string, write};
use std::path::{Path, PathBuf};

use crate::common::{Workspace, catbench, json};
use assert_cmd::assert::OutputAssertExt;
use catbench::protocol::Unit;
use catbench::workspace::{JobFolder, difference_of_runs, scores_of_run};
use predicates::str::contains;
use serde_json::Value;

/// A concept that can really be trained, with six prompts.
fn workspace() -> Workspace {
    let workspace = Workspace::with_models();
    let scenes = ["on grass", "at night", "in snow", "on a table", "in the city", "on a beach"];
    let prompts = scenes.map(|scene| format!("a {{concept}} {scene}"));
    write(workspace.concept().join("prompts/demo.txt"), prompts.join("\n")).unwrap();
    workspace
}

fn table(workspace: &Workspace, args: &[&str]) -> Value {
    let output = catbench(workspace, &[args, &["--format", "json"]].concat()).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn notes(table: &Value) -> String {
    let notes: Vec<&str> = table["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap()).collect();
    notes.join("\n")
}

/// The names in a folder of the concept, in order.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const QUICK: [&str; 8] = ["--set", "steps=4", "--set", "batch_size=1", "--sample-steps", "2", "-n", "1"];

#[test]
fn several_trainings_of_each_setting_speak_of_settings() {
    let workspace = workspace();
    let args = [&["sweep", "demo", "--grid", "lr=0.001,0.5"], &QUICK[..]].concat();
    let several = [&args[..], &["--train-seeds", "3"]].concat();
    let found = table(&workspace, &several);
    let rows = found["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4, "untrained, photos and two settings: {found}");
    for row in &rows[2..] {
        let score = &row["masked_clip_i"];
        assert_eq!((&score["n"], &score["units"], &row["interval_over"]), (&18.into(), &3.into(), &"trainings".into()));
        assert!(score["low"].as_f64().unwrap() < score["value"].as_f64().unwrap(), "{row}");
    }
    assert_eq!(rows[0]["interval_over"], "prompts", "nothing is trained there");
    let is_best = |row: &Value| row["masked_clip_i_to_best"] == "best";
    assert!(is_best(&rows[2]) != is_best(&rows[3]), "{found}");
    let other = rows[2..].iter().find(|row| !is_best(row)).unwrap();
    assert!(other["masked_clip_i_to_best"]["p"].as_f64().is_some_and(|p| (0.0..=1.0).contains(&p)), "{found}");
    let said = notes(&found);
    for text in [
        "best cell by masked CLIP-I: lr=0.",
        "picked on one half of the prompts and seeds and reported on the other",
        "lr=0.001, lr=0.5: 95 % intervals over 3 trainings (Student's t), n = 18 samples",
        "untrained: 95 % intervals over 6 prompts, each picture with a seed of its own (Student's t), n = 6 samples",
        "the numbers of trainings speak of trainings with these settings, at these prompts",
    ] {
        assert!(said.contains(text), "{text}: {said}");
    }
    let runs = names(&workspace.concept().join("runs"));
    let seeds: BTreeSet<String> = runs
        .iter()
        .map(|run| {
            let text = read_to_string(workspace.concept().join("runs").join(run).join("run.toml")).unwrap();
            text.lines().find(|line| line.starts_with("seed = ")).unwrap().to_owned()
        })
        .collect();
    assert_eq!((runs.len(), seeds.len()), (6, 3), "three seeds, the same for both settings: {seeds:?}");
    assert_eq!(table(&workspace, &args), found, "a plan keeps the number of its trainings, and nothing is done again");
    let refused = [&["sweep", "demo", "--grid", "seed=1,2", "--train-seeds", "2"], &QUICK[..]].concat();
    catbench(&workspace, &refused).assert().code(1).stderr(contains("take seed out of the grid"));

    // The same runs by hand: what a sweep has scored can be compared.
    let of = |lr: &str| -> Vec<String> {
        let is = |run: &&String| {
            let text = read_to_string(workspace.concept().join("runs").join(run).join("run.toml")).unwrap();
            text.contains(&format!("learning_rate = {lr}\n"))
        };
        runs.iter().filter(is).cloned().collect()
    };
    let (one, other) = (of("0.001"), of("0.5"));
    let mut groups = vec!["score", "demo", "--compare"];
    groups.extend(one.iter().map(String::as_str));
    groups.push("--against");
    groups.extend(other.iter().map(String::as_str));
    let compared = table(&workspace, &groups);
    let difference = &compared["rows"][1]["masked_clip_i_difference"];
    let value = |row: &Value| row["masked_clip_i"]["value"].as_f64().unwrap();
    let expected = value(&compared["rows"][1]) - value(&compared["rows"][0]);
    assert!((difference["value"].as_f64().unwrap() - expected).abs() < 1e-12 && difference["units"] == 3, "{compared}");
    assert!((value(&compared["rows"][0]) - value(&rows[2])).abs() < 1e-12, "as in the sweep's table");
    assert!(
        notes(&compared).contains("Welch's t") && notes(&compared).contains("speak of trainings with these settings"),
        "{compared}"
    );
    let pair = table(&workspace, &["score", "demo", "--compare", &one[0], &other[0]]);
    assert!(notes(&pair).contains("the numbers speak of these two checkpoints"), "{pair}");
    // What is no group of trainings with the same settings is refused.
    let refused = |args: &[&str], said: &str| {
        catbench(&workspace, &[&["score", "demo", "--compare"], args].concat()).assert().code(1).stderr(contains(said));
    };
    refused(&[&one[0], &one[1], "--against", &one[1]], "is given twice");
    refused(&[&one[0], &other[0], "--against", &one[1], &one[2]], "differ in more than their seed: learning_rate (0.");
    let again =
        ["train", "demo", "--preset", "default", "--steps", "4", "--batch-size", "1", "--learning-rate", "0.001"];
    let more = ["--checkpoint-every", "4", "--sample-every", "0", "--validate-every", "0"];
    let copy = PathBuf::from(json(&workspace, &[&again[..], &more[..]].concat())["path"].as_str().unwrap());
    let copy = copy.file_name().unwrap().to_str().unwrap();
    table(&workspace, &["score", "demo", "--run", copy, "-n", "1"]);
    refused(&[&one[0], copy, "--against", &other[0], &other[1]], "so they are one training");
}

#[test]
fn a_plan_of_an_earlier_version_goes_on_with_its_seeds() {
    let workspace = workspace();
    let args = |grid: &'static str| [&["sweep", "demo", "--name", "old", "--grid", grid], &QUICK[..]].concat();
    table(&workspace, &[&args("lr=0.001")[..], &["--shared-seeds"]].concat());
    // As a version before wrote it: it did not say which seeds, for there was one way, and it resampled.
    let plan = workspace.home().join(".catbench/plans/old.toml");
    let text = read_to_string(&plan).unwrap();
    assert!(text.contains("seeds = \"shared\"\n"), "{text}");
    assert!(text.starts_with("began_as = \"own_seeds\"\n"), "{text}");
    let before = text.replace("began_as = \"own_seeds\"\n", "").replace("seeds = \"shared\"\n", "");
    let before = before.replace("[cell.score]\n", "[cell.score]\nresamples = 2000\n");
    write(&plan, &before).unwrap();
    let found = table(&workspace, &args("lr=0.001,0.002"));
    let said = notes(&found);
    assert!(!said.contains("a seed of its own"), "{said}");
    let scored = names(&workspace.concept().join("jobs"));
    let last =
        read_to_string(workspace.concept().join("jobs").join(scored.last().unwrap()).join("score.toml")).unwrap();
    assert!(last.contains("seeds = \"shared\""), "the new cell is sampled as the others: {last}");
    assert_eq!(found["rows"].as_array().unwrap().len(), 4, "{found}");
    assert_eq!(table(&workspace, &args("lr=0.001,0.002")), found, "and again");
    // A plan of today is another with other seeds, and with another text of the balance.
    table(
        &workspace,
        &[&["sweep", "demo", "--name", "new", "--grid", "lr=0.001", "--shared-seeds"], &QUICK[..]].concat(),
    );
    let new = [&["sweep", "demo", "--name", "new", "--grid", "lr=0.001"], &QUICK[..]].concat();
    catbench(&workspace, &new).assert().code(1).stderr(contains("other scoring settings"));
    let scene = [&new[..], &["--shared-seeds", "--balance-text", "scene"]].concat();
    catbench(&workspace, &scene).assert().code(1).stderr(contains("other scoring settings"));
    assert!(said.contains("it takes 6 seeds, which these prompts share") || said.contains("6 seeds"), "{said}");
}

#[test]
fn a_second_scoring_leaves_nothing_of_the_first() {
    let workspace = workspace();
    let quick = ["train", "demo", "--sample-every", "0", "--validate-every", "0", "--steps", "4", "--batch-size", "1"];
    let run = PathBuf::from(json(&workspace, &quick)["path"].as_str().unwrap());
    let id = run.file_name().unwrap().to_str().unwrap();
    let first = table(&workspace, &["score", "demo", "--run", id, "-n", "2"]);
    assert_eq!(first["rows"][1]["clip_t"]["n"], 12, "{first}");
    let after = run.join("evaluation/after");
    assert_eq!((names(&after).len(), names(&after.join("masks")).len()), (13, 12), "12 pictures and their masks");
    let list = workspace.home().join("other.txt");
    write(&list, "a {concept} by the sea\na {concept} in a wood\na {concept} at home\n").unwrap();
    let second = ["score", "demo", "--run", id, "-n", "1", "--prompts", list.to_str().unwrap(), "--masks", "nobody"];
    let found = table(&workspace, &second);
    assert_eq!(found["rows"][1]["clip_t"]["n"], 3, "{found}");
    assert_eq!(names(&after).iter().filter(|name| *name != "masks").count(), 3);
    let masks = after.join("masks");
    assert!(!masks.is_dir() || names(&masks).is_empty(), "the masks of other pictures are gone");
    let told = json(&workspace, &["runs", "demo"]);
    assert_eq!(told["runs"][0]["scores"]["after"]["masked_clip_i"]["n"], 3, "{told}");
    assert!(told["runs"][0]["scores"]["difference"]["masked_clip_i"]["n"] == 3, "{told}");
    let lines = read_to_string(run.join("scores.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 4, "the log keeps both");
    let last = ["score", "demo", "--run", id, "--last", "--format", "json"];
    assert_eq!(table(&workspace, &["score", "demo", "--run", id, "--last"]), found);
    // A line that cannot be read costs that line, and is told with its number; a torn last one is not there yet.
    let mut damaged: Vec<&str> = lines.lines().collect();
    let value = lines.lines().nth(1).unwrap().replacen("\"masked_clip_i\":", "\"masked_clip_i\":null,\"was\":", 1);
    damaged.insert(2, &value);
    write(run.join("scores.jsonl"), format!("{}\n{{\"time\":\"2026", damaged.join("\n"))).unwrap();
    let told = catbench(&workspace, &last).output().unwrap();
    let said = String::from_utf8_lossy(&told.stderr);
    assert_eq!(said.matches("cannot be read and is passed over").count(), 1, "{said}");
    assert!(said.contains("scores.jsonl: line 3 "), "{said}");
    assert_eq!(serde_json::from_slice::<Value>(&told.stdout).unwrap(), found);
}

#[test]
fn other_sampling_settings_are_named_and_other_noise_is_no_pair() {
    let workspace = workspace();
    let quick = ["train", "demo", "--sample-every", "0", "--validate-every", "0", "--steps", "4", "--batch-size", "1"];
    let run = || {
        let path = PathBuf::from(json(&workspace, &quick)["path"].as_str().unwrap());
        path.file_name().unwrap().to_str().unwrap().to_owned()
    };
    let (one, other) = (run(), run());
    table(&workspace, &["score", "demo", "--run", &one, "-n", "1"]);
    table(&workspace, &["score", "demo", "--run", &other, "-n", "1", "--guidance-scale", "3"]);
    let compare = ["score", "demo", "--compare", &one, &other];
    let found = table(&workspace, &compare);
    assert!(notes(&found).contains("were sampled with other settings: guidance_scale (7.5; 3.0)"), "{found}");
    // What the screen that compares runs marks.
    let job = |id: &str| JobFolder::at(&workspace.concept().join("runs").join(id)).unwrap();
    let difference = difference_of_runs(&job(&one), &job(&other)).unwrap().unwrap();
    let expected = found["rows"][1]["balance_difference"]["value"].as_f64().unwrap();
    assert!((difference.balance.value - expected).abs() < 1e-12 && difference.unit == Some(Unit::Prompt));
    assert!(scores_of_run(&job(&one)).unwrap().unwrap().difference.is_some());
    // The same settings, but each seed is another noise.
    let scores = workspace.concept().join("runs").join(&other).join("scores.jsonl");
    let text = read_to_string(&scores).unwrap();
    write(&scores, text.replace("\"noise\":\"catbench\",\"size\"", "\"noise\":\"torch\",\"size\"")).unwrap();
    let refused = table(&workspace, &compare);
    assert!(notes(&refused).contains("a seed is another noise in each (catbench; torch)"), "{refused}");
    assert!(refused["rows"][1]["clip_t_difference"].is_null(), "{refused}");
    assert!(difference_of_runs(&job(&one), &job(&other)).unwrap().is_none());
}
