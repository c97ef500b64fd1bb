//! `catbench concept import-FORMAT` and `export-FORMAT`: what was learned, from and to other programs. Each format that a method declares
//! is a verb.

use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command, FromArgMatches, Subcommand};
use serde_json::json;

use super::{Error, RunArgs, print_json};
use crate::client;
use crate::fs::Show;
use crate::method::MethodSettings;
use crate::protocol::Format;
use crate::workspace;

/// What to do with a file of another program.
#[derive(Debug)]
pub enum LearnedVerb {
    /// Make a run of it.
    Import(&'static Format, ImportArgs),
    /// Write it of a run.
    Export(&'static Format, ExportArgs),
}

#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// The concept: a folder of the home.
    concept: String,
    /// The file.
    file: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    #[command(flatten)]
    run: RunArgs,
    /// The file to write, or a folder for one of the usual name.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write over a file of another kind.
    #[arg(long)]
    force: bool,
}

/// All formats, each name once.
fn formats() -> Vec<&'static Format> {
    let mut all: Vec<&'static Format> = Vec::new();
    for format in MethodSettings::ALL.iter().flat_map(|method| method.formats) {
        if !all.iter().any(|known| known.name == format.name) {
            all.push(format);
        }
    }
    all
}

/// Make the verb `name`. `about` has, for each method with the format, the method's title and what the verb does.
fn verb<A: clap::Args>(name: String, about: &[(&str, &str)]) -> Command {
    let first = about.first().and_then(|(_, about)| about.split("\n\n").next()).unwrap_or_default();
    let long: Vec<String> = match about {
        [(_, about)] => vec![(*about).to_owned()],
        several => several.iter().map(|(title, about)| format!("Of a run by {title}: {about}")).collect(),
    };
    // Last: arguments bring the words of their own struct along.
    A::augment_args(Command::new(name)).about(first.trim_end_matches('.').to_owned()).long_about(long.join("\n\n"))
}

impl Subcommand for LearnedVerb {
    fn augment_subcommands(mut command: Command) -> Command {
        let of_all = |name: &str| {
            MethodSettings::ALL
                .iter()
                .flat_map(|method| method.formats.iter().map(|format| (method.title, format)))
                .filter(move |(_, format)| format.name == name)
                .collect::<Vec<_>>()
        };
        for format in formats() {
            let name = format.name;
            let imports: Vec<_> = of_all(name).iter().filter_map(|(by, format)| Some((*by, format.import?))).collect();
            if !imports.is_empty() {
                command = command.subcommand(verb::<ImportArgs>(format!("import-{name}"), &imports));
            }
            let exports: Vec<_> = of_all(name).iter().map(|(by, format)| (*by, format.export)).collect();
            command = command.subcommand(verb::<ExportArgs>(format!("export-{name}"), &exports));
        }
        command
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        let of =
            |verb: &str| name.strip_prefix(verb).is_some_and(|name| formats().iter().any(|format| format.name == name));
        of("import-") || of("export-")
    }
}

impl FromArgMatches for LearnedVerb {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let missing = || clap::Error::new(clap::error::ErrorKind::MissingSubcommand);
        let (name, matches) = matches.subcommand().ok_or_else(missing)?;
        let format = |name: &str| formats().into_iter().find(|format| format.name == name).ok_or_else(missing);
        match (name.strip_prefix("import-"), name.strip_prefix("export-")) {
            (Some(name), _) => Ok(Self::Import(format(name)?, ImportArgs::from_arg_matches(matches)?)),
            (_, Some(name)) => Ok(Self::Export(format(name)?, ExportArgs::from_arg_matches(matches)?)),
            _ => Err(missing()),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl LearnedVerb {
    /// Do it.
    pub fn run(&self) -> Result<(), Error> {
        match self {
            Self::Import(format, args) => import(format, args),
            Self::Export(format, args) => export(format, args),
        }
    }
}

fn import(format: &Format, args: &ImportArgs) -> Result<(), Error> {
    let concept = super::concept(&args.concept)?;
    let file = std::path::absolute(&args.file).map_err(workspace::Error::io("find", &args.file))?;
    client::check_writable(&concept.home()?)?;
    let run = client::import(&concept, &file, format)?;
    if args.json {
        print_json(&json!({ "run": run.id(), "path": run.path() }));
    } else {
        outln!("{}", run.path().shown());
        errln!("  catbench sample {} --run {} --prompt \"a {{concept}}\"", client::words::shell(&concept.id), run.id());
    }
    Ok(())
}

fn export(format: &Format, args: &ExportArgs) -> Result<(), Error> {
    let (concept, run) = args.run.find()?;
    // Methods write files of one format under other names.
    let own = run.run_spec()?.train.declaration().formats.iter().find(|own| own.name == format.name);
    let name = own.map_or(format.file, |own| own.file).replace("{concept}", &concept.id);
    let out = target(&args.out, &name)?;
    let checkpoint = client::last_checkpoint(&run)?;
    let (files, warnings) = client::export(&checkpoint, &concept.id, &out, format, args.force)?;
    for warning in &warnings {
        errln!("warning: {warning}");
    }
    if args.run.json {
        print_json(&json!({ "files": files, "warnings": warnings }));
    } else {
        files.iter().for_each(|file| outln!("{}", file.shown()));
    }
    Ok(())
}

/// The file to write: `out`, or in the folder `out` the one called `name`. One that is written as a folder is made.
fn target(out: &Path, name: &str) -> Result<PathBuf, Error> {
    if out.as_os_str().as_encoded_bytes().ends_with(b"/") {
        std::fs::create_dir_all(out).map_err(workspace::Error::io("create", out))?;
    }
    let out = if out.is_dir() { out.join(name) } else { out.to_owned() };
    Ok(std::path::absolute(&out).map_err(workspace::Error::io("find", &out))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_says_what_it_does() {
        let concept = LearnedVerb::augment_subcommands(Command::new("concept"));
        let mut verbs = 0;
        for verb in concept.get_subcommands() {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            let long = verb.get_long_about().map(ToString::to_string).unwrap_or_default();
            let first = if verb.get_name().starts_with("import-") { "Make a run of" } else { "Write " };
            // Where several methods have the format, each text begins with its method.
            let mut titled = MethodSettings::ALL.iter().map(|method| format!("Of a run by {}: ", method.title));
            let text = titled.find_map(|title| long.strip_prefix(&title)).unwrap_or(&long);
            assert!(about.starts_with(first) && text.starts_with(&about), "{}: {about}", verb.get_name());
            verbs += 1;
        }
        assert!(verbs >= formats().len(), "{verbs}");
    }
}
