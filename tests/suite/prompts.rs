//! Prompt lists: what they come to, and what is said of those that make no sense.

use std::fs::{create_dir_all, write};
use std::path::Path;

use crate::common::{Workspace, catbench, json};
use assert_cmd::assert::OutputAssertExt;
use catbench::protocol::{PictureConfig, SampleConfig, SamplerKind, SeedRule};
use catbench::workspace::{ListNames, PromptList, Values};
use predicates::boolean::PredicateBooleanExt;
use predicates::str::contains;

fn names(folder: &Path) -> ListNames {
    ListNames { class_word: "teapot".into(), concepts: vec!["mug".into()], folders: vec![folder.to_owned()] }
}

/// The list in `text`, and its pictures with one image of each prompt.
fn pictures(text: &str, names: &ListNames) -> Result<Vec<PictureConfig>, String> {
    let base = SampleConfig { images_per_prompt: 1, ..SampleConfig::default() };
    let list = PromptList::parse(text, Path::new("list.txt"), names).map_err(|error| error.to_string())?;
    let counted: u64 = list.counts(&Values::default(), &base).iter().map(|line| line.pictures).sum();
    let listed = list.expand(&Values::default(), &base).map_err(|error| error.to_string())?;
    let repeated: usize = listed.repeated.iter().map(|(_, count)| count).sum();
    assert_eq!(counted, (listed.pictures.len() + repeated) as u64, "counted before, made after");
    Ok(listed.pictures)
}

fn prompts(text: &str, names: &ListNames) -> Vec<String> {
    pictures(text, names).unwrap().into_iter().map(|picture| picture.prompt).collect()
}

#[test]
fn a_line_becomes_all_that_it_stands_for() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path().join("scenes.txt"), "\u{feff}# two\non {fine|wet} grass\n\n  at night \n").unwrap();
    let names = names(folder.path());
    for (line, expected) in [
        ("a {concept}", &["a {concept}"][..]),
        ("# nothing\n\n  a {class}  ", &["a teapot"]),
        ("a {red|blue} {cup|pot}", &["a red cup", "a red pot", "a blue cup", "a blue pot"]),
        ("a {|very} big cup", &["a big cup", "a very big cup"]),
        ("{a {red|{dark|light} blue}|no} cup", &["a red cup", "a dark blue cup", "a light blue cup", "no cup"]),
        ("{concept} __scenes__", &["{concept} on fine grass", "{concept} on wet grass", "{concept} at night"]),
        ("{1..3} cups", &["1 cups", "2 cups", "3 cups"]),
        ("{3..1..2} cups", &["3 cups", "1 cups"]),
        ("{0..1..0.5} full, {-1..-1}", &["0 full, -1", "0.5 full, -1", "1 full, -1"]),
        ("{concept} in a {mug}", &["{concept} in a {mug}"]),
        ("a (red:1.2) [cup] \\(really\\) a|b", &["a (red:1.2) [cup] \\(really\\) a|b"]),
        ("\\{red\\|blue\\} \\__scenes\\__ __ ____ a_b", &["{red|blue} __scenes__ __ ____ a_b"]),
        // What would be a name to whoever reads the prompt keeps its backslash.
        ("\\{x\\} \\{my-cat\\} \\{\\} \\{a b\\}", &["\\{x} \\{my-cat} {} {a b}"]),
        ("\\# a - b -- c -na", &["# a - b -- c -na"]),
        (
            "{a\\}|b} {c\\|d|e} {\\{x|y}",
            &["a} c|d {x", "a} c|d y", "a} e {x", "a} e y", "b c|d {x", "b c|d y", "b e {x", "b e y"],
        ),
        ("a well–known cup – old — blue", &["a well–known cup – old — blue"]),
        ("a cup \\--seed 7", &["a cup --seed 7"]),
        ("茶壺 für {dich|mich} – 🫖", &["茶壺 für dich – 🫖", "茶壺 für mich – 🫖"]),
    ] {
        assert_eq!(prompts(line, &names), expected, "{line}");
    }
}

