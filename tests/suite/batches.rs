//! Samplings by real processes: killed at any moment and gone on with, on sheets, in whatever company.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{read, write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::{Workspace, catbench, events, fixture, job_state, json, wait_until};
use assert_cmd::assert::OutputAssertExt;
use catbench::image::{Provenance, read_photo, read_provenance};
use catbench::protocol::{Event, JobState};
use catbench::workspace::{History, JobFolder};
use predicates::str::contains;

/// A concept with a run of two checkpoints.
fn trained() -> Workspace {
    let workspace = Workspace::with_models();
    let quick =
        ["train", "demo", "--sample-every", "0", "--validate-every", "0", "--steps", "4", "--checkpoint-every", "2"];
    catbench(&workspace, &quick).assert().code(0);
    workspace
}

/// Sample by the command line. The batch's folder.
fn batch_of(workspace: &Workspace, args: &[&str]) -> PathBuf {
    let before = batches(workspace);
    catbench(workspace, &[&["sample", "demo"], args].concat()).assert().code(0);
    batches(workspace).into_iter().find(|batch| !before.contains(batch)).unwrap()
}

fn batches(workspace: &Workspace) -> Vec<PathBuf> {
    let folder = workspace.concept().join("samples");
    let mut batches: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    batches.sort();
    batches
}

/// Every file of pictures and masks in a batch's folder, also hidden ones, but for what belongs to the job.
fn files(batch: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in [batch.to_owned(), batch.join("masks")] {
        for path in std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.starts_with('.') || path.extension().is_some_and(|extension| extension == "png") {
                files.insert(path.strip_prefix(batch).unwrap().to_owned(), read(&path).unwrap());
            }
        }
    }
    files
}

/// The pictures that a batch has told of, in their order.
fn told(batch: &Path) -> Vec<PathBuf> {
    let path = |event| if let Event::Sample { path, .. } = event { Some(path) } else { None };
    events(batch).into_iter().filter_map(path).collect()
}

/// A new batch folder with the settings of another, as a client that has handed over its job.
fn copy_of(batch: &Path, name: &str) -> PathBuf {
    let copy = batch.with_file_name(name);
    std::fs::create_dir(&copy).unwrap();
    for file in ["batch.toml", "pictures.jsonl"] {
        std::fs::copy(batch.join(file), copy.join(file)).unwrap();
    }
    copy
}

fn runner(batch: &Path) -> Child {
    runner_command(batch).spawn().unwrap()
}

fn runner_command(batch: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catbench"));
    command.arg("runner").arg(batch).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn a_list_that_is_killed_again_and_again_ends_as_if_it_never_was() {
    let workspace = trained();
    let list = workspace.home().join("list.txt");
    let lines = "a {red|blue} {concept} {1..10} --seed {1..3} --steps 2\n\
                 a {concept} on {grass|sand} --strength {0|0.5|1.5} --guidance {1|4} -n 2 --steps 3\n\
                 {concept} --negative {dark|blurry} -n 3 --steps 2\n";
    write(&list, lines).unwrap();
    let list = ["--prompts", list.to_str().unwrap(), "--batch-size", "4", "--grid", "seed,prompt"];
    let whole = batch_of(&workspace, &list);
    let expected = files(&whole);
    let pictures = told(&whole);
    assert_eq!(pictures.len(), 60 + 24 + 6);
    assert_eq!(pictures.iter().collect::<BTreeSet<_>>().len(), 90, "each has a name of its own");

    let killed = copy_of(&whole, "20991231-235959-zzzz");
    let mut kills = 0;
    // First as soon as there is one more, so that there are kills on a fast machine too; then at moments that differ from
    // kill to kill; and it comes to an end on a slow one.
    for round in 0u64..40 {
        let before = told(&killed).len();
        let mut child = runner(&killed);
        let (more, later) = if round < 6 { (1, 0) } else { ((round as usize * 7) % 11, round * 37 % 30) };
        wait_until("it has made some more", || {
            told(&killed).len() >= (before + more).min(90) || child_is_over(&killed)
        });
        std::thread::sleep(Duration::from_millis(later));
        child.kill().unwrap();
        child.wait().unwrap();
        if child_is_over(&killed) {
            break;
        }
        kills += 1;
        let now = files(&killed);
        for path in told(&killed) {
            assert_eq!(now.get(&path), expected.get(&path), "{}: what was told of is whole", path.display());
        }
    }
    let mut child = runner(&killed);
    child.wait().unwrap();
    assert!(kills >= 6, "it was killed {kills} times only");
    let found = files(&killed);
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "none lost, nothing else left");
    for (path, bytes) in &expected {
        assert!(found[path] == *bytes, "{} differs from the undisturbed one", path.display());
    }
    let mut names = told(&killed);
    names.sort();
    let mut all = pictures;
    all.sort();
    assert_eq!(names, all, "each is told of once");
    let history = History::read(&JobFolder::at(&killed).unwrap()).unwrap();
    assert_eq!(history.pictures.len(), 90, "the workbench sees them all");
}

