//! `catbench model`: the base models that concepts are learned on.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Error, print_json};
use crate::client::words::shell;
use crate::fs::Show;
use crate::protocol::{ModelReport, ModelSpec, Prediction, UNKNOWN};
use crate::workspace::{self, Copying, Home};

/// What looks at a model's files: this process, in the role of a runner (`cli::main` says which).
pub type Check = fn(&ModelSpec, &Home, Option<&mut dyn FnMut(u64, u64)>) -> ModelReport;

/// Options of `model`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Register a base model by a name that concepts can use. Its files stay where they are.
    Add(Add),
    /// List the registered models.
    List(Output),
    /// Say what a model is, and what is missing or wrong in its files.
    Check(CheckArgs),
    /// Forget a model; files that were not copied stay.
    Remove(Remove),
}

#[derive(Debug, clap::Args)]
struct Output {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What a model's files do not say.
#[derive(Debug, clap::Args)]
struct ModelOptions {
    /// The VAE to use instead of the model's own: a diffusers folder or one file.
    #[arg(long, value_name = "PATH")]
    vae: Option<PathBuf>,
    /// A diffusers folder whose configs and tokenizer count, for a file whose shapes do not tell them.
    #[arg(long, value_name = "FOLDER")]
    config: Option<PathBuf>,
    /// What the UNet predicts: `epsilon` or `v`.
    #[arg(long)]
    prediction: Option<Prediction>,
}

#[derive(Debug, clap::Args)]
struct Add {
    /// What to call it.
    name: String,
    /// A diffusers folder, or one .safetensors or .ckpt file in the original naming; hf:owner/repo downloads one.
    path: PathBuf,
    #[command(flatten)]
    settings: ModelOptions,
    /// Copy the files that are used into the home.
    #[arg(long)]
    copy: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// A registered model, or the path of one that is not.
    model: PathBuf,
    #[command(flatten)]
    settings: ModelOptions,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Remove {
    /// Which.
    name: String,
    #[command(flatten)]
    output: Output,
}

pub fn run(args: &Args, check: Check) -> Result<(), Error> {
    let home = Home::locate()?;
    match &args.verb {
        Verb::Add(args) => add(args, &home, check),
        Verb::List(output) => list(&home, output.json),
        Verb::Check(args) => look(args, &home, check),
        Verb::Remove(args) => remove(args, &home),
    }
}

impl ModelOptions {
    /// The model at `path` with these settings.
    fn spec(&self, path: &Path) -> Result<ModelSpec, Error> {
        let absolute = |path: &Path| {
            if !path.exists() {
                return Err(workspace::Error::invalid(path, "no such file or folder", "check the path"));
            }
            std::path::absolute(path).map_err(workspace::Error::io("find", path))
        };
        Ok(ModelSpec {
            path: absolute(path)?,
            vae: self.vae.as_deref().map(absolute).transpose()?,
            config: self.config.as_deref().map(absolute).transpose()?,
            prediction: self.prediction,
        })
    }
}

/// What names a base model in a concept's settings: a registered model by its name, which one plain word means first, else
/// the absolute path of what is at `path`.
pub(super) fn named_or_path(home: &Home, path: &Path) -> Result<PathBuf, Error> {
    if home.named_model(path)?.is_some() {
        return Ok(path.to_owned());
    }
    if path.exists() {
        return Ok(std::path::absolute(path)?);
    }
    // Says which models there are.
    Ok(home.model(&path.to_string_lossy()).map(|_| path.to_owned())?)
}

/// The path itself, or where the model of the hub that `hf:owner/repo` names has been downloaded to.
fn local(path: &Path) -> Result<PathBuf, Error> {
    let Some(repo) = path.to_str().and_then(|path| path.strip_prefix("hf:")) else { return Ok(path.to_owned()) };
    #[cfg(feature = "hub")]
    return Ok(crate::client::download_model(repo)?);
    #[cfg(not(feature = "hub"))]
    Err(Error::Job(format!(
        "{repo}: this catbench was built without downloads (feature `hub`): download it and give its path"
    )))
}

fn add(args: &Add, home: &Home, check: Check) -> Result<(), Error> {
    home.check_new_model(&args.name)?;
    let spec = args.settings.spec(&local(&args.path)?)?;
    let report = check(&spec, home, None);
    if !report.problems.is_empty() {
        return refuse(&report, args.output.json);
    }
    let mut progress = Progress::of("copying");
    let mut show = |done, total| progress.show(done, total);
    let copying = args.copy.then_some(Copying { files: &report.files, progress: &mut show });
    let added = home.add_model(&args.name, &spec, copying);
    progress.clear();
    let spec = added?;
    if args.output.json {
        print_json(&json!({ "name": args.name, "model": spec, "family": report.family, "assumed": report.assumed }));
        return Ok(());
    }
    report.assumed.iter().for_each(|assumed| errln!("assumed: {assumed}"));
    outln!("{}: {}, {}", args.name, report.family, spec.path.shown());
    Ok(())
}

fn list(home: &Home, json: bool) -> Result<(), Error> {
    let mut models = Vec::new();
    for name in home.model_names()? {
        models.push((home.model(&name)?, name));
    }
    if json {
        let models: Vec<_> = models
            .iter()
            .map(|(spec, name)| json!({ "name": name, "model": spec, "there": spec.path.exists() }))
            .collect();
        print_json(&json!({ "models": models }));
        return Ok(());
    }
    if models.is_empty() {
        outln!("no models yet: catbench model add NAME PATH");
    }
    for (spec, name) in models {
        let gone = if spec.path.exists() { "" } else { "  (not there any more)" };
        outln!("{name:<20} {}{gone}", spec.path.shown());
    }
    Ok(())
}

fn look(args: &CheckArgs, home: &Home, check: Check) -> Result<(), Error> {
    let ModelOptions { vae, config, prediction } = &args.settings;
    let named = home.named_model(&args.model)?;
    let spec = if named.is_none() && args.model.exists() {
        args.settings.spec(&args.model)?
    } else {
        let mut spec = named.map_or_else(|| home.model(&args.model.to_string_lossy()), Ok)?;
        // What is given here counts for this look.
        let given = args.settings.spec(&spec.path)?;
        spec.vae = vae.as_ref().map_or(spec.vae, |_| given.vae);
        spec.config = config.as_ref().map_or(spec.config, |_| given.config);
        spec.prediction = prediction.or(spec.prediction);
        spec
    };
    let mut progress = Progress::of("reading");
    let report = check(&spec, home, Some(&mut |done, total| progress.show(done, total)));
    progress.clear();
    if !report.problems.is_empty() {
        return refuse(&report, args.output.json);
    }
    if args.output.json {
        print_json(&json!(report));
    } else {
        print_report(&report);
    }
    Ok(())
}

fn remove(args: &Remove, home: &Home) -> Result<(), Error> {
    home.model(&args.name)?;
    let used_by = users(home, &args.name)?;
    let spec = home.remove_model(&args.name)?;
    if args.output.json {
        print_json(&json!({ "name": args.name, "model": spec, "used_by": used_by }));
    } else {
        outln!("forgot {} ({})", args.name, spec.path.shown());
        if !used_by.is_empty() {
            let (concepts, name) = (used_by.join(", "), shell(&args.name));
            errln!("warning: it is the base model of {concepts}: add another as {name}, or name one in concept.toml");
        }
    }
    Ok(())
}

/// The concepts whose base model is the registered one of that name.
fn users(home: &Home, name: &str) -> Result<Vec<String>, Error> {
    let names = home.concepts()?.into_iter();
    // What cannot be read uses nothing.
    let concepts = names.filter_map(|name| home.concept(&name).ok());
    Ok(concepts.filter(|concept| concept.file.base_model == Path::new(name)).map(|concept| concept.id).collect())
}

/// Say all that is wrong with a model.
fn refuse(report: &ModelReport, json: bool) -> Result<(), Error> {
    if json {
        print_json(&json!(report));
    } else {
        print_report(report);
    }
    let (count, path) = (report.problems.len(), report.model.path.shown());
    // One is said as the error.
    Err(Error::Job(match report.problems.as_slice() {
        [problem] => problem.clone(),
        _ => format!("{path} cannot be used: {count} problems"),
    }))
}

/// Problems that are printed one by one.
const SHOWN: usize = 20;

fn print_report(report: &ModelReport) {
    let row = |name: &str, value: &str| outln!("{name:<13} {value}");
    row("model", &report.model.path.shown().to_string());
    // What could not be told is not a row.
    let known = |name: &str, value: &str| {
        if value != UNKNOWN {
            row(name, value);
        }
    };
    known("family", &report.family);
    known("predicts", &report.prediction);
    if report.resolution > 0 {
        row("resolution", &format!("{0} × {0}", report.resolution));
    }
    for part in &report.parts {
        let (millions, megabytes) = (part.parameters as f64 / 1e6, part.bytes as f64 / 1e6);
        let types = part.types.join(", ");
        row(&part.name, &format!("{millions:.1} M numbers, {megabytes:.1} MB, {types}, {}", part.path.shown()));
    }
    known("tokenizer", &report.tokenizer);
    report.assumed.iter().for_each(|assumed| row("assumed", assumed));
    report.ignored.iter().for_each(|some| row("ignored", &format!("{} tensors: {}", some.tensors, some.what)));
    if let Some(hash) = &report.hash {
        row("SHA-256", hash);
    }
    if report.problems.len() > 1 {
        report.problems.iter().take(SHOWN).for_each(|problem| row("problem", problem));
    }
    if report.problems.len() > SHOWN {
        row("", &format!("and {} more (--json lists all)", report.problems.len() - SHOWN));
    }
}

/// How far something is: a bar on a terminal, else one line where it takes long.
struct Progress {
    what: &'static str,
    bar: Option<ProgressBar>,
    told: bool,
}

impl Progress {
    /// Bytes that are read or copied before anyone asks what takes so long.
    const LONG: u64 = 500 << 20;

    fn of(what: &'static str) -> Self {
        Self { what, bar: None, told: false }
    }

    fn show(&mut self, done: u64, total: u64) {
        if total >= Self::LONG && !std::mem::replace(&mut self.told, true) {
            if std::io::stderr().is_terminal() {
                let bar = ProgressBar::new(total);
                let template = format!("{} {{bar:30}} {{bytes}}/{{total_bytes}}  {{eta}} left", self.what);
                if let Ok(style) = ProgressStyle::with_template(&template) {
                    bar.set_style(style);
                }
                self.bar = Some(bar);
            } else {
                errln!("{} {:.1} GB", self.what, total as f64 / 1e9);
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