#[test]
fn settings_of_a_line_are_its_own() {
    let names = names(Path::new("/nowhere"));
    let line = "a {concept} --seed 7 --steps 30 --guidance=5.5 --negative \"dark, \\\"odd\\\" {a|b}\" --strength 0.8 -n 2 \
                --sampler euler --karras\na cup";
    let all = pictures(line, &names).unwrap();
    let base = SampleConfig::default();
    let first = PictureConfig {
        negative_prompt: "dark, \"odd\" a".into(),
        steps: 30,
        guidance_scale: 5.5,
        strength: 0.8,
        sampler: SamplerKind::Euler,
        karras: true,
        ..base.picture("a {concept}".into(), 7)
    };
    assert_eq!(all[0], first);
    assert_eq!(all[1], PictureConfig { seed: 8, ..first.clone() });
    assert_eq!(all[2], PictureConfig { negative_prompt: "dark, \"odd\" b".into(), ..first });
    let own = base.seeds.offset("a cup");
    assert_eq!(
        all[4],
        base.picture("a cup".into(), own),
        "the next line is as usual, its prompt with seeds of its own"
    );
    assert!(own > 0 && own != base.seeds.offset("a {concept}"));
    assert_eq!(all.len(), 5);
    let glued = pictures("a cup -n3 --seed 5", &names).unwrap();
    assert_eq!(glued.iter().map(|p| p.seed).collect::<Vec<_>>(), [5, 6, 7]);
    let braces = pictures("a cup --negative \"{a\\}|b} c\" -n 1", &names).unwrap();
    assert_eq!(braces.iter().map(|p| p.negative_prompt.as_str()).collect::<Vec<_>>(), ["a} c", "b c"]);
    let seeds: Vec<u64> = pictures("a cup --seed {1..9..4}", &names).unwrap().iter().map(|p| p.seed).collect();
    assert_eq!(seeds, [1, 5, 9]);
}

#[test]
fn prompts_have_seeds_of_their_own_or_share_them() {
    let seeds = |config: &SampleConfig| config.pictures().iter().map(|picture| picture.seed).collect::<Vec<_>>();
    let prompts = vec!["a {concept}".to_owned(), "a {concept} on grass".into()];
    let own = SampleConfig { prompts: prompts.clone(), images_per_prompt: 2, ..SampleConfig::default() };
    let found = seeds(&own);
    assert_eq!((found[1], found[3]), (found[0] + 1, found[2] + 1));
    assert!(found[0].abs_diff(found[2]) > 2, "{found:?}");
    let turned = SampleConfig { prompts: prompts.iter().rev().cloned().collect(), ..own.clone() };
    assert_eq!(seeds(&turned), [&found[2..], &found[..2]].concat(), "a prompt keeps its seeds wherever it stands");
    let later = PictureConfig { seed: 10, ..own.picture.clone() };
    assert_eq!(seeds(&SampleConfig { picture: later, ..own.clone() })[0], found[0] + 10);
    assert_eq!(seeds(&SampleConfig { seeds: SeedRule::Shared, ..own.clone() }), [0, 1, 0, 1]);
    // Settings of versions before do not say it, and had no other.
    let mut table = toml::Table::try_from(&own).unwrap();
    table.remove("seeds");
    assert_eq!(seeds(&table.try_into().unwrap()), [0, 1, 0, 1]);
}

#[test]
fn values_of_the_command_line_are_for_lines_that_do_not_say_their_own() {
    let base = SampleConfig::default();
    let list =
        PromptList::parse("a cup\na pot --strength 2 -n 1", Path::new("list.txt"), &ListNames::default()).unwrap();
    let values = Values { strengths: vec![0.0, 1.0], seeds: vec![3, 9], ..Values::default() };
    let pictures = list.pictures(&values, &base).unwrap();
    let said: Vec<_> = pictures.iter().map(|p| (p.prompt.as_str(), p.strength, p.seed)).collect();
    let cup = [("a cup", 0.0, 3), ("a cup", 0.0, 9), ("a cup", 1.0, 3), ("a cup", 1.0, 9)];
    assert_eq!(said, [&cup[..], &[("a pot", 2.0, 3), ("a pot", 2.0, 9)]].concat());
}

