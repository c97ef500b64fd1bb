//! The scores against transformers, and what happens when a model, a mask or a prompt is not what it should be.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use catbench::image::{MaskSays, mask_says, read_any_mask, read_mask, read_photo, read_png_text};
use catbench::metrics::{
    ClipScorer, DinoScorer, EmbeddingCache, Error, LOOKS, Measuring, PictureModel, Preprocessor, ScoredMask,
    ScoredPhoto, ScoredSample,
};
use catbench::personalize::{prompt_text, scene_text};
use catbench::protocol::{ClipText, DOUBTFUL_BELOW, Fill, MaskReport, ScoreCrop, Unit};
use catbench::statistics::{ScoreRecord, balance, compare, pool};
use catbench::workspace::ScoreLine;
use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::Value;

fn tiny_clip() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny_clip")
}

fn tiny_dino() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny_dino")
}

/// Whole pictures by `scorer` alone, nothing kept.
fn measure(
    scorer: &ClipScorer,
    photos: &[ScoredPhoto],
    samples: &[ScoredSample],
    fill: Fill,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<ScoreRecord, Error> {
    Measuring { fill, ..by(scorer) }.measure(photos, samples, progress)
}

fn by(clip: &ClipScorer) -> Measuring<'_> {
    let (fill, crop, clip_text) = (Fill::Black, ScoreCrop::Whole, ClipText::ClassWord);
    Measuring { clip, dino: None, fill, crop, clip_text, cache: None }
}

fn scorer() -> ClipScorer {
    ClipScorer::load(&tiny_clip(), &Device::Cpu).unwrap()
}

/// The pictures of the fixture and what PyTorch made of them.
fn reference() -> (Vec<RgbImage>, std::collections::HashMap<String, Tensor>, Value) {
    let folder = tiny_clip();
    let record: Value = serde_json::from_slice(&std::fs::read(folder.join("reference.json")).unwrap()).unwrap();
    let names = record["images"].as_array().unwrap().iter();
    let pictures = names.map(|name| read_photo(&folder.join("images").join(name.as_str().unwrap())).unwrap());
    let tensors = candle_core::safetensors::load(folder.join("reference.safetensors"), &Device::Cpu).unwrap();
    (pictures.collect(), tensors, record)
}

fn distance(found: &Tensor, expected: &Tensor) -> f32 {
    let norm = |tensor: &Tensor| tensor.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
    assert_eq!(found.dims(), expected.dims());
    norm(&(found - expected).unwrap()) / norm(expected)
}

