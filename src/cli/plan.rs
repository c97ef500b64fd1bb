//! What commands that make a plan have in common: say what it needs, begin it, wait for it, print its table.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use signal_hook::consts::SIGINT;

use super::preflight::say_plan;
use super::table::{Format, Table};
use super::{Error, print_json};
use crate::client::plan::{self, Progress};
use crate::protocol::JobKind;
use crate::workspace::plan::Plan;

/// How a plan is done.
pub struct How {
    /// Higher goes first.
    pub priority: i32,
    /// On whichever devices are free.
    pub any_device: bool,
    /// Queue its jobs and return at once.
    pub detach: bool,
    /// How its table is printed.
    pub format: Format,
}

/// Do what of `plan` is not finished, and print its `table`.
pub fn run(plan: &mut Plan, how: &How, table: impl FnOnce(&Plan) -> Result<Table, Error>) -> Result<(), Error> {
    let needs = plan::needs(plan)?;
    if how.format != Format::Json {
        let scorings = needs.estimates.len() - needs.trainings;
        say_plan(format!("{} trainings, {scorings} scorings", needs.trainings), &needs.estimates);
    }
    needs.refuse()?;
    let numbers = plan::begin(plan, how.priority, how.any_device)?;
    if how.detach {
        if how.format == Format::Json {
            print_json(&json!({ "jobs": numbers, "cells": plan.cells.len() }));
        }
        errln!("{} jobs are queued; the same command shows the table", numbers.len());
        return Ok(());
    }
    if !numbers.is_empty() && !wait(plan, &numbers)? {
        errln!("they go on in the background; the same command goes on with them");
        return Ok(());
    }
    out!("{}", table(plan)?.render(how.format));
    let rows = plan.rows()?;
    let results = || rows.iter().flat_map(|row| &row.results);
    match results().filter(|result| result.problem.is_some()).count() {
        0 => Ok(()),
        missing => Err(Error::Job(format!("{missing} of {} have no scores: the notes say why", results().count()))),
    }
}

/// Wait until all these jobs are over, and say how far they are. False when Ctrl-C has left them running.
fn wait(plan: &Plan, numbers: &[u64]) -> Result<bool, Error> {
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGINT, Arc::clone(&interrupted))?;
    let mut said = String::new();
    let all_over = plan::wait(plan.home(), numbers, |Progress { over, total, running }| {
        let running = running.map(|job| {
            let kind = job.kind.map_or("", JobKind::word);
            let step = job.step.map(|step| format!(", step {}", step / 50 * 50)).unwrap_or_default();
            format!(": job {}, {kind} {}{step}", job.number, job.concept)
        });
        let line = format!("{over} of {total} jobs are over{}", running.unwrap_or_default());
        if line != said {
            errln!("{line}");
            said = line;
        }
        !interrupted.load(Ordering::Relaxed)
    });
    Ok(all_over?)
}
