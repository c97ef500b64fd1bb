//! What the workbench does for the user: on other threads, through the same calls as the commands, each ending in what
//! the screen shows next.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use super::keymap::{Action, ScreenName};
use super::overlays::Overlay;
use super::overlays::page::Page;
use super::overlays::picture::{Large, Shot};
use super::overlays::question::Question;
use crate::client::words::count;
use crate::client::{self, Asked, Placement, Reckoned, Sampling, check_writable};
use crate::fs::Show;
use crate::image::left_out_words;
use crate::protocol::{JobChange, JobInfo, JobState, ScoreTask, TrainConfig};
use crate::workspace::{Concept, ConceptFile, Home, JobFolder, Links, left_out};

/// Something that takes a moment, and what comes of it.
pub type Task = Box<dyn FnOnce() -> Result<Effect, String> + Send>;

/// What a key, a command or a task leads to.
pub enum Effect {
    /// Nothing.
    None,
    /// What is shown has changed.
    Draw,
    /// Say this, until the next key.
    Notice(String),
    /// What the key of this action does.
    Act(Action),
    /// Go to a screen.
    Go(ScreenName),
    /// Open a concept.
    Open(String),
    /// The mask of the picture at this path has been changed or deleted here.
    Mended(PathBuf),
    /// Show this run of the open concept, by id; none for the last.
    Show(Option<String>),
    /// Lay this over the screen.
    Over(Box<dyn Overlay>),
    /// Do this off the drawing thread, after what was asked for before; the words say what is being done.
    Do(String, Task),
    /// Do this on a thread of its own: it takes long, and nothing waits for it.
    Aside(String, Task),
    /// Run a command of the command line, and show what it says.
    Run(Vec<String>),
    /// Lines for what lies over the screen.
    Tell(Vec<String>),
    /// One after the other.
    Many(Vec<Effect>),
    /// End; jobs go on.
    Quit,
    /// Hand the terminal to the shell.
    Suspend,
}

impl Effect {
    /// Lay an overlay over the screen.
    pub fn over(overlay: impl Overlay + 'static) -> Self {
        Self::Over(Box::new(overlay))
    }

    /// Do `task` off the drawing thread, after what was asked for before.
    pub fn task(what: &str, task: impl FnOnce() -> Result<Effect, String> + Send + 'static) -> Self {
        Self::Do(what.into(), Box::new(task))
    }

    /// Do `task` on a thread of its own.
    pub fn aside(what: &str, task: impl FnOnce() -> Result<Effect, String> + Send + 'static) -> Self {
        Self::Aside(what.into(), Box::new(task))
    }
}

fn words(error: impl Display) -> String {
    error.to_string()
}

/// `done`, or what is to be said of a change that the daemon has not taken up: it is done all the same.
fn taken(home: &Home, concept: &Concept, done: Effect) -> Effect {
    match client::refresh(home, concept) {
        Ok(()) => done,
        Err(error) => Effect::Notice(format!("it is done, but the daemon has not taken it up yet: {error}")),
    }
}

/// What is said of a job that has just been queued.
fn queued(job: &JobInfo) -> String {
    match job.state {
        JobState::Queued => {
            let why = job.cause.clone().unwrap_or_else(|| format!("waits for {}", job.device));
            format!("job {} is queued: {why}", job.number)
        }
        _ => format!("job {} begins", job.number),
    }
}

/// Queue a training of `concept`, and show it.
pub fn train(concept: Concept, config: TrainConfig, placement: Placement) -> Effect {
    Effect::task("queueing the training", move || {
        let ready = Asked::train(&concept, config).and_then(Asked::estimate).map_err(words)?;
        let (run, job) = ready.begin(placement).map_err(words)?;
        let said = Effect::Notice(queued(&job));
        Ok(Effect::Many(vec![Effect::Show(Some(run.id().into())), Effect::Go(ScreenName::Train), said]))
    })
}

/// Queue a training again that did not finish.
pub fn resume(concept: Concept, run: JobFolder) -> Effect {
    Effect::task("queueing it again", move || begin(Asked::resume(&concept, &run)))
}

/// Queue what was asked for, and say so.
fn begin(asked: Result<Asked, client::Error>) -> Result<Effect, String> {
    let ready = asked.and_then(Asked::estimate).map_err(words)?;
    let (_, job) = ready.begin(Placement::default()).map_err(words)?;
    Ok(Effect::Notice(queued(&job)))
}

