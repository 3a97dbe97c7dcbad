//! Published benchmarks in a recipe's evaluation: levels from their files, choices in the prompt, another grader.
//!
//! Does not test how files are read or answers judged, which have their own tests.

use serde_json::Value;
use synergy_tests::{Project, TINY};

use crate::{assert_refused, project, succeed};

const FAMILIES: &str =
    "questions_per_family = 2\nquestion_seed = 9001\nhops = [1, 2]\nlevel_num_samples = 2\n";

/// A project whose recipe `published` asks two sets of the stand-in for the study's data, beside the families or alone.
fn with_published(with_families: bool, edits: &[(&str, &str)]) -> Project {
    let project = project();
    for (name, title) in [("mathvision", "MathVision"), ("mmmu", "MMMU")] {
        let set = format!("JierunChen/{title}_with_difficulty_level/data");
        project.copy(&format!("golden/parity/stand-in/datasets/{set}"), &format!("data/{name}"));
    }
    let benchmarks = "external_questions = 0\n\n\
        [[evaluation.benchmarks]]\nname = \"mathvision\"\npath = \"data/mathvision\"\nabout_questions = 10\n\n\
        [[evaluation.benchmarks]]\nname = \"mmmu\"\npath = \"data/mmmu\"\nnum_questions = 5\nabout_questions = 10\n";
    let families = if with_families { FAMILIES } else { "" };
    let mut all = vec![
        (FAMILIES, families),
        ("external_questions = 0\n", benchmarks),
        ("[model]", "grader = \"synergy-1\"\n\n[model]"),
    ];
    all.extend_from_slice(edits);
    project.recipe(TINY, "published", &all);
    project
}

const REPRODUCE: [&str; 3] = ["reproduce", "--profile", "published"];

fn questions(project: &Project) -> Vec<Value> {
    let results = project.json("runs/published/results.json");
    assert_eq!(results["grader"], "synergy-1");
    results["questions"].as_array().expect("a list").clone()
}

#[test]
fn questions_of_others_have_the_levels_of_their_files_and_are_told_as_the_families_are() {
    let project = with_published(false, &[]);
    let run = succeed(&project, &REPRODUCE);
    let questions = questions(&project);
    let of = |name: &str| questions.iter().filter(|q| q["benchmark"] == name).collect::<Vec<_>>();
    assert_eq!((of("mathvision").len(), of("mmmu").len(), questions.len()), (10, 5, 15));
    for level in ["L1", "L2", "L3", "L4", "L5"] {
        assert_eq!(of("mathvision").iter().filter(|q| q["level"] == level).count(), 2, "{level}");
        assert!(run.stdout.contains(level));
    }
    // Nobody was asked to cut levels.
    let rows = project.files("runs/published/completions");
    assert!(rows.contains_key("base-0.jsonl") && !rows.contains_key("levels-0.jsonl"));
    let board = project.json("runs/published/leaderboard.json");
    assert_eq!(board["families"], serde_json::json!(["mathvision", "mmmu"]));
    // The choices are kept with the answers, so that another grader can judge them.
    let base = String::from_utf8(rows["base-0.jsonl"].clone()).unwrap();
    assert!(base.lines().any(|line| line.contains("\"choices\":[\"")), "{base}");
    succeed(&project, &["score", "--profile", "published"]);
}

#[test]
fn the_families_keep_their_own_levels_beside_others() {
    let project = with_published(true, &[]);
    succeed(&project, &REPRODUCE);
    let questions = questions(&project);
    assert_eq!(questions.len(), 6 * 2 + 15);
    assert!(questions.iter().all(|q| q["level"].is_string()));
    // Only the families' are cut, on samples of their own.
    let levels = project.files("runs/published/completions");
    let levels = String::from_utf8(levels["levels-0.jsonl"].clone()).unwrap();
    assert_eq!(levels.lines().count(), 6 * 2 * 2);
}

#[test]
fn what_cannot_be_asked_is_refused_before_any_work() {
    let project = with_published(false, &[("name = \"mmmu\"", "name = \"mmlu\"")]);
    assert_refused!(project.run(&REPRODUCE), @"
    error: unusable recipe `suite/recipes/published.toml`: line 217: there is no published benchmark `mmlu`
    hint: mathvision, mathverse, mathvista, mmmu, mmstar
    ");
    let project = with_published(false, &[("path = \"data/mmmu\"", "path = \"data/none\"")]);
    assert_refused!(project.run(&REPRODUCE), @"
    error: failed to read the questions `data/none`: No such file or directory
    hint: paths start at the project's root; `cargo xtask fetch` gets what others have published
    ");
    let project = with_published(false, &[("name = \"mmmu\"", "name = \"mathvision\"")]);
    assert_refused!(project.run(&REPRODUCE), @"
    error: unusable recipe `suite/recipes/published.toml`: line 217: benchmark `mathvision` occurs twice
    hint: docs/RECIPES.md explains every key
    ");
    // The owners' own files have no levels.
    let project = with_published(false, &[("path = \"data/mathvision\"", "path = \"data/plain\"")]);
    project.copy("golden/parity/datasets/mathvision", "data/plain");
    assert_refused!(project.run(&REPRODUCE), @"
    error: 3 of 3 questions in `data/plain` have no published level
    hint: `cargo xtask fetch mathvision-levels` gets the files that have them
    ");
    let project = with_published(false, &[("grader = \"synergy-1\"", "grader = \"math-verify\"")]);
    assert_refused!(project.run(&REPRODUCE), @r#"
    error: unusable recipe `suite/recipes/published.toml`: line 32: the reward pays 1 for all options in one box (`<think></think>\boxed{0 1 2 3 4}` where `4` is right)
    hint: grader = "synergy-1" or "boxed-1"
    "#);
    assert!(!project.path("runs").exists());
}
