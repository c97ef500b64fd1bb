//! The screens as text, at the smallest and at a large size, for each state that what they show can be in.

mod keys;
mod masks;
mod overlays;

use std::io::Write;
use std::path::Path;

use crate::common::{self, RUN, Workspace, catbench, queue_file};
use crate::screen::Screen;
use catbench::protocol::{Event, EventRecord, JobInfo, JobKind, JobState, Phase};
use catbench::tui::{Message, Next, ScreenName, Update};
use catbench::workspace::EventReader;
use crossterm::event::KeyCode;
use ratatui::layout::Rect;

const SIZES: [(u16, u16); 2] = [(80, 24), (150, 48)];
const SMALL: (u16, u16) = SIZES[0];

fn snapshot(name: &str, workspace: &Workspace, place: ScreenName) {
    snapshot_told(name, workspace, place, &[]);
}

/// The same after the daemon has told of these jobs, as if it had them.
fn snapshot_told(name: &str, workspace: &Workspace, place: ScreenName, jobs: &[JobInfo]) {
    for size in SIZES {
        let concept = (place != ScreenName::Library).then_some("demo");
        let mut screen = Screen::open(workspace, concept, place, size);
        screen.text();
        if !jobs.is_empty() {
            screen.tell(Message::Update(Update::Jobs(jobs.to_vec())));
        }
        insta::assert_snapshot!(format!("{name}-{}x{}", size.0, size.1), screen.text());
    }
}

/// A queue with a job in each state; the first of them runs, in `folder`.
fn queue(folder: &Path, kind: JobKind) -> Vec<JobInfo> {
    // By the clock of this machine, wherever it is: so it is shown.
    let began = jiff::civil::date(2026, 11, 23).at(13, 45, 1, 0).to_zoned(jiff::tz::TimeZone::system()).unwrap();
    let at = |minute: i64| began.timestamp() + jiff::SignedDuration::from_mins(minute);
    let job = |number: u64, concept: &str, kind, state, cause: Option<&str>| JobInfo {
        number,
        job: Path::new("/home/me/concepts").join(concept).join("runs").join(RUN),
        concept: concept.into(),
        kind: Some(kind),
        state,
        cause: cause.map(str::to_owned),
        device: "cpu".into(),
        priority: 0,
        after: Vec::new(),
        submitted: at(number as i64),
        step: None,
        progress: None,
    };
    let failed = "step 131: the loss is not a finite number: a lower learning_rate (now 0.01) usually helps";
    vec![
        JobInfo { job: folder.into(), step: Some(230), ..job(4, "demo", kind, JobState::Running, None) },
        JobInfo { priority: 2, ..job(7, "backpack_red", JobKind::Train, JobState::Queued, Some("waits for cpu")) },
        JobInfo { after: vec![4], ..job(5, "demo", JobKind::Score, JobState::Queued, Some("waits for job 4")) },
        job(6, "cat_statue", JobKind::Train, JobState::Paused, None),
        job(1, "demo", JobKind::Sample, JobState::Cancelled, None),
        job(2, "backpack_red", JobKind::Train, JobState::Failed, Some(failed)),
        job(3, "cat_statue", JobKind::Mask, JobState::Finished, None),
    ]
}

fn finished() -> Workspace {
    let workspace = Workspace::new();
    workspace.run().train(500).evaluate().end(Event::Finished { seconds: 227.0 }).write();
    workspace
}

#[test]
fn an_empty_home_says_how_to_begin() {
    let workspace = Workspace::new();
    std::fs::remove_dir_all(workspace.concept()).unwrap();
    for size in SIZES {
        let text = Screen::open(&workspace, None, ScreenName::Library, size).text();
        insta::assert_snapshot!(format!("library_empty-{}x{}", size.0, size.1), text);
    }
}

#[test]
fn the_library_shows_state_score_and_tags_and_a_look_at_the_chosen_one() {
    let workspace = finished();
    for (name, class) in [("backpack_red", "backpack"), ("cat_statue", "statue")] {
        let folder = workspace.home().join(name);
        std::fs::create_dir_all(folder.join("images")).unwrap();
        let toml =
            format!("name = \"{name}\"\nclass_word = \"{class}\"\nbase_model = \"sd15\"\ntags = [\"dreambooth\"]\n");
        std::fs::write(folder.join("concept.toml"), toml).unwrap();
    }
    std::fs::write(workspace.home().join("cat_statue/concept.toml"), "name = 3\n").unwrap();
    snapshot("library", &workspace, ScreenName::Library);
}

