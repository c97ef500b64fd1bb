//! `catbench runs`: the runs of a concept.

use serde_json::json;

use super::follow::scores_json;
use super::{Error, print_json};
use crate::workspace::{self, History, JobFolder};

/// Options of `runs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The concept.
    concept: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let concept = super::concept(&args.concept)?;
    let mut rows = Vec::new();
    for run in concept.runs()? {
        let imported = run.run_spec()?.imported;
        let history = History::read(&run)?;
        let scoring = JobFolder::at(&run.evaluation()).ok().map(|job| History::read(&job)).transpose()?;
        rows.push((run, imported, history, scoring));
    }
    if args.json {
        let runs: Vec<_> = rows
            .iter()
            .map(|(run, imported, history, scoring)| {
                json!({
                    "id": run.id(), "state": workspace::state(run, history), "path": run.path(),
                    "imported": imported,
                    "steps": history.step(), "of": history.steps,
                    "loss": history.losses.last().map(|point| point.loss),
                    "validation_loss": history.validation.last().map(|point| point.loss),
                    "scores": history.scores(scoring.as_ref()).map(|(before, after)| json!({
                        "before": scores_json(before), "after": scores_json(after),
                    })),
                })
            })
            .collect();
        print_json(&json!({ "concept": concept.id, "runs": runs }));
        return Ok(());
    }
    if rows.is_empty() {
        println!("no runs yet: catbench train {}", concept.id);
        return Ok(());
    }
    println!("{:<21} {:<12} {:>11}  {:>10}  masked CLIP-I", "run", "state", "steps", "validation");
    for (run, imported, history, scoring) in &rows {
        let validation = history.validation.last().map_or("-".into(), |point| format!("{:.4}", point.loss));
        let scores = history.scores(scoring.as_ref()).map_or("-".into(), |(before, after)| {
            format!("{:.3} → {:.3}", before.masked_clip_i.value, after.masked_clip_i.value)
        });
        let steps = match imported {
            Some(_) => "imported".into(),
            None => format!("{}/{}", history.step(), history.steps),
        };
        println!(
            "{:<21} {:<12} {steps:>11}  {validation:>10}  {scores}",
            run.id(),
            workspace::state(run, history).word()
        );
    }
    Ok(())
}