#[test]
fn preprocessing_equals_transformers_to_the_last_bit() {
    let (pictures, expected, record) = reference();
    let preprocessor = Preprocessor::load(&tiny_clip()).unwrap();
    for (index, picture) in pictures.iter().enumerate() {
        let expected = expected["pixels"].get(index).unwrap().permute((1, 2, 0)).unwrap();
        let expected = expected.flatten_all().unwrap().to_vec1::<u8>().unwrap();
        assert!(preprocessor.pixels(picture).into_raw() == expected, "{}", record["images"][index]);
    }
    let values = preprocessor.tensor(&pictures, &Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(values == expected["pixel_values"].flatten_all().unwrap().to_vec1::<f32>().unwrap());
}

#[test]
fn embeddings_equal_transformers() {
    let (pictures, expected, record) = reference();
    let scorer = scorer();
    let error = distance(&scorer.image_embeds(&pictures, &mut |_| {}).unwrap(), &expected["image_embeds"]);
    assert!(error < 1e-6, "images: {error}");
    let texts: Vec<String> =
        record["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().into()).collect();
    let error = distance(&scorer.text_embeds(&texts[..2]).unwrap(), &expected["text_embeds"].narrow(0, 0, 2).unwrap());
    assert!(error < 1e-6, "texts: {error}");
    // The reference cut this one to the model's 16 tokens; a score must not.
    let message = scorer.text_embeds(&texts[3..]).unwrap_err().to_string();
    assert!(message.contains("two teapots") && message.contains("holds 16"), "{message}");
}

/// A photo or sample: a disc in one colour on a plain scene, and the disc's mask.
fn picture(object: [u8; 3], scene: [u8; 3], x: f32) -> (RgbImage, GrayImage) {
    let inside = |column: u32, row: u32| (column as f32 - x).hypot(row as f32 - 20.0) < 9.0;
    let image = RgbImage::from_fn(48, 40, |column, row| Rgb(if inside(column, row) { object } else { scene }));
    (image, GrayImage::from_fn(48, 40, |column, row| Luma([if inside(column, row) { 255 } else { 0 }])))
}

fn samples(object: [u8; 3]) -> Vec<ScoredSample> {
    let scenes = [("a cup on snow", [240, 240, 250]), ("a cup at night", [5, 5, 30])];
    let with_seeds = scenes.iter().flat_map(|scene| (0..3).map(move |seed| (scene, seed)));
    with_seeds
        .map(|((prompt, scene), seed)| {
            let (image, mask) = picture(object, *scene, 16.0 + 5.0 * seed as f32);
            let scene_text = Some(prompt.replace("a cup", "a"));
            let (prompt_text, mask) = ((*prompt).into(), Some(mask.into()));
            ScoredSample { image, mask, prompt_text, scene_text, seed: Some(seed), noise: None }
        })
        .collect()
}

fn photos() -> Vec<ScoredPhoto> {
    [[30, 140, 30], [200, 180, 120]]
        .iter()
        .map(|&scene| picture([220, 40, 60], scene, 24.0))
        .map(|(image, mask)| (image, Some(mask.into())))
        .collect()
}

#[test]
fn a_record_holds_what_was_measured_on_what_and_how() {
    let scorer = scorer();
    let (photos, samples) = (photos(), samples([220, 40, 60]));
    let mut heard = Vec::new();
    let mut progress = |done, total| heard.push((done, total));
    let record = measure(&scorer, &photos, &samples, Fill::Grey, &mut progress).unwrap();

    assert_eq!(heard.last(), Some(&(8 * LOOKS, 8 * LOOKS)), "2 photos and 6 samples, each in all its looks");
    assert!(heard.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert_eq!((record.photos.len(), record.samples.len(), record.scores.masked_clip_i.n), (2, 6, 6));
    assert_eq!((record.fill_colour, record.backbone.name.as_str()), ([128; 3], "tiny_clip"));
    assert!(record.preprocessing.contains("shortest edge 32 (bicubic), centre 32x32"), "{}", record.preprocessing);
    let whole = std::fs::read(tiny_clip().join("model.safetensors")).unwrap();
    assert_eq!(record.backbone.sha256, format!("{:x}", <sha2::Sha256 as sha2::Digest>::digest(whole)));

    // The definitions, from the embeddings themselves.
    let filled =
        |image: &RgbImage, mask: &GrayImage| {
            RgbImage::from_fn(48, 40, |x, y| {
                if mask.get_pixel(x, y).0[0] > 0 { *image.get_pixel(x, y) } else { Rgb([128; 3]) }
            })
        };
    let embed =
        |image: RgbImage| scorer.image_embeds(&[image], &mut |_| {}).unwrap().get(0).unwrap().to_vec1::<f32>().unwrap();
    let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let (mut masked, mut unmasked, mut text) = (0.0, 0.0, 0.0);
    for sample in &samples {
        for (image, mask) in &photos {
            let pixels = |mask: &Option<ScoredMask>| mask.as_ref().unwrap().pixels.clone();
            let (a, b) = (filled(&sample.image, &pixels(&sample.mask)), filled(image, &pixels(mask)));
            masked += cosine(&embed(a), &embed(b)) / 12.0;
            unmasked += cosine(&embed(sample.image.clone()), &embed(image.clone())) / 12.0;
        }
        let prompt = scorer
            .text_embeds(std::slice::from_ref(&sample.prompt_text))
            .unwrap()
            .get(0)
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        text += cosine(&embed(sample.image.clone()), &prompt) / 6.0;
    }
    for (found, expected) in [
        (&record.scores.masked_clip_i, masked),
        (&record.scores.clip_i, unmasked),
        (&record.scores.clip_t, text),
        (&record.scores.balance, balance(masked, text)),
    ] {
        assert!((found.value - expected).abs() < 1e-6, "{found:?} {expected}");
        assert!(found.low <= found.value && found.value <= found.high);
    }

    let line = serde_json::to_string(&record).unwrap();
    assert!(!line.contains('\n'));
    let read: ScoreRecord = serde_json::from_str(&line).unwrap();
    assert_eq!((&read.photos, &read.backbone, read.fill), (&record.photos, &record.backbone, record.fill));
    assert!((read.scores.balance.low - record.scores.balance.low).abs() < 1e-12);
    let again = measure(&scorer, &photos, &samples, Fill::Grey, &mut |_, _| {}).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), line, "the same pictures give the same record");
}

#[test]
fn the_scene_does_not_count_in_the_masked_score() {
    let scorer = scorer();
    // The same object at the same place on other scenes: masked they are the same picture, whole they are not.
    let photos = photos();
    let same = photos.iter().map(|(image, mask)| (image.clone(), mask.clone(), 1));
    let samples: Vec<_> = same
        .map(|(image, mask, seed)| {
            let (prompt_text, scene_text) = ("a cup".into(), None);
            ScoredSample { image, mask, prompt_text, scene_text, seed: Some(seed), noise: None }
        })
        .collect();
    let record = measure(&scorer, &photos, &samples, Fill::Mean, &mut |_, _| {}).unwrap();
    assert!((record.scores.masked_clip_i.value - 1.0).abs() < 1e-6, "{:?}", record.scores.masked_clip_i);
    assert!(record.scores.clip_i.value < 0.999, "{:?}", record.scores.clip_i);
}

#[test]
fn two_scorings_are_compared_pair_by_pair() {
    let scorer = scorer();
    let score = |object| measure(&scorer, &photos(), &samples(object), Fill::Black, &mut |_, _| {}).unwrap();
    let (before, after) = (score([60, 60, 220]), score([220, 40, 60]));
    let difference = compare(&before, &after).unwrap();
    let expected = after.scores.masked_clip_i.value - before.scores.masked_clip_i.value;
    assert!((difference.scores.masked_clip_i.value - expected).abs() < 1e-9 && expected > 0.0);
    assert!(difference.scores.masked_clip_i.low > 0.0, "the right colour is the better one: {difference:?}");
    assert_eq!((difference.unpaired, difference.scores.clip_t.n), (0, 6));

    let itself = compare(&after, &after).unwrap();
    assert_eq!((itself.scores.balance.value, itself.scores.balance.low, itself.scores.balance.high), (0.0, 0.0, 0.0));

    let mut fewer = after.clone();
    fewer.samples.remove(0);
    assert_eq!(compare(&before, &fewer).unwrap().unpaired, 1);
    let white = measure(&scorer, &photos(), &samples([1; 3]), Fill::White, &mut |_, _| {}).unwrap();
    assert!(compare(&before, &white).unwrap_err().to_string().contains("the fill"));
    let one_photo = measure(&scorer, &photos()[..1], &samples([1; 3]), Fill::Black, &mut |_, _| {}).unwrap();
    assert!(compare(&before, &one_photo).unwrap_err().to_string().contains("the photos"));
    fewer.samples.iter_mut().for_each(|sample| sample.seed = sample.seed.map(|seed| seed + 100));
    assert!(compare(&before, &fewer).unwrap_err().to_string().contains("no prompt and seed"));
}

/// The samples with masks that `maker` made, sure of those with an even seed only.
fn made_by(maker: &str, mut samples: Vec<ScoredSample>) -> Vec<ScoredSample> {
    for sample in &mut samples {
        let confidence = Some(DOUBTFUL_BELOW - if sample.seed.unwrap() % 2 == 0 { 0.0 } else { 0.01 });
        sample.mask.as_mut().unwrap().says = MaskSays { made_by: Some(maker.into()), confidence };
    }
    samples
}

#[test]
fn a_score_says_what_it_is_without_doubtful_masks_and_with_other_masks() {
    let scorer = scorer();
    let measure = |samples: &[ScoredSample]| measure(&scorer, &photos(), samples, Fill::Black, &mut |_, _| {});
    let all = made_by("base_model", samples([220, 90, 60]));
    let record = measure(&all).unwrap();
    let certain: Vec<_> = all.iter().filter(|sample| sample.seed.unwrap() % 2 == 0).cloned().collect();
    let alone = measure(&certain).unwrap().scores;
    let masks = &record.scores.masks;
    assert_eq!(masks.samples_doubtful, 2, "below the limit, not at it");
    assert_eq!(masks.without_doubtful.as_deref(), Some(&alone), "the same draws of the rest");
    assert_eq!(alone.masks.samples_doubtful, 0);
    let dependence = masks.mask_dependence.unwrap();
    let of =
        |value: fn(&catbench::statistics::SampleRecord) -> f64| record.samples.iter().map(value).sum::<f64>() / 6.0;
    assert!((dependence.grown - of(|sample| sample.mask_dependence.unwrap().grown)).abs() < 1e-12);
    assert!((dependence.shrunk - of(|sample| sample.mask_dependence.unwrap().shrunk)).abs() < 1e-12);
    let differ = |a: f64, b: f64| (a - b).abs() > 1e-4;
    assert!(differ(dependence.grown, dependence.shrunk) && differ(dependence.grown, record.scores.masked_clip_i.value));
    assert_eq!((masks.dino_mask_dependence, record.masks_too_thin, record.photos_doubtful), (None, 0, 0));

    // With the grown masks as masks the score is what was said.
    let grown = |mask: &Option<ScoredMask>| {
        // 0.05 · 17 pixels, rounded
        Some(catbench::image::grow_mask(&mask.as_ref().unwrap().pixels, 1).into())
    };
    let (mut photos, mut samples) = (photos(), all.clone());
    photos.iter_mut().for_each(|(_, mask)| *mask = grown(mask));
    samples.iter_mut().for_each(|sample| sample.mask = grown(&sample.mask));
    let with_grown = self::measure(&scorer, &photos, &samples, Fill::Black, &mut |_, _| {}).unwrap();
    assert!((with_grown.scores.masked_clip_i.value - dependence.grown).abs() < 1e-9);

    // All doubtful: nothing is left. No masks: nothing depends on them.
    let mut doubtful = all.clone();
    doubtful.iter_mut().for_each(|sample| sample.mask.as_mut().unwrap().says.confidence = Some(0.2));
    let masks = measure(&doubtful).unwrap().scores.masks;
    assert_eq!((masks.samples_doubtful, masks.without_doubtful), (6, None));
    doubtful.iter_mut().for_each(|sample| sample.mask = None);
    photos.iter_mut().for_each(|(_, mask)| *mask = None);
    let mut total = 0;
    let bare = self::measure(&scorer, &photos, &doubtful, Fill::Black, &mut |_, all| total = all).unwrap();
    assert_eq!((bare.scores.masks, total, bare.mask_makers.len()), (MaskReport::default(), 16, 0));

    // A line 2 pixels wide cannot be shrunk; a photo may be doubtful too.
    let mut thin = all;
    thin[0].mask = Some(GrayImage::from_fn(48, 40, |x, _| Luma([if x / 2 == 9 { 255 } else { 0 }])).into());
    photos[0].1 = Some(ScoredMask {
        pixels: GrayImage::from_fn(48, 40, |x, _| Luma([if x < 20 { 255 } else { 0 }])),
        says: MaskSays { made_by: Some("sam".into()), confidence: Some(0.2) },
    });
    let record = self::measure(&scorer, &photos, &thin, Fill::Black, &mut |_, _| {}).unwrap();
    assert_eq!((record.masks_too_thin, record.photos_doubtful), (1, 1));
    let photo = &record.photos[0];
    assert_eq!((photo.mask_made_by.as_deref(), photo.mask_confidence), (Some("sam"), Some(0.2)));
    let read: ScoreRecord = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
    let says = |record: &ScoreRecord| {
        let samples = record.samples.iter().map(|sample| (sample.mask_made_by.clone(), sample.mask_confidence));
        (samples.collect::<Vec<_>>(), record.photos.clone(), record.mask_makers.clone(), record.masks_too_thin)
    };
    assert_eq!(says(&read), says(&record));
    assert_eq!(read.scores.masks.without_doubtful.unwrap().masked_clip_i.n, 4);
    let [again, first] = [&read.samples[1], &record.samples[1]].map(|sample| sample.mask_dependence.unwrap());
    assert!((again.grown - first.grown).abs() < 1e-12 && (again.shrunk - first.shrunk).abs() < 1e-12);
}

#[test]
fn a_difference_says_what_it_owes_to_the_masks() {
    let scorer = scorer();
    let score = |object, maker: &str| {
        let samples = made_by(maker, samples(object));
        measure(&scorer, &photos(), &samples, Fill::Black, &mut |_, _| {}).unwrap()
    };
    let (before, after) = (score([60, 60, 220], "base_model"), score([220, 40, 60], "base_model"));
    let found = compare(&before, &after).unwrap().scores.masks;
    let [a, b] = [&before, &after].map(|record| record.scores.masks.mask_dependence.unwrap());
    let difference = found.mask_dependence.unwrap();
    assert!((difference.grown - (b.grown - a.grown)).abs() < 1e-12);
    assert!((difference.shrunk - (b.shrunk - a.shrunk)).abs() < 1e-12);
    // A pair is doubtful where either mask is.
    let mut more = after.clone();
    more.samples[0].mask_confidence = Some(0.1);
    let found = compare(&before, &more).unwrap().scores.masks;
    assert_eq!((found.samples_doubtful, found.without_doubtful.unwrap().masked_clip_i.n), (3, 3));

    let other = score([220, 40, 60], "sam");
    let refused = compare(&before, &other).unwrap_err().to_string();
    assert!(
        refused.ends_with("they differ in how the masks were made (by base_model; by sam); score both again"),
        "{refused}"
    );
    let pooled = pool(&[vec![(before.clone(), after.clone())], vec![(before.clone(), after)]]).unwrap();
    assert_eq!((pooled.first.masks.samples_doubtful, pooled.difference.scores.masks.samples_doubtful), (4, 4));
    assert!(pooled.difference.scores.masks.mask_dependence.is_some());
    let mixed = pool(&[vec![(before.clone(), before)], vec![(other.clone(), other)]]).unwrap_err().to_string();
    assert!(mixed.contains("how the masks were made (by base_model; by sam)"), "{mixed}");
}

/// A line as version 0.1.0 wrote it before masks said what made them and how sure it was.
#[test]
fn a_line_from_before_masks_had_makers_is_read_and_told_apart() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/scores-before-mask-makers.jsonl");
    let line = std::fs::read_to_string(path).unwrap();
    let old: ScoreRecord = serde_json::from_str(&line).unwrap();
    let read: ScoreLine = serde_json::from_str(&line).unwrap();
    assert_eq!((&read.record, read.asked, read.record.mask_makers.len()), (&old, None, 0));
    // Its intervals were a bootstrap's over prompts; its prompts share their seeds.
    assert_eq!((old.scores.unit, old.scores.masked_clip_i.units), (None, None));
    let today = old.scores_of();
    assert_eq!((today.unit, today.masked_clip_i.units), (Some(Unit::PromptAndSeed), Some(2)));
    assert!((today.masked_clip_i.value - old.scores.masked_clip_i.value).abs() < 1e-12);
    assert_eq!(old.scores.masks, MaskReport::default());
    assert!(old.samples.iter().all(|sample| sample.mask.is_some() && sample.mask_made_by.is_none()));

    // The same pictures again.
    let scorer = scorer();
    let measure = |maker: Option<&str>| {
        let mut samples = samples([220, 40, 60]);
        let masks = samples.iter_mut().flat_map(|sample| &mut sample.mask);
        masks.for_each(|mask| mask.says.made_by = maker.map(str::to_owned));
        measure(&scorer, &photos(), &samples, Fill::Grey, &mut |_, _| {}).unwrap()
    };
    let again = measure(Some("attention"));
    assert!((again.scores.masked_clip_i.value - old.scores.masked_clip_i.value).abs() < 1e-6);
    let difference = compare(&old, &again).unwrap().scores;
    assert!(difference.masked_clip_i.value.abs() < 1e-6 && difference.masks.mask_dependence.is_none());
    for (maker, said) in [(Some("base_model"), "(by attention; by base_model)"), (None, "(by attention; by unknown)")] {
        let refused = compare(&old, &measure(maker)).unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
    }
}