#[test]
fn the_library_filters_sorts_and_marks() {
    let workspace = Workspace::new();
    for name in ["bowl", "mug_blue", "mug_green"] {
        let folder = workspace.home().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let toml = format!("name = \"{name}\"\nclass_word = \"cup\"\nbase_model = \"x\"\ntags = [\"kitchen\"]\n");
        std::fs::write(folder.join("concept.toml"), toml).unwrap();
    }
    let mut screen = Screen::open(&workspace, None, ScreenName::Library, SMALL);
    assert!(screen.text().contains("Concepts (4)"));
    screen.type_text("/kit mug").press(KeyCode::Enter);
    let text = screen.text();
    assert!(text.contains("(2 of 4)") && text.contains("mug_green") && !text.contains("bowl"), "{text}");
    screen.press(KeyCode::Char(' ')).press(KeyCode::Char(' '));
    assert!(screen.text().contains("✓ 2 marked"));
    screen.press(KeyCode::Esc);
    assert!(screen.text().contains("Concepts (4)"));
    screen.press(KeyCode::Char('S'));
    assert!(screen.text().contains("last changed first"));
}

#[test]
fn a_concept_shows_photos_findings_notes_lists_and_runs() {
    snapshot("concept", &finished(), ScreenName::Concept);
}

#[test]
fn photos_that_cannot_be_trained_on_are_named_before_anything_starts() {
    let workspace = Workspace::new();
    std::fs::write(workspace.concept().join("images/grass.png"), "this is no picture").unwrap();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Concept, SMALL);
    let text = screen.text();
    assert!(text.contains("not ready") && text.contains("grass.png"), "{text}");
    screen.press(KeyCode::Char('t')).press(KeyCode::Char('t'));
    assert!(screen.text().contains("✗ not ready"));
    assert!(!workspace.concept().join("runs").exists());
}

#[test]
fn before_the_first_run_it_says_what_a_training_would_do() {
    snapshot("train_empty", &Workspace::new(), ScreenName::Train);
}

#[test]
fn what_trainings_of_a_concept_start_from_is_said_before_the_first_one_and_on_its_screen() {
    let workspace = Workspace::new();
    workspace.trains_with("steps = 300\nlayers = [0, 1]");
    for place in [ScreenName::Concept, ScreenName::Train] {
        let text = Screen::open(&workspace, Some("demo"), place, SIZES[1]).text();
        assert!(text.contains("layers 0,1, steps 300"), "{text}");
    }
}

#[test]
fn a_running_training_shows_its_loss_and_samples() {
    let workspace = Workspace::new();
    let _run = workspace.run().train(230).write().hold();
    snapshot("running", &workspace, ScreenName::Train);
}

#[test]
fn a_photo_that_is_held_out_has_a_curve_of_its_own_and_the_gap_is_told() {
    let workspace = Workspace::new();
    let _run = workspace.run().holding_out().train(400).write().hold();
    snapshot("held_out", &workspace, ScreenName::Train);
}

#[test]
fn a_finished_run_shows_both_sides_and_the_scores() {
    snapshot("finished", &finished(), ScreenName::Train);
}

#[test]
fn the_scores_of_checkpoints_are_a_curve_over_the_loss() {
    let workspace = finished();
    let score = |value: f64| serde_json::json!({ "value": value, "low": value, "high": value, "n": 8 });
    let line = |(i, job): (usize, &str)| {
        let rise = 0.05 * i as f64;
        // Eight prompts, some easier than others, and a little of each checkpoint's own.
        let sample = |prompt: usize| {
            let own = 0.03 * (prompt * 5 % 8) as f64 / 4.0 + 0.002 * ((prompt + i) * 3 % 7) as f64 - 0.11;
            serde_json::json!({
                "prompt": format!("prompt {prompt}"), "seed": 100 * prompt, "image": format!("{i} {prompt}"), "mask": null,
                "mask_empty": false, "masked_clip_i": 0.7 + rise + own, "clip_i": 0.6 + rise + own, "clip_t": 0.28 - rise / 9.0
            })
        };
        let line = serde_json::json!({
            "time": "2026-11-23T14:00:00Z", "job": job, "learned": i > 0, "step": 100 * i,
            "masked_clip_i": score(0.6), "clip_i": score(0.5), "clip_t": score(0.28), "balance": score(0.41),
            "backbone": { "name": "clip", "sha256": "ab" }, "fill": "black", "fill_colour": [0, 0, 0], "preprocessing": "224",
            "prompts": "ab", "photos_unmasked": 0, "samples_unmasked": 0, "samples_empty": 0, "photos": [],
            "samples": (0..8).map(sample).collect::<Vec<_>>()
        });
        line.to_string() + "\n"
    };
    // The run's own scoring measured its last checkpoint alone.
    let all = (0..=5).map(|i| (i, "jobs/20261123-140000-aaaa")).chain([(5, "runs/x/evaluation")]);
    let text: String = all.map(line).collect();
    std::fs::write(workspace.concept().join("runs").join(RUN).join("scores.jsonl"), text).unwrap();
    snapshot("scored", &workspace, ScreenName::Train);
}

