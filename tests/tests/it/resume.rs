//! Stopped at any moment, a run goes on and ends as if it had not been.
//!
//! Does not know what a checkpoint holds.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::json;
use synergy_suite::key::Key;
use synergy_suite::run::store::Store;
use synergy_tests::{Project, Stop, TINY};

use crate::{FILTERS, assert_whole, project, stage_keys, succeed};

const REPRODUCE: [&str; 3] = ["reproduce", "--profile", "tiny"];

/// Twenty steps of fine-tuning, so that a signal finds the stage still running.
const LONGER: (&str, &str) = ("num_questions = 12", "num_questions = 40");

/// Two projects with `edits` of the recipe: one whose run has finished, and one with no run yet.
fn whole_and_new(edits: &[(&str, &str)]) -> [Project; 2] {
    let projects = [project(), project()];
    projects.iter().for_each(|project| project.recipe(TINY, "tiny", edits));
    succeed(&projects[0], &REPRODUCE);
    projects
}

/// Runs until `marker` is printed, then kills the run.
#[track_caller]
fn kill_at(project: &Project, marker: &str) {
    let killed = project.run_until(marker, Stop::Kill, &REPRODUCE);
    assert_eq!(killed.code, 128 + 9, "{marker}: {}", killed.stderr);
}

/// Steps from which stages were resumed.
fn resumed_at(project: &Project) -> Vec<u64> {
    let events = project.events("tiny");
    let resumed = events.iter().filter(|e| e["kind"] == "stage_resumed");
    resumed.map(|e| e["step"].as_u64().expect("a step is a number")).collect()
}

#[test]
fn a_run_killed_three_times_ends_as_one_that_was_not() {
    let [whole, project] = whole_and_new(&[LONGER]);
    // The first table comes with the first regime.
    for (marker, has_table) in
        [("evaluate base", false), ("  4/20 ", false), ("grpo (seed 1)              1/2", true)]
    {
        kill_at(&project, marker);
        assert_eq!(project.path("runs/tiny/results.json").exists(), has_table, "{marker}");
        assert_whole(&project, false);
    }
    // What a kill in the middle of writing leaves behind: a folder that nobody may read.
    let key = &stage_keys(&whole, "tiny", "sft")[0];
    project.write(&format!("runs/store/.{key}.1/model.safetensors"), "half");
    succeed(&project, &REPRODUCE);
    // A checkpoint every step, and the fourth was over.
    let steps = resumed_at(&project);
    assert!(steps.first().is_some_and(|step| *step >= 3), "resumed at {steps:?}");
    assert_eq!(project.questions_and_rows("tiny"), whole.questions_and_rows("tiny"));
    assert_eq!(stage_keys(&project, "tiny", "sft"), stage_keys(&whole, "tiny", "sft"));
    let weights = |project: &Project| {
        fs::read(project.path(&format!("runs/store/{key}/model.safetensors"))).unwrap()
    };
    assert!(weights(&project) == weights(&whole), "the weights differ");
    assert_whole(&project, false);
}

/// Files of answers in progress, with their lines.
fn journals(project: &Project) -> Vec<usize> {
    let entries = fs::read_dir(project.path("runs/store")).expect("the store is there");
    let paths = entries.map(|entry| entry.expect("the store can be read").path());
    let journals = paths.filter(|path| path.to_string_lossy().ends_with(".journal.jsonl"));
    journals.map(|path| fs::read_to_string(path).expect("a journal").lines().count()).collect()
}

#[test]
fn answers_go_on_at_their_last_hundred_questions() {
    let edits = [
        ("questions_per_family = 2\n", "questions_per_family = 60\n"),
        ("num_questions = 12", "num_questions = 240"),
        ("num_epochs = 2\n", "num_epochs = 1\n"),
    ];
    let [whole, project] = whole_and_new(&edits);
    for (stopped, gone) in [("evaluate base", "100/360"), ("asked (seed 1)", "100/240")] {
        let marker = format!("  {stopped:<26} {gone}");
        let ended = project.run_until(&marker, Stop::Interrupt, &REPRODUCE);
        let goes_on = ended.stderr.contains("goes on from there");
        assert!(ended.code == 130 && goes_on, "{}", ended.stderr);
        let kept = journals(&project);
        assert!(kept.len() == 1 && kept[0] >= 1, "{stopped}: {kept:?}");
    }
    let last = succeed(&project, &REPRODUCE);
    let evaluated = format!("  {:<26} 100/360", "evaluate base");
    for done in ["100/240", &evaluated] {
        assert!(!last.stderr.contains(done), "{}", last.stderr);
    }
    assert_eq!(journals(&project), [0; 0]);
    assert_eq!(project.questions_and_rows("tiny"), whole.questions_and_rows("tiny"));
    assert_whole(&project, false);
}

