//! A concept with photos, masks and runs, made by code: what the tests of commands and screens look at.
#![allow(dead_code)] // Two programs have it.

pub mod users;

use std::fs::{File, create_dir_all, write};
use std::io::{BufRead, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use std::time::{Duration, Instant};

use catbench::protocol::{Event, EventRecord, JobInfo, JobState, MaskReport, Phase, Score, Scores, Unit};
use catbench::workspace::EventReader;
use image::{GrayImage, Luma, Rgb, RgbImage};

/// The scenes of the photos and prompts: name, sky, ground.
const SCENES: [(&str, [u8; 3], [u8; 3]); 5] = [
    ("beach", [120, 200, 250], [235, 210, 150]),
    ("grass", [120, 190, 240], [60, 150, 60]),
    ("night", [10, 10, 50], [40, 40, 80]),
    ("snow", [200, 220, 240], [245, 245, 250]),
    ("table", [180, 140, 100], [120, 70, 40]),
];

pub const RUN: &str = "20261123-134501-x7k2";

/// A file or folder of `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The program, in the home of `workspace`.
pub fn catbench(workspace: &Workspace, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catbench"));
    command.args(args).env("CATBENCH_HOME", workspace.home()).stdin(Stdio::null());
    command
}

/// What the program prints with `--json`.
pub fn json(workspace: &Workspace, args: &[&str]) -> serde_json::Value {
    let output = catbench(workspace, &[args, &["--json"]].concat()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let last = text.lines().last().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    serde_json::from_str(last).unwrap()
}

/// All jobs of the queue.
pub fn jobs(workspace: &Workspace) -> Vec<JobInfo> {
    serde_json::from_value(json(workspace, &["jobs", "--all"])["jobs"].clone()).unwrap()
}

/// How a job is.
pub fn job_state(workspace: &Workspace, number: u64) -> JobState {
    jobs(workspace).into_iter().find(|job| job.number == number).unwrap().state
}

/// Hand a training of `steps` steps of one picture to the queue, without pictures on the way. Its number and folder.
pub fn queue_training(workspace: &Workspace, steps: usize, more: &[&str]) -> (u64, PathBuf) {
    let steps = steps.to_string();
    let args = ["train", "demo", "--detach", "--sample-every", "0", "--validate-every", "0", "--batch-size", "1"];
    let queued = json(workspace, &[&args[..], &["--steps", &steps, "--checkpoint-every", "10"], more].concat());
    (queued["job"].as_u64().unwrap(), queued["path"].as_str().unwrap().into())
}

/// The events of a job with their numbers, which have no gap and no double.
pub fn records(run: &Path) -> Vec<EventRecord> {
    let records = EventReader::new(&run.join("events.jsonl")).read_new().unwrap();
    assert!(records.iter().enumerate().all(|(i, record)| record.seq == i as u64), "a gap or a double");
    records
}

/// The events of a job.
pub fn events(run: &Path) -> Vec<Event> {
    records(run).into_iter().map(|record| record.event).collect()
}

/// Wait until the run has done `step` steps.
pub fn wait_for_step(run: &Path, step: usize) {
    wait_until(&format!("step {step} comes"), || {
        events(run).iter().any(|event| matches!(event, Event::Step { step: s, .. } if *s >= step))
    });
}

/// Wait until something is so.
pub fn wait_until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !is() {
        assert!(Instant::now() < deadline, "it never came that {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether the process lives, and is not only not yet taken note of.
pub fn is_alive(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// Kill a process at once.
pub fn kill(pid: u64) {
    Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
}

/// A daemon as one of a later version would be, with so many jobs running and queued: it has the lock and the socket of the home, says
/// how it is, and lets go of both when it is asked to stop.
pub fn later_daemon(workspace: &Workspace, running: usize, queued: usize) -> std::thread::JoinHandle<()> {
    let internal = workspace.home().join(".catbench");
    std::fs::create_dir_all(&internal).unwrap();
    std::fs::set_permissions(&internal, std::fs::Permissions::from_mode(0o700)).unwrap();
    let lock = std::fs::File::create(internal.join("daemon.lock")).unwrap();
    lock.try_lock().unwrap();
    let socket = internal.join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // The client may be gone at any time.
            let _ = stream.write_all(b"{\"protocol\":99,\"version\":\"9.9\"}\n");
            for line in std::io::BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok).skip(1) {
                let asked: serde_json::Value = serde_json::from_str(&line).unwrap();
                let stops = asked["message"]["request"] == "stop";
                let message = if stops {
                    serde_json::json!({ "reply": "done" })
                } else {
                    serde_json::json!({ "reply": "status", "with": {
                        "pid": 1, "version": "9.9", "protocol": 99, "home": "/", "socket": "/", "log": "/",
                        "since": "2026-11-23T13:45:01Z", "clients": 1, "running": running, "queued": queued, "warnings": [],
                    }})
                };
                let reply = serde_json::json!({ "id": asked["id"], "message": message });
                let _ = stream.write_all(format!("{reply}\n").as_bytes());
                if stops {
                    std::fs::remove_file(&socket).unwrap();
                    return drop(lock);
                }
            }
        }
    })
}

/// A file of the queue.
pub fn queue_file(workspace: &Workspace, number: u64, job: &str) {
    let folder = workspace.home().join(".catbench/queue");
    std::fs::create_dir_all(&folder).unwrap();
    let text = format!(
        "version = 1\nnumber = {number}\njob = \"{job}\"\ndevice = \"cpu\"\npriority = 0\nposition = {number}.0\n\
         wanted = \"run\"\nfrom_seq = 0\nsubmitted = \"2026-11-23T13:45:01Z\"\n"
    );
    std::fs::write(folder.join(format!("{number}.toml")), text).unwrap();
}

/// Say that a test was not done, and why; also where what tests print is kept for their failures.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// A new folder whose path is short, and as long on every machine: screens show it, and that of a socket has a limit.
pub fn short_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/tmp").unwrap()
}