#[test]
fn a_failed_run_says_why_and_how_to_go_on() {
    let workspace = Workspace::new();
    let message = "step 131: the loss is not a finite number: a lower learning_rate (now 0.01) usually helps";
    workspace.run().train(130).end(Event::Failed { message: message.into() }).write();
    snapshot("failed", &workspace, ScreenName::Train);
}

#[test]
fn a_run_that_nobody_works_on_any_more_is_interrupted_and_not_running() {
    let workspace = Workspace::new();
    workspace.run().train(130).write();
    let text = Screen::open(&workspace, Some("demo"), ScreenName::Train, SMALL).text();
    assert!(text.contains("interrupted at step 130 of 500") && text.contains("r resume"), "{text}");
}

#[test]
fn samples_scores_and_comparisons_are_shown() {
    let workspace = finished();
    let runs = workspace.concept().join("runs");
    let other = runs.join("20261123-170000-q2w9");
    assert!(std::process::Command::new("cp").arg("-r").args([&runs.join(RUN), &other]).status().unwrap().success());
    let spec = std::fs::read_to_string(other.join("run.toml")).unwrap();
    std::fs::write(other.join("run.toml"), spec.replace("[train]", "[train]\nprefix_length = 2")).unwrap();
    for (name, place) in
        [("compare", ScreenName::Compare), ("samples", ScreenName::Samples), ("scores", ScreenName::Scores)]
    {
        snapshot(name, &workspace, place);
    }
}

#[test]
fn scores_are_shown_with_what_they_owe_to_their_masks() {
    let workspace = finished();
    let path = workspace.concept().join("runs").join(RUN).join("events.jsonl");
    let score = |value: f64| serde_json::json!({ "value": value, "low": value - 0.03, "high": value + 0.03, "n": 10 });
    let with_masks = |line: &str| {
        let mut event: serde_json::Value = serde_json::from_str(line).unwrap();
        if event["balance"].is_object() {
            let rise = if event["learned"] == true { 0.2 } else { 0.0 };
            event["masked_dino"] = score(0.402 + rise);
            event["dino"] = score(0.381 + rise);
            event["mask_dependence"] = serde_json::json!({ "grown": 0.598 + rise, "shrunk": 0.621 + rise });
            event["dino_mask_dependence"] = serde_json::json!({ "grown": 0.39 + rise, "shrunk": 0.404 + rise });
            let mut rest = event.clone();
            rest["masked_clip_i"] = score(0.627 + rise);
            rest["masked_clip_i"]["n"] = 7.into();
            event["samples_doubtful"] = 3.into();
            event["without_doubtful"] = rest;
        }
        event.to_string() + "\n"
    };
    let events: String = std::fs::read_to_string(&path).unwrap().lines().map(with_masks).collect();
    std::fs::write(&path, events).unwrap();
    snapshot("scores_masks", &workspace, ScreenName::Scores);
    snapshot("finished_masks", &workspace, ScreenName::Train);
}

#[test]
fn without_a_run_each_screen_says_what_comes_there_and_how() {
    let workspace = Workspace::new();
    std::fs::remove_dir_all(workspace.concept().join("images")).unwrap();
    std::fs::remove_dir_all(workspace.concept().join("prompts")).unwrap();
    let places = [
        ("concept", ScreenName::Concept),
        ("compare", ScreenName::Compare),
        ("samples", ScreenName::Samples),
        ("scores", ScreenName::Scores),
    ];
    for (name, place) in places {
        snapshot(&format!("{name}_empty"), &workspace, place);
    }
    snapshot("jobs_empty", &workspace, ScreenName::Jobs);
}

