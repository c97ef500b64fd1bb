//! Files of strangers, made up at random from a fixed seed: whatever is in them, reading ends soon, without a panic, in little
//! memory. `CATBENCH_FUZZ_SECONDS` says how long each kind is tried, 3 if it is not set.

mod bounds;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use catbench::image::{read_photo, read_png_text, read_provenance, write_picture, write_png};
use catbench::protocol::{
    DeviceName, Event, EventRecord, FloatType, ModelSpec, PictureRecord, SampleConfig, UsedCheckpoint,
};
use catbench::workspace::{
    Concept, History, Home, JobFolder, Links, ListNames, PromptList, Values, read_details, read_ratings,
};
use image::{Rgb, RgbImage};

use crate::alone::{alone, forget_peak, peak};

/// The most that one input may take.
const LONGEST: Duration = Duration::from_secs(2);
/// The most KiB by which memory may grow over all inputs.
const MOST_MEMORY: u64 = 300 << 10;

/// A fixed sequence of numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit.max(1)
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    /// `bytes` with some of them changed, mostly in the last `tail`.
    fn mutated(&mut self, bytes: &[u8], tail: usize) -> Vec<u8> {
        const NUMBERS: [&[u8]; 6] =
            [&[0xff; 4], &[0; 4], &[0xff, 0xff, 0xff, 0x7f], &[0xff; 8], &[0, 0, 0, 1], &[0xff, 0xff]];
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(6) {
            if bytes.is_empty() {
                break;
            }
            let from = if self.below(3) > 0 { bytes.len().saturating_sub(tail) } else { 0 };
            let at = from + self.below(bytes.len() - from);
            match self.below(7) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.below(256) as u8,
                2 => drop(bytes.splice(at..at, (0..=self.below(20)).map(|i| i as u8).collect::<Vec<u8>>())),
                3 => drop(bytes.drain(at..(at + 1 + self.below(30)).min(bytes.len()))),
                4 => {
                    let number = self.of(&NUMBERS);
                    let end = (at + number.len()).min(bytes.len());
                    bytes[at..end].copy_from_slice(&number[..end - at]);
                }
                5 => {
                    let part = bytes[at..(at + 1 + self.below(200)).min(bytes.len())].to_vec();
                    let to = self.below(bytes.len());
                    let copies = 1 + self.below(3);
                    bytes.splice(to..to, part.repeat(copies));
                }
                _ => bytes.truncate(at),
            }
        }
        bytes
    }
}

/// Try one input after the other for as long as is asked for.
fn fuzz(name: &str, mut one: impl FnMut(&mut Random)) {
    let seconds = std::env::var("CATBENCH_FUZZ_SECONDS").ok().and_then(|said| said.parse().ok()).unwrap_or(3);
    let mut random = Random(7);
    let (mut count, mut longest, began) = (0, Duration::ZERO, Instant::now());
    one(&mut random);
    forget_peak();
    let before = peak();
    while began.elapsed() < Duration::from_secs(seconds) {
        let state = random.0;
        let mut timed = || {
            random.0 = state;
            let at = Instant::now();
            one(&mut random);
            at.elapsed()
        };
        let mut took = timed();
        if took >= LONGEST {
            // A machine that is busy, or a disk, may have kept it.
            took = timed();
        }
        assert!(took < LONGEST, "{name}: input {count} (state {state}) took {took:?}");
        (count, longest) = (count + 1, longest.max(took));
    }
    let grown = peak().saturating_sub(before);
    println!("{name}: {count} inputs, the longest took {longest:?}, memory grew by {} MiB", grown >> 10);
    assert!(grown < MOST_MEMORY, "{name}: memory grew by {grown} KiB");
}

fn photo() -> RgbImage {
    RgbImage::from_fn(16, 16, |x, y| Rgb([x as u8 * 9, y as u8 * 9, 90]))
}

