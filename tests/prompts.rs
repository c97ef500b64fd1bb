//! Prompt lists: what they come to, and what is said of those that make no sense.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs::{create_dir_all, write};
use std::path::Path;

use assert_cmd::assert::OutputAssertExt;
use catbench::protocol::{PictureConfig, SampleConfig, SamplerKind};
use catbench::workspace::{ListNames, PromptList, Values};
use common::{Workspace, catbench, json};
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
    let pictures = list.pictures(&Values::default(), &base).map_err(|error| error.to_string())?;
    assert_eq!(counted, pictures.len() as u64, "counted before, made after");
    Ok(pictures)
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
        ("\\# a - b -- c -na", &["# a - b -- c -na"]),
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
    assert_eq!(all[4], base.picture("a cup".into(), 0), "the next line is as usual");
    assert_eq!(all.len(), 5);
    let seeds: Vec<u64> = pictures("a cup --seed {1..9..4}", &names).unwrap().iter().map(|p| p.seed).collect();
    assert_eq!(seeds, [1, 5, 9]);
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

#[test]
fn what_makes_no_sense_is_named_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path().join("bad.txt"), "one\n{two\n").unwrap();
    write(folder.path().join("empty.txt"), "# nothing\n").unwrap();
    write(folder.path().join("outer.txt"), "a __inner__\n").unwrap();
    write(folder.path().join("binary.txt"), [0xff, 0xfe, 0, 1]).unwrap();
    let names = names(folder.path());
    let deep = format!("{}a{}", "{a|".repeat(60_000 / 4), "}".repeat(100));
    let nested = format!("{}a{}", "{a|".repeat(9), "}".repeat(9));
    let long = "a".repeat(1 << 20);
    let billion = "{1..10}".repeat(9);
    let endless = "{1..1000000000}".repeat(40);
    let wide = format!("{} --negative {{1..20000}}", "long ".repeat(3000));
    let many = "a --seed {1..15000}\n".repeat(2);
    for (text, place, said) in [
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
        ("a --steps 0", ":1:11", "from 1 to 1000"),
        ("a --steps 1001", ":1:11", "from 1 to 1000"),
        ("a --guidance nan", ":1:14", "a number"),
        ("a --guidance inf", ":1:14", "a number"),
        ("a --strength -0.5", ":1:14", "from 0"),
        ("a --strength {0..1", ":1:14", "{ without its }"),
        ("a --eta 2", ":1:9", "from 0 to 1"),
        ("a --sampler heun", ":1:13", "ddim, pndm, euler"),
        ("a --karras --karras", ":1:12", "second time"),
        ("a --karras=1", ":1:3", "say --karras alone"),
        ("a -n 0", ":1:6", "whole number from 1"),
        ("a -n {1|2}", ":1:6", "several values"),
        ("a --ar 16:9", ":1:3", "--seed, --steps"),
        ("a --negative \"dark", ":1:14", "not closed"),
        ("a --seed 7 b", ":1:12", "\"b\" is no option"),
        ("a\u{0}b", ":1:2", "control character"),
        ("a\u{1b}[2Jb", ":1:2", "control character"),
        (&deep, ":1", "over 16384 characters"),
        (&nested, ":1:25", "8 deep"),
        (&long, ":1", "over 16384 characters"),
        (&billion, ":1", "1000000000 pictures"),
        (&endless, ":1", "more than can be counted"),
        (&wide, ":1", "over 64 MiB"),
        (&many, ":2", "over 20000"),
        ("a --seed {1..20001}", ":1:10", "20001 values"),
    ] {
        let shown: String = text.chars().take(40).collect();
        let error = pictures(text, &names).expect_err(&shown);
        assert!(error.contains(place) && error.contains(said), "{shown}: {error}");
        assert!(error.len() < 400, "{shown}: {error}");
    }
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
    assert!(error.contains("no file"), "{error}");
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
    let bad = workspace.home().join("bad.txt");
    write(&bad, "fine\na {red cup\n").unwrap();
    catbench(&workspace, &["sample", "demo", "--untrained", "--prompts", bad.to_str().unwrap()])
        .assert()
        .code(1)
        .stderr(contains("bad.txt:2:3: a { without its }"));
    assert!(!workspace.concept().join("samples").exists(), "a job was made");
}
