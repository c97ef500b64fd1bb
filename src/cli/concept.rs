//! `catbench concept`: the library, and a concept's learned numbers to and from other programs.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::{Error, RunArgs, library, print_json};
use crate::client;
use crate::fs::Show;
use crate::workspace;

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
    /// Make a run of a pytorch_adapter.bin that the authors' released code wrote.
    ///
    /// The run is finished from the start: `catbench sample --run` and `catbench score --run` use it like any other. It
    /// records where the file was and its SHA-256. Its settings are those of the released code (preset `official`, with
    /// prefix_bias 1), because the file carries none. The concept's base model has to be of the kind the adapter was
    /// trained on; the class word is the concept's.
    ImportAdapter(ImportAdapterArgs),
    /// Write a run as a pytorch_adapter.bin for the authors' released code.
    ///
    /// That code loads a folder, so its adapter_config.json is written beside the file. It always adds 1 to the attention
    /// logits of the learned rows. A run trained with another prefix_bias b is read there as if its strength were
    /// e^(1 - b): what is added is the same for every query, and no change of the keys is, so the file cannot make up for
    /// it. Train with `--prefix-bias 1` (or `--preset official`) for the same pictures in both programs. The format has
    /// room for one row in each of three layers.
    ExportAdapter(ExportAdapterArgs),
    /// Write what a run has learned as a .safetensors file for diffusers.
    ///
    /// catversion_diffusers.py, which loads it there, is written beside it; its first lines say how it is used and what is in
    /// the file. With `--noise torch` the same seeds give the same pictures here.
    ExportDiffusers(ExportDiffusersArgs),
}

#[derive(Debug, clap::Args)]
struct ImportAdapterArgs {
    /// The concept: a folder of the home.
    concept: String,
    /// The file.
    #[arg(value_name = "pytorch_adapter.bin")]
    file: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ExportAdapterArgs {
    #[command(flatten)]
    run: RunArgs,
    /// The file to write, or a folder for pytorch_adapter.bin.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write over a file that is not an adapter.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
struct ExportDiffusersArgs {
    #[command(flatten)]
    run: RunArgs,
    /// The file to write, or a folder for CONCEPT.safetensors.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
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
        What::ImportAdapter(args) => import_adapter(args),
        What::ExportAdapter(args) => export_adapter(args),
        What::ExportDiffusers(args) => export_diffusers(args),
    }
}

fn import_adapter(args: &ImportAdapterArgs) -> Result<(), Error> {
    let concept = super::concept(&args.concept)?;
    let file = std::path::absolute(&args.file).map_err(workspace::Error::io("find", &args.file))?;
    client::check_writable(&concept.home()?)?;
    let run = client::import_adapter(&concept, &file)?;
    if args.json {
        print_json(&json!({ "run": run.id(), "path": run.path() }));
    } else {
        outln!("{}", run.path().shown());
        errln!("  catbench sample {} --run {} --prompt \"a {{concept}}\"", client::words::shell(&concept.id), run.id());
    }
    Ok(())
}

fn export_adapter(args: &ExportAdapterArgs) -> Result<(), Error> {
    let (_, run) = args.run.find()?;
    let out = target(&args.out, "pytorch_adapter.bin")?;
    exported(client::export_adapter(&client::last_checkpoint(&run)?, &out, args.force)?, args.run.json);
    Ok(())
}

fn export_diffusers(args: &ExportDiffusersArgs) -> Result<(), Error> {
    let (concept, run) = args.run.find()?;
    let out = target(&args.out, &format!("{}.safetensors", concept.id))?;
    exported(client::export_diffusers(&client::last_checkpoint(&run)?, &out)?, args.run.json);
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

/// Say what was written.
fn exported((files, warnings): (Vec<PathBuf>, Vec<String>), json: bool) {
    for warning in &warnings {
        errln!("warning: {warning}");
    }
    if json {
        print_json(&json!({ "files": files, "warnings": warnings }));
    } else {
        files.iter().for_each(|file| outln!("{}", file.shown()));
    }
}