#[test]
fn missing_and_empty_masks_are_measured_and_told() {
    let scorer = scorer();
    let (mut photos, mut samples) = (photos(), samples([220, 40, 60]));
    photos[1].1 = None;
    samples[0].mask = None;
    samples[1].mask = Some(GrayImage::new(48, 40).into());
    let record = measure(&scorer, &photos, &samples, Fill::Black, &mut |_, _| {}).unwrap();
    assert_eq!((record.photos_unmasked, record.samples_unmasked, record.samples_empty), (1, 1, 1));
    assert!(record.photos[1].mask.is_none() && record.samples[0].mask.is_none() && record.samples[1].mask_empty);
    // The concept was not found there: that counts 0, and the scores without it stand beside.
    assert_eq!((record.samples[1].masked_clip_i, record.scores.masked_clip_i.n), (0.0, 6), "nothing is left out");
    assert!(record.samples[1].clip_i > 0.0);
    let beside = record.scores.masks.without_doubtful.as_ref().unwrap();
    assert!(beside.masked_clip_i.n == 5 && beside.masked_clip_i.value > record.scores.masked_clip_i.value);

    // A picture of one colour shows nothing, whatever its mask.
    samples[2].image = RgbImage::from_pixel(48, 40, Rgb([0, 0, 0]));
    let record = measure(&scorer, &photos, &samples, Fill::Black, &mut |_, _| {}).unwrap();
    let black = &record.samples[2];
    assert_eq!((record.samples_one_colour, black.one_colour), (1, true));
    assert_eq!((black.masked_clip_i, black.clip_i, black.clip_t, black.clip_t_scene), (0.0, 0.0, 0.0, Some(0.0)));
}

