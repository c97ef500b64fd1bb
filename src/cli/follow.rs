//! Following a job on stderr until it ends, and printing its result.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use signal_hook::consts::SIGINT;

use super::{Error, print_json};
use crate::client::{Follow, History, Scores, State};
use crate::protocol::{Event, Phase, Score};
use crate::workspace::{Concept, JobFolder, JobKind};

/// Seconds between progress lines when stderr is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Follow `job` to its end, then print its result. Ctrl-C leaves it running and says so.
pub fn follow(concept: &Concept, job: &JobFolder, json: bool) -> Result<(), Error> {
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGINT, Arc::clone(&interrupted))?;
    let mut follow = Follow::new(job)?;
    let mut progress = Progress::new();
    let ended = loop {
        // How it ended must be asked before the last look at its events, or the last of them could be missed.
        let over = follow.over();
        while let Some(event) = follow.next(if over.is_some() { Duration::ZERO } else { Duration::from_millis(200) })? {
            progress.show(&event.event, follow.history());
        }
        if interrupted.load(Ordering::Relaxed) {
            progress.clear();
            say_where(concept, job, json);
            return Ok(());
        }
        if over.is_some() {
            // Asked again: with the last events read it knows the end.
            break follow.over().unwrap_or(State::Interrupted);
        }
    };
    progress.clear();
    finish(concept, job, follow.history(), ended, json)
}

/// Say that `job` goes on by itself, how to come back to it, and how to stop it.
pub fn say_where(concept: &Concept, job: &JobFolder, json: bool) {
    let (name, id) = (&concept.id, job.id());
    if json {
        print_json(&json!({ "state": "running", "path": job.path() }));
    }
    eprintln!("goes on in the background: {}", job.path().display());
    if matches!(job.kind(), Ok(JobKind::Train)) {
        eprintln!("  catbench watch {name} --run {id}   follow it again");
        eprintln!("  catbench stop {name} --run {id}    stop it after its step; it can be resumed");
    }
}

/// Print the result of a job that has ended.
fn finish(concept: &Concept, job: &JobFolder, history: &History, ended: State, json: bool) -> Result<(), Error> {
    if json {
        let pictures: Vec<_> = history.pictures.iter().map(|picture| &picture.path).collect();
        print_json(&json!({
            "state": ended,
            "path": job.path(),
            "seconds": history.seconds(),
            "steps": history.step(),
            "loss": history.losses.last().map(|point| point.loss),
            "validation_loss": history.validation.last().map(|point| point.loss),
            "checkpoint": history.checkpoints.last().map(|(_, path)| path),
            "pictures": pictures,
            "scores": history.scores(None).map(|(before, after)| json!({
                "before": scores_json(before), "after": scores_json(after),
            })),
        }));
    }
    let resume = format!("`catbench train {} --resume {}` goes on from the last checkpoint", concept.id, job.id());
    match ended {
        State::Finished if json => Ok(()),
        State::Finished => {
            print_result(job, history);
            Ok(())
        }
        State::Failed => {
            let Some(crate::client::End::Failed { message }) = &history.end else {
                return Err(Error::Job("the job failed".into()));
            };
            Err(Error::Job(message.clone()))
        }
        State::Stopped => Err(Error::Job(format!("stopped after step {}: {resume}", history.step()))),
        _ => Err(Error::Job(format!(
            "the runner died without a word after step {} (killed, or out of memory; see {}): {resume}",
            history.step(),
            job.log().display()
        ))),
    }
}

fn print_result(job: &JobFolder, history: &History) {
    if let Some(last) = history.losses.last() {
        let validation = history.validation.last().map(|v| format!(", validation loss {:.4}", v.loss));
        println!("trained {} steps in {}{}", last.step, time(history.seconds()), validation.unwrap_or_default());
    }
    if let Some((before, after)) = history.scores(None) {
        print_scores(before, after);
    }
    if matches!(job.kind(), Ok(JobKind::Sample)) {
        history.pictures.iter().for_each(|picture| println!("{}", picture.path.display()));
    } else {
        println!("{}", job.path().display());
    }
}

