//! One concept: its photos, the loss of a run, and what came of it.

use std::path::PathBuf;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::client::words;
use crate::protocol::{Phase, State};
use crate::tui::app::{Checked, View};
use crate::tui::preview::Surface;
use crate::tui::theme;
use crate::tui::widgets::graph::Graph;
use crate::tui::widgets::tiles::{Grid, Tile};
use crate::tui::widgets::{pane, scores, tiles};
use crate::workspace::{End, History, Picture, effective_settings};

/// A pane that can have the focus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pane {
    /// The photos.
    Photos,
    /// The loss.
    Loss,
    /// Pictures made during the training.
    Samples,
    /// Pictures to compare, of the untrained class word.
    Untrained,
    /// Pictures to compare, of the learned concept.
    Learned,
}

/// A picture as panes and the large view show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shot {
    /// The file.
    pub path: PathBuf,
    /// What it is.
    pub title: String,
    /// Its prompt and seed.
    pub detail: String,
    /// The word under its tile.
    pub caption: String,
}

/// The panes of the screen now, in the order of Tab.
pub fn panes(view: &View) -> &'static [Pane] {
    match (view.model.run.is_some(), view.model.compared().is_some()) {
        (false, _) => &[Pane::Photos],
        (true, false) => &[Pane::Photos, Pane::Loss, Pane::Samples],
        (true, true) => &[Pane::Photos, Pane::Loss, Pane::Untrained, Pane::Learned],
    }
}

/// The pictures of a pane.
pub fn shots(view: &View, pane: Pane) -> Vec<Shot> {
    let class_word = &view.model.concept.file.class_word;
    let shot = |picture: &Picture, title: String, caption: String| Shot {
        path: picture.path.clone(),
        title,
        detail: format!("{} #{}", picture.prompt.replace("{concept}", class_word), picture.seed),
        caption,
    };
    match pane {
        Pane::Photos => view
            .model
            .photos
            .iter()
            .map(|path| Shot {
                path: path.clone(),
                title: "Photo".into(),
                detail: String::new(),
                caption: String::new(),
            })
            .collect(),
        Pane::Loss => Vec::new(),
        Pane::Samples => {
            let history = view.model.run.as_ref().map(|run| &run.history);
            // The newest first: they are what one waits for.
            let pictures = history.into_iter().flat_map(|history| history.on_the_way().rev());
            pictures.map(|p| shot(p, format!("Step {}", p.step), format!("step {}", p.step))).collect()
        }
        Pane::Untrained | Pane::Learned => {
            let learned = pane == Pane::Learned;
            let title = if learned { "Learned" } else { "Untrained class" };
            let pictures = view.model.compared().into_iter().flat_map(|history| history.evaluated(learned));
            pictures.map(|p| shot(p, title.into(), String::new())).collect()
        }
    }
}

/// Draw the screen.
pub fn draw(buffer: &mut Buffer, surface: &mut Surface, area: Rect, view: &mut View) {
    let mut rest = area;
    header(buffer, take(&mut rest, 1), view);
    let mut bottom = take_bottom(&mut rest, 1);
    footer(buffer, &mut bottom, view);
    for line in banner(view, area.width) {
        buffer.set_line(rest.x, rest.y, &line, rest.width);
        take(&mut rest, 1);
    }
    if area.height >= 40 {
        take(&mut rest, 1);
    }
    let gap = 1;
    let compared = view.model.compared().is_some();
    let table = if compared { scores::HEIGHT + 1 } else { 0 };
    let table = take_bottom(&mut rest, table);
    let strip = match (view.model.run.is_some(), compared) {
        (false, _) => 0,
        // A title, six rows of picture, and captions for pictures that differ by their step.
        (true, false) => (rest.height / 3).max(8),
        (true, true) => (rest.height * 9 / 20).max(7),
    };
    let strip = take_bottom(&mut rest, strip);
    let left = if view.model.run.is_none() { rest.width / 2 } else { (rest.width * 2 / 5).max(39).min(rest.width / 2) };
    let photos = Rect { width: left, ..rest };
    let right = Rect { x: rest.x + left + gap, width: rest.width - left - gap, ..rest };
    let count = view.model.photos.len();
    let aside = match (count, view.model.masks) {
        (0, _) => Line::default(),
        (_, 0) => Line::styled(format!("{count}, no masks"), theme::faint()),
        (_, masks) => Line::styled(format!("{count}, {masks} with a mask"), theme::faint()),
    };
    picture_pane(buffer, surface, photos, view, Pane::Photos, "Photos", &aside);
    if view.model.run.is_none() {
        return setup(buffer, right, view);
    }
    loss(buffer, right, view);
    if compared {
        let half = (strip.width - gap) / 2;
        let sides = [
            (Pane::Untrained, "Untrained class", Rect { width: half, ..strip }),
            (Pane::Learned, "Learned", Rect { x: strip.x + half + gap, width: strip.width - half - gap, ..strip }),
        ];
        for (pane, title, area) in sides {
            let shots = shots(view, pane);
            let aside = shots.get(view.chosen(pane)).map(|shot| Line::styled(shot.detail.clone(), theme::faint()));
            picture_pane(buffer, surface, area, view, pane, title, &aside.unwrap_or_default());
        }
        score_table(buffer, table, view);
    } else {
        let aside = Line::styled("newest first", theme::faint());
        picture_pane(buffer, surface, strip, view, Pane::Samples, "Samples", &aside);
    }
}

