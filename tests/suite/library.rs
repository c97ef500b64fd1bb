//! The library by the command line, the store behind it, and the watch over the files.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::common::{self, Workspace, catbench, give_mask, json, wait_until};
use assert_cmd::assert::OutputAssertExt;
use catbench::client::{self, Daemon};
use catbench::protocol::{ConceptDetails, DaemonReply, DaemonRequest, Event};
use catbench::workspace::Home;
use predicates::boolean::PredicateBooleanExt;
use predicates::str::contains;

/// A home with a finished, scored run.
fn scored() -> Workspace {
    let workspace = Workspace::new();
    workspace.run().train(500).evaluate().end(Event::Finished { seconds: 1.0 }).write();
    workspace
}

/// Everything that lists say.
fn said(workspace: &Workspace) -> [serde_json::Value; 3] {
    [&["concept", "list"][..], &["concept", "show", "demo"], &["runs"]].map(|args| json(workspace, args))
}

/// The first concept that `list` gives.
fn listed(workspace: &Workspace) -> serde_json::Value {
    json(workspace, &["concept", "list"])["concepts"][0].clone()
}

#[test]
fn a_concept_is_made_tagged_renamed_removed_and_restored() {
    let workspace = Workspace::with_models();
    let (images, masks) = (workspace.concept().join("images"), workspace.concept().join("masks"));
    let model = common::fixture("tiny_sd1");
    let new = ["concept", "new", "mug", "--class", "cup", "--tag", "red"];
    let from = ["--images", images.to_str().unwrap(), "--masks", masks.to_str().unwrap()];
    let base = ["--base-model", model.to_str().unwrap()];
    let made = json(&workspace, &[&new[..], &from, &base].concat());
    assert_eq!((&made["concept"]["photos"], &made["concept"]["masks"]), (&5.into(), &5.into()));
    catbench(&workspace, &[&new[..], &from, &base].concat())
        .assert()
        .code(1)
        .stderr(contains("something of this name"));
    catbench(&workspace, &["concept", "new", "../x", "--class", "cup", "--images", "/nowhere"]).assert().code(1);

    let file = workspace.home().join("mug/concept.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap() + "# mine\n").unwrap();
    assert_eq!(
        json(&workspace, &["concept", "tag", "mug", "kitchen", "--remove", "red", "--notes", "hot"])["tags"][0],
        "kitchen"
    );
    assert!(fs::read_to_string(&file).unwrap().contains("# mine"), "comments stay");
    let by_tag = |tag| json(&workspace, &["concept", "list", "--tag", tag])["concepts"].as_array().unwrap().len();
    assert_eq!((by_tag("kitchen"), by_tag("red")), (1, 0));

    catbench(&workspace, &["concept", "rename", "mug", "cup"]).assert().code(0);
    catbench(&workspace, &["concept", "remove", "cup"]).assert().code(0);
    catbench(&workspace, &["concept", "show", "cup"]).assert().code(1).stderr(contains("there is demo"));
    assert_eq!(json(&workspace, &["concept", "list", "--trash"])["trash"][0]["concept"], "cup");
    catbench(&workspace, &["concept", "restore", "cup"]).assert().code(0);
    assert_eq!(json(&workspace, &["concept", "show", "cup"])["concept"]["notes"], "hot");
    let matching =
        |text| json(&workspace, &["concept", "list", "--matching", text])["concepts"].as_array().unwrap().len();
    assert_eq!((matching("HOT"), matching("cup"), matching("cold")), (1, 1, 0), "notes and names, in any case");

    let broken = workspace.home().join("cup/concept.toml");
    fs::write(&broken, "class_word = ").unwrap();
    catbench(&workspace, &["concept", "remove", "cup"]).assert().code(0);
    assert!(!workspace.home().join("cup").exists(), "also a broken one can be removed");
    catbench(&workspace, &["concept", "restore", "cup"]).assert().code(1).stderr(contains("cup/concept.toml"));
    assert_eq!(fs::read_to_string(&broken).unwrap(), "class_word = ", "it is back, to be mended");
    fs::create_dir(workspace.home().join("plain")).unwrap();
    catbench(&workspace, &["concept", "remove", "plain"]).assert().code(1).stderr(contains("no concept.toml"));
}

#[test]
fn what_trainings_start_from_stays_with_the_concept() {
    let (workspace, there) = (Workspace::new(), Workspace::new());
    workspace.trains_with("steps = 300 # enough\nlearning_rate = 1");
    let settings = serde_json::json!({ "steps": 300, "learning_rate": 1 });
    let shown = |workspace: &Workspace, name: &str| json(workspace, &["concept", "show", name])["concept"].clone();
    assert_eq!(shown(&workspace, "demo")["train"], settings);
    let said = catbench(&workspace, &["concept", "show", "demo"]).assert().code(0);
    said.stdout(contains("training    learning_rate 1, steps 300\n"));
    let table = "# measured\n[train]\nsteps = 300 # enough\nlearning_rate = 1\n";
    catbench(&workspace, &["concept", "tag", "demo", "red", "--notes", "hot"]).assert().code(0);
    catbench(&workspace, &["concept", "rename", "demo", "pot"]).assert().code(0);
    let file = fs::read_to_string(workspace.home().join("pot/concept.toml")).unwrap();
    assert!(file.ends_with(table), "it is written back as it was: {file}");
    let pot = shown(&workspace, "pot");
    assert_eq!((&pot["name"], &pot["tags"][0], &pot["train"]), (&"pot".into(), &"red".into(), &settings));

    let out = there.home().join("pot.zip");
    catbench(&workspace, &["concept", "export", "pot", "--out", out.to_str().unwrap()]).assert().code(0);
    catbench(&there, &["concept", "import", out.to_str().unwrap()]).assert().code(0);
    assert_eq!(shown(&there, "pot")["train"], settings);
    assert_eq!(shown(&there, "demo")["train"], serde_json::Value::Null, "one without");

    let path = workspace.home().join("pot/concept.toml");
    fs::write(path, file.replace("300", "0")).unwrap();
    wait_until("what is wrong with it is told", || {
        listed(&workspace)["problem"]
            .as_str()
            .is_some_and(|problem| problem.contains("steps = 0: must be a whole number, 1 or more"))
    });
}

#[test]
fn a_concept_is_listed_with_how_it_stands_and_what_stands_for_it() {
    let workspace = scored();
    let first = listed(&workspace);
    assert_eq!((&first["state"], &first["photo"]), (&"finished".into(), &"beach.png".into()));
    assert!(first["score"]["masked_clip_i"]["value"].as_f64().unwrap() > 0.8, "the side with the concept");
    assert!(first["notes"].is_null(), "notes are not listed");
    let newest = format!("runs/{}/evaluation/after/004-1.png", common::RUN);
    assert_eq!(first["sample"], newest.as_str(), "the newest learned one");
    // One that is at work is seen as running without anything having changed in its files, and as interrupted after it.
    let run = workspace.run().train(10).write();
    wait_until("it is taken up", || listed(&workspace)["state"] == "interrupted");
    let run = run.hold();
    assert_eq!(listed(&workspace)["state"], "running");
    drop(run);
    // A child that another test has just forked may hold the lock until it is another program.
    wait_until("its end is seen", || listed(&workspace)["state"] == "interrupted");
    let shown = json(&workspace, &["concept", "show", "demo"])["concept"].clone();
    assert_eq!(shown["settings"][format!("runs/{}", common::RUN)]["train"]["steps"], 500, "with what is usual");
}

#[test]
fn samples_are_rated_by_command_and_hand_and_removed_and_brought_back() {
    let workspace = scored();
    let (newest, early) = ("evaluation/after/004-1.png", "samples/step-000050-0.png");
    let [newest, early] = [newest, early].map(|name| format!("runs/{}/{name}", common::RUN));
    let concept = |args: &[&str]| catbench(&workspace, &[&["concept"], args].concat()).assert();
    assert_eq!(json(&workspace, &["concept", "rate", "demo", &early, "5"])["rating"], 5);
    assert_eq!(listed(&workspace)["sample"], early.as_str(), "the best rated one");
    concept(&["rate", "demo", &early, "6"]).code(2).stderr(contains("1 (bad) to 5"));
    concept(&["rate", "demo", "images/beach.png", "5"]).code(1).stderr(contains("no sample"));
    // A hand's edit counts, and a wrong one is told of.
    let ratings = workspace.concept().join("ratings.toml");
    fs::write(&ratings, format!("\"{newest}\" = 1\n")).unwrap();
    let before_it = format!("runs/{}/evaluation/after/004-0.png", common::RUN);
    wait_until("it is taken up", || listed(&workspace)["sample"] == before_it.as_str());
    fs::write(&ratings, format!("\"{newest}\" = 7\n")).unwrap();
    wait_until("it is told of", || listed(&workspace)["problem"].to_string().contains("ratings.toml"));
    concept(&["rate", "demo", &early, "4"]).code(1).stderr(contains("7 is no rating"));
    fs::remove_file(&ratings).unwrap();

    let absolute = workspace.concept().join(&newest);
    concept(&["remove-sample", "demo", absolute.to_str().unwrap()]).code(0).stdout(contains("restore-sample"));
    let samples = || json(&workspace, &["concept", "show", "demo"])["concept"]["sample_records"].clone();
    assert_eq!((samples().as_array().unwrap().len(), listed(&workspace)["samples"].as_u64()), (29, Some(29)));
    assert_eq!(json(&workspace, &["watch", "demo"])["pictures"].as_array().unwrap().len(), 29);
    catbench(&workspace, &["daemon", "rebuild"]).assert().code(0).stdout(contains("29 samples"));
    concept(&["restore-sample", "demo", &newest]).code(0);
    assert_eq!((samples().as_array().unwrap().len(), absolute.is_file()), (30, true));
    concept(&["restore-sample", "demo", &newest]).code(1).stderr(contains("not in the trash"));
}

#[test]
fn a_concept_with_a_job_in_the_queue_cannot_be_moved() {
    let workspace = Workspace::with_models();
    let (number, run) = common::queue_training(&workspace, 3000, &[]);
    common::wait_for_step(&run, 1);
    for args in [&["concept", "remove", "demo"][..], &["concept", "rename", "demo", "other"]] {
        catbench(&workspace, args).assert().code(1).stderr(contains(format!("job {number}")));
    }
    catbench(&workspace, &["jobs", "cancel", &number.to_string()]).assert().code(0);
    common::wait_until("it is over", || common::job_state(&workspace, number).is_over());
    catbench(&workspace, &["concept", "rename", "demo", "other"]).assert().code(0);
    catbench(&workspace, &["jobs", "retry", &number.to_string()]).assert().code(0);
    let moved = workspace.home().join("other/runs").join(run.file_name().unwrap());
    common::wait_for_step(&moved, 5);
    catbench(&workspace, &["jobs", "cancel", &number.to_string()]).assert().code(0);
    common::wait_until("it is over", || common::job_state(&workspace, number).is_over());
}

#[test]
fn a_packed_concept_comes_out_with_its_runs_and_scores_elsewhere() {
    let (here, there) = (scored(), Workspace::new());
    let out = there.home().join("demo.zip");
    catbench(&here, &["concept", "export", "demo", "--out", out.to_str().unwrap()]).assert().code(0);
    catbench(&there, &["concept", "import", out.to_str().unwrap(), "--name", "copy"]).assert().code(0);
    let scores = |workspace: &Workspace, name: &str| {
        json(workspace, &["concept", "show", name])["concept"]["run_records"][0]["scores"].clone()
    };
    assert!(scores(&here, "demo")["after"]["balance"]["value"].is_number());
    assert_eq!(scores(&here, "demo"), scores(&there, "copy"));
    // What others pack, or make up: nothing is written, and what is wrong is said.
    let spoilt = [
        ("../../evil.txt", false, "outside of its folder"),
        ("images", true, "is a link"),
        ("other/concept.toml", false, "no concept.toml in it"),
    ];
    for (name, is_link, said) in spoilt {
        let mut archive = zip::ZipWriter::new(File::create(&out).unwrap());
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        if is_link {
            archive.add_symlink(name, "/etc", options).unwrap();
        } else {
            archive.start_file(name, options).unwrap();
        }
        archive.finish().unwrap();
        catbench(&there, &["concept", "import", out.to_str().unwrap(), "--name", "bad"])
            .assert()
            .code(1)
            .stderr(contains(said).and(contains("demo.zip")));
    }
    fs::write(&out, "no archive").unwrap();
    catbench(&there, &["concept", "import", out.to_str().unwrap(), "--name", "bad"])
        .assert()
        .code(1)
        .stderr(contains("demo.zip"));
    assert!(!there.home().join("bad").exists());
}

/// The files of a packed concept.
fn unpacked(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = zip::ZipArchive::new(File::open(path).unwrap()).unwrap();
    let (count, file) = (archive.len(), |i| {
        let (mut file, mut bytes) = (archive.by_index(i).unwrap(), Vec::new());
        file.read_to_end(&mut bytes).unwrap();
        (file.name().unwrap().into_owned(), bytes)
    });
    (0..count).map(file).collect()
}

fn repacked(path: &Path, files: &[(String, Vec<u8>)]) {
    let mut archive = zip::ZipWriter::new(File::create(path).unwrap());
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in files {
        archive.start_file(name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
}

/// An archive of one file of `bytes` bytes, which is listed under `names` names.
fn overlapping(bytes: u32, names: u16) -> Vec<u8> {
    let data = vec![7; bytes as usize];
    let mut crc = flate2::Crc::new();
    crc.update(&data);
    let sizes = [crc.sum().to_le_bytes(), bytes.to_le_bytes(), bytes.to_le_bytes()].concat();
    let mut archive = [&b"PK\x03\x04\x0a\0\0\0\0\0\0\0\0\0"[..], &sizes, &[5, 0, 0, 0], b"00000", &data].concat();
    let start = archive.len() as u32;
    for i in 0..names {
        let name = format!("{i:05}");
        let header = [&b"PK\x01\x02\x0a\0\x0a\0\0\0\0\0\0\0\0\0"[..], &sizes, &[5, 0], &[0; 16], name.as_bytes()];
        archive.extend(header.concat());
    }
    let length = archive.len() as u32 - start;
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend([names.to_le_bytes(), names.to_le_bytes()].concat());
    archive.extend([length.to_le_bytes(), start.to_le_bytes()].concat());
    archive.extend([0, 0]);
    archive
}

#[test]
fn a_packed_concept_is_held_to_its_manifest() {
    let (here, there) = (Workspace::with_models(), Workspace::new());
    let out = there.home().join("demo.zip");
    let import = |name: &str| catbench(&there, &["concept", "import", out.to_str().unwrap(), "--name", name]).assert();
    catbench(&here, &["concept", "export", "demo", "--out", out.to_str().unwrap()]).assert().code(0).stderr("");
    let files = unpacked(&out);
    let (name, text) = files.last().unwrap();
    assert_eq!(name, "manifest.toml");
    let manifest: toml::Table = String::from_utf8(text.clone()).unwrap().parse().unwrap();
    assert_eq!(manifest["files"].as_array().unwrap().len(), files.len() - 1);
    assert_eq!(manifest["base_model_sha256"].as_str().map(str::len), Some(64));
    let photo = files.iter().position(|(name, _)| name.starts_with("images/")).unwrap();
    let photo_name = files[photo].0.clone();

    let without = |name: &str| files.iter().filter(|(other, _)| other != name).cloned().collect::<Vec<_>>();
    let mut altered = files.clone();
    altered[photo].1[100] ^= 1;
    let mut longer = files.clone();
    longer[photo].1.push(0);
    let mut more = files.clone();
    more.insert(0, ("images/.hidden".into(), b"x".to_vec()));
    let with_manifest =
        |text: &str| [without("manifest.toml"), vec![(name.clone(), text.as_bytes().to_vec())]].concat();
    for (files, said) in [
        (altered, ["altered", &photo_name]),
        (longer, ["altered", &photo_name]),
        (without(&photo_name), ["missing", &photo_name]),
        (more, ["not listed", "images/.hidden"]),
        (with_manifest("format = 99"), ["format 99", "newer catbench"]),
        (with_manifest("format = "), ["manifest.toml is damaged", "demo.zip"]),
        (with_manifest("format = 1\nversion = \"0\""), ["manifest.toml is damaged", "concept"]),
    ] {
        repacked(&out, &files);
        import("bad").code(1).stderr(contains(said[0]).and(contains(said[1])));
        assert!(!there.home().join("bad").exists());
    }
    repacked(&out, &without("manifest.toml"));
    import("old").code(1).stderr(contains("there is no manifest.toml in it").and(contains("--unlisted")));
    let unlisted = ["concept", "import", out.to_str().unwrap(), "--name", "old", "--unlisted"];
    catbench(&there, &unlisted).assert().code(0);
    let hash = manifest["base_model_sha256"].as_str().unwrap();
    let of_another = String::from_utf8(text.clone()).unwrap().replace(hash, &"00".repeat(32));
    repacked(&out, &with_manifest(&of_another));
    import("another").code(0).stderr(contains("is not the base model it was made with"));
    fs::write(&out, overlapping(100_000, 50)).unwrap();
    let began = Instant::now();
    import("bomb").code(1).stderr(contains("do not trust it").or(contains("no packed concept")));
    assert!(began.elapsed() < Duration::from_secs(5) && !there.home().join("bomb").exists());
    repacked(&out, &files);
    import("copy").code(0).stderr(contains("warning").not());
    assert!(!there.concept().with_file_name("copy").join("manifest.toml").exists());
}

#[test]
fn a_store_that_is_deleted_or_garbage_is_rebuilt_and_says_the_same() {
    let workspace = scored();
    let before = said(&workspace);
    assert_eq!(before[0]["concepts"][0]["samples"], 30);
    let store = workspace.home().join(".catbench/store");
    let spoils: [fn(&Path); 2] = [
        |store| fs::remove_dir_all(store).unwrap(),
        |store| {
            for file in fs::read_dir(store).unwrap().map(|file| file.unwrap().path()).filter(|path| path.is_file()) {
                fs::write(file, [0x5a; 3000]).unwrap();
            }
        },
    ];
    for (i, spoil) in spoils.iter().enumerate() {
        catbench(&workspace, &["daemon", "stop"]).assert().code(0);
        spoil(&store);
        if i == 1 {
            let list = || catbench(&workspace, &["concept", "list"]).assert().code(0);
            list().stderr(contains("put aside"));
            list().stderr("");
            catbench(&workspace, &["daemon", "status"]).assert().code(0).stderr(contains("put aside"));
        }
        assert_eq!(said(&workspace), before);
        let warnings = json(&workspace, &["daemon", "status"])["daemon"]["warnings"].clone();
        assert_eq!(warnings.to_string().contains("put aside"), i == 1, "{warnings}");
    }
    catbench(&workspace, &["daemon", "rebuild"]).assert().code(0).stdout(contains("1 concepts, 1 runs, 30 samples"));
    assert_eq!(said(&workspace), before);
    let filtered = |args: &[&str]| json(&workspace, args)["runs"].as_array().unwrap().len();
    assert_eq!(
        [filtered(&["runs", "--state", "finished", "--scored"]), filtered(&["runs", "--state", "failed"])],
        [1, 0]
    );
}

/// A client that looks only when it is told that something has changed.
struct Told {
    home: Home,
    watch: Daemon,
}

impl Told {
    fn new(workspace: &Workspace) -> Self {
        // This process cannot start one itself: it is no catbench.
        catbench(workspace, &["daemon", "start"]).assert().code(0);
        let home = Home::at(workspace.home()).unwrap();
        let mut watch = Daemon::start(&home).unwrap();
        watch.send(DaemonRequest::Watch { concept: Some("demo".into()) }).unwrap();
        assert_eq!(watch.next(Some(Duration::from_secs(5))).unwrap(), Some(DaemonReply::Done));
        Self { home, watch }
    }

    /// Do something to the files, and see it within a second.
    fn sees(&mut self, what: &str, act: impl FnOnce(), is: impl Fn(&ConceptDetails) -> bool) -> ConceptDetails {
        assert!(!is(&client::concept(&self.home, "demo", true).unwrap()), "{what}: before anything was done");
        act();
        let began = Instant::now();
        loop {
            let left = Duration::from_secs(1).saturating_sub(began.elapsed());
            let told = self.watch.next(Some(left)).unwrap();
            let demo = client::concept(&self.home, "demo", true).unwrap();
            match told {
                Some(DaemonReply::Changed { .. } | DaemonReply::Resync) if is(&demo) => {
                    assert!(began.elapsed() < Duration::from_secs(1), "{what}: took {:?}", began.elapsed());
                    return demo;
                }
                Some(_) => {}
                None => panic!("{what}: not taken up within a second: {demo:?}"),
            }
        }
    }
}

#[test]
fn what_appears_changes_or_vanishes_in_a_workspace_is_taken_up_within_a_second_and_only_when_whole() {
    let workspace = Workspace::new();
    let mut client = Told::new(&workspace);
    let (images, masks) = (workspace.concept().join("images"), workspace.concept().join("masks"));
    let prompts = workspace.concept().join("prompts");
    let photo = fs::read(images.join("beach.png")).unwrap();
    let half = photo.len() / 2;
    // As scp writes: into the file itself, with pauses.
    let new = images.join("new.png");
    client.sees("half a photo", || fs::write(&new, &photo[..half]).unwrap(), |demo| demo.concept.incomplete == 1);
    let mut slow = File::options().append(true).open(&new).unwrap();
    assert_eq!(listed(&workspace)["photos"], 5);
    client.sees("a whole photo", || slow.write_all(&photo[half..]).unwrap(), |demo| demo.concept.photos == 6);
    // As rsync and editors do: under another name, then renamed.
    let rename = |folder: &Path, name: &str, bytes: &[u8]| {
        let hidden = folder.join(format!(".{name}.tmp"));
        fs::write(&hidden, bytes).unwrap();
        fs::rename(&hidden, folder.join(name)).unwrap();
    };
    client.sees("a renamed photo", || rename(&images, "other.png", &photo), |demo| demo.concept.photos == 7);
    let other = fs::read(images.join("night.png")).unwrap();
    assert_ne!(photo.len(), other.len());
    let size = |demo: &ConceptDetails, name: &str| {
        demo.photo_files.iter().find(|file| file.name == name).map(|file| file.bytes as usize)
    };
    client.sees(
        "a photo that is another now",
        || rename(&images, "other.png", &other),
        |demo| size(demo, "other.png") == Some(other.len()),
    );
    client.sees(
        "a photo that is gone",
        || fs::remove_file(images.join("other.png")).unwrap(),
        |demo| demo.concept.photos == 6,
    );
    // Into the same file, of the same length.
    let mut altered = photo.clone();
    altered.swap(half, half + 1);
    let modified = |demo: &ConceptDetails| {
        demo.photo_files.iter().find(|file| file.name == "new.png").and_then(|file| file.modified)
    };
    let as_it_was = modified(&client::concept(&client.home, "demo", true).unwrap());
    client.sees("a photo of the same size", || fs::write(&new, &altered).unwrap(), |demo| modified(demo) != as_it_was);
    fs::create_dir(prompts.join("words")).unwrap();
    let words = prompts.join("words/place.txt");
    fs::write(&words, "beach\n").unwrap();
    // Until it is quiet.
    while client.watch.next(Some(Duration::from_millis(700))).unwrap().is_some() {}
    for (what, file, text) in
        [("an edited prompt list", prompts.join("demo.txt"), "one {concept}\n"), ("edited words", words, "grass\n")]
    {
        let before = client::concept(&client.home, "demo", true).unwrap().concept.changed;
        client.sees(what, || fs::write(&file, text).unwrap(), |demo| demo.concept.changed > before);
    }
    let mask = fs::read(masks.join("beach.png")).unwrap();
    client.sees("a mask", || fs::write(masks.join("new.png"), &mask).unwrap(), |demo| demo.concept.masks == 6);
    client.sees(
        "a mask that is cut short",
        || fs::write(masks.join("new.png"), &mask[..mask.len() / 2]).unwrap(),
        |demo| (demo.concept.masks, demo.concept.incomplete) == (5, 1),
    );
    client.sees(
        "a mask that is gone",
        || fs::remove_file(masks.join("beach.png")).unwrap(),
        |demo| demo.concept.masks == 4,
    );
    client.sees(
        "a prompt list",
        || rename(&prompts, "more.txt", b"a {concept}\n"),
        |demo| demo.concept.prompts == ["demo.txt", "more.txt"],
    );
    client.sees(
        "a prompt list that is gone",
        || fs::remove_file(prompts.join("more.txt")).unwrap(),
        |demo| demo.concept.prompts == ["demo.txt"],
    );
    let file = workspace.concept().join("concept.toml");
    let text = fs::read_to_string(&file).unwrap() + "notes = \"by hand\"\n";
    client.sees(
        "an edited concept.toml",
        || rename(&workspace.concept(), "concept.toml", text.as_bytes()),
        |demo| demo.notes == "by hand",
    );
}

#[test]
fn what_masks_of_samples_say_of_themselves_is_indexed_and_read_again_when_one_changes() {
    let workspace = Workspace::new();
    let sampling = workspace.sampling(4, 4).end(Event::Finished { seconds: 1.0 }).write();
    let pictures: Vec<PathBuf> = (0..4).map(|i| sampling.folder.join(format!("{i:03}.png"))).collect();
    let mut client = Told::new(&workspace);
    let confidences = |demo: &ConceptDetails| -> Vec<Option<f64>> {
        demo.sample_records.iter().map(|sample| sample.mask.and_then(|mask| mask.confidence)).collect()
    };
    let is = |demo: &ConceptDetails, wanted: [Option<f64>; 4]| confidences(demo) == wanted;
    assert!(is(&client::concept(&client.home, "demo", true).unwrap(), [None; 4]));
    let first = client.sees(
        "masks that come",
        || {
            give_mask(&pictures[1], Some("0.41"));
            give_mask(&pictures[2], None);
        },
        |demo| is(demo, [None, Some(0.41), None, None]) && demo.sample_records[2].mask.is_some(),
    );
    let mask = give_mask(&pictures[3], Some("0.9"));
    let other = fs::read(&mask).unwrap();
    client.sees(
        "a mask that is written over where it is",
        || fs::write(pictures[1].with_file_name("masks").join("001.png"), &other).unwrap(),
        |demo| is(demo, [None, Some(0.9), None, Some(0.9)]) && demo.concept.changed > first.concept.changed,
    );
    client.sees(
        "a mask that is gone",
        || fs::remove_file(&mask).unwrap(),
        |demo| is(demo, [None, Some(0.9), None, None]) && demo.sample_records[3].mask.is_none(),
    );
    let before = said(&workspace);
    catbench(&workspace, &["daemon", "rebuild"]).assert().code(0);
    assert_eq!(said(&workspace), before);
    // What changes while no daemon watches is found when the next one begins.
    catbench(&workspace, &["daemon", "stop"]).assert().code(0);
    give_mask(&pictures[0], Some("0.2"));
    let demo = &json(&workspace, &["concept", "show", "demo"])["concept"];
    assert_eq!(demo["sample_records"][0]["mask"]["confidence"], 0.2);
    assert_eq!(demo["sample_records"][1]["mask"]["confidence"], 0.9);
}

#[test]
fn doubtful_masks_are_listed_and_usable() {
    let workspace = Workspace::new();
    let sampling = workspace.sampling(2, 2).end(Event::Finished { seconds: 1.0 }).write();
    give_mask(&sampling.folder.join("000.png"), Some("0.41"));
    give_mask(&sampling.folder.join("001.png"), Some("0.5"));
    let photo = give_mask(&workspace.concept().join("images/snow.png"), Some("0.45"));
    fs::rename(photo, workspace.concept().join("masks/snow.png")).unwrap();
    let said = |name: &str, confidence: &str| {
        contains(format!("{name}.png: its mask is doubtful ({confidence}): look at it, or draw it by hand\n"))
    };
    let checked = catbench(&workspace, &["mask", "check", "demo"]).assert().code(0);
    checked.stdout(said("000", "0.41").and(said("snow", "0.45")).and(contains("001").not()));
    let problems = json(&workspace, &["mask", "check", "demo"])["problems"].clone();
    let of = |i: usize| (&problems[i]["confidence"], &problems[i]["usable"]);
    assert_eq!((of(0), of(1)), ((&0.45.into(), &true.into()), (&0.41.into(), &true.into())), "{problems}");
    let shown = catbench(&workspace, &["concept", "show", "demo"]).assert().code(0);
    shown.stdout(contains("snow.png (mask doubtful 0.45), table.png"));
}

#[test]
fn what_changes_while_the_daemon_begins_to_watch_is_taken_up() {
    let workspace = Workspace::new();
    // Much to watch, and nothing to read.
    for other in 0..4 {
        for folder in 0..1500 {
            fs::create_dir_all(workspace.home().join(format!("other{other}/{folder}"))).unwrap();
        }
    }
    let mut client = Told::new(&workspace);
    let photo = workspace.concept().join("images/beach.png");
    let new = workspace.concept().join("images/new.png");
    client.sees("a photo", || assert!(fs::copy(photo, new).unwrap() > 0), |demo| demo.concept.photos == 6);
}

#[test]
fn a_workspace_copied_in_appears_with_its_runs_and_scores() {
    let (here, there) = (scored(), Workspace::new());
    catbench(&there, &["daemon", "start"]).assert().code(0);
    let to = there.home().join("other");
    assert!(std::process::Command::new("cp").arg("-r").arg(here.concept()).arg(&to).status().unwrap().success());
    wait_until("it is there with its scores", || {
        let runs = json(&there, &["runs", "--scored"]);
        runs["runs"].as_array().unwrap().iter().any(|run| run["concept"] == "other")
    });
    fs::remove_dir_all(&to).unwrap();
    wait_until("it is gone", || json(&there, &["concept", "list"])["concepts"].as_array().unwrap().len() == 1);
}

#[test]
fn odd_names_are_refused_or_work_everywhere_and_a_link_to_the_home_is_the_home() {
    let workspace = Workspace::with_models();
    let (images, model) = (workspace.concept().join("images"), common::fixture("tiny_sd1"));
    let new = |name: &str| {
        let from = ["--class", "cup", "--images", images.to_str().unwrap(), "--base-model", model.to_str().unwrap()];
        catbench(&workspace, &[&["concept", "new"], &from[..], &["--", name]].concat()).assert()
    };
    for name in ["..", ".x", "-x", "a/b", "a~b", "", " ", "end ", "two\nlines", "\u{1b}[31m", &"x".repeat(201)] {
        new(name).code(1).stderr(contains("concept's name"));
    }
    let longest = "x".repeat(200);
    for name in ["ünï cöde 🐱", "it's", &longest] {
        new(name).code(0);
        catbench(&workspace, &["concept", "remove", name]).assert().code(0);
        catbench(&workspace, &["concept", "restore", name]).assert().code(0);
        assert_eq!(json(&workspace, &["concept", "show", name])["concept"]["photos"], 5);
    }
    assert_eq!(fs::read_dir(workspace.home().join(".catbench/workshop")).unwrap().count(), 0);
    // The same daemon, whose queue knows the job by one path.
    let link = tempfile::tempdir().unwrap();
    let link = link.path().join("a link");
    std::os::unix::fs::symlink(workspace.home(), &link).unwrap();
    let train = ["train", "it's", "--steps", "2", "--sample-every", "0", "--validate-every", "0", "--batch-size", "1"];
    catbench(&workspace, &train).env("CATBENCH_HOME", &link).assert().code(0);
    // What the queue does not take leaves no run behind.
    catbench(&workspace, &[&train[..], &["--after", "77"]].concat()).assert().code(1).stderr(contains("no job 77"));
    assert_eq!(json(&workspace, &["runs", "it's"])["runs"].as_array().unwrap().len(), 1);
}

#[test]
fn a_pipe_among_the_photos_stops_nobody_and_a_run_that_cannot_be_read_is_told_of() {
    let workspace = scored();
    let pipe = workspace.concept().join("images/pipe.png");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!((&listed(&workspace)["photos"], &listed(&workspace)["incomplete"]), (&5.into(), &1.into()));
    let images = workspace.concept().join("images");
    let new = ["concept", "new", "mug", "--class", "cup", "--images", images.to_str().unwrap(), "--base-model", "/"];
    catbench(&workspace, &new).assert().code(1).stderr(contains("pipe.png"));
    assert!(listed(&workspace)["problem"].to_string().contains("pipe.png: cannot read: this is a pipe"));
    fs::remove_file(pipe).unwrap();
    fs::write(workspace.concept().join("runs").join(common::RUN).join("run.toml"), "what").unwrap();
    wait_until("it is told of", || listed(&workspace)["problem"].to_string().contains("run.toml"));
}

#[test]
fn the_folder_of_protocols_is_no_concept_and_its_protocols_have_names() {
    let workspace = Workspace::with_models();
    let folder = workspace.home().join("protocols");
    fs::create_dir(&folder).unwrap();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("workspaces/protocols");
    fs::copy(repository.join("dreambooth.toml"), folder.join("dreambooth.toml")).unwrap();
    let names = |listed: &serde_json::Value| {
        let all = listed["concepts"].as_array().unwrap();
        all.iter().map(|concept| concept["concept"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&json(&workspace, &["concept", "list"])), ["demo"]);
    catbench(&workspace, &["concept", "show", "protocols"]).assert().code(1).stderr(contains("no concept.toml"));
    let images = workspace.concept().join("images");
    let images = ["--class", "cup", "--base-model", "/", "--images", images.to_str().unwrap()];
    for name in ["protocols", "prompts"] {
        let new = [&["concept", "new", name], &images[..]].concat();
        catbench(&workspace, &new).assert().code(1).stderr(contains("cannot be a concept's name"));
        catbench(&workspace, &["concept", "rename", "demo", name]).assert().code(1);
    }
    // Found by its name: what is missing is the next thing.
    for name in ["dreambooth", "dreambooth.toml"] {
        catbench(&workspace, &["bench", name]).assert().code(1).stderr(contains("give --base-model"));
    }
    catbench(&workspace, &["bench", "nowhere"]).assert().code(1).stderr(contains("nowhere"));
    assert_eq!(names(&json(&workspace, &["concept", "list"])), ["demo"]);
}

#[test]
fn shells_and_man_are_told_every_command() {
    let workspace = Workspace::new();
    catbench(&workspace, &["completions", "bash"]).assert().code(0).stdout(contains("CATBENCH_COMPLETE"));
    // What the script of a shell asks.
    let offered = |line: &[&str]| {
        let done =
            catbench(&workspace, &[&["--", "catbench"], line].concat()).env("CATBENCH_COMPLETE", "fish").output();
        String::from_utf8(done.unwrap().stdout).unwrap()
    };
    assert!(offered(&["co"]).contains("concept"));
    assert_eq!(offered(&["train", "d"]).trim(), "demo");
    assert_eq!(offered(&["train", "demo", "--dtype", ""]).lines().collect::<Vec<_>>(), ["f32", "bf16", "f16"]);
    catbench(&workspace, &["manual"]).assert().code(0).stdout(contains(".TH"));
}
