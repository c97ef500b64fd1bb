//! Scores on demand, masks, sweeps and protocols by the command line on a tiny base model.

use std::fs::{create_dir_all, write};
use std::path::{Path, PathBuf};

use crate::common::{self, Workspace, catbench, fixture};
use assert_cmd::assert::OutputAssertExt;
use catbench::image::{read_png_text, write_png};
use catbench::method::catversion::{Init, Settings};
use catbench::protocol::TrainConfig;
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
            .and(contains("1 sample has an empty mask and its masked scores are 0: \"a teapot\""))
            .and(contains("1 sample has a mask that marks everything")),
    );
    let table = table(&workspace, &args);
    let row = &table["rows"][0];
    for score in ["masked_clip_i", "clip_i", "clip_t", "balance", "masked_dino", "dino"] {
        assert_eq!(row[score]["n"], 4, "{score}: {row}");
    }
    let notes = table["notes"].to_string();
    let few = "no intervals: there are fewer than 3 prompts; n = 4 samples";
    for said in
        ["fill grey, crop mask_box", "sha256", "1 sample has no mask", "1 sample has an empty mask", "DINO", few]
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
    let line = GrayImage::from_fn(48, 48, |x, _| Luma([if x / 2 == 9 { 255 } else { 0 }]));
    let thin = sample(folder.path(), "thin.png", Some("a {concept}"), Some(line));
    let table = self::table(&workspace, &["score", "demo", "--sample", thin.to_str().unwrap()]);
    assert!(table["notes"].to_string().contains("1 mask is too thin to be shrunk"), "{table}");
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
fn doubtful_masks_are_named_and_the_scores_without_them_stand_beside() {
    let workspace = workspace();
    let folder = tempfile::tempdir().unwrap();
    let says = |path: &Path, confidence: &str| {
        let pixels = image::open(path).unwrap().into_luma8();
        write_png(path, &pixels, &[("mask_made_by", "base_model"), ("confidence", confidence)]).unwrap();
    };
    let made = |name: &str, radius: u32, confidence: &str| {
        let disc = |x: u32, y: u32| x.abs_diff(20) + y.abs_diff(25) < radius;
        let disc = GrayImage::from_fn(48, 48, |x, y| Luma([if disc(x, y) { 255 } else { 0 }]));
        let path = sample(folder.path(), name, Some("a {concept} on grass"), Some(disc));
        says(&folder.path().join("masks").join(name), confidence);
        path.to_str().unwrap().to_owned()
    };
    let files = [made("a.png", 12, "0.9"), made("b.png", 9, "0.5"), made("c.png", 14, "0.4"), made("d.png", 7, "0.1")];
    says(&workspace.concept().join("masks/grass.png"), "0.3");
    let args = [&["score", "demo", "--sample"], &files.each_ref().map(String::as_str)[..]].concat();
    let named = contains("2 samples, each has a doubtful mask: \"a teapot on grass\", ");
    catbench(&workspace, &args).assert().code(0).stderr(
        named
            .and(contains("; the scores without such samples stand beside"))
            .and(contains("1 photo has a doubtful mask: grass.png; correct it by hand")),
    );
    let found = table(&workspace, &args);
    let row = &found["rows"][0];
    assert_eq!((&row["samples_doubtful"], &row["mask_makers"]), (&2.into(), &"base_model".into()), "{row}");
    assert_eq!((&row["masked_clip_i"]["n"], &row["masked_clip_i_without_doubtful"]["n"]), (&4.into(), &2.into()));
    let ends = ["grown", "shrunk"].map(|end| row["mask_dependence"][end].as_f64().unwrap());
    assert!((ends[0] - ends[1]).abs() > 1e-9 && row["dino_mask_dependence"]["grown"].is_f64(), "{row}");
    let notes = found["notes"].to_string();
    for said in [
        "2 samples have a doubtful mask: its confidence is below 0.5",
        "1 photo has a doubtful mask, on which all masked scores rest",
        "masks ±5 %: masked scores with all masks, of samples and photos, grown and shrunk by 5 % of their box",
        "masks of samples made by: base_model",
    ] {
        assert!(notes.contains(said), "{said}: {notes}");
    }
    let text = output(&workspace, &args);
    for said in ["masks ±5 %", " .. ", "doubtful", "masked CLIP-I without"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let latex = output(&workspace, &[&args[..], &["--format", "latex"]].concat());
    assert!(latex.contains("$ .. $") && latex.contains("masks ±5 \\%"), "{latex}");
}

#[test]
fn a_run_its_checkpoints_and_several_runs_are_scored_in_every_form() {
    let workspace = workspace();
    let (first, second) = (train(&workspace), train(&workspace));
    catbench(&workspace, &["score", "demo", "--last"]).assert().code(1).stderr(contains("has not been scored"));

    let curve = table(&workspace, &["score", "demo", "--run", &first, "-n", "2", "--checkpoints"]);
    let steps: Vec<_> = curve["rows"].as_array().unwrap().iter().map(|row| row["step"].as_u64()).collect();
    assert_eq!(steps, [Some(0), Some(10), Some(20), None], "the photos last");
    assert_eq!(curve["rows"][3]["concept"], "photos");
    let few = "no best one is named: it takes 6 prompts or more";
    assert!(curve["notes"][0].as_str().unwrap().starts_with(few), "{curve}");

    for run in [&first, &second] {
        let csv = output(&workspace, &["score", "demo", "--run", run, "-n", "2", "--format", "csv"]);
        assert!(
            csv.starts_with("step,concept,masked_clip_i,masked_clip_i_low,masked_clip_i_high,masked_clip_i_n,"),
            "{csv}"
        );
        assert_eq!(csv.lines().count(), 4, "untrained, learned, photos: {csv}");
        let header = csv.lines().next().unwrap();
        assert!(
            header.ends_with(",fill,crop,mask_makers,judge,balance_text,interval_over")
                && csv.contains(",black,whole,"),
            "{csv}"
        );
        assert!(header.contains(",mask_dependence_grown,mask_dependence_shrunk,dino_mask_dependence_grown,"), "{csv}");
    }
    // Whoever follows the run is told every score, those of DINO too.
    let followed = common::json(&workspace, &["watch", "demo", "--run", &first]);
    for score in ["masked_clip_i", "clip_i", "clip_t", "balance", "masked_dino", "dino"] {
        for side in ["before", "after", "photos"] {
            assert!(followed["scores"][side][score]["value"].is_f64(), "{side} {score}: {followed}");
        }
    }
    let shown = output(&workspace, &["watch", "demo", "--run", &first]);
    assert!(shown.contains("\nmasked DINO") && shown.contains("\nDINO  "), "{shown}");
    let again = ["score", "demo", "--run", &first, "--last", "--checkpoints"];
    assert_eq!(table(&workspace, &again), curve, "the recorded table again");
    assert!(output(&workspace, &[&again[..], &["--format", "markdown"]].concat()).starts_with("| step | concept |"));
    let unscored = ["score", "demo", "--run", &second, "--last", "--checkpoints"];
    catbench(&workspace, &unscored).assert().code(1).stderr(contains("have not been scored"));
    let latex = output(&workspace, &["score", "demo", "--run", &first, "--last", "--format", "latex"]);
    assert!(latex.contains("\\begin{tabular}"), "{latex}");
    let both = table(&workspace, &["score", "demo", "--compare", &first, &second]);
    let difference = &both["rows"][1]["balance_difference"];
    // The same training with the same seed gives the same pictures.
    assert_eq!((difference["value"].as_f64(), &difference["low"]), (Some(0.0), &Value::Null), "of 2 prompts: {both}");
    assert!(both["notes"].to_string().contains("the numbers speak of these two checkpoints"), "{both}");
    assert!(both["rows"][0]["balance_difference"].is_null() && both["rows"][0]["run"] == first.as_str());

    output(&workspace, &["sample", "demo", "--run", &first, "--prompt", "a {concept} in the snow", "-n", "2"]);
    let batch = table(&workspace, &["score", "demo", "--batch", "latest"]);
    assert_eq!((&batch["rows"][0]["clip_t"]["n"], &batch["rows"][0]["concept"]), (&2.into(), &"learned".into()));

    // Pictures of two checkpoints and two strengths are not one thing.
    let sampled = |more: &[&str]| {
        let args = ["sample", "demo", "--prompt", "a {concept}", "-n", "1"];
        output(&workspace, &[&args[..], more].concat());
        let batches = std::fs::read_dir(workspace.concept().join("samples")).unwrap();
        let newest = batches.map(|entry| entry.unwrap().path()).max().unwrap();
        let is_png = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "png");
        let mut pictures: Vec<PathBuf> = std::fs::read_dir(newest).unwrap().map(|e| e.unwrap().path()).collect();
        pictures.retain(is_png);
        pictures.pop().unwrap()
    };
    let made =
        [sampled(&["--run", &first]), sampled(&["--run", &first, "--strength", "0.5"]), sampled(&["--untrained"])];
    let mut args = vec!["score", "demo", "--sample"];
    args.extend(made.iter().map(|path| path.to_str().unwrap()));
    let apart = table(&workspace, &args);
    let of_batch = |more: &[&str]| {
        let args = ["sample", "demo", "--run", &first, "--prompt", "a {concept}", "-n", "1", "--steps", "2"];
        output(&workspace, &[&args[..], more].concat());
        table(&workspace, &["score", "demo", "--batch", "latest"])
    };
    let scales = of_batch(&["--guidance-scales", "2,5"]);
    let said: Vec<_> = scales["rows"].as_array().unwrap().iter().map(|row| row["guidance"].as_str()).collect();
    assert_eq!(said, [Some("2.0"), Some("5.0"), None], "pictures sampled otherwise are lines of their own: {scales}");
    let (photos, rows) = apart["rows"].as_array().unwrap().split_last().unwrap();
    assert_eq!(photos["concept"], "photos");
    let what: Vec<_> = rows.iter().map(|row| (row["step"].as_u64(), row["strength"].as_str())).collect();
    assert_eq!(what, [(Some(0), None), (Some(20), Some("1")), (Some(20), Some("0.5"))], "{apart}");
    assert!(rows.iter().all(|row| row["clip_t"]["n"] == 1), "{apart}");
}