/// Lists that make no sense: the text, where, and what is said. Word files are in `folder`.
fn nonsense(folder: &Path) -> Vec<(String, &'static str, &'static str)> {
    write(folder.join("bad.txt"), "one\n{two\n").unwrap();
    write(folder.join("empty.txt"), "# nothing\n").unwrap();
    write(folder.join("outer.txt"), "a __inner__\n").unwrap();
    write(folder.join("binary.txt"), [0xff, 0xfe, 0, 1]).unwrap();
    write(folder.join("large.txt"), format!("{}\n", "w".repeat(16_000)).repeat(600)).unwrap();
    write(folder.join("long.txt"), "w ".repeat(20_000)).unwrap();
    write(folder.join("huge.txt"), "w\n".repeat(20_001)).unwrap();
    let deep = format!("{}a{}", "{a|".repeat(60_000 / 4), "}".repeat(100));
    let nested = format!("{}a{}", "{a|".repeat(9), "}".repeat(9));
    let long = "a".repeat(1 << 20);
    let billion = "{1..10}".repeat(9);
    let endless = "{1..1000000000}".repeat(40);
    let wide = format!("{} --negative {{1..20000}}", "long ".repeat(3000));
    let many = "a --seed {1..15000}\n".repeat(2);
    let (shared, product) = (format!("{{{}}}", vec!["__thousand__"; 1200].join("|")), "__thousand__ ".repeat(30));
    write(folder.join("thousand.txt"), "{w|v}\n".repeat(1000)).unwrap();
    let options = format!("a {}", "--seed {1..20000} ".repeat(300));
    let cases: Vec<(&str, &'static str, &'static str)> = vec![
        ("", "list.txt:", "no prompt"),
        ("# only\n\n#this", "list.txt:", "no prompt"),
        ("a {red|blue cup", ":1:3", "{ without its }"),
        ("a\nb {", ":2:3", "{ without its }"),
        ("a }", ":1:3", "} without its {"),
        ("a {b}}", ":1:3", "{b} stands for nothing"),
        ("a {concpet}", ":1:3", "there is {concept}, {class}, {mug}"),
        ("a {}", ":1:3", "{} stands for nothing"),
        ("a {1..}", ":1:3", "is no number"),
        ("a {1..2..0}", ":1:3", "not above 0"),
        ("a {1..2..-1}", ":1:3", "not above 0"),
        ("a {x..y}", ":1:3", "\"x\" is no number"),
        ("a {1..99999999999999999999}", ":1:3", "is no number"),
        ("a {0..1..0.0000001}", ":1:3", "6 digits"),
        ("a {1...3}", ":1:3", "is no number"),
        ("a __nowhere__", ":1:3", "nowhere.txt"),
        ("a __bad__", "bad.txt:2:1", "{ without its }"),
        ("a __empty__", "empty.txt", "no word"),
        ("a __outer__", "outer.txt:1:3", "word files do not name others"),
        ("a __binary__", ":1:3", "no UTF-8"),
        ("--seed 7", ":1:1", "without a prompt"),
        ("a --seed", ":1:3", "--seed without a value"),
        ("a --seed x", ":1:10", "whole number"),
        ("a --seed -1", ":1:10", "whole number"),
        ("a --seed 99999999999999999999", ":1:10", "whole number"),
        ("a --seed 1 --seed 2", ":1:12", "second time"),
        ("a --steps 0", ":1:11", "whole number in 1..=1000"),
        ("a --steps 1001", ":1:11", "whole number in 1..=1000"),
        ("a --guidance nan", ":1:14", "a finite number"),
        ("a --guidance inf", ":1:14", "a finite number"),
        ("a --strength -0.5", ":1:14", "a number, 0 or more"),
        ("a --strength {0..1", ":1:14", "{ without its }"),
        ("a --eta 2", ":1:9", "a number in 0..=1"),
        ("a --sampler heun", ":1:13", "ddim, pndm, euler"),
        ("a --karras --karras", ":1:12", "second time"),
        ("a --karras=1", ":1:3", "say --karras alone"),
        ("a -n 0", ":1:6", "whole number, 1 or more"),
        ("a -n {1|2}", ":1:6", "several values"),
        ("a --ar 16:9", ":1:3", "--negative, --seed, --noise"),
        ("a —seed 7", ":1:3", "long dash"),
        ("a –steps=7", ":1:3", "write --steps"),
        ("a ——karras", ":1:3", "write --karras"),
        ("fine\na --sampler {ddim|euler} --karras", "list.txt:2: karras = true", "only the samplers"),
        ("fine\n\na --eta 0.5 --sampler euler", "list.txt:3: eta = 0.5", "only the sampler ddim"),
        ("a {-9223372036854775808..9223372036854775807}", ":1", "more than can be counted"),
        ("a --seed {-9223372036854775808..9223372036854775807}", ":1:10", "18446744073709551615 values"),
        ("a --negative \"dark", ":1:14", "not closed"),
        ("a --seed 7 b", ":1:12", "\"b\" is no option"),
        ("a\u{0}b", ":1:2", "control character"),
        ("a\u{1b}[2Jb", ":1:2", "control character"),
        (deep.as_str(), ":1", "over 16384 characters"),
        (nested.as_str(), ":1:25", "8 deep"),
        (long.as_str(), ":1", "over 16384 characters"),
        (billion.as_str(), ":1", "1000000000 pictures"),
        (endless.as_str(), ":1", "more than can be counted"),
        (wide.as_str(), ":1", "over 64 MiB"),
        (many.as_str(), ":2", "over 20000"),
        ("a --seed {1..20001}", ":1:10", "20001 values"),
        ("a __large__", "large.txt", "over 8 MiB"),
        ("a __long__", "long.txt:1", "over 16384 characters"),
        ("a __huge__", "huge.txt:20001", "over 20000 words"),
        (shared.as_str(), ":1", "2400000 pictures"),
        (product.as_str(), ":1", "more than can be counted"),
        (options.as_str(), ":1", "second time"),
        ("a {0..9223372036854775807..0.5}", ":1:3", "is no number"),
        ("a --steps {1..1001}", ":1:11", "whole number in 1..=1000"),
        ("a --strength {0..1..0.0000001}", ":1:14", "6 digits"),
        ("a --negative {x|{y", ":1:17", "{ without its }"),
        ("a --sampler {euler|heun}", ":1:13", "ddim, pndm, euler"),
        ("a -n 20001", ":1:6", "in 1..=20000"),
        ("a -n", ":1:3", "-n without a value"),
        ("a --negative 'dark", ":1:14", "not closed"),
        ("a \u{7f}", ":1:3", "control character"),
        ("a\u{9b}2J", ":1:2", "control character"),
        ("\u{feff}\u{feff}a {", ":1", "{ without its }"),
    ];
    cases.into_iter().map(|(text, place, said)| (text.to_owned(), place, said)).collect()
}