#[test]
fn what_cannot_be_measured_is_refused_first() {
    let scorer = scorer();
    let run = |photos: &[_], samples: &[_]| {
        let mut embedded = 0;
        let result = measure(&scorer, photos, samples, Fill::Black, &mut |done, _| embedded = done);
        assert_eq!(embedded, 0);
        result.unwrap_err().to_string()
    };
    assert_eq!(run(&[], &samples([1; 3])), "there are no photos to measure");
    assert_eq!(run(&photos(), &[]), "there are no samples to measure");
    let mut wrong = samples([1; 3]);
    wrong[4].mask = Some(GrayImage::new(40, 48).into());
    let message = run(&photos(), &wrong);
    assert!(message.contains("\"a cup at night\" with seed 1 is 40 x 48 pixels, the picture 48 x 40"), "{message}");
    wrong[4].mask = None;
    wrong[5].prompt_text = "snow and grass and sand and more ".repeat(9);
    assert!(run(&photos(), &wrong).contains("tokens"));
}

/// The fixture in a folder of its own, with one file changed.
fn changed(file: &str, change: impl Fn(&mut Value)) -> Error {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(tiny_clip().join(name), folder.path().join(name)).unwrap();
    }
    let path = folder.path().join(file);
    let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(&path, value.to_string()).unwrap();
    ClipScorer::load(folder.path(), &Device::Cpu).map(|_| ()).unwrap_err()
}

