//! What is said, and what is refused, before a job starts.

use std::path::Path;

use crate::common::{self, Workspace, catbench, fixture};
use assert_cmd::assert::OutputAssertExt;
use catbench::diffusion::{Outline, TextsRead};
use catbench::method::catversion::{Init, Settings};
use catbench::protocol::{ModelSpec, SampleConfig, TrainConfig};
use catbench::workspace::Home;
use predicates::boolean::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

fn nothing_was_made(workspace: &Workspace) {
    for folder in ["runs", "samples"] {
        assert!(!workspace.concept().join(folder).exists(), "{folder} was made");
    }
}

#[test]
fn a_dry_run_says_all_and_does_nothing() {
    let workspace = Workspace::with_models();
    let said = catbench(&workspace, &["train", "demo", "--dry-run", "--preset", "official"]).assert().code(0);
    said.stdout(
        contains("unet: ")
            .and(contains("f32 in memory"))
            .and(contains("learning rate 0.01"))
            .and(contains("1000 × 2 images"))
            .and(contains("beach.png: 64 × 64, whole, mask"))
            .and(contains("MiB free").or(contains("GiB free")))
            .and(contains("a step")),
    );
    let output = catbench(&workspace, &["train", "demo", "--dry-run", "--json"]).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["settings"]["steps"], 500);
    assert_eq!(json["photos"].as_array().unwrap().len(), 5);
    let estimate = &json["estimate"];
    assert_eq!(estimate["parts"].as_array().unwrap().len(), 3);
    assert!(estimate["peak_bytes"].as_u64() > Some(1 << 20) && estimate["time"]["total_seconds"].as_f64() > Some(0.0));
    assert_eq!(estimate["refusal"], Value::Null);
    catbench(&workspace, &["sample", "demo", "--untrained", "--dry-run"])
        .assert()
        .code(0)
        .stdout(contains("a picture"));
    nothing_was_made(&workspace);
}

#[test]
fn what_cannot_fit_is_refused_with_the_setting_that_would() {
    let workspace = Workspace::with_models();
    let huge = ["train", "demo", "--batch-size", "1000000"];
    for more in [&[][..], &["--dry-run"]] {
        let refused = catbench(&workspace, &[&huge[..], more].concat()).assert().code(1);
        refused
            .stderr(contains("of memory in a training step").and(contains("batch_size = ")).and(contains("would fit")));
    }
    let output = catbench(&workspace, &[&huge[..], &["--dry-run", "--json"]].concat()).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["estimate"]["refusal"].as_str().unwrap().contains("batch_size"), "{json}");
    // As many pictures as a list may have, of the larger model: 26 GiB, which some machines have.
    workspace.use_base_model(&Path::new(env!("CARGO_MANIFEST_DIR")).join("workspaces/demo/base_model"));
    let sample = ["sample", "demo", "--untrained", "-n", "20000", "--batch-size", "20000", "--dry-run", "--json"];
    let output = catbench(&workspace, &sample).output().unwrap();
    let estimate = serde_json::from_slice::<Value>(&output.stdout).unwrap()["estimate"].clone();
    let fits = estimate["peak_bytes"].as_f64().unwrap() * 0.85 <= estimate["total"]["bytes"].as_f64().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(!fits)), "{estimate}");
    assert!(fits || estimate["refusal"].as_str().unwrap().contains("batch_size = "), "{estimate}");
    nothing_was_made(&workspace);
}

#[test]
fn the_setting_that_would_fit_is_not_refused() {
    let workspace = Workspace::with_models();
    let dry = |batch: &str, more: &[&str]| {
        let args = ["train", "demo", "--dry-run", "--json", "--batch-size", batch];
        let output = catbench(&workspace, &[&args[..], more].concat()).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["estimate"]["refusal"].clone()
    };
    let refusal = dry("1000000", &[]);
    let refusal = refusal.as_str().unwrap();
    let batch: String =
        refusal.split("batch_size = ").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    let more: &[&str] = if refusal.contains("gradient_checkpointing") { &["--gradient-checkpointing"] } else { &[] };
    assert_eq!(dry(&batch, more), Value::Null, "{refusal}");
}