#[test]
fn while_a_training_runs_every_screen_shows_it() {
    let workspace = Workspace::new();
    let run = workspace.run().train(230).write().hold();
    let jobs = queue(&run.folder, JobKind::Train);
    let places = [
        ("library", ScreenName::Library),
        ("concept", ScreenName::Concept),
        ("compare", ScreenName::Compare),
        ("scores", ScreenName::Scores),
        ("jobs", ScreenName::Jobs),
    ];
    for (name, place) in places {
        snapshot_told(&format!("{name}_busy"), &workspace, place, &jobs);
    }
}

#[test]
fn a_sampling_shows_its_pictures_as_they_come() {
    let workspace = Workspace::new();
    let sampling = workspace.sampling(7, 20).write().hold();
    snapshot_told("samples_busy", &workspace, ScreenName::Samples, &queue(&sampling.folder, JobKind::Sample));
}

#[test]
fn what_cannot_be_read_is_named_on_every_screen() {
    let workspace = finished();
    // A photo, a sample, scores, and the settings of a second run.
    std::fs::write(workspace.concept().join("images/grass.png"), "this is no picture").unwrap();
    let run = workspace.concept().join("runs").join(RUN);
    std::fs::write(run.join("evaluation/after/000-0.png"), "nor is this").unwrap();
    std::fs::write(run.join("scores.jsonl"), "{\n").unwrap();
    let other = workspace.concept().join("runs/20261123-170000-q2w9");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("run.toml"), "[train\n").unwrap();
    let places = [
        ("concept", ScreenName::Concept),
        ("train", ScreenName::Train),
        ("compare", ScreenName::Compare),
        ("samples", ScreenName::Samples),
        ("scores", ScreenName::Scores),
    ];
    for (name, place) in places {
        snapshot(&format!("{name}_error"), &workspace, place);
    }
}

#[test]
fn a_daemon_that_cannot_be_reached_is_told_of() {
    let workspace = Workspace::new();
    for (name, place) in [("library", ScreenName::Library), ("jobs", ScreenName::Jobs)] {
        for size in SIZES {
            let mut screen = Screen::open(&workspace, None, place, size);
            screen.text();
            screen.press(KeyCode::Char(if place == ScreenName::Jobs { '7' } else { '1' }));
            let why = "the daemon does not answer: `catbench daemon status` says more";
            screen.tell(Message::Update(Update::Down(why.into())));
            insta::assert_snapshot!(format!("{name}_error-{}x{}", size.0, size.1), screen.text());
        }
    }
}

#[test]
fn a_sample_is_rated_removed_and_restored() {
    let workspace = finished();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Samples, SMALL);
    screen.text();
    screen.press(KeyCode::Char('+')).press(KeyCode::Char('+'));
    screen.wait_for("★★");
    let ratings = std::fs::read_to_string(workspace.concept().join("ratings.toml")).unwrap();
    assert!(ratings.trim_end().ends_with(" = 2"), "{ratings}");
    let rated = workspace.concept().join(ratings.split('"').nth(1).unwrap());
    screen.press(KeyCode::Char('D')).press(KeyCode::Char('y'));
    screen.wait_for("in the trash");
    assert!(!rated.exists());
    screen.press(KeyCode::Char('U'));
    screen.wait_for("is back");
    assert!(rated.exists());
}

#[test]
fn what_is_not_confirmed_has_no_effect() {
    let workspace = finished();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Samples, SMALL);
    screen.text();
    screen.press(KeyCode::Char(' ')).press(KeyCode::Char(' '));
    assert!(screen.text().contains("✓ 2 marked"));
    screen.press(KeyCode::Char('D')).press(KeyCode::Char('n'));
    assert!(screen.text().contains("✓ 2 marked"), "{}", screen.text());
    screen.press(KeyCode::Char('U'));
    screen.wait_for("nothing of this concept is in the trash");
    screen.press(KeyCode::Char('D')).press(KeyCode::Char('y'));
    screen.wait_for("in the trash, the last one");
    let text = screen.wait_for("Samples of demo (28)");
    assert!(!text.contains("marked"), "what is gone is not marked: {text}");
    screen.press(KeyCode::Char('1'));
    screen.text();
    screen.press(KeyCode::Char(' ')).press(KeyCode::Char('D')).press(KeyCode::Char('n'));
    assert!(screen.text().contains("✓ 1 marked"), "{}", screen.text());
}