#[test]
fn a_model_that_does_not_fit_its_config_is_named_with_file_tensor_and_shapes() {
    let message = changed("config.json", |config| config["vision_config"]["intermediate_size"] = 48.into()).to_string();
    assert!(
        message.contains("model.safetensors") && message.contains("vision_model.encoder.layers.0.mlp.fc1."),
        "{message}"
    );
    assert!(message.contains("[40") && message.contains("[48"), "{message}");
    let message = changed("config.json", |config| config["text_config"]["num_hidden_layers"] = 3.into()).to_string();
    assert!(message.contains("has no tensor text_model.encoder.layers.2."), "{message}");
    let message = changed("config.json", |config| config["vision_config"]["hidden_act"] = "swish".into()).to_string();
    assert!(message.contains("config.json: vision_config") && message.contains("swish"), "{message}");
    let message = changed("config.json", |config| config["text_config"]["num_attention_heads"] = 3.into()).to_string();
    assert!(message.contains("no multiple"), "{message}");
    let message = changed("preprocessor_config.json", |config| config["crop_size"] = 24.into()).to_string();
    assert!(message.contains("24 x 24") && message.contains("32 x 32"), "{message}");
    let message = changed("preprocessor_config.json", |config| config["resample"] = 1.into()).to_string();
    assert!(message.contains("preprocessor_config.json: resample 1"), "{message}");
}

