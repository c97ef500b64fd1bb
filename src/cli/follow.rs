//! Following a job on stderr until it ends, and printing its result.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use signal_hook::consts::SIGINT;

use super::table::{between, in_brackets};
use super::{Error, out, print_json};
use crate::client::words::{self, MaskRow, OfMasks};
use crate::client::{self, Follow};
use crate::fs::Show;
use crate::protocol::{BothScores, Event, JobInfo, JobKind, JobState, Phase, State};
use crate::workspace::{Concept, End, History, JobFolder, scores_of_run};

/// Seconds between progress lines when stderr is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Follow `job` to its end, then print its result. Ctrl-C leaves it running and says so.
pub fn follow(concept: &Concept, job: &JobFolder, queued: Option<&JobInfo>, json: bool) -> Result<(), Error> {
    let Some((mut history, ended)) = watch(concept, job, queued, json)? else { return Ok(()) };
    if job.about()?.makes_pictures {
        // By their numbers, which they are not made by.
        history.pictures.sort_by(|a, b| a.path.cmp(&b.path));
        if let Some(out) = job.batch_spec()?.out.filter(|_| ended == State::Finished) {
            // The copies are what was asked for.
            history
                .pictures
                .iter_mut()
                .for_each(|picture| picture.path = out.join(picture.path.file_name().unwrap_or_default()));
        }
    }
    finish(concept, job, queued, &history, ended, json)
}

/// Follow `job` to its end and print nothing of its result. Whether it has finished: false when Ctrl-C has left it running.
///
/// # Errors
/// It failed, was stopped or died.
pub fn quietly(concept: &Concept, job: &JobFolder, queued: Option<&JobInfo>) -> Result<bool, Error> {
    let Some((history, ended)) = watch(concept, job, queued, false)? else { return Ok(false) };
    failure(concept, job, queued, &history, ended).map_or(Ok(true), Err)
}

/// Follow `job` to its end; none when Ctrl-C has left it running, which is said then.
fn watch(
    concept: &Concept,
    job: &JobFolder,
    queued: Option<&JobInfo>,
    json: bool,
) -> Result<Option<(History, State)>, Error> {
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGINT, Arc::clone(&interrupted))?;
    let mut follow = Follow::new(job)?;
    let mut progress = Progress::new();
    if let Some(why) = follow.without_daemon() {
        errln!("only watching: {why}");
    }
    if let Some(queued) = queued.filter(|queued| queued.state != JobState::Running) {
        let why = queued.cause.clone().unwrap_or_else(|| format!("waits for {}", queued.device));
        errln!("job {} is {}: {why}", queued.number, queued.state.word());
    }
    let ended = loop {
        // How it ended must be asked before the last look at its events, or the last of them could be missed.
        let over = follow.over();
        let wait = if over.is_some() { Duration::ZERO } else { Duration::from_millis(200) };
        loop {
            if interrupted.load(Ordering::Relaxed) {
                progress.clear();
                say_where(concept, job, queued, json);
                return Ok(None);
            }
            let Some(event) = follow.next(wait)? else { break };
            if let Event::Warning { message } = &event.event {
                progress.warn(message);
            }
            // Of what is long past only the outcome matters.
            if !follow.is_behind() && !event.event.is_last() {
                progress.show(follow.history());
            }
        }
        if over.is_some() {
            // Asked again: with the last events read it knows the end.
            break follow.over().unwrap_or(State::Interrupted);
        }
    };
    progress.clear();
    Ok(Some((follow.history().clone(), ended)))
}

