//! What pictures say of how they were made: shown, compared, replayed; forged and damaged.

use std::fs::{read, write};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::common::{Workspace, catbench, json};
use assert_cmd::assert::OutputAssertExt;
use catbench::image::{Parameters, Provenance, read_png_text, read_provenance, write_picture, write_png};
use catbench::protocol::{
    DeviceName, EmbeddingFile, FloatType, ModelSpec, OtherConcept, PictureConfig, PictureRecord, SampleConfig,
    SamplerKind, UsedCheckpoint, UsedConcept,
};
use image::{Rgb, RgbImage};
use predicates::boolean::PredicateBooleanExt;
use predicates::str::contains;

fn record() -> PictureRecord {
    let picture = PictureConfig {
        negative_prompt: "dark, \\{concept}: ugly".into(),
        sampler: SamplerKind::DpmPlusPlus2m,
        karras: true,
        ..SampleConfig::default().picture("a {concept} on (grass:1.2)".into(), u64::MAX)
    };
    PictureRecord {
        format: PictureRecord::FORMAT,
        version: "0.1.0".into(),
        concept: "demo".into(),
        class_word: "teapot".into(),
        base_model: ModelSpec::at(Path::new("/models/v1-5.safetensors")),
        base_model_sha256: "6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa".into(),
        checkpoint: Some(UsedCheckpoint { path: "/runs/step-000002.safetensors".into(), sha256: None, step: 2 }),
        picture,
        uncond_prefix: false,
        every_prompt: false,
        concepts: Vec::new(),
        concept_steps: None,
        embeddings: Vec::new(),
        batch_size: 4,
        device: DeviceName::Cpu,
        dtype: FloatType::F32,
        width: 8,
        height: 8,
    }
}

fn picture() -> RgbImage {
    RgbImage::from_fn(8, 8, |x, y| Rgb([x as u8 * 30, y as u8 * 30, 90]))
}

#[test]
fn a_picture_tells_other_programs_and_this_one_how_it_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture.png");
    write_picture(&path, &picture(), &record()).unwrap();
    assert_eq!(read_provenance(&path).unwrap(), Provenance::Record(Box::new(record())));
    let text = read_png_text(&path).unwrap();
    let parameters = &text.iter().find(|(key, _)| key == "parameters").unwrap().1;
    let expected = "a teapot on (grass:1.2)\nNegative prompt: dark, {concept}: ugly\nSteps: 50, Sampler: DPM++ 2M, Schedule type: \
                    Karras, CFG scale: 7.5, Seed: 18446744073709551615, Size: 8x8, Model hash: 6ce0161689, Model: v1-5, \
                    Version: catbench 0.1.0";
    assert_eq!(parameters, expected);
    // Latin-1 in the kind of text that all readers know, all else in the other.
    assert!(
        chunks(&read(&path).unwrap()).iter().any(|(kind, data)| kind == b"tEXt" && data.starts_with(b"parameters\0"))
    );
    let picture_of = |prompt: &str| {
        let mut record = record();
        record.picture.prompt = prompt.into();
        write_picture(&path, &picture(), &record).unwrap();
        assert_eq!(read_provenance(&path).unwrap().prompt(), Some(prompt));
        chunks(&read(&path).unwrap()).into_iter().filter(|(kind, _)| kind == b"iTXt").count()
    };
    assert_eq!(picture_of("théière"), 0);
    assert_eq!(picture_of("茶壺 🫖"), 2);
}

