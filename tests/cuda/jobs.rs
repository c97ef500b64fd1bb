//! Commands of a user whose jobs compute on a graphics card.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::common::{Workspace, fixture, job_state, kill, queue_training, skipped, wait_for_step, wait_until};
use crate::sam;
use crate::soft::{Soft, TRAIN, assert_no_hazards, newest, times};
use catbench::protocol::{Event, JobState};
use serde_json::Value;

const CARD: [&str; 2] = ["--device", "cuda:0"];

/// A training of `steps` steps on the card, with more options.
fn train(soft: &Soft, steps: usize, more: &[&str]) -> Vec<u8> {
    soft.run(&[&TRAIN[..], &CARD, &["--steps", &steps.to_string()], more].concat());
    soft.learned()
}

fn events(soft: &Soft) -> Vec<Event> {
    crate::common::events(&soft.run_folder())
}

#[test]
fn a_training_that_is_killed_goes_on_to_the_same_bytes_in_every_type() {
    for dtype in ["f32", "bf16", "f16"] {
        let soft = Soft::new(Workspace::with_models());
        let more = ["--dtype", dtype, "--flip-probability", "0.5"];
        let whole = train(&soft, 40, &[&more[..], &["--checkpoint-every", "10"]].concat());
        let (number, run) = queue_training(&soft.workspace, 40, &[&more[..], &CARD].concat());
        wait_for_step(&run, 22);
        let pid = events(&soft).iter().find_map(|event| match event {
            Event::Started { pid, .. } => Some(u64::from(*pid)),
            _ => None,
        });
        kill(pid.unwrap());
        wait_until("it is taken up again", || job_state(&soft.workspace, number) != JobState::Running);
        if job_state(&soft.workspace, number) != JobState::Finished {
            soft.run(&["jobs", "retry", &number.to_string()]);
            soft.run(&["wait", &number.to_string()]);
        }
        assert!(soft.learned() == whole, "{dtype}: it learned something else");
        let steps = events(&soft).iter().filter(|event| matches!(event, Event::Step { .. })).count();
        assert!(steps > 40, "{dtype}: {steps} steps: it was not cut");
    }
}

/// Every command that takes `--device`, with what else it is given here. `PHOTO` is a photo, `PROTOCOL` a file of a protocol.
const COMMANDS: [&[&str]; 7] = [
    &["train", "demo", "--steps", "4", "--batch-size", "2", "--sample-every", "2", "--validate-every", "2"],
    &["sample", "demo", "--prompt", "a {concept} on grass", "--prompt", "a photo", "--images", "1", "--steps", "2"],
    &["score", "demo", "--steps", "2", "-n", "1"],
    &[
        "sweep",
        "demo",
        "--grid",
        "lr=0.001,0.01",
        "--set",
        "steps=2",
        "--set",
        "batch_size=1",
        "--sample-steps",
        "2",
        "-n",
        "1",
    ],
    &["bench", "PROTOCOL", "--train-seeds", "1"],
    &["mask make", "demo", "PHOTO", "--masks", "sam", "--mask-quality", "fast"],
    &["mask bench", "demo", "--masks", "base_model", "--mask-quality", "fast"],
];