/// A home elsewhere than that of the workspace; its daemon ends with it.
pub struct Elsewhere<'a>(pub &'a Workspace, pub PathBuf);

impl Elsewhere<'_> {
    pub fn catbench(&self, args: &[&str]) -> Command {
        let mut command = catbench(self.0, args);
        command.env("CATBENCH_HOME", &self.1);
        command
    }
}

impl Drop for Elsewhere<'_> {
    fn drop(&mut self) {
        let _ = self.catbench(&["daemon", "stop"]).output();
    }
}

/// A home with the concept `demo`; its base model is only a name.
pub struct Workspace {
    folder: tempfile::TempDir,
}

impl Workspace {
    pub fn new() -> Self {
        let folder = short_folder();
        let workspace = Self { folder };
        let concept = workspace.concept();
        for name in ["images", "masks", "prompts", "base_model", "clip"] {
            create_dir_all(concept.join(name)).unwrap();
        }
        write(concept.join("base_model/model_index.json"), "{}").unwrap();
        let toml = "name = \"demo\"\nclass_word = \"teapot\"\nbase_model = \"base_model\"\nscore_model = \"clip\"\n";
        write(concept.join("concept.toml"), toml).unwrap();
        write(concept.join("prompts/demo.txt"), "a {concept} on grass\n# no\n\na {concept} at night\n").unwrap();
        for (name, sky, ground) in SCENES {
            picture(sky, ground, [245, 200, 60], [20, 150, 150])
                .save(concept.join(format!("images/{name}.png")))
                .unwrap();
            let mask = GrayImage::from_fn(64, 64, |x, y| Luma([if inside(x, y) { 255 } else { 0 }]));
            mask.save(concept.join(format!("masks/{name}.png"))).unwrap();
        }
        workspace
    }

    /// One whose models, the tiny ones, can really be used.
    pub fn with_models() -> Self {
        let workspace = Self::new();
        workspace.use_base_model(&fixture("tiny_sd1"));
        workspace
    }