#[test]
fn masks_of_samples_are_cleaned_and_say_how_they_were_made() {
    let workspace = workspace();
    let list = workspace.home().join("list.txt");
    write(&list, "a {concept} on grass\na teapot at night\nsnow\n").unwrap();
    let args = ["sample", "demo", "--untrained", "--prompts", list.to_str().unwrap(), "-n", "1", "--steps", "3"];
    output(&workspace, &args);
    let batches = std::fs::read_dir(workspace.concept().join("samples")).unwrap();
    let batch = batches.map(|entry| entry.unwrap().path()).next().unwrap();
    let mut pictures: Vec<PathBuf> = std::fs::read_dir(&batch).unwrap().map(|entry| entry.unwrap().path()).collect();
    pictures.retain(|path| path.extension().is_some_and(|extension| extension == "png"));
    pictures.sort();
    assert_eq!(pictures.len(), 3);
    let mask = |picture: &Path| batch.join("masks").join(picture.file_name().unwrap());
    for picture in &pictures {
        let said = read_png_text(&mask(picture)).unwrap();
        let value = |key: &str| said.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let expected = [
            ("mask_made_by", "base_model"),
            ("caption", "a photo of a teapot"),
            ("threshold", "otsu"),
            ("smallest_part", "0.1"),
            ("timesteps", "100, 200, 400"),
        ];
        for (key, expected) in expected {
            assert_eq!(value(key), Some(expected), "{said:?}");
        }
        assert!((0.0..=1.0).contains(&value("confidence").unwrap().parse::<f64>().unwrap()), "{said:?}");
        assert!(value("tokens").is_some_and(|tokens| !tokens.is_empty()) && value("base_model").unwrap().len() == 64);
        let pixels = image::open(mask(picture)).unwrap().into_luma8();
        assert_eq!(catbench::image::clean_parts_and_holes(&pixels, 0.1, 0.01), pixels, "no crumbs");
    }
    // The mask follows from the picture alone: made again from the file it is the same, whatever the picture was made with.
    let read = || pictures.iter().map(|picture| std::fs::read(mask(picture)).unwrap()).collect::<Vec<_>>();
    let before = read();
    output(&workspace, &["mask", "make", "demo", "--batch", "latest", "--replace", "--mask-quality", "fast"]);
    assert_eq!(read(), before);
    std::fs::remove_file(mask(&pictures[2])).unwrap();
    let scored = table(&workspace, &["score", "demo", "--batch", "latest"]);
    assert!(scored["notes"].to_string().contains("1 sample has no mask and counts whole"), "{scored}");
    assert!(!scored["notes"].to_string().contains("empty mask"), "{scored}");
    let checked = output(&workspace, &["mask", "check", "demo"]);
    let name = pictures[2].file_name().unwrap().to_str().unwrap();
    assert!(checked.contains(&format!("{name}: it has no mask")), "{checked}");
    let made = output(&workspace, &["mask", "make", "demo", "--batch", "latest", "--timesteps", "300", "--draws", "1"]);
    assert!(made.lines().all(|line| line.contains(name)), "only for the one that has none: {made}");
}