/// Ask for the end of a job.
pub fn stop(job: JobFolder) -> Effect {
    Effect::task("asking it to stop", move || {
        client::stop(&job).map_err(words)?;
        Ok(Effect::Notice("asked to stop: it ends after its step, with a checkpoint".into()))
    })
}

/// Queue a scoring of `run`.
pub fn score(concept: Concept, run: JobFolder) -> Effect {
    Effect::task("queueing the scoring", move || {
        let preset = JobFolder::preset_of(Some(&run)).map_err(words)?;
        let mut config = concept.evaluation(preset).map_err(words)?;
        config.sample.picture.checkpoint = Some(client::last_checkpoint(&run).map_err(words)?);
        begin(Asked::score(&concept, Some(&run), ScoreTask::Both, config))
    })
}

/// Queue a scoring of every checkpoint of `run`.
pub fn score_checkpoints(concept: Concept, run: JobFolder) -> Effect {
    Effect::task("queueing the scoring", move || {
        client::last_checkpoint(&run).map_err(words)?;
        let preset = JobFolder::preset_of(Some(&run)).map_err(words)?;
        let config = concept.evaluation(preset).map_err(words)?;
        let asked = Asked::score(&concept, Some(&run), ScoreTask::Checkpoints, config);
        let (_, job) =
            asked.and_then(Asked::estimate).and_then(|ready| ready.begin(Placement::default())).map_err(words)?;
        Ok(Effect::Notice(format!("{}: its curve comes over the loss", queued(&job))))
    })
}

/// See what a sampling with what `run` has learned, or without a run of the class word alone, comes to and needs; then ask
/// whether it is to be queued.
pub fn sample(concept: Concept, run: Option<JobFolder>, sampling: Sampling) -> Effect {
    Effect::task("reckoning what it needs", move || {
        let checkpoint = run.as_ref().map(client::last_checkpoint).transpose().map_err(words)?;
        let sheets = !sampling.grid.is_empty();
        let mut sampling = sampling;
        sampling.config.picture.checkpoint = checkpoint;
        let reckoned = Reckoned::of(&concept, run.as_ref(), sampling, None).map_err(words)?;
        reckoned.ready.refuse().map_err(words)?;
        let title = format!(
            "Sample {} of {}?",
            count(reckoned.pictures.len() as u64, "picture"),
            count(reckoned.prompts as u64, "prompt")
        );
        let mut said = vec![format!("{}; disk {}.", reckoned.time(), reckoned.room.words())];
        said.extend(reckoned.warnings.iter().take(WARNINGS).map(|warning| format!("! {warning}.")));
        if reckoned.warnings.len() > WARNINGS {
            said.push(format!("! and {} more; `sample --preview` says them all.", reckoned.warnings.len() - WARNINGS));
        }
        let sheets = if sheets { format!("; :sheets {} shows its sheets", concept.id) } else { String::new() };
        let queue = Effect::task("queueing the sampling", move || {
            let (_, job) = reckoned.ready.begin(Placement::default()).map_err(words)?;
            let said = format!("{}{sheets}", queued(&job));
            Ok(Effect::Many(vec![Effect::Go(ScreenName::Samples), Effect::Notice(said)]))
        });
        Ok(Effect::over(Question::new(&title, &said.join(" "), "queue them", "not yet", queue)))
    })
}

/// Show the contact sheets of a concept's samplings, the newest first.
pub fn sheets(concept: &Concept) -> Effect {
    let concept = concept.clone();
    Effect::task("looking for contact sheets", move || {
        let mut shots = Vec::new();
        for batch in concept.batches().map_err(words)?.iter().rev() {
            let legend = batch.legend();
            let detail = if legend.is_file() { format!("legend: {}", legend.shown()) } else { String::new() };
            shots.extend(batch.sheets().into_iter().map(|path| Shot {
                path,
                title: format!("Contact sheet of {}", batch.id()),
                detail: detail.clone(),
                ..Shot::default()
            }));
        }
        if shots.is_empty() {
            return Ok(Effect::Notice("no contact sheet yet: --grid seed,prompt in a sampling makes some".into()));
        }
        Ok(Effect::over(Large::new(shots, 0)))
    })
}

