//! Links, paths and archives that lead out of a concept's folder, or to more than there is room for: refused by name, and
//! nothing of them is copied, packed, shown or moved.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::common::{self, RUN, Workspace, catbench};
use assert_cmd::assert::OutputAssertExt;
use catbench::protocol::{DeviceName, Event, FloatType, JobKind, ModelSpec, PictureRecord, SampleConfig};
use catbench::workspace::{Concept, History, Home, JobFolder, Links, inside, read_details, read_ratings};
use predicates::boolean::PredicateBooleanExt;
use predicates::str::contains;

/// A folder with something private in it.
fn elsewhere() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("key"), "private").unwrap();
    fs::create_dir(folder.path().join("photos")).unwrap();
    fs::write(folder.path().join("photos/me.png"), "private").unwrap();
    folder
}

fn concept(workspace: &Workspace) -> Concept {
    Concept::open(&workspace.concept()).unwrap()
}

/// What importing the folder of the concept, and what packing it says.
fn said(workspace: &Workspace, links: Links) -> [Result<(), String>; 2] {
    let home = tempfile::tempdir().unwrap();
    let into = Home::at(home.path()).unwrap();
    let imported = into.import_concept(&workspace.concept(), Some("copy"), false, links);
    let packed = concept(workspace).pack(&home.path().join("packed.zip"), None, links);
    let left: Vec<PathBuf> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    if imported.is_err() {
        assert!(!left.iter().any(|path| path.ends_with("copy") || path.ends_with("packed.zip")), "{left:?}");
    }
    [imported.map(drop).map_err(|error| error.to_string()), packed.map_err(|error| error.to_string())]
}

#[test]
fn a_link_that_leads_out_is_refused_by_name_and_taken_where_that_is_asked_for() {
    let other = elsewhere();
    let places = [
        (other.path().join("key"), "images/a.png"),
        (other.path().join("photos"), "images/more"),
        (other.path().join("photos"), "runs"),
        (other.path().join("key"), "prompts/deep/er/words.txt"),
        (PathBuf::from("../../../../../../../../../../etc/passwd"), "notes.txt"),
        (PathBuf::from("/etc"), "etc"),
    ];
    for (target, place) in places {
        let workspace = Workspace::new();
        let link = workspace.concept().join(place);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(&target, &link).unwrap();
        for said in said(&workspace, Links::Inside) {
            let said = said.unwrap_err();
            let real = link.canonicalize().unwrap();
            assert!(said.contains(place) && said.contains(real.to_str().unwrap()), "{said}");
            assert!(said.contains("--follow-links"), "{said}");
        }
        if target.starts_with(other.path()) {
            assert_eq!(said(&workspace, Links::Follow), [Ok(()), Ok(())]);
        }
    }
}

#[test]
fn links_within_the_folder_are_followed_and_loops_and_what_is_no_file_are_named() {
    let workspace = Workspace::new();
    let folder = workspace.concept();
    symlink("beach.png", folder.join("images/again.png")).unwrap();
    symlink(folder.join("images"), folder.join("photos")).unwrap();
    fs::write(folder.join(".hidden"), "").unwrap();
    symlink("/etc/passwd", folder.join(".hidden-link")).unwrap();
    fs::write(folder.join("runner.lock"), "").unwrap();
    let home = tempfile::tempdir().unwrap();
    let into = Home::at(home.path()).unwrap();
    let (copy, _) = into.import_concept(&folder, Some("copy"), false, Links::Inside).unwrap();
    let beach = fs::read(folder.join("images/beach.png")).unwrap();
    for name in ["images/again.png", "photos/beach.png"] {
        assert!(!copy.folder.join(name).is_symlink());
        assert_eq!(fs::read(copy.folder.join(name)).unwrap(), beach);
    }
    for name in [".hidden", ".hidden-link", "runner.lock"] {
        assert!(copy.folder.join(name).symlink_metadata().is_err(), "{name}");
    }
    let odd: [Odd; 5] = [
        ("loop", &|path| symlink("..", path).unwrap(), "leads back to a folder that it is in"),
        ("self", &|path| symlink("self", path).unwrap(), "leads nowhere"),
        ("gone", &|path| symlink("nothing", path).unwrap(), "leads nowhere"),
        ("pipe", &|path| pipe(path), "this is a pipe, not a file"),
        ("socket", &|path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()), "this is a socket, not a file"),
    ];
    for (name, make, what) in odd {
        let path = folder.join("images").join(name);
        make(&path);
        for links in [Links::Inside, Links::Follow] {
            for said in said(&workspace, links) {
                let said = said.unwrap_err();
                assert!(said.contains(&format!("images/{name}")) && said.contains(what), "{said}");
            }
        }
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(said(&workspace, Links::Inside), [Ok(()), Ok(())]);
}

/// A name, how it is made, and what is said of it.
type Odd<'a> = (&'a str, &'a dyn Fn(&Path), &'a str);

