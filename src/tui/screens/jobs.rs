//! The queue: what runs, what waits and why, what is over.

use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::Screen;
use crate::client::words;
use crate::fs::Show;
use crate::protocol::{JobChange, JobInfo, JobKind, JobState};
use crate::tui::canvas::{Canvas, Target};
use crate::tui::deeds::{self, Effect};
use crate::tui::keymap::{Action, ScreenName};
use crate::tui::overlays::question::Question;
use crate::tui::theme;
use crate::tui::widgets::list::{self, Choice};
use crate::tui::widgets::{pane, text};
use crate::tui::world::World;
use crate::workspace::JobFolder;

/// The queue.
#[derive(Default)]
pub struct Jobs {
    choice: Choice,
    filter: String,
    focus: usize,
    /// The number of the chosen job: it stays chosen when the order changes.
    chosen: Option<u64>,
}

impl Jobs {
    fn rows<'a>(&self, world: &'a World) -> Vec<&'a JobInfo> {
        let words: Vec<String> = self.filter.split_whitespace().map(str::to_lowercase).collect();
        let holds = |job: &&JobInfo| {
            let kind = job.kind.map_or("gone", JobKind::word);
            let fields = [&job.concept.to_lowercase(), kind, job.state.word(), &job.device];
            words.iter().all(|word| fields.iter().any(|field| field.contains(word.as_str())))
        };
        // What is over comes last first: one looks for what has just ended.
        let (over, open): (Vec<_>, Vec<_>) = world.jobs.iter().filter(holds).partition(|job| job.state.is_over());
        open.into_iter().chain(over.into_iter().rev()).collect()
    }

    fn job<'a>(&self, world: &'a World) -> Option<&'a JobInfo> {
        let rows = self.rows(world);
        let same = rows.iter().position(|job| Some(job.number) == self.chosen);
        same.or(self.choice.of(rows.len())).map(|at| rows[at])
    }
}

impl Screen for Jobs {
    fn draw(&mut self, canvas: &mut Canvas, area: Rect, world: &World) {
        let rows = self.rows(world);
        if let Some(at) = rows.iter().position(|job| Some(job.number) == self.chosen) {
            self.choice.index = at;
        }
        let below = 6.min(area.height / 3);
        let above = Rect { height: area.height - below, ..area };
        let (running, queued) = world.running();
        let aside = Line::styled(format!("{running} running, {queued} waiting"), theme::faint());
        let inner = pane::draw(canvas.buffer, above, "Jobs", &aside, true);
        canvas.target(inner, Target::Pane(0));
        if rows.is_empty() {
            let said = if world.down.is_some() {
                "no daemon, and so no queue"
            } else if self.filter.is_empty() {
                "no jobs yet: t on a concept queues a training"
            } else {
                "no job holds these words"
            };
            return text::empty(canvas.buffer, inner, said);
        }
        let head = " job   state       kind    concept                device   prio  ";
        canvas.buffer.set_stringn(inner.x + 1, inner.y, head, inner.width as usize, theme::faint());
        let body = Rect { y: inner.y + 1, height: inner.height.saturating_sub(1), ..inner };
        list::draw(canvas, body, 0, &mut self.choice, rows.len(), true, |i, width| row(rows[i], width));
        if let Some(job) = self.job(world) {
            let area = Rect { y: above.bottom(), height: below, ..area };
            let inner = pane::draw(canvas.buffer, area, &format!("Job {}", job.number), &Line::default(), false);
            text::draw(canvas.buffer, inner, &about(job, inner.width.saturating_sub(1) as usize));
        }
    }

