//! The dependency rule of `src/lib.rs`, checked on the source.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use catbench::method::MethodSettings;
use catbench::protocol::Declaration;

/// What each module may use of the others. `fs`, `json`, `protocol`, `image` and `workspace` are what all stand on.
const MAY_USE: &[(&str, &[&str])] = &[
    ("fs", &[]),
    ("json", &[]),
    ("sys", &[]),
    ("archive", &[]),
    ("programs", &[]),
    // What methods declare of themselves is plain data.
    ("protocol", &["json", "method", "programs"]),
    ("image", &["fs", "json", "protocol"]),
    ("method", &["fs", "protocol", "diffusion", "personalize"]),
    ("statistics", &["protocol"]),
    ("workspace", &["archive", "fs", "json", "protocol", "image", "statistics"]),
    ("diffusion", &["archive", "fs", "protocol", "image", "sys"]),
    ("metrics", &["fs", "json", "protocol", "image", "diffusion", "statistics", "sys"]),
    ("segment", &["fs", "json", "protocol", "image", "diffusion"]),
    ("masks", &["protocol", "image", "diffusion", "segment"]),
    ("personalize", &["fs", "json", "protocol", "diffusion", "method"]),
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
            "personalize",
            "method",
            "sys",
        ],
    ),
    ("store", &["fs", "json", "protocol"]),
    ("daemon", &["fs", "json", "programs", "protocol", "image", "workspace", "store", "sys"]),
    ("client", &["fs", "json", "programs", "protocol", "image", "workspace", "sys", "method"]),
    ("tui", &["fs", "json", "programs", "protocol", "image", "workspace", "client", "sys", "method"]),
    ("cli", &["fs", "json", "programs", "protocol", "image", "workspace", "statistics", "client", "tui", "method"]),
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

/// `text` with spaces for comments and for what is quoted, so that only code is left, in the same lines.
fn code(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < letters.len() {
        let end = end_of_text(&letters, at).unwrap_or(at);
        code.extend(letters[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        if end == at {
            code.push(letters[at]);
        }
        at = end.max(at + 1);
    }
    code
}

/// Where the comment, string or character ends that begins at `at`; none where none does.
fn end_of_text(letters: &[char], at: usize) -> Option<usize> {
    let is = |at: usize, text: &str| text.chars().enumerate().all(|(i, c)| letters.get(at + i) == Some(&c));
    let find = |from: usize, text: &str| (from..letters.len()).find(|&at| is(at, text)).unwrap_or(letters.len());
    let is_word = |at: usize| letters.get(at).is_some_and(|c| c.is_alphanumeric() || *c == '_');
    // The first place from `from` on of an end mark with no backslash before it.
    let quoted = |mut from: usize, mark: char| {
        while from < letters.len() && letters[from] != mark {
            from += if letters[from] == '\\' { 2 } else { 1 };
        }
        (from + 1).min(letters.len())
    };
    if is(at, "//") {
        return Some(find(at, "\n"));
    }
    if is(at, "/*") {
        return Some((find(at, "*/") + 2).min(letters.len()));
    }
    if is(at, "\"") {
        return Some(quoted(at + 1, '"'));
    }
    if is(at, "r") && (at == 0 || !is_word(at - 1) || (is(at - 1, "b") && (at == 1 || !is_word(at - 2)))) {
        let marks = letters[at + 1..].iter().take_while(|c| **c == '#').count();
        let end = format!("\"{}", "#".repeat(marks));
        return is(at + 1 + marks, "\"").then(|| (find(at + marks + 2, &end) + 1 + marks).min(letters.len()));
    }
    // A lifetime has no second mark right behind its first letter.
    (is(at, "'") && (is(at + 1, "\\") || is(at + 2, "'"))).then(|| quoted(at + 1, '\''))
}

/// How many modules within that of its file each place is in where `word` stands in `code`.
fn places<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = (usize, usize)> + 'a {
    code.match_indices(word).map(|(at, _)| {
        let mut blocks = Vec::new();
        for (i, c) in code[..at].char_indices() {
            match c {
                '{' => blocks.push(code[..i].trim_end().rsplit([';', '}', '{', ']']).next().unwrap().trim()),
                '}' => drop(blocks.pop()),
                _ => {}
            }
        }
        let is_module = |head: &&&str| head.trim_start_matches("pub ").starts_with("mod ");
        (at, blocks.iter().filter(is_module).count())
    })
}

/// The modules of this crate that `text` names, the code of a module at `path`: after `crate::`, or after as many `super::` as lead to
/// the top; also in `use crate::{a, b::c}`.
fn used(text: &str, path: &[&str]) -> BTreeSet<String> {
    let code = code(text);
    let is_start = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c));
    let mut found = BTreeSet::new();
    for (at, _) in places(&code, "crate::").filter(|(at, _)| is_start(*at)) {
        found.extend(names(&code[at + "crate::".len()..]));
    }
    for (at, within) in places(&code, "super::").filter(|(at, _)| is_start(*at)) {
        let rest = code[at..].trim_start_matches("super::");
        let up = (code[at..].len() - rest.len()) / "super::".len();
        if up == path.len() + within {
            found.extend(names(rest));
        }
    }
    found
}