/// Say that `job` goes on by itself, how to come back to it, and how to stop it.
pub fn say_where(concept: &Concept, job: &JobFolder, queued: Option<&JobInfo>, json: bool) {
    let (name, id) = (words::shell(&concept.id), job.id());
    if json {
        let state = queued.map_or(JobState::Running, |queued| queued.state);
        let number = queued.map(|queued| queued.number);
        print_json(&json!({ "state": state, "job": number, "path": job.path() }));
    }
    let number = queued.map(|queued| format!("job {} ", queued.number)).unwrap_or_default();
    // A daemon that cannot be asked now has nothing to say that would help.
    for warning in client::warnings(job).unwrap_or_default() {
        errln!("warning: {warning}");
    }
    errln!("{number}goes on in the background: {}", job.path().shown());
    if matches!(job.kind(), Ok(JobKind::Train)) {
        errln!("  catbench watch {name} --run {id}   follow it again");
        errln!("  catbench stop {name} --run {id}    stop it after its step; it can be resumed");
    }
}

/// Print the result of a job that has ended.
fn finish(
    concept: &Concept,
    job: &JobFolder,
    queued: Option<&JobInfo>,
    history: &History,
    ended: State,
    json: bool,
) -> Result<(), Error> {
    if json {
        let pictures: Vec<_> = history.pictures.iter().map(|picture| &picture.path).collect();
        print_json(&json!({
            "state": ended,
            "job": queued.map(|queued| queued.number),
            "path": job.path(),
            "seconds": history.worked,
            "steps": history.step(),
            "loss": history.losses.last().map(|point| point.loss),
            "fixed_noise_loss": history.fixed_noise.last().map(|point| point.loss),
            "held_out_loss": history.held_out.last().map(|point| point.loss),
            "held_out_gap": history.held_out.last().and_then(|point| history.gap(point)),
            "checkpoint": history.checkpoints.last().map(|(_, path)| path),
            "pictures": pictures,
            "sheets": job.sheets(),
            "scores": scores(job, history),
        }));
    }
    if let Some(error) = failure(concept, job, queued, history, ended) {
        return Err(error);
    }
    if !json {
        print_result(job, history);
    }
    Ok(())
}

/// What is to be said of a job that has ended but not finished.
fn failure(
    concept: &Concept,
    job: &JobFolder,
    queued: Option<&JobInfo>,
    history: &History,
    ended: State,
) -> Option<Error> {
    if ended == State::Finished {
        return None;
    }
    let about = match job.about() {
        Ok(about) => about,
        Err(error) => return Some(error.into()),
    };
    let remedy = (about.remedy)(job, queued.map(|queued| queued.number));
    // Where its events cannot be written, the queue alone knows why it failed.
    let queue = || client::jobs(&concept.home().ok()?).ok()?.into_iter().find(|info| info.job == job.path());
    if ended != State::Failed
        && let Some(JobInfo { state: JobState::Failed, cause: Some(cause), .. }) = queue()
    {
        return Some(Error::Job(cause));
    }
    Some(Error::Job(match ended {
        State::Failed => match &history.end {
            Some(End::Failed { message }) if about.makes_pictures => format!("{message}\n{remedy}"),
            Some(End::Failed { message }) => message.clone(),
            _ => "the job failed".into(),
        },
        State::New => "cancelled before it began".into(),
        State::Stopped if about.makes_pictures => {
            format!("stopped after {} pictures: {remedy}", history.pictures.len())
        }
        State::Stopped => format!("stopped after step {}: {remedy}", history.step()),
        _ => format!(
            "the runner died without a word after step {} (killed, or out of memory; see {}): {remedy}",
            history.step(),
            job.log().shown()
        ),
    }))
}

fn print_result(job: &JobFolder, history: &History) {
    if let Some(last) = history.losses.last() {
        let fixed_noise = history.fixed_noise.last().map(|point| format!(", loss at fixed noise {:.4}", point.loss));
        outln!(
            "trained {} steps in {}{}{}",
            last.step,
            words::duration(history.worked),
            fixed_noise.unwrap_or_default(),
            held_out(history)
        );
    }
    if let Some(both) = scores(job, history) {
        print_scores(&both);
    }
    if job.about().is_ok_and(|kind| kind.makes_pictures) {
        history.pictures.iter().for_each(|picture| outln!("{}", picture.path.shown()));
        job.sheets().iter().for_each(|sheet| outln!("{}", sheet.shown()));
        if job.legend().is_file() {
            outln!("{}", job.legend().shown());
        }
    } else {
        outln!("{}", job.path().shown());
    }
}