#[test]
fn a_prompt_that_is_too_long_is_said_with_what_is_cut() {
    let workspace = Workspace::with_models();
    let prompt = format!("a {{concept}} {} tail", "a ".repeat(20));
    let sample = ["sample", "demo", "--untrained", "--dry-run", "--prompt", &prompt];
    catbench(&workspace, &sample).assert().code(0).stdout(contains("tail\" is not read").and(contains("16 tokens")));
}

#[test]
fn a_photo_that_is_turned_by_its_exif_is_said_to_be() {
    let workspace = Workspace::with_models();
    let rotated = fixture("pillow/source.png");
    let source = image::open(rotated).unwrap().into_rgb8();
    let mut jpeg = std::io::Cursor::new(Vec::new());
    source.write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
    let jpeg = jpeg.into_inner();
    // An EXIF block that says: turn right. It stands behind the marker that begins a JPEG.
    let tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let exif = [b"Exif\0\0", &tiff[..]].concat();
    let length = (exif.len() as u16 + 2).to_be_bytes();
    let photo = [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat();
    std::fs::write(workspace.concept().join("images/turned.jpg"), photo).unwrap();
    let said = catbench(&workspace, &["train", "demo", "--dry-run"]).assert().code(0);
    said.stdout(contains("turned.jpg: ").and(contains("turned right by its EXIF")));
}

#[test]
fn checkpointing_costs_less_memory_and_more_arithmetic() {
    let model = Outline::read(&ModelSpec::at(&fixture("tiny_sd1"))).unwrap();
    let read = TextsRead { texts: 1, first_layer: 0 };
    let (plain, checkpointed) = (model.training_step(4, false, read), model.training_step(4, true, read));
    assert!(checkpointed.peak_bytes < plain.peak_bytes);
    assert!(checkpointed.flops > plain.flops);
    let forward = model.denoising_step(4);
    assert!(forward.flops < plain.flops && forward.peak_bytes < plain.peak_bytes);
}

#[test]
fn what_fits_the_machine_but_not_what_is_free_now_may_wait_for_it() {
    let workspace = Workspace::with_models();
    let estimate = |batch: f64| {
        let batch = (batch as u64).to_string();
        let args = ["train", "demo", "--dry-run", "--json", "--batch-size", &batch];
        let output = catbench(&workspace, &args).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["estimate"].clone()
    };
    let bytes = |value: &Value| value.as_f64().unwrap();
    let (small, large) = (estimate(1000.0), estimate(2000.0));
    let (free, total) = (bytes(&small["free"]["bytes"]), bytes(&small["total"]["bytes"]));
    if total < 1.2 * free {
        // Next to all is free: nothing is between the two.
        return;
    }
    let each = (bytes(&large["peak_bytes"]) - bytes(&small["peak_bytes"])) / 1000.0;
    let between = estimate(f64::midpoint(free, total) / 0.85 / each);
    assert_eq!(between["refusal"], Value::Null, "{between}");
    // What is free is another figure each time it is asked: other tests come and go.
    let fits = 0.85 * bytes(&between["peak_bytes"]) <= bytes(&between["free"]["bytes"]);
    assert_eq!(between["short"].as_str().is_none_or(|short| !short.contains("free now")), fits, "{between}");
    assert!(!fits || bytes(&between["free"]["bytes"]) > free, "it fits only where more has become free: {between}");
}

#[test]
fn a_masked_loss_without_any_mask_is_warned_of() {
    let workspace = Workspace::with_models();
    let args = ["train", "demo", "--masked-loss", "--dry-run"];
    catbench(&workspace, &args).assert().code(0).stdout(contains("masked_loss is of no use").not());
    std::fs::remove_dir_all(workspace.concept().join("masks")).unwrap();
    catbench(&workspace, &args).assert().code(0).stdout(contains("masked_loss is of no use: no photo has a mask"));
    let json = catbench(&workspace, &[&args[..], &["--json"]].concat()).output().unwrap();
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(json["warnings"][0].as_str().unwrap().contains("masked_loss"), "{json}");
    catbench(&workspace, &args[..2]).arg("--dry-run").assert().code(0).stdout(contains("masked_loss").not());
}

#[test]
fn layers_that_the_text_encoder_does_not_have_are_refused_before_the_queue() {
    let workspace = Workspace::with_models();
    for more in [&[][..], &["--dry-run"]] {
        catbench(&workspace, &[&["train", "demo", "--layers", "3,5"], more].concat())
            .assert()
            .code(1)
            .stderr(contains("layers = 5").and(contains("layers 0 to 4")));
    }
    nothing_was_made(&workspace);
}

#[test]
fn a_prompt_that_other_programs_read_otherwise_is_said() {
    let workspace = Workspace::with_models();
    let sample =
        |prompt| catbench(&workspace, &["sample", "demo", "--untrained", "--dry-run", "--prompt", prompt]).assert();
    sample("a “red” {concept} &amp; a ﬁg").code(0).stdout(contains("has “ ” ﬁ &amp;, which"));
    sample("a \"red\" {concept} & a fig, l'été; &c").code(0).stdout(contains("which programs").not());
    // And at run time, where those who look later see it.
    let made = ["sample", "demo", "--untrained", "--prompt", "a {concept}’s", "-n", "1", "--steps", "1", "--json"];
    catbench(&workspace, &made).assert().code(0);
    let batch = std::fs::read_dir(workspace.concept().join("samples")).unwrap().next().unwrap().unwrap().path();
    let told = std::fs::read_to_string(batch.join("events.jsonl")).unwrap();
    assert!(told.contains("older CLIP tokenizer"), "{told}");
}

#[test]
fn going_on_with_a_run_says_what_is_left_of_it() {
    let workspace = Workspace::with_models();
    let (_, run) = common::queue_training(&workspace, 500, &["--evaluate=false"]);
    common::wait_for_step(&run, 12);
    catbench(&workspace, &["stop", "demo"]).assert().code(0);
    let resume = |more: &[&str]| catbench(&workspace, &[&["train", "demo", "--resume", "latest"], more].concat());
    let events = || std::fs::read(run.join("events.jsonl")).unwrap();
    let before = events();
    let said = resume(&["--dry-run"]).assert().code(0);
    said.stdout(contains("of 500 steps").and(contains("unet: ")).and(contains("memory      about ")));
    let output = resume(&["--dry-run", "--json"]).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["settings"]["steps"], 500);
    assert!(json["estimate"]["time"]["total_seconds"].as_f64() > Some(0.0), "{json}");
    assert_eq!(events(), before, "a dry run did something");
}

