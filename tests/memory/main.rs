//! The memory that is counted before a job against what the real operations allocate.
//!
//! The counted peak is what a job is refused by, so it may not be far below the real one; far above, it would refuse what fits.
#![allow(unsafe_code, clippy::unwrap_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Tensor};
use catbench::diffusion::{BaseModel, Cost, Outline, Tape, TextsRead, Tracked, UNetOptions};
use catbench::protocol::ModelSpec;
use common::fixture;

/// How far the counted peak may be from the real one, as a part of this; it was found within 0.05.
const TOLERANCE: f64 = 0.08;
/// Width and height of the latents: activations are most of the memory then.
const SIDE: usize = 32;
const THREADS: usize = 2;

static LIVE: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);
/// What is allocated is counted of the whole process, so one thing is measured at a time.
static ONE: Mutex<()> = Mutex::new(());

/// The system's allocator, with a count of the bytes that are allocated.
struct Counting;

impl Counting {
    fn add(bytes: usize) {
        let live = LIVE.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        PEAK.fetch_max(live, Ordering::Relaxed);
    }
}

// SAFETY: every call is handed on to the system's allocator as it came, and its answer handed back, so what `GlobalAlloc` asks
// for holds because it holds there. The counters beside it are atomic and allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size());
        // SAFETY: the caller keeps to the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size());
        // SAFETY: the caller keeps to the contract of `alloc_zeroed`, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the pointer came from the system's allocator with this layout, because all of them do.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A copy of a tiny model whose UNet works on latents of [`SIDE`] × [`SIDE`].
fn enlarged(name: &str, to: &Path) {
    for part in std::fs::read_dir(fixture(name)).unwrap().map(|entry| entry.unwrap().path()) {
        let copy = to.join(part.file_name().unwrap());
        if part.is_file() {
            std::fs::copy(&part, &copy).unwrap();
            continue;
        }
        std::fs::create_dir(&copy).unwrap();
        for file in std::fs::read_dir(&part).unwrap().map(|entry| entry.unwrap().path()) {
            std::fs::copy(&file, copy.join(file.file_name().unwrap())).unwrap();
        }
    }
    let path = to.join("unet/config.json");
    let mut config: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    config["sample_size"] = SIDE.into();
    std::fs::write(path, config.to_string()).unwrap();
}

/// The peak that is `counted` of `work`, and bytes at its highest point beside those that were allocated before.
fn measured(counted: impl FnOnce() -> Cost + Send, work: impl Fn() + Send + Sync) -> (f64, f64) {
    // The kernels' threads keep their scratch: with new threads there is none yet.
    let mut threads = Vec::new();
    let spawn = |thread: rayon::ThreadBuilder| {
        threads.push(std::thread::spawn(|| thread.run()));
        Ok(())
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(THREADS).spawn_handler(spawn).build().unwrap();
    // Each thread has buffers of its own for matrix products, a mebibyte whatever is multiplied.
    pool.broadcast(|_| zeros(&[256, 256]).matmul(&zeros(&[256, 256])).unwrap());
    let found = pool.install(|| {
        let counted = counted().peak_bytes;
        let before = LIVE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        // A job does it again and again, with the scratch of the largest kernel there from the second time on.
        work();
        work();
        (counted as f64, (PEAK.load(Ordering::Relaxed) - before) as f64)
    });
    drop(pool);
    // What they keep is given back when they end: not in the middle of the next measurement.
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    found
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap()
}

/// Whether the peak that is counted of everything is about the real one.
fn check(name: &str) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    enlarged(name, folder.path());
    let outline = Outline::read(&ModelSpec::at(folder.path())).unwrap();
    let model = BaseModel::load(folder.path()).unwrap();
    model.unet.read().unwrap();
    let batch = 3;
    let text = &outline.texts[0];
    let context = |batch| zeros(&[batch, text.length(), text.width()]);
    // What the text encoder reads anew is the same with every method and small: here nothing.
    let read = TextsRead { texts: 1, first_layer: text.layers() };
    let latents = || zeros(&[batch, model.unet.in_channels(), SIDE, SIDE]);
    let forward = |context: Tracked, tape: Option<&Tape>| {
        let options = UNetOptions { gradient_checkpointing: tape, ..UNetOptions::default() };
        model.unet.forward(&latents(), &[500; 3], &context.into(), options).unwrap()
    };
    let training = |gradient_checkpointing: bool| {
        measured(
            || outline.training_step(batch, gradient_checkpointing, read),
            || {
                let tape = Tape::default();
                let context = tape.leaf(context(1));
                let output = forward(context, gradient_checkpointing.then_some(&tape));
                let gradient = zeros(output.value().dims());
                tape.backward(&output, gradient).unwrap();
            },
        )
    };
    let found = [
        ("denoising", measured(|| outline.denoising_step(batch), || drop(forward(context(batch).into(), None)))),
        ("training", training(false)),
        ("training with gradient checkpointing", training(true)),
        (
            "decoding",
            measured(
                || outline.decoding(1),
                || drop(model.vae.decoder().unwrap().decode(&zeros(&[1, 4, SIDE, SIDE])).unwrap()),
            ),
        ),
        (
            "encoding",
            measured(
                || outline.encoding_beside_unet(batch),
                || {
                    let side = outline.resolution();
                    drop(model.vae.encoder().unwrap().encode(&zeros(&[batch, 3, side, side])).unwrap());
                },
            ),
        ),
    ];
    let far = |(what, (counted, real)): &(&str, (f64, f64))| {
        let parts = counted / real - 1.0;
        println!("{name}, {what}: counted {counted}, real {real}: {:+.1} %", 100.0 * parts);
        (parts.abs() > TOLERANCE).then(|| format!("{what}: counted {counted}, real {real}"))
    };
    let far: Vec<String> = found.iter().filter_map(far).collect();
    assert!(far.is_empty(), "{name}: {far:#?}");
}

#[test]
fn memory_is_counted_as_a_model_like_sd_1_takes_it() {
    check("tiny_sd1");
}

#[test]
fn memory_is_counted_as_a_model_like_sd_2_takes_it() {
    check("tiny_sd2");
}
