//! What is said of a training beside its graph: how it goes, what it takes, what it is worth, and what there is to do before
//! the first one.

use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::client::words;
use crate::protocol::{JobInfo, JobState, Phase, Score, State};
use crate::tui::canvas::Canvas;
use crate::tui::overlays::form;
use crate::tui::theme;
use crate::tui::widgets::graph::{label, signed};
use crate::tui::widgets::{pane, scores, text};
use crate::tui::world::{Checked, World};
use crate::workspace::{End, History, Point, effective_settings};

/// The concept and the run at the left, how it goes at the right.
pub(super) fn header(canvas: &mut Canvas, area: Rect, world: &World) {
    let Some(open) = &world.open else { return };
    let mut left = vec![Span::styled(format!(" {} ", open.concept.id), theme::focus())];
    match open.run() {
        Some(run) if area.width >= 100 => left.push(Span::styled(format!("run {}", run.id), theme::faint())),
        _ => left.push(Span::styled(format!("a kind of {}", open.concept.file.class_word), theme::faint())),
    }
    let left = Line::from(left);
    canvas.buffer.set_line(area.x, area.y, &left, area.width);
    let right = how_it_goes(world);
    let width = right.width() as u16 + 1;
    if left.width() as u16 + width < area.width {
        canvas.buffer.set_line(area.right() - width, area.y, &right, width);
    }
}

/// The state of the shown run in one line.
fn how_it_goes(world: &World) -> Line<'static> {
    let Some(job) = world.current() else {
        let text =
            if world.open.as_ref().is_some_and(|open| open.run().is_some()) { "…" } else { "○ not trained yet" };
        return Line::styled(text, theme::faint());
    };
    let history = &job.history;
    let (step, steps) = (history.step(), history.steps);
    let text = match job.state {
        State::New => {
            let waits = world.job(job.job.path()).and_then(|job| job.cause.clone());
            waits.unwrap_or_else(|| "waits for its turn".into())
        }
        State::Running => running(history),
        State::Finished => format!("finished in {}", words::duration(history.worked)),
        State::Stopped => format!("stopped at step {step} of {steps}"),
        State::Failed => format!("failed at step {step} of {steps}"),
        State::Interrupted => format!("interrupted at step {step} of {steps}"),
    };
    let (mark, style) = theme::mark(job.state);
    Line::styled(format!("{mark} {text}"), style)
}

/// What a running job is busy with, how fast, and how long still.
fn running(history: &History) -> String {
    let (step, steps) = (history.step(), history.steps);
    match history.progress {
        None => "starting".into(),
        Some((Phase::Train, ..)) => {
            let speed = history.seconds_per_step().map(|seconds| {
                if seconds < 0.95 {
                    format!(" · {:.1} steps/s", 1.0 / seconds)
                } else {
                    format!(" · {seconds:.1} s/step")
                }
            });
            let left = history.seconds_left().map(|left| format!(" · {} left", words::duration(left)));
            format!("training {step}/{steps}{}{}", speed.unwrap_or_default(), left.unwrap_or_default())
        }
        Some((phase, done, total)) => format!("{} {done}/{total}", words::phase(phase)),
    }
}

/// Lines under the header: progress, or what went wrong and what to do.
pub(super) fn banner(world: &World, width: u16) -> Vec<Line<'static>> {
    let Some(job) = world.current() else { return Vec::new() };
    let history = &job.history;
    let mut lines = Vec::new();
    let mut say = |mark: &'static str, said: &str, style: Style, most: usize| {
        for (i, part) in text::wrap(said, width.saturating_sub(4) as usize).into_iter().take(most).enumerate() {
            let mark = if i == 0 { mark } else { " " };
            lines.push(Line::from(vec![Span::styled(format!(" {mark} "), style), Span::raw(part)]));
        }
    };
    match (&job.state, &history.end) {
        _ if job.lost.is_some() => say("✗", job.lost.as_deref().unwrap_or_default(), theme::bad(), 2),
        (State::Failed, Some(End::Failed { message })) => {
            say("✗", message, theme::bad(), 3);
            if !history.checkpoints.is_empty() {
                say(" ", "r goes on from the last checkpoint", theme::faint(), 1);
            }
        }
        (State::Interrupted, _) => {
            let said = "The runner died without a word: killed, out of memory or a power cut. \
                        r goes on from the last checkpoint.";
            say("✗", said, theme::bad(), 3);
        }
        (State::Stopped, _) => say("■", "Stopped as asked. r goes on from the last checkpoint.", theme::warn(), 1),
        _ => {}
    }
    if job.state != State::Finished
        && let Some(warning) = history.warnings.last()
    {
        say("!", warning, theme::warn(), 2);
    }
    if job.state == State::Running {
        lines.insert(0, bar(history, width));
    }
    lines.extend(world.scorings().map(|job| scoring(job, world)));
    lines
}