    /// A copy of the home that is kept in `folder`, a fixture. Its texts name the places `@HOME@` and `@FIXTURES@`.
    pub fn copied_from(folder: &Path) -> Self {
        let workspace = Self { folder: short_folder() };
        copy_home(folder, workspace.home(), workspace.home());
        workspace
    }

    pub fn home(&self) -> &Path {
        self.folder.path()
    }

    pub fn concept(&self) -> PathBuf {
        self.folder.path().join("demo")
    }

    /// Give it this base model, and the tiny score model.
    pub fn use_base_model(&self, folder: &Path) {
        let (base, score) = (folder.display(), fixture("tiny_clip"));
        let models = format!("base_model = \"{base}\"\nscore_model = \"{}\"\n", score.display());
        write(self.concept().join("concept.toml"), format!("name = \"demo\"\nclass_word = \"teapot\"\n{models}"))
            .unwrap();
    }

    /// Have its trainings start from these settings.
    pub fn trains_with(&self, settings: &str) {
        let path = self.concept().join("concept.toml");
        let toml = std::fs::read_to_string(&path).unwrap();
        write(path, format!("{toml}\n# measured\n[train]\n{settings}\n")).unwrap();
    }

    /// Begin a run of 500 steps; its events are written by the caller.
    pub fn run(&self) -> Run {
        let folder = self.concept().join("runs").join(RUN);
        for name in ["samples", "checkpoints", "evaluation/before", "evaluation/after"] {
            create_dir_all(folder.join(name)).unwrap();
        }
        let toml = "concept = \"demo\"\nclass_word = \"teapot\"\nbase_model = \"/nowhere\"\n[train]\n[evaluation]\n";
        write(folder.join("run.toml"), toml).unwrap();
        write(folder.join("runner.lock"), "1").unwrap();
        let mut run = Run { folder, events: Vec::new(), lock: None, noise: 7, holds_out: false };
        run.tell(Event::Started { pid: 1, steps: 500, resumed_from: 0 });
        run
    }

    /// Begin a sampling of `all` pictures, of which `done` are made; its events are written by the caller.
    pub fn sampling(&self, done: usize, all: usize) -> Run {
        let folder = self.concept().join("samples").join(RUN);
        create_dir_all(&folder).unwrap();
        let toml = "concept = \"demo\"\nclass_word = \"teapot\"\nbase_model = \"/nowhere\"\n[sample]\n";
        write(folder.join("batch.toml"), toml).unwrap();
        write(folder.join("runner.lock"), "1").unwrap();
        let mut sampling = Run { folder, events: Vec::new(), lock: None, noise: 7, holds_out: false };
        sampling.tell(Event::Started { pid: 1, steps: 0, resumed_from: 0 });
        for i in 0..done {
            let (name, sky, ground) = SCENES[i % SCENES.len()];
            let (path, seed) = (PathBuf::from(format!("{i:03}.png")), (i / SCENES.len()) as u64);
            picture(sky, ground, [245, 200, 60], [20, 150, 150]).save(sampling.folder.join(&path)).unwrap();
            let prompt = format!("a {{concept}}, {name}");
            sampling.tell(Event::Sample { step: 500, path, prompt, seed, learned: true });
        }
        sampling.tell(Event::Progress { phase: Phase::Sample, done: done * 50, total: all * 50 });
        sampling
    }
}

/// `text` with the places that fixtures name.
pub fn with_places(text: &str, home: &Path) -> String {
    let fixtures = fixture("");
    text.replace("@HOME@", home.to_str().unwrap())
        .replace("@FIXTURES@", fixtures.to_str().unwrap().trim_end_matches('/'))
}

/// Copy what is in `from`, which is kept for `home`, for nobody else to write to.
fn copy_home(from: &Path, to: &Path, home: &Path) {
    create_dir_all(to).unwrap();
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o700)).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_home(&from, &to, home);
            continue;
        }
        match String::from_utf8(std::fs::read(&from).unwrap()) {
            Ok(text) => write(&to, with_places(&text, home)).unwrap(),
            Err(bytes) => write(&to, bytes.as_bytes()).unwrap(),
        }
    }
}

