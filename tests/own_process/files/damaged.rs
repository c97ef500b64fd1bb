//! 200 damaged model files: each is refused with a message that names the file, quickly, without a panic and without
//! more memory than files of this size need.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use catbench::diffusion::{BaseModel, Compute, ModelFiles, TensorFile};
use safetensors::Dtype;
use serde_json::json;

use super::write::{Entry, Pickle, Tensors, entry, safetensors_bytes, torch_bytes, torch_file, with_header, zip};
use super::{fixture, spec};
use crate::alone::{alone, forget_peak, peak};

/// A fixed sequence of numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }
}

/// The tensors of the tiny 1.x that are needed: breaking any of them breaks the model.
fn good() -> Tensors {
    let file = TensorFile::open(&fixture("original/tiny_sd1.ckpt")).unwrap();
    let needed = |name: &str| {
        let parts = ["model.diffusion_model.", "first_stage_model.", "cond_stage_model."];
        parts.iter().any(|part| name.starts_with(part)) && !name.ends_with("position_ids")
    };
    let tensor = |name: &str| {
        let tensor = file.tensor(name).unwrap();
        let numbers = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        (Dtype::F32, tensor.dims().to_vec(), numbers.into_iter().flat_map(f32::to_le_bytes).collect())
    };
    file.tensors().filter(|(name, _)| needed(name)).map(|(name, _)| (name.to_owned(), tensor(name))).collect()
}