#[test]
fn masks_come_from_a_folder_from_transparency_and_from_the_base_model_and_say_so() {
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
    let value = |name: &str, key: &str| said(name).into_iter().find(|(known, _)| known == key).map(|(_, value)| value);
    assert_eq!(value("beach.png", "source_sha256").unwrap().len(), 64);
    // What the source says of itself is kept.
    let pixels = image::open(elsewhere.join("beach.png")).unwrap().into_luma8();
    write_png(&elsewhere.join("beach.png"), &pixels, &[("mask_made_by", "attention"), ("threshold", "otsu")]).unwrap();
    let replaced = ["mask", "import", "demo", elsewhere.to_str().unwrap(), "--replace"];
    output(&workspace, &replaced);
    assert_eq!(value("beach.png", "mask_made_by").as_deref(), Some("attention"));
    assert_eq!(value("beach.png", "threshold").as_deref(), Some("otsu"));
    assert!(value("beach.png", "source").unwrap().ends_with("elsewhere/beach.png"));
    let (images, from) = (workspace.concept().join("images"), elsewhere.to_str().unwrap());
    let new = ["concept", "new", "other", "--class", "teapot", "--images", images.to_str().unwrap(), "--masks", from];
    std::fs::remove_file(elsewhere.join("table.png")).unwrap();
    output(&workspace, &[&new[..], &["--base-model", fixture("tiny_sd1").to_str().unwrap()]].concat());
    let text = read_png_text(&workspace.home().join("other/masks/beach.png")).unwrap();
    assert!(text.contains(&("mask_made_by".into(), "attention".into())), "{text:?}");
    assert!(text.iter().any(|(key, _)| key == "source_sha256"), "{text:?}");
    GrayImage::new(10, 10).save(elsewhere.join("table.png")).unwrap();
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
    for (key, value) in [("mask_made_by", "base_model"), ("caption", "a photo of a teapot"), ("timesteps", "200, 400")]
    {
        assert!(text.contains(&(key.into(), value.into())), "{text:?}");
    }
    assert_eq!(image::open(masks.join("snow.png")).unwrap().into_luma8().dimensions(), (64, 64));
    assert!(!output(&workspace, &["mask", "check", "demo"]).contains("it has no mask"));
    catbench(&workspace, &["mask", "make", "demo"]).assert().code(1).stderr(contains("every photo has a mask"));
    let late = ["mask", "make", "demo", "--replace", "--timesteps", "5000"];
    catbench(&workspace, &late).assert().code(1).stderr(contains("timesteps are 0 to 999"));

    GrayImage::new(64, 64).save(masks.join("grass.png")).unwrap();
    catbench(&workspace, &["mask", "check", "demo"]).assert().code(1).stdout(contains("marks nothing"));
}