#[test]
fn a_training_starts_from_its_concept_and_options_or_a_preset_go_before_that() {
    let workspace = Workspace::with_models();
    workspace.trains_with("preset = \"official\"\nsteps = 300\nlayers = [0, 2]\nmasked_loss = true");
    let dry = |more: &[&str]| {
        let output =
            catbench(&workspace, &[&["train", "demo", "--dry-run", "--json"], more].concat()).output().unwrap();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let [settings, from] = ["settings", "from_concept"].map(|key| json[key].clone());
        (settings, from)
    };
    let (settings, from) = dry(&[]);
    assert_eq!((&settings["preset"], &settings["init"]), (&"official".into(), &"normal".into()), "{settings}");
    assert_eq!((&settings["steps"], &settings["batch_size"]), (&300.into(), &2.into()), "{settings}");
    let layers = serde_json::json!([0, 2]);
    let all = serde_json::json!({ "preset": "official", "steps": 300, "layers": layers, "masked_loss": true });
    assert_eq!((&settings["layers"], from), (&layers, all));

    let (settings, from) = dry(&["--steps", "20", "--masked-loss=false", "--batch-size", "1"]);
    assert_eq!(
        (&settings["steps"], &settings["batch_size"]),
        (&20.into(), &1.into()),
        "options go before it: {settings}"
    );
    assert_eq!((&settings["masked_loss"], &settings["init"]), (&false.into(), &"normal".into()), "{settings}");
    assert_eq!(from, serde_json::json!({ "preset": "official", "layers": layers }));

    let (settings, from) = dry(&["--preset", "default", "--seed", "3"]);
    let expected = TrainConfig { seed: 3, ..TrainConfig::default() };
    assert_eq!(serde_json::from_value::<TrainConfig>(settings).unwrap(), expected, "a preset stands alone");
    assert_eq!(from, serde_json::json!({}));

    let said = catbench(&workspace, &["train", "demo", "--dry-run", "--layers", "1"]).assert().code(0);
    let row = "starts from concept.toml: masked_loss true, preset official, steps 300\n";
    said.stdout(contains(row).and(contains("300 × 2 images")));
    let said = catbench(&workspace, &["train", "demo", "--dry-run", "--preset", "official"]).assert().code(0);
    said.stdout(contains("starts from").not().and(contains("1000 × 2 images")));
    nothing_was_made(&workspace);
}

