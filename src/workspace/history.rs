//! What the events of a job say about it so far.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::PathBuf;

use super::inside::is_file_inside;
use super::{Error, EventReader, JobFolder};
use crate::protocol::{BothScores, Event, EventRecord, Phase, Scores};

/// A loss at a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// 1-based.
    pub step: usize,
    /// Seconds of work since the run began; the pause before a resume does not count.
    pub seconds: f64,
    /// Mean squared error.
    pub loss: f64,
}

/// A picture the job made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Absolute.
    pub path: PathBuf,
    /// As given.
    pub prompt: String,
    /// Its seed.
    pub seed: u64,
    /// Steps done when it was made.
    pub step: usize,
    /// Whether what was learned was used.
    pub learned: bool,
    /// Whether it was made to be scored, not on the way.
    pub evaluation: bool,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// All is done.
    Finished {
        /// Wall time of the last runner.
        seconds: f64,
    },
    /// As asked.
    Stopped {
        /// Steps done.
        step: usize,
    },
    /// With an error.
    Failed {
        /// What, where, what to do.
        message: String,
    },
}

/// A job's events, folded. Events made void by a resume are gone.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    folder: PathBuf,
    /// The last runner.
    pub pid: Option<u32>,
    /// Optimizer steps in all.
    pub steps: usize,
    /// One point a step.
    pub losses: Vec<Point>,
    /// Loss by quarter of the timestep range, one list a quarter.
    pub quarters: [Vec<Point>; 4],
    /// The loss at fixed noise, of the photos that are trained on.
    pub fixed_noise: Vec<Point>,
    /// The same of the photo that is held out of the training, where one is.
    pub held_out: Vec<Point>,
    /// Seconds of each of the last steps.
    pub step_seconds: Vec<f64>,
    /// What it is busy with: the phase, how much is done, how much there is.
    pub progress: Option<(Phase, usize, usize)>,
    /// Pictures in the order they were made.
    pub pictures: Vec<Picture>,
    /// Hashes of the paths of all pictures so far, so that a new one is not looked for among a hundred thousand.
    hashes: HashSet<u64>,
    /// Steps of the checkpoints.
    pub checkpoints: Vec<(usize, PathBuf)>,
    /// Pictures whose masks were made, and the masks.
    pub masks: Vec<(PathBuf, PathBuf)>,
    /// Scores without what was learned.
    pub before: Option<Scores>,
    /// Scores with it.
    pub after: Option<Scores>,
    /// After minus before, pair by pair, as far as the last scores say it.
    pub difference: Option<Scores>,
    /// What the photos themselves are worth.
    pub photos: Option<Scores>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// How it ended, if it did.
    pub end: Option<End>,
    /// When the last event came.
    pub last: Option<jiff::Timestamp>,
    /// Seconds of work up to then; pauses do not count.
    pub worked: f64,
    /// Those of the runners before the last one.
    worked_before: f64,
}

impl History {
    /// Of a job when nothing is known yet.
    pub fn new(job: &JobFolder) -> Self {
        Self { folder: job.path().to_path_buf(), ..Self::default() }
    }

    /// Of all events of `job` there are now.
    pub fn read(job: &JobFolder) -> Result<Self, Error> {
        let mut history = Self::new(job);
        EventReader::new(&job.events()).each_new(|event| history.apply(&event))?;
        Ok(history)
    }

    /// The scores before and after: of the last separate scoring of this run if there is one, else of the run itself.
    pub fn scores(&self, scoring: Option<&Self>) -> Option<BothScores> {
        let both = |history: &Self| {
            let (difference, photos) = (history.difference.clone(), history.photos.clone());
            Some(BothScores { before: history.before.clone()?, after: history.after.clone()?, difference, photos })
        };
        scoring.and_then(both).or_else(|| both(self))
    }

