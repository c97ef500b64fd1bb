//! Segment Anything: held to the authors' code (`tests/parity/segment_anything.py`) with weights that a formula makes, and
//! from the command line.

use std::collections::HashMap;
use std::path::Path;

use crate::common::{Workspace, catbench, fixture};
use crate::sam::{file, weights};
use assert_cmd::assert::OutputAssertExt;
use candle_core::{Device, Tensor};
use catbench::image::{read_png_text, write_png};
use catbench::protocol::MaskPoint;
use catbench::segment::{Error, Segmenter};
use image::{GrayImage, Rgb, RgbImage};
use predicates::boolean::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

/// ‖got - want‖ / ‖want‖.
fn relative_error(got: &Tensor, want: &Tensor) -> f32 {
    let norm = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
    norm(&(got - want).unwrap()) / norm(want)
}

/// Hold the model of the fixture `name` to each of these references: a file, and the relative error allowed.
fn compare(name: &str, references: &[(&str, f32)]) {
    let folder = tempfile::tempdir().unwrap();
    let segmenter = Segmenter::load(&file(name, folder.path()), &Device::Cpu).unwrap();
    // Not square, so that it is padded.
    let photo = RgbImage::from_fn(96, 64, |x, y| Rgb([(x * 2) as u8, (y * 3) as u8, (x * y % 256) as u8]));
    let encoded = segmenter.encode(&photo).unwrap();
    let first = MaskPoint { x: 40, y: 20, concept: true };
    let other = |x, y, concept| vec![first, MaskPoint { x, y, concept }];
    let frame = [20, 10, 70, 50];
    let prompts =
        [("one", vec![first], None), ("two", other(80, 50, false), None), ("box", other(30, 40, true), Some(frame))];
    for (prompt, points, frame) in prompts {
        let (logits, quality) = segmenter.logits(&encoded, &points, frame).unwrap();
        let every = Tensor::arange_step(0u32, 256, 4, &Device::Cpu).unwrap();
        let logits = logits.index_select(&every, 1).unwrap().index_select(&every, 2).unwrap();
        let quality = Tensor::new(quality, &Device::Cpu).unwrap();
        let mask = match frame {
            None => segmenter.mask(&encoded, &points, 0.5).unwrap(),
            Some(frame) => segmenter.masks(&encoded, &points, frame).unwrap().swap_remove(0),
        };
        assert_eq!(mask.dimensions(), (96, 64), "of the photo's own size");
        for (reference, allowed) in references {
            let place = fixture("segment_anything").join(name).join(format!("{reference}.safetensors"));
            let want = candle_core::safetensors::load(place, &Device::Cpu).unwrap();
            let of_logits = relative_error(&logits, &want[&format!("{prompt}.logits")]);
            let of_quality = relative_error(&quality, &want[&format!("{prompt}.quality")]);
            let pixels = want[&format!("{prompt}.mask")].flatten_all().unwrap().to_vec1::<u8>().unwrap();
            let unlike = mask.iter().zip(&pixels).filter(|(got, want)| got != want).count();
            let said = format!(
                "{name} {prompt} {reference}: relative error of the logits {of_logits:.1e}, of the quality {of_quality:.1e} \
                 (allowed {allowed:.0e}); {unlike} of {} pixels of the mask differ",
                pixels.len()
            );
            println!("{said}");
            assert!(of_logits <= *allowed && of_quality <= *allowed, "{said}");
            assert!(pixels.len() == mask.len() && unlike * 1000 <= mask.len(), "{said}");
        }
    }
}

#[test]
fn sam_computes_what_the_authors_code_does() {
    compare("vit", &[("reference", 1e-5)]);
}

#[test]
fn mobile_sam_computes_what_the_authors_code_does_but_for_gelu() {
    compare("tiny_vit", &[("tanh", 1e-5), ("reference", 1e-3)]);
}

#[test]
fn what_is_no_sam_or_not_whole_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let said = |path: &Path| Segmenter::load(path, &Device::Cpu).err().unwrap().to_string();
    let whole = weights("vit");
    let write = |name: &str, tensors: &HashMap<String, Tensor>| {
        let path = folder.path().join(name);
        candle_core::safetensors::save(tensors, &path).unwrap();
        path
    };

    let message = said(&folder.path().join("none.safetensors"));
    assert!(message.contains("cannot read") && message.contains("none.safetensors"), "{message}");
    let message = said(&fixture("tiny_clip").join("model.safetensors"));
    assert!(message.contains("neither SAM nor MobileSAM"), "{message}");
    let theirs = HashMap::from([(
        "vision_encoder.x".to_owned(),
        Tensor::zeros(1, candle_core::DType::F32, &Device::Cpu).unwrap(),
    )]);
    let message = said(&write("transformers.safetensors", &theirs));
    assert!(message.contains("names of transformers"), "{message}");

    let bytes = std::fs::read(write("whole.safetensors", &whole)).unwrap();
    let cut = folder.path().join("cut.safetensors");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let message = said(&cut);
    assert!(message.contains("cut.safetensors"), "{message}");

    for lacking in
        ["mask_decoder.iou_token.weight", "image_encoder.neck.0.weight", "prompt_encoder.no_mask_embed.weight"]
    {
        let mut less = whole.clone();
        less.remove(lacking).unwrap();
        let message = said(&write("less.safetensors", &less));
        assert!(message.contains(lacking) && message.contains("not whole"), "{message}");
    }
    let mut odd = whole.clone();
    odd.insert(
        "mask_decoder.mask_tokens.weight".into(),
        Tensor::zeros((7, 256), candle_core::DType::F32, &Device::Cpu).unwrap(),
    );
    let message = said(&write("odd.safetensors", &odd));
    assert!(message.contains("mask_tokens"), "{message}");
}