#[test]
fn a_run_records_all_of_its_settings_whatever_becomes_of_the_concept() {
    let workspace = Workspace::with_models();
    let plain = std::fs::read_to_string(workspace.concept().join("concept.toml")).unwrap();
    workspace.trains_with("steps = 2\nbatch_size = 1\nsample_every = 0\nvalidate_every = 0\ninit = \"normal\"");
    let said = catbench(&workspace, &["train", "demo"]).assert().code(0);
    said.stderr(contains("starts from concept.toml: batch_size 1, init normal, "));
    std::fs::write(workspace.concept().join("concept.toml"), plain).unwrap();
    let concept = Home::at(workspace.home()).unwrap().concept("demo").unwrap();
    let train = concept.run("latest").unwrap().run_spec().unwrap().train;
    let expected = TrainConfig {
        steps: 2,
        batch_size: 1,
        sample_every: 0,
        validate_every: 0,
        method: Settings { init: Init::Normal, ..Settings::default() }.into(),
        ..TrainConfig::default()
    };
    assert_eq!(train, expected);
}

#[test]
fn a_photo_can_be_held_out_of_four_and_is_named() {
    let workspace = Workspace::with_models();
    let train = ["train", "demo", "--batch-size", "1", "--steps", "2"];
    let dry = |more: &[&str]| catbench(&workspace, &[&train[..], &["--dry-run"], more].concat()).assert();
    dry(&["--hold-out", "snow.png"]).code(0).stdout(
        contains("held out    snow.png: not trained on")
            .and(contains("snow.png: 64 × 64, whole, mask, held out"))
            .and(contains("warning").not()),
    );
    dry(&["--hold-out", "snow.png", "--validate-every", "0"]).code(0).stdout(contains("is never measured"));
    let output = catbench(&workspace, &[&train[..], &["--dry-run", "--json", "--hold-out", "snow.png"]].concat());
    let json: Value = serde_json::from_slice(&{ output }.output().unwrap().stdout).unwrap();
    assert_eq!(json["settings"]["hold_out"], "snow.png");
    let held_out = json["photos"].as_array().unwrap().iter().filter(|photo| photo["held_out"] == true);
    assert_eq!(held_out.count(), 1);
    // It takes its part of the time.
    let seconds = |more: &[&str]| {
        let often =
            [&["train", "demo", "--steps", "1000", "--validate-every", "1", "--dry-run", "--json"], more].concat();
        let json: Value = serde_json::from_slice(&catbench(&workspace, &often).output().unwrap().stdout).unwrap();
        json["estimate"]["time"]["total_seconds"].as_f64().unwrap()
            / json["estimate"]["time"]["step_seconds"].as_f64().unwrap()
    };
    assert!(seconds(&["--hold-out", "snow.png"]) > 1.2 * seconds(&[]));

    let unknown =
        || contains("hold_out = sun.png: is no photo of the concept; there is beach.png, ").and(contains("snow.png"));
    dry(&["--hold-out", "sun.png"]).code(1).stderr(unknown());
    catbench(&workspace, &[&train[..], &["--hold-out", "sun.png"]].concat()).assert().code(1).stderr(unknown());
    let sweep = ["sweep", "demo", "--set", "batch_size=1", "--set", "steps=2"];
    for more in [
        ["--set", "hold_out=sun.png", "--grid", "seed=1,2"],
        ["--set", "seed=1", "--grid", "hold_out=snow.png,sun.png"],
    ] {
        catbench(&workspace, &[&sweep[..], &more].concat()).assert().code(1).stderr(unknown());
    }
    workspace.trains_with("hold_out = \"sun.png\"");
    catbench(&workspace, &train).assert().code(1).stderr(unknown());
    std::fs::remove_file(workspace.concept().join("images/beach.png")).unwrap();
    std::fs::remove_file(workspace.concept().join("images/night.png")).unwrap();
    dry(&["--hold-out", "snow.png"]).code(1).stderr(contains("needs 4 photos or more, and there are 3"));
    nothing_was_made(&workspace);
}