fn take(rest: &mut Rect, height: u16) -> Rect {
    let height = height.min(rest.height);
    let taken = Rect { height, ..*rest };
    (rest.y, rest.height) = (rest.y + height, rest.height - height);
    taken
}

fn take_bottom(rest: &mut Rect, height: u16) -> Rect {
    let height = height.min(rest.height);
    rest.height -= height;
    Rect { y: rest.bottom(), height, ..*rest }
}

/// The concept at the left, how it goes at the right.
fn header(buffer: &mut Buffer, area: Rect, view: &View) {
    let concept = &view.model.concept;
    let left = Line::from(vec![
        Span::styled(format!(" {} ", concept.id), theme::focus()),
        Span::styled(format!("a kind of {}", concept.file.class_word), theme::faint()),
    ]);
    buffer.set_line(area.x, area.y, &left, area.width);
    let right = how_it_goes(view);
    let width = right.width() as u16 + 1;
    if left.width() as u16 + width < area.width {
        buffer.set_line(area.right() - width, area.y, &right, width);
    }
}

/// The state of the shown run in one line.
fn how_it_goes(view: &View) -> Line<'static> {
    if view.starting {
        return Line::styled("◌ starting", theme::accent());
    }
    let Some(job) = view.model.current() else { return Line::styled("○ not trained yet", theme::faint()) };
    let history = &job.history;
    let (step, steps) = (history.step(), history.steps);
    let (mark, text, style) = match job.state {
        State::New => ("○", "waits for its turn".into(), theme::faint()),
        State::Running => ("●", running(history), theme::accent()),
        State::Finished => ("✓", format!("finished in {}", words::duration(history.seconds())), theme::good()),
        State::Stopped => ("■", format!("stopped at step {step} of {steps}"), theme::warn()),
        State::Failed => ("✗", format!("failed at step {step} of {steps}"), theme::bad()),
        State::Interrupted => ("✗", format!("interrupted at step {step} of {steps}"), theme::bad()),
    };
    Line::from(vec![Span::styled(format!("{mark} "), style), Span::styled(text, style)])
}