#[test]
fn every_command_that_takes_a_device_works_on_the_card() {
    let soft = Soft::new(Workspace::with_models());
    let concept = soft.workspace.concept();
    sam::file("vit", &concept);
    let path = concept.join("concept.toml");
    let toml = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{toml}sam_model = \"vit.safetensors\"\n")).unwrap();
    let protocol = soft.workspace.home().join("protocol.toml");
    let text = format!(
        "name = \"one\"\nbase_model = \"{}\"\nscore_model = \"{}\"\nimages = \"{}/{{subject}}\"\n\
         [train]\nsteps = 2\nbatch_size = 1\n[sample]\nsteps = 2\n[prompts]\nthings = [\"a {{concept}} on grass\"]\n\
         [[subject]]\nname = \"images\"\nclass = \"teapot\"\nprompts = \"things\"\n",
        fixture("tiny_sd1").display(),
        fixture("tiny_clip").display(),
        concept.display(),
    );
    std::fs::write(&protocol, text).unwrap();
    let photo = concept.join("images/beach.png");
    for command in COMMANDS {
        let rest = command[1..].iter().map(|word| match *word {
            "PHOTO" => photo.to_str().unwrap(),
            "PROTOCOL" => protocol.to_str().unwrap(),
            word => word,
        });
        soft.run(&command[0].split(' ').chain(rest).chain(CARD).collect::<Vec<_>>());
    }
    // What was made is made again, by the same device, to the same pixels.
    let picture = picture_in(&newest(&concept.join("samples")));
    assert_eq!(soft.json(&["replay", picture.to_str().unwrap()])["same"], true);
    assert_no_hazards(&soft.counts());

    let named: BTreeSet<&str> = COMMANDS.iter().map(|command| command[0]).collect();
    assert_eq!(named, with_device(&soft).iter().map(String::as_str).collect());
}

/// A picture of the sampling in `folder`.
fn picture_in(folder: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|ending| ending == "png")).unwrap()
}

/// The commands whose help names `--device`.
fn with_device(soft: &Soft) -> BTreeSet<String> {
    let commands = |of: &[&str]| -> Vec<String> {
        let help = soft.run(&[of, &["--help"]].concat());
        let list = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        list.map(|line| line.split_whitespace().next().unwrap().to_owned()).filter(|name| name != "help").collect()
    };
    let mut all = BTreeSet::new();
    for verb in commands(&[]) {
        let inner = commands(&[&verb]);
        let with_inner = inner.iter().map(|inner| vec![verb.as_str(), inner]);
        for words in std::iter::once(vec![verb.as_str()]).chain(with_inner) {
            if soft.run(&[&words[..], &["--help"]].concat()).contains("--device ") {
                all.insert(words.join(" "));
            }
        }
    }
    all
}

#[test]
fn what_the_card_computes_is_what_the_processor_computes() {
    let soft = Soft::new(Workspace::with_models());
    train(&soft, 3, &["--dtype", "f32"]);
    let on = |device: &str| {
        let more = ["--dtype", "f32", "--device", device];
        let sample = ["sample", "demo", "--prompt", "a {concept}", "--images", "1", "--steps", "4"];
        soft.run(&[&sample[..], &more].concat());
        let batch = newest(&soft.workspace.concept().join("samples"));
        let picture = picture_in(&batch);
        let scores = soft.json(&[&["score", "demo", "--steps", "2", "-n", "1"][..], &more].concat());
        (image::open(picture).unwrap().to_rgb8(), scores["scores"]["after"].clone())
    };
    let ((card, card_scores), (cpu, cpu_scores)) = (on("cuda:0"), on("cpu"));
    let apart = card.iter().zip(cpu.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(apart <= 1, "{apart} of 255 apart");
    for score in ["masked_clip_i", "clip_i", "clip_t"] {
        let [card, cpu] = [&card_scores, &cpu_scores].map(|scores| scores[score]["value"].as_f64().unwrap());
        // Pixels that differ by 1 of 255 are measured too.
        assert!((card - cpu).abs() < 2e-3, "{score}: {card} on the card, {cpu} on the processor");
    }
}

#[test]
fn while_a_card_is_busy_nothing_waits_for_it_between_two_steps() {
    let soft = Soft::new(Workspace::with_models());
    let of = |steps| {
        train(&soft, steps, &["--dtype", "bf16"]);
        soft.count()
    };
    let (few, many) = (of(3), of(13));
    let waits = |counts: &Value| times(counts, "waits that left a stream empty");
    assert_eq!(waits(&many), waits(&few), "the losses of ten more steps came without one");
    assert!(times(&many, "waits for an event") > times(&few, "waits for an event"));
    let pageable = |counts: &Value| times(counts, "uploaded from pages that are not locked");
    assert_eq!(pageable(&many), pageable(&few));
    assert_no_hazards(&[few, many]);
}

#[test]
fn a_full_card_is_told_and_whatever_fails_the_next_job_runs() {
    let mut soft = Soft::new(Workspace::with_models());
    let begin = [&TRAIN[..], &CARD, &["--steps", "4", "--checkpoint-every", "2"]].concat();
    let whole = {
        soft.run(&begin);
        soft.learned()
    };
    let all = soft.count()["allocations"].as_u64().unwrap();
    // 20 of all allocations of a job, from the first to the last.
    for i in 0..20 {
        let at = 1 + i * (all - 1) / 19;
        soft.set("FAIL_ALLOC", &at);
        let output = soft.output(&begin);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            // The estimate comes first and has a process of its own, with allocations of its own.
            assert!(soft.learned() == whole, "allocation {at}");
            continue;
        }
        assert!(said.contains("no memory left") && said.contains("batch_size"), "allocation {at} of {all}: {said}");
        assert!(!said.contains("panicked"), "allocation {at} of {all}: {said}");
    }
    soft.set("FAIL_ALLOC", &0);
    soft.run(&begin);
    assert!(soft.learned() == whole, "the next job learned something else");

    // A card on which it does not fit is refused with what would do, and there is no run.
    let runs = || std::fs::read_dir(soft.workspace.concept().join("runs")).unwrap().count();
    let before = runs();
    let output = soft.command(&begin).env("SOFT_CUDA_MEMORY", (300 << 20).to_string()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("MiB"), "{said}");
    assert_eq!(runs(), before);
}