#[test]
fn broken_and_missing_model_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let load = || ClipScorer::load(folder.path(), &Device::Cpu).map(|_| ()).unwrap_err().to_string();
    assert!(load().contains("config.json"));
    for name in ["config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"] {
        let message = load();
        let missing = match name {
            "tokenizer.json" => "vocab.json",
            "model.safetensors" => "no weights here",
            name => name,
        };
        assert!(message.contains(missing), "{message}");
        std::fs::copy(tiny_clip().join(name), folder.path().join(name)).unwrap();
    }
    let whole = std::fs::read(tiny_clip().join("model.safetensors")).unwrap();
    std::fs::write(folder.path().join("model.safetensors"), &whole[..whole.len() - 100]).unwrap();
    let message = load();
    assert!(message.contains("model.safetensors: neither a whole safetensors file"), "{message}");
}

#[test]
fn a_model_in_half_precision_shards_with_vocab_and_merges_gives_the_same_scores() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "preprocessor_config.json", "vocab.json", "merges.txt", "tokenizer_config.json"] {
        std::fs::copy(tiny_clip().join(name), folder.path().join(name)).unwrap();
    }
    let tensors = candle_core::safetensors::load(tiny_clip().join("model.safetensors"), &Device::Cpu).unwrap();
    let mut shards = [std::collections::HashMap::new(), std::collections::HashMap::new()];
    let mut weight_map = serde_json::Map::new();
    for (i, (name, tensor)) in tensors.into_iter().enumerate() {
        weight_map.insert(name.clone(), format!("model-{}.safetensors", i % 2).into());
        shards[i % 2].insert(name, tensor.to_dtype(candle_core::DType::F16).unwrap());
    }
    for (i, shard) in shards.iter().enumerate() {
        candle_core::safetensors::save(shard, folder.path().join(format!("model-{i}.safetensors"))).unwrap();
    }
    let index = serde_json::json!({ "weight_map": weight_map }).to_string();
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    let embeds = |folder: &std::path::Path| {
        let scorer = ClipScorer::load(folder, &Device::Cpu).unwrap();
        scorer.text_embeds(&["a teapot".into()]).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    for (whole, half) in embeds(&tiny_clip()).into_iter().zip(embeds(folder.path())) {
        assert!((whole - half).abs() < 0.01, "{whole} {half}");
    }
}