fn running(history: &History) -> String {
    match history.progress {
        None => "starting".into(),
        Some((Phase::Train, step, steps)) => {
            let speed = history.seconds_per_step().map(|seconds| {
                if seconds < 1.0 {
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
fn banner(view: &View, width: u16) -> Vec<Line<'static>> {
    let Some(job) = view.model.current() else { return Vec::new() };
    let history = &job.history;
    let mut lines = Vec::new();
    let mut say = |mark: &str, text: &str, style: Style| {
        for (i, part) in wrap(text, width.saturating_sub(4) as usize).into_iter().take(3).enumerate() {
            let mark = if i == 0 { mark } else { " " };
            lines.push(Line::from(vec![Span::styled(format!(" {mark} "), style), Span::raw(part)]));
        }
    };
    match (&job.state, &history.end) {
        (State::Failed, Some(End::Failed { message })) => {
            say("✗", message, theme::bad());
            if !history.checkpoints.is_empty() {
                say(" ", "r goes on from the last checkpoint", theme::faint());
            }
        }
        (State::Interrupted, _) => {
            let text = "The runner died without a word: killed, out of memory or a power cut. \
                        r goes on from the last checkpoint.";
            say("✗", text, theme::bad());
        }
        (State::Stopped, _) => say("■", "Stopped as asked. r goes on from the last checkpoint.", theme::warn()),
        (State::Running, _) => lines.push(bar(history, width)),
        _ => {}
    }
    if job.state != State::Finished
        && let Some(warning) = history.warnings.last()
    {
        for (i, part) in wrap(warning, width.saturating_sub(4) as usize).into_iter().take(2).enumerate() {
            let mark = if i == 0 { "!" } else { " " };
            lines.push(Line::from(vec![Span::styled(format!(" {mark} "), theme::warn()), Span::raw(part)]));
        }
    }
    lines
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

/// Break at spaces.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// Hints, or what just happened.
fn footer(buffer: &mut Buffer, area: &mut Rect, view: &View) {
    if let Some(notice) = &view.notice {
        let line = Line::from(vec![Span::styled(" ! ", theme::warn()), Span::raw(notice.clone())]);
        buffer.set_line(area.x, area.y, &line, area.width);
        return;
    }
    let now = view.now();
    let mut spans = vec![Span::raw(" ")];
    for binding in crate::tui::keymap::BINDINGS.iter().filter(|binding| binding.is_on(now)) {
        if let Some(hint) = binding.hint {
            let hint = if hint == "quit" && now.running { "detach" } else { hint };
            spans.push(Span::styled(binding.shown, theme::strong()));
            spans.push(Span::styled(format!(" {hint}   "), theme::faint()));
        }
    }
    buffer.set_line(area.x, area.y, &Line::from(spans), area.width);
}

fn picture_pane(
    buffer: &mut Buffer,
    surface: &mut Surface,
    area: Rect,
    view: &mut View,
    pane: Pane,
    title: &str,
    aside: &Line,
) {
    let focused = view.focus() == pane;
    let inner = pane::draw(buffer, area, title, aside, focused);
    let shots = shots(view, pane);
    if shots.is_empty() {
        let text = match pane {
            Pane::Photos => "no photos: put a few into images/",
            Pane::Samples if view.model.is_running() => "the first sample is on its way",
            Pane::Learned | Pane::Untrained if view.model.is_running() => "on their way",
            _ => "none",
        };
        buffer.set_stringn(inner.x + 1, inner.y + inner.height / 2, text, inner.width as usize, theme::faint());
        return;
    }
    let chosen = view.chosen(pane).min(shots.len() - 1);
    let tiles: Vec<Tile> = shots.iter().map(|shot| Tile { path: &shot.path, caption: shot.caption.clone() }).collect();
    let grid: Grid = tiles::draw(buffer, surface, inner, &tiles, chosen, focused);
    view.remember(pane, grid.columns);
}

fn loss(buffer: &mut Buffer, area: Rect, view: &mut View) {
    let focused = view.focus() == Pane::Loss;
    let runs = view.model.runs.len();
    let Some(run) = &mut view.model.run else { return };
    let steps = run.history.steps;
    run.curves.follow(&run.history, &view.graph, steps);
    let mut aside = Vec::new();
    if runs > 1 {
        aside.push(Span::styled(format!("run {}/{runs}", view.model.shown + 1), theme::faint()));
    }
    if area.width >= 90 {
        aside.push(Span::styled(format!("  {}", run.job.id()), theme::faint()));
    }
    let title = if view.graph.log { "Loss (log)" } else { "Loss" };
    let inner = pane::draw(buffer, area, title, &Line::from(aside), focused);
    Graph { series: run.curves.series(&view.graph), view: &view.graph, steps }.draw(buffer, inner);
}

fn score_table(buffer: &mut Buffer, area: Rect, view: &View) {
    let found =
        view.model.run.as_ref().and_then(|run| run.history.scores(view.model.scoring.as_ref().map(|s| &s.history)));
    let aside = match found {
        Some((before, _)) => format!("before → after, 95 % intervals over {} pictures", before.masked_clip_i.n),
        None => String::new(),
    };
    let inner = pane::draw(buffer, area, "Scores", &Line::styled(aside, theme::faint()), false);
    if let Some((before, after)) = found {
        scores::draw(buffer, inner, before, after);
    } else {
        let text =
            if view.model.is_running() { "measured once all are sampled" } else { "not measured: m scores this run" };
        buffer.set_stringn(inner.x + 1, inner.y + 1, text, inner.width as usize, theme::faint());
    }
}

/// Before the first run: what a training would do.
fn setup(buffer: &mut Buffer, area: Rect, view: &View) {
    let aside = match &view.checked {
        None => Line::styled("checking the photos", theme::faint()),
        Some(Checked::Ready(_)) => {
            Line::from(vec![Span::styled("t", theme::focus()), Span::styled(" starts", theme::faint())])
        }
        Some(Checked::Wrong(_)) => Line::styled("✗ not ready", theme::bad()),
    };
    let inner = pane::draw(buffer, area, "Training", &aside, false);
    let width = inner.width.saturating_sub(2) as usize;
    let mut lines: Vec<Line> = Vec::new();
    if let Some(Checked::Wrong(message)) = &view.checked {
        lines.extend(wrap(message, width.saturating_sub(2)).into_iter().map(|line| Line::styled(line, theme::bad())));
        lines.push(Line::default());
    }
    let config = view.train_config();
    let mut rows = effective_settings(&config);
    rows.push(("base model", view.model.concept.file.base_model.display().to_string()));
    if let Some(Checked::Ready(checked)) = &view.checked {
        let mut sizes: Vec<(String, usize)> = Vec::new();
        for how in checked.photos.iter().map(|photo| photo.how_cropped(config.crop)) {
            match sizes.iter_mut().find(|(known, _)| *known == how) {
                Some((_, count)) => *count += 1,
                None => sizes.push((how, 1)),
            }
        }
        rows.extend(sizes.into_iter().map(|(how, count)| ("photos", format!("{count} of {how}"))));
        for warning in &checked.warnings {
            rows.push(("! warning", warning.clone()));
        }
    }
    let mut before = "";
    for (name, value) in rows {
        let shown = if name == before { "" } else { name };
        before = name;
        for (i, part) in wrap(&value, width.saturating_sub(13)).into_iter().enumerate() {
            let name = if i == 0 { shown } else { "" };
            lines.push(Line::from(vec![Span::styled(format!("{name:<12} "), theme::faint()), Span::raw(part)]));
        }
    }
    for (i, line) in lines.iter().enumerate().take(inner.height as usize) {
        buffer.set_line(inner.x + 1, inner.y + i as u16, line, width as u16);
    }
}