/// The names that `rest` begins with: one, or the first of each path in a group.
fn names(rest: &str) -> BTreeSet<String> {
    let name = |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return BTreeSet::from([name(rest)]) };
    let mut found = BTreeSet::new();
    let (mut depth, mut start) = (0, true);
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
    found
}

/// The path of the module in the file at `relative`, from the crate's.
fn module_path(relative: &str) -> Vec<&str> {
    let path = relative.strip_suffix(".rs").unwrap();
    path.strip_suffix("/mod").unwrap_or(path).split('/').collect()
}

#[test]
fn modules_use_only_what_the_rule_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let modules: BTreeSet<&str> = MAY_USE.iter().map(|(module, _)| *module).collect();
    let mut broken = Vec::new();
    for file in sources(&root) {
        let relative = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let path = module_path(&relative);
        let module = path[0];
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            assert!(["lib", "main", "bin"].contains(&module), "{relative}: a module the rule does not know");
            continue;
        };
        for other in used(&std::fs::read_to_string(&file).unwrap(), &path) {
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

/// Clients, files and screens know methods by what these declare, and ask nothing of models.
#[test]
fn only_runners_ask_methods_for_more_than_they_declare() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in sources(&root) {
        let relative = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        if ["method", "personalize", "runner"].contains(&module_path(&relative)[0]) {
            continue;
        }
        let text = code(&std::fs::read_to_string(&file).unwrap());
        for rest in text.split("method::").skip(1) {
            let named: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
            assert_eq!(named, "MethodSettings", "{relative}");
        }
    }
}

/// Files beside the folder of a method that may name it, and why.
const NAMING: &[(&str, &str)] = &[
    ("method/mod.rs", "it is the list of methods"),
    ("personalize/checkpoint/format1.rs", "it reads files of versions that had one method"),
    ("diffusion/embedding.rs", "the files of other programs that it reads are called so"),
    ("diffusion/infer.rs", "it tells such files from base models"),
    ("cli/sample.rs", "its option --embedding takes such files"),
    ("protocol/sampling.rs", "a sampling names such files"),
    ("metrics/measure.rs", "a score is that of the paper's evaluation"),
    ("cli/score_table.rs", "it says which score that is"),
    ("cli/sweep.rs", "its help has a short name of a setting as its example"),
];

/// `text` in small letters, and with a space between the words of a name, however it is written.
fn plain(text: &str) -> String {
    text.to_lowercase().replace(['_', '-'], " ")
}

/// What `method` is called, and what only it has: its name, its title, its variant, the settings whose names have several words.
fn names_of(method: &Declaration) -> Vec<String> {
    let own = method.settings.iter().map(|row| row.name).filter(|name| name.contains('_'));
    let joined = method.name.replace('_', "");
    let learned = (method.name == "catversion").then_some("residual embedding");
    [method.name, method.title, &joined].into_iter().chain(own).chain(learned).map(plain).collect()
}