#[test]
fn the_trash_is_seen_and_what_is_marked_there_comes_back() {
    let workspace = finished();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Samples, SMALL);
    screen.text();
    screen.press(KeyCode::Char(' ')).press(KeyCode::Char(' ')).press(KeyCode::Char(' '));
    screen.press(KeyCode::Char('D')).press(KeyCode::Char('y'));
    screen.wait_for("Samples of demo (27)");
    for _ in 0..4 {
        screen.press(KeyCode::Char('f'));
    }
    let text = screen.wait_for("in the trash");
    assert!(text.contains("Samples of demo (3)") && text.contains("runs/"), "{text}");
    screen.press(KeyCode::Char('+'));
    assert!(screen.text().contains("it is in the trash"));
    screen.press(KeyCode::Char(' ')).press(KeyCode::Char(' ')).press(KeyCode::Char('U'));
    screen.wait_for("Samples of demo (1)");
    screen.press(KeyCode::Esc);
    screen.wait_for("Samples of demo (29)");
}

#[test]
fn a_sample_as_large_as_the_screen_is_rated_marked_and_removed_too() {
    let workspace = finished();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Samples, SMALL);
    screen.text();
    screen.press(KeyCode::Enter).press(KeyCode::Right).press(KeyCode::Char('+'));
    let text = screen.wait_for("★");
    assert!(text.contains("2 of 30") && !text.contains("This one"), "{text}");
    screen.press(KeyCode::Char(' '));
    assert!(screen.text().contains("3 of 30"));
    screen.press(KeyCode::Left);
    assert!(screen.text().contains("✓ ★"), "{}", screen.text());
    screen.press(KeyCode::Char('d'));
    assert!(screen.text().contains("brush"), "{}", screen.text());
    screen.press(KeyCode::Esc);
    screen.press(KeyCode::Char('D')).press(KeyCode::Char('y'));
    screen.wait_for("in the trash");
    // What was said goes with the next key.
    screen.press(KeyCode::Left);
    screen.wait_for("1 of 29");
    screen.press(KeyCode::Esc);
    assert!(screen.text().contains("This one"));
}

#[test]
fn the_cursor_shows_the_samples_of_its_step_also_of_a_scored_run() {
    let workspace = finished();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Train, SMALL);
    assert!(screen.text().contains("Untrained class"));
    screen.press(KeyCode::Left);
    let text = screen.text();
    assert!(text.contains(" Samples ") && text.contains("at step 499: step 450, a teapot #0"), "{text}");
    for _ in 0..4 {
        screen.press(KeyCode::Down);
    }
    let text = screen.text();
    assert!(text.contains("at step 299: step 250") && text.contains('▌'), "{text}");
    insta::assert_snapshot!("cursor-80x24", text);
    screen.press(KeyCode::Char('g'));
    assert!(screen.text().contains("none yet at step 1"), "{}", screen.text());
    screen.press(KeyCode::Esc);
    assert!(screen.text().contains("Untrained class"));
}

#[test]
fn the_sample_of_the_cursor_is_marked_without_the_focus_and_a_chosen_sample_moves_the_cursor() {
    let workspace = Workspace::new();
    workspace.run().train(230).end(Event::Stopped { step: 230 }).write();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Train, SMALL);
    let marks = |text: &str| text.lines().skip(2).filter(|line| line.contains('▌')).count();
    let before = marks(&screen.text());
    screen.press(KeyCode::Left).press(KeyCode::Down).press(KeyCode::Down);
    let text = screen.text();
    assert!(marks(&text) > before + 3, "{text}");
    screen.press(KeyCode::Tab).press(KeyCode::Right);
    let text = screen.text();
    assert!(text.contains("step 50 ·") && text.contains("at step 50: step 50"), "{text}");
}

#[test]
fn at_the_least_size_a_scored_run_shows_its_loss() {
    let workspace = finished();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Train, (60, 16));
    let text = screen.text();
    assert!(text.contains("7Jobs") && text.contains("balance 0.415 → 0.482"), "{text}");
    assert!(
        text.contains("steps") && text.chars().filter(|c| ('\u{2801}'..='\u{28ff}').contains(c)).count() > 60,
        "{text}"
    );
    insta::assert_snapshot!("finished-60x16", text);
}