#[test]
fn what_the_preset_official_says_of_the_sampling_goes_before_the_concept_and_flags_before_it() {
    let workspace = Workspace::with_models();
    let file = workspace.concept().join("concept.toml");
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + "guidance_scale = 3.0\n").unwrap();
    let concept = Home::at(workspace.home()).unwrap().concept("demo").unwrap();
    let quick = ["train", "demo", "--batch-size", "1", "--steps", "2", "--validate-every", "0", "--sample-every", "0"];
    let run_of = |more: &[&str]| {
        catbench(&workspace, &[&quick[..], more].concat()).assert().code(0);
        concept.run("latest").unwrap()
    };
    let plain = run_of(&[]).run_spec().unwrap().evaluation.sample;
    assert_eq!((plain.picture.guidance_scale.to_bits(), plain.shared.every_prompt), (3f64.to_bits(), false));
    let run = run_of(&["--preset", "official"]);
    let spec = run.run_spec().unwrap();
    assert_eq!((spec.train.preset.as_str(), spec.train.photo_repeats), ("official", 100));
    assert_eq!(spec.evaluation.sample, SampleConfig { prompts: spec.evaluation.sample.prompts.clone(), ..official() });

    let pictures = |more: &[&str]| {
        let args = [&["sample", "demo", "--preview", "--json", "-n", "1"], more].concat();
        let json: Value = serde_json::from_slice(&catbench(&workspace, &args).output().unwrap().stdout).unwrap();
        let picture = &json["pictures"][0];
        (picture["guidance_scale"].as_f64().unwrap(), picture["steps"].as_u64().unwrap(), picture["sampler"].clone())
    };
    assert_eq!(pictures(&[]), (10.0, 50, "ddim".into()));
    assert_eq!(pictures(&["--guidance-scale", "2", "--steps", "5", "--sampler", "euler"]), (2.0, 5, "euler".into()));
    assert_eq!(pictures(&["--untrained"]).0.to_bits(), 3f64.to_bits(), "of no run");

    // The picture says how its prompt was read, and is made again so.
    let sample = |more: &[&str]| {
        let args =
            ["sample", "demo", "--prompt", "a {class}", "-n", "1", "--steps", "3", "--masks", "nobody", "--json"];
        let output = catbench(&workspace, &[&args[..], more].concat()).output().unwrap();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        json["pictures"][0].as_str().unwrap().to_owned()
    };
    let (every, not) = (sample(&[]), sample(&["--every-prompt=false"]));
    let pixels = |path: &str| image::open(path).unwrap().into_rgb8();
    assert_ne!(pixels(&every), pixels(&not));
    let guided = ["--guidance-scale", "10"];
    assert_eq!(pixels(&not), pixels(&sample(&[&["--untrained"], &guided[..]].concat())), "the base model's");
    catbench(&workspace, &["replay", &every]).assert().code(0);
    let shown = catbench(&workspace, &["show", &every]).output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("every_prompt"), "{shown:?}");

    let lists = workspace.home().join("one.txt");
    std::fs::write(&lists, "a {class}\n").unwrap();
    let score = ["score", "demo", "--prompts", lists.to_str().unwrap(), "-n", "1", "--every-prompt=false", "--json"];
    catbench(&workspace, &score).assert().code(0);
    let scored = concept.run("latest").unwrap().evaluation();
    let scored = catbench::workspace::JobFolder::at(&scored).unwrap().score_spec().unwrap().score.sample;
    assert_eq!(
        (scored.picture.guidance_scale.to_bits(), scored.shared.every_prompt),
        (10f64.to_bits(), false),
        "the flag goes first"
    );

    // Each cell of a sweep is sampled as its preset says, but for what is said.
    let sweep = ["sweep", "demo", "--grid", "preset=default,official", "--set", "steps=2", "--set", "batch_size=1"];
    let more = ["--set", "eta=0.5", "--name", "both", "--detach", "-n", "1", "--priority", "-5"];
    catbench(&workspace, &[&sweep[..], &more].concat()).assert().code(0);
    let plan: toml::Table =
        std::fs::read_to_string(workspace.home().join(".catbench/plans/both.toml")).unwrap().parse().unwrap();
    let cells = plan["cell"].as_array().unwrap().iter().map(|cell| cell["score"]["sample"].clone().try_into().unwrap());
    let said: Vec<_> = cells
        .map(|SampleConfig { picture, shared, .. }| {
            (picture.guidance_scale.to_bits(), shared.every_prompt, picture.eta.to_bits())
        })
        .collect();
    let half = 0.5f64.to_bits();
    assert_eq!(said, [(3f64.to_bits(), false, half), (10f64.to_bits(), true, half)]);
}