/// The last loss of the held-out photo and its gap to the loss of the other photos; empty if no photo is held out.
fn held_out(history: &History) -> String {
    let Some(point) = history.held_out.last() else { return String::new() };
    let gap = history.gap(point).map(|gap| format!(" (gap {gap:+.4})"));
    format!(", held out {:.4}{}", point.loss, gap.unwrap_or_default())
}

/// What a job has measured: as its lines have it, with today's intervals, else as its events have told it.
fn scores(job: &JobFolder, history: &History) -> Option<BothScores> {
    scores_of_run(job).ok().flatten().or_else(|| history.scores(None))
}

/// The table of scores before and after, and of the photos.
fn print_scores(both: &BothScores) {
    let BothScores { before, after, .. } = both;
    let photos = |name: &str| words::photos(both, name).map(|value| format!("{value:.3}")).unwrap_or_default();
    let head = if both.photos.is_some() { "photos" } else { "" };
    outln!("{:<14}  {:<22}  {:<22}  {:<9}  {head}", "", "before", "after", "");
    for (name, before, after) in words::score_rows(before, after) {
        let line = format!(
            "{name:<14}  {:<22}  {:<22}  {:<9}  {}",
            in_brackets(before),
            in_brackets(after),
            words::change(both, name, before, after).words(),
            photos(name)
        );
        outln!("{}", line.trim_end());
    }
    let words = |side: &OfMasks| match side {
        OfMasks::Dependence(dependence) => between(*dependence),
        OfMasks::Score(score) => in_brackets(score),
        OfMasks::Nothing => "-".into(),
    };
    for MaskRow { name, sides, remark } in words::mask_rows(before, after) {
        let [before, after] = sides.each_ref().map(words);
        outln!("{name:<14}  {before:<22}  {after:<22}  {remark}");
    }
    let pairs = both.difference.as_ref().map(|difference| difference.masked_clip_i.n as u64);
    let marks = pairs.map_or_else(
        || "from intervals apart".into(),
        |pairs| format!("from {} of the same prompt and seed", words::count(pairs, "pair")),
    );
    outln!("{}, {}; ▲ ▼ {marks}", words::intervals_over(after), words::count(after.masked_clip_i.n as u64, "picture"));
    outln!("of this checkpoint, not of its settings: trainings that differ only in their seed differ too");
}

/// A bar with ETA on a terminal, else a line now and then.
struct Progress {
    bar: Option<ProgressBar>,
    /// What was shown last: the phase, how much was done, how much there is.
    shown: Option<(Phase, usize, usize)>,
    last_line: Option<Instant>,
}

impl Progress {
    fn new() -> Self {
        Self {
            bar: std::io::stderr()
                .is_terminal()
                .then(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())),
            shown: None,
            last_line: None,
        }
    }

    fn warn(&self, message: &str) {
        let line = format!("warning: {message}");
        match &self.bar {
            Some(bar) => bar.println(out::harmless(&line)),
            None => errln!("{line}"),
        }
    }

    fn show(&mut self, history: &History) {
        let Some((phase, done, total)) = history.progress.filter(|progress| self.shown != Some(*progress)) else {
            return;
        };
        let new = self.shown.is_none_or(|(before, ..)| before != phase);
        self.shown = Some((phase, done, total));
        let loss = match (phase, history.losses.last()) {
            (Phase::Train, Some(point)) => format!("loss {:.4}{}", point.loss, held_out(history)),
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
                bar.set_prefix(words::phase(phase));
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
                (Phase::Train, Some(left)) => format!("  {} left", words::duration(left)),
                _ => String::new(),
            };
            let line = format!("{} {done}/{total}  {loss}{left}", words::phase(phase));
            errln!("{}", line.trim_end());
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