#[test]
fn what_makes_no_sense_is_named_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let names = names(folder.path());
    for (text, place, said) in nonsense(folder.path()) {
        let shown: String = text.chars().take(40).collect();
        let error = pictures(&text, &names).expect_err(&shown);
        assert!(error.contains(place) && error.contains(said), "{shown}: {error}");
        assert!(error.len() < 400, "{shown}: {error}");
    }
}

/// The program with so many KiB of addresses to take at most.
fn bounded(workspace: &Workspace, kib: u32, args: &[&str]) -> std::process::Output {
    let mut command = std::process::Command::new("sh");
    let program = env!("CARGO_BIN_EXE_catbench");
    command.args(["-c", &format!("ulimit -v {kib}; exec \"$0\" \"$@\""), program]).args(args);
    command.env("CATBENCH_HOME", workspace.home()).output().unwrap()
}

#[test]
fn lists_that_make_no_sense_take_little_memory_and_no_time() {
    let workspace = Workspace::with_models();
    let folder = workspace.concept().join("prompts/words");
    create_dir_all(&folder).unwrap();
    let path = workspace.home().join("list.txt");
    let mut files: Vec<(String, Vec<u8>)> = nonsense(&folder)
        .into_iter()
        .map(|(text, _, _)| (text.chars().take(40).collect(), text.into_bytes()))
        .collect();
    files.push(("no UTF-8".into(), b"a cup\nb \xff\xfe\n".to_vec()));
    files.push(("a PNG".into(), b"\x89PNG\r\n\x1a\n\0\0\0".to_vec()));
    files.push(("9 MiB of one line".into(), vec![b'a'; 9 << 20]));
    files.push(("a million lines".into(), b"a cup\n".repeat(1 << 20)));
    files.push(("8 MiB of braces".into(), vec![b'{'; 8 << 20]));
    files.push(("long lines".into(), format!("{}\n", "{a|b}".repeat(3_000)).repeat(500).into_bytes()));
    files.push(("zeros".into(), vec![0; 1 << 20]));
    assert!(files.len() >= 80, "{}", files.len());
    for (name, bytes) in &files {
        write(&path, bytes).unwrap();
        let began = std::time::Instant::now();
        let args = ["sample", "demo", "--untrained", "--preview", "--prompts", path.to_str().unwrap()];
        let output = bounded(&workspace, 512 << 10, &args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(said.starts_with("error: ") && said.len() < 700 && !said.contains("panicked"), "{name}: {said}");
        assert!(began.elapsed().as_secs() < 10, "{name}: {:?}", began.elapsed());
    }
    for odd in ["/dev/zero", "/dev", "/nowhere"] {
        let output = bounded(&workspace, 512 << 10, &["sample", "demo", "--untrained", "--preview", "--prompts", odd]);
        assert_eq!(output.status.code(), Some(1), "{odd}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(odd));
    }
    assert!(!workspace.concept().join("samples").exists(), "a job was made");
}

#[test]
fn files_that_are_no_lists_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.txt");
    let refused = |bytes: &[u8]| {
        write(&path, bytes).unwrap();
        PromptList::read(&path, &ListNames::default()).unwrap_err().to_string()
    };
    assert!(refused(b"a cup\nb \xff\xfe\n").contains("list.txt:2: bytes that are no UTF-8"));
    assert!(refused(&[0x89, b'P', b'N', b'G', 0, 0, 0]).contains("list.txt:1"));
    assert!(refused(&vec![b'a'; 9 << 20]).contains("over 8 MiB"));
    assert!(refused(&b"a cup\n".repeat(1 << 20)).contains("over 20000"));
    let error = PromptList::read(folder.path(), &ListNames::default()).unwrap_err().to_string();
    assert!(error.contains("a folder, not a file"), "{error}");
}

#[test]
fn what_takes_long_to_expand_is_expanded_at_once_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let words = |name: &str, count: usize| {
        let lines: Vec<String> = (0..count).map(|i| format!("{{w{i}|v{i}}}\n")).collect();
        write(folder.path().join(format!("{name}.txt")), lines.concat()).unwrap();
    };
    words("many", 9_000);
    words("one", 1);
    write(folder.path().join("single.txt"), "x\n").unwrap();
    let names = names(folder.path());
    let shared = format!("{{{}}}", ["__many__"; 900].join("|"));
    let deep = format!("{}__many__{}", "{".repeat(8), "|}".repeat(8));
    let single = format!("{} {{1..2000}}", "__single__".repeat(1_500));
    let ranges = format!("{{1..19000}} {}", "{1..1}".repeat(2_000));
    for (text, expected) in [
        ("a __many__", Some(18_000)),
        ("a __many__ --negative {1..20000}", None),
        (&shared, None),
        (&deep, Some(18_001)),
        (&single, Some(2_000)),
        (&ranges, Some(19_000)),
        (&"a __one__\n".repeat(10_000), Some(2)),
    ] {
        let began = std::time::Instant::now();
        let base = SampleConfig { images_per_prompt: 1, ..SampleConfig::default() };
        let list = PromptList::parse(text, Path::new("list.txt"), &names);
        let made = list.and_then(|list| list.pictures(&Values::default(), &base)).map(|pictures| pictures.len());
        assert_eq!(made.ok(), expected, "{}", &text[..40.min(text.len())]);
        // Far more than it takes here, far less than when every text is counted anew.
        assert!(began.elapsed().as_secs_f64() < 5.0, "{:?}: {}", began.elapsed(), &text[..40.min(text.len())]);
    }
}