/// How a scoring of the run's checkpoints goes.
fn scoring(job: &JobInfo, world: &World) -> Line<'static> {
    let followed = world.followed.get(&job.job);
    let (mark, style) = theme::mark(if job.state == JobState::Running { State::Running } else { State::New });
    let how = match (job.state, followed.and_then(|job| job.history.progress)) {
        (JobState::Running, Some((phase, done, total))) => format!("{} {done}/{total}", words::phase(phase)),
        (JobState::Running, None) => "starting".into(),
        (state, _) => job.cause.clone().unwrap_or_else(|| state.word().into()),
    };
    Line::from(vec![
        Span::styled(format!(" {mark} "), style),
        Span::raw(format!("job {} scores the checkpoints: {how}", job.number)),
    ])
}

/// How much of the phase is done, over the whole width.
fn bar(history: &History, width: u16) -> Line<'static> {
    let (done, total) = history.progress.map_or((0, 1), |(_, done, total)| (done, total.max(1)));
    let width = width.saturating_sub(2) as usize;
    let filled = (done * width / total).min(width);
    Line::from(vec![
        Span::raw(" "),
        Span::styled("━".repeat(filled), theme::accent()),
        Span::styled("─".repeat(width - filled), theme::rule()),
    ])
}

/// Speed, memory, checkpoints and settings of the run, in `width` columns.
pub(super) fn what_it_takes(world: &World, width: usize) -> Vec<Line<'static>> {
    let Some(run) = world.run() else { return Vec::new() };
    let history = &run.history;
    let mut lines = Vec::new();
    let mut say = |name: &str, value: String| {
        if !value.is_empty() {
            lines.extend(text::rows(name, &value, 11, width, theme::text()));
        }
    };
    if let Some(seconds) = history.seconds_per_step() {
        say("speed", format!("{} a step", words::short_duration(seconds)));
    }
    if let Some(job) = world.current().filter(|job| job.state == State::Running) {
        let bytes = world.runner_memory.filter(|(pid, _)| Some(*pid) == job.history.pid).map(|(_, bytes)| bytes);
        say("memory", bytes.map(|bytes| format!("{} of the machine's", words::bytes(bytes))).unwrap_or_default());
        let device = world.job(job.job.path()).map(|job| job.device.clone()).unwrap_or_default();
        let of_card = world
            .card_memory(&device)
            .map(|(used, total)| format!(": {} of {} taken", words::bytes(used), words::bytes(total)));
        say("device", format!("{device}{}", of_card.unwrap_or_default()));
    }
    if let Some((step, _)) = history.checkpoints.last() {
        say("checkpoints", format!("{}, the last at step {step}", history.checkpoints.len()));
    }
    for (name, points) in [("fixed noise", &history.fixed_noise), ("held out", &history.held_out)] {
        if let Some(best) = points.iter().min_by(|a, b| a.loss.total_cmp(&b.loss)) {
            say(name, format!("best {} at step {}", label(best.loss), best.step));
        }
    }
    let gap = |point: &Point| history.gap(point).map(|gap| format!("{} at step {}", signed(gap), point.step));
    if let Some(last) = history.held_out.last().and_then(gap) {
        // How much harder the photo is than the others is known from the start; what comes on top is learned by heart.
        let first = history.held_out.first().filter(|_| history.held_out.len() > 1).and_then(gap);
        say("gap", first.into_iter().chain([last]).collect::<Vec<_>>().join(", "));
    }
    if let Some(best) = world.open.as_ref().and_then(|open| open.checkpoint_scores.best.as_ref()) {
        let ties: Vec<String> = best.ties.iter().map(usize::to_string).collect();
        let ties = if ties.is_empty() { String::new() } else { format!("; not told from {}", ties.join(", ")) };
        say(
            "best",
            format!("step {} by balance, {:.3} on the half it was not picked on{ties}", best.step, best.balance.value),
        );
    }
    if let Some(spec) = &run.spec {
        for (name, value) in effective_settings(&spec.train) {
            say(name, value);
        }
    }
    lines
}

