//! Files of a few bytes that stand for more than there is room for: refused soon, or read in as much memory as they need.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use catbench::diffusion::TensorFile;
use catbench::image::{read_alpha, read_photo};
use catbench::personalize::Checkpoint;
use catbench::protocol::{MAX_PROMPT, SampleConfig};
use catbench::workspace::{Home, JobFolder, Links};

use crate::alone::{alone, forget_peak, peak};

/// By how many MiB memory grows at most while `act` is done, and how long that takes.
fn cost(act: impl FnOnce()) -> (u64, Duration) {
    forget_peak();
    let (before, began) = (peak(), Instant::now());
    act();
    (peak().saturating_sub(before) >> 10, began.elapsed())
}

#[test]
fn a_file_of_too_many_tensors_is_refused_before_they_are_made() {
    if !alone("fuzz::bounds::a_file_of_too_many_tensors_is_refused_before_they_are_made") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let write = |count: usize| {
        let names = (0..count).map(|i| format!("\"{i:x}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}"));
        let header = format!("{{{}}}", names.collect::<Vec<_>>().join(","));
        let mut file = BufWriter::new(File::create(&path).unwrap());
        file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
        file.write_all(header.as_bytes()).unwrap();
        file.into_inner().unwrap();
    };
    for (count, said) in [(1_500_000, "bytes long"), (200_000, "more than 100000 tensors")] {
        write(count);
        let open = || TensorFile::open(&path).err().unwrap().to_string();
        let (grown, took) = cost(|| assert!(open().contains(said) && open().contains("model.safetensors")));
        println!("{count} tensors: {grown} MiB, {took:?}");
        assert!(grown < 100 && took < Duration::from_secs(4), "{count} tensors: {grown} MiB, {took:?}");
        // A checkpoint is read whole, as the small file that it is.
        assert!(Checkpoint::load(&path).unwrap_err().to_string().contains(said));
    }
    write(3000);
    assert_eq!(TensorFile::open(&path).unwrap().tensors().count(), 3000);
}

#[test]
fn an_archive_of_many_empty_files_is_refused_in_little_memory() {
    if !alone("fuzz::bounds::an_archive_of_many_empty_files_is_refused_in_little_memory") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (path, into) = (folder.path().join("bad.zip"), Home::at(folder.path()).unwrap());
    let write = |count: usize, manifest: &str| {
        let mut archive = zip::ZipWriter::new(BufWriter::new(File::create(&path).unwrap()));
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for i in 0..count {
            archive.start_file(format!("images/{i}"), options).unwrap();
        }
        for (name, text) in [("concept.toml", "name = \"a\"\n"), ("manifest.toml", manifest)] {
            archive.start_file(name, options).unwrap();
            archive.write_all(text.as_bytes()).unwrap();
        }
        archive.finish().unwrap();
    };
    let listed = |path: &str| {
        let sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        format!("[[files]]\npath = \"{path}\"\nbytes = 0\nsha256 = \"{sha256}\"\n")
    };
    let many: String =
        (0..99_000).map(|i| listed(&format!("images/of-a-longer-name-that-is-not-there-{i:030}"))).collect();
    let many = format!("format = 1\nversion = \"0\"\nconcept = \"a\"\nclass_word = \"a\"\n{many}");
    // A manifest of so many files is long, and one that is true may be.
    for (count, manifest, said, seconds) in [(300_000, "", "100000 are the most", 2), (99_000, &many, "not listed", 60)]
    {
        write(count, manifest);
        let (grown, took) = cost(|| {
            let error = into.import_concept(&path, Some("bad"), false, Links::Inside).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        });
        println!("{count} entries: {grown} MiB, {took:?}");
        assert!(grown < 300 && took < Duration::from_secs(seconds), "{count} entries: {grown} MiB, {took:?}");
        assert!(!folder.path().join("bad").exists());
    }
}