#[test]
fn the_queue_shows_how_far_the_job_at_work_is_by_itself() {
    let workspace = Workspace::new();
    let run = workspace.run().train(60).write().hold();
    queue_file(&workspace, 1, &format!("demo/runs/{RUN}"));
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Jobs, SMALL);
    screen.wait_for("step 60");
    let tell = |event: Event| {
        let seq = EventReader::new(&run.folder.join("events.jsonl")).read_new().unwrap().len() as u64;
        let record = EventRecord { seq, time: jiff::Timestamp::now(), event };
        let mut events = std::fs::OpenOptions::new().append(true).open(run.folder.join("events.jsonl")).unwrap();
        events.write_all((serde_json::to_string(&record).unwrap() + "\n").as_bytes()).unwrap();
    };
    // Nothing in the queue changes, and no key is pressed.
    tell(Event::Step { step: 61, loss: 0.1, loss_by_quarter: [None; 4], seconds: 0.3 });
    screen.wait_for("step 61");
    tell(Event::Progress { phase: Phase::Sample, done: 3, total: 4 });
    screen.wait_for("75 %, samp");
}

#[test]
fn what_a_run_takes_is_reached_in_a_small_terminal() {
    let workspace = Workspace::new();
    let _run = workspace.run().train(230).write().hold();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Train, SMALL);
    assert!(screen.text().contains("Shift-Tab: this run"));
    screen.press(KeyCode::BackTab);
    insta::assert_snapshot!("facts-80x24", screen.text());
    screen.press(KeyCode::Char('G'));
    assert!(screen.text().contains("numbers"), "{}", screen.text());
    screen.press(KeyCode::Tab);
    assert!(screen.text().contains("▌Loss"));
}

#[test]
fn a_scoring_of_checkpoints_is_seen_on_the_run_and_a_training_can_be_sampled() {
    let workspace = Workspace::new();
    let run = workspace.run().train(230).write().hold();
    let folder = workspace.concept().join("jobs/20261123-150000-aaaa");
    std::fs::create_dir_all(&folder).unwrap();
    let spec = format!(
        "concept = \"demo\"\nclass_word = \"teapot\"\nscore_model = \"/nowhere\"\nrun = \"{RUN}\"\n\
         base_model = \"/nowhere\"\n[task]\nwhat = \"checkpoints\"\n[score]\n"
    );
    std::fs::write(folder.join("score.toml"), spec).unwrap();
    let mut jobs = queue(&run.folder, JobKind::Train);
    jobs.truncate(3);
    jobs[2].job = folder;
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Train, SMALL);
    screen.text();
    screen.tell(Message::Update(Update::Jobs(jobs)));
    let text = screen.draw();
    assert!(text.contains("job 5 scores the checkpoints: waits for job 4"), "{text}");
    screen.press(KeyCode::Char('p'));
    assert!(screen.draw().contains("Sample run"), "{}", screen.draw());
}

#[test]
fn scores_begin_on_the_shown_run_and_are_sorted_and_filtered() {
    let workspace = finished();
    let runs = workspace.concept().join("runs");
    for (id, better) in [("20261123-170000-q2w9", "0.9"), ("20261124-090000-aaaa", "0.3")] {
        let other = runs.join(id);
        assert!(std::process::Command::new("cp").arg("-r").args([&runs.join(RUN), &other]).status().unwrap().success());
        let events = std::fs::read_to_string(other.join("events.jsonl")).unwrap();
        let events = events.replace("\"balance\":{\"value\":0.48166", &format!("\"balance\":{{\"value\":{better}"));
        std::fs::write(other.join("events.jsonl"), events).unwrap();
    }
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Scores, SMALL);
    let text = screen.text();
    assert!(text.contains("▸✓ 20261124-090000-aaaa"), "the shown run is the last: {text}");
    assert!(text.contains("0.812 ±.020"), "intervals of all: {text}");
    screen.press(KeyCode::Char('S'));
    let text = screen.text();
    let at = |id: &str| text.find(id).unwrap_or_else(|| panic!("{id} in {text}"));
    assert!(text.contains("best balance first") && at("20261123-170000") < at("20261124-090000"), "{text}");
    assert!(text.contains("▸✓ 20261124-090000-aaaa"), "it stays chosen: {text}");
    screen.type_text("/0900").press(KeyCode::Enter);
    let text = screen.text();
    assert!(text.contains("(1 of 3)") && !text.contains("20261123-170000"), "{text}");
}