/// One damaged file: what was done to it, its name, its bytes.
type Damaged = (String, &'static str, Vec<u8>);

fn damaged() -> Vec<Damaged> {
    let mut random = Random(3);
    let good = good();
    let names: Vec<&String> = good.keys().collect();
    let (safe, torch) = (safetensors_bytes(&good), torch_bytes(&good));
    let header = 8 + u64::from_le_bytes(safe[..8].try_into().unwrap()) as usize;
    let mut files: Vec<Damaged> = Vec::new();
    let mut written = |tensors: &Tensors, what: &str, i: usize| {
        if i.is_multiple_of(2) {
            files.push((what.to_owned(), "model.safetensors", safetensors_bytes(tensors)));
        } else {
            files.push((what.to_owned(), "model.ckpt", torch_bytes(tensors).bytes));
        }
    };
    for i in 0..50 {
        let mut tensors = good.clone();
        let name = names[random.below(names.len())];
        tensors.remove(name);
        written(&tensors, &format!("without {name}"), i);
    }
    for i in 0..50 {
        let mut tensors = good.clone();
        let name = names[random.below(names.len())];
        let (_, shape, bytes) = tensors.get_mut(name).unwrap();
        match random.below(3) {
            0 => {
                // One row less; a vector of one loses its only number.
                let row = bytes.len() / shape[0];
                shape[0] -= 1;
                bytes.truncate(bytes.len() - row);
            }
            1 => shape.push(1),
            _ => *shape = vec![1, shape.iter().product()],
        }
        let what = format!("{name} as {shape:?}");
        written(&tensors, &what, i);
    }
    for i in 0..20 {
        // Within the header, just behind it, anywhere.
        let length = [random.below(header), header + random.below(64), random.below(safe.len())][i % 3];
        files.push((format!("{length} bytes of {}", safe.len()), "model.safetensors", safe[..length].to_vec()));
        let length = random.below(torch.bytes.len());
        files.push((format!("{length} bytes of {}", torch.bytes.len()), "model.ckpt", torch.bytes[..length].to_vec()));
    }
    let mut flip = |bytes: &[u8], at: usize| {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1 << random.below(8);
        flipped
    };
    let mut places = Random(7);
    for _ in 0..20 {
        let at = places.below(header);
        files.push((format!("byte {at} of the header"), "model.safetensors", flip(&safe, at)));
        let at = torch.meaningful[places.below(torch.meaningful.len())];
        files.push((format!("byte {at} of the directory or pickle"), "model.ckpt", flip(&torch.bytes, at)));
    }
    files.extend(bombs(&torch.bytes));
    files
}

/// Files made to use up time or memory, or to run something.
fn bombs(torch: &[u8]) -> Vec<Damaged> {
    let mut bombs: Vec<Damaged> = Vec::new();
    let mut zip_bomb = |what: &str, bytes: Vec<u8>| bombs.push((what.to_owned(), "bomb.ckpt", bytes));
    let end = torch.len() - 22;
    let with_end = |at: usize, bytes: &[u8]| {
        let mut changed = torch.to_vec();
        changed[end + at..end + at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    zip_bomb("65535 entries", with_end(8, &[0xff; 4]));
    zip_bomb("a directory of 4 GB", with_end(12, &[0xff; 4]));
    let mut huge = torch[..end].to_vec();
    let at = huge.len() as u64;
    huge.extend(b"PK\x06\x06");
    huge.extend(44u64.to_le_bytes());
    huge.extend([0; 12]);
    for value in [1u64 << 40, 1 << 40, 1 << 62, 1 << 62] {
        huge.extend(value.to_le_bytes());
    }
    huge.extend(b"PK\x06\x07\0\0\0\0");
    huge.extend(at.to_le_bytes());
    huge.extend([1, 0, 0, 0]);
    huge.extend(&torch[end..]);
    zip_bomb("2^40 entries", huge);
    let deflated = Entry { name: "archive/data.pkl".into(), bytes: vec![0; 4096], method: 8 };
    zip_bomb("a compressed pickle", zip(&[deflated]).bytes);
    zip_bomb(
        "two pickles",
        zip(&[entry("data.pkl", vec![b'.']), Entry { name: "b/data.pkl".into(), ..entry("", vec![b'.']) }]).bytes,
    );

    let mut pickle = |what: &str, pickle: Pickle, storages: Vec<Vec<u8>>| {
        zip_bomb(what, torch_file(pickle.op(b"."), storages).bytes);
    };
    let four = || vec![vec![0; 16]];
    pickle("a text of 4 GB", Pickle::new().op(b"X\xff\xff\xff\xff"), vec![]);
    pickle("bytes of 2^63", Pickle::new().op(&[0x8e]).op(&[0xff; 8]), vec![]);
    pickle("a number of 2 GB", Pickle::new().op(b"\x8b\xff\xff\xff\x7f"), vec![]);
    pickle("20 million values", Pickle::new().op(&vec![b')'; 20_000_000]), vec![]);
    pickle("10 million levels", Pickle::new().op(b")").op(&vec![0x85; 10_000_000]), vec![]);
    pickle("a pickle of 40 MB", Pickle::new().op(&vec![b'('; 40 << 20]), vec![]);
    let mut laughs = Pickle::new().op(b"N");
    for _ in 0..60 {
        laughs = laughs.op(b"q\0h\0\x86");
    }
    pickle("2^60 values by sharing", laughs, vec![]);
    let mut nested = Pickle::new().op(b"}");
    for _ in 0..60 {
        nested = nested.op(b"q\0}").text("a").op(b"h\0s").text("b").op(b"h\0s");
    }
    pickle("2^60 names by sharing", nested, vec![]);
    let mut wide = Pickle::new().op(b"}q\0(");
    for i in 0..2000u32 {
        wide = wide.text(&i.to_string()).op(b"N");
    }
    wide = wide.op(b"u");
    for _ in 0..3000 {
        wide = wide.op(b"ca\nb\n)Rh\0b");
    }
    pickle("6 million entries by copying", wide, vec![]);
    let dict = || Pickle::new().op(b"}").text("state_dict").op(b"}").text("x");
    pickle(
        "a tensor of 2^60 numbers",
        dict().tensor("FloatStorage", "0", 4, &[1 << 30, 1 << 30], &[1 << 30, 1]).op(b"ss"),
        four(),
    );
    pickle("2^30 numbers in one", dict().tensor("FloatStorage", "0", 4, &[1 << 30], &[0]).op(b"ss"), four());
    pickle("a storage of 2^62", dict().tensor("FloatStorage", "0", 1 << 62, &[4], &[1]).op(b"ss"), four());
    pickle("a stride of 2^62", dict().tensor("FloatStorage", "0", 4, &[3], &[1 << 62]).op(b"ss"), four());
    let run = Pickle::new().op(b"cos\nsystem\n").text("touch /tmp/catbench-was-here").op(b"\x85R");
    pickle("a command", run, vec![]);

    let mut safe_bomb = |what: &str, bytes: Vec<u8>| bombs.push((what.to_owned(), "bomb.safetensors", bytes));
    safe_bomb("a header of 2^63 bytes", [&[0xff; 8][..], &[b' '; 64]].concat());
    safe_bomb("100,000 levels of JSON", {
        let json = vec![b'['; 100_000];
        [&(json.len() as u64).to_le_bytes()[..], &json].concat()
    });
    let tensor = |shape: &[u64], offsets: [u64; 2]| {
        with_header(&json!({ "x": { "dtype": "F32", "shape": shape, "data_offsets": offsets } }), &[0; 16])
    };
    safe_bomb("2^64 numbers", tensor(&[1 << 32, 1 << 32], [0, 16]));
    safe_bomb("offsets that go back", tensor(&[4], [16, 0]));
    safe_bomb("a Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n".to_vec());
    bombs
}

#[test]
fn two_hundred_damaged_files_are_refused_clearly_quickly_and_in_little_memory() {
    if !alone("files::damaged::two_hundred_damaged_files_are_refused_clearly_quickly_and_in_little_memory") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    // What is damaged is good before.
    let good = good();
    std::fs::write(place("good.safetensors"), safetensors_bytes(&good)).unwrap();
    std::fs::write(place("good.ckpt"), torch_bytes(&good).bytes).unwrap();
    for name in ["good.safetensors", "good.ckpt"] {
        BaseModel::from_files(
            &ModelFiles::open(&spec(&place(name), "tiny_sd1")).unwrap(),
            "hash".into(),
            &Compute::cpu(),
        )
        .unwrap();
    }
    let files = damaged();
    assert!(files.len() >= 200, "{}", files.len());
    // The peak counts from here: all files are already in memory.
    forget_peak();
    let before = peak();
    let (mut wrong, mut messages) = (Vec::new(), BTreeSet::new());
    for (what, name, bytes) in &files {
        let path = place(name);
        std::fs::write(&path, bytes).unwrap();
        let began = Instant::now();
        let result = ModelFiles::open(&spec(&path, "tiny_sd1")).and_then(|files| files.check());
        let time = began.elapsed();
        match result {
            Ok(()) => wrong.push(format!("{what}: taken for good")),
            Err(error) => {
                let message = error.to_string();
                if !message.contains(name) {
                    wrong.push(format!("{what}: does not name the file: {message}"));
                }
                messages.insert(message.replace(path.to_str().unwrap(), name));
            }
        }
        if time > Duration::from_secs(2) {
            wrong.push(format!("{what}: took {time:?}"));
        }
    }
    messages.iter().for_each(|message| println!("{message}"));
    let grown = (peak() - before) >> 10;
    println!("{} files, {} different messages, {grown} MiB more than before", files.len(), messages.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(grown < 256, "{grown} MiB");
    assert!(!Path::new("/tmp/catbench-was-here").exists(), "a command was run");
}