/// How a run of the preset official is sampled.
fn official() -> SampleConfig {
    let mut config = SampleConfig::default();
    (config.picture.guidance_scale, config.shared.every_prompt) = (10.0, true);
    config
}

#[test]
fn syntax_of_other_programs_is_told_through_every_door() {
    let workspace = Workspace::with_models();
    let output = |args: &[&str]| {
        let output = catbench(&workspace, args).output().unwrap();
        [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat()
    };
    let sample = ["sample", "demo", "--untrained", "-n", "1"];
    for (prompt, words) in [
        ("a ((red)) {concept}", "((red)): parentheses without a number are text here"),
        ("a [red] {concept}", "[red]: square brackets are text here"),
        ("a [red:blue:0.5] {concept}", "[red:blue:0.5]: it is text here"),
        ("a [red|blue] {concept}", "[red|blue]: it is text here"),
        ("a {concept} BREAK grass", "BREAK: it is a word here"),
        ("a {concept} AND grass", "AND: it is a word here"),
        ("a {concept} <lora:fur:0.8>", "<lora:fur:0.8>: it is text here"),
        ("a {concept} <hypernet:fur:1>", "<hypernet:fur:1>: it is text here"),
        ("a {2$$red|blue} {concept}", "2$$: the number is text here"),
        ("a {0.5::red|blue} {concept}", "0.5::: the number is text here"),
        ("a {concept} in __sub/dir__", "__sub/dir__: it is text here"),
    ] {
        let said = output(&[&sample[..], &["--prompt", prompt, "--dry-run"]].concat());
        assert!(said.contains(words), "{prompt}: {said}");
    }
    for plain in ["a (red:1.2) {concept}", "a {red|blue} {concept}", r"a \(red\) {concept}, rock and roll <cat-toy>"] {
        let said = output(&[&sample[..], &["--prompt", plain, "--dry-run"]].concat());
        assert!(!said.contains("text here") && !said.contains("word here"), "{plain}: {said}");
    }
    // Lists, with the line; negative prompts too; each kind once, however many prompts have it.
    let list = workspace.home().join("list.txt");
    std::fs::write(&list, "a {concept}\na [red] {concept} {1..9}\na cup --negative \"((dark))\"\n").unwrap();
    let list = list.to_str().unwrap();
    let said = output(&[&sample[..], &["--prompts", list, "--preview"]].concat());
    assert!(said.contains("list.txt:2: prompt \"a [red] {concept} 1\" has [red], as 9 prompts have"), "{said}");
    assert!(said.contains("list.txt:3: prompt \"((dark))\" has ((dark)): parentheses"), "{said}");
    assert_eq!(said.matches("square brackets").count(), 1, "{said}");
    let said = output(&[&sample[..], &["--prompts", list, "--preview", "--json"]].concat());
    let said: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&said["other_syntax"][1]["kind"], &said["other_syntax"][1]["prompts"]),
        (&"brackets".into(), &9.into()),
        "{said}"
    );
    // The prompts of an evaluation and of the pictures on the way.
    let dry = ["train", "demo", "--dry-run", "--sample-every", "1", "--sample-prompt", "a [red] {concept}"];
    assert!(output(&dry).contains("[red]: square brackets"));
    std::fs::write(workspace.concept().join("prompts/demo.txt"), "a {concept} BREAK grass\n").unwrap();
    let dry = ["train", "demo", "--dry-run", "--evaluate", "--sample-every", "0"];
    assert!(output(&dry).contains("BREAK: it is a word here"));
    let estimate: Value =
        serde_json::from_str(output(&[&dry[..], &["--json"]].concat()).lines().next().unwrap()).unwrap();
    assert_eq!(estimate["estimate"]["other_syntax"][0]["found"], serde_json::json!(["BREAK"]), "{estimate}");
    // The job says it too, to whoever looks later.
    let made = output(&[&sample[..], &["--prompt", "a [red] cup", "--steps", "2"]].concat());
    assert!(made.contains("[red]: square brackets"), "{made}");
}

