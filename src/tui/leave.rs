//! What is said on the terminal when the workbench is left: what goes on, and how to come back to it or stop it.

use super::world::World;
use crate::client::words::{self, shell};
use crate::protocol::{JobKind, JobState, State};
use crate::workspace::Kind;

/// What goes on in `world`; none when nothing does.
pub fn goes_on(world: &World) -> Option<String> {
    let (running, queued) = world.running();
    let job = world.jobs.iter().find(|job| job.state == JobState::Running);
    let (path, name, kind, number) = if let Some(job) = job {
        (job.job.clone(), job.concept.clone(), job.kind, Some(job.number))
    } else {
        // One that is in no queue of this home, but at work.
        match world.current().filter(|job| job.state == State::Running) {
            Some(job) => {
                (job.job.path().to_owned(), world.open.as_ref()?.concept.id.clone(), job.job.kind().ok(), None)
            }
            None => return waits(world, queued),
        }
    };
    let doing = Kind::of(kind.unwrap_or(JobKind::Train)).doing;
    let history = world.followed.get(&path).map(|followed| &followed.history);
    let step = match history.map(|history| (history.step(), history.steps)) {
        Some((step, steps)) if steps > 0 => format!(" (step {step} of {steps})"),
        _ => job.and_then(words::far).map(|far| format!(" ({far})")).unwrap_or_default(),
    };
    let others = [(running.saturating_sub(1), "more running"), (queued, "waiting")];
    let others: Vec<String> =
        others.iter().filter(|(count, _)| *count > 0).map(|(count, how)| format!("{count} {how}")).collect();
    let others = if others.is_empty() { String::new() } else { format!("; {} in the queue", others.join(", ")) };
    let name = shell(&name);
    let mut ways = vec![(format!("catbench open {name}"), "see it here again")];
    match (kind, number) {
        // Only a training is followed and stopped by the name of its concept.
        (None | Some(JobKind::Train), _) => ways.extend([
            (format!("catbench watch {name}"), "follow it without the workbench"),
            (format!("catbench stop {name}"), "stop it after its step, with a checkpoint"),
            ("catbench jobs".into(), "the queue"),
        ]),
        (_, number) => {
            ways.push(("catbench jobs".into(), "the queue, and how far it is"));
            ways.extend(number.map(|number| (format!("catbench jobs cancel {number}"), "stop it")));
        }
    }
    Some(said(&format!("{doing} of {name} goes on in the background{step}{others}"), &ways))
}

/// What is said when nothing runs, but jobs wait.
fn waits(world: &World, queued: usize) -> Option<String> {
    let first = world.jobs.iter().find(|job| job.state == JobState::Queued)?;
    let why = first.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
    let jobs = if queued == 1 { "1 job waits".to_owned() } else { format!("{queued} jobs wait") };
    let number = first.number;
    let ways = [
        ("catbench jobs".to_owned(), "the queue"),
        (format!("catbench jobs cancel {number}"), "take the first one out of it"),
    ];
    Some(said(&format!("{jobs} in the queue and will be done in the background; job {number}{why}"), &ways))
}

fn said(what: &str, ways: &[(String, &str)]) -> String {
    let wide = ways.iter().map(|(command, _)| command.chars().count()).max().unwrap_or(0);
    let ways: Vec<String> = ways.iter().map(|(command, why)| format!("  {command:<wide$}   {why}")).collect();
    format!("{what}\n{}", ways.join("\n"))
}
