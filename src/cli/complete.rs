//! What shells offer when a value is to be typed: the words that an option takes, and the concepts, runs, jobs and lists of the
//! home. The script that `catbench completions` prints asks the program itself, so it offers what is there now.

use std::io;

use clap::{Arg, Command, CommandFactory, ValueHint};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};

use super::Cli;
use super::settings::{all_presets, named_method};
use super::table::Format;
use crate::fs::is_shown;
use crate::method::MethodSettings;
use crate::protocol::{Axis, Declaration, MaskMaker, Prediction, Row, SampleConfig, ScoreConfig, State, TrainConfig};
use crate::workspace::queue::QueueFiles;
use crate::workspace::{Concept, Home};

/// The variable by which the script of a shell asks.
const ASKS: &str = "CATBENCH_COMPLETE";

/// Options whose values are words, and these words.
const WORDS: &[(&str, &[&str])] = &[
    ("device", &["cpu", "cuda:0", "metal", "any"]),
    ("format", Format::WORDS),
    ("makers", MaskMaker::WORDS),
    ("prediction", Prediction::WORDS),
    ("state", State::WORDS),
];

/// Looks names up.
type Find = fn() -> Vec<String>;

/// Options whose values are things of the home, and where they are looked up.
const THINGS: &[(&str, Find)] = &[
    ("after", jobs),
    ("against", runs),
    ("batch", samplings),
    ("before", jobs),
    ("compare", runs),
    ("concept", concepts),
    ("list", lists),
    ("number", jobs),
    ("numbers", jobs),
    ("resume", runs),
    ("run", runs),
];

/// Answer the script of a shell, where one asks, and end.
pub fn answer() {
    CompleteEnv::with_factory(|| with_values(Cli::command())).var(ASKS).complete();
}

/// The script that has `shell` ask.
///
/// # Errors
/// A shell that no script is known for.
pub fn script(shell: &str) -> io::Result<Vec<u8>> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let completer = shells.completer(shell).ok_or_else(|| io::Error::other(format!("no completions for {shell}")))?;
    completer.write_registration(ASKS, "catbench", "catbench", "catbench", &mut script)?;
    Ok(script)
}

/// `command`, each of its options with what its value can be.
fn with_values(command: Command) -> Command {
    let verb = command.get_name().to_owned();
    command.mut_args(|arg| with_value(&verb, arg)).mut_subcommands(with_values)
}

fn with_value(verb: &str, arg: Arg) -> Arg {
    // Paths are what shells offer by themselves.
    if arg.get_value_hint() == ValueHint::AnyPath {
        return arg;
    }
    let id = arg.get_id().as_str();
    let known = WORDS.iter().find(|(name, _)| *name == id).map(|(_, words)| words.to_vec());
    if let Some(words) = known.or_else(|| setting_words(verb, id)) {
        return arg.add(ArgValueCandidates::new(move || words.iter().map(CompletionCandidate::new).collect()));
    }
    match THINGS.iter().find(|(name, _)| *name == id) {
        Some((_, find)) => {
            // What a terminal would obey is not offered: it is written there as it is.
            let offered = || find().into_iter().filter(|name| name.chars().all(is_shown));
            arg.add(ArgValueCandidates::new(move || offered().map(CompletionCandidate::new).collect()))
        }
        None => arg,
    }
}

/// The words that the option `id` of `verb` takes. Options of `train` are settings of any method, options of other verbs are settings of
/// samplings and scorings, and `sample --grid` takes the axes of sheets.
fn setting_words(verb: &str, id: &str) -> Option<Vec<&'static str>> {
    let methods = || MethodSettings::ALL.iter();
    let rows: Vec<&Row> = match (verb, id) {
        ("sample", "grid") => return Some(Axis::WORDS.to_vec()),
        ("train", "preset") => {
            let presets = |method: &Declaration| method.presets.iter().map(|preset| preset.name).collect();
            return Some(named_method().map_or_else(|| all_presets().into_iter().collect(), presets));
        }
        ("train", _) => methods().flat_map(|method| TrainConfig::rows_of(method)).collect(),
        _ => SampleConfig::rows().chain(ScoreConfig::ROWS).collect(),
    };
    let words = rows.into_iter().find(|row| row.name == id)?.words();
    (!words.is_empty()).then(|| words.to_vec())
}

fn concepts() -> Vec<String> {
    Home::locate().and_then(|home| home.concepts()).unwrap_or_default()
}