fn child_is_over(batch: &Path) -> bool {
    events(batch).iter().any(|event| matches!(event, Event::Finished { .. } | Event::Failed { .. }))
}

#[test]
fn a_sampling_that_is_cancelled_and_retried_goes_on() {
    let workspace = trained();
    let args = ["--prompt", "a {concept} {1..40}", "-n", "1", "--steps", "20", "--batch-size", "2"];
    let mut client = catbench(&workspace, &[&["sample", "demo"], &args[..]].concat());
    let mut client = client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("it is queued", || !batches(&workspace).is_empty());
    let batch = batches(&workspace).remove(0);
    wait_until("some are there", || told(&batch).len() >= 3);
    catbench(&workspace, &["jobs", "cancel", "2"]).assert().code(0);
    wait_until("it has stopped", || job_state(&workspace, 2) == JobState::Stopped);
    client.wait().unwrap();
    let before = told(&batch);
    assert!(before.len() < 40);
    catbench(&workspace, &["jobs", "retry", "2"]).assert().code(0);
    catbench(&workspace, &["wait", "2"]).assert().code(0);
    let after = told(&batch);
    assert_eq!(after[..before.len()], before[..]);
    assert_eq!((after.len(), after.iter().collect::<BTreeSet<_>>().len()), (40, 40));
}

#[test]
fn a_picture_in_the_trash_is_not_made_again() {
    let workspace = trained();
    let batch = batch_of(&workspace, &["--prompt", "a {concept}", "-n", "4", "--steps", "2", "--grid", "seed"]);
    let id = batch.file_name().unwrap().to_str().unwrap();
    let removed = format!("samples/{id}/002-seed-1.png");
    catbench(&workspace, &["concept", "remove-sample", "demo", &removed]).assert().code(0);
    let lost = batch.join("003-seed-2.png");
    let before = read(&lost).unwrap();
    std::fs::remove_file(&lost).unwrap();
    assert!(runner(&batch).wait().unwrap().success());
    assert_eq!(read(&lost).unwrap(), before, "what is lost is made again");
    assert!(!batch.join("002-seed-1.png").exists());
    catbench(&workspace, &["concept", "restore-sample", "demo", &removed]).assert().code(0);
    assert!(batch.join("002-seed-1.png").exists());
}

