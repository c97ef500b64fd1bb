//! Photos as other programs write them: colour profiles against lcms2, orientations wherever they stand, bytes too many, and
//! what of a folder is no photo.

use std::fs::{copy, create_dir_all, read, read_to_string, remove_dir_all, write};
use std::path::{Path, PathBuf};

use crate::common::{Workspace, catbench, fixture, json};
use assert_cmd::assert::OutputAssertExt;
use catbench::image::{Colours, Kind, list_photos, look_at_photo, read_any_mask, read_photo};
use catbench::protocol::{PhotoReading, ScoreConfig, TrainConfig};
use catbench::workspace::{Concept, JobFolder, RunSpec};
use image::RgbImage;
use predicates::boolean::PredicateBooleanExt;
use predicates::str::contains;

fn colours(name: &str) -> PathBuf {
    fixture("colours").join(name)
}

/// The greatest difference between two pictures.
fn worst(a: &RgbImage, b: &RgbImage) -> u8 {
    assert_eq!(a.dimensions(), b.dimensions());
    a.iter().zip(b.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn colour_profiles_are_applied_as_by_lcms() {
    let plain = read_photo(&colours("plain.png")).unwrap();
    for (name, profile, expected, allowed) in [
        ("p3.png", "Display P3", "p3_lcms.png", 2),
        ("p3.webp", "Display P3", "p3_lcms.png", 2),
        ("p3_alpha.png", "Display P3", "p3_lcms.png", 2),
        ("adobe.png", "Adobe RGB (1998)", "adobe_lcms.png", 2),
        ("grey.png", "Grey 1.8", "grey_lcms.png", 2),
    ] {
        let photo = look_at_photo(&colours(name), PhotoReading::Converted).unwrap();
        assert_eq!(photo.colours, Colours::Converted(profile.into()), "{name}");
        let expected = image::open(colours(expected)).unwrap().into_rgb8();
        assert!(worst(&photo.pixels, &expected) <= allowed, "{name}: {} from lcms", worst(&photo.pixels, &expected));
        // As versions before had it, and runs that they began.
        let stored = look_at_photo(&colours(name), PhotoReading::Stored).unwrap();
        assert_eq!(stored.colours, Colours::Srgb, "{name}");
        assert!(worst(&stored.pixels, &photo.pixels) > 5, "{name} is another without its profile");
        if stored.pixels.dimensions() == plain.dimensions() {
            assert!(stored.pixels == plain, "{name}");
        }
    }
    let jpeg = look_at_photo(&colours("p3.jpg"), PhotoReading::Converted).unwrap();
    assert_eq!(jpeg.colours, Colours::Converted("Display P3".into()));
}

#[test]
fn photos_without_a_profile_or_with_that_of_srgb_stay_as_they_are() {
    let plain = image::open(colours("plain.png")).unwrap().into_rgb8();
    for name in ["plain.png", "srgb.png"] {
        let photo = look_at_photo(&colours(name), PhotoReading::Converted).unwrap();
        assert!(photo.pixels == plain && photo.colours == Colours::Srgb, "{name}");
    }
}

#[test]
fn a_profile_that_cannot_be_applied_is_named_and_changes_nothing() {
    for (name, words) in [("broken.png", "damaged"), ("grey_of_colours.png", "Display P3"), ("cmyk.jpg", "CMYK")] {
        let photo = look_at_photo(&colours(name), PhotoReading::Converted).unwrap();
        let said = photo.colours.words().unwrap();
        assert!(matches!(photo.colours, Colours::Left(_)) && said.contains(words), "{name}: {said}");
        assert!(photo.pixels == look_at_photo(&colours(name), PhotoReading::Stored).unwrap().pixels, "{name}");
    }
    let mask = read_any_mask(&colours("grey.png")).unwrap();
    assert!(mask.iter().enumerate().all(|(i, value)| usize::from(*value) == i), "greys of a mask are no colours");
}

fn cases(name: &str) -> PathBuf {
    fixture("photos").join(name)
}

#[test]
fn photos_are_turned_as_in_pillow_wherever_that_is_said() {
    let turned = |path: &Path, reading| look_at_photo(path, reading).unwrap();
    let upright = read_photo(&cases("exif6.jpg")).unwrap();
    let raw = turned(&cases("rawprofile6.png"), PhotoReading::Converted);
    assert_eq!((raw.turned, raw.pixels.dimensions()), (Some("turned right"), upright.dimensions()));
    let before = turned(&cases("rawprofile6.png"), PhotoReading::Stored);
    assert_eq!((before.turned, before.pixels.dimensions()), (None, (96, 72)), "versions before did not look there");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo");
    let plain = image::RgbImage::from_fn(3, 2, |x, y| image::Rgb([x as u8 * 80, y as u8 * 90, 7]));
    let directory = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let bytes = [b"Exif\0\0".as_slice(), directory].concat();
    let hex = bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let raw = format!("\nexif\n      {}\n{}\n{}\n", hex.len() / 2, &hex[..20], &hex[20..]);
    let xmp = "<rdf:Description tiff:Orientation=\"6\"/>";
    let png = |change: &dyn Fn(&mut png::Encoder<'_, &mut Vec<u8>>)| {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 3, 2);
        encoder.set_color(png::ColorType::Rgb);
        change(&mut encoder);
        encoder.write_header().unwrap().write_image_data(plain.as_raw()).unwrap();
        bytes
    };
    let webp = |kind: &[u8; 4], data: &[u8]| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        plain.write_to(&mut bytes, image::ImageFormat::WebP).unwrap();
        let mut bytes = bytes.into_inner();
        // An extended header in front of the pixels, which says that there is more behind them.
        let flags = if kind == b"EXIF" { 8 } else { 4 };
        let head = [b"VP8X\x0a\0\0\0".as_slice(), &[flags, 0, 0, 0, 2, 0, 0, 1, 0, 0]].concat();
        bytes.splice(12..12, head);
        bytes.extend(kind);
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len() + data.len() % 2, 0);
        let length = (bytes.len() as u32 - 8).to_le_bytes();
        bytes[4..8].copy_from_slice(&length);
        bytes
    };
    let keyword = "Raw profile type exif";
    for (what, bytes) in [
        ("tEXt", png(&|encoder| encoder.add_text_chunk(keyword.into(), raw.clone()).unwrap())),
        ("zTXt", png(&|encoder| encoder.add_ztxt_chunk(keyword.into(), raw.clone()).unwrap())),
        ("XMP of a PNG", png(&|encoder| encoder.add_itxt_chunk("XML:com.adobe.xmp".into(), xmp.into()).unwrap())),
        ("WebP", webp(b"EXIF", directory)),
        ("WebP with a head", webp(b"EXIF", &[b"Exif\0\0".as_slice(), directory].concat())),
        ("XMP of a WebP", webp(b"XMP ", xmp.as_bytes())),
    ] {
        write(&path, &bytes).unwrap();
        let photo = turned(&path, PhotoReading::Converted);
        assert_eq!((photo.turned, photo.pixels), (Some("turned right"), image::imageops::rotate90(&plain)), "{what}");
    }
}