#[test]
fn every_way_to_write_the_sizes_means_the_same() {
    let expected = Preprocessor::load(&tiny_clip()).unwrap();
    let picture = RgbImage::from_fn(51, 77, |x, y| Rgb([(x * 5) as u8, (y * 3) as u8, (x * y) as u8]));
    let folder = tempfile::tempdir().unwrap();
    let original = std::fs::read_to_string(tiny_clip().join("preprocessor_config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&original).unwrap();
    // As OpenAI wrote it in 2021.
    config["size"] = 32.into();
    config["crop_size"] = 32.into();
    config.as_object_mut().unwrap().remove("rescale_factor");
    std::fs::write(folder.path().join("preprocessor_config.json"), config.to_string()).unwrap();
    let old = Preprocessor::load(folder.path()).unwrap();
    assert!(old.pixels(&picture) == expected.pixels(&picture));
    assert_eq!(old.describe(), expected.describe());

    // As transformers 5 saves a whole processor.
    std::fs::remove_file(folder.path().join("preprocessor_config.json")).unwrap();
    let nested = format!("{{\"image_processor\": {original}}}");
    std::fs::write(folder.path().join("processor_config.json"), nested).unwrap();
    assert_eq!(Preprocessor::load(folder.path()).unwrap().describe(), expected.describe());

    config["size"] = serde_json::json!({"height": 40, "width": 30});
    std::fs::write(folder.path().join("preprocessor_config.json"), config.to_string()).unwrap();
    let squashed = Preprocessor::load(folder.path()).unwrap().pixels(&picture);
    assert_eq!(squashed.dimensions(), (32, 32));
    assert_eq!(squashed.get_pixel(0, 16), &Rgb([0; 3]), "what is too narrow stands on black");
}

#[test]
fn dino_equals_transformers() {
    let folder = tiny_dino();
    let names: Value = serde_json::from_slice(&std::fs::read(folder.join("reference.json")).unwrap()).unwrap();
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/preprocess/pictures");
    let read = |name: &Value| read_photo(&pictures.join(format!("{}.png", name.as_str().unwrap()))).unwrap();
    let pictures: Vec<_> = names["pictures"].as_array().unwrap().iter().map(read).collect();
    let expected = candle_core::safetensors::load(folder.join("reference.safetensors"), &Device::Cpu).unwrap();
    let scorer = DinoScorer::load(&folder, &Device::Cpu).unwrap();
    let pixels = scorer.preprocessor().tensor(&pictures, &Device::Cpu).unwrap();
    assert!(distance(&pixels, &expected["pixel_values"]) < 1e-6);
    let error = distance(&scorer.image_embeds(&pictures, &mut |_| {}).unwrap(), &expected["embeds"]);
    assert!(error < 1e-5, "{error}");
}

#[test]
fn a_folder_that_holds_no_dino_is_named() {
    let message = DinoScorer::load(&tiny_clip(), &Device::Cpu).map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("config.json") && message.contains("\"clip\""), "{message}");
}

/// Every value of `expected` is in `found`: a score's, or one with other masks.
fn check_scores(found: &Value, expected: &Value, what: &str) {
    for (name, expected) in expected.as_object().unwrap() {
        let found = &found[name];
        if expected.is_object() {
            check_scores(found, expected, &format!("{what}, {name}"));
            continue;
        }
        let value = found.as_f64().or(found["value"].as_f64()).unwrap();
        let difference = (value - expected.as_f64().unwrap()).abs();
        assert!(difference <= 1e-5, "{what}, {name}: {difference}");
    }
}

/// What `tests/parity/masked_scores.py` read and computed.
#[test]
fn masked_scores_equal_an_independent_script_for_each_fill_and_crop() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/masked_scores");
    let files = |name: &str| {
        let entries = std::fs::read_dir(folder.join(name)).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries.filter(|path| path.is_file()).collect();
        files.sort();
        files
    };
    let photos: Vec<_> = files("photos")
        .iter()
        .map(|path| {
            let photo = read_photo(path).unwrap();
            let mask = folder.join("masks").join(path.file_name().unwrap());
            let mask = mask.is_file().then(|| read_mask(&mask, photo.dimensions()).unwrap().into());
            (photo, mask)
        })
        .collect();
    let samples: Vec<_> = files("samples")
        .iter()
        .map(|path| {
            let text = read_png_text(path).unwrap();
            let said = |key: &str| text.iter().find(|(name, _)| name == key).unwrap().1.clone();
            let mask = folder.join("samples/masks").join(path.file_name().unwrap());
            ScoredSample {
                image: read_photo(path).unwrap(),
                mask: mask
                    .is_file()
                    .then(|| ScoredMask { pixels: read_any_mask(&mask).unwrap(), says: mask_says(&mask) }),
                prompt_text: prompt_text(&said("prompt"), "teapot"),
                scene_text: scene_text(&said("prompt")),
                seed: said("seed").parse().ok(),
                noise: None,
            }
        })
        .collect();
    let expected: Value = serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let (clip, dino) = (scorer(), DinoScorer::load(&tiny_dino(), &Device::Cpu).unwrap());
    for fill in [Fill::Black, Fill::White, Fill::Grey, Fill::Mean] {
        for crop in [ScoreCrop::Whole, ScoreCrop::MaskBox] {
            let measuring = Measuring { dino: Some(&dino), fill, crop, ..by(&clip) };
            let record = measuring.measure(&photos, &samples, &mut |_, _| {}).unwrap();
            let found = serde_json::to_value(&record).unwrap();
            let expected = &expected[fill.word()][crop.word()];
            assert!(expected["without_doubtful"].is_object() && expected["dino_mask_dependence"].is_object());
            check_scores(&found, expected, &format!("{fill:?}, {crop:?}"));
            assert!(expected["photo_scores"].is_object() && expected["clip_t_scene"].is_f64());
            assert_eq!((record.scores.masks.samples_doubtful, &found["samples_doubtful"]), (4, &4.into()));
            assert_eq!(
                (record.samples_one_colour, record.samples[6].clip_t, record.samples[3].masked_clip_i),
                (1, 0.0, 0.0)
            );
            assert_eq!(record.mask_makers, ["base_model", "unknown"]);
            assert_eq!((record.photos_unmasked, record.samples_unmasked), (1, 1));
            assert_eq!((record.samples_empty, record.samples_full, record.crop), (1, 1, crop));
        }
    }
}