/// A sweep over this grid of short trainings, with one picture a prompt.
fn sweep<'a>(grid: &[&'a str]) -> Vec<&'a str> {
    let quick = ["--set", "steps=10", "--set", "batch_size=1", "--sample-steps", "5", "-n", "1"];
    let grid = grid.iter().flat_map(|axis| ["--grid", *axis]);
    ["sweep", "demo"].into_iter().chain(grid).chain(quick).collect()
}

fn runs(workspace: &Workspace) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(workspace.concept().join("runs"));
    let mut runs: Vec<_> = folder.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    runs.sort();
    runs
}

#[test]
fn a_sweep_trains_each_setting_once_and_can_be_asked_for_again() {
    let workspace = workspace();
    let args = sweep(&["layers=0,0+1", "strength=1,0.5"]);
    let detached = [&args[..], &["--detach"]].concat();
    let said =
        contains("7 jobs are queued").and(contains("2 trainings, 5 scorings")).and(contains("loads       unet: "));
    catbench(&workspace, &detached).assert().code(0).stderr(said.and(contains("memory      about ")));
    let first = table(&workspace, &args);
    let rows = first["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 6, "untrained, photos and four cells: {first}");
    assert_eq!(
        (&rows[0]["layers"], &rows[1]["layers"], &rows[3]["layers"], &rows[3]["strength"]),
        (&"untrained".into(), &"photos".into(), &"0".into(), &"0.5".into())
    );
    assert!(rows[2..].iter().all(|row| row["masked_clip_i_difference"]["n"] == 2), "{first}");
    assert!(first["notes"][0].as_str().unwrap().starts_with("no best one is named: it takes 6 prompts"), "{first}");
    assert_eq!(runs(&workspace).len(), 2, "strength is no matter of training");
    assert_eq!(table(&workspace, &args), first, "nothing is done again");
    assert_eq!(runs(&workspace).len(), 2);
}

#[test]
fn a_sweep_that_cannot_be_trained_is_refused_before_anything_is_queued() {
    let workspace = workspace();
    for (grid, said) in [("colour=1", "colour=1: "), ("n", "as in n=1,2"), ("n=0", "prefix_length")] {
        catbench(&workspace, &["sweep", "demo", "--grid", grid]).assert().code(1).stderr(contains(said));
    }
    let wrong = ["sweep", "demo", "--grid", "layers=9", "--set", "steps=10"];
    catbench(&workspace, &wrong).assert().code(1).stderr(contains("layers = 9: ").and(contains("layers 0 to 4")));
    let twice = ["sweep", "demo", "--grid", "lr=1,1.0"];
    catbench(&workspace, &twice).assert().code(1).stderr(contains("lr=1 and lr=1.0 are the same"));
    assert_eq!((runs(&workspace).len(), common::jobs(&workspace).len()), (0, 0));
}

#[test]
fn a_training_of_a_sweep_that_fails_costs_its_own_row_only() {
    let workspace = workspace();
    // What comes without the concept is measured whatever becomes of a training, and what waits for it is cancelled.
    let args = [&sweep(&["lr=1e38,0.001"])[..], &["--format", "json"]].concat();
    let done = catbench(&workspace, &args).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.code() == Some(1) && said.contains("error: 1 of 2 have no scores"), "{said}");
    let failed: Value = serde_json::from_slice(&done.stdout).unwrap();
    let rows = failed["rows"].as_array().unwrap();
    assert!(rows[0]["clip_t"]["n"] == 2 && rows[2]["clip_t"].is_null() && rows[3]["clip_t"]["n"] == 2, "{failed}");
    assert_eq!(rows[3]["masked_clip_i_difference"]["n"], 2, "{failed}");
    let notes = failed["notes"].to_string();
    assert!(notes.contains("lr=1e38: ") && notes.contains("not a finite number"), "{notes}");
    assert!(common::jobs(&workspace).iter().all(|job| job.state.is_over()), "nothing waits for ever");
}