#[test]
fn bytes_that_belong_to_nothing_are_passed_over() {
    let plain = read_photo(&cases("plain.jpg")).unwrap();
    assert!(read_photo(&cases("extraneous_header.jpg")).unwrap() == plain);
    let whole = read(cases("plain.jpg")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo.jpg");
    // Between any two segments of the head: each begins where the one before ends.
    let (mut at, mut places) = (2, Vec::new());
    while whole[at + 1] != 0xda {
        places.push(at);
        at += 2 + usize::from(u16::from_be_bytes([whole[at + 2], whole[at + 3]]));
    }
    places.push(at);
    assert!(places.len() > 4, "{places:?}");
    // Pillow, too, wants the first one right at the start.
    for at in places.into_iter().skip(1) {
        for junk in [b"\0\0\0".as_slice(), b"x", b"\xff\0y", b"\xff"] {
            write(&path, [&whole[..at], junk, &whole[at..]].concat()).unwrap();
            assert!(read_photo(&path).unwrap() == plain, "{junk:?} at {at}");
        }
    }
    // What is cut short is an error all the same.
    let longer = read(cases("extraneous_header.jpg")).unwrap();
    for end in (3..longer.len()).step_by(37) {
        write(&path, &longer[..end]).unwrap();
        assert!(read_photo(&path).is_err(), "cut at {end}");
    }
}

/// A folder with files of every kind.
fn mixed(folder: &Path) {
    create_dir_all(folder).unwrap();
    copy(cases("plain.jpg"), folder.join("a.jpg")).unwrap();
    copy(cases("plain.jpg"), folder.join("b.JFIF")).unwrap();
    copy(cases("rawprofile6.png"), folder.join("c.jpg")).unwrap();
    copy(cases("plain.jpg"), folder.join("download.part")).unwrap();
    for (name, head) in [
        ("d.gif", b"GIF89a\x01\0\x01\0\0\0\0".as_slice()),
        ("e.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        ("f.jpg", b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif"),
        ("g.bmp", b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0"),
        ("h.tif", b"II*\0\x08\0\0\0"),
        ("i.mp4", b"\0\0\0\x18ftypisom\0\0\0\0"),
        ("notes.txt", b"a teapot"),
        (".hidden.heic", b"\0\0\0\x18ftypheic\0\0\0\0"),
        ("Thumbs.db", b"\xd0\xcf\x11\xe0"),
    ] {
        write(folder.join(name), head).unwrap();
    }
}

/// What is to be said of [`mixed`].
const LEFT_OUT: [&str; 8] = [
    "d.gif: GIF, which is not read here",
    "e.heic: HEIC, which",
    "f.jpg: AVIF, which",
    "g.bmp: BMP, which",
    "h.tif: TIFF, which",
    "i.mp4: video, which",
    "notes.txt: no picture",
    "download.part: JPEG by its content, but its name does not end so",
];

#[test]
fn what_is_no_photo_is_named_with_the_reason_wherever_photos_are_taken_in() {
    let workspace = Workspace::with_models();
    let (images, masks) = (workspace.home().join("from/images"), workspace.home().join("from/masks"));
    mixed(&images);
    create_dir_all(&masks).unwrap();
    copy(cases("plain.jpg"), masks.join("a.jpg")).unwrap();
    let names: Vec<_> = list_photos(&images)
        .unwrap()
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["a.jpg", "b.JFIF", "c.jpg"]);

    let all_in = |text: &str, masks: bool| {
        for said in LEFT_OUT {
            assert!(text.contains(said), "{said} in {text}");
        }
        assert!(!text.contains("hidden") && !text.contains("Thumbs"), "{text}");
        assert_eq!(text.contains("a.jpg: not a PNG, as masks are"), masks, "{text}");
    };
    let model = fixture("tiny_sd1");
    let new = [
        "concept",
        "new",
        "pot",
        "--class",
        "pot",
        "--images",
        images.to_str().unwrap(),
        "--masks",
        masks.to_str().unwrap(),
        "--base-model",
        model.to_str().unwrap(),
    ];
    let made = catbench(&workspace, &new).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    all_in(&String::from_utf8(made.stderr).unwrap(), true);
    let again = json(&workspace, &[&["concept", "new", "cup"], &new[3..]].concat());
    assert_eq!(
        (again["concept"]["photos"].as_u64(), again["left_out"].as_array().unwrap().len()),
        (Some(3), 9),
        "{again}"
    );
    // What was left out was not copied: there is nothing to be said of it.
    catbench(&workspace, &["concept", "show", "pot"]).assert().code(0).stdout(contains("left out").not());

    mixed(&workspace.home().join("pot/images"));
    create_dir_all(workspace.home().join("pot/masks")).unwrap();
    copy(cases("plain.jpg"), workspace.home().join("pot/masks/a.jpg")).unwrap();
    let output = |args: &[&str]| String::from_utf8(catbench(&workspace, args).output().unwrap().stdout).unwrap();
    let shown = output(&["concept", "show", "pot"]);
    all_in(&shown, true);
    assert!(shown.contains("photos      a.jpg, b.JFIF, c.jpg\n"), "{shown}");
    let shown = json(&workspace, &["concept", "show", "pot"]);
    assert_eq!(shown["left_out"].as_array().unwrap().len(), 9, "{shown}");
    all_in(&output(&["train", "pot", "--dry-run"]), true);
    let dry = output(&["train", "pot", "--dry-run", "--json"]);
    all_in(&serde_json::from_str::<serde_json::Value>(&dry).unwrap()["warnings"].to_string(), true);

    let none = workspace.home().join("none");
    create_dir_all(&none).unwrap();
    copy(images.join("e.heic"), none.join("e.heic")).unwrap();
    let new = [
        "concept",
        "new",
        "can",
        "--class",
        "pot",
        "--images",
        none.to_str().unwrap(),
        "--base-model",
        model.to_str().unwrap(),
    ];
    catbench(&workspace, &new)
        .assert()
        .code(1)
        .stderr(contains("holds no photos").and(contains("e.heic (HEIC, which")));
}

#[test]
fn kinds_are_told_by_their_first_bytes() {
    for (head, kind) in [
        (b"\xff\xd8\xff\xe0".as_slice(), Some(Kind::Jpeg)),
        (b"\x89PNG\r\n\x1a\n", Some(Kind::Png)),
        (b"RIFF\0\0\0\0WEBP", Some(Kind::WebP)),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"\0\0\0\x1cftypavif", Some(Kind::Avif)),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", Some(Kind::Heic)),
        (b"\0\0\0\x0cJXL \r\n", Some(Kind::JpegXl)),
        (b"\xff\x0a", Some(Kind::JpegXl)),
        (b"MM\0*", Some(Kind::Tiff)),
        (b"8BPS", Some(Kind::Psd)),
        (b"BM, as a text begins", None),
        (b"", None),
    ] {
        assert_eq!(Kind::of(head), kind, "{head:?}");
    }
}