    fn act(&mut self, action: Action, world: &mut World) -> Effect {
        let rows = self.rows(world);
        if self.choice.step(action, rows.len()) {
            self.chosen = self.choice.of(rows.len()).map(|at| rows[at].number);
            return Effect::Draw;
        }
        if action == Action::Back && !self.filter.is_empty() {
            self.filter.clear();
            return Effect::Draw;
        }
        let Some(job) = self.job(world) else { return Effect::None };
        let (home, number) = (&world.home, job.number);
        self.chosen = Some(number);
        match action {
            Action::Enter if job.kind.is_some() => {
                let run = JobFolder::at(&job.job).ok();
                let id = run.and_then(|job| match job.kind().ok()? {
                    JobKind::Train => Some(job.id().to_owned()),
                    JobKind::Score => job.score_spec().ok()?.run,
                    JobKind::Sample | JobKind::Mask => None,
                });
                let place = match job.kind {
                    Some(JobKind::Sample) => ScreenName::Samples,
                    Some(JobKind::Mask) => ScreenName::Concept,
                    _ => ScreenName::Train,
                };
                Effect::Many(vec![Effect::Open(job.concept.clone()), Effect::Show(id), Effect::Go(place)])
            }
            Action::Pause if job.state == JobState::Paused => deeds::change_job(home, number, JobChange::Resume),
            Action::Pause => deeds::change_job(home, number, JobChange::Pause),
            Action::Cancel => {
                let deed = deeds::change_job(home, number, JobChange::Cancel { kill: false });
                let text = match (job.state, job.kind) {
                    (JobState::Running, Some(JobKind::Train)) => {
                        "It finishes its step and writes a checkpoint; r goes on from there later."
                    }
                    (JobState::Running, _) => "What it has made stays; r begins with the rest.",
                    _ => "It leaves the queue before it has begun; r puts it back.",
                };
                Effect::over(Question::new(&format!("Cancel job {number}?"), text, "cancel it", "let it be", deed))
            }
            Action::Retry => deeds::change_job(home, number, JobChange::Retry),
            Action::Earlier | Action::Later => {
                let waiting: Vec<&JobInfo> =
                    world.jobs.iter().filter(|job| !job.state.is_over() && job.state != JobState::Running).collect();
                let at = waiting.iter().position(|job| job.number == number).unwrap_or(0);
                let other = if action == Action::Earlier { at.checked_sub(1) } else { Some(at + 2) };
                match other {
                    None => Effect::Notice("it is the first already".into()),
                    Some(other) => {
                        let before = waiting.get(other);
                        // Among other priorities it takes theirs: that is what moving past them means.
                        let neighbour = if action == Action::Earlier { before } else { waiting.get(at + 1) };
                        match neighbour {
                            None => Effect::Notice("it is the last already".into()),
                            Some(next) if next.priority != job.priority => {
                                deeds::change_job(home, number, JobChange::Priority { priority: next.priority })
                            }
                            Some(_) => {
                                let before = before.filter(|other| other.priority == job.priority);
                                let change = JobChange::Move { before: before.map(|job| job.number) };
                                deeds::change_job(home, number, change)
                            }
                        }
                    }
                }
            }
            Action::Log => deeds::log(job),
            _ => Effect::None,
        }
    }

    fn why_not(&self, action: Action, world: &World) -> Option<String> {
        if !matches!(
            action,
            Action::Pause
                | Action::Cancel
                | Action::Retry
                | Action::Earlier
                | Action::Later
                | Action::Log
                | Action::Enter
        ) {
            return None;
        }
        let Some(job) = self.job(world) else { return Some("there is no job".into()) };
        let can = match action {
            Action::Pause => matches!(job.state, JobState::Queued | JobState::Running | JobState::Paused),
            Action::Cancel => !job.state.is_over(),
            Action::Retry => matches!(job.state, JobState::Failed | JobState::Stopped | JobState::Cancelled),
            Action::Earlier | Action::Later => matches!(job.state, JobState::Queued | JobState::Paused),
            Action::Enter => job.kind.is_some(),
            _ => true,
        };
        (!can).then(|| format!("job {} is {}", job.number, job.state.word()))
    }

    fn panes(&self, _: &World) -> usize {
        1
    }

    fn focus(&mut self) -> &mut usize {
        &mut self.focus
    }

    fn choose(&mut self, _: usize, index: usize, world: &mut World) {
        self.chosen = self.rows(world).get(index).map(|job| job.number);
    }

    fn filter(&mut self) -> Option<&mut String> {
        Some(&mut self.filter)
    }
}

fn look(state: JobState) -> (&'static str, Style) {
    match state {
        JobState::Queued => ("◌", theme::faint()),
        JobState::Running => ("●", theme::accent()),
        JobState::Paused => ("‖", theme::warn()),
        JobState::Finished => ("✓", theme::good()),
        JobState::Stopped | JobState::Cancelled => ("■", theme::warn()),
        JobState::Failed => ("✗", theme::bad()),
    }
}

fn row(job: &JobInfo, width: usize) -> Line<'static> {
    let (mark, style) = look(job.state);
    let kind = job.kind.map_or("gone", JobKind::word);
    let cause = job.cause.as_ref().map(|cause| cause.lines().next().unwrap_or_default().to_owned());
    let more = cause.or_else(|| words::far(job)).unwrap_or_default();
    Line::from(vec![
        Span::styled(format!("{:>4} ", job.number), theme::strong()),
        Span::styled(format!(" {mark} {:<10}", job.state.word()), style),
        Span::raw(format!("{kind:<7} ")),
        Span::styled(format!("{} ", text::fit(&job.concept, 22)), theme::strong()),
        Span::raw(format!("{} {:>4}  ", text::fit(&job.device, 7), job.priority)),
        Span::styled(text::fit(&more, width.saturating_sub(65)), theme::faint()),
    ])
}

fn about(job: &JobInfo, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if let Some(cause) = &job.cause {
        lines.extend(text::rows("why", cause, 10, width, theme::text()));
    }
    if !job.after.is_empty() {
        let after = job.after.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        lines.extend(text::rows("after", &format!("job {after}"), 10, width, theme::text()));
    }
    let since = job.submitted.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string();
    lines.extend(text::rows("queued", &since, 10, width, theme::text()));
    lines.extend(text::rows("folder", &job.job.shown().to_string(), 10, width, theme::text()));
    lines
}
