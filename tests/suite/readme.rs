//! What the README and the manual say can be typed, and is there.

use std::path::Path;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory};

use catbench::cli::Cli;
use predicates::str::contains;

use crate::common::{Workspace, catbench};
use assert_cmd::assert::OutputAssertExt;

const TOPICS: &str = "src/cli/manual";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

/// The README and the texts of the manual, by name.
fn texts() -> Vec<(String, String)> {
    let mut texts = vec![("README.md".to_owned(), readme())];
    for entry in std::fs::read_dir(root().join(TOPICS)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "md") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            texts.push((name, std::fs::read_to_string(path).unwrap()));
        }
    }
    texts
}

/// The words of a command behind the program's name, up to a comment or to what a shell does with it.
fn words(line: &str) -> Vec<String> {
    let end = ["#", "&", " | "].iter().filter_map(|mark| line.find(mark)).min().unwrap_or(line.len());
    shell_words::split(&line[..end]).unwrap()
}

/// The commands that stand alone in a line of code.
fn in_blocks(text: &str) -> Vec<Vec<String>> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix("catbench ")).map(words).collect()
}

/// The commands within running text.
fn in_text(text: &str) -> Vec<Vec<String>> {
    let pieces = text.split("`catbench").skip(1).filter_map(|rest| rest.split('`').next());
    pieces.filter(|command| command.starts_with(char::is_whitespace)).map(words).collect()
}

/// Refuse a verb or an option that the program does not have.
fn check(name: &str, words: &[String]) {
    let (mut command, mut depth): (Command, usize) = (Cli::command(), 0);
    while let Some(below) = words.get(depth).and_then(|word| command.find_subcommand(word).cloned()) {
        (command, depth) = (below, depth + 1);
    }
    let is_named = |word: &str| word.chars().all(|c| c.is_ascii_uppercase() || c == '.');
    assert!(depth > 0 || words.first().is_none_or(|word| is_named(word) || word.starts_with('-')), "{name}: {words:?}");
    if command.has_subcommands() && !command.is_args_conflicts_with_subcommands_set() {
        let next = words.get(depth).filter(|word| !word.starts_with('-'));
        assert!(next.is_none_or(|word| is_named(word)) || command.get_name() == "jobs", "{name}: {words:?}");
    }
    for word in words.iter().filter_map(|word| word.strip_prefix("--")) {
        let option = word.split('=').next().unwrap();
        let has = command.get_arguments().any(|argument| argument.get_long() == Some(option));
        assert!(has || ["help", "version"].contains(&option), "{name}: {words:?} has no --{option}");
    }
}

#[test]
fn every_command_of_the_readme_and_the_manual_is_one_of_the_program() {
    let mut found = 0;
    for (name, text) in texts() {
        for words in in_blocks(&text) {
            let typed = std::iter::once("catbench").chain(words.iter().map(String::as_str));
            if let Err(error) = Cli::command().try_get_matches_from(typed) {
                assert_eq!(error.kind(), ErrorKind::DisplayHelp, "{name}: {words:?}: {error}");
            }
            found += 1;
        }
        for words in in_text(&text) {
            check(&name, &words);
            found += 1;
        }
    }
    assert!(found > 80, "{found}");
}

#[test]
fn every_topic_that_a_text_names_is_one_of_the_manual() {
    let workspace = Workspace::new();
    let texts = texts();
    for (name, text) in &texts {
        for words in in_text(text)
            .into_iter()
            .chain(in_blocks(text))
            .filter(|words| words.first().is_some_and(|word| word == "manual"))
        {
            let topic = words.get(1).map_or("TOPIC", String::as_str);
            let is_topic = topic == "settings" || texts.iter().any(|(name, _)| name == topic);
            assert!(is_topic || topic == "TOPIC", "{name}: {words:?}");
        }
    }
    for (topic, text) in texts.iter().skip(1) {
        catbench(&workspace, &["manual", topic]).assert().code(0).stdout(text.clone());
    }
    catbench(&workspace, &["manual", "settings"]).assert().code(0).stdout(contains("--learning-rate"));
    let one = ["manual", "settings", "--method", "textual_inversion", "--format", "markdown"];
    catbench(&workspace, &one).assert().code(0).stdout(contains("| vectors | --vectors |"));
    catbench(&workspace, &["manual", "jobs", "--method", "textual_inversion"]).assert().code(1);
    catbench(&workspace, &["manual", "nothing"]).assert().code(2).stderr(contains("measurements"));
}

/// It is for a user in a hurry.
#[test]
fn the_readme_is_short_and_what_it_links_to_is_there() {
    let text = readme();
    assert!(text.lines().count() <= 200, "{} lines", text.lines().count());
    for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(target.starts_with("http") || root().join(target).exists(), "{target}");
    }
}