    /// Take in the next event.
    pub fn apply(&mut self, record: &EventRecord) {
        if let Some(last) = self.last
            && !matches!(record.event, Event::Started { .. })
        {
            let passed = (record.time - last).total(jiff::Unit::Second).unwrap_or(0.0);
            // Clocks are set back now and then; work is not undone by it.
            self.worked += match record.event {
                Event::Step { seconds, .. } if passed < 0.0 => seconds,
                _ => passed.max(0.0),
            };
        }
        self.last = Some(record.time);
        let seconds_worked = self.worked;
        let point = |step: usize, loss: f64| Point { step, seconds: seconds_worked, loss };
        match &record.event {
            Event::Started { pid, steps, resumed_from } => {
                (self.pid, self.steps, self.end, self.progress) = (Some(*pid), *steps, None, None);
                self.worked_before = self.worked;
                self.forget_after(*resumed_from);
                if *steps == 0 {
                    // A scoring measures all again, so nothing of one before stays.
                    (self.before, self.after, self.difference, self.photos) = (None, None, None, None);
                    self.warnings.clear();
                }
            }
            Event::Progress { phase, done, total } => self.progress = Some((*phase, *done, *total)),
            Event::Step { step, loss, loss_by_quarter, seconds } => {
                self.losses.push(point(*step, *loss));
                for (points, loss) in self.quarters.iter_mut().zip(loss_by_quarter) {
                    points.extend(loss.map(|loss| point(*step, loss)));
                }
                self.progress = Some((Phase::Train, *step, self.steps));
                if self.step_seconds.len() == 50 {
                    self.step_seconds.remove(0);
                }
                self.step_seconds.push(*seconds);
            }
            Event::FixedNoise { step, loss, held_out } => {
                self.fixed_noise.push(point(*step, *loss));
                self.held_out.extend(held_out.map(|loss| point(*step, loss)));
            }
            Event::Sample { step, path: relative, prompt, seed, learned } => {
                let path = self.folder.join(relative);
                // A scoring made again overwrites its pictures.
                if !self.hashes.insert(BuildHasherDefault::<DefaultHasher>::new().hash_one(&path)) {
                    self.pictures.retain(|picture| picture.path != path);
                }
                // One that the user has removed since is none, nor is what lies elsewhere.
                if !is_file_inside(&self.folder, relative) {
                    return;
                }
                let evaluation = self.folder.ends_with("evaluation") || relative.starts_with("evaluation");
                let (step, prompt, seed, learned) = (*step, prompt.clone(), *seed, *learned);
                self.pictures.push(Picture { path, prompt, seed, step, learned, evaluation });
            }
            Event::Checkpoint { step, path } => {
                // Its reader passes over a path that leads out of the folder.
                self.checkpoints.push((*step, self.folder.join(path)));
            }
            Event::Masked { picture, mask } => self.masks.push((picture.clone(), mask.clone())),
            Event::Scored { learned, scores, difference, photos } => {
                *(if *learned { &mut self.after } else { &mut self.before }) = Some((**scores).clone());
                self.difference = difference.as_deref().cloned();
                self.photos = photos.as_deref().cloned();
            }
            Event::Warning { message } => self.warnings.push(message.clone()),
            Event::Stopped { step } => self.end = Some(End::Stopped { step: *step }),
            Event::Failed { message } => self.end = Some(End::Failed { message: message.clone() }),
            Event::Finished { seconds } => {
                self.end = Some(End::Finished { seconds: *seconds });
                // Its runner has measured it, whatever became of the clock.
                self.worked = self.worked_before + seconds;
            }
        }
    }

    /// What a resume from `step` makes void.
    fn forget_after(&mut self, step: usize) {
        self.losses.retain(|point| point.step <= step);
        self.quarters.iter_mut().for_each(|points| points.retain(|point| point.step <= step));
        self.fixed_noise.retain(|point| point.step <= step);
        self.held_out.retain(|point| point.step <= step);
        self.pictures.retain(|picture| picture.step <= step);
        self.checkpoints.retain(|(at, _)| *at <= step);
        self.step_seconds.clear();
    }

    /// How far the loss of the held-out photo is above the loss of the others, at the point `held_out` of the former; none where
    /// theirs was not measured there.
    pub fn gap(&self, held_out: &Point) -> Option<f64> {
        let others = self.fixed_noise.iter().find(|point| point.step == held_out.step)?;
        Some(held_out.loss - others.loss)
    }

    /// Optimizer steps done.
    pub fn step(&self) -> usize {
        self.losses.last().map_or(0, |point| point.step)
    }

    /// Mean seconds of the last steps.
    pub fn seconds_per_step(&self) -> Option<f64> {
        let n = self.step_seconds.len();
        (n > 0).then(|| self.step_seconds.iter().sum::<f64>() / n as f64)
    }

    /// Seconds until the last step, as fast as lately.
    pub fn seconds_left(&self) -> Option<f64> {
        Some(self.seconds_per_step()? * self.steps.saturating_sub(self.step()) as f64)
    }

    /// Pictures made on the way, newest last.
    pub fn on_the_way(&self) -> impl DoubleEndedIterator<Item = &Picture> {
        self.pictures.iter().filter(|picture| !picture.evaluation)
    }

