//! `catbench concept`: the library, and a concept's learned numbers to and from other programs.

use clap::Subcommand;

use super::learned::LearnedVerb;
use super::{Error, library};

/// What to do.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a concept of photos, and masks where there are some.
    New(library::NewArgs),
    /// List the concepts.
    List(library::ListArgs),
    /// Show a concept: its files, its runs, what came of them.
    Show(library::NameArgs),
    /// Add tags to a concept, or take them away; set its notes.
    Tag(library::TagArgs),
    /// Give a concept another name.
    Rename(library::RenameArgs),
    /// Put a concept into the trash, from which `restore` takes it.
    Remove(library::NameArgs),
    /// Take a concept out of the trash.
    Restore(library::RestoreArgs),
    /// Rate a sample of a concept, 1 (bad) to 5; the best one stands for it in lists.
    Rate(library::RateArgs),
    /// Put a sample of a concept into the trash, from which `restore-sample` takes it.
    RemoveSample(library::SampleArgs),
    /// Take a sample of a concept out of the trash.
    RestoreSample(library::SampleArgs),
    /// Pack a concept, with everything made from it, into one file.
    Export(library::ExportArgs),
    /// Make a concept of what `export` wrote, or of a concept's folder.
    Import(library::ImportArgs),
    #[command(flatten)]
    Learned(LearnedVerb),
}

pub fn run(args: &Args) -> Result<(), Error> {
    match &args.what {
        What::New(args) => library::new(args),
        What::List(args) => library::list(args),
        What::Show(args) => library::show(args),
        What::Tag(args) => library::tag(args),
        What::Rename(args) => library::rename(args),
        What::Remove(args) => library::remove(args),
        What::Restore(args) => library::restore(args),
        What::Rate(args) => library::rate(args),
        What::RemoveSample(args) => library::remove_sample(args),
        What::RestoreSample(args) => library::restore_sample(args),
        What::Export(args) => library::export(args),
        What::Import(args) => library::import(args),
        What::Learned(verb) => verb.run(),
    }
}