/// Warnings of a sampling that a question shows.
const WARNINGS: usize = 3;

/// Change a job of the queue.
pub fn change_job(home: &Home, number: u64, change: JobChange) -> Effect {
    let home = home.clone();
    Effect::task("changing the queue", move || {
        let ends = matches!(change, JobChange::Cancel { .. } | JobChange::Pause);
        let moved = matches!(change, JobChange::Priority { .. } | JobChange::Move { .. });
        let job = client::change(&home, number, change).map_err(words)?;
        Ok(match job.state {
            _ if moved => Effect::Draw,
            JobState::Running if ends => Effect::Notice(format!("job {number} ends after its step")),
            state => Effect::Notice(format!("job {number} is {}", state.word())),
        })
    })
}

/// What a job's runner wrote, and why the job failed.
pub fn log(job: &JobInfo) -> Effect {
    let job = job.clone();
    Effect::task("reading the log", move || {
        let folder = JobFolder::at(&job.job).map_err(words)?;
        let mut lines: Vec<String> = folder.log_text().unwrap_or_default().lines().map(str::to_owned).collect();
        if lines.is_empty() {
            lines.push("(its runner has written nothing)".into());
        }
        lines.push(String::new());
        if let Some(cause) = &job.cause {
            lines.push(format!("{}: {cause}", job.state.word()));
        }
        lines.push(folder.log().shown().to_string());
        Ok(Effect::over(Page::growing(&format!("Job {}: log", job.number), lines)))
    })
}

/// Make a concept of the photos in `images`, and open it.
pub fn new_concept(home: &Home, name: String, file: ConceptFile, images: PathBuf, masks: Option<PathBuf>) -> Effect {
    let home = home.clone();
    Effect::aside("copying the photos", move || {
        check_writable(&home).map_err(words)?;
        let concept = home.new_concept(&name, &file, &images, masks.as_deref()).map_err(words)?;
        let others = left_out_words(&left_out(&images, masks.as_deref()).map_err(words)?);
        let said = if others.is_empty() { Effect::None } else { Effect::Notice(others.join("; ")) };
        Ok(Effect::Many(vec![
            Effect::Open(name),
            Effect::Go(ScreenName::Concept),
            taken(&home, &concept, Effect::None),
            said,
        ]))
    })
}

/// Bring the demo into the home, where it is not there yet, and open it.
pub fn demo(home: &Home) -> Effect {
    let home = home.clone();
    Effect::aside("copying the demo, 24 MB", move || {
        let concept = home.demo().map_err(words)?;
        client::refresh(&home, &concept).map_err(words)?;
        Ok(Effect::Many(vec![Effect::Open(concept.id), Effect::Go(ScreenName::Concept)]))
    })
}

/// Give a concept another name.
pub fn rename(home: &Home, concept: String, to: String) -> Effect {
    let home = home.clone();
    Effect::task("renaming", move || {
        client::rename(&home, &concept, &to).map_err(words)?;
        Ok(Effect::Notice(format!("{concept} is {to} now")))
    })
}

/// Put concepts into the trash.
pub fn remove(home: &Home, concepts: Vec<String>) -> Effect {
    let home = home.clone();
    Effect::task("removing", move || {
        for concept in &concepts {
            client::remove(&home, concept).map_err(words)?;
        }
        Ok(Effect::Notice(format!("{} in the trash: U takes it out again", concepts.join(", "))))
    })
}

/// Take the concept that was removed last out of the trash.
pub fn restore(home: &Home) -> Effect {
    let home = home.clone();
    Effect::task("restoring", move || {
        check_writable(&home).map_err(words)?;
        let removed = home.removed_concepts().map_err(words)?;
        let (name, _) = removed.last().ok_or("the trash is empty")?;
        let concept = home.restore_concept(name, None).map_err(words)?;
        Ok(taken(&home, &concept, Effect::Notice(format!("{name} is back"))))
    })
}

/// Set tags or notes of a concept.
pub fn edit(home: &Home, concept: &str, tags: Option<Vec<String>>, notes: Option<String>) -> Effect {
    let (home, name) = (home.clone(), concept.to_owned());
    Effect::task("writing concept.toml", move || {
        let mut concept = home.concept(&name).map_err(words)?;
        check_writable(&home).map_err(words)?;
        concept.edit(tags.as_deref(), notes.as_deref()).map_err(words)?;
        Ok(taken(&home, &concept, Effect::Draw))
    })
}