/// A PNG of one colour, which packs well.
fn plain_png(path: &Path, side: u32, color: png::ColorType, depth: png::BitDepth) {
    let mut encoder = png::Encoder::new(BufWriter::new(File::create(path).unwrap()), side, side);
    encoder.set_color(color);
    encoder.set_depth(depth);
    encoder.set_compression(png::Compression::Fast);
    let row = vec![0x80; side as usize * color.samples() * if depth == png::BitDepth::Sixteen { 2 } else { 1 }];
    let mut writer = encoder.write_header().unwrap();
    let mut stream = writer.stream_writer().unwrap();
    (0..side).for_each(|_| stream.write_all(&row).unwrap());
    stream.finish().unwrap();
}

#[test]
fn the_largest_picture_takes_little_more_memory_than_its_pixels() {
    if !alone("fuzz::bounds::the_largest_picture_takes_little_more_memory_than_its_pixels") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.png");
    let side = 1 << 14;
    for (color, most) in [
        (png::ColorType::Rgba, 1300),
        (png::ColorType::Rgb, 1000),
        (png::ColorType::Grayscale, 1000),
        (png::ColorType::GrayscaleAlpha, 1000),
    ] {
        plain_png(&path, side, color, png::BitDepth::Eight);
        let (grown, took) = cost(|| assert_eq!(read_photo(&path).unwrap().dimensions(), (side, side)));
        println!("{color:?} of {side} x {side}: {grown} MiB, {took:?}");
        assert!(grown < most, "{color:?}: {grown} MiB");
    }
    let (grown, _) = cost(|| assert!(read_alpha(&path).unwrap().is_some()));
    assert!(grown < 1000, "{grown} MiB");
    plain_png(&path, side, png::ColorType::Rgb, png::BitDepth::Sixteen);
    let (grown, took) = cost(|| {
        let said = read_photo(&path).unwrap_err().to_string();
        assert!(
            said.contains("6 bytes each") && said.contains("1024 MiB") && said.contains("8 bits a channel"),
            "{said}"
        );
    });
    assert!(grown < 50 && took < Duration::from_secs(2), "{grown} MiB, {took:?}");
}

#[test]
fn a_prompt_that_no_base_model_reads_is_refused_wherever_it_is_from() {
    let long = "a".repeat(2 << 20);
    let base = SampleConfig::default();
    let said = |error: catbench::protocol::SettingError| error.to_string();
    let with = SampleConfig { prompts: vec![long.clone()], ..base.clone() };
    assert!(said(with.check().unwrap_err()).starts_with("prompt = 2097152 characters: "));
    let mut with = base.clone();
    with.picture.negative_prompt.clone_from(&long);
    assert!(said(with.check().unwrap_err()).starts_with("negative_prompt = "));
    assert!(base.picture(long.clone(), 1).check().is_err());
    let just = "é".repeat(MAX_PROMPT);
    assert!(base.picture(just, 1).check().is_ok());
    // In the files of a sampling.
    let folder = tempfile::tempdir().unwrap();
    let toml = "concept = \"mug\"\nclass_word = \"cup\"\nbase_model = \"/nowhere\"\n[sample]\n";
    fs::write(folder.path().join("batch.toml"), toml).unwrap();
    let line = catbench::json::to_line(&base.picture(long.clone(), 1)).unwrap();
    fs::write(folder.path().join("pictures.jsonl"), line).unwrap();
    let error = JobFolder::at(folder.path()).unwrap().pictures().unwrap_err().to_string();
    assert!(error.contains("line 1") && error.contains("2097152 characters"), "{error}");
    let word = "x".repeat(201);
    let toml = HashMap::from([("class_word", &word), ("name", &word), ("base_model", &word)]);
    fs::write(folder.path().join("concept.toml"), toml::to_string(&toml).unwrap()).unwrap();
    assert!(catbench::workspace::Concept::open(folder.path()).unwrap_err().to_string().contains("class_word"));
}