#[test]
fn a_run_whose_photos_have_changed_is_not_gone_on_with_and_a_dry_run_says_so() {
    let workspace = Workspace::with_models();
    let (_, run) = common::queue_training(&workspace, 5000, &["--evaluate=false"]);
    common::wait_for_step(&run, 12);
    catbench(&workspace, &["stop", "demo"]).assert().code(0);
    let resume = |more: &[&str]| catbench(&workspace, &[&["train", "demo", "--resume", "latest"], more].concat());
    resume(&["--dry-run"]).assert().code(0);
    let images = workspace.concept().join("images");
    std::fs::copy(images.join("beach.png"), images.join("added.png")).unwrap();
    let jobs = common::jobs(&workspace).len();
    for more in [&["--dry-run"][..], &["--dry-run", "--json"], &["--detach"]] {
        resume(more).assert().code(1).stderr(contains("the photos or masks have changed since; start a new run"));
    }
    assert_eq!(common::jobs(&workspace).len(), jobs, "nothing was queued");
    std::fs::remove_file(images.join("added.png")).unwrap();
    resume(&["--dry-run"]).assert().code(0);
}

#[test]
fn photos_that_teach_little_are_said_to() {
    let workspace = Workspace::with_models();
    let images = workspace.concept().join("images");
    let photo = |name: &str, width, height| {
        let pixels = image::RgbImage::from_fn(width, height, |x, y| image::Rgb([(x % 256) as u8, (y % 256) as u8, 9]));
        pixels.save(images.join(name)).unwrap();
    };
    photo("dot.png", 1, 1);
    photo("line.png", 500, 3);
    photo("long.png", 400, 100);
    std::fs::copy(images.join("snow.png"), images.join("snow again.png")).unwrap();
    let said = catbench(&workspace, &["train", "demo", "--dry-run"]).output().unwrap();
    let said = [said.stdout, said.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    for warning in [
        "dot.png: 1 × 1 is very small",
        "line.png: 500 × 3 is very small",
        "long.png: 400 × 100 is very long",
        "snow.png: the same picture as snow again.png: it counts twice",
    ] {
        assert_eq!(said.matches(warning).count(), 1, "{warning}: {said}");
    }
    assert!(!said.contains("beach.png: the same") && !said.contains("grass.png: 64 × 64 is"), "{said}");
}

#[test]
fn a_class_word_that_means_something_in_prompts_is_refused_where_it_enters() {
    let workspace = Workspace::with_models();
    let new = ["concept", "new", "other", "--images", "demo/images", "--base-model", "demo/base_model", "--class"];
    for word in ["teapot{x}", "(teapot:1.2)", "tea|pot", ""] {
        let refused =
            catbench(&workspace, &[&new[..], &[word]].concat()).current_dir(workspace.home()).assert().code(1);
        refused.stderr(contains("class word"));
        assert!(!workspace.home().join("other").exists());
    }
    let concept = workspace.concept().join("concept.toml");
    let text = std::fs::read_to_string(&concept).unwrap();
    std::fs::write(&concept, text.replace("\"teapot\"", "\"teapot{x}\"")).unwrap();
    catbench(&workspace, &["train", "demo", "--dry-run"])
        .assert()
        .code(1)
        .stderr(contains("class_word = \"teapot{x}\""));
    catbench(&workspace, &["train", "demo", "--detach"])
        .assert()
        .code(1)
        .stderr(contains("class_word = \"teapot{x}\""));
    nothing_was_made(&workspace);
    // It can still be looked at.
    catbench(&workspace, &["concept", "show", "demo"]).assert().code(0);
}