/// A concept of one run and one sampling in `home`.
fn concept(home: &Path) -> Concept {
    let folder = home.join("mug");
    for part in ["images", "prompts", "runs/one/samples", "runs/one/evaluation", "samples/two"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write(
        "concept.toml",
        "name = \"mug\"\nclass_word = \"cup\"\nbase_model = \"/nowhere\"\nguidance_scale = 7.5\ntags = [\"red\", \"blue\"]\n\
         notes = \"of clay\"\n[train]\npreset = \"official\"\nsteps = 100\nlayers = [1, 2]\n",
    );
    write("ratings.toml", "\"samples/two/a.png\" = 4\n");
    write("prompts/list.txt", "a {concept} on {grass|sand} --seed 1..3\n");
    write(
        "runs/one/run.toml",
        "concept = \"mug\"\nclass_word = \"cup\"\nbase_model = \"/nowhere\"\n[train]\n[evaluation]\n",
    );
    write("samples/two/batch.toml", "concept = \"mug\"\nclass_word = \"cup\"\nbase_model = \"/nowhere\"\n[sample]\n");
    for picture in ["images/a.png", "runs/one/samples/a.png", "samples/two/a.png"] {
        write_png(&folder.join(picture), &photo(), &[]).unwrap();
    }
    Concept::open(&folder).unwrap()
}

fn events() -> Vec<u8> {
    let path = || PathBuf::from("samples/a.png");
    let events = [
        Event::Started { pid: 1, steps: 10, resumed_from: 0 },
        Event::Progress { phase: catbench::protocol::Phase::Train, done: 1, total: 10 },
        Event::Step { step: 1, loss: 0.5, loss_by_quarter: [Some(0.5), None, None, Some(1e300)], seconds: 0.1 },
        Event::FixedNoise { step: 1, loss: 0.25, held_out: Some(0.5) },
        Event::Sample { step: 1, path: path(), prompt: "a {concept}".into(), seed: 7, learned: true },
        Event::Checkpoint { step: 1, path: "checkpoints/step-000001.safetensors".into() },
        Event::Warning { message: "slow".into() },
        Event::Stopped { step: 1 },
        Event::Started { pid: 2, steps: 10, resumed_from: 1 },
        Event::Finished { seconds: 3.5 },
    ];
    let mut lines = Vec::new();
    for (seq, event) in events.into_iter().enumerate() {
        let time = jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(seq as i64);
        let record = EventRecord { seq: seq as u64, time, event };
        lines.extend(catbench::json::to_line(&record).unwrap());
    }
    lines
}

#[test]
fn bundles() {
    if !alone("fuzz::bundles") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let concept = concept(folder.path());
    let (packed, spoilt) = (folder.path().join("mug.zip"), folder.path().join("spoilt.zip"));
    concept.pack(&packed, Some("00".repeat(32)), Links::Inside).unwrap();
    let whole = fs::read(&packed).unwrap();
    let there = folder.path().join("there");
    let into = Home::at(&there).unwrap();
    fuzz("bundles", |random| {
        fs::write(&spoilt, random.mutated(&whole, 4000)).unwrap();
        if into.import_concept(&spoilt, Some("copy"), random.below(2) == 0, Links::Inside).is_ok() {
            fs::remove_dir_all(there.join("copy")).unwrap();
        }
        let above = fs::read_dir(folder.path()).unwrap().count();
        assert!(above == 4, "something was written elsewhere");
    });
}

#[test]
fn concepts_and_events() {
    if !alone("fuzz::concepts_and_events") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let concept = concept(home.path());
    let file = |name: &str| concept.folder.join(name);
    let names = ["concept.toml", "ratings.toml", "runs/one/run.toml", "samples/two/batch.toml"];
    let whole: Vec<Vec<u8>> = names.iter().map(|name| fs::read(file(name)).unwrap()).collect();
    let lines = events();
    fuzz("concepts and events", |random| {
        let spoilt = random.below(names.len() * 2);
        for (i, (name, bytes)) in names.iter().zip(&whole).enumerate() {
            let bytes = if i == spoilt { random.mutated(bytes, bytes.len()) } else { bytes.clone() };
            fs::write(file(name), bytes).unwrap();
        }
        for job in ["runs/one", "samples/two"] {
            fs::write(file(job).join("events.jsonl"), random.mutated(&lines, lines.len())).unwrap();
        }
        let _ = (Concept::open(&concept.folder), read_ratings(&concept.folder));
        for job in ["runs/one", "samples/two"] {
            let Ok(job) = JobFolder::at(&file(job)) else { continue };
            if let Ok(history) = History::read(&job) {
                let within = |path: &Path| path.starts_with(job.path()) && !path.iter().any(|part| part == "..");
                assert!(history.pictures.iter().all(|picture| within(&picture.path)));
                assert!(history.checkpoints.iter().all(|(_, path)| within(path)));
            }
            let _ = (job.settings(), job.pictures(), job.scores());
        }
        let details = read_details(&concept.folder);
        assert!(details.sample_records.iter().all(|sample| sample.path.is_relative()));
    });
}

/// The text of a picture, by programs that write such.
const SAID: [(&str, &str); 8] = [
    (
        "parameters",
        "a (cup:1.2) on <lora:x:0.5> grass\nNegative prompt: ugly, [dark]\nSteps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 7, Size: 512x512, Model hash: 0123abcd",
    ),
    (
        "prompt",
        r#"{"3": {"class_type": "KSampler", "inputs": {"seed": 7, "steps": 20, "cfg": 7.5, "sampler_name": "euler", "positive": ["6", 0], "negative": ["7", 0], "model": ["3", 0]}}, "6": {"class_type": "CLIPTextEncode", "inputs": {"text": ["3", 1]}}, "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "ugly"}}}"#,
    ),
    (
        "invokeai_metadata",
        r#"{"positive_prompt": "a cup", "negative_prompt": "ugly", "seed": 7, "steps": 20, "cfg_scale": 7.5, "scheduler": "euler"}"#,
    ),
    ("sd-metadata", r#"{"image": {"prompt": [{"prompt": "a cup [ugly]", "weight": 1}], "steps": 20, "seed": 7}}"#),
    ("Comment", r#"{"prompt": "a cup", "uc": "ugly", "steps": 28, "seed": 7, "scale": 5.0, "sampler": "k_euler"}"#),
    ("Description", "a cup, {red}, [[blue]]"),
    ("fooocus_scheme", "a1111"),
    ("XML:com.adobe.xmp", r#"<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>"#),
];

fn record() -> PictureRecord {
    PictureRecord {
        format: PictureRecord::FORMAT,
        version: "0.1.0".into(),
        concept: "mug".into(),
        class_word: "cup".into(),
        base_model: ModelSpec::at(Path::new("/nowhere")),
        base_model_sha256: "00".repeat(32),
        checkpoint: Some(UsedCheckpoint { path: "/runs/step-000002.safetensors".into(), sha256: None, step: 2 }),
        picture: SampleConfig::default().picture("a {concept} on (grass:1.2)".into(), u64::MAX),
        uncond_prefix: false,
        every_prompt: false,
        concepts: Vec::new(),
        concept_steps: Some([0.2, 0.8]),
        embeddings: Vec::new(),
        batch_size: 4,
        device: DeviceName::Cpu,
        dtype: FloatType::F32,
        width: 16,
        height: 16,
    }
}

/// Give the chunks of a PNG, as far as they are some, checksums that fit.
fn mend(png: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = png.get(at..at + 4).map(|bytes| u32::from_be_bytes(bytes.try_into().unwrap()) as usize) {
        let Some(end) = (at + 8).checked_add(length).filter(|end| end + 4 <= png.len()) else { return };
        let mut crc = flate2::Crc::new();
        crc.update(&png[at + 4..end]);
        png[end..end + 4].copy_from_slice(&crc.sum().to_be_bytes());
        at = end + 4;
    }
}

#[test]
fn records_of_pictures() {
    if !alone("fuzz::records_of_pictures") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture.png");
    write_picture(&path, &photo(), &record()).unwrap();
    let own = read_png_text(&path).unwrap();
    let mut whole = vec![fs::read(&path).unwrap()];
    for (keyword, text) in SAID {
        write_png(&path, &photo(), &[(keyword, text), ("more", "é 茶")]).unwrap();
        whole.push(fs::read(&path).unwrap());
    }
    fuzz("records of pictures", |random| {
        if random.below(2) == 0 {
            let file = random.below(whole.len());
            let mut bytes = random.mutated(&whole[file], whole[file].len());
            if random.below(3) > 0 {
                mend(&mut bytes);
            }
            fs::write(&path, bytes).unwrap();
        } else {
            let texts = own.iter().map(|(key, text)| (key.as_str(), text.as_str())).chain(SAID);
            let texts: Vec<(String, String)> = texts
                .map(|(key, text)| (key.to_owned(), random.mutated(text.as_bytes(), text.len())))
                .map(|(key, text)| (key, String::from_utf8_lossy(&text).replace('\0', "")))
                .collect();
            let from = random.below(texts.len());
            let some: Vec<(&str, &str)> =
                texts[from..].iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
            write_png(&path, &photo(), &some).unwrap();
        }
        let _ = (read_png_text(&path), read_provenance(&path), read_photo(&path));
    });
}

/// What prompt lists are made of.
const PIECES: [&str; 44] = [
    "{",
    "}",
    "|",
    "{concept}",
    "{class}",
    "{cat}",
    "{dog}",
    "__many__",
    "__loop__",
    "__none__",
    "__",
    "\\",
    "\\{",
    "\n",
    "\n# no\n",
    " ",
    "..",
    "1..5",
    "{1..20}",
    "{0..1..0.01}",
    "{1..99999999999}",
    "{9..1..-0.000001}",
    "{{a|b}|{c|}}",
    "a",
    "a cup on grass",
    "é茶",
    "\u{feff}",
    "\t",
    "\u{1b}[31m",
    "--",
    " --seed ",
    " --seed 1..9 ",
    " --steps {10|20} ",
    " --guidance 7.5 ",
    " --negative \"ugly\" ",
    " --negative \"",
    " --strength 0..1..0.1 ",
    " --sampler euler ",
    " --karras ",
    " --eta 0 ",
    " -n 4 ",
    " -n 99999999999999999999 ",
    "(word:1.2)",
    "NaN",
];

#[test]
fn prompt_lists() {
    if !alone("fuzz::prompt_lists") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let words: Vec<String> = (0..200).map(|i| format!("word {i} {{a|b}}")).collect();
    fs::write(folder.path().join("many.txt"), words.join("\n")).unwrap();
    fs::write(folder.path().join("loop.txt"), "a __loop__\n").unwrap();
    let names =
        ListNames { class_word: "cup".into(), concepts: vec!["cat".into()], folders: vec![folder.path().to_owned()] };
    let (values, base) = (Values::default(), SampleConfig::default());
    fuzz("prompt lists", |random| {
        let mut text: String = (0..random.below(60)).map(|_| random.of(&PIECES)).collect();
        if random.below(3) == 0 {
            text = text.repeat(1 + random.below(40));
        }
        if random.below(3) == 0 {
            let bytes = random.mutated(text.as_bytes(), text.len());
            text = String::from_utf8_lossy(&bytes).into_owned();
        }
        if let Ok(list) = PromptList::parse(&text, Path::new("list.txt"), &names) {
            let _ = list.counts(&values, &base);
            if let Ok(listed) = list.expand(&values, &base) {
                assert_eq!(listed.pictures.len(), listed.lines.len());
            }
        }
    });
}