/// What was measured of the checkpoint at the cursor, or of the last one, beside masked CLIP-I, which the graph reads out.
pub(super) fn measured(world: &World, step: Option<usize>) -> Option<String> {
    let all = &world.open.as_ref()?.checkpoint_scores.by_step;
    let (step, found) = all.range(..=step.unwrap_or(usize::MAX)).next_back()?;
    let score = |score: &Score| scores::Form::Wider.write(score);
    Some(format!("step {step}: balance {}  CLIP-T {}", score(&found.balance), score(&found.clip_t)))
}

/// The scores before and after; in one row only the balance of both.
pub(super) fn score_table(canvas: &mut Canvas, area: Rect, world: &World) {
    let found = world.scores();
    let running = world.current().is_some_and(|job| job.state == State::Running);
    let none = if running { "measured once all are sampled" } else { "not measured: m scores this run" };
    if area.height == 1 {
        let said = match found {
            Some(both) => {
                let (before, after) = (&both.before.balance, &both.after.balance);
                let change = words::change(&both, "balance", before, after).words();
                format!(" balance {:.3} → {:.3}  {change}", before.value, after.value)
            }
            None => format!(" {none}"),
        };
        canvas.buffer.set_stringn(area.x, area.y, said, area.width as usize, theme::faint());
        return;
    }
    let aside = found.as_ref().map(|both| format!("before → after, {}", words::intervals_over(&both.after)));
    let aside = aside.unwrap_or_default();
    let inner = pane::draw(canvas.buffer, area, "Scores", &Line::styled(aside, theme::faint()), false);
    if let Some(both) = found {
        scores::draw(canvas.buffer, inner, &both);
    } else {
        canvas.buffer.set_stringn(inner.x + 1, inner.y + 1, none, inner.width as usize, theme::faint());
    }
}

/// Before the first run: what there is to do.
pub(super) fn setup(canvas: &mut Canvas, area: Rect, world: &World) {
    let Some(open) = &world.open else { return };
    let inner = pane::draw(canvas.buffer, area, "Training", &Line::default(), true);
    let width = inner.width.saturating_sub(2).min(90) as usize;
    let mut lines = Vec::new();
    match &open.checked {
        None => lines.push(Line::styled("◌ checking the photos", theme::faint())),
        Some(Checked::Wrong(wrong)) => {
            lines.push(Line::styled("✗ not ready", theme::bad()));
            lines.extend(text::wrap(wrong, width).into_iter().map(|line| Line::styled(line, theme::bad())));
        }
        Some(Checked::Ready(found)) => {
            let with = found.photos.iter().filter(|photo| photo.mask.is_some()).count();
            lines.push(Line::styled(format!("✓ {} photos, {with} with a mask", found.photos.len()), theme::good()));
            lines.push(Line::default());
            let starts = "t starts: it shows every setting first, what it means and what it needs. As it stands:";
            lines.extend(text::wrap(starts, width).into_iter().map(Line::from));
            lines.push(Line::default());
            let config = form::usual(&open.concept);
            let from_concept = words::from_concept(&open.concept.file.train.kept_in(&config));
            for (name, value) in from_concept.into_iter().chain(effective_settings(&config)) {
                lines.extend(text::rows(name, &value, 12, width, theme::text()));
            }
            for warning in &found.warnings {
                lines.extend(text::rows("! warning", warning, 12, width, theme::warn()));
            }
        }
    }
    text::draw(canvas.buffer, inner, &lines);
}