#[test]
fn a_picture_of_another_program_is_explained() {
    let workspace = Workspace::new();
    let file = |name: &str, text: &[(&str, &str)]| {
        let path = workspace.home().join(name);
        write_png(&path, &picture(), text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let said =
        "a cat\nNegative prompt: dog\nSteps: 28, Sampler: Euler a, CFG scale: 7, Seed: 34, Size: 8x8, Model: v1-5";
    let (web, plain) = (file("web.png", &[("parameters", said)]), file("plain.png", &[]));
    let old = file("old.png", &[("prompt", "a {concept}"), ("seed", "7"), ("trained_steps", "300")]);
    catbench(&workspace, &["show", &web]).assert().code(0).stdout(contains("another program").and(contains("Euler a")));
    assert_eq!(json(&workspace, &["show", &web])["provenance"]["negative_prompt"], "dog");
    catbench(&workspace, &["show", &plain]).assert().code(0).stdout(contains("does not say"));
    let Provenance::Parameters(parameters) = read_provenance(Path::new(&old)).unwrap() else { panic!("{old}") };
    assert_eq!((parameters.prompt.as_str(), parameters.get("Seed")), ("a {concept}", Some("7")));
    assert_eq!(read_provenance(Path::new(&old)).unwrap().trained_steps(), 300);
    for path in [&web, &old] {
        catbench(&workspace, &["replay", path]).assert().code(1).stderr(contains("catbench show"));
    }
    catbench(&workspace, &["replay", &plain]).assert().code(1).stderr(contains("does not say how it was made"));
    let other = file("other.png", &[("parameters", &said.replace("Seed: 34", "Seed: 35"))]);
    let differ = json(&workspace, &["diff", &web, &other]);
    assert_eq!(differ["settings"], serde_json::json!([{ "setting": "Seed", "a": "34", "b": "35" }]));
    assert_eq!(differ["pixels"]["different"], 0);
    let large = workspace.home().join("large.png");
    let mut all = chunks(&read(&web).unwrap());
    all[0].1[..8].copy_from_slice(&[16_000u32.to_be_bytes(), 16_000u32.to_be_bytes()].concat());
    write(&large, png(&all)).unwrap();
    let large = large.to_str().unwrap();
    // Of two sizes no pixel is read.
    assert_eq!(json(&workspace, &["diff", &web, large])["sizes"], serde_json::json!([[8, 8], [16_000, 16_000]]));
    catbench(&workspace, &["diff", large, large]).assert().code(1).stderr(contains("too many to compare"));
    catbench(&workspace, &["diff", &web, &web])
        .assert()
        .code(0)
        .stdout(contains("no difference").and(contains("all equal")));
}

/// The chunks of a PNG: kinds and contents.
fn chunks(png: &[u8]) -> Vec<([u8; 4], Vec<u8>)> {
    let (mut at, mut chunks) = (8, Vec::new());
    while at + 12 <= png.len() {
        let length = u32::from_be_bytes(png[at..at + 4].try_into().unwrap()) as usize;
        chunks.push((png[at + 4..at + 8].try_into().unwrap(), png[at + 8..at + 8 + length].to_vec()));
        at += 12 + length;
    }
    chunks
}

/// A PNG of these chunks.
fn png(chunks: &[([u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in chunks {
        let body = [kind.as_slice(), data].concat();
        let mut crc = flate2::Crc::new();
        crc.update(&body);
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(body);
        bytes.extend(crc.sum().to_be_bytes());
    }
    bytes
}

/// A good picture with more chunks before its pixels.
fn with(more: &[([u8; 4], Vec<u8>)]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    write_png(&path, &picture(), &[]).unwrap();
    let mut all = chunks(&read(&path).unwrap());
    all.splice(1..1, more.iter().cloned());
    png(&all)
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// `catbench` with 1 GiB of addresses to take at most.
fn bounded(workspace: &Workspace, verb: &str, file: &Path) -> Output {
    let mut command = std::process::Command::new("sh");
    let program = env!("CARGO_BIN_EXE_catbench");
    command.args(["-c", "ulimit -v 1048576; exec \"$0\" \"$@\"", program, verb]).arg(file);
    command.env("CATBENCH_HOME", workspace.home()).output().unwrap()
}

#[test]
fn forged_and_huge_texts_are_refused_within_bounded_memory() {
    let workspace = Workspace::new();
    let text = |key: &str, value: &[u8]| (*b"tEXt", [key.as_bytes(), b"\0", value].concat());
    let json_of = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut value = serde_json::to_value(record()).unwrap();
        change(&mut value);
        text("catbench", value.to_string().as_bytes())
    };
    let zeros = vec![b'a'; 64 << 20];
    let nested = "[".repeat(1 << 20);
    let compressed = |data: &[u8]| [b"catbench\0\x01\0\0\0", &deflated(data)[..]].concat();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("not json", with(&[text("catbench", b"hello")]), "damaged or of another version"),
        ("empty", with(&[text("catbench", b"")]), "damaged or of another version"),
        ("no format", with(&[text("catbench", b"{}")]), "its format is none"),
        ("a list", with(&[text("catbench", b"[1, 2]")]), "its format is none"),
        ("of the future", with(&[json_of(&|v| v["format"] = 99.into())]), "its format is 99"),
        ("format of text", with(&[json_of(&|v| v["format"] = "1".into())]), "its format is none"),
        ("half of it", with(&[text("catbench", &record_json().as_bytes()[..200])]), "damaged"),
        ("nested deep", with(&[text("catbench", nested.as_bytes())]), "recursion limit"),
        ("a seed below 0", with(&[json_of(&|v| v["picture"]["seed"] = (-1).into())]), "integer `-1`"),
        ("an odd sampler", with(&[json_of(&|v| v["picture"]["sampler"] = "heun".into())]), "heun"),
        ("an odd device", with(&[json_of(&|v| v["device"] = "tpu".into())]), "tpu"),
        ("without a picture", with(&[json_of(&|v| drop(v.as_object_mut().unwrap().remove("picture")))]), "picture"),
        ("5 MiB of text", with(&[text("Comment", &zeros[..5 << 20])]), "MiB of text"),
        ("64 MiB of text", with(&[text("catbench", &zeros)]), "MiB of text"),
        ("a bomb in zTXt", with(&[(*b"zTXt", [b"catbench\0\0", &deflated(&zeros)[..]].concat())]), "damaged"),
        ("a bomb in iTXt", with(&[(*b"iTXt", compressed(&zeros))]), "damaged"),
        ("many bombs", with(&vec![(*b"iTXt", compressed(&zeros[..3 << 20])); 40]), "damaged"),
        ("zTXt of noise", with(&[(*b"zTXt", b"catbench\0\0noise".to_vec())]), "damaged"),
    ];
    let mut cases: Vec<(String, Vec<u8>, &str)> =
        cases.into_iter().map(|(name, bytes, said)| (name.to_owned(), bytes, said)).collect();
    // Every value of the record of a kind that it cannot be, and every one that it cannot be without.
    let whole = serde_json::to_value(record()).unwrap();
    for field in whole.as_object().unwrap().keys().filter(|field| *field != "format") {
        cases.push((
            format!("{field} is a list"),
            with(&[json_of(&|v| v[field] = serde_json::json!([[]]))]),
            "damaged",
        ));
    }
    for field in whole["picture"].as_object().unwrap().keys() {
        let wrong = json_of(&|v| v["picture"][field] = serde_json::json!({ "a": 1 }));
        cases.push((format!("picture.{field} is a table"), with(&[wrong]), "damaged"));
    }
    let sized = |width: u32, height: u32| {
        let mut all = chunks(&with(&[json_of(&|_| ())]));
        all[0].1[..8].copy_from_slice(&[width.to_be_bytes(), height.to_be_bytes()].concat());
        png(&all)
    };
    cases.push(("no pixels".into(), sized(0, 8), "is truncated or damaged"));
    cases.push(("2^62 pixels".into(), sized(0x7fff_ffff, 0x7fff_ffff), "over the limit"));
    cases.push(("a line of 2^31".into(), sized(0x7fff_ffff, 1), "over the limit"));
    cases.push(("a size above all".into(), sized(0xffff_ffff, 0xffff_ffff), "over the limit"));
    cases.push(("no chunk".into(), png(&[]), "is truncated or damaged"));
    cases.push(("no picture in it".into(), png(&chunks(&with(&[]))[..1]), "is truncated or damaged"));
    cases.push(("text".into(), b"a cup\n".to_vec(), "is not a picture"));
    cases.push(("nothing".into(), Vec::new(), "is not a picture"));
    assert!(cases.len() >= 45, "{}", cases.len());
    let path = workspace.home().join("forged.png");
    for (name, bytes, expected) in &cases {
        write(&path, bytes).unwrap();
        for verb in ["show", "replay"] {
            let output = bounded(&workspace, verb, &path);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{name}, {verb}: {said}");
            assert!(
                said.contains(expected) && said.contains("forged.png") && said.len() < 600,
                "{name}, {verb}: {said}"
            );
        }
    }
}

fn record_json() -> String {
    serde_json::to_string(&record()).unwrap()
}

#[test]
fn a_picture_damaged_anywhere_is_read_or_refused_and_never_breaks_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture.png");
    write_picture(&path, &picture(), &record()).unwrap();
    let whole = read(&path).unwrap();
    let read_it = |bytes: &[u8]| {
        write(&path, bytes).unwrap();
        read_provenance(&path)
    };
    for end in (0..whole.len()).step_by(7) {
        let error = read_it(&whole[..end]).unwrap_err().to_string();
        assert!(error.contains("picture.png"), "{end} bytes: {error}");
    }
    let mut seed = 7u64;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for _ in 0..300 {
        let mut bytes = whole.clone();
        for _ in 0..=next(4) {
            let at = next(bytes.len());
            bytes[at] = next(256) as u8;
        }
        if let Err(error) = read_it(&bytes) {
            assert!(error.to_string().contains("picture.png"), "{error}");
        }
        // The same damage under good checksums: nothing keeps it from the readers of the text.
        let mut all = chunks(&whole);
        let texts: Vec<usize> = (0..all.len()).filter(|&i| &all[i].0 == b"tEXt").collect();
        let data = &mut all[texts[next(texts.len())]].1;
        for _ in 0..=next(4) {
            let at = next(data.len());
            data[at] = next(256) as u8;
        }
        if let Err(error) = read_it(&png(&all)) {
            assert!(error.to_string().contains("picture.png"), "{error}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn any_values_are_read_as_they_were_written(prompt in "\\PC{1,40}", negative in "\\PC{0,20}", seed: u64, strength in 0f32..2.0) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.png");
        let mut record = record();
        record.picture = PictureConfig { prompt, negative_prompt: negative, seed, strength, ..record.picture };
        write_picture(&path, &picture(), &record).unwrap();
        proptest::prop_assert_eq!(read_provenance(&path).unwrap(), Provenance::Record(Box::new(record)));
        let text = read_png_text(&path).unwrap();
        let parameters = Parameters::parse(&text.iter().find(|(key, _)| key == "parameters").unwrap().1);
        let seed = seed.to_string();
        proptest::prop_assert_eq!(parameters.get("Seed"), Some(seed.as_str()));
    }
}

/// A workspace with a trained run and one picture of it.
fn sampled() -> (Workspace, PathBuf) {
    let workspace = Workspace::with_models();
    let quick = ["train", "demo", "--sample-every", "0", "--validate-every", "0", "--steps", "2"];
    catbench(&workspace, &quick).assert().code(0);
    let said = json(&workspace, &["sample", "demo", "--prompt", "a {concept}", "-n", "1", "--steps", "2"]);
    let picture = PathBuf::from(said["pictures"][0].as_str().unwrap());
    (workspace, picture)
}

#[test]
fn what_a_replay_lacks_is_named() {
    let (workspace, picture) = sampled();
    let refused = |said: &str| {
        catbench(&workspace, &["replay", picture.to_str().unwrap()]).assert().code(1).stderr(contains(said.to_owned()));
    };
    let Provenance::Record(record) = read_provenance(&picture).unwrap() else { panic!("no record") };
    let checkpoint = record.checkpoint.clone().unwrap().path;
    let kept = read(&checkpoint).unwrap();
    let other = [&kept[..kept.len() - 1], &[kept[kept.len() - 1] ^ 1]].concat();
    write(&checkpoint, other).unwrap();
    refused("this checkpoint of step 2 has another hash");
    std::fs::remove_file(&checkpoint).unwrap();
    refused("step-000002.safetensors: this checkpoint of step 2 is missing");
    write(&checkpoint, &kept).unwrap();
    let pixels = image::open(&picture).unwrap().into_rgb8();
    let forge = |change: &dyn Fn(&mut PictureRecord)| {
        let mut forged = (*record).clone();
        change(&mut forged);
        write_picture(&picture, &pixels, &forged).unwrap();
    };
    forge(&|record| record.base_model_sha256 = "00".repeat(32));
    refused("the base model of the picture, sha256 000000000000");
    for odd in ["/dev/zero", "/nowhere"] {
        forge(&|record| {
            record.base_model.vae = Some(odd.into());
            record.base_model_sha256 = "00".repeat(32);
        });
        refused("the base model of the picture, sha256 000000000000");
        let sha256 = "00".repeat(32);
        forge(&|record| {
            record.embeddings = vec![EmbeddingFile { path: odd.into(), token: None, sha256: sha256.clone() }];
        });
        refused("this embedding is missing");
        forge(&|record| {
            let concept =
                OtherConcept { name: "cup".into(), class_word: "cup".into(), checkpoint: odd.into(), strength: 1.0 };
            record.concepts = vec![UsedConcept { concept, sha256: sha256.clone() }];
        });
        refused("this checkpoint of cup");
    }
    let pipe = workspace.home().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    forge(&|record| {
        record.embeddings = vec![EmbeddingFile { path: pipe.clone(), token: None, sha256: String::new() }];
    });
    refused("this embedding is missing");
    let error = catbench::fs::sha256(&pipe).unwrap_err().to_string();
    assert!(error.contains("a pipe, not a file") && catbench::fs::sha256(Path::new("/dev/zero")).is_err(), "{error}");
    forge(&|record| record.batch_size = usize::MAX);
    refused("made together");
    forge(&|record| record.batch_size = 1000);
    refused("raise --max-batch");
    forge(&|record| record.width *= 2);
    refused("its record says");
    forge(&|record| record.picture.steps = usize::MAX);
    refused("steps");
    forge(&|record| record.picture.strength = -1.0);
    refused("strength = -1");
    forge(&|record| record.picture.seed += 1);
    refused("is not the same picture");
    forge(&|record| record.base_model.path = "/nowhere".into());
    catbench(&workspace, &["replay", picture.to_str().unwrap()]).assert().code(0).stdout(contains("the same picture"));
    // Nothing of it depends on where the concept is and on what it is called.
    forge(&|record| {
        record.base_model.path = "/nowhere".into();
        record.concept = "../../etc".into();
        record.checkpoint.as_mut().unwrap().path = "/nowhere/runs/other/checkpoints/step-000002.safetensors".into();
    });
    let batches = || {
        let mut pictures = 0;
        for folder in std::fs::read_dir(workspace.concept().join("samples")).unwrap() {
            let files = std::fs::read_dir(folder.unwrap().path()).unwrap().map(|file| file.unwrap().path());
            pictures += files.filter(|file| file.extension().is_some_and(|extension| extension == "png")).count();
        }
        pictures
    };
    let before = batches();
    let said = json(&workspace, &["replay", picture.to_str().unwrap()]);
    assert_eq!((&said["same"], &said["batch"]), (&true.into(), &serde_json::Value::Null), "{said}");
    assert_eq!(batches(), before, "an equal picture is not kept");
    catbench(&workspace, &["jobs"]).assert().code(0).stdout(contains("gone").not());
    let elsewhere = workspace.home().join("elsewhere.png");
    std::fs::copy(&picture, &elsewhere).unwrap();
    let elsewhere = elsewhere.to_str().unwrap();
    catbench(&workspace, &["replay", elsewhere])
        .assert()
        .code(1)
        .stderr(contains("no concept \"../../etc\"").and(contains("--concept NAME")));
    let said = json(&workspace, &["replay", elsewhere, "--concept", "demo", "--keep"]);
    assert!(said["same"] == true && said["batch"].is_string(), "{said}");
    assert_eq!(batches(), before + 1);
}