#[test]
fn jobs_for_any_card_run_side_by_side_one_a_card() {
    let soft = Soft::new(Workspace::with_models()).with("DEVICES", &2);
    // The daemon has to see both.
    soft.run(&["daemon", "start"]);
    let queued: Vec<_> =
        (0..2).map(|_| queue_training(&soft.workspace, 40, &["--device", "any", "--dtype", "bf16"])).collect();
    let devices = || -> BTreeSet<String> {
        let jobs = crate::common::jobs(&soft.workspace);
        jobs.into_iter().filter(|job| job.state == JobState::Running).map(|job| job.device).collect()
    };
    wait_until("both run", || {
        devices().len() == 2
            || queued.iter().all(|(number, _)| job_state(&soft.workspace, *number) == JobState::Finished)
    });
    for (number, _) in &queued {
        soft.run(&["wait", &number.to_string()]);
    }
    let on: BTreeSet<String> = crate::common::jobs(&soft.workspace).into_iter().map(|job| job.device).collect();
    assert_eq!(on, BTreeSet::from(["cuda:0".to_owned(), "cuda:1".to_owned()]));
}

#[test]
fn without_a_device_named_a_card_is_taken_in_the_numbers_it_has() {
    for (capability, dtype) in [("8.0", "bf16"), ("7.5", "f32")] {
        let soft = Soft::new(Workspace::with_models()).with("CAPABILITY", &capability);
        soft.run(&[&TRAIN[..], &["--steps", "1"]].concat());
        let run: toml::Value =
            toml::from_str(&std::fs::read_to_string(soft.run_folder().join("run.toml")).unwrap()).unwrap();
        let train = &run["train"];
        assert_eq!((train["device"].as_str(), train["dtype"].as_str()), (Some("cuda:0"), Some(dtype)), "{capability}");
        assert!(soft.run(&["doctor"]).contains("cuda:0"));
    }
}

#[test]
fn a_card_that_another_process_has_for_itself_is_estimated_without_its_speed() {
    let soft = Soft::new(Workspace::with_models());
    let lock = soft.workspace.home().join("exclusive");
    let soft = soft.with("EXCLUSIVE", &lock.display());
    let held = std::fs::File::create(lock.with_extension("0")).unwrap();
    held.lock().unwrap();
    let begin = [&TRAIN[..], &CARD, &["--steps", "1"]].concat();
    let estimate = soft.json(&[&begin[..], &["--dry-run"]].concat());
    assert!(estimate["estimate"]["peak_bytes"].as_u64() > Some(500 << 20) && estimate["estimate"]["time"].is_null());
    assert!(soft.run(&[&begin[..], &["--dry-run"]].concat()).contains("not known: another process has the card"));
    let said = String::from_utf8_lossy(&soft.output(&begin).stderr).into_owned();
    assert!(said.contains("another process has it for itself") && said.contains("nvidia-smi"), "{said}");
    drop(held);
    // The runner of one job keeps the card for the next, whose estimate then goes without.
    soft.run(&begin);
    soft.run(&begin);
}