#[test]
fn pictures_are_told_by_number_and_sheets_have_a_legend() {
    let workspace = trained();
    let list = workspace.home().join("list.txt");
    write(&list, "a cup --steps {3|2|3}\n茶壺 --steps 2 --negative {dark|blurry}\n").unwrap();
    let args = ["sample", "demo", "--prompts", list.to_str().unwrap(), "-n", "1", "--grid", "seed,prompt"];
    let said = json(&workspace, &args);
    let names: Vec<&str> = said["pictures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| path.as_str().unwrap().rsplit('/').next().unwrap())
        .collect();
    assert_eq!(names, ["001-seed-0.png", "002-seed-0.png", "003-seed-0.png", "004-seed-0.png"]);
    let sheets = said["sheets"].as_array().unwrap();
    assert_eq!(sheets.len(), 4, "one of each number of steps, one of each negative prompt");
    let batch = Path::new(said["path"].as_str().unwrap());
    assert_eq!(std::fs::read_to_string(batch.join("grid.txt")).unwrap(), "prompt 2: 茶壺\n");
    let text = catbench::image::read_png_text(Path::new(sheets[3].as_str().unwrap())).unwrap();
    assert_eq!(text, [("Description".to_owned(), "prompt 2: 茶壺".to_owned())]);
}

#[test]
fn what_a_picture_becomes_does_not_depend_on_its_company() {
    let workspace = trained();
    let alike = ["--steps", "3", "--batch-size", "4", "-n", "4", "--seed", "1"];
    let one = batch_of(&workspace, &[&["--prompt", "a {concept}"], &alike[..]].concat());
    let other = batch_of(
        &workspace,
        &[
            &["--prompt", "a {concept} --guidance 3", "--prompt", "a {concept}", "--prompt", "a cup --strength 0.5"],
            &alike[..],
        ]
        .concat(),
    );
    for i in 0..4 {
        let mine = read_photo(&one.join(format!("{:03}-seed-{}.png", i + 1, i + 1))).unwrap();
        assert_eq!(mine, read_photo(&other.join(format!("{:03}-seed-{}.png", i + 5, i + 1))).unwrap());
    }
}

#[test]
fn on_any_number_of_threads_the_same_pictures_are_told_in_the_same_order() {
    let workspace = trained();
    let lines = ["--prompt", "a {concept} {1..10}", "--prompt", "a cup --steps {2|6}", "-n", "2", "--steps", "3"];
    let whole = batch_of(&workspace, &[&lines[..], &["--batch-size", "2"]].concat());
    let (expected, names) = (files(&whole), told(&whole));
    assert_eq!(names.len(), 24);
    // 12 batches: with 5 threads as many are made at once, with 7 one after the other.
    for threads in ["1", "2", "5", "7"] {
        let other = copy_of(&whole, &format!("20991231-235959-{threads}{threads}{threads}{threads}"));
        let mut command = runner_command(&other);
        assert!(command.env("RAYON_NUM_THREADS", threads).status().unwrap().success());
        assert_eq!(told(&other), names, "{threads} threads");
        assert!(files(&other) == expected, "{threads} threads");
    }
}

#[test]
fn strength_0_is_the_base_model_bit_for_bit() {
    let workspace = trained();
    let args = ["--seed=0", "--prompt", "a {concept} on grass", "-n", "3", "--steps", "3", "--guidance-scale", "5"];
    let without = batch_of(&workspace, &[&args[..], &["--untrained"]].concat());
    let zero = batch_of(&workspace, &[&args[..], &["--strength", "0"]].concat());
    let one = batch_of(&workspace, &args);
    for i in 0..3 {
        let name = format!("{:03}-seed-{i}.png", i + 1);
        let [without, zero, one] = [&without, &zero, &one].map(|batch| read_photo(&batch.join(&name)).unwrap());
        assert!(without == zero && without != one, "{name}");
    }
}

#[test]
fn another_concept_is_put_beside_this_one() {
    let workspace = trained();
    let copy =
        Command::new("cp").arg("-r").arg(workspace.concept()).arg(workspace.home().join("cup")).status().unwrap();
    assert!(copy.success());
    let toml = workspace.home().join("cup/concept.toml");
    write(&toml, std::fs::read_to_string(&toml).unwrap().replace("teapot", "cup")).unwrap();
    let args = ["--seed=0", "--prompt", "a {concept} beside a {cup}", "-n", "1", "--steps", "2"];
    let both = batch_of(&workspace, &[&args[..], &["--with", "cup=0.5"]].concat());
    let Provenance::Record(record) = read_provenance(&both.join("001-seed-0.png")).unwrap() else {
        panic!("no record")
    };
    let other = &record.concepts[0].concept;
    assert_eq!((other.name.as_str(), other.class_word.as_str(), other.strength), ("cup", "cup", 0.5));
    let none = batch_of(&workspace, &[&args[..], &["--with", "cup=0"]].concat());
    let [both, none] = [both, none].map(|batch| batch.join("001-seed-0.png"));
    assert_ne!(read_photo(&both).unwrap(), read_photo(&none).unwrap());
    assert_eq!(json(&workspace, &["replay", both.to_str().unwrap()])["same"], true);
    catbench(&workspace, &[&["sample", "demo"], &args[..]].concat())
        .assert()
        .code(1)
        .stderr(contains("{cup} stands for nothing"));
    catbench(&workspace, &["sample", "demo", "--with", "cup=x"]).assert().code(1).stderr(contains("cup=x"));
    // Of another run, checkpoint or file.
    let run = std::fs::read_dir(workspace.home().join("cup/runs")).unwrap().next().unwrap().unwrap().path();
    let id = run.file_name().unwrap().to_str().unwrap();
    let file = run.join("checkpoints/step-000002.safetensors");
    for (with, step) in [
        (format!("cup@{id}=0.5"), 4),
        (format!("cup@{id}:2"), 2),
        ("cup@latest:4=1".to_owned(), 4),
        (file.display().to_string(), 2),
    ] {
        let batch = batch_of(&workspace, &[&args[..], &["--with", &with]].concat());
        let Provenance::Record(record) = read_provenance(&batch.join("001-seed-0.png")).unwrap() else { panic!() };
        let used = &record.concepts[0].concept;
        assert_eq!(used.name, "cup");
        assert!(used.checkpoint.ends_with(format!("checkpoints/step-00000{step}.safetensors")), "{with}: {used:?}");
    }
    let refused = |with: &str, said: &str| {
        catbench(&workspace, &["sample", "demo", "--with", with]).assert().code(1).stderr(contains(said.to_owned()));
    };
    refused("cup@latest:3", "there is 2, 4");
    refused("cup@2001", "no run");
}

#[test]
fn a_grid_over_any_axes_is_shown_on_sheets() {
    let workspace = trained();
    let args = [
        "--prompt",
        "a {red|blue} {concept} --steps 2",
        "--strengths",
        "0,1",
        "--checkpoints",
        "2,4",
        "--seeds",
        "5,6",
    ];
    let out = workspace.home().join("out");
    let said = json(
        &workspace,
        &[&["sample", "demo", "--grid", "strength,prompt", "--out", out.to_str().unwrap()], &args[..]].concat(),
    );
    assert_eq!(said["pictures"].as_array().unwrap().len(), 16);
    let sheets = said["sheets"].as_array().unwrap();
    assert_eq!(sheets.len(), 4, "one for each seed and checkpoint: {sheets:?}");
    let first = read_photo(Path::new(sheets[0].as_str().unwrap())).unwrap();
    let Provenance::Record(record) = read_provenance(&out.join("001-seed-5.png")).unwrap() else { panic!("no record") };
    assert!(first.width() > 2 * record.width && first.height() > 2 * record.height);
    // Its first picture stands on it, pixel for pixel.
    let picture = read_photo(&out.join("001-seed-5.png")).unwrap();
    let stands = |x: u32, y: u32| {
        picture.enumerate_pixels().all(|(i, j, pixel)| first.get_pixel_checked(x + i, y + j) == Some(pixel))
    };
    assert!((0..first.height()).any(|y| (0..first.width()).any(|x| stands(x, y))));
    assert!(out.join("grid-004.png").is_file(), "sheets are copied too");
    assert!(record.checkpoint.unwrap().path.ends_with("checkpoints/step-000002.safetensors"));
    catbench(&workspace, &["sample", "demo", "--checkpoints", "3"]).assert().code(1).stderr(contains("there is 2, 4"));
    catbench(&workspace, &["sample", "demo", "--prompt", "a cup", "--grid", "colour"])
        .assert()
        .code(2)
        .stderr(contains("prompt, seed"));
    catbench(&workspace, &["sample", "demo", "--prompt", "a {1..65}", "--grid", "prompt,seed"])
        .assert()
        .code(1)
        .stderr(contains("65 values of prompt"));
}

#[test]
fn a_picture_of_every_kind_is_made_again_pixel_for_pixel() {
    let workspace = trained();
    let list = workspace.home().join("list.txt");
    let lines = "a {concept} --seed {3|18446744073709551615} --steps 2 --guidance {1|7.5} -n 1\n\
                 a {red|blue} {concept} --strength {0|0.7|2} --eta {0|0.5} --negative \"dark, blurry\" -n 1 --steps 3\n\
                 a {class} (on:1.1) grass -n 1 --steps 2\n\
                 a (big:1.3) {concept} --sampler {ddim|pndm|euler|euler_ancestral|dpmpp_2m|unipc} -n 1 --steps 4\n\
                 a {concept} --sampler {euler|dpmpp_2m|unipc} --karras -n 1 --steps 4\n";
    write(&list, lines).unwrap();
    let list = ["--prompts", list.to_str().unwrap(), "--batch-size", "3"];
    let batch = batch_of(&workspace, &list);
    let torch = batch_of(&workspace, &[&list[..], &["--noise", "torch", "--concept-steps", "0.2,0.8"]].concat());
    let mut all = told(&batch);
    all.sort();
    assert_eq!(all.len(), 4 + 12 + 1 + 6 + 3);
    let embedding = fixture("embeddings/diffusers.bin");
    let embedding = ["--embedding", embedding.to_str().unwrap(), "-n", "1", "--steps", "2", "--seed", "0"];
    let embedding = [&["--prompt", "a <cat-toy>"], &embedding[..]].concat();
    let with = batch_of(&workspace, &[&embedding[..], &["--untrained"]].concat());
    let way = |seed: &str| {
        let args = ["train", "demo", "--steps", "2", "--sample-every", "2", "--validate-every", "0", "--seed", seed];
        catbench(&workspace, &args).assert().code(0);
    };
    way("5");
    let run =
        std::fs::read_dir(workspace.concept().join("runs")).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    // Every sampler, each in its batch; of all else some.
    let mut some: Vec<PathBuf> = [0, 2, 5, 10, 15].map(|i| batch.join(&all[i])).into();
    some.extend(all[16..].iter().map(|path| batch.join(path)));
    some.extend([3, 16, 19].map(|i| torch.join(&all[i])));
    let others = [with.join("001-seed-0.png"), run.join("samples/step-000002-seed-5.png")];
    for picture in some.iter().chain(&others) {
        let again = workspace.home().join("again.png");
        let args = ["replay", picture.to_str().unwrap(), "--out", again.to_str().unwrap()];
        let said = json(&workspace, &args);
        assert_eq!(said["same"], true, "{}: {said}", picture.display());
        assert_eq!(read_photo(&again).unwrap(), read_photo(picture).unwrap());
    }
}