/// What is not in the folder of a method has to work for every method: it asks, whichever it is.
#[test]
fn no_file_names_a_method_but_those_of_its_folder_and_the_list() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for file in sources(&root) {
        let relative = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        if NAMING.iter().any(|(file, _)| relative == *file) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for method in MethodSettings::ALL.iter().filter(|m| !relative.starts_with(&format!("method/{}/", m.name))) {
            let names = names_of(method);
            let lines =
                text.lines().map(plain).zip(1..).filter(|(line, _)| names.iter().any(|name| line.contains(name)));
            found.extend(lines.map(|(line, number)| format!("{relative}:{number}: {}", line.trim())));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
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
    (
        "src/client/begin.rs",
        &["JobFolder::new(", "JobFolder::new_batch(", "JobFolder::new_evaluation("],
        "`crate::client::Asked` checks, estimates and refuses a job before anything of it is made",
    ),
    ("src/fs.rs", &[".display()"], "`fs::Show::shown` shows what a terminal would obey"),
];

#[test]
fn what_has_one_door_goes_through_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let is_test = |file: &PathBuf| file.ends_with("tests.rs");
    for file in sources(&root).into_iter().filter(|file| !is_test(file)) {
        let code = code(&std::fs::read_to_string(&file).unwrap());
        let shipped = code.split("#[cfg(test)]").next().unwrap();
        for (door, words, why) in DOORS.iter().filter(|(door, ..)| !file.ends_with(door)) {
            let found = shipped.lines().find(|line| words.iter().any(|word| line.contains(word)));
            assert!(found.is_none(), "{}: {}: {why} ({door})", file.display(), found.unwrap_or_default());
        }
    }
}

#[test]
fn names_are_found_in_plain_and_grouped_uses_and_by_as_many_supers_as_lead_to_the_top() {
    let all = |text: &str, path: &[&str]| used(text, path).into_iter().collect::<Vec<_>>();
    let text = "use crate::fs::x; use crate::{a, b::{c, d}, e}; crate::tui::run()";
    assert_eq!(all(text, &["cli", "mod"]), ["a", "b", "e", "fs", "tui"]);
    let text = "use super::{a, b}; use super::super::c::{d}; use super::super::super::e; mod tests { use super::super::super::f; }";
    assert_eq!(all(text, &["tui", "app"]), ["c", "f"]);
    assert_eq!(all(text, &["tui"]), ["a", "b"]);
    assert_eq!(all("mod tests { use super::super::{f, g}; } use super::h;", &["fs"]), ["f", "g", "h"]);
    assert_eq!(module_path("tui/app/mod.rs"), ["tui", "app"]);
    assert_eq!(module_path("fs.rs"), ["fs"]);
}

#[test]
fn what_comments_and_strings_say_is_no_code() {
    let text = "a // crate::b\n/* crate::c */ \"crate::d \\\" crate::e\" r#\"\" crate::f\"# '\"' crate::g 'x' &'static crate::h";
    assert_eq!(used(text, &["cli"]).into_iter().collect::<Vec<_>>(), ["g", "h"]);
    assert_eq!(code("a/*\n*/b"), "a  \n  b");
    assert_eq!(code(r#"b"x" br"y" for 'a: "z""#).split_whitespace().collect::<String>(), "bbfor'a:");
}

/// A file that no `mod` names is not compiled, and its tests are not run. A file beside the folders is a program of its own.
#[test]
fn every_file_of_tests_is_a_module_of_one_of_the_programs() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for program in ["suite", "own_process", "cuda"].map(|name| tests.join(name)) {
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
    let programs = std::fs::read_dir(&tests).unwrap().map(|entry| entry.unwrap().path());
    let programs = programs.filter(|path| path.join("main.rs").is_file()).count();
    assert_eq!(
        programs, 4,
        "suite, own_process, memory, and cuda in builds for cards: each is linked with all of candle"
    );
    // The workbench starts its own program with this word, which chooses all tests that have it in their name.
    for file in sources(&tests.join("own_process")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let named = text.lines().find(|line| line.trim_start().starts_with("fn ") && line.contains("runner"));
        assert!(named.is_none(), "{}: it would start itself: {named:?}", file.display());
    }
}