#[test]
fn notes_of_several_lines_and_prompt_lists_are_written() {
    let workspace = Workspace::with_models();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Concept, SMALL);
    screen.text();
    let save = || {
        let control = crossterm::event::KeyModifiers::CONTROL;
        crossterm::event::Event::Key(crossterm::event::KeyEvent::new(KeyCode::Char('s'), control))
    };
    screen.press(KeyCode::Char('e')).type_text("from the attic").press(KeyCode::Enter).type_text("a gift");
    assert!(screen.text().contains("Ctrl-S saves"));
    screen.press(KeyCode::Esc);
    assert!(screen.text().contains("not saved"), "{}", screen.text());
    screen.send(save());
    screen.wait_for("a gift");
    let file = std::fs::read_to_string(workspace.concept().join("concept.toml")).unwrap();
    assert!(file.contains("from the attic") && file.contains("a gift"), "{file}");
    screen.press(KeyCode::Char('n')).type_text("views").press(KeyCode::Enter);
    screen.type_text("a {concept} from {above|below}");
    assert!(screen.text().contains("✓ 2 prompts"), "{}", screen.text());
    screen.send(save());
    screen.wait_for("views.txt");
    let list = workspace.concept().join("prompts/views.txt");
    assert_eq!(std::fs::read_to_string(&list).unwrap(), "a {concept} from {above|below}\n");
    screen.press(KeyCode::BackTab).press(KeyCode::Down).press(KeyCode::Char('e')).press(KeyCode::Enter);
    screen.type_text("a {concept}").send(save());
    screen.wait_for("views.txt");
    common::wait_until("the list is longer", || std::fs::read_to_string(&list).unwrap().lines().count() == 2);
}

#[test]
fn all_findings_are_listed_photo_by_photo() {
    let workspace = Workspace::with_models();
    std::fs::remove_file(workspace.concept().join("masks/snow.png")).unwrap();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Concept, (150, 48));
    screen.text();
    screen.press(KeyCode::Tab).press(KeyCode::Tab).press(KeyCode::Enter);
    let text = screen.text();
    assert!(text.contains("Findings of demo") && text.contains("beach.png"), "{text}");
    assert!(text.contains("no mask: scored whole") && text.contains("1 of 5 photos have no mask"), "{text}");
}

#[test]
fn a_graph_is_moved_by_keys_and_the_wheel_zooms_it() {
    let workspace = finished();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Train, SMALL);
    screen.text();
    let wheel = |column| {
        let kind = crossterm::event::MouseEventKind::ScrollUp;
        let modifiers = crossterm::event::KeyModifiers::NONE;
        crossterm::event::Event::Mouse(crossterm::event::MouseEvent { kind, column, row: 6, modifiers })
    };
    screen.send(wheel(70)).send(wheel(70));
    let text = screen.text();
    assert!(text.contains("zoomed") && text.contains('◂'), "{text}");
    let shift = |code| {
        let modifiers = crossterm::event::KeyModifiers::SHIFT;
        crossterm::event::Event::Key(crossterm::event::KeyEvent::new(code, modifiers))
    };
    for _ in 0..12 {
        screen.send(shift(KeyCode::Left));
    }
    let text = screen.text();
    assert!(!text.contains('◂') && text.contains('▸'), "{text}");
    screen.press(KeyCode::Char(')'));
    assert!(screen.text().contains('◂'), "{}", screen.text());
}

#[test]
fn the_queue_is_seen_and_changed() {
    let workspace = Workspace::with_models();
    let (number, _) = common::queue_training(&workspace, 4, &[]);
    assert!(catbench(&workspace, &["wait", &number.to_string()]).output().unwrap().status.success());
    let mut screen = Screen::open(&workspace, None, ScreenName::Library, SMALL);
    screen.text();
    screen.press(KeyCode::Char('7'));
    let text = screen.wait_for("✓ finished");
    assert!(text.contains("train") && text.contains("demo"), "{text}");
    screen.press(KeyCode::Char('p'));
    assert!(screen.text().contains("job 1 is finished"));
    screen.press(KeyCode::Char('o'));
    screen.wait_for("Job 1: log");
}

#[test]
fn the_form_explains_each_setting_and_names_what_is_wrong() {
    let workspace = Workspace::with_models();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Train, SMALL);
    screen.text();
    screen.press(KeyCode::Char('t')).press(KeyCode::Down).press(KeyCode::Down);
    let text = screen.wait_for("What it needs");
    assert!(text.contains("Optimizer steps."), "{text}");
    screen.press(KeyCode::Backspace).press(KeyCode::Backspace).press(KeyCode::Backspace).press(KeyCode::Char('0'));
    assert!(screen.text().contains("steps = 0: must be"), "{}", screen.text());
    screen.press(KeyCode::Enter);
    assert!(!workspace.concept().join("runs").exists(), "it begins with wrong settings");
}

