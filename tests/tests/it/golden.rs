//! The gate: a run against what was recorded, by exit code.
//!
//! Does not test the rule, which is pure and has its own tests.

use synergy_suite::score::Results;
use synergy_tests::TINY;

use crate::{assert_refused, project, succeed};

const GOLDEN: &str = "golden/results/tiny.json";

#[test]
fn a_run_is_the_same_as_itself_and_worse_than_a_better_golden() {
    let project = project();
    // Below 20 questions a cell decides nothing.
    project.recipe(TINY, "tiny", &[("questions_per_family = 2", "questions_per_family = 5")]);
    succeed(&project, &["reproduce", "--profile", "tiny"]);
    let accepted = succeed(&project, &["golden", "accept", "--profile", "tiny"]);
    assert_eq!(accepted.stdout, "recorded runs/tiny/results.json as golden/results/tiny.json\n");
    assert_eq!(project.read(GOLDEN), project.read("runs/tiny/results.json"));
    let same = succeed(&project, &["golden", "check", "--profile", "tiny"]);
    let verdicts = same.stdout.lines().next().and_then(|line| line.split_once(" cells: ")).unwrap();
    assert_eq!(verdicts.1, format!("{} same", verdicts.0));

    let mut golden = Results::read(&project.path(GOLDEN)).unwrap();
    let row = golden.rows.iter_mut().find(|row| row.name == "sft").unwrap();
    for outcomes in row.seeds.iter_mut().flat_map(|seed| &mut seed.outcomes) {
        *outcomes = "c".repeat(outcomes.len());
    }
    project.write(GOLDEN, golden.to_json().unwrap());
    let worse = project.run(&["golden", "check", "--profile", "tiny"]);
    assert_eq!(worse.code, 1, "{}{}", worse.stdout, worse.stderr);
    let cell = |line: &&str| line.contains("accuracy") && line.trim_end().ends_with("regressed");
    let cells: Vec<&str> = worse.stdout.lines().filter(cell).collect();
    assert!(cells.iter().any(|line| line.starts_with("sft")), "{}", worse.stdout);
}

#[test]
fn a_check_without_golden_or_run_could_not_finish() {
    let project = project();
    assert_refused!(project.run(&["golden", "check", "--profile", "tiny"]), @r"
    error: no golden results for `tiny`: failed to read results `golden/results/tiny.json`: No such file or directory
    hint: record a good run with `cargo xtask golden accept --profile tiny`
    ");
    assert_refused!(project.run(&["golden", "accept", "--profile", "tiny"]), @r"
    error: no run to record: failed to read results `runs/tiny/results.json`: No such file or directory
    hint: cargo xtask reproduce --profile tiny
    ");
    assert!(!project.path("golden").exists());
    succeed(&project, &["reproduce", "--profile", "tiny"]);
    succeed(&project, &["golden", "accept", "--profile", "tiny"]);
    std::fs::remove_dir_all(project.path("runs")).unwrap();
    assert_refused!(project.run(&["golden", "check", "--profile", "tiny"]), @r"
    error: no run to check: failed to read results `runs/tiny/results.json`: No such file or directory
    hint: cargo xtask reproduce --profile tiny
    ");
    assert_refused!(project.run(&["score", "--profile", "tiny"]), @r"
    error: completions of `levels` are not kept
    hint: cargo xtask reproduce --profile tiny
    ");
}

#[test]
fn a_golden_of_another_schema_version_is_refused() {
    let project = project();
    project.write(GOLDEN, "{ \"schema_version\": 3, \"something\": \"new\" }");
    assert_refused!(project.run(&["golden", "check", "--profile", "tiny"]), @r"
    error: no golden results for `tiny`: golden `golden/results/tiny.json` has schema version 3, this suite reads 2
    hint: use the suite that wrote it, or record it again with `cargo xtask golden accept`
    ");
}