impl Drop for Workspace {
    /// No daemon of a test outlives it, nor a runner.
    fn drop(&mut self) {
        if self.home().join(".catbench/daemon.lock").exists() {
            let _ = catbench(self, &["daemon", "stop"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
        for lock in locks(self.home()) {
            let held = File::open(&lock).is_ok_and(|file| file.try_lock_shared().is_err());
            let pid = std::fs::read_to_string(&lock).unwrap_or_default();
            if held && pid.trim().parse::<u32>().is_ok_and(|pid| pid > 1 && pid != std::process::id()) {
                let _ = Command::new("kill").args(["-9", pid.trim()]).status();
            }
        }
    }
}

/// Every `runner.lock` under `folder`.
fn locks(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() && !path.is_symlink() {
            found.extend(locks(&path));
        } else if path.ends_with("runner.lock") {
            found.push(path);
        }
    }
    found
}

/// A run whose events are made up.
pub struct Run {
    pub folder: PathBuf,
    events: Vec<EventRecord>,
    lock: Option<File>,
    noise: u64,
    /// Whether a photo is held out.
    holds_out: bool,
}

impl Run {
    pub fn tell(&mut self, event: Event) {
        let seq = self.events.len() as u64;
        let start: jiff::Timestamp = "2026-11-23T13:45:01Z".parse().unwrap();
        let time = start + jiff::SignedDuration::from_millis(400 * seq as i64);
        self.events.push(EventRecord { seq, time, event });
    }

    /// A number from 0 to 1, the same in every test.
    fn random(&mut self) -> f64 {
        self.noise = self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.noise >> 33) as f64 / (1u64 << 31) as f64
    }

    /// The same with a photo held out.
    pub fn holding_out(self) -> Self {
        Self { holds_out: true, ..self }
    }

    /// Steps up to `last`, with what comes on the way.
    pub fn train(mut self, last: usize) -> Self {
        for step in 1..=last {
            let base = 0.035 + 0.09 * (-(step as f64) / 90.0).exp();
            let loss = base * (0.5 + 1.2 * self.random().powi(2));
            let mut quarter = |factor: f64| Some(base * factor * (0.8 + 0.4 * self.random()));
            let loss_by_quarter =
                [quarter(2.2), quarter(1.1), quarter(0.5), if step % 2 == 0 { None } else { quarter(0.2) }];
            self.tell(Event::Step { step, loss, loss_by_quarter, seconds: 0.36 });
            if step % 50 == 0 {
                let held_out = self.holds_out.then_some(base * 0.9 + 0.002 + 0.00003 * step as f64);
                self.tell(Event::FixedNoise { step, loss: base * 0.9, held_out });
                let path = PathBuf::from(format!("samples/step-{step:06}-0.png"));
                let (_, sky, ground) = SCENES[step / 50 % 5];
                let fade = |colour: [u8; 3]| {
                    let share = (step as f64 / 300.0).min(1.0);
                    colour.map(|c| (200.0 + (f64::from(c) - 200.0) * share) as u8)
                };
                let made = picture(sky, ground, fade([245, 200, 60]), fade([20, 150, 150]));
                made.save(self.folder.join(&path)).unwrap();
                self.tell(Event::Sample { step, path, prompt: "a {concept}".into(), seed: 0, learned: true });
            }
            if step % 100 == 0 {
                let path = PathBuf::from(format!("checkpoints/step-{step:06}.safetensors"));
                write(self.folder.join(&path), "x").unwrap();
                self.tell(Event::Checkpoint { step, path });
            }
        }
        self
    }

    /// The pictures of both sides, and their scores.
    pub fn evaluate(mut self) -> Self {
        for learned in [false, true] {
            let (side, phase) = if learned { ("after", Phase::Sample) } else { ("before", Phase::SampleBefore) };
            for (i, (name, sky, ground)) in SCENES.into_iter().enumerate() {
                for seed in 0..2 {
                    let path = PathBuf::from(format!("evaluation/{side}/{i:03}-{seed}.png"));
                    let colours = if learned { ([245, 200, 60], [20, 150, 150]) } else { ([200; 3], [190; 3]) };
                    picture(sky, ground, colours.0, colours.1).save(self.folder.join(&path)).unwrap();
                    self.tell(Event::Progress { phase, done: 2 * i + seed + 1, total: 10 });
                    let prompt = format!("a {{concept}}, {name}");
                    let step = if learned { 500 } else { 0 };
                    self.tell(Event::Sample { step, path, prompt, seed: seed as u64, learned });
                }
            }
        }
        let score =
            |value: f64, half: f64| Score { value, low: value - half, high: value + half, n: 10, units: Some(5) };
        let of = |shift: f64| Scores {
            masked_clip_i: score(0.612 + shift, 0.02),
            clip_i: score(0.55 + shift / 2.0, 0.03),
            clip_t: score(0.281 - shift / 30.0, 0.01),
            clip_t_scene: Some(score(0.262 + shift / 15.0, 0.01)),
            balance: score(0.415 + shift / 3.0, 0.012),
            masked_dino: None,
            dino: None,
            unit: Some(Unit::Prompt),
            masks: MaskReport::default(),
        };
        let difference = Scores {
            masked_clip_i: score(0.2, 0.015),
            clip_i: score(0.1, 0.02),
            clip_t: score(-0.007, 0.003),
            clip_t_scene: Some(score(0.013, 0.02)),
            balance: score(0.067, 0.009),
            ..of(0.0)
        };
        let photos = Scores { clip_t_scene: None, ..of(0.3) };
        self.tell(Event::Scored { learned: false, scores: Box::new(of(0.0)), difference: None, photos: None });
        let (difference, photos) = (Some(Box::new(difference)), Some(Box::new(photos)));
        self.tell(Event::Scored { learned: true, scores: Box::new(of(0.2)), difference, photos });
        self
    }

    pub fn end(mut self, event: Event) -> Self {
        self.tell(event);
        self
    }

    /// Write the events.
    pub fn write(self) -> Self {
        let lines: Vec<String> = self.events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect();
        write(self.folder.join("events.jsonl"), lines.concat()).unwrap();
        self
    }

    /// Hold the lock as its runner would, as long as this run is kept.
    pub fn hold(mut self) -> Self {
        let file = File::create(self.folder.join("runner.lock")).unwrap();
        file.try_lock().unwrap();
        self.lock = Some(file);
        self
    }
}

/// Give the sample at `picture` a mask that the base model has made, as sure of it as this; or one that says nothing of that.
pub fn give_mask(picture: &Path, confidence: Option<&str>) -> PathBuf {
    let folder = picture.with_file_name("masks");
    create_dir_all(&folder).unwrap();
    let path = folder.join(picture.file_name().unwrap());
    let mask = GrayImage::from_fn(64, 64, |x, y| Luma([if inside(x, y) { 255 } else { 0 }]));
    let mut text = vec![("mask_made_by", "base_model"), ("timesteps", "100")];
    text.extend(confidence.map(|confidence| ("confidence", confidence)));
    catbench::image::write_png(&path, &mask, &text).unwrap();
    path
}

fn inside(x: u32, y: u32) -> bool {
    let (x, y) = (f64::from(x) - 32.0, f64::from(y) - 38.0);
    (x / 18.0).powi(2) + (y / 16.0).powi(2) < 1.0
}

/// A round thing with bands before a sky and a ground.
fn picture(sky: [u8; 3], ground: [u8; 3], body: [u8; 3], bands: [u8; 3]) -> RgbImage {
    RgbImage::from_fn(64, 64, |x, y| {
        Rgb(match (inside(x, y), y) {
            (true, y) if y / 6 % 2 == 0 => bands,
            (true, _) => body,
            (false, y) if y < 36 => sky,
            (false, _) => ground,
        })
    })
}