/// The concepts that the command line names so far; all, where it names none.
fn named() -> Vec<Concept> {
    let Ok(home) = Home::locate() else { return Vec::new() };
    let all = home.concepts().unwrap_or_default();
    let typed: Vec<String> = std::env::args().filter(|word| all.contains(word)).collect();
    let names = if typed.is_empty() { all } else { typed };
    names.iter().filter_map(|name| home.concept(name).ok()).collect()
}

/// Ids of trainings, the newest first.
fn runs() -> Vec<String> {
    newest(named().iter().filter_map(|concept| concept.runs().ok()).flatten().map(|run| run.id().to_owned()).collect())
}

/// Ids of samplings, the newest first.
fn samplings() -> Vec<String> {
    newest(
        named().iter().filter_map(|concept| concept.batches().ok()).flatten().map(|job| job.id().to_owned()).collect(),
    )
}

fn newest(mut ids: Vec<String>) -> Vec<String> {
    ids.sort_unstable();
    ids.dedup();
    ids.reverse();
    ids
}

/// Names of prompt lists.
fn lists() -> Vec<String> {
    let of = |concept: &Concept| concept.lists().unwrap_or_default();
    let stem = |path: std::path::PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    named().iter().flat_map(of).filter_map(stem).collect()
}

/// Numbers of the jobs of the queue.
fn jobs() -> Vec<String> {
    let Ok(home) = Home::locate() else { return Vec::new() };
    let jobs = QueueFiles::read(&home).map(|files| files.list(&home)).unwrap_or_default();
    jobs.iter().map(|job| job.number.to_string()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// All options of `command` and of what is below it, each with the words that lead to it.
    fn all(command: &Command, path: &[&str]) -> Vec<(Vec<String>, Arg)> {
        let own = command.get_arguments().map(|arg| (path.iter().map(ToString::to_string).collect(), arg.clone()));
        let below = command.get_subcommands().flat_map(|sub| all(sub, &[path, &[sub.get_name()]].concat()));
        own.chain(below).collect()
    }

    fn offered(arg: &Arg) -> Vec<String> {
        let candidates = arg.get::<ArgValueCandidates>().map(ArgValueCandidates::candidates).unwrap_or_default();
        candidates.iter().map(|word| word.get_value().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_option_that_takes_one_of_a_few_words_offers_just_these() {
        let mut with_words = 0;
        for (path, arg) in all(&with_values(Cli::command()), &["catbench"]) {
            let Some(long) = arg.get_long().filter(|_| arg.get_action().takes_values()) else { continue };
            let line = path.iter().cloned().chain([format!("--{long}=no such word")]);
            let Err(error) = Cli::command().try_get_matches_from(line) else { continue };
            let error = error.to_string();
            let Some((_, words)) = error.split_once("one of ") else { continue };
            let words: Vec<&str> = words.lines().next().unwrap().split(", ").collect();
            if long == "device" {
                // They are numbered, so not all can be listed.
                for word in offered(&arg) {
                    let line = path.iter().cloned().chain([format!("--device={word}")]);
                    let said = Cli::command().try_get_matches_from(line).err().map(|error| error.to_string());
                    assert!(!said.is_some_and(|said| said.contains("one of ")), "{path:?} {word}");
                }
            } else {
                assert_eq!(offered(&arg), words, "{path:?} --{long}");
            }
            with_words += 1;
        }
        assert!(with_words > 20, "{with_words}");
    }

    #[test]
    fn devices_concepts_runs_and_jobs_are_offered_wherever_they_are_named() {
        let names = ["device", "concept", "run", "resume", "after", "number", "batch"];
        let mut seen = std::collections::BTreeSet::new();
        for (path, arg) in all(&with_values(Cli::command()), &["catbench"]) {
            if names.contains(&arg.get_id().as_str()) {
                assert!(arg.get::<ArgValueCandidates>().is_some(), "{path:?} {}", arg.get_id());
                seen.insert(arg.get_id().as_str().to_owned());
            }
        }
        assert_eq!(seen.len(), names.len(), "{seen:?}");
    }

    #[test]
    fn each_shell_has_a_script_that_asks_the_program() {
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let script = String::from_utf8(script(shell).unwrap()).unwrap();
            assert!(script.contains(ASKS) && script.contains("catbench"), "{shell}");
        }
        assert!(script("tcsh").is_err());
    }
}