#[test]
fn an_adapter_that_was_killed_twice_ends_as_one_that_was_not() {
    let lora = "checkpoint_every = 1\nlora = { r = 4, lora_alpha = 8.0, target_modules = [\"q_proj\", \"down_proj\"] }";
    let edits = [
        LONGER,
        ("checkpoint_every = 1", lora),
        // Muon is for whole matrices.
        ("muon_learning_rate = 3e-3", "muon_learning_rate = 0.0"),
    ];
    let [whole, project] = whole_and_new(&edits);
    for marker in ["  4/20 ", "grpo (seed 1)              1/2"] {
        kill_at(&project, marker);
        assert_whole(&project, false);
    }
    succeed(&project, &REPRODUCE);
    let steps = resumed_at(&project);
    assert!(steps.first().is_some_and(|step| *step >= 3), "resumed at {steps:?}");
    assert_eq!(project.questions_and_rows("tiny"), whole.questions_and_rows("tiny"));
    for stage in ["sft", "grpo", "progressive"] {
        let key = &stage_keys(&whole, "tiny", stage)[0];
        for file in ["model.safetensors", "adapter_model.safetensors", "adapter_config.json"] {
            let path = format!("runs/store/{key}/{file}");
            let [a, b] = [&whole, &project].map(|p| fs::read(p.path(&path)).unwrap());
            assert!(a == b, "`{file}` of `{stage}` differs");
        }
    }
}

#[test]
fn stopped_at_any_stage_a_run_ends_as_one_that_was_not() {
    // More steps everywhere, so that a signal finds the stage still running.
    let longer = [
        LONGER,
        ("num_steps = 2\n", "num_steps = 12\n"),
        ("num_steps = 3\n", "num_steps = 12\n"),
        ("num_generations = 2\n", "num_generations = 8\n"),
        ("num_epochs = 2\n", "num_epochs = 3\n"),
    ];
    let [whole, project] = whole_and_new(&longer);
    for (i, stage) in
        ["sft", "grpo", "grpo_after_sft", "progressive", "asked", "sft_mixed", "evaluate merged"]
            .into_iter()
            .enumerate()
    {
        // Asked to stop, then killed where it has got to by then.
        let seed = if i < 6 { "(seed 1) " } else { "" };
        let marker = format!("  {stage} {seed}");
        let stopped = project.run_until(&marker, Stop::Interrupt, &REPRODUCE);
        assert!(stopped.code == 130 || i > 5, "{stage}: {}", stopped.stderr);
        if i < 6 {
            kill_at(&project, "  ");
        }
        assert_whole(&project, false);
    }
    succeed(&project, &REPRODUCE);
    assert!(resumed_at(&project).len() > 3);
    assert_eq!(project.questions_and_rows("tiny"), whole.questions_and_rows("tiny"));
    let summaries = |project: &Project| {
        let results = project.json("runs/tiny/results.json");
        let stages = results["training"].as_array().unwrap().clone();
        stages.into_iter().map(|stage| stage["summary"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(summaries(&project), summaries(&whole));
}

#[test]
fn an_interrupted_run_says_so_and_goes_on_from_there() {
    let project = project();
    // A checkpoint at the interruption, not before.
    let rarely = ("checkpoint_every = 1", "checkpoint_every = 100");
    project.recipe(TINY, "tiny", &[LONGER, rarely]);
    let interrupted = project.run_until("  2/20 ", Stop::Interrupt, &REPRODUCE);
    assert_eq!(interrupted.code, 130, "{}", interrupted.stderr);
    let said = &interrupted.stderr[interrupted.stderr.find("error: ").unwrap()..];
    insta::with_settings!({ filters => FILTERS }, {
        insta::assert_snapshot!(said, @r"
        error: interrupted at step [n] of `sft`
        hint: the same command goes on from there
        ");
    });
    assert_whole(&project, true);

    succeed(&project, &REPRODUCE);
    let steps = resumed_at(&project);
    assert!(steps.len() == 1 && steps[0] >= 2, "resumed at {steps:?}");
    // No step is done twice.
    let events = project.events("tiny");
    let steps = events.iter().filter(|e| e["kind"] == "step" && e["stage"] == "sft");
    let steps: Vec<u64> = steps.map(|e| e["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, Vec::from_iter(0..20));
}

/// The names in `folder`, if it was the same folder before and after looking.
fn names(folder: &Path) -> Option<Vec<String>> {
    let inode = || fs::metadata(folder).ok().map(|m| m.ino());
    let before = inode()?;
    let entries = fs::read_dir(folder).ok()?;
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok().map(name)).collect();
    names.sort();
    (inode()? == before).then_some(names)
}

#[test]
fn a_checkpoint_that_is_replaced_is_whole_at_every_moment() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let key = Key::of(&json!("checkpoint"));
    let files = |byte: u8| -> BTreeMap<String, Vec<u8>> {
        (0..12).map(|i| (format!("{i}.bin"), vec![byte; 10])).collect()
    };
    store.put(&key, &json!(0), &files(0)).unwrap();
    let folder = dir.path().join(key.as_str());
    let whole = names(&folder).unwrap();
    assert_eq!(whole.len(), 13);
    // Left by a process that was killed before it could clear away what it had replaced.
    let left = dir.path().join(format!(".{}.old", key.as_str()));
    fs::create_dir(&left).unwrap();
    fs::write(left.join("0.bin"), "").unwrap();
    // What somebody else sees now is what a kill would leave now.
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for byte in 1..=40 {
                store.put(&key, &json!(byte), &files(byte)).unwrap();
            }
        });
        while !writer.is_finished() {
            if let Some(seen) = names(&folder) {
                assert_eq!(seen, whole);
            }
        }
    });
    assert_eq!(store.get(&key).unwrap().unwrap(), files(40));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something was left behind");
}