#[test]
fn points_are_checked_before_anything_is_computed() {
    let folder = tempfile::tempdir().unwrap();
    let segmenter = Segmenter::load(&file("vit", folder.path()), &Device::Cpu).unwrap();
    let encoded = segmenter.encode(&RgbImage::new(5, 3)).unwrap();
    let point = |x, y, concept| MaskPoint { x, y, concept };
    let error = segmenter.mask(&encoded, &[point(4, 3, true)], 0.5).err().unwrap();
    assert!(matches!(error, Error::Outside { point: (4, 3), size: (5, 3) }), "{error}");
    for points in [vec![], vec![point(1, 1, false)]] {
        assert!(matches!(segmenter.mask(&encoded, &points, 0.5), Err(Error::NoPoint)));
    }
    let mask = segmenter.mask(&encoded, &[point(4, 2, true)], 0.5).unwrap();
    assert_eq!(mask.dimensions(), (5, 3));
}

#[test]
fn masks_are_made_at_points_from_the_command_line_and_say_how() {
    let workspace = Workspace::new();
    let photo = workspace.concept().join("images/beach.png");
    let mask = workspace.concept().join("masks/beach.png");
    RgbImage::from_fn(50, 30, |x, y| Rgb([(x * 4) as u8, (y * 7) as u8, 80])).save(&photo).unwrap();
    write_png(&mask, &GrayImage::new(50, 30), &[]).unwrap();
    let photo = photo.to_str().unwrap();
    let run = |more: &[&str]| {
        let args = [&["mask", "make", "demo", photo, "--sam"], more].concat();
        catbench(&workspace, &args).assert()
    };

    let teaches = contains("sam_model is missing").and(contains("mobile_sam-tiny-vitt.safetensors"));
    run(&["--point", "20,10"]).code(1).stderr(teaches.and(contains("huggingface.co/lmz/candle-sam")));
    run(&[]).code(2).stderr(contains("--point"));
    run(&["--point", "20"]).code(2).stderr(contains("as in 120,80"));
    run(&["--point", "2,1", "--seed", "3"]).code(2).stderr(contains("cannot be used with"));

    file("vit", &workspace.concept());
    let path = workspace.concept().join("concept.toml");
    let toml = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{toml}sam_model = \"vit.safetensors\"\n")).unwrap();
    run(&["--point", "50,10"]).code(1).stderr(contains("50,10 is outside of the photo, which is 50 x 30"));
    run(&["--point", "5,5", "--threshold", "1.5"]).code(1).stderr(contains("above 0 and below 1"));
    assert!(image::open(&mask).unwrap().into_luma8().iter().all(|&value| value == 0), "nothing was written");

    let made = run(&["--point", "20,10", "--not-point", "45,25", "--point", "22,10", "--json"]).success();
    let made: Value = serde_json::from_slice(&made.get_output().stdout).unwrap();
    assert_eq!(made["masks"][0]["mask"], mask.to_str().unwrap());
    let drawn = image::open(&mask).unwrap().into_luma8();
    assert_eq!(drawn.dimensions(), (50, 30), "of the photo's own size");
    assert!(drawn.iter().all(|value| [0, 255].contains(value)) && drawn.contains(&255));
    let text: HashMap<String, String> = read_png_text(&mask).unwrap().into_iter().collect();
    let expected = [
        ("mask_made_by", "segment_anything"),
        ("sam_model", "vit.safetensors"),
        ("points", "20,10 22,10"),
        ("not_points", "45,25"),
        ("threshold", "0.5"),
    ];
    expected.iter().for_each(|(key, value)| assert_eq!(text[*key], *value, "{text:?}"));
    assert_eq!(text["sam_model_sha256"].len(), 64);

    run(&["--point", "20,10", "--not-point", "45,25", "--point", "22,10"]).success();
    assert_eq!(image::open(&mask).unwrap().into_luma8(), drawn, "the same again");
}

#[test]
fn masks_are_made_by_segment_anything_where_the_base_model_sees_the_class_word() {
    let workspace = Workspace::new();
    workspace.use_base_model(&fixture("tiny_sd1"));
    let photo = workspace.concept().join("images/beach.png");
    let mask = workspace.concept().join("masks/beach.png");
    file("vit", &workspace.concept());
    let path = workspace.concept().join("concept.toml");
    let toml = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{toml}sam_model = \"vit.safetensors\"\n")).unwrap();
    let made = || {
        let args = ["mask", "make", "demo", photo.to_str().unwrap(), "--masks", "sam", "--mask-quality", "fast"];
        catbench(&workspace, &args).assert().success().stdout(contains("beach.png"));
        std::fs::read(&mask).unwrap()
    };
    let first = made();
    let text: HashMap<String, String> = read_png_text(&mask).unwrap().into_iter().collect();
    assert_eq!((text["mask_made_by"].as_str(), text["timesteps"].as_str()), ("sam", "100, 200, 400"));
    assert_eq!((text["sam_model_sha256"].len(), text["base_model"].len()), (64, 64));
    assert!((0.0..=1.0).contains(&text["confidence"].parse::<f64>().unwrap()));
    assert_eq!(made(), first, "the same again");
}