#[test]
fn a_picture_that_is_named_again_is_made_once_and_the_line_is_told() {
    let base = SampleConfig { images_per_prompt: 1, ..SampleConfig::default() };
    let text = "a cup --seed 3\na pot\na cup --seed {2..4}\na cup --seed 3 --steps 50";
    let list = PromptList::parse(text, Path::new("list.txt"), &ListNames::default()).unwrap();
    let listed = list.expand(&Values::default(), &base).unwrap();
    assert_eq!(listed.lines, [1, 2, 3, 3]);
    assert_eq!(listed.repeated, [(3, 1), (4, 1)]);
    let values = Values { seeds: vec![1, 2, 3], images_per_prompt: Some(2), ..Values::default() };
    let list = PromptList::parse("a cup", Path::new("list.txt"), &ListNames::default()).unwrap();
    let seeds: Vec<u64> = list.pictures(&values, &base).unwrap().iter().map(|p| p.seed).collect();
    assert_eq!(seeds, [1, 2, 3, 4]);
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused_and_nothing_that_comes_of_it_is_too_much(
        text in "[ab {}|_.0-9\\\\\"'#:(),\n-]{0,60}(--seed|--steps|-n|--negative)?[ =]?[{}|0-9.\"]{0,12}"
    ) {
        if let Ok(all) = pictures(&text, &names(Path::new("/nowhere"))) {
            proptest::prop_assert!(!all.is_empty() && all.len() <= 20_000);
        }
    }

    #[test]
    fn alternatives_are_counted_as_they_are_made(words in proptest::collection::vec(proptest::collection::vec("[a-z]{1,3}", 2..4), 1..5)) {
        let line: Vec<String> = words.iter().map(|any| format!("{{{}}}", any.join("|"))).collect();
        let made = prompts(&line.join(" "), &ListNames::default());
        let unlike = words.iter().all(|any| any.iter().collect::<std::collections::BTreeSet<_>>().len() == any.len());
        proptest::prop_assume!(unlike);
        proptest::prop_assert_eq!(made.len(), words.iter().map(Vec::len).product::<usize>());
        let last: Vec<&str> = words.iter().map(|any| any[any.len() - 1].as_str()).collect();
        proptest::prop_assert_eq!(made.last().unwrap(), &last.join(" "));
    }

    #[test]
    fn a_plain_prompt_is_left_as_it_is(prompt in "[a-zA-Z0-9,.:;()\\[\\]!?äöü茶]{1,20}( [a-zA-Z0-9,.:;()\\[\\]!?äöü茶]{1,20}){0,5}") {
        proptest::prop_assert_eq!(prompts(&prompt, &ListNames::default()), [prompt]);
    }
}

