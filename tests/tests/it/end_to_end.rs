//! From a recipe to a leaderboard, and what the second call does.
//!
//! Does not know what a good result is: a nano model learns nothing in six steps.

use synergy_tests::TINY;

use crate::{assert_follows_schema, assert_whole, project, stage_keys, succeed};

const ROWS: [&str; 17] = [
    "base",
    "null",
    "greedy",
    "no_template",
    "shuffled",
    "sft",
    "sft/shuffled",
    "rl",
    "rl/shuffled",
    "two_stage",
    "two_stage/shuffled",
    "progressive",
    "progressive/shuffled",
    "data_mixing",
    "data_mixing/shuffled",
    "merged",
    "merged/shuffled",
];

/// The objective of every stage but the second of two.
const STUDY: &str = "{ preset = \"grpo_study\" }";
/// A second run is there to be looked at, so it must not feel like a run.
const SECOND_RUN_S_MAX: f64 = 3.0;

#[test]
fn reproduce_publishes_leaderboard_report_results_events_and_completions() {
    let project = project();
    let plan = succeed(&project, &["plan", "--profile", "tiny"]).stdout;
    assert!(!project.path("runs").exists(), "planning does not touch the disk");
    let run = succeed(&project, &["reproduce", "--profile", "tiny"]);
    // The plan comes before the work.
    let (device, rest) = run.stderr.split_once('\n').unwrap();
    assert!(device.starts_with("device ") && rest.starts_with(&plan), "{}", run.stderr);

    let leaderboard = project.json("runs/tiny/leaderboard.json");
    assert_follows_schema("leaderboard", &leaderboard);
    let rows = leaderboard["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ROWS);

    let report = project.read("runs/tiny/report.md");
    assert!(report.starts_with("# Synergy, profile tiny\n"), "{report}");
    let results = project.json("runs/tiny/results.json");
    assert_eq!(results["questions"].as_array().unwrap().len(), 12);
    for name in ["base", "sft", "rl", "two_stage", "progressive", "data_mixing", "merged"] {
        assert!(report.contains(&format!("| {name}")), "no `{name}` in\n{report}");
        assert!(run.stdout.contains(&format!("\n{name} ")), "no `{name}` in\n{}", run.stdout);
    }
    assert!(run.stdout.ends_with("leaderboard, report and results are in runs/tiny\n"));

    for (name, seed, num_completions) in [("levels", 0, 24), ("base", 0, 24), ("greedy", 0, 12)] {
        let path = format!("runs/tiny/completions/{name}-{seed}.jsonl");
        assert_eq!(project.read(&path).lines().count(), num_completions, "{path}");
    }
    assert_eq!(project.files("runs/tiny/completions").len(), 1 + ROWS.len());

    let events = project.events("tiny");
    assert_eq!(events[0]["kind"], "started");
    assert_eq!(events[events.len() - 1]["kind"], "finished");
    assert_eq!(events.iter().filter(|e| e["kind"] == "step").count(), 6 + 2 + 2 + 3 + 6);
    // SFT is shared by two regimes and trained once.
    assert_eq!(stage_keys(&project, "tiny", "sft").len(), 1);
    assert_eq!(stage_keys(&project, "tiny", "grpo").len(), 1);
    assert_eq!(stage_keys(&project, "tiny", "grpo_after_sft").len(), 1);
    // A curve for each stage that trains in steps.
    let curves = project.files("runs/tiny/tensorboard");
    assert_eq!(curves.len(), 5, "{:?}", curves.keys());
    let has = |bytes: &[u8], name: &str| bytes.windows(name.len()).any(|w| w == name.as_bytes());
    for (path, bytes) in curves.iter().filter(|(path, _)| path.starts_with("grpo-1-")) {
        for figure in ["zero_advantage", "truncated", "entropy_nats", "kl_nats", "clip_fraction"] {
            assert!(has(bytes, figure), "no {figure} in {path}");
        }
    }
    // Accuracy can be read per budget.
    let merged = rows.iter().find(|row| row["name"] == "merged").unwrap();
    let stages = leaderboard["training"].as_array().unwrap();
    let steps = |name: &str| {
        let stage = stages.iter().find(|s| s["stage"] == name).unwrap();
        stage["cost"]["optimizer_steps"].as_u64().unwrap()
    };
    let of_row = merged["budget"][0]["optimizer_steps"].as_u64().unwrap();
    assert_eq!(of_row, steps("sft") + steps("grpo"));
    assert_eq!([steps("sft"), steps("grpo"), steps("merged")], [6, 4, 0]);
    assert_whole(&project, true);
}

#[test]
fn a_second_reproduce_trains_nothing_and_says_the_same() {
    let project = project();
    succeed(&project, &["reproduce", "--profile", "tiny"]);
    let published =
        || ["results.json", "leaderboard.json"].map(|f| project.read(&format!("runs/tiny/{f}")));
    let first = published();
    let num_events = project.events("tiny").len();

    let run = succeed(&project, &["reproduce", "--profile", "tiny", "--json"]);
    // The leaderboard and nothing else.
    assert_eq!(run.stdout, first[1]);
    assert!(run.wall_time_s < SECOND_RUN_S_MAX, "{} s", run.wall_time_s);
    // Date and wall time too: they are those of the work, not of the look at it.
    assert_eq!(published(), first);
    let events = project.events("tiny").split_off(num_events);
    let kinds: Vec<&str> = events.iter().map(|e| e["kind"].as_str().unwrap()).collect();
    let num_rows = ROWS.len() + 1;
    let mut expected = vec!["started"];
    expected.extend(vec!["stage_cached"; 9]);
    expected.extend(vec!["evaluated"; num_rows]);
    // Nothing is written on the way where nothing is new.
    expected.extend(["published", "finished"]);
    assert_eq!(kinds, expected);
    let cached = events.iter().filter(|e| e["cached"] == true).count();
    assert_eq!(cached, num_rows);
}

#[test]
fn only_what_depends_on_a_change_is_done_again() {
    let project = project();
    succeed(&project, &["reproduce", "--profile", "tiny"]);
    // The objective of GRPO and of what stands on it; the second stage has another.
    project.recipe(TINY, "tiny", &[(STUDY, "{ preset = \"grpo_study\", beta = 0.01 }")]);
    succeed(&project, &["reproduce", "--profile", "tiny"]);
    assert_eq!(stage_keys(&project, "tiny", "sft").len(), 1);
    let grpo = stage_keys(&project, "tiny", "grpo");
    assert_eq!(grpo.len(), 2);
    assert_ne!(grpo[0], grpo[1]);
    assert_eq!(stage_keys(&project, "tiny", "grpo_after_sft").len(), 1);
    assert_eq!(stage_keys(&project, "tiny", "merged").len(), 2);
    let events = project.events("tiny");
    let again =
        |row: &str| events.iter().filter(|e| e["row"] == row && e["cached"] == false).count();
    assert_eq!([again("base"), again("sft"), again("rl"), again("merged")], [1, 1, 2, 2]);
}

#[test]
fn scoring_again_needs_completions_and_no_model() {
    let project = project();
    succeed(&project, &["reproduce", "--profile", "tiny"]);
    let path = "runs/tiny/results.json";
    let (before, leaderboard) = (project.read(path), project.read("runs/tiny/leaderboard.json"));
    for name in ["sft", "grpo", "grpo_after_sft", "merged"] {
        for key in stage_keys(&project, "tiny", name) {
            std::fs::remove_dir_all(project.path(&format!("runs/store/{key}"))).unwrap();
        }
    }
    project.write("runs/tiny/leaderboard.json", "");
    let run = succeed(&project, &["score", "--profile", "tiny"]);
    assert!(run.stdout.contains("\ntwo_stage "), "{}", run.stdout);
    assert_eq!(project.read(path), before);
    assert_eq!(project.read("runs/tiny/leaderboard.json"), leaderboard);
}

#[test]
fn show_writes_a_picture() {
    let project = project();
    let run = succeed(&project, &["show", "--out", "sheets/one.png"]);
    assert_eq!(run.stdout, "sheets/one.png\n");
    let picture = image::open(project.path("sheets/one.png")).unwrap();
    assert!(picture.width() > 100 && picture.height() > 100);
}