/// Pack a concept into one file.
pub fn export(home: &Home, concept: &str, out: &Path) -> Effect {
    let (home, name, out) = (home.clone(), concept.to_owned(), out.to_owned());
    Effect::aside("packing", move || {
        client::pack(&home, &home.concept(&name).map_err(words)?, &out, Links::Inside).map_err(words)?;
        Ok(Effect::Notice(format!("packed: {}", out.shown())))
    })
}

/// Make a concept of a packed one, or of a folder, and open it.
pub fn import(home: &Home, from: PathBuf, name: Option<String>) -> Effect {
    let home = home.clone();
    Effect::aside("unpacking", move || {
        check_writable(&home).map_err(words)?;
        let (concept, _) = home.import_concept(&from, name.as_deref(), false, Links::Inside).map_err(words)?;
        let taken = taken(&home, &concept, Effect::None);
        Ok(Effect::Many(vec![Effect::Open(concept.id), Effect::Go(ScreenName::Concept), taken]))
    })
}

/// Do what is typed as on the command line. What opens the workbench there, opens a concept here.
pub fn command_line(typed: &str) -> Effect {
    match shell_words::split(typed) {
        Ok(words) => match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["open", concept] => Effect::Many(vec![Effect::Open((*concept).into()), Effect::Go(ScreenName::Concept)]),
            ["demo"] => Effect::Act(Action::Demo),
            ["doctor"] => Effect::Act(Action::Doctor),
            _ => Effect::Run(words),
        },
        Err(_) => Effect::Notice("a quotation mark has no other".into()),
    }
}

/// The absolute path that is typed: `~` is the user's home.
pub fn path(typed: &str) -> PathBuf {
    let home = || std::env::var_os("HOME").map(PathBuf::from);
    let path = match typed.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            home().map_or_else(|| PathBuf::from(typed), |home| home.join(rest.trim_start_matches('/')))
        }
        _ => PathBuf::from(typed),
    };
    std::path::absolute(&path).unwrap_or(path)
}

/// Rate a sample; none takes its rating away.
pub fn rate(home: &Home, concept: &str, picture: PathBuf, rating: Option<u8>) -> Effect {
    let (home, name) = (home.clone(), concept.to_owned());
    Effect::task("rating", move || {
        let concept = home.concept(&name).map_err(words)?;
        check_writable(&home).map_err(words)?;
        concept.rate(&picture, rating).map_err(words)?;
        Ok(taken(&home, &concept, Effect::Draw))
    })
}

/// Put samples into the trash.
pub fn remove_samples(home: &Home, concept: &str, pictures: Vec<PathBuf>) -> Effect {
    let (home, name) = (home.clone(), concept.to_owned());
    Effect::task("removing", move || {
        let concept = home.concept(&name).map_err(words)?;
        check_writable(&home).map_err(words)?;
        for picture in &pictures {
            concept.remove_sample(picture).map_err(words)?;
        }
        let last = pictures.last().cloned();
        let last = last.map(|path| path.shown().to_string()).unwrap_or_default();
        let said = Effect::Notice(format!("in the trash, the last one {last}: U takes it out again"));
        Ok(taken(&home, &concept, said))
    })
}

/// Take a sample out of the trash.
pub fn restore_sample(home: &Home, concept: &str, picture: PathBuf) -> Effect {
    let (home, name) = (home.clone(), concept.to_owned());
    Effect::task("restoring", move || {
        let concept = home.concept(&name).map_err(words)?;
        check_writable(&home).map_err(words)?;
        concept.restore_sample(&picture).map_err(words)?;
        Ok(taken(&home, &concept, Effect::Notice(format!("{} is back", picture.shown()))))
    })
}

/// Have the daemon take up what has been written beside the picture at `path`.
pub fn taken_up(path: &Path) -> Effect {
    let folder = path.ancestors().find(|folder| folder.join("concept.toml").is_file()).map(Path::to_owned);
    Effect::task("saving", move || {
        let concept = Concept::open(&folder.ok_or("this picture is in no concept")?).map_err(words)?;
        Ok(taken(&concept.home().map_err(words)?, &concept, Effect::Draw))
    })
}