#[test]
fn embeddings_are_kept_and_give_the_same_scores() {
    let folder = tempfile::tempdir().unwrap();
    let scorer = scorer();
    let cache = EmbeddingCache::of(folder.path());
    let run = |cache| {
        Measuring { crop: ScoreCrop::MaskBox, cache, ..by(&scorer) }
            .measure(&photos(), &samples([220, 40, 60]), &mut |_, _| {})
            .unwrap()
    };
    let first = run(Some(&cache));
    let file = folder.path().join(format!("{}.bin", first.backbone.sha256));
    let bytes = std::fs::metadata(&file).unwrap().len();
    let embedded = bytes as usize / (32 + 4 * 20 + 8);
    // Cut out by their masks as they are and shrunk, the photos are as a sample.
    assert_eq!(embedded, 6 * LOOKS + 2 * 2, "6 samples in all their looks, 2 photos whole and with their masks grown");
    let next = EmbeddingCache::of(folder.path());
    let again = run(Some(&next));
    assert_eq!(std::fs::metadata(&file).unwrap().len(), bytes, "nothing was embedded again");
    assert_eq!(again, first);
    assert!((run(None).scores.masked_clip_i.value - first.scores.masked_clip_i.value).abs() < 1e-6);
}

#[test]
fn several_concepts_are_taken_together() {
    let scorer = scorer();
    let score = |object, seed: u64| {
        let mut samples = samples(object);
        samples.iter_mut().for_each(|sample| sample.seed = sample.seed.map(|own| own + seed));
        measure(&scorer, &photos(), &samples, Fill::Black, &mut |_, _| {}).unwrap()
    };
    let pairs: Vec<_> = (0..3).map(|i| (score([60, 60, 220], i), score([220, 40 + 20 * i as u8, 60], i))).collect();
    let of_subjects: Vec<_> = pairs.iter().map(|pair| vec![pair.clone()]).collect();
    let pooled = pool(&of_subjects).unwrap();
    let mean = |of: &dyn Fn(&(ScoreRecord, ScoreRecord)) -> f64| pairs.iter().map(of).sum::<f64>() / 3.0;
    let before = mean(&|pair| pair.0.scores.masked_clip_i.value);
    assert!((pooled.first.masked_clip_i.value - before).abs() < 1e-9);
    assert_eq!((pooled.first.masked_clip_i.n, pooled.difference.unpaired), (18, 0));
    let gain = mean(&|pair| pair.1.scores.masked_clip_i.value) - before;
    assert!((pooled.difference.scores.masked_clip_i.value - gain).abs() < 1e-9);
    assert!(pool(&[]).is_err());
    // Each pair fits together, but not with the others.
    let of = |fill, object: [u8; 3]| measure(&scorer, &photos(), &samples(object), fill, &mut |_, _| {}).unwrap();
    let odd = [Fill::Black, Fill::White].map(|fill| vec![(of(fill, [60, 60, 220]), of(fill, [220, 40, 60]))]);
    let refused = pool(&odd).unwrap_err().to_string();
    assert!(refused.contains("the fill"), "{refused}");
}