#[test]
fn keys_move_enlarge_and_go_back_but_escape_never_quits() {
    let workspace = finished();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Concept, SMALL);
    screen.text();
    screen.press(KeyCode::Right).press(KeyCode::Enter);
    assert!(screen.text().contains("2 of 5"), "{}", screen.text());
    screen.press(KeyCode::Char('l'));
    assert!(screen.text().contains("night.png"));
    for _ in 0..4 {
        assert_ne!(screen.press(KeyCode::Esc).last, Next::Quit);
    }
    assert!(screen.text().contains("▌1 Library"));
    screen.press(KeyCode::Char('3'));
    screen.text();
    screen.press(KeyCode::Left);
    assert!(screen.text().contains("step 499 ·"), "{}", screen.text());
    screen.press(KeyCode::Esc).press(KeyCode::Tab).press(KeyCode::Tab);
    assert!(screen.text().contains("▌Learned"));
    assert_eq!(screen.press(KeyCode::Char('q')).last, Next::Quit);
}

#[test]
fn what_is_seen_can_be_clicked() {
    let workspace = finished();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Concept, SMALL);
    screen.text();
    screen.click(16, 0);
    screen.click(24, 0);
    assert!(screen.text().contains("▌3 Train"), "{}", screen.text());
    let text = screen.text();
    let help = text.lines().last().unwrap().chars().collect::<String>();
    let column = help.find("? help").map(|byte| help[..byte].chars().count()).unwrap();
    screen.click(column as u16, 23);
    assert!(screen.text().contains("Esc goes back"));
}

#[test]
fn the_palette_finds_what_can_be_done_now_and_the_verbs_of_the_command_line() {
    let workspace = Workspace::new();
    let _run = workspace.run().train(120).write().hold();
    let mut screen = Screen::open(&workspace, Some("demo"), ScreenName::Train, SMALL);
    screen.text();
    screen.type_text(":st");
    let text = screen.text();
    assert!(text.contains("▸ stop") && !text.contains("go on with this run"), "{text}");
    screen.press(KeyCode::Enter);
    assert!(screen.text().contains("Stop this training?"));
    screen.press(KeyCode::Esc);
    assert!(!screen.text().contains("Stop this training?"));
    screen.type_text(":model").press(KeyCode::Enter);
    assert!(screen.text().contains(" : model check"), "{}", screen.text());
}

#[test]
fn help_lists_every_key() {
    let workspace = Workspace::new();
    for place in ScreenName::ALL {
        let mut screen = Screen::open(&workspace, Some("demo"), place, (150, 48));
        screen.text();
        screen.press(KeyCode::Char('?'));
        let text = screen.text();
        for binding in catbench::tui::keymap::BINDINGS.iter().filter(|b| b.is_at(place) && !b.shown.is_empty()) {
            assert!(
                text.contains(binding.help.get(..20).unwrap_or(binding.help)),
                "{} on {place:?}\n{text}",
                binding.shown
            );
        }
    }
}

#[test]
fn a_terminal_that_is_too_small_is_told_so() {
    let workspace = Workspace::new();
    let screen = |size| Screen::open(&workspace, Some("demo"), ScreenName::Concept, size).text();
    assert!(screen((59, 16)).contains("59 × 16 is too small: 60 × 16 at least"));
    assert!(screen((60, 16)).contains("Photos"));
}

#[test]
fn no_size_breaks_a_screen() {
    let workspace = Workspace::new();
    workspace.run().train(120).evaluate().write();
    for place in ScreenName::ALL {
        let mut screen = Screen::open(&workspace, Some("demo"), place, SMALL);
        screen.text();
        for (width, height) in [(1, 1), (60, 16), (61, 17), (79, 23), (300, 20), (60, 90), (200, 100)] {
            screen.area = Rect::new(0, 0, width, height);
            screen.draw();
            for key in ['?', ':'] {
                screen.press(KeyCode::Char(key));
                screen.draw();
                screen.press(KeyCode::Esc);
            }
        }
    }
    assert!(workspace.concept().join("runs").join(RUN).exists());
}
