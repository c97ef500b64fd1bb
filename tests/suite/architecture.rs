//! The dependency rule of `src/lib.rs`, checked on the source.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What each module may use of the others. `fs`, `json`, `protocol`, `image` and `workspace` are what all stand on.
const MAY_USE: &[(&str, &[&str])] = &[
    ("fs", &[]),
    ("json", &[]),
    ("sys", &[]),
    ("archive", &[]),
    ("protocol", &[]),
    ("image", &["fs", "json", "protocol"]),
    ("statistics", &["protocol"]),
    ("workspace", &["archive", "fs", "json", "protocol", "image", "statistics"]),
    ("diffusion", &["archive", "fs", "protocol", "image", "sys"]),
    ("metrics", &["fs", "json", "protocol", "image", "diffusion", "statistics", "sys"]),
    ("segment", &["fs", "json", "protocol", "image", "diffusion"]),
    ("masks", &["protocol", "image", "diffusion", "segment"]),
    ("catversion", &["fs", "json", "protocol", "image", "diffusion"]),
    (
        "runner",
        &[
            "fs",
            "json",
            "protocol",
            "image",
            "workspace",
            "statistics",
            "diffusion",
            "metrics",
            "segment",
            "masks",
            "catversion",
            "sys",
        ],
    ),
    ("store", &["fs", "json", "protocol"]),
    ("daemon", &["fs", "json", "protocol", "image", "workspace", "store", "sys"]),
    ("client", &["fs", "json", "protocol", "image", "workspace", "sys"]),
    ("tui", &["fs", "json", "protocol", "image", "workspace", "client", "sys"]),
    ("cli", &["fs", "json", "protocol", "image", "workspace", "statistics", "client", "tui"]),
];

/// `cli` chooses the role of the process, so it alone starts the runner and the daemon, and says what a closed pipe is to it.
const EXCEPTIONS: &[(&str, &str)] =
    &[("cli/mod.rs", "runner"), ("cli/mod.rs", "daemon"), ("cli/daemon.rs", "daemon"), ("cli/mod.rs", "sys")];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The modules a file names after `crate::`, also in `use crate::{a, b::c}`.
fn used(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let name = |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut start = true;
            for (i, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    _ if start && !c.is_whitespace() => {
                        found.insert(name(&group[i..]));
                        start = false;
                    }
                    _ => {}
                }
            }
        } else {
            found.insert(name(rest));
        }
    }
    found
}

#[test]
fn modules_use_only_what_the_rule_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let modules: BTreeSet<&str> = MAY_USE.iter().map(|(module, _)| *module).collect();
    let mut broken = Vec::new();
    for file in sources(&root) {
        let relative = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let module = relative.split(['/', '.']).next().unwrap();
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            assert!(["lib", "main"].contains(&module), "{relative}: a module the rule does not know");
            continue;
        };
        for other in used(&std::fs::read_to_string(&file).unwrap()) {
            let fine = other == module
                || allowed.contains(&other.as_str())
                || !modules.contains(other.as_str())
                || EXCEPTIONS.contains(&(relative.as_str(), other.as_str()));
            if !fine {
                broken.push(format!("{relative} uses {other}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// What has one door: words that stand in no file but that door's, and why.
const DOORS: &[(&str, &[&str], &str)] = &[
    (
        "src/fs/read.rs",
        &["fs::File::open(", " File::open(", "(File::open(", "std::fs::read(", "fs::read_to_string(", "::from_file("],
        "`crate::fs::open` waits for nothing and reads only so much",
    ),
    (
        "src/fs/write.rs",
        &["File::create", "OpenOptions", "File::options", "std::fs::write(", "std::fs::copy("],
        "`crate::fs::NewFile`, `open_append` and `open_lock` follow no links",
    ),
    ("src/json.rs", &["serde_json::to_"], "`crate::json` refuses what is not a number"),
    (
        "src/cli/out.rs",
        &[" println!", " print!", " eprintln!", " eprint!"],
        "`outln!` and `errln!` know what cannot be written",
    ),
    ("src/fs.rs", &[".display()"], "`fs::Show::shown` shows what a terminal would obey"),
];

#[test]
fn what_has_one_door_goes_through_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let is_test = |file: &PathBuf| file.ends_with("tests.rs");
    for file in sources(&root).into_iter().filter(|file| !is_test(file)) {
        let text = std::fs::read_to_string(&file).unwrap();
        let shipped = text.split("#[cfg(test)]").next().unwrap();
        let code = || shipped.lines().filter(|line| !line.trim_start().starts_with("//"));
        for (door, words, why) in DOORS.iter().filter(|(door, ..)| !file.ends_with(door)) {
            let found = code().find(|line| words.iter().any(|word| line.contains(word)));
            assert!(found.is_none(), "{}: {}: {why} ({door})", file.display(), found.unwrap_or_default());
        }
    }
}

#[test]
fn names_are_found_in_plain_and_grouped_uses() {
    let text = "use crate::fs::x; use crate::{a, b::{c, d}, e}; crate::tui::run()";
    assert_eq!(used(text).into_iter().collect::<Vec<_>>(), ["a", "b", "e", "fs", "tui"]);
}

/// A file that no `mod` names is not compiled, and its tests are not run. A file beside the folders is a program of its own.
#[test]
fn every_file_of_tests_is_a_module_of_one_of_the_two_programs() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for program in ["suite", "own_process"].map(|name| tests.join(name)) {
        for file in sources(&program).into_iter().filter(|file| !file.ends_with("main.rs")) {
            let folder = file.parent().unwrap();
            let parent = if folder == program { folder.join("main.rs") } else { folder.with_extension("rs") };
            let named = format!("mod {};", file.file_stem().unwrap().display());
            assert!(std::fs::read_to_string(&parent).unwrap().contains(&named), "{}: no {named}", parent.display());
        }
    }
    let beside = std::fs::read_dir(&tests).unwrap().map(|entry| entry.unwrap().path());
    let beside: Vec<_> = beside.filter(|path| path.extension().is_some_and(|end| end == "rs")).collect();
    assert!(beside.is_empty(), "each is linked with all of candle: {beside:?}");
    // The workbench starts its own program with this word, which chooses all tests that have it in their name.
    for file in sources(&tests.join("own_process")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let named = text.lines().find(|line| line.trim_start().starts_with("fn ") && line.contains("runner"));
        assert!(named.is_none(), "{}: it would start itself: {named:?}", file.display());
    }
}
