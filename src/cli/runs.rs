//! `catbench runs`: the runs of a concept, or of all.

use serde_json::json;

use super::{Error, print_json};
use crate::client::words::plain;
use crate::protocol::{RunRecord, State};
use crate::workspace::{Home, RunSummary};

/// Options of `runs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The concept; without one, the runs of all.
    concept: Option<String>,
    /// Only those in this state: new, running, finished, stopped, failed or interrupted.
    #[arg(long)]
    state: Option<State>,
    /// Only those that have been scored.
    #[arg(long)]
    scored: bool,
    /// Best first: by masked CLIP-I after training.
    #[arg(long)]
    best: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let mut runs = match &args.concept {
        Some(name) => {
            let concept = super::concept(name)?;
            let mut runs = Vec::new();
            for run in concept.runs()? {
                // One that cannot be read is no reason not to list the others.
                match RunSummary::read(&concept.id, &run) {
                    Ok(summary) => runs.push(summary.record),
                    Err(error) => errln!("warning: {error}"),
                }
            }
            runs.retain(|run| args.state.is_none_or(|state| run.state == state));
            runs
        }
        None => super::reader(&Home::locate()?)?.runs(args.state)?,
    };
    runs.retain(|run: &RunRecord| !args.scored || run.scores.is_some());
    if args.best {
        let value = |run: &RunRecord| run.scores.as_ref().map_or(f64::MIN, |scores| scores.after.masked_clip_i.value);
        runs.sort_by(|a, b| value(b).total_cmp(&value(a)));
    }
    if args.json {
        let objects: Vec<_> = runs.iter().map(object).collect();
        print_json(&json!({ "concept": args.concept, "runs": objects }));
        return Ok(());
    }
    if runs.is_empty() {
        outln!("no runs yet: catbench train {}", args.concept.as_deref().unwrap_or("CONCEPT"));
        return Ok(());
    }
    print(&runs, args.concept.is_none());
    Ok(())
}

fn object(run: &RunRecord) -> serde_json::Value {
    json!({
        "concept": run.concept, "id": run.id, "state": run.state, "path": run.path, "imported": run.imported,
        "steps": run.steps, "of": run.of, "loss": run.loss,
        "fixed_noise_loss": run.fixed_noise_loss, "held_out_loss": run.held_out_loss, "held_out_gap": run.gap(),
        "scores": run.scores,
    })
}

/// Print runs as a table, with `concepts` whose they are; the losses of photos held out where there are such.
pub fn print(runs: &[RunRecord], concepts: bool) {
    let any_held_out = runs.iter().any(|run| run.held_out_loss.is_some());
    let held_out = |text: &str| if any_held_out { format!("  {text:>16}") } else { String::new() };
    let first = |text: &str| if concepts { format!("{text:<20} ") } else { String::new() };
    let (concept, gap) = (first("concept"), held_out("held out (gap)"));
    outln!("{concept}{:<21} {:<12} {:>11}  {:>11}{gap}  masked CLIP-I", "run", "state", "steps", "fixed noise");
    for run in runs {
        let loss = run.fixed_noise_loss.map_or("-".into(), |loss| format!("{loss:.4}"));
        let gap = run.gap().map(|gap| format!(" ({gap:+.4})")).unwrap_or_default();
        let gap = held_out(&run.held_out_loss.map_or("-".into(), |loss| format!("{loss:.4}{gap}")));
        let scores = run.scores.as_ref().map_or("-".into(), |scores| {
            format!("{:.3} → {:.3}", scores.before.masked_clip_i.value, scores.after.masked_clip_i.value)
        });
        let steps = if run.imported.is_some() { "imported".into() } else { format!("{}/{}", run.steps, run.of) };
        let concept = first(&plain(&run.concept));
        outln!("{concept}{:<21} {:<12} {steps:>11}  {loss:>11}{gap}  {scores}", run.id, run.state.word());
    }
}
