//! Several processes on one store: nothing is trained or asked twice, and one that is killed holds up nobody.

use std::collections::BTreeMap;

use synergy_tests::{Project, Stop, TINY};

use crate::{assert_whole, project};

const REPRODUCE: [&str; 3] = ["reproduce", "--profile", "tiny"];

/// A run that stands still within its stage `sft`, and another that waits for that stage.
fn one_frozen_and_one_waiting(
    project: &Project,
) -> (synergy_tests::Running, synergy_tests::Running) {
    project.recipe(TINY, "tiny", &[("num_questions = 12", "num_questions = 40")]);
    let mut first = project.start(&REPRODUCE);
    first.wait_for("  2/20 ");
    first.signal(Stop::Freeze);
    let mut second = project.start(&REPRODUCE);
    second.wait_for("another process is working on stage `sft` (seed 1); this one waits for it");
    (first, second)
}

/// Asserts that no stage was finished twice, no row was asked twice, and no lock is left.
fn assert_done_once(project: &Project) {
    let mut times = BTreeMap::<String, usize>::new();
    for event in project.events("tiny") {
        let name = match event["kind"].as_str().expect("an event has a kind") {
            "stage_done" => event["stage"].to_string(),
            "evaluated" if event["cached"] == false => event["row"].to_string() + " row",
            _ => continue,
        };
        *times.entry(name).or_default() += 1;
    }
    assert_eq!(times.len(), 9 + 18, "{times:?}");
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    let files = project.files("runs/store");
    assert!(files.keys().all(|name| !name.ends_with(".lock")), "{:?}", files.keys());
    assert_whole(project, true);
}

#[test]
fn a_second_run_takes_what_the_first_one_trains() {
    let project = project();
    let (first, second) = one_frozen_and_one_waiting(&project);
    first.signal(Stop::Thaw);
    let (first, second) = (first.finish(), second.finish());
    assert_eq!((first.code, second.code), (0, 0), "{}\n{}", first.stderr, second.stderr);
    assert_done_once(&project);
    // Every step was taken once as well.
    let events = project.events("tiny");
    let steps = events.iter().filter(|e| e["kind"] == "step" && e["stage"] == "sft");
    let steps: Vec<u64> = steps.map(|e| e["step"].as_u64().expect("a step is a number")).collect();
    assert_eq!(steps, Vec::from_iter(0..20));
}

#[test]
fn a_second_run_goes_on_where_the_first_one_was_killed_and_may_be_stopped_while_it_waits() {
    let project = project();
    let (first, second) = one_frozen_and_one_waiting(&project);
    let third = project.run_until("another process is working on", Stop::Interrupt, &REPRODUCE);
    assert_eq!(third.code, 130, "{}", third.stderr);
    assert!(
        third
            .stderr
            .contains("interrupted while waiting for stage `sft` (seed 1)\nhint: the other"),
        "{}",
        third.stderr
    );
    first.signal(Stop::Kill);
    assert_eq!(first.finish().code, 128 + 9);
    let second = second.finish();
    assert_eq!(second.code, 0, "{}", second.stderr);
    assert_done_once(&project);
    let events = project.events("tiny");
    let resumed = events.iter().find(|e| e["kind"] == "stage_resumed").expect("it was resumed");
    assert!(resumed["stage"] == "sft" && resumed["step"].as_u64() >= Some(1), "{resumed}");
}