#[test]
fn a_program_for_cards_is_told_how_to_number_them_and_to_compute_in_float32() {
    let soft = Soft::new(Workspace::with_models());
    let (_, run) = queue_training(&soft.workspace, 400, &CARD);
    wait_for_step(&run, 1);
    let pid = std::fs::read_to_string(run.join("runner.lock")).unwrap();
    let Ok(environment) = std::fs::read(format!("/proc/{}/environ", pid.trim())) else {
        return skipped("no /proc here");
    };
    let environment = String::from_utf8_lossy(&environment).into_owned();
    for variable in ["CUDA_DEVICE_ORDER=PCI_BUS_ID", "NVIDIA_TF32_OVERRIDE=0"] {
        assert!(environment.split('\0').any(|one| one == variable), "{variable}");
    }
}

#[test]
fn numbers_that_somebody_named_stay_and_others_follow_the_device() {
    let soft = Soft::new(Workspace::with_models()).with("DEVICES", &2);
    let settings = soft.workspace.home().join(".catbench/settings.toml");
    std::fs::create_dir_all(settings.parent().unwrap()).unwrap();
    let begins = |more: &[&str]| {
        let estimate = soft.json(&[&["train", "demo", "--dry-run"][..], more].concat())["estimate"].clone();
        let word = |name: &str| estimate[name].as_str().unwrap().split(',').next().unwrap().to_owned();
        (word("device"), word("dtype"))
    };
    let pair = |device: &str, dtype: &str| (device.to_owned(), dtype.to_owned());
    assert_eq!(begins(&[]), pair("cuda:0", "bf16"));
    assert_eq!(begins(&["--device", "cpu"]), pair("cpu", "f32"));
    std::fs::write(&settings, "device = \"cuda:1\"\n").unwrap();
    assert_eq!((begins(&[]), begins(&["--device", "any"])), (pair("cuda:1", "bf16"), pair("cuda:1", "bf16")));
    std::fs::write(&settings, "device = \"cpu\"\n").unwrap();
    assert_eq!((begins(&[]), begins(&["--device", "any"])), (pair("cpu", "f32"), pair("cuda:0", "bf16")));
    soft.workspace.trains_with("dtype = \"f32\"");
    assert_eq!(begins(&["--device", "cuda:0"]), pair("cuda:0", "f32"));

    // A sweep makes its pictures where it trains, in the same numbers.
    let quick = ["--set", "steps=1", "--set", "batch_size=1", "--sample-steps", "1", "-n", "1", "--name", "one"];
    soft.run(&[&["sweep", "demo", "--grid", "dtype=f32,bf16", "--set", "device=cuda:1"][..], &quick].concat());
    let plan = std::fs::read_to_string(soft.workspace.home().join(".catbench/plans/one.toml")).unwrap();
    let plan: toml::Value = toml::from_str(&plan).unwrap();
    for (cell, dtype) in plan["cell"].as_array().unwrap().iter().zip(["f32", "bf16"]) {
        for made in [&cell["train"], &cell["score"]["sample"]] {
            assert_eq!((made["device"].as_str(), made["dtype"].as_str()), (Some("cuda:1"), Some(dtype)));
        }
    }

    // What cannot be read is not taken for nothing.
    std::fs::write(&settings, "device = \"gpu\"\n").unwrap();
    let said = String::from_utf8_lossy(&soft.output(&["train", "demo", "--dry-run"]).stderr).into_owned();
    assert!(said.contains("settings.toml") && said.contains("cuda:0"), "{said}");
    std::fs::write(&settings, "").unwrap();
    let older = soft.with("CAPABILITY", &"7.5");
    let said = older.output(&["train", "demo", "--dry-run", "--dtype", "bf16", "--device", "cuda:0"]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("compute capability 8.0"), "{said:?}");
}
