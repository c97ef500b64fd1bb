//! The queue under impatient hands, on real processes: pauses that come too often, jobs after others, folders that are moved,
//! copies that have to come all the same.

use crate::common::{self, Workspace, catbench, events, job_state, jobs, json, queue_training, wait_until};
use assert_cmd::assert::OutputAssertExt;
use catbench::client;
use catbench::protocol::{Event, JobChange, JobState};
use catbench::workspace::Home;
use predicates::boolean::PredicateBooleanExt;
use predicates::str::contains;

#[test]
fn impatient_pauses_stop_no_later_attempt() {
    let workspace = Workspace::with_models();
    let (number, run) = queue_training(&workspace, 4000, &[]);
    let home = Home::at(workspace.home()).unwrap();
    let pause = || client::change(&home, number, JobChange::Pause);
    for round in 0..6 {
        let from = events(&run).len();
        wait_until("it is at work", || events(&run).len() > from + 3);
        // Several at once, as from two terminals: most come while it stops, or just after.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(pause);
            }
        });
        wait_until("it is paused", || job_state(&workspace, number) == JobState::Paused);
        client::change(&home, number, JobChange::Resume).unwrap();
        let from = events(&run).len();
        wait_until("it is at work again", || events(&run).len() > from + 6);
        assert_eq!(job_state(&workspace, number), JobState::Running, "round {round}");
    }
    catbench(&workspace, &["jobs", "cancel", &number.to_string()]).assert().code(0);
}

#[test]
fn a_sampling_is_of_the_checkpoint_that_its_training_ends_with_and_stop_means_the_run_at_work() {
    let workspace = Workspace::with_models();
    let (training, run) = queue_training(&workspace, 60, &[]);
    let after = training.to_string();
    let args = ["sample", "demo", "--prompt", "a {concept}", "-n", "1", "--steps", "1", "--after", &after];
    let pictures = json(&workspace, &args)["pictures"].clone();
    let text = std::fs::read(pictures[0].as_str().unwrap()).unwrap();
    assert!(String::from_utf8_lossy(&text).contains("step-000060.safetensors"), "not that of its last step");
    assert_eq!(common::events(&run).iter().filter(|event| matches!(event, Event::Step { .. })).count(), 60);

    let (_, at_work) = queue_training(&workspace, 4000, &[]);
    let (_, waits) = queue_training(&workspace, 10, &[]);
    common::wait_for_step(&at_work, 3);
    let [at_work, waits] = [at_work, waits].map(|run| run.file_name().unwrap().to_str().unwrap().to_owned());
    catbench(&workspace, &["stop", "demo"]).assert().code(0).stdout(contains(format!("{at_work} stopped")));
    catbench(&workspace, &["watch", "demo", "--run", &waits]).assert().code(0);
}

#[test]
fn a_training_whose_folder_is_moved_ends_and_says_so() {
    let workspace = Workspace::with_models();
    // A checkpoint at each step: what it cannot write first is now a checkpoint, now an event.
    let steps = ["--steps", "4000", "--batch-size", "1", "--checkpoint-every", "1", "--validate-every", "0"];
    let queued = json(&workspace, &[&["train", "demo", "--detach", "--sample-every", "0"][..], &steps].concat());
    let (number, run) = (queued["job"].as_u64().unwrap(), std::path::PathBuf::from(queued["path"].as_str().unwrap()));
    let moved = workspace.home().join("moved");
    for round in 0..8 {
        let from = events(&run).len();
        wait_until("it is at work", || events(&run).len() > from + 6);
        std::fs::rename(workspace.concept(), &moved).unwrap();
        wait_until("it has failed", || job_state(&workspace, number) == JobState::Failed);
        assert!(!workspace.concept().exists(), "round {round}: something was written where it was");
        let cause = jobs(&workspace)[0].cause.clone().unwrap();
        assert!(cause.contains("moved or removed"), "round {round}: {cause}");
        std::fs::rename(&moved, workspace.concept()).unwrap();
        let last = events(&run).pop();
        let said = matches!(&last, Some(Event::Failed { message }) if message.contains("moved or removed"));
        assert!(said, "round {round}: {last:?}");
        catbench(&workspace, &["jobs", "retry", &number.to_string()]).assert().code(0);
    }
    let from = events(&run).len();
    wait_until("it goes on", || events(&run).len() > from + 3);
    catbench(&workspace, &["jobs", "cancel", &number.to_string()]).assert().code(0);
}

#[test]
fn copies_of_pictures_come_also_after_a_retry_and_lie_over_nothing() {
    let workspace = Workspace::with_models();
    let out = workspace.home().join("out");
    let list = workspace.home().join("list.txt");
    std::fs::write(&list, "a {concept} --seed {1..300}\n").unwrap();
    let args = ["sample", "demo", "--untrained", "--prompts", list.to_str().unwrap(), "--steps", "12", "--out"];
    let sample = |out: &std::path::Path| catbench(&workspace, &[&args[..], &[out.to_str().unwrap()]].concat());
    let mut client = sample(&out).spawn().unwrap();
    wait_until("it samples", || jobs(&workspace).iter().any(|job| job.state == JobState::Running));
    catbench(&workspace, &["jobs", "cancel", "1"]).assert().code(0);
    assert!(!client.wait().unwrap().success());
    let copies = || std::fs::read_dir(&out).unwrap().count();
    assert_eq!(copies(), 0);
    catbench(&workspace, &["jobs", "retry", "1"]).assert().code(0);
    catbench(&workspace, &["wait", "1"]).assert().code(0);
    assert_eq!(copies(), 300);
    sample(&out).assert().code(1).stderr(contains("001-seed-1.png").and(contains("already")));
    assert_eq!(jobs(&workspace).len(), 1);
}