#[test]
fn a_preview_says_what_comes_and_makes_nothing() {
    let workspace = Workspace::with_models();
    create_dir_all(workspace.concept().join("prompts/words")).unwrap();
    create_dir_all(workspace.home().join("prompts/words")).unwrap();
    write(workspace.concept().join("prompts/words/scenes.txt"), "on grass\nat night\n").unwrap();
    write(workspace.home().join("prompts/words/scenes.txt"), "nowhere\n").unwrap();
    write(workspace.home().join("prompts/words/colours.txt"), "red\nblue\ngreen\n").unwrap();
    write(workspace.concept().join("prompts/many.txt"), "a __colours__ {class} __scenes__ -n 2\n").unwrap();
    let preview = ["sample", "demo", "--untrained", "--list", "many", "--preview"];
    catbench(&workspace, &preview)
        .assert()
        .code(0)
        .stdout(contains("12 of 6 prompts").and(contains("a blue teapot at night")).and(contains("disk")));
    let said = json(&workspace, &preview);
    assert_eq!(said["pictures"].as_array().unwrap().len(), 12);
    assert_eq!(said["lines"][0]["prompts"], 6);
    assert!(said["seconds"].as_f64().unwrap() > 0.0 && said["bytes"].as_u64().unwrap() > 0, "{said}");
    catbench(&workspace, &["sample", "demo", "--untrained", "--list", "none"])
        .assert()
        .code(1)
        .stderr(contains("demo, many"));
    let ranges = ["sample", "demo", "--untrained", "--prompt", "a cup", "--seeds", "1..4,9", "--preview"];
    let said = json(&workspace, &ranges);
    let seeds: Vec<u64> =
        said["pictures"].as_array().unwrap().iter().map(|picture| picture["seed"].as_u64().unwrap()).collect();
    assert_eq!(seeds, [1, 2, 3, 4, 9]);
    let refused = |more: &[&str], said: &str| {
        let args = [&["sample", "demo", "--untrained", "--preview"], more].concat();
        catbench(&workspace, &args).assert().failure().stderr(contains(said.to_owned()));
    };
    refused(&["--prompt", ""], "--prompt:1: an empty prompt");
    refused(&["--prompt", "a", "--seeds", "1..99999"], "20000 at most");
    refused(&["--prompt", "a", "--grid", "seed,seed"], "seed as columns and seed as rows");
    // What the models' code finds names the line too.
    let odd = workspace.home().join("odd.txt");
    write(&odd, "fine\n\na ({class}:50)\n").unwrap();
    let odd = ["--prompts", odd.to_str().unwrap()];
    refused(&odd, "odd.txt:3: prompt");
    // Whatever of the picture it is.
    let steep = workspace.home().join("steep.txt");
    write(&steep, "fine --steps 9\n{class} --steps 1000\n").unwrap();
    refused(&["--prompts", steep.to_str().unwrap(), "--sampler", "unipc"], "steep.txt:2: 1000 denoising steps");
    let long = format!("a cup\na cup\na (red:1.2) {} end", "very ".repeat(90));
    let mut piped = catbench(&workspace, &["sample", "demo", "--untrained", "--preview", "--prompts", "-", "-n", "2"]);
    let mut piped = piped.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut piped.stdin.take().unwrap(), long.as_bytes()).unwrap();
    let said = String::from_utf8(piped.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.contains("warning: stdin:3: prompt \"a red very"), "{said}");
    assert!(said.contains("stdin:2: 2 of its pictures are named before"), "{said}");
    assert!(said.lines().filter(|line| !line.starts_with("warning")).all(|line| line.chars().count() < 130), "{said}");
    let bad = workspace.home().join("bad.txt");
    write(&bad, "fine\na {red cup\n").unwrap();
    catbench(&workspace, &["sample", "demo", "--untrained", "--prompts", bad.to_str().unwrap()])
        .assert()
        .code(1)
        .stderr(contains("bad.txt:2:3: a { without its }"));
    assert!(!workspace.concept().join("samples").exists(), "a job was made");
}