    /// Pictures made to be scored, without (`false`) or with (`true`) what was learned.
    pub fn evaluated(&self, learned: bool) -> impl DoubleEndedIterator<Item = &Picture> {
        self.pictures.iter().filter(move |picture| picture.evaluation && picture.learned == learned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(events: &[Event]) -> History {
        let mut history = History::default();
        for (seq, event) in events.iter().enumerate() {
            let time = jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(seq as i64);
            history.apply(&EventRecord { seq: seq as u64, time, event: event.clone() });
        }
        history
    }

    fn step(step: usize) -> Event {
        Event::Step { step, loss: step as f64, loss_by_quarter: [Some(1.0), None, None, None], seconds: 0.5 }
    }

    #[test]
    fn a_resume_makes_later_steps_void_and_the_curve_has_each_step_once() {
        let started = |resumed_from| Event::Started { pid: 7, steps: 4, resumed_from };
        let checkpoint = Event::Checkpoint { step: 2, path: "checkpoints/step-000002.safetensors".into() };
        let run = [started(0), step(1), step(2), checkpoint, step(3), started(2), step(3), step(4)];
        let history = history(&run);
        assert_eq!(history.losses.iter().map(|point| point.step).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(history.quarters[0].len(), 4);
        // The second between the last event before the resume and the resume is no work.
        assert_eq!(history.losses.iter().map(|point| point.seconds).collect::<Vec<_>>(), [1.0, 2.0, 5.0, 6.0]);
        assert_eq!(history.checkpoints.len(), 1);
        assert_eq!(history.end, None);
    }

    #[test]
    fn the_gap_is_between_what_was_measured_at_one_step() {
        let measured = |step, loss, held_out| Event::FixedNoise { step, loss, held_out };
        let started = |resumed_from| Event::Started { pid: 7, steps: 4, resumed_from };
        let history = history(&[started(0), measured(0, 1.0, Some(1.5)), measured(2, 0.5, Some(1.25)), started(1)]);
        assert_eq!((history.fixed_noise.len(), history.held_out.len()), (1, 1), "what came later is void");
        assert_eq!(history.gap(&history.held_out[0]), Some(0.5));
        assert_eq!(history.gap(&Point { step: 2, ..history.held_out[0] }), None);
    }

    #[test]
    fn a_picture_made_again_is_there_once_as_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let mut history = History { folder: folder.path().to_path_buf(), ..History::default() };
        let names = |history: &History| -> Vec<_> {
            let name = |picture: &Picture| picture.path.file_name().map(|name| name.to_string_lossy().into_owned());
            history.pictures.iter().filter_map(name).collect()
        };
        for (seq, name) in ["a.png", "b.png", "a.png", "c.png"].into_iter().enumerate() {
            std::fs::write(folder.path().join(name), "").unwrap();
            let sample = Event::Sample { step: 1, path: name.into(), prompt: "a cat".into(), seed: 0, learned: true };
            history.apply(&EventRecord { seq: seq as u64, time: jiff::Timestamp::UNIX_EPOCH, event: sample });
        }
        assert_eq!(names(&history), ["b.png", "a.png", "c.png"]);
    }

    #[test]
    fn a_clock_that_is_set_undoes_no_work() {
        let start = jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(24);
        let worked = |times: &[i64], events: Vec<Event>| {
            let mut history = History::default();
            for (seq, (second, event)) in times.iter().zip(events).enumerate() {
                let time = start + jiff::SignedDuration::from_secs(*second);
                history.apply(&EventRecord { seq: seq as u64, time, event });
            }
            history.worked
        };
        let started = || Event::Started { pid: 7, steps: 4, resumed_from: 0 };
        // Set back by an hour, and forward by one.
        for shift in [-3600, 3600] {
            let times = [0, 2, shift + 4, shift + 6];
            let events = vec![started(), step(1), step(2), Event::Finished { seconds: 6.5 }];
            assert!((worked(&times, events) - 6.5).abs() < 1e-9, "{shift}");
        }
        let set_back = worked(&[0, 2, -3600, -3598], vec![started(), step(1), step(2), step(3)]);
        assert!((set_back - 4.5).abs() < 1e-9, "{set_back}");
        let resumed = vec![started(), step(1), started(), step(2), Event::Finished { seconds: 3.0 }];
        assert!((worked(&[0, 2, 5000, 1, 2], resumed) - 5.0).abs() < 1e-9, "the pause is no work");
    }

    #[test]
    fn time_left_follows_the_speed_of_the_last_steps() {
        let history = history(&[Event::Started { pid: 7, steps: 10, resumed_from: 0 }, step(1), step(2)]);
        assert_eq!(history.seconds_left(), Some(4.0));
    }
}