#[test]
fn a_sweep_makes_a_run_anew_that_is_gone() {
    let workspace = workspace();
    let args = sweep(&["layers=0,0+1"]);
    assert_eq!(table(&workspace, &args)["rows"].as_array().unwrap().len(), 4);
    let before = runs(&workspace);
    std::fs::remove_dir_all(&before[0]).unwrap();
    assert_eq!(table(&workspace, &args)["rows"].as_array().unwrap().len(), 4);
    let after = runs(&workspace);
    assert!(after.len() == 2 && after.contains(&before[1]) && !after.contains(&before[0]), "{before:?} {after:?}");
}

#[test]
fn a_sweep_starts_from_the_concept_and_from_a_preset_alone_where_one_is_named() {
    let workspace = workspace();
    workspace.trains_with("steps = 10\nbatch_size = 1\ninit = \"normal\"\nlayers = [1]\nevaluate = true");
    let sweep = |name: &str, args: &[&str]| {
        let args = [&["sweep", "demo", "--name", name, "--detach", "-n", "1"], args].concat();
        let output = catbench(&workspace, &args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let plan = workspace.home().join(".catbench/plans").join(format!("{name}.toml"));
        let plan = std::fs::read_to_string(plan).unwrap_or_else(|_| panic!("{said}"));
        let plan: toml::Table = plan.parse().unwrap();
        let trains = plan["cell"].as_array().unwrap().iter().map(|cell| cell["train"].clone().try_into().unwrap());
        (trains.collect::<Vec<TrainConfig>>(), said)
    };
    let quiet = TrainConfig { sample_every: 0, validate_every: 0, ..TrainConfig::default() };
    let normal = |layers| Settings { init: Init::Normal, layers, ..Settings::default() }.into();
    let own = TrainConfig { steps: 10, batch_size: 1, ..quiet.clone() };
    let (trains, said) = sweep("own", &["--grid", "layers=0,0+1", "--set", "steps=7"]);
    let cells =
        [vec![0], vec![0, 1]].map(|layers| TrainConfig { method: normal(Some(layers)), steps: 7, ..own.clone() });
    assert_eq!(trains, cells, "each cell is scored by a job of its own");
    assert!(said.contains("starts from concept.toml: batch_size 1, init normal\n"), "{said}");

    let plain = ["--grid", "preset=default,official", "--set", "steps=7", "--set", "batch_size=1"];
    let (trains, said) = sweep("plain", &plain);
    let official =
        TrainConfig { sample_every: 0, validate_every: 0, ..TrainConfig::of("catversion", Some("official")).unwrap() };
    let cells = [quiet, official].map(|preset| TrainConfig { steps: 7, batch_size: 1, ..preset });
    assert_eq!(trains, cells);
    assert!(!said.contains("starts from"), "{said}");
}

#[test]
fn a_sweep_of_sampling_settings_trains_once_and_measures_what_comes_without_the_concept_for_each() {
    let workspace = workspace();
    let args = ["sweep", "demo", "--grid", "guidance_scale=1,3", "--grid", "fill=black,grey", "--set", "steps=10"];
    let more = ["--set", "batch_size=1", "--sample-steps", "3", "-n", "1"];
    let found = table(&workspace, &[&args[..], &more[..]].concat());
    let rows = found["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 10, "four untrained, photos with either fill, four cells: {found}");
    let of =
        |row: &Value| (row["guidance_scale"].as_str().unwrap().to_owned(), row["fill"].as_str().unwrap().to_owned());
    assert_eq!(of(&rows[3]), ("3".into(), "grey".into()), "{found}");
    assert!(rows[6..].iter().all(|row| row["masked_clip_i_difference"]["n"] == 2), "{found}");
    assert_eq!(std::fs::read_dir(workspace.concept().join("runs")).unwrap().count(), 1, "one training");
    // Other photos are another measurement.
    std::fs::remove_file(workspace.concept().join("images/snow.png")).unwrap();
    let again = [&["sweep"], &args[1..], &more[..]].concat();
    catbench(&workspace, &again).assert().code(1).stderr(contains("with other photos").and(contains("--name")));
}

/// Photos and masks of two subjects, `cup` and `pot`, where [`protocol`] looks for them.
fn with_subjects() -> Workspace {
    let workspace = workspace();
    for (subject, kind) in ["cup", "pot"].into_iter().flat_map(|subject| [(subject, "images"), (subject, "masks")]) {
        let folder = workspace.home().join("photos").join(subject).join(kind);
        create_dir_all(&folder).unwrap();
        for name in ["beach.png", "snow.png"] {
            std::fs::copy(workspace.concept().join(kind).join(name), folder.join(name)).unwrap();
        }
    }
    workspace
}

/// A protocol of two subjects; the first is asked for by the prompts of this name.
fn protocol(prompts: &str) -> String {
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
}

#[test]
fn a_protocol_makes_its_subjects_and_one_table_of_them() {
    let workspace = with_subjects();
    let file = workspace.home().join("protocol.toml");
    let path = file.to_str().unwrap();
    write(&file, protocol("fancy")).unwrap();
    catbench(&workspace, &["bench", path]).assert().code(1).stderr(contains("cup has no prompts \"fancy\""));
    write(&file, protocol("plain")).unwrap();
    let found = table(&workspace, &["bench", path]);
    let rows = found["rows"].as_array().unwrap();
    let names: Vec<_> =
        rows.iter().map(|row| (row["subject"].as_str().unwrap(), row["concept"].as_str().unwrap())).collect();
    let sides = |name| vec![(name, "photos"), (name, "untrained"), (name, "learned"), (name, "Δ")];
    assert_eq!(names, [sides("cup"), sides("pot"), sides("all")[1..].to_vec()].concat());
    assert_eq!((&rows[1]["clip_t"]["n"], &rows[10]["clip_t"]["n"]), (&4.into(), &8.into()));
    let value = |row: usize| rows[row]["masked_clip_i"]["value"].as_f64().unwrap();
    assert!((value(8) - f64::midpoint(value(1), value(5))).abs() < 1e-9);
    assert!((value(10) - (value(9) - value(8))).abs() < 1e-9, "{found}");
    assert!(rows[10]["masked_clip_i"]["low"].is_null(), "two subjects are too few for an interval: {found}");
    // What trainings of a subject's concept start from elsewhere is no matter of the protocol.
    let concept = workspace.home().join("tiny-cup/concept.toml");
    write(&concept, std::fs::read_to_string(&concept).unwrap() + "[train]\nsteps = 3\n").unwrap();
    assert_eq!(table(&workspace, &["bench", path]), found, "nothing is done again");
    let alone = table(&workspace, &["bench", path, "--only", "pot"]);
    assert_eq!(alone["rows"].as_array().unwrap()[..], rows[4..8], "one of them");
}

#[test]
fn what_a_protocol_finds_is_not_passed_off_as_what_was_asked_for() {
    let workspace = with_subjects();
    let (file, concept) = (workspace.home().join("protocol.toml"), workspace.concept());
    let path = file.to_str().unwrap();
    write(&file, protocol("plain")).unwrap();
    output(&workspace, &["bench", path, "--only", "cup"]);
    let refused = |args: &[&str], said: &str| {
        let args = [&["bench", path], args].concat();
        catbench(&workspace, &args).assert().code(1).stderr(contains(said).and(contains("concept remove tiny-cup")));
    };
    let other = fixture("tiny_sd2");
    refused(&["--base-model", other.to_str().unwrap()], "with another base model");
    refused(&["--dino-model", fixture("tiny_dino").to_str().unwrap()], "with another DINO model");
    let photo = workspace.home().join("photos/cup/images/beach.png");
    std::fs::copy(concept.join("images/night.png"), &photo).unwrap();
    refused(&[], "with another set of photos");
    std::fs::copy(concept.join("images/beach.png"), &photo).unwrap();
    let mask = workspace.home().join("photos/cup/masks/beach.png");
    GrayImage::from_fn(64, 64, |x, _| Luma([if x < 9 { 255 } else { 0 }])).save(&mask).unwrap();
    refused(&[], "with another mask");
    std::fs::copy(concept.join("masks/beach.png"), &mask).unwrap();
    write(&file, protocol("plain").replace("class = \"teapot\"", "class = \"cup\"")).unwrap();
    refused(&[], "with another class word");
}

#[test]
fn photos_without_masks_get_some_where_a_protocol_says_so() {
    let workspace = with_subjects();
    let file = workspace.home().join("protocol.toml");
    let path = file.to_str().unwrap();
    // Else the table says that they have none.
    let bare = protocol("plain").replace("name = \"tiny\"", "name = \"bare\"").replace("masks = ", "#");
    write(&file, &bare).unwrap();
    let only = ["bench", path, "--only", "cup"];
    let notes = table(&workspace, &only)["notes"].to_string();
    assert!(notes.contains("2 photos have no mask and count whole, also in masked scores"), "{notes}");
    let masked = bare.replace("name = \"bare\"", "name = \"masked\"\nphoto_masks = \"attention\"");
    let odd = masked.replace("images_per_prompt = 2", "colour = 2");
    write(&file, &odd).unwrap();
    catbench(&workspace, &only)
        .assert()
        .code(1)
        .stderr(contains("[sample] colour = 2: ").and(contains("protocol.toml")));
    write(&file, masked.replace("steps = 10\n", "preset = \"official\"\nsteps = 10\n")).unwrap();
    let with_masks = table(&workspace, &only);
    let notes = with_masks["notes"].to_string();
    let made = std::fs::read_dir(workspace.home().join("masked-cup/masks")).map_or(0, Iterator::count);
    assert!(made > 0 && !notes.contains("2 photos have no mask"), "{notes}");
    let mut runs = std::fs::read_dir(workspace.home().join("masked-cup/runs")).unwrap();
    let run = std::fs::read_to_string(runs.next().unwrap().unwrap().path().join("run.toml")).unwrap();
    assert!(run.contains("init = \"normal\"") && run.contains("steps = 10"), "the preset's settings: {run}");
    for sampling in ["guidance_scale = 10.0", "every_prompt = true", "steps = 4"] {
        let said = run.split("[evaluation.sample]").nth(1).unwrap();
        assert!(said.contains(sampling), "the preset's sampling, but for what [sample] says: {run}");
    }
    assert_eq!(table(&workspace, &only), with_masks, "masks that the plan has made are no others");
}

#[test]
fn the_protocols_of_the_repository_can_be_read() {
    let workspace = Workspace::new();
    let protocols = Path::new(env!("CARGO_MANIFEST_DIR")).join("workspaces/protocols");
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
