//! The authors' adapter files and textual-inversion embeddings by the command line, on files that PyTorch wrote
//! (`tests/parity/adapters.py`).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Workspace, catbench, fixture};
use assert_cmd::assert::OutputAssertExt;
use candle_core::{Device, Tensor};
use catbench::diffusion::TensorFile;
use catbench::image::{Provenance, read_provenance};
use catbench::personalize::Checkpoint;
use predicates::boolean::PredicateBooleanExt;
use predicates::str::contains;

const NAMES: [&str; 4] = [
    "text_model.encoder.layers.2.self_attn.prefix_tuning.pool.prefix_tunings.prefix_tuning1.clip_text_model_self_prefix\
     .control_trans",
    "text_model.encoder.layers.3.self_attn.prefix_tuning.pool.prefix_tunings.prefix_tuning1.clip_text_model_self_prefix\
     .control_trans",
    "text_model.encoder.layers.4.self_attn.prefix_tuning.pool.prefix_tunings.prefix_tuning1.clip_text_model_self_prefix\
     .control_trans",
    "prefix_tuning.prefix_tunings.prefix_tuning1.clip_text_model_self_prefix.control_trans",
];

/// Import `file` and give the run's folder.
fn import(workspace: &Workspace, file: &str) -> PathBuf {
    let path = fixture("adapters").join(file);
    let output = catbench(workspace, &["concept", "import-adapter", "demo", path.to_str().unwrap()]).output().unwrap();
    assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn flat() -> Vec<f32> {
    let path = fixture("adapters/reference.safetensors");
    numbers(&candle_core::safetensors::load(path, &Device::Cpu).unwrap()["flat"])
}

#[test]
fn an_adapter_comes_in_from_every_form_and_goes_out_the_same() {
    let workspace = Workspace::with_models();
    for form in ["shared.bin", "separate.bin", "inside.bin", "parts.bin"] {
        let run = import(&workspace, form);
        let checkpoint = Checkpoint::load(&run.join("checkpoints/step-001000.safetensors")).unwrap();
        assert_eq!(checkpoint.learned.numbers().unwrap(), flat(), "{form}");
        let names = checkpoint.learned.shapes().iter().map(|(name, _)| name.as_str()).step_by(2);
        let keys = [2, 3, 4].map(|layer| format!("text_encoder.layers.{layer}.key"));
        assert_eq!(names.collect::<Vec<_>>(), keys);
        assert_eq!(checkpoint.meta.config.text("prefix_bias"), "1");

        let (id, out) = (run.file_name().unwrap().to_str().unwrap(), workspace.home().join(form));
        let export = ["concept", "export-adapter", "demo", "--run", id, "--out", out.to_str().unwrap()];
        let exported = catbench(&workspace, &export).assert().code(0);
        exported.stderr(contains("Stable Diffusion 1.x").and(contains("prefix_bias").not()));
        let file = TensorFile::open(&out).unwrap();
        assert_eq!(file.tensors().count(), NAMES.len());
        for name in NAMES {
            assert_eq!(numbers(&file.tensor(name).unwrap()), flat(), "{form}: {name}");
        }
        let config = std::fs::read_to_string(workspace.home().join("adapter_config.json")).unwrap();
        assert!(config.contains("\"hidden_size\": 24") && config.contains("\"prefix_tuning1\""), "{config}");
    }
}

#[test]
fn an_imported_run_says_where_it_is_from_and_can_be_sampled() {
    let workspace = Workspace::with_models();
    let run = import(&workspace, "shared.bin");
    let toml = std::fs::read_to_string(run.join("run.toml")).unwrap();
    let hash = catbench::fs::sha256(&fixture("adapters/shared.bin")).unwrap();
    for text in ["[imported]", "adapters/shared.bin", &hash, "preset = \"official\"", "prefix_bias = 1.0"] {
        assert!(toml.contains(text), "{text} is not in {toml}");
    }
    catbench(&workspace, &["runs", "demo"]).assert().code(0).stdout(contains("imported"));
    let out = workspace.home().join("out");
    let sample = [
        "sample",
        "demo",
        "--seed=0",
        "--prompt",
        "a {concept}",
        "-n1",
        "--steps",
        "2",
        "--out",
        out.to_str().unwrap(),
    ];
    catbench(&workspace, &sample).assert().code(0);
    let plain = ["--strength", "0"];
    let base = workspace.home().join("base");
    let untrained = [&sample[..9], &[base.to_str().unwrap()], &plain[..]].concat();
    catbench(&workspace, &untrained).assert().code(0);
    let picture = |folder: &Path| image::open(folder.join("001-seed-0.png")).unwrap().into_rgb8();
    assert_ne!(picture(&out), picture(&base), "the adapter changes nothing");
}

#[test]
fn an_adapter_that_does_not_fit_is_refused_and_leaves_nothing() {
    let workspace = Workspace::with_models();
    let wide = fixture("adapters/wide.bin");
    let no_adapter = fixture("embeddings/diffusers.bin");
    let no_tensors = workspace.home().join("text.bin");
    std::fs::write(&no_tensors, "text").unwrap();
    let missing = workspace.home().join("missing.bin");
    for (file, expected) in [
        (&wide, &["wide.bin", "width 24", "192 numbers"][..]),
        (&no_adapter, &["diffusers.bin", "<cat-toy>", "not an adapter"]),
        (&no_tensors, &["text.bin"]),
        (&missing, &["missing.bin"]),
    ] {
        let mut refused =
            catbench(&workspace, &["concept", "import-adapter", "demo", file.to_str().unwrap()]).assert().code(1);
        for text in expected {
            refused = refused.stderr(contains(*text));
        }
    }
    let runs = workspace.concept().join("runs");
    assert!(!runs.exists() || std::fs::read_dir(runs).unwrap().next().is_none(), "a run was made");
}

#[test]
fn an_export_warns_of_another_bias_and_refuses_what_has_no_place() {
    let workspace = Workspace::with_models();
    let quick = ["train", "demo", "--steps", "1", "--sample-every", "0", "--validate-every", "0"];
    let out = workspace.home().join("out.bin");
    let export = ["concept", "export-adapter", "demo", "--out", out.to_str().unwrap()];
    catbench(&workspace, &quick).assert().code(0);
    catbench(&workspace, &export).assert().code(0).stderr(contains("prefix_bias 0").and(contains("2.72 times")));
    assert!(out.is_file());
    std::fs::remove_file(&out).unwrap();
    for more in [&["--prefix-length", "2"][..], &["--layers", "1,4"]] {
        catbench(&workspace, &[&quick[..], more].concat()).assert().code(0);
        catbench(&workspace, &export).assert().code(1).stderr(contains("one row"));
        assert!(!out.exists());
    }
}

fn sample(workspace: &Workspace, more: &[&str]) -> Command {
    let quick = ["sample", "demo", "--untrained", "--seed=0", "-n", "1", "--steps", "2"];
    catbench(workspace, &[&quick[..], more].concat())
}

#[test]
fn a_word_of_an_embedding_changes_the_picture_and_is_in_its_provenance() {
    let workspace = Workspace::with_models();
    let file = fixture("embeddings/diffusers.bin");
    let (file, hash) = (file.to_str().unwrap(), catbench::fs::sha256(&file).unwrap());
    let (with, without) = (workspace.home().join("with"), workspace.home().join("without"));
    let prompt = ["--prompt", "a <cat-toy> on grass", "--out"];
    sample(&workspace, &[&prompt[..], &[with.to_str().unwrap(), "--embedding", file]].concat()).assert().code(0);
    sample(&workspace, &[&prompt[..], &[without.to_str().unwrap()]].concat()).assert().code(0);
    let name = "001-seed-0.png";
    assert_ne!(image::open(with.join(name)).unwrap(), image::open(without.join(name)).unwrap());
    let Provenance::Record(record) = read_provenance(&with.join(name)).unwrap() else { panic!("no record") };
    assert!(record.embeddings[0].path.ends_with("diffusers.bin") && record.embeddings[0].sha256 == hash);
    let batches = workspace.concept().join("samples");
    let mut batches: Vec<PathBuf> = std::fs::read_dir(batches).unwrap().map(|entry| entry.unwrap().path()).collect();
    batches.sort();
    let toml = std::fs::read_to_string(batches[0].join("batch.toml")).unwrap();
    assert!(toml.contains(&hash) && toml.contains(file), "{toml}");
}

#[test]
fn an_embedding_that_cannot_be_used_is_named_and_no_job_is_made() {
    let workspace = Workspace::with_models();
    let of = |name: &str| fixture("embeddings").join(name).to_str().unwrap().to_owned();
    for (prompt, embedding, expected) in [
        ("a <cat-toy>", of("wide.bin"), ["wide.bin", "width 32", "width 24"]),
        ("a cat", of("diffusers.bin"), ["diffusers.bin", "<cat-toy>", "in no prompt"]),
        ("a teapot", of("diffusers.bin") + "=a", ["diffusers.bin", "\"a\"", "FILE=WORD"]),
        ("a <cat-toy>", of("missing.pt"), ["missing.pt", "cannot", "read"]),
    ] {
        let mut refused = sample(&workspace, &["--prompt", prompt, "--embedding", &embedding]).assert().code(1);
        for text in expected {
            refused = refused.stderr(contains(text));
        }
    }
    assert!(!workspace.concept().join("samples").exists(), "a job was made");
}

#[test]
fn an_export_does_not_write_over_what_is_no_adapter() {
    let workspace = Workspace::with_models();
    import(&workspace, "shared.bin");
    let out = workspace.home().join("notes.txt");
    std::fs::write(&out, "keep me").unwrap();
    let export = ["concept", "export-adapter", "demo", "--out", out.to_str().unwrap()];
    catbench(&workspace, &export).assert().code(1).stderr(contains("notes.txt").and(contains("--force")));
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "keep me");
    catbench(&workspace, &[&export[..], &["--force"]].concat()).assert().code(0);
    // An adapter may be written anew.
    catbench(&workspace, &export).assert().code(0);
}
