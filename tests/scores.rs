//! Scores on demand, masks, sweeps and protocols by the command line on a tiny base model.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs::{create_dir_all, write};
use std::path::{Path, PathBuf};

use assert_cmd::assert::OutputAssertExt;
use catbench::image::{read_png_text, write_png};
use common::{Workspace, catbench, fixture};
use image::{GrayImage, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use predicates::boolean::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

/// A concept that can really be trained, judged by CLIP and DINO.
fn workspace() -> Workspace {
    let workspace = Workspace::with_models();
    let path = workspace.concept().join("concept.toml");
    let toml = std::fs::read_to_string(&path).unwrap();
    write(&path, format!("{toml}dino_model = \"{}\"\n", fixture("tiny_dino").display())).unwrap();
    write(workspace.concept().join("prompts/demo.txt"), "a {concept}\n{concept}\n").unwrap();
    workspace
}

/// Train 20 steps with two checkpoints, and the run's id.
fn train(workspace: &Workspace) -> String {
    let quick = ["train", "demo", "--sample-every", "0", "--validate-every", "0", "--batch-size", "1", "--json"];
    let output = catbench(workspace, &[&quick[..], &["--steps", "20", "--checkpoint-every", "10"]].concat()).output();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    Path::new(last["path"].as_str().unwrap()).file_name().unwrap().to_str().unwrap().to_owned()
}

/// What a command prints, which must succeed.
fn output(workspace: &Workspace, args: &[&str]) -> String {
    let output = catbench(workspace, args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn table(workspace: &Workspace, args: &[&str]) -> Value {
    serde_json::from_str(&output(workspace, &[args, &["--format", "json"]].concat())).unwrap()
}

/// A sample that says its prompt, with a mask beside it where one is given.
fn sample(folder: &Path, name: &str, prompt: Option<&str>, mask: Option<GrayImage>) -> PathBuf {
    let picture = RgbImage::from_fn(48, 48, |x, y| Rgb([(x * 5) as u8, (y * 5) as u8, 90]));
    let path = folder.join(name);
    let text: Vec<_> = prompt.iter().map(|prompt| ("prompt", *prompt)).collect();
    write_png(&path, &picture, &text).unwrap();
    if let Some(mask) = mask {
        create_dir_all(folder.join("masks")).unwrap();
        write_png(&folder.join("masks").join(name), &mask, &[]).unwrap();
    }
    path
}

#[test]
fn samples_that_are_there_are_scored_and_odd_masks_are_named() {
    let workspace = workspace();
    let folder = tempfile::tempdir().unwrap();
    let disc = GrayImage::from_fn(48, 48, |x, y| Luma([if x.abs_diff(20) + y.abs_diff(25) < 12 { 255 } else { 0 }]));
    let good = sample(folder.path(), "good.png", Some("a {concept} on grass"), Some(disc));
    let empty = sample(folder.path(), "empty.png", Some("a {concept}"), Some(GrayImage::new(48, 48)));
    let full = sample(folder.path(), "full.png", Some("a {concept}"), Some(GrayImage::from_pixel(48, 48, Luma([255]))));
    let bare = sample(folder.path(), "bare.png", Some("a {concept}"), None);
    let files = [&good, &empty, &full, &bare].map(|path| path.to_str().unwrap());
    let args = [&["score", "demo", "--fill", "grey", "--crop", "mask-box", "--sample"], &files[..]].concat();
    catbench(&workspace, &args).assert().code(0).stderr(
        contains("1 sample has no mask")
            .and(contains("1 sample has an empty mask and is scored as all fill: \"a teapot\""))
            .and(contains("1 sample has a mask that marks everything")),
    );
    let table = table(&workspace, &args);
    let row = &table["rows"][0];
    for score in ["masked_clip_i", "clip_i", "clip_t", "balance", "masked_dino", "dino"] {
        assert_eq!(row[score]["n"], 4, "{score}: {row}");
    }
    let notes = table["notes"].to_string();
    for said in ["fill grey, crop mask_box", "sha256", "1 samples have no mask", "1 samples have an empty mask", "DINO"]
    {
        assert!(notes.contains(said), "{said}: {notes}");
    }
    assert!(workspace.home().join(".catbench/embeddings").read_dir().unwrap().count() == 2, "one file a model");

    let cases: [(Option<&str>, Option<GrayImage>, &str); 2] = [
        (None, None, "does not say its prompt: say it with --prompt"),
        (Some("a {concept}"), Some(GrayImage::from_pixel(40, 48, Luma([255]))), "is 40 x 48 pixels"),
    ];
    for (i, (prompt, mask, said)) in cases.into_iter().enumerate() {
        let path = sample(folder.path(), &format!("bad{i}.png"), prompt, mask);
        let args = ["score", "demo", "--sample", path.to_str().unwrap()];
        catbench(&workspace, &args).assert().code(1).stderr(contains(said));
    }
    let coloured = sample(folder.path(), "coloured.png", Some("a {concept}"), None);
    RgbImage::from_pixel(48, 48, Rgb([255, 0, 0])).save(folder.path().join("masks/coloured.png")).unwrap();
    let args = ["score", "demo", "--sample", coloured.to_str().unwrap()];
    catbench(&workspace, &args).assert().code(1).stderr(contains("coloured.png has colours"));
    catbench(&workspace, &["score", "demo", "--sample", "/nowhere.png"])
        .assert()
        .code(1)
        .stderr(contains("/nowhere.png"));
}

#[test]
fn a_run_its_checkpoints_and_several_runs_are_scored_in_every_form() {
    let workspace = workspace();
    let (first, second) = (train(&workspace), train(&workspace));
    catbench(&workspace, &["score", "demo", "--last"]).assert().code(1).stderr(contains("has not been scored"));

    let curve = table(&workspace, &["score", "demo", "--run", &first, "-n", "2", "--checkpoints"]);
    let steps: Vec<_> = curve["rows"].as_array().unwrap().iter().map(|row| row["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["0", "10", "20"]);
    assert!(curve["notes"][0].as_str().unwrap().starts_with("best checkpoint by balance: step "), "{curve}");

    for run in [&first, &second] {
        let csv = output(&workspace, &["score", "demo", "--run", run, "-n", "2", "--format", "csv"]);
        assert!(
            csv.starts_with("step,concept,masked_clip_i,masked_clip_i_low,masked_clip_i_high,masked_clip_i_n,"),
            "{csv}"
        );
        assert_eq!(csv.lines().count(), 3, "untrained and learned: {csv}");
    }
    let latex = output(&workspace, &["score", "demo", "--run", &first, "--last", "--format", "latex"]);
    assert!(latex.contains("\\begin{tabular}"), "{latex}");
    let both = table(&workspace, &["score", "demo", "--compare", &first, &second]);
    let difference = &both["rows"][1]["balance_difference"];
    // The same training with the same seed gives the same pictures.
    assert_eq!((difference["value"].as_f64(), difference["low"].as_f64()), (Some(0.0), Some(0.0)), "{both}");
    assert!(both["rows"][0]["balance_difference"].is_null() && both["rows"][0]["run"] == first.as_str());

    output(&workspace, &["sample", "demo", "--run", &first, "--prompt", "a {concept} in the snow", "-n", "2"]);
    let batch = table(&workspace, &["score", "demo", "--batch", "latest"]);
    assert_eq!((&batch["rows"][0]["clip_t"]["n"], &batch["rows"][0]["concept"]), (&2.into(), &"learned".into()));
}

#[test]
fn masks_come_from_a_folder_from_transparency_and_from_attention_and_say_so() {
    let workspace = workspace();
    let masks = workspace.concept().join("masks");
    std::fs::rename(&masks, workspace.home().join("elsewhere")).unwrap();
    let elsewhere = workspace.home().join("elsewhere");
    let photo = |name: &str| workspace.concept().join("images").join(name);
    std::fs::remove_file(elsewhere.join("snow.png")).unwrap();
    GrayImage::new(10, 10).save(elsewhere.join("table.png")).unwrap();
    std::fs::rename(elsewhere.join("night.png"), elsewhere.join("nights.png")).unwrap();
    write(elsewhere.join("notes.txt"), "x").unwrap();

    let args = ["mask", "import", "demo", elsewhere.to_str().unwrap(), "--json"];
    let report: Value = serde_json::from_str(&output(&workspace, &args)).unwrap();
    assert_eq!(report["imported"], serde_json::json!(["beach.png", "grass.png"]));
    assert_eq!(report["without_photo"], serde_json::json!(["nights.png"]));
    assert_eq!(report["without_mask"], serde_json::json!(["night.png", "snow.png", "table.png"]));
    let refused = report["refused"].to_string();
    assert!(refused.contains("not a PNG") && refused.contains("10 x 10 pixels, its photo 64 x 64"), "{refused}");
    let said = |name: &str| read_png_text(&masks.join(name)).unwrap();
    assert_eq!(said("beach.png")[0], ("mask_made_by".into(), "import".into()));
    let again: Value = serde_json::from_str(&output(&workspace, &args)).unwrap();
    assert_eq!((again["kept"].as_array().unwrap().len(), again["imported"].as_array().unwrap().len()), (2, 0));

    let cut_out = RgbaImage::from_fn(64, 64, |x, _| Rgba([200, 10, 10, if x < 30 { 255 } else { 0 }]));
    cut_out.save(photo("night.png")).unwrap();
    output(&workspace, &["mask", "import", "demo", "--alpha"]);
    let mask = image::open(masks.join("night.png")).unwrap().into_luma8();
    assert_eq!((mask.get_pixel(3, 3).0, mask.get_pixel(40, 3).0), ([255], [0]));

    let problems = output(&workspace, &["mask", "check", "demo"]);
    assert!(
        problems.contains("snow.png: it has no mask") && problems.contains("table.png: it has no mask"),
        "{problems}"
    );
    let make = ["mask", "make", "demo", "--timesteps", "200,400", "--draws", "1"];
    let needs = output(&workspace, &[&make[..], &["--dry-run"]].concat());
    for text in
        ["loads       vae: ", "masks       2 pictures, 2 looks at each", "memory      about ", "time        about "]
    {
        assert!(needs.contains(text), "{text} is not in {needs}");
    }
    assert!(!masks.join("snow.png").exists() && !workspace.concept().join("jobs").exists(), "a dry run did something");
    let made = output(&workspace, &make);
    assert_eq!(made.lines().count(), 2, "only those that had none: {made}");
    let text = said("snow.png");
    for (key, value) in [("mask_made_by", "attention"), ("caption", "a photo of a teapot"), ("timesteps", "200, 400")] {
        assert!(text.contains(&(key.into(), value.into())), "{text:?}");
    }
    assert_eq!(image::open(masks.join("snow.png")).unwrap().into_luma8().dimensions(), (64, 64));
    assert!(output(&workspace, &["mask", "check", "demo"]).contains("every picture has a mask that fits"));
    catbench(&workspace, &["mask", "make", "demo"]).assert().code(1).stderr(contains("every photo has a mask"));
    let late = ["mask", "make", "demo", "--replace", "--timesteps", "5000"];
    catbench(&workspace, &late).assert().code(1).stderr(contains("timesteps are 0 to 999"));

    GrayImage::new(64, 64).save(masks.join("grass.png")).unwrap();
    catbench(&workspace, &["mask", "check", "demo"]).assert().code(1).stdout(contains("marks nothing"));
}

#[test]
fn a_sweep_trains_each_setting_once_and_can_be_asked_for_again() {
    let workspace = workspace();
    let args = [
        "sweep",
        "demo",
        "--grid",
        "layers=0,0+1",
        "--grid",
        "strength=1,0.5",
        "--set",
        "steps=10",
        "--set",
        "batch_size=1",
        "--sample-steps",
        "5",
        "-n",
        "1",
    ];
    let detached = [&args[..], &["--detach"]].concat();
    let said =
        contains("6 jobs are queued").and(contains("2 trainings, 4 scorings")).and(contains("loads       unet: "));
    catbench(&workspace, &detached).assert().code(0).stderr(said.and(contains("memory      about ")));
    let first = table(&workspace, &args);
    let rows = first["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 5, "untrained and four cells: {first}");
    assert_eq!(
        (&rows[0]["layers"], &rows[2]["layers"], &rows[2]["strength"]),
        (&"untrained".into(), &"0".into(), &"0.5".into())
    );
    assert!(rows[1..].iter().all(|row| row["masked_clip_i_difference"]["n"] == 2), "{first}");
    assert!(first["notes"][0].as_str().unwrap().starts_with("best by masked CLIP-I: "));
    let runs = || std::fs::read_dir(workspace.concept().join("runs")).unwrap().count();
    assert_eq!(runs(), 2, "strength is no matter of training");
    assert_eq!(table(&workspace, &args), first, "nothing is done again");
    assert_eq!(runs(), 2);
    for (grid, said) in [("colour=1", "colour=1: "), ("n", "as in n=1,2"), ("n=0", "prefix_length")] {
        catbench(&workspace, &["sweep", "demo", "--grid", grid]).assert().code(1).stderr(contains(said));
    }
    let failed = ["sweep", "demo", "--grid", "layers=9", "--set", "steps=10"];
    catbench(&workspace, &failed).assert().code(1).stderr(contains("layers = 9: ").and(contains("layers 0 to 4")));
    assert_eq!(runs(), 2, "what cannot be trained is refused before anything is queued");
}

#[test]
fn a_protocol_makes_its_subjects_and_one_table_of_them() {
    let workspace = workspace();
    let concept = workspace.concept();
    let protocol = workspace.home().join("protocol.toml");
    for subject in ["cup", "pot"] {
        let folder = workspace.home().join("photos").join(subject);
        create_dir_all(folder.join("masks")).unwrap();
        for kind in ["images", "masks"] {
            for name in ["beach.png", "snow.png"] {
                create_dir_all(folder.join(kind)).unwrap();
                std::fs::copy(concept.join(kind).join(name), folder.join(kind).join(name)).unwrap();
            }
        }
    }
    let text = |prompts: &str| {
        format!(
            "name = \"tiny\"\nimages = \"photos/{{subject}}/images\"\nmasks = \"photos/{{subject}}/masks\"\n\
             base_model = \"{}\"\nscore_model = \"{}\"\n\
             [train]\nsteps = 10\nbatch_size = 1\nsample_every = 0\nvalidate_every = 0\n\
             [sample]\nimages_per_prompt = 2\nsteps = 4\n\
             [prompts]\nplain = [\"a {{concept}}\", \"{{concept}}\"]\n\
             [[subject]]\nname = \"cup\"\nclass = \"teapot\"\nprompts = \"{prompts}\"\n\
             [[subject]]\nname = \"pot\"\nclass = \"teapot\"\nprompts = \"plain\"\n",
            fixture("tiny_sd1").display(),
            fixture("tiny_clip").display(),
        )
    };
    write(&protocol, text("fancy")).unwrap();
    let path = protocol.to_str().unwrap();
    catbench(&workspace, &["bench", path]).assert().code(1).stderr(contains("cup has no prompts \"fancy\""));
    write(&protocol, text("plain")).unwrap();
    let found = table(&workspace, &["bench", path]);
    let rows = found["rows"].as_array().unwrap();
    let names: Vec<_> =
        rows.iter().map(|row| (row["subject"].as_str().unwrap(), row["concept"].as_str().unwrap())).collect();
    let sides = |name| [(name, "untrained"), (name, "learned"), (name, "Δ")];
    assert_eq!(names, [sides("cup"), sides("pot"), sides("all")].concat());
    assert_eq!((&rows[0]["clip_t"]["n"], &rows[8]["clip_t"]["n"]), (&4.into(), &8.into()));
    let value = |row: usize| rows[row]["masked_clip_i"]["value"].as_f64().unwrap();
    assert!((value(6) - f64::midpoint(value(0), value(3))).abs() < 1e-9);
    assert!((value(8) - (value(7) - value(6))).abs() < 1e-9, "{found}");
    assert!(workspace.home().join("tiny-cup/concept.toml").is_file());
    assert_eq!(table(&workspace, &["bench", path]), found, "nothing is done again");
}

#[test]
fn the_protocols_of_the_repository_can_be_read() {
    let workspace = Workspace::new();
    let protocols = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocols");
    // Read whole and found right: what is missing is the next thing, the photos or the model.
    let dreambooth = protocols.join("dreambooth.toml");
    catbench(&workspace, &["bench", dreambooth.to_str().unwrap()])
        .assert()
        .code(1)
        .stderr(contains("give --base-model"));
    let text = std::fs::read_to_string(dreambooth).unwrap();
    assert_eq!((text.matches("[[subject]]").count(), text.matches("{concept}").count()), (30, 50));
    let demo = protocols.join("demo.toml");
    catbench(&workspace, &["bench", demo.to_str().unwrap(), "--only", "nothing"])
        .assert()
        .code(1)
        .stderr(contains("has no subject \"nothing\""));
}

#[test]
fn attention_masks_of_the_demo_photos_lie_on_the_exact_ones() {
    let workspace = Workspace::new();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("workspaces/demo");
    workspace.use_base_model(&demo.join("base_model"));
    let concept = workspace.concept();
    for folder in ["images", "masks"] {
        std::fs::remove_dir_all(concept.join(folder)).unwrap();
        create_dir_all(concept.join(folder)).unwrap();
    }
    let names: Vec<_> =
        std::fs::read_dir(demo.join("images")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    for name in &names {
        std::fs::copy(demo.join("images").join(name), concept.join("images").join(name)).unwrap();
    }
    output(&workspace, &["mask", "make", "demo"]);
    let overlap = |name| {
        let read = |folder: &Path| image::open(folder.join("masks").join(name)).unwrap().into_luma8();
        let (found, exact) = (read(&concept), read(&demo));
        let count = |both: fn(bool, bool) -> bool| {
            found.iter().zip(exact.iter()).filter(|(a, b)| both(**a >= 128, **b >= 128)).count() as f64
        };
        count(|a, b| a && b) / count(|a, b| a || b)
    };
    let mean = names.iter().map(overlap).sum::<f64>() / names.len() as f64;
    assert!(mean >= 0.6, "the mean overlap is {mean}");
}

#[test]
fn a_scoring_says_first_what_it_needs() {
    let workspace = workspace();
    let run = train(&workspace);
    let dry = |more: &[&str]| output(&workspace, &[&["score", "demo", "--dry-run", "-n", "3"], more].concat());
    let both = dry(&[]);
    for text in
        ["loads       unet: ", "loads       score_model: ", "loads       dino_model: ", "2 × 6 sampled pictures"]
    {
        assert!(both.contains(text), "{text} is not in {both}");
    }
    assert!(both.contains("memory      about ") && both.contains("time        about "), "{both}");
    assert!(
        dry(&["--checkpoints"]).contains("3 × 6 sampled pictures against 5 photos"),
        "the start and two checkpoints"
    );
    let picture = sample(workspace.home(), "one.png", Some("a teapot"), None);
    let there = dry(&["--sample", picture.to_str().unwrap()]);
    assert!(there.contains("1 pictures against 5 photos") && !there.contains("unet: "), "{there}");
    let json: Value = serde_json::from_str(&dry(&["--json"])).unwrap();
    assert!(json["estimate"]["time"]["total_seconds"].as_f64() > Some(0.0) && json["photos"].is_null(), "{json}");
    let folder = workspace.concept().join("runs").join(run);
    assert!(
        !folder.join("evaluation").exists() && !workspace.concept().join("jobs").exists(),
        "a dry run did something"
    );
}