/// The embeddings that two steps make of the photos of the concept; `old` is a run of a version that did not say how photos are read.
fn learned(workspace: &Workspace, old: bool) -> Vec<u8> {
    let concept = Concept::open(&workspace.concept()).unwrap();
    let train = TrainConfig {
        steps: 2,
        batch_size: 2,
        sample_every: 0,
        validate_every: 0,
        evaluate: false,
        ..TrainConfig::default()
    };
    let run = JobFolder::new(&concept, &RunSpec::new(&concept, train, ScoreConfig::default()).unwrap()).unwrap();
    let path = run.path().join("run.toml");
    let said = read_to_string(&path).unwrap();
    assert!(said.contains("photos = \"converted\"\n"), "{said}");
    if old {
        write(&path, said.replace("photos = \"converted\"\n", "")).unwrap();
    }
    catbench(workspace, &["train", "demo", "--resume", run.id()]).assert().code(0);
    let file = read(run.path().join("checkpoints/step-000002.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let mut names = tensors.names();
    names.sort_unstable();
    names.into_iter().flat_map(|name| tensors.tensor(name).unwrap().data().to_vec()).collect()
}

#[test]
fn a_run_of_a_version_before_ends_at_the_same_bytes() {
    let workspace = Workspace::with_models();
    let images = workspace.concept().join("images");
    for folder in [&images, &workspace.concept().join("masks")] {
        remove_dir_all(folder).unwrap();
        create_dir_all(folder).unwrap();
    }
    copy(colours("plain.png"), images.join("a.png")).unwrap();
    let plain = learned(&workspace, false);
    assert!(learned(&workspace, true) == plain, "without a profile both are the same");
    copy(colours("p3.png"), images.join("a.png")).unwrap();
    // JPEG by a name that versions before did not know.
    copy(cases("plain.jpg"), images.join("b.jfif")).unwrap();
    assert!(learned(&workspace, true) == plain, "an old run reads photos as it began");
    assert!(learned(&workspace, false) != plain, "a new one converts them, and takes all");
}

#[test]
fn what_was_done_to_the_colours_is_said_before_a_training() {
    let workspace = Workspace::with_models();
    for name in ["p3.png", "broken.png", "cmyk.jpg"] {
        copy(colours(name), workspace.concept().join("images").join(name)).unwrap();
    }
    catbench(&workspace, &["train", "demo", "--dry-run"]).assert().code(0).stdout(
        contains("p3.png: 64 × 64 (Display P3 to sRGB), whole")
            .and(contains("warning     broken.png: colours taken as they are stored"))
            .and(contains(
                "warning     cmyk.jpg: colours taken as they are stored: its colour profile (A press) is of CMYK",
            )),
    );
}

#[test]
fn a_picture_of_another_program_is_scored_by_its_prompt_or_by_the_one_given() {
    let workspace = Workspace::with_models();
    let picture = fixture("provenance/comfyui.png");
    let score = ["score", "demo", "--sample", picture.to_str().unwrap()];
    catbench(&workspace, &score).assert().code(0);
    catbench(&workspace, &[&score[..], &["--prompt", "a {concept} on grass"]].concat()).assert().code(0);
    let unread = fixture("provenance/comfyui_drawn.png");
    let score = ["score", "demo", "--sample", unread.to_str().unwrap()];
    catbench(&workspace, &score).assert().code(1).stderr(contains("--prompt"));
    catbench(&workspace, &[&score[..], &["--prompt", "a {concept}"]].concat()).assert().code(0);
}
