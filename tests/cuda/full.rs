//! What a model of the shapes of Stable Diffusion 1.5 asks of a card in bf16: launches, bytes, arithmetic and memory of one training step
//! and of one guided denoising step, held to `counts.json`. Nothing is computed: counting takes seconds. A change of a number is seen; one
//! that is meant is kept with `CATBENCH_COUNTS=write cargo test --features cuda --test cuda full::`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::common::Workspace;
use crate::soft::{Soft, TRAIN, times};
use catbench::diffusion::{Cost, Outline, TextsRead};
use catbench::protocol::{DeviceName, FloatType, ModelSpec};
use serde_json::Value;

/// What one step takes.
type Counts = BTreeMap<String, u64>;

/// Cards and their two ceilings, from their data sheets: operations a second in bf16 without sparsity, bytes a second.
const CARDS: [(&str, f64, f64); 3] = [("A100", 312e12, 2.04e12), ("H100", 989e12, 3.35e12), ("H200", 989e12, 4.8e12)];

fn counted(counts: &Value) -> Counts {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let (kernels, gemms) = (&counts["kernels"]["all"], &counts["gemms"]["all"]);
    [
        ("launches", number(&kernels["launches"])),
        ("products", number(&gemms["launches"])),
        ("product_operations", number(&gemms["operations"])),
        ("bytes_read", number(&kernels["read"]) + number(&gemms["read"])),
        ("bytes_written", number(&kernels["written"]) + number(&gemms["written"])),
        ("uploads", times(counts, "uploaded")),
        ("downloads", times(counts, "downloaded")),
        ("copies", times(counts, "copied")),
        ("waits_that_left_the_card_idle", times(counts, "waits that left a stream empty")),
        ("allocations", number(&counts["allocations"])),
    ]
    .map(|(name, count)| (name.to_owned(), count))
    .into()
}

/// What the steps cost by which `more` has more than `few`, each.
fn each(few: &Value, more: &Value, steps: u64) -> Counts {
    let (few, more) = (counted(few), counted(more));
    let of = |(name, count): (&String, &u64)| {
        let difference = count.checked_sub(few[name]).filter(|difference| difference % steps == 0);
        (name.clone(), difference.unwrap_or_else(|| panic!("{name}: steps differ: {few:?}, {more:?}")) / steps)
    };
    more.iter().map(of).collect()
}

/// Memory at the highest point, that others of the card do not count: without what the driver keeps.
fn peak(counts: &Value) -> u64 {
    counts["memory"][0]["peak"].as_u64().unwrap()
}

/// What the time of a step is reckoned from, before a job starts, must be near what is counted.
fn reckoned(step: &str, cost: &Cost, counts: &Counts) {
    let share = |reckoned: f64, counted: &str| reckoned / counts[counted] as f64;
    let operations = share(cost.flops, "product_operations");
    let written = share(cost.written as f64, "bytes_written");
    println!("{step}: reckoned with {operations:.3} of the counted operations, {written:.2} of the bytes written");
    assert!((0.95..1.05).contains(&operations) && (0.8..1.25).contains(&written), "{step}");
}

#[test]
fn a_step_of_stable_diffusion_asks_what_it_asked_before() {
    let workspace = Workspace::with_models();
    let model = workspace.home().join("full_size");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = Command::new("python3")
        .arg(root.join("tests/cuda/full_size.py"))
        .args([&root.join("workspaces/demo/base_model"), &model])
        .status();
    assert!(made.unwrap().success());
    workspace.use_base_model(&model);
    let soft = Soft::new(workspace).with("COUNT_ONLY", &1).with("MEMORY", &(80_u64 << 30));
    let card = ["--device", "cuda:0", "--dtype", "bf16"];
    let outline = Outline::read(&ModelSpec::at(&model)).unwrap().on(DeviceName::Cuda(0), FloatType::Bf16);
    let mut found: BTreeMap<String, Counts> = BTreeMap::new();
    for batch in ["1", "4"] {
        let begin = |steps: &'static str| {
            let train = TRAIN.map(|word| if word == "1" { batch } else { word });
            [&train[..], &card, &["--steps", steps, "--layers", "9,10,11"]].concat()
        };
        let of = |steps: &'static str| {
            soft.run(&begin(steps));
            soft.count()
        };
        let (few, more) = (of("2"), of("4"));
        let mut counts = each(&few, &more, 2);
        let estimated = soft.json(&[&begin("2")[..], &["--dry-run"]].concat());
        let estimated = estimated["estimate"]["peak_bytes"].as_u64().unwrap();
        // What a driver keeps for a process is in the estimate, and the software device has none.
        let (counted, estimated) = (peak(&more), estimated - (500 << 20));
        let apart = estimated as f64 / counted as f64 - 1.0;
        println!("batch {batch}: {counted} bytes counted, {estimated} estimated ({:+.1} %)", 100.0 * apart);
        assert!(apart.abs() < 0.1, "batch {batch}: {counted} bytes counted, {estimated} estimated");
        let read = TextsRead { texts: 1, first_layer: 9 };
        let cost = outline.training_step(batch.parse().unwrap(), false, read);
        reckoned(&format!("training step, batch {batch}"), &cost, &counts);
        counts.extend([("peak_bytes".into(), counted), ("estimated_peak_bytes".into(), estimated)]);
        found.insert(format!("training step, batch {batch}"), counts);
    }
    let of = |steps: &str| {
        let sample = ["sample", "demo", "--untrained", "--prompt", "a teapot", "--images", "1", "--steps", steps];
        soft.run(&[&sample[..], &card].concat());
        soft.count()
    };
    let (few, more) = (of("2"), of("4"));
    let mut counts = each(&few, &more, 2);
    counts.insert("peak_bytes".into(), peak(&more));
    reckoned("guided denoising step", &outline.denoising_step(2), &counts);
    found.insert("guided denoising step".into(), counts);

    for (step, counts) in &found {
        println!("{step}:");
        counts.iter().for_each(|(name, count)| println!("  {name:32} {count}"));
        for (card, operations, bytes) in CARDS {
            let moved = (counts["bytes_read"] + counts["bytes_written"]) as f64 / bytes;
            let seconds = counts["product_operations"] as f64 / operations + moved;
            println!("  reckoned for an {card:5}                {:.1} ms", 1000.0 * seconds);
        }
    }
    let path = root.join("tests/cuda/counts.json");
    if std::env::var("CATBENCH_COUNTS").is_ok_and(|what| what == "write") {
        std::fs::write(&path, serde_json::to_string_pretty(&found).unwrap() + "\n").unwrap();
    }
    let kept: BTreeMap<String, Counts> = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert!(kept.keys().eq(found.keys()), "other steps are counted");
    for (step, counts) in &kept {
        for (name, kept) in counts {
            let now = found[step][name];
            assert!(
                now == *kept,
                "{step}: {name} is {now}, and was {kept}; if that is meant, see the top of this file"
            );
        }
    }
}