/// The table of scores before and after.
pub fn print_scores(before: &Scores, after: &Scores) {
    println!("{:<14}  {:<22}  {:<22}", "", "before", "after");
    for (name, before, after) in rows(before, after) {
        let cell = |score: &Score| format!("{:.3} [{:.3}, {:.3}]", score.value, score.low, score.high);
        println!("{name:<14}  {:<22}  {:<22}  {}", cell(before), cell(after), change(before, after));
    }
    println!("95 % bootstrap intervals over {} and {} pictures", before.masked_clip_i.n, after.masked_clip_i.n);
}

/// The scores by name, before and after.
pub fn rows<'a>(before: &'a Scores, after: &'a Scores) -> [(&'static str, &'a Score, &'a Score); 4] {
    [
        ("masked CLIP-I", &before.masked_clip_i, &after.masked_clip_i),
        ("CLIP-I", &before.clip_i, &after.clip_i),
        ("CLIP-T", &before.clip_t, &after.clip_t),
        ("balance", &before.balance, &after.balance),
    ]
}

/// Whether a score clearly changed: its intervals lie apart.
pub fn change(before: &Score, after: &Score) -> &'static str {
    if after.low > before.high {
        "clearly up"
    } else if after.high < before.low {
        "clearly down"
    } else {
        "no clear change"
    }
}

/// Scores as JSON.
pub fn scores_json(scores: &Scores) -> serde_json::Value {
    json!({
        "masked_clip_i": scores.masked_clip_i, "clip_i": scores.clip_i,
        "clip_t": scores.clip_t, "balance": scores.balance,
    })
}

/// Minutes and seconds.
pub fn time(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} min"),
    }
}

/// What a phase is called.
fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Load => "reading the base model",
        Phase::Cache => "encoding the photos",
        Phase::Train => "training",
        Phase::SampleBefore => "sampling the untrained class",
        Phase::Sample => "sampling the concept",
        Phase::Score => "scoring",
    }
}

/// A bar with ETA on a terminal, else a line now and then.
struct Progress {
    bar: Option<ProgressBar>,
    phase: Option<Phase>,
    last_line: Option<Instant>,
}

impl Progress {
    fn new() -> Self {
        Self {
            bar: std::io::stderr()
                .is_terminal()
                .then(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())),
            phase: None,
            last_line: None,
        }
    }

    fn show(&mut self, event: &Event, history: &History) {
        if let Event::Warning { message } = event {
            let line = format!("warning: {message}");
            match &self.bar {
                Some(bar) => bar.println(line),
                None => eprintln!("{line}"),
            }
        }
        let Some((phase, done, total)) = history.progress.filter(|_| !event.is_last()) else { return };
        let new = self.phase != Some(phase);
        self.phase = Some(phase);
        let loss = match (phase, history.losses.last()) {
            (Phase::Train, Some(point)) => format!("loss {:.4}", point.loss),
            _ => String::new(),
        };
        if let Some(bar) = &self.bar {
            if new {
                let template = if total > 1 {
                    "{prefix:<28} {bar:30} {pos}/{len}  {msg}  {eta} left"
                } else {
                    "{prefix:<28} {spinner} {elapsed}"
                };
                if let Ok(style) = ProgressStyle::with_template(template) {
                    bar.set_style(style.progress_chars("━╸─"));
                }
                bar.reset();
                bar.set_prefix(phase_word(phase));
                bar.enable_steady_tick(Duration::from_millis(200));
            }
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            bar.set_message(loss);
            return;
        }
        let due = self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY);
        if new || due || (done == total && total > 0) {
            self.last_line = Some(Instant::now());
            let left = match (phase, history.seconds_left()) {
                (Phase::Train, Some(left)) => format!("  {} left", time(left)),
                _ => String::new(),
            };
            let line = format!("{} {done}/{total}  {loss}{left}", phase_word(phase));
            eprintln!("{}", line.trim_end());
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