fn pipe(path: &Path) {
    let mode = rustix::fs::Mode::from(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

#[test]
fn both_commands_say_what_link_it_is_and_take_it_with_a_flag() {
    let (workspace, other) = (Workspace::new(), elsewhere());
    symlink(other.path().join("key"), workspace.concept().join("images/a.txt")).unwrap();
    let (out, folder) = (workspace.home().join("demo.zip"), workspace.concept());
    let export = ["concept", "export", "demo", "--out", out.to_str().unwrap()];
    let import = ["concept", "import", folder.to_str().unwrap(), "--name", "copy"];
    for command in [&export[..], &import[..]] {
        catbench(&workspace, command).assert().code(1).stderr(contains("images/a.txt").and(contains("leads out")));
        catbench(&workspace, &[command, &["--follow-links"]].concat()).assert().code(0);
    }
    assert_eq!(fs::read_to_string(workspace.home().join("copy/images/a.txt")).unwrap(), "private");
}

#[test]
fn a_picture_outside_of_its_job_is_no_sample_of_it() {
    let (workspace, other) = (Workspace::new(), elsewhere());
    let mut sampling = workspace.sampling(2, 2);
    let secret = other.path().join("photos/me.png");
    let sample = |path: PathBuf| Event::Sample { step: 1, path, prompt: "a".into(), seed: 0, learned: true };
    let up = PathBuf::from("../../images/beach.png");
    for path in [secret.clone(), up.clone(), PathBuf::from("linked.png"), PathBuf::from("away/me.png")] {
        sampling.tell(sample(path));
    }
    sampling.tell(Event::Checkpoint { step: 1, path: secret.clone() });
    symlink(&secret, sampling.folder.join("linked.png")).unwrap();
    symlink(secret.parent().unwrap(), sampling.folder.join("away")).unwrap();
    let sampling = sampling.write();
    let job = JobFolder::at(&sampling.folder).unwrap();
    assert_eq!(job.kind().unwrap(), JobKind::Sample);
    let history = History::read(&job).unwrap();
    assert_eq!(history.pictures.len(), 2, "{:?}", history.pictures);
    assert!(history.checkpoints.is_empty());
    let warned = history.warnings.iter().filter(|warning| warning.contains("outside of the job's folder")).count();
    assert_eq!(warned, 3, "{:?}", history.warnings);
    assert_eq!(read_details(&workspace.concept()).sample_records.len(), 2);
    // Nothing that is copied, rated, removed or restored is elsewhere.
    let concept = concept(&workspace);
    let out = tempfile::tempdir().unwrap();
    symlink(&secret, job.sheet(1)).unwrap();
    let pictures = ["000.png", "linked.png", "away/me.png"].map(|name| job.path().join(name));
    catbench::workspace::copies::copy(&job, &pictures, out.path()).unwrap();
    let copied: Vec<_> = fs::read_dir(out.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(copied, ["000.png"]);
    let own = format!("samples/{RUN}");
    for name in [
        secret.to_str().unwrap().to_owned(),
        format!("{own}/../../images/beach.png"),
        format!("{own}/away/me.png"),
        "../x.png".into(),
        "images/beach.png".into(),
    ] {
        let picture = Path::new(&name);
        assert!(concept.rate(picture, Some(3)).is_err(), "{name}");
        assert!(concept.remove_sample(picture).is_err(), "{name}");
        assert!(concept.restore_sample(picture).is_err(), "{name}");
    }
    assert!(secret.is_file() && concept.folder.join("images/beach.png").is_file());
    // A rating of something else is of no sample.
    fs::write(concept.folder.join("ratings.toml"), format!("{secret:?} = 5\n\"../x.png\" = 4\n")).unwrap();
    assert_eq!(read_ratings(&concept.folder).unwrap().len(), 2);
    assert!(read_details(&concept.folder).sample_records.iter().all(|sample| sample.rating.is_none()));
    assert!(inside(&concept.folder, &secret).is_none());
}

#[test]
fn a_scoring_writes_to_no_run_of_another_place() {
    let workspace = Workspace::new();
    let folder = workspace.concept().join("jobs/one");
    fs::create_dir_all(&folder).unwrap();
    for (run, is_one) in [("../../../elsewhere", false), ("/etc", false), ("..", false), ("", false), (RUN, true)] {
        let toml = format!(
            "concept = \"demo\"\nclass_word = \"teapot\"\nscore_model = \"/x\"\nbase_model = \"/x\"\nrun = {run:?}\n[score]\n"
        );
        fs::write(folder.join("score.toml"), toml).unwrap();
        let scores = JobFolder::at(&folder).unwrap().scores();
        assert_eq!(scores.is_ok(), is_one, "{run}: {scores:?}");
    }
}

#[test]
fn a_picture_with_a_prompt_that_no_base_model_reads_is_not_made_again() {
    let workspace = Workspace::with_models();
    let path = workspace.home().join("forged.png");
    let image = image::RgbImage::new(64, 64);
    let mut record = record();
    for (prompt, class_word, said) in [
        ("a".repeat(1 << 20), "cup".into(), "prompt = 1048576 characters"),
        ("a".into(), "x".repeat(5000), "class_word = 5000"),
    ] {
        (record.picture.prompt, record.class_word) = (prompt, class_word);
        catbench::image::write_picture(&path, &image, &record).unwrap();
        let began = Instant::now();
        catbench(&workspace, &["replay", path.to_str().unwrap(), "--concept", "demo"])
            .assert()
            .code(1)
            .stderr(contains(said));
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}

fn record() -> PictureRecord {
    PictureRecord {
        format: PictureRecord::FORMAT,
        version: "0.1.0".into(),
        concept: "demo".into(),
        class_word: "cup".into(),
        base_model: ModelSpec::at(&common::fixture("tiny_sd1")),
        base_model_sha256: "00".repeat(32),
        checkpoint: None,
        picture: SampleConfig::default().picture("a cup".into(), 1),
        uncond_prefix: false,
        every_prompt: false,
        concepts: Vec::new(),
        concept_steps: None,
        embeddings: Vec::new(),
        batch_size: 1,
        device: DeviceName::Cpu,
        dtype: FloatType::F32,
        width: 64,
        height: 64,
    }
}

/// An archive of these entries.
fn archive(path: &Path, files: impl IntoIterator<Item = (String, Vec<u8>)>) {
    let mut archive = zip::ZipWriter::new(std::io::BufWriter::new(File::create(path).unwrap()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in files {
        archive.start_file(name, options).unwrap();
        archive.write_all(&bytes).unwrap();
    }
    archive.finish().unwrap();
}

#[test]
fn an_archive_of_too_many_files_or_odd_names_is_refused_before_anything_is_written() {
    let home = tempfile::tempdir().unwrap();
    let (into, path) = (Home::at(home.path()).unwrap(), home.path().join("bad.zip"));
    let toml = b"name = \"a\"\nclass_word = \"cup\"\nbase_model = \"x\"\n".to_vec();
    let own = |more: Vec<String>| {
        let own = [("concept.toml".to_owned(), toml.clone())];
        own.into_iter().chain(more.into_iter().map(|name| (name, Vec::new())))
    };
    let deep = format!("{}x", "d/".repeat(40));
    let folders = |i: usize| (0..30).map(|depth| format!("{i}-{depth}")).collect::<Vec<_>>().join("/");
    let wrong: [(Vec<String>, &str); 6] = [
        ((0..2000).map(folders).collect(), "more than 50000 folders"),
        ((0..300_000).map(|i| format!("images/{i}")).collect(), "100000 are the most"),
        (vec!["n".repeat(2000)], "2000 bytes"),
        (vec!["n".repeat(300)], "its name is too long"),
        (vec![deep], "too many folders"),
        (vec!["a//b".into()], "outside of its folder"),
    ];
    for (names, said) in wrong {
        archive(&path, own(names));
        let began = Instant::now();
        for unlisted in [true, false] {
            let error = into.import_concept(&path, Some("bad"), unlisted, Links::Inside).unwrap_err().to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
        assert!(began.elapsed() < Duration::from_secs(4), "{said}: {:?}", began.elapsed());
    }
    // Two of a name: the library that writes archives refuses to.
    archive(&path, own(vec!["images/a".into(), "images/b".into()]));
    let mut twice = fs::read(&path).unwrap();
    for at in 0..twice.len() - 8 {
        if &twice[at..at + 8] == b"images/b" {
            twice[at + 7] = b'a';
        }
    }
    fs::write(&path, twice).unwrap();
    let error = into.import_concept(&path, Some("bad"), true, Links::Inside).unwrap_err().to_string();
    assert!(error.contains("two entries \"images/a\""), "{error}");
    let left = |folder: &Path| fs::read_dir(folder).map_or(0, Iterator::count);
    assert!(!home.path().join("bad").exists());
    assert_eq!(left(&home.path().join(".catbench/workshop")), 0, "nothing is left in the workshop");
}

#[test]
fn a_manifest_that_lists_other_files_is_refused_before_any_is_written() {
    let (workspace, home) = (Workspace::new(), tempfile::tempdir().unwrap());
    let (into, path) = (Home::at(home.path()).unwrap(), home.path().join("demo.zip"));
    concept(&workspace).pack(&path, None, Links::Inside).unwrap();
    let mut packed = zip::ZipArchive::new(File::open(&path).unwrap()).unwrap();
    let mut files: Vec<(String, Vec<u8>)> = (0..packed.len())
        .map(|i| {
            let mut file = packed.by_index(i).unwrap();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
            (file.name().unwrap().into_owned(), bytes)
        })
        .collect();
    files.push(("more.txt".into(), b"x".to_vec()));
    archive(&path, files);
    // Where nothing can be written, the manifest still is what is told of.
    let error = into.import_concept(&path, Some("bad"), false, Links::Inside).unwrap_err().to_string();
    assert!(error.contains("not listed: \"more.txt\""), "{error}");
    assert!(!home.path().join("bad").exists());
}
