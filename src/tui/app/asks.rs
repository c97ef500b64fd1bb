//! What the workbench asks of other threads: what is shown and not known yet.

use std::time::{Duration, Instant};

use super::{App, Message};
use crate::client;
use crate::protocol::{JobState, State};
use crate::tui::keymap::ScreenName;
use crate::tui::link::{self, Follower};
use crate::tui::world::{Checked, Open, SampleList};
use crate::workspace::{JobFolder, checkpoint_scores, graphics_cards, preflight, process_memory, read_ratings};

/// How often the memory of a job at work and of graphics cards is looked at.
const MEMORY_EVERY: Duration = Duration::from_secs(2);

impl App {
    /// Ask for what is shown and not known, and let go of what is not shown any more.
    pub(super) fn look_after(&mut self) {
        let mut wanted = self.screens.at(self.place).follows(&self.world);
        wanted.retain(|path| path.join("events.jsonl").is_file() || self.world.job(path).is_some());
        let messages = self.messages.clone();
        self.world.follow(&wanted, |job| {
            let (messages, path) = (messages.clone(), job.path().to_owned());
            Follower::start(job, move |told| {
                let _ = messages.send(Message::News(path.clone(), told));
            })
        });
        let Some(open) = &self.world.open else { return };
        let counts = open
            .details
            .as_ref()
            .map_or((0, 0, 0), |details| (details.concept.photos, details.concept.masks, details.concept.incomplete));
        if self.checked != Some(counts) {
            self.checked = Some(counts);
            self.waited += 1;
            let (concept, messages) = (open.concept.clone(), self.messages.clone());
            std::thread::spawn(move || {
                let checked =
                    preflight(&concept).map_or_else(|error| Checked::Wrong(error.to_string()), Checked::Ready);
                let _ = messages.send(Message::Checked(concept.id, counts, checked));
            });
        }
        self.look_for_scores();
        self.look_at_memory();
        self.look_for_samples();
    }

    /// Ask for the samples of the open concept where they are shown and others than those that were asked for; one answer
    /// is waited for before it is asked again.
    fn look_for_samples(&mut self) {
        let Some(open) = self.world.open.as_ref().filter(|_| self.place == ScreenName::Samples) else { return };
        let key = self.world.samples_key();
        let known = key.is_some() || self.world.down.is_some();
        if !known || self.waits_for_samples || self.asked_samples && self.samples_key == key {
            return;
        }
        (self.asked_samples, self.samples_key) = (true, key);
        self.waits_for_samples = true;
        self.waited += 1;
        let (home, name, messages) = (self.world.home.clone(), open.concept.id.clone(), self.messages.clone());
        std::thread::spawn(move || {
            // Without a daemon there is only what is followed.
            let details = client::concept(&home, &name, true);
            let samples = details.map(|details| details.sample_records).unwrap_or_default();
            let _ = messages.send(Message::Samples(name, SampleList::new(samples)));
        });
    }

    /// Ask for the ratings of the open concept, where they are shown: someone else may have rated too.
    pub(super) fn ask_ratings(&self) {
        let Some(open) = self.world.open.as_ref().filter(|open| open.samples.is_some()) else { return };
        let (folder, name, messages) = (open.concept.folder.clone(), open.concept.id.clone(), self.messages.clone());
        std::thread::spawn(move || {
            // What cannot be read is told of on the concept's screen.
            if let Ok(ratings) = read_ratings(&folder) {
                let _ = messages.send(Message::Ratings(name, ratings));
            }
        });
    }

    /// Ask for the scores of the shown run's checkpoints when there are others than those that were asked for.
    fn look_for_scores(&mut self) {
        let Some(run) = self.world.open.as_ref().filter(|_| self.place == ScreenName::Train).and_then(Open::run) else {
            return;
        };
        let length = std::fs::metadata(run.path.join("scores.jsonl")).map_or(0, |file| file.len());
        let wanted = Some((run.path.clone(), length));
        if self.asked_scores == wanted {
            return;
        }
        let (path, messages) = (run.path.clone(), self.messages.clone());
        self.asked_scores = wanted;
        self.waited += 1;
        std::thread::spawn(move || {
            // What cannot be read is not shown; `catbench score --last` says why.
            let scores = JobFolder::at(&path).and_then(|run| checkpoint_scores(&run)).unwrap_or_default();
            let _ = messages.send(Message::CheckpointScores(path, scores));
        });
    }

    /// Ask now and then how much of the machine's memory the job has that is looked at, while it is at work, and where that is on a
    /// graphics card how much the cards have.
    fn look_at_memory(&mut self) {
        let Some(job) = self.world.current().filter(|job| job.state == State::Running) else { return };
        let (pid, queued) = (job.history.pid, self.world.job(job.job.path()));
        let on_card = queued.is_some_and(|job| job.state == JobState::Running && job.device.starts_with("cuda"));
        let asked = (pid, on_card);
        if self.asked_memory.is_some_and(|(last, when)| last == asked && when.elapsed() <= MEMORY_EVERY) {
            return;
        }
        self.asked_memory = Some((asked, Instant::now()));
        self.waited += 1;
        let messages = self.messages.clone();
        std::thread::spawn(move || {
            let runner = pid.and_then(|pid| Some((pid, process_memory(pid)?)));
            let cards = if on_card { graphics_cards() } else { Vec::new() };
            let _ = messages.send(Message::Memory(runner, cards));
        });
    }

    /// Ask for the open concept as it is now.
    pub(super) fn ask_details(&self) {
        let Some(open) = &self.world.open else { return };
        let (home, name, messages) = (self.world.home.clone(), open.concept.id.clone(), self.messages.clone());
        std::thread::spawn(move || {
            if let Ok(update) = link::look(&home, name) {
                let _ = messages.send(Message::Update(update));
            }
        });
    }
}
